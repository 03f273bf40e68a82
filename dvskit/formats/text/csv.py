"""CSV: an event a line, whole microseconds, polarity 0 or 1 or -1 or 1.

A header line may name the columns, in any order; without one they are t, x, y, p. Separators are
commas, semicolons, tabs or spaces. Lines that begin with # or % are comments. The sensor's size is
told by faery's header, `t,x@1280,y@720,on`, or Metavision's line, `%geometry:1280,720`.
"""

from __future__ import annotations

import re
from pathlib import Path

from dvskit.errors import FormatError
from dvskit.events import Size, as_size
from dvskit.formats.recording import ReadOptions
from dvskit.formats.text import _kernels as k
from dvskit.formats.text.reading import Lines, TextRecording, known_size, read_head
from dvskit.formats.text.writing import TextSink

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
_MEND = "start the file with a line that names the columns, such as t,x,y,p (t_s for seconds)"


class CsvRecording(TextRecording):
    """Events of a CSV file."""

    format = "csv"


class CsvSink(TextSink):
    """Writes a CSV file: a header line, then t,x,y,p with whole microseconds.

    The header is the plain one, which all readers know; faery's own, with the size, stops some.
    """

    format = "csv"
    head = b"t,x,y,p\n"
    separator = b","
    seconds = False


def _split(line: str) -> list[str]:
    parts = re.split(r"[,;]", line) if re.search(r"[,;]", line) else line.split()
    return [part.strip().strip('"').strip().lower().replace(" ", "") for part in parts]


def _kind(name: str) -> tuple[int, bool]:
    """Return what a column is by its name, and whether it is in seconds."""
    if name in _TIMES:
        return k.TIME, False
    unit = re.fullmatch(r"(\w+?)[_\[(](us|s)[\])]?", name)
    if unit and unit[1] in _TIMES:
        return k.TIME, unit[2] == "s"
    return _NAMES.get(name, k.OTHER), False


def _named(path: Path, start: int, names: list[str], size: Size | None) -> Lines:
    sides = dict(name.split("@", 1) for name in names if re.fullmatch(r"[xy]@\d+", name))
    if len(sides) == 2:
        size = as_size((int(sides["x"]), int(sides["y"])))
    kinds = [_kind(re.sub(r"^([xy])@\d+$", r"\1", name)) for name in names]
    fields = tuple(kind for kind, _ in kinds)
    if any(fields.count(kind) != 1 for kind in _ORDER):
        raise FormatError(
            f"{path}: the header names {', '.join(names)}: t, x, y and p, once each, are needed; "
            f"{_MEND}"
        )
    return Lines(start, fields, any(seconds for _, seconds in kinds), size)


def _read_lines(path: Path) -> tuple[Lines, bool]:
    """Return how the lines are laid out, and whether the file says so."""
    size = None
    lines = read_head(path)
    for place, (start, line) in enumerate(lines):
        geometry = re.match(r"[%#]\s*geometry\s*:?\s*(\d+)\s*[,x]\s*(\d+)", line, re.IGNORECASE)
        if geometry:
            size = as_size((int(geometry[1]), int(geometry[2])))
        if not line or line[0] in "#%":
            continue
        names = _split(line)
        if re.match(r"[+-]?[.\d]", names[0]) is None:
            following = lines[place + 1][0] if place + 1 < len(lines) else path.stat().st_size
            return _named(path, following, names, size), True
        if len(names) != len(_ORDER):
            raise FormatError(
                f"{path}: no header line, and {len(names)} columns instead of t, x, y, p; {_MEND}"
            )
        return Lines(start, _ORDER, False, size), False
    raise FormatError(f"{path}: holds no line of events")


def open_recording(path: Path, options: ReadOptions) -> CsvRecording:
    """Open a CSV file. Raises FormatError where its columns cannot be told."""
    lines, told = _read_lines(path)
    size, origin = known_size(path, options, lines)
    recording = CsvRecording(path, options, size, origin, lines)
    if not told:
        recording.assumptions.append("no header line: the columns are t, x, y, p")
    return recording


def open_sink(path: Path, size: Size, *, overwrite: bool) -> CsvSink:
    """Return a Sink that writes a CSV file."""
    return CsvSink(path, size, overwrite=overwrite)
