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
from dvskit.formats.words.supply import UNIT, FileWords, Supply
from dvskit.streams import Triggers

CHUNK_UNITS = 1 << 19  # 32-bit units that are decoded at once
_SLICE_UNITS = 1 << 14  # fewer are not worth a thread
_LOSSES = 4096
_BORDER_UNITS = 64  # that are looked at to find where a slice can begin

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
    The loops are alike for all layouts; `dvskit.formats.words.evt._kernels` says what they do.
    """

    name: str
    units: int
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
        with FileWords(path, start, self.layout.units, CHUNK_UNITS) as words:
            yield from self.blocks(words, storage)

    def blocks(self, supply: Supply, storage: Storage) -> Iterator[Events]:
        """Yield the events; raise DamagedFileError at the first loss in strict mode."""
        self.start = supply.start
        while stop := supply.next(self.number, CHUNK_UNITS):
            slices, counts, clean = self._scan(supply, stop)
            columns, hits = storage.columns(counts[0]), _hits(counts[1])
            end = self._decode_clean(supply, slices, columns, hits) if clean else None
            if end is None:
                supply.fill(0, stop)
                end = self._decode_careful(supply.words(far=True), stop, counts, columns, hits)
            self.others += counts[2]
            self._keep(hits)
            self.number += end
            yield self._events(columns)
        whole, odd = supply.odd_bytes()
        if odd:
            width = self.layout.units * UNIT
            self._lose(whole, odd, f"the last word has {odd} of {width} bytes")

    def _scan(self, supply: Supply, stop: int) -> tuple[list[_Slice], tuple[int, int, int], bool]:
        """Return the slices of a chunk, what they hold at most, and whether they look clean.

        At most: (events, triggers, other words).
        """
        layout, scan = self.layout, self.layout.scan
        bounds = self._bounds(supply, stop)
        parts = len(bounds) - 1
        rows = np.zeros((parts, k.ROW_FIELDS), np.int64)
        if scan is None:
            rows[:, k.R_EVENTS] = np.diff(bounds) // layout.units
            rows[:, k.R_FIRST], rows[:, k.R_CLEAN], rows[:, k.R_END] = -1, 1, bounds[1:]
        else:

            def work(i: int) -> None:
                supply.fill(bounds[i], bounds[i + 1])
                words = supply.words(far=False)
                scan(words, bounds[i], bounds[i + 1], layout.table, rows[i])

            run_parts(work, parts)
        most = rows[:, [k.R_EVENTS, k.R_TRIGGERS, k.R_OTHERS]].sum(0).tolist()
        slices, clean = self._stitch(bounds, rows.tolist())
        return slices, (most[0], most[1], most[2]), clean and self.state[k.S_CLOCK] == k.USABLE

    def _bounds(self, supply: Supply, stop: int) -> list[int]:
        """Return where the slices of a chunk begin, and its end."""
        parts = max(1, min(thread_count(), stop // _SLICE_UNITS))
        bounds = [0]
        for part in range(1, parts):
            at = max(bounds[-1] + 1, stop * part // parts)
            units = supply.peek(at - 1, min(_BORDER_UNITS, stop - at) + 1)
            start = self.layout.safe_start(units, self.layout.table, at - 1)
            if start < len(units):  # else there is no such place near: no slice begins here
                bounds.append(at - 1 + start)
        return [*bounds, stop]

    def _stitch(self, bounds: list[int], rows: list[list[int]]) -> tuple[list[_Slice], bool]:
        """Give each slice the clock that the ones ahead of it leave, and places for its events."""
        high, loops = int(self.state[k.S_HIGH]), int(self.state[k.S_LOOPS])
        bits, small = self.layout.clock_bits, self.layout.small_step
        event = trigger = 0
        slices, clean = [], True
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
        self, supply: Supply, slices: list[_Slice], columns: EventColumns, hits: _Hits
    ) -> int | None:
        """Decode all slices at once; return where they end, None where one holds damage."""
        layout, state = self.layout, self.state
        told = np.zeros((len(slices) - 1, k.CLEAN_FIELDS), np.int64)

        def decode(i: int) -> None:
            here, behind = slices[i], slices[i + 1]
            if layout.scan is None:
                supply.fill(here.start, here.stop)
            layout.decode_clean(
                supply.words(far=False), here.start, here.stop, layout.table, *self.size,
                here.high, here.loops,
                *(column[here.event : behind.event] for column in columns),
                *(hit[here.trigger : behind.trigger] for hit in hits), told[i],
            )  # fmt: skip

        run_parts(decode, len(slices) - 1)
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
        if not self._goes_on(supply, at, high, last):
            return None
        state[k.S_HIGH], state[k.S_LOOPS], state[k.S_LAST] = high, end.loops, last
        state[k.S_EARLY] += sum(part.row[k.R_EVENTS] for part in slices[:-1]) - end.event
        state[k.S_EVENTS], state[k.S_TRIGGERS] = end.event, end.trigger
        return at

    def _goes_on(self, supply: Supply, at: int, high: int, last: int) -> bool:
        verdict = k.TOO_FEW
        for far in (False, True):
            if verdict == k.TOO_FEW:
                words = supply.words(far=far)
                verdict = self.layout.goes_on(words, at, self.layout.table, high, last)
        return verdict != k.DOUBT

    def _decode_careful(
        self,
        words: NDArray[np.uint32],
        stop: int,
        counts: tuple[int, int, int],
        columns: EventColumns,
        hits: _Hits,
    ) -> int:
        """Decode a chunk, judging each word; return where it ends."""
        at = 0
        while at < stop:
            at = self.layout.decode_careful(
                words, at, stop, self.number, self.layout.table, *self.size, self.strict,
                self.state, *columns, *hits, self._losses,
            )  # fmt: skip
            self._take_losses()
        return at

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
