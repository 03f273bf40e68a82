"""Samples in files of data sets with a layout of their own.

Tags of SL-Animals-DVS count parts of recordings in events. A tag file is a CSV with the line
class,startTime_ev,endTime_ev and one line per sign: the number of the class, of the first event,
and of the event after the last. The numbers count the events of the recording of the same name,
from 0. Layout: the set's own data/README.txt.
"""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._files import open_regular
from dvskit.datasets.samples import Sample, Samples
from dvskit.errors import DvskitError, FormatError, one_line
from dvskit.events import Events, Size, polarity_column
from dvskit.formats import open_events
from dvskit.formats.content import content_digest, digest_of
from dvskit.formats.matlab import load_mat
from dvskit.formats.table import find_format

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

    def fingerprint(self, number: int) -> str:
        """Return a digest of the file's bytes and of the way they are read."""
        return digest_of((content_digest(self.rows[number].file), self.read.__name__))


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
    if not np.isfinite(whole).all():
        raise FormatError(f"{path}: row {_first(~np.isfinite(whole).all(axis=1))} is not a number")
    x, y, p, t = whole.astype(np.int64).T
    return _checked(path, t, x, y, p, _DVS128)


def read_mat(path: Path) -> Events:
    """Return the events of ASL-DVS: a MATLAB file of the vectors ts (microseconds), x, y and pol.

    It is from a DAVIS240, 240x180, and counts y from the bottom. Raises FormatError for others.
    """
    columns = [column.ravel() for column in _vectors(path, ("ts", "x", "y", "pol"))]
    if len({len(column) for column in columns}) > 1:
        lengths = ", ".join(str(len(column)) for column in columns)
        raise FormatError(f"{path}: ts, x, y and pol must have equal lengths, not {lengths}")
    for name, column in zip(("ts", "x", "y", "pol"), columns, strict=True):
        if column.dtype.kind not in "iufb" or not np.array_equal(column, np.rint(column)):
            raise FormatError(f"{path}: {name} ({column.dtype}) holds values that are not whole")
    t, x, y, p = (column.astype(np.int64) for column in columns)
    return _checked(path, t, x, _DAVIS240.height - 1 - y, p, _DAVIS240)


def _vectors(path: Path, names: tuple[str, ...]) -> list[NDArray[Any]]:
    found = load_mat(path, names)
    missing = [name for name in names if name not in found]
    if missing:
        raise FormatError(
            f"{path}: holds no {' and no '.join(missing)}; it is not a file of ASL-DVS"
        )
    return [found[name] for name in names]


def _first(wrong: NDArray[np.bool_]) -> int:
    return int(wrong.argmax())


def _checked(
    path: Path,
    t: NDArray[np.int64],
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    p: NDArray[np.int64],
    size: Size,
) -> Events:
    """Return columns as events. Raises FormatError with the first invalid one."""
    off = (x < 0) | (x >= size.width) | (y < 0) | (y >= size.height)
    if off.any():
        row = _first(off)
        raise FormatError(f"{path}: event {row} at ({x[row]}, {y[row]}) is off the {size} sensor")
    back = np.diff(t, prepend=t[:1]) < 0
    if back.any():
        row = _first(back)
        raise FormatError(f"{path}: event {row}: time runs back from {t[row - 1]} to {t[row]} us")
    try:
        return Events(t=t, x=x, y=y, p=polarity_column(p), size=size)
    except DvskitError as error:
        raise FormatError(f"{path}: {error}") from error


ANIMALS = (
    "cat", "dog", "camel", "cow", "sheep", "goat", "wolf", "squirrel", "mouse", "dolphin", "shark",
    "lion", "monkey", "snake", "spider", "butterfly", "bird", "duck", "zebra",
)  # fmt: skip
"""The classes of SL-Animals-DVS in the order of their numbers, 1 to 19."""

_COLUMNS = ("class", "starttime_ev", "endtime_ev")


