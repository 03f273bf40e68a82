"""The layouts of public data sets.

Each function opens a folder, or returns None if it does not hold the set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from dvskit._files import visible
from dvskit.datasets.files import Emulation, FileSamples, SampleReading
from dvskit.datasets.folders import find_spans
from dvskit.datasets.read_samples import (
    ReadSamples,
    indexed_rows,
    read_dvs128,
    read_mat,
    read_milliseconds,
)
from dvskit.datasets.samples import Part, Sample, Samples
from dvskit.datasets.splits import split_samples
from dvskit.errors import FormatError
from dvskit.formats.labels import MAPPING_NAME, read_mapping

GESTURES = (
    "hand_clap", "right_hand_wave", "left_hand_wave", "right_arm_clockwise",
    "right_arm_counter_clockwise", "left_arm_clockwise", "left_arm_counter_clockwise", "arm_roll",
    "air_drums", "air_guitar", "other",
)  # fmt: skip
"""The classes of DVS128 Gesture in the order of their numbers, 1 to 11."""

_TEST_SHARE, _SEED = 0.1, 0  # for sets without their own lists; never change them
_USER = re.compile(r"user0*(\d+)")


def _reading(width: int, height: int) -> SampleReading:
    """Return the parameters of reading files without a sensor size."""
    return SampleReading(Emulation(size=(width, height)))


def _inside(root: Path, *names: str) -> Iterator[Path]:
    """Yield the folder and its existing subfolders with the given names."""
    yield root
    yield from (root / name for name in names if (root / name).is_dir())


def _folders(folder: Path) -> Iterator[Path]:
    return (entry for entry in visible(folder) if entry.is_dir())


def _files(folder: Path, *suffixes: str) -> Iterator[Path]:
    return (entry for entry in visible(folder) if entry.suffix.lower() in suffixes)


def _by_class(
    root: Path, suffixes: tuple[str, ...], part: Part | None = None, *, above: str = ""
) -> list[Sample]:
    """Return the files of `root/<class>/`, with the folder names as classes."""
    return [
        Sample(f"{above}{kind.name}/{file.name}", kind.name, part=part, path=file)
        for kind in _folders(root)
        for file in _files(kind, *suffixes)
    ]


def _in_parts(root: Path, suffixes: tuple[str, ...], prefix: str = "") -> list[Sample]:
    """Return the files of `root/<prefix>train/<class>/` and the test folder, in any case."""
    parts: dict[str, Part] = {f"{prefix}train": "train", f"{prefix}test": "test"}
    rows = []
    for folder in _folders(root):
        part = parts.get(folder.name.lower())
        if part is not None:
            rows += _by_class(folder, suffixes, part, above=f"{folder.name}/")
    return rows


def _with_fixed_test(rows: list[Sample]) -> list[Sample]:
    """Return the samples with a fixed tenth of each class kept for the test."""
    held = set(split_samples(rows, validation=0.0, test=_TEST_SHARE, seed=_SEED).test)
    return [row._replace(part="test" if row in held else "train") for row in rows]


def _with_users(rows: Iterable[Sample]) -> list[Sample]:
    """Return the samples, grouped by the user in their names."""
    found = []
    for row in rows:
        user = _USER.search(row.name)
        found.append(row if user is None else row._replace(group=user[1]))
    return found


def open_dvs128_gesture(root: Path) -> Samples | None:
    """Open DVS128 Gesture: the original archive, tonic's folders or spikingjelly's."""
    for folder in _inside(root, "DvsGesture", "DVS128Gesture", "DVSGesture", "extract"):
        for each in _inside(folder, "DvsGesture"):
            if (each / "trials_to_train.txt").is_file():
                return FileSamples(_with_users(_original(each)), classes=GESTURES)
        parts: dict[str, Part] = {"ibmGestureTrain": "train", "ibmGestureTest": "test"}
        rows = [row for name, part in parts.items() for row in _tonic_rows(folder / name, part)]
        if rows:
            return ReadSamples(rows, read_milliseconds, classes=GESTURES)
        events = folder / "events_np"
        if events.is_dir():
            rows = [
                row._replace(label=_gesture(row.where, row.label, first=0))
                for row in _in_parts(events, (".npz",))
            ]
            return FileSamples(_with_users(rows), _reading(128, 128), classes=GESTURES)
    return None


def _original(folder: Path) -> list[Sample]:
    numbers = {name: str(number) for number, name in read_mapping(folder / MAPPING_NAME).items()}
    return [
        row._replace(label=_gesture(row.where, numbers.get(row.label, row.label), first=1))
        for row in find_spans(folder)
    ]


def _tonic_rows(folder: Path, part: Part) -> list[Sample]:
    """Return `<user>_<light>/<number from 0>.npy` in tonic's folders."""
    if not folder.is_dir():
        return []
    rows = [
        Sample(f"{folder.name}/{trial.name}/{file.name}", file.stem, part=part, path=file)
        for trial in _folders(folder)
        for file in _files(trial, ".npy")
    ]
    return _with_users(row._replace(label=_gesture(row.where, row.label, first=0)) for row in rows)


