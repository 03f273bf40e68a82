"""Counting events per bin, polarity and pixel: plain arrays in and out."""

from __future__ import annotations

from typing import Any

from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def add_counts(
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    start_us: int,
    numerator: int,
    denominator: int,
    counts: NDArray[Any],
) -> None:
    """Add one to counts[k, p, y, x] for each event, k = (t - start_us) * numerator // denominator.

    Times are sorted, so that k is worked out again only where a bin ends: an integer division costs
    more than all the rest.
    """
    k = 0
    stop_us = start_us  # the first time behind bin k; forces a division at the first event
    for i in range(len(t)):
        if i == 0 or t[i] >= stop_us:
            k = (t[i] - start_us) * numerator // denominator
            stop_us = start_us + ((k + 1) * denominator + numerator - 1) // numerator
        counts[k, 1 if p[i] else 0, y[i], x[i]] += 1
