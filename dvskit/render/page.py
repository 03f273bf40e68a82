"""Events in space and time as one HTML page that needs nothing but a browser."""

from __future__ import annotations

import base64
import html
import json
import re
import zlib
from dataclasses import dataclass
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from dvskit._files import check_output, write_whole
from dvskit.errors import ConfigError
from dvskit.events import Events, Source
from dvskit.render._camera import FOCAL, TIME_LENGTH
from dvskit.render._thin import Thinned, thin
from dvskit.render.colormap import DARK, LIGHT, Theme

_TIME_STEPS = 65535
_SUFFIXES = (".html", ".htm")


@dataclass(frozen=True, slots=True)
class PageReport:
    """What a page holds.

    kept, total     events on the page, of how many; one in `every` was kept
    resolution_us   the step of the times on the page: the recording in 65535 steps, 1 at the least
    size_bytes      of the file
    """

    path: Path
    kept: int
    total: int
    every: int
    resolution_us: float
    size_bytes: int


def page(
    events_or_source: Events | Source,
    path: str | PathLike[str],
    *,
    title: str | None = None,
    overwrite: bool = False,
    max_events: int = 5_000_000,
) -> PageReport:
    """Write a page on which a cloud of events can be turned, scrubbed and played.

    One file that asks no server for anything and may be mailed around. Beyond `max_events` it
    holds every 2nd, 4th, 8th, ... event, and says so, as does the report. Reads the stream once;
    memory is bounded by `max_events`.

    `title` stands on the page as it is, and is the file's name if not given.
    Raises ConfigError for another suffix or max_events < 1, OutputError.
    """
    if Path(path).suffix.lower() not in _SUFFIXES:
        raise ConfigError(
            f"{path}: a page is written as {' or '.join(_SUFFIXES)}; for a still picture use "
            "render.cloud and .png"
        )
    target = check_output(path, overwrite=overwrite)
    kept = thin(events_or_source, max_events)
    text = page_html(kept, target.stem if title is None else title)
    data = text.encode()
    write_whole(target, data, overwrite=overwrite)
    return PageReport(
        target, len(kept.events), kept.total, kept.every, _resolution_us(kept), len(data)
    )


def page_html(kept: Thinned, title: str) -> str:
    """Return the text of the page."""
    meta = _meta(kept, title)
    colours = {
        f"{name}_{key}": value
        for name, theme in meta["themes"].items()
        for key, value in theme.items()
    }
    label = f"Cloud of {kept.total:,} events in x, y and time"
    return _fill(
        _part("page_template.html"),
        {
            "title": html.escape(title),
            "label": html.escape(label),
            "css": _fill(_part("page.css"), colours),
            # "<" could close the script element or open a comment in it.
            "meta": json.dumps(meta, ensure_ascii=False).replace("<", "\\u003c"),
            "data": base64.b64encode(zlib.compress(pack(kept), 1)).decode("ascii"),
            "script": _part("page_scene.js") + _part("page_controls.js"),
        },
    )


def pack(kept: Thinned) -> bytes:
    """Return the events as six planes of n bytes.

    x low, x high with polarity in the top bit, y low, y high, and the step of time from the event
    before, low and high. Time runs from 0 at the first event of the stream to 65535 at its last.
    """
    events = kept.events
    span = max(1, kept.stop_us - kept.start_us)
    # float64 holds the product where int64 could not, and is exact to far below one step.
    time = np.floor((events.t - kept.start_us) * (_TIME_STEPS / span)).astype(np.uint16)
    step = np.diff(time, prepend=np.uint16(0))
    x = events.x.astype(np.uint16) | (events.p.astype(np.uint16) << 15)
    y = events.y.astype(np.uint16)
    return b"".join(
        (column >> shift).astype(np.uint8).tobytes() for column in (x, y, step) for shift in (0, 8)
    )


def _resolution_us(kept: Thinned) -> float:
    return max(1.0, (kept.stop_us - kept.start_us) / _TIME_STEPS)


def _meta(kept: Thinned, title: str) -> dict[str, Any]:
    return {
        "title": title,
        "width": kept.events.size.width,
        "height": kept.events.size.height,
        "kept": len(kept.events),
        "total": kept.total,
        "every": kept.every,
        "start": f"{kept.start_us:,}",  # text: JavaScript numbers end at 2^53
        "span_us": kept.stop_us - kept.start_us,
        "resolution_us": _resolution_us(kept),
        "time_length": TIME_LENGTH,
        "focal": FOCAL,
        "themes": {"dark": _colours(DARK), "light": _colours(LIGHT)},
    }


def _colours(theme: Theme) -> dict[str, Any]:
    return {
        "ground": theme.ground,
        "line": theme.line,
        "grid": theme.grid,
        "text": theme.text,
        "faint": theme.faint,
        "on": theme.on,
        "off": theme.off,
        "stops": theme.time_stops,
    }


def _part(name: str) -> str:
    return files("dvskit.render").joinpath(name).read_text(encoding="utf-8")


def _fill(template: str, values: dict[str, str]) -> str:
    # One pass, so that braces in a title or in the script stay what they are.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: str(values[match[1]]), template)
