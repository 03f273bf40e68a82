"""The options of `dvskit cloud`, in groups, and what they say of a picture's looks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dvskit.cli._console import parse_time_us
from dvskit.cli._options import Span, as_usage, model_names, size_from
from dvskit.errors import ConfigError

if TYPE_CHECKING:
    from dvskit.render import CloudView, Turn

_MM_PER_INCH, _PRINT_DPI = 25.4, 300.0


class ColourName(Enum):
    """What the colours tell."""

    time = "time"
    polarity = "polarity"
    count = "count"


class ViewName(Enum):
    """Where the cloud is seen from."""

    slant = "slant"
    front = "front"
    side = "side"
    top = "top"


_ANGLES = {
    ViewName.slant: (48.0, 24.0), ViewName.front: (90.0, 0.0), ViewName.side: (0.0, 0.0),
    ViewName.top: (0.0, 90.0),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pose:
    """What the colours are, and from where the cloud is seen."""

    colour: Annotated[
        ColourName | None,
        typer.Option(
            metavar="WHAT", show_default="time",
            help="What colours tell: time, polarity, or count, the events of a pixel.",
        ),
    ] = None  # fmt: skip
    view: Annotated[
        ViewName | None,
        typer.Option(
            metavar="VIEW", show_default="slant",
            help="Where it is seen from: slant, in perspective; or without it front, as the sensor "
            "saw it, side, or top.",
        ),
    ] = None  # fmt: skip
    azimuth: Annotated[
        float | None,
        typer.Option(
            help="Turn the view about the upright axis, to an angle in degrees: 0 looks from the "
            "side, 90 from the front.",
            show_default="that of --view; slant has 48",
        ),
    ] = None
    elevation: Annotated[
        float | None,
        typer.Option(
            help="Raise the view to an angle in degrees: -90 looks from below, 0 level, 90 from "
            "above.",
            show_default="that of --view; slant has 24",
        ),
    ] = None

    @property
    def angles(self) -> tuple[float, float]:
        """Azimuth and elevation in degrees."""
        azimuth, elevation = _ANGLES[self.view or ViewName.slant]
        return (
            azimuth if self.azimuth is None else self.azimuth,
            elevation if self.elevation is None else self.elevation,
        )


@dataclass(frozen=True, slots=True)
class Sheet:
    """How a picture looks beside its cloud, and how large it is."""

    title: Annotated[
        str | None,
        typer.Option(
            help="A title above the picture.", show_default="none; a page has the file's name"
        ),
    ] = None
    dark: Annotated[
        bool | None,
        typer.Option(
            "--dark/--bright", help="Light on dark, or dark on light.",
            show_default="dark; bright for print",
        ),
    ] = None  # fmt: skip
    pixels: Annotated[
        str | None,
        typer.Option(
            help="Of a picture or video: its size in pixels, WIDTHxHEIGHT.",
            show_default="1280x960, GIF 640x480",
        ),
    ] = None
    width: Annotated[
        float | None,
        typer.Option(
            help="Of a picture for print: its width in mm instead of --pixels; 88 is a column, 180 "
            "a page."
        ),
    ] = None
    dpi: Annotated[
        float | None,
        typer.Option(
            help="Of a picture for print: pixels an inch.", show_default="300 with --width"
        ),
    ] = None
    point_px: Annotated[
        float | None,
        typer.Option(
            help="Of a picture or video: the side of a point in pixels.",
            show_default="as fits the sensor",
        ),
    ] = None

    @property
    def print_dpi(self) -> float | None:
        """Pixels an inch of a picture for print; None for a screen."""
        usual = None if self.width is None else _PRINT_DPI
        return usual if self.dpi is None else self.dpi

    def size_px(self) -> tuple[int, int] | None:
        """Return the size: as given, or 3/4 as high as it is wide in mm. Raises ConfigError."""
        from dvskit.render.cloud import check_size_px

        size_px: tuple[int, int] | None = None
        if self.width is None:
            if self.pixels is not None:
                size_px = size_from(self.pixels, "--pixels")
        elif self.pixels is not None:
            raise ConfigError("--width and --pixels both say how large; with --pixels give --dpi")
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


@dataclass(frozen=True, slots=True)
class Moves:
    """How a cloud turns in a video."""

    seconds: Annotated[
        float | None, typer.Option(help="Of a video: how long it takes.", show_default="6")
    ] = None
    fps: Annotated[
        float | None, typer.Option(help="Of a video: frames a second.", show_default="30, GIF 25")
    ] = None
    turns: Annotated[
        int | None,
        typer.Option(help="Of a video: whole turns, 0 for none.", show_default="1"),
    ] = None
    sweep: Annotated[
        str | None,
        typer.Option(
            help="Of a video: show a window of time, such as 50ms, that runs through.",
            show_default="all at once",
        ),
    ] = None

    def turn(self, size_px: tuple[int, int] | None) -> Turn:
        """Return how the cloud turns in a picture of a size, None for the usual one."""
        from dvskit import render

        rest = {name: value for name, value in given(self) if name != "sweep"}
        if self.sweep is not None:
            rest["sweep_us"] = parse_time_us(self.sweep, "--sweep")
        width_px, height_px = size_px or (None, None)
        return render.Turn(width_px=width_px, height_px=height_px, **rest)


@dataclass(frozen=True, slots=True)
class Words:
    """What a page says along the time."""

    labels: Annotated[
        Path | None,
        typer.Option(
            help="Of a page: a CSV file of start_us,stop_us,name, shown along the time.",
            show_default=False,
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            help="Of a page: a model folder, or a shipped model's name; along the time the page "
            "says what the model takes the events for.",
            autocompletion=model_names,
        ),
    ] = None
    every: Annotated[
        str | None,
        typer.Option(
            help="Of a page: the time from one decision of --model to the next, such as 200ms.",
            show_default="the model's window",
        ),
    ] = None

    def every_us(self, count: int) -> int | None:
        """Return the microseconds that --every says, of what is to be said of `count` recordings.

        Raises ConfigError for labels of several recordings, and for --every without a model.
        """
        if self.labels is not None and count > 1:
            raise ConfigError("--labels are of one recording; give one")
        if self.every is not None and self.model is None:
            raise ConfigError("--every says how often --model decides; name a model")
        return None if self.every is None else parse_time_us(self.every, "--every")


@dataclass(frozen=True, slots=True)
class Looks:
    """All that says what of a recording is shown, and how: in the order of the help page."""

    pose: Pose = Pose()
    span: Span = field(default_factory=Span)
    sheet: Sheet = Sheet()
    moves: Moves = Moves()
    words: Words = Words()


def given(options: Pose | Sheet | Moves | Words) -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of each option that is not left to us."""
    for option in fields(options):
        value = getattr(options, option.name)
        if value is not None:
            yield option.name, value


def view_from(pose: Pose, sheet: Sheet, title: str) -> CloudView:
    """Return how a picture's cloud is looked at. Raises ConfigError."""
    from dvskit import render

    azimuth, elevation = pose.angles
    dpi = sheet.print_dpi
    return render.CloudView(
        azimuth_deg=azimuth,
        elevation_deg=elevation,
        colour=getattr(render, f"by_{(pose.colour or ColourName.time).value}"),
        point_px=sheet.point_px,
        dark=dpi is None if sheet.dark is None else sheet.dark,
        title=title,
        dpi=dpi,
    )


def state_from(pose: Pose, dark: bool | None) -> str:
    """Return the view that a page begins with, as its own addresses tell it."""
    parts = []
    if pose.azimuth is not None or pose.elevation is not None:
        azimuth, elevation = pose.angles
        parts.append(f"look={azimuth:g},{elevation:g},1,0,0")
    elif pose.view not in (None, ViewName.slant):
        parts.append(f"look={pose.view.value}")
    if pose.colour is not None:
        parts.append(f"colour={pose.colour.value}")
    if dark is False:
        parts.append("theme=light")
    return "&".join(parts)
