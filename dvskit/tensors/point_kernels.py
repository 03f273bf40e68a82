"""Events as rows of points: plain arrays in and out."""

from __future__ import annotations

from typing import Any

from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def write_points(
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    start_us: int,
    x_scale: float,
    y_scale: float,
    t_scale: float,
    points: NDArray[Any],
) -> None:
    """Write x, y, t - start_us, each scaled, and -1 or 1 to points, (events, 4)."""
    for i in range(len(t)):
        points[i, 0] = x[i] * x_scale
        points[i, 1] = y[i] * y_scale
        points[i, 2] = (t[i] - start_us) * t_scale
        points[i, 3] = 1.0 if p[i] else -1.0
