"""Styles of frames that show motion: flow in colors or arrows, tracks of corners and of objects."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._checks import LONGEST_US, check_fields, check_number, check_whole, checked
from dvskit.events import Events, Size
from dvskit.filters.base import CallableFilter
from dvskit.motion import Flow, FlowMethod, PlaneFlow
from dvskit.motion.corner_tracks import CornerLinks, corner_filter
from dvskit.render.colormap import Theme, diverging, flow_palette, flow_rows, rgb
from dvskit.render.event_frames import LEVELS, Decay, StyleRun
from dvskit.render.letters import glyphs
from dvskit.tracking import LineCounter, Tracker
from dvskit.tracking.track_rows import Line
from dvskit.tracking.tracker import ObjectMethod

_COLUMNS, _LEAST_PX = 16, 8
_PARTS = 1024  # of a px/s


@dataclass(frozen=True, slots=True)
class FlowCells:
    """A grid of square cells of `cell_px` on a sensor; those at the right and below may be cut."""

    size: Size
    cell_px: int

    @classmethod
    def on(cls, size: Size, cell_px: int | None = None) -> FlowCells:
        """Return the grid with 16 cells along the longer side, or with cells of a size."""
        return cls(size, cell_px or max(_LEAST_PX, round(max(size) / _COLUMNS)))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return -(-self.size.height // self.cell_px), -(-self.size.width // self.cell_px)

    def sums(self, flow: Flow) -> NDArray[np.float64]:
        """Return the sums of vx and vy of the known velocities, and their number: (3, cells)."""
        known = flow.known
        rows, columns = self.shape
        cell = flow.events.y[known].astype(np.int64) // self.cell_px * columns
        cell += flow.events.x[known] // self.cell_px
        # Sums of whole numbers are exact, so that they do not depend on the blocks.
        whole = (np.rint(_PARTS * each[known].astype(np.float64)) for each in (flow.vx, flow.vy))
        found = [np.bincount(cell, each, rows * columns) for each in (*whole, None)]
        return np.stack([found[0] / _PARTS, found[1] / _PARTS, found[2]])

    def arrows(self, sums: NDArray[np.float64], least: int) -> NDArray[np.float64]:
        """Return x, y of the cells with at least `least` events, and their mean vx, vy: (n, 4)."""
        (at,) = np.nonzero(sums[2] >= least)
        row, column = np.divmod(at, self.shape[1])
        middle = (self.cell_px - 1) / 2
        return np.stack(
            [
                column * self.cell_px + middle,
                row * self.cell_px + middle,
                *sums[:2, at] / sums[2, at],
            ],
            axis=1,
        )


_LEAST_US = 5_000  # sparser frames show no shapes
_FAINT = 0.5  # of the colors of events below arrows
_ARROW = 0  # its row of the palette
_HEAD_PX, _HEAD_SHARE = 3, 0.4  # of an arrow's head; at most this share of its length
_NEVER = np.iinfo(np.int64).min // 2


@dataclass(frozen=True, slots=True)
class FlowColors:
    """The latest known velocity of each pixel: its direction as hue, its speed as saturation.

    full_px_s  the speed of full saturation
    method     of the flow; events without are not drawn
    window_us  how long events stay visible; None: 3 frames, at least 5 ms

    A video shows the colors as a wheel.

        style = dvskit.render.FlowColors(full_px_s=100)
        events = dvskit.load_events("discs.raw").between(0, 500_000)
        pictures = list(dvskit.render.frames(events, style=style, fps=20))  # 10 frames
    """

    full_px_s: float = checked(check_number, 1, 10**6, default=500.0)
    method: FlowMethod = field(default_factory=PlaneFlow)
    window_us: int | None = checked(check_whole, 1, default=None)

    def __post_init__(self) -> None:
        check_fields(self)

    def palette(self, theme: Theme) -> NDArray[np.uint8]:
        """Return the colors."""
        return flow_palette(theme)

    def start(self, size: Size, frame_us: float) -> StyleRun:
        """Return a run for frames `frame_us` apart."""
        return _FlowRun(self, size, self.window_us or max(_LEAST_US, round(3 * frame_us)))


@dataclass(frozen=True, slots=True)
class FlowArrows:
    """Arrows of the mean velocity in the cells of a grid, over the events in faint colors.

    full_px_s  the speed of an arrow as long as a cell; faster ones are not drawn longer than twice
               that
    method     of the flow
    window_us  how long events stay visible, and count; None: 3 frames, at least 5 ms
    cell_px    the side of a cell; None: 16 cells along the longer side, at least 8 pixels
    least_events  cells with fewer events of known velocity have no arrow

    A video shows the arrow of `full_px_s` in a corner.

        style = dvskit.render.FlowArrows(
            full_px_s=100, method=dvskit.motion.PooledFlow(), cell_px=16
        )
        view = dvskit.render.VideoView(style=style, fps=20)
        events = dvskit.load_events("discs.raw").between(0, 500_000)
        dvskit.render.video(events, "arrows.mp4", view=view)
    """

    full_px_s: float = checked(check_number, 1, 10**6, default=500.0)
    method: FlowMethod = field(default_factory=PlaneFlow)
    window_us: int | None = checked(check_whole, 1, 10**9, default=None)
    cell_px: int | None = checked(check_whole, 2, 10**4, default=None)
    least_events: int = checked(check_whole, 1, 10**9, default=10)

    def __post_init__(self) -> None:
        check_fields(self)

    def palette(self, theme: Theme) -> NDArray[np.uint8]:
        """Return the colors: of arrows, then faint ones of OFF, the ground, and of ON."""
        ground = np.array(rgb(theme.ground), float)
        faint = np.rint(ground + _FAINT * (diverging(theme, LEVELS) - ground)).astype(np.uint8)
        faint[_ARROW] = rgb(theme.text)
        colors: NDArray[np.uint8] = faint
        return colors

    def start(self, size: Size, frame_us: float) -> StyleRun:
        """Return a run for frames `frame_us` apart."""
        return _ArrowsRun(self, size, self.window_us or max(_LEAST_US, round(3 * frame_us)))


class _FlowRun:
    ground = 0

    def __init__(self, style: FlowColors | FlowArrows, size: Size, window_us: int) -> None:
        self._step, self._full_px_s = style.method.start(size), style.full_px_s
        self._window_us = window_us
        self._waiting = Flow.concatenate([], size)
        self._rows = np.zeros((size.height, size.width), np.uint8)
        self._since = np.full((size.height, size.width), _NEVER, np.int64)

    def prepare(self, events: Events) -> Events:
        """Take events; return those with a flow that is determined."""
        return self._wait(self._step(events))

    def rest(self) -> Events:
        """Return the remaining events."""
        return self._wait(self._step.finish())

    def _wait(self, flow: Flow) -> Events:
        self._waiting = Flow.concatenate([self._waiting, flow], flow.events.sensor_size)
        return flow.events

    def add(self, events: Events, frame_us: int) -> None:
        self._put(self._waiting[: len(events)], frame_us)
        self._waiting = self._waiting[len(events) :]

    def _put(self, flow: Flow, frame_us: int) -> None:
        known, found = flow.known, flow.events
        at = found.y[known], found.x[known]
        self._rows[at] = flow_rows(flow.vx[known], flow.vy[known], self._full_px_s)
        self._since[at] = frame_us

    def draw(self, frame_us: int, next_us: int, index: NDArray[np.uint8]) -> None:
        index[:] = np.where(frame_us - self._since < self._window_us, self._rows, self.ground)


class _ArrowsRun(_FlowRun):
    ground = LEVELS

    def __init__(self, style: FlowArrows, size: Size, window_us: int) -> None:
        super().__init__(style, size, window_us)
        self._cells, self._least = FlowCells.on(size, style.cell_px), style.least_events
        self._sums: deque[tuple[int, NDArray[np.float64]]] = deque()  # of each frame

    def _put(self, flow: Flow, frame_us: int) -> None:
        at = flow.events.y, flow.events.x
        self._rows[at] = np.where(flow.events.p, 2 * LEVELS, 1)
        self._since[at] = frame_us
        if self._sums and self._sums[-1][0] == frame_us:
            self._sums[-1][1][:] += self._cells.sums(flow)
        elif len(flow):
            self._sums.append((frame_us, self._cells.sums(flow)))

    def draw(self, frame_us: int, next_us: int, index: NDArray[np.uint8]) -> None:
        super().draw(frame_us, next_us, index)
        while self._sums and frame_us - self._sums[0][0] >= self._window_us:
            self._sums.popleft()
        if not self._sums:
            return
        sums = np.sum([each for _, each in self._sums], axis=0)
        for arrow in self._cells.arrows(sums, self._least):
            draw_arrow(index, arrow, self._cells.cell_px, self._full_px_s)


def draw_arrow(
    index: NDArray[np.uint8], arrow: NDArray[np.float64], cell_px: int, full_px_s: float
) -> None:
    """Draw x, y, vx, vy as an arrow with (x, y) in its middle; `full_px_s` is a cell long."""
    length = arrow[2:] * (cell_px / full_px_s)
    length *= min(1.0, 2 * cell_px / max(float(np.hypot(*length)), 1e-9))
    (tail, tip) = (
        tuple(np.rint(arrow[:2] + share * length).astype(int).tolist()) for share in (-0.5, 0.5)
    )
    head = min(_HEAD_PX / max(float(np.hypot(*length)), 1e-9), _HEAD_SHARE)
    cv2.arrowedLine(index, tail, tip, _ARROW, 1, cv2.LINE_8, 0, head)


SHADES = LEVELS + 1  # rows of the palette for events: every second of those of Decay
COLORS = 8  # of tracks, from the row SHADES on
_EVENTS = 0.55  # strength of the colors of events
_DIM = 0.5
_ON_DARK = ("#f0e442", "#5ee07a", "#ff7ac6", "#ffffff", "#40e0d0", "#ff5a4d", "#b79bff", "#d6a15c")
_ON_LIGHT = ("#8a7a00", "#00803c", "#c2187e", "#000000", "#00706c", "#c02010", "#5b3bb5", "#7a4a10")
_ROWS = 2 * LEVELS + 1


def row_of(track: int, *, dim: bool = False) -> int:
    """Return the row of the palette for a track."""
    return SHADES + track % COLORS + COLORS * dim


TEXT = SHADES + 2 * COLORS  # the row for text


def tracks_palette(theme: Theme) -> NDArray[np.uint8]:
    """Return faint colors of events, then colors of tracks, dim ones, and that of text."""
    ground = np.array(rgb(theme.ground), float)
    faint = ground + _EVENTS * (diverging(theme, LEVELS)[::2] - ground)
    tracks = np.array([rgb(each) for each in (_ON_LIGHT if ground.mean() > 127 else _ON_DARK)])
    dim = ground + _DIM * (tracks - ground)
    rows = np.concatenate([faint, tracks, dim, [rgb(theme.text)]])
    padded = np.pad(rows, ((0, _ROWS - len(rows)), (0, 0)), "edge")
    return np.asarray(np.rint(padded), np.uint8)


@dataclass(slots=True)
class Trail:
    """The latest places of a track: rows t, x, y."""

    points: list[tuple[int, float, float]] = field(default_factory=list)

    def forget(self, before_us: int) -> None:
        """Drop the places before a time."""
        self.points = [point for point in self.points if point[0] >= before_us]


_SMOOTH_US = 5_000  # of the places of a track


@dataclass(frozen=True, slots=True)
class CornerTracks:
    """Tracks of corners as lines, in a color each, over faint fading events.

    corners    the filter that finds corners, or its text: see `motion.corners`
    within_px, within_us   as in `motion.link_corners`
    trail_us   how long lines stay
    least_events  tracks with fewer corner events are not drawn
    tau_us     of the events, as in `Decay`

        style = dvskit.render.CornerTracks(corners="e_harris:threshold=6", trail_us=200_000)
        events = dvskit.load_events("davis").between(0, 200_000)
        pictures = list(dvskit.render.frames(events, style=style, fps=25))  # 5 frames
    """

    corners: str | CallableFilter = "arc_star"
    within_px: float = checked(check_number, 0, 64, default=3.5)
    within_us: int = checked(check_whole, default=25_000)
    trail_us: int = checked(check_whole, 1, default=100_000)
    least_events: int = checked(check_whole, 1, 10**9, default=5)
    tau_us: float | None = checked(check_number, 1, LONGEST_US, default=None)

    def __post_init__(self) -> None:
        corner_filter(self.corners)
        check_fields(self)

    def start(self, size: Size, frame_us: float) -> TracksRun:
        """Return a run for frames `frame_us` apart."""
        links = CornerLinks(size, within_px=self.within_px, within_us=self.within_us)
        step = corner_filter(self.corners).start(size)
        return TracksRun(self, step, links, Decay(self.tau_us).start(size, frame_us))

    def palette(self, theme: Theme) -> NDArray[np.uint8]:
        """Return the colors of events, then those of tracks."""
        return tracks_palette(theme)


@dataclass(slots=True)
class _Trail(Trail):
    """A track's places in past frames; they follow its corner events smoothly."""

    count: int = 0

    def extend(self, t_us: int, x: float, y: float) -> None:
        if self.points:
            before_us, old_x, old_y = self.points[-1]
            share = -math.expm1((before_us - t_us) / _SMOOTH_US)
            x, y = old_x + share * (x - old_x), old_y + share * (y - old_y)
        self.points.append((t_us, x, y))


