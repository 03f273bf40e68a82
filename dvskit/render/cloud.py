"""A still picture of events in space and time: PNG, SVG or PDF."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit._files import check_output, write_whole
from dvskit.errors import ConfigError
from dvskit.events import Events, Source
from dvskit.render._save import SUFFIXES, png_bytes, vector_bytes
from dvskit.render._scene import Scene, check_size_px
from dvskit.render._text import missing_letters
from dvskit.render._thin import thin
from dvskit.render.cloud_view import CloudView

__all__ = ["CloudReport", "CloudView", "check_size_px", "check_suffix", "cloud", "cloud_image"]


@dataclass(frozen=True, slots=True)
class CloudReport:
    """What was drawn: events kept of a total, one in `every`.

    missing  letters of the title that no font here has, and a box stands for
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

    In SVG and PDF the points are a PNG of width_px x height_px; axes, words and the colour bar are
    vectors, at the same places. SVG has words as outlines, PDF with their font: both look the same
    on every machine. Their size follows from view.dpi; without one it is 96 pixels an inch. PNG
    tells view.dpi.

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
    """Return `path` as a Path; raises ConfigError unless a still picture can be written so."""
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
    """Return the picture that `cloud` writes: (height_px, width_px, 3) uint8, RGB.

    The same for any number of threads: of events equally near the earlier one is seen.
    Raises ShapeError unless both sides are 64..16384 pixels.
    """
    view = CloudView() if view is None else view
    scene = Scene(thin(events_or_source, view.max_events), view, (width_px, height_px))
    return scene.picture(scene.still())
