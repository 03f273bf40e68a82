"""Events in space and time as one self-contained HTML page."""

from __future__ import annotations

import base64
import html
import json
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_whole
from dvskit._files import check_output, write_whole
from dvskit.errors import ConfigError, printable
from dvskit.events import Events, Source, as_source, file_name
from dvskit.formats import Recording, RecordingPart
from dvskit.motion import flow_blocks
from dvskit.render._camera import FOCAL, TIME_LENGTH
from dvskit.render._numbers import check_suffix, number_text
from dvskit.render._thinning import ThinnedEvents, Thinner, thin
from dvskit.render.colormap import DARK, HUES, LIGHT, STEPS, Theme, flow_palette, flow_rows
from dvskit.render.motion_styles import FlowColors
from dvskit.render.videos import as_uint8
from dvskit.streams import Labels
from dvskit.tracking import OBJECT_ROW
from dvskit.video import FrameSource

PAGE_SUFFIXES = (".html", ".htm")
_MOST_IN_FILES, _MOST_IN_NOTEBOOKS = 5_000_000, 1_000_000  # events
SCRIPTS = ("store", "camera", "box", "points", "words", "controls", "objects")
_START = (
    "start().catch(error => { say('The cloud could not be drawn', String(error && error.message || "
    "error)); console.error(error); });\n"
)
PIECE = 1 << 16  # time steps whose indices differ in their lower 16 bits only
_MOST_PIECES = 256  # each is drawn by a separate call
_BYTES_AN_EVENT = 6
_UNKNOWN = {"dark": "#565b70", "light": "#d3d4da"}  # of events without velocity


@dataclass(frozen=True, slots=True)
class ShownEvents:
    """A recording on a page.

    events     the recording, Events or a Source
    name       above its cloud if there are several
    labels     spans and their content, in its own time; None uses the labels of the recording
    decisions  of a classifier on spans of its time; a name may end in a share: "wave (93 %)"
    flow       the page can show the velocities of events, in these colors
    images     (t_us, image) in order of time, such as reconstructed images: the page shows the
               latest one, at most 240, evenly thinned, of up to 480 pixels a side
    objects    their tracks, rows of `tracking.OBJECT_ROW`

        events = dvskit.load_events("discs.raw").between(0, 500_000)
        shown = dvskit.render.ShownEvents(
            events, name="three discs", objects=dvskit.tracking.track(events)
        )
        dvskit.render.page(shown, "discs.html")
    """

    events: Events | Source
    name: str = ""
    labels: Labels | None = None
    decisions: Labels = field(default_factory=Labels.empty)
    flow: FlowColors | None = None
    images: Images | None = None
    objects: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if self.objects is not None:
            check_objects(self.objects)


@dataclass(frozen=True, slots=True)
class PageReport:
    """The content of a page.

    kept, total     events on the page, of how many; of the most thinned recording one in `every`
    resolution_us   the step of the times on the page: 1 up to 16.7 s, coarser beyond
    size_bytes      of the page
    labels, labels_total  labels on the page, of how many: those of other times are dropped
    images, images_total  images on the page, of how many
    path            of the file; None for a page in a notebook, which `html` shows

        events = dvskit.load_events("events.raw")
        report = dvskit.render.page(events, "thinned.html", max_events=20_000)
        report.kept, report.every  # (16239, 2)
    """

    kept: int
    total: int
    every: int
    resolution_us: int
    size_bytes: int
    labels: int
    labels_total: int
    images: int = 0
    images_total: int = 0
    path: Path | None = None
    html: str | None = field(repr=False, default=None)

    def _repr_html_(self) -> str | None:
        return self.html


