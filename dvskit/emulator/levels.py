"""Frames to integer levels of log intensity, an ideal sensor that compares them, and crossings.

Log intensity and thresholds are integers in units of 2^-24 e-fold: sums of thresholds are exact,
so are ties (L - r = threshold, which counts as a crossing), and the same frames give the same
events on every machine. A threshold of 0.2 is off by 2 parts in 10^8 at most.

Crossings between two frames are not sorted yet: they become events, or are counted directly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.emulator import level_kernels
from dvskit.emulator import level_kernels as kernels
from dvskit.emulator.level_kernels import (
    MARK_NOISE,
    MARK_ON,
    MARK_PIXEL,
    FiringRule,
    LogMap,
    References,
)
from dvskit.emulator.params import EmulatorParams
from dvskit.errors import ShapeError
from dvskit.events import Events, Size
from dvskit.video.light import MIDDLE_GRAY, Transfer, light_of_codes

_FEW_SORTED = 1 << 17
_PARTS = 2  # of pixels per thread: motion differs between parts
_PART_PIXELS = 1 << 14  # smaller parts do not pay
_NO_LABELS = np.empty(0, np.bool_)


def parts_of(pixels: int, threads: int, unit: int) -> list[slice]:
    """Return slices of whole units of pixels, some for each thread."""
    parts = 1 if threads == 1 else max(1, min(_PARTS * threads, pixels // _PART_PIXELS))
    length = -(-pixels // (parts * unit)) * unit
    return [slice(start, min(start + length, pixels)) for start in range(0, pixels, length)]


class ReusedArray:
    """Reusable memory: the system clears a new array first."""

    def __init__(self, dtype: DTypeLike) -> None:
        self._held = np.empty(0, dtype)

    def of(self, length: int) -> NDArray[Any]:
        """Return an uninitialized view (length,); earlier views share its memory."""
        if length > self._held.size:
            self._held = np.empty(length + length // 4, self._held.dtype)
        return self._held[:length]


class Ordering:
    """Buffers for sorting events; one for all intervals of a run."""

    def __init__(self) -> None:
        self.packed, self.places = ReusedArray(np.uint64), ReusedArray(np.int32)


@dataclass(frozen=True, slots=True)
class Crossings:
    """Events of one interval, in parts, by increasing pixels.

    Their memory may be reused by the next interval.

    start_us, interval_us  of the interval
    times  int32, microseconds after start_us, 0..interval_us; sorted per pixel
    marks  int64, pixel * 4 + noise * 2 + polarity, see MARK_PIXEL
    by_pixel  whether events of the same time are in order of pixels
    """

    size: Size
    start_us: int
    interval_us: int
    times: list[NDArray[np.int32]]
    marks: list[NDArray[np.int64]]
    by_pixel: bool = True
    ordering: Ordering = field(default_factory=Ordering)

    def __len__(self) -> int:
        return sum(map(len, self.times))

    def events(self, *, labeled: bool = False) -> tuple[Events, NDArray[np.bool_]]:
        """Return the events sorted by time, then pixel, and their noise flags if requested."""
        total = len(self)
        if not total:
            return Events.empty(self.size), _NO_LABELS
        # Counting needs an entry per microsecond, so a long interval with few events is sorted.
        if self.interval_us + 1 > 4 * total + (1 << 16):
            return self._sorted()
        # Few events are sorted before another thread would have started.
        threads = 1 if total < _FEW_SORTED else thread_count()
        packed, begins = self._packed(total, threads)
        t, x = np.empty(total, np.int64), np.empty(total, np.int16)
        y, p = np.empty(total, np.int16), np.empty(total, np.bool_)
        noise = np.empty(total if labeled else 0, np.bool_)
        cuts = [total * share // threads for share in range(threads + 1)]
        # No share ends inside a microsecond, so the order there is fixed within one share.
        cuts[1:-1] = [int(begins[np.searchsorted(begins, cut)]) for cut in cuts[1:-1]]

        def unpack(number: int) -> None:
            here = slice(cuts[number], cuts[number + 1])
            if not self.by_pixel:
                kernels.order_pixels(packed[here])
            columns = t[here], x[here], y[here], p[here], noise[here]
            kernels.unpack(packed[here], self.start_us, self.size.width, columns)

        run_parts(unpack, threads, threads)
        return Events.from_checked(t, x, y, p, self.size), noise

    def _packed(self, total: int, threads: int) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
        """Return the events in order of time, packed, and the start of each microsecond."""
        rows = 1 if threads == 1 else len(self.times)
        histograms = self.ordering.places.of(rows * (self.interval_us + 1)).reshape(rows, -1)
        histograms[:] = 0
        places = [histograms[i % rows] for i in range(len(self.times))]
        run_parts(lambda i: kernels.count_times(self.times[i], places[i]), len(places), threads)
        kernels.places(histograms)
        begins = np.append(histograms[0], np.int32(total))
        packed = self.ordering.packed.of(total)

        def scatter(number: int) -> None:
            kernels.scatter(self.times[number], self.marks[number], places[number], packed)

        run_parts(scatter, len(places), threads)
        return packed, begins

    def _sorted(self) -> tuple[Events, NDArray[np.bool_]]:
        times, marks = np.concatenate(self.times), np.concatenate(self.marks)
        order = np.lexsort((marks >> MARK_PIXEL, times))
        marks = marks[order]
        rows, columns = np.divmod(marks >> MARK_PIXEL, self.size.width)
        events = Events.from_checked(
            times[order] + np.int64(self.start_us),
            columns.astype(np.int16),
            rows.astype(np.int16),
            (marks & MARK_ON).astype(np.bool_),
            self.size,
        )
        return events, (marks & MARK_NOISE).astype(np.bool_)

    def count(self, counts: NDArray[np.int32], start_us: int, bin_us: int) -> int:
        """Add the events to counts (bins, 2, H, W), OFF then ON; return the number outside.

        Bin k holds start_us + k bin_us <= t < start_us + (k + 1) bin_us.
        """
        flat = counts.reshape(counts.shape[0], 2, -1)
        missed = [0] * len(self.times)

        def add(number: int) -> None:
            # Parts have different pixels: no two threads add to the same count.
            missed[number] = kernels.add_crossings(
                self.times[number], self.marks[number], self.start_us - start_us, bin_us, flat
            )

        run_parts(add, len(self.times))
        return sum(missed)


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
    """Return L of all codes of `transfer`, `codes` in number; white is as bright as 255."""
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
            gray = ": cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) turns colors gray"
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