class TracksRun:
    """A run of a `CornerTracks`; `links` counts its corners and tracks."""

    def __init__(
        self, style: CornerTracks, step: Any, links: CornerLinks, events: StyleRun
    ) -> None:
        self._style, self._step, self.links, self._events = style, step, links, events
        self._rows: list[NDArray[Any]] = []
        self._trails: dict[int, _Trail] = {}

    def add(self, events: Events, frame_us: int) -> None:
        """Take events of a frame."""
        self._rows.append(self.links(self._step(events)))
        self._events.add(events, frame_us)

    def draw(self, frame_us: int, next_us: int, index: NDArray[np.uint8]) -> None:
        """Draw the tracks over the events."""
        self._events.draw(frame_us, next_us, index)
        index >>= 1  # to the rows of the palette for events
        self._extend()
        for track in list(self._trails):
            trail = self._trails[track]
            trail.forget(frame_us - self._style.trail_us)
            if not trail.points:
                del self._trails[track]
            elif trail.count >= self._style.least_events:
                line = np.array([point[1:] for point in trail.points])
                cv2.polylines(index, [np.rint(line).astype(np.int32)], False, row_of(track))
                x, y = np.rint(line[-1]).astype(int).tolist()
                cv2.rectangle(index, (x - 1, y - 1), (x + 1, y + 1), row_of(track))

    def _extend(self) -> None:
        """Add the mean place of each track in this frame to its trail."""
        if not self._rows:
            return
        rows = np.concatenate(self._rows)
        self._rows = []
        tracks, which, counts = np.unique(rows["id"], return_inverse=True, return_counts=True)
        means = [np.bincount(which, rows[name], len(tracks)) / counts for name in ("t", "x", "y")]
        for track, count, t, x, y in zip(
            *(each.tolist() for each in (tracks, counts, *means)), strict=True
        ):
            trail = self._trails.setdefault(track, _Trail())
            trail.count += count
            trail.extend(int(t), x, y)


