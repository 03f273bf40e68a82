"""Putting almost sorted times in order: plain arrays in and out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_MOST = 64  # events of a bucket that are sorted one by one


@njit(cache=True, nogil=True)
def order_of(t: NDArray[Any], order: NDArray[Any]) -> bool:
    """Fill `order` with the places that sort `t`; equal times stay as they are.

    Events go to buckets of time, about one each: where times are almost sorted, those near in time
    are near in memory. False, and no order, where a bucket is too full.
    """
    count = len(t)
    first, last = t[0], t[0]
    for i in range(count):
        first, last = min(first, t[i]), max(last, t[i])
    shift = 0
    while (last - first) >> shift > 4 * count:
        shift += 1
    ends = np.zeros(((last - first) >> shift) + 2, np.int64)
    for i in range(count):
        ends[((t[i] - first) >> shift) + 1] += 1
    if shift and ends.max() > _MOST:
        return False
    for k in range(1, len(ends)):
        ends[k] += ends[k - 1]
    for i in range(count):
        bucket = (t[i] - first) >> shift
        order[ends[bucket]] = i
        ends[bucket] += 1
    if shift:
        for i in range(1, count):
            one = order[i]
            j = i - 1
            while j >= 0 and t[order[j]] > t[one]:
                order[j + 1] = order[j]
                j -= 1
            order[j + 1] = one
    return True


@njit(cache=True, nogil=True)
def take(
    order: NDArray[Any],
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    out_t: NDArray[Any],
    out_x: NDArray[Any],
    out_y: NDArray[Any],
    out_p: NDArray[Any],
) -> None:
    """Copy the events in their order."""
    for i in range(len(order)):
        out_t[i] = t[order[i]]
        out_x[i] = x[order[i]]
        out_y[i] = y[order[i]]
        out_p[i] = p[order[i]]
