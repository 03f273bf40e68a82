"""Lists of samples: one file per line with its label, and optional properties.

    file,label,group,start,stop,part
    wave/anna_1.mp4,wave,anna,0.5s,2.5s,train
    wave/anna_1.mp4,wave,anna,3s,5s,train
    ben.raw,clap,ben,,,test

The first line names the columns, in any order. `file` and `label` are required; a list of two
columns needs no such line. Files are relative to the list. `start` and `stop` are whole
microseconds, in a clip from its first frame on. They may have a unit (1.5s, 300ms, 20us), or the
name of their column has one (start_s, stop_ms); an empty field leaves that side open. `part` is
train, validation (val, dev) or test. Fields may be quoted (RFC 4180). Semicolons or tabs may
replace commas. Empty lines and lines that begin with # are skipped.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from dvskit._arguments import TIME_UNITS_US
from dvskit._files import read_regular
from dvskit.datasets.files import Found, LeftOut
from dvskit.datasets.sample import Part, Sample
from dvskit.datasets.tree import PARTS, check_cases, plain_name
from dvskit.errors import FormatError, MissingFileError, did_you_mean

_COLUMNS = {
    "file": ("file", "path", "filename", "file_name", "filepath", "recording", "video", "clip"),
    "label": ("label", "class", "gesture", "action", "category"),
    "group": ("group", "person", "subject", "user", "participant", "signer", "actor"),
    "part": ("part", "split", "set", "subset", "fold"),
    "start": ("start", "begin", "onset"),
    "stop": ("stop", "end", "offset"),
}
_UNITS = {"": 1} | {unit: TIME_UNITS_US[unit] for unit in ("us", "ms", "s")}
_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(us|µs|ms|s|)")
OPEN_END_US = 1 << 62  # the stop of a span without an end


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a list, by the names of columns, with the units of times in these names."""

    path: Path
    number: int
    fields: dict[str, str]
    units: dict[str, str]

    def wrong(self, text: str) -> FormatError:
        return FormatError(f"{self.path}: line {self.number}: {text}")

    def value(self, column: str) -> str:
        return self.fields.get(column, "")


@dataclass(frozen=True, slots=True)
class _Header:
    """The columns of a list, in order, None for unknown ones; and units of times."""

    columns: tuple[str | None, ...]
    units: dict[str, str]
    unknown: tuple[str, ...]


def read_list(path: Path, *, strict: bool = True) -> Found:
    """Return the samples of a list, in its order.

    Raises FormatError with the line for errors in the list, MissingFileError with the line for a
    missing file; without `strict` missing files are left out.
    """
    rows = _table(path)
    if not rows:
        raise FormatError(f"{path}: is empty; write the line file,label and one line per sample")
    header = _header(path, rows[0][1])
    body = rows if header is None else rows[1:]
    known = header or _Header(("file", "label"), {}, ())
    found = Found([], [], [], [])
    lines: dict[tuple[Path, tuple[int, int] | None], _Line] = {}
    for number, fields in body:
        line = _Line(path, number, _named(path, number, fields, known), known.units)
        try:
            sample = _sample(line)
        except MissingFileError as error:
            if strict:
                raise
            found.left_out.append(LeftOut(Path(error.filename), str(error)))
            continue
        first = lines.setdefault((sample.file.resolve(), sample.span), line)
        if first is not line:
            raise line.wrong(
                f"{line.value('file')} is in line {first.number} already, with the label "
                f"{first.value('label')!r} and the same times; remove one of them"
            )
        found.rows.append(sample)
    check_cases(path, sorted({row.label for row in found.rows}))
    if not found.rows:
        raise FormatError(f"{path}: names no existing files; write one line per sample")
    if known.unknown:
        found.notes.append(f"its columns {', '.join(known.unknown)} are ignored")
    return found


def _table(path: Path) -> list[tuple[int, list[str]]]:
    """Return numbers and fields of the lines that are not empty or comments."""
    try:
        text = read_regular(path).decode("utf-8-sig")
    except FileNotFoundError:
        raise MissingFileError(path) from None
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    first = next((line for line in text.splitlines() if line.strip()), "")
    mark = next((mark for mark in ",;\t" if mark in first), ",")
    reader = csv.reader(text.splitlines(keepends=True), delimiter=mark, strict=True)
    rows = []
    try:
        for fields in reader:
            given = [field.strip() for field in fields]
            if any(given) and not given[0].startswith("#"):
                rows.append((reader.line_num, given))
    except csv.Error as error:
        raise FormatError(f"{path}: line {reader.line_num}: {error}; close its quotes") from None
    return rows