_FAR_PX = 1 << 20
_LARGE_PX = 480  # from here on lines are two pixels wide
_LETTER = 1 / 28  # height of letters, of that of the picture
_GROUND = LEVELS >> 1
_INK = 7  # of 15, from which a pixel belongs to a letter


class WindowedMethod(ObjectMethod, Protocol):
    """A way to follow objects at whole multiples of a time, such as a Tracker."""

    @property
    def window_us(self) -> int:
        """The time between rows, in microseconds."""


@dataclass(frozen=True, slots=True)
class ObjectTracks:
    """Tracked objects: boxes with identities and trails, in a color each, over faint events.

    tracker    finds the objects
    lines      ((x0, y0), (x1, y1)) in pixels; the number at each side of a line is that of the
               objects that crossed it to this side: see `tracking.LineCounter`
    trail_us   how long trails stay
    tau_us     of the events, as in `Decay`

    Boxes and identities are dim while their objects are not seen.

        style = dvskit.render.ObjectTracks(lines=(((64, 0), (64, 127)),))
        view = dvskit.render.VideoView(style=style, fps=20, stop_us=300_000)
        dvskit.render.video(dvskit.load_events("discs.raw"), "objects.mp4", view=view)
    """

    tracker: WindowedMethod = field(default_factory=Tracker)
    lines: tuple[Line, ...] = ()
    trail_us: int = checked(check_whole, 1, default=500_000)
    tau_us: float | None = checked(check_number, 1, LONGEST_US, default=None)

    def __post_init__(self) -> None:
        check_fields(self)
        for line in self.lines:
            LineCounter(line)  # checks it

    def start(self, size: Size, frame_us: float) -> ObjectsRun:
        """Return a run for frames `frame_us` apart."""
        return ObjectsRun(self, size, Decay(self.tau_us).start(size, frame_us))

    def palette(self, theme: Theme) -> NDArray[np.uint8]:
        """Return the colors of events, then those of tracks."""
        return tracks_palette(theme)