def _gesture(where: str, number: str, first: int) -> str:
    """Return the name of a gesture by its number; `first` is the number of the first one."""
    place = int(number) - first if number.isascii() and number.isdecimal() else -1
    if not 0 <= place < len(GESTURES):
        last = first + len(GESTURES) - 1
        raise FormatError(f"{where}: class {number!r} must be {first} to {last}")
    return GESTURES[place]


def open_n_mnist(root: Path) -> Samples | None:
    """Open N-MNIST."""
    for folder in _inside(root, "NMNIST", "N-MNIST"):
        if rows := _in_parts(folder, (".bin",)):
            return FileSamples(rows, _reading(34, 34))
    return None


def open_n_caltech101(root: Path) -> Samples | None:
    """Open N-Caltech101."""
    for folder in _inside(root, "Caltech101", "NCALTECH101", "NCALTECH101/Caltech101"):
        if rows := _by_class(folder, (".bin",)):
            return FileSamples(_with_fixed_test(rows), _reading(240, 180))
    return None


def open_n_cars(root: Path) -> Samples | None:
    """Open N-Cars."""
    for folder in _inside(root, "Prophesee_Dataset_n_cars", "NCARS"):
        if rows := _in_parts(folder, (".dat",), "n-cars_"):
            return FileSamples(rows, _reading(120, 100))
    return None


def open_cifar10_dvs(root: Path) -> Samples | None:
    """Open CIFAR10-DVS: recordings, or spikingjelly's arrays."""
    for folder in _inside(root, "CIFAR10DVS", "CIFAR10-DVS", "extract", "events_np"):
        if rows := _by_class(folder, (".aedat", ".aedat4")):
            return ReadSamples(_with_fixed_test(rows), read_dvs128)
        if rows := _by_class(folder, (".npz",)):
            return FileSamples(_with_fixed_test(rows), _reading(128, 128))
    return None


def open_asl_dvs(root: Path) -> Samples | None:
    """Open ASL-DVS."""
    rows: list[Sample] = []
    for folder in _inside(root, "ASLDVS", "ASL-DVS", "ICCV2019_DVS_dataset"):
        rows = rows or _by_class(folder, (".mat",))
    if not rows:  # also below folders of people
        rows = [
            Sample(file.relative_to(root).as_posix(), file.parent.name, path=file)
            for file in sorted(root.rglob("*.mat"))
            if len(file.parent.name) == 1
        ]
    return ReadSamples(_with_fixed_test(rows), read_mat) if rows else None


def open_sl_animals_dvs(root: Path) -> Samples | None:
    """Open SL-Animals-DVS."""
    recordings = [file for file in sorted(root.rglob("*.aedat")) if file.is_file()]
    tags = {file.stem: file for file in sorted(root.rglob("*.csv")) if file.stem.startswith("user")}
    return indexed_rows(recordings, tags, _with_users) if recordings and tags else None
