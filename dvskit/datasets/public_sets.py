"""Public data sets in their unpacked folders: DVS128 Gesture and six others.

    samples = open_public("dvs128-gesture", "DvsGesture")

Nothing is downloaded. If the folder is missing, the error names the download page and the expected
content. Sets with their own lists or folders for training and testing keep them as `part`. For sets
without them (N-Caltech101, CIFAR10-DVS, ASL-DVS) a tenth of each class is kept for the test by a
fixed seed, so all users report on the same samples. If files name the person, it is the `group`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from dvskit._arguments import check_arguments
from dvskit._files import visible
from dvskit.datasets.clips import Emulation
from dvskit.datasets.files import FileSamples
from dvskit.datasets.kinds import SampleReading
from dvskit.datasets.opening import find_spans
from dvskit.datasets.read_samples import (
    ReadSamples,
    indexed_rows,
    read_dvs128,
    read_mat,
    read_milliseconds,
)
from dvskit.datasets.sample import Part, Sample
from dvskit.datasets.samples import Samples
from dvskit.datasets.splits import split_samples
from dvskit.errors import ConfigError, FormatError, MissingFileError, did_you_mean
from dvskit.formats.labels import MAPPING_NAME, read_mapping

GESTURES = (
    "hand_clap", "right_hand_wave", "left_hand_wave", "right_arm_clockwise",
    "right_arm_counter_clockwise", "left_arm_clockwise", "left_arm_counter_clockwise", "arm_roll",
    "air_drums", "air_guitar", "other",
)  # fmt: skip
"""The classes of DVS128 Gesture in the order of their numbers, 1 to 11."""

_TEST_SHARE, _SEED = 0.1, 0  # for sets without their own lists; never change them
_USER = re.compile(r"user0*(\d+)")


@dataclass(frozen=True, slots=True)
class PublicSet:
    """A row of the table: the name of a set, its download page, and the content of its folder."""

    title: str
    where: str
    layout: str
    open: Callable[[Path, SampleReading], Samples | None]


@check_arguments
def open_public(name: str, folder: str | PathLike[str], *, strict: bool = True) -> Samples:
    """Open a public data set in its unpacked folder.

    name    dvs128-gesture, n-mnist, n-caltech101, n-cars, cifar10-dvs, asl-dvs or sl-animals-dvs
    folder  the folder of the set, or its parent
    strict  whether damage raises when a sample is read

    For DVS128 Gesture the original archive, tonic's folders and spikingjelly's are read; their
    class names are the same, those of GESTURES. Raises ConfigError for another name,
    MissingFileError if the folder is missing and FormatError if it does not hold the set; both name
    the download page.
    """
    if name not in PUBLIC_SETS:
        raise ConfigError(f"no data set {name!r}; {did_you_mean(name, PUBLIC_SETS)}")
    row, root = PUBLIC_SETS[name], Path(folder)
    if not root.is_dir():
        raise MissingFileError(root, _how_to_get(row))
    found = row.open(root, SampleReading(Emulation(), strict))
    if found is None or not len(found):
        raise FormatError(f"{root}: does not hold {row.title}; {_how_to_get(row)}")
    return found


def _how_to_get(row: PublicSet) -> str:
    return f"{row.title} can be downloaded from {row.where}; the folder holds {row.layout}"


def _reading(how: SampleReading, size: tuple[int, int]) -> SampleReading:
    """Return the parameters of reading files without a sensor size."""
    return SampleReading(Emulation(size=size), how.strict)


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


def _dvs128_gesture(root: Path, how: SampleReading) -> Samples | None:
    for folder in _inside(root, "DvsGesture", "DVS128Gesture", "DVSGesture", "extract"):
        for each in _inside(folder, "DvsGesture"):
            if (each / "trials_to_train.txt").is_file():
                return FileSamples(_with_users(_original(each)), how, classes=GESTURES)
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
            return FileSamples(_with_users(rows), _reading(how, (128, 128)), classes=GESTURES)
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


def _n_mnist(root: Path, how: SampleReading) -> Samples | None:
    for folder in _inside(root, "NMNIST", "N-MNIST"):
        if rows := _in_parts(folder, (".bin",)):
            return FileSamples(rows, _reading(how, (34, 34)))
    return None


def _n_caltech101(root: Path, how: SampleReading) -> Samples | None:
    for folder in _inside(root, "Caltech101", "NCALTECH101", "NCALTECH101/Caltech101"):
        if rows := _by_class(folder, (".bin",)):
            return FileSamples(_with_fixed_test(rows), _reading(how, (240, 180)))
    return None


def _n_cars(root: Path, how: SampleReading) -> Samples | None:
    for folder in _inside(root, "Prophesee_Dataset_n_cars", "NCARS"):
        if rows := _in_parts(folder, (".dat",), "n-cars_"):
            return FileSamples(rows, _reading(how, (120, 100)))
    return None


def _cifar10_dvs(root: Path, how: SampleReading) -> Samples | None:
    for folder in _inside(root, "CIFAR10DVS", "CIFAR10-DVS", "extract", "events_np"):
        if rows := _by_class(folder, (".aedat", ".aedat4")):
            return ReadSamples(_with_fixed_test(rows), read_dvs128)
        if rows := _by_class(folder, (".npz",)):
            return FileSamples(_with_fixed_test(rows), _reading(how, (128, 128)))
    return None


def _asl_dvs(root: Path, how: SampleReading) -> Samples | None:
    for folder in _inside(root, "ASLDVS", "ASL-DVS", "ICCV2019_DVS_dataset"):
        if rows := _by_class(folder, (".mat",)):
            return ReadSamples(_with_fixed_test(rows), read_mat)
    return None


def _sl_animals_dvs(root: Path, how: SampleReading) -> Samples | None:
    recordings = [file for file in sorted(root.rglob("*.aedat")) if file.is_file()]
    tags = {file.stem: file for file in sorted(root.rglob("*.csv")) if file.stem.startswith("user")}
    return indexed_rows(recordings, tags, _with_users) if recordings and tags else None


PUBLIC_SETS: dict[str, PublicSet] = {
    "dvs128-gesture": PublicSet(
        "DVS128 Gesture (Amir et al. 2017)",
        "https://research.ibm.com/interactive/dvsgesture/ (DvsGesture.tar.gz)",
        "user01_natural.aedat, user01_natural_labels.csv, ..., trials_to_train.txt and "
        "trials_to_test.txt; or tonic's ibmGestureTrain/user01_natural/0.npy and ibmGestureTest; "
        "or spikingjelly's events_np/train/0/user01_natural_0.npz and events_np/test",
        _dvs128_gesture,
    ),
    "n-mnist": PublicSet(
        "N-MNIST (Orchard et al. 2015)",
        "https://www.garrickorchard.com/datasets/n-mnist (Train.zip, Test.zip)",
        "Train/0/00002.bin, ... and Test/0/00004.bin, ...",
        _n_mnist,
    ),
    "n-caltech101": PublicSet(
        "N-Caltech101 (Orchard et al. 2015)",
        "https://www.garrickorchard.com/datasets/n-caltech101 (Caltech101.zip)",
        "Caltech101/accordion/image_0001.bin, ...",
        _n_caltech101,
    ),
    "n-cars": PublicSet(
        "N-Cars (Sironi et al. 2018)",
        "https://www.prophesee.ai/dataset-n-cars-download/",
        "n-cars_train/cars/obj_004397_td.dat, n-cars_train/background, ... and n-cars_test",
        _n_cars,
    ),
    "cifar10-dvs": PublicSet(
        "CIFAR10-DVS (Li et al. 2017)",
        "https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671 (ten .zip files)",
        "airplane/cifar10_airplane_0.aedat, ..., truck",
        _cifar10_dvs,
    ),
    "asl-dvs": PublicSet(
        "ASL-DVS (Bi et al. 2019)",
        "https://github.com/PIX2NVS/NVS2Graph (ICCV2019_DVS_dataset)",
        "a/a_0001.mat, ..., y",
        _asl_dvs,
    ),
    "sl-animals-dvs": PublicSet(
        "SL-Animals-DVS (Vasudevan et al. 2021)",
        "http://www2.imse-cnm.csic.es/neuromorphs/index.php/SL-ANIMALS-DVS-Database",
        "user00_indoor.aedat, ... and, next to them or in another folder, their tags "
        "user00_indoor.csv (class,startTime_ev,endTime_ev)",
        _sl_animals_dvs,
    ),
}
