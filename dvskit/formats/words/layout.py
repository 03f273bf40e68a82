"""What a format of fixed-size words is read with, and what may be wrong with its words."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.words import clock_kernels as k

UNIT = 4  # bytes

PROBLEMS = {
    k.NO_TYPE: "word {a:#010x} is of the unknown type {b:#x}",
    k.OFF_SENSOR: "event at ({a}, {b}) is off the {size} sensor",
    k.TIME_BACK: "time runs back from {a} to {b} us",
    k.TIME_AHEAD: "event at {a} us stands ahead of events at {b} us",
    k.HIGH_JUMP: "the clock jumps from {a} to {b} and back",
    k.CLOCK_RESET: "the clock runs back from {a} to {b} (read as a wrap)",
    k.NO_CLOCK: "word {a:#010x} at a time that is unknown since a damaged word",
    k.HALF_VECTOR: "the mask of the vector word {a:#010x} is missing",
    k.NO_POLARITY: "word {a:#010x} has polarity {b}, which is neither 0 nor 1",
    k.STRAY_BITS: "word {a:#010x} has bits set that an external trigger does not have",
}


class Layout(NamedTuple):
    """How words are read: their length in 32-bit units, and the compiled loops with their table.

    The clock has `clock_bits` bits; steps of less than `small_step` need no judging. Without a
    `scan`, every word is an event, and its time is whole: nothing has to be known ahead of it.
    `heads` has a bit for each type that the last unit of a whole word cannot have; `look` tells
    the search for words out of step what words look like.
    The loops are alike for all layouts; `dvskit.formats.words.evt_kernels` says what they do, and
    `dvskit.formats.words.evt_salvage_kernels` what those for salvage do.
    """

    name: str
    units: int
    heads: int
    look: NDArray[np.int64]
    table: NDArray[np.int64]
    clock_bits: int
    small_step: int
    safe_start: Callable[..., int]
    scan: Callable[..., None] | None
    decode_clean: Callable[..., None]
    goes_on: Callable[..., int]
    decode_careful: Callable[..., int]
    read_rows: Callable[..., tuple[int, int, int]]
    count_events: Callable[..., tuple[int, int]]
    put_events: Callable[..., int]
