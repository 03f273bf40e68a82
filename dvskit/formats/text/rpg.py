"""`events.txt` of the event-camera dataset (UZH's Robotics and Perception Group): t x y p.

Times are decimal seconds, read digit by digit and rounded to the nearest microsecond; floats would
move some. A first line of two numbers is the sensor's width and height, as in E2VID's files.
"""

from __future__ import annotations

from pathlib import Path

from dvskit.errors import FormatError
from dvskit.events import Size, as_size
from dvskit.formats.recording import ReadOptions
from dvskit.formats.text import _kernels as k
from dvskit.formats.text.reading import Lines, TextRecording, known_size, read_head
from dvskit.formats.text.writing import TextSink

_ORDER = (k.TIME, k.COLUMN, k.ROW, k.POLARITY)


class RpgRecording(TextRecording):
    """Events of an `events.txt` file."""

    format = "rpg"


class RpgSink(TextSink):
    """Writes an `events.txt` file: seconds with six decimals, x, y and polarity."""

    format = "rpg"
    head = b""
    separator = b" "
    seconds = True


def _read_lines(path: Path) -> Lines:
    lines = [(start, line) for start, line in read_head(path) if line and line[0] not in "#%"]
    if not lines:
        raise FormatError(f"{path}: holds no line of events")
    size, start = None, lines[0][0]
    first = lines[0][1].split()
    if len(first) == 2 and all(part.isdecimal() for part in first):
        size = as_size((int(first[0]), int(first[1])))
        start = lines[1][0] if len(lines) > 1 else path.stat().st_size
        lines = lines[1:]
    if lines and not any(set(line.split()[0]) & set(".eE") for _, line in lines):
        raise FormatError(
            f"{path}: times such as {lines[0][1].split()[0]} have no decimals and rpg means "
            "seconds; name the format csv (format=, --from) to read them as microseconds"
        )
    return Lines(start, _ORDER, True, size)


def open_recording(path: Path, options: ReadOptions) -> RpgRecording:
    """Open an `events.txt` file. Raises FormatError for times that are no decimal seconds."""
    lines = _read_lines(path)
    size, origin = known_size(path, options, lines)
    return RpgRecording(path, options, size, origin, lines)


def open_sink(path: Path, size: Size, *, overwrite: bool) -> RpgSink:
    """Return a Sink that writes an `events.txt` file."""
    return RpgSink(path, size, overwrite=overwrite)
