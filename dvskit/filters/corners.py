"""Filters that keep the events at corners, by the order of the latest events around them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_number, check_whole, checked
from dvskit.events import Events, Size
from dvskit.filters.base import CallableFilter, Columns, Step, columns, part_of, select

Scores = NDArray[np.float32]

_MOST = 2**31 - 1  # of the four bytes of a time
_EXACT = 2**30  # times nearer than this keep their distances when numbers get too large
_BORDER = 4


class CornerStep(Step):
    """A pass of a corner filter.

    It keeps the events with a score above the threshold. Events within four pixels of the border
    have no score, and no sensor below 9 x 9 pixels has corners.
    """

    def __init__(self, size: Size, threshold: float) -> None:
        super().__init__(size)
        self._threshold = np.float32(threshold)
        self._narrow = min(size) <= 2 * _BORDER

    def __call__(self, events: Events) -> Events:
        """Return the events at corners."""
        kept = select(events, self.scores(events) > self._threshold)
        self.dropped += len(events) - len(kept)
        return kept

    def scores(self, events: Events) -> Scores:
        """Return the score of each event, (n,) float32; -inf for those without one."""
        scores = np.full(len(events), -np.inf, np.float32)
        if len(events) and not self._narrow:
            self._score(events, scores)
        return scores

    @abstractmethod
    def _score(self, events: Events, scores: Scores) -> None:
        """Fill `scores`."""


class _TimedStep(CornerStep):
    """A pass with the latest times, or numbers, of the events at each pixel, in four bytes.

    They count from an origin before the first, so that 0 is never. Before they get too large, the
    origin moves: numbers long past become their ranks, in the same order.
    """

    def __init__(self, size: Size, threshold: float, planes: int) -> None:
        super().__init__(size, threshold)
        self._planes = planes
        self._last: NDArray[np.int32] | None = None
        self._origin = 0

    def _score(self, events: Events, scores: Scores) -> None:
        given = columns(events)
        numbers = self._numbers(events)
        if self._last is None:
            self._last = np.zeros((self._planes, self.size.width * self.size.height), np.int32)
            self._origin = int(numbers[0]) - 1
        start = 0
        while start < len(events):
            if numbers[start] - self._origin > _MOST:
                self._origin = compact(self._last, self._origin, int(numbers[start]))
            stop = int(np.searchsorted(numbers, self._origin + _MOST, "right"))
            part = slice(start, stop)
            self._mark(part_of(given, part), int(numbers[start]), self._last, scores[part])
            start = stop

    def _numbers(self, events: Events) -> NDArray[np.int64]:
        return events.t

    @abstractmethod
    def _mark(self, events: Columns, first: int, last: NDArray[np.int32], scores: Scores) -> None:
        """Fill `scores` for events from the number `first` on."""


def compact(last: NDArray[np.int32], origin: int, now: int) -> int:
    """Make room for later numbers: change those in `last` in place, and return the new origin.

    Their order stays the same, and the differences of those in the last 2^30 up to `now`.
    """
    recent = last > now - origin - _EXACT
    old = ~recent & (last > 0)
    ranks, places = np.unique(last[old], return_inverse=True)
    moved = now - origin - _EXACT - len(ranks)
    last[recent] = last[recent].astype(np.int64) - moved
    last[old] = places + 1
    return origin + moved


@dataclass(frozen=True, slots=True)
class EFast(CallableFilter):
    """Keep events at corners: eFAST (Mueggler et al. 2017, Fast Event-based Corner Detection).

    The latest times of the event's polarity are compared on two circles around it. 3 to 6 adjacent
    pixels of the inner 16, and 4 to 8 of the outer 20, must be newer than all others.

        events = dvskit.load_events("discs.raw")
        corners = dvskit.filters.EFast()(events)
        len(corners) / len(events)    # the share of events at corners
    """

    def start(self, size: Size) -> CornerStep:
        """Return the step of one pass: 8 bytes per pixel."""
        return _EFastStep(size, 0, 2)


class _EFastStep(_TimedStep):
    def _mark(self, events: Columns, first: int, last: Any, scores: Scores) -> None:
        from dvskit.filters.corner_kernels import e_fast

        e_fast(events, self._origin, self.size.width, last, scores)


@dataclass(frozen=True, slots=True)
class ArcStar(CallableFilter):
    """Keep events at corners: Arc* (Alzugaray and Chli 2018, Asynchronous Corner Detection).

    As eFAST, but the adjacent pixels may also be older than all others, as of corners that move the
    other way. An event that follows one of the same polarity at its pixel
    within `repeat_us` is no corner and leaves the times as they are.

        source = dvskit.filters.ArcStar(repeat_us=20_000)(dvskit.open_events("discs.raw"))
        corners = source.load()
        source.dropped    # the number of events elsewhere
    """

    repeat_us: int = checked(check_whole, 0, _EXACT - 1, default=50_000)

    def start(self, size: Size) -> CornerStep:
        """Return the step of one pass: 16 bytes per pixel."""
        return _ArcStarStep(size, self.repeat_us)


class _ArcStarStep(_TimedStep):
    def __init__(self, size: Size, repeat_us: int) -> None:
        super().__init__(size, 0, 4)
        self._repeat_us = repeat_us

    def _mark(self, events: Columns, first: int, last: Any, scores: Scores) -> None:
        from dvskit.filters.corner_kernels import arc_star

        arc_star(events, self._origin, self.size.width, self._repeat_us, last, scores)


@dataclass(frozen=True, slots=True)
class EHarris(CallableFilter):
    """Keep events at corners: eHarris (Vasco et al. 2016, Fast event-based Harris corners).

    A binary picture of the 9 x 9 pixels around the event marks the 25 that fired last with its
    polarity. Its Harris response (5 x 5 Sobel operator, Gaussian of 1 pixel, determinant - 0.04
    trace^2) must be above `threshold`. The response reaches about 23.

        events = dvskit.load_events("discs.raw")
        step = dvskit.filters.EHarris().start(events.sensor_size)
        scores = step.scores(events)    # (n,) float32, to choose a threshold from
    """

    threshold: float = checked(check_number, -100, 100, default=8.0)

    def start(self, size: Size) -> CornerStep:
        """Return the step of one pass: 8 bytes per pixel."""
        return _EHarrisStep(size, self.threshold)


class _EHarrisStep(_TimedStep):
    def __init__(self, size: Size, threshold: float) -> None:
        super().__init__(size, threshold, 2)
        self._count = 0

    def _numbers(self, events: Events) -> NDArray[np.int64]:
        self._count += len(events)
        return np.arange(self._count - len(events), self._count)

    def _mark(self, events: Columns, first: int, last: Any, scores: Scores) -> None:
        from dvskit.filters.corner_kernels import e_harris

        e_harris(events, first - self._origin, self.size.width, last, scores)


@dataclass(frozen=True, slots=True)
class LuvHarris(CallableFilter):
    """Keep events at corners: luvHarris (Glover et al. 2021, A Practical Corner Detector).

    Each event takes 1 from the 7 x 7 pixels around it, values below 241 become 0, and its own
    becomes 255. The Harris response of this surface (OpenCV's: 3 x 3 Sobel operator, 7 x 7 pixels,
    determinant - 0.04 trace^2) must be above `threshold`; it reaches about 0.1. It is computed for
    each event; the paper takes it from an image that is renewed now and then.

        events = dvskit.load_events("discs.raw")
        few = dvskit.filters.LuvHarris(threshold=0.06)(events)
    """

    threshold: float = checked(check_number, -1, 1, default=0.03)

    def start(self, size: Size) -> CornerStep:
        """Return the step of one pass: a byte per pixel."""
        return _LuvHarrisStep(size, self.threshold)


class _LuvHarrisStep(CornerStep):
    def __init__(self, size: Size, threshold: float) -> None:
        super().__init__(size, threshold)
        sides = size.height + 2 * _BORDER, size.width + 2 * _BORDER
        self._surface: NDArray[np.uint8] = np.zeros(sides, np.uint8)

    def _score(self, events: Events, scores: Scores) -> None:
        from dvskit.filters.corner_kernels import luv_harris

        luv_harris(columns(events), self._surface, scores)
