"""The objects of a scene, and the clusters of each window that belong to them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Events, Size
from dvskit.tracking.clusters import joined, label_mask
from dvskit.tracking.kalman import Along, Object
from dvskit.tracking.look import Look

if TYPE_CHECKING:
    from dvskit.tracking.tracker import Tracker

_EDGE_PX = 3  # that a side may be missed by, in a box
_SILENT = 0.15  # of the usual events; fewer do not show an object
_HIDDEN = 0.65  # of an object; one that was seen in a smaller part goes behind another
_SLOW = 20.0  # px/s; slower objects without events stand still
_COVERED = 0.4  # of the box; so much in that of another, an object is hidden by it
_CALM = 0.2  # of the usual acceleration, for objects without events
_PER_PIXEL = 2  # events of a pixel that count as company: hot pixels have many
_BY_CHANCE = 1e-4
_NEVER = 1e6  # the cost of a cluster beyond the gate
_LOOK = 5  # windows after which the look is known
_YOUNG = 25  # windows; later the size of an object is known
_BLIND_WINDOWS = 4  # that an object is not recognised among others
_MISFIT_WINDOWS = 8  # that a cluster is larger than the object's box, until it is the box
_MISFIT_SIZES = 2.5  # the same for smaller ones: the way gone by then, in sizes of the box
_TWIN, _TWIN_US = 0.25, 400_000  # objects with so much in common for so long are one
_MOST = 256  # objects


class _Pixels(NamedTuple):
    """Recent pixels: time before now in s, column, row, polarity, cluster, and whether new."""

    ago: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    on: NDArray[np.int64]
    of: NDArray[np.int64]
    new: NDArray[np.bool_]


class Scene:
    """Objects, and a surface of latest times: 18 bytes a pixel and those of a window."""

    def __init__(self, tracker: Tracker, size: Size) -> None:
        from dvskit.tracking.component_kernels import NEVER

        self.objects: list[Object] = []
        self._tracker, self._size, self._next = tracker, size, 0
        shape = size[::-1]
        self._surface = (
            np.full(shape, NEVER), np.zeros(shape, np.bool_), np.full(size.height, NEVER)
        )  # fmt: skip
        self._slots = np.zeros((tracker.memory, 2, *shape), np.uint8)
        self._counts = np.zeros((2, *shape), np.uint16)
        self._slot = 0
        self._mask = np.zeros(shape, np.uint8)
        self._room = np.empty((4, size.width * size.height), np.int64)

    def add(self, events: Events) -> None:
        """Take the events of the window that is not complete."""
        from dvskit.filters.selecting import columns
        from dvskit.tracking.component_kernels import add_events

        add_events(*columns(events), *self._surface, self._slots[self._slot])

    @property
    def idle(self) -> bool:
        """Whether a window without events changes nothing."""
        return not self.objects and not self._counts.any() and not self._slots.any()

    def look(self, now_us: int) -> list[Object]:
        """Complete a window; return the objects in order of their numbers."""
        pixels, count = self._pixels(now_us)
        for each in self.objects:
            calm = 1.0 if each.way == "seen" else _CALM
            for axis in (each.x, each.y):
                axis.predict(self._tracker.window_us * 1e-6, calm * self._tracker.accel_px_s2)
        known = [o for o in self.objects if o.number >= 0]
        free = _Free(pixels, count, self._tracker.least_pixels)
        for group in (
            [o for o in known if o.way == "seen"], [o for o in known if o.way != "seen"],
            [o for o in self.objects if o.number < 0],
        ):  # fmt: skip
            self._assign(group, known, free, now_us)
        self._give_birth(free, now_us)
        self.objects = [o for o in self.objects if self._lives(o, now_us)]
        self._drop_twins()
        return sorted((o for o in self.objects if o.number >= 0), key=lambda o: o.number)

    def _pixels(self, now_us: int) -> tuple[_Pixels, int]:
        from dvskit.tracking.component_kernels import supported_pixels

        since = now_us - self._tracker.memory * self._tracker.window_us
        self._counts += self._slots[self._slot]
        least = _company(1 - np.count_nonzero(self._counts) / self._counts.size)
        count = supported_pixels(
            self._surface, self._counts, since, least, _PER_PIXEL, self._mask, self._room
        )
        self._slot = (self._slot + 1) % len(self._slots)
        self._counts -= self._slots[self._slot]
        self._slots[self._slot] = 0
        t, x, y, on = self._room[:, :count]
        labels, clusters = label_mask(joined(self._mask, self._tracker.join_px))
        return _Pixels(
            (now_us - t) * 1e-6, x.astype(float), y.astype(float), on.copy(),
            labels[y, x].astype(np.int64) - 1, t >= now_us - self._tracker.window_us,
        ), clusters  # fmt: skip

    def _noise(self, axis: Along) -> float:
        return max(0.7, 0.03 * axis.size)

    def _assign(self, group: list[Object], known: list[Object], free: _Free, now_us: int) -> None:
        """Correct the objects of a group by free pixels, and claim these."""
        pixels, claimed = free.pixels, np.zeros(len(free.pixels.of), np.bool_)
        matched = self._matched(group, free)
        users = sum(
            (free.mostly(self._inside(o, pixels)) for o in known), np.zeros(free.count, int)
        )
        for n, each in enumerate(group):
            inside = self._inside(each, pixels)
            own = free.mostly(inside)
            if n in matched:
                own[matched[n]] = True
            elif each.number < 0 or (each.way != "seen" and (each.look is None or not own.any())):
                continue
            others = users - (own & (each.number >= 0))
            shared = bool((own & (others > 0)).any()) or (each.way != "seen" and n not in matched)
            chosen = (pixels.of >= 0) & (inside if shared else own[pixels.of])
            one = each.hits < _YOUNG or np.count_nonzero(own) == 1
            self._see(each, pixels, chosen, now_us, shared=shared, grow=one)
            if each.misfit >= 1:
                number = np.where(own, free.counts, 0).argmax() if n not in matched else matched[n]
                left, top, right, bottom = free.boxes[number]
                each.x.adopt(left, right)
                each.y.adopt(top, bottom)
                each.look, each.misfit = None, 0
                chosen = pixels.of == number
                inside = self._inside(each, pixels)
            claimed |= inside | chosen
        free.claim(claimed)

    def _matched(self, group: list[Object], free: _Free) -> dict[int, int]:
        """Return the cluster of each object that has one, by the least sum of distances."""
        from scipy.optimize import linear_sum_assignment

        choice = np.flatnonzero(free.whole)
        if not len(choice) or not group:
            return {}
        gate = self._tracker.gate
        cost = np.empty((len(group), len(choice)))
        for n, each in enumerate(group):
            for k, c in enumerate(choice):
                left, top, right, bottom = free.boxes[c]
                far = math.hypot(
                    each.x.off(left, right) / each.x.reach(self._noise(each.x)),
                    each.y.off(top, bottom) / each.y.reach(self._noise(each.y)),
                )
                big = (right - left) * (bottom - top) / max(each.x.size * each.y.size, 1.0)
                cost[n, k] = far + abs(math.log(max(big, 1e-3))) if far <= gate else _NEVER
        return {
            int(n): int(choice[k])
            for n, k in zip(*linear_sum_assignment(cost), strict=True)
            if cost[n, k] < _NEVER
        }

    def _inside(self, each: Object, pixels: _Pixels) -> NDArray[np.bool_]:
        """Return which pixels are in the box of an object, or little beyond."""
        reach = [
            self._tracker.gate * axis.reach(self._noise(axis)) if each.way != "seen" else _EDGE_PX
            for axis in (each.x, each.y)
        ]
        reach = [r + _EDGE_PX for r in reach]
        x = pixels.x + each.x.v * pixels.ago
        y = pixels.y + each.y.v * pixels.ago
        found: NDArray[np.bool_] = (abs(x - each.x.x) <= each.x.size / 2 + reach[0]) & (
            abs(y - each.y.x) <= each.y.size / 2 + reach[1]
        )
        return found

    def _see(
        self,
        each: Object,
        pixels: _Pixels,
        chosen: NDArray[np.bool_],
        now_us: int,
        *,
        shared: bool,
        grow: bool,
    ) -> None:
        """Correct an object by its pixels, moved along with it to the present."""
        new = int(pixels.new[chosen].sum())
        each.events = new
        if new < max(1.0, _SILENT * each.usual) or chosen.sum() < 3:
            if each.way == "seen":
                self._lose(each)
            return
        before = each.way
        if before != "seen":
            for axis in (each.x, each.y):
                axis.vv = max(axis.vv, 100.0**2)
        if not self._correct(each, pixels, chosen, shared=shared, grow=grow) and shared:
            each.blind += 1
            if before == "seen" and each.blind >= _BLIND_WINDOWS:
                self._lose(each)
            if before != "seen":
                return
        else:
            each.way, each.seen_us, each.blind = "seen", now_us, 0
            each.hits += 1
        if each.number < 0 and each.hits >= self._tracker.hits and len(self.objects) <= _MOST:
            far = math.hypot(each.x.x - each.from_xy[0], each.y.x - each.from_xy[1])
            if far >= 2.0:
                each.number, self._next = self._next, self._next + 1

    def _correct(
        self,
        each: Object,
        pixels: _Pixels,
        chosen: NDArray[np.bool_],
        *,
        shared: bool,
        grow: bool,
    ) -> bool:
        """Correct an object by the box of its pixels, if it is its own, else by its look.

        Return whether it was recognised.
        """
        # The latest event of a pixel comes as an edge leaves it, on the far side.
        far_side = 0.5 / (math.hypot(each.x.v, each.y.v) + 10.0)
        x = pixels.x[chosen] + each.x.v * (pixels.ago[chosen] + far_side)
        y = pixels.y[chosen] + each.y.v * (pixels.ago[chosen] + far_side)
        on = pixels.on[chosen]
        ago = float(pixels.ago[chosen].mean())
        axes = each.x, each.y
        noises = [self._noise(axis) for axis in axes]
        sides = [_sides(at) for at in (x, y)]
        whole = not shared and all(
            axis.is_whole(*two) for axis, two in zip(axes, sides, strict=True)
        )
        found = None
        if not whole and each.look is not None:
            within = each.x.reach(noises[0]), each.y.reach(noises[1])
            found = each.look.find(x - each.x.x, y - each.y.x, on, within)
        if found is None and shared:
            return False
        for axis, two, noise, off in zip(
            axes, sides, noises, (found or (None, None))[:2], strict=True
        ):
            middle = (two[0] + two[1]) / 2 - axis.x
            if off is not None or each.look is None or whole:
                axis.correct(middle if off is None else off, noise, ago)
        share = min(1.0, *((two[1] - two[0]) / a.size for a, two in zip(axes, sides, strict=True)))
        each.shown += 0.3 * ((share if found is None else found[2]) - each.shown)
        if shared:
            return True
        each.usual += (0.2 if each.usual else 1.0) * (each.events - each.usual)
        larger = any(axis.is_less(*two) for axis, two in zip(axes, sides, strict=True))
        moved = math.hypot(each.x.v, each.y.v) * self._tracker.window_us * 1e-6
        part = moved / max(each.x.size, each.y.size) / _MISFIT_SIZES
        each.misfit = 0.0 if whole else each.misfit + (1 / _MISFIT_WINDOWS if larger else part)
        for axis, two in zip(axes, sides, strict=True):
            axis.resize(*two, grow=grow)
        if each.hits < _LOOK:
            return True
        if whole:
            size = max(each.x.size, each.y.size)
            if each.look is None or (
                not 0.7 < (size / 2 + 2) / 24 / each.look.cell < 1.4 and each.look.cell > 1
            ):
                each.look = Look(x - each.x.x, y - each.y.x, on, size)
            else:
                each.look.follow(x - each.x.x, y - each.y.x, on)
        return True

    def _lose(self, each: Object) -> None:
        """Let an object without events go on, if it was going behind another, or stand still."""
        covered = any(
            o is not each and o.number >= 0 and o.way == "seen" and _overlap(each, o) > _COVERED
            for o in self.objects
        )
        moves = math.hypot(each.x.v, each.y.v) > _SLOW
        if moves and (covered or each.shown < _HIDDEN):
            each.way = "hidden"
            return
        each.way = "still"
        for axis in (each.x, each.y):
            axis.x -= axis.v * self._tracker.window_us * 1e-6 * (each.blind + 1)
            axis.v = axis.xv = 0.0
            axis.vv = 25.0

    def _give_birth(self, free: _Free, now_us: int) -> None:
        for c in np.flatnonzero(free.whole):
            left, top, right, bottom = free.boxes[c]
            x, y = (left + right) / 2, (top + bottom) / 2
            self.objects.append(Object(
                Along(x, right - left), Along(y, bottom - top), now_us, now_us, from_xy=(x, y),
            ))  # fmt: skip

    def _drop_twins(self) -> None:
        """Drop an object that has gone along with an older one, in its place."""
        known = sorted((o for o in self.objects if o.number >= 0), key=lambda o: o.number)
        for n, each in enumerate(known):
            twin = each.way == "seen" and any(
                o.way == "seen" and _together(o, each) for o in known[:n]
            )
            each.twin = each.twin + 1 if twin else 0
        self.objects = [o for o in self.objects if o.twin * self._tracker.window_us < _TWIN_US]

    def _lives(self, each: Object, now_us: int) -> bool:
        unseen = now_us - each.seen_us
        if each.number < 0:
            return unseen < 3 * self._tracker.window_us
        away = not (0 <= each.x.x < self._size.width and 0 <= each.y.x < self._size.height)
        return unseen < self._tracker.lost_us and not (away and each.way != "seen")


def _company(silent: float) -> int:
    """Return how many events within 3x3 pixels chance gives to fewer than one pixel in 10,000.

    silent  share of the pixels without events: exp(-mean) for a Poisson distribution
    """
    mean = 9 * -math.log(max(silent, 0.5))
    tail, term, least = 1.0, math.exp(-mean), 0
    while tail > _BY_CHANCE:
        tail -= term
        least += 1
        term *= mean / least
    return max(least, 2)


def _sides(places: NDArray[np.float64]) -> tuple[float, float]:
    """Return the sides of a box of points, without the outermost 2 % on either side."""
    few = len(places) // 50
    ordered = np.partition(places, (few, len(places) - 1 - few))
    return float(ordered[few]), float(ordered[-1 - few])


def _overlap(one: Object, two: Object) -> float:
    """Return the share of an object's box that is in another one's."""
    common = [
        max(min(a.high, b.high) - max(a.low, b.low), 0.0) / a.size
        for a, b in ((one.x, two.x), (one.y, two.y))
    ]
    return common[0] * common[1]


def _together(one: Object, two: Object) -> bool:
    """Return whether two objects are mostly in one place and go the same way."""
    apart = math.hypot(one.x.v - two.x.v, one.y.v - two.y.v)
    speed = max(math.hypot(one.x.v, one.y.v), math.hypot(two.x.v, two.y.v), 20.0)
    return max(_overlap(one, two), _overlap(two, one)) > _TWIN and apart < 0.3 * speed


class _Free:
    """The pixels of a window that belong to no object yet, and their clusters.

    boxes  (count, 4) left, top, right, bottom
    whole  (count,) clusters of enough pixels, most of which are free
    """

    def __init__(self, pixels: _Pixels, count: int, least: int) -> None:
        self.pixels, self.count, self._least = pixels, count, least
        self._all = np.bincount(pixels.of, minlength=count)
        self.claim(np.zeros(len(pixels.of), np.bool_))

    def claim(self, which: NDArray[np.bool_]) -> None:
        """Take pixels out."""
        of, x, y = self.pixels.of, self.pixels.x, self.pixels.y
        of[which] = -1
        some = of >= 0
        left = self.counts = self._number(some)
        self.whole = (left >= self._least) & (left >= 0.5 * self._all)
        self.boxes = np.empty((self.count, 4))
        self.boxes[:, :2], self.boxes[:, 2:] = np.inf, -np.inf
        np.minimum.at(self.boxes[:, 0], of[some], x[some] - 0.5)
        np.minimum.at(self.boxes[:, 1], of[some], y[some] - 0.5)
        np.maximum.at(self.boxes[:, 2], of[some], x[some] + 0.5)
        np.maximum.at(self.boxes[:, 3], of[some], y[some] + 0.5)

    def mostly(self, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the clusters that some pixels are a notable part of."""
        number = self._number(inside & (self.pixels.of >= 0))
        return np.asarray(number >= np.maximum(3, 0.15 * self._all))

    def _number(self, which: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(self.pixels.of[which], minlength=self.count)
