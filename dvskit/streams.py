"""Data of cameras besides events: triggers, IMU samples, frames, labels, and intrinsics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from dvskit.events.columns import within
from dvskit.events.window import check_window

STANDARD_GRAVITY = 9.80665  # m/s^2 in 1 g
_STEPS = 20  # of Newton's method; five of OpenCV's iteration are too few at wide angles
_NEAR = 1e-9  # in units of the focal length


class _Timed(ABC):
    """Columns of equal length, the slots of a dataclass; the first, t, is sorted."""

    __slots__ = ()
    t: NDArray[np.int64]

    @classmethod
    @abstractmethod
    def empty(cls) -> Self:
        """Return columns of length 0."""

    @classmethod
    def in_order(cls, parts: Iterable[Self]) -> Self:
        """Join the columns of all parts and sort them by time, stable."""
        joined = [cls.empty(), *parts]
        order = np.argsort(np.concatenate([part.t for part in joined]), kind="stable")
        return cls(
            *(np.concatenate(column)[order] for column in zip(*map(_columns, joined), strict=True))
        )

    def between(self, start_us: int | None, stop_us: int | None) -> Self:
        """Return the rows with start_us <= t < stop_us; None leaves a side open."""
        return self.part(within(self.t, *check_window(start_us, stop_us)))

    def part(self, which: slice) -> Self:
        """Return some of the rows, as views."""
        return type(self)(*(column[which] for column in _columns(self)))

    def __len__(self) -> int:
        return len(self.t)


def _columns(timed: _Timed) -> list[NDArray[Any]]:
    names: tuple[str, ...] = timed.__slots__
    return [getattr(timed, name) for name in names]


@dataclass(frozen=True, slots=True, eq=False)
class Triggers(_Timed):
    """Edges on a camera's external inputs: columns of equal length.

    t int64 microseconds, non-decreasing; id int16 input number; p bool, True for a rising edge.

        triggers = dvskit.Triggers(
            t=np.array([1_000, 2_000]), id=np.array([0, 0], np.int16), p=np.array([True, False])
        )
        with dvskit.formats.open_sink("triggered.raw", (128, 128)) as sink:
            sink.write_triggers(triggers)
            sink.write(dvskit.load_events("events.raw"))
        dvskit.open_events("triggered.raw").triggers().t    # [1000, 2000]
    """

    t: NDArray[np.int64]
    id: NDArray[np.int16]
    p: NDArray[np.bool_]

    @classmethod
    def empty(cls) -> Self:
        """Return no triggers."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int16), np.empty(0, np.bool_))


@dataclass(frozen=True, slots=True, eq=False)
class Imu(_Timed):
    """Samples of an inertial measurement unit: columns of equal length n.

    t              int64 (n,)      microseconds, non-decreasing
    accelerometer  float32 (n, 3)  x, y, z in units of g
    gyroscope      float32 (n, 3)  x, y, z in degrees per second
    temperature    float32 (n,)    degrees Celsius
    magnetometer   float32 (n, 3)  x, y, z in microtesla

    Quantities that a camera does not measure are NaN. Axes are the camera's own.

        samples = dvskit.open_events("davis").imu()
        samples.gyroscope.shape, samples.gyroscope.dtype     # (n, 3), float32
        first = samples.between(0, 100_000)
        speed = np.linalg.norm(first.gyroscope, axis=1)      # degrees per second
    """

    t: NDArray[np.int64]
    accelerometer: NDArray[np.float32]
    gyroscope: NDArray[np.float32]
    temperature: NDArray[np.float32]
    magnetometer: NDArray[np.float32]

    @classmethod
    def empty(cls) -> Self:
        """Return no samples."""
        three = np.empty((0, 3), np.float32)
        return cls(np.empty(0, np.int64), three, three, np.empty(0, np.float32), three)

    @classmethod
    def from_si(
        cls, t: NDArray[np.int64], acceleration: NDArray[np.float64], velocity: NDArray[np.float64]
    ) -> Imu:
        """Return samples from (n, 3) m/s^2 and rad/s, sorted by time; other quantities are NaN."""
        with np.errstate(over="ignore", invalid="ignore"):  # damaged values may be of any magnitude
            return cls(
                t,
                (acceleration / STANDARD_GRAVITY).astype(np.float32),
                np.degrees(velocity).astype(np.float32),
                np.full(len(t), np.nan, np.float32),
                np.full((len(t), 3), np.nan, np.float32),
            )


