"""AEDAT 3.1 files as Recordings.

Layouts of other data: libcaer's special.h, imu6.h, imu9.h and frame.h.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError
from dvskit.events import Events, Size, as_size
from dvskit.formats.aedat2.chips import named_chip
from dvskit.formats.aedat31.packets import (
    BLOCK_EVENTS,
    FRAME,
    IMU6,
    IMU9,
    POLARITY,
    SPECIAL,
    Aedat31Header,
    Aedat31Packet,
    Walk,
    build_index,
    decode_table,
    extent,
    read_head,
)
from dvskit.formats.file_bytes import FileMap
from dvskit.formats.in_order import Columns, InOrder, decoded
from dvskit.formats.index_cache import find_index
from dvskit.formats.losses import Damage, Lose
from dvskit.formats.recording import ReadOptions, Recording, SizeOrigin
from dvskit.formats.storage import Storage
from dvskit.streams import Frame, Imu, Triggers

# Special events on external inputs: type -> input, rising (a pulse counts as its rising edge).
_INPUTS = {
    first + edge: (number, edge != 1) for number, first in enumerate((2, 6, 9)) for edge in range(3)
}
_IMU = [("info", "<u4"), ("t", "<i4"), ("a", "<f4", 3), ("g", "<f4", 3), ("temperature", "<f4")]
_IMU6, _IMU9 = np.dtype(_IMU), np.dtype([*_IMU, ("m", "<f4", 3)])
_SIDES = ("start_frame", "end_frame", "start", "stop", "width", "height", "x", "y")
_FRAME = np.dtype([("info", "<u4"), *((name, "<i4") for name in _SIDES)])
_CHANNELS = (1, 3, 4)  # gray, RGB, RGBA
_WORD_BYTES = 8
_EARLIEST_US = 0
_KINDS = {FRAME: "frames", IMU6: "IMU samples", IMU9: "IMU samples", 5: "ADC samples", 12: "spikes"}


class Aedat31Recording(Recording):
    """Events of an AEDAT 3.1 file, with its triggers, IMU samples and frames."""

    format = "aedat31"

    def __init__(
        self, path: Path, options: ReadOptions, size: Size, origin: SizeOrigin, head: Aedat31Header
    ) -> None:
        super().__init__(path, options, size, origin)
        self._note_map()
        self._head = head

    def header(self) -> Mapping[str, str]:
        """Return the header's keys and values."""
        return self._head.keys

    def _walk(self, kind: int, source: int = -1) -> Walk:
        return Walk(FileMap(self.path), self._head.end, kind, source)

    def triggers(self) -> Triggers:
        """Return the edges on external inputs in time order; a pulse becomes a rising edge."""
        return _read_triggers(self._walk(SPECIAL), self._losses().lose)

    def imu(self) -> Imu:
        """Return the IMU samples, with those of a compass if there is one, in time order."""
        lose = self._losses().lose
        return Imu.in_order([_read_imu(self._walk(kind), lose) for kind in (IMU6, IMU9)])

    def frames(self) -> Iterator[Frame]:
        """Yield the frames, uint16 and gray or RGB, in the order of the file."""
        yield from _read_frames(self._walk(FRAME), self._losses().lose)

    def other_streams(self) -> Mapping[str, int]:
        """Count frames, samples, special events other than triggers, and invalid events."""
        counts: Counter[str] = Counter()
        walk = self._walk(-1)
        for packet in walk.packets(self._losses().lose):
            if packet.kind == SPECIAL:
                kinds = _valid_words(walk.data, packet).address >> 1 & 0x7F
                counts["special events"] += int(np.count_nonzero(~np.isin(kinds, list(_INPUTS))))
            elif packet.kind != POLARITY:
                name = _KINDS.get(packet.kind, f"events of type {packet.kind}")
                counts[name] += packet.number
            elif packet.source != self._head.source:
                counts[f"events of source {packet.source}"] += packet.number
            else:
                valid = len(_valid_words(walk.data, packet).address)
                counts["events marked invalid"] += packet.number - valid
        return {name: number for name, number in counts.items() if number}

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        return self._decoded(self._walk(POLARITY, self._head.source), damage, storage)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        walk = self._walk(POLARITY, self._head.source)
        if self.strict:  # damaged times cannot be searched
            index = find_index(self.path, f"aedat31 {self._head.source}", lambda: build_index(walk))
            walk.state[:] = index.state[index.at(start_us)]
        return self._decoded(walk, damage, storage)

    def _decoded(self, walk: Walk, damage: Damage, storage: Storage) -> Iterator[Events]:
        order = InOrder(self._losses(damage), self.size, earliest_us=_EARLIEST_US)

        def quick(table: NDArray[np.int64], earliest_us: int) -> Events | None:
            return decode_table(walk, table, self.size, earliest_us, storage)

        def careful(table: NDArray[np.int64]) -> Iterator[Events]:
            for row in table.tolist():
                packet = Aedat31Packet(*row)
                words = _valid_words(walk.data, packet)
                yield from order.push(
                    Columns(
                        words.t,
                        (words.address >> 17).astype(np.int32),
                        (words.address >> 2 & 0x7FFF).astype(np.int32),
                        words.address >> 1 & 1 == 1,
                        words.offsets,
                        np.full(len(words.t), _WORD_BYTES),
                    )
                )

        lose = self._losses(damage).lose
        tables = walk.tables(lose, BLOCK_EVENTS) if self.strict else walk.tables(lose)
        return decoded(tables, order, quick, careful)


