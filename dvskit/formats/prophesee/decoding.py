"""One pass over words: the slices of a chunk are decoded in parallel, from predicted states."""

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
from dvskit.formats.prophesee.layout import WordLayout
from dvskit.formats.storage import EventColumns, Storage, TriggerColumns, new_triggers
from dvskit.streams import Triggers

CHUNK_WORDS = 1 << 19  # of 32 or 64 bits that are decoded at once, or twice as many of 16
_ARRIVING_UNITS = 1 << 16  # that are decoded at once when they arrive on a stream
_SLICE_UNITS = 1 << 14  # fewer are not worth a thread
_BORDER_UNITS = 64  # that are searched for a place where a slice can begin
_LOSSES = 1 << 12  # of a slice, after which decoding begins anew


class _Scan:
    """The slices of a chunk, and at most how many events and triggers they hold.

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
        """Scan all slices, unless this is `done`."""
        if not self.done:
            # Words with a whole time are only counted: waking threads would take longer.
            run_parts(self.work, self.parts, 1 if self.layout.scan is None else None)
            self.done = True

    def work(self, part: int) -> None:
        """Read and scan a slice; words with a whole time are read when they are decoded."""
        begin, stop = self.bounds[part], self.bounds[part + 1]
        if self.layout.scan is not None:
            self.chunk.fill(begin, stop)
            self.layout.scan(self.words, begin, stop, self.rows[part])
            return
        width = self.layout.kind.width
        newest = self.chunk.peek(stop - width, 1)
        self.rows[part] = (stop - begin) // width, 0, newest[0], stop, 0

    def read(self, part: int) -> None:
        """Read a slice, and the words to read ahead, unless the scan has read them."""
        if self.layout.scan is None:
            begin, stop = self.bounds[part], self.bounds[part + 1]
            last = stop == self.chunk.stop
            ahead = stop if last else min(stop + self.layout.kind.ahead, self.chunk.stop)
            self.chunk.fill(begin, ahead)


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


class _Slice:
    """A slice of a chunk that is decoded, perhaps from a predicted state.

    begun  the state ahead of it
    state  the state behind it
    end    the unit after it: less than its stop if it has more losses than there is room for
    """

    def __init__(
        self, scan: _Scan, part: int, columns: EventColumns, triggers: TriggerColumns, losses: int
    ) -> None:
        self._scan, self.part = scan, part
        self.start, self.stop = scan.bounds[part], scan.bounds[part + 1]
        self._columns, self._triggers = columns, triggers
        self._losses = np.empty((losses, w.LOSS_FIELDS), np.int64)

    def decode(self, begun: NDArray[np.int64]) -> None:
        """Decode the slice from a state on."""
        self.begun, self.state = begun, begun.copy()
        self.end = self._scan.layout.decode(
            self._scan.words, self.start, self.stop, self.state, self._columns, self._triggers,
            self._losses,
        )  # fmt: skip

    def follows(self, state: NDArray[np.int64]) -> bool:
        """Whether it was decoded from this state, as far as that makes a difference."""
        if (self.begun[: w.S_LAST] != state[: w.S_LAST]).any():
            return False
        return not self.state[w.S_EVENTS] or int(self._columns.t[0]) >= state[w.S_LAST]

    def go_on_from(self, state: NDArray[np.int64]) -> None:
        """Decode it again unless it follows a state; count on from there."""
        if not self.follows(state):
            begun = state.copy()
            begun[[w.S_EARLY, w.S_OTHERS]] = 0
            self.decode(begun)
        self.state[w.S_LAST] = max(self.state[w.S_LAST], state[w.S_LAST])
        self.state[[w.S_EARLY, w.S_OTHERS]] += state[[w.S_EARLY, w.S_OTHERS]]

    @property
    def columns(self) -> EventColumns:
        """The events."""
        return self._columns.part(slice(0, int(self.state[w.S_EVENTS])))

    @property
    def triggers(self) -> TriggerColumns:
        """The triggers."""
        return self._triggers.part(slice(0, int(self.state[w.S_TRIGGERS])))

    @property
    def losses(self) -> list[list[int]]:
        """The losses, as rows of `losses` in WordLayout."""
        rows: list[list[int]] = self._losses[: self.state[w.S_LOSSES]].tolist()
        return rows


class _Loss(NamedTuple):
    """Skipped bytes start..stop - 1, the reason, and two values for the message."""

    start: int
    stop: int
    why: int
    a: int
    b: int


class WordPass:
    """One pass over the words of a layout: yields blocks, collects triggers and losses.

    at        the byte of the next word
    state     the state there: a pass may begin at any word, in the state of another pass there
    triggers  the triggers found so far

    With `until_loss`, ends ahead of the first words that have to be skipped.
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
        until_loss: bool = False,
    ) -> None:
        self.at, self.layout, self.size, self.losses = at, layout, size, losses
        self.state = w.new_state()
        self.triggers: list[Triggers] = []
        self._offset_us, self._feed = offset_us, feed
        self._until_loss, self._ended = until_loss, False
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
        if odd and not self._ended:
            width = self.layout.kind.width * self.layout.unit
            problem = f"{self.layout.name} the last word has {odd} of {width} bytes"
            self.losses.lose(self.at, odd, problem)

    def _chunk_blocks(self, feed: Feed, storage: Storage) -> Iterator[Events]:
        """Decode each chunk, and scan the next one of a file meanwhile."""
        ahead: _Scan | None = None
        unit = self.layout.unit
        while not self._ended:
            if ahead is None or ahead.chunk.offset != self.at:
                ahead = self._scan(self._chunk(feed))
                if ahead is None:
                    break
            here, ahead = ahead, None
            here.run()
            if isinstance(feed, FileFeed) and self.layout.scan is not None:
                end = int(here.rows[-1, w.R_END])
                ahead = self._scan(feed.window(here.chunk.offset + unit * end, self._most))
            columns, triggers, end = self._decode(here, ahead, storage)
            self.at = here.chunk.offset + unit * end
            if self._pending is not None and (feed.live or self._pending.stop < self.at):
                self._report_pending()
            self._keep(triggers)
            yield self._events(columns)

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

    def _predict(self, scan: _Scan) -> list[NDArray[np.int64]]:
        """Return the states ahead of the slices, as they are if no word is damaged."""
        state = self.state.copy()
        state[[w.S_EARLY, w.S_OTHERS]] = 0
        states = [state]
        for part in range(scan.parts - 1):
            state = state.copy()
            begin, stop = scan.bounds[part], scan.bounds[part + 1]
            self.layout.move_on(scan.words, begin, stop, scan.rows[part], state)
            state[[w.S_LOST, w.S_A, w.S_B]] = 0
            state[w.S_LAST] = w.NEVER
            states.append(state)
        return states

    def _decode(
        self, scan: _Scan, ahead: _Scan | None, storage: Storage
    ) -> tuple[EventColumns, TriggerColumns, int]:
        """Decode all slices at once, and scan the chunk `ahead` meanwhile.

        Returns the events and triggers, and the unit after them. Raises DamagedFileError in strict
        mode if words have to be skipped.
        """
        states = self._predict(scan)
        events = [0, *np.cumsum(scan.rows[:, w.R_EVENTS]).tolist()]
        hits = [0, *np.cumsum(scan.rows[:, w.R_TRIGGERS]).tolist()]
        columns, triggers = storage.columns(events[-1]), new_triggers(hits[-1])
        stops_early = self.losses.strict or self._until_loss
        parts = [
            _Slice(
                scan, i, columns.part(slice(events[i], events[i + 1])),
                triggers.part(slice(hits[i], hits[i + 1])), 1 if stops_early else _LOSSES,
            )
            for i in range(scan.parts)
        ]  # fmt: skip

        def work(i: int) -> None:
            if i < len(parts):
                scan.read(i)
                parts[i].decode(states[i])
            if ahead is not None and i < ahead.parts:
                ahead.work(i)

        run_parts(work, max(len(parts), 0 if ahead is None else ahead.parts))
        if ahead is not None:
            ahead.done = True
        n = nt = end = 0
        for part in parts:
            part.go_on_from(self.state)
            self.state, end = part.state, part.end
            found, timed = part.columns, part.triggers
            if n < events[part.part]:
                columns.part(slice(n, n + len(found.t))).fill(found)
            n += len(found.t)
            triggers.part(slice(nt, nt + len(timed.t))).fill(timed)
            nt += len(timed.t)
            if self._until_loss and part.losses:
                self._ended = True
                break
            for loss in part.losses:
                self._lose(scan.chunk.offset, loss)
            if end < part.stop:
                break
        return columns.part(slice(0, n)), triggers.part(slice(0, nt)), end

    def _lose(self, offset: int, loss: list[int]) -> None:
        """Report a loss, joined with the one before if it goes on from there."""
        first, length, why, a, b = loss
        start, before = offset + self.layout.unit * first, self._pending
        stop = start + self.layout.unit * length
        if before is not None and (before.why, before.stop) == (why, start):
            self._pending = before._replace(stop=stop)
            return
        self._report_pending()
        self._pending = _Loss(start, stop, why, a, b)
        if self.losses.strict:
            self._report_pending()

    def _report_pending(self) -> None:
        lost, self._pending = self._pending, None
        if lost is not None:
            offset = self._offset_us if lost.why == w.TIME_BACK else 0
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
