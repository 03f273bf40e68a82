"""A photograph that moves behind cut-out photographs: frames, and their exact flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields, check_whole, checked
from dvskit.errors import ConfigError, ShapeError
from dvskit.events import Size, as_size
from dvskit.scenes.photographs.exposure import PhotoExposure
from dvskit.scenes.photographs.path import LayerPath
from dvskit.scenes.steady import SteadyScene

Frame = NDArray[np.uint16]
Image = NDArray[np.float32]

_SIZE = Size(128, 128)
_WHITE = 65535
_STEP_PX = 0.7  # the furthest motion between frames of a random scene
_FPS = (100, 2000)
_SMOOTH = 0.5  # share of resting backgrounds without fine texture
_HALF = 0.5  # of the cover, from which on a layer is seen


@dataclass(frozen=True, eq=False)
class PhotoLayer:
    """A photograph on a path.

    image  (rows, columns) float32, 0 black to 1 white, at about the scale of the frames
    path   moves the middle of the image, from the middle of the frame on, and turns and zooms
           around it
    cover  (rows, columns) float32, 0 to 1, where the layer hides those behind it; None: everywhere,
           and the image goes on in mirrored copies

    Raises ShapeError.

        path = dvskit.scenes.LayerPath(t_s=[0.0, 0.5], start=[0] * 4, rates=np.zeros((1, 2, 4)))
        image = np.random.default_rng(0).random((100, 150), dtype=np.float32)
        layer = dvskit.scenes.PhotoLayer(image, path)
        scene = dvskit.scenes.LayerScene([layer], size=dvskit.Size(64, 48))
    """

    image: Any
    path: LayerPath
    cover: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "image", np.ascontiguousarray(self.image, np.float32))
        if self.image.ndim != 2 or min(self.image.shape) < 2:
            raise ShapeError(
                f"PhotoLayer: an image of shape {self.image.shape} must be (rows, columns), at "
                "least 2x2"
            )
        if self.cover is not None:
            object.__setattr__(self, "cover", np.ascontiguousarray(self.cover, np.float32))
            if self.cover.shape != self.image.shape:
                raise ShapeError(
                    f"PhotoLayer: cover has shape {self.cover.shape}, image {self.image.shape}"
                )

    def affine(self, t_us: float, size: Size) -> NDArray[np.float64]:
        """Return the map from the image to the frame at a time, (2, 3)."""
        (x, y, angle, zoom), _ = self.path.at(t_us)
        cos, sin = np.exp(zoom) * np.cos(angle), np.exp(zoom) * np.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        rows, columns = self.image.shape
        middle = np.array([(columns - 1) / 2, (rows - 1) / 2])
        there = np.array([(size.width - 1) / 2 + x, (size.height - 1) / 2 + y])
        return np.column_stack([turn, there - turn @ middle])


@dataclass(frozen=True, eq=False)
class LayerScene(SteadyScene):
    """Photographs that move in front of each other; iterating gives (t_us, frame).

    layers       from the back to the front; the first one covers the frame
    size         of the frames, in pixels
    fps          frames per second
    duration_us  frames lie at 0 <= t < duration_us

    Frames are (H, W) uint16, 65535 is white. A frame depends on the fields and on its time alone.
    Raises ConfigError for values out of range, GeometryError for an impossible size.

        photograph = np.random.default_rng(0).integers(0, 256, (200, 300), dtype=np.uint8)
        scene = dvskit.scenes.LayerScene.random([photograph], seed=1, size=(64, 48))
        t_us, frame = next(iter(scene))  # 0, (48, 64) uint16
        scene.truth(100_000).shape  # (48, 64, 2), px/s
    """

    layers: Sequence[PhotoLayer]
    size: Size = _SIZE
    fps: int = checked(check_whole, 1, 100_000, default=500)
    duration_us: int = checked(check_whole, default=500_000)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", as_size(self.size))
        check_fields(self)
        if not self.layers or self.layers[0].cover is not None:
            raise ConfigError("LayerScene: the first layer covers the frame; give it no cover")

    @classmethod
    def random(
        cls,
        photographs: Sequence[NDArray[Any]],
        seed: int,
        *,
        size: tuple[int, int] = _SIZE,
        duration_us: int = 500_000,
        px_s: float = 70.0,
        camera_rests: bool = False,
    ) -> LayerScene:
        """Return a scene of some of the photographs, (H, W) uint8 each, from a seed.

        px_s  about the speed of the background; that in front is half to twice as fast
        camera_rests  the background rests; 1 to 5 layers in front cross the frame, at about `px_s`

        Scale, light, contrast and 0 to 3 ellipses and polygons in front are drawn. The rate is such
        that nothing moves more than about 0.7 pixels from frame to frame.
        """
        if not len(photographs):
            raise ConfigError("LayerScene.random: no photographs; see package_photographs")
        rng = np.random.default_rng((seed, 0x1A))
        size, exposure = as_size(size), PhotoExposure.drawn(rng)
        still = rng.choice((0.0, 0.2, 0.5))
        layers = []
        fronts = int(rng.integers(1, 6) if camera_rests else rng.choice((0, 0, 1, 2, 3)))
        for number in range(1 + fronts):
            front = number > 0
            photograph = photographs[int(rng.integers(len(photographs)))]
            image = _part(rng, photograph, max(size), front=front)
            pace = px_s * (rng.uniform(0.5, 2) if front else 1)
            if not camera_rests:
                path = LayerPath.random(rng, duration_us, px_s=pace, still=still)
                path.start[:2] += front * rng.uniform(-0.4, 0.4, 2) * size
            elif front:
                image = _smaller(rng, image)
                path = LayerPath.crossing(rng, duration_us, size=size, px_s=pace)
            else:
                path = LayerPath([0, 1], np.zeros(4), np.zeros((1, 2, 4)))
                if rng.random() < _SMOOTH:  # as roads and walls
                    image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(1, 6)))
            cover = _cut(rng, image.shape) if front else None
            own = replace(exposure, mean=exposure.mean * float(np.exp(rng.normal(0, 0.25))))
            layers.append(PhotoLayer(own.on(image), path, cover))
        scene = cls(layers, size, 1000, duration_us)
        fps = int(np.clip(scene.fastest_px_s() / _STEP_PX, *_FPS))
        return replace(scene, fps=fps)

    def frame(self, t_us: float) -> Frame:
        """Return the picture at a time, (H, W) uint16."""
        picture: Any = None
        for layer in self.layers:
            affine = layer.affine(t_us, self.size)
            border = cv2.BORDER_REFLECT_101 if layer.cover is None else cv2.BORDER_REPLICATE
            image: Any = cv2.warpAffine(
                layer.image, affine, self.size, flags=cv2.INTER_LINEAR, borderMode=border
            )
            if picture is None:
                picture = image
            else:
                picture += self._cover(layer, affine) * (image - picture)
        return np.asarray(picture * _WHITE + 0.5, np.uint16)

    def truth(self, t_us: float) -> NDArray[np.float32]:
        """Return the velocity of each pixel's content at a time, (H, W, 2), x and y in px/s."""
        flow = np.empty((*self._grid.shape[:2], 2), np.float32)
        seen = self._seen(t_us)
        for number, layer in enumerate(self.layers):
            (x, y, _, _), (rate_x, rate_y, turning, zooming) = layer.path.at(t_us)
            off = self._grid - (x, y) - ((self.size.width - 1) / 2, (self.size.height - 1) / 2)
            own = off @ np.array([[zooming, turning], [-turning, zooming]]) + (rate_x, rate_y)
            flow[seen == number] = own[seen == number]
        return flow

    def moved(self, from_us: float, to_us: float) -> NDArray[np.float32]:
        """Return the displacement of each pixel's content between two times, (H, W, 2) in pixels.

        It is NaN where the content is hidden at `to_us`, or outside the frame.
        """
        before, after = self._seen(from_us), self._seen(to_us)
        moved = np.empty((*before.shape, 2), np.float64)
        for number, layer in enumerate(self.layers):
            there = _joined(layer.affine(to_us, self.size), layer.affine(from_us, self.size))
            own = self._grid @ there[:, :2].T + there[:, 2] - self._grid
            moved[before == number] = own[before == number]
        x, y = np.rint(self._grid + moved).astype(np.int64).transpose(2, 0, 1)
        inside = (x >= 0) & (y >= 0) & (x < self.size.width) & (y < self.size.height)
        same = inside & (after[np.where(inside, y, 0), np.where(inside, x, 0)] == before)
        moved[~same] = np.nan
        return moved.astype(np.float32)

    def fastest_px_s(self) -> float:
        """Return about the largest speed in the picture, at the borders of the paths' segments."""
        far = np.hypot(*self.size) / 2
        fastest = 0.0
        for layer in self.layers:
            for t_s in (*layer.path.t_s, *(layer.path.t_s - 1e-6)):
                _, (x, y, turning, zooming) = layer.path.at(t_s * 1e6)
                fastest = max(fastest, np.hypot(x, y) + np.hypot(turning, zooming) * far)
        return fastest

    @cached_property
    def _grid(self) -> NDArray[np.float64]:
        """Return x and y of each pixel, (H, W, 2)."""
        rows, columns = np.mgrid[: self.size.height, : self.size.width]
        return np.stack([columns, rows], -1).astype(np.float64)

    def _cover(self, layer: PhotoLayer, affine: NDArray[np.float64]) -> Image:
        return np.asarray(cv2.warpAffine(layer.cover, affine, self.size, flags=cv2.INTER_LINEAR))

    def _seen(self, t_us: float) -> NDArray[np.int64]:
        """Return the number of the layer that each pixel shows, (H, W)."""
        seen = np.zeros(self._grid.shape[:2], np.int64)
        for number, layer in enumerate(self.layers[1:], 1):
            seen[self._cover(layer, layer.affine(t_us, self.size)) > _HALF] = number
        return seen


