"""The words of EVT 3.0, and what a decoder of them knows between two words.

A word has 16 bits: a type in bits 12 to 15, and what it carries below.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

# Types of words.
ADDR_Y, ADDR_X, VECT_BASE_X, VECT_12, VECT_8 = 0x0, 0x2, 0x3, 0x4, 0x5
TIME_LOW, CONTINUED_4, TIME_HIGH, TRIGGER, OTHERS, CONTINUED_12 = 0x6, 0x7, 0x8, 0xA, 0xE, 0xF

MOST_BITS = 12  # events that one word may hold
WRAP = 2048  # a TIME_HIGH this much smaller than the one ahead of it has wrapped (OpenEB)

# Why a word is lost. Numbers of NumPy: what takes a plain one is compiled anew for each.
_WHY = cast("list[int]", [np.int64(why) for why in range(12)])
(UNKNOWN, ROW_OFF, COLUMN_OFF, TIME_BACK, TIME_AHEAD, HIGH_JUMP, CLOCK_RESET, NO_ROW, NO_BASE,
 NO_CLOCK, HIGH_BACK, OUT_OF_ORDER) = _WHY  # fmt: skip
# What a TIME_HIGH may turn out to be; WAIT where that takes words that have not been read yet.
ACCEPT, SPURIOUS, IGNORED, BACK, RESET, WAIT = range(6)

# Places in the state. The first ones, up to S_LAST, are what words say. S_LAST is the time of the
# latest event, S_BAD the number of the latest word that is impossible.
(S_HIGH, S_LOW, S_LOOPS, S_Y, S_BASE, S_ON, S_CLOCK, S_ROW, S_VECTOR, S_LAST) = range(10)
S_EARLY, S_EVENTS, S_TRIGGERS, S_LOSSES, S_BAD = range(10, 15)
STATE_FIELDS = 15

# S_CLOCK, S_ROW and S_VECTOR: nothing heard yet, usable, or spoilt until the next good word; a
# spoilt clock needs a TIME_HIGH (SPOILT) and then a TIME_LOW (HALF).
UNHEARD, USABLE, SPOILT, HALF = 0, 1, 2, 3
NEVER = -(1 << 62)


class Words(NamedTuple):
    """Words as loops take them.

    number  that of the first one, as counted in the file; `ended`: none follow them
    """

    words: NDArray[np.uint16]
    number: int
    ended: bool
    width: int
    height: int


def new_state() -> NDArray[np.int64]:
    """Return the state ahead of the first word."""
    state = np.zeros(STATE_FIELDS, np.int64)
    state[[S_LAST, S_BAD]] = NEVER
    return state


def checkpoint(state: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what it takes to go on from `state` with empty columns, where nothing is lost."""
    kept = state.copy()
    kept[[S_EVENTS, S_TRIGGERS, S_LOSSES]] = 0
    kept[S_BAD] = NEVER
    return kept
