"""The complementary filter: log intensity summed from events, held near frames or mid gray."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields, check_number, checked
from dvskit.emulator.params import EmulatorParams, as_params
from dvskit.errors import ShapeError
from dvskit.events import Events, Size
from dvskit.reconstruction.image_kernels import (
    CELL,
    OFFSET,
    add_squares,
    brightness,
    count_events,
    leaky_sums,
    start_from_frame,
)

Image = NDArray[np.float32]

_WITH_FRAMES_HZ, _ALONE_HZ = 8.0, 1.0
_THRESHOLD = 0.15  # until frames show another; low, since noise is summed too
_NEVER = -(1 << 61)  # microseconds; before all events
_GRAY = 0.42  # of white: without frames
_NEAR_LIMIT = 0.05  # share of white within which a frame counts as saturated
_EDGE = 0.2  # brightness; larger differences between neighbors are kept
_SLOWEST = 0.1  # share of the cutoff at saturation
_VALUES = np.arange(256)
_LOGS = np.log(_VALUES + OFFSET).astype(np.float32)
_SHARES = _SLOWEST + (1 - _SLOWEST) * np.minimum(
    np.minimum(_VALUES, 255 - _VALUES) / (255 * _NEAR_LIMIT), 1
)  # of the cutoff, by the value of a frame


@dataclass(frozen=True, slots=True)
class ComplementaryFilter:
    """Log intensity from events, pulled towards the latest frame, or mid gray without frames.

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
    white the frame is less certain: the cutoff falls linearly to a tenth. With `carried`, F is the
    frame plus the events since, so that the pull corrects the errors of earlier events alone;
    without it, the filter is the published one. A first frame sets L.

    Thresholds are estimated by least squares (a Gauss-Newton step for each frame) of the change of
    brightness between frames, given the ON and OFF events of each pixel.

    Raises ConfigError for values out of range.

        method = dvskit.reconstruction.ComplementaryFilter(cutoff_hz=4, threshold_on=0.2)
        recording = dvskit.open_events("davis").between(0, 300_000)  # has frames
        times = dvskit.reconstruction.SteadyTimes(fps=30)
        for t_us, image in dvskit.reconstruction.reconstruct(recording, method, times):
            image  # (90, 120) uint8
    """

    cutoff_hz: float | None = checked(check_number, 0, 1e6, default=None)
    threshold_on: float | None = checked(check_number, 0, 10, default=None)
    threshold_off: float | None = checked(check_number, 0, 10, default=None)
    uses_frames: bool = True
    carried: bool = True
    sensor: EmulatorParams | str | None = None
    smooth_px: float = checked(check_number, 0, 10, default=1.0)

    def __post_init__(self) -> None:
        check_fields(self)
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
        self._frame: NDArray[Any] = np.full(len(self._cells), _GRAY * 255, np.float32)
        self._framed = False
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
        if not (self._framed and self._carried):
            off, on = self.thresholds
            leaky_sums(columns, width, (-off, on), self._cells)
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
        flat = frame.flatten()
        if self._framed:
            self._fit.learn(self._frame, flat, self._counts)
            before = self._frame
        else:
            before = flat
            self._cells["level"], self._counts[:] = 0, 0
        rates = (self._rate(_WITH_FRAMES_HZ) * _SHARES).astype(np.float32)
        start_from_frame(t_us, self._cells, self._counts, self._steps(), before, flat, _LOGS, rates)
        self._frame, self._framed, self._last_us = flat, True, t_us

    def image(self, t_us: int) -> Image:
        """Return the brightness at `t_us`, (height, width), 0 black to 1 white."""
        shape = (self._size.height, self._size.width)
        flat, changed = np.empty(len(self._cells), np.float32), np.empty(len(self._cells), np.uint8)
        brightness(t_us, self._cells, self._counts, self._steps(), self._frame, flat, changed)
        seen: Image = flat.reshape(shape)
        if self._smooth_px > 0:
            diameter = 2 * math.ceil(2 * self._smooth_px) + 1
            smooth = cv2.bilateralFilter(seen, diameter, _EDGE, self._smooth_px)
            cv2.copyTo(smooth, changed.reshape(shape), seen)
        return seen

    def _steps(self) -> Image:
        """Return what an OFF and an ON event since the frame add; 0 if the level has it."""
        off, on = self.thresholds
        return np.array([-off, on] if self._framed and self._carried else [0, 0], np.float32)


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
        if not self._free:
            return
        limits = (255 * _NEAR_LIMIT, 255 * (1 - _NEAR_LIMIT), self._FARTHEST)
        add_squares(before, after, counts, self._x, limits, self._NOISE, self._a, self._b)
        free = self._free
        fixed = [k for k in (0, 1) if k not in free]
        known = self._b[free] - self._a[np.ix_(free, fixed)] @ self._x[fixed]
        self._x[free] = np.clip(np.linalg.solve(self._a[np.ix_(free, free)], known), 0, 10)
