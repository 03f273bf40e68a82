"""Intensity to log intensity, in whole numbers.

Log intensity and thresholds are integers in units of 2^-24 e-fold: sums of thresholds are exact,
so are ties (L - r = threshold, which counts as a crossing), and the same frames give the same
events on every machine. A threshold of 0.2 is off by 2 parts in 10^8 at most.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator import _kernels
from dvskit.errors import ShapeError

UNIT = 1 << 24  # steps an e-fold
WHITE = 255.0  # digital numbers of the brightest 8-bit pixel, and of 1.0 in a float frame
BRIGHTEST = 1e30  # of a float frame: keeps every level inside 31 bits


def to_units(log_intensity: float) -> int:
    """Return a difference of log intensity in units of 2^-24 e-fold."""
    return round(log_intensity * UNIT)


def lin_log(digital_number: float, linear_below: float) -> float:
    """Return L of an intensity in digital numbers (0..255): linear below a knee, ln above it.

    L = I ln(k) / k for I <= k, else ln(I), with k = `linear_below` (v2e's map; Katz et al. 2012).
    """
    if digital_number <= linear_below:
        return digital_number * math.log(linear_below) / linear_below
    return math.log(digital_number)


def level_table(dtype: np.dtype[np.generic], linear_below: float) -> NDArray[np.int32]:
    """Return the level of each code of uint8 (256) or uint16 (65536, 65535 as bright as 255)."""
    codes = 256 if dtype == np.uint8 else 65536
    scale = WHITE / (codes - 1)
    return np.array(
        [to_units(lin_log(code * scale, linear_below)) for code in range(codes)], dtype=np.int32
    )


def float_levels(frame: NDArray[np.floating], linear_below: float) -> NDArray[np.int32]:
    """Return the levels of a float frame, in which 1.0 is as bright as 255; more is brighter.

    Raises ShapeError for NaN, infinite or negative pixels and for pixels above 1e30.
    """
    levels = np.empty(frame.size, np.int32)
    bad = _kernels.float_levels(
        np.ascontiguousarray(frame, dtype=np.float64).reshape(-1),
        linear_below,
        math.log(linear_below) / linear_below,
        WHITE,
        float(UNIT),
        BRIGHTEST,
        levels,
    )
    if bad >= 0:
        row, column = divmod(int(bad), frame.shape[1])
        raise ShapeError(
            f"pixel ({column}, {row}) is {frame[row, column]}; float intensities are finite, "
            "at least 0, and 1.0 is white"
        )
    return levels
