"""The layouts of public data sets, and the files of data sets that no format of `dvskit` names.

Each function `open_...` opens a folder, or returns None if it does not hold the set.

Tags of SL-Animals-DVS count parts of recordings in events. A tag file is a CSV with the line
class,startTime_ev,endTime_ev and one line per sign: the number of the class, of the first event,
and of the event after the last. The numbers count the events of the recording of the same name,
from 0. Layout: the set's own data/README.txt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._files import open_regular, visible
from dvskit.datasets.files import Emulation, FileSamples, SampleReading
from dvskit.datasets.folders import find_spans, read_table
from dvskit.datasets.samples import Part, Sample, Samples
from dvskit.datasets.splits import split_samples
from dvskit.errors import DvskitError, FormatError, one_line
from dvskit.events import Events, Size
from dvskit.events.columns import polarity_column
from dvskit.formats import open_events
from dvskit.formats.content import content_digest, digest_of
from dvskit.formats.labels import MAPPING_NAME, read_mapping
from dvskit.formats.matlab import load_mat
from dvskit.formats.table import find_format

# -- files of their own

_DVS128 = Size(128, 128)
_DAVIS240 = Size(240, 180)


class ReadSamples(Samples):
    """Samples in files, each read by a function of its path.

    rows, classes, labels  as in `Samples`
    read                   returns the events of a file; raises FormatError with its path
    """

    draws = False

    def __init__(
        self,
        rows: Iterable[Sample],
        read: Callable[[Path], Events],
        *,
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__(rows, classes)
        self.read = read

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample; there is no chance in them."""
        return self.read(self.rows[number].file)

    def _identity(self, number: int) -> str:
        """Return everything except the bytes of its file that the events of a sample depend on."""
        return self.read.__name__

    def fingerprint(self, number: int) -> str:
        """Return a digest of the file's bytes and of the way they are read."""
        return digest_of((content_digest(self.rows[number].file), self._identity(number)))


def read_dvs128(path: Path) -> Events:
    """Return the events of a recording of a DVS128, even if jAER's header does not name it.

    Recordings of other formats keep their own size. Raises the errors of `open_events` and reading.
    """
    unnamed = find_format(path).name == "aedat2"
    return open_events(path, format="aedat2:DVS128" if unnamed else None).load()


def read_milliseconds(path: Path) -> Events:
    """Return the events of tonic's DVS128 Gesture: an N x 4 .npy of x, y, p and t in milliseconds.

    Raises FormatError for other arrays and for values that are not events of a DVS128.
    """
    try:
        with open_regular(path) as file:
            rows = np.load(file)
    except Exception as error:  # the header is parsed as Python: damage raises any error
        raise FormatError(f"{path}: is not a NumPy array: {one_line(error)}") from error
    if rows.ndim != 2 or rows.shape[1] != 4 or rows.dtype.kind not in "iuf":
        raise FormatError(
            f"{path}: holds {rows.shape} {rows.dtype}; it must hold N rows of x, y, p and t in "
            "milliseconds, as in tonic's ibmGestureTrain"
        )
    whole = np.rint(rows.astype(np.float64) * [1, 1, 1, 1000])
    finite = np.isfinite(whole).all(axis=1)
    if not finite.all():
        raise FormatError(f"{path}: row {finite.argmin()} is not a number")
    x, y, p, t = whole.astype(np.int64).T
    return _checked_events(path, t, x, y, p, _DVS128)


def read_mat(path: Path) -> Events:
    """Return the events of ASL-DVS: a MATLAB file of the vectors ts (microseconds), x, y and pol.

    It is from a DAVIS240, 240x180, and counts y from the bottom. Raises FormatError for others.
    """
    names = ("ts", "x", "y", "pol")
    found = load_mat(path, names)
    missing = [name for name in names if name not in found]
    if missing:
        raise FormatError(
            f"{path}: holds no {' and no '.join(missing)}; it is not a file of ASL-DVS"
        )
    columns = [found[name].ravel() for name in names]
    for name, column in zip(names, columns, strict=True):
        if column.dtype.kind not in "iufb" or not np.array_equal(column, np.rint(column)):
            raise FormatError(f"{path}: {name} ({column.dtype}) holds values that are not whole")
    t, x, y, p = (column.astype(np.int64) for column in columns)
    return _checked_events(path, t, x, _DAVIS240.height - 1 - y, p, _DAVIS240)


