"""Objects followed through time, with identities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields, check_number, check_whole, checked
from dvskit.errors import ConfigError
from dvskit.events import Events, Size, Source, as_source
from dvskit.tracking.objects import ObjectScene
from dvskit.tracking.windows import AlignedWindows

OBJECT_ROW = np.dtype(
    [("id", "<i8"), ("t", "<i8"), ("x", "<f8"), ("y", "<f8"), ("width", "<f4"), ("height", "<f4"),
     ("vx", "<f4"), ("vy", "<f4"), ("events", "<i4"), ("seen", "?")]
)  # fmt: skip
Rows = NDArray[Any]


class ObjectStep(Protocol):
    """One pass over a stream; rows do not depend on its blocks."""

    def __call__(self, events: Events) -> Rows:
        """Return the rows of the windows that a block completes."""

    def finish(self) -> Rows:
        """Return the rows of the last window."""


class ObjectMethod(Protocol):
    """Frozen parameters of a way to follow objects."""

    def start(self, size: Size) -> ObjectStep:
        """Return the step of one pass."""


@dataclass(frozen=True, slots=True)
class Tracker:
    """A way to follow objects that move before a camera at rest.

    An object is a rigid template: the number of ON and OFF events at each of its pixels, for each
    pixel that it moves. The events of a window, each moved along for its age, are shared among the
    objects. The most likely shift of a template corrects a Kalman filter with constant velocity, so
    a visible part of an object shows where its middle is. Components of events that belong to no
    object become new objects.

    window_us     a row for each object at each whole multiple of this time
    memory        the number of latest windows in which components of new objects are sought
    join_px       pixels with events at most this far apart are one cluster
    least_pixels  smaller clusters are noise
    gate          the farthest from its prediction that an object that was lost is found again, in
                  standard deviations
    hits          windows with events after which a cluster is an object
    lost_us       an object without events for so long is given up
    accel_px_s2   usual change of velocity, px/s^2
    delay_us      delay of the sensor's events, such as 10 ms for a slow one in dim light: places
                  are extrapolated by this time

    Raises ConfigError for values out of range.

        events = dvskit.load_events("discs.raw").between(0, 500_000)
        tracker = dvskit.tracking.Tracker(window_us=20_000, least_pixels=20)
        rows = dvskit.tracking.track(events, tracker)  # a row for each object every 20 ms
    """

    window_us: int = checked(check_whole, 100, 10**9, default=10_000)
    memory: int = checked(check_whole, 1, 100, default=3)
    join_px: int = checked(check_whole, 1, 100, default=6)
    least_pixels: int = checked(check_whole, 1, 10**9, default=8)
    gate: float = checked(check_number, 0.1, 100, default=4.0)
    hits: int = checked(check_whole, 1, 10**6, default=5)
    lost_us: int = checked(check_whole, default=2_000_000)
    accel_px_s2: float = checked(check_number, 0, 1e9, default=1500.0)
    delay_us: int = checked(check_whole, 0, 10**9, default=0)

    def __post_init__(self) -> None:
        check_fields(self)

    def start(self, size: Size) -> TrackerStep:
        """Return the step of one pass."""
        return TrackerStep(self, size)


class WindowedStep(ABC):
    """One pass: called with each block, it returns the rows of the windows that are complete.

    Rows are those of `OBJECT_ROW`, (n,), in order of time and id.
    """

    def __init__(self, window_us: int) -> None:
        self._windows = AlignedWindows(window_us)

    @abstractmethod
    def _take(self, events: Events) -> None:
        """Take events of the window that is not complete."""

    @abstractmethod
    def _complete(self, now_us: int) -> Rows:
        """Complete the window that ends at a time; return its rows."""

    @abstractmethod
    def _idle(self) -> bool:
        """Return whether a window without events changes nothing."""

    def __call__(self, events: Events) -> Rows:
        """Return the rows of the windows that a block completes."""
        found = []
        for part, now_us in self._windows.cut(events, self._idle):
            self._take(part)
            if now_us is not None:
                found.append(self._complete(now_us))
        return np.concatenate([np.empty(0, OBJECT_ROW), *found])

    def finish(self) -> Rows:
        """Return the rows of the window of the last event."""
        now_us = self._windows.stop_us
        return np.empty(0, OBJECT_ROW) if now_us is None else self._complete(now_us)


class TrackerStep(WindowedStep):
    """One pass of a Tracker: called with each block, it returns the rows of complete windows.

    Rows are (n,) of `OBJECT_ROW`, as in `track`, and do not depend on the blocks. Memory is that
    of the templates and the events of a window.

        events = dvskit.load_events("discs.raw").between(0, 500_000)
        step = dvskit.tracking.Tracker().start(events.size)  # a TrackerStep
        for block in events.blocks(duration_us=50_000):  # or those of a live source
            rows = step(block)
        last = step.finish()  # the rows of the last window
    """

    def __init__(self, tracker: Tracker, size: Size) -> None:
        super().__init__(tracker.window_us)
        self._delay_s = tracker.delay_us * 1e-6
        self._scene = ObjectScene(tracker, size)

    def _take(self, events: Events) -> None:
        self._scene.add(events)

    def _idle(self) -> bool:
        return self._scene.idle

    def _complete(self, now_us: int) -> Rows:
        rows = [
            (o.number, now_us, *(o.middle + self._delay_s * o.state[2:]), *o.size, *o.state[2:],
             o.events, o.seen)
            for o in self._scene.look(now_us)
        ]  # fmt: skip
        return np.array(rows, OBJECT_ROW)


def track(events_or_source: Events | Source, tracker: ObjectMethod | None = None) -> Rows:
    """Return the objects of a stream, (n,) of `OBJECT_ROW`, in order of time and id.

    tracker  a Tracker, the default, or a MeanShift; others raise ConfigError

    The fields of the rows:

    id             int64, from 0, in order of appearance
    t              int64, us: a multiple of the window; the row uses the events before it
    x, y           float64, the middle of the box in pixels
    width, height  float32, of the box
    vx, vy         float32, px/s
    events         int32, the number of events in the window that show the object
    seen           False where the object has no events of its own: it stands still or is hidden

        rows = dvskit.tracking.track(dvskit.load_events("discs.raw").between(0, 500_000))
        np.unique(rows["id"])  # [0, 1, 2]: three discs
        rows[rows["t"] == 500_000][["id", "x", "y"]]  # their places after half a second
    """
    source = as_source(events_or_source)
    method = Tracker() if tracker is None else tracker
    if isinstance(method, type) or not callable(getattr(method, "start", None)):
        raise ConfigError(
            f"track: tracker={tracker!r} is not a way to follow objects; pass Tracker() or "
            "MeanShift()"
        )
    return np.concatenate([np.empty(0, OBJECT_ROW), *object_blocks(source, method)])


def object_blocks(events_or_source: Events | Source, tracker: ObjectMethod) -> Iterator[Rows]:
    """Yield the rows of `track` as the events come.

    Each block gives the rows of the windows that it completes, and the end gives the last ones.

        source = dvskit.open_events("discs.raw").between(0, 500_000)
        for rows in dvskit.tracking.object_blocks(source, dvskit.tracking.Tracker()):
            rows["t"]  # the windows that a block completes
    """
    source = as_source(events_or_source)
    step = tracker.start(source.size)
    for block in source:
        yield step(block)
    yield step.finish()
