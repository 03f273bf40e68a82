"""The header of Prophesee files: its lines, the sensor's size, the offset of the times."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from dvskit.errors import FormatError
from dvskit.events import Size, as_size, parse_size
from dvskit.formats.file_bytes import InputStream
from dvskit.formats.sensor_size import stated_size

TIME_OFFSET_KEY = "dvskit_time_offset_us"
FAERY_OFFSET_KEY = "t0"  # what faery writes and adds again; it knows no negative one

_MAX_HEADER = 1 << 16
_HD, _VGA, _SMALL = Size(1280, 720), Size(640, 480), Size(320, 320)
# Sizes by the camera that a header without geometry names: parts of plugin names, system ids.
_PLUGIN_SIZES = (
    ("gen41", _HD),
    ("imx636", _HD),
    ("genx320", _SMALL),
    ("gen31", _VGA),
    ("gen3", _VGA),
)
_SYSTEM_SIZES = {"21": _VGA, "26": _VGA, "27": _VGA, "28": _VGA, "48": _HD, "49": _HD}
_GENERATION_SIZES = {"3.0": _VGA, "3.1": _VGA, "4.0": _HD, "4.1": _HD, "4.2": _HD}


class RawHeader(NamedTuple):
    """The keys of a RAW header with their values, and the byte offset where the words begin."""

    keys: Mapping[str, str]
    end: int


def read_header(path: Path) -> RawHeader:
    """Read the header lines of a RAW file. Raises FormatError as `parse_header` does."""
    with path.open("rb") as file:
        return parse_header(file.read(_MAX_HEADER), str(path))


def parse_header(head: bytes, name: str) -> RawHeader:
    """Return the keys in the header lines of the first 64 KiB of a file, and where the lines end.

    `% end` or the first other byte closes them. `name` is the file's, for messages. Raises
    FormatError if the header does not end within 64 KiB.
    """
    keys: dict[str, str] = {}
    at = 0
    while _opens_line(head[at : at + 2]):
        stop = head.find(b"\n", at)
        if stop < 0:
            if len(head) >= _MAX_HEADER:
                raise FormatError(f"{name}: the header line at byte {at} does not end")
            stop = len(head)
        line = head[at + 1 : stop].decode("latin-1").strip()
        at = min(stop + 1, len(head))
        if line == "end":
            break
        key, _, value = line.partition(" ")
        if key:
            keys[key] = value.strip()
    return RawHeader(keys, at)


def take_header(stream: InputStream) -> RawHeader:
    """Take the header lines off a stream, and nothing after them.

    Waits for at most two more bytes. Raises FormatError as `parse_header` does.
    """
    lines = bytearray()
    while len(lines) < _MAX_HEADER and _opens_line(stream.peek(2)):
        line = _take_line(stream, _MAX_HEADER - len(lines))
        lines += line
        if line[1:].strip() == b"end":
            break
    return parse_header(bytes(lines), stream.name)


def _take_line(stream: InputStream, most: int) -> bytearray:
    line, byte = bytearray(), bytearray(1)
    while len(line) < most and byte != b"\n" and stream.readinto(memoryview(byte)):
        line += byte
    return line


def _opens_line(start: bytes) -> bool:
    # A word may start with a '%' byte too: only '%' with a space or a line end opens a line.
    return start in (b"% ", b"%\n", b"%\r")


def header_size(path: Path, keys: Mapping[str, str]) -> Size | None:
    """Return the sensor size in the keys `format` or `geometry`, None without either.

    Raises GeometryError for an invalid size.
    """
    options = dict(part.partition("=")[::2] for part in keys.get("format", "").split(";")[1:])
    if "width" in options and "height" in options:
        return stated_size(path, lambda: as_size((int(options["width"]), int(options["height"]))))
    if "geometry" in keys:
        return stated_size(path, lambda: parse_size(keys["geometry"]))
    return None


def camera_size(keys: Mapping[str, str]) -> tuple[Size, str] | None:
    """Return the size of the camera named in the header, and the line that names it."""
    plugin = keys.get("plugin_name", "").lower()
    for part, size in _PLUGIN_SIZES:
        if part in plugin:
            return size, f"plugin_name {plugin}"
    for key in ("generation", "sensor_generation"):
        if keys.get(key) in _GENERATION_SIZES:
            return _GENERATION_SIZES[keys[key]], f"{key} {keys[key]}"
    system = keys.get("system_ID", "")
    if system in _SYSTEM_SIZES:
        return _SYSTEM_SIZES[system], f"system_ID {system}"
    return None


def time_offset_us(path: Path, keys: Mapping[str, str]) -> int:
    """Return the offset to add to the times of the file, 0 without one. Raises FormatError."""
    key = TIME_OFFSET_KEY if TIME_OFFSET_KEY in keys else FAERY_OFFSET_KEY
    text = keys.get(key, "0")
    try:
        offset = int(text)
    except ValueError:
        raise FormatError(f"{path}: the header's {key} {text!r} is no whole number") from None
    if abs(offset) > 1 << 62:
        raise FormatError(f"{path}: the header's {key} {offset} is out of range")
    return offset
