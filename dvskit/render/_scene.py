"""The view of a cloud, and a cloud in its box, for any camera.

Titles and the color key are at the top, the box below, as large as fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields, check_number, check_whole, checked
from dvskit.errors import ShapeError
from dvskit.render import _camera
from dvskit.render._axes import CloudStyle, bounds, draw_box
from dvskit.render._camera import (
    BoxCamera,
    Rect,
    box_halves,
    corners,
    fit,
    looks_along_an_axis,
    rotation,
)
from dvskit.render._drawing import (
    CAP,
    Dot,
    Drawing,
    Segments,
    Strip,
    TextLine,
    drawable,
    moved,
    paint,
    text_width,
)
from dvskit.render._numbers import number_text, time_unit
from dvskit.render._thinning import ThinnedEvents
from dvskit.render.colormap import (
    DARK,
    LIGHT,
    PAPER,
    ColorBar,
    Coloring,
    Colors,
    Theme,
    by_count,
    by_time,
)

_LEAST_UNIT = 0.88  # minimal label height in pixels
_LABEL_UNITS = 12.5
_LABEL_PT, _LEAST_PT = 7.0, 5.5  # in print
_COLUMN_IN = 80 / 25.4  # on narrower pages labels are smaller, to leave room for the cloud
_UNIT_OF = (640, 480)  # labels are 2 % of a picture's width: 5 points at the width of a column
_LEAST_PX, _MOST_PX = 64, 16384
_TOUCHING = 1.45  # diameter in pixels of a disc that contains a whole pixel
_LEAST_KEY_UNITS = 100
_SAFE_UNITS = 4.0  # for labels at angles between the sampled ones
_TRIED = 36
_TRIES = 6


@dataclass(frozen=True, slots=True)
class CloudView:
    """The view of a cloud.

    azimuth_deg     turn about the upright axis; 90 looks along time from the early side
    elevation_deg   -90 (from below) .. 90 (from above)
    color           `by_time`, `by_polarity`, `by_count`, or a function of the same form
    point_px        the side of a point in pixels of the picture; None chooses by sensor and count
    dark            light on dark, or dark on light
    title           text above the cloud; letters in no font here become boxes
    max_events      above this, every 2nd, 4th, ... event is drawn, and the picture reports it
    text_scale      0.5..4: size of the text and its margins, relative to the default
    dpi             for print, 36..2400 pixels per inch: labels of 7 points, titles of 8, smaller
                    by up to a fifth below a width of 80 mm, and white if not dark; None is for
                    screens: labels of 2 % of the width of a picture of 4:3, at least 11 pixels

    Straight from the front, a side or above (azimuths of whole quarter turns at elevation 0, and
    elevations of 90) the projection is parallel: pixels and times of one plane of the box cover
    those behind them exactly. All other views have a mild perspective. Raises ConfigError for
    values out of range.

        view = dvskit.render.CloudView(
            azimuth_deg=30, color=dvskit.render.by_polarity, dark=False, title="A wave"
        )
        dvskit.render.cloud(dvskit.load_events("events.raw"), "wave.png", view=view)
    """

    azimuth_deg: float = checked(check_number, -36_000, 36_000, default=48.0)
    elevation_deg: float = checked(check_number, -90, 90, default=24.0)
    color: Coloring = by_time
    point_px: float | None = checked(check_number, 0.5, 64, default=None)
    dark: bool = True
    title: str = ""
    max_events: int = checked(check_whole, 1, default=20_000_000)
    text_scale: float = checked(check_number, 0.5, 4, default=1.0)
    dpi: float | None = checked(check_number, 36, 2400, default=None)

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def theme(self) -> Theme:
        return DARK if self.dark else LIGHT if self.dpi is None else PAPER

    def style(self, size_px: tuple[int, int]) -> CloudStyle:
        """Return the style of a picture of that size."""
        if self.dpi is not None:
            narrow = size_px[0] / self.dpi / _COLUMN_IN
            label_pt = min(_LABEL_PT, max(_LEAST_PT, _LABEL_PT * narrow))
            unit = self.dpi / 72 * label_pt / _LABEL_UNITS
        else:
            unit = max(_LEAST_UNIT, min(size_px[0] / _UNIT_OF[0], size_px[1] / _UNIT_OF[1]))
        return CloudStyle(self.theme, unit * self.text_scale, size_px)


class Scene:
    """Events, their colors and axes in a picture of `size_px`; `note` is a line of text."""

    def __init__(
        self, kept: ThinnedEvents, view: CloudView, size_px: tuple[int, int], note: str = ""
    ) -> None:
        check_size_px(size_px)
        self.size_px, self.events, self.style = size_px, kept.events, view.style(size_px)
        self.kept = kept
        self.colors = view.color(kept.events, self.style.theme)
        self._view = view
        lines = _lines(kept, view, self.style, note)
        self._header, self._top_px = _lay_out_header(self.style, lines, self.colors)

    def still(self) -> BoxCamera:
        """Return the camera of a still picture, as near as the view allows."""
        return self.cameras([(self._view.azimuth_deg, self._view.elevation_deg)])[0]

    def cameras(self, angles: list[tuple[float, float]]) -> list[BoxCamera]:
        """Return a camera for each azimuth and elevation, all at one distance and with one center.

        In none of them is a corner of the box or a label outside of the picture or in the header;
        the box is as large as that allows. If all look along an axis of the box, the projection is
        parallel.
        """
        straight = all(looks_along_an_axis(*angle) for angle in angles)
        perspective = 0.0 if straight else 1.0
        halves = box_halves(self.events.sensor_size)
        turns = np.stack([rotation(*angle) for angle in angles])
        if not self.style.worded:
            return fit(halves, turns, self._inner(np.zeros(4)), perspective)
        # Left, top, right, bottom: how far labels extend beyond the box, initially a guess. A
        # smaller box has other labels, so this is repeated until they fit.
        around = np.full(4, 46 * self.style.unit_px)
        for number in range(_TRIES):
            found = fit(halves, turns, self._inner(around), perspective)
            needed = self._overhang(found)
            if number and (needed <= around + 0.25).all():
                break
            around = np.maximum(needed, around) if number else needed
        return found

    def _inner(self, around: NDArray[np.float64]) -> Rect:
        """Return the area for the box itself: at least a quarter of the picture's sides."""
        width, height = self.size_px
        left, top, right, bottom = around + self.style.pad_px
        top += self._top_px - self.style.pad_px
        across = min(1.0, 0.75 * width / (left + right))
        down = min(1.0, 0.75 * height / (top + bottom))
        return (left * across, top * down, width - right * across, height - bottom * down)

    def _overhang(self, found: list[BoxCamera]) -> NDArray[np.float64]:
        """Return how far labels extend beyond the box: left, top, right, bottom."""
        ends = corners(box_halves(self.events.sensor_size))
        box = np.concatenate([camera.project(ends)[:, :2] for camera in found])
        low, high = box.min(axis=0), box.max(axis=0)
        tried = found[:: max(1, len(found) // _TRIED)]
        words = [
            item for camera in tried for item in self._box(camera) if isinstance(item, TextLine)
        ]
        if not words:
            return np.zeros(4)
        sides = np.array([bounds(each) for each in words])
        over = np.concatenate([low - sides[:, :2].min(axis=0), sides[:, 2:].max(axis=0) - high])
        safe = _SAFE_UNITS * self.style.unit_px if len(found) > _TRIED else 0.0
        return np.asarray(np.maximum(over + safe, 0.0))

    def _box(self, camera: BoxCamera) -> Drawing:
        return draw_box(camera, self.events.sensor_size, self.kept.span_us, self.style)

    def point_px(self, camera: BoxCamera, share: float = 1.0) -> float:
        """Return the side of a point in pixels, if `share` of the events are visible at once."""
        if self._view.point_px is not None:
            return self._view.point_px
        # Half a sensor pixel as it appears, less for many events in the box, more for a few.
        pitch = camera.scale / camera.distance / max(self.events.sensor_size)
        crowd = (200_000 / max(share * len(self.events), 1)) ** 0.25
        # A point is never smaller than a pixel, or than print can show.
        least = max(1.0, 0.8 * self.style.unit_px)
        if not camera.perspective and abs(camera.turn[2, 0]) == 1:
            # Seen as on the sensor, points touch: gaps would form a pattern.
            return float(np.clip(_TOUCHING * pitch, least, 5.0 * least))
        return float(np.clip(0.55 * pitch * min(crowd, 1.5), least, 5.0 * least))

    def drawing(self, camera: BoxCamera) -> Drawing:
        """Return the background of the events: the box, its labels, the key, the text."""
        return [*self._box(camera), *self._header]

    def points(
        self, camera: BoxCamera, part: slice = slice(None), share: float = 1.0
    ) -> _camera.Points:
        """Return a part of the events to draw, if `share` of all are visible at once."""
        kept, px = self.kept, self.point_px(camera, share)
        index = self.colors.index[part]
        return _camera.Points(self.events[part], index, kept.start_us, kept.span_us, px)

    def layers(self, camera: BoxCamera) -> _camera.Layers:
        """Return the nearest events at each pixel."""
        return _camera.layers_of(self.points(camera), camera, self.size_px)

    def ground(self, camera: BoxCamera) -> NDArray[np.uint8]:
        """Return the picture without events, (height, width, 3)."""
        return paint(self.drawing(camera), self.size_px, self.style.theme.ground)

    def picture(self, camera: BoxCamera) -> NDArray[np.uint8]:
        """Return the picture, (height, width, 3) uint8, RGB."""
        picture = self.ground(camera)
        _camera.shade_over(self.layers(camera), self.colors, self.style.theme.ground, picture)
        return picture

    def alone(self, camera: BoxCamera) -> NDArray[np.uint8]:
        """Return the events alone, (height, width, 4) uint8, RGB and alpha."""
        return _camera.shade_alone(self.layers(camera), self.colors, self.style.theme.ground)


def check_size_px(size_px: tuple[int, int]) -> None:
    """Raise ShapeError unless both sides of a picture are 64..16384 pixels."""
    if not all(_LEAST_PX <= side <= _MOST_PX for side in size_px):
        raise ShapeError(
            f"a picture of {size_px[0]}x{size_px[1]} pixels is outside "
            f"{_LEAST_PX}..{_MOST_PX} a side"
        )


def _lines(
    kept: ThinnedEvents, view: CloudView, style: CloudStyle, note: str
) -> list[tuple[str, str, float]]:
    """Return the text of a picture: text, color, and height in units."""
    theme, small = style.theme, 12.0 if style.compact else 13.5
    title = drawable(view.title)
    lines = [(title, theme.text, 16.0 if style.compact else 21.0)] if title else []
    unit_name, length = time_unit(kept.span_us)
    count = f"{kept.total:,} event{'s' * (kept.total != 1)}" if kept.total else "no events"
    span = f"{number_text(kept.span_us / length)} {unit_name}"
    size = kept.events.sensor_size
    lines.append((f"{count}   {span}   {size.width} × {size.height} px", theme.faint, small))
    if note:
        lines.append((note, theme.faint, small))
    if kept.notice:
        counted = ", and counted" if view.color is by_count else ""
        lines.append((kept.notice + counted, theme.on, small))
    return lines


def _lay_out_header(
    style: CloudStyle, lines: list[tuple[str, str, float]], colors: Colors
) -> tuple[Drawing, float]:
    """Return lines of text with the key beside or below them, and their lower end."""
    unit, pad, width = style.unit_px, style.pad_px, style.size_px[0]
    if not style.worded:
        return [], pad
    drawing: Drawing = []
    down, right = pad, 0.0
    for text, color, units in lines:
        # A line too long for the picture is written smaller.
        size = units * unit * min(1.0, (width - 2 * pad) / text_width(text, units * unit))
        down += CAP * units * unit
        drawing.append(TextLine(text, pad, down, size, color))
        right = max(right, pad + text_width(text, size))
        down += 0.6 * units * unit
    room = width - pad - right - 20 * unit
    beside = room >= _LEAST_KEY_UNITS * unit
    key, key_width, key_height = _key(
        colors, style, min(220 * unit, room if beside else width - 2 * pad)
    )
    if beside and key_width <= room:
        drawing += moved(key, width - pad - key_width, pad)
        return drawing, max(down, pad + key_height)
    drawing += moved(key, pad, down + 2 * unit)
    return drawing, down + 2 * unit + key_height


def _key(colors: Colors, style: CloudStyle, most_px: float) -> tuple[Drawing, float, float]:
    """Return the legend or the color bar with its upper left corner at (0, 0), and its size."""
    unit, theme = style.unit_px, style.theme
    if not isinstance(colors.key, ColorBar):
        return _legend(colors.key, style)
    title, size, small = colors.key.title, 12.5 * unit, 11.5 * unit
    drawing: Drawing = [
        TextLine(title, 0.0, CAP * size, size, theme.text),
        Strip(0.0, 16 * unit, most_px, 25 * unit, colors.palette),
    ]
    taken: list[TextLine] = []
    marks = []
    # The ends first: labels in between are omitted if they would touch.
    ticks = sorted(colors.key.ticks, key=lambda tick: (tick[0] not in (0, 1), tick[0]))
    for place, text in ticks:
        wide = text_width(text, small)
        left = min(max(place * most_px - wide / 2, 0.0), most_px - wide)
        words = TextLine(text, left, 30 * unit + CAP * small, small, theme.faint)
        if all(abs(left + wide / 2 - (b[0] + b[2]) / 2) >= (wide + b[2] - b[0]) / 2 + 5 * unit
               for b in map(bounds, taken)):  # fmt: skip
            taken.append(words)
            if 0 < place < 1:
                at = place * most_px
                marks.append([at, 25 * unit, at, 28 * unit])
    if marks:
        drawing.append(Segments(np.array(marks), theme.line, unit))
    return [*drawing, *taken], most_px, max(bounds(words)[3] for words in taken)


def _legend(key: tuple[tuple[str, str], ...], style: CloudStyle) -> tuple[Drawing, float, float]:
    unit = style.unit_px
    drawing: Drawing = []
    left, size = 0.0, 14 * unit
    middle = CAP * size / 2
    for name, color in key:
        drawing.append(Dot(left + 5 * unit, middle, 4.5 * unit, color))
        drawing.append(TextLine(name, left + 16 * unit, CAP * size, size, style.theme.text))
        left += 16 * unit + text_width(name, size) + 20 * unit
    return drawing, left - 20 * unit, CAP * size