class ObjectsRun:
    """A run of an `ObjectTracks`."""

    def __init__(self, style: ObjectTracks, size: Size, events: StyleRun) -> None:
        self._style, self._step, self._events = style, style.tracker.start(size), events
        self._size = size
        self._trails: dict[int, Trail] = {}
        self._counters = [LineCounter(line) for line in style.lines]
        self._latest: dict[int, Any] = {}  # the latest row of each object
        self._read_us = 0  # time of the latest event

    def add(self, events: Events, frame_us: int) -> None:
        """Take events of a frame."""
        self._events.add(events, frame_us)
        self._read_us = int(events.t[-1])
        self._take(self._step(events))

    def rest(self) -> Events:
        """Take the rows that the tracker has held back; there are no more events to draw."""
        self._take(self._step.finish())
        return Events.empty(self._size)

    def _take(self, rows: NDArray[Any]) -> None:
        for counter in self._counters:
            counter(rows)
        for row in rows:
            trail = self._trails.setdefault(int(row["id"]), Trail())
            trail.points.append((int(row["t"]), float(row["x"]), float(row["y"])))
            self._latest[int(row["id"])] = row

    def draw(self, frame_us: int, next_us: int, index: NDArray[np.uint8]) -> None:
        """Draw the events."""
        self._events.draw(frame_us, next_us, index)
        index >>= 1  # to the rows of the palette for events
        for trail in self._trails.values():
            trail.forget(frame_us - self._style.trail_us)
        self._trails = {track: trail for track, trail in self._trails.items() if trail.points}
        # Each object has a row at each step: without one at the latest step it is gone.
        step_us = self._style.tracker.window_us
        self._latest = {
            track: row for track, row in self._latest.items() if row["t"] + step_us > self._read_us
        }

    def draw_over(self, picture: NDArray[np.uint8], factor: int) -> None:
        """Draw the objects on a frame that is enlarged."""
        pen = _Pen(picture, factor)
        for track, trail in self._trails.items():
            pen.line([point[1:] for point in trail.points], row_of(track))
        for track, row in self._latest.items():
            pen.object(row, row_of(track, dim=not row["seen"]))
        for counter in self._counters:
            pen.counter(counter)


