"""How a cloud is looked at, and a cloud in its box, ready to be seen from any camera."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, ShapeError
from dvskit.render import _splat
from dvskit.render._axes import Style, draw_box
from dvskit.render._camera import Camera, looks_along_an_axis
from dvskit.render._drawing import Drawing, paint
from dvskit.render._layout import Page, cameras, lay_out_header
from dvskit.render._numbers import number_text, time_unit
from dvskit.render._text import drawable
from dvskit.render._thin import Thinned
from dvskit.render.colormap import DARK, LIGHT, Colouring, Theme, by_count, by_time

_PAPER = replace(LIGHT, ground="#ffffff")
_LEAST_UNIT = 0.88  # labels are 11 pixels high at the least
_LABEL_UNITS = 12.5
_LABEL_PT, _LEAST_PT = 7.0, 5.5  # in print
_COLUMN_IN = 80 / 25.4  # on narrower pages labels are smaller, or they would leave the cloud little
_UNIT_OF = (640, 480)  # labels are 2 % of a picture's width: of 5 points where it is a column wide
_LEAST_PX, _MOST_PX = 64, 16384
_TOUCHING = 1.45  # pixels across is a disc that holds a whole one


@check_arguments
@dataclass(frozen=True, slots=True)
class CloudView:
    """How a cloud is looked at.

    azimuth_deg     turn about the upright axis; 90 looks along time from the early side
    elevation_deg   -90 (from below) .. 90 (from above)
    colour          `by_time`, `by_polarity`, `by_count`, or a function of the same form
    point_px        the side of a point in pixels of the picture; None chooses by sensor and count
    dark            light on dark, or dark on light
    title           text above the cloud; for letters that no font here has there are boxes
    max_events      beyond this every 2nd, 4th, ... event is drawn, and the picture says so
    text_scale      0.5..4: how large the words and the margins for them are, 1 as usual
    dpi             for print, 36..2400 pixels an inch: labels of 7 points, titles of 8, smaller
                    by up to a fifth below a width of 80 mm, and white where it is not dark; None
                    is for screens: labels of 2 % of the width of a picture of 4:3, and of 11
                    pixels at the least

    Straight from the front, a side or above (azimuths of whole quarter turns at elevation 0, and
    elevations of 90) the projection is parallel: pixels and times of one plane of the box cover
    those behind them exactly. All other views have a mild perspective.
    """

    azimuth_deg: float = 48.0
    elevation_deg: float = 24.0
    colour: Colouring = by_time
    point_px: float | None = None
    dark: bool = True
    title: str = ""
    max_events: int = 20_000_000
    text_scale: float = 1.0
    dpi: float | None = None

    def __post_init__(self) -> None:
        if not abs(self.azimuth_deg) <= 36_000:
            raise ConfigError(f"azimuth_deg={self.azimuth_deg} is outside -36000..36000")
        if not -90 <= self.elevation_deg <= 90:
            raise ConfigError(f"elevation_deg={self.elevation_deg} is outside -90..90")
        if self.point_px is not None and not 0.5 <= self.point_px <= 64:
            raise ConfigError(f"point_px={self.point_px} is outside 0.5..64")
        if not 0.5 <= self.text_scale <= 4:
            raise ConfigError(f"text_scale={self.text_scale} is outside 0.5..4")
        if self.dpi is not None and not 36 <= self.dpi <= 2400:
            raise ConfigError(f"dpi={self.dpi} is outside 36..2400")

    @property
    def theme(self) -> Theme:
        """The colours of the picture."""
        return DARK if self.dark else LIGHT if self.dpi is None else _PAPER

    def style(self, size_px: tuple[int, int]) -> Style:
        """Return the style of a picture of that size."""
        if self.dpi is not None:
            narrow = size_px[0] / self.dpi / _COLUMN_IN
            label_pt = min(_LABEL_PT, max(_LEAST_PT, _LABEL_PT * narrow))
            unit = self.dpi / 72 * label_pt / _LABEL_UNITS
        else:
            unit = max(_LEAST_UNIT, min(size_px[0] / _UNIT_OF[0], size_px[1] / _UNIT_OF[1]))
        return Style(self.theme, unit * self.text_scale, size_px)


class Scene:
    """Events, their colours, and what stands around them, in a picture of `size_px`.

    `note` is a line of words more.
    Raises ShapeError unless both sides are 64..16384 pixels.
    """

    def __init__(
        self, kept: Thinned, view: CloudView, size_px: tuple[int, int], note: str = ""
    ) -> None:
        check_size_px(size_px)
        self.size_px, self.events, self.style = size_px, kept.events, view.style(size_px)
        self.span = _splat.Span(kept.start_us, kept.stop_us)
        self.colours = view.colour(kept.events, self.style.theme)
        self._view = view
        self._page = Page(self.style, self.events.size, kept.stop_us - kept.start_us)
        self._header = lay_out_header(
            self.style, _lines(kept, view, self.style, note), self.colours
        )

    def still(self) -> Camera:
        """Return the camera of a still picture, as near as the view allows."""
        return self.cameras([(self._view.azimuth_deg, self._view.elevation_deg)])[0]

    def cameras(self, angles: list[tuple[float, float]]) -> list[Camera]:
        """Return cameras for azimuths and elevations that share a distance and a centre.

        Where all of them look along an axis of the box the projection is parallel.
        """
        straight = all(looks_along_an_axis(*angle) for angle in angles)
        perspective = 0.0 if straight else 1.0
        return cameras(self._page, self._header.bottom_px, angles, perspective)

    def point_px(self, camera: Camera, share: float = 1.0) -> float:
        """Return the side of a point in pixels, where `share` of the events are seen at once."""
        if self._view.point_px is not None:
            return self._view.point_px
        # Half a sensor pixel as it appears, less where many events share the box, more for a few.
        pitch = camera.scale / camera.distance / max(self.events.size)
        crowd = (200_000 / max(share * len(self.events), 1)) ** 0.25
        # A point is never smaller than a pixel, or than print can show.
        least = max(1.0, 0.8 * self.style.unit_px)
        if not camera.perspective and abs(camera.turn[2, 0]) == 1:
            # As the sensor saw it, points touch: their gaps would be a pattern of their own.
            return float(np.clip(_TOUCHING * pitch, least, 5.0 * least))
        return float(np.clip(0.55 * pitch * min(crowd, 1.5), least, 5.0 * least))

    def drawing(self, camera: Camera) -> Drawing:
        """Return all that lies behind the events: the box, its labels, the key, the words."""
        page = self._page
        box = draw_box(camera, page.sensor, page.span_us, page.style)
        return [*box, *self._header.drawing]

    def layers(self, camera: Camera) -> _splat.Layers:
        """Return the nearest events at each place."""
        points = _splat.Points(self.events, self.colours.index, self.point_px(camera))
        return _splat.layers_of(points, camera, self.span, self.size_px)

    def ground(self, camera: Camera) -> NDArray[np.uint8]:
        """Return the picture without events, (height, width, 3)."""
        return paint(self.drawing(camera), self.size_px, self.style.theme.ground)

    def picture(self, camera: Camera) -> NDArray[np.uint8]:
        """Return the picture, (height, width, 3) uint8, RGB."""
        picture = self.ground(camera)
        _splat.shade_over(self.layers(camera), self.colours, self.style.theme.ground, picture)
        return picture

    def points(self, camera: Camera) -> NDArray[np.uint8]:
        """Return the events alone, (height, width, 4) uint8, RGB and alpha."""
        return _splat.shade_alone(self.layers(camera), self.colours, self.style.theme.ground)


def check_size_px(size_px: tuple[int, int]) -> None:
    """Raise ShapeError unless both sides of a picture are 64..16384 pixels."""
    if not all(_LEAST_PX <= side <= _MOST_PX for side in size_px):
        raise ShapeError(
            f"a picture of {size_px[0]}x{size_px[1]} pixels is outside "
            f"{_LEAST_PX}..{_MOST_PX} a side"
        )


def _lines(kept: Thinned, view: CloudView, style: Style, note: str) -> list[tuple[str, str, float]]:
    """Return the words of a picture: text, colour, and how many units high."""
    theme, small = style.theme, 12.0 if style.compact else 13.5
    title = drawable(view.title)
    lines = [(title, theme.text, 16.0 if style.compact else 21.0)] if title else []
    unit_name, length = time_unit(kept.stop_us - kept.start_us)
    count = f"{kept.total:,} event{'s' * (kept.total != 1)}" if kept.total else "no events"
    span = f"{number_text((kept.stop_us - kept.start_us) / length)} {unit_name}"
    size = kept.events.size
    lines.append((f"{count}   {span}   {size.width} × {size.height} px", theme.faint, small))
    if note:
        lines.append((note, theme.faint, small))
    if kept.notice:
        counted = ", and counted" if view.colour is by_count else ""
        lines.append((kept.notice + counted, theme.on, small))
    return lines
