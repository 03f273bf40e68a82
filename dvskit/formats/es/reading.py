"""Event Stream files as Recordings."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DamagedFileError, FormatError, GeometryError
from dvskit.events import Events, Size, as_size
from dvskit.formats.es import byte_kernels as k
from dvskit.formats.es.layouts import Kind, Layout, layout_of, version_of
from dvskit.formats.index_cache import NEVER, Index, find_index, index_of
from dvskit.formats.recording import BLOCK_EVENTS, Damage, ReadOptions, Recording, SizeOrigin
from dvskit.formats.sensor_size import size_of_extent, stated_size
from dvskit.formats.storage import ReusedStorage, Storage

MAGIC = b"Event Stream"
HEADER_BYTES = 20
_LOSSES = 4096
_INDEXED_BYTES = 1 << 24  # a smaller file is read from its start
_ANY_SIZE = {k.DVS_1: Size(1024, 512), k.ATIS_1: Size(512, 256), k.COLOUR_1: Size(512, 256)}
_COLOUR = (
    "the events have colours and no polarity: ON is where a pixel is no darker (luma of ITU-R "
    "BT.601) than at its event before, or has none; .colours() gives red, green and blue"
)


class EsRecording(Recording):
    """Events of an Event Stream: of a DVS, an ATIS, or a camera of colours.

    Times build on each other: in salvage mode, those behind a loss lack the time of the lost bytes.
    """

    format = "es"

    def __init__(
        self, path: Path, options: ReadOptions, size: Size, origin: SizeOrigin, layout: Layout
    ) -> None:
        super().__init__(path, options, size, origin)
        self._layout = layout
        self._others: int | None = None
        if layout.kind is Kind.COLOUR:
            self.assumptions.append(_COLOUR)
        self.assumptions.append(
            f"y is counted from the bottom in the file: row 0 here is y = {size.height - 1} there"
        )

    def header(self) -> Mapping[str, str]:
        """Return the version and the type."""
        return {"version": version_of(_read_head(self.path)), "type": self._layout.kind.value}

    def other_streams(self) -> Mapping[str, int]:
        """Count what has no place in events: threshold crossings of an ATIS, colours."""
        if self._layout.kind is Kind.DVS:
            return {}
        if self._others is None:
            reading = _Pass(self, Damage(), strict=False)
            events = sum(len(block) for block in reading.blocks(ReusedStorage()))
            self._others = events if self._layout.kind is Kind.COLOUR else reading.others
        name = "colours" if self._layout.kind is Kind.COLOUR else "threshold crossings"
        return {name: self._others} if self._others else {}

    def crossings(self) -> Events:
        """Return the threshold crossings of an ATIS, two for each measurement of an exposure.

        p is False for the first of the two and True for the second; the shorter the time between
        them, the brighter the pixel. None for other cameras.
        """
        if self._layout.kind is not Kind.ATIS:
            return Events.empty(self.size)
        reading = _Pass(self, Damage(), strict=self.strict, crossings=True)
        return Events.concatenate(reading.blocks(Storage()), self.size)

    def colours(self) -> NDArray[np.uint8]:
        """Return red, green and blue of each event, (n, 3); (0, 3) for other cameras."""
        parts = [np.empty((0, 3), np.uint8)]
        if self._layout.kind is Kind.COLOUR:
            reading = _Pass(self, Damage(), strict=self.strict, coloured=True)
            for block in reading.blocks(ReusedStorage()):
                parts.append(reading.colours[: len(block)].copy())
        return np.concatenate(parts)

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        return _Pass(self, damage, strict=self.strict).blocks(storage)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        reading = _Pass(self, damage, strict=self.strict)
        # What polarity a colour has depends on all that is ahead of it.
        if self._layout.kind is not Kind.COLOUR and self.path.stat().st_size > _INDEXED_BYTES:
            index = find_index(self.path, f"es {self._layout} {self.size}", self._index)
            place = index.at(start_us)
            reading.begin_at(int(index.offset[place]), int(index.state[place, 0]))
        return reading.blocks(storage)

    def _index(self) -> Index:
        reading = _Pass(self, Damage(), strict=False)
        rows = [(NEVER, reading.at, 0)]
        for block in reading.blocks(ReusedStorage()):
            if len(block):
                rows.append((int(block.t[-1]), reading.at, reading.clock_us))
        return index_of(rows)


class _Pass:
    """One pass over an Event Stream. `at` is the byte that it has reached, `others` how many

    threshold crossings were passed by, `colours` those of the latest block where asked for.
    """

    def __init__(
        self,
        recording: EsRecording,
        damage: Damage,
        *,
        strict: bool,
        crossings: bool = False,
        coloured: bool = False,
    ) -> None:
        self.path, self.size, self.layout = recording.path, recording.size, recording._layout
        self.damage, self.strict, self.crossings = damage, strict, crossings
        self.at = self.layout.start
        self.colours = np.empty((BLOCK_EVENTS if coloured else 0, 3), np.uint8)
        self._state = np.zeros(k.STATE_FIELDS, np.int64)
        self._losses = np.empty((_LOSSES, 4), np.int64)

    @property
    def clock_us(self) -> int:
        """The time that the file has reached."""
        return int(self._state[k.S_CLOCK])

    @property
    def others(self) -> int:
        """How many threshold crossings were passed by."""
        return int(self._state[k.S_OTHERS])

    def begin_at(self, at: int, clock_us: int) -> None:
        """Begin at a byte where an event begins, at the time that the file has reached there."""
        self.at, self._state[k.S_CLOCK] = at, clock_us

    def blocks(self, storage: Storage) -> Iterator[Events]:
        """Yield the events; in strict mode the first loss raises DamagedFileError."""
        content = map_file(self.path)
        data = np.frombuffer(content, np.uint8)
        gray = _blank(self.path, self.size if self.layout.kind is Kind.COLOUR else Size(1, 1))
        step = k.event_bytes(self.layout.number)
        count, before = min(BLOCK_EVENTS, len(data) // step + 1), -1
        while self.at < len(data) and self.at != before:  # it stays where the last event is cut
            columns, self._state[k.S_EVENTS] = storage.columns(count), 0
            t, x, y, p = columns
            while self.at < len(data) and self.at != before and self._state[k.S_EVENTS] < count:
                before = self.at
                self.at = k.decode(
                    data, self.at, self.layout.number, self.crossings, *self.size, self.strict,
                    self._state, gray, self.colours, t, x, y, p, self._losses,
                )  # fmt: skip
                self._take_losses()
            n = int(self._state[k.S_EVENTS])
            forget(content, self.at)
            yield Events.from_checked(t[:n], x[:n], y[:n], p[:n], self.size)
        if self.at < len(data):
            cut = len(data) - self.at
            self._lose(self.at, cut, f"the last event has {cut} of {step} bytes")

    def _take_losses(self) -> None:
        for place, length, x, y in self._losses[: self._state[k.S_LOSSES]].tolist():
            problem = f"event at ({x}, {y}), y from the bottom, is off the {self.size} sensor"
            self._lose(place, length, problem)
        self._state[k.S_LOSSES] = 0

    def _lose(self, offset: int, length: int, problem: str) -> None:
        if self.strict:
            raise DamagedFileError(self.path, offset, problem)
        self.damage.add(offset, length, problem)


def map_file(path: Path) -> mmap.mmap:
    """Return the bytes of a file that is not empty, to be looked at where they are."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def forget(content: mmap.mmap, at: int) -> None:
    """Give back the memory of what stands ahead of byte `at`; the file still has it."""
    stop = at // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    if stop and hasattr(mmap, "MADV_DONTNEED"):
        content.madvise(mmap.MADV_DONTNEED, 0, stop)


