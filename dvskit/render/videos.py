"""Events to a video: MP4 (H.264), GIF, or a folder of PNG.

The picture of a video is the sensor, enlarged, an optional source video beside it, and a footer
below. It has one palette of 256 colors, so that a picture is one byte per pixel for any output
format.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dvskit._checks import (
    LATEST_US,
    check_choice,
    check_fields,
    check_number,
    check_whole,
    checked,
)
from dvskit._files import whole_file, whole_folder
from dvskit.errors import ShapeError, VideoError
from dvskit.events import Events, Size, Source, as_size
from dvskit.render import frame_kernels
from dvskit.render._numbers import check_suffix, nice_step, number_text, rate_unit, tick_text
from dvskit.render.colormap import DARK, LIGHT, Theme, gradient, nearest_rows, rgb, wheel_rows
from dvskit.render.event_frames import LEVELS, Decay, FrameStyle, Moment, frames
from dvskit.render.letters import text_width, write
from dvskit.render.motion_styles import FlowArrows, FlowCells, FlowColors
from dvskit.render.writers import (
    CRF_LIMITS,
    FPS_LIMITS,
    MOVING_SUFFIXES,
    PRESETS,
    TIMES_FILE,
    Film,
    InThread,
    output_fps,
)
from dvskit.video import FrameSource

EVENT_COLORS = 2 * LEVELS + 1
_TEXT = EVENT_COLORS  # 16 steps from the ground to the color of text
_FAINT = _TEXT + 16  # 16 steps to the faint one
_ON, _OFF, _LINE = _FAINT + 16, _FAINT + 17, _FAINT + 18
_GRAY = _LINE + 1
_GRAYS = 256 - _GRAY
_GRAY_OF = (_GRAY + np.round(np.arange(256) * ((_GRAYS - 1) / 255))).astype(np.uint8)
_CUBE = 3  # steps of red, green and blue each, in a palette for color images
_BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])
_DITHER = 16  # amplitude, of 255
_SCALE = "500k"  # the longest name of a rate
_LEAST_FOOTER_PX = 200  # narrower canvases have no room for text

Images = Iterable[tuple[int, NDArray[Any]]]


def whole_palette(
    events: NDArray[np.uint8], theme: Theme, *, image: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return (256, 3) RGB: colors of events, of text and lines, and grays or those of an image."""
    single = np.array([rgb(theme.on), rgb(theme.off), rgb(theme.line)], np.uint8)
    text = gradient((theme.ground, theme.text), 16)
    faint = gradient((theme.ground, theme.faint), 16)
    grays = np.round(np.linspace(0, 255, _GRAYS)).astype(np.uint8)
    images = np.stack([grays] * 3, axis=1) if image is None else _colors_of(image)
    return np.concatenate([events, text, faint, single, images])