def _joined(after: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the map from the frame, through the image, to the frame at another time, (2, 3)."""
    back = cv2.invertAffineTransform(before)
    turn = after[:, :2] @ back[:, :2]
    return np.column_stack([turn, after[:, :2] @ back[:, 2] + after[:, 2]])


def _part(rng: np.random.Generator, photograph: NDArray[Any], side: int, *, front: bool) -> Image:
    """Return a part of a photograph at a random scale, float32 from 0 to 1."""
    least = 0.5 if front else 1.2  # sides of the frame that the shorter side of the image spans
    scale = min(rng.uniform(least, 3.0) * side / min(photograph.shape), 1.5)
    rows, columns = (max(round(length * scale), 8) for length in photograph.shape)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(photograph, (columns, rows), interpolation=way)
    image: Image = np.asarray(scaled, np.float32) / np.float32(255)
    most = side if front else 4 * side
    top, left = (int(rng.integers(0, max(1, length - most + 1))) for length in image.shape)
    image = image[top : top + most, left : left + most]
    return image[:, ::-1] if rng.random() < 0.5 else image


def _smaller(rng: np.random.Generator, image: Image) -> Image:
    """Return a part of an image, often with little contrast, as of cars and people."""
    rows, columns = (
        slice((length - want) // 2, (length + want) // 2)
        for length in image.shape
        for want in [max(8, int(length * rng.uniform(0.25, 0.8)))]
    )
    part = image[rows, columns]
    contrast, light = rng.uniform(0.1, 1), rng.uniform(0, 1)
    return np.asarray(light + contrast * (part - light), np.float32)


def _cut(rng: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Return an ellipse, a rounded rectangle or a polygon, with a soft edge, as a cover."""
    rows, columns = shape
    middle, reach = np.array([columns, rows]) / 2, np.array([columns, rows]) / 2 - 2
    if rng.random() < 0.5:
        angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        power = rng.choice((2.0, 2.0, 6.0))  # of the superellipse |x|^p + |y|^p = 1
        radius = (np.abs(np.cos(angles)) ** power + np.abs(np.sin(angles)) ** power) ** (-1 / power)
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
        radius = rng.uniform(0.5, 1, len(angles))
    points = middle + np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None] * reach * (
        rng.uniform(0.4, 1, 2)
    )
    cover = np.zeros(shape, np.uint8)
    cv2.fillPoly(cover, [np.rint(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(cover, (0, 0), 0.7)
    return np.asarray(soft, np.float32) / np.float32(255)