class PageRecording(NamedTuple):
    """A recording on the page: thinned, with labels relative to its first event."""

    kept: ThinnedEvents
    name: str
    labels: Labels = Labels.empty()
    decisions: Labels = Labels.empty()
    full_px_s: float | None = None  # the speed of full color, if `kept` has rows of flow
    images: PageImages | None = None
    objects: NDArray[Any] | None = None

    def within(self, labels: Labels) -> list[tuple[int, int, str]]:
        """Return the labels that overlap it: start, stop relative to its start, and name."""
        start_us, span_us = self.kept.start_us, self.kept.span_us
        rows = zip(labels.start_us.tolist(), labels.stop_us.tolist(), labels.name, strict=True)
        moved = ((start - start_us, stop - start_us, printable(name)) for start, stop, name in rows)
        return [
            (max(0, start), min(span_us, stop), name)
            for start, stop, name in moved
            if stop > 0 and start <= span_us
        ]


def page(
    shown: Events | Source | ShownEvents | Sequence[Events | Source | ShownEvents],
    path: str | PathLike[str] | None = None,
    *,
    title: str | None = None,
    overwrite: bool = False,
    max_events: int | None = None,
    state: str = "",
    height_px: int = 560,
) -> PageReport:
    """Make a page on which a cloud of events can be turned, scrubbed and played.

    One self-contained file, without requests to servers. Without a path, a notebook shows the page
    in a frame of `height_px`, and its file grows by about 3 MB per million events. Several
    recordings are side by side, turned and played together, each from its first event. Beyond
    `max_events` (shared by several; None: 5 million, in a notebook 1 million) the page holds every
    2nd, 4th, 8th, ... event; the page and the report state this. Reads each stream once.

    `title` defaults to the name of the written file, or of the shown one. `state` is the initial
    view, in the form of the part after # in addresses copied from the page. Raises ConfigError for
    another suffix, no recording, max_events < 1, or height_px outside 100..10,000, OutputError.

        dvskit.render.page(dvskit.open_events("events.raw"), "wave.html", title="A wave")
        both = [dvskit.open_events("events.raw"), dvskit.open_events("noisy.raw")]
        dvskit.render.page(both, "both.html")  # side by side
        dvskit.render.page(dvskit.load_events("events.raw"), height_px=500)  # in a notebook
    """
    check_whole("height_px", height_px, 100, 10_000)
    if max_events is None:
        max_events = _MOST_IN_NOTEBOOKS if path is None else _MOST_IN_FILES
    target, frame = None, None
    if path is not None:
        hint = "; render.cloud writes .png"
        target = check_output(
            check_suffix(path, PAGE_SUFFIXES, "a page", hint), overwrite=overwrite
        )
    held = hold(shown, max_events=max_events)
    if title is None:
        title = _name_of(shown) if target is None else target.stem
    text = page_html(held, title, state=state)
    data, kept = text.encode(), [each.kept for each in held]
    if target is None:
        frame = _notebook_frame(text, title, height_px)
    else:
        write_whole(target, data, overwrite=overwrite)
    return PageReport(
        kept=sum(len(each.events) for each in kept),
        total=sum(each.total for each in kept),
        every=max(each.every for each in kept),
        resolution_us=max(step_us(each.span_us) for each in kept),
        size_bytes=len(data),
        labels=sum(len(each.within(each.labels)) for each in held),
        labels_total=sum(len(each.labels) for each in held),
        images=sum(len(each.images.rows) for each in held if each.images),
        images_total=sum(each.images.total for each in held if each.images),
        path=target,
        html=frame,
    )


def _name_of(shown: Any) -> str:
    """Return the name of the file of a recording; "Events" for others."""
    shown = shown.events if isinstance(shown, ShownEvents) else shown
    return "Events" if isinstance(shown, Sequence) else file_name(shown) or "Events"


def _notebook_frame(text: str, title: str, height_px: int) -> str:
    # Its scripts run, but cannot access the notebook.
    return (
        f'<iframe srcdoc="{html.escape(text)}" title="{html.escape(title)}" width="100%" '
        f'height="{height_px}" sandbox="allow-scripts allow-downloads" '
        'allow="fullscreen" style="border:0"></iframe>'
    )


