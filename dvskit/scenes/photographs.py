"""Photographs that move, with exact flow: a background, and cut-out photographs in front of it.

scene = LayerScene.random([*package_photographs().values()], seed=3)
events = dvskit.emulate(scene)
scene.truth(5_000)                   # px/s at t = 5 ms, (H, W, 2)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from dvskit._checks import check_fields, check_whole, checked
from dvskit.errors import ConfigError, MissingFileError, ShapeError, VideoError, one_line
from dvskit.events import Size, as_size
from dvskit.formats.image_list import check_pixels
from dvskit.scenes.discs import SteadyScene

# Package, folder in it, and files. Of a stereo pair, one: both show the same place.
_SHIPPED = (
    ("skimage", "data", (
        "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png",
        "grass.png", "gravel.png", "moon.png", "motorcycle_left.png", "page.png", "retina.jpg",
        "rocket.jpg",
    )),
    ("sklearn", "datasets/images", ("china.jpg", "flower.jpg")),
    ("matplotlib", "mpl-data/sample_data", ("grace_hopper.jpg",)),
)  # fmt: skip


def package_photographs() -> dict[str, Path]:
    """Return the photographs that installed packages ship, by name, such as "camera".

    They are those of scikit-image, scikit-learn and matplotlib, which are not imported. Raises
    ConfigError if there are none.

        photographs = dvskit.scenes.package_photographs()
        path = next(iter(photographs.values()))  # the first one
        image = dvskit.scenes.read_photograph(path)  # (H, W) uint8
    """
    found: dict[str, Path] = {}
    for package, folder, names in _SHIPPED:
        spec = find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            for name in names:
                path = Path(place, folder, name)
                if path.is_file():
                    found.setdefault(path.stem, path)
    if not found:
        raise ConfigError(
            "no installed package ships photographs; pip install scikit-image scikit-learn"
        )
    return found


def read_photograph(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Return an image file in gray, (H, W) uint8. Raises MissingFileError, VideoError.

    It reads the formats of OpenCV, such as PNG and JPEG.

        image = dvskit.scenes.read_photograph("images/0/00001.png")  # (28, 28) uint8
    """
    if not Path(path).is_file():
        raise MissingFileError(path)
    check_pixels(Path(path))
    try:
        with PIL.Image.open(path) as image:
            return np.asarray(image.convert("L"))
    except (OSError, ValueError, SyntaxError) as error:  # as Pillow raises for damaged files
        raise VideoError(f"{path}: is no image: {one_line(error)}") from error


Codes = NDArray[np.float32]

_NEGATIVE, _MOST_GAIN = 0.08, 6.0


@dataclass(frozen=True, slots=True)
class PhotoExposure:
    """Brightness from the codes of pictures, in parts of white: (gain * code ** gamma) + black.

    gamma     of the codes: about 2.2 for photographs and videos
    mean      of the brightness, before black is added and white is cut
    black     brightness of black
    negative  black and white are exchanged first

        exposure = dvskit.scenes.PhotoExposure(gamma=2.2, mean=0.4, black=0.05)
        codes = np.linspace(0, 1, 5, dtype=np.float32)
        exposure.on(codes)  # float32, from 0.05 for black
    """

    gamma: float
    mean: float
    black: float
    negative: bool = False

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> PhotoExposure:
        """Return an exposure from a generator.

        Frames of event cameras are linear in light and dark: the mean of those that are drawn is
        about 0.33, and the deviation within a frame about 0.17.
        """
        mean = float(np.clip(np.exp(rng.normal(np.log(0.3), 0.3)), 0.12, 0.65))
        gamma, black = float(rng.uniform(1.4, 2.6)), float(rng.uniform(0, 0.06))
        return cls(gamma, mean, black, bool(rng.random() < _NEGATIVE))

    def on(self, codes: Codes, like: Codes | None = None) -> Codes:
        """Return the brightness of codes from 0 to 1, float32 from 0.01 to 1.

        like  the codes that have the mean; None: `codes`
        """
        light = self._light(codes)
        shown = light if like is None else self._light(like)
        gain = min(self.mean / max(float(shown.mean()), 0.02), _MOST_GAIN)
        return np.asarray(np.clip(light * gain + self.black, 0.01, 1), np.float32)

    def _light(self, codes: Codes) -> Codes:
        return np.asarray((1 - codes if self.negative else codes) ** self.gamma, np.float32)


_SHAKE_HZ = (1.0, 12.0)
_SEGMENT_S = (0.05, 0.4)
_CROSSING_S, _STOPPED = (0.1, 0.8), 0.15  # segments, and the share of those at rest


