"""Times scaled, shifted, and reversed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dvskit._arguments import check_arguments, checked
from dvskit.errors import EventsError
from dvskit.events import Events, Size
from dvskit.filters.base import CallableFilter, Step
from dvskit.filters.parameters import LONGEST_US, check_flag, check_number, check_whole
from dvskit.filters.selecting import columns, in_parts

_MOST_US = 2**62


@check_arguments
@dataclass(frozen=True, slots=True)
class TimeScale(CallableFilter):
    """Multiply times by a factor: t' = origin + factor (t - origin).

    Times are rounded to microseconds. The origin is `origin_us`, or else the time of the first
    event, which then stays. Events that move from time 0 or later to before 0 are dropped and
    counted.
    """

    moves_times: ClassVar[bool] = True
    factor: float = checked(check_number, 1e-6, 1e6)
    origin_us: int | None = checked(check_whole, -LONGEST_US, default=None)

    def start(self, size: Size) -> TimesStep:
        """Return the step of one pass."""
        return TimesStep(size, float(self.factor), self.origin_us, 0, None)


@check_arguments
@dataclass(frozen=True, slots=True)
class TimeShift(CallableFilter):
    """Add `shift_us` to all times; negative values move events to earlier times.

    Events that move from time 0 or later to before 0 are dropped and counted.
    """

    moves_times: ClassVar[bool] = True
    shift_us: int = checked(check_whole, -LONGEST_US)

    def start(self, size: Size) -> TimesStep:
        """Return the step of one pass."""
        return TimesStep(size, 1.0, 0, int(self.shift_us), None)


@check_arguments
@dataclass(frozen=True, slots=True)
class StartAt(CallableFilter):
    """Move all events in time so that the first one is at `start_us`."""

    moves_times: ClassVar[bool] = True
    start_us: int = checked(check_whole, -LONGEST_US, default=0)

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
        from dvskit.filters.select_kernels import stretch

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


@check_arguments
@dataclass(frozen=True, slots=True)
class TimeReversal(CallableFilter):
    """Play the events backwards: t' = first + last - t.

    Backwards, brightening is darkening, so polarities are swapped unless `swap_polarity` is false.
    Reversing twice restores the events. All events are held in memory until the stream ends, 13
    bytes each, and as much again at its end.
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
    return Events.from_checked(t, events.x[::-1].copy(), events.y[::-1].copy(), p, events.size)
