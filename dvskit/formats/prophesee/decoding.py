"""One pass over words: clean chunks in parallel, others judged word by word."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.events import Events, Size
from dvskit.formats.feed import Feed, FileFeed, WordWindow
from dvskit.formats.losses import Losses
from dvskit.formats.prophesee import layout as w
from dvskit.formats.prophesee import row_kernels as k
from dvskit.formats.prophesee.layout import WordLayout
from dvskit.formats.storage import EventColumns, Storage, TriggerColumns, new_triggers
from dvskit.streams import Triggers

CHUNK_WORDS = 1 << 19  # of 32 or 64 bits that are decoded at once, or twice as many of 16
PIECE_WORDS = 1 << 16  # that are judged one by one at once, at most
_FIRST_WORDS = 1 << 10  # that are judged one by one at first
_ARRIVING_UNITS = 1 << 16  # that are decoded at once when they arrive on a stream
_SLICE_UNITS = 1 << 14  # fewer are not worth a thread
_BORDER_UNITS = 64  # that are searched for a place where a slice can begin


class _Scan:
    """What a chunk holds, found slice by slice, so that all of them can be decoded at once.

    rows  int64 (slices, SCAN_FIELDS)
    """

    def __init__(self, chunk: WordWindow, layout: WordLayout, size: Size) -> None:
        self.chunk, self.layout = chunk, layout
        self.words = layout.words(chunk.items(), size)
        self.bounds = _bounds(chunk, layout)
        self.parts = len(self.bounds) - 1
        self.rows = np.zeros((self.parts, w.SCAN_FIELDS), np.int64)
        self.done = False

    def run(self) -> None:
        """Read and scan all slices, unless this is `done`."""
        if not self.done:
            # Words with a whole time are only counted: waking threads would take longer.
            run_parts(self.work, self.parts, 1 if self.layout.whole_time else None)
            self.done = True

    def fill(self) -> None:
        """Read all words, unless `run` has read them."""
        if not self.done or self.layout.whole_time:
            self.chunk.fill(0, self.chunk.stop)

    def work(self, part: int) -> None:
        """Read and scan a slice; words with a whole time are read when they are decoded."""
        begin, stop = self.bounds[part], self.bounds[part + 1]
        if not self.layout.whole_time:
            self.chunk.fill(begin, stop)
        self.layout.scan(self.words, begin, stop, self.rows[part])

    @property
    def end(self) -> int:
        """The unit after the last word."""
        return int(self.rows[-1, w.R_END])


def _bounds(chunk: WordWindow, layout: WordLayout) -> list[int]:
    """Return where the slices of a chunk begin, and its end."""
    stop, width = chunk.stop, layout.kind.width
    parts = max(1, min(thread_count(), stop // _SLICE_UNITS))
    bounds = [0]
    for part in range(1, parts):
        at = stop * part // parts // width * width
        if layout.heads:  # a unit whose type needs a mask, or a mask that looks alike, stands ahead
            units = chunk.peek(at - 1, _BORDER_UNITS)
            free = np.flatnonzero(layout.heads >> (units >> 28) & 1 == 0)
            at = at + int(free[0]) if len(free) else stop
        if bounds[-1] < at < stop:
            bounds.append(at)
    return [*bounds, stop]


class _Loss(NamedTuple):
    """Bytes start..stop - 1 that gave nothing, why, and two values for the message."""

    start: int
    stop: int
    why: int
    a: int
    b: int


class _Decoded(NamedTuple):
    """What words gave, and the unit after them."""

    columns: EventColumns
    triggers: TriggerColumns
    end: int


class WordPass:
    """One pass over the words of a layout: yields blocks, collects triggers and losses.

    at        the byte of the next word
    state     the state there: a pass may begin at any word, in the state of another pass there
    triggers  those found so far

    With `until_senseless`, ends at the first words that make no sense.
    """

    def __init__(
        self,
        feed: Feed,
        at: int,
        size: Size,
        layout: WordLayout,
        losses: Losses,
        *,
        offset_us: int = 0,
        until_senseless: bool = False,
    ) -> None:
        self.at, self.layout, self.size, self.losses = at, layout, size, losses
        self.state = w.new_state()
        self.triggers: list[Triggers] = []
        self._offset_us, self._feed = offset_us, feed
        self._until_senseless, self._ended = until_senseless, False
        self._piece = _FIRST_WORDS
        self._pending: _Loss | None = None  # the latest one, which may go on

    @property
    def early(self) -> int:
        """Number of events ahead of the first time, row or column that they build on."""
        return int(self.state[w.S_EARLY])

    @property
    def others(self) -> int:
        """Number of words of no interest."""
        return int(self.state[w.S_OTHERS])

    def blocks(self, storage: Storage) -> Iterator[Events]:
        """Yield the events; raise DamagedFileError at the first loss in strict mode."""
        with closing(self._feed) as feed:
            yield from self._chunk_blocks(feed, storage)
        self._report_pending()
        odd = feed.left(self.at)
        if odd:
            width = self.layout.kind.width * self.layout.unit
            problem = f"{self.layout.name} the last word has {odd} of {width} bytes"
            self.losses.lose(self.at, odd, problem)

    def _chunk_blocks(self, feed: Feed, storage: Storage) -> Iterator[Events]:
        """Decode each chunk, and scan the next one of a file meanwhile."""
        ahead: _Scan | None = None
        unit, least = self.layout.unit, PIECE_WORDS * self.layout.kind.width
        while not self._ended:
            if ahead is None or ahead.chunk.offset != self.at:
                ahead = self._scan(self._chunk(feed))
                if ahead is None:
                    break
            here, ahead = ahead, None
            states, got = self._predict(here), None
            if states is not None:
                if isinstance(feed, FileFeed) and not self.layout.whole_time:
                    ahead = self._scan(feed.window(here.chunk.offset + unit * here.end, self._most))
                got = self._decode_clean(here, states, storage, ahead)
            if got is not None:
                self._piece = _FIRST_WORDS
            else:
                got = self._decode_in_turn(here, storage, live=feed.live)
                if ahead is None:  # no later window has been read in place of this one
                    ahead = self._scan(here.chunk.rest(got.end, least))
            self.at = here.chunk.offset + unit * got.end
            if self._pending is not None and (feed.live or self._pending.stop < self.at):
                self._report_pending()
            self._keep(got.triggers)
            yield self._events(got.columns)

    def _scan(self, chunk: WordWindow | None) -> _Scan | None:
        return None if chunk is None else _Scan(chunk, self.layout, self.size)

    @property
    def _most(self) -> int:
        return CHUNK_WORDS * self.layout.kind.width * 4 // self.layout.unit

    def _chunk(self, feed: Feed) -> WordWindow | None:
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

    def _lacks_mask(self, chunk: WordWindow) -> bool:
        if not self.layout.heads:
            return False
        last = int(chunk.items()[chunk.stop - 1])
        return bool(self.layout.heads >> (last >> 28) & 1)

    def _predict(self, scan: _Scan) -> list[NDArray[np.int64]] | None:
        """Return the likely states at the borders of the slices; None if not all are clean.

        Of the state after the last slice, the number of events and triggers is certain.
        """
        if self.state[w.S_DOUBT] or (self.state[list(self.layout.needs)] != w.USABLE).any():
            return None
        scan.run()
        states, clean = [self.state.copy()], True
        states[0][[w.S_EVENTS, w.S_TRIGGERS]] = 0
        for part in range(scan.parts):
            begin, stop = scan.bounds[part], scan.bounds[part + 1]
            state = states[-1].copy()
            last = part == scan.parts - 1
            clean = clean and self.layout.move_on(
                scan.words, begin, stop, scan.rows[part], state, last
            )
            states.append(state)
        return states if clean else None

    def _decode_clean(
        self, scan: _Scan, states: list[NDArray[np.int64]], storage: Storage, ahead: _Scan | None
    ) -> _Decoded | None:
        """Decode all slices at once; return None if one holds damage.

        The chunk `ahead` is scanned meanwhile.
        """
        layout, chunk, parts = self.layout, scan.chunk, scan.parts
        events = [int(state[w.S_EVENTS]) for state in states]
        hits = [int(state[w.S_TRIGGERS]) for state in states]
        columns, triggers = storage.columns(events[-1]), new_triggers(hits[-1])
        reached = [state.copy() for state in states[:-1]]
        clean = [False] * parts

        def work(i: int) -> None:
            if i < parts:
                begin, stop = scan.bounds[i], scan.bounds[i + 1]
                if layout.whole_time:
                    chunk.fill(begin, stop)
                clean[i] = layout.decode_clean(
                    scan.words, begin, stop, reached[i],
                    columns.part(slice(events[i], events[i + 1])),
                    triggers.part(slice(hits[i], hits[i + 1])),
                )  # fmt: skip
            if ahead is not None and i < ahead.parts:
                ahead.work(i)

        run_parts(work, max(parts, 0 if ahead is None else ahead.parts))
        if ahead is not None:
            ahead.done = True
        last = int(self.state[w.S_LAST])
        for i in range(parts):
            if not clean[i]:
                return None
            known = i + 1 < parts and not layout.whole_time
            if known and (states[i + 1] != reached[i])[: w.S_LAST].any():
                return None
            if events[i + 1] > events[i]:
                step = int(columns.t[events[i]]) - last
                if step < 0 or (last != w.NEVER and step >= layout.gap_us):
                    return None
                last = int(columns.t[events[i + 1] - 1])
        state = states[-1]
        state[: w.S_LAST], state[w.S_LAST] = reached[-1][: w.S_LAST], last
        if not self._goes_on(chunk, scan.end, state):
            return None
        self.state = state
        return _Decoded(columns, triggers, scan.end)

    def _goes_on(self, chunk: WordWindow, at: int, state: NDArray[np.int64]) -> bool:
        verdict = w.TOO_FEW
        for far in (False, True):
            if verdict == w.TOO_FEW:
                words = self.layout.words(chunk.items(far=far), self.size)
                verdict = self.layout.goes_on(words, at, state)
        return verdict != w.DOUBT

    def _decode_in_turn(self, scan: _Scan, storage: Storage, *, live: bool) -> _Decoded:
        """Decode the beginning of a chunk, judging each word by those before it and a few after it.

        Raises DamagedFileError in strict mode if anything is lost.
        """
        chunk = scan.chunk
        scan.fill()
        words = self.layout.words(chunk.items(far=True), self.size)
        rows, end = self._judge(words, chunk, live=live)
        senseless = np.flatnonzero(rows[:, k.R_WHY] == w.NO_SENSE)
        if self._until_senseless and len(senseless):
            rows, self._ended = rows[: senseless[0]], True
        events, hits = k.count_events(rows)
        columns, triggers = storage.columns(events), new_triggers(hits)
        k.put_events(rows, columns, triggers)
        losses, unit = np.empty((len(rows) + 1, 5), np.int64), self.layout.unit
        for first, length, why, a, b in losses[: k.lost_rows(rows, losses)].tolist():
            start = chunk.offset + unit * first
            self._lose(_Loss(start, start + unit * length, why, a, b))
        return _Decoded(columns, triggers, end)

    def _judge(
        self, words: w.WordUnits, chunk: WordWindow, *, live: bool
    ) -> tuple[NDArray[np.int64], int]:
        """Judge as few words as show which of them make sense; return their rows, the next unit."""
        width, read_rows = self.layout.kind.width, self.layout.read_rows
        while True:
            piece = min(self._piece, PIECE_WORDS)
            stop = min(chunk.stop, piece * width)
            ended = live or (chunk.ended and stop == len(words.units))
            rows = np.empty((2 * (stop // width) + 2, k.ROW), np.int64)
            count, end = read_rows(words, stop, self.losses.strict, ended, self.state, rows)
            if not end and (piece == PIECE_WORDS or stop == chunk.stop):
                count, end = read_rows(words, stop, self.losses.strict, True, self.state, rows)
            self._piece = 2 * piece
            if end:
                return rows[:count], end

    def _lose(self, lost: _Loss) -> None:
        """Report a loss, joined with the one before if it goes on from there."""
        before = self._pending
        if before is not None and (before.why, before.stop) == (lost.why, lost.start):
            self._pending = before._replace(stop=lost.stop)
            return
        self._report_pending()
        self._pending = lost
        if self.losses.strict:
            self._report_pending()

    def _report_pending(self) -> None:
        lost, self._pending = self._pending, None
        if lost is not None:
            offset = self._offset_us if lost.why in (w.TIME_BACK, w.TIME_AHEAD) else 0
            problem = w.PROBLEMS[lost.why].format(
                a=lost.a + offset, b=lost.b + offset, size=self.size
            )
            text = f"{self.layout.name} {problem}"
            self.losses.lose(lost.start, lost.stop - lost.start, text)

    def _events(self, columns: EventColumns) -> Events:
        if self._offset_us:
            columns.t[:] += self._offset_us
        return Events.from_checked(*columns, self.size)

    def _keep(self, triggers: TriggerColumns) -> None:
        if len(triggers.t):
            self.triggers.append(Triggers(triggers.t + self._offset_us, triggers.id, triggers.p))
