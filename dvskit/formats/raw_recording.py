"""What is read of Prophesee files of all kinds: header, sensor size, offset of time, triggers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from dvskit.errors import FormatError
from dvskit.events import Events, Size, as_size, parse_size
from dvskit.formats.file_bytes import InputStream
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.recording import ReadOptions, Recording, SizeOrigin
from dvskit.formats.sensor_size import choose_size, no_size, stated_size
from dvskit.formats.storage import EventColumns, ReusedStorage, Storage, TriggerColumns
from dvskit.streams import Triggers

TIME_OFFSET_KEY = "dvskit_time_offset_us"
FAERY_OFFSET_KEY = "t0"  # what faery writes and adds again; it knows no negative one

_MAX_HEADER = 1 << 16
_HD, _VGA, _SMALL = Size(1280, 720), Size(640, 480), Size(320, 320)
# What a header without geometry tells by the camera it names: parts of plugin names, system ids.
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


class RawFile(NamedTuple):
    """A file of words, or a stream of that name, as far as it is known ahead of them.

    notes  what was taken for granted, for people
    """

    path: Path
    options: ReadOptions
    header: RawHeader
    size: Size
    size_origin: SizeOrigin
    notes: list[str]


def read_header(path: Path) -> RawHeader:
    """Read the header lines of a RAW file. Raises FormatError as `parse_header` does."""
    with path.open("rb") as file:
        return parse_header(file.read(_MAX_HEADER), str(path))


def parse_header(head: bytes, name: str) -> RawHeader:
    """Return what the header lines in the first 64 KiB of a file say, and where they end.

    `% end` closes them, as does the first other byte. `name` is the file's, for messages. Raises
    FormatError where the header does not end within 64 KiB.
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
    """Take the header lines off a stream, and nothing behind them.

    Waits for no more than two bytes beyond. Raises FormatError as `parse_header` does.
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
    """Return the sensor size that `format` or `geometry` states, None where neither does.

    Raises GeometryError for a size that is no size.
    """
    options = dict(part.partition("=")[::2] for part in keys.get("format", "").split(";")[1:])
    if "width" in options and "height" in options:
        return stated_size(path, lambda: as_size((int(options["width"]), int(options["height"]))))
    if "geometry" in keys:
        return stated_size(path, lambda: parse_size(keys["geometry"]))
    return None


def camera_size(keys: Mapping[str, str]) -> tuple[Size, str] | None:
    """Return the size of the camera that the header names, and the line that names it."""
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
    """Return what to add to the times of the file, 0 where it does not say. Raises FormatError."""
    key = TIME_OFFSET_KEY if TIME_OFFSET_KEY in keys else FAERY_OFFSET_KEY
    text = keys.get(key, "0")
    try:
        offset = int(text)
    except ValueError:
        raise FormatError(f"{path}: the header's {key} {text!r} is no whole number") from None
    if abs(offset) > 1 << 62:
        raise FormatError(f"{path}: the header's {key} {offset} is out of range")
    return offset


class WordPass(ABC):
    """One pass over words; `triggers` are those that were met up to now.

    others  the number of words of type OTHERS up to now
    """

    others = 0

    def __init__(self, size: Size, losses: Losses, offset_us: int) -> None:
        self.size, self.losses, self.offset_us = size, losses, offset_us
        self.triggers: list[Triggers] = []

    @property
    @abstractmethod
    def early(self) -> int:
        """How many events stand ahead of the first time or address that they build on."""

    @abstractmethod
    def blocks(self, storage: Storage) -> Iterator[Events]:
        """Yield the events; raise DamagedFileError at the first loss in strict mode."""

    def _events(self, columns: EventColumns) -> Events:
        """Return decoded events, at the times that the header means."""
        if self.offset_us:
            columns.t[:] += self.offset_us
        return Events.from_checked(*columns, self.size)

    def _keep(self, triggers: TriggerColumns) -> None:
        """Take decoded triggers."""
        if len(triggers.t):
            self.triggers.append(Triggers(triggers.t + self.offset_us, triggers.id, triggers.p))


class RawRecording(Recording):
    """Events and triggers in words behind a header of `% key value` lines."""

    _early_words: str  # what `early` of a pass counts
    along = True

    def __init__(self, file: RawFile) -> None:
        self._latest_pass: WordPass | None = None
        self._arriving = ArrivingTriggers([])
        super().__init__(file.path, file.options, file.size, file.size_origin)
        self._header = file.header
        self._offset_us = time_offset_us(file.path, file.header.keys)
        if self._offset_us:
            self.assumptions.append(
                f"the header says to add {self._offset_us} us to the times of the file"
            )
        self.assumptions += file.notes

    @abstractmethod
    def _pass(self, losses: Losses, *, keep_triggers: bool = False) -> WordPass:
        """Return a pass over all words."""

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        reading = self._pass(self._losses(damage), keep_triggers=True)
        self._latest_pass, self._arriving = reading, ArrivingTriggers(reading.triggers)
        return self._noting_early(reading, storage)

    def new_triggers(self) -> Triggers:
        """Return the triggers that the latest pass has met since the last call, in time order."""
        return self._arriving.new()

    def passed_streams(self) -> Mapping[str, int]:
        """Count the words of type OTHERS that the latest pass has met."""
        others = self._latest_pass.others if self._latest_pass is not None else 0
        return {"other words": others} if others else {}

    def _noting_early(self, reading: WordPass, storage: Storage) -> Iterator[Events]:
        yield from reading.blocks(storage)
        if reading.early:
            note = (
                f"{reading.early} {self._early_words} left out: "
                "the recording starts in the middle of a stream"
            )
            if note not in self.assumptions:
                self.assumptions.append(note)

    def triggers(self) -> Triggers:
        """Return all external triggers in time order. Raises DamagedFileError in strict mode."""
        reading = self._pass(self._losses(), keep_triggers=True)
        for _ in reading.blocks(ReusedStorage()):
            pass
        return Triggers.in_order(reading.triggers)

    def header(self) -> Mapping[str, str]:
        """Return the header's keys and values."""
        return self._header.keys


