"""One pass over fixed-size words: clean stretches in parallel, damaged ones judged word by word."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np

from dvskit._threads import run_parts
from dvskit.events import Events, Size
from dvskit.formats.feed import Feed, FileFeed, Window, WordKind
from dvskit.formats.losses import Losses
from dvskit.formats.raw_recording import WordPass
from dvskit.formats.storage import EventColumns, Storage, TriggerColumns, new_triggers
from dvskit.formats.words import layout as k
from dvskit.formats.words import salvage
from dvskit.formats.words.layout import PROBLEMS, UNIT, Layout
from dvskit.formats.words.salvage_kernels import LOOK_AHEAD
from dvskit.formats.words.scanning import Scan, Slice

CHUNK_WORDS = 1 << 19  # that are decoded at once
_UNIT = np.dtype("<u4")
_ARRIVING_UNITS = 1 << 16  # that are, where they arrive on a stream
_NEAR = 1 << 12  # units of look-ahead that are read at once; nearly always they are enough
_LOSSES = 4096
_LATE_WORDS = 64  # of a stream that wait for those behind them where something is lost
_COUNTS = [k.R_EVENTS, k.R_TRIGGERS, k.R_OTHERS]


def word_kind(layout: Layout) -> WordKind:
    """Return what the words of a layout are made of, and how many behind them are looked at."""
    return WordKind(_UNIT, layout.units, near=_NEAR, far=LOOK_AHEAD)


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
        self._found = np.empty((_LOSSES, 5), np.int64)
        self._first: list[list[int]] = []  # what was found in a chunk ahead of its salvage
        self._longer = False  # whether the next chunk is to hold more than the rest of this one
        self._doubtful = False  # whether bytes may be missing somewhere, though words look valid

    @property
    def early(self) -> int:
        """How many events stand ahead of the first TIME_HIGH."""
        return int(self.state[k.S_EARLY])

    def blocks(self, storage: Storage) -> Iterator[Events]:
        """Yield the events; raise DamagedFileError at the first loss in strict mode."""
        with closing(self._feed) as feed:
            if isinstance(feed, FileFeed) and not self.losses.strict:
                self._doubtful = self._ends_out_of_step(feed)
            yield from self._chunk_blocks(feed, storage)
        odd = feed.left(self.at)
        if odd:
            width = self.layout.units * UNIT
            self._lose(self.at, odd, f"the last word has {odd} of {width} bytes")

    def _ends_out_of_step(self, feed: FileFeed) -> bool:
        left, width = feed.left(self.at), UNIT * self.layout.units
        tail = np.empty(min(left, salvage.TAIL_WORDS * width + left % width), np.uint8)
        feed.read(tail.data, self.at + left - len(tail))
        return salvage.out_of_step(tail, self.layout, self.size)

    def _chunk_blocks(self, feed: Feed, storage: Storage) -> Iterator[Events]:
        """Decode each chunk, and scan the next one, in one go of all threads."""
        ahead: Scan | None = None
        while True:
            if ahead is None or ahead.chunk.offset != self.at:
                chunk = self._chunk(feed)
                if chunk is None:
                    break
                ahead = Scan(chunk, self.layout)
                ahead.run()
            here, ahead = ahead, None
            slices, clean = self._resolve_clock(here)
            events, count, others = here.rows[:, _COUNTS].sum(0).tolist()
            columns, triggers = storage.columns(events), new_triggers(count)
            end = None
            if clean and not self._doubtful:
                if self.layout.scan is not None and not feed.live:
                    chunk = feed.window(here.end, self._most)
                    ahead = None if chunk is None else Scan(chunk, self.layout)
                end = self._decode_clean(here, slices, columns, triggers, ahead)
            if end is None:
                end = self._decode_careful(here.chunk, columns, triggers)
            if end is None:
                ahead = None  # words may not be in step with it
                end, columns = self._salvage(here.chunk, storage, live=feed.live)
            else:
                self.others += others
                self._keep(triggers, int(self.state[k.S_TRIGGERS]))
            self.at = here.chunk.offset + end
            count = int(self.state[k.S_EVENTS])
            self.state[[k.S_EVENTS, k.S_TRIGGERS]] = 0
            yield self._events(columns, count)

    @property
    def _most(self) -> int:
        return CHUNK_WORDS * self.layout.units

    def _chunk(self, feed: Feed) -> Window | None:
        """Return the next chunk; of a stream, without a last word whose mask has not come yet."""
        if not feed.live:
            return feed.window(self.at, self._most)
        chunk = feed.window(self.at, _ARRIVING_UNITS, longer=self._longer)
        self._longer = False
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
        slices, clean = [], bool(self.state[k.S_CLOCK] == k.USABLE)
        for i, row in enumerate(rows):
            slices.append(Slice(bounds[i], bounds[i + 1], row, high, loops, event, trigger))
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
        slices.append(Slice(bounds[-1], bounds[-1], rows[-1], high, loops, event, trigger))
        return slices, clean

    def _decode_clean(
        self,
        scan: Scan,
        slices: list[Slice],
        columns: EventColumns,
        triggers: TriggerColumns,
        ahead: Scan | None,
    ) -> int | None:
        """Decode all slices at once; return the byte where they end, None where one holds damage.

        The chunk `ahead` is scanned meanwhile.
        """
        layout, state, chunk = self.layout, self.state, scan.chunk
        summary = np.zeros((scan.parts, k.CLEAN_FIELDS), np.int64)

        def work(i: int) -> None:
            if i < scan.parts:
                here, behind = slices[i], slices[i + 1]
                if layout.scan is None:
                    chunk.fill(here.start, here.stop)
                layout.decode_clean(
                    chunk.items(), here.start, here.stop, layout.table, *self.size,
                    here.high, here.loops,
                    tuple(column[here.event : behind.event] for column in columns),
                    tuple(column[here.trigger : behind.trigger] for column in triggers), summary[i],
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
        state[k.S_EARLY] += sum(part.row[k.R_EVENTS] for part in slices[:-1]) - end.event
        state[k.S_EVENTS], state[k.S_TRIGGERS] = end.event, end.trigger
        return UNIT * at

    def _goes_on(self, chunk: Window, at: int, high: int, last: int) -> bool:
        verdict = k.TOO_FEW
        for far in (False, True):
            if verdict == k.TOO_FEW:
                words = chunk.items(far=far)
                verdict = self.layout.goes_on(words, at, self.layout.table, high, last)
        return verdict != k.DOUBT

    def _decode_careful(
        self, chunk: Window, columns: EventColumns, triggers: TriggerColumns
    ) -> int | None:
        """Decode a chunk, judging each word; return the byte where it ends.

        Raises DamagedFileError in strict mode if anything is lost. Else None is returned then: it
        is to be salvaged, and `_first` begins with what was found first.
        """
        chunk.fill(0, chunk.stop)
        words, state = chunk.items(far=True), self.state.copy()
        at: int = self.layout.decode_careful(
            words, chunk.stop, self.layout.table, *self.size, self.losses.strict,
            self.state, columns, triggers, self._found,
        )  # fmt: skip
        count = int(self.state[k.S_LOSSES])
        if not count and not self._doubtful:
            return UNIT * at
        self.state[:] = state
        self._first = self._found[:count].tolist()
        if self.losses.strict:
            self._lose_word(chunk, self._first[0])
        return None

    def _salvage(self, chunk: Window, storage: Storage, *, live: bool) -> tuple[int, EventColumns]:
        """Decode a piece of a chunk in which something is lost; return the byte where it ends."""
        units, words = self.layout.units, chunk.items(far=True)
        stop = min(chunk.stop, salvage.PIECE_WORDS * units)
        ended = chunk.ended and len(words) <= stop + salvage.LOOK_WORDS * units
        words = words[: stop + salvage.LOOK_WORDS * units]
        if live and not ended:  # what has come last is judged with what is still to come
            late = [lost[0] for lost in self._first if lost[0] >= stop - _LATE_WORDS * units]
            if late:
                self._longer = True
                stop = late[0] // units * units
        got = salvage.salvage(
            words.view(np.uint8), UNIT * stop, self.layout, self.size, self.state, ended=ended
        )
        for lost in got.losses:
            problem = "bytes that hold no words, or not in step with those ahead"
            if lost.why is not None:
                problem = self._problem(lost.why, lost.a, lost.b)
            self._lose(chunk.offset + lost.start, lost.length, problem)
        if not got.losses and self._first and self._first[0][0] < stop:
            self._lose_word(chunk, self._first[0])  # what made it doubtful is told
        self.others += got.others
        self._keep(got.triggers, len(got.triggers[0]))
        columns = storage.columns(len(got.columns.t))
        columns.fill(got.columns)
        self.state[k.S_EVENTS] = len(got.columns.t)
        return got.end, columns

    def _lose_word(self, chunk: Window, lost: list[int]) -> None:
        unit, length, *why = lost
        self._lose(chunk.offset + UNIT * unit, UNIT * length, self._problem(*why))

    def _problem(self, why: int, a: int, b: int) -> str:
        if why in (k.TIME_BACK, k.TIME_AHEAD):
            a, b = a + self.offset_us, b + self.offset_us
        return PROBLEMS[why].format(a=a, b=b, size=self.size)

    def _lose(self, offset: int, length: int, problem: str) -> None:
        self.losses.lose(offset, length, f"{self.layout.name} {problem}")
