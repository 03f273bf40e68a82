"""Pixels that may fire in an interval, side by side, as the firing kernels take them.

Times are in microseconds since the interval's start.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.sensor.pixels import aligned

Array = NDArray[Any]

LANES = 512  # pixels that are followed together at most
WIDTH = 16  # they are followed so many at a time
NO_HIT = 1e300

# Places in `columns`, a row for each lane. They lie a cache line more than a power of 2 apart: else
# the same lane of all of them would share one set of the cache.
#   A .. K2        the signal: see the signal's kernels; b with the leak that is compared with it
#   KEPT1, KEPT2   exp(-k1 t), exp(-k2 t) at the interval's end
#   ARRIVES        the signal there, without leak
#   RISE, FALL     thresholds; RATE: the leak, OWN: what it is without jitter
#   BEGUN          when the pixel was last reset, AGAINST: what the signal is compared with
#   AT, HERE       how far the pixel is, and its signal there; HIT: the next noise event
#   LIVE           0 of a pixel that has come to the end; PIXEL: its place among the pixels
# and, of one round only,
#   TURN1, TURN2   where the signal turns
#   LIMIT, STOP    the next of turns, noise and the end, and the signal there
#   SIGN, TARGET   what happens ahead of LIMIT: 1 ON, -1 OFF, 0 nothing, and at which signal
#   LOW .. OPEN    where that is: T, between LOW and HIGH; OPEN is 0 where it is found
# Ahead of the first round they hold what is known of the pixel: A and B the levels that it sees at
# both ends, K1 its time constant, HERE and C2 the signals behind photoreceptor and source follower,
# AGAINST the reference.
PITCH = LANES + 8
COLUMNS = 30
(
    A, B, C1, K1, KEPT1, ARRIVES, RISE, FALL, RATE, OWN, BEGUN, AGAINST, AT, HERE, HIT, LIVE,
    PIXEL, C2, K2, KEPT2,
    TURN1, TURN2, LIMIT, STOP, SIGN, TARGET, T, LOW, HIGH, OPEN,
) = range(0, COLUMNS * PITCH, PITCH)  # fmt: skip


class Lanes(NamedTuple):
    """Arrays of the lanes.

    columns float64 (COLUMNS * PITCH,)
    hit, last  int64: the next noise event of each among the hits, and where its own end
    """

    columns: Array
    hit: Array
    last: Array

    @classmethod
    def of(cls) -> Lanes:
        """Return the arrays."""
        return cls(aligned(COLUMNS * PITCH), *np.zeros((2, LANES), np.int64))
