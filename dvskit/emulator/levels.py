"""Frames to integer levels of log intensity, and an ideal sensor that compares them.

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

from dvskit._threads import run_parts
from dvskit.emulator import level_kernels
from dvskit.emulator.crossings import Crossings, Ordering, ReusedArray, parts_of
from dvskit.emulator.level_kernels import FiringRule, LogMap, References
from dvskit.emulator.params import EmulatorParams
from dvskit.errors import ShapeError
from dvskit.events import Size
from dvskit.video.light import MIDDLE_GRAY, Transfer, light_of_codes

UNIT = 1 << 24  # steps per e-fold
WHITE = 255.0  # digital numbers of the brightest 8-bit pixel, and of 1.0 in a float frame
BRIGHTEST = 1e30  # of a float frame: keeps every level inside 31 bits
_NO_TABLE = np.empty(0, np.int32)
_QUIET_PIXELS = 64  # this many quiet pixels cost as much as an event
_FEW = 1 << 13  # fewer events do not pay for a thread
_NO_TIMES, _NO_MARKS = np.empty(0, np.int32), np.empty(0, np.int64)


def to_units(log_intensity: float) -> int:
    """Return a difference of log intensity in units of 2^-24 e-fold."""
    return round(log_intensity * UNIT)


def log_map(params: EmulatorParams) -> LogMap:
    """Return the map from digital numbers (0..255) to L, for the kernels.

    Of light, L = I / k up to a knee k, the tangent there of the logarithm above it, 1 + ln(I / k):
    so dark codes make no bursts. Of luma, L = I ln(k) / k up to the knee, and ln I above it (v2e).
    """
    knee, log = params.knee, math.log(params.knee)
    slope, shift = (log / knee, 0.0) if params.light == "luma" else (1.0 / knee, 1.0 - log)
    return -1.0 if params.log_offset is None else params.log_offset, knee, slope, shift


def log_intensity(digital_number: float, params: EmulatorParams) -> float:
    """Return L of an intensity in digital numbers (0..255), by the map of the parameters."""
    return float(level_kernels.level_of.py_func(digital_number, log_map(params)))


def lights(levels: NDArray[Any], params: EmulatorParams) -> NDArray[np.float64]:
    """Return the light, (I + dark) / (255 + dark) of digital numbers, of levels (N,) in e-folds."""
    found = np.empty(levels.size, np.float64)
    level_kernels.lights_of(levels.astype(np.float64), log_map(params), float(params.dark), found)
    return found


def code_logs(codes: int, params: EmulatorParams, transfer: Transfer = "srgb") -> list[float]:
    """Return L of each of this many codes of `transfer`; white is as bright as 255."""
    light = light_of_codes("linear" if params.light == "luma" else transfer, codes)
    level_of, how = level_kernels.level_of.py_func, log_map(params)
    return [level_of(number, how) for number in (WHITE * light).tolist()]


def level_table(
    dtype: np.dtype[np.generic], params: EmulatorParams, transfer: Transfer = "srgb"
) -> NDArray[np.int32]:
    """Return the level of each code of uint8 (256) or uint16 (65536)."""
    codes = 256 if dtype == np.uint8 else 65536
    logs = code_logs(codes, params, transfer)
    return np.array([to_units(log) for log in logs], dtype=np.int32)


def float_levels(frame: NDArray[np.floating], params: EmulatorParams) -> NDArray[np.int32]:
    """Return the levels of a float frame, in which 1.0 is as bright as 255; more is brighter.

    Raises ShapeError for NaN, infinite or negative pixels and for pixels above 1e30.
    """
    levels = np.empty(frame.size, np.int32)
    bad = level_kernels.float_levels(
        np.ascontiguousarray(frame, dtype=np.float64).reshape(-1),
        log_map(params),
        WHITE,
        float(UNIT),
        BRIGHTEST,
        levels,
    )
    if bad >= 0:
        row, column = divmod(int(bad), frame.shape[1])
        raise ShapeError(
            f"pixel ({column}, {row}) is {frame[row, column]}; float intensities must be finite "
            "and at least 0; 1.0 is white"
        )
    return levels


class FrameLevels:
    """Converts the frames of one clip, all of one dtype, to flat arrays of codes."""

    def __init__(self, params: EmulatorParams, size: Size, transfer: Transfer = "srgb") -> None:
        self._params, self._size, self._transfer = params, size, transfer
        self._dtype: np.dtype[Any] | None = None
        self._table = _NO_TABLE

    @property
    def table(self) -> NDArray[np.int32]:
        """The level of each code; of length 0 if codes are levels themselves."""
        whole = self._params.surround_px and self._params.surround_gain
        return _NO_TABLE if whole else self._table

    def codes(self, frame: NDArray[Any], number: int) -> NDArray[Any]:
        """Return the codes of frame `number` (height, width), without copying where possible.

        Raises ShapeError for another shape or dtype than the first frame's, and for values that are
        not intensities.
        """
        shape = (self._size.height, self._size.width)
        if frame.shape != shape:
            gray = ": cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) turns colours gray"
            raise ShapeError(
                f"frame {number} has shape {frame.shape}; (height, width) = {shape} is expected"
                + gray * (frame.shape[:2] == shape)
            )
        if self._dtype is None:
            if frame.dtype not in (np.uint8, np.uint16) and frame.dtype.kind != "f":
                raise ShapeError(
                    f"frames are {frame.dtype}; uint8, uint16 or float are expected: "
                    "frames.astype(np.uint8), or pass white=255 to emulate"
                )
            self._dtype = frame.dtype
            if frame.dtype.kind == "u":
                self._table = level_table(frame.dtype, self._params, self._transfer)
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
        """Subtract surround_gain times the surround from the levels; middle gray stays.

        The surround is a Gaussian mean of the log intensity, as a network of horizontal cells
        spreads it, of standard deviation surround_px; the border is mirrored.
        """
        log = (self._table[codes] if self._table.size else codes).astype(np.float32)
        log = log.reshape(self._size.height, self._size.width)
        around = cv2.GaussianBlur(
            log, (0, 0), self._params.surround_px, None, 0, cv2.BORDER_REFLECT
        )
        gray = 128.0 if self._params.light == "luma" else WHITE * MIDDLE_GRAY
        middle = to_units(log_intensity(gray, self._params))
        less = log - np.float32(self._params.surround_gain) * (around - np.float32(middle))
        return np.rint(less).astype(np.int32).reshape(-1)


class IdealPixels:
    """Pixels of an ideal sensor: reference levels and the brightness-threshold rule."""

    def __init__(self, params: EmulatorParams, size: Size, threads: int) -> None:
        self.size, self._threads = size, threads
        self._on, self._off = to_units(params.threshold_on), to_units(params.threshold_off)

    def begin(self, codes: NDArray[Any], table: NDArray[np.int32]) -> None:
        """Take the first frame, which sets the reference levels."""
        n = codes.size
        if table.size:
            table = table - table[0]  # the search of codes begins at level 0
        self._before = codes.copy()
        self._coded = codes.dtype == np.uint8
        up, down = np.empty((2, n if self._coded else 0), np.uint8)
        entries = (int(table[-1]) >> level_kernels.NEAR_SHIFT) + 2 if self._coded else 0
        self._rule = FiringRule(table, np.empty(entries, np.int16), self._on, self._off)
        if self._coded:
            level_kernels.index_codes(table, self._rule.nearest)
            level_kernels.start_codes(codes, self._rule, up, down)
        self._references = References(table[codes] if table.size else codes.copy(), up, down)
        # Parts are cut at multiples of 64 pixels: of 8 for the words of `loud`, of 64 so that two
        # threads share no cache line.
        self._parts = parts_of(n, self._threads, 64)
        self._loud = np.zeros(-(-n // 8) * 8, np.uint8)
        self._who, self._counts = np.zeros((2, self._loud.size), np.int32)
        self._rooms = [(ReusedArray(np.int32), ReusedArray(np.int64)) for _ in self._parts]
        self._ordering = Ordering()
        self._last = 0  # events in the previous interval

    def advance(self, codes: NDArray[Any], start_us: int, interval_us: int) -> Crossings:
        """Return the crossings up to the next frame."""
        parts = len(self._parts)
        times, marks = [_NO_TIMES] * parts, [_NO_MARKS] * parts

        def work(number: int) -> None:
            part = self._parts[number]
            times[number], marks[number] = self._fired(number, codes, interval_us)
            # The caller may reuse the buffer for the next frame, so a copy is kept.
            np.copyto(self._before[part], codes[part])

        # If little happens, the work is done before another thread would have started.
        busy = self._last + codes.size // _QUIET_PIXELS > _FEW
        run_parts(work, parts, self._threads if busy else 1)
        self._last = sum(map(len, times))
        return Crossings(self.size, start_us, interval_us, times, marks, ordering=self._ordering)

    def _fired(
        self, number: int, codes: NDArray[Any], interval_us: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return times and marks of a part's events, and move its references."""
        part = self._parts[number]
        padded = slice(part.start, -(-part.stop // 8) * 8)
        loud, who, counts = self._loud[padded], self._who[padded], self._counts[padded]
        here, references = codes[part], self._references.part(part)
        count = level_kernels.count_codes if self._coded else level_kernels.count_levels
        firing, total = count(here, references, self._rule, loud, who, counts)
        times, marks = (room.of(total) for room in self._rooms[number])
        if total:
            seen = self._before[part], here, part.start, interval_us
            fired = who[:firing], counts[:firing]
            level_kernels.emit(seen, references, self._rule, fired, (times, marks))
        return times, marks
