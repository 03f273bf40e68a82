"""Decoding of EVT 3.0 words that may be damaged: what is lost, and why."""

from __future__ import annotations

from typing import NamedTuple

from dvskit.formats.evt3 import careful_kernels as k

_PROBLEMS = {
    k.UNKNOWN: "EVT3 word {a:#06x} is of the unknown type {b:#x}",
    k.ROW_OFF: "EVT3 word {a:#06x} names row {b}, which the sensor does not have",
    k.COLUMN_OFF: "EVT3 word {a:#06x} names column {b}, which the sensor does not have",
    k.TIME_BACK: "time runs back from {a} to {b} us",
    k.TIME_AHEAD: "events at {a} us stand ahead of events at {b} us",
    k.HIGH_JUMP: "the high part of time jumps from {a} to {b} and back",
    k.CLOCK_RESET: "the high part of time runs back from {a} to {b} (read as a wrap of 16.8 s)",
    k.HIGH_BACK: "the high part of time steps back from {a} to {b}",
    k.OUT_OF_ORDER: "events at {a} to {b} us stand among later or earlier ones",
    k.NO_ROW: "event in a row that is unknown since a damaged word",
    k.NO_BASE: "events in columns that are unknown since a damaged word",
    k.NO_CLOCK: "event at a time that is unknown since a damaged word",
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
        if self.why in (k.TIME_BACK, k.TIME_AHEAD, k.OUT_OF_ORDER):
            a, b = a + offset_us, b + offset_us
        return _PROBLEMS[self.why].format(a=a, b=b)

    def joined(self, later: LostWords) -> LostWords | None:
        """Return both as one, where the other follows at once or overlaps for the same reason."""
        if self.why != later.why or not self.word <= later.word <= self.word + self.length:
            return None
        stop = max(self.word + self.length, later.word + later.length)
        b = later.b if self.why == k.OUT_OF_ORDER else self.b
        return self._replace(length=stop - self.word, b=b)
