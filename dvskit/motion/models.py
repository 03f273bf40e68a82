"""Models of the motion in a window: what their parameters are, and how they move events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError, check_known
from dvskit.events import Events, Size
from dvskit.motion import contrast_kernels as kernels
from dvskit.streams import Intrinsics

Column = NDArray[np.float32]
Parameters = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Places:
    """Places on the sensor, in pixels: columns (n,) float32."""

    x: Column
    y: Column


class MotionModel(ABC):
    """How the events of a window move.

    parameters  names of the parameters, with their units
    s           (n,) float32, seconds of each event from the reference time
    """

    parameters: ClassVar[tuple[str, ...]]

    def __init__(self, events: Events, reference_us: float) -> None:
        self.s = ((events.t - reference_us) * 1e-6).astype(np.float32)

    @abstractmethod
    def moved(self, parameters: Parameters) -> Places:
        """Return where the events would be at the reference time."""

    @abstractmethod
    def pulled(self, parameters: Parameters, places: Places, slopes: Places) -> Parameters:
        """Return the derivatives of a function of `places`, from those by x and y: `slopes`."""

    @abstractmethod
    def velocities(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the velocities x and y of each event per unit of each parameter, (n, k), at 0."""


class Translation(MotionModel):
    """All events move alike: vx, vy in px/s."""

    parameters = ("vx_px_s", "vy_px_s")

    def __init__(self, events: Events, reference_us: float) -> None:
        super().__init__(events, reference_us)
        self._x, self._y = events.x.astype(np.float32), events.y.astype(np.float32)

    def moved(self, parameters: Parameters) -> Places:
        """Return where the events would be at the reference time."""
        to_x, to_y = np.empty_like(self._x), np.empty_like(self._x)
        kernels.move_steadily(self._x, self._y, self.s, parameters, to_x, to_y)
        return Places(to_x, to_y)

    def pulled(self, parameters: Parameters, places: Places, slopes: Places) -> Parameters:
        """Return the derivatives by vx and vy."""
        pulled: Parameters = kernels.pull_steadily(self.s, slopes.x, slopes.y)
        return pulled

    def velocities(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the velocities per unit of each parameter."""
        one, none = np.ones_like(self.s), np.zeros_like(self.s)
        return np.stack([one, none], 1), np.stack([none, one], 1)


class Similarity(MotionModel):
    """Events move, turn about the middle of the sensor, and zoom from it.

    The turn is in rad/s from x to y, clockwise in the picture; the zoom in 1/s, above 0 for growth.
    """

    parameters = ("vx_px_s", "vy_px_s", "turn_rad_s", "zoom_1_s")

    def __init__(self, events: Events, reference_us: float) -> None:
        super().__init__(events, reference_us)
        width, height = events.size
        self._middle = np.float32((width - 1) / 2), np.float32((height - 1) / 2)
        self._x = events.x.astype(np.float32) - self._middle[0]
        self._y = events.y.astype(np.float32) - self._middle[1]

    def moved(self, parameters: Parameters) -> Places:
        """Return where the events would be at the reference time."""
        to_x, to_y = np.empty_like(self._x), np.empty_like(self._x)
        kernels.move_similar(self._x, self._y, self.s, parameters, to_x, to_y)
        return Places(to_x + self._middle[0], to_y + self._middle[1])

    def pulled(self, parameters: Parameters, places: Places, slopes: Places) -> Parameters:
        """Return the derivatives by all parameters."""
        pulled: Parameters = kernels.pull_similar(
            self._x, self._y, self.s, parameters, slopes.x, slopes.y
        )
        return pulled

    def velocities(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the velocities per unit of each parameter."""
        one, none = np.ones_like(self.s), np.zeros_like(self.s)
        return (
            np.stack([one, none, -self._y, self._x], 1),
            np.stack([none, one, self._x, self._y], 1),
        )


class Rotation(MotionModel):
    """The camera turns: angular velocity about its axes x (right), y (down) and z (ahead), rad/s.

    The warp is exact: undistorted directions are rotated and divided by z.
    """

    parameters = ("wx_rad_s", "wy_rad_s", "wz_rad_s")

    def __init__(self, events: Events, reference_us: float, camera: Intrinsics) -> None:
        super().__init__(events, reference_us)
        directions = _directions(events.size, camera)
        at = events.y.astype(np.intp), events.x.astype(np.intp)
        self._x, self._y = directions[0][at], directions[1][at]
        self._lens = np.array(camera[:4], np.float64)

    def moved(self, parameters: Parameters) -> Places:
        """Return where the events would be at the reference time, without lens distortion."""
        to_x, to_y = np.empty_like(self._x), np.empty_like(self._x)
        kernels.move_turned(self._x, self._y, self.s, parameters, self._lens, to_x, to_y)
        return Places(to_x, to_y)

    def pulled(self, parameters: Parameters, places: Places, slopes: Places) -> Parameters:
        """Return the derivatives by the angular velocity."""
        pulled: Parameters = kernels.pull_turned(
            places.x, places.y, self.s, parameters, self._lens, slopes.x, slopes.y
        )
        return pulled

    def velocities(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the velocities per unit of each parameter."""
        x, y = self._x, self._y
        fx, fy = np.float32(self._lens[0]), np.float32(self._lens[1])
        return (
            fx * np.stack([x * y, -(1 + x * x), y], 1),
            fy * np.stack([1 + y * y, -x * y, -x], 1),
        )


def _directions(size: Size, camera: Intrinsics) -> NDArray[np.float32]:
    """Return the undistorted directions x / z and y / z of all pixels, (2, H, W); NaN for none."""
    y, x = np.mgrid[: size.height, : size.width].astype(np.float64)
    ideal_x, ideal_y, found = camera.directions(x, y)
    directions = np.stack([ideal_x, ideal_y]).astype(np.float32)
    directions[:, ~found] = np.nan
    return directions


MODELS: dict[str, Any] = {
    "translation": Translation,
    "rotation": Rotation,
    "similarity": Similarity,
}


def model_of(
    name: str, events: Events, reference_us: float, camera: Intrinsics | None
) -> MotionModel:
    """Return a model of events by its name. Raises ConfigError, for a rotation without camera."""
    check_known("model", name, MODELS)
    if name != "rotation":
        model: MotionModel = MODELS[name](events, reference_us)
        return model
    if camera is None:
        raise ConfigError(
            "a rotation needs the calibration of the camera: pass camera=read_camera(file) "
            "(--camera FILE), with fx fy cx cy k1 k2 p1 p2 k3"
        )
    return Rotation(events, reference_us, camera)
