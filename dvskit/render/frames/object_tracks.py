"""A style of frames: tracked objects over fading events."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._checks import LONGEST_US, check_fields, check_number, check_whole, checked
from dvskit.events import Events, Size
from dvskit.render.colormap import Theme
from dvskit.render.frames.letters import glyphs
from dvskit.render.frames.styles import LEVELS, Decay, StyleRun
from dvskit.render.frames.trails import TEXT, Trail, row_of, tracks_palette
from dvskit.tracking import LineCounter, Tracker
from dvskit.tracking.crossings import Line
from dvskit.tracking.tracker import ObjectMethod

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
    """Tracked objects: boxes with identities and trails, in a colour each, over faint events.

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
        """Return the colours of events, then those of tracks."""
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

    def object(self, row: Any, colour: int) -> None:
        """Draw the box of an object, and its identity above, or below at the upper rim."""
        x, y, half_x, half_y = (row["x"], row["y"], row["width"] / 2, row["height"] / 2)
        corners = self._places([(x - half_x, y - half_y), (x + half_x, y + half_y)])
        (left, top), (right, bottom) = corners.tolist()
        cv2.rectangle(self._picture, (left, top), (right, bottom), colour, self._wide)
        text = self._text(str(row["id"]))
        above = top - 1 - len(text)
        self._put(text, left, above if above >= 0 else bottom + 2, colour)

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
