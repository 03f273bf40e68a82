"""Read words that need judging: each in turn, or, where some are damaged, all of them together.

In salvage words are lined up byte by byte; what their clock tells is judged as rows, first all,
then anew without the words of time that do not fit. As few as possible are given up for time to run
forward.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Size
from dvskit.formats.storage import (
    EventColumns,
    Storage,
    TriggerColumns,
    new_columns,
    new_triggers,
)
from dvskit.formats.words import layout as w
from dvskit.formats.words import row_kernels as k
from dvskit.formats.words.layout import UNIT, Layout, Words
from dvskit.formats.words.line_kernels import line_up

PIECE_WORDS = 1 << 16  # that are salvaged at once
TAIL_WORDS = 64
LOOK_WORDS = 2 * k.GROUP  # behind them that are looked at
_NO_JOINTS = np.empty(0, np.int64)
_NO_ROWS = np.empty((0, k.ROW), np.int64), np.empty(0, np.bool_)


class LostBytes(NamedTuple):
    """Bytes of a piece that gave nothing; `why` is None where no word stands in them."""

    start: int
    length: int
    why: int | None
    a: int = 0
    b: int = 0


class Decoded(NamedTuple):
    """What words gave: `end` is the byte behind them, `others` counts words of no interest."""

    columns: EventColumns
    triggers: TriggerColumns
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


def read_in_turn(
    words: Words,
    stop: int,
    layout: Layout,
    state: NDArray[np.int64],
    storage: Storage,
    *,
    most_lost: int,
) -> tuple[Decoded, list[LostBytes]]:
    """Decode the units ahead of `stop`, judging each word by those beside it.

    `state` is moved on. Where anything is lost, no events are given; it is enough to find
    `most_lost` stretches of words that are.
    """
    rows = np.empty((2 * (stop // layout.units) + 2, k.ROW), np.int64)
    count, end, others = layout.read_rows(
        words, stop, most_lost, _NO_JOINTS, *_NO_ROWS, state, rows
    )
    rows = rows[:count]
    keep = rows[:, k.R_WHY] < 0
    losses = [
        LostBytes(UNIT * unit, UNIT * length, why, a, b)
        for unit, length, why, a, b in _lost_words(rows, keep, 0).tolist()
    ]
    if losses:
        return Decoded(new_columns(0), new_triggers(0), UNIT * end, others), losses
    return Decoded(*_put(rows, keep, layout, state, storage), UNIT * end, others), losses


def salvage(
    content: NDArray[np.uint8],
    stop: int,
    layout: Layout,
    size: Size,
    state: NDArray[np.int64],
    storage: Storage,
    *,
    ended: bool,
) -> tuple[Decoded, list[LostBytes]]:
    """Decode what stands ahead of byte `stop`; what is behind it is only looked at.

    `state` is moved on. `ended` says that nothing follows the content.
    """
    lines = Lines(content, layout, size, int(state[w.S_HIGH]))
    last = int(state[w.S_LAST])
    rows, unit, others = _read(lines, stop, layout, size, state)
    keep = k.choose(rows, last)
    count = int(np.searchsorted(rows[:, k.R_UNIT], unit))  # rows of words ahead of it
    rows, keep = rows[:count], keep[:count]
    end = _end(lines, unit, stop, len(content), ended=ended)
    losses = _losses(lines, rows, keep, last, end)
    return Decoded(*_put(rows, keep, layout, state, storage), end, others), losses


def _read(
    lines: Lines, stop: int, layout: Layout, size: Size, state: NDArray[np.int64]
) -> tuple[NDArray[np.int64], int, int]:
    """Read rows twice, the second time without words of time that do not fit; move `state` on."""
    unit = lines.place(stop, layout.units)
    before, kept = _NO_ROWS
    start = state.copy()
    words = layout.words(lines.words, size)
    for _ in range(1 if layout.scan is None else 2):
        state[:] = start
        rows = np.empty((2 * (len(lines.words) // layout.units) + 2, k.ROW), np.int64)
        count, end, others = layout.read_rows(
            words, unit, 0, lines.joints, before, kept, state, rows
        )
        before = rows[:count]
        kept = k.choose(before, start[w.S_LAST])
    return before, end, others


def _put(
    rows: NDArray[np.int64],
    keep: NDArray[np.bool_],
    layout: Layout,
    state: NDArray[np.int64],
    storage: Storage,
) -> tuple[EventColumns, TriggerColumns]:
    """Decode the kept rows; move `state` on to the latest event."""
    events, count = k.count_events(rows, keep)
    columns, triggers = storage.columns(events), new_triggers(count)
    k.put_events(rows, keep, columns, triggers)
    if events:
        state[w.S_LAST] = columns.t[-1]
        if layout.scan is None:  # the clock is that of the latest event
            state[w.S_LOOPS], state[w.S_HIGH] = divmod(int(columns.t[-1]), 1 << layout.clock_bits)
    return columns, triggers


def _end(lines: Lines, unit: int, stop: int, length: int, *, ended: bool) -> int:
    """Return the byte that a piece ends at whose next word is a unit."""
    if unit < len(lines.words):
        return int(lines.bytes_of(np.array([unit]))[0])
    if lines.gaps and lines.gaps[-1][1] == lines.end == length and not ended:
        return max(lines.gaps[-1][0], min(stop, length))
    return lines.end


def _lost_words(rows: NDArray[np.int64], keep: NDArray[np.bool_], last: int) -> NDArray[np.int64]:
    table = np.empty((len(rows) + 1, 5), np.int64)
    return table[: k.lost_rows(rows, keep, last, table)]


def _losses(
    lines: Lines, rows: NDArray[np.int64], keep: NDArray[np.bool_], last: int, end: int
) -> list[LostBytes]:
    """Return what is lost ahead of a byte, in the order of the file."""
    table = _lost_words(rows, keep, last)
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
