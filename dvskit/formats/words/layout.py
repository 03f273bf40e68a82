"""What a format of fixed-size words is read with, and what may be wrong with its words."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Size

UNIT = 4  # bytes

# Places in a row of `scan`. R_FIRST and R_NEWEST: first and last TIME_HIGH, -1 where there is none;
# R_EARLY, R_EARLY_TRIGGERS: how many stand ahead of the first; R_END: where the scan ended.
(R_EVENTS, R_TRIGGERS, R_OTHERS, R_EARLY, R_EARLY_TRIGGERS, R_FIRST, R_NEWEST, R_LOOPS, R_CLEAN,
 R_END) = range(10)  # fmt: skip
ROW_FIELDS = 10
# Places in the summary of `decode_clean`: whether all was clean, whether there is any event, first
# and last time, and the clock at the end.
C_CLEAN, C_ANY, C_FIRST_T, C_LAST_T, C_HIGH, C_LOOPS, CLEAN_FIELDS = range(7)
# What `goes_on` tells; TOO_FEW: there is no reason to doubt, but more words could give one.
DOUBT, NO_DOUBT, TOO_FEW = range(3)

# Places in the state of a pass. S_HIGH is -1 until the first TIME_HIGH; S_CLOCK is USABLE or, from
# a damaged TIME_HIGH to the next good one, SPOILT; S_EARLY counts events ahead of the first;
# S_DOUBT and S_LOST: how doubtful words are, and whether they make no sense (`row_kernels`).
S_HIGH, S_LOOPS, S_CLOCK, S_LAST, S_EARLY, S_DOUBT, S_LOST, STATE_FIELDS = range(8)
USABLE, SPOILT = 0, 1
NEVER = -(1 << 62)

# Why a word is lost.
(NO_TYPE, OFF_SENSOR, TIME_BACK, TIME_AHEAD, HIGH_JUMP, NO_CLOCK, HALF_VECTOR, NO_POLARITY,
 STRAY_BITS, NO_SENSE) = range(10)  # fmt: skip

# What a type of EVT word can mean; the lowest bit of the first four is the polarity.
ONE_OFF, ONE_ON, MANY_OFF, MANY_ON, HIGH, TRIGGER, OTHER, SKIPPED, UNKNOWN = range(9)
# Places in the table of an EVT layout, behind the meanings of the 16 types.
L_STRIDE, L_HEAD, EVT_FIELDS = 16, 17, 18
# Places in the table of DAT: where x, y and polarity stand, how many bits they have, and the bits
# that are never set.
W_X_AT, W_X_BITS, W_Y_AT, W_Y_BITS, W_P_AT, W_P_BITS, W_ZEROS, DAT_FIELDS = range(8)

PROBLEMS = {
    NO_TYPE: "word {a:#010x} is of the unknown type {b:#x}",
    OFF_SENSOR: "event at ({a}, {b}) is off the {size} sensor",
    TIME_BACK: "time runs back from {a} to {b} us",
    TIME_AHEAD: "event at {a} us stands ahead of events at {b} us",
    HIGH_JUMP: "the clock jumps from {a} to {b}",
    NO_CLOCK: "word {a:#010x} at a time that is unknown since a damaged word",
    HALF_VECTOR: "the mask of the vector word {a:#010x} is missing",
    NO_POLARITY: "word {a:#010x} has polarity {b}, which is neither 0 nor 1",
    STRAY_BITS: "word {a:#010x} has bits set that are 0 in every sound word",
    NO_SENSE: "words make no sense: bytes are damaged, missing or too many",
}


class Words(NamedTuple):
    """What loops over words take: the words as 32-bit units, what they mean, the sensor's size."""

    units: NDArray[np.uint32]
    table: NDArray[np.int64]
    width: int
    height: int


class Layout(NamedTuple):
    """How words are read: their length in 32-bit units, and the compiled loops with their table.

    The clock has `clock_bits` bits; steps of less than `small_step` need no judging. Without a
    `scan`, every word is an event, and its time is whole: nothing has to be known ahead of it.
    `heads` has a bit for each type that the last unit of a whole word cannot have.
    The loops are alike for all layouts; `dvskit.formats.words.evt_kernels` says what they do.
    """

    name: str
    units: int
    heads: int
    table: NDArray[np.int64]
    clock_bits: int
    small_step: int
    safe_start: Callable[..., int]
    scan: Callable[..., None] | None
    decode_clean: Callable[..., None]
    goes_on: Callable[..., int]
    read_rows: Callable[..., tuple[int, int, int]]

    def words(self, units: NDArray[np.uint32], size: Size) -> Words:
        """Return units as loops take them."""
        return Words(units, self.table, *size)
