"""The objects of a scene, and the clusters of each window that belong to them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Events, Size
from dvskit.tracking.clusters import joined, label_mask
from dvskit.tracking.kalman import Along, Object
from dvskit.tracking.look import ObjectLook
from dvskit.tracking.pixels import FreePixels, RecentPixels, company, sides_of

if TYPE_CHECKING:
    from dvskit.tracking.tracker import Tracker

_EDGE_PX = 3  # that a side may be missed by, in a box
_SILENT = 0.15  # of the usual events; fewer do not show an object
_HIDDEN = 0.65  # of an object; one that was seen in a smaller part goes behind another
_SLOW = 20.0  # px/s; slower objects without events stand still
_COVERED = 0.4  # of the box; so much in that of another, an object is hidden by it
_CALM = 0.2  # of the usual acceleration, for objects without events
_PER_PIXEL = 2  # events of a pixel that count as company: hot pixels have many
_NEVER = 1e6  # the cost of a cluster beyond the gate
_LOOK = 5  # windows after which the look is known
_YOUNG = 25  # windows; later the size of an object is known
_BLIND_WINDOWS = 4  # that an object is not recognised among others
_MISFIT_WINDOWS = 8  # that a cluster is larger than the object's box, until it is the box
_MISFIT_SIZES = 2.5  # the same for smaller ones: the way gone by then, in sizes of the box
_TWIN, _TWIN_US = 0.25, 200_000  # objects with so much in common for so long are one
_EDGES = 0.6  # difference of the shares of ON events of opposite edges
_MOST = 256  # objects


class ObjectScene:
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
        free = FreePixels(pixels, count, self._tracker.least_pixels)
        for group in (
            [o for o in known if o.way == "seen"], [o for o in known if o.way != "seen"],
            [o for o in self.objects if o.number < 0],
        ):  # fmt: skip
            self._assign(group, known, free, now_us)
        self._give_birth(free, now_us)
        self.objects = [o for o in self.objects if self._lives(o, now_us)]
        self._drop_twins()
        return sorted((o for o in self.objects if o.number >= 0), key=lambda o: o.number)

    def _pixels(self, now_us: int) -> tuple[RecentPixels, int]:
        from dvskit.tracking.component_kernels import supported_pixels

        since = now_us - self._tracker.memory * self._tracker.window_us
        self._counts += self._slots[self._slot]
        least = company(1 - np.count_nonzero(self._counts) / self._counts.size)
        count = supported_pixels(
            self._surface, self._counts, since, least, _PER_PIXEL, self._mask, self._room
        )
        self._slot = (self._slot + 1) % len(self._slots)
        self._counts -= self._slots[self._slot]
        self._slots[self._slot] = 0
        t, x, y, on = self._room[:, :count]
        labels, clusters = label_mask(joined(self._mask, self._tracker.join_px))
        return RecentPixels(
            (now_us - t) * 1e-6, x.astype(float), y.astype(float), on.copy(),
            labels[y, x].astype(np.int64) - 1, t >= now_us - self._tracker.window_us,
        ), clusters  # fmt: skip

    def _assign(
        self, group: list[Object], known: list[Object], free: FreePixels, now_us: int
    ) -> None:
        """Correct the objects of a group by free pixels, and claim these."""
        pixels, claimed = free.pixels, np.zeros(len(free.pixels.of), np.bool_)
        matched = self._matched(group, free)
        there = [o for o in known if o.way == "seen"]
        users = sum(
            (free.mostly(self._inside(o, pixels)) for o in there), np.zeros(free.count, int)
        )
        for n, each in enumerate(group):
            inside = self._inside(each, pixels)
            own = free.mostly(inside)
            if n in matched:
                own[matched[n]] = True
            elif each.number < 0 or (each.way != "seen" and (each.look is None or not own.any())):
                continue
            others = users - (own & (each in there))
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

    def _matched(self, group: list[Object], free: FreePixels) -> dict[int, int]:
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
                    each.x.off(left, right) / each.x.reach,
                    each.y.off(top, bottom) / each.y.reach,
                )
                big = (right - left) * (bottom - top) / max(each.x.size * each.y.size, 1.0)
                cost[n, k] = far + abs(math.log(max(big, 1e-3))) if far <= gate else _NEVER
        return {
            int(n): int(choice[k])
            for n, k in zip(*linear_sum_assignment(cost), strict=True)
            if cost[n, k] < _NEVER
        }

    def _inside(self, each: Object, pixels: RecentPixels) -> NDArray[np.bool_]:
        """Return which pixels are in the box of an object, or little beyond."""
        reach = [
            self._tracker.gate * axis.reach if each.way != "seen" else _EDGE_PX
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
        pixels: RecentPixels,
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
        pixels: RecentPixels,
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
        sides = [sides_of(at) for at in (x, y)]
        whole = not shared and all(
            axis.is_whole(*two) for axis, two in zip(axes, sides, strict=True)
        )
        found = None
        if not whole and each.look is not None:
            within = each.x.reach, each.y.reach
            found = each.look.find(x - each.x.x, y - each.y.x, on, within)
        if found is None and shared:
            return False
        for axis, two, off in zip(axes, sides, (found or (None, None))[:2], strict=True):
            middle = (two[0] + two[1]) / 2 - axis.x
            if off is not None or each.look is None or whole:
                axis.correct(middle if off is None else off, ago)
        share = min(1.0, *((two[1] - two[0]) / a.size for a, two in zip(axes, sides, strict=True)))
        each.shown += 0.3 * ((share if found is None else found[2]) - each.shown)
        if shared:
            return True
        each.on += 0.1 * (float(on.mean()) - each.on)
        each.usual += (0.2 if each.usual else 1.0) * (each.events - each.usual)
        larger = any(axis.is_less(*two) for axis, two in zip(axes, sides, strict=True))
        moved = math.hypot(each.x.v, each.y.v) * self._tracker.window_us * 1e-6
        part = moved / max(each.x.size, each.y.size) / _MISFIT_SIZES
        each.misfit = (
            0.0
            if whole
            else each.misfit + (1 / _MISFIT_WINDOWS if larger else part * (found is None))
        )
        for axis, two in zip(axes, sides, strict=True):
            axis.resize(*two, grow=grow)
        if each.hits < _LOOK:
            return True
        if whole:
            size = max(each.x.size, each.y.size)
            if each.look is None or (
                not 0.7 < (size / 2 + 2) / 24 / each.look.cell < 1.4 and each.look.cell > 1
            ):
                each.look = ObjectLook(x - each.x.x, y - each.y.x, on, size)
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

    def _give_birth(self, free: FreePixels, now_us: int) -> None:
        for c in np.flatnonzero(free.whole)[: max(_MOST - len(self.objects), 0)]:
            left, top, right, bottom = free.boxes[c]
            x, y = (left + right) / 2, (top + bottom) / 2
            on = float(free.pixels.on[free.pixels.of == c].mean())
            axes = Along(x, right - left), Along(y, bottom - top)
            self.objects.append(Object(*axes, now_us, on=on, from_xy=(x, y)))

    def _lives(self, each: Object, now_us: int) -> bool:
        unseen = now_us - each.seen_us
        if each.number < 0:
            return unseen < 3 * self._tracker.window_us
        away = not (0 <= each.x.x < self._size.width and 0 <= each.y.x < self._size.height)
        return unseen < self._tracker.lost_us and not (away and each.way != "seen")

    def _drop_twins(self) -> None:
        """Join an object to an older one that it has gone along with, such as its other edge."""
        known = sorted((o for o in self.objects if o.number >= 0), key=lambda o: o.number)
        seen = [o for o in known if o.way == "seen"]
        for n, each in enumerate(seen):
            older = next((o for o in seen[:n] if _together(o, each)), None)
            each.twin = 0 if older is None else each.twin + 1
            if older is None or each.twin * self._tracker.window_us < _TWIN_US:
                continue
            for mine, other in ((older.x, each.x), (older.y, each.y)):
                mine.adopt(min(mine.low, other.low), max(mine.high, other.high))
            older.look, older.misfit = None, 0.0
            self.objects.remove(each)


def _overlap(one: Object, two: Object) -> float:
    """Return the share of an object's box that is in another one's."""
    common = [
        max(min(a.high, b.high) - max(a.low, b.low), 0.0) / a.size
        for a, b in ((one.x, two.x), (one.y, two.y))
    ]
    return common[0] * common[1]


def _together(one: Object, two: Object) -> bool:
    """Return whether two objects go the same way in one place, or are both edges of one."""
    apart = math.hypot(one.x.v - two.x.v, one.y.v - two.y.v)
    speed = max(math.hypot(one.x.v, one.y.v), math.hypot(two.x.v, two.y.v), 20.0)
    if apart > 0.3 * speed:
        return False
    gap = max(abs(a.x - b.x) - (a.size + b.size) / 2 for a, b in ((one.x, two.x), (one.y, two.y)))
    near = gap < 2 * max(one.x.size, one.y.size, two.x.size, two.y.size)
    edges = abs(one.on - two.on) > _EDGES and near
    return edges or max(_overlap(one, two), _overlap(two, one)) > _TWIN
