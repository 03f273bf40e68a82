"""Events that are kept, put one behind the other: plain arrays in and out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


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
    """Copy the events where `keep` is true; the outputs have room for just those.

    Each event is written, and the next one over it unless it is kept: where nothing is skipped by a
    branch, nothing is guessed wrongly. Counters are unsigned: signed ones would be looked at for
    counting from the end.
    """
    i = at = np.uint64(0)
    while at < np.uint64(len(out_t)):
        out_t[at] = t[i]
        out_x[at] = x[i]
        out_y[at] = y[i]
        out_p[at] = p[i]
        at += np.uint64(keep[i])
        i += np.uint64(1)
