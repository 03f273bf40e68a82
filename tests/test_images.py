"""Still images as samples, encoded or moved; tonic's data sets as samples, and filters in tonic."""

from __future__ import annotations

import gzip
import struct
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dvskit import encoders
from dvskit.datasets import (
    Encode,
    FolderImages,
    IdxImages,
    ImageSamples,
    MovedImages,
    TonicSamples,
    from_tonic,
    in_tonic,
)
from dvskit.encoders.names import ENCODERS, encode_images
from dvskit.errors import ConfigError, DvskitError, FormatError, GeometryError, MissingFileError
from dvskit.events import Events
from dvskit.filters import Crop
from tests.laws import refused, scattered


def idx(path: Path, array: np.ndarray) -> None:
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))


@pytest.fixture
def digits(tmp_path: Path) -> IdxImages:
    rng = np.random.default_rng(1)
    for part, count in (("train", 12), ("t10k", 4)):
        idx(tmp_path / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 28, 28)))
        idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(count) % 11)
    return IdxImages(tmp_path)


def test_idx_files_have_their_parts_and_classes_in_the_order_of_numbers(digits: IdxImages) -> None:
    assert digits.classes == tuple(map(str, range(11)))
    assert [row.part for row in digits.rows].count("test") == 4
    assert digits.rows[12].name == "test/0"
    assert digits.image(3).shape == (28, 28)
    assert len({digits.fingerprint(k) for k in range(16)}) == 16


def test_folders_of_images_are_read_as_gray(tmp_path: Path) -> None:
    image = np.arange(48, dtype=np.uint8).reshape(6, 8)
    for kind in ("cat", "dog"):
        (tmp_path / kind).mkdir()
        cv2.imwrite(str(tmp_path / kind / "a.png"), image)
    stills = FolderImages(tmp_path)
    rows = [(row.name, row.label) for row in stills.rows]
    assert rows == [("cat/a.png", "cat"), ("dog/a.png", "dog")]
    assert np.array_equal(stills.image(1), image)
    (tmp_path / "dog" / "a.png").write_bytes(b"no image")
    with refused(FormatError, "dog/a.png"):
        stills.image(1)
    (tmp_path / "emu").mkdir()
    with refused(FormatError, "emu"):
        FolderImages(tmp_path)
    with refused(MissingFileError, "absent"):
        FolderImages(tmp_path / "absent")


def test_moved_stills_are_the_same_each_time_and_vary_with_a_generator(digits: IdxImages) -> None:
    moved = MovedImages(digits, (34, 34))
    assert (len(moved), moved.classes) == (16, digits.classes)
    assert moved.events(2) == moved.events(2)
    first, second = (moved.events(2, np.random.default_rng(seed)) for seed in (1, 2))
    assert first != second
    assert first == moved.events(2, np.random.default_rng(1))
    assert first.sensor_size == (34, 34)
    assert moved.fingerprint(2) != MovedImages(digits, (40, 34)).fingerprint(2)
    assert moved.choose([2]).events(0) == moved.events(2)


def by_rate(image: torch.Tensor, steps: int, generator: torch.Generator) -> torch.Tensor:
    return encoders.poisson(image / 2, steps, generator=generator)


def logarithmic(image: torch.Tensor, steps: int, generator: torch.Generator) -> torch.Tensor:
    return encoders.latency(image, steps, law=partial(encoders.log_latency, tau=5.0))


NAMES = ["latency", "log_latency", "poisson", "population", "rank_order", "signed_poisson"]


@pytest.mark.parametrize("encoder", NAMES)
def test_every_encoder_by_name_gives_counts_of_two_channels_bright_before_dark(
    encoder: str,
) -> None:
    assert sorted(ENCODERS) == sorted([*NAMES, "delta", "direct"])
    ramp = np.linspace(0, 255, 16).astype(np.uint8).reshape(1, 16)
    spikes = Encode(encoder, 40, (16, 1))(ramp, np.random.default_rng(2))
    assert (spikes.shape, spikes.dtype) == ((40, 2, 1, 16), torch.uint8)
    assert int(spikes.max()) == 1
    off, on = spikes[:, 0, 0], spikes[:, 1, 0]
    assert bool(off.any()) == (encoder in ("population", "signed_poisson"))
    if "poisson" in encoder:
        assert on[:, 12:].sum() > on[:, 8:12].sum() > on[:, :4].sum()
        return
    assert int(spikes.sum(0).max()) == 1
    fired = on.any(0).nonzero().flatten()
    assert len(fired) >= 7
    times = on[:, fired].int().argmax(0)
    assert bool((times.diff() <= 0).all())
    assert times[-1] == 0 or encoder == "log_latency"
    if encoder == "population":  # dark pixels are what OFF stands for: the mirror image
        assert torch.equal(off.flip(1), on)


@pytest.mark.parametrize("encoder", ["poisson", "latency", by_rate, logarithmic])
def test_stills_are_encoded_in_the_middle_of_the_sensor(digits: IdxImages, encoder: str) -> None:
    encode = Encode(encoder, 20, (34, 34))
    spikes = encode(digits.image(0), np.random.default_rng(3))
    dtype = torch.uint8 if isinstance(encoder, str) else torch.float32
    assert (spikes.shape, spikes.dtype) == ((20, 2, 34, 34), dtype)
    assert spikes[:, 1, 3:31, 3:31].sum() == spikes.sum() > 0
    again = encode(digits.image(0), np.random.default_rng(3))
    assert torch.equal(spikes, again)
    largest = int(spikes.sum(0).max())
    assert (largest == 1) == (encoder in ("latency", logarithmic))


