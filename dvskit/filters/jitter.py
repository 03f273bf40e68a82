"""Pixels and times of events, moved at random."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts
from dvskit.events import Events, Size
from dvskit.filters.base import CallableFilter, Step
from dvskit.filters.parameters import check_number, check_seed
from dvskit.filters.selecting import Columns, columns, parts_of, room, select

REACH = 5  # standard deviations beyond which nothing is moved: 6 in 10 million would be
_PIECE = 1 << 17  # events that are put in order at a time
_LONGEST_JITTER_US = 100_000.0


@dataclass(frozen=True, slots=True)
class SpatialJitter(CallableFilter):
    """Move each event by a normal random number of pixels, in x and in y, rounded to pixels.

    It is drawn for the event's number in the stream, and cut at five standard deviations. What
    leaves the sensor is left out, and counted.
    """

    std_px: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_number(self, "std_px", 0, 1000)
        check_seed(self)

    def start(self, size: Size) -> SpatialJitterStep:
        """Return the step of one pass."""
        return SpatialJitterStep(self, size)


@dataclass(frozen=True, slots=True)
class TemporalJitter(CallableFilter):
    """Move the time of each event by a normal random number of microseconds, and sort again.

    It is drawn for the event's number in the stream, and cut at five standard deviations: so long
    events are held back, until none can come before them. Those of the same time stay in their
    order. Events that come from time 0 or later to before 0 are left out, and counted.
    """

    std_us: float
    seed: int = 0

    def __post_init__(self) -> None:
        check_number(self, "std_us", 0, _LONGEST_JITTER_US)
        check_seed(self)

    def start(self, size: Size) -> TemporalJitterStep:
        """Return the step of one pass."""
        return TemporalJitterStep(self, size)


@dataclass(frozen=True, slots=True)
class _Normal:
    """Tables that draw whole numbers near a normal random number; entry k is k - reach."""

    std: float
    chance: NDArray[np.uint64] = field(init=False)
    other: NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        from dvskit.filters.chance_kernels import alias_of

        edges = np.arange(-self.reach, self.reach + 2) - 0.5
        scale = max(self.std, 1e-9) * math.sqrt(2)
        below = np.array([math.erfc(-edge / scale) for edge in edges])
        weights = np.diff(below)
        chance, other = np.zeros(len(weights), np.uint64), np.zeros(len(weights), np.int32)
        alias_of(weights, chance, other)
        object.__setattr__(self, "chance", chance)
        object.__setattr__(self, "other", other)

    @property
    def reach(self) -> int:
        """The largest number drawn."""
        return math.ceil(REACH * self.std)


class SpatialJitterStep(Step):
    """A pass of a `SpatialJitter`."""

    def __init__(self, jitter: SpatialJitter, size: Size) -> None:
        super().__init__(size)
        self._seed, self._normal = jitter.seed, _Normal(jitter.std_px)
        self._seen = 0

    def __call__(self, events: Events) -> Events:
        """Return the events that stay on the sensor, moved."""
        from dvskit.filters.chance_kernels import jitter_pixels

        t, x, y, p = columns(events)
        _, out_x, out_y, keep = room(len(events))
        parts = parts_of(len(events))

        def work(part: int) -> None:
            at = slice(*parts[part])
            jitter_pixels(self._seed, self._seen + at.start, *self.size, self._normal.chance,
                          self._normal.other, x[at], y[at], out_x[at], out_y[at],
                          keep[at])  # fmt: skip

        run_parts(work, len(parts))
        self._seen += len(events)
        kept = select(Events.from_checked(t, out_x, out_y, p, self.size), keep)
        self.dropped += len(events) - len(kept)
        return kept


class TemporalJitterStep(Step):
    """A pass of a `TemporalJitter`."""

    def __init__(self, jitter: TemporalJitter, size: Size) -> None:
        super().__init__(size)
        self._seed, self._normal = jitter.seed, _Normal(jitter.std_us)
        self._seen = 0
        self._held = Events.empty(size)  # in order
        self._new: list[Columns] = []  # behind them, not in order yet
        self._waiting = 0

    def __call__(self, events: Events) -> Events:
        """Return the events that none can come before any more, in order."""
        given = [
            self._moved(events[start : start + _PIECE]) for start in range(0, len(events), _PIECE)
        ]
        return Events.concatenate(given, size=self.size)

    def finish(self) -> Events:
        """Return the rest."""
        return self._sorted()

    def _moved(self, events: Events) -> Events:
        from dvskit.filters.chance_kernels import jitter_times

        t, x, y, p = columns(events)
        out_t, keep = np.empty_like(t), np.empty(len(t), np.bool_)
        jitter_times(self._seed, self._seen, self._normal.chance, self._normal.other, t, out_t,
                     keep)  # fmt: skip
        self._seen += len(t)
        if not keep.all():
            self.dropped += len(t) - int(np.count_nonzero(keep))
            out_t, x, y, p = out_t[keep], x[keep], y[keep], p[keep]
        self._new.append((out_t, x.copy(), y.copy(), p.copy()))  # the caller's may change
        self._waiting += len(out_t)
        if 4 * self._waiting < len(self._held):  # sorting again for each of few would take long
            return Events.empty(self.size)
        known = self._sorted()
        sure = int(np.searchsorted(known.t, t[-1] - self._normal.reach, "right"))
        self._held = known[sure:].copy()
        return known[:sure]

    def _sorted(self) -> Events:
        from dvskit.filters.order_kernels import order_of, take

        held = self._held
        parts = [(held.t, held.x, held.y, held.p), *self._new]
        t, x, y, p = (np.concatenate(each) for each in zip(*parts, strict=True))
        self._held, self._new, self._waiting = Events.empty(self.size), [], 0
        order = np.empty(len(t), np.int64)
        if len(t) and not order_of(t, order):
            order = np.argsort(t, kind="stable")
        out = room(len(t))
        take(order, t, x, y, p, *out)
        return Events.from_checked(*out, self.size)
