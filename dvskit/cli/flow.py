"""`dvskit flow`: the velocity of each event."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dvskit._files import check_output
from dvskit.cli import _console
from dvskit.cli._clips import (
    CountedEvents,
    ShownFile,
    note_assumptions,
    open_shown,
    save_picture,
)
from dvskit.cli._options import REQUIRED, DarkOption, Force, Json, Reading, Span, option, part_of
from dvskit.errors import ConfigError, count_of
from dvskit.events import Events, Size, Source

if TYPE_CHECKING:
    from dvskit.formats import Recording, RecordingPart
    from dvskit.motion import Flow, FlowMethod, FlowStep
    from dvskit.render import ShownEvents, VideoView

MethodName = StrEnum("MethodName", ["plane", "pooled", "dense"])
_ARRAYS, _STILL, _MOVING = (".npz",), (".png", ".svg", ".pdf"), (".mp4", ".mkv", ".mov", ".gif")
_PAGE = (".html",)
_LOOKED_AT = 200_000  # events with flow, for the speed of full colour
_LIVE_PX_S = 500.0


@dataclass(frozen=True, slots=True)
class _Shown:
    """The part, its flow, and its look: the options --method to --dark."""

    method: MethodName | None = option(
        "dense, the motion of the picture, by contrast maximization, also in fine texture (slow: "
        "up to a second for 30,000 events); or plane, the velocity across edges some pixels apart, "
        "from a plane through the times of 7x7 pixels (fast); or pooled, the mean of those nearby, "
        "towards the motion itself.",
        shown="dense; plane for live events", metavar="METHOD",
    )  # fmt: skip
    span: Span = field(default_factory=Span)
    arrows: bool = option(
        "Of a picture or video: arrows of the mean velocity on a grid, not colours.",
        "--arrows", default=False,
    )  # fmt: skip
    full: float | None = option(
        "The speed of full colour, or of an arrow as long as a cell of the grid, in pixels a "
        "second.",
        shown="the fastest tenth has full colour; in videos with --arrows, half is faster",
    )
    fps: float | None = option("Of a video: frames a second.", shown="60, GIF 25")
    slow: float | None = option(
        "Of a video: slow motion; 1000 shows a millisecond in a second.", shown="1"
    )
    window: str | None = option(
        "Of a video: how long events stay visible, such as 20ms.",
        shown="3 frames, at least 5 ms",
    )
    scale: int | None = option(
        "Of a video: draw each pixel of the sensor as N x N pixels.", shown="more for small sensors"
    )
    dark: DarkOption = True

    def check(self, out: Path) -> str:
        """Return the suffix of the output. Raises ConfigError, also for options of other kinds."""
        suffix, choices = out.suffix.lower(), (*_ARRAYS, *_STILL, *_MOVING, *_PAGE)
        if suffix not in choices:
            raise ConfigError(
                f"{out}: flow is written as {', '.join(choices[:-1])} or {choices[-1]}, not "
                f"{suffix or 'nothing'}"
            )
        for name in ("fps", "slow", "window", "scale"):
            if getattr(self, name) is not None and suffix not in _MOVING:
                raise ConfigError(f"{out}: --{name} applies to videos only; leave it out")
        if self.full is not None and (suffix in _ARRAYS or not 1 <= self.full <= 1e6):
            fix = "leave it out" if suffix in _ARRAYS else "give 1 to 1000000 px/s"
            raise ConfigError(f"{out}: --full sets the colours of pictures and videos; {fix}")
        if self.arrows and suffix in (*_ARRAYS, *_PAGE):
            raise ConfigError(f"{out}: --arrows applies to pictures and videos only; leave it out")
        return suffix

    def method_name(self, live: bool) -> str:
        """Return the name of --method; by default of one that keeps up with live events."""
        return str(self.method or (MethodName.plane if live else MethodName.dense))

    def flow_method(self, live: bool) -> FlowMethod:
        """Return the method of --method."""
        from dvskit import motion

        kinds = {"plane": motion.PlaneFlow, "pooled": motion.PooledFlow, "dense": motion.DenseFlow}
        method: FlowMethod = kinds[self.method_name(live)]()
        return method

    def full_px_s(self, part: Recording | RecordingPart) -> float:
        """Return the speed of full colour, or of an arrow as long as a cell."""
        share = 0.5 if self.arrows else 0.9
        return self.full or _usual_speed(part, self.flow_method(part.live), share)

    def on_page(
        self, source: Source, part: Recording | RecordingPart, method: FlowMethod
    ) -> ShownEvents:
        """Return a source for a page, with its flow."""
        from dvskit.render import FlowColours, ShownEvents

        colours = FlowColours(full_px_s=self.full_px_s(part), method=method)
        return ShownEvents(source, labels=part.labels(), flow=colours)

    def view(self, part: Recording | RecordingPart, method: FlowMethod) -> VideoView:
        """Return the look of a video of a part. Raises ConfigError."""
        from dvskit.render import FlowArrows, FlowColours, VideoView

        window_us = None
        if self.window is not None:
            window_us = _console.parse_duration_us(self.window, "--window")
        kind = FlowArrows if self.arrows else FlowColours
        style = kind(full_px_s=self.full_px_s(part), method=method, window_us=window_us)
        return VideoView(
            style=style, fps=self.fps, slow=self.slow or 1.0, scale=self.scale, dark=self.dark
        )


def flow(
    file: ShownFile,
    out: Path = option(
        "Arrays t, x, y, p, vx, vy (.npz), a picture (.png, .svg, .pdf), a video (.mp4, .mkv, "
        ".mov, .gif), or a page to turn and play (.html).",
        "-o", "--out", default=REQUIRED, shown=False,
    ),
    shown: _Shown = _Shown(),
    reading: Reading = Reading(),
    json: Json = False,
    force: Force = False,
) -> None:  # fmt: skip
    """Compute the velocity of each event: arrays, or a picture, video or page in its colours."""
    suffix = shown.check(out)
    times = shown.span.times()
    check_output(out, overwrite=force)
    _console.announce_compiling()
    recording = open_shown(file, reading)
    part = part_of(recording, *times)
    tally = _Tally(shown.flow_method(recording.live))
    view = shown.view(part, tally) if suffix in _MOVING else None
    with _console.progress(out.name, None, "events") as show:
        source = CountedEvents(part, file, show)
        if suffix in _ARRAYS:
            _write_arrays(source, tally, out, force)
        elif suffix in _PAGE:
            _write_page(file, shown.on_page(source, part, tally), shown, out, force)
        elif view is None:
            _draw(source, tally, shown, out, force)
        else:
            from dvskit import render

            render.video(source, out, view=view, overwrite=force)
    note_assumptions(file, recording, part)
    if not tally.moving:
        _console.note(f"{file}: nothing moves, or by less than 20 px/s")
    if json:
        named = {"file": str(file), "out": str(out), "method": shown.method_name(recording.live)}
        _console.print_json(named | {"events": source.count} | tally.facts())
        return
    words = f"{tally.known:,} of {count_of(source.count, 'event')} have a velocity"
    median = "" if not tally.known else f", {tally.speed(0.5):,.0f} px/s in the median"
    _console.say(f"{out}: {words}{median}")


class _Tally:
    """A way to determine flow that counts events and their speeds, without keeping them."""

    _EDGES = np.geomspace(0.01, 1e7, 2251)

    def __init__(self, method: FlowMethod) -> None:
        self._method = method
        self.known = self.moving = 0
        self._counts = np.zeros(len(self._EDGES) - 1, np.int64)

    def start(self, size: Size) -> _TallyStep:
        return _TallyStep(self, self._method.start(size))

    def add(self, flow: Flow) -> Flow:
        speeds = np.hypot(flow.vx, flow.vy)[flow.known]
        self.known += len(speeds)
        self.moving += int(np.count_nonzero(speeds))
        self._counts += np.histogram(np.maximum(speeds, self._EDGES[0]), self._EDGES)[0]
        return flow

    def speed(self, share: float) -> float | None:
        """Return a quantile of the speeds in px/s, within half a percent; None without any."""
        if not self.known:
            return None
        bin_ = int(np.searchsorted(self._counts.cumsum(), share * self._counts.sum()))
        return round(float(np.sqrt(self._EDGES[bin_] * self._EDGES[bin_ + 1])), 1)

    def facts(self) -> dict[str, Any]:
        return {
            "known": self.known, "median_px_s": self.speed(0.5), "p90_px_s": self.speed(0.9)
        }  # fmt: skip


class _TallyStep:
    def __init__(self, tally: _Tally, step: FlowStep) -> None:
        self._tally, self._step = tally, step

    def __call__(self, events: Events) -> Flow:
        return self._tally.add(self._step(events))

    def finish(self) -> Flow:
        return self._tally.add(self._step.finish())


def _write_arrays(source: Source, tally: _Tally, out: Path, force: bool) -> None:
    from dvskit.motion import flow_blocks
    from dvskit.motion.flow_file import FlowSink

    with FlowSink(out, source.size, overwrite=force) as sink:
        for block in flow_blocks(source, tally):
            sink.add(block)


def _write_page(file: Path, events: ShownEvents, shown: _Shown, out: Path, force: bool) -> None:
    from dvskit import render

    report = render.page(
        events, out, title=shown.span.titled(file.name), overwrite=force,
        state="colour=flow" + ("" if shown.dark else "&theme=light"),
    )  # fmt: skip
    if report.kept < report.total:
        total = count_of(report.total, "event")
        _console.note(f"{out}: shows {report.kept:,} of {total}, evenly thinned")


def _draw(source: Source, tally: _Tally, shown: _Shown, out: Path, force: bool) -> None:
    from dvskit.motion import flow_blocks
    from dvskit.render import plots

    style = plots.Style(dark=shown.dark, width_mm=180)
    draw = plots.flow_arrows if shown.arrows else plots.flow
    save_picture(draw(flow_blocks(source, tally), full_px_s=shown.full, style=style), out, force)


def _usual_speed(part: Recording | RecordingPart, method: FlowMethod, share: float) -> float:
    """Return the quantile of the speeds of the first events; of live events, 500 px/s."""
    from dvskit.motion import flow_blocks

    if part.live:
        return _LIVE_PX_S
    tally = _Tally(method)
    for _ in takewhile(lambda _: tally.known < _LOOKED_AT, flow_blocks(part, tally)):
        pass
    return max(1.0, tally.speed(share) or _LIVE_PX_S)
