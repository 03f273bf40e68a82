"""Notebook output of events and sources: HTML, with a picture of their beginning."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DvskitError, one_line
from dvskit.events import Events, EventsSource, Source, SourcePart, about, cut
from dvskit.filters import FilteredSource
from dvskit.formats import Recording, RecordingPart
from dvskit.render._numbers import number_text
from dvskit.render.colormap import LIGHT, rgb

_WIDTH_PX = 240
_HEIGHT_PX = 240
_FINEST_PX = 360  # finer than displayed, for high-resolution screens
_MOST_EVENTS = 2_000_000  # a picture of a part looks the same as one of all, but is faster
_SPARKS = 120
_FIRST_US = 1_000_000  # events of a file for a picture
_FIRST_BLOCKS = 4
_ORIGINS = {
    "argument": "as given",
    "header": "from the header",
    "camera": "from the camera's name",
    "format": "default of the format",
    "frames": "of its frames",
    "data": "inferred from the events",
}


def html(shown: Events | Source) -> str:
    """Return events or a source as HTML.

    Of a file, filtered or not, the beginning is read: a second, or a few blocks, whichever is less.
    Other sources are not read: an emulation takes time, and a live stream can be read only once.
    """
    if isinstance(shown, Events):
        return _events_html(shown)
    if isinstance(shown, Recording | RecordingPart):
        return _with_beginning(shown, _about_recording(shown))
    return _with_beginning(shown, [*about(shown), ("sensor", f"{shown.size} pixels")])


def _events_html(events: Events) -> str:
    """Return events as HTML: a picture of their positions, the figures, a sparkline of the rate."""
    every = max(1, -(-len(events) // _MOST_EVENTS))
    on = int(np.count_nonzero(events.p))
    rows = [
        ("events", f"{len(events):,}"),
        ("ON, OFF", f"{on:,}, {len(events) - on:,}"),
        ("sensor", f"{events.sensor_size} pixels"),
    ]
    if len(events):
        rows.append(("time", f"{events.t[0]} to {events.t[-1]} µs"))
        span = events.duration_us * 1e-6
        if span:
            rate = f"{len(events) / span:,.0f} events/s over {number_text(span, 6)} s"
            rows.append(("rate", rate))
        if every > 1:
            rows.append(("picture", f"of one event in {every}"))
    return _frame(_picture(events[::every]), _table(rows) + _sparkline(events))


def _about_recording(recording: Recording | RecordingPart) -> list[tuple[str, str]]:
    whole = recording.recording if isinstance(recording, RecordingPart) else recording
    file = whole.path
    rows = [("recording", str(file)), ("format", whole.format)]
    if file.is_file():
        rows.append(("bytes", f"{file.stat().st_size:,}"))
    rows.append(("sensor", f"{whole.size} pixels ({_ORIGINS[whole.size_origin]})"))
    if isinstance(recording, RecordingPart):
        start = "start" if recording.start_us is None else recording.start_us
        stop = "end" if recording.stop_us is None else recording.stop_us
        rows.append(("part", f"{start} to {stop} µs"))
    rows += [("assumed", text) for text in whole.assumptions]
    if recording.damage:
        rows.append(("damage", str(recording.damage)))
    return rows


def _with_beginning(source: Source, rows: list[tuple[str, str]]) -> str:
    look, picture = _look_at(source), ""
    if look is None:
        row = "events", ".load() gives them all, .blocks(count=...) some at a time"
        return _frame("", _table([*rows, row]))
    try:
        seen = beginning(look)
        row = "picture", "none: it begins without events"
        if len(seen):
            row = "picture", f"of the first {len(seen):,} events, {seen.duration_us * 1e-6:.3g} s"
            picture = _picture(seen[:: max(1, -(-len(seen) // _MOST_EVENTS))])
    except (DvskitError, OSError) as error:  # notebook output must not fail
        row = "not read", one_line(error)
    return _frame(picture, _table([*rows, row]))


def beginning(source: Source) -> Events:
    """Return the events of the first second of a source, of its first 4 blocks at most."""
    kept: list[Events] = []
    first_us: int | None = None
    for block in islice(source, _FIRST_BLOCKS):
        if len(block) and first_us is None:
            first_us = int(block.t[0])
        kept.append(cut(block, None, None if first_us is None else first_us + _FIRST_US))
        if len(kept[-1]) < len(block):
            break
    return Events.concatenate(kept, source.size)


def _look_at(source: Source) -> Source | None:
    """Return a copy of the source to read; None if its first events are not available at once."""
    if isinstance(source, Recording):
        again = not source.live and source.path.exists()
        return RecordingPart(source, None, None) if again else None
    if isinstance(source, RecordingPart):
        begins = source.start_us is None and _look_at(source.recording) is not None
        return RecordingPart(source.recording, None, source.stop_us) if begins else None
    if isinstance(source, FilteredSource):
        inner = _look_at(source.source)
        return None if inner is None else FilteredSource(inner, source.filter)
    if isinstance(source, SourcePart):
        inner = _look_at(source.source)
        return None if inner is None else SourcePart(inner, source.start_us, source.stop_us)
    return source if isinstance(source, EventsSource) else None


def _frame(picture: str, words: str) -> str:
    return (
        '<div style="display:flex;gap:14px;align-items:flex-start;font-size:13px;'
        f'line-height:1.45">{picture}<div>{words}</div></div>'
    )


def _table(rows: Iterable[tuple[str, str]]) -> str:
    lines = "".join(
        f'<div style="opacity:.65">{escape(name)}</div><div>{escape(value)}</div>'
        for name, value in rows
    )
    return (
        f'<div style="display:grid;grid-template-columns:auto auto;column-gap:12px">{lines}</div>'
    )


def _picture(events: Events) -> str:
    data = base64.b64encode(png(events)).decode()
    return (
        f'<img alt="events per pixel" src="data:image/png;base64,{data}" '
        f'style="width:{_WIDTH_PX}px;max-height:{_HEIGHT_PX}px;object-fit:contain;'
        f"image-rendering:{'pixelated' if events.sensor_size.width < _WIDTH_PX else 'auto'};"
        'border:1px solid #8886">'
    )


def png(events: Events) -> bytes:
    """Return a picture of the events as PNG: on white, orange if ON prevails, blue if OFF."""
    step = -(-events.sensor_size.width // _FINEST_PX)
    width, height = -(-events.sensor_size.width // step), -(-events.sensor_size.height // step)
    at = (events.y.astype(np.int32) // step) * width + events.x // step
    # Both polarities in one count: OFF at even indices, ON at odd ones.
    counts = np.bincount(2 * at + events.p, minlength=2 * width * height).reshape(-1, 2)
    total = counts.sum(1)
    some = total > 0
    strong = float(np.quantile(total[some], 0.95)) if some.any() else 1.0
    share = np.clip(np.sqrt(total / strong), 0, 1)
    share[some] = np.maximum(share[some], 0.2)
    off, on = np.array(rgb(LIGHT.off), float), np.array(rgb(LIGHT.on), float)
    mix = counts[:, 1:] / np.maximum(total, 1)[:, None]
    color = 255 + share[:, None] * (off + mix * (on - off) - 255)
    image: NDArray[np.uint8] = np.rint(color).astype(np.uint8).reshape(height, width, 3)
    _, data = cv2.imencode(".png", image[:, :, ::-1], (cv2.IMWRITE_PNG_COMPRESSION, 1))
    return data.tobytes()


def sparks(events: Events) -> NDArray[np.int64]:
    """Return the numbers of events in 120 equal parts of their time; empty without a duration."""
    if not events.duration_us:
        return np.zeros(0, np.int64)
    first, span = int(events.t[0]), events.duration_us
    edges = [first + span * k // _SPARKS for k in range(1, _SPARKS)]
    # Times are sorted: 119 searches, for any number of events.
    places = np.searchsorted(events.t, np.array(edges, np.int64))
    return np.diff(np.concatenate([[0], places, [len(events)]])).astype(np.int64)


def _sparkline(events: Events) -> str:
    counts = sparks(events)
    if not counts.size:
        return ""
    heights = 30 - 28 * counts / counts.max()
    points = " ".join(f"{2 * i},{y:.1f}" for i, y in enumerate(heights))
    return (
        f'<svg width="{2 * _SPARKS}" height="32" style="display:block;margin-top:6px" role="img">'
        f'<title>event rate</title><polyline points="{points}" fill="none" '
        'stroke="currentColor" stroke-width="1.2"/></svg>'
    )