class ArrivingTriggers:
    """The triggers that a pass meets, part by part, and how many parts were handed over."""

    def __init__(self, parts: list[Triggers]) -> None:
        self._parts, self._handed = parts, 0

    def all(self) -> Triggers:
        """Return those that were met up to now, in time order."""
        return Triggers.in_order(self._parts)

    def new(self) -> Triggers:
        """Return those that were met since the last call, in time order."""
        first, self._handed = self._handed, len(self._parts)
        return Triggers.in_order(self._parts[first:])


OpenRecording = Callable[[Path, ReadOptions], Recording]
OpenStream = Callable[[InputStream, ReadOptions], Recording]


def raw_openers(
    recording: Callable[[RawFile], Recording],
    streamed: Callable[[InputStream, RawFile], Recording],
    size_of_data: Callable[[Path, RawHeader], Size],
) -> tuple[OpenRecording, OpenStream]:
    """Return open_recording and open_stream of RAW files whose words a recording is made of."""

    def open_recording(path: Path, options: ReadOptions) -> Recording:
        """Open a RAW file. Raises FormatError, GeometryError.

        Its size is the argument, the header's, that of the camera which the header names, or the
        smallest that holds the events.
        """
        header = read_header(path)
        return recording(_raw_file(path, options, header, lambda: size_of_data(path, header)))

    def open_stream(stream: InputStream, options: ReadOptions) -> Recording:
        """Open a RAW stream, header first. Raises FormatError, GeometryError.

        Its size is the argument, the header's, or that of the camera which the header names.
        """

        def of_events() -> Size:
            raise no_size(stream.name)

        header = take_header(stream)
        return streamed(stream, _raw_file(Path(stream.name), options, header, of_events))

    return open_recording, open_stream


def _raw_file(
    path: Path, options: ReadOptions, header: RawHeader, of_events: Callable[[], Size]
) -> RawFile:
    camera, notes = camera_size(header.keys), []
    size, origin = choose_size(
        options,
        lambda: header_size(path, header.keys),
        of_events if camera is None else lambda: camera[0],
    )
    if origin == "data" and camera is not None:
        origin = "camera"
        notes.append(f"no sensor size in the file: {size} is that of the camera ({camera[1]})")
    return RawFile(path, options, header, size, origin, notes)
