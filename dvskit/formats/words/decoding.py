"""One pass over fixed-size words: clean stretches in parallel, damaged ones judged word by word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.errors import DamagedFileError
from dvskit.events import Events, Size
from dvskit.formats.recording import Damage
from dvskit.formats.storage import EventColumns, Storage
from dvskit.formats.words import _kernels as k
from dvskit.formats.words.supply import UNIT, Chunk, FileWords, Supply
from dvskit.streams import Triggers

CHUNK_WORDS = 1 << 19  # that are decoded at once
_SLICE_UNITS = 1 << 14  # fewer are not worth a thread
_LOSSES = 4096
_BORDER_UNITS = 64  # that are looked at to find where a slice can begin

_COUNTS = [k.R_EVENTS, k.R_TRIGGERS, k.R_OTHERS]

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

    The clock has `clock_bits` bits; steps of less than `small_step` need no judging. Without a
    `scan`, every word is an event, and its time is whole: nothing has to be known ahead of it.
    `heads` has a bit for each type that the last unit of a whole word cannot have; `look` tells
    the search for words out of step what words look like.
    The loops are alike for all layouts; `dvskit.formats.words.evt._kernels` says what they do.
    """

    name: str
    units: int
    heads: int
    look: NDArray[np.int64]
    table: NDArray[np.int64]
    clock_bits: int
    small_step: int
    safe_start: Callable[..., int]
    scan: Callable[..., None] | None
    decode_clean: Callable[..., None]
    goes_on: Callable[..., int]
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


class _Scan:
    """What a chunk holds, found slice by slice.

    rows  of `scan`, one a slice
    """

    def __init__(self, chunk: Chunk, layout: Layout) -> None:
        self.chunk, self.layout = chunk, layout
        self.bounds = _bounds(chunk, layout)
        self.parts = len(self.bounds) - 1
        self.rows = np.zeros((self.parts, k.ROW_FIELDS), np.int64)
        if layout.scan is None:
            self.rows[:, k.R_EVENTS] = np.diff(self.bounds) // layout.units
            self.rows[:, k.R_FIRST], self.rows[:, k.R_CLEAN] = -1, 1
            self.rows[:, k.R_END] = self.bounds[1:]

    def run(self) -> None:
        """Read and scan all slices, where there is something to scan."""
        if self.layout.scan is not None:
            run_parts(self.work, self.parts)

    def work(self, part: int) -> None:
        """Read and scan a slice."""
        if self.layout.scan is not None:
            begin, stop = self.bounds[part], self.bounds[part + 1]
            self.chunk.fill(begin, stop)
            words = self.chunk.words(far=False)
            self.layout.scan(words, begin, stop, self.layout.table, self.rows[part])

    @property
    def end(self) -> int:
        """The number of the unit behind the last word."""
        return self.chunk.number + int(self.rows[-1, k.R_END])


