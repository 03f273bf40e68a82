"""The complementary filter: log intensity summed from events, held near frames or mid grey."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.params import EmulatorParams, as_params
from dvskit.errors import ConfigError, ShapeError
from dvskit.events import Events, Size
from dvskit.reconstruction.complementary_kernels import CELL, count_events, leaky_sums

Image = NDArray[np.float32]

_WITH_FRAMES_HZ, _ALONE_HZ = 8.0, 1.0
_THRESHOLD = 0.15  # until frames show another; low, since noise is summed too
_NEVER = -(1 << 61)  # microseconds; before all events
_GRAY = 0.42  # of white: without frames
_LOG_OFFSET = 5.0  # in digital numbers: the log of darker pixels would be mostly noise
_NEAR_LIMIT = 0.05  # share of white within which a frame counts as saturated
_EDGE = 0.2  # brightness; larger differences between neighbours are kept
_SLOWEST = 0.1  # share of the cutoff at saturation


@dataclass(frozen=True, slots=True)
class ComplementaryFilter:
    """Log intensity from events, pulled towards the latest frame, or mid grey without frames.

    cutoff_hz      of the pull: below it frames count, above it events. None: 8 Hz with frames,
                   1 Hz until the first one
    threshold_on, threshold_off  log intensity of an event; None: those of `sensor`, else estimated
                   from events and frames as they pass, 0.15 before
    uses_frames    whether frames are used, if there are any
    carried        whether the latest frame moves on with the events since it
    sensor         EmulatorParams, a preset or its file, such as the output of `calibrate`: its
                   thresholds are used
    smooth_px      sigma of a bilateral filter at the pixels that had events since the latest frame:
                   it smooths the steps of single events; 0 for none

    After Scheerlinck, Barnes and Mahony 2018, "Continuous-time intensity estimation using event
    cameras": an event adds its threshold to the log intensity L of its pixel, and L decays to the
    log of the latest frame F, L <- F + (L - F) exp(-2 pi cutoff_hz dt). Within 0.05 of black or
    white the frame knows less: the cutoff falls linearly to a tenth. With `carried`, F is the frame
    plus the events since, so that the pull corrects the errors of earlier events alone; without it,
    the filter is the published one. A first frame sets L.

    Thresholds are estimated by least squares (a Gauss-Newton step for each frame) of the change of
    brightness between frames, given the ON and OFF events of each pixel.

    Raises ConfigError for values out of range.
    """

    cutoff_hz: float | None = None
    threshold_on: float | None = None
    threshold_off: float | None = None
    uses_frames: bool = True
    carried: bool = True
    sensor: EmulatorParams | str | None = None
    smooth_px: float = 1.0

    def __post_init__(self) -> None:
        limits = {"cutoff_hz": 1e6, "threshold_on": 10.0, "threshold_off": 10.0, "smooth_px": 10.0}
        for name, most in limits.items():
            value = getattr(self, name)
            if value is not None and not 0 <= value <= most:
                raise ConfigError(f"{name} = {value} is outside 0..{most:g}")
        if self.sensor is not None:
            as_params(self.sensor)

    def start(self, size: Size) -> FilterPass:
        """Return one pass over a stream of a sensor's size."""
        return FilterPass(self, size)

    def thresholds(self) -> tuple[float | None, float | None]:
        """Return the thresholds for OFF and ON; None for those to estimate."""
        sensor = None if self.sensor is None else as_params(self.sensor)
        off, on = self.threshold_off, self.threshold_on
        if sensor is not None:
            off = sensor.threshold_off if off is None else off
            on = sensor.threshold_on if on is None else on
        return off, on