def test_a_batch_of_images_is_encoded_as_each_of_them(digits: IdxImages) -> None:
    images = torch.stack([torch.from_numpy(digits.image(k)) for k in range(3)]) / 255
    for encoder in ("latency", "log_latency", "rank_order", "population"):
        together = encode_images(images, 12, encoder, torch.Generator())
        assert together.shape == (12, 3, 2, 28, 28)
        for k in range(3):
            alone = encode_images(images[k], 12, encoder, torch.Generator())
            assert torch.equal(together[:, k], alone)
    for encoder in NAMES:
        none = encode_images(images[:0], 12, encoder, torch.Generator())
        assert none.shape == (12, 0, 2, 28, 28)


def test_an_encoder_may_make_channels_of_its_own(digits: IdxImages) -> None:
    fields = encoders.ReceptiveFields.spread(5)

    def five(image: torch.Tensor, steps: int, generator: torch.Generator) -> torch.Tensor:
        return encoders.population_latency(image, fields, steps).movedim(-1, -3)

    spikes = Encode(five, 9, (30, 28), 5)(digits.image(1), np.random.default_rng(0))
    assert (spikes.shape, spikes.dtype) == ((9, 5, 28, 30), torch.float32)
    with refused(ConfigError, "'five'", "channels = 5"):
        Encode(five, 9, (30, 28))(digits.image(1), np.random.default_rng(0))


def test_encoders_and_images_that_do_not_fit_are_refused(digits: ImageSamples) -> None:
    with refused(ConfigError, "poisson"):
        Encode("poison", 20, (34, 34))
    with refused(GeometryError, "28x28", "20x20"):
        Encode("poisson", 20, (20, 20))(digits.image(0), np.random.default_rng(0))


def tonic_set(arrays: list[np.ndarray], **members: object) -> object:
    from tonic.dataset import Dataset

    class Made(Dataset):
        sensor_size = (8, 6, 2)

        def __init__(self) -> None:
            super().__init__("nowhere")

        def __len__(self) -> int:
            return len(arrays)

        def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
            return arrays[number], number % 2

        def _check_exists(self) -> bool:
            return True

    dataset = Made()
    for name, member in members.items():
        setattr(dataset, name, member)
    return dataset


def five_events(count: int) -> list[Events]:
    return [scattered(5, (8, 6), seed=seed) for seed in range(count)]


def test_a_tonic_set_becomes_samples_with_its_names_and_users() -> None:
    originals = five_events(4)
    arrays = [each.to_array("tonic") for each in originals]
    plain = TonicSamples(tonic_set(arrays), part="test")
    assert [row.label for row in plain.rows] == ["0", "1", "0", "1"]
    assert [plain.events(k) for k in range(4)] == originals
    named = TonicSamples(
        tonic_set(arrays, targets=[0, 1, 0, 1], classes=["clap", "wave"], users=[1, 1, 2, 2])
    )
    rows = [(row.label, row.group) for row in named.rows]
    assert rows == [("clap", "1"), ("wave", "1"), ("clap", "2"), ("wave", "2")]
    by_number = TonicSamples(tonic_set(arrays, targets=[0, 1, 0, 1], classes={"a": 0, "b": 1}))
    assert by_number.classes == ("a", "b")
    assert plain.fingerprint(0) == named.fingerprint(0) != plain.fingerprint(1)
    with refused(ConfigError, "3 labels", "4 samples"):
        TonicSamples(tonic_set(arrays), labels=[1, 2, 3])


@pytest.mark.parametrize("take", [TonicSamples, lambda *a, **k: list(from_tonic(*a, **k))])
def test_any_data_set_of_events_and_targets_is_taken_and_checked_alike(take) -> None:
    originals = five_events(3)
    plain = [(each, "ab"[k % 2]) for k, each in enumerate(originals)]
    arrays = [(each.to_array("tonic"), label) for each, label in plain]
    for data in (arrays, plain):
        found = take(data, size=(8, 6))
        assert [pair[0] for pair in found] == originals
        assert [pair[1] for pair in found] == ["a", "b", "a"]
    wrong = ([1, 2], ["ab"], [(np.zeros((3, 4)), 1)], [("a", 1)])
    for data in wrong:
        with refused(DvskitError, "list/0"):
            take(data, size=(8, 6))
    with refused(DvskitError, "int"):
        take(5, size=(8, 6))
    with refused(GeometryError, "list", "size"):
        take(arrays)
    assert [pair[0] for pair in take(plain)] == originals
    with refused(ConfigError, "int"):  # before any sample is asked for
        from_tonic([1, 2], size=(8, 6))


def test_filters_work_inside_tonics_compose() -> None:
    from tonic.transforms import Compose, ToFrame

    whole = scattered(200, (8, 6), seed=3)
    array = whole.to_array("tonic")
    transform = in_tonic(Crop(2, 1, 4, 3), (8, 6, 2))
    cropped = transform(array)
    assert cropped.dtype == array.dtype
    expected = Crop(2, 1, 4, 3)(whole)
    assert isinstance(expected, Events)
    assert Events.from_array(cropped, size=(4, 3)) == expected
    frames = Compose([transform, ToFrame(sensor_size=(4, 3, 2), n_time_bins=5)])(array)
    assert frames.shape == (5, 2, 3, 4)
    # Tonic's bins leave out the last event where times do not divide: its own affair.
    assert len(expected) - 1 <= int(frames.sum()) <= len(expected)