class Frame(NamedTuple):
    """An image taken by the same sensor.

    t_us   start of the exposure, or the only time of the image, in microseconds
    stop_us  end of the exposure; t_us if unknown
    image  uint8 or uint16, (H, W) gray or (H, W, 3) RGB; row 0 is the top row
    x, y   position of its upper left pixel on the sensor

        for frame in dvskit.open_events("davis").frames():
            middle_us = (frame.t_us + frame.stop_us) // 2
            image = frame.image    # (90, 120) uint8
    """

    t_us: int
    stop_us: int
    image: NDArray[Any]
    x: int = 0
    y: int = 0


class Intrinsics(NamedTuple):
    """A pinhole camera with lens distortion (Brown 1971), as in OpenCV's calibration.

    fx, fy          focal lengths, pixels
    cx, cy          the principal point, pixels: (0, 0) is the middle of the upper left pixel
    k1, k2, k3      radial distortion
    p1, p2          tangential distortion

        camera = dvskit.open_events("davis").intrinsics()
        camera.matrix, camera.distortion                # (3, 3) and (5,) float64
        x, y = np.array([0.0, 60.0]), np.array([0.0, 45.0])
        right, down, known = camera.directions(x, y)    # undistorted: x / z and y / z
    """

    fx: float
    fy: float
    cx: float
    cy: float
    k1: float
    k2: float
    p1: float
    p2: float
    k3: float

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The camera matrix, (3, 3)."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float64)

    @property
    def distortion(self) -> NDArray[np.float64]:
        """The coefficients k1, k2, p1, p2, k3, in OpenCV's order."""
        return np.array(self[4:], np.float64)

    def directions(
        self, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Return the directions x / z, y / z that pixels see, undistorted, and where they exist.

        x, y are float64 arrays of one shape. Newton's method starts at the distorted directions.
        Directions beyond the turning point of the distortion do not exist.
        """
        seen_x, seen_y = (x - self.cx) / self.fx, (y - self.cy) / self.fy
        x, y = seen_x.copy(), seen_y.copy()
        with np.errstate(all="ignore"):  # where there is no such direction
            for _ in range(_STEPS):
                off_x, off_y, xx, xy, yy = self._distorted(x, y)
                off_x, off_y = off_x - seen_x, off_y - seen_y
                area = xx * yy - xy * xy
                found = (np.hypot(off_x, off_y) < _NEAR) & (area > 0) & (xx > 0)
                if found.all():
                    break
                x -= (yy * off_x - xy * off_y) / area
                y -= (xx * off_y - xy * off_x) / area
        return x, y, found

    def pixels(
        self, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the pixels at which directions x / z, y / z are seen, with distortion."""
        seen_x, seen_y = self._distorted(x, y)[:2]
        return seen_x * self.fx + self.cx, seen_y * self.fy + self.cy

    def _distorted(
        self, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], ...]:
        """Return the distorted directions of x, y, and the derivatives: xx, xy = yx, yy."""
        k1, k2, k3, p1, p2 = self.k1, self.k2, self.k3, self.p1, self.p2
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        slope = 2 * (k1 + r2 * (2 * k2 + r2 * 3 * k3))
        return (
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            radial + slope * x * x + 2 * p1 * y + 6 * p2 * x,
            slope * x * y + 2 * p1 * x + 2 * p2 * y,
            radial + slope * y * y + 6 * p1 * y + 2 * p2 * x,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Names of time spans: columns of equal length.

    start_us, stop_us  int64 microseconds, half-open, sorted by start
    name               the content of each span

        labels = dvskit.Labels(
            np.array([0, 500_000]), np.array([400_000, 900_000]), ("wave", "clap")
        )
        labels.between(450_000, None).name    # ('clap',)
    """

    start_us: NDArray[np.int64]
    stop_us: NDArray[np.int64]
    name: tuple[str, ...]

    @classmethod
    def empty(cls) -> Self:
        """Return no labels."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), ())

    def between(self, start_us: int | None, stop_us: int | None) -> Labels:
        """Return the labels of spans that overlap start_us..stop_us; None leaves a side open."""
        start_us, stop_us = check_window(start_us, stop_us)
        chosen = np.ones(len(self), np.bool_)
        if start_us is not None:
            chosen &= self.stop_us > start_us
        if stop_us is not None:
            chosen &= self.start_us < stop_us
        return Labels(
            self.start_us[chosen],
            self.stop_us[chosen],
            tuple(name for name, keep in zip(self.name, chosen.tolist(), strict=True) if keep),
        )

    def __len__(self) -> int:
        return len(self.name)
