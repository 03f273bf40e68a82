"""Discs and rectangles that move, cross, stop and go behind a bar; digits, as small pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields, check_number, check_whole, checked, checked_dataclass
from dvskit.errors import ConfigError
from dvskit.events import Size, as_size


class SteadyScene(ABC):
    """Frames at a rate; iterating gives (t_us, frame). Subclasses define the fields and `frame`.

    fps          frames per second
    duration_us  frames lie at 0 <= t < duration_us
    """

    transfer: ClassVar[str] = "linear"  # frames hold light, not codes of it
    fps: int
    duration_us: int

    @abstractmethod
    def frame(self, t_us: float) -> NDArray[np.uint16]:
        """Return the picture at a time, (H, W) uint16."""

    def times_us(self) -> list[int]:
        """Return the times of the frames."""
        count = -(-self.duration_us * self.fps // 1_000_000)
        return [number * 1_000_000 // self.fps for number in range(count)]

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint16]]]:
        return ((t_us, self.frame(t_us)) for t_us in self.times_us())

    def __len__(self) -> int:
        return len(self.times_us())


DIGIT_PX = 28  # the side of a picture, as in MNIST
_FINE = 8  # parts of a pixel, for smooth edges
_ARC = np.linspace(0, 2 * np.pi, 41)
# The strokes, from the middle of the picture, x to the right and y down; a digit is 2 high.
_ZERO = np.stack([0.62 * np.sin(_ARC), -np.cos(_ARC)], 1)
_ONE = np.array([(-0.25, -0.7), (0.08, -1.0), (0.0, 0.0), (-0.04, 1.0)])
_HOOK = np.linspace(-0.45 * np.pi, 0.62 * np.pi, 21)
_TWO = np.concatenate([
    np.stack([0.58 * np.sin(_HOOK), -0.45 - 0.55 * np.cos(_HOOK)], 1),
    [(0.1, 0.38), (-0.6, 0.95), (0.0, 0.9), (0.65, 0.97)],
])  # fmt: skip
_STROKES = (_ZERO, _ONE, _TWO)


def draw_digit(digit: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a digit 0, 1 or 2 in white on black, (28, 28).

    Slant, width, height, thickness and the bend of the stroke are drawn from `rng`. As in MNIST,
    the digit is about 20 pixels high, with its center of mass in the middle. Raises ConfigError.
    """
    check_whole("digit", digit, 0, len(_STROKES) - 1)
    stroke = _STROKES[digit]
    bend = rng.normal(0, 0.06, (2, 2))
    points = stroke + np.sin(np.pi * stroke[:, ::-1] * (0.5, 0.7)) @ bend
    height, width = rng.uniform(8.3, 9.7), rng.uniform(7.2, 9.7)
    slant, turn = rng.normal(0.15, 0.12), rng.normal(0, 0.06)
    points = points @ np.array([(width, 0), (-slant * height, height)])
    points = points @ np.array([(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))])
    thick = rng.uniform(2.2, 3.2)
    side = DIGIT_PX * _FINE
    fine = np.zeros((side, side), np.uint8)
    at = np.round((points + DIGIT_PX / 2) * _FINE).astype(np.int32)
    cv2.polylines(fine, [at], False, 255, round(thick * _FINE), cv2.LINE_AA)
    mass = cv2.moments(fine)
    shift = side / 2 - np.array([mass["m10"], mass["m01"]]) / mass["m00"]
    move = np.array([(1, 0, shift[0]), (0, 1, shift[1])])
    middle = cv2.warpAffine(cv2.GaussianBlur(fine, (0, 0), 0.4 * _FINE), move, (side, side))
    return np.asarray(cv2.resize(middle, (DIGIT_PX,) * 2, interpolation=cv2.INTER_AREA), np.uint8)


_SIZE = Size(240, 180)
_WHITE = 65535
_GAP_PX = 12
_TRIES = 100  # of a bar that no shape is at in the beginning
_MEETING_S = (1.1, 1.7)


