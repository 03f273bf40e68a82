"""Events as a page stores them: planes of bytes, with times in steps from the first event."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Events

PIECE = 1 << 16  # steps of time whose numbers differ in their lower 16 bits alone
_MOST_PIECES = 256  # each is drawn by a call of its own

_BYTES_AN_EVENT = 6


def step_us(span_us: int) -> int:
    """Return the step of stored times: 1 us for up to 16.7 s, more for longer recordings."""
    return span_us // (PIECE * _MOST_PIECES) + 1


def steps(events: Events, *, start_us: int, step: int) -> NDArray[np.uint64]:
    """Return the times of events in whole steps since `start_us`: (n,) uint64."""
    # Unsigned, since the difference of two int64 may need 64 bits.
    passed = events.t.astype(np.uint64) - np.uint64(start_us % (1 << 64))
    return passed if step == 1 else passed // np.uint64(step)


def pieces(steps_of: NDArray[np.uint64]) -> list[int]:
    """Return how many events each piece has, from the first piece to that of the last event."""
    if not len(steps_of):
        return []
    ends = np.arange(1, int(steps_of[-1]) // PIECE + 2, dtype=np.uint64) * np.uint64(PIECE)
    places = np.searchsorted(steps_of, ends)
    return [int(count) for count in np.diff(places, prepend=0)]


def pack(events: Events, steps_of: NDArray[np.uint64]) -> bytes:
    """Return the events as six planes of n bytes.

    x low, x high with polarity in the top bit, y low, y high, and the lower 16 bits of the steps
    of time since the event before, low and high.
    """
    low = steps_of.astype(np.uint16)
    step = np.diff(low, prepend=np.uint16(0))
    x = events.x.astype(np.uint16) | (events.p.astype(np.uint16) << 15)
    y = events.y.astype(np.uint16)
    planes = np.empty((_BYTES_AN_EVENT, len(events)), np.uint8)
    for number, column in enumerate((x, y, step)):
        planes[2 * number] = column  # the lower byte: casting cuts
        planes[2 * number + 1] = column >> 8
    return planes.tobytes()
