"""Textured planes and boxes in front of a moving camera, with known motion, flow and depth.

    scene = PlaneScene.random(seed=3)
    events = dvskit.emulate(scene)
    scene.truth(5_000).flow              # px/s at t = 5 ms, (H, W, 2)

Axes are those of computer vision: x right, y down, z forward; lengths are in meters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dvskit._checks import check_fields, check_known, check_number, check_whole, checked
from dvskit.errors import ConfigError, ShapeError
from dvskit.events import Size, as_size
from dvskit.scenes.discs import SteadyScene
from dvskit.scenes.plane_kernels import cast
from dvskit.streams import Intrinsics

_LEAST_ANGLE = 1e-8


class CameraPose(NamedTuple):
    """The place and velocity of a camera.

    rotation        (3, 3), columns are the camera's axes in the scene
    position        (3,) meters, in the scene
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
    positions  (n, 3) meters; default: the origin

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


Texture = NDArray[np.float32]
"""(rows, columns) brightness, 0 to 1."""

# The faces of a box: its normal, and the directions right and down, seen from outside.
_FACES = (
    ((0, 0, -1), (1, 0, 0), (0, 1, 0)), ((0, 0, 1), (-1, 0, 0), (0, 1, 0)),
    ((-1, 0, 0), (0, 0, -1), (0, 1, 0)), ((1, 0, 0), (0, 0, 1), (0, 1, 0)),
    ((0, -1, 0), (1, 0, 0), (0, 0, -1)), ((0, 1, 0), (1, 0, 0), (0, 0, 1)),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Patch:
    """A textured rectangle, seen from both sides.

    center   (3,) meters             right    (3,) from the center to the middle of the right side
    down     (3,) from the center to the middle of the lower side, at a right angle to `right`
    texture  (rows, columns) float32, 0 to 1, interpolated between pixels

    Raises ConfigError for sides of length 0 or not at a right angle, ShapeError for other textures.

        checks = np.indices((8, 8)).sum(0) % 2.0  # a board of 8x8 fields
        wall = dvskit.scenes.Patch(
            center=[0, 0, 2], right=[1, 0, 0], down=[0, 1, 0], texture=checks.astype(np.float32)
        )
        scene = dvskit.scenes.PlaneScene([wall], size=(64, 48))
    """

    center: Any
    right: Any
    down: Any
    texture: Any

    def __post_init__(self) -> None:
        for name in ("center", "right", "down"):
            vector = np.array(getattr(self, name), np.float64)
            if vector.shape != (3,) or not np.isfinite(vector).all():
                raise ConfigError(f"Patch: {name} must be three finite numbers, x y z in meters")
            object.__setattr__(self, name, vector)
        lengths = np.linalg.norm(self.right) * np.linalg.norm(self.down)
        if not lengths > 0 or abs(self.right @ self.down) > 1e-6 * lengths:
            raise ConfigError("Patch: right and down must be longer than 0 and at a right angle")
        texture = np.ascontiguousarray(self.texture, np.float32)
        if texture.ndim != 2 or min(texture.shape) < 2:
            raise ShapeError(
                f"Patch: a texture of shape {texture.shape} must be (rows, columns), at least 2x2"
            )
        object.__setattr__(self, "texture", texture)


def box(
    center: ArrayLike, sides_m: ArrayLike, textures: Sequence[Texture], turn: ArrayLike = (0, 0, 0)
) -> list[Patch]:
    """Return the six faces of a box: front, back, left, right, top, bottom.

    center, sides_m  (3,) meters               turn  rotation vector in radians
    textures         of the faces in that order; they repeat if there are fewer

        texture = np.random.default_rng(0).random((16, 16), dtype=np.float32)
        faces = dvskit.scenes.box([0, 0, 2], [0.5, 0.5, 0.5], [texture])  # 6 patches
        scene = dvskit.scenes.PlaneScene(faces, size=(64, 48))
    """
    rotation = rotation_of(np.array(turn, float))
    middle, half = np.array(center, float), np.array(sides_m, float) / 2
    return [
        Patch(
            middle + rotation @ (half * normal),
            rotation @ (half * right),
            rotation @ (half * down),
            textures[number % len(textures)],
        )
        for number, (normal, right, down) in enumerate(np.array(_FACES, float))
    ]


def noise_texture(
    rng: np.random.Generator, shape: tuple[int, int], *, grain_px: float = 4.0
) -> Texture:
    """Return smooth random blotches, about `grain_px` texture pixels wide, from 0.1 to 0.9."""
    noise = rng.standard_normal(shape).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), grain_px / 2)
    ranks = smooth.ravel().argsort().argsort().reshape(shape)  # all shades, equally often
    return (0.1 + 0.8 * ranks / max(ranks.size - 1, 1)).astype(np.float32)


