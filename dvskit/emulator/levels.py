"""Frames to codes and levels of log intensity, in whole numbers.

Log intensity and thresholds are integers in units of 2^-24 e-fold: sums of thresholds are exact,
so are ties (L - r = threshold, which counts as a crossing), and the same frames give the same
events on every machine. A threshold of 0.2 is off by 2 parts in 10^8 at most.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.emulator import level_kernels
from dvskit.emulator.params import EmulatorParams
from dvskit.errors import ShapeError
from dvskit.events import Size

UNIT = 1 << 24  # steps an e-fold
WHITE = 255.0  # digital numbers of the brightest 8-bit pixel, and of 1.0 in a float frame
BRIGHTEST = 1e30  # of a float frame: keeps every level inside 31 bits
_NO_TABLE = np.empty(0, np.int32)


def to_units(log_intensity: float) -> int:
    """Return a difference of log intensity in units of 2^-24 e-fold."""
    return round(log_intensity * UNIT)


def log_intensity(digital_number: float, params: EmulatorParams) -> float:
    """Return L of an intensity in digital numbers (0..255), by the map that the parameters say."""
    if params.log_offset is not None:
        return math.log(digital_number + params.log_offset)
    return lin_log(digital_number, params.linear_below)


def lin_log(digital_number: float, linear_below: float) -> float:
    """Return L of an intensity in digital numbers (0..255): linear below a knee, ln above it.

    L = I ln(k) / k for I <= k, else ln(I), with k = `linear_below` (v2e's map; Katz et al. 2012).
    """
    if digital_number <= linear_below:
        return digital_number * math.log(linear_below) / linear_below
    return math.log(digital_number)


def map_numbers(params: EmulatorParams) -> tuple[float, float, float]:
    """Return the numbers of the map for the kernels: offset (-1 for lin-log), knee and slope."""
    knee = params.linear_below
    return -1.0 if params.log_offset is None else params.log_offset, knee, math.log(knee) / knee


def lights(levels: NDArray[Any], params: EmulatorParams) -> NDArray[np.float64]:
    """Return v2e's intensity, (I + 20) / 275 of digital numbers, of levels (N,) in e-folds."""
    found = np.empty(levels.size, np.float64)
    level_kernels.lights_of(levels.astype(np.float64), *map_numbers(params), found)
    return found


def code_logs(codes: int, params: EmulatorParams) -> list[float]:
    """Return L of each code of images with so many, the last one as bright as 255."""
    scale = WHITE / (codes - 1)
    return [log_intensity(code * scale, params) for code in range(codes)]


def level_table(dtype: np.dtype[np.generic], params: EmulatorParams) -> NDArray[np.int32]:
    """Return the level of each code of uint8 (256) or uint16 (65536, 65535 as bright as 255)."""
    codes = 256 if dtype == np.uint8 else 65536
    return np.array([to_units(log) for log in code_logs(codes, params)], dtype=np.int32)


def float_levels(frame: NDArray[np.floating], params: EmulatorParams) -> NDArray[np.int32]:
    """Return the levels of a float frame, in which 1.0 is as bright as 255; more is brighter.

    Raises ShapeError for NaN, infinite or negative pixels and for pixels above 1e30.
    """
    levels = np.empty(frame.size, np.int32)
    bad = level_kernels.float_levels(
        np.ascontiguousarray(frame, dtype=np.float64).reshape(-1),
        map_numbers(params),
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


class FrameLevels:
    """Turns the frames of one clip, all of one type, into flat arrays of codes."""

    def __init__(self, params: EmulatorParams, size: Size) -> None:
        self._params, self._size = params, size
        self._dtype: np.dtype[Any] | None = None
        self._table = _NO_TABLE

    @property
    def table(self) -> NDArray[np.int32]:
        """The level of each code; of length 0 where codes are levels themselves."""
        whole = self._params.surround_px and self._params.surround_gain
        return _NO_TABLE if whole else self._table

    def codes(self, frame: NDArray[Any], number: int) -> NDArray[Any]:
        """Return the codes of frame `number` (height, width), without copying where possible.

        Raises ShapeError for another shape or type than the first frame's, and for values that are
        no intensities.
        """
        shape = (self._size.height, self._size.width)
        if frame.shape != shape:
            gray = ": cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) turns colours gray"
            raise ShapeError(
                f"frame {number} has shape {frame.shape}; (height, width) = {shape} is meant"
                + gray * (frame.shape[:2] == shape)
            )
        if self._dtype is None:
            if frame.dtype not in (np.uint8, np.uint16) and frame.dtype.kind != "f":
                raise ShapeError(
                    f"frames are {frame.dtype}; uint8, uint16 or float are meant: "
                    "frames.astype(np.uint8), or pass white=255 to emulate"
                )
            self._dtype = frame.dtype
            if frame.dtype.kind == "u":
                self._table = level_table(frame.dtype, self._params)
        if frame.dtype != self._dtype:
            raise ShapeError(f"frame {number} is {frame.dtype}, the first was {self._dtype}")
        if frame.dtype.kind == "f":
            codes: NDArray[Any] = float_levels(frame, self._params)
        else:
            codes = np.ascontiguousarray(frame).reshape(-1)
        if self._params.surround_px and self._params.surround_gain:
            return self._less_surround(codes)
        return codes

    def _less_surround(self, codes: NDArray[Any]) -> NDArray[np.int32]:
        """Take surround_gain times the surround off the levels; middle gray stays as it is.

        The surround is a Gaussian mean of the log intensity, as a network of horizontal cells
        spreads it, of standard deviation surround_px; the border is mirrored.
        """
        log = (self._table[codes] if self._table.size else codes).astype(np.float32)
        log = log.reshape(self._size.height, self._size.width)
        around = cv2.GaussianBlur(
            log, (0, 0), self._params.surround_px, None, 0, cv2.BORDER_REFLECT
        )
        middle = to_units(log_intensity(128.0, self._params))
        less = log - np.float32(self._params.surround_gain) * (around - np.float32(middle))
        return np.rint(less).astype(np.int32).reshape(-1)
