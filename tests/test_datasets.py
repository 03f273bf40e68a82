"""Samples on disk: found in order, split by a seed, refused where they are odd."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from dvskit.datasets import (
    Sample,
    from_tonic,
    open_samples,
    read_idx,
    read_images,
    split_samples,
)
from dvskit.errors import ConfigError, EventsError, FormatError, GeometryError, MissingFileError
from dvskit.events import Events
from dvskit.formats import save_events
from dvskit.formats.found import find_recordings


def events(count: int, seed: int, size: tuple[int, int] = (8, 6)) -> Events:
    rng = np.random.default_rng(seed)
    return Events(
        t=np.sort(rng.integers(100, 5_000, count)),
        x=rng.integers(0, size[0], count),
        y=rng.integers(0, size[1], count),
        p=rng.integers(0, 2, count).astype(bool),
        size=size,
    )


def folder_of(root: Path, counts: dict[str, int]) -> Path:
    for label, count in counts.items():
        (root / label).mkdir(parents=True)
        for k in range(count):
            save_events(events(50, seed=k), root / label / f"{k:03}.npz")
    return root


def test_samples_are_found_in_order_and_named_after_their_folders(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", {"wave": 2, "clap": 1})
    (root / ".cache").mkdir()
    found = open_samples(root).rows
    assert [(s.path.relative_to(root).as_posix(), s.label) for s in found] == [
        ("clap/000.npz", "clap"),
        ("wave/000.npz", "wave"),
        ("wave/001.npz", "wave"),
    ]


def test_odd_folders_are_refused_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file"):
        open_samples(tmp_path / "none")
    with pytest.raises(FormatError, match="holds no folder; make one folder per class"):
        open_samples(tmp_path)
    root = folder_of(tmp_path / "set", {"a": 1})
    (root / "b").mkdir()
    with pytest.raises(FormatError, match="b: holds no recordings or videos; add some"):
        open_samples(root)
    (root / "README.txt").write_text("about these recordings")
    (root / "b" / "notes.md").write_text("hello")
    with pytest.raises(FormatError, match="b: holds no recordings"):
        open_samples(root)
    save_events(events(5, seed=0), root / "b" / "0.npz")
    (root / "b" / "more").mkdir()
    with pytest.raises(FormatError, match="more: holds no recordings or videos; add some"):
        open_samples(root)
    save_events(events(5, seed=0), root / "b" / "more" / "0.npz")
    with pytest.raises(FormatError, match=r"more: a folder among the recordings of class b; move"):
        open_samples(root)
    (root / "b" / "more" / "0.npz").unlink()
    (root / "b" / "more").rmdir()
    save_events(events(5, seed=0), root / "stray.npz")
    with pytest.raises(FormatError, match="a recording next to the classes"):
        open_samples(root)


def test_files_that_are_no_recordings_are_passed_over_and_listed(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", {"a": 2, "b": 1})
    save_events(events(9, seed=1), root / "a" / "text.csv")
    save_events(events(9, seed=1), root / "b" / "text.txt")
    others = {
        "a": {"readme.txt": "Recorded on a Tuesday.\n\n3 people, 4 takes.\n", "cover.png": "x"},
        "b": {
            "text_labels.csv": "class,startTime_usec,endTime_usec\n1,2,3\n",
            "notes.csv": "a,b\n",
        },
    }
    for label, texts in others.items():
        for name, text in texts.items():
            (root / label / name).write_text(text)
    samples = open_samples(root)
    assert [f"{s.label}/{s.path.name}" for s in samples.rows] == [
        "a/000.npz", "a/001.npz", "a/text.csv", "b/000.npz", "b/text.txt",
    ]  # fmt: skip
    assert {path.name for path in samples.others} == set(others["a"]) | set(others["b"])
    (root / "a" / "empty.csv").touch()  # damaged, perhaps: not passed over
    with pytest.raises(FormatError, match=r"empty.csv: is empty"):
        open_samples(root)


def test_recordings_of_folders_within_folders_are_found(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", {"a/x": 1, "b": 1})
    (root / "b" / "readme.txt").write_text("words")
    found = find_recordings(root)
    assert [path.name for path in found.recordings] == ["000.npz", "000.npz"]
    assert found.others == [root / "b" / "readme.txt"]
    assert find_recordings(root / "b" / "readme.txt").recordings == [root / "b" / "readme.txt"]
    (tmp_path / "none").mkdir()
    with pytest.raises(
        FormatError, match=r"none: holds no recordings; it must have files of .aedat"
    ):
        find_recordings(tmp_path / "none")


def many(counts: dict[str, int], root: str = "set") -> list[Sample]:
    return [
        Sample(f"{c}/{k}.npz", c, path=Path(f"{root}/{c}/{k}.npz"))
        for c, n in counts.items()
        for k in range(n)
    ]


def test_a_split_is_complete_disjoint_stratified_and_exact_in_total() -> None:
    samples = many({"a": 69, "b": 90, "c": 41, "d": 500})
    parts = split_samples(samples, validation=0.1, test=0.2, seed=3)
    assert sorted(parts.train + parts.validation + parts.test) == sorted(samples)
    assert len(set(parts.train + parts.validation + parts.test)) == len(samples)
    assert (len(parts.validation), len(parts.test)) == (70, 140)
    for label, count in {"a": 69, "b": 90, "c": 41, "d": 500}.items():
        held = sum(sample.label == label for sample in parts.test)
        assert abs(held - 0.2 * count) <= 1


def test_a_split_follows_the_seed_and_neither_order_nor_place() -> None:
    samples = many({"a": 30, "b": 20})
    first = split_samples(samples, validation=0.2, test=0.2, seed=1)
    assert split_samples(samples[::-1], validation=0.2, test=0.2, seed=1) == first
    assert split_samples(samples, validation=0.2, test=0.2, seed=2) != first
    moved = split_samples(many({"a": 30, "b": 20}, "else"), validation=0.2, test=0.2, seed=1)
    assert [s.path.name for s in moved.test] == [s.path.name for s in first.test]


def test_shares_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(ConfigError, match="below 1"):
        split_samples(many({"a": 3}), validation=0.5, test=0.5, seed=0)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_idx_files_are_read_whole(tmp_path: Path, pack: type[bytes]) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "a").write_bytes(pack(idx(array)))
    assert np.array_equal(read_idx(tmp_path / "a"), array)


def test_damaged_idx_files_are_refused(tmp_path: Path) -> None:
    whole = idx(np.zeros((2, 3), np.uint8))
    for data, message in [
        (b"PNG.", "not an IDX header"),
        (whole[:-1], r"17 bytes, but shape \(2, 3\) needs 18"),
        (gzip.compress(whole)[:-4], "cannot be read"),
    ]:
        (tmp_path / "a").write_bytes(data)
        with pytest.raises(FormatError, match=message):
            read_idx(tmp_path / "a")


def test_images_need_labels_of_the_same_number(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((3, 2, 2), np.uint8)))
    with pytest.raises(FormatError, match=r"neither train-labels-idx1-ubyte.gz nor"):
        read_images(tmp_path, "train")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(2, np.uint8)))
    with pytest.raises(FormatError, match="do not fit labels"):
        read_images(tmp_path, "train")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.array([4, 0, 9], np.uint8)))
    assert read_images(tmp_path, "train").labels.tolist() == [4, 0, 9]


def test_mnist_is_read_as_published(data: Path) -> None:
    images = read_images(data / "mnist", "train")
    assert images.pixels.shape == (60_000, 28, 28)
    assert images.labels[:5].tolist() == [5, 0, 4, 1, 9]


def tonic_set(arrays: list[np.ndarray], size: tuple[int, ...] | None) -> object:
    from tonic.dataset import Dataset

    class Made(Dataset):
        if size is not None:
            sensor_size = size

        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            return arrays[index], index + 10

        def __len__(self) -> int:
            return len(arrays)

        def _check_exists(self) -> bool:
            return True

    return Made(save_to=".")


def test_tonic_samples_come_through_as_the_same_events() -> None:
    originals = [events(20, seed=k) for k in range(3)]
    made = tonic_set([e.to_array("tonic") for e in originals], (8, 6, 2))
    assert list(from_tonic(made)) == [(e, k + 10) for k, e in enumerate(originals)]


def test_what_tonic_gives_wrongly_is_refused() -> None:
    with pytest.raises(ConfigError, match="list/0: is int"):
        list(from_tonic([1, 2]))
    with pytest.raises(GeometryError, match="no sensor_size"):
        list(from_tonic(tonic_set([events(2, 0).to_array()], None)))
    with pytest.raises(EventsError, match="/0: an array of float64 has no fields"):
        list(from_tonic(tonic_set([np.zeros((2, 2))], (8, 6, 2))))


LABELS_HEAD = "class,startTime_usec,endTime_usec\n"


def pairs(root: Path, users: dict[str, str], suffix: str = ".npz") -> Path:
    """Write a recording of 1000 events and its labels a user."""
    root.mkdir(exist_ok=True)
    for seed, (user, rows) in enumerate(users.items()):
        save_events(events(1000, seed), root / f"{user}{suffix}")
        (root / f"{user}_labels.csv").write_text(LABELS_HEAD + rows)
    return root


def test_each_label_of_a_recording_is_a_sample(tmp_path: Path) -> None:
    root = pairs(
        tmp_path / "set", {"user02_led": "1,200,900\n", "user01_lab": "2,1000,1500\n1,150,600\n"}
    )
    (root / "README.txt").write_text("what this is")
    (root / "errata.txt").write_text("none")
    found = open_samples(root)
    assert [(s.path.name, s.label, s.span, s.part) for s in found.rows] == [
        ("user01_lab.npz", "1", (150, 600), None),
        ("user01_lab.npz", "2", (1000, 1500), None),
        ("user02_led.npz", "1", (200, 900), None),
    ]
    assert found.classes == ("1", "2")
    assert found.labels.tolist() == [0, 1, 0]
    whole = events(1000, 1)
    assert found.events(0) == whole.between(150, 600)
    assert found.events(1) == whole.between(1000, 1500)


def test_classes_are_named_where_the_folder_says(tmp_path: Path) -> None:
    root = pairs(tmp_path / "set", {"user01": "1,150,600\n2,700,800\n"})
    (root / "gesture_mapping.csv").write_text("action,label\nhand_clapping,1\n")
    assert [sample.label for sample in open_samples(root).rows] == ["hand_clapping", "2"]


def test_a_data_set_says_itself_what_is_tested(tmp_path: Path) -> None:
    rows = "".join(f"{k % 3},{100 + 100 * k},{200 + 100 * k}\n" for k in range(12))
    root = pairs(tmp_path / "set", {f"user{k:02}": rows for k in range(6)})
    (root / "trials_to_train.txt").write_text("\r\n".join(f"user{k:02}.npz" for k in range(4)))
    (root / "trials_to_test.txt").write_text("user04.npz\nuser05.npz\n\n")
    samples = list(open_samples(root).rows)
    split = split_samples(samples, validation=0.25, test=0.5, seed=3)
    assert {s.path.name for s in split.test} == {"user04.npz", "user05.npz"}
    assert len(split.test) == 24
    assert len(split.validation) == 12
    assert {s.part for s in split.train + split.validation} == {"train"}
    assert sorted(split.train + split.validation + split.test) == sorted(samples)
    assert split_samples(samples[::-1], validation=0.25, test=0.5, seed=3) == split


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("user02_labels.csv", LABELS_HEAD, "the recording user02 is missing"),
        ("user01.npy", "", "has no labels"),
        ("user03.npz", "", "has no labels"),
        ("trials_to_test.txt", "user09.npz", "'user09.npz', which is not in"),
        ("trials_to_test.txt", "\n", None),
    ],
)
def test_odd_folders_of_labels_are_refused(tmp_path: Path, name, text, message) -> None:
    root = pairs(tmp_path / "set", {"user01": "1,150,600\n"})
    (root / name).write_text(text)
    if message is None:
        assert len(open_samples(root)) == 1
        return
    with pytest.raises(FormatError, match=message):
        open_samples(root)


def test_lists_that_contradict_each_other_or_leave_one_out_are_refused(tmp_path: Path) -> None:
    root = pairs(tmp_path / "set", {"user01": "1,150,600\n", "user02": "1,150,600\n"})
    (root / "trials_to_train.txt").write_text("user01.npz")
    with pytest.raises(FormatError, match=r"user02\.npz: is in neither"):
        open_samples(root)
    (root / "trials_to_test.txt").write_text("user01.npz\nuser02.npz")
    with pytest.raises(FormatError, match="which the other list has too"):
        open_samples(root)


def test_a_span_without_events_is_refused(tmp_path: Path) -> None:
    root = pairs(tmp_path / "set", {"user01": "1,150,600\n2,6000,7000\n"})
    with pytest.raises(FormatError, match="no events from 6000 to 7000 us, labelled 2"):
        open_samples(root).events(1)