def open_recording(path: Path, options: ReadOptions) -> Aedat31Recording:
    """Open an AEDAT 3.1 file.

    Its events are those of the first source that sent any. The size is the argument, that of the
    camera named in the header, or the smallest that holds the events. Raises FormatError.
    """
    head = read_head(path)
    walk = Walk(FileMap(path), head.end, POLARITY)
    source = next((packet.source for packet in walk.packets(lambda *_: None)), -1)
    head = head._replace(source=source)
    chip = named_chip(head.keys.get(f"Source {source}", ""))
    if chip is None and source < 0:
        sources = [value for key, value in head.keys.items() if key.startswith("Source ")]
        chip = next((found for found in map(named_chip, sources) if found), None)
    origin: SizeOrigin
    if options.size is not None:
        size, origin = options.size, "argument"
    elif chip is not None:
        size, origin = chip.size, "camera"
    else:
        width, height = extent(Walk(FileMap(path), head.end, POLARITY, source))
        if not width:
            raise FormatError(f"{path}: holds no event and names no known camera")
        size, origin = as_size((min(width, 32767), min(height, 32767))), "data"
    return Aedat31Recording(path, options, size, origin, head)


class _Words(NamedTuple):
    """The valid words of a polarity or special packet: their times and byte offsets."""

    address: NDArray[np.uint32]
    t: NDArray[np.int64]
    offsets: NDArray[np.int64]


def _valid_words(data: NDArray[np.uint8], packet: Aedat31Packet) -> _Words:
    """Return the valid events of a packet in which an event is an address and a time."""
    part = data[packet.start : packet.start + _WORD_BYTES * packet.number].tobytes()
    words = np.frombuffer(part, "<u4").reshape(-1, 2)
    offsets = packet.start + np.arange(len(words)) * _WORD_BYTES
    valid = words[:, 0] & 1 == 1
    t = _times(words[valid, 1].view("<i4"), packet)
    return _Words(words[valid, 0], t, offsets[valid])


def _times(stamps: NDArray[np.int32], packet: Aedat31Packet) -> NDArray[np.int64]:
    # A negative stamp is impossible; it stays negative with any number of wraps.
    t = stamps.astype(np.int64)
    return np.where(t < 0, t, t + (packet.overflow << 31))


def _read_triggers(walk: Walk, lose: Lose) -> Triggers:
    """Return the edges on external inputs in order of time; a pulse becomes a rising edge."""
    parts = []
    for packet in walk.packets(lose):
        words = _valid_words(walk.data, packet)
        kind = words.address >> 1 & 0x7F
        good = np.isin(kind, list(_INPUTS)) & (words.t >= 0)
        found = [_INPUTS[value] for value in kind[good].tolist()]
        number = np.array([number for number, _ in found], np.int16)
        rising = np.array([rising for _, rising in found], np.bool_)
        parts.append(Triggers(words.t[good], number, rising))
    return Triggers.in_order(parts)


def _read_imu(walk: Walk, lose: Lose) -> Imu:
    """Return the valid samples in order of time; those with a negative time go to `lose`."""
    parts = []
    for packet in walk.packets(lose):
        layout = _IMU6 if packet.size == _IMU6.itemsize else _IMU9
        stop = packet.start + packet.size * packet.number
        rows = np.frombuffer(walk.data[packet.start : stop].tobytes(), layout)
        t = _times(rows["t"], packet)
        valid = rows["info"] & 1 == 1
        for place in np.flatnonzero(valid & (t < 0)).tolist():
            problem = f"an IMU sample at {t[place]} us"
            lose(packet.start + packet.size * place, packet.size, problem)
        rows, t = rows[valid & (t >= 0)], t[valid & (t >= 0)]
        magnet = rows["m"] if layout is _IMU9 else np.full((len(rows), 3), np.nan)
        values = (rows["a"], rows["g"], rows["temperature"], magnet)
        parts.append(Imu(t, *(value.astype(np.float32) for value in values)))
    return Imu.in_order(parts)


def _read_frames(walk: Walk, lose: Lose) -> Iterator[Frame]:
    """Yield the valid frames, one at a time: uint16, gray or RGB, exposed from t_us to stop_us.

    Impossible ones are passed to `lose`.
    """
    for packet in walk.packets(lose):
        for at in range(packet.start, packet.start + packet.number * packet.size, packet.size):
            frame = _frame(walk.data[at : at + packet.size].tobytes(), packet.overflow << 31)
            if isinstance(frame, str):
                lose(at, packet.size, frame)
            elif frame is not None:
                yield frame


def _frame(data: bytes, wraps: int) -> Frame | str | None:
    """Return the frame in the bytes, a text on an impossible value, or None if marked invalid."""
    row = np.frombuffer(data, _FRAME, 1)[0]
    info, _, _, start, stop, width, height, x, y = (int(value) for value in row.tolist())
    if info & 1 == 0:
        return None
    channels = info >> 1 & 7
    pixels = width * height * channels
    if x < 0 or y < 0:
        return f"a frame at ({x}, {y})"
    if width < 1 or height < 1 or channels not in _CHANNELS:
        return f"a frame of {width}x{height} pixels and {channels} channels"
    if 2 * pixels > len(data) - _FRAME.itemsize:
        return f"a frame of {width}x{height}x{channels} in {len(data) - _FRAME.itemsize} bytes"
    if not 0 <= start <= stop:
        return f"a frame exposed from {start} to {stop} us"
    image = np.frombuffer(data, "<u2", pixels, _FRAME.itemsize).reshape(height, width, channels)
    image = image[:, :, 0] if channels == 1 else image[:, :, :3]
    return Frame(start + wraps, stop + wraps, image.astype(np.uint16), x, y)
