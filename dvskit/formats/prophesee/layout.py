"""The layout of a word format, the state of a pass over words, and the reasons for losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Size
from dvskit.formats.feed import WordKind

NEAR_UNITS = 1 << 12  # units after a chunk that are read ahead; they nearly always suffice
LOOK_AHEAD = 1 << 16  # units that are searched to judge a time

# Fields of the state of a pass. The fields ahead of S_LAST follow from the words alone:
#   S_NOW                the clock in units of TIME_HIGH, counted through wraps; -1 before the first
#   S_CLOCK              USABLE, SPOILT from a damaged time word to the next valid one, or HALF
#   S_LOW .. S_VECTOR    EVT 3.0: low part of the time, row, base of vectors, and their validity
#   S_EVENTS, S_TRIGGERS number of events and triggers so far in the chunk
# S_LAST is the time of the latest event, S_EARLY counts events ahead of the first full time,
# S_OTHERS words of no interest. S_DOUBT and S_LOST: see row_kernels. The fields from S_AT on hold
# only within one call of `read_rows`: next unit, number of rows, first unit of a senseless stretch.
(S_NOW, S_CLOCK, S_LOW, S_Y, S_ROW, S_BASE, S_ON, S_VECTOR, S_EVENTS, S_TRIGGERS, S_LAST, S_EARLY,
 S_OTHERS, S_DOUBT, S_LOST, S_AT, S_N, S_GAP) = range(18)  # fmt: skip
STATE_FIELDS = 18
UNHEARD, USABLE, SPOILT, HALF = range(4)  # HALF: TIME_HIGH is known again, TIME_LOW is not
NEVER = -(1 << 62)
NO_GAP_US = 1 << 62

# Fields of a scan of one slice. R_FIRST, R_NEWEST: first and last TIME_HIGH, -1 without one;
# R_EARLY, R_EARLY_TRIGGERS: events and triggers ahead of the first; R_END: the unit after the scan.
(R_EVENTS, R_TRIGGERS, R_OTHERS, R_EARLY, R_EARLY_TRIGGERS, R_FIRST, R_NEWEST, R_VECTORS, R_CLEAN,
 R_END) = range(10)  # fmt: skip
SCAN_FIELDS = 10

DOUBT, NO_DOUBT, TOO_FEW = range(3)  # what `goes_on` returns

# Why a word is lost. Those from NO_CLOCK on follow from an earlier loss.
(NO_TYPE, OFF_SENSOR, ROW_OFF, TIME_BACK, TIME_AHEAD, HIGH_JUMP, HALF_VECTOR, NO_POLARITY,
 STRAY_BITS, NO_SENSE, NO_CLOCK, NO_ROW, NO_BASE) = range(13)  # fmt: skip

PROBLEMS = {
    NO_TYPE: "word {a:#06x} is of the unknown type {b:#x}",
    OFF_SENSOR: "event at ({a}, {b}) is off the {size} sensor",
    ROW_OFF: "word {a:#06x} selects row {b}, which is off the {size} sensor",
    TIME_BACK: "time runs back from {a} to {b} us",
    TIME_AHEAD: "event at {a} us stands ahead of events at {b} us",
    HIGH_JUMP: "the clock jumps from {a} to {b}",
    HALF_VECTOR: "the mask of the vector word {a:#010x} is missing",
    NO_POLARITY: "word {a:#010x} has polarity {b}, which is neither 0 nor 1",
    STRAY_BITS: "word {a:#010x} has bits set that are 0 in every valid word",
    NO_SENSE: "words make no sense: bytes are damaged, missing or too many",
    NO_CLOCK: "word {a:#06x} at a time that is unknown since a damaged word",
    NO_ROW: "word {a:#06x} in a row that is unknown since a damaged word",
    NO_BASE: "word {a:#06x} in columns that are unknown since a damaged word",
}


class WordUnits(NamedTuple):
    """Words as the loops take them: units, the layout's table, the size of the sensor."""

    units: NDArray[np.uint32] | NDArray[np.uint16]
    table: NDArray[np.int64]
    width: int
    height: int


class WordLayout(NamedTuple):
    """A word format: its units, and the compiled loops that read it.

    name      as in messages
    kind      the type of a unit, and units a word
    table     int64, what the loops know of the layout
    heads     a bit for each type of word that needs another unit, its mask
    needs     fields of the state that are USABLE wherever words are decoded as clean
    gap_us    the shortest step between two events that `decode_clean` does not accept
    whole_time  each word holds its whole time, so that nothing ahead of it has to be known

    Loops, alike for all formats; `state` is an int64 array of STATE_FIELDS:

    scan(words, start, stop, row)               count what units start..stop contain
    move_on(words, start, stop, row, state, last)
                                                predict the state after them; of the last slice of a
                                                chunk, only the number of events and triggers counts
    decode_clean(words, start, stop, state, columns, triggers)
                                                decode them, and move the state on
    goes_on(words, at, state)                   whether the next words cast doubt on the ones before
    read_rows(words, stop, strict, ended, state, rows)
                                                judge each word up to `stop`

    `move_on` and `decode_clean` return False if the words are not clean.
    """

    name: str
    kind: WordKind
    table: NDArray[np.int64]
    heads: int
    needs: tuple[int, ...]
    gap_us: int
    whole_time: bool
    scan: Callable[..., None]
    move_on: Callable[..., bool]
    decode_clean: Callable[..., bool]
    goes_on: Callable[..., int]
    read_rows: Callable[..., tuple[int, int]]

    @property
    def unit(self) -> int:
        """Bytes of a unit."""
        return self.kind.item.itemsize

    def words(self, units: NDArray[np.uint32] | NDArray[np.uint16], size: Size) -> WordUnits:
        """Return units as the loops take them."""
        return WordUnits(units, self.table, *size)


def new_state() -> NDArray[np.int64]:
    """Return the state ahead of the first word."""
    state = np.zeros(STATE_FIELDS, np.int64)
    state[S_NOW], state[S_LAST] = -1, NEVER
    return state
