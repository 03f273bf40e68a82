"""A still picture of events in space and time: PNG."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dvskit._files import check_output, write_whole
from dvskit._threads import run_parts, thread_count
from dvskit.errors import ConfigError, ShapeError
from dvskit.events import Events, Size, Source
from dvskit.render import _kernels
from dvskit.render._axes import box_axes, draw_box
from dvskit.render._camera import TIME_LENGTH, Camera, box_halves, fit, rotation
from dvskit.render._thin import Thinned, thin
from dvskit.render._ticks import time_unit
from dvskit.render.colormap import DARK, LIGHT, Bar, Colouring, Colours, Theme, by_time, rgb

_OVERSAMPLE = 2
_HAZE = 0.3
_LEAST_PX, _MOST_PX = 64, 16384
_EVENTS_A_PART = 1 << 18


@dataclass(frozen=True, slots=True)
class CloudView:
    """How a cloud is looked at.

    azimuth_deg     turn about the upright axis; 90 looks along time from the early side
    elevation_deg   -90 (from below) .. 90 (from above)
    colour          `by_time`, `by_polarity`, or a function of the same form
    point_px        the side of a point in pixels of the picture; None chooses by sensor and count
    dark            light on dark, or dark on light
    title           text above the cloud
    max_events      beyond this every 2nd, 4th, ... event is drawn, and the picture says so
    text_scale      0.5..4: how large the words and the margins for them are, 1 as usual
    """

    azimuth_deg: float = 48.0
    elevation_deg: float = 24.0
    colour: Colouring = by_time
    point_px: float | None = None
    dark: bool = True
    title: str = ""
    max_events: int = 20_000_000
    text_scale: float = 1.0

    def __post_init__(self) -> None:
        if not -90 <= self.elevation_deg <= 90:
            raise ConfigError(f"elevation_deg={self.elevation_deg} is outside -90..90")
        if self.point_px is not None and not 0.5 <= self.point_px <= 64:
            raise ConfigError(f"point_px={self.point_px} is outside 0.5..64")
        if not 0.5 <= self.text_scale <= 4:
            raise ConfigError(f"text_scale={self.text_scale} is outside 0.5..4")


@dataclass(frozen=True, slots=True)
class CloudReport:
    """What was drawn: events kept of a total, one in `every`."""

    path: Path
    kept: int
    total: int
    every: int


def cloud(
    events_or_source: Events | Source,
    path: str | PathLike[str],
    *,
    view: CloudView | None = None,
    width_px: int = 1280,
    height_px: int = 960,
    overwrite: bool = False,
) -> CloudReport:
    """Draw events as points in x, y and time into a PNG file.

    Raises ConfigError for another suffix, OutputError, ShapeError as `cloud_image` does.
    """
    if Path(path).suffix.lower() != ".png":
        raise ConfigError(
            f"{path}: a still cloud is written as .png; for one to turn and play use "
            "render.page and .html"
        )
    target = check_output(path, overwrite=overwrite)
    view = CloudView() if view is None else view
    kept = thin(events_or_source, view.max_events)
    picture = _draw(kept, view, width_px, height_px)
    _, data = cv2.imencode(".png", picture[:, :, ::-1])
    write_whole(target, data.tobytes(), overwrite=overwrite)
    return CloudReport(target, len(kept.events), kept.total, kept.every)


def cloud_image(
    events_or_source: Events | Source,
    *,
    view: CloudView | None = None,
    width_px: int = 1280,
    height_px: int = 960,
) -> NDArray[np.uint8]:
    """Return the picture that `cloud` writes: (height_px, width_px, 3) uint8, RGB.

    The same for any number of threads: of events at the same depth the earlier one is seen.
    Raises ShapeError unless both sides are 64..16384 pixels.
    """
    view = CloudView() if view is None else view
    return _draw(thin(events_or_source, view.max_events), view, width_px, height_px)


def _draw(kept: Thinned, view: CloudView, width_px: int, height_px: int) -> NDArray[np.uint8]:
    if not (_LEAST_PX <= width_px <= _MOST_PX and _LEAST_PX <= height_px <= _MOST_PX):
        raise ShapeError(
            f"a picture of {width_px}x{height_px} pixels is outside {_LEAST_PX}..{_MOST_PX} a side"
        )
    theme = DARK if view.dark else LIGHT
    colours = view.colour(kept.events, theme)
    camera = _camera(kept.events.size, view, width_px, height_px)
    picture = _ground(kept, view, camera, colours, (width_px, height_px))
    if len(kept.events):
        depth, owner = splat_events(
            kept.events, camera, (width_px, height_px), start_us=kept.start_us,
            stop_us=kept.stop_us, point_px=_point_px(kept.events, view, camera),
        )  # fmt: skip
        reach = float(np.linalg.norm(box_halves(kept.events.size)))
        haze = np.array([camera.distance - reach, camera.distance + reach, _HAZE, _OVERSAMPLE])
        ground = np.array(rgb(theme.ground), np.float64)
        _shade(depth, owner, colours, haze, ground, picture)
    return picture


def _unit_px(width_px: int, height_px: int) -> float:
    return min(width_px / 1180, height_px / 900)


def _camera(size: Size, view: CloudView, width_px: int, height_px: int) -> Camera:
    unit = _unit_px(width_px, height_px) * view.text_scale
    rect = (104 * unit, 104 * unit, width_px - 104 * unit, height_px - 84 * unit)
    return fit(box_halves(size), rotation(view.azimuth_deg, view.elevation_deg), rect)


def _point_px(events: Events, view: CloudView, camera: Camera) -> float:
    if view.point_px is not None:
        return view.point_px
    # Half a sensor pixel as it appears, less where many events share the box.
    pitch = camera.scale / camera.distance / max(events.size)
    crowd = (200_000 / max(len(events), 1)) ** 0.25
    return float(np.clip(0.55 * pitch * min(crowd, 1.0), 1.0, 5.0))


def splat_events(
    events: Events,
    camera: Camera,
    size_px: tuple[int, int],
    *,
    start_us: int,
    stop_us: int,
    point_px: float,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Draw events into a depth buffer of twice the picture's resolution.

    Returns (2 * height, 2 * width) depth, infinite where nothing was drawn, and the index of the
    event seen, -1 where none is.
    """
    shape = (size_px[1] * _OVERSAMPLE, size_px[0] * _OVERSAMPLE)
    lens = np.array([camera.scale, camera.centre_u, camera.centre_v]) * _OVERSAMPLE
    to_camera = _event_matrix(events.size, camera, max(1, stop_us - start_us))
    brush = round_brush(max(1, round(point_px * _OVERSAMPLE)))
    parts = max(1, min(thread_count(), 8, -(-len(events) // _EVENTS_A_PART)))
    depths = [np.full(shape, _kernels.EMPTY, np.float32) for _ in range(parts)]
    owners = [np.full(shape, -1, np.int32) for _ in range(parts)]
    cuts = np.linspace(0, len(events), parts + 1).astype(np.int64)

    def work(part: int) -> None:
        first, last = int(cuts[part]), int(cuts[part + 1])
        _kernels.splat(
            events.t[first:last], events.x[first:last], events.y[first:last],
            first, start_us, to_camera, lens, brush, depths[part], owners[part],
        )  # fmt: skip

    run_parts(work, parts)
    for part in range(1, parts):
        _kernels.merge(depths[0], owners[0], depths[part], owners[part])
    return depths[0], owners[0]


def round_brush(side: int) -> NDArray[np.int64]:
    """Return the offsets (k, 2) dv, du of the pixels of a disc `side` pixels across."""
    at = np.arange(side) - (side - 1) / 2
    inside = at[:, None] ** 2 + at[None, :] ** 2 <= (side / 2) ** 2 * 1.05
    return np.argwhere(inside) - side // 2


def _event_matrix(size: Size, camera: Camera, span_us: int) -> NDArray[np.float64]:
    pixel = 1 / max(size)
    # Columns of box coordinates per microsecond, per x, per y, and the event at (0, 0, start).
    box = np.zeros((3, 4))
    box[0, 0], box[0, 3] = TIME_LENGTH / span_us, -TIME_LENGTH / 2
    box[2, 1], box[2, 3] = pixel, (0.5 - size.width / 2) * pixel
    box[1, 2], box[1, 3] = -pixel, (size.height / 2 - 0.5) * pixel
    seen = camera.turn @ box
    seen[2] = -seen[2]
    seen[2, 3] += camera.distance
    return np.asarray(seen)


def _shade(
    depth: NDArray[np.float32],
    owner: NDArray[np.int32],
    colours: Colours,
    haze: NDArray[np.float64],
    ground: NDArray[np.float64],
    picture: NDArray[np.uint8],
) -> None:
    parts = min(thread_count(), 8)
    cuts = np.linspace(0, len(picture), parts + 1).astype(int)

    def work(part: int) -> None:
        rows = slice(cuts[part], cuts[part + 1])
        fine = slice(cuts[part] * _OVERSAMPLE, cuts[part + 1] * _OVERSAMPLE)
        _kernels.shade(
            depth[fine], owner[fine], colours.index, colours.palette, haze, ground, picture[rows]
        )

    run_parts(work, parts)


def _ground(
    kept: Thinned, view: CloudView, camera: Camera, colours: Colours, size_px: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return all that lies behind the events: the box, its labels, the colour bar, the words."""
    width, height = size_px
    theme = DARK if view.dark else LIGHT
    unit = _unit_px(width, height) * view.text_scale
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor=theme.ground)
    canvas: Any = FigureCanvasAgg(figure)  # its methods carry no types
    panel = figure.add_axes((0, 0, 1, 1))
    panel.set_axis_off()
    panel.set_xlim(0, width)
    panel.set_ylim(height, 0)
    span_us = kept.stop_us - kept.start_us
    size = kept.events.size
    draw_box(panel, camera, box_halves(size), box_axes(size, span_us), theme, unit)
    _words(panel, kept, view, theme, unit)
    _key(panel, colours, theme, (width, height, unit))
    canvas.draw()
    buffer = np.asarray(canvas.buffer_rgba())
    return np.ascontiguousarray(buffer[:height, :width, :3])


def _words(panel: Any, kept: Thinned, view: CloudView, theme: Theme, unit: float) -> None:
    points = 72 / 100 * unit
    lines = [(view.title, theme.text, 22.0, 30.0)] if view.title else []
    unit_name, length = time_unit(kept.stop_us - kept.start_us)
    count = f"{kept.total:,} event{'s' * (kept.total != 1)}" if kept.total else "no events"
    span = f"{(kept.stop_us - kept.start_us) / length:,.4g} {unit_name}"
    lines.append((f"{count}   {span}   {kept.events.size} px", theme.faint, 14.0, 22.0))
    if kept.notice:
        lines.append((kept.notice, theme.on, 14.0, 22.0))
    down = 26.0 * unit
    for text, colour, size, step in lines:
        # A dollar sign in a title is a dollar sign, not the start of a formula.
        panel.text(32 * unit, down, text, color=colour, fontsize=size * points, va="top",
                   parse_math=False)  # fmt: skip
        down += step * unit * (1.15 if size > 20 else 1.0)


def _key(panel: Any, colours: Colours, theme: Theme, place: tuple[int, int, float]) -> None:
    width, height, unit = place
    points = 72 / 100 * unit
    right, top = width - 36 * unit, 34 * unit
    if not isinstance(colours.key, Bar):
        for number, (name, colour) in enumerate(colours.key):
            at = right - 8 * unit - (len(colours.key) - 1 - number) * 74 * unit
            panel.plot([at - 40 * unit], [top + 4 * unit], "o", color=colour, ms=9 * points)
            panel.text(at - 28 * unit, top + 4 * unit, name, color=theme.text,
                       fontsize=14 * points, va="center")  # fmt: skip
        return
    left = right - 220 * unit
    panel.imshow(colours.palette[None], extent=(left, right, top + 5 * unit, top - 5 * unit),
                 aspect="auto", interpolation="bilinear")  # fmt: skip
    panel.set_xlim(0, width)  # which imshow moves
    panel.set_ylim(height, 0)
    labels = [(left + (right - left) * at, text) for at, text in colours.key.ticks]
    for at, text in [*labels, ((left + right) / 2, colours.key.title)]:
        side = "left" if at == left else "right" if at == right else "center"
        panel.text(at, top + 11 * unit, text, color=theme.faint, fontsize=12.5 * points, va="top",
                   ha=side)  # fmt: skip
