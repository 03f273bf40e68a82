"""Planes and boxes in front of a moving camera: frames, and their exact motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields, check_known, check_number, check_whole, checked
from dvskit.errors import ConfigError
from dvskit.events import Size, as_size
from dvskit.scenes.planes.casting_kernels import cast
from dvskit.scenes.planes.patches import Patch, box, noise_texture, polygon_texture
from dvskit.scenes.planes.path import CameraPath, CameraPose, KeyframePath, SteadyPath
from dvskit.scenes.steady import SteadyScene
from dvskit.streams import Intrinsics

Frame = NDArray[np.uint16]
SceneMotion = Literal["rotation", "translation", "free"]

_SIZE = Size(240, 180)
_WHITE = 65535
_NEAR = 1e-6  # of a direction, for derivatives of the distortion
_KEYFRAME_US = 100_000
_TEXELS = 200  # per metre at a distance of a metre, about one a pixel: finer textures flicker


class MotionTruth(NamedTuple):
    """The exact motion in a picture.

    flow           (H, W, 2) float32, velocity of each pixel's content, x and y in px/s; NaN where
                   nothing is seen
    depth          (H, W) float32, metres along the optical axis; infinite where nothing is seen
    pose           of the camera, with its angular velocity in rad/s

        scene = dvskit.scenes.PlaneScene.random(1, size=(64, 48))
        truth = scene.truth(100_000)
        truth.flow.shape, truth.depth.shape  # (48, 64, 2) px/s, (48, 64) metres
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
            (p.centre, p.right / (p.right @ p.right), p.down / (p.down @ p.down),
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