def _bounds(chunk: Chunk, layout: Layout) -> list[int]:
    """Return where the slices of a chunk begin, and its end."""
    stop = chunk.stop
    parts = max(1, min(thread_count(), stop // _SLICE_UNITS))
    bounds = [0]
    for part in range(1, parts):
        at = max(bounds[-1] + 1, stop * part // parts)
        units = chunk.peek(at - 1, min(_BORDER_UNITS, stop - at) + 1)
        start = layout.safe_start(units, layout.table, at - 1)
        if start < len(units):  # else there is no such place near: no slice begins here
            bounds.append(at - 1 + start)
    return [*bounds, stop]


class WordPass:
    """One pass over words: decodes chunks into blocks, and collects triggers and losses.

    `name` is the file's, for messages. A pass may begin at any unit, in the state that another
    pass had there.
    """

    def __init__(
        self,
        name: str | Path,
        size: Size,
        layout: Layout,
        *,
        strict: bool,
        damage: Damage,
        offset_us: int = 0,
    ) -> None:
        self.name, self.size, self.layout = name, size, layout
        self.strict, self.damage, self.offset_us = strict, damage, offset_us
        self.triggers: list[Triggers] = []
        self.others = 0
        self.number = 0  # of the next unit
        self.start = 0
        self.state = np.zeros(k.STATE_FIELDS, np.int64)
        self.state[k.S_HIGH] = -1
        self.state[k.S_LAST] = k.NEVER
        self._losses = np.empty((_LOSSES, 5), np.int64)

    @property
    def early(self) -> int:
        """Events ahead of the first TIME_HIGH."""
        return int(self.state[k.S_EARLY])

    def file_blocks(self, path: Path, start: int, storage: Storage) -> Iterator[Events]:
        """Yield the events of a file whose words begin at byte `start`."""
        with FileWords(path, start, self.layout.units, CHUNK_WORDS * self.layout.units) as words:
            yield from self.blocks(words, storage)

    def blocks(self, supply: Supply, storage: Storage) -> Iterator[Events]:
        """Yield the events; raise DamagedFileError at the first loss in strict mode.

        Each chunk is decoded, and the next one scanned, in one go of all threads.
        """
        self.start = supply.start
        most = CHUNK_WORDS * self.layout.units
        ahead: _Scan | None = None
        while True:
            if ahead is None or ahead.chunk.number != self.number:
                chunk = supply.next(self.number, most)
                if chunk is None:
                    break
                ahead = _Scan(chunk, self.layout)
                ahead.run()
            here, ahead = ahead, None
            slices, clean = self._stitch(here)
            events, hits_count, others = here.rows[:, _COUNTS].sum(0).tolist()
            columns, hits = storage.columns(events), _hits(hits_count)
            end = None
            if clean:
                if self.layout.scan is not None and not supply.waits:
                    chunk = supply.next(here.end, most)
                    ahead = None if chunk is None else _Scan(chunk, self.layout)
                end = self._decode_clean(here, slices, columns, hits, ahead)
            if end is None:
                end = self._decode_careful(supply, here.chunk, columns, hits)
            self.others += others
            self._keep(hits)
            self.number += end
            yield self._events(columns)
        whole, odd = supply.odd_bytes()
        if odd:
            width = self.layout.units * UNIT
            self._lose(whole, odd, f"the last word has {odd} of {width} bytes")

    def _stitch(self, scan: _Scan) -> tuple[list[_Slice], bool]:
        """Give each slice the clock that the ones ahead of it leave, and places for its events."""
        high, loops = int(self.state[k.S_HIGH]), int(self.state[k.S_LOOPS])
        bits, small = self.layout.clock_bits, self.layout.small_step
        event = trigger = 0
        bounds, rows = scan.bounds, scan.rows.tolist()
        slices, clean = [], bool(self.state[k.S_CLOCK] == k.USABLE)
        for i, row in enumerate(rows):
            slices.append(_Slice(bounds[i], bounds[i + 1], row, high, loops, event, trigger))
            clean = clean and bool(row[k.R_CLEAN])
            heard = high >= 0 or self.layout.scan is None
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
        self,
        scan: _Scan,
        slices: list[_Slice],
        columns: EventColumns,
        hits: _Hits,
        ahead: _Scan | None,
    ) -> int | None:
        """Decode all slices at once; return where they end, None where one holds damage.

        The chunk `ahead` is scanned meanwhile.
        """
        layout, state, chunk = self.layout, self.state, scan.chunk
        told = np.zeros((scan.parts, k.CLEAN_FIELDS), np.int64)

        def work(i: int) -> None:
            if i < scan.parts:
                here, behind = slices[i], slices[i + 1]
                if layout.scan is None:
                    chunk.fill(here.start, here.stop)
                layout.decode_clean(
                    chunk.words(far=False), here.start, here.stop, layout.table, *self.size,
                    here.high, here.loops,
                    *(column[here.event : behind.event] for column in columns),
                    *(hit[here.trigger : behind.trigger] for hit in hits), told[i],
                )  # fmt: skip
            if ahead is not None and i < ahead.parts:
                ahead.work(i)

        run_parts(work, max(scan.parts, 0 if ahead is None else ahead.parts))
        last, high = int(state[k.S_LAST]), int(state[k.S_HIGH])
        for i, row in enumerate(told.tolist()):
            if not row[k.C_CLEAN]:
                return None
            if row[k.C_ANY]:
                step = row[k.C_FIRST_T] - last
                if step < 0 or (
                    layout.scan is None and last != k.NEVER and step >= layout.small_step
                ):
                    return None
                last = row[k.C_LAST_T]
            if row[k.C_LOOPS] != slices[i + 1].loops:
                return None
            high = row[k.C_HIGH]
        end = slices[-1]
        at = end.row[k.R_END]
        if not self._goes_on(chunk, at, high, last):
            return None
        state[k.S_HIGH], state[k.S_LOOPS], state[k.S_LAST] = high, end.loops, last
        state[k.S_EARLY] += sum(part.row[k.R_EVENTS] for part in slices[:-1]) - end.event
        state[k.S_EVENTS], state[k.S_TRIGGERS] = end.event, end.trigger
        return at

    def _goes_on(self, chunk: Chunk, at: int, high: int, last: int) -> bool:
        verdict = k.TOO_FEW
        for far in (False, True):
            if verdict == k.TOO_FEW:
                words = chunk.words(far=far)
                verdict = self.layout.goes_on(words, at, self.layout.table, high, last)
        return verdict != k.DOUBT

    def _decode_careful(
        self, supply: Supply, chunk: Chunk, columns: EventColumns, hits: _Hits
    ) -> int:
        """Decode a chunk, judging each word; return where it ends.

        In salvage mode it ends where words get out of step; `supply` is moved to where they go on.
        """
        chunk.fill(0, chunk.stop)
        words = chunk.words(far=True)
        stop, end = chunk.stop, None
        if not self.strict:
            state = self.state.copy()
            at = self._judge(chunk, words, 0, stop, columns, hits)
            if at >= stop and not self.state[k.S_LOSSES]:
                return at
            self.state[:] = state  # something is lost: is it that words are out of step?
            words, stop, end = self._in_step(supply, chunk, words)
            if stop < chunk.stop and self.layout.scan is not None:  # the rest is met again
                row = np.zeros(k.ROW_FIELDS, np.int64)
                self.layout.scan(chunk.words(far=True), stop, chunk.stop, self.layout.table, row)
                self.others -= int(row[k.R_OTHERS])
        at = 0
        while at < stop:
            at = self._judge(chunk, words, at, stop, columns, hits)
            self._take_losses()
        if end is None:
            return at
        begin = self.start + UNIT * (chunk.number + stop)
        self._lose(begin, end - begin, f"words are out of step and go on at byte {end}")
        units, moved = divmod(end - self.start, UNIT * self.layout.units)
        self.start += moved
        supply.move(moved)
        if not self._clock_holds(words[stop:]):
            self.state[k.S_CLOCK] = k.SPOILT
        return units * self.layout.units - chunk.number

    def _judge(
        self,
        chunk: Chunk,
        words: NDArray[np.uint32],
        at: int,
        stop: int,
        columns: EventColumns,
        hits: _Hits,
    ) -> int:
        return self.layout.decode_careful(
            words, at, stop, chunk.number, self.layout.table, *self.size, self.strict,
            self.state, *columns, *hits, self._losses,
        )  # fmt: skip

    def _clock_holds(self, words: NDArray[np.uint32]) -> bool:
        """Tell whether no TIME_HIGH seems to be missing ahead of words, by the first in them."""
        units, head, highs = self.layout.look[[k.W_UNITS, k.W_HEAD, k.W_HIGH]].tolist()
        heads = words[head::units]
        places = np.flatnonzero(highs >> (heads >> 28) & 1)
        value = int(heads[places[0]]) & 0xFFFFFFF if places.size else 0
        return not places.size or value - int(self.state[k.S_HIGH]) in (0, 1)

    def _in_step(
        self, supply: Supply, chunk: Chunk, words: NDArray[np.uint32]
    ) -> tuple[NDArray[np.uint32], int, int | None]:
        """Return a chunk's words, how many to decode, and the byte of the file to go on at.

        Where they get out of step, those that are in step again follow, to be looked at.
        """
        content, stop = words.view(np.uint8), UNIT * chunk.stop
        looks = self.layout.look, *self.size
        blind = UNIT * (int(self.state[k.S_BLIND]) - chunk.number)
        verdict, at, found, blind = k.find_shift(content, 0, stop, *looks, blind, chunk.ended())
        self.state[k.S_BLIND] = chunk.number + blind // UNIT
        if verdict == k.UNDECIDED:
            supply.wait()
            return words, at // UNIT, None
        if verdict == k.OUT_OF_STEP:
            stop, end = at // UNIT, self.start + UNIT * chunk.number + found
        else:
            verdict, at, found, _ = k.find_shift(
                content, stop, len(content), *looks, blind, chunk.ended()
            )
            stop, end = chunk.stop, None
        if verdict == k.OUT_OF_STEP:
            behind = content[found : len(content) - (len(content) - found) % UNIT]
            words = np.concatenate([words[: at // UNIT], behind.copy().view("<u4")])
        return words, stop, end

    def _take_losses(self) -> None:
        for unit, length, why, a, b in self._losses[: self.state[k.S_LOSSES]].tolist():
            if why in (k.TIME_BACK, k.TIME_AHEAD):
                a, b = a + self.offset_us, b + self.offset_us
            problem = PROBLEMS[why].format(a=a, b=b, size=self.size)
            self._lose(self.start + UNIT * unit, UNIT * length, problem)
        self.state[k.S_LOSSES] = 0

    def _lose(self, offset: int, length: int, problem: str) -> None:
        problem = f"{self.layout.name} {problem}"
        if self.strict:
            raise DamagedFileError(self.name, offset, problem)
        self.damage.add(offset, length, problem)

    def _events(self, columns: EventColumns) -> Events:
        count = int(self.state[k.S_EVENTS])
        self.state[k.S_EVENTS] = 0
        t, x, y, p = columns
        if self.offset_us:
            t[:count] += self.offset_us
        return Events.from_checked(t[:count], x[:count], y[:count], p[:count], self.size)

    def _keep(self, hits: _Hits) -> None:
        count = int(self.state[k.S_TRIGGERS])
        self.state[k.S_TRIGGERS] = 0
        if count:
            t, number, p = hits
            self.triggers.append(Triggers(t[:count] + self.offset_us, number[:count], p[:count]))


def _hits(count: int) -> _Hits:
    return np.empty(count, np.int64), np.empty(count, np.int16), np.empty(count, np.bool_)