def _blank(path: Path, size: Size) -> NDArray[np.int32]:
    try:
        return np.zeros(size.width * size.height, np.int32)  # costs memory only where it is used
    except MemoryError:
        raise GeometryError(
            f"{path}: no memory for the colours of a {size} sensor; pass the right "
            "size=(width, height) (--size WIDTHxHEIGHT)"
        ) from None


def _read_head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEADER_BYTES)


def read_layout(path: Path) -> tuple[bytes, Layout]:
    """Return a file's header and what it says of the layout. Raises FormatError."""
    head = _read_head(path)
    if not head.startswith(MAGIC):
        raise FormatError(f"{path}: starts with {head[:12]!r}, an Event Stream with {MAGIC!r}")
    if len(head) < 15 or (head[12] >= 2 and len(head) < 16):
        raise FormatError(f"{path}: ends within its header, at byte {len(head)}")
    version = version_of(head)
    if head[12] > 2:
        raise FormatError(
            f"{path}: is an Event Stream of version {version}; versions up to 2 are read, "
            "so convert it with the tool that wrote it"
        )
    layout = layout_of(head)
    if layout is None:
        kind = head[15 if head[12] >= 2 else 14]
        raise FormatError(f"{path}: is an Event Stream {version} of the unknown type {kind}")
    if layout.number < 0:
        raise FormatError(
            f"{path}: is an Event Stream of {layout.kind.value} events, which are no changes of "
            "brightness; dvs, atis, colour and generic events are read"
        )
    if layout.size is not None and len(head) < layout.start:
        raise FormatError(f"{path}: ends within its header, at byte {len(head)}")
    return head, layout


def size_of(
    path: Path, options: ReadOptions, head: bytes, layout: Layout
) -> tuple[Size, SizeOrigin]:
    """Return the sensor's size: the argument, the header's, or what holds the events.

    Raises GeometryError for a size in the header that is none, and where there are no events.
    """
    if options.size is not None:
        return options.size, "argument"
    if layout.size is None:
        return _extent(path, layout), "data"
    width, height = np.frombuffer(head[layout.size : layout.size + 4], "<u2").tolist()
    return stated_size(path, lambda: as_size((width, height))), "header"


def _extent(path: Path, layout: Layout) -> Size:
    whole = _ANY_SIZE[layout.number]
    recording = EsRecording(path, ReadOptions(strict=False), whole, "format", layout)
    width = height = 0
    for block in recording.blocks(reuse=True):
        width = max(width, int(block.x.max()) + 1)
        height = max(height, whole.height - int(block.y.min()))  # row 0 is the top row
    return size_of_extent(path, width, height)
