"""Times stretched and moved, and almost sorted ones put in order: plain arrays in and out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.filters.selecting import Columns

Array = NDArray[Any]

_MOST = 64  # events of a bucket that are sorted one by one


@njit(cache=True, nogil=True)
def order_of(t: Array, order: Array) -> bool:
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
def take(order: Array, given: Columns, out: Columns) -> None:
    """Copy the events in their order."""
    (t, x, y, p), (out_t, out_x, out_y, out_p) = given, out
    for i in range(len(order)):
        out_t[i] = t[order[i]]
        out_x[i] = x[order[i]]
        out_y[i] = y[order[i]]
        out_p[i] = p[order[i]]


@njit(cache=True, nogil=True)
def stretch(t: Array, origin_us: int, factor: float, shift_us: int, new: Array) -> None:
    """Fill `new` with origin + factor (t - origin) + shift, rounded; a half goes up."""
    if factor == 1.0:
        for i in range(len(t)):
            new[i] = t[i] + shift_us
        return
    for i in range(len(t)):
        new[i] = origin_us + shift_us + np.int64(np.floor((t[i] - origin_us) * factor + 0.5))
