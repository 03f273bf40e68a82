"""The box of a cloud, its camera, and events as points in the pictures.

The box is centered on the origin. Its first axis is time (early at negative values), the second
points up (row 0 is the top), the third is x. Seen from the early side, a cloud looks as on the
sensor. The page has the same in JavaScript.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, run_ranges, thread_count
from dvskit.events import Events, Size
from dvskit.render import cloud_kernels
from dvskit.render.colormap import Colors, rgb

TIME_LENGTH = 1.7  # of the box; the longer side of the sensor is 1
FOCAL = 3.0  # cotangent of half the angle of view: a mild perspective
_FAR_AWAY = 1e6  # distance of the eye in a parallel projection, practically at infinity

OVERSAMPLE = 2
_HAZE = 0.3  # share of the ground in the color of the farthest points
_HAZE_STEPS = 64
_EVENTS_A_PART = 1 << 18
_CROWD = 1  # events per pixel above which marks are cheaper
_MOST_BYTES = 1 << 30

Rect = tuple[float, float, float, float]  # left, top, right, bottom in pixels
Layers = NDArray[np.uint32]  # (parts, 2 * height, 2 * width), as in cloud_kernels.splat


def box_halves(size: Size) -> NDArray[np.float64]:
    """Return half the box's extent along time, height and width: (3,) float64."""
    longer = max(size.width, size.height)
    return np.array([TIME_LENGTH / 2, size.height / longer / 2, size.width / longer / 2])


def rotation(azimuth_deg: float, elevation_deg: float) -> NDArray[np.float64]:
    """Return the (3, 3) rotation of box coordinates to the camera's: right, up, towards it."""
    az, el = math.radians(azimuth_deg), math.radians(elevation_deg)
    ca, sa, ce, se = math.cos(az), math.sin(az), math.cos(el), math.sin(el)
    return np.array([[ca, 0.0, sa], [se * sa, ce, -se * ca], [-ce * sa, se, ce * ca]])


@dataclass(frozen=True, slots=True, eq=False)
class BoxCamera:
    """A pinhole camera: maps box coordinates to pixels of a picture.

    u = center_u + scale * right / depth,  v = center_v - scale * up / depth,
    depth = distance - perspective * towards

    `perspective` is 1, or 0 for a parallel projection, in which equal sizes are drawn equally.
    """

    turn: NDArray[np.float64]
    distance: float
    scale: float
    center_u: float
    center_v: float
    perspective: float = 1.0

    @property
    def eye(self) -> NDArray[np.float64]:
        """The camera's position, in box coordinates."""
        away = self.distance / self.perspective if self.perspective else _FAR_AWAY
        return np.asarray(self.turn[2] * away)

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (n, 3) u, v (pixels) and depth of (n, 3) box coordinates."""
        seen = points @ self.turn.T
        depth = self.distance - self.perspective * seen[:, 2]
        u = self.center_u + self.scale * seen[:, 0] / depth
        v = self.center_v - self.scale * seen[:, 1] / depth
        return np.stack([u, v, depth], axis=1)


def corners(halves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (8, 3) corners of the box."""
    return np.array(list(product((-1.0, 1.0), repeat=3))) * halves


def clearance(camera: BoxCamera, halves: NDArray[np.float64], axis: int) -> float:
    """Return how far the camera is outside the box, seen along an axis, in halves of the box.

    Above 0, an edge along the axis is on the outline. Below 0, labels would cover the events.
    """
    eye = np.abs(camera.eye) / halves
    return float(max(eye[i] for i in range(3) if i != axis)) - 1


def looks_along_an_axis(azimuth_deg: float, elevation_deg: float) -> bool:
    """Return whether a view is exactly from the front, the back, a side, above or below."""
    return abs(elevation_deg) == 90 or (elevation_deg == 0 and azimuth_deg % 90 == 0)


def fit(
    halves: NDArray[np.float64], turns: NDArray[np.float64], rect: Rect, perspective: float = 1.0
) -> list[BoxCamera]:
    """Return the nearest cameras, for each of (n, 3, 3) `turns`, that see the whole box in `rect`.

    They share one distance, one scale and one center, so that a turned box neither moves nor
    changes its size.
    """
    left, top, right, bottom = rect
    scale = FOCAL / 2 * max(bottom - top, (right - left) / 1.6, 1.0)
    near, far = max(1e-3, perspective * float(np.linalg.norm(halves)) * 1.01), 200.0
    seen = np.einsum("nij,kj->nki", turns, corners(halves)).reshape(-1, 3)

    def extent(distance: float) -> NDArray[np.float64]:
        # Right and up of all corners: minimum and maximum.
        flat = scale * seen[:, :2] / (distance - perspective * seen[:, 2:])
        return np.stack([flat.min(axis=0), flat.max(axis=0)])

    for _ in range(26):
        middle = (near + far) / 2
        width, height = np.ptp(extent(middle), axis=0)
        if width <= right - left and height <= bottom - top:
            far = middle
        else:
            near = middle
    across, up = extent(far).mean(axis=0)
    u, v = float((left + right) / 2 - across), float((top + bottom) / 2 + up)
    return [BoxCamera(turn, far, scale, u, v, perspective) for turn in turns]