class _Pen:
    """Draws on a picture in pixels of the sensor, of which each is `factor` pixels wide."""

    def __init__(self, picture: NDArray[np.uint8], factor: int) -> None:
        self._picture, self._factor = picture, factor
        self._wide = 1 if max(picture.shape) < _LARGE_PX else 2
        self._letters = glyphs(max(10, round(picture.shape[0] * _LETTER)))

    def _places(self, points: Any) -> NDArray[np.int32]:
        shifted = (np.asarray(points, float) + 0.5) * self._factor - 0.5
        return np.rint(np.clip(shifted, -_FAR_PX, _FAR_PX)).astype(np.int32)

    def line(self, points: Any, row: int) -> None:
        """Draw a line through points, (n, 2) x and y."""
        cv2.polylines(self._picture, [self._places(points)], False, row, self._wide)

    def object(self, row: Any, color: int) -> None:
        """Draw the box of an object, and its identity above, or below at the upper rim."""
        x, y, half_x, half_y = (row["x"], row["y"], row["width"] / 2, row["height"] / 2)
        corners = self._places([(x - half_x, y - half_y), (x + half_x, y + half_y)])
        (left, top), (right, bottom) = corners.tolist()
        cv2.rectangle(self._picture, (left, top), (right, bottom), color, self._wide)
        text = self._text(str(row["id"]))
        above = top - 1 - len(text)
        self._put(text, left, above if above >= 0 else bottom + 2, color)

    def counter(self, counter: LineCounter) -> None:
        """Draw a line, and on either side of its middle how many objects crossed to there."""
        self.line(counter.line, TEXT)
        (x0, y0), (x1, y1) = counter.line
        middle = self._places([((x0 + x1) / 2, (y0 + y1) / 2)])[0]
        across = np.array([y0 - y1, x1 - x0]) / math.hypot(x1 - x0, y1 - y0)
        for count, side in ((counter.to_left, -1), (counter.to_right, 1)):
            text = self._text(str(count))
            away = side * (max(text.shape) / 2 + 3 * self._wide)
            x, y = middle + away * across - np.array(text.shape[::-1]) / 2
            self._put(text, x, y, TEXT)

    def _text(self, text: str) -> NDArray[np.bool_]:
        return np.asarray(np.concatenate([self._letters[each] for each in text], axis=1) >= _INK)

    def _put(self, text: NDArray[np.bool_], left: float, top: float, row: int) -> None:
        """Draw a text, moved into the picture where it sticks out."""
        y, x = (
            max(0, min(round(at), side - long))
            for at, side, long in zip((top, left), self._picture.shape, text.shape, strict=True)
        )
        place = self._picture[y : y + text.shape[0], x : x + text.shape[1]]
        place[:] = np.where(text[: place.shape[0], : place.shape[1]], row, _GROUND)
