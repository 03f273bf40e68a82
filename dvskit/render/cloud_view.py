"""How a cloud is looked at, in still pictures and turntables."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError
from dvskit.render._axes import Style
from dvskit.render.colormap import DARK, LIGHT, Colouring, Theme, by_time

_PAPER = replace(LIGHT, ground="#ffffff")
_LEAST_UNIT = 0.88  # labels are 11 pixels high at the least
_LABEL_UNITS = 12.5
_LABEL_PT, _LEAST_PT = 7.0, 5.5  # in print
_COLUMN_IN = 80 / 25.4  # on narrower pages labels are smaller, or they would leave the cloud little
_UNIT_OF = (640, 480)  # labels are 2 % of a picture's width: of 5 points where it is a column wide


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