def _colors_of(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return as many colors as there are grays: a coarse cube of all, the rest of an image."""
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


class ImagesBeside:
    """Timed images: at any time, the latest that is not later.

    size     of the first
    colors  the first as RGB if it has colors; then all are shown in color

    Raises VideoError if there are none.
    """

    def __init__(self, images: Images) -> None:
        in_color = images.pictures() if isinstance(images, FrameSource) else images
        self._images: Iterator[tuple[int, NDArray[Any]]] = iter(in_color)
        self._next = next(self._images, None)
        if self._next is None:
            raise VideoError("there are no frames to show beside the events")
        first = self._next[1]
        self.size = as_size((first.shape[1], first.shape[0]))
        self.colors = as_uint8(first) if first.ndim == 3 else None

    def advance(self, t_us: int, size: Size) -> NDArray[np.uint8] | None:
        """Return the image at `t_us`, scaled to a size; None if it is unchanged.

        (height, width) uint8 gray or, in colors, (height, width, 3) RGB. Raises VideoError if
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
        if image.ndim == 3 and self.colors is None:
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
    full_px_s  the speed at the rim of a color wheel, in a corner of the events; None for no wheel
    arrow_px   the length of an arrow of full_px_s in place of the wheel, in pixels of the canvas

    Colors beside are rows of the palette, too, if `dithered`; otherwise call `in_color` for each
    picture.
    """

    layout: CanvasLayout
    period_us: float
    slow: float
    beside: ImagesBeside | None
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
        """Draw a color wheel or an arrow, and its speed below, in the upper right corner."""
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

    def in_color(self, palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the picture as (height, width, 3) RGB, with the colors of the image beside."""
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


_OF_SPEED = (FlowArrows, FlowColors)
_OWN = re.compile(rf"{re.escape(TIMES_FILE)}|frame_\d{{6,}}\.png")  # files of an earlier video


@dataclass(frozen=True, slots=True)
class VideoView:
    """Options for a video of events.

    style             of a frame, such as Decay()
    fps               frames per second of the video; None: 60, GIF 25
    slow              seconds of video per second of events: 1000 shows 1 ms in 1 s
    dark              light on dark, or dark on light
    scale             each pixel of the sensor as scale x scale; None enlarges small sensors
    footer            time code, speed, and the rates of ON and OFF events, below the picture (not
                      below one narrower than 200 pixels)
    start_us, stop_us the part to show; None leaves a side open
    zero_us           the zero of the time code; None: the start of the video
    crf, preset       quality (0 lossless .. 51) and effort of x264. Events come and go, so that its
                      motion search finds little. Here "ultrafast" uses B-frames and fine rounding,
                      unlike x264's own

        view = dvskit.render.VideoView(fps=30, slow=4, stop_us=100_000, dark=False)
        dvskit.render.video(dvskit.load_events("events.raw"), "slow.mp4", view=view)
    """

    style: FrameStyle = field(default_factory=Decay)
    fps: float | None = checked(check_number, *FPS_LIMITS, default=None)
    slow: float = checked(check_number, 1e-4, 10**6, default=1.0)
    dark: bool = True
    scale: int | None = checked(check_whole, 1, 64, default=None)
    footer: bool = True
    start_us: int | None = checked(check_number, -LATEST_US, LATEST_US, default=None)
    stop_us: int | None = checked(check_number, -LATEST_US, LATEST_US, default=None)
    zero_us: int | None = checked(check_number, -LATEST_US, LATEST_US, default=None)
    crf: float = checked(check_number, *CRF_LIMITS, default=15.0)
    preset: str = checked(check_choice, PRESETS, default="ultrafast")

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class VideoReport:
    """The result of `video`: the number of frames of `size` pixels, and of the events in them.

    A GIF has 25 frames a second by default, other videos 60.

        events = dvskit.load_events("events.raw").between(0, 200_000)
        report = dvskit.render.video(events, "start.gif")
        report.frames, report.events  # (5, 2989)
    """

    path: Path
    frames: int
    events: int
    size: Size


def _arrow_px(style: FrameStyle, layout: CanvasLayout) -> int | None:
    """Return the length of the arrow of full speed, for a style with arrows."""
    if not isinstance(style, FlowArrows):
        return None
    return FlowCells.on(layout.sensor, style.cell_px).cell_px * layout.scale


def video(
    events_or_source: Events | Source,
    path: str | PathLike[str],
    *,
    view: VideoView | None = None,
    beside: Images | None = None,
    overwrite: bool = False,
    on_frame: Callable[[int, int], None] | None = None,
) -> VideoReport:
    """Write a video of events: .mp4, .mkv, .mov, .gif, or a folder of PNG (a path without suffix).

    beside    (t_us, image) in time order, gray or RGB like the first of them, such as a FrameSource
              (in its colors): shown at the right of the events, at any time the latest image that
              is not later. A GIF has 94 colors for it, dithered
    on_frame  is called with the number of frames so far and the time of the latest in us

    Frames are streamed; the file is written whole or not at all. Raises ConfigError for another
    suffix, VideoError without events, OutputError.

        events = dvskit.load_events("events.raw").between(0, 500_000)
        dvskit.render.video(events, "events.mp4")
        clip = dvskit.video.open_frames("video.mp4")
        dvskit.render.video(events, "beside.mp4", beside=clip)
    """
    target, view = Path(path), VideoView() if view is None else view
    suffix = target.suffix.lower()
    if suffix:
        check_suffix(target, MOVING_SUFFIXES, "a video (without a suffix: a folder)")
    gif = suffix == ".gif"
    fps = output_fps(view.fps, gif=gif, usual=60)
    theme = DARK if view.dark else LIGHT
    source_frames = frames(
        events_or_source, style=view.style, fps=float(fps * Fraction(view.slow)),
        start_us=view.start_us, stop_us=view.stop_us, theme=theme,
    )  # fmt: skip
    images = None if beside is None else ImagesBeside(beside)
    colors = None if images is None else images.colors
    palette = whole_palette(source_frames.palette, theme, image=colors if gif else None)
    in_color = colors is not None and not gif
    shown = None if images is None else images.size
    layout = lay_out(source_frames.size, view.scale, beside=shown, footer=view.footer)
    canvas = Canvas(
        layout, float(source_frames.period_us), slow=view.slow, beside=images,
        dithered=Dithered(palette) if gif and colors is not None else None, zero_us=view.zero_us,
        full_px_s=view.style.full_px_s if isinstance(view.style, _OF_SPEED) else None,
        arrow_px=_arrow_px(view.style, layout),
    )  # fmt: skip
    size = Size(layout.width, layout.height)
    film = Film(suffix, size, palette, fps, view.crf, view.preset, in_color)
    count = events = 0
    opened = (
        whole_file(target, overwrite=overwrite)
        if suffix
        else whole_folder(
            target, overwrite=overwrite, is_own=lambda name: bool(_OWN.fullmatch(name))
        )
    )
    with (
        opened as partial,
        InThread(film.writer(partial), str(target)) as out,
    ):
        for moment in source_frames.moments():
            picture = canvas.draw(moment)
            out.write(moment.t_us, canvas.in_color(palette) if in_color else picture)
            count, events = count + 1, events + moment.on + moment.off
            if on_frame is not None:
                on_frame(count, moment.t_us)
        if not events:
            raise VideoError(f"{target}: there are no events to show")
    return VideoReport(target, count, events, size)
