"""What of EVT 3.0 words is lost: why, which events are given up, and the report of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.evt3 import layout as w
from dvskit.formats.evt3.chunks import WordChunks
from dvskit.formats.losses import Losses
from dvskit.formats.order_kernels import keep_in_order

GROUP = 1 << 12  # events that are judged together, by themselves and as many that follow
_MOST_WAITING = 1 << 16

_PROBLEMS = {
    w.UNKNOWN: "EVT3 word {a:#06x} is of the unknown type {b:#x}",
    w.ROW_OFF: "EVT3 word {a:#06x} names row {b}, which the sensor does not have",
    w.COLUMN_OFF: "EVT3 word {a:#06x} names column {b}, which the sensor does not have",
    w.TIME_BACK: "time runs back from {a} to {b} us",
    w.TIME_AHEAD: "events at {a} us stand ahead of events at {b} us",
    w.HIGH_JUMP: "the high part of time jumps from {a} to {b} and back",
    w.CLOCK_RESET: "the high part of time runs back from {a} to {b} (read as a wrap of 16.8 s)",
    w.HIGH_BACK: "the high part of time steps back from {a} to {b}",
    w.OUT_OF_ORDER: "events at {a} to {b} us stand among later or earlier ones",
    w.NO_ROW: "event in a row that is unknown since a damaged word",
    w.NO_BASE: "events in columns that are unknown since a damaged word",
    w.NO_CLOCK: "event at a time that is unknown since a damaged word",
}


class LostWords(NamedTuple):
    """Words that gave no events: the number of the first, how many, why, two values of it."""

    word: int
    length: int
    why: int
    a: int
    b: int

    def problem(self, offset_us: int) -> str:
        """Say why, with times as the reader of the file gets them."""
        a, b = self.a, self.b
        if self.why in (w.TIME_BACK, w.TIME_AHEAD, w.OUT_OF_ORDER):
            a, b = a + offset_us, b + offset_us
        return _PROBLEMS[self.why].format(a=a, b=b)

    def joined(self, later: LostWords) -> LostWords | None:
        """Return both as one, where the other follows at once or overlaps for the same reason."""
        if self.why != later.why or not self.word <= later.word <= self.word + self.length:
            return None
        stop = max(self.word + self.length, later.word + later.length)
        b = later.b if self.why == w.OUT_OF_ORDER else self.b
        return self._replace(length=stop - self.word, b=b)


class LossReport:
    """Takes losses as they are found; joins and reports them in the order of their words."""

    def __init__(self, losses: Losses, chunks: WordChunks, offset_us: int) -> None:
        self._losses, self._chunks, self._offset_us = losses, chunks, offset_us
        self._waiting: list[LostWords] = []

    def add(self, lost: LostWords) -> None:
        """Take a loss. Raises DamagedFileError in strict mode."""
        if self._losses.strict:
            self._report_words(lost)
        joined = self._waiting[-1].joined(lost) if self._waiting else None
        if joined is None:
            self._waiting.append(lost)
        else:
            self._waiting[-1] = joined
        if len(self._waiting) > _MOST_WAITING:
            self.write_all()

    def write(self, word: int) -> None:
        """Report the losses ahead of a word: no more are going to be found there."""
        if self._waiting:
            self._waiting.sort()
            ahead = [lost for lost in self._waiting if lost.word + lost.length < word]
            self._waiting = self._waiting[len(ahead) :]
            self._report_all(ahead)

    def write_all(self) -> None:
        """Report all losses."""
        self._waiting.sort()
        waiting, self._waiting = self._waiting, []
        self._report_all(waiting)

    def _report_all(self, losses: list[LostWords]) -> None:
        latest: LostWords | None = None
        for lost in losses:
            joined = None if latest is None else latest.joined(lost)
            if latest is not None and joined is None:
                self._report_words(latest)
            latest = lost if joined is None else joined
        if latest is not None:
            self._report_words(latest)

    def _report_words(self, lost: LostWords) -> None:
        first, stop = (self._chunks.offset(word) for word in (lost.word, lost.word + lost.length))
        self._losses.lose(first, stop - first, lost.problem(self._offset_us))


class StrictOrder:
    """Finds the first event whose time runs back, and tells the loss by the events ahead of it.

    `last` is the time of the latest event that is known of.
    """

    def __init__(self, last: int) -> None:
        self._last = last
        self._before = w.NEVER  # the latest other time
        self._word: int | None = None  # that the events at the latest time begin with

    def go_on(self, t: NDArray[np.int64], words: NDArray[np.int64]) -> None:
        """Take note of events in order; `words` are the numbers of the words of the latest ones.

        Of all that are at the latest time, at least.
        """
        if len(t):
            first = int(np.searchsorted(t, t[-1]))
            if first or t[-1] != self._last:
                self._before = int(t[first - 1]) if first else self._last
                self._word = int(words[first - len(t)])
            self._last = int(t[-1])

    def find_back(self, t: NDArray[np.int64], words: NDArray[np.int64]) -> LostWords | None:
        """Return what is lost where time runs back first; None where it does not."""
        back = np.flatnonzero(np.diff(t, prepend=self._last) < 0)
        if not len(back):
            return None
        at = int(back[0])
        self.go_on(t[:at], words[:at])
        word, now = int(words[at]), int(t[at])
        if self._word is None or now < self._before:
            return LostWords(word, 1, w.TIME_BACK, self._last, now)
        # All events between the two agree on the time ahead of them: they were ahead.
        return LostWords(self._word, word - self._word, w.TIME_AHEAD, self._last, now)


class TimeOrder:
    """Chooses the events to keep, group by group; so it does not matter how a stream is cut."""

    def __init__(self) -> None:
        self._floor = w.NEVER

    def choose(
        self, t: NDArray[np.int64], unsure: int, *, ended: bool
    ) -> tuple[int, NDArray[np.bool_] | None]:
        """Return how many events are certain, and which of them to keep: all, where None.

        Times from place `unsure` on are known to be in order. Where no more follow (`ended`), all
        are certain; else the others have to come again, with what follows.
        """
        certain = len(t) if ended else max(0, len(t) // GROUP - 1) * GROUP
        if not certain:
            return 0, None
        if self._goes_on(t[: unsure + 1]):
            self._floor = int(t[certain - 1])
            return certain, None
        keep = keep_in_order(t, self._floor, GROUP)[:certain]
        kept = t[:certain][keep]
        if len(kept):
            self._floor = int(kept[-1])
        return certain, keep

    def _goes_on(self, t: NDArray[np.int64]) -> bool:
        return not len(t) or bool(t[0] >= self._floor and not (t[1:] < t[:-1]).any())


def lost_events(t: NDArray[np.int64], words: NDArray[np.int64]) -> Iterator[LostWords]:
    """Tell events that are given up, by the numbers of their words, as stretches of words."""
    if len(words):
        edges = np.flatnonzero(np.diff(words) > 1) + 1
        for first, stop in zip([0, *edges], [*edges, len(words)], strict=True):
            length = int(words[stop - 1] - words[first]) + 1
            yield LostWords(
                int(words[first]), length, w.OUT_OF_ORDER, int(t[first]), int(t[stop - 1])
            )
