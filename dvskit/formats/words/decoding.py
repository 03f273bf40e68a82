"""One pass over fixed-size words: clean stretches in parallel, damaged ones judged word by word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.errors import DamagedFileError
from dvskit.events import Events, Size
from dvskit.formats.recording import Damage
from dvskit.formats.words import _kernels as k
from dvskit.streams import Triggers

CHUNK_UNITS = 1 << 20  # 32-bit units that are decoded at once
_SLICE_UNITS = 1 << 14  # fewer are not worth a thread
_LOSSES = 4096
_UNIT = 4  # bytes

_Columns = tuple[NDArray[np.int64], NDArray[np.int16], NDArray[np.int16], NDArray[np.bool_]]
_Hits = tuple[NDArray[np.int64], NDArray[np.int16], NDArray[np.bool_]]

PROBLEMS = {
    k.NO_TYPE: "word {a:#010x} is of the unknown type {b:#x}",
    k.OFF_SENSOR: "event at ({a}, {b}) is off the {size} sensor",
    k.TIME_BACK: "time runs back from {a} to {b} us",
    k.TIME_AHEAD: "event at {a} us stands ahead of events at {b} us",
    k.HIGH_JUMP: "the clock jumps from {a} to {b} and back",
    k.CLOCK_RESET: "the clock runs back from {a} to {b} (read as a wrap)",
    k.NO_CLOCK: "word {a:#010x} at a time that is unknown since a damaged word",
    k.HALF_VECTOR: "the mask of the vector word {a:#010x} is missing",
    k.NO_POLARITY: "word {a:#010x} has polarity {b}, which is neither 0 nor 1",
}


class Layout(NamedTuple):
    """How words are read: their length in 32-bit units, and the compiled loops with their table.

    The clock has `clock_bits` bits; steps of less than `small_step` need no judging.
    The loops are alike for all layouts; `dvskit.formats.words.evt._kernels` says what they do.
    """

    name: str
    units: int
    table: NDArray[np.int64]
    clock_bits: int
    small_step: int
    safe_start: Callable[..., int]
    scan: Callable[..., None]
    decode_clean: Callable[..., None]
    goes_on: Callable[..., bool]
    decode_careful: Callable[..., int]


class _Slice(NamedTuple):
    """A part of a chunk: where it lies, what the scan found, and its state and places."""

    start: int
    stop: int
    row: list[int]
    high: int
    loops: int
    event: int
    trigger: int


def _fill(file: FileIO, room: memoryview) -> int:
    """Read as much as there is room for; less only at the end of the file."""
    count = 0
    while count < len(room) and (got := file.readinto(room[count:])):
        count += got
    return count


class WordPass:
    """One pass over a file: decodes chunks into blocks, and collects triggers and losses."""

    def __init__(
        self,
        path: Path,
        start: int,
        size: Size,
        layout: Layout,
        *,
        strict: bool,
        damage: Damage,
        offset_us: int = 0,
    ) -> None:
        self.path, self.start, self.size, self.layout = path, start, size, layout
        self.strict, self.damage, self.offset_us = strict, damage, offset_us
        self.triggers: list[Triggers] = []
        self.others = 0
        self._state = np.zeros(k.STATE_FIELDS, np.int64)
        self._state[k.S_HIGH] = -1
        self._state[k.S_LAST] = k.NEVER
        self._losses = np.empty((_LOSSES, 5), np.int64)

    @property
    def early(self) -> int:
        """Events ahead of the first TIME_HIGH."""
        return int(self._state[k.S_EARLY])

    def chunks(self) -> Iterator[tuple[NDArray[np.uint32], int, int, Callable[[int], None]]]:
        """Yield (words, how many to decode, number of the first, a call to say how many were).

        The words behind those to decode begin the next chunk, which takes the place of this one.
        """
        number = held = reached = 0
        units = self.layout.units
        buffer = np.empty(CHUNK_UNITS + k.LOOK_AHEAD + 2 * units, "<u4")

        def done(at: int) -> None:
            nonlocal reached
            reached = at

        with self.path.open("rb", buffering=0) as file:
            file.seek(self.start)
            ended = False
            while not ended:
                room = buffer[held:].view(np.uint8).data
                count = _fill(file, room)
                ended = count < len(room)
                length = held + count // _UNIT
                words = buffer[:length]
                stop = length if ended else length - k.LOOK_AHEAD
                yield words, max(0, stop) // units * units, number, done
                number += reached
                held = length - reached
                buffer[:held] = buffer[reached:length].copy()
                reached = 0

    def blocks(self) -> Iterator[Events]:
        """Yield the events; raise DamagedFileError at the first loss in strict mode."""
        for words, stop, number, done in self.chunks():
            if not stop:
                continue
            slices, counts, clean = self._scan(words, stop)
            self.others += counts[2]
            columns, hits = _columns(counts[0]), _hits(counts[1])
            end = slices[-1].row[k.R_END]
            if not clean or not self._decode_clean(words, slices, columns, hits):
                columns, hits, end = self._decode_careful(words, stop, number, counts)
            self._keep(hits)
            yield self._events(columns)
            done(end)
        self._check_end()

    def _check_end(self) -> None:
        width = self.layout.units * _UNIT
        size = self.path.stat().st_size
        odd = max(0, size - self.start) % width
        if odd:
            self._lose(size - odd, odd, f"the last word has {odd} of {width} bytes")

    def _scan(
        self, words: NDArray[np.uint32], stop: int
    ) -> tuple[list[_Slice], tuple[int, int, int], bool]:
        """Return the slices of words[:stop], what they hold at most, and whether they look clean.

        At most: (events, triggers, other words).
        """
        layout = self.layout
        parts = max(1, min(thread_count(), stop // _SLICE_UNITS))
        bounds = [0]
        for part in range(1, parts):
            at = max(bounds[-1], stop * part // parts)
            bounds.append(layout.safe_start(words, at, stop, layout.table))
        bounds.append(stop)
        rows = np.zeros((parts, k.ROW_FIELDS), np.int64)
        run_parts(
            lambda i: layout.scan(words, bounds[i], bounds[i + 1], layout.table, rows[i]), parts
        )
        found = rows.tolist()
        most = (
            sum(row[k.R_EVENTS] for row in found),
            sum(row[k.R_TRIGGERS] for row in found),
            sum(row[k.R_OTHERS] for row in found),
        )
        slices, clean = self._stitch(bounds, found)
        return slices, most, clean and int(self._state[k.S_CLOCK]) == k.USABLE

    def _stitch(self, bounds: list[int], rows: list[list[int]]) -> tuple[list[_Slice], bool]:
        """Give each slice the clock that the ones ahead of it leave, and places for its events."""
        high, loops = int(self._state[k.S_HIGH]), int(self._state[k.S_LOOPS])
        bits, small = self.layout.clock_bits, self.layout.small_step
        event = trigger = 0
        slices, clean = [], True
        for i, row in enumerate(rows):
            slices.append(_Slice(bounds[i], bounds[i + 1], row, high, loops, event, trigger))
            clean = clean and bool(row[k.R_CLEAN])
            heard = high >= 0
            event += row[k.R_EVENTS] - (0 if heard else row[k.R_EARLY])
            trigger += row[k.R_TRIGGERS] - (0 if heard else row[k.R_EARLY_TRIGGERS])
            if row[k.R_FIRST] >= 0:
                if heard:
                    clean = clean and (row[k.R_FIRST] - high) % (1 << bits) < small
                    loops += row[k.R_FIRST] < high
                loops += row[k.R_LOOPS]
                high = row[k.R_NEWEST]
        slices.append(_Slice(bounds[-1], bounds[-1], rows[-1], high, loops, event, trigger))
        return slices, clean

    def _decode_clean(
        self, words: NDArray[np.uint32], slices: list[_Slice], columns: _Columns, hits: _Hits
    ) -> bool:
        """Decode all slices at once; return False where one turns out to hold damage."""
        layout, state = self.layout, self._state
        told = np.zeros((len(slices) - 1, k.CLEAN_FIELDS), np.int64)

        def decode(i: int) -> None:
            here, behind = slices[i], slices[i + 1]
            layout.decode_clean(
                words, here.start, here.stop, layout.table, *self.size, here.high, here.loops,
                *(column[here.event : behind.event] for column in columns),
                *(hit[here.trigger : behind.trigger] for hit in hits), told[i],
            )  # fmt: skip

        run_parts(decode, len(slices) - 1)
        last = int(state[k.S_LAST])
        for clean, some, first_t, last_t in told.tolist():
            if not clean or (some and first_t < last):
                return False
            last = last_t if some else last
        end = slices[-1]
        if not layout.goes_on(words, end.row[k.R_END], layout.table, end.high, last):
            return False
        state[k.S_HIGH], state[k.S_LOOPS], state[k.S_LAST] = end.high, end.loops, last
        state[k.S_EARLY] += sum(part.row[k.R_EVENTS] for part in slices[:-1]) - end.event
        state[k.S_EVENTS], state[k.S_TRIGGERS] = end.event, end.trigger
        return True

    def _decode_careful(
        self,
        words: NDArray[np.uint32],
        stop: int,
        number: int,
        counts: tuple[int, int, int],
    ) -> tuple[_Columns, _Hits, int]:
        columns, hits = _columns(counts[0]), _hits(counts[1])
        at = 0
        while at < stop:
            at = self.layout.decode_careful(
                words, at, stop, number, self.layout.table, *self.size, self.strict, self._state,
                *columns, *hits, self._losses,
            )  # fmt: skip
            self._take_losses()
        return columns, hits, at

    def _take_losses(self) -> None:
        for unit, length, why, a, b in self._losses[: self._state[k.S_LOSSES]].tolist():
            if why in (k.TIME_BACK, k.TIME_AHEAD):
                a, b = a + self.offset_us, b + self.offset_us
            problem = PROBLEMS[why].format(a=a, b=b, size=self.size)
            self._lose(self.start + _UNIT * unit, _UNIT * length, problem)
        self._state[k.S_LOSSES] = 0

    def _lose(self, offset: int, length: int, problem: str) -> None:
        problem = f"{self.layout.name} {problem}"
        if self.strict:
            raise DamagedFileError(self.path, offset, problem)
        self.damage.add(offset, length, problem)

    def _events(self, columns: _Columns) -> Events:
        count = int(self._state[k.S_EVENTS])
        self._state[k.S_EVENTS] = 0
        t, x, y, p = columns
        if self.offset_us:
            t[:count] += self.offset_us
        return Events.from_checked(t[:count], x[:count], y[:count], p[:count], self.size)

    def _keep(self, hits: _Hits) -> None:
        count = int(self._state[k.S_TRIGGERS])
        self._state[k.S_TRIGGERS] = 0
        if count:
            t, number, p = hits
            self.triggers.append(Triggers(t[:count] + self.offset_us, number[:count], p[:count]))


def _columns(count: int) -> _Columns:
    return (
        np.empty(count, np.int64),
        np.empty(count, np.int16),
        np.empty(count, np.int16),
        np.empty(count, np.bool_),
    )


def _hits(count: int) -> _Hits:
    return np.empty(count, np.int64), np.empty(count, np.int16), np.empty(count, np.bool_)
