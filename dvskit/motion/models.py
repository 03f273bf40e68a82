"""Models of the motion in a window: what their parameters are, and how they move events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_known
from dvskit.errors import ConfigError
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
    """How events move.

    parameters  names of the parameters, with their units
    s           (n,) float32, seconds of each event from the reference time
    """

    parameters: ClassVar[tuple[str, ...]]

    def __init__(
        self, x: Column, y: Column, s: Column, size: Size, camera: Intrinsics | None
    ) -> None:
        self._x, self._y, self.s, self._size, self._camera = x, y, s, size, camera

    def border(self, s: float) -> MotionModel:
        """Return the model of events at the border of the sensor, in turn, at a time."""
        along, down = (np.arange(0.0, side - 0.5, max(1, side // 16)) for side in self._size)
        right, low = self._size.width - 1.0, self._size.height - 1.0
        x = np.concatenate([along, np.full_like(down, right), right - along, np.zeros_like(down)])
        y = np.concatenate([np.zeros_like(along), down, np.full_like(along, low), low - down])
        at = np.full(len(x), s, np.float32)
        return type(self)(x.astype(np.float32), y.astype(np.float32), at, self._size, self._camera)

    @abstractmethod
    def moved(self, parameters: Parameters) -> Places:
        """Return where the events would be at the reference time."""

    @abstractmethod
    def pulled(self, parameters: Parameters, places: Places, slopes: Places) -> Parameters:
        """Return the derivatives of a function of `places`, from those by x and y: `slopes`."""

    @abstractmethod
    def velocities(self) -> NDArray[np.float32]:
        """Return the velocities x and y of each event per unit of each parameter, (2, k, n).

        They are those of a motion that begins: of first order.
        """

    @abstractmethod
    def homography(self, parameters: Parameters, s: float) -> NDArray[np.float64]:
        """Return the matrix (3, 3) that moves pixels without distortion back by s seconds."""

    def checked(self, parameters: Parameters) -> Parameters:
        """Return parameters as an array. Raises ConfigError unless there are k finite numbers."""
        given = np.asarray(parameters, np.float64)
        if given.shape != (len(self.parameters),) or not np.isfinite(given).all():
            raise ConfigError(
                f"start must be {len(self.parameters)} finite numbers: {', '.join(self.parameters)}"
            )
        return given


class Translation(MotionModel):
    """All events move alike: vx, vy in px/s."""

    parameters = ("vx_px_s", "vy_px_s")

    def moved(self, parameters: Parameters) -> Places:
        """Return where the events would be at the reference time."""
        to_x, to_y = np.empty_like(self._x), np.empty_like(self._x)
        kernels.move_steadily(self._x, self._y, self.s, parameters, to_x, to_y)
        return Places(to_x, to_y)

    def pulled(self, parameters: Parameters, places: Places, slopes: Places) -> Parameters:
        """Return the derivatives by vx and vy."""
        pulled: Parameters = kernels.pull_steadily(self.s, slopes.x, slopes.y)
        return pulled

    def velocities(self) -> NDArray[np.float32]:
        """Return the velocities per unit of each parameter."""
        one, none = np.ones_like(self.s), np.zeros_like(self.s)
        return np.array([[one, none], [none, one]])

    def homography(self, parameters: Parameters, s: float) -> NDArray[np.float64]:
        """Return the matrix of a shift."""
        return _shift(*(-s * parameters))


class Similarity(MotionModel):
    """Events move, turn about the middle of the sensor, and zoom from it.

    The turn is in rad/s from x to y, clockwise in the picture; the zoom in 1/s, above 0 for growth.
    """

    parameters = ("vx_px_s", "vy_px_s", "turn_rad_s", "zoom_1_s")

    def __init__(
        self, x: Column, y: Column, s: Column, size: Size, camera: Intrinsics | None
    ) -> None:
        self._middle = np.float32((size.width - 1) / 2), np.float32((size.height - 1) / 2)
        super().__init__(x - self._middle[0], y - self._middle[1], s, size, camera)

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

    def velocities(self) -> NDArray[np.float32]:
        """Return the velocities per unit of each parameter."""
        one, none = np.ones_like(self.s), np.zeros_like(self.s)
        return np.array([[one, none, -self._y, self._x], [none, one, self._x, self._y]])

    def homography(self, parameters: Parameters, s: float) -> NDArray[np.float64]:
        """Return the matrix of a turn and zoom about the middle, and a shift."""
        vx, vy, turn, zoom = -s * parameters
        along, across = np.exp(zoom) * np.cos(turn), np.exp(zoom) * np.sin(turn)
        turned = np.array([[along, -across, 0], [across, along, 0], [0, 0, 1]])
        x, y = (float(each) for each in self._middle)
        return np.asarray(_shift(x + vx, y + vy) @ turned @ _shift(-x, -y))


class Rotation(MotionModel):
    """The camera turns: angular velocity about its axes x (right), y (down) and z (ahead), rad/s.

    The warp is exact: undistorted directions are rotated and divided by z.
    """

    parameters = ("wx_rad_s", "wy_rad_s", "wz_rad_s")

    def __init__(
        self, x: Column, y: Column, s: Column, size: Size, camera: Intrinsics | None
    ) -> None:
        check_camera("rotation", camera)
        assert camera is not None
        directions, at = _directions(size, camera), (y.astype(np.intp), x.astype(np.intp))
        super().__init__(directions[0][at], directions[1][at], s, size, camera)
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

    def velocities(self) -> NDArray[np.float32]:
        """Return the velocities per unit of each parameter."""
        x, y = self._x, self._y
        fx, fy = np.float32(self._lens[0]), np.float32(self._lens[1])
        along, across = [x * y, -(1 + x * x), y], [1 + y * y, -x * y, -x]
        return np.array([fx * np.array(along), fy * np.array(across)])

    def homography(self, parameters: Parameters, s: float) -> NDArray[np.float64]:
        """Return K R K^-1."""
        assert self._camera is not None
        matrix = self._camera.matrix
        return np.asarray(matrix @ cv2.Rodrigues(s * parameters)[0] @ np.linalg.inv(matrix))


def _shift(x: float, y: float) -> NDArray[np.float64]:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


@lru_cache(maxsize=2)
def _directions(size: Size, camera: Intrinsics) -> NDArray[np.float32]:
    """Return the undistorted directions x / z and y / z of all pixels, (2, H, W); NaN for none."""
    y, x = np.mgrid[: size.height, : size.width].astype(np.float64)
    ideal_x, ideal_y, found = camera.directions(x, y)
    directions = np.stack([ideal_x, ideal_y]).astype(np.float32)
    directions[:, ~found] = np.nan
    directions.flags.writeable = False
    return directions


MODELS: dict[str, type[MotionModel]] = {
    "translation": Translation,
    "rotation": Rotation,
    "similarity": Similarity,
}


def check_camera(name: str, camera: Intrinsics | None) -> None:
    """Raise ConfigError for a rotation without the calibration of the camera."""
    if name == "rotation" and camera is None:
        raise ConfigError(
            "a rotation needs the calibration of the camera: pass camera=, such as read_camera of "
            "a file with fx fy cx cy k1 k2 p1 p2 k3"
        )


def model_of(
    name: str, events: Events, reference_us: float, camera: Intrinsics | None
) -> MotionModel:
    """Return a model of events by its name. Raises ConfigError, for a rotation without camera."""
    check_known("model", name, MODELS)
    x, y = events.x.astype(np.float32), events.y.astype(np.float32)
    s = ((events.t - reference_us) * 1e-6).astype(np.float32)
    return MODELS[name](x, y, s, events.size, camera)
