"""Pictures of events in space and time: still (PNG, SVG, PDF), and turning (MP4, GIF)."""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle
from numpy.typing import NDArray

from dvskit._checks import check_choice, check_fields, check_number, check_whole, checked
from dvskit._files import check_output, whole_file, write_whole
from dvskit._threads import thread_count
from dvskit.errors import ConfigError
from dvskit.events import Events, Source
from dvskit.render import _camera, cloud_kernels
from dvskit.render._drawing import (
    Dot,
    Drawing,
    Segments,
    Strip,
    TextLine,
    missing_letters,
    runs,
    text_width,
)
from dvskit.render._numbers import check_suffix, number_text, time_unit
from dvskit.render._scene import CloudView, Scene, check_size_px
from dvskit.render._thinning import thin
from dvskit.render.colormap import ColorBar, Colors, Theme, gradient, nearest_rows, rgb
from dvskit.render.plots.style import STILL_SUFFIXES, figure_bytes
from dvskit.render.writers import (
    CRF_LIMITS,
    FPS_LIMITS,
    MOVING_SUFFIXES,
    PRESETS,
    Film,
    InThread,
    output_fps,
)

_SCREEN_DPI = 96
_OTHERS = "; render.turntable writes .mp4 and .gif, render.page .html"
_INCH = 0.0254
_SETTINGS: dict[Any, Any] = {"image.composite_image": False, "path.simplify": False}


def png_bytes(picture: NDArray[np.uint8], dpi: float | None) -> bytes:
    """Return an RGB picture as PNG, with its resolution if there is one."""
    _, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    png = data.tobytes()
    if dpi is None:
        return png
    per_meter = round(dpi / _INCH)
    chunk = b"pHYs" + struct.pack(">IIB", per_meter, per_meter, 1)
    length, check = struct.pack(">I", len(chunk) - 4), struct.pack(">I", zlib.crc32(chunk))
    header = 8 + 25  # the signature and IHDR, after which pHYs may follow
    return png[:header] + length + chunk + check + png[header:]


def vector_bytes(scene: Scene, form: str, dpi: float | None) -> bytes:
    """Return a scene as "svg" or "pdf": the events as a bitmap, everything else as vectors."""
    width, height = scene.size_px
    dpi = _SCREEN_DPI if dpi is None else dpi
    camera = scene.still()
    with mpl.rc_context(_SETTINGS):
        figure = Figure(
            figsize=(width / dpi, height / dpi), dpi=dpi, facecolor=scene.style.theme.ground
        )
        panel = figure.add_axes((0, 0, 1, 1))
        panel.set_axis_off()
        _draw(panel, scene.drawing(camera), 72 / dpi)
        if len(scene.events):
            panel.imshow(
                scene.alone(camera), extent=(0, width, height, 0), interpolation="none",
                aspect="auto", clip_on=False, zorder=9,
            )  # fmt: skip
        panel.set_xlim(0, width)
        panel.set_ylim(height, 0)
        return figure_bytes(figure, form, dpi)


def _draw(panel: Axes, drawing: Drawing, points: float) -> None:
    """Draw on axes in units of pixels, `points` points each."""
    for order, item in enumerate(drawing):
        z = 2 + order / len(drawing)
        match item:
            case Segments():
                lines = LineCollection(
                    list(item.ends.reshape(-1, 2, 2)), colors=item.color, clip_on=False,
                    linewidths=item.width_px * points, capstyle="round", zorder=z,
                )  # fmt: skip
                panel.add_collection(lines, autolim=False)
            case Dot():
                disc = Circle((item.u, item.v), item.radius_px, color=item.color, linewidth=0)
                panel.add_artist(disc)
            case TextLine():
                left = item.left
                for part, file in runs(item.text):
                    panel.text(
                        left, item.baseline, part, color=item.color, zorder=z,
                        fontproperties=FontProperties(fname=file), fontsize=item.size_px * points,
                        ha="left", va="baseline", parse_math=False,
                    )  # fmt: skip
                    left += text_width(part, item.size_px)
            case Strip():
                panel.imshow(
                    item.palette[None], interpolation="none", aspect="auto", zorder=z,
                    extent=(item.left, item.right, item.bottom, item.top),
                )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CloudReport:
    """The result of a drawing: events kept of a total, one in `every`.

    missing  letters of the title in no font here, drawn as boxes

        view = dvskit.render.CloudView(max_events=20_000)
        report = dvskit.render.cloud(dvskit.load_events("events.raw"), "thinned.png", view=view)
        report.kept, report.total, report.every  # (16239, 32477, 2)
    """

    path: Path
    kept: int
    total: int
    every: int
    missing: str = ""