@dataclass(frozen=True, eq=False)
class LayerPath:
    """Place, angle and zoom of a layer over time, with their exact rates.

    t_s    (n + 1,) increasing borders of the segments; the first and last go on beyond
    start  (4,) at t_s[0]: x and y in pixels, angle in radians, logarithm of the zoom
    rates  (n, 2, 4) rates at the start and the end of each segment, per second, linear between
    shake  (k, 4) sines in x and y: frequency in Hz, phase in radians, amplitudes in pixels

    The position is continuous; rates that differ at a border are a sudden start or stop.

        path = dvskit.scenes.LayerPath(
            t_s=[0.0, 0.5], start=[0, 0, 0, 0], rates=[[[40, 0, 0, 0], [40, 0, 0, 0]]]
        )
        place, rates = path.at(250_000)  # 10 px to the right, at 40 px/s
    """

    t_s: Any
    start: Any
    rates: Any
    shake: Any = ()

    def __post_init__(self) -> None:
        shapes = {"t_s": (-1,), "start": (4,), "rates": (-1, 2, 4), "shake": (-1, 4)}
        for name, shape in shapes.items():
            table = np.asarray(getattr(self, name), np.float64)
            if not table.size and name == "shake":
                table = np.zeros((0, 4))
            fits = table.ndim == len(shape) and table.shape[1:] == shape[1:]
            if (
                not fits
                or (shape[0] > 0 and len(table) != shape[0])
                or not np.isfinite(table).all()
            ):
                raise ConfigError(
                    f"LayerPath: {name} of shape {table.shape} must be {shape}, finite"
                )
            object.__setattr__(self, name, table)
        if len(self.t_s) != len(self.rates) + 1 or not (np.diff(self.t_s) > 0).all():
            raise ConfigError("LayerPath: t_s must be increasing times, one more than rates")

    @classmethod
    def random(
        cls, rng: np.random.Generator, duration_us: int, *, px_s: float, still: float = 0.2
    ) -> LayerPath:
        """Return a path at about `px_s` pixels per second, from a generator.

        still  the share of segments in which the layer rests

        Half of the segments begin with the rate of the segment before, the others suddenly.
        """
        t_s = [0.0]
        while t_s[-1] < duration_us * 1e-6:
            t_s.append(t_s[-1] + rng.uniform(*_SEGMENT_S))
        spread = px_s * np.array([1, 1, 0.005, 0.0025])
        mean = spread * rng.normal(0, 0.4, 4)
        rates = np.empty((len(t_s) - 1, 2, 4))
        before = mean
        for pair in rates:
            sudden = rng.random() < 0.5
            pair[0] = mean + spread * rng.normal(0, 0.7, 4) if sudden else before
            pair[1] = mean + spread * rng.normal(0, 0.7, 4)
            if rng.random() < still:
                pair[:] = 0
            before = pair[1]
        moving = rates.any((1, 2))
        if moving.any():
            rates[moving, :, 3] -= rates[moving, :, 3].mean()  # the zoom comes back
        count = int(rng.integers(0, 3))
        shake = np.stack(
            [
                rng.uniform(*_SHAKE_HZ, count), rng.uniform(0, 2 * np.pi, count),
                rng.normal(0, 2, count), rng.normal(0, 2, count),
            ],
            1,
        )  # fmt: skip
        return cls(t_s, np.zeros(4), rates, shake)

    @classmethod
    def crossing(
        cls, rng: np.random.Generator, duration_us: int, *, size: tuple[int, int], px_s: float
    ) -> LayerPath:
        """Return the path of a thing that crosses a frame of `size`, from a generator.

        It keeps its direction at about `px_s` pixels per second, and is near the middle of the
        frame at some time of the duration. It may slow down, stop and start suddenly.
        """
        t_s = [0.0]
        while t_s[-1] < duration_us * 1e-6:
            t_s.append(t_s[-1] + rng.uniform(*_CROSSING_S))
        angle = rng.integers(4) * np.pi / 2 + rng.normal(0, 0.3)
        pace = px_s * float(np.exp(rng.normal(0, 0.4)))
        rates = np.zeros((len(t_s) - 1, 2, 4))
        ends = rng.uniform(0.6, 1.4, rates.shape[:2])
        ends[rng.random(len(ends)) < _STOPPED] = 0
        ends[1:, 0] = np.where(rng.random(len(ends) - 1) < 0.5, ends[:-1, 1], ends[1:, 0])
        rates[..., 0], rates[..., 1] = pace * np.cos(angle) * ends, pace * np.sin(angle) * ends
        rates[..., 3] = rng.normal(0, 0.05)
        bob = [(rng.uniform(1, 4), rng.uniform(0, 6), 0, rng.normal(0, 1))] * (rng.random() < 0.5)
        path = cls(t_s, np.zeros(4), rates, bob)
        met, _ = path.at(rng.uniform(0, duration_us))
        path.start[:2] = rng.uniform(-0.35, 0.35, 2) * size - met[:2]
        path.start[2] = rng.normal(0, 0.2)
        return path

    @cached_property
    def _segments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the place at the start of each segment, and the slope of its rates, (n, 4)."""
        lengths = np.diff(self.t_s)[:, None]
        steps = self.rates.mean(1) * lengths
        return self.start + np.cumsum(steps, 0) - steps, (
            self.rates[:, 1] - self.rates[:, 0]
        ) / lengths

    def at(self, t_us: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the place (4,) at a time, and its rates (4,) per second."""
        t = t_us * 1e-6
        places, slopes = self._segments
        number = min(max(int(self.t_s.searchsorted(t, "right")) - 1, 0), len(slopes) - 1)
        since, first, slope = t - self.t_s[number], self.rates[number, 0], slopes[number]
        place = places[number] + first * since + slope * (since * since / 2)
        rate = first + slope * since
        for hz, phase, *amplitudes in self.shake:
            turn = 2 * np.pi * hz
            place[:2] += np.multiply(amplitudes, np.sin(turn * t + phase) - np.sin(phase))
            rate[:2] += np.multiply(amplitudes, turn * np.cos(turn * t + phase))
        return place, rate


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