def hold(
    shown: Events | Source | ShownEvents | Sequence[Events | Source | ShownEvents],
    *,
    max_events: int,
) -> list[PageRecording]:
    """Read the recordings to show. Raises ConfigError for no recording, or max_events < 1."""
    alone = isinstance(shown, str) or not isinstance(shown, Sequence)
    several: list[Any] = [shown] if alone else list(shown)  # type: ignore[arg-type]
    if not several:
        raise ConfigError("a page needs at least one recording")
    share = max(1, max_events // len(several)) if max_events > 0 else max_events
    each = [one if isinstance(one, ShownEvents) else ShownEvents(one) for one in several]
    speeds = {one.flow and one.flow.full_px_s for one in each}
    if len(speeds) > 1:
        raise ConfigError("flow on a page has one full_px_s, for all of its recordings; give each "
                          "the same FlowColors, or none")  # fmt: skip
    return [_held(one, number, share) for number, one in enumerate(each, 1)]


def _held(shown: ShownEvents, number: int, max_events: int) -> PageRecording:
    source, labels, full_px_s = shown.events, shown.labels, None
    if shown.flow is None:
        kept = thin(source, max_events)
    else:
        kept, full_px_s = (
            _thin_flow(as_source(source), shown.flow, max_events),
            shown.flow.full_px_s,
        )
    if labels is None:
        own = isinstance(source, Recording | RecordingPart)
        labels = source.labels() if own else Labels.empty()  # type: ignore[union-attr]
    images = None if shown.images is None else page_images(shown.images)
    name = shown.name or f"recording {number}"
    return PageRecording(kept, name, labels, shown.decisions, full_px_s, images, shown.objects)


def _thin_flow(source: Source, colors: FlowColors, max_events: int) -> ThinnedEvents:
    """Return thinned events with rows of the palette of flow; 0 stands for an unknown velocity.

    Velocities are those among all events.
    """
    thinner = Thinner(source.size, max_events)
    for flow in flow_blocks(source, colors.method):
        rows = np.zeros(len(flow), np.uint8)
        at = flow.known
        rows[at] = flow_rows(flow.vx[at], flow.vy[at], colors.full_px_s)
        thinner.add(flow.events, rows)
    return thinner.kept()


def page_html(held: Sequence[PageRecording], title: str, *, state: str = "") -> str:
    """Return the text of the page; `state` is a view as in the page's own addresses."""
    packed = [(facts, zlib.compress(planes, 1)) for facts, planes in map(described, held)]
    full_px_s = held[0].full_px_s
    flow = None if full_px_s is None else _flow_key(full_px_s)
    total = sum(each.kept.total for each in held)
    parts = [
        f'<script id="data-{index}" type="text/plain">{base64.b64encode(data).decode()}</script>'
        for index, (_, data) in enumerate(packed)
    ]
    parts += [each.images.element(index) for index, each in enumerate(held) if each.images]
    return assemble(
        {
            "title": title,
            "clouds": [facts for facts, _ in packed],
            "served": False,
            "state": state,
            "flow": flow,
        },
        label=f"Cloud of {total:,} events in x, y and time",
        data="\n".join(parts),
        scripts=("images",),
    )


def assemble(
    meta: dict[str, Any], *, label: str, data: str, scripts: Sequence[str] = (), connect: str = ""
) -> str:
    """Return the page described by `meta`: the template filled with styles, events, scripts."""
    meta = meta | {
        "title": printable(meta["title"]),
        "time_length": TIME_LENGTH,
        "focal": FOCAL,
        "themes": {"dark": _colors(DARK), "light": _colors(LIGHT)},
    }
    return _fill(
        _part("page.html"),
        {
            "title": html.escape(meta["title"]),
            "label": html.escape(label),
            "css": themed(_part("page.css")),
            # "<" could close the script element or open a comment in it.
            "meta": json.dumps(meta, ensure_ascii=False).replace("<", "\\u003c"),
            "data": data,
            "script": "".join(_part(f"{name}.js") for name in (*SCRIPTS, *scripts)) + _START,
            "connect": connect,
        },
    )


def themed(css: str) -> str:
    """Return a style sheet with the colors of both themes in place of {{dark_ground}} and such."""
    themes = {"dark": _colors(DARK), "light": _colors(LIGHT)}
    return _fill(
        css, {f"{name}_{key}": themes[name][key] for name in themes for key in themes[name]}
    )


def _flow_key(full_px_s: float) -> dict[str, Any]:
    """Return the colors of flow, and their key: the wheel's rim is the speed of full color."""
    return {
        "rim": f"{number_text(full_px_s, 2)} px/s", "hues": HUES, "steps": STEPS,
        "palettes": {
            name: [_UNKNOWN[name], *map(_hex, flow_palette(theme)[1:].tolist())]
            for name, theme in (("dark", DARK), ("light", LIGHT))
        },
    }  # fmt: skip


def _hex(color: list[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def described(held: PageRecording) -> tuple[dict[str, Any], bytes]:
    """Return the page's description of a recording, and the planes of its events."""
    kept, step = held.kept, step_us(held.kept.span_us)
    times = steps(kept.events, start_us=kept.start_us, step=step)
    facts = {
        "name": printable(held.name),
        "width": kept.events.sensor_size.width,
        "height": kept.events.sensor_size.height,
        "kept": len(kept.events),
        "total": kept.total,
        "every": kept.every,
        "start": f"{kept.start_us:,}",  # text: JavaScript numbers end at 2^53
        "span_us": kept.span_us,
        "resolution_us": step,
        "pieces": pieces(times),
        "labels": held.within(held.labels),
        "decisions": held.within(held.decisions),
    }
    if held.images is not None:
        facts["images"] = held.images.times(kept.start_us)
    if held.objects is not None:
        facts["objects"] = described_objects(held.objects, kept.start_us, kept.span_us)
    planes = pack(kept.events, times)
    return facts, planes if kept.rows is None else planes + kept.rows.tobytes()


def _colors(theme: Theme) -> dict[str, Any]:
    plain = ("ground", "line", "grid", "text", "faint", "on", "off")
    colors: dict[str, Any] = {name: getattr(theme, name) for name in plain}
    return colors | {"stops": theme.time_stops, "count_stops": theme.count_stops}


def _part(name: str) -> str:
    return files("dvskit.render").joinpath("web", name).read_text(encoding="utf-8")


def _fill(template: str, values: dict[str, str]) -> str:
    # One pass, so that braces in a title or in the script are kept.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: str(values[match[1]]), template)


def step_us(span_us: int) -> int:
    """Return the step of stored times: 1 us for up to 16.7 s, more for longer recordings."""
    return span_us // (PIECE * _MOST_PIECES) + 1


def steps(events: Events, *, start_us: int, step: int) -> NDArray[np.uint64]:
    """Return the times of events in whole steps since `start_us`: (n,) uint64."""
    # Unsigned, because the difference of two int64 may need 64 bits.
    passed = events.t.astype(np.uint64) - np.uint64(start_us % (1 << 64))
    return passed if step == 1 else passed // np.uint64(step)


def pieces(steps_of: NDArray[np.uint64]) -> list[int]:
    """Return the number of events of each piece, from the first to that of the last event."""
    if not len(steps_of):
        return []
    ends = np.arange(1, int(steps_of[-1]) // PIECE + 2, dtype=np.uint64) * np.uint64(PIECE)
    places = np.searchsorted(steps_of, ends)
    return [int(count) for count in np.diff(places, prepend=0)]


def pack(events: Events, steps_of: NDArray[np.uint64]) -> bytes:
    """Return the events as six planes of n bytes.

    x low, x high with polarity in the top bit, y low, y high, and the lower 16 bits of the time
    steps since the previous event, low and high.
    """
    low = steps_of.astype(np.uint16)
    step = np.diff(low, prepend=np.uint16(0))
    x = events.x.astype(np.uint16) | (events.p.astype(np.uint16) << 15)
    y = events.y.astype(np.uint16)
    planes = np.empty((_BYTES_AN_EVENT, len(events)), np.uint8)
    for number, column in enumerate((x, y, step)):
        planes[2 * number] = column  # the lower byte: the cast truncates
        planes[2 * number + 1] = column >> 8
    return planes.tobytes()


MOST_IMAGES = 240
LONGEST_PX = 480
_QUALITY = 60  # of WebP, 0..100: about 10 kB an image

Images = Iterable[tuple[int, NDArray[Any]]]


class PageImages:
    """The images of a recording on a page: at most `MOST_IMAGES`, evenly thinned, as WebP.

    rows   (t_us, WebP) of each image, in order of time
    every  1 in `every` images is kept
    total  how many were added
    """

    def __init__(self) -> None:
        self.rows: list[tuple[int, bytes]] = []
        self.every, self.total = 1, 0

    def add(self, t_us: int, image: NDArray[Any]) -> None:
        """Add an image, gray or RGB; each one is later than the one before."""
        number, self.total = self.total, self.total + 1
        if number % self.every:
            return
        # A new list each time: other threads may read the old one.
        self.rows = [*self.rows, (t_us, _webp(as_uint8(image)))]
        if len(self.rows) > MOST_IMAGES:
            self.rows, self.every = self.rows[::2], 2 * self.every

    def times(self, start_us: int) -> list[int]:
        """Return the times of the images, relative to `start_us`."""
        return [t_us - start_us for t_us, _ in self.rows]

    def element(self, index: int) -> str:
        """Return the images as an element of a page: base64, in a JSON list."""
        data = [base64.b64encode(image).decode() for _, image in self.rows]
        return f'<script id="images-{index}" type="application/json">{json.dumps(data)}</script>'


def page_images(images: Images) -> PageImages:
    """Return timed images, such as a FrameSource in its colors, for a page."""
    found = PageImages()
    for t_us, image in images.pictures() if isinstance(images, FrameSource) else images:
        found.add(t_us, image)
    return found


def _webp(image: NDArray[Any]) -> bytes:
    height, width = image.shape[:2]
    share = min(1.0, LONGEST_PX / max(width, height))
    if share < 1:
        size = max(1, round(width * share)), max(1, round(height * share))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    bgr = image if image.ndim == 2 else image[..., ::-1]
    return bytes(cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1].data)


_MOST_ROWS = 100_000  # about 3 MB


def check_objects(rows: NDArray[Any]) -> None:
    """Raise ConfigError unless rows are of `tracking.OBJECT_ROW`."""
    if rows.dtype != OBJECT_ROW or rows.ndim != 1:
        raise ConfigError(f"objects are {rows.dtype}; pass the rows of a tracker (OBJECT_ROW)")


def described_objects(rows: NDArray[Any], start_us: int, span_us: int) -> dict[str, Any]:
    """Return the objects of a page: the step of their times, and columns for each.

    Times are in microseconds after `start_us`; rows outside the span are dropped. Of more than
    100,000 rows, every 2nd, 3rd, ... place of an object is kept, and its last.
    """
    rows = rows[(rows["t"] >= start_us) & (rows["t"] <= start_us + span_us)]
    rows = rows[np.lexsort((rows["t"], rows["id"]))]
    each = np.split(rows, np.flatnonzero(np.diff(rows["id"])) + 1) if len(rows) else []
    every = -(-len(rows) // _MOST_ROWS)
    steps = np.diff(np.unique(rows["t"]))
    return {
        "step_us": float(np.median(steps)) * every if len(steps) else 0.0,
        "tracks": [_columns(_thinned(track, every), start_us) for track in each],
    }


def _thinned(track: NDArray[Any], every: int) -> NDArray[Any]:
    kept: NDArray[Any] = track[np.append(np.arange(0, len(track) - 1, every), len(track) - 1)]
    return kept


def _columns(track: NDArray[Any], start_us: int) -> dict[str, Any]:
    speed = np.hypot(track["vx"], track["vy"])
    return {
        "id": int(track["id"][0]),
        "t": (track["t"] - start_us).tolist(),
        "x": track["x"].round(1).tolist(),
        "y": track["y"].round(1).tolist(),
        "w": track["width"].round(1).astype(float).round(1).tolist(),
        "h": track["height"].round(1).astype(float).round(1).tolist(),
        "speed": np.rint(speed).astype(int).tolist(),
        "seen": track["seen"].astype(int).tolist(),
    }
