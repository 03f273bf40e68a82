"""EVT 3.0 files as Recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DamagedFileError, GeometryError
from dvskit.events import Events, Size, Triggers, as_size
from dvskit.formats.evt3 import _kernels as k
from dvskit.formats.evt3.header import (
    RawHeader,
    camera_size,
    header_size,
    read_header,
    time_offset_us,
)
from dvskit.formats.recording import BLOCK_EVENTS, Damage, ReadOptions, Recording, SizeOrigin

_Columns = tuple[NDArray[np.int64], NDArray[np.int16], NDArray[np.int16], NDArray[np.bool_]]

CHUNK_WORDS = 1 << 20
_LOSSES = 4096
_TRIGGERS = 1 << 16
_ANY_SIZE = Size(2048, 2048)  # all that 11 bits can address
_NEVER = -(1 << 62)
_PROBLEMS = {
    k.UNKNOWN: "EVT3 word {a:#06x} is of the unknown type {b:#x}",
    k.ROW_OFF: "EVT3 word {a:#06x} names row {b}, which the sensor does not have",
    k.COLUMN_OFF: "EVT3 word {a:#06x} names column {b}, which the sensor does not have",
    k.TIME_BACK: "time runs back from {a} to {b} us",
    k.TIME_AHEAD: "events at {a} us stand ahead of events at {b} us",
    k.HIGH_JUMP: "the high part of time jumps from {a} to {b} and back",
    k.CLOCK_RESET: "the high part of time runs back from {a} to {b} (read as a wrap of 16.8 s)",
    k.NO_ROW: "event in a row that is unknown since a damaged word",
    k.NO_BASE: "events in columns that are unknown since a damaged word",
    k.NO_CLOCK: "event at a time that is unknown since a damaged word",
}


def _chunks(path: Path, start: int) -> Iterator[tuple[int, NDArray[np.uint16], int, int]]:
    """Yield (number of the first word, words, how many to decode, odd bytes left at the end).

    The words behind those to decode are the beginning of the next chunk.
    """
    number = 0
    rest = b""
    with path.open("rb") as file:
        file.seek(start)
        while True:
            data = file.read(CHUNK_WORDS * 2)
            ended = len(data) < CHUNK_WORDS * 2
            data = rest + data
            words = np.frombuffer(data, "<u2", len(data) // 2)
            stop = len(words) if ended else max(0, len(words) - k.LOOK_AHEAD)
            yield number, words, stop, len(data) % 2 if ended else 0
            if ended:
                return
            number += stop
            rest = data[stop * 2 :]


def _new_columns(count: int) -> _Columns:
    return (
        np.empty(count, np.int64),
        np.empty(count, np.int16),
        np.empty(count, np.int16),
        np.empty(count, np.bool_),
    )


class _Pass:
    """One pass over a file: decodes chunks into blocks, and collects triggers and losses."""

    def __init__(
        self, path: Path, start: int, size: Size, *, strict: bool, damage: Damage, offset_us: int
    ) -> None:
        self.path, self.start, self.size = path, start, size
        self.strict, self.damage, self.offset_us = strict, damage, offset_us
        self.triggers: list[Triggers] = []
        self._state = np.zeros(k.STATE_FIELDS, np.int64)
        self._state[[k.S_LAST, k.S_BEFORE]] = _NEVER
        self._state[k.S_SEGMENT] = k.NO_SEGMENT
        self._losses = np.empty((_LOSSES, 5), np.int64)
        self._hits = Triggers(
            np.empty(_TRIGGERS, np.int64),
            np.empty(_TRIGGERS, np.int16),
            np.empty(_TRIGGERS, np.bool_),
        )

    @property
    def early(self) -> int:
        """Event words ahead of the first time, row or column that they build on."""
        return int(self._state[k.S_EARLY])

    def blocks(self) -> Iterator[Events]:
        """Yield the events; raise DamagedFileError at the first loss in strict mode."""
        state = self._state
        block = min(BLOCK_EVENTS, k.MOST_BITS * (self.path.stat().st_size // 2 + 1))
        columns = _new_columns(block + k.MOST_BITS)
        hits = self._hits
        for number, words, stop, odd in _chunks(self.path, self.start):
            at = 0
            while at < stop:
                t, x, y, p = columns
                at = k.decode(
                    words, at, stop, number, *self.size, self.strict, state,
                    t, x, y, p, hits.t, hits.id, hits.p, self._losses,
                )  # fmt: skip
                self._take_losses()
                self._take_triggers()
                if state[k.S_EVENTS] > block:  # the columns are full
                    full, columns = self._cut(columns)
                    yield full
            if odd:
                self._lose(
                    self.start + 2 * (number + stop), 1, "half a word stands at the end of the file"
                )
        yield self._events(columns, int(state[k.S_EVENTS]))

    def _cut(self, columns: _Columns) -> tuple[Events, _Columns]:
        """Return the events that are certain, and new columns that begin with the others.

        The latest time's events are not certain: the next event may show that they were ahead.
        """
        state = self._state
        count, certain = int(state[k.S_EVENTS]), int(state[k.S_SEGMENT])
        if certain <= 0:  # a block of one single time: what has been read of it stays
            certain, state[k.S_SEGMENT] = count, k.NO_SEGMENT
        else:
            state[k.S_SEGMENT] = 0
        fresh = _new_columns(len(columns[0]))
        for place in range(len(fresh)):
            fresh[place][: count - certain] = columns[place][certain:count]
        state[k.S_EVENTS] = count - certain
        return self._events(columns, certain), fresh

    def _events(self, columns: _Columns, count: int) -> Events:
        t, x, y, p = columns
        if self.offset_us:
            t[:count] += self.offset_us
        return Events.from_checked(t[:count], x[:count], y[:count], p[:count], self.size)

    def _take_losses(self) -> None:
        for word, length, why, a, b in self._losses[: self._state[k.S_LOSSES]].tolist():
            if why in (k.TIME_BACK, k.TIME_AHEAD):
                a, b = a + self.offset_us, b + self.offset_us
            self._lose(self.start + 2 * word, 2 * length, _PROBLEMS[why].format(a=a, b=b))
        self._state[k.S_LOSSES] = 0

    def _lose(self, offset: int, length: int, problem: str) -> None:
        if self.strict:
            raise DamagedFileError(self.path, offset, problem)
        self.damage.add(offset, length, problem)

    def _take_triggers(self) -> None:
        count = int(self._state[k.S_TRIGGERS])
        if count:
            hits = self._hits
            self.triggers.append(
                Triggers(
                    hits.t[:count] + self.offset_us, hits.id[:count].copy(), hits.p[:count].copy()
                )
            )
            self._state[k.S_TRIGGERS] = 0


class Evt3Recording(Recording):
    """Events and triggers of a RAW file in EVT 3.0."""

    format = "evt3"

    def __init__(
        self, path: Path, options: ReadOptions, size: Size, origin: SizeOrigin, header: RawHeader
    ) -> None:
        super().__init__(path, options, size, origin)
        self._header = header
        self._offset_us = time_offset_us(path, header.keys)
        if self._offset_us:
            self.assumptions.append(
                f"the header says to add {self._offset_us} us to the times of the file"
            )

    def _pass(self, damage: Damage) -> _Pass:
        return _Pass(
            self.path,
            self._header.end,
            self.size,
            strict=self.strict,
            damage=damage,
            offset_us=self._offset_us,
        )

    def _blocks(self, damage: Damage) -> Iterator[Events]:
        reading = self._pass(damage)
        yield from reading.blocks()
        if reading.early:
            note = (
                f"{reading.early} event words ahead of the first full time and address left out: "
                "the recording starts in the middle of a stream"
            )
            if note not in self.assumptions:
                self.assumptions.append(note)

    def triggers(self) -> Triggers:
        """Return all external triggers in time order. Raises DamagedFileError in strict mode."""
        reading = self._pass(Damage())
        for _ in reading.blocks():
            pass
        if not reading.triggers:
            return Triggers.empty()
        t = np.concatenate([part.t for part in reading.triggers])
        order = np.argsort(t, kind="stable")
        return Triggers(
            t[order],
            np.concatenate([part.id for part in reading.triggers])[order],
            np.concatenate([part.p for part in reading.triggers])[order],
        )

    def header(self) -> Mapping[str, str]:
        """Return the header's keys and values."""
        return self._header.keys

    def other_streams(self) -> Mapping[str, int]:
        """Count the words of type OTHERS: camera messages that are no events."""
        count = 0
        for _, words, stop, _ in _chunks(self.path, self._header.end):
            count += int(np.count_nonzero(words[:stop] >> 12 == k.OTHERS))
        return {"other words": count} if count else {}


