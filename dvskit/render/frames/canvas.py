"""The picture of a video: the sensor, enlarged, an optional source video, a footer below.

It has one palette of 256 colours, so that a picture is one byte per pixel for any output format.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dvskit.errors import ShapeError, VideoError
from dvskit.events import Size, as_size
from dvskit.render._numbers import nice_step, number_text, rate_unit, tick_text
from dvskit.render.colormap import Theme, gradient, nearest_rows, rgb
from dvskit.render.flow_colours import wheel_rows
from dvskit.render.frames import Moment, frame_kernels
from dvskit.render.frames.letters import text_width, write
from dvskit.render.frames.styles import LEVELS
from dvskit.video import FrameSource

EVENT_COLOURS = 2 * LEVELS + 1
_TEXT = EVENT_COLOURS  # 16 steps from the ground to the colour of text
_FAINT = _TEXT + 16  # 16 steps to the faint one
_ON, _OFF, _LINE = _FAINT + 16, _FAINT + 17, _FAINT + 18
_GRAY = _LINE + 1
_GRAYS = 256 - _GRAY
_GRAY_OF = (_GRAY + np.round(np.arange(256) * ((_GRAYS - 1) / 255))).astype(np.uint8)
_CUBE = 3  # steps of red, green and blue each, in a palette for colour images
_BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])
_DITHER = 16  # amplitude, of 255
_SCALE = "500k"  # the longest name of a rate
_LEAST_FOOTER_PX = 200  # narrower canvases have no room for text

Images = Iterable[tuple[int, NDArray[Any]]]


def whole_palette(
    events: NDArray[np.uint8], theme: Theme, *, image: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return (256, 3) RGB: colours of events, of text and lines, and grays or those of an image."""
    single = np.array([rgb(theme.on), rgb(theme.off), rgb(theme.line)], np.uint8)
    text = gradient((theme.ground, theme.text), 16)
    faint = gradient((theme.ground, theme.faint), 16)
    grays = np.round(np.linspace(0, 255, _GRAYS)).astype(np.uint8)
    images = np.stack([grays] * 3, axis=1) if image is None else _colours_of(image)
    return np.concatenate([events, text, faint, single, images])