def cloud(
    events_or_source: Events | Source,
    path: str | PathLike[str],
    *,
    view: CloudView | None = None,
    width_px: int = 1280,
    height_px: int = 960,
    overwrite: bool = False,
) -> CloudReport:
    """Draw events as points in x, y and time into a .png, .svg or .pdf file.

    In SVG and PDF the points are a PNG of width_px x height_px; axes, text and the color bar are
    vectors, at the same places. SVG has text as outlines, PDF with its font: both look the same on
    every machine. Their size follows from view.dpi, or 96 pixels per inch. PNG stores view.dpi.

    Raises ConfigError for another suffix, OutputError, ShapeError as `cloud_image` does.

        events = dvskit.open_events("events.raw")
        dvskit.render.cloud(events, "cloud.png", width_px=800, height_px=600)
        paper = dvskit.render.CloudView(dark=False, dpi=300)
        dvskit.render.cloud(events, "cloud.pdf", view=paper, width_px=1000, height_px=750)
    """
    target = check_output(
        check_suffix(path, STILL_SUFFIXES, "a still cloud", _OTHERS), overwrite=overwrite
    )
    view = CloudView() if view is None else view
    kept = thin(events_or_source, view.max_events)
    scene = Scene(kept, view, (width_px, height_px))
    suffix = target.suffix.lower()
    if suffix == ".png":
        data = png_bytes(scene.picture(scene.still()), view.dpi)
    else:
        data = vector_bytes(scene, suffix[1:], view.dpi)
    write_whole(target, data, overwrite=overwrite)
    missing = missing_letters(view.title)
    return CloudReport(target, len(kept.events), kept.total, kept.every, missing)


def cloud_image(
    events_or_source: Events | Source,
    *,
    view: CloudView | None = None,
    width_px: int = 1280,
    height_px: int = 960,
) -> NDArray[np.uint8]:
    """Return the picture of `cloud`: (height_px, width_px, 3) uint8, RGB.

    It is the same for any number of threads: of equally near events the earlier one is visible.
    Raises ShapeError unless both sides are 64..16384 pixels.

        events = dvskit.load_events("events.raw")
        picture = dvskit.render.cloud_image(events, width_px=640, height_px=480)
        picture.shape  # (480, 640, 3)
    """
    view = CloudView() if view is None else view
    scene = Scene(thin(events_or_source, view.max_events), view, (width_px, height_px))
    return scene.picture(scene.still())


Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Turn:
    """The rotation of a cloud.

    seconds             duration; the last frame leads on to the first
    fps                 frames per second; None: 30, GIF 25
    turns               whole turns about the upright axis; 0 for none, -1 for the other direction
    sweep_us            show only the events of a window of this length, which moves through the
                        recording and from its end to its start; None shows all at any time
    width_px, height_px of the picture; None: 1280x960, GIF 640x480. Even numbers except for GIF
    crf, preset         quality (0 lossless .. 51) and effort of x264

    Raises ConfigError for values out of range, ShapeError for sides outside 64..16384 pixels.

        events = dvskit.load_events("events.raw")
        turn = dvskit.render.Turn(
            seconds=0.4, fps=10, sweep_us=500_000, width_px=320, height_px=240
        )
        dvskit.render.turntable(events, "sweep.gif", turn=turn)  # 4 frames of 0.5 s of events each
    """

    seconds: float = checked(check_number, 0.01, 3600, default=6.0)
    fps: float | None = checked(check_number, *FPS_LIMITS, default=None)
    turns: int = checked(check_whole, -100, 100, default=1)
    sweep_us: int | None = checked(check_whole, 1, default=None)
    width_px: int | None = checked(check_whole, 1, default=None)
    height_px: int | None = checked(check_whole, 1, default=None)
    crf: float = checked(check_number, *CRF_LIMITS, default=20.0)
    preset: str = checked(check_choice, PRESETS, default="superfast")

    def __post_init__(self) -> None:
        check_fields(self)
        if self.width_px is not None and self.height_px is not None:
            check_size_px((self.width_px, self.height_px))


@dataclass(frozen=True, slots=True)
class TurnReport(CloudReport):
    """The result of `turntable`: that of a still cloud, and the number of frames.

    The default is 30 frames a second.

        turn = dvskit.render.Turn(seconds=0.2, width_px=320, height_px=240)
        events = dvskit.load_events("events.raw")
        report = dvskit.render.turntable(events, "short.mp4", turn=turn)
        report.frames, report.kept  # (6, 32477)
    """

    frames: int = 0


def turntable(
    events_or_source: Events | Source,
    path: str | PathLike[str],
    *,
    view: CloudView | None = None,
    turn: Turn | None = None,
    overwrite: bool = False,
    on_frame: Callable[[int, int], None] | None = None,
) -> TurnReport:
    """Turn a cloud about its upright axis: .mp4, .mkv, .mov or .gif.

    It begins with the view's azimuth; the box keeps its place and size, and the frame after the
    last equals the first. `on_frame` is called with the number of frames so far, and the total.

    Raises ConfigError for another suffix or size, OutputError, ShapeError as `cloud_image` does.

        events = dvskit.load_events("events.raw")
        turn = dvskit.render.Turn(seconds=0.5, fps=10, width_px=320, height_px=240)
        dvskit.render.turntable(events, "turn.mp4", turn=turn)
    """
    target = check_output(check_suffix(path, MOVING_SUFFIXES, "a turntable"), overwrite=overwrite)
    view, turn = CloudView() if view is None else view, Turn() if turn is None else turn
    suffix = target.suffix.lower()
    fps, size_px = output_fps(turn.fps, gif=suffix == ".gif", usual=30), _size_px(turn, target)
    frames = max(1, round(turn.seconds * fps))
    kept = thin(events_or_source, view.max_events)
    scene = Scene(kept, view, size_px, _note(turn))
    palette = _palette(scene.colors, scene.style.theme)
    table = nearest_rows(palette) if suffix == ".gif" else None
    film = Film(suffix, size_px, palette, fps, turn.crf, turn.preset, in_color=True)
    opened = whole_file(target, overwrite=overwrite)
    with opened as partial, InThread(film.writer(partial), str(target)) as out:
        for number, picture in enumerate(pictures(scene, view, turn, frames)):
            out.write(number, picture if table is None else _indexed(picture, table))
            if on_frame is not None:
                on_frame(number + 1, frames)
    missing = missing_letters(view.title)
    return TurnReport(target, len(kept.events), kept.total, kept.every, missing, frames)


