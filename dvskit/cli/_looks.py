"""What the options of `dvskit cloud` say of a picture's looks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from dvskit.cli._console import parse_time_us
from dvskit.cli._options import as_usage, size_from
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
class Looks:
    """A picture's view and size, how it turns, and the state that a page begins with."""

    view: CloudView
    size_px: tuple[int, int] | None
    turn: Turn
    state: str


def looks_from(options: dict[str, Any], moves: dict[str, Any]) -> Looks:
    """Return what the options that were given say, all of them checked. Raises ConfigError."""
    from dvskit import render
    from dvskit.render.cloud import check_size_px

    view, size_px = _view(options), _size_px(options)
    if size_px is not None:
        with as_usage("--width" if "width" in options else "--pixels"):
            check_size_px(size_px)
    width_px, height_px = size_px or (None, None)
    rest = {name: value for name, value in moves.items() if name != "sweep"}
    if "sweep" in moves:
        rest["sweep_us"] = parse_time_us(moves["sweep"], "--sweep")
    turn = render.Turn(width_px=width_px, height_px=height_px, **rest)
    return Looks(view, size_px, turn, _state(options))


def _size_px(options: dict[str, Any]) -> tuple[int, int] | None:
    """Return the picture's size: as given, or 3/4 as high as it is wide in mm."""
    if "width" not in options:
        return size_from(options["pixels"], "--pixels") if "pixels" in options else None
    if "pixels" in options:
        raise ConfigError("--width and --pixels both say how large; with --pixels give --dpi")
    width, dpi = options["width"], options.get("dpi", _PRINT_DPI)
    if not 1 <= width * dpi / _MM_PER_INCH <= 1e6:
        raise ConfigError(f"--width {width:g} mm at {dpi:g} dpi is no picture; 88 is a column")
    width_px = round(width * dpi / _MM_PER_INCH)
    return width_px, round(width_px * 3 / 4)


def _view(options: dict[str, Any]) -> CloudView:
    from dvskit import render

    azimuth, elevation = _ANGLES[options.get("view", ViewName.slant)]
    printed = "width" in options or "dpi" in options
    colour = options.get("colour", ColourName.time)
    return render.CloudView(
        azimuth_deg=options.get("azimuth", azimuth),
        elevation_deg=options.get("elevation", elevation),
        colour=getattr(render, f"by_{colour.value}"),
        point_px=options.get("point_px"),
        dark=options.get("dark", not printed),
        title=options.get("title", ""),
        dpi=options.get("dpi", _PRINT_DPI) if printed else None,
    )


def _state(options: dict[str, Any]) -> str:
    """Return the view that a page begins with, as its own addresses tell it."""
    parts = []
    if "azimuth" in options or "elevation" in options:
        azimuth, elevation = _ANGLES[options.get("view", ViewName.slant)]
        angles = options.get("azimuth", azimuth), options.get("elevation", elevation)
        parts.append(f"look={angles[0]:g},{angles[1]:g},1,0,0")
    elif options.get("view", ViewName.slant) != ViewName.slant:
        parts.append(f"look={options['view'].value}")
    if "colour" in options:
        parts.append(f"colour={options['colour'].value}")
    if not options.get("dark", True):
        parts.append("theme=light")
    return "&".join(parts)
