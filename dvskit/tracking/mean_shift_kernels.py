"""Mean shift over the events of a window: plain arrays in and out."""

from __future__ import annotations

from typing import Any

from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def shift_to_mean(
    x: Array, y: Array, start: tuple[float, float], radius: float, most: int
) -> tuple[float, float, int]:
    """Return where the mean of the events within a radius is its own middle, and their number.

    It starts at `start`, and ends when the mean moves by less than 0.01 px, or after `most` means.
    """
    at_x, at_y = start
    count = 0
    for _ in range(most):
        sum_x, sum_y, count = 0.0, 0.0, 0
        for i in range(len(x)):
            dx, dy = x[i] - at_x, y[i] - at_y
            if dx * dx + dy * dy <= radius * radius:
                sum_x += dx
                sum_y += dy
                count += 1
        if count == 0:
            break
        at_x += sum_x / count
        at_y += sum_y / count
        if abs(sum_x) + abs(sum_y) < 0.01 * count:
            break
    return at_x, at_y, count