class Tagged(NamedTuple):
    """A sign within a recording: the numbers of its first event and of the event after its last."""

    sample: Sample
    start: int
    stop: int


class IndexedSamples(Samples):
    """Samples that are numbered ranges of the events of a recording.

    A recording is read whole for each sample, and only the last one is kept: read the samples of a
    recording in succession, or through a cache.
    """

    draws = False

    def __init__(self, tagged: Iterable[Tagged], classes: Sequence[str] | None = None) -> None:
        self._tagged = tuple(tagged)
        super().__init__((each.sample for each in self._tagged), classes)
        self._lock = threading.Lock()
        self._latest: tuple[Path, Events] | None = None

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample. Raises FormatError if the recording is too short."""
        sample, start, stop = self._tagged[number]
        whole = self._recording(sample.file)
        if stop > len(whole):
            raise FormatError(
                f"{sample.where}: has {len(whole):,} events, but {sample.label} is tagged as "
                f"events {start:,} to {stop:,}"
            )
        return whole[start:stop]

    def _recording(self, path: Path) -> Events:
        with self._lock:
            if self._latest is None or self._latest[0] != path:
                self._latest = (path, read_dvs128(path))
            return self._latest[1]

    def fingerprint(self, number: int) -> str:
        """Return a digest of the recording's bytes and of the numbers of its events."""
        sample, start, stop = self._tagged[number]
        return digest_of((content_digest(sample.file), f"{start} {stop}"))


def indexed_rows(
    recordings: Iterable[Path],
    tags: Mapping[str, Path],
    group: Callable[[Iterable[Sample]], list[Sample]],
) -> IndexedSamples:
    """Return the samples of recordings and tag files with the same names.

    Raises FormatError for a recording without tags, tags without a recording, and invalid tags.
    """
    by_stem: dict[str, Path] = {}
    for path in recordings:
        first = by_stem.setdefault(path.stem, path)
        if first != path:
            raise FormatError(f"{path}: has the same name as {first}; remove one of them")
    for path in by_stem.values():
        if path.stem not in tags:
            raise FormatError(f"{path}: has no tags; add {path.with_suffix('.csv').name}")
    for stem, tag in tags.items():
        if stem not in by_stem:
            raise FormatError(f"{tag}: the recording {stem}.aedat is missing")
    found = [row for stem, path in by_stem.items() for row in read_tags(tags[stem], path)]
    grouped = group(each.sample for each in found)
    tagged = [each._replace(sample=row) for each, row in zip(found, grouped, strict=True)]
    return IndexedSamples(tagged, ANIMALS)


def read_tags(path: Path, recording: Path) -> list[Tagged]:
    """Return the signs of a recording in a tag file. Raises FormatError, with the line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [[field.strip() for field in line] for line in csv.reader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path}: cannot be read as text: {error}") from error
    if not lines or tuple(field.lower() for field in lines[0][:3]) != _COLUMNS:
        raise FormatError(
            f"{path}: starts with {lines[:1]}, not with class,startTime_ev,endTime_ev"
        )
    found = []
    for number, line in enumerate(lines[1:], 2):
        if not any(line):
            continue
        if len(line) < 3 or not all(field.isascii() and field.isdecimal() for field in line[:3]):
            raise FormatError(
                f"{path}: line {number} is {','.join(line)[:60]!r}; it must be three whole "
                "numbers, class,startTime_ev,endTime_ev"
            )
        kind, start, stop = map(int, line[:3])
        if not 1 <= kind <= len(ANIMALS) or stop <= start:
            raise FormatError(
                f"{path}: line {number}: class {kind}, events {start} to {stop}; the class must be "
                f"1 to {len(ANIMALS)}, and the end after the start"
            )
        label = ANIMALS[kind - 1]
        name = f"{recording.stem}/{label}-{number - 1:02}"
        found.append(Tagged(Sample(name, label, path=recording), start, stop))
    return found