def polygon_texture(rng: np.random.Generator, shape: tuple[int, int]) -> Texture:
    """Return filled polygons of random shades on gray, with anti-aliased edges.

    They are 16 to 70 texture pixels wide, and cover about half of it.
    """
    rows, columns = shape
    image = np.full((rows, columns), 0.5 * 255, np.uint8)
    for _ in range(max(4, rows * columns // 1500)):
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
        points = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(8, 35)
        points += rng.uniform((0, 0), (columns, rows))
        shade = int(rng.choice((rng.uniform(15, 90), rng.uniform(165, 240))))
        fixed = np.round(points * 16).astype(np.int32)
        cv2.fillPoly(image, [fixed], shade, cv2.LINE_AA, 4)
    return (image / 255).astype(np.float32)


Frame = NDArray[np.uint16]
SceneMotion = Literal["rotation", "translation", "free"]

_SIZE = Size(240, 180)
_WHITE = 65535
_NEAR = 1e-6  # of a direction, for derivatives of the distortion
_KEYFRAME_US = 100_000
_TEXELS = 200  # per meter at a distance of a meter, about one a pixel: finer textures flicker


class MotionTruth(NamedTuple):
    """The exact motion in a picture.

    flow           (H, W, 2) float32, velocity of each pixel's content, x and y in px/s; NaN where
                   nothing is seen
    depth          (H, W) float32, meters along the optical axis; infinite where nothing is seen
    pose           of the camera, with its angular velocity in rad/s

        scene = dvskit.scenes.PlaneScene.random(1, size=(64, 48))
        truth = scene.truth(100_000)
        truth.flow.shape, truth.depth.shape  # (48, 64, 2) px/s, (48, 64) meters
        truth.pose.angular_rad_s  # (3,) rad/s
    """

    flow: NDArray[np.float32]
    depth: NDArray[np.float32]
    pose: CameraPose


@dataclass(frozen=True, eq=False)
class PlaneScene(SteadyScene):
    """Textured rectangles in front of a moving camera; iterating gives (t_us, frame).

    patches      the rectangles; `box` makes six
    path         the motion of the camera
    camera       its lens; None for a focal length of 0.83 widths and no distortion
    size         of the frames, in pixels
    fps          frames per second
    duration_us  frames lie at 0 <= t < duration_us
    background   brightness where nothing stands, 0 to 1
    samples      rays across a pixel, and down: 1 draws sharp and fast, with jagged edges

    Frames are (H, W) uint16, 65535 is white. A frame depends on the fields and on its time alone.
    Raises ConfigError for values out of range, GeometryError for an impossible size.

        scene = dvskit.scenes.PlaneScene.random(1, "rotation", size=(64, 48), duration_us=20_000)
        t_us, frame = next(iter(scene))  # 0, (48, 64) uint16
        events = dvskit.emulate(scene)
    """

    patches: Sequence[Patch]
    path: CameraPath = field(default_factory=SteadyPath)
    camera: Intrinsics | None = None
    size: Size = _SIZE
    fps: int = checked(check_whole, 1, 100_000, default=1000)
    duration_us: int = checked(check_whole, default=500_000)
    background: float = checked(check_number, 0, 1, default=0.5)
    samples: int = checked(check_whole, 1, 8, default=2)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", as_size(self.size))
        check_fields(self)
        if not self.patches:
            raise ConfigError("PlaneScene: no patches; give at least one, or use PlaneScene.random")

    @classmethod
    def random(
        cls,
        seed: int,
        motion: SceneMotion = "free",
        *,
        size: tuple[int, int] = _SIZE,
        fps: int = 1000,
        duration_us: int = 500_000,
        boxes: int = 3,
        speed: float = 1.0,
    ) -> PlaneScene:
        """Return a wall with boxes in front of it, and a camera that moves smoothly, from a seed.

        motion  "rotation" about all axes, "translation", or "free": both
        boxes   their number
        speed   1 turns at about 1 rad/s and moves at about 0.5 m/s

        The same seed gives the same scene at every size and rate.
        """
        check_known("motion", motion, ("rotation", "translation", "free"))
        rng = np.random.default_rng((seed, 0x9C))
        wall = Patch((0, 0, 2.5), (4, 0, 0), (0, 3, 0), _texture(rng, (6, 8), 2.5))
        patches = [wall]
        for _ in range(boxes):
            place = rng.uniform((-0.7, -0.5, 1.1), (0.7, 0.5, 1.9))
            sides = rng.uniform(0.15, 0.45, 3)
            textures = [_texture(rng, (side, side), place[2]) for side in sides]
            patches += box(place, sides, textures, rng.uniform(-0.6, 0.6, 3))
        times = np.arange(-1, duration_us // _KEYFRAME_US + 3) * _KEYFRAME_US
        step = speed * _KEYFRAME_US * 1e-6
        turns, moves = (
            np.cumsum(rng.normal(0, rate * step, (len(times), 3)), 0) for rate in (1.0, 0.5)
        )
        path = KeyframePath(
            times, turns * (motion != "translation"), moves * (motion != "rotation")
        )
        return cls(patches, path, None, as_size(size), fps, duration_us)

    @property
    def lens(self) -> Intrinsics:
        """The camera's lens."""
        if self.camera is not None:
            return self.camera
        width, height = self.size
        focus = 0.83 * width
        return Intrinsics(focus, focus, (width - 1) / 2, (height - 1) / 2, 0, 0, 0, 0, 0)

    def frame(self, t_us: float) -> Frame:
        """Return the picture at a time, (H, W) uint16."""
        pose = self.path.pose(t_us)
        brightness = self._cast(pose, self._frame_rays)[0]
        rows = brightness.reshape(self.size.height, self.samples, self.size.width, self.samples)
        frame: Frame = np.round(rows.mean((1, 3)) * _WHITE).astype(np.uint16)
        return frame

    def truth(self, t_us: float) -> MotionTruth:
        """Return velocity, depth and pose at a time.

        With P the point seen and w, v the camera's velocities, dP/dt = -w x P - v.
        """
        pose = self.path.pose(t_us)
        x, y, depth = self._seen(pose)
        w1, w2, w3 = pose.angular_rad_s
        v1, v2, v3 = pose.linear_m_s
        with np.errstate(invalid="ignore"):
            slope_x = x * y * w1 - (1 + x * x) * w2 + y * w3 + (x * v3 - v1) / depth
            slope_y = (1 + y * y) * w1 - x * y * w2 - x * w3 + (y * v3 - v2) / depth
        ahead, behind = (
            np.stack(self.lens.pixels(x + sign * slope_x * _NEAR, y + sign * slope_y * _NEAR), -1)
            for sign in (1, -1)
        )
        flow = (ahead - behind) / (2 * _NEAR)
        flow[np.isinf(depth)] = np.nan
        return MotionTruth(flow.astype(np.float32), depth.astype(np.float32), pose)

    def moved(self, from_us: float, to_us: float) -> NDArray[np.float32]:
        """Return the displacement of each pixel's content between two times, (H, W, 2) in pixels.

        It is NaN where nothing is seen at `from_us`, and for points behind the camera at `to_us`.
        Points may be hidden by others at `to_us`.
        """
        before, after = self.path.pose(from_us), self.path.pose(to_us)
        x, y, depth = self._seen(before)
        with np.errstate(invalid="ignore", divide="ignore"):
            points = np.stack([x, y, np.ones_like(x)], -1) * depth[..., None]
            scene = points @ before.rotation.T + before.position
            seen = (scene - after.position) @ after.rotation
            there = self.lens.pixels(seen[..., 0] / seen[..., 2], seen[..., 1] / seen[..., 2])
        rows, columns = np.mgrid[: self.size.height, : self.size.width]
        moved: NDArray[np.float32] = np.stack(there, -1) - np.stack([columns, rows], -1)
        moved[np.isinf(depth) | ~(seen[..., 2] > 0)] = np.nan
        return moved.astype(np.float32)

    def _seen(self, pose: CameraPose) -> NDArray[np.float64]:
        """Return the directions x / z and y / z of pixels, and their depth: (3, H, W)."""
        rays = self._pixel_rays
        depth = self._cast(pose, rays)[1]
        seen: NDArray[np.float64] = np.stack([rays[:, 0], rays[:, 1], depth])
        return seen.reshape(3, self.size.height, self.size.width)

    @cached_property
    def _frame_rays(self) -> NDArray[np.float64]:
        return self._rays(self.samples)

    @cached_property
    def _pixel_rays(self) -> NDArray[np.float64]:
        return self._rays(1)

    def _rays(self, samples: int) -> NDArray[np.float64]:
        """Return the directions of all rays in camera axes, (H * W * samples^2, 3), z = 1."""
        across, down = ((np.arange(side * samples) + 0.5) / samples - 0.5 for side in self.size)
        y, x = np.meshgrid(down, across, indexing="ij")
        x, y, _ = self.lens.directions(x, y)
        return np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3)

    def _cast(
        self, pose: CameraPose, rays: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        turned = rays @ pose.rotation.T
        return cast(pose.position, turned, *self._laid_out, self.background)

    @cached_property
    def _laid_out(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float32]]:
        frames = [
            (p.center, p.right / (p.right @ p.right), p.down / (p.down @ p.down),
             np.cross(p.right, p.down))
            for p in self.patches
        ]  # fmt: skip
        sizes = [p.texture.size for p in self.patches]
        firsts = np.cumsum([0, *sizes[:-1]])
        shapes = [(first, *p.texture.shape) for first, p in zip(firsts, self.patches, strict=True)]
        texels = np.concatenate([p.texture.ravel() for p in self.patches])
        return np.array(frames, np.float64), np.array(shapes, np.int64), texels


def _texture(
    rng: np.random.Generator, sides_m: tuple[float, float], distance_m: float
) -> NDArray[np.float32]:
    rows, columns = (max(round(side * _TEXELS / distance_m), 8) for side in sides_m)
    if rng.random() < 0.5:
        return noise_texture(rng, (rows, columns), grain_px=float(rng.uniform(5, 12)))
    return polygon_texture(rng, (rows, columns))
