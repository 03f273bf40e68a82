"""The motion of a camera: its pose and its velocity at each time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError

_LEAST_ANGLE = 1e-8


class CameraPose(NamedTuple):
    """The place and velocity of a camera.

    rotation        (3, 3), columns are the camera's axes in the scene
    position        (3,) metres, in the scene
    angular_rad_s   (3,) angular velocity of the camera, about its own axes
    linear_m_s      (3,) velocity of the camera, along its own axes
    """

    rotation: NDArray[np.float64]
    position: NDArray[np.float64]
    angular_rad_s: NDArray[np.float64]
    linear_m_s: NDArray[np.float64]


class CameraPath(Protocol):
    """The motion of a camera."""

    def pose(self, t_us: float) -> CameraPose:
        """Return the pose at a time."""
        ...


@dataclass(frozen=True)
class SteadyPath:
    """A camera that turns and moves at constant velocity along its own axes, from the origin.

    angular_rad_s   about its axes x, y, z
    linear_m_s      along its axes x, y, z

    The pose at time t is the exponential of the velocity times t (a screw motion).

        path = dvskit.scenes.SteadyPath(angular_rad_s=(0.0, 0.5, 0.0))
        path.pose(1_000_000).rotation  # half a radian about y
    """

    angular_rad_s: tuple[float, float, float] = (0.0, 0.0, 0.0)
    linear_m_s: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def pose(self, t_us: float) -> CameraPose:
        """Return the pose at a time."""
        angular, linear = np.array(self.angular_rad_s, float), np.array(self.linear_m_s, float)
        t_s = t_us * 1e-6
        turn = angular * t_s
        position = _screw(turn) @ (linear * t_s)
        return CameraPose(rotation_of(turn), position, angular, linear)


@dataclass(frozen=True, eq=False)
class KeyframePath:
    """A smooth path through poses at given times; it rests before the first and after the last.

    t_us       increasing times, at least two
    rotations  (n, 3) rotation vectors in radians
    positions  (n, 3) metres; default: the origin

    Splines with continuous acceleration pass through them (scipy's RotationSpline, CubicSpline).
    Raises ConfigError.

        path = dvskit.scenes.KeyframePath(
            t_us=[0, 250_000, 500_000], rotations=[[0, 0, 0], [0, 0.1, 0], [0, 0, 0.1]]
        )
        scene = dvskit.scenes.PlaneScene(dvskit.scenes.PlaneScene.random(1).patches, path)
        path.pose(250_000).angular_rad_s  # (3,) rad/s
    """

    t_us: Any
    rotations: Any
    positions: Any = None

    def __post_init__(self) -> None:
        times = np.asarray(self.t_us, float)
        if times.ndim != 1 or len(times) < 2 or not (np.diff(times) > 0).all():
            raise ConfigError("KeyframePath: t_us must be two or more increasing times")
        for name in ("rotations", "positions"):
            given = getattr(self, name)
            table = np.zeros((len(times), 3)) if given is None else np.asarray(given, float)
            if table.shape != (len(times), 3) or not np.isfinite(table).all():
                raise ConfigError(
                    f"KeyframePath: {name} of shape {table.shape} must be finite numbers "
                    f"({len(times)}, 3), a row for each time"
                )
            object.__setattr__(self, name, table)
        object.__setattr__(self, "t_us", times)

    @cached_property
    def _splines(self) -> tuple[Any, Any]:
        from scipy.interpolate import CubicSpline
        from scipy.spatial.transform import Rotation, RotationSpline

        t_s = self.t_us * 1e-6
        turn = RotationSpline(t_s, Rotation.from_rotvec(self.rotations))
        return turn, CubicSpline(t_s, self.positions)

    def pose(self, t_us: float) -> CameraPose:
        """Return the pose at a time."""
        turn, move = self._splines
        t_s = float(np.clip(t_us, self.t_us[0], self.t_us[-1])) * 1e-6
        rotation = turn(t_s).as_matrix()
        moving = float(self.t_us[0] <= t_us <= self.t_us[-1])
        return CameraPose(
            rotation, move(t_s), moving * turn(t_s, 1), moving * rotation.T @ move(t_s, 1)
        )


def cross_matrix(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix of the cross product with a vector, (3, 3)."""
    x, y, z = vector
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]], np.float64)


def rotation_of(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation (3, 3) by a rotation vector."""
    return np.asarray(cv2.Rodrigues(vector)[0], np.float64)


def _screw(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the rotations from none to `vector`, (3, 3)."""
    angle = float(np.linalg.norm(vector))
    cross = cross_matrix(vector)
    if angle < _LEAST_ANGLE:
        return np.asarray(np.eye(3) + cross / 2)
    first, second = (1 - np.cos(angle)) / angle**2, (angle - np.sin(angle)) / angle**3
    mean: NDArray[np.float64] = np.eye(3) + first * cross + second * (cross @ cross)
    return mean
