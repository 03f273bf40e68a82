"""Labels of time spans in a file next to a recording, as in DVS128 Gesture, or with names.

The labels of `user01_natural.aedat` are in `user01_natural_labels.csv`: a line
`class,startTime_usec,endTime_usec`, then lines of three whole numbers. `gesture_mapping.csv` in the
same folder, with lines of `name,class`, names the classes. Alternatively the first line is
`start_us,stop_us,name`, and further lines have two whole numbers and a name. Fields may be quoted
as in any CSV (RFC 4180); a name with commas need not be.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from dvskit._files import read_regular, visible
from dvskit.errors import FormatError, MissingFileError
from dvskit.streams import Labels

LABELS_ENDING = "_labels.csv"
MAPPING_NAME = "gesture_mapping.csv"
Part = Literal["train", "test"]
_LISTS: tuple[tuple[str, Part], ...] = (
    ("trials_to_train.txt", "train"),
    ("trials_to_test.txt", "test"),
)
_COLUMNS = ("class", "starttime_usec", "endtime_usec")
_NAMED_COLUMNS = ("start_us", "stop_us", "name")
_LARGEST = 1 << 62


class LabeledRecording(NamedTuple):
    """A recording, its labels, and its part of the data set; None if not listed."""

    path: Path
    labels: Labels
    part: Part | None


def labels_path(recording: Path) -> Path:
    """Return the path of a recording's labels; the file may be missing."""
    return recording.with_name(recording.stem + LABELS_ENDING)


def labels_beside(recording: Path) -> Labels:
    """Return the labels of a recording; none without a file. Raises FormatError."""
    path = labels_path(recording)
    return read_labels(path) if path.exists() else Labels.empty()


def read_labels(path: Path) -> Labels:
    """Return the labels of a file, in order of their starts.

    Raises FormatError, with the line, for other columns, values that are not whole numbers, and
    spans that end before they start.
    """
    lines = _lines(path)
    found = tuple(name.lower() for name in _fields(path, 1, lines[0], 4)) if lines else ()
    if found not in (_COLUMNS, _NAMED_COLUMNS):
        raise FormatError(
            f"{path}: starts with {lines[0][:60] if lines else ''!r}; it must be the line "
            "class,startTime_usec,endTime_usec or start_us,stop_us,name"
        )
    names = None if found == _NAMED_COLUMNS else read_mapping(path.with_name(MAPPING_NAME))
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        row = _named_row(path, number, line) if names is None else _row(path, number, line, names)
        if row[1] < row[0]:
            raise FormatError(
                f"{path}: line {number} ends at {row[1]} us, before its start {row[0]} us"
            )
        rows.append(row)
    rows.sort(key=lambda row: row[:2])
    starts, stops, texts = zip(*rows, strict=True) if rows else ((), (), ())
    return Labels(np.array(starts, np.int64), np.array(stops, np.int64), texts)


def _lines(path: Path) -> list[str]:
    try:
        return read_regular(path).decode("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise MissingFileError(path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read as text: {error}") from error


def _fields(
    path: Path, number: int, line: str, most: int, *, name_first: bool = False
) -> list[str]:
    """Return the fields of a line, without quotes and the spaces around them.

    With more than `most` fields, the last ones, or the first, are joined: an unquoted name with
    commas.
    """
    try:
        # Spaces before a quote would make it a part of the field.
        (found,) = csv.reader([re.sub(r',\s+"', ',"', line)], strict=True)
    except csv.Error as error:
        raise FormatError(
            f"{path}: line {number} is {line[:60]!r}: {error}; close quotes in the same line, "
            'and double one within a name ("")'
        ) from None
    joined = len(found) - most + 1
    if joined > 1 and name_first:
        found = [",".join(found[:joined]), *found[joined:]]
    elif joined > 1:
        found = [*found[: most - 1], ",".join(found[most - 1 :])]
    return [field.strip() for field in found]


def _named_row(path: Path, number: int, line: str) -> tuple[int, int, str]:
    """Return start, stop and name of a line; the name may hold commas, in quotes or without."""
    *times, name = _fields(path, number, line, 3)
    whole = all(re.fullmatch(r"-?[0-9]{1,18}", part) for part in times)
    if len(times) != 2 or not whole or not name:
        raise FormatError(
            f"{path}: line {number} is {line[:60]!r}; it must be two whole numbers of "
            "microseconds and a name, start_us,stop_us,name"
        )
    return int(times[0]), int(times[1]), name


def _row(path: Path, number: int, line: str, names: dict[int, str]) -> tuple[int, int, str]:
    parts = _fields(path, number, line, 4)
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() for part in parts):
        raise FormatError(
            f"{path}: line {number} is {line[:60]!r}; it must be three whole numbers "
            "class,startTime_usec,endTime_usec"
        )
    kind, start, stop = (int(part) if len(part) < 20 else _LARGEST for part in parts)
    if max(kind, start, stop) >= _LARGEST:
        raise FormatError(f"{path}: line {number} holds a number that is too large: {line[:60]!r}")
    return start, stop, names.get(kind, str(kind))


def read_mapping(path: Path) -> dict[int, str]:
    """Return the names of classes; none without the file. Raises FormatError."""
    if not path.is_file():
        return {}
    names = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        *name, kind = _fields(path, number, line, 2, name_first=True)
        if number == 1 and not kind.isdecimal():
            continue  # the line that names the columns
        if not any(name) or not (kind.isascii() and kind.isdecimal()):
            raise FormatError(f"{path}: line {number} is {line[:60]!r}; it must be name,class")
        names[int(kind)] = name[0]
    return names


def find_labeled(folder: Path, is_recording: Callable[[Path], bool]) -> list[LabeledRecording]:
    """Return the files in a folder that are recordings, and their labels, by name.

    `trials_to_train.txt` and `trials_to_test.txt`, with a file name per line, give the part of each
    recording, if present. Raises FormatError for labels without a recording, a recording without
    labels or in neither list, and for invalid labels and lists.
    """
    entries = visible(folder)
    recordings = list(filter(is_recording, entries))
    parts = _listed_parts(folder, {entry.name for entry in recordings})
    by_stem: dict[str, Path] = {}
    for path in recordings:
        if by_stem.setdefault(path.stem, path) != path or not labels_path(path).is_file():
            raise FormatError(f"{path}: has no labels; add {labels_path(path)}")
        if parts and path.name not in parts:
            raise FormatError(f"{path}: is in neither {_LISTS[0][0]} nor {_LISTS[1][0]}")
    for entry in entries:
        if entry.name.endswith(LABELS_ENDING):
            stem = entry.name.removesuffix(LABELS_ENDING)
            if stem not in by_stem:
                raise FormatError(f"{entry}: the recording {stem} is missing")
    return [
        LabeledRecording(path, read_labels(labels_path(path)), parts.get(path.name))
        for path in recordings
    ]


def _listed_parts(folder: Path, names: set[str]) -> dict[str, Part]:
    """Return the part of each recording; empty without lists."""
    parts: dict[str, Part] = {}
    for file_name, part in _LISTS:
        path = folder / file_name
        for name in map(str.strip, _lines(path) if path.is_file() else []):
            if name and name not in names:
                raise FormatError(f"{path}: names {name[:60]!r}, which is not in {folder}")
            if name and parts.setdefault(name, part) != part:
                raise FormatError(f"{path}: names {name!r}, which the other list has too")
    return parts
