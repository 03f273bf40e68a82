"""Events marked by when pixels fired last: plain arrays in and out.

Times count from `origin_us`, which lies before the first event: 0 in `last` is never.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def near_in_time_8(
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    origin_us: int,
    within_us: int,
    itself: bool,
    last: NDArray[Any],
    keep: NDArray[Any],
) -> None:
    """Mark events of which one of the eight pixels around has fired since within_us before.

    `last` is (H + 2, W + 2), with a border that never fires.
    """
    stride, one = last.shape[1], np.uint64(1)
    wide = np.uint64(stride)
    times = last.reshape(-1)
    for i in range(len(t)):
        at = np.uint64((np.int64(y[i]) + 1) * stride + np.int64(x[i]) + 1)
        now = t[i] - origin_us
        since = max(now - within_us, 1)
        above, below = at - wide, at + wide
        near = (
            (times[above - one] >= since) | (times[above] >= since)
            | (times[above + one] >= since)
            | (times[at - one] >= since) | (times[at + one] >= since)
            | (times[below - one] >= since) | (times[below] >= since)
            | (times[below + one] >= since)
        )  # fmt: skip
        keep[i] = near | (itself & (times[at] >= since))
        times[at] = now


@njit(cache=True, nogil=True)
def near_in_time_4(
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    origin_us: int,
    within_us: int,
    itself: bool,
    last: NDArray[Any],
    keep: NDArray[Any],
) -> None:
    """Mark as `near_in_time_8` does, by the four pixels that share a side."""
    stride, one = last.shape[1], np.uint64(1)
    wide = np.uint64(stride)
    times = last.reshape(-1)
    for i in range(len(t)):
        at = np.uint64((np.int64(y[i]) + 1) * stride + np.int64(x[i]) + 1)
        now = t[i] - origin_us
        since = max(now - within_us, 1)
        near = (
            (times[at - wide] >= since) | (times[at + wide] >= since)
            | (times[at - one] >= since) | (times[at + one] >= since)
        )  # fmt: skip
        keep[i] = near | (itself & (times[at] >= since))
        times[at] = now


@njit(cache=True, nogil=True)
def rested(
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    origin_us: int,
    period_us: int,
    restart: bool,
    last: NDArray[Any],
    keep: NDArray[Any],
) -> None:
    """Mark events of pixels that had none for period_us: none kept, or with `restart` none at all.

    `last` is (1, H, W), or (2, H, W) where polarities are apart.
    """
    apart = last.shape[0] == 2
    height, width = last.shape[1:]
    times = last.reshape(-1)
    for i in range(len(t)):
        at = np.uint64((np.int64(apart & p[i]) * height + y[i]) * width + x[i])
        now = t[i] - origin_us
        before = times[at]
        kept = (before == 0) | (now - before >= period_us)
        keep[i] = kept
        times[at] = now if kept | restart else before
