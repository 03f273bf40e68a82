"""Not more than so many events in a span of time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dvskit.errors import ConfigError
from dvskit.events import Events, Size
from dvskit.filters.base import CallableFilter, Step
from dvskit.filters.parameters import check_number, check_whole
from dvskit.filters.selecting import columns, select

_MOST_HZ = 1e12


@dataclass(frozen=True, slots=True)
class EventRateLimit(CallableFilter):
    """Keep at most floor(rate_hz window_us / 10^6) events of each window: the first ones.

    Windows begin at multiples of `window_us`. Nothing is held back. `EvenRateLimit` leaves out
    events all over the window instead.
    """

    rate_hz: float
    window_us: int = 1_000

    def __post_init__(self) -> None:
        _check(self)

    @property
    def most(self) -> int:
        """The events kept of a window."""
        return _most(self)

    def start(self, size: Size) -> EventRateLimitStep:
        """Return the step of one pass."""
        return EventRateLimitStep(self.most, self.window_us, size)


@dataclass(frozen=True, slots=True)
class EvenRateLimit(CallableFilter):
    """Keep at most floor(rate_hz window_us / 10^6) events of each window: evenly among its events.

    Of N events, event j is kept where floor((j + 1) most / N) is above floor(j most / N). Windows
    begin at multiples of `window_us`; a window is held back until it is over.
    """

    rate_hz: float
    window_us: int = 1_000

    def __post_init__(self) -> None:
        _check(self)

    @property
    def most(self) -> int:
        """The events kept of a window."""
        return _most(self)

    def start(self, size: Size) -> EvenRateLimitStep:
        """Return the step of one pass."""
        return EvenRateLimitStep(self.most, self.window_us, size)


def _check(limit: EventRateLimit | EvenRateLimit) -> None:
    check_number(limit, "rate_hz", 0, _MOST_HZ)
    check_whole(limit, "window_us", 1)
    if limit.rate_hz and not limit.most:
        raise ConfigError(
            f"{type(limit).__name__}: rate_hz={limit.rate_hz!r} is less than one event in "
            f"window_us={limit.window_us}; give a longer window"
        )


def _most(limit: EventRateLimit | EvenRateLimit) -> int:
    # What is a whole number but for rounding is that number.
    return math.floor(limit.rate_hz * limit.window_us / 1e6 * (1 + 1e-12))


class EventRateLimitStep(Step):
    """A pass of an `EventRateLimit`."""

    def __init__(self, most: int, window_us: int, size: Size) -> None:
        super().__init__(size)
        self._most, self._window_us = most, window_us
        self._state = np.zeros(2, np.int64)  # where the current window ends, its events so far
        self._begun = False

    def __call__(self, events: Events) -> Events:
        """Return the events that are kept."""
        from dvskit.filters.rate_kernels import first_of_windows

        if not len(events):
            return events
        if not self._begun:
            self._begun, self._state[0] = True, events.t[0]
        keep = np.empty(len(events), np.bool_)
        first_of_windows(columns(events)[0], self._window_us, self._most, self._state, keep)
        kept = select(events, keep)
        self.dropped += len(events) - len(kept)
        return kept


class EvenRateLimitStep(Step):
    """A pass of an `EvenRateLimit`."""

    def __init__(self, most: int, window_us: int, size: Size) -> None:
        super().__init__(size)
        self._most, self._window_us = most, window_us
        self._held: list[Events] = []  # of one window

    def __call__(self, events: Events) -> Events:
        """Return what is kept of the windows that are over."""
        if not len(events):
            return events
        begun_us = int(events.t[-1]) // self._window_us * self._window_us
        over = int(np.searchsorted(events.t, begun_us))
        whole, self._held = self._held, self._held
        if over or (whole and whole[0].t[0] < begun_us):
            whole, self._held = [*whole, events[:over]], []
        else:
            whole = []
        self._held.append(events[over:].copy())  # the caller's may change
        return self._thinned(whole)

    def finish(self) -> Events:
        """Return what is kept of the last window."""
        held, self._held = self._held, []
        return self._thinned(held)

    def _thinned(self, blocks: list[Events]) -> Events:
        from dvskit.filters.rate_kernels import evenly_of_windows

        events = Events.concatenate(blocks, size=self.size)
        keep = np.empty(len(events), np.bool_)
        evenly_of_windows(columns(events)[0], self._window_us, self._most, keep)
        kept = select(events, keep)
        self.dropped += len(events) - len(kept)
        return kept
