"""The options of `dvskit cloud` that set the look of the picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvskit.cli._console import parse_time_us
from dvskit.cli._options import Span, as_usage, model_names, option, size_from
from dvskit.errors import ConfigError

if TYPE_CHECKING:
    from dvskit.render import CloudView, Turn

_MM_PER_INCH, _PRINT_DPI = 25.4, 300.0
ColourName = StrEnum("ColourName", ["time", "polarity", "count"])
ViewName = StrEnum("ViewName", ["slant", "front", "side", "top"])
_ANGLES = {
    ViewName.slant: (48.0, 24.0), ViewName.front: (90.0, 0.0), ViewName.side: (0.0, 0.0),
    ViewName.top: (0.0, 90.0),
}  # fmt: skip
# Options of only one kind of file.
_OF_PICTURES = ("pixels", "width", "dpi", "point_px")
_OF_VIDEOS = ("seconds", "fps", "turns", "sweep")
_OF_PAGES = ("labels", "model", "every")
_REFUSED = {
    "a page": (*_OF_PICTURES, *_OF_VIDEOS), "a still": (*_OF_PAGES, *_OF_VIDEOS),
    "a video": _OF_PAGES,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Looks:
    """The part of a recording to show, and its look; in the order of the help page."""

    colour: ColourName | None = option(
        "What colours show: time, polarity, or count, the events of a pixel.",
        metavar="WHAT", shown="time",
    )  # fmt: skip
    view: ViewName | None = option(
        "The view: slant, in perspective; or without perspective front, as the sensor saw it, "
        "side, or top.",
        metavar="VIEW", shown="slant",
    )  # fmt: skip
    azimuth: float | None = option(
        "Turn the view about the upright axis, to an angle in degrees: 0 looks from the side, 90 "
        "from the front.",
        shown="that of --view; 48 for slant",
    )
    elevation: float | None = option(
        "Raise the view to an angle in degrees: -90 looks from below, 0 level, 90 from above.",
        shown="that of --view; 24 for slant",
    )
    span: Span = field(default_factory=Span)
    title: str | None = option(
        "A title above the picture.", shown="none; a page has the file's name"
    )
    dark: bool | None = option(
        "Light on dark, or dark on light.", "--dark/--bright", shown="dark; bright for print"
    )
    pixels: str | None = option(
        "Of a picture or video: its size in pixels, WIDTHxHEIGHT.", shown="1280x960, GIF 640x480"
    )
    width: float | None = option(
        "Of a picture for print: its width in mm instead of --pixels; 88 is a column, 180 a page."
    )
    dpi: float | None = option("Of a picture for print: pixels an inch.", shown="300 with --width")
    point_px: float | None = option(
        "Of a picture or video: the side of a point in pixels.", shown="as fits the sensor"
    )
    seconds: float | None = option("Of a video: how long it takes.", shown="6")
    fps: float | None = option("Of a video: frames a second.", shown="30, GIF 25")
    turns: int | None = option("Of a video: whole turns, 0 for none.", shown="1")
    sweep: str | None = option(
        "Of a video: show a moving time window of this length, such as 50ms.", shown="all at once"
    )
    labels: Path | None = option(
        "Of a page: a CSV file of labels, start_us,stop_us,name, shown along the time axis.",
        shown=False,
    )
    model: str | None = option(
        "Of a page: a model folder, or a shipped model's name. Its decisions are shown along the "
        "time axis.",
        autocompletion=model_names,
    )
    every: str | None = option(
        "Of a page: the time from one decision of --model to the next, such as 200ms.",
        shown="the model's window",
    )

    def check(self, out: Path, kind: str) -> None:
        """Raise ConfigError for an option that does not apply to a kind of file."""
        for name in _REFUSED[kind]:
            if getattr(self, name) is not None:
                raise ConfigError(
                    f"{out}: --{name.replace('_', '-')} does not apply to {kind}; leave it out"
                )

    @property
    def angles(self) -> tuple[float, float]:
        """Azimuth and elevation in degrees."""
        azimuth, elevation = _ANGLES[self.view or ViewName.slant]
        return (
            azimuth if self.azimuth is None else self.azimuth,
            elevation if self.elevation is None else self.elevation,
        )

    def size_px(self) -> tuple[int, int] | None:
        """Return the size: as given, or width in mm and 3/4 of it as height. Raises ConfigError."""
        from dvskit.render._scene import check_size_px

        size_px: tuple[int, int] | None = None
        if self.width is None:
            if self.pixels is not None:
                size_px = size_from(self.pixels, "--pixels")
        elif self.pixels is not None:
            raise ConfigError("--width and --pixels both set the size; with --pixels give --dpi")
        else:
            dpi = _PRINT_DPI if self.dpi is None else self.dpi
            if not 1 <= self.width * dpi / _MM_PER_INCH <= 1e6:
                raise ConfigError(
                    f"--width {self.width:g} mm at {dpi:g} dpi is no picture; 88 is a column"
                )
            width_px = round(self.width * dpi / _MM_PER_INCH)
            size_px = width_px, round(width_px * 3 / 4)
        if size_px is not None:
            with as_usage("--pixels" if self.width is None else "--width"):
                check_size_px(size_px)
        return size_px

    def cloud_view(self, title: str) -> CloudView:
        """Return the view of a picture's cloud. Raises ConfigError."""
        from dvskit import render

        azimuth, elevation = self.angles
        # Only pictures for print have dots per inch.
        dpi = _PRINT_DPI if self.dpi is None and self.width is not None else self.dpi
        return render.CloudView(
            azimuth_deg=azimuth,
            elevation_deg=elevation,
            colour=getattr(render, f"by_{(self.colour or ColourName.time).value}"),
            point_px=self.point_px,
            dark=dpi is None if self.dark is None else self.dark,
            title=title,
            dpi=dpi,
        )

    def turn(self, size_px: tuple[int, int] | None) -> Turn:
        """Return the turn of the cloud in a picture of a size; None for the default size."""
        from dvskit import render

        sweep_us = None if self.sweep is None else parse_time_us(self.sweep, "--sweep")
        width_px, height_px = size_px or (None, None)
        named = {"seconds": self.seconds, "turns": self.turns}
        rest: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        return render.Turn(
            fps=self.fps, sweep_us=sweep_us, width_px=width_px, height_px=height_px, **rest
        )

    def every_us(self, count: int) -> int | None:
        """Return the microseconds of --every, for labels of `count` recordings.

        Raises ConfigError for labels of several recordings, and for --every without a model.
        """
        if self.labels is not None and count > 1:
            raise ConfigError("--labels apply to one recording; give one")
        if self.every is not None and self.model is None:
            raise ConfigError("--every sets how often --model decides; name a model")
        return None if self.every is None else parse_time_us(self.every, "--every")

    def page_state(self) -> str:
        """Return the initial view of a page, in the format of its addresses."""
        parts = []
        if self.azimuth is not None or self.elevation is not None:
            azimuth, elevation = self.angles
            parts.append(f"look={azimuth:g},{elevation:g},1,0,0")
        elif self.view not in (None, ViewName.slant):
            parts.append(f"look={self.view.value}")
        if self.colour is not None:
            parts.append(f"colour={self.colour.value}")
        if self.dark is False:
            parts.append("theme=light")
        return "&".join(parts)
