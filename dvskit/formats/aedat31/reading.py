"""AEDAT 3.1 files as Recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DamagedFileError, FormatError
from dvskit.events import Events, Size, as_size
from dvskit.formats.aedat2.chips import named_chip
from dvskit.formats.aedat31.packets import (
    POLARITY,
    SPECIAL,
    Head,
    Lose,
    Packet,
    read_head,
    read_packets,
)
from dvskit.formats.in_order import Columns, InOrder
from dvskit.formats.recording import BLOCK_EVENTS, Damage, ReadOptions, Recording, SizeOrigin
from dvskit.formats.storage import Storage
from dvskit.streams import Triggers

_BYTES = 8  # of a polarity or special event
_KINDS = {2: "frames", 3: "IMU samples", 4: "IMU samples", 5: "ADC samples", 12: "spikes"}
# Special events on external inputs: type -> input, rising (a pulse counts as its rising edge).
_INPUTS = {
    first + edge: (number, edge != 1) for number, first in enumerate((2, 6, 9)) for edge in range(3)
}


def _words(data: NDArray[np.uint8], packet: Packet) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """Yield (byte offset, rows of data and time stamp) of a packet, in blocks."""
    stop = packet.start + packet.number * _BYTES
    for start in range(packet.start, stop, BLOCK_EVENTS * _BYTES):
        part = data[start : min(stop, start + BLOCK_EVENTS * _BYTES)]
        yield start, np.frombuffer(part.tobytes(), "<u4").reshape(-1, 2)


def _times(words: NDArray[np.uint32], packet: Packet) -> NDArray[np.int64]:
    stamps = words[:, 1].astype(np.int32).astype(np.int64)
    # A negative stamp is impossible; it stays negative, whatever the wraps are.
    return np.where(stamps < 0, stamps, stamps + (packet.overflow << 31))


class Aedat31Recording(Recording):
    """Events and triggers of an AEDAT 3.1 file; frames and IMU samples are counted, not read."""

    format = "aedat31"

    def __init__(
        self,
        path: Path,
        options: ReadOptions,
        size: Size,
        origin: SizeOrigin,
        head: Head,
        source: int,
    ) -> None:
        super().__init__(path, options, size, origin)
        self._head = head
        self._source = source

    def header(self) -> Mapping[str, str]:
        """Return the header's keys and values."""
        return self._head.keys

    def triggers(self) -> Triggers:
        """Return the edges on external inputs in time order; a pulse is given as a rising edge."""
        found = []
        for words, t in self._special(Damage()):
            kind = words[:, 0] >> 1 & 0x7F
            for number, rising in sorted(set(_INPUTS.values())):
                kinds = [key for key, value in _INPUTS.items() if value == (number, rising)]
                places = np.flatnonzero(np.isin(kind, kinds) & (t >= 0))
                found.append(np.array([t[places], places * 0 + number, places * 0 + rising]))
        if not found:
            return Triggers.empty()
        t, number, rising = np.concatenate(found, axis=1)
        return Triggers.in_order([Triggers(t, number.astype(np.int16), rising.astype(np.bool_))])

    def other_streams(self) -> Mapping[str, int]:
        """Count frames, samples, special events that are no triggers, and invalid events."""
        counts: dict[str, int] = {}
        for packet in read_packets(self._data(), self._head.end, self._losing(Damage())):
            if packet.kind == SPECIAL:
                continue
            if packet.kind != POLARITY:
                name = _KINDS.get(packet.kind, f"events of type {packet.kind}")
                counts[name] = counts.get(name, 0) + packet.number
            elif packet.source != self._source:
                name = f"events of source {packet.source}"
                counts[name] = counts.get(name, 0) + packet.number
            else:
                name = "events marked invalid"
                for _, words in _words(self._data(), packet):
                    invalid = int(np.count_nonzero(words[:, 0] & 1 == 0))
                    counts[name] = counts.get(name, 0) + invalid
        for words, _ in self._special(Damage()):
            kinds = words[:, 0] >> 1 & 0x7F
            other = int(np.count_nonzero(~np.isin(kinds, list(_INPUTS))))
            counts["special events"] = counts.get("special events", 0) + other
        return {name: count for name, count in counts.items() if count}

    def _data(self) -> NDArray[np.uint8]:
        return np.memmap(self.path, np.uint8, "r")

    def _special(self, damage: Damage) -> Iterator[tuple[NDArray[np.uint32], NDArray[np.int64]]]:
        """Yield the valid special events, with their times."""
        data = self._data()
        for packet in read_packets(data, self._head.end, self._losing(damage)):
            if packet.kind == SPECIAL:
                for _, words in _words(data, packet):
                    valid = words[words[:, 0] & 1 == 1]
                    yield valid, _times(valid, packet)

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        data = self._data()
        order = InOrder(self.path, self.size, strict=self.strict, damage=damage, earliest_us=0)
        for packet in read_packets(data, self._head.end, self._losing(damage)):
            if packet.kind == POLARITY and packet.source == self._source:
                for start, words in _words(data, packet):
                    yield from order.push(_columns(start, words, packet))
        yield from order.rest()

    def _losing(self, damage: Damage) -> Lose:
        def lose(offset: int, length: int, problem: str) -> None:
            if self.strict:
                raise DamagedFileError(self.path, offset, problem)
            damage.add(offset, length, problem)

        return lose


def _columns(start: int, words: NDArray[np.uint32], packet: Packet) -> Columns:
    offsets = start + np.arange(len(words)) * _BYTES
    valid = words[:, 0] & 1 == 1
    address = words[valid, 0]
    return Columns(
        t=_times(words[valid], packet),
        x=(address >> 17).astype(np.int32),
        y=(address >> 2 & 0x7FFF).astype(np.int32),
        p=address >> 1 & 1 == 1,
        offsets=offsets[valid],
        widths=np.full(len(address), _BYTES),
    )


def _survey(path: Path, head: Head) -> tuple[int, int, int]:
    """Return the source of the first polarity packet, and the extent of its events."""
    data = np.memmap(path, np.uint8, "r")
    source, width, height = -1, 0, 0
    for packet in read_packets(data, head.end, lambda *_: None):
        if packet.kind == POLARITY and source in (-1, packet.source):
            source = packet.source
            if named_chip(head.keys.get(f"Source {source}", "")) is not None:
                break
            for start, words in _words(data, packet):
                columns = _columns(start, words, packet)
                if len(columns.t):
                    width = max(width, int(columns.x.max()) + 1)
                    height = max(height, int(columns.y.max()) + 1)
    return source, width, height


def open_recording(path: Path, options: ReadOptions) -> Aedat31Recording:
    """Open an AEDAT 3.1 file.

    Its events are those of the first source that sent any; the size is the argument, that of the
    camera which the header names, or the smallest that holds the events. Raises FormatError.
    """
    head = read_head(path)
    source, width, height = _survey(path, head)
    chip = named_chip(head.keys.get(f"Source {source}", ""))
    if chip is None and source < 0:
        sources = [value for key, value in head.keys.items() if key.startswith("Source ")]
        chip = next((found for found in map(named_chip, sources) if found), None)
    if options.size is not None:
        return Aedat31Recording(path, options, options.size, "argument", head, source)
    if chip is not None:
        return Aedat31Recording(path, options, chip.size, "camera", head, source)
    if not width:
        raise FormatError(f"{path}: holds no event and names no known camera")
    size = as_size((min(width, 32767), min(height, 32767)))
    return Aedat31Recording(path, options, size, "data", head, source)
