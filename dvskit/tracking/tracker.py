"""Objects followed through time, with identities: templates of events that move."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields, check_number, check_whole, checked
from dvskit.errors import ConfigError
from dvskit.events import Events, Size, Source, as_source
from dvskit.events.even_blocks import TimeWindows
from dvskit.tracking.clusters import joined, label_mask

_MEMORY_PX = 20.0  # of way, in which a template forgets to 1/e
_LEVEL = 0.1  # events of a cell for each pixel of way; fewer are not a part of the object
_QUIET, _GROW = 0.002, 0.02  # events of a pixel and window: the least noise; next to an object
_SEEN = 0.2  # of the expected events; fewer do not show an object
_ASIDE = 0.2  # of the size; an object last seen so far aside goes behind another
_FADE = 0.7  # of that place, in a window
_STILL_PX_S = 10.0  # standard deviation of the velocity of an object that has stopped
_COAST = 0.2  # of the usual acceleration, for objects without events
_SPEED_PX_S = 150.0  # standard deviation of an unknown velocity
_ALIKE = 0.25  # of the speed; parts of an object differ by less
_EDGES = 0.6  # difference of the shares of ON events of opposite edges
_BEHIND = 0.7  # cosine of the angle between the way and the line from an edge to the opposite one
_TWINS, _YOUNG_TWINS = 10, 3  # windows after which parts are joined
_BORDER_PX = 2.0  # an object without events so near to the border has left
_LARGER = 1.5  # times the size of a lost object; a larger one is another
_ALWAYS = 0.5  # of the windows of a part; objects that only meet are not joined
_OTHERS = 3.0  # times the weight of other objects, for one without events: these may pass before it
_MOST = 256  # objects

Array = NDArray[np.float64]
Columns = tuple[NDArray[np.int64], NDArray[np.int16], NDArray[np.int16], NDArray[np.bool_]]


@dataclass(slots=True, eq=False)
class Object:
    """An object that is followed: a rigid template, and a Kalman filter with constant velocity.

    state     (4,) x, y, vx, vy of the template, in px and px/s; cov: (4, 4), its covariance
    template  (2, 2, h, w) events of each polarity and cell for each pixel of way: as they come,
              and smoothed
    corner    (2,) the middle of the first cell, from the place of the template
    box       (4,) left, top, right and bottom of the object, in cells
    born_at   (2,) its first place
    number    id of the object; -1 before it counts as an object
    hits      number of windows with events of the object
    events    number of its events in the latest window
    seen      whether the events of the latest window show the object
    still     whether an object that is not seen has stopped
    own       (n,) density of the object at each event of the latest window
    aside     (3,) sums over the events that showed the object, of which old windows count less:
              x and y of the events from the middle of the box, and the number of events
    twin      number of windows in which the object went along with an older one
    """

    state: Array
    cov: Array
    template: Array
    corner: Array
    box: Array
    born_at: Array
    seen_us: int
    number: int = -1
    hits: int = 1
    events: int = 0
    seen: bool = True
    still: bool = False
    twin: int = 0
    aside: Array = field(default_factory=lambda: np.zeros(3))
    own: Array = field(default_factory=lambda: np.empty(0))

    @property
    def middle(self) -> Array:
        """The middle of the box, (2,) pixels."""
        return self.state[:2] + self.corner + self._center

    @property
    def size(self) -> Array:
        """Width and height of the box, (2,) pixels."""
        return np.maximum(self.box[2:] - self.box[:2], 1.0)

    @property
    def speed(self) -> float:
        """In px/s."""
        return math.hypot(self.state[2], self.state[3])

    @property
    def _center(self) -> Array:
        return (self.box[:2] + self.box[2:]) / 2

    def note(self, sums: Array, count: float) -> None:
        """Take in the sums of the cells of the events that show it, and their number."""
        self.aside *= _FADE
        self.aside[:2] += sums - count * self._center
        self.aside[2] += count

    def lose(self) -> None:
        """Go on without events: behind another object if the latest events were on one side."""
        if self.seen:
            aside = abs(self.aside[:2])
            self.still = bool((aside < _ASIDE * self.size * self.aside[2]).all())
        self.seen = False
        if not self.still:
            return
        for k in (2, 3):
            gain = self.cov[:, k] / (self.cov[k, k] + _STILL_PX_S**2)
            self.state -= gain * self.state[k]
            self.cov -= np.outer(gain, self.cov[k].copy())

    def fit(self, margin: int) -> None:
        """Let the template end `margin` cells beyond the box."""
        height, width = self.template.shape[2:]
        left, top = np.floor(self.box[:2]).astype(int) - margin
        right, bottom = np.ceil(self.box[2:]).astype(int) + margin + 1
        if max(abs(left), abs(top), abs(right - width), abs(bottom - height)) < 2:
            return
        old, self.template = self.template, np.zeros((2, 2, bottom - top, right - left))
        self._paste(old, -left, -top)
        self.corner += left, top
        self.box -= left, top, left, top

    def join(self, other: Object, margin: int) -> None:
        """Take in another part."""
        left, top = np.rint(other.state[:2] + other.corner - self.state[:2] - self.corner)
        box = other.box + np.array([left, top, left, top])
        corner = self.corner.copy()
        self.box[:2] = np.minimum(self.box[:2], box[:2])
        self.box[2:] = np.maximum(self.box[2:], box[2:])
        self.fit(margin)
        moved = self.corner - corner
        self._paste(other.template, int(left - moved[0]), int(top - moved[1]))

    def _paste(self, picture: Array, left: int, top: int) -> None:
        """Add a picture with its first cell at `left` and `top`, as far as it is inside."""
        height, width = self.template.shape[2:]
        rows, columns = picture.shape[2:]
        y0, x0, y1, x1 = (
            max(top, 0), max(left, 0), min(top + rows, height), min(left + columns, width)
        )  # fmt: skip
        if y0 < y1 and x0 < x1:
            part = picture[:, :, y0 - top : y1 - top, x0 - left : x1 - left]
            self.template[:, :, y0:y1, x0:x1] += part


class ObjectScene:
    """Objects, and the latest events that belong to none."""

    def __init__(self, tracker: Tracker, size: Size) -> None:
        self.objects: list[Object] = []
        self._tracker, self._size, self._next = tracker, size, 0
        self._held: list[Events] = []
        self._free: list[Columns] = []
        self._counts = np.zeros((2, *size[::-1]), np.int32)
        self._noise = _QUIET  # events of a pixel and window
        self._dt = tracker.window_us * 1e-6
        self._margin = tracker.join_px + 1

    def add(self, events: Events) -> None:
        """Take events of the window that is not complete."""
        self._held.append(events.copy())  # the caller may change its arrays

    @property
    def idle(self) -> bool:
        """Whether a window without events changes nothing."""
        return not (self.objects or self._held or any(len(t) for t, *_ in self._free))

    def look(self, now_us: int) -> list[Object]:
        """Complete a window; return the objects in order of their numbers."""
        from dvskit.filters.base import columns

        events = columns(Events.concatenate(self._held, size=self._size))
        self._held = []
        total = self._follow(events, now_us)
        rest = total < self._noise
        free = events[0][rest], events[1][rest], events[2][rest], events[3][rest]
        mean = len(free[0]) / (self._size.width * self._size.height)
        self._noise = max(_QUIET, self._noise + 0.1 * (mean - self._noise))
        self._free = [*self._free, free][-self._tracker.memory :]
        self._give_birth(now_us)
        self._join_twins()
        self._give_numbers()
        self.objects = [o for o in self.objects if self._lives(o, now_us)]
        return sorted((o for o in self.objects if o.number >= 0), key=lambda o: o.number)

    def _follow(self, events: Columns, now_us: int) -> Array:
        """Correct all objects by events; return their density by all objects, at each event."""
        from dvskit.tracking.object_kernels import correct, explain, predict

        total, claims = np.zeros((2, len(events[0])))
        ways = []
        for each in self.objects:
            accel = self._tracker.accel_px_s2 * (1.0 if each.seen else _COAST)
            predict(each.state, each.cov, self._dt, accel)
            ways.append(math.sqrt(each.speed**2 + each.cov[2, 2] + each.cov[3, 3]) * self._dt)
            each.own = np.empty(len(total))
            explain(events, now_us, each.state, each.template[1], each.corner, ways[-1], _GROW,
                    each.own, total, claims)  # fmt: skip
        sums = np.empty(2)
        for each, way in zip(self.objects, ways, strict=True):
            expected = float(each.template[0].sum()) * each.speed * self._dt
            least = max(2.0, _SEEN * expected)
            count = correct(
                events, now_us, each.state, each.cov, each.template[1], each.corner, way,
                self._noise + (total - each.own) * (1.0 if each.seen else _OTHERS), least, sums,
            )  # fmt: skip
            each.events = round(count)
            if count < least:
                each.lose()
                continue
            each.note(sums, count)
            each.seen, each.seen_us, each.hits = True, now_us, each.hits + 1
            self._learn(each, events, now_us, total, claims)
        return total

    def _learn(
        self, each: Object, events: Columns, now_us: int, total: Array, claims: Array
    ) -> None:
        """Take the events of an object into its template; events next to two belong to neither."""
        from dvskit.tracking.object_kernels import find_box, learn

        way = each.speed * self._dt
        share = (each.own - _GROW * (claims > 1)) / (total + self._noise) / _MEMORY_PX
        learn(events, now_us, each.state, each.template, each.corner, share,
              1 - min(way / _MEMORY_PX, 1.0))  # fmt: skip
        noise = max(self._noise - _GROW / 2, 0.0) / max(way, 1e-3)
        find_box(each.template[0], _LEVEL + 2 * noise, each.box)
        each.fit(self._margin)

    def _give_birth(self, now_us: int) -> None:
        """Make objects of the clusters of events that belong to none."""
        from dvskit.tracking.object_kernels import supported

        t, x, y, p = (np.concatenate(each) for each in zip(*self._free, strict=True))
        least = self._tracker.least_pixels
        if len(t) < least or len(self.objects) >= _MOST:
            return
        kept = np.zeros(len(t), np.bool_)
        supported(x, y, p, _company(9 / 2 * self._noise * len(self._free)), self._counts, kept)
        mask = np.zeros(self._size[::-1], np.uint8)
        mask[y[kept], x[kept]] = 1
        if np.count_nonzero(mask) < least:
            return
        labels, count = label_mask(joined(mask, self._tracker.join_px))
        large = np.bincount(labels[mask > 0], minlength=count + 1) >= least
        of = labels[y, x]
        new = kept & (t >= now_us - self._tracker.window_us)
        for number in np.flatnonzero(large)[: _MOST - len(self.objects)]:
            mine = new & (of == number)
            if np.count_nonzero(mine) > 2:
                self.objects.append(self._born((t[mine], x[mine], y[mine], p[mine]), now_us))
        large[0] = False
        rest = [~large[labels[each[2], each[1]]] for each in self._free]
        self._free = [
            (each[0][some], each[1][some], each[2][some], each[3][some])
            for each, some in zip(self._free, rest, strict=True)
        ]

    def _born(self, events: Columns, now_us: int) -> Object:
        from dvskit.tracking.object_kernels import learn

        low = np.array([each.min() for each in events[1:3]], float)
        sides = np.array([each.max() for each in events[1:3]]) - low
        m = self._margin
        place = low + sides / 2
        each = Object(
            np.array([*place, 0.0, 0.0]), np.diag([1.0, 1.0, _SPEED_PX_S**2, _SPEED_PX_S**2]),
            np.zeros((2, 2, int(sides[1]) + 2 * m + 1, int(sides[0]) + 2 * m + 1)),
            low - m - place, np.array([m - 0.5, m - 0.5, *(m + 0.5 + sides)]), place, now_us,
        )  # fmt: skip
        share = np.full(len(events[0]), 1 / (_SPEED_PX_S * self._dt))
        learn(events, now_us, each.state, each.template, each.corner, share, 1.0)
        return each

    def _join_twins(self) -> None:
        """Join an object to an older one that it goes along with, such as its other edge."""
        for n in range(len(self.objects) - 1, 0, -1):
            each = self.objects[n]
            older = next((o for o in self.objects[:n] if self._together(o, each)), None)
            each.twin = max(each.twin + (1 if older else -1), 0)
            if older is None:
                continue
            least = _YOUNG_TWINS if min(each.number, older.number) < 0 else _TWINS
            if each.twin >= max(least, _ALWAYS * each.hits):
                older.join(each, self._margin)
                del self.objects[n]

    def _together(self, one: Object, two: Object) -> bool:
        """Return whether two objects go the same way side by side, or are edges of one."""
        apart = math.hypot(*(one.state[2:] - two.state[2:]))
        if not (one.seen and two.seen) or apart > _ALIKE * max(one.speed, two.speed):
            return False
        gap = (abs(one.middle - two.middle) - (one.size + two.size) / 2).max()
        if gap <= self._tracker.join_px:
            return True
        on = [each.template[0, 1].sum() / each.template[0].sum() for each in (one, two)]
        off, v = one.middle - two.middle, one.state[2:] + two.state[2:]
        behind = abs(off @ v) > _BEHIND * math.hypot(*off) * math.hypot(*v)
        return bool(behind and abs(on[0] - on[1]) > _EDGES and gap <= 2 * max(*one.size, *two.size))

    def _give_numbers(self) -> None:
        """Number the objects that have moved; an object that comes out again gets its own."""
        for each in self.objects:
            moved = math.hypot(*(each.state[:2] - each.born_at))
            known = each.hits >= self._tracker.hits and each.seen and not each.twin
            if each.number >= 0 or not known or moved < 2:
                continue
            lost = [o for o in self.objects if o.number >= 0 and not o.seen and _fits(each, o)]
            far = [_distance(o, each) for o in lost]
            if min(far, default=math.inf) <= self._tracker.gate:
                before = lost[int(np.argmin(far))]
                each.number = before.number
                self.objects = [o for o in self.objects if o is not before]
            else:
                each.number, self._next = self._next, self._next + 1

    def _lives(self, each: Object, now_us: int) -> bool:
        unseen = now_us - each.seen_us
        if each.number < 0:
            return unseen < 3 * self._tracker.window_us
        if each.seen:
            return True
        return unseen < self._tracker.lost_us and (each.still or not self._leaves(each))

    def _leaves(self, each: Object) -> bool:
        """Return whether an object moves out of the picture, at its border."""
        low, high = each.middle - each.size / 2, each.middle + each.size / 2
        v = each.state[2:]
        size = np.array(self._size)
        return bool((((low < _BORDER_PX) & (v < 0)) | ((high > size - _BORDER_PX) & (v > 0))).any())


def _fits(each: Object, lost: Object) -> bool:
    """Return whether an object may be a lost one, or a part of it."""
    return bool((each.size <= _LARGER * lost.size).all())


def _distance(lost: Object, each: Object) -> float:
    """Return how far an object is from where a lost one may be, in standard deviations."""
    off = each.middle - lost.middle
    var = np.diag(lost.cov)[:2] + (lost.size / 4) ** 2
    return math.sqrt(float((off * off / var).sum()))


def _company(mean: float) -> int:
    """Return the number of events within 3x3 pixels, itself included, that is no chance.

    Of 10,000 events one has so many if there are `mean` in 3x3 pixels (Poisson).
    """
    tail, term, least = 1.0, math.exp(-mean), 0
    while tail > 1e-4:
        tail -= term
        least += 1
        term *= mean / least
    return max(least + 1, 2)


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
        self._windows = TimeWindows(window_us, aligned=True)

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
        step = dvskit.tracking.Tracker().start(events.sensor_size)  # a TrackerStep
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
