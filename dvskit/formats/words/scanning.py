"""Find in slices what a chunk of words holds, so that all of them can be decoded at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dvskit._threads import run_parts, thread_count
from dvskit.formats.feed import Window
from dvskit.formats.words import layout as k
from dvskit.formats.words.layout import UNIT, Layout

_SLICE_UNITS = 1 << 14  # fewer are not worth a thread
_BORDER_UNITS = 64  # that are looked at to find where a slice can begin


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
    """What a chunk holds, found slice by slice.

    rows  of `scan`, one a slice
    """

    def __init__(self, chunk: Window, layout: Layout) -> None:
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
            self.layout.scan(self.chunk.items(), begin, stop, self.layout.table, self.rows[part])

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
