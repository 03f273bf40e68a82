"""A still picture of events in space and time: PNG, SVG or PDF."""

from __future__ import annotations

import struct
import zlib
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

from dvskit._arguments import check_arguments
from dvskit._files import check_output, write_whole
from dvskit.errors import ConfigError
from dvskit.events import Events, Source
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
from dvskit.render._scene import CloudView, Scene, check_size_px
from dvskit.render._thin import thin
from dvskit.render.plots.style import figure_bytes

SUFFIXES = (".png", ".svg", ".pdf")
_SCREEN_DPI = 96
_INCH = 0.0254
_SETTINGS: dict[Any, Any] = {"image.composite_image": False, "path.simplify": False}
__all__ = ["CloudReport", "CloudView", "check_size_px", "check_suffix", "cloud", "cloud_image"]


def png_bytes(picture: NDArray[np.uint8], dpi: float | None) -> bytes:
    """Return an RGB picture as PNG, with its resolution if there is one."""
    _, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    png = data.tobytes()
    if dpi is None:
        return png
    per_metre = round(dpi / _INCH)
    chunk = b"pHYs" + struct.pack(">IIB", per_metre, per_metre, 1)
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
                scene.points(camera), extent=(0, width, height, 0), interpolation="none",
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
                    list(item.ends.reshape(-1, 2, 2)), colors=item.colour, clip_on=False,
                    linewidths=item.width_px * points, capstyle="round", zorder=z,
                )  # fmt: skip
                panel.add_collection(lines, autolim=False)
            case Dot():
                disc = Circle((item.u, item.v), item.radius_px, color=item.colour, linewidth=0)
                panel.add_artist(disc)
            case TextLine():
                left = item.left
                for part, file in runs(item.text):
                    panel.text(
                        left, item.baseline, part, color=item.colour, zorder=z,
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
    """

    path: Path
    kept: int
    total: int
    every: int
    missing: str = ""


@check_arguments
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

    In SVG and PDF the points are a PNG of width_px x height_px; axes, text and the colour bar are
    vectors, at the same places. SVG has text as outlines, PDF with its font: both look the same
    on every machine. Their size follows from view.dpi, or 96 pixels per inch. PNG stores view.dpi.

    Raises ConfigError for another suffix, OutputError, ShapeError as `cloud_image` does.
    """
    target = check_output(check_suffix(path), overwrite=overwrite)
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


def check_suffix(path: str | PathLike[str]) -> Path:
    """Return `path` as a Path; raises ConfigError unless it has a suffix of still pictures."""
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"{target}: a still cloud is written as {', '.join(SUFFIXES)}, not "
            f"{target.suffix or 'nothing'}; render.turntable writes .mp4 and .gif, render.page "
            "one to turn and play, .html"
        )
    return target


@check_arguments
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
    """
    view = CloudView() if view is None else view
    scene = Scene(thin(events_or_source, view.max_events), view, (width_px, height_px))
    return scene.picture(scene.still())
