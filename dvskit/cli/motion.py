"""`dvskit motion`, `flow` and `corners`: the motion of a camera, of events, and of corners."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dvskit.cli import _console
from dvskit.cli._options import (
    REQUIRED,
    Duration,
    Force,
    Json,
    LensOption,
    Microseconds,
    Reading,
    Span,
    lens_for,
    option,
    output,
)
from dvskit.cli._shown import ShownFile, ShownRecording, TalliedMethod, finish, opened
from dvskit.cli._writer import Kind, OutputWriter, PlotLook, VideoLook, only_for
from dvskit.errors import ConfigError, count_of

if TYPE_CHECKING:
    from dvskit.motion import Flow, FlowMethod, MotionTable

ModelName = StrEnum("ModelName", ["translation", "rotation", "similarity"])
_WINDOW_US, _ALL = 20_000, 10**12  # more events than any recording has


@dataclass(frozen=True, slots=True)
class _Estimate:
    """What is estimated, and of which windows.

    model   What moves: translation, all events alike, in px/s; rotation, the camera, in rad/s, from
            its calibration; similarity, also turn and zoom in the picture.
    window  Duration of a window.
    count   Events of a window, in place of a duration.
    whole   Take all events as one window.
    """

    model: ModelName = ModelName.translation
    window: Duration | None = option(shown="20ms")
    count: int | None = option(min=1)
    whole: bool = False
    lens: LensOption = None
    span: Span = field(default_factory=Span)

    def windows(self) -> dict[str, Any]:
        """Return the windows, for `motion_over_time`. Raises ConfigError."""
        given = [self.window is not None, self.count is not None, self.whole]
        if sum(given) > 1:
            raise ConfigError("--window, --count and --whole exclude each other; give one")
        if self.whole or self.count is not None:
            return {"count": self.count or _ALL}
        return {"window_us": self.window or _WINDOW_US}


def motion(
    file: ShownFile,
    out: Path | None = output(shown="CSV to standard output"),
    estimate: _Estimate = _Estimate(),
    look: PlotLook = PlotLook(),
    json: Json = False,
    reading: Reading = Reading(),
    force: Force = False,
) -> None:
    """Estimate the motion of the camera, or of all events, in windows of a recording.

    Ctrl-C ends live events; the windows so far are written.

    out  The output: a table, .csv or .npz, or a plot with the gyroscope, .png, .svg or .pdf.
    """
    kinds, beside_json = Kind.TABLE | Kind.ARRAYS | Kind.PICTURE, json and out is not None
    writer = OutputWriter(out or Path("-"), "motions", kinds, look, force=force, json=beside_json)
    writer.json = json
    style = look.style() if writer.kind is Kind.PICTURE else None
    model: Any = estimate.model.value
    windows = estimate.windows()
    with opened(file, reading, estimate.span, writer, unit="windows") as shown:
        from dvskit.motion import motion_over_time

        lens = lens_for(model, shown.recording, estimate.lens)
        motions = motion_over_time(shown, model, **windows, camera=lens, on_window=shown.progress)
        columns: dict[str, Any] = motions.columns()
        if style is not None:
            from dvskit.render import plots

            writer.picture(plots.motion(motions, imu=shown.part.imu(), style=style))
        elif out is not None or not json:
            fields = [(name, column.dtype) for name, column in columns.items()]
            rows = np.rec.fromarrays(list(columns.values()), dtype=fields)
            writer.table([rows], ".7g", model=motions.model)
    _note_windows(file, motions)
    all_us = int(motions.stop_us[-1] - motions.start_us[0]) if len(motions) else 0
    if estimate.window is not None and windows["window_us"] > all_us > 0:
        _console.note(
            f"{file}: --window {_console.typed_us(estimate.window)} is longer than all events, "
            f"{_console.describe_us(all_us)}; give a shorter one for several windows"
        )
    table = {
        name: [None if value != value else value for value in column.tolist()]  # NaN
        for name, column in columns.items()
    }
    named = {"model": motions.model, "windows": len(motions), "unknown": motions.unknown}
    finish(writer, [shown], count_of(len(motions), "window"), named | table)


def _note_windows(file: Path, motions: MotionTable) -> None:
    """Print notes on windows with an unknown motion, or none."""
    all_of, known = count_of(len(motions), "window"), len(motions) - motions.unknown
    still = int(motions.still.sum())
    stopped = known - int((motions.converged | motions.still).sum())
    total = int(motions.events.sum())
    if total < 50:
        _console.note(f"{file}: has {count_of(total, 'event')}; a motion needs at least 50")
    elif motions.unknown:
        _console.note(f"{file}: {motions.unknown} of {all_of} have fewer than 50 events, or all "
                      "at one time: their motion is nan; try longer ones (--window)")  # fmt: skip
    if still:
        _console.note(f"{file}: {still} of {all_of} are hardly sharper by a motion: the scene "
                      "rests, or moves by less than a pixel (--window), or is noise")  # fmt: skip
    if stopped:
        _console.note(f"{file}: the search of {stopped} of {all_of} did not end at a maximum")


# --- the velocities of events ---------------------------------------------------------------------


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
        _write_flow(shown, method, velocities, writer, look)
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


def _write_flow(
    shown: ShownRecording,
    method: TalliedMethod,
    velocities: _Velocities,
    writer: OutputWriter,
    look: VideoLook,
) -> None:
    from dvskit.motion import flow_blocks

    if writer.kind is Kind.ARRAYS:
        from dvskit.motion.event_flow import FlowSink

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
        writer.page(on_page, title=title, state="color=flow", dark=look.dark)


# --- tracks of corners ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Linking:
    """How corners are found and linked.

    method  The filter that finds corners: arc_star or e_fast, fast; e_harris, the most exact with
            noise; luv_harris. Parameters follow its name, such as e_harris:threshold=6.
    near    A corner belongs to the nearest track at most this many pixels away.
    within  A track ends this long after its latest corner.
    """

    method: str = option(default="arc_star", metavar="NAME")
    near: float = 3.5
    within: Microseconds = option(default=Microseconds(25_000), shown="25ms")
    span: Span = field(default_factory=Span)


def corners(
    file: ShownFile,
    out: Path = output(default=REQUIRED),
    linking: _Linking = _Linking(),
    look: VideoLook = VideoLook(),
    reading: Reading = Reading(),
    json: Json = False,
    force: Force = False,
) -> None:
    """Find corners, and link them to tracks: a table of id, time, x and y, or a video.

    out  The tracks: .csv (- for standard output), .npz, or a video of them over the events (.mp4,
         .mkv, .mov, .gif).
    """
    kinds = Kind.TABLE | Kind.ARRAYS | Kind.VIDEO
    writer = OutputWriter(out, "tracks", kinds, look, force=force, json=json)
    limits: dict[str, Any] = {"within_px": linking.near, "within_us": linking.within}
    from dvskit.motion.corner_tracks import CornerLinks, corner_filter

    chosen = corner_filter(linking.method)
    with opened(file, reading, linking.span, writer) as shown:
        if writer.kind is Kind.VIDEO:
            from dvskit.render import CornerTracks

            style = TalliedMethod(CornerTracks(chosen, **limits))
            writer.video(shown, look, style=style)
            links = style.step.links
        else:
            step, links = chosen.start(shown.size), CornerLinks(shown.size, **limits)
            writer.table(links(step(block)) for block in shown)
    found, tracks = count_of(links.corners, "corner event"), count_of(links.tracks, "track")
    finish(
        writer, [shown], f"{found} of {count_of(shown.count, 'event')}, {tracks}",
        {
            "method": linking.method, "events": shown.count, "corners": links.corners,
            "tracks": links.tracks,
        },
    )  # fmt: skip
