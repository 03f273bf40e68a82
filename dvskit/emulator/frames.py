"""Frames to codes of log intensity, checked."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.levels import float_levels, level_table, log_intensity, to_units
from dvskit.emulator.params import EmulatorParams
from dvskit.errors import ShapeError
from dvskit.events import Size

_MIRRORED = cv2.BORDER_REFLECT
_NO_TABLE = np.empty(0, np.int32)


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
        around = cv2.GaussianBlur(log, (0, 0), self._params.surround_px, None, 0, _MIRRORED)
        middle = to_units(log_intensity(128.0, self._params))
        less = log - np.float32(self._params.surround_gain) * (around - np.float32(middle))
        return np.rint(less).astype(np.int32).reshape(-1)
