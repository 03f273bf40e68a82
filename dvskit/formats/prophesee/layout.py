"""The layout of a word format, the state of a pass over words, and the reasons for losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Size
from dvskit.formats.feed import WordKind

# Fields of the state of a pass. The fields ahead of S_LAST follow from the words alone:
#   S_NOW            the clock in units of TIME_HIGH, counted through wraps; -1 before the first
#   S_LOW .. S_ON    EVT 3.0: low part of the time, row, base and polarity of vectors
#   S_NEEDS          EVT 3.0: the kinds of words that have to come before the next event (NEED_*);
#                    EVT 2.0, 2.1, 4.0: valid events in a row that end a loss, -1: none do
#   S_LOST           0, or 1 + the reason of a loss that goes on
#   S_A, S_B         two values for the message of that loss
# S_LAST is the time of the latest event. S_EARLY counts events ahead of the first full time,
# S_OTHERS words of no interest. The remaining fields count the results of one call of `decode`.
(S_NOW, S_LOW, S_Y, S_BASE, S_ON, S_NEEDS, S_LOST, S_A, S_B, S_LAST, S_EARLY, S_OTHERS, S_EVENTS,
 S_TRIGGERS, S_LOSSES) = range(15)  # fmt: skip
STATE_FIELDS = 15
NEED_HIGH, NEED_LOW, NEED_ROW, NEED_BASE = 1, 2, 4, 8
LOST_BASE = 16  # the base of vectors is needed because of a fault
NEVER = -(1 << 62)

# Fields of a scan of one slice: numbers of events and triggers, at most; the last TIME_HIGH, -1
# without one; the unit after the scan; EVT 3.0: number of vector words, bases included.
R_EVENTS, R_TRIGGERS, R_NEWEST, R_END, R_VECTORS, SCAN_FIELDS = range(6)

# Fields of a loss: first unit, number of units, reason, two values for the message.
L_UNIT, L_UNITS, L_WHY, L_A, L_B, LOSS_FIELDS = range(6)

(NO_TYPE, OFF_SENSOR, ROW_OFF, TIME_BACK, HIGH_JUMP, HALF_VECTOR, NO_POLARITY, STRAY_BITS,
 NO_BASE) = range(9)  # fmt: skip

PROBLEMS = {
    NO_TYPE: "word {a:#06x} is of the unknown type {b:#x}",
    OFF_SENSOR: "event at ({a}, {b}) is off the {size} sensor",
    ROW_OFF: "word {a:#06x} selects row {b}, which is off the {size} sensor",
    TIME_BACK: "time runs back from {a} to {b} us",
    HIGH_JUMP: "the clock jumps from {a} to {b}",
    HALF_VECTOR: "the mask of the vector word {a:#010x} is missing",
    NO_POLARITY: "word {a:#010x} has polarity {b}, which is neither 0 nor 1",
    STRAY_BITS: "word {a:#010x} has bits set that are 0 in every valid word",
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

    name   as in messages
    kind   the type of a unit, and units a word
    table  int64, what the loops know of the layout
    heads  a bit for each type of word that needs another unit, its mask

    Loops, alike for all formats; `state` is an int64 array of STATE_FIELDS:

    scan(words, start, stop, row)          count the contents of units start..stop. None where each
                                           word holds its whole time: then a slice is not scanned
    move_on(words, start, stop, row, state)
                                           predict the state after them
    decode(words, start, stop, state, columns, triggers, losses)
                                           decode them, move the state on, and return the next unit.
                                           At a fault, skip words until the format's marks make the
                                           time and place of events known again; a row of `losses`
                                           holds the skipped words. Stop early where there is room
                                           for no more; with a single row, at the first fault
    """

    name: str
    kind: WordKind
    table: NDArray[np.int64]
    heads: int
    scan: Callable[..., None] | None
    move_on: Callable[..., None]
    decode: Callable[..., int]

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
    state[S_NEEDS] = NEED_HIGH | NEED_ROW | NEED_BASE
    return state