def _size_px(turn: Turn, target: Path) -> tuple[int, int]:
    gif = target.suffix.lower() == ".gif"
    width, height = (640, 480) if gif else (1280, 960)
    width = width if turn.width_px is None else turn.width_px
    height = height if turn.height_px is None else turn.height_px
    if not gif and (width % 2 or height % 2):
        raise ConfigError(f"{target}: {width}x{height} pixels; a video needs even sides")
    return width, height


def _note(turn: Turn) -> str:
    if turn.sweep_us is None:
        return ""
    unit, length = time_unit(turn.sweep_us)
    return f"{number_text(turn.sweep_us / length)} {unit} at a time"


def pictures(scene: Scene, view: CloudView, turn: Turn, frames: int) -> Iterator[Picture]:
    """Yield the pictures of a turn, (height, width, 3) uint8, RGB; each thread draws whole ones."""
    degrees = [view.azimuth_deg + 360.0 * turn.turns * k / frames for k in range(frames)]
    cameras = scene.cameras([(azimuth, view.elevation_deg) for azimuth in degrees])
    span_us = scene.kept.span_us + 1
    sweep_us = span_us if turn.sweep_us is None else min(turn.sweep_us, span_us)
    threads = min(thread_count(), 8)
    unused = [_camera.empty_layers(1, scene.size_px) for _ in range(threads)]

    def draw(number: int) -> Picture:
        camera, layers = cameras[number], unused.pop()
        layers.fill(0)
        for part in _window(scene, span_us * number // frames, sweep_us):
            points = scene.points(camera, part, sweep_us / span_us)
            _camera.splat_points(points, camera, layers)
        picture, ground = scene.ground(camera), scene.style.theme.ground
        _camera.shade_over(layers, scene.colors, ground, picture, threads=1)
        unused.append(layers)
        return picture

    # A separate pool: waiting for that of run_parts from within would deadlock.
    with ThreadPoolExecutor(threads, thread_name_prefix="dvskit-turn") as pool:
        ahead: deque[Future[Picture]] = deque()
        for number in range(frames):
            ahead.append(pool.submit(draw, number))
            if len(ahead) > threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _window(scene: Scene, after_us: int, sweep_us: int) -> list[slice]:
    """Return the events of a window from `after_us` on, wrapping from the end to the start."""
    start_us, stop_us = scene.kept.start_us, scene.kept.stop_us
    over_us = start_us + after_us + sweep_us - stop_us - 1
    t = scene.events.t
    first = int(np.searchsorted(t, start_us + after_us))
    if over_us < 0:
        return [slice(first, int(np.searchsorted(t, stop_us + 1 + over_us)))]
    return [slice(first, len(t)), slice(0, int(np.searchsorted(t, start_us + over_us)))]


def _palette(colors: Colors, theme: Theme) -> Picture:
    """Return (256, 3) RGB for a GIF: blends of the events' colors with the ground, text, lines."""
    hues = min(len(colors.palette), 24)
    at = np.linspace(0, len(colors.palette) - 1, hues).round().astype(int)
    shares = 7 if hues > 8 else 16
    hexes = ("#{:02x}{:02x}{:02x}".format(*color) for color in colors.palette[at].tolist())
    events = [_ramp(theme.ground, color, shares) for color in hexes]
    names = [] if isinstance(colors.key, ColorBar) else [color for _, color in colors.key]
    words = [theme.text, theme.faint, theme.line, theme.grid, theme.on, *names[:8]]
    ramps = [*events, *(_ramp(theme.ground, color, 8) for color in words)]
    found = np.unique(np.concatenate([[rgb(theme.ground)], *ramps]), axis=0)[:256]
    return np.concatenate([found, np.zeros((256 - len(found), 3), np.int64)]).astype(np.uint8)


def _ramp(ground: str, color: str, count: int) -> Picture:
    """Return `count` colors from a ground (excluded) to a color."""
    return gradient((ground, color), count + 1)[1:]


def _indexed(picture: Picture, table: Picture) -> Picture:
    index = np.empty(picture.shape[:2], np.uint8)
    cloud_kernels.look_up(picture, table, index)
    return index
