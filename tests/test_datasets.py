"""Sets of samples: IDX images, labels beside recordings, and files that are no recordings."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from dvskit.datasets import open_samples, read_idx, read_images, split_samples
from dvskit.errors import FormatError
from dvskit.events import Events
from dvskit.formats import save_events
from dvskit.formats.found import find_recordings
from tests.laws import refused, scattered


def events(count: int, seed: int, size: tuple[int, int] = (8, 6)) -> Events:
    return scattered(count, size, span_us=5_000, seed=seed)


def folder_of(root: Path, counts: dict[str, int]) -> Path:
    for label, count in counts.items():
        (root / label).mkdir(parents=True)
        for k in range(count):
            save_events(events(50, seed=k), root / label / f"{k:03}.npz")
    return root


def test_files_that_are_no_recordings_are_passed_over_and_listed(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", {"a": 2, "b": 1})
    (root / ".cache").mkdir()
    save_events(events(9, seed=1), root / "a" / "text.csv")
    save_events(events(9, seed=1), root / "b" / "text.txt")
    others = {
        "a/readme.txt": "Recorded on a Tuesday.\n\n3 people, 4 takes.\n",
        "b/text_labels.csv": "class,startTime_usec,endTime_usec\n1,2,3\n",
    }
    for name, text in others.items():
        (root / name).write_text(text)
    samples = open_samples(root)
    names = ["a/000.npz", "a/001.npz", "a/text.csv", "b/000.npz", "b/text.txt"]
    assert [row.path.relative_to(root).as_posix() for row in samples.rows] == names
    assert {path.relative_to(root).as_posix() for path in samples.others} == set(others)
    (root / "a" / "empty.csv").touch()  # damaged, perhaps: not passed over
    with refused(FormatError, "empty.csv"):
        open_samples(root)


def test_recordings_of_folders_within_folders_are_found(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", {"a/x": 1, "b": 1})
    (root / "b" / "readme.txt").write_text("words")
    found = find_recordings(root)
    assert [path.name for path in found.recordings] == ["000.npz", "000.npz"]
    assert found.others == [root / "b" / "readme.txt"]
    assert find_recordings(root / "b" / "readme.txt").recordings == [root / "b" / "readme.txt"]
    (tmp_path / "none").mkdir()
    with refused(FormatError, tmp_path / "none", ".aedat"):
        find_recordings(tmp_path / "none")


# -- IDX images


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_idx_files_are_read_whole_and_damaged_ones_refused(tmp_path: Path, pack) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "a").write_bytes(pack(idx(array)))
    assert np.array_equal(read_idx(tmp_path / "a"), array)
    whole = idx(array)
    for data in (b"PNG.", pack(whole[:-1]), pack(whole + b"0"), gzip.compress(whole)[:-4]):
        (tmp_path / "a").write_bytes(data)
        with refused(FormatError, tmp_path / "a"):
            read_idx(tmp_path / "a")


def test_images_need_labels_of_the_same_number(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((3, 2, 2), np.uint8)))
    with refused(FormatError, "train-labels-idx1-ubyte"):
        read_images(tmp_path, "train")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(2, np.uint8)))
    with pytest.raises(FormatError):
        read_images(tmp_path, "train")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.array([4, 0, 9], np.uint8)))
    assert read_images(tmp_path, "train").labels.tolist() == [4, 0, 9]


def test_mnist_is_read_as_published(data: Path) -> None:
    images = read_images(data / "mnist", "train")
    assert images.pixels.shape == (60_000, 28, 28)
    assert images.labels[:5].tolist() == [5, 0, 4, 1, 9]


# -- labels beside recordings

LABELS_HEAD = "class,startTime_usec,endTime_usec\n"


def pairs(root: Path, users: dict[str, str], suffix: str = ".npz") -> Path:
    """Write a recording of 1000 events and its labels a user."""
    root.mkdir(exist_ok=True)
    for seed, (user, rows) in enumerate(users.items()):
        save_events(events(1000, seed), root / f"{user}{suffix}")
        (root / f"{user}_labels.csv").write_text(LABELS_HEAD + rows)
    return root


def test_each_label_of_a_recording_is_a_sample(tmp_path: Path) -> None:
    users = {
        "user02_lab": "1,200,900\n",
        "user01_lab": "2,1000,1500\n1,150,600\n",
        "user01_led": "1,6000,7000\n",
    }
    root = pairs(tmp_path / "set", users)
    (root / "README.txt").write_text("what this is")
    found = open_samples(root)
    assert [(s.path.name, s.label, s.group, s.span, s.part) for s in found.rows] == [
        ("user01_lab.npz", "1", "user1", (150, 600), None),
        ("user01_lab.npz", "2", "user1", (1000, 1500), None),
        ("user01_led.npz", "1", "user1", (6000, 7000), None),
        ("user02_lab.npz", "1", "user2", (200, 900), None),
    ]
    assert found.classes == ("1", "2")
    assert found.labels.tolist() == [0, 1, 0, 0]
    whole = events(1000, 1)
    assert found.events(0) == whole.between(150, 600)
    assert found.events(1) == whole.between(1000, 1500)
    with refused(FormatError, 6000, 7000):  # it has no events
        found.events(2)
    (root / "gesture_mapping.csv").write_text("action,label\nhand_clapping,1\n")
    assert [row.label for row in open_samples(root).rows][:2] == ["hand_clapping", "2"]


def test_a_data_set_says_itself_what_is_tested(tmp_path: Path) -> None:
    rows = "".join(f"{k % 3},{100 + 100 * k},{200 + 100 * k}\n" for k in range(12))
    root = pairs(tmp_path / "set", {f"user{k:02}": rows for k in range(6)})
    (root / "trials_to_train.txt").write_text("\r\n".join(f"user{k:02}.npz" for k in range(4)))
    (root / "trials_to_test.txt").write_text("user04.npz\nuser05.npz\n\n")
    samples = list(open_samples(root).rows)
    split = split_samples(samples, validation=0.25, test=0.5, seed=3)
    assert {s.path.name for s in split.test} == {"user04.npz", "user05.npz"}
    assert [len(part) for part in split] == [36, 12, 24]
    assert {s.part for s in split.train + split.validation} == {"train"}
    assert sorted(split.train + split.validation + split.test) == sorted(samples)
    assert split_samples(samples[::-1], validation=0.25, test=0.5, seed=3) == split


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        ({"user02_labels.csv": LABELS_HEAD}, "user02"),
        ({"user01.npy": ""}, "user01"),
        ({"user03.npz": ""}, "user03.npz"),
        ({"trials_to_test.txt": "user09.npz"}, "user09.npz"),
        ({"trials_to_train.txt": "user00.npz"}, "user01.npz"),  # it is in neither list
        ({"trials_to_test.txt": "user01.npz", "trials_to_train.txt": "user01.npz"}, "user01.npz"),
    ],
)
def test_odd_folders_of_labels_are_refused(tmp_path: Path, texts, named) -> None:
    root = pairs(tmp_path / "set", {"user00": "1,150,600\n", "user01": "1,150,600\n"})
    for name, text in texts.items():
        (root / name).write_text(text)
    with refused(FormatError, named):
        open_samples(root)
