"""CSV: one event per line, whole microseconds, polarity 0 or 1, or -1 or 1.

A header line may name the columns, in any order. The name of the format may also do so:
`csv:x,y,t_s,p` (`t_s` for seconds, `-` for an ignored column); it overrides a header. The default
is t, x, y, p. Separators are commas, semicolons, tabs or spaces. Lines that begin with # or % are
comments. The sensor's size is read from faery's header, `t,x@1280,y@720,on`, or Metavision's line,
`%geometry:1280,720`.
"""

from __future__ import annotations

import re

from dvskit.errors import ConfigError, FormatError
from dvskit.events import Size, as_size
from dvskit.formats.recording import ReadOptions
from dvskit.formats.text import line_kernels as k
from dvskit.formats.text.lines import (
    FirstLines,
    LineLayout,
    TextFormat,
    TextRecording,
    TextSink,
    no_lines,
)

_ORDER = (k.TIME, k.COLUMN, k.ROW, k.POLARITY)
_TIMES = ("t", "time", "timestamp", "ts")
_NAMES = {
    "x": k.COLUMN,
    "y": k.ROW,
    "p": k.POLARITY,
    "pol": k.POLARITY,
    "on": k.POLARITY,
    "polarity": k.POLARITY,
}
_MEND = (
    "name the columns in a first line or by format=, such as csv:x,y,t,p (t_s for seconds, - for "
    "columns to ignore)"
)


class CsvRecording(TextRecording):
    """Events of a CSV file."""

    format = "csv"


class CsvSink(TextSink):
    """Writes a CSV file: a header line, then t,x,y,p with whole microseconds.

    The header is the plain one, which all readers accept; some fail at faery's, which has the size.
    """

    format = "csv"
    head = b"t,x,y,p\n"
    separator = b","
    seconds = False


def _split(line: str) -> list[str]:
    parts = re.split(r"[,;]", line) if re.search(r"[,;]", line) else line.split()
    return [part.strip().strip('"').strip().lower().replace(" ", "") for part in parts]


def _kind(name: str) -> tuple[int, bool]:
    """Return the kind of a column by its name, and whether it is in seconds."""
    if name in _TIMES:
        return k.TIME, False
    unit = re.fullmatch(r"(\w+?)[_\[(](us|s)[\])]?", name)
    if unit and unit[1] in _TIMES:
        return k.TIME, unit[2] == "s"
    return _NAMES.get(name, k.OTHER), False


def _fields(names: list[str]) -> tuple[tuple[int, ...] | None, bool]:
    """Return the kinds of the fields of a line by name, and whether times are in seconds.

    None unless each of time, column, row and polarity occurs once.
    """
    kinds = [_kind(re.sub(r"^([xy])@\d+$", r"\1", column)) for column in names]
    fields = tuple(kind for kind, _ in kinds)
    whole = all(fields.count(kind) == 1 for kind in _ORDER)
    return fields if whole else None, any(seconds for _, seconds in kinds)


def _needed_fields(name: str, names: list[str], told: str) -> tuple[tuple[int, ...], bool]:
    """Return the result of `_fields`; raise FormatError if they are not columns of events."""
    fields, seconds = _fields(names)
    if fields is None:
        raise FormatError(
            f"{name}: {told} names {', '.join(names)}: t, x, y and p, once each, are needed; "
            f"{_MEND}"
        )
    return fields, seconds


def _header_size(names: list[str], size: Size | None) -> Size | None:
    sides = dict(name.split("@", 1) for name in names if re.fullmatch(r"[xy]@\d+", name))
    return as_size((int(sides["x"]), int(sides["y"]))) if len(sides) == 2 else size


def _find_layout(name: str, head: FirstLines, options: ReadOptions) -> LineLayout:
    size, variant = None, options.variant
    asked = None if variant is None else _needed_fields(name, _split(variant), f"csv:{variant}")
    for place, (start, line) in enumerate(head.lines):
        geometry = re.match(r"[%#]\s*geometry\s*:?\s*(\d+)\s*[,x]\s*(\d+)", line, re.IGNORECASE)
        if geometry:
            size = as_size((int(geometry[1]), int(geometry[2])))
        if not line or line[0] in "#%":
            continue
        names = _split(line)
        if re.match(r"[+-]?[.\d]", names[0]) is None:
            fields, seconds = asked or _needed_fields(name, names, "the header")
            if asked is not None:
                _check_asked(name, names, fields, variant)
            size = _header_size(names, size)
            return LineLayout(head.following(place), fields, seconds, size)
        if asked is not None:
            return LineLayout(start, *asked, size)
        if len(names) != len(_ORDER):
            raise FormatError(
                f"{name}: no header line, and {len(names)} columns instead of t, x, y, p; {_MEND}"
            )
        return LineLayout(start, _ORDER, False, size, told=False)
    fields, seconds = asked or (_ORDER, False)
    return no_lines(name, head, options, fields, seconds=seconds)._replace(size=size)


def _check_asked(name: str, names: list[str], asked: tuple[int, ...], variant: str | None) -> None:
    """Raise ConfigError if a header names the columns of a variant in another order."""
    own, _ = _fields(names)  # None where its names are not ours: that is what a variant is for
    if own is not None and any(own.index(kind) != asked.index(kind) for kind in _ORDER):
        raise ConfigError(
            f"{name}: its header names {', '.join(names)}, and format='csv:{variant}' another "
            "order; leave that out, or take the header off"
        )


_FORMAT = TextFormat(CsvRecording, _find_layout)
open_recording, open_stream, open_sink = _FORMAT.open_recording, _FORMAT.open_stream, CsvSink