def empty_layers(count: int, size_px: tuple[int, int]) -> Layers:
    """Return layers for `count` events: one per available thread."""
    height, width = size_px[1] * OVERSAMPLE, size_px[0] * OVERSAMPLE
    parts = min(thread_count(), 8, -(-count // _EVENTS_A_PART), _MOST_BYTES // (4 * height * width))
    return np.zeros((max(1, parts), height, width), np.uint32)


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Events with their colors, (n,) uint8, the time span of the box, and a point's side."""

    events: Events
    index: NDArray[np.uint8]
    start_us: int
    span_us: int
    size_px: float

    @property
    def brush(self) -> NDArray[np.int64]:
        """The offsets (k, 2) dv, du of the pixels of a disc."""
        side = max(1, round(self.size_px * OVERSAMPLE))
        at = np.arange(side) - (side - 1) / 2
        inside = at[:, None] ** 2 + at[None, :] ** 2 <= (side / 2) ** 2 * 1.05
        return np.argwhere(inside) - side // 2


def layers_of(points: Points, camera: BoxCamera, size_px: tuple[int, int]) -> Layers:
    """Return points in new layers; of many events the centers are marked, then spread."""
    count = len(points.events)
    if count < _CROWD * size_px[0] * size_px[1]:
        layers = empty_layers(count, size_px)
        splat_points(points, camera, layers)
        return layers
    brush = points.brush
    reach = int(np.abs(brush).max())
    margin_px = -(-reach // OVERSAMPLE)
    reach = margin_px * OVERSAMPLE
    padded = (size_px[0] + 2 * margin_px, size_px[1] + 2 * margin_px)
    marked, layers = empty_layers(count, padded), empty_layers(1, size_px)
    _splat(points, camera, np.array([[reach, reach]]), marked)
    _by_rows(
        lambda fine, _: cloud_kernels.spread(marked, reach, brush, fine.start, layers[0, fine]),
        size_px[1], None,
    )  # fmt: skip
    return layers


def splat_points(points: Points, camera: BoxCamera, layers: Layers) -> None:
    """Draw points into layers, over their content, each thread into its own.

    Of two at the same depth (in 2^24 steps) the one with the first color is visible.
    """
    _splat(points, camera, points.brush, layers)


def _splat(points: Points, camera: BoxCamera, brush: NDArray[np.int64], layers: Layers) -> None:
    """Draw the pixels (k, 2) of a brush around each point."""
    events = points.events
    to_camera = _event_matrix(events.sensor_size, camera, max(1, points.span_us))
    reach = camera.perspective * _radius(events.sensor_size)
    lens = np.array(
        [camera.scale * OVERSAMPLE, camera.center_u * OVERSAMPLE, camera.center_v * OVERSAMPLE,
         camera.distance + reach, 2 * reach]
    )  # fmt: skip
    cuts = [len(events) * part // len(layers) for part in range(len(layers) + 1)]

    def work(part: int) -> None:
        at = slice(cuts[part], cuts[part + 1])
        cloud_kernels.splat(
            (events.t[at], events.x[at], events.y[at], points.index[at]), points.start_us,
            (to_camera, lens), brush, layers[part],
        )  # fmt: skip

    run_parts(work, len(layers))


def _radius(size: Size) -> float:
    return float(np.linalg.norm(box_halves(size)))


def _event_matrix(size: Size, camera: BoxCamera, span_us: int) -> NDArray[np.float64]:
    pixel = 1 / max(size)
    # Columns of box coordinates per microsecond, per x, per y, and the event at (0, 0, start).
    box = np.zeros((3, 4))
    box[0, 0], box[0, 3] = TIME_LENGTH / span_us, -TIME_LENGTH / 2
    box[2, 1], box[2, 3] = pixel, (0.5 - size.width / 2) * pixel
    box[1, 2], box[1, 3] = -pixel, (size.height / 2 - 0.5) * pixel
    seen = camera.turn @ box
    # The map from positions towards the camera to nearness 0..1 within the ball around the box.
    radius = _radius(size)
    seen[2] /= 2 * radius
    seen[2, 3] += 0.5
    return np.asarray(seen)


def _shades(colors: Colors, ground: str) -> NDArray[np.float32]:
    """Return (64, 256, 3): the palette from the farthest, in haze, to the nearest."""
    fog = _HAZE * (1 - (np.arange(_HAZE_STEPS) + 0.5) / _HAZE_STEPS)[:, None, None]
    palette = np.zeros((256, 3))
    palette[: len(colors.palette)] = colors.palette
    return (palette * (1 - fog) + np.array(rgb(ground)) * fog).astype(np.float32)


def shade_over(
    layers: Layers,
    colors: Colors,
    ground: str,
    picture: NDArray[np.uint8],
    threads: int | None = None,
) -> None:
    """Draw the layers over a picture, (height, width, 3), or a transparent one, (..., 4)."""
    shades = _shades(colors, ground)
    _by_rows(
        lambda fine, rows: cloud_kernels.shade(layers[:, fine], OVERSAMPLE, shades, picture[rows]),
        len(picture), threads,
    )  # fmt: skip


def shade_alone(layers: Layers, colors: Colors, ground: str) -> NDArray[np.uint8]:
    """Return the layers alone, (height, width, 4): RGB and alpha, 0 without events."""
    _, height, width = layers.shape
    alone = np.zeros((height // OVERSAMPLE, width // OVERSAMPLE, 4), np.uint8)
    shade_over(layers, colors, ground, alone)
    return alone


def _by_rows(work: Callable[[slice, slice], None], count: int, threads: int | None) -> None:
    """Call `work` with rows of the layers and the rows of the picture that they are averaged to."""
    parts = min(thread_count() if threads is None else threads, 8, count)

    def some(first: int, stop: int) -> None:
        work(slice(first * OVERSAMPLE, stop * OVERSAMPLE), slice(first, stop))

    run_ranges(some, count, parts)
