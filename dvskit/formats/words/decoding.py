"""One pass over fixed-size words: clean stretches in parallel, others judged word by word."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import numpy as np

from dvskit._threads import run_parts, thread_count
from dvskit.events import Events, Size
from dvskit.formats.feed import Feed, Window, WordKind
from dvskit.formats.losses import Losses
from dvskit.formats.raw_recording import WordPass
from dvskit.formats.storage import Storage, new_triggers
from dvskit.formats.words import in_turn
from dvskit.formats.words import layout as k
from dvskit.formats.words.in_turn import Decoded, LostBytes
from dvskit.formats.words.layout import PROBLEMS, UNIT, Layout
from dvskit.formats.words.row_kernels import LOOK_AHEAD

CHUNK_WORDS = 1 << 19  # that are decoded at once
_SLICE_UNITS = 1 << 14  # fewer are not worth a thread
_BORDER_UNITS = 64  # that are looked at to find where a slice can begin
_UNIT = np.dtype("<u4")
_ARRIVING_UNITS = 1 << 16  # that are decoded at once, where they arrive on a stream
_NEAR = 1 << 12  # units of look-ahead that are read at once; nearly always they are enough


def word_kind(layout: Layout) -> WordKind:
    """Return what the words of a layout are made of, and how many behind them are looked at."""
    return WordKind(_UNIT, layout.units, near=_NEAR, far=LOOK_AHEAD)


class Slice(NamedTuple):
    """A part of a chunk: where it lies, what the scan found, and its state and places."""

    start: int
    stop: int
    row: list[int]
    high: int
    loops: int
    event: int
    trigger: int


class Scan:
    """What a chunk holds, found slice by slice, so that all of them can be decoded at once.

    rows  of `scan`, one a slice
    """

    def __init__(self, chunk: Window, layout: Layout, size: Size) -> None:
        self.chunk, self.layout = chunk, layout
        self.words = layout.words(chunk.items(), size)
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
            self.layout.scan(self.words, begin, stop, self.rows[part])

    @property
    def end(self) -> int:
        """The byte behind the last word."""
        return self.chunk.offset + UNIT * int(self.rows[-1, k.R_END])


def _bounds(chunk: Window, layout: Layout) -> list[int]:
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


class LayoutPass(WordPass):
    """One pass over words of a layout: decodes chunks into blocks, collects triggers and losses.

    at     the byte of the next word
    state  what is known there: a pass may begin at any word, in the state that another had there
    """

    def __init__(
        self, feed: Feed, at: int, size: Size, layout: Layout, losses: Losses, offset_us: int = 0
    ) -> None:
        super().__init__(size, losses, offset_us)
        self.at, self.layout = at, layout
        self.others = 0
        self.state = np.zeros(k.STATE_FIELDS, np.int64)
        self.state[k.S_HIGH] = -1
        self.state[k.S_LAST] = k.NEVER
        self._feed = feed
        self._no_sense = (at, 0)  # the latest words that make no sense, and are yet to be lost

    @property
    def early(self) -> int:
        """How many events stand ahead of the first TIME_HIGH."""
        return int(self.state[k.S_EARLY])

    def blocks(self, storage: Storage) -> Iterator[Events]:
        """Yield the events; raise DamagedFileError at the first loss in strict mode."""
        with closing(self._feed) as feed:
            yield from self._chunk_blocks(feed, storage)
        self._lose_no_sense()
        odd = feed.left(self.at)
        if odd:
            width = self.layout.units * UNIT
            problem = f"{self.layout.name} the last word has {odd} of {width} bytes"
            self.losses.lose(self.at, odd, problem)

    def _chunk_blocks(self, feed: Feed, storage: Storage) -> Iterator[Events]:
        """Decode each chunk, and scan the next one, in one go of all threads."""
        ahead: Scan | None = None
        while True:
            if ahead is None or ahead.chunk.offset != self.at:
                chunk = self._chunk(feed)
                if chunk is None:
                    break
                ahead = Scan(chunk, self.layout, self.size)
                ahead.run()
            here, ahead = ahead, None
            slices, clean = self._resolve_clock(here)
            got = None
            if clean:
                if self.layout.scan is not None and not feed.live:
                    chunk = feed.window(here.end, self._most)
                    ahead = None if chunk is None else Scan(chunk, self.layout, self.size)
                got = self._decode_clean(here, slices, storage, ahead)
            if got is None:
                got = self._decode_in_turn(here.chunk, storage, live=feed.live)
            self.at = here.chunk.offset + got.end
            self.others += got.others
            self._keep(got.triggers)
            yield self._events(got.columns)

    @property
    def _most(self) -> int:
        return CHUNK_WORDS * self.layout.units

    def _chunk(self, feed: Feed) -> Window | None:
        """Return the next chunk; of a stream, without a last word whose mask has not come yet."""
        if not feed.live:
            return feed.window(self.at, self._most)
        chunk = feed.window(self.at, _ARRIVING_UNITS)
        while chunk is not None and not chunk.ended and self._lacks_mask(chunk):
            if chunk.stop > 1:
                chunk.stop -= 1
                break
            chunk = feed.window(self.at, _ARRIVING_UNITS, longer=True)
        return chunk

    def _lacks_mask(self, chunk: Window) -> bool:
        last = int(chunk.items()[chunk.stop - 1])
        return bool(self.layout.heads >> (last >> 28) & 1)

    def _resolve_clock(self, scan: Scan) -> tuple[list[Slice], bool]:
        """Give each slice the clock that the ones ahead of it leave, and places for its events."""
        high, loops = int(self.state[k.S_HIGH]), int(self.state[k.S_LOOPS])
        bits, small = self.layout.clock_bits, self.layout.small_step
        event = trigger = 0
        bounds, rows = scan.bounds, scan.rows.tolist()
        slices, clean = [], bool(self.state[k.S_CLOCK] == k.USABLE and not self.state[k.S_DOUBT])
        for i, row in enumerate(rows):
            slices.append(Slice(bounds[i], bounds[i + 1], row, high, loops, event, trigger))
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
        slices.append(Slice(bounds[-1], bounds[-1], rows[-1], high, loops, event, trigger))
        return slices, clean

    def _decode_clean(
        self, scan: Scan, slices: list[Slice], storage: Storage, ahead: Scan | None
    ) -> Decoded | None:
        """Decode all slices at once; return None where one holds damage.

        The chunk `ahead` is scanned meanwhile.
        """
        layout, state, chunk = self.layout, self.state, scan.chunk
        summary = np.zeros((scan.parts, k.CLEAN_FIELDS), np.int64)
        found = scan.rows.sum(axis=0)
        columns, triggers = storage.columns(found[k.R_EVENTS]), new_triggers(found[k.R_TRIGGERS])

        def work(i: int) -> None:
            if i < scan.parts:
                here, behind = slices[i], slices[i + 1]
                if layout.scan is None:
                    chunk.fill(here.start, here.stop)
                layout.decode_clean(
                    scan.words, here.start, here.stop, here.high, here.loops,
                    columns.part(slice(here.event, behind.event)),
                    triggers.part(slice(here.trigger, behind.trigger)), summary[i],
                )  # fmt: skip
            if ahead is not None and i < ahead.parts:
                ahead.work(i)

        run_parts(work, max(scan.parts, 0 if ahead is None else ahead.parts))
        last, high = int(state[k.S_LAST]), int(state[k.S_HIGH])
        for i, row in enumerate(summary.tolist()):
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
        state[k.S_EARLY] += found[k.R_EVENTS] - end.event
        columns, others = columns.part(slice(0, end.event)), int(found[k.R_OTHERS])
        return Decoded(columns, triggers.part(slice(0, end.trigger)), UNIT * at, others)

    def _goes_on(self, chunk: Window, at: int, high: int, last: int) -> bool:
        verdict = k.TOO_FEW
        for far in (False, True):
            if verdict == k.TOO_FEW:
                words = self.layout.words(chunk.items(far=far), self.size)
                verdict = self.layout.goes_on(words, at, high, last)
        return verdict != k.DOUBT

    def _decode_in_turn(self, chunk: Window, storage: Storage, *, live: bool) -> Decoded:
        """Decode the beginning of a chunk, judging each word.

        Raises DamagedFileError in strict mode if anything is lost.
        """
        chunk.fill(0, chunk.stop)
        words = self.layout.words(chunk.items(far=True), self.size)
        stop = min(chunk.stop, in_turn.PIECE_WORDS * self.layout.units)
        ended = live or (chunk.ended and stop == len(words.units))
        got, losses = in_turn.read_in_turn(
            words, stop, self.layout, self.state, storage, strict=self.losses.strict, ended=ended
        )
        for lost in losses:
            self._lose(chunk.offset + lost.start, lost)
        if not self.state[k.S_LOST]:
            self._lose_no_sense()
        return got

    def _lose(self, start: int, lost: LostBytes) -> None:
        if lost.why == k.NO_SENSE and start == sum(self._no_sense):
            self._no_sense = self._no_sense[0], self._no_sense[1] + lost.length
            return
        self._lose_no_sense()
        if lost.why == k.NO_SENSE:
            self._no_sense = start, lost.length
            return
        problem = self._problem(lost.why, lost.a, lost.b)
        self.losses.lose(start, lost.length, f"{self.layout.name} {problem}")

    def _lose_no_sense(self) -> None:
        (start, length), self._no_sense = self._no_sense, (self.at, 0)
        if length:
            problem = self._problem(k.NO_SENSE, 0, 0)
            self.losses.lose(start, length, f"{self.layout.name} {problem}")

    def _problem(self, why: int, a: int, b: int) -> str:
        if why in (k.TIME_BACK, k.TIME_AHEAD):
            a, b = a + self.offset_us, b + self.offset_us
        return PROBLEMS[why].format(a=a, b=b, size=self.size)