def _checked_events(
    path: Path,
    t: NDArray[np.int64],
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    p: NDArray[np.int64],
    size: Size,
) -> Events:
    """Return columns as events. Raises FormatError with the first invalid one."""
    try:
        return Events(t=t, x=x, y=y, p=polarity_column(p), size=size)
    except DvskitError as error:
        raise FormatError(f"{path}: {error}") from error


# -- signs of SL-Animals-DVS

ANIMALS = (
    "cat", "dog", "camel", "cow", "sheep", "goat", "wolf", "squirrel", "mouse", "dolphin", "shark",
    "lion", "monkey", "snake", "spider", "butterfly", "bird", "duck", "zebra",
)  # fmt: skip
"""The classes of SL-Animals-DVS in the order of their numbers, 1 to 19."""

_COLUMNS = ["class", "starttime_ev", "endtime_ev"]


class _Sign(NamedTuple):
    """A sign in a recording: the numbers of its first event and of the event after its last."""

    sample: Sample
    start: int
    stop: int


class SignSamples(ReadSamples):
    """Samples that are numbered ranges of the events of a recording.

    A recording is read whole for each sample, and only the last one is kept: read the samples of a
    recording in succession, or through a cache.
    """

    def __init__(self, signs: Iterable[_Sign]) -> None:
        self._signs = tuple(signs)
        rows = [sign.sample for sign in self._signs]
        super().__init__(rows, lru_cache(maxsize=1)(read_dvs128), classes=ANIMALS)

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample. Raises FormatError if the recording is too short."""
        sample, start, stop = self._signs[number]
        whole = super().events(number)
        if stop > len(whole):
            raise FormatError(
                f"{sample.where}: has {len(whole):,} events, but {sample.label} is tagged as "
                f"events {start:,} to {stop:,}"
            )
        return whole[start:stop]

    def _identity(self, number: int) -> str:
        return f"{self._signs[number].start} {self._signs[number].stop}"


def _read_signs(recordings: Iterable[Path], tags: Mapping[str, Path]) -> list[_Sign]:
    """Return the signs of recordings and tag files with the same names.

    Raises FormatError for a recording without tags, tags without a recording, and invalid tags.
    """
    by_stem: dict[str, Path] = {}
    for path in recordings:
        first = by_stem.setdefault(path.stem, path)
        if first != path:
            raise FormatError(f"{path}: has the same name as {first}; remove one of them")
        if path.stem not in tags:
            raise FormatError(f"{path}: has no tags; add {path.with_suffix('.csv').name}")
    for stem, tag in tags.items():
        if stem not in by_stem:
            raise FormatError(f"{tag}: the recording {stem}.aedat is missing")
    return [sign for stem, path in by_stem.items() for sign in _read_tags(tags[stem], path)]


def _read_tags(path: Path, recording: Path) -> Iterator[_Sign]:
    """Yield the signs of a recording in a tag file. Raises FormatError, with the line."""
    table = read_table(path)
    if not table or [field.lower() for field in table[0][1][:3]] != _COLUMNS:
        raise FormatError(f"{path}: does not start with the line class,startTime_ev,endTime_ev")
    for number, fields in table[1:]:
        if len(fields) < 3 or not all(
            field.isascii() and field.isdecimal() for field in fields[:3]
        ):
            raise FormatError(
                f"{path}: line {number} is {','.join(fields)[:60]!r}; it must be three whole "
                "numbers, class,startTime_ev,endTime_ev"
            )
        kind, start, stop = map(int, fields[:3])
        if not 1 <= kind <= len(ANIMALS) or stop <= start:
            raise FormatError(
                f"{path}: line {number}: class {kind}, events {start} to {stop}; the class must be "
                f"1 to {len(ANIMALS)}, and the end after the start"
            )
        label = ANIMALS[kind - 1]
        name = f"{recording.stem}/{label}-{number - 1:02}"
        yield _Sign(Sample(name, label, path=recording), start, stop)


# -- folders

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
    if not recordings or not tags:
        return None
    signs = _read_signs(recordings, tags)
    rows = _with_users(sign.sample for sign in signs)
    return SignSamples(sign._replace(sample=row) for sign, row in zip(signs, rows, strict=True))