@checked_dataclass(frozen=True, eq=False)
class MovingShape:
    """A disc or a rectangle on a smooth path.

    t_us           (n,) increasing times, at least two
    places         (n, 2) its middle at these times, x and y in pixels; (0, 0) is the middle of the
                   first pixel. Two equal ones are a pause. Before the first time it stands at the
                   first place, after the last one at the last
    width, height  of the box, in pixels
    shade          brightness, 0 to 1
    round          a disc (an ellipse if width and height differ), else a rectangle

    PCHIP splines (Fritsch and Butland 1984) lead through the places: there is no overshoot, and a
    pause is exactly still. Raises ConfigError.

        disc = dvskit.scenes.MovingShape(
            t_us=[0, 1_000_000], places=[(10, 20), (50, 20)], width=8, height=8, shade=0.9
        )
        disc.place(500_000)  # [30, 20]
        scene = dvskit.scenes.DiscScene([disc], size=(64, 48), duration_us=1_000_000)
    """

    t_us: Any
    places: Any
    width: float = checked(check_number, above=0)
    height: float = checked(check_number, above=0)
    shade: float = checked(check_number, 0, 1)
    round: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        times, places = np.asarray(self.t_us, float), np.asarray(self.places, float)
        if times.ndim != 1 or len(times) < 2 or not (np.diff(times) > 0).all():
            raise ConfigError("MovingShape: t_us must be two or more increasing times")
        if places.shape != (len(times), 2) or not np.isfinite(places).all():
            raise ConfigError(
                f"MovingShape: places of shape {places.shape} must be finite numbers "
                f"({len(times)}, 2), x and y at each time"
            )
        object.__setattr__(self, "t_us", times)
        object.__setattr__(self, "places", places)

    @cached_property
    def _spline(self) -> Any:
        from scipy.interpolate import PchipInterpolator

        return PchipInterpolator(self.t_us, self.places)

    def place(self, t_us: float) -> NDArray[np.float64]:
        """Return the middle at a time, (2,) pixels."""
        return np.asarray(self._spline(np.clip(t_us, self.t_us[0], self.t_us[-1])), np.float64)

    def velocity(self, t_us: float) -> NDArray[np.float64]:
        """Return the velocity at a time, (2,) px/s."""
        moving = self.t_us[0] <= t_us <= self.t_us[-1]
        return np.asarray(self._spline(t_us, 1) * 1e6 if moving else np.zeros(2), np.float64)

    def cover(self, t_us: float, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float64]:
        """Return the share of each pixel that it covers, (len(y), len(x)).

        For an ellipse from the distance to its border, divided by the slope of that distance.
        """
        middle = self.place(t_us)
        across, down = x[None, :] - middle[0], y[:, None] - middle[1]
        half_x, half_y = self.width / 2, self.height / 2
        if not self.round:
            sides = [
                np.clip(half - abs(off) + 0.5, 0, min(1.0, 2 * half))
                for half, off in ((half_x, across), (half_y, down))
            ]
            return np.asarray(sides[0] * sides[1])
        far = np.hypot(across / half_x, down / half_y)
        slope = np.hypot(across / half_x**2, down / half_y**2) / np.maximum(far, 1e-9)
        return np.asarray(np.clip((1 - far) / np.maximum(slope, 1e-9) + 0.5, 0, 1))