class FilterPass:
    """One pass of a `ComplementaryFilter`; see `ReconstructionPass`.

    thresholds  for OFF and ON, as they are now
    """

    def __init__(self, chosen: ComplementaryFilter, size: Size) -> None:
        self._size, self._carried, self._smooth_px = size, chosen.carried, chosen.smooth_px
        self._cutoff_hz, self._uses_frames = chosen.cutoff_hz, chosen.uses_frames
        self._fit = _ThresholdFit(chosen.thresholds())
        self._cells = np.zeros(size.width * size.height, CELL)
        self._cells["rate"], self._cells["last"] = self._rate(_ALONE_HZ), _NEVER
        self._counts = np.zeros((len(self._cells), 2), np.int32)
        self._frame: NDArray[np.uint8] | None = None
        self._reference: Image = np.full(len(self._cells), _log(_GRAY * 255), np.float32)
        self._last_us = _NEVER

    @property
    def thresholds(self) -> tuple[float, float]:
        """The log intensity of an event, for OFF and ON."""
        return self._fit.thresholds

    def _rate(self, usual_hz: float) -> float:
        """Return the rate of the decay, per microsecond."""
        return 2e-6 * math.pi * (usual_hz if self._cutoff_hz is None else self._cutoff_hz)

    def add(self, events: Events) -> None:
        """Take in events."""
        if not len(events):
            return
        columns, width = (events.t, events.x, events.y, events.p), self._size.width
        if self._frame is None or not self._carried:
            off, on = self.thresholds
            leaky_sums(columns, width, (-off, on), self._cells)
        if self._frame is not None:
            count_events(columns, width, self._counts)
        self._last_us = int(events.t[-1])

    def see(self, t_us: int, frame: NDArray[Any]) -> None:
        """Take in a frame, (height, width) uint8; one that comes late counts as of now.

        Raises ShapeError for another frame.
        """
        if not self._uses_frames:
            return
        if frame.dtype != np.uint8 or frame.shape != (self._size.height, self._size.width):
            raise ShapeError(
                f"a frame is {frame.dtype} {frame.shape}; uint8 "
                f"{(self._size.height, self._size.width)} is expected"
            )
        t_us = max(t_us, self._last_us)
        flat = frame.ravel()
        reference, level = _log(flat), np.zeros(len(flat), np.float32)
        if self._frame is not None:
            self._fit.learn(self._frame, flat, self._counts)
            level = self._log_at(t_us) - reference
        margin = np.minimum(flat, 255 - flat) / np.float32(255 * _NEAR_LIMIT)
        share = _SLOWEST + (1 - _SLOWEST) * np.minimum(margin, 1)
        self._cells["rate"] = self._rate(_WITH_FRAMES_HZ) * share
        self._cells["level"], self._cells["last"] = level, t_us
        self._counts[:] = 0
        self._frame, self._reference = flat.copy(), reference
        self._last_us = t_us

    def image(self, t_us: int) -> Image:
        """Return the brightness at `t_us`, (height, width), 0 black to 1 white."""
        shape = (self._size.height, self._size.width)
        bright = (np.exp(self._log_at(t_us)) - _LOG_OFFSET) / 255
        seen: Image = np.clip(bright, 0, 1).astype(np.float32, copy=False).reshape(shape)
        if self._smooth_px == 0:
            return seen
        changed = self._cells["last"] > _NEVER if self._frame is None else self._counts.any(1)
        diameter = 2 * math.ceil(2 * self._smooth_px) + 1
        smooth = cv2.bilateralFilter(seen, diameter, _EDGE, self._smooth_px)
        return np.where(changed.reshape(shape), smooth, seen)

    def _log_at(self, t_us: int) -> Image:
        past_us = t_us - self._cells["last"]
        kept = np.exp(-self._cells["rate"] * past_us.astype(np.float32))
        found: Image = self._reference + self._cells["level"] * kept
        if self._carried:
            off, on = self.thresholds
            found += self._counts @ np.array([-off, on], np.float32)
        return found


def _log(gray: Any) -> Any:
    """Return the log intensity of brightness in digital numbers, as float32."""
    return np.log(np.float32(_LOG_OFFSET) + np.asarray(gray, np.float32))


class _ThresholdFit:
    """The thresholds for OFF and ON; those not given follow the frames.

    Sums of a least-squares problem: A x = b, x for OFF and ON.
    """

    _PRIOR = 20.0  # weight of the threshold before: that of some 200 events
    _FARTHEST = 3.0  # change of log intensity from frame to frame
    _NOISE = 0.3  # variance of an event's step, relative to that of a frame's pixel

    def __init__(self, given: tuple[float | None, float | None]) -> None:
        self._free = [k for k in (0, 1) if given[k] is None]
        self._x = np.array([_THRESHOLD if each is None else each for each in given])
        self._a = np.eye(2) * self._PRIOR
        self._b = self._a @ self._x

    @property
    def thresholds(self) -> tuple[float, float]:
        return float(self._x[0]), float(self._x[1])

    def learn(
        self, before: NDArray[np.uint8], after: NDArray[np.uint8], counts: NDArray[np.int32]
    ) -> None:
        """Take in two frames, flat, and the OFF and ON events of each pixel between them."""
        low, high = 255 * _NEAR_LIMIT, 255 * (1 - _NEAR_LIMIT)
        used = (before > low) & (before < high) & (after < high) & counts.any(1)
        if not self._free or not used.any():
            return
        n = counts[used].astype(np.float64)
        bright = before[used] + _LOG_OFFSET
        moved = bright * np.exp(np.clip(n @ (self._x * (-1, 1)), -self._FARTHEST, self._FARTHEST))
        slope = moved[:, None] * n * (-1, 1) / 255
        wanted = (after[used] + _LOG_OFFSET - moved) / 255 + slope @ self._x
        weighted = slope / (1 + self._NOISE * n.sum(1))[:, None]
        self._a += weighted.T @ slope
        self._b += weighted.T @ wanted
        free = self._free
        fixed = [k for k in (0, 1) if k not in free]
        known = self._b[free] - self._a[np.ix_(free, fixed)] @ self._x[fixed]
        self._x[free] = np.clip(np.linalg.solve(self._a[np.ix_(free, free)], known), 0, 10)
