"""`dvskit flow`: the velocity of each event."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dvskit.cli import _console
from dvskit.cli._options import REQUIRED, Duration, Force, Json, Reading, Span, option, output
from dvskit.cli._shown import ShownFile, ShownRecording, TalliedMethod, finish, opened
from dvskit.cli._writer import Kind, OutputWriter, VideoLook, only_for
from dvskit.errors import count_of

if TYPE_CHECKING:
    from dvskit.motion import Flow, FlowMethod

MethodName = StrEnum("MethodName", ["plane", "pooled", "dense"])
_LOOKED_AT = 200_000  # events with flow, for the speed of full color
_LIVE_PX_S = 500.0


@dataclass(frozen=True, slots=True)
class _Velocities:
    """The part, its flow, and its look.

    method  dense, the motion of the picture, by contrast maximization, also in fine texture (slow:
            up to a second for 30,000 events); or plane, the velocity across edges some pixels
            apart, from a plane through the times of 7x7 pixels (fast); or pooled, the mean of those
            nearby, towards the motion itself.
    arrows  Of a picture or video: arrows of the mean velocity on a grid, not colors.
    full    The speed of full color, or of an arrow as long as a cell of the grid, in pixels a
            second.
    window  Of a video: how long events stay visible, such as 20ms.
    """

    method: MethodName | None = option(shown="dense; plane for live events", metavar="METHOD")
    span: Span = field(default_factory=Span)
    arrows: bool = only_for(Kind.PICTURE | Kind.VIDEO, default=False)
    full: float | None = only_for(
        Kind.PAGE | Kind.PICTURE | Kind.VIDEO, min=1, max=1e6,
        shown="the fastest tenth has full color; in videos with --arrows, half is faster",
    )  # fmt: skip
    window: Duration | None = only_for(Kind.VIDEO, shown="3 frames, at least 5 ms")

    def flow_method(self, shown: ShownRecording) -> FlowMethod:
        """Return the method of --method; by default one that keeps up with live events."""
        from dvskit import motion

        kinds = {"plane": motion.PlaneFlow, "pooled": motion.PooledFlow, "dense": motion.DenseFlow}
        method: FlowMethod = kinds[self.method_name(shown)]()
        return method

    def method_name(self, shown: ShownRecording) -> str:
        return str(self.method or ("plane" if shown.live else "dense"))

    def full_px_s(self, shown: ShownRecording) -> float:
        """Return the speed of full color: by default a quantile of that of the first events."""
        if self.full or shown.live:
            return self.full or _LIVE_PX_S
        from dvskit.motion import flow_blocks

        speeds = _Speeds()
        blocks = flow_blocks(shown.part, TalliedMethod(self.flow_method(shown), speeds.add))
        for _ in takewhile(lambda _: speeds.known < _LOOKED_AT, blocks):
            pass
        return max(1.0, speeds.quantile(0.5 if self.arrows else 0.9) or _LIVE_PX_S)


def flow(
    file: ShownFile,
    out: Path = output(default=REQUIRED),
    velocities: _Velocities = _Velocities(),
    look: VideoLook = VideoLook(),
    reading: Reading = Reading(),
    json: Json = False,
    force: Force = False,
) -> None:
    """Compute the velocity of each event: arrays, or a picture, video or page in its colors.

    out  Arrays t, x, y, p, vx, vy (.npz), a picture (.png, .svg, .pdf), a video (.mp4, .mkv, .mov,
         .gif), or a page to turn and play (.html).
    """
    kinds = Kind.ARRAYS | Kind.PICTURE | Kind.VIDEO | Kind.PAGE
    writer = OutputWriter(out, "velocities", kinds, velocities, look, force=force, json=json)
    speeds = _Speeds()
    with opened(file, reading, velocities.span, writer) as shown:
        method = TalliedMethod(velocities.flow_method(shown), speeds.add)
        _write(shown, method, velocities, writer, look)
    if not speeds.moving:
        _console.note(f"{file}: nothing moves, or by less than 20 px/s")
    median, fast = speeds.quantile(0.5), speeds.quantile(0.9)
    words = f"{speeds.known:,} of {count_of(shown.count, 'event')} have a velocity"
    finish(
        writer, [shown], words + ("" if median is None else f", {median:,.0f} px/s in the median"),
        {
            "method": velocities.method_name(shown), "events": shown.count,
            "known": speeds.known, "median_px_s": median, "p90_px_s": fast,
        },
    )  # fmt: skip


class _Speeds:
    """A histogram of the speeds of events, without keeping them."""

    _EDGES = np.geomspace(0.01, 1e7, 2251)

    def __init__(self) -> None:
        self.known = self.moving = 0
        self._counts = np.zeros(len(self._EDGES) - 1, np.int64)

    def add(self, flow: Flow) -> Flow:
        speeds = np.hypot(flow.vx, flow.vy)[flow.known]
        self.known += len(speeds)
        self.moving += int(np.count_nonzero(speeds))
        self._counts += np.histogram(np.maximum(speeds, self._EDGES[0]), self._EDGES)[0]
        return flow

    def quantile(self, share: float) -> float | None:
        """Return a quantile in px/s, within half a percent; None without any."""
        if not self.known:
            return None
        bin_ = int(np.searchsorted(self._counts.cumsum(), share * self._counts.sum()))
        return round(float(np.sqrt(self._EDGES[bin_] * self._EDGES[bin_ + 1])), 1)


def _write(
    shown: ShownRecording,
    method: TalliedMethod,
    velocities: _Velocities,
    writer: OutputWriter,
    look: VideoLook,
) -> None:
    from dvskit.motion import flow_blocks

    if writer.kind is Kind.ARRAYS:
        from dvskit.motion.flow_file import FlowSink

        with FlowSink(writer.path, shown.size, overwrite=writer.force) as sink:
            for block in flow_blocks(shown, method):
                sink.add(block)
        return
    from dvskit.render import FlowArrows, FlowColors, ShownEvents, plots

    if writer.kind is Kind.PICTURE:
        draw = plots.flow_arrows if velocities.arrows else plots.flow
        style = plots.Style(dark=look.dark, width_mm=180)
        writer.picture(draw(flow_blocks(shown, method), full_px_s=velocities.full, style=style))
        return
    colors: dict[str, Any] = {"full_px_s": velocities.full_px_s(shown), "method": method}
    if writer.kind is Kind.VIDEO:
        kind = FlowArrows if velocities.arrows else FlowColors
        writer.video(shown, look, style=kind(**colors, window_us=velocities.window))
    else:
        title = velocities.span.titled(shown.file.name)
        labels = shown.part.labels()
        on_page = ShownEvents(shown, labels=labels, flow=FlowColors(**colors))
        writer.page(on_page, title=title, state="colour=flow", dark=look.dark)