class ShapeTruth(NamedTuple):
    """The shapes at a time: n rows in the order of `shapes`; the row is the identity.

    place     (n, 2) the middle, pixels    size   (n, 2) width and height
    velocity  (n, 2) px/s                  shown  (n,) share of the area on the sensor that nothing
                                                  hides

        scene = dvskit.scenes.DiscScene.random(seed=3, size=(64, 48))
        truth = scene.truth(1_500_000)
        truth.place.shape, truth.shown.shape  # (n, 2) pixels, (n,) from 0 to 1
    """

    place: NDArray[np.float64]
    size: NDArray[np.float64]
    velocity: NDArray[np.float64]
    shown: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DiscScene(SteadyScene):
    """Discs and rectangles before a uniform background; iterating gives (t_us, frame).

    shapes       those that move; a later one is in front of an earlier one
    bars         (n, 4) rectangles at rest in front of all: left, top, width and height in pixels
    size         of the frames, in pixels
    fps          frames per second
    duration_us  frames lie at 0 <= t < duration_us
    background, bar_shade  brightness, 0 to 1

    Frames are (H, W) uint16, 65535 is white. A frame depends on the fields and on its time alone.
    Raises ConfigError for values out of range, GeometryError for an impossible size.

        scene = dvskit.scenes.DiscScene.random(seed=3, size=(64, 48))
        events = dvskit.emulate(scene)
        scene.truth(1_500_000).place  # (3, 2) pixels: each shape at t = 1.5 s
    """

    shapes: Sequence[MovingShape]
    bars: Sequence[tuple[float, float, float, float]] = ()
    size: Size = _SIZE
    fps: int = checked(check_whole, 1, 100_000, default=500)
    duration_us: int = checked(check_whole, default=3_000_000)
    background: float = checked(check_number, 0, 1, default=0.45)
    bar_shade: float = checked(check_number, 0, 1, default=0.3)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", as_size(self.size))
        check_fields(self)

    @classmethod
    def random(
        cls, seed: int, *, count: int = 3, size: tuple[int, int] = _SIZE, fps: int = 500,
        rectangles: bool = False,
    ) -> DiscScene:  # fmt: skip
        """Return a scene of 3 s with `count` discs and a bar, from a seed.

        They are apart at the beginning. The first two meet. The third pauses for 0.3 to 0.8 s, and
        the others may. The bar hides a part of the path of the first. With `rectangles` every
        second shape is a rectangle.
        """
        check_whole("count", count, 1, 100)
        rng = np.random.default_rng((seed, 0xD15C))
        width, height = as_size(size)
        meeting_us = rng.uniform(*_MEETING_S) * 1e6
        meeting = rng.uniform((0.4, 0.35), (0.6, 0.65)) * (width, height)
        way = rng.uniform(0, 2 * np.pi)
        ways = (
            way,
            way + rng.uniform(np.pi / 3, np.pi) * rng.choice((-1, 1)),
            *rng.uniform(0, 2 * np.pi, 2),
        )
        shapes: list[MovingShape] = []
        while len(shapes) < count:
            n = len(shapes)
            middle = meeting + rng.uniform(-4, 4, 2)
            if n > 1:
                middle = rng.uniform((0.2, 0.2), (0.8, 0.8)) * (width, height)
            still_us = rng.uniform(0.3, 0.8) * 1e6 if n == 2 or rng.random() < 0.3 else 0.0
            t_us, along = _timetable(rng, meeting_us, still_us, rng.uniform(50, 130))
            places = middle + along[:, None] * (np.cos(ways[n]), np.sin(ways[n]))
            sides = rng.uniform(14, 30, 2)
            is_round = not (rectangles and n % 2)
            shade = rng.choice((rng.uniform(0.08, 0.22), rng.uniform(0.75, 0.95)))
            shape = MovingShape(
                t_us, places, sides[0], sides[0] if is_round else sides[1], float(shade), is_round
            )
            if all(_apart(shape, other) for other in shapes):
                shapes.append(shape)
        for _ in range(_TRIES):
            bar = _bar(rng, shapes[0], meeting_us, Size(width, height))
            if all(_apart(_still(bar), shape) for shape in shapes):
                break
        return cls(shapes, (bar,), Size(width, height), fps, bar_shade=rng.uniform(0.25, 0.7))

    def frame(self, t_us: float) -> NDArray[np.uint16]:
        """Return the picture at a time, (H, W) uint16."""
        picture = np.full(self.size[::-1], float(self.background))
        for each in self.shapes:
            columns, rows, cover = self._covered(each, t_us)
            part = picture[rows, columns]
            part += cover * (each.shade - part)
        picture += self._bar_cover * (self.bar_shade - picture)
        return np.round(picture * _WHITE).astype(np.uint16)

    def truth(self, t_us: float) -> ShapeTruth:
        """Return the shapes at a time."""
        clear = 1 - self._bar_cover
        shown = np.zeros(len(self.shapes))
        for n in reversed(range(len(self.shapes))):
            columns, rows, cover = self._covered(self.shapes[n], t_us)
            area = self.shapes[n].width * self.shapes[n].height
            area *= np.pi / 4 if self.shapes[n].round else 1.0
            shown[n] = min((cover * clear[rows, columns]).sum() / area, 1.0)
            clear[rows, columns] *= 1 - cover
        each = self.shapes
        return ShapeTruth(
            np.array([one.place(t_us) for one in each]).reshape(-1, 2),
            np.array([(one.width, one.height) for one in each], float).reshape(-1, 2),
            np.array([one.velocity(t_us) for one in each]).reshape(-1, 2),
            shown,
        )

    @cached_property
    def _bar_cover(self) -> NDArray[np.float64]:
        cover = np.zeros(self.size[::-1])
        x, y = (np.arange(side, dtype=float) for side in self.size)
        for bar in self.bars:
            cover = np.maximum(cover, _still(bar).cover(0, x, y))
        return cover

    def _covered(self, shape: MovingShape, t_us: float) -> tuple[slice, slice, NDArray[np.float64]]:
        """Return the columns and rows around a shape, and its cover of them."""
        spans = []
        sizes = zip(shape.place(t_us), (shape.width, shape.height), self.size, strict=True)
        for middle, side, count in sizes:
            first, last = (
                int(np.clip(middle + sign * (side / 2 + 2), 0, count)) for sign in (-1, 1)
            )
            spans.append(slice(first, min(last + 1, count)))
        x, y = (np.arange(span.start, span.stop, dtype=float) for span in spans)
        return spans[0], spans[1], shape.cover(t_us, x, y)


