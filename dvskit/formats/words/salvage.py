"""Read words among which some are damaged: as few as possible are given up for time to run forward.

Words are lined up byte by byte; what their clock tells is judged as rows, first all, then anew
without the words of time that do not fit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Size
from dvskit.formats.storage import EventColumns, TriggerColumns, new_columns, new_triggers
from dvskit.formats.words import layout as w
from dvskit.formats.words import salvage_kernels as k
from dvskit.formats.words.layout import UNIT, Layout
from dvskit.formats.words.line_kernels import line_up

PIECE_WORDS = 1 << 16  # that are salvaged at once
TAIL_WORDS = 64
LOOK_WORDS = 2 * k.GROUP  # behind them that are looked at


class LostBytes(NamedTuple):
    """Bytes of a piece that gave nothing; `why` is None where no word stands in them."""

    start: int
    length: int
    why: int | None
    a: int = 0
    b: int = 0


class Salvaged(NamedTuple):
    """What a piece gave: `end` is the byte behind it, `others` counts words of no interest."""

    columns: EventColumns
    triggers: TriggerColumns
    losses: list[LostBytes]
    end: int
    others: int


class Lines:
    """The words of a piece of a file, without what stands between them.

    words   uint32 (n,)  all units of words
    joints  int64 (m,)   units ahead of which bytes are left out
    """

    def __init__(self, content: NDArray[np.uint8], layout: Layout, size: Size, high: int) -> None:
        gaps = np.empty((len(content) // 8 + 1, 2), np.int64)
        count, end = line_up(content, layout.look, *size, high, gaps)
        self.gaps: list[tuple[int, int]] = [(a, b) for a, b in gaps[:count][::-1].tolist()]
        starts = np.array([0, *(stop for _, stop in self.gaps)], np.int64)
        stops = np.array([*(start for start, _ in self.gaps), end], np.int64)
        self.words = np.concatenate(
            [content[a:b] for a, b in zip(starts, stops, strict=True)]
        ).view("<u4")
        self._starts = starts
        self._units = np.concatenate([[0], np.cumsum((stops - starts) // UNIT)[:-1]])
        self.joints = self._units[1:]
        self.end = end

    def place(self, byte: int, width: int) -> int:
        """Return the unit of the first word of `width` units at a byte or behind it."""
        at = int(np.searchsorted(self._starts, byte, "right")) - 1
        words = -(-(byte - int(self._starts[at])) // (UNIT * width))
        unit = int(self._units[at]) + words * width
        behind = self._units[at + 1 :]
        return int(min([unit, *behind[:1].tolist(), len(self.words)]))

    def bytes_of(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return at which byte each unit stands."""
        at = np.searchsorted(self._units, units, "right") - 1
        places: NDArray[np.int64] = self._starts[at] + UNIT * (units - self._units[at])
        return places


def salvage(
    content: NDArray[np.uint8],
    stop: int,
    layout: Layout,
    size: Size,
    state: NDArray[np.int64],
    *,
    ended: bool,
) -> Salvaged:
    """Decode what stands ahead of byte `stop`; what is behind it is only looked at.

    `state` is moved on. `ended` says that nothing follows the content.
    """
    lines = Lines(content, layout, size, int(state[w.S_HIGH]))
    rows, unit, others = _read(lines, stop, layout, size, state)
    keep = k.choose(rows, state[w.S_LAST])
    count = k.count_rows(rows, unit)
    rows, keep = rows[:count], keep[:count]
    events, hits = layout.count_events(lines.words, layout.table, rows, keep)
    columns = new_columns(events)
    triggers = new_triggers(hits)
    got = layout.put_events(
        lines.words, layout.table, size.width, rows, keep, columns, triggers,
    )  # fmt: skip
    columns = columns.part(slice(0, got))
    end = _end(lines, unit, stop, len(content), ended=ended)
    losses = _losses(lines, rows, keep, int(state[w.S_LAST]), end)
    if got:
        state[w.S_LAST] = columns.t[-1]
        if layout.scan is None:  # the clock is that of the latest event
            state[w.S_LOOPS], state[w.S_HIGH] = divmod(int(columns.t[-1]), 1 << layout.clock_bits)
    return Salvaged(columns, triggers, losses, end, others)


def _read(
    lines: Lines, stop: int, layout: Layout, size: Size, state: NDArray[np.int64]
) -> tuple[NDArray[np.int64], int, int]:
    """Read rows twice, the second time without words of time that do not fit; move `state` on."""
    unit = lines.place(stop, layout.units)
    before, kept = np.empty((0, k.ROW), np.int64), np.empty(0, np.bool_)
    start = state.copy()
    for _ in range(1 if layout.scan is None else 2):
        state[:] = start
        rows = np.empty((2 * (len(lines.words) // layout.units) + 2, k.ROW), np.int64)
        count, end, others = layout.read_rows(
            lines.words, unit, layout.table, *size, lines.joints, before, kept, state, rows
        )
        before = rows[:count]
        kept = k.choose(before, start[w.S_LAST])
    return before, end, others


def _end(lines: Lines, unit: int, stop: int, length: int, *, ended: bool) -> int:
    """Return the byte that a piece ends at whose next word is a unit."""
    if unit < len(lines.words):
        return int(lines.bytes_of(np.array([unit]))[0])
    if lines.gaps and lines.gaps[-1][1] == lines.end == length and not ended:
        return max(lines.gaps[-1][0], min(stop, length))
    return lines.end


def _losses(
    lines: Lines, rows: NDArray[np.int64], keep: NDArray[np.bool_], last: int, end: int
) -> list[LostBytes]:
    """Return what is lost ahead of a byte, in the order of the file."""
    table = np.empty((len(rows) + 1, 5), np.int64)
    count = k.lost_rows(rows, keep, last, table)
    table = table[:count]
    starts = lines.bytes_of(table[:, 0]).tolist()
    losses = [
        LostBytes(start, UNIT * length, why, a, b)
        for start, (_, length, why, a, b) in zip(starts, table.tolist(), strict=True)
    ]
    losses += [LostBytes(a, min(b, end) - a, None) for a, b in lines.gaps if a < end]
    return sorted(losses, key=lambda lost: lost.start)


def out_of_step(tail: NDArray[np.uint8], layout: Layout, size: Size) -> bool:
    """Tell whether the words at the end of a file do not begin at its first byte, but beside it."""
    return len(tail) % (UNIT * layout.units) != 0 and bool(Lines(tail, layout, size, -1).gaps)
