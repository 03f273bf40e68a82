"""Images in .npz files are clips: read as they were written, or refused with a reason."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit.errors import DvskitError, VideoError
from dvskit.formats.found import PathKind, identify, identify_named
from dvskit.reconstruction.writing import save_images
from dvskit.video import ArrayFrames, ImageArrays, open_frames
from dvskit.video.light import luminance
from tests.laws import refused, scattered

TIMES = [5_000, 30_000, 90_000]


def images(dtype=np.uint8) -> np.ndarray:
    made = np.random.default_rng(1).random((3, 20, 24)).astype(np.float32)
    scale = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    return (made * scale).astype(dtype)


def stored(path: Path, **arrays) -> Path:
    """An archive of images, with some arrays replaced; None leaves an array out."""
    given = {"t_us": np.array(TIMES), "images": images()} | arrays
    np.savez(path, **{name: each for name, each in given.items() if each is not None})
    return path


def test_saved_images_are_read_with_their_times_and_give_the_same_events(tmp_path):
    clip = ArrayFrames(images(), t_us=TIMES)
    save_images(clip, tmp_path / "a.npz")
    found = open_frames(tmp_path / "a.npz")
    assert isinstance(found, ImageArrays)
    assert (found.size, found.frame_count) == ((24, 20), 3)
    for _ in range(2):
        assert [t_us for t_us, _ in found] == TIMES
        np.testing.assert_array_equal([image for _, image in found], images())
    first, second = (dvskit.emulate(source).load() for source in (clip, found.path))
    assert len(first)
    assert first == second


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_images_keep_their_dtype_or_become_linear_light(tmp_path, dtype):
    path = stored(tmp_path / "a.npz", images=images(dtype))
    kept, linear = ([*open_frames(path, light=light)] for light in ("luma", "linear"))
    for (_, image), (_, light), given in zip(kept, linear, images(dtype), strict=True):
        assert image.dtype == dtype
        np.testing.assert_array_equal(image, given)
        np.testing.assert_array_equal(light, luminance(given))
    steady = [t_us for t_us, _ in open_frames(path, fps=100)]
    assert steady == [0, 10_000, 20_000]


def test_images_are_a_clip_whatever_their_name(run, tmp_path):
    named, other = stored(tmp_path / "a.npz"), tmp_path / "a.dat"
    other.write_bytes(named.read_bytes())
    assert identify(named) is PathKind.VIDEO
    for path in (named, other):
        assert identify_named(path) is PathKind.VIDEO
        assert run("emulate", path, "-o", tmp_path / f"{path.suffix}.raw")[0] == 0
    events = dvskit.load_events(tmp_path / ".npz.raw", size=(24, 20))
    assert len(events)
    assert events == dvskit.load_events(tmp_path / ".dat.raw", size=(24, 20))
    dvskit.save_events(scattered(9), tmp_path / "e.npz")
    assert identify(tmp_path / "e.npz") is identify_named(tmp_path / "e.npz") is PathKind.RECORDING


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"images": np.zeros((3, 20))}, "3 dimensions"),
        ({"images": np.zeros((3, 20, 24, 3), np.uint8)}, "3 dimensions"),
        ({"images": np.asfortranarray(np.zeros((3, 20, 24), np.uint8))}, "Fortran"),
        ({"images": np.zeros((3, 20, 24), "<i8")}, "int64"),
        ({"images": np.zeros((3, 20, 24), "M8[us]")}, "datetime64"),
        ({"images": np.full((3, 20, 24), None)}, "objects"),
        ({"images": np.zeros((2, 20, 24), np.uint8)}, "2 images"),
        ({"images": np.zeros((0, 20, 24), np.uint8), "t_us": np.zeros(0, int)}, "0 images"),
        ({"images": np.zeros((3, 0, 24), np.uint8)}, "size"),
        ({"t_us": np.zeros((3, 1), int)}, "one dimension"),
        ({"t_us": np.array([0.5, 1, 2])}, "microsecond"),
        ({"t_us": np.array(["a", "b", "c"])}, "microseconds"),
    ],
)
def test_other_arrays_are_refused_in_one_line(tmp_path, changes, named):
    path = stored(tmp_path / "a.npz", **changes)
    with refused(DvskitError, named):
        open_frames(path)


def test_an_archive_without_the_arrays_or_cut_short_is_no_clip(tmp_path):
    whole, cut = stored(tmp_path / "a.npz").read_bytes(), tmp_path / "cut.npz"
    cut.write_bytes(whole[: len(whole) // 2])
    for path in (stored(tmp_path / "b.npz", t_us=None), cut, tmp_path / "none.npz"):
        with pytest.raises(DvskitError):
            open_frames(path)
        with pytest.raises(VideoError):
            ImageArrays(path)


def test_an_array_that_ends_early_is_damage(tmp_path):
    path = stored(tmp_path / "a.npz")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("t_us.npy", parts["t_us.npy"])
        archive.writestr("images.npy", parts["images.npy"][: 7 - 2 * 20 * 24])
    with refused(VideoError, "image 1", "473 bytes"):
        list(open_frames(path))
    salvaged = open_frames(path, strict=False)
    assert len(list(salvaged)) == 1
    assert (salvaged.damage.count, salvaged.damage.frames) == (1, 2)


def test_flipped_bits_and_times_that_run_back_are_refused(tmp_path):
    path = stored(tmp_path / "a.npz")
    data = bytearray(path.read_bytes())
    at = data.index(images().tobytes()) + 700  # in the second image
    data[at] ^= 1
    path.write_bytes(data)
    with refused(VideoError, "CRC"):
        list(open_frames(path))
    stored(path, t_us=np.array([0, 9000, 8000]))
    with refused(VideoError, 8000):
        list(dvskit.emulate(path))
