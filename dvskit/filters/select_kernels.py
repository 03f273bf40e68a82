"""Events that are kept, put one behind the other: plain arrays in and out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

# So many events are looked at before those that stay are copied: where none is skipped by a branch,
# none is guessed wrongly.
_LOOKED = 1024


@njit(cache=True, nogil=True)
def select_events(
    keep: NDArray[Any],
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    out_t: NDArray[Any],
    out_x: NDArray[Any],
    out_y: NDArray[Any],
    out_p: NDArray[Any],
) -> None:
    """Copy the events where `keep` is true; the outputs have room for just those."""
    which = np.empty(_LOOKED, np.int32)
    at = 0
    for start in range(0, len(keep), _LOOKED):
        found = 0
        for i in range(start, min(start + _LOOKED, len(keep))):
            which[found] = i
            found += keep[i]
        for j in range(found):
            out_t[at + j] = t[which[j]]
        for j in range(found):
            out_x[at + j] = x[which[j]]
        for j in range(found):
            out_y[at + j] = y[which[j]]
        for j in range(found):
            out_p[at + j] = p[which[j]]
        at += found