def _colours_of(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return as many colours as there are grays: a coarse cube of all, the rest of an image."""
    cube = np.round(np.indices((_CUBE,) * 3).reshape(3, -1).T * (255 / (_CUBE - 1)))
    count = _GRAYS - len(cube)
    cut = Image.fromarray(image).quantize(count, method=Image.Quantize.MAXCOVERAGE).getpalette()
    own = np.zeros((count, 3))
    found = np.reshape(cut or [], (-1, 3))[:count]
    own[: len(found)] = found
    return np.concatenate([cube, own]).astype(np.uint8)


def _arrow_key(length: int, scale: int, least_px: int) -> NDArray[np.uint8]:
    """Return an arrow to the right in the middle of a picture at least `least_px` wide."""
    width, middle = max(least_px, length + 6 * scale), 5 * scale
    key = np.full((2 * middle, width), _TEXT, np.uint8)
    tail = (width - length) // 2
    ends = (tail, middle), (tail + length, middle)
    cv2.arrowedLine(key, *ends, _FAINT - 1, scale, cv2.LINE_8, 0, 3 * scale / max(length, 1))
    return key


@dataclass(frozen=True, slots=True)
class CanvasLayout:
    """Positions of all parts in pixels of the canvas, whose sides are even."""

    scale: int
    sensor: Size
    beside: Size | None
    gap_px: int
    footer_px: int
    text_px: int
    width: int
    height: int


def _even(value: float) -> int:
    return 2 * round(value / 2)


def lay_out(sensor: Size, scale: int | None, *, beside: Size | None, footer: bool) -> CanvasLayout:
    """Return the layout; scale None makes the longer side of a small sensor 640 pixels or so.

    Raises ShapeError for a canvas of more than 16384 pixels a side.
    """
    if scale is None:
        scale = max(1, round(640 / max(sensor)))
    picture = Size(sensor.width * scale, sensor.height * scale)
    shown = None
    if beside is not None:
        factor = picture.height / beside.height
        shown = Size(max(2, round(beside.width * factor)), picture.height)
    gap_px = max(2, _even(picture.width / 160)) if shown else 0
    width = picture.width + gap_px + (shown.width if shown else 0)
    text_px = min(48, round(8 + width / 80))
    footer_px = _even(text_px * 3.2) if footer and width >= _LEAST_FOOTER_PX else 0
    width, height = width + width % 2, picture.height + footer_px
    height += height % 2
    if max(width, height) > 16384:
        raise ShapeError(f"a video of {width}x{height} pixels is beyond 16384 a side")
    return CanvasLayout(scale, sensor, shown, gap_px, footer_px, text_px, width, height)


class Beside:
    """Timed images: at any time, the latest that is not later.

    size     of the first
    colours  the first as RGB if it has colours; then all are shown in colour

    Raises VideoError if there are none.
    """

    def __init__(self, images: Images) -> None:
        in_colour = images.pictures() if isinstance(images, FrameSource) else images
        self._images: Iterator[tuple[int, NDArray[Any]]] = iter(in_colour)
        self._next = next(self._images, None)
        if self._next is None:
            raise VideoError("there are no frames to show beside the events")
        first = self._next[1]
        self.size = as_size((first.shape[1], first.shape[0]))
        self.colours = as_uint8(first) if first.ndim == 3 else None

    def advance(self, t_us: int, size: Size) -> NDArray[np.uint8] | None:
        """Return the image at `t_us`, scaled to a size; None if it is unchanged.

        (height, width) uint8 gray or, in colours, (height, width, 3) RGB. Raises VideoError if
        the times of the images decrease.
        """
        image = None
        while self._next is not None and self._next[0] <= t_us:
            now_us, image = self._next
            self._next = next(self._images, None)
            if self._next is not None and self._next[0] < now_us:
                raise VideoError(
                    f"the times of the frames beside decrease from {now_us} to {self._next[0]} us"
                )
        if image is None:
            return None
        image = as_uint8(image)
        if image.ndim == 3 and self.colours is None:
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return np.asarray(cv2.resize(image, tuple(size), interpolation=cv2.INTER_AREA))


def as_uint8(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a gray or RGB image as uint8: of uint8, uint16, or float of 0..1."""
    if image.dtype == np.uint16:
        return np.asarray(image >> 8, dtype=np.uint8)
    if image.dtype.kind == "f":
        return np.asarray(np.round(np.clip(image, 0, 1) * 255), dtype=np.uint8)
    return np.asarray(image, dtype=np.uint8)


class Dithered:
    """RGB images as rows of a palette, dithered in a constant pattern: static parts stay static."""

    def __init__(self, palette: NDArray[np.uint8]) -> None:
        self._table = _GRAY + nearest_rows(palette[_GRAY:])

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return (height, width) of an image (height, width, 3)."""
        height, width = image.shape[:2]
        pattern = np.tile((_BAYER + 0.5) / 16 - 0.5, (-(-height // 4), -(-width // 4)))
        shift = np.rint(_DITHER * pattern[:height, :width, None]).astype(np.int16)
        r, g, b = np.moveaxis(np.clip(image + shift, 0, 255) >> 3, 2, 0)
        return np.asarray(self._table[r, g, b])


@dataclass(slots=True, eq=False)
class Canvas:
    """Draws moments into one picture, (height, width) uint8 rows of the palette, which is reused.

    zero_us  of the time code; None: the start of the first moment
    full_px_s  the speed at the rim of a colour wheel, in a corner of the events; None for no wheel
    arrow_px   the length of an arrow of full_px_s in place of the wheel, in pixels of the canvas

    Colours beside are rows of the palette, too, if `dithered`; otherwise call `in_colour` for each
    picture.
    """

    layout: CanvasLayout
    period_us: float
    slow: float
    beside: Beside | None
    dithered: Dithered | None = None
    zero_us: int | None = None
    full_px_s: float | None = None
    arrow_px: int | None = None
    picture: NDArray[np.uint8] = field(init=False)
    _image: NDArray[np.uint8] | None = field(init=False, default=None)  # image beside, RGB
    _rates: deque[tuple[int, int]] = field(init=False, default_factory=deque)

    def __post_init__(self) -> None:
        # Text is drawn on the first step of its ramp, which is also the ground.
        self.picture = np.full((self.layout.height, self.layout.width), _TEXT, np.uint8)

    def draw(self, moment: Moment) -> NDArray[np.uint8]:
        """Return the picture of a moment; it is overwritten by the next one."""
        at = self.layout
        if self.zero_us is None:
            self.zero_us = round(moment.t_us - self.period_us)
        if at.scale == 1:
            self.picture[: at.sensor.height, : at.sensor.width] = moment.index
        else:
            frame_kernels.enlarge(moment.index, at.scale, self.picture)
        if moment.draw_over is not None:
            place = self.picture[: at.sensor.height * at.scale, : at.sensor.width * at.scale]
            moment.draw_over(place, at.scale)
        if self.full_px_s is not None:
            self._speed_key(self.full_px_s)
        if self.beside is not None and at.beside is not None:
            image = self.beside.advance(moment.t_us, at.beside)
            if image is not None:
                self._put_beside(image)
        if at.footer_px:
            self._footer(moment)
        return self.picture

    def _speed_key(self, full_px_s: float) -> None:
        """Draw a colour wheel or an arrow, and its speed below, in the upper right corner."""
        at = self.layout
        small = max(9, round(at.text_px * 0.72))
        text = f"{number_text(full_px_s, 2)} px/s"
        if self.arrow_px is None:
            side = max(round(at.text_px * 3.2), text_width(text, small))
            key = np.where(wheel_rows(side) > 0, wheel_rows(side), np.uint8(_TEXT))
        else:
            key = _arrow_key(self.arrow_px, at.scale, text_width(text, small))
        side, right = key.shape[1], at.sensor.width * at.scale - small // 2
        high = len(key) + round(small * 1.25)
        if side > right or high > at.sensor.height * at.scale:
            return
        place = self.picture[small // 2 : small // 2 + high, right - side : right]
        place[:] = _TEXT
        place[: len(key)] = key
        write(place[len(key) :], text, (side - text_width(text, small)) // 2, 0, small, _TEXT)

    def _put_beside(self, image: NDArray[np.uint8]) -> None:
        place = self._place_beside(self.picture)
        self._image = None
        if self.dithered is not None:
            if image.ndim == 2:
                image = np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB))
            place[:] = self.dithered(image)
        elif image.ndim == 2:
            place[:] = _GRAY_OF[image]
        else:
            self._image = image

    def _place_beside(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        at, beside = self.layout, self.layout.beside or Size(0, 0)
        left = at.sensor.width * at.scale + at.gap_px
        return picture[: beside.height, left : left + beside.width]

    def in_colour(self, palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the picture as (height, width, 3) RGB, with the colours of the image beside."""
        table = np.ascontiguousarray(palette[None])
        picture = np.asarray(cv2.LUT(cv2.merge([self.picture] * 3), table), np.uint8)
        if self._image is not None:
            self._place_beside(picture)[:] = self._image
        return picture

    def _footer(self, moment: Moment) -> None:
        at = self.layout
        footer = self.picture[at.height - at.footer_px :]
        pad, small = round(at.text_px * 0.6), max(9, round(at.text_px * 0.72))
        digits = 6 if self.period_us < 1000 else 3
        time = f"{(moment.t_us - (self.zero_us or 0)) / 1e6:.{digits}f} s".rjust(digits + 5)
        left = write(footer, time, pad, pad // 2, at.text_px, _TEXT)
        second = pad // 2 + round(at.text_px * 1.3)
        speed = speed_text(self.slow)
        beneath = max(pad, left - text_width(speed, small))
        write(footer, speed, beneath, second, small, _FAINT)
        rate = (moment.on + moment.off) * 1e6 / self.period_us
        text = rate_text(rate)
        right = at.width - pad - text_width(text, small)
        if right - left < at.width // 4:
            right = at.width - pad
        else:
            write(footer, text, right, (at.footer_px - round(small * 1.25)) // 2, small, _FAINT)
        self._strip(footer[:, left + pad : right - pad // 2], moment)

    def _strip(self, place: NDArray[np.uint8], moment: Moment) -> None:
        """Draw the rates of ON (up) and OFF (down), the latest at the right end, and axes."""
        bar = max(1, self.layout.width // 320)
        tiny = max(8, round(self.layout.text_px * 0.6))
        place[:] = _TEXT
        named = place.shape[1] >= 16 * bar + 14 * tiny and place.shape[0] >= 4 * tiny
        axes = place
        if named:
            place = place[: -round(1.25 * tiny) - 2, text_width(_SCALE, tiny) + 3 :]
        bars = place.shape[1] // bar
        if bars < 16:
            return
        self._rates.append((moment.on, moment.off))
        while len(self._rates) > bars:
            self._rates.popleft()
        rates = np.array(self._rates, np.float64)
        middle = place.shape[0] // 2
        reach = middle - 3
        # An isolated spike, such as a sensor's first frame, is cut: it would flatten the rest.
        top = max(1.0, min(rates.max(), 3 * float(np.quantile(rates.max(axis=1), 0.9))))
        top_hz = nice_step(top * 1e6 / self.period_us, 1.0)  # constant while rates change a little
        top = top_hz * self.period_us / 1e6
        heights = np.ceil(np.minimum(rates / top, 1) * reach).repeat(bar, axis=0)
        place[middle] = _LINE
        shown = place[:, place.shape[1] - len(heights) :]
        above = np.arange(1, reach + 1)[::-1, None] <= heights[:, 0]
        below = np.arange(1, reach + 1)[:, None] <= heights[:, 1]
        shown[middle - reach : middle][above] = _ON
        shown[middle + 1 : middle + 1 + reach][below] = _OFF
        if named:
            place[:, 0] = _LINE
            scale = _short(top_hz).rjust(len(_SCALE))
            write(axes, scale, 0, 0, tiny, _FAINT)
            write(axes, scale, 0, place.shape[0] - round(1.25 * tiny), tiny, _FAINT)
            self._times(axes, place.shape, bar, tiny, moment.t_us)

    def _times(
        self, axes: NDArray[np.uint8], shape: tuple[int, ...], bar: int, tiny: int, now_us: int
    ) -> None:
        """Label times below the strip in seconds of the time code."""
        height, width = shape
        left = axes.shape[1] - width
        per_px = self.period_us * 1e-6 / bar
        now = (now_us - (self.zero_us or 0)) * 1e-6
        step = nice_step(width * per_px, width / (9 * tiny))
        first = max(0, math.ceil((now - width * per_px) / step))
        for number in range(first, math.floor(now / step) + 1):
            text = tick_text(number * step, step)
            wide = text_width(text, tiny)
            at = round(width - (now - number * step) / per_px)
            start = at - wide // 2
            if start >= 0 and start + wide <= width:
                axes[height - 2 : height + 2, left + at - 1] = _LINE
                write(axes, text, left + start, height + 2, tiny, _FAINT)


def speed_text(slow: float) -> str:
    """Return the playback speed of a video as text."""
    return f"1/{number_text(slow, 6)}x" if slow > 1 else f"{number_text(1 / slow, 6)}x"


def _short(rate_hz: float) -> str:
    """Return a round rate in few letters, such as 200k."""
    unit = rate_unit(rate_hz)
    return number_text(rate_hz / unit.scale, 3) + unit.name.removesuffix("ev/s")


def rate_text(rate_hz: float) -> str:
    """Return events per second as text of constant width."""
    unit = rate_unit(rate_hz)
    return f"{rate_hz / unit.scale:6.1f} {unit.name}" if rate_hz >= 1e3 else f"{rate_hz:6.0f}  ev/s"
