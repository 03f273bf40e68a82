"""Filters by time and polarity, rate limits; times scaled, shifted and reversed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from dvskit._checks import (
    LATEST_US,
    check_choice,
    check_fields,
    check_flag,
    check_number,
    check_whole,
    checked,
    checked_dataclass,
)
from dvskit.errors import ConfigError, EventsError
from dvskit.events import Events, Size, cut
from dvskit.events.window import check_window
from dvskit.filters.base import Blockwise, CallableFilter, Step, columns, in_parts, select

_MOST_HZ = 1e12


@dataclass(frozen=True, slots=True)
class TimeWindow(CallableFilter):
    """Keep the events with start_us <= t < stop_us; None leaves a side open.

    For one recording `recording.between(start_us, stop_us)` is faster: it does not read the rest.
    Raises ConfigError for an empty window, EventsError for one that ends before its start.

        second = dvskit.filters.TimeWindow(500_000, 1_000_000)
        events = second(dvskit.load_events("events.raw"))
    """

    start_us: int | None = None
    stop_us: int | None = None

    def __post_init__(self) -> None:
        check_window(self.start_us, self.stop_us)
        if self.start_us is not None and self.stop_us is not None and self.stop_us <= self.start_us:
            raise ConfigError(f"the window {self.start_us}..{self.stop_us} us is empty")

    def start(self, size: Size) -> Blockwise:
        """Return the step of one pass; it returns views of the events."""
        return Blockwise(lambda events: cut(events, self.start_us, self.stop_us), size)


@checked_dataclass(frozen=True, slots=True)
class DropTime(CallableFilter):
    """Drop the events with start_us <= t < stop_us.

    Times are microseconds. Raises ConfigError for a span that ends before its start.

        gap = dvskit.filters.DropTime(500_000, 600_000)
        events = gap(dvskit.load_events("events.raw"))
    """

    start_us: int = checked(check_whole, -LATEST_US, LATEST_US)
    stop_us: int = checked(check_whole, -LATEST_US, LATEST_US)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.stop_us < self.start_us:
            raise ConfigError(f"the span {self.start_us}..{self.stop_us} us ends before its start")

    def start(self, size: Size) -> Blockwise:
        """Return the step of one pass."""
        return Blockwise(self._left, size)

    def _left(self, events: Events) -> Events:
        first, last = np.searchsorted(events.t, (self.start_us, self.stop_us))
        if first == 0 or last == len(events):
            return events[last:] if first == 0 else events[:first]
        keep = np.ones(len(events), np.bool_)
        keep[first:last] = False
        return select(events, keep)


@checked_dataclass(frozen=True, slots=True)
class Polarity(CallableFilter):
    """Keep the events of one polarity: `keep` is "on" or "off".

    Raises ConfigError for anything else.

        on = dvskit.filters.Polarity("on")(dvskit.load_events("events.raw"))
        on.p.all()    # True
    """

    keep: Literal["on", "off"] = checked(check_choice, ("on", "off"))

    def start(self, size: Size) -> Blockwise:
        """Return the step of one pass."""
        on = self.keep == "on"
        return Blockwise(lambda events: select(events, events.p if on else ~events.p), size)


@dataclass(frozen=True, slots=True)
class SwapPolarity(CallableFilter):
    """Turn ON events into OFF events, and OFF events into ON events.

    Times and pixels stay as they are.

        events = dvskit.load_events("events.raw")
        negative = dvskit.filters.SwapPolarity()(events)
        np.array_equal(negative.p, ~events.p)    # True
    """

    def start(self, size: Size) -> Blockwise:
        """Return the step of one pass; times and pixels are shared with the input."""
        return Blockwise(
            lambda events: Events.from_checked(events.t, events.x, events.y, ~events.p, size), size
        )


@checked_dataclass(frozen=True, slots=True)
class _RateLimit(CallableFilter):
    """At most this many events per window."""

    rate_hz: float = checked(check_number, 0, _MOST_HZ)
    window_us: int = checked(check_whole, 1, default=1_000)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.rate_hz and not self.most:
            raise ConfigError(
                f"{type(self).__name__}: rate_hz={self.rate_hz!r} is less than one event in "
                f"window_us={self.window_us}; pass a longer window"
            )

    @property
    def most(self) -> int:
        """The largest number of events kept per window."""
        # Whole numbers stay whole despite rounding.
        return math.floor(self.rate_hz * self.window_us / 1e6 * (1 + 1e-12))


@dataclass(frozen=True, slots=True)
class EventRateLimit(_RateLimit):
    """Limit the event rate: keep the first events of each time window.

    A window keeps floor(rate_hz window_us / 10^6) events at most. Windows begin at multiples of
    `window_us`. Nothing is held back. `EvenRateLimit` spreads the kept events over the window.

        events = dvskit.load_events("noisy.raw")
        calm = dvskit.filters.EventRateLimit(20_000, window_us=10_000)(events)
        np.bincount(calm.t // 10_000).max() <= 200    # True
    """

    def start(self, size: Size) -> Blockwise:
        """Return the step of one pass."""
        state = np.zeros(2, np.int64)  # end of the current window, and its events so far
        begun = False

        def first_ones(events: Events) -> Events:
            from dvskit.filters.event_kernels import first_of_windows

            nonlocal begun
            if not len(events):
                return events
            if not begun:
                begun, state[0] = True, events.t[0]
            keep = np.empty(len(events), np.bool_)
            first_of_windows(columns(events)[0], self.window_us, self.most, state, keep)
            return select(events, keep)

        return Blockwise(first_ones, size)


@dataclass(frozen=True, slots=True)
class EvenRateLimit(_RateLimit):
    """Limit the event rate: keep events spread evenly over each time window.

    A window keeps floor(rate_hz window_us / 10^6) events at most, called n here: of N events, event
    j is kept if floor((j + 1) n / N) > floor(j n / N). Windows begin at multiples of `window_us`; a
    window is held back until it is over.

        limit = dvskit.filters.EvenRateLimit(20_000, window_us=10_000)
        calm = limit(dvskit.load_events("noisy.raw"))    # at most 200 events in 10 ms
    """

    def start(self, size: Size) -> EvenRateLimitStep:
        """Return the step of one pass."""
        return EvenRateLimitStep(self.most, self.window_us, size)


class EvenRateLimitStep(Step):
    """A pass of an `EvenRateLimit`."""

    def __init__(self, most: int, window_us: int, size: Size) -> None:
        super().__init__(size)
        self._most, self._window_us = most, window_us
        self._held: list[Events] = []  # of the current window

    def __call__(self, events: Events) -> Events:
        """Return the kept events of the complete windows."""
        if not len(events):
            return events
        begun_us = int(events.t[-1]) // self._window_us * self._window_us
        over = int(np.searchsorted(events.t, begun_us))
        whole: list[Events] = []
        if over or (self._held and self._held[0].t[0] < begun_us):
            whole, self._held = [*self._held, events[:over]], []
        self._held.append(events[over:].copy())  # the caller may change its arrays
        return self._thinned(whole)

    def finish(self) -> Events:
        """Return the kept events of the last window."""
        held, self._held = self._held, []
        return self._thinned(held)

    def _thinned(self, blocks: list[Events]) -> Events:
        from dvskit.filters.event_kernels import evenly_of_windows

        events = Events.concatenate(blocks, size=self.size)
        keep = np.empty(len(events), np.bool_)
        evenly_of_windows(columns(events)[0], self._window_us, self._most, keep)
        kept = select(events, keep)
        self.dropped += len(events) - len(kept)
        return kept


_MOST_US = 2**62


@checked_dataclass(frozen=True, slots=True)
class TimeScale(CallableFilter):
    """Multiply times by a factor: t' = origin + factor (t - origin).

    Times are rounded to microseconds. The origin is `origin_us`, or else the time of the first
    event, which then stays. Events that move from time 0 or later to before 0 are dropped and
    counted.

        events = dvskit.load_events("events.raw")
        slow = dvskit.filters.TimeScale(2.0)(events)
        slow.duration_us / events.duration_us    # 2.0
    """

    moves_times: ClassVar[bool] = True
    factor: float = checked(check_number, 1e-6, 1e6)
    origin_us: int | None = checked(check_whole, -LATEST_US, LATEST_US, default=None)

    def start(self, size: Size) -> TimesStep:
        """Return the step of one pass."""
        return TimesStep(size, float(self.factor), self.origin_us, 0, None)


@checked_dataclass(frozen=True, slots=True)
class TimeShift(CallableFilter):
    """Add `shift_us` to all times; negative values move events to earlier times.

    Events that move from time 0 or later to before 0 are dropped and counted.

        events = dvskit.Events(t=[100, 900], x=[1, 2], y=[1, 2], p=[1, 0], size=(8, 6))
        dvskit.filters.TimeShift(5_000)(events).t    # [5100, 5900]
        dvskit.filters.TimeShift(-500)(events).t     # [400]
    """

    moves_times: ClassVar[bool] = True
    shift_us: int = checked(check_whole, -LATEST_US, LATEST_US)

    def start(self, size: Size) -> TimesStep:
        """Return the step of one pass."""
        return TimesStep(size, 1.0, 0, int(self.shift_us), None)


@dataclass(frozen=True, slots=True)
class StartAt(CallableFilter):
    """Move all events in time so that the first one is at `start_us`.

    Intervals between events stay as they are.

        events = dvskit.load_events("events.raw").between(500_000, 600_000)
        dvskit.filters.StartAt(0)(events).t[0]    # 0
    """

    moves_times: ClassVar[bool] = True
    start_us: int = checked(check_whole, -LATEST_US, LATEST_US, default=0)

    def start(self, size: Size) -> TimesStep:
        """Return the step of one pass."""
        return TimesStep(size, 1.0, None, 0, int(self.start_us))


class TimesStep(Step):
    """A pass of a filter that scales and shifts times."""

    def __init__(
        self, size: Size, factor: float, origin_us: int | None, shift_us: int, first_us: int | None
    ) -> None:
        super().__init__(size)
        self._factor, self._origin, self._shift = factor, origin_us, shift_us
        self._first_us = first_us

    def __call__(self, events: Events) -> Events:
        """Return the events at their new times; the other columns are shared with the input."""
        from dvskit.filters.event_kernels import stretch

        if not len(events):
            return events
        if self._origin is None:
            self._origin = int(events.t[0])
        if self._first_us is not None:
            self._shift = self._first_us - self._origin
        self._check(int(events.t[0]), int(events.t[-1]))
        t = columns(events)[0]
        new = np.empty_like(t)
        origin = self._origin
        in_parts(lambda at: stretch(t[at], origin, self._factor, self._shift, new[at]), len(t))
        moved = Events.from_checked(new, events.x, events.y, events.p, self.size)
        if self._first_us is not None:
            return moved
        # Events before 0 stay, events that move to before 0 are dropped: both are at the beginning.
        was, comes = int(np.searchsorted(t, 0)), int(np.searchsorted(new, 0))
        if comes <= was:
            return moved
        self.dropped += comes - was
        return Events.concatenate([moved[:was], moved[comes:]]) if was else moved[comes:]

    def _check(self, *times_us: int) -> None:
        for t_us in times_us:
            new = (t_us - (self._origin or 0)) * self._factor + (self._origin or 0) + self._shift
            if abs(new) > _MOST_US:
                raise EventsError(
                    f"an event at {t_us} us would move to {new:.3g} us, beyond the range of times"
                )


@dataclass(frozen=True, slots=True)
class TimeReversal(CallableFilter):
    """Play the events backwards: t' = first + last - t.

    Backwards, brightening is darkening, so polarities are swapped unless `swap_polarity` is false.
    Reversing twice restores the events. All events are held in memory until the stream ends, 13
    bytes each, and as much again at its end.

        events = dvskit.load_events("events.raw")
        backwards = dvskit.filters.TimeReversal()(events)
        dvskit.filters.TimeReversal()(backwards) == events    # True
    """

    moves_times: ClassVar[bool] = True
    swap_polarity: bool = checked(check_flag, default=True)

    def start(self, size: Size) -> TimeReversalStep:
        """Return the step of one pass."""
        return TimeReversalStep(self.swap_polarity, size)

    def of_events(self, events: Events) -> Events:
        """Return complete events reversed."""
        return reverse(events, swap_polarity=self.swap_polarity)


class TimeReversalStep(Step):
    """A pass of a `TimeReversal`, which returns all events at the end."""

    def __init__(self, swap_polarity: bool, size: Size) -> None:
        super().__init__(size)
        self._swap = swap_polarity
        self._held: list[Events] = []

    def __call__(self, events: Events) -> Events:
        """Hold the events back."""
        if len(events):
            self._held.append(events.copy())  # the caller may change its arrays
        return Events.empty(self.size)

    def finish(self) -> Events:
        """Return all events."""
        held, self._held = self._held, []
        return reverse(Events.concatenate(held, size=self.size), swap_polarity=self._swap)


def reverse(events: Events, *, swap_polarity: bool) -> Events:
    """Return the events reversed; see `TimeReversal`."""
    if not len(events):
        return events
    t = (events.t[0] + events.t[-1]) - events.t[::-1]
    p = ~events.p[::-1] if swap_polarity else events.p[::-1].copy()
    return Events.from_checked(
        t, events.x[::-1].copy(), events.y[::-1].copy(), p, events.sensor_size
    )