def _data_size(path: Path, start: int) -> Size:
    reading = _Pass(path, start, _ANY_SIZE, strict=False, damage=Damage(), offset_us=0)
    width = height = 0
    for block in reading.blocks():
        if len(block):
            width = max(width, int(block.x.max()) + 1)
            height = max(height, int(block.y.max()) + 1)
    if not width:
        raise GeometryError(
            f"{path}: no sensor size in the header and no events; pass size=(width, height)"
        )
    return as_size((width, height))


def open_recording(path: Path, options: ReadOptions) -> Evt3Recording:
    """Open a RAW file in EVT 3.0.

    Its size is the argument, the header's, that of the camera which the header names, or the
    smallest that holds the events. Raises FormatError, GeometryError.
    """
    header = read_header(path)
    if options.size is not None:
        return Evt3Recording(path, options, options.size, "argument", header)
    size = header_size(path, header.keys)
    if size is not None:
        return Evt3Recording(path, options, size, "header", header)
    camera = camera_size(header.keys)
    if camera is not None:
        recording = Evt3Recording(path, options, camera[0], "camera", header)
        recording.assumptions.append(
            f"no sensor size in the file: {camera[0]} is that of the camera ({camera[1]})"
        )
        return recording
    return Evt3Recording(path, options, _data_size(path, header.end), "data", header)
