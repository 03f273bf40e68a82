"""Words that are judged one by one, each by those ahead of it and the few that follow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.storage import EventColumns, Storage, TriggerColumns, new_triggers
from dvskit.formats.words import row_kernels as k
from dvskit.formats.words.layout import UNIT, Layout, Words

PIECE_WORDS = 1 << 16  # that are read at once


class LostBytes(NamedTuple):
    """Bytes that gave nothing, why, and two values for the message."""

    start: int
    length: int
    why: int
    a: int
    b: int


class Decoded(NamedTuple):
    """What words gave: `end` is the byte behind them, `others` counts words of no interest."""

    columns: EventColumns
    triggers: TriggerColumns
    end: int
    others: int


def read_in_turn(
    words: Words,
    stop: int,
    layout: Layout,
    state: NDArray[np.int64],
    storage: Storage,
    *,
    strict: bool,
    ended: bool,
) -> tuple[Decoded, list[LostBytes]]:
    """Decode the units ahead of `stop`, and move `state` on; return what is lost, too.

    If `strict`, up to the first loss. Unless the words have `ended`, fewer may be decoded: those
    that it takes others to judge come again.
    """
    rows = np.empty((2 * (stop // layout.units) + 2, k.ROW), np.int64)
    count, end, others = layout.read_rows(words, stop, strict, ended, state, rows)
    rows = rows[:count]
    events, hits = k.count_events(rows)
    columns, triggers = storage.columns(events), new_triggers(hits)
    k.put_events(rows, columns, triggers)
    table = np.empty((count + 1, 5), np.int64)
    losses = [
        LostBytes(UNIT * unit, UNIT * length, why, a, b)
        for unit, length, why, a, b in table[: k.lost_rows(rows, table)].tolist()
    ]
    return Decoded(columns, triggers, UNIT * end, others), losses
