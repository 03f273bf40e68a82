"""The emulator: parameters, and one pass over the frames of a clip."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.emulator import _kernels
from dvskit.emulator.levels import float_levels, level_table, to_units
from dvskit.errors import ConfigError, ShapeError, VideoError, did_you_mean
from dvskit.events import Events, Size, as_size

LONGEST_INTERVAL_US = 1 << 30  # keeps the products of the crossing times inside 63 bits
_PART_PIXELS = 1 << 17  # fewer are not worth a thread
_NO_TABLE = np.empty(0, np.int32)
_NO_CODES = np.empty(0, np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorParams:
    """What the emulated sensor is like.

    threshold_on, threshold_off  change of log intensity (e-folds) that makes an event; 0.01..10
    linear_below                 digital number (of 255) below which the response is linear, not
                                 logarithmic; 1.5..255
    Raises ConfigError for values out of range.
    """

    threshold_on: float = 0.2
    threshold_off: float = 0.2
    linear_below: float = 20.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("threshold_on", 0.01, 10.0),
            ("threshold_off", 0.01, 10.0),
            ("linear_below", 1.5, 255.0),
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise ConfigError(f"{name} = {value} is outside {low}..{high}")

    @classmethod
    def preset(cls, name: str) -> EmulatorParams:
        """Return named parameters. Raises ConfigError for an unknown name."""
        if name not in PRESETS:
            raise ConfigError(f"unknown preset {name!r}; {did_you_mean(name, PRESETS)}")
        return PRESETS[name]


PRESETS = {"clean": EmulatorParams()}


@dataclass(frozen=True, slots=True)
class Emulator:
    """Frames to events: frozen parameters; `start` begins a pass.

    `seed` fixes all randomness. The rule without noise has none, so that it changes nothing yet.
    """

    params: EmulatorParams = field(default_factory=EmulatorParams)
    seed: int = 0

    def start(self, size: tuple[int, int]) -> EmulatorRun:
        """Return a run over frames of `size` (width, height)."""
        return EmulatorRun(self.params, as_size(size))


class EmulatorRun:
    """One pass over a clip: it holds each pixel's reference level.

    The events of a run do not depend on the number of threads, nor on what follows later.
    """

    def __init__(self, params: EmulatorParams, size: Size) -> None:
        self.size = size
        self._linear_below = params.linear_below
        self._on = to_units(params.threshold_on)
        self._off = to_units(params.threshold_off)
        self._frames = 0
        self._t_us = 0
        self._dtype: np.dtype[Any] | None = None

    def step(self, t_us: int, frame: NDArray[Any]) -> Events:
        """Return the events between the last frame and this one, ordered by (t, y, x).

        frame: (height, width); uint8, uint16 (65535 is white), or float (1.0 is white, more is
        brighter). t_us: int microseconds, later than the last frame's. The first frame sets the
        reference levels and gives no events. Event times are rounded to the nearest microsecond.

        Raises ShapeError for another shape or type, VideoError for a time that does not advance.
        """
        t_us = self._checked_time(t_us)
        codes = self._codes(frame)
        if self._frames == 0:
            self._begin(codes)
            events = Events.empty(self.size)
        else:
            events = self._advance(codes, t_us - self._t_us)
        # The caller may fill the same buffer with the next frame, so that a copy is kept.
        np.copyto(self._before, codes)
        self._t_us = t_us
        self._frames += 1
        return events

    def _checked_time(self, t_us: int) -> int:
        time = int(t_us)
        if self._frames == 0:
            return time
        interval = time - self._t_us
        if interval <= 0:
            raise VideoError(
                f"frame {self._frames} is at {time} us, not after {self._t_us} us, the time of "
                "the frame ahead of it; sort the frames and drop repeated ones"
            )
        if interval > LONGEST_INTERVAL_US:
            raise VideoError(
                f"frame {self._frames} is {interval} us after the one ahead of it; "
                f"at most {LONGEST_INTERVAL_US} us (18 minutes) are emulated"
            )
        return time

    def _codes(self, frame: NDArray[Any]) -> NDArray[Any]:
        shape = (self.size.height, self.size.width)
        if frame.shape != shape:
            raise ShapeError(
                f"frame {self._frames} has shape {frame.shape}; (height, width) = {shape} is meant"
            )
        if self._dtype is None:
            if frame.dtype not in (np.uint8, np.uint16) and frame.dtype.kind != "f":
                raise ShapeError(f"frames are {frame.dtype}; uint8, uint16 or float are meant")
            self._dtype = frame.dtype
        if frame.dtype != self._dtype:
            raise ShapeError(f"frame {self._frames} is {frame.dtype}, the first was {self._dtype}")
        if frame.dtype.kind == "f":
            return float_levels(frame, self._linear_below)
        return np.ascontiguousarray(frame).reshape(-1)

    def _begin(self, codes: NDArray[Any]) -> None:
        n = codes.size
        self._before = codes.copy()
        if codes.dtype.kind == "u":
            self._table = level_table(codes.dtype, self._linear_below)
            self._ref = self._table[codes]
        else:
            self._table = _NO_TABLE
            self._ref = codes.copy()
        self._up, self._down = _NO_CODES, _NO_CODES
        if codes.dtype == np.uint8:
            self._up, self._down = np.empty(n, np.uint8), np.empty(n, np.uint8)
            _kernels.start_codes(codes, self._table, self._on, self._off, self._up, self._down)
        # Parts are cut at multiples of 64 pixels: of 8 for the words of `loud`, of 64 so that two
        # threads share no cache line.
        parts = max(1, min(thread_count(), n // _PART_PIXELS))
        length = -(-n // (parts * 64)) * 64
        self._parts = [slice(start, min(start + length, n)) for start in range(0, n, length)]
        self._counts = np.zeros(n, np.int32)
        self._loud = np.zeros(-(-n // 8) * 8, np.uint8)

    def _loud_part(self, part: slice) -> NDArray[np.uint8]:
        return self._loud[part.start : -(-part.stop // 8) * 8]

    def _advance(self, codes: NDArray[Any], interval: int) -> Events:
        sums = [0] * len(self._parts)

        def count(number: int) -> None:
            part = self._parts[number]
            loud = self._loud_part(part)
            if self._up.size:
                sums[number] = _kernels.count_codes(
                    codes[part], self._up[part], self._down[part], self._ref[part], self._table,
                    self._on, self._off, loud, self._counts[part],
                )  # fmt: skip
            else:
                sums[number] = _kernels.count_levels(
                    codes[part], self._ref[part], self._table, self._on, self._off, loud,
                    self._counts[part],
                )  # fmt: skip

        run_parts(count, len(self._parts))
        total = sum(sums)
        if not total:
            return Events.empty(self.size)
        return self._emit(codes, interval, sums)

    def _emit(self, codes: NDArray[Any], interval: int, sums: list[int]) -> Events:
        total = sum(sums)
        times, marks = np.empty(total, np.int32), np.empty(total, np.int64)
        ends = np.cumsum(sums)
        spans = [slice(int(end) - n, int(end)) for end, n in zip(ends, sums, strict=True)]
        # Counting needs a place for each microsecond: a long interval with few events is sorted.
        counting = interval + 1 <= 4 * total + (1 << 16)
        histograms = np.zeros((len(sums), interval + 1 if counting else 0), np.int32)

        def emit(number: int) -> None:
            part, span = self._parts[number], spans[number]
            coded = part if self._up.size else slice(0, 0)
            _kernels.emit(
                self._before[part], codes[part], part.start, self._up[coded], self._down[coded],
                self._ref[part], self._table, self._on, self._off, self._loud_part(part),
                self._counts[part], interval, times[span], marks[span], histograms[number],
            )  # fmt: skip

        run_parts(emit, len(sums))
        if not counting:
            return self._sorted(times, marks)
        _kernels.places(histograms)
        t, x = np.empty(total, np.int64), np.empty(total, np.int16)
        y, p = np.empty(total, np.int16), np.empty(total, np.bool_)

        def scatter(number: int) -> None:
            span = spans[number]
            _kernels.scatter(
                times[span], marks[span], histograms[number], self._t_us, self.size.width,
                t, x, y, p,
            )  # fmt: skip

        run_parts(scatter, len(sums))
        return Events.from_checked(t, x, y, p, self.size)

    def _sorted(self, times: NDArray[np.int32], marks: NDArray[np.int64]) -> Events:
        order = np.argsort(times, kind="stable")
        rows, columns = np.divmod(marks[order] >> 1, self.size.width)
        return Events.from_checked(
            times[order] + np.int64(self._t_us),
            columns.astype(np.int16),
            rows.astype(np.int16),
            (marks[order] & 1).astype(np.bool_),
            self.size,
        )