def _header(path: Path, fields: Sequence[str]) -> _Header | None:
    """Return the columns named in the first line; None if that is a sample of two columns."""
    columns: list[str | None] = []
    units: dict[str, str] = {}
    unknown = []
    for field in fields:
        name, _, unit = field.lower().replace(" ", "_").partition("_")
        column = _column(field.lower())
        if column is None and unit in _UNITS and _column(name) in ("start", "stop"):
            column = _column(name)
            units[str(column)] = unit
        if column is not None and column in columns:
            raise FormatError(f"{path}: line 1: two columns named {column}; rename one")
        unknown += [field] if column is None else []
        columns.append(column)
    if "file" in columns and "label" in columns:
        return _Header(tuple(columns), units, tuple(unknown))
    if len(fields) == 2 and not any(columns):
        return None
    missing = "file" if "file" not in columns else "label"
    raise FormatError(
        f"{path}: line 1 has no column {missing!r}; begin with a line such as file,label or "
        "file,label,group,start,stop,part"
    )


def _column(name: str) -> str | None:
    return next((column for column, names in _COLUMNS.items() if name in names), None)


def _named(path: Path, number: int, fields: list[str], header: _Header) -> dict[str, str]:
    if len(fields) > len(header.columns) and any(fields[len(header.columns) :]):
        raise FormatError(
            f"{path}: line {number}: {len(fields)} fields for {len(header.columns)} columns; quote "
            "fields with commas"
        )
    pairs = zip(header.columns, fields, strict=False)
    return {column: field for column, field in pairs if column is not None}


def _sample(line: _Line) -> Sample:
    written, label = line.value("file"), line.value("label")
    if not written or not label:
        raise line.wrong(f"has no {'label' if written else 'file'}; write it, or remove the line")
    root = line.path.parent
    file = root / written
    if not _exists(file, line) and "\\" in written:  # a path of Windows
        file = root / written.replace("\\", "/")
    if not _exists(file, line):
        raise MissingFileError(
            file,
            f"line {line.number} of {line.path} names it (files are relative to the list); correct "
            "the line, or skip missing files with strict=False",
        )
    return Sample(
        plain_name(Path(os.path.relpath(file, root)).as_posix()),
        plain_name(label),
        group=plain_name(line.value("group")) or None,
        part=_part(line),
        path=file,
        span=_span(line),
    )


def _exists(file: Path, line: _Line) -> bool:
    try:
        return file.exists()
    except OSError as error:
        raise line.wrong(f"names a file that cannot be found: {error.strerror or error}") from error


def _part(line: _Line) -> Part | None:
    said = line.value("part")
    if not said:
        return None
    part = PARTS.get(said.casefold())
    if part is None:
        raise line.wrong(f"part {said!r}; {did_you_mean(said, PARTS)}")
    return part


def _span(line: _Line) -> tuple[int, int] | None:
    start, stop = (_time_us(line, column) for column in ("start", "stop"))
    if start is None and stop is None:
        return None
    span = start or 0, OPEN_END_US if stop is None else stop
    if span[1] <= span[0]:
        raise line.wrong(f"stops at {span[1]} us, not after its start at {span[0]} us")
    return span


def _time_us(line: _Line, column: str) -> int | None:
    said = line.value(column)
    if not said:
        return None
    found = _TIME.fullmatch(said.lower())
    unit = line.units.get(column, "")
    if found is None or (found[2] and unit):
        raise line.wrong(
            f"{column} {said!r} is not a time; write whole microseconds, or 1.5s, 300ms, 20us"
        )
    time_us = Decimal(found[1]) * _UNITS[found[2].replace("µ", "u") or unit]
    if "." in found[1] and not (found[2] or unit):
        raise line.wrong(
            f"{column} {said!r} is not a whole number of microseconds; for seconds write {said}s "
            f"or name the column {column}_s"
        )
    return round(time_us)