def _still(bar: tuple[float, float, float, float]) -> MovingShape:
    left, top, width, height = bar
    middle = (left + width / 2 - 0.5, top + height / 2 - 0.5)
    return MovingShape((0, 1), (middle, middle), width, height, 0.0, round=False)


def _apart(one: MovingShape, two: MovingShape) -> bool:
    """Return whether shapes are well apart at the beginning."""
    gap = abs(one.place(0) - two.place(0)) - (
        (one.width + two.width) / 2, (one.height + two.height) / 2
    )  # fmt: skip
    return bool(gap.max() > _GAP_PX)


def _timetable(
    rng: np.random.Generator, meeting_us: float, still_us: float, speed: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times, and the way from the meeting at them: at `speed` px/s, with a pause."""
    far, slow, at = 4.0, 0.1, rng.uniform(0.45, 0.6)  # s; it stops and starts within `slow`
    before = rng.random() < 0.5 and meeting_us > 1.2e6
    t_s, along_s = np.array([-far, 0, far]), np.array([-far, 0, far])
    if still_us:
        still = still_us * 1e-6
        t_s = np.array([-far, 0, at - slow, at, at + still, at + still + slow, far])
        gone = at - slow / 2
        along_s = np.array([-far, 0, at - slow, gone, gone, at, far - still - slow])
    if before:
        t_s, along_s = -t_s[::-1], -along_s[::-1]
    return meeting_us + t_s * 1e6, along_s * speed


def _bar(
    rng: np.random.Generator, shape: MovingShape, meeting_us: float, size: Size
) -> tuple[float, float, float, float]:
    """Return a bar across the way of a shape, which it reaches 0.5 to 0.8 s after the meeting."""
    there = shape.place(meeting_us + rng.uniform(0.5, 0.8) * 1e6)
    before = shape.place(meeting_us)
    thick = float(rng.uniform(10, 26))
    if abs(there[0] - before[0]) >= abs(there[1] - before[1]):
        return float(there[0]) - thick / 2, 0.0, thick, float(size.height)
    return 0.0, float(there[1]) - thick / 2, float(size.width), thick
