"""A style of frames: tracked objects over fading events."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.events import Events, Size
from dvskit.render._numbers import check_range
from dvskit.render.colormap import Theme
from dvskit.render.frames.canvas import glyphs
from dvskit.render.frames.styles import LEVELS, Decay, StyleRun
from dvskit.render.frames.trails import TEXT, Trail, draw_box, row_of, tracks_palette
from dvskit.tracking import LineCounter, Tracker
from dvskit.tracking.crossings import Line

_LETTER = 1 / 26  # height of letters, of that of the picture
_GROUND = LEVELS >> 1
_INK = 7  # of 15, from which a pixel belongs to a letter


class ObjectStep(Protocol):
    """One pass of a tracker."""

    def __call__(self, events: Events) -> NDArray[Any]:
        """Return the rows (`tracking.OBJECT_ROW`) of the windows that are complete."""

    def finish(self) -> NDArray[Any]:
        """Return the rows of the last window."""


class ObjectTracker(Protocol):
    """A tracker, such as `tracking.Tracker`: each object has a row at whole multiples of a time."""

    @property
    def window_us(self) -> int:
        """The time."""

    def start(self, size: Size) -> ObjectStep:
        """Return one pass."""


@check_arguments
@dataclass(frozen=True, slots=True)
class ObjectTracks:
    """Tracked objects: boxes with identities and trails, in a colour each, over faint events.

    tracker    finds the objects
    lines      ((x0, y0), (x1, y1)) in pixels; beside each stand the numbers of objects that crossed
               it to that side: see `tracking.LineCounter`
    trail_us   how long trails stay
    tau_us     of the events, as in `Decay`

    Boxes and identities are dim while their objects are not seen.
    """

    tracker: ObjectTracker = field(default_factory=Tracker)
    lines: tuple[Line, ...] = ()
    trail_us: int = 500_000
    tau_us: float | None = None

    def __post_init__(self) -> None:
        check_range(1, 10**15, trail_us=self.trail_us)
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
        self._trails: dict[int, Trail] = {}
        self._counters = [LineCounter(line) for line in style.lines]
        self._latest: dict[int, Any] = {}  # the latest row of each object
        self._read_us = 0  # time of the latest event

    def add(self, events: Events, frame_us: int) -> None:
        """Take events of a frame."""
        self._events.add(events, frame_us)
        self._read_us = int(events.t[-1])
        self._take(self._step(events))

    def finish(self, frame_us: int) -> None:
        """Take the rows that the tracker has held back."""
        self._take(self._step.finish())

    def _take(self, rows: NDArray[Any]) -> None:
        for counter in self._counters:
            counter(rows)
        for row in rows:
            trail = self._trails.setdefault(int(row["id"]), Trail())
            trail.points.append((int(row["t"]), float(row["x"]), float(row["y"])))
            self._latest[int(row["id"])] = row

    def draw(self, frame_us: int, next_us: int, index: NDArray[np.uint8]) -> None:
        """Draw the objects over the events."""
        self._events.draw(frame_us, next_us, index)
        index >>= 1  # to the rows of the palette for events
        for track in list(self._trails):
            self._trails[track].forget(frame_us - self._style.trail_us)
            if self._trails[track].points:
                self._trails[track].draw(index, row_of(track))
            else:
                del self._trails[track]
        # Each object has a row at each step: without one at the latest step it is gone.
        step_us = self._style.tracker.window_us
        self._latest = {
            track: row for track, row in self._latest.items() if row["t"] + step_us > self._read_us
        }
        for track, row in self._latest.items():
            _draw_object(index, row, row_of(track, dim=not row["seen"]))
        for counter in self._counters:
            _draw_line(index, counter)


def _draw_object(index: NDArray[np.uint8], row: Any, colour: int) -> None:
    """Draw the box of an object, and its identity above, or below at the upper rim."""
    x, y, half_x, half_y = (row["x"], row["y"], row["width"] / 2, row["height"] / 2)
    left, top, bottom = x - half_x, y - half_y, y + half_y
    draw_box(index, (left, top, x + half_x, bottom), colour)
    text = _text(str(row["id"]), index)
    above = top - 1 - len(text)
    _put(index, text, left, above if above >= 0 else bottom + 2, colour)


def _draw_line(index: NDArray[np.uint8], counter: LineCounter) -> None:
    """Draw a line, and on either side of its middle how many objects crossed to there."""
    (x0, y0), (x1, y1) = counter.line
    ends = np.rint(counter.line).astype(int).tolist()
    cv2.line(index, ends[0], ends[1], TEXT)
    length = math.hypot(x1 - x0, y1 - y0)
    for count, side in ((counter.to_left, -1), (counter.to_right, 1)):
        text = _text(str(count), index)
        tall, wide = text.shape
        away = side * (max(tall, wide) / 2 + 3) / length
        x, y = (x0 + x1) / 2 - away * (y1 - y0), (y0 + y1) / 2 + away * (x1 - x0)
        _put(index, text, x - wide / 2, y - tall / 2, TEXT)


def _text(text: str, index: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the pixels of a text that is legible in a picture."""
    letters = glyphs(max(10, round(index.shape[0] * _LETTER)))
    return np.asarray(np.concatenate([letters[each] for each in text], axis=1) >= _INK)


def _put(
    index: NDArray[np.uint8], text: NDArray[np.bool_], left: float, top: float, row: int
) -> None:
    """Draw a text, moved into the picture where it sticks out."""
    y, x = (
        max(0, min(round(at), side - long))
        for at, side, long in zip((top, left), index.shape, text.shape, strict=True)
    )
    place = index[y : y + text.shape[0], x : x + text.shape[1]]
    place[:] = np.where(text[: place.shape[0], : place.shape[1]], row, _GROUND)
