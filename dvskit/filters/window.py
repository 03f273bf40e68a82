"""Filters by time and polarity, and rate limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dvskit._arguments import check_arguments, check_fields, checked
from dvskit.errors import ConfigError
from dvskit.events import Events, Size, cut
from dvskit.events.window import check_window
from dvskit.filters.base import Blockwise, CallableFilter, Step
from dvskit.filters.parameters import LONGEST_US, check_choice, check_number, check_whole
from dvskit.filters.selecting import columns, select

_MOST_HZ = 1e12


@check_arguments
@dataclass(frozen=True, slots=True)
class TimeWindow(CallableFilter):
    """Keep the events with start_us <= t < stop_us; None leaves a side open."""

    start_us: int | None = None
    stop_us: int | None = None

    def __post_init__(self) -> None:
        check_window(self.start_us, self.stop_us)
        if self.start_us is not None and self.stop_us is not None and self.stop_us <= self.start_us:
            raise ConfigError(f"the window {self.start_us}..{self.stop_us} us is empty")

    def start(self, size: Size) -> Blockwise:
        """Return the step of one pass; it returns views of the events."""
        return Blockwise(lambda events: cut(events, self.start_us, self.stop_us), size)


@check_arguments
@dataclass(frozen=True, slots=True)
class DropTime(CallableFilter):
    """Drop the events with start_us <= t < stop_us."""

    start_us: int = checked(check_whole, -LONGEST_US)
    stop_us: int = checked(check_whole, -LONGEST_US)

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


@check_arguments
@dataclass(frozen=True, slots=True)
class Polarity(CallableFilter):
    """Keep the events of one polarity: "on" or "off"."""

    keep: Literal["on", "off"] = checked(check_choice, ("on", "off"))

    def start(self, size: Size) -> Blockwise:
        """Return the step of one pass."""
        on = self.keep == "on"
        return Blockwise(lambda events: select(events, events.p if on else ~events.p), size)


@check_arguments
@dataclass(frozen=True, slots=True)
class SwapPolarity(CallableFilter):
    """Turn ON events into OFF events, and OFF events into ON events."""

    def start(self, size: Size) -> Blockwise:
        """Return the step of one pass; times and pixels are shared with the input."""
        return Blockwise(
            lambda events: Events.from_checked(events.t, events.x, events.y, ~events.p, size), size
        )


@dataclass(frozen=True, slots=True)
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


@check_arguments
@dataclass(frozen=True, slots=True)
class EventRateLimit(_RateLimit):
    """Limit the event rate: keep the first events of each time window.

    A window keeps floor(rate_hz window_us / 10^6) events at most. Windows begin at multiples of
    `window_us`. Nothing is held back. `EvenRateLimit` spreads the kept events over the window.
    """

    def start(self, size: Size) -> Blockwise:
        """Return the step of one pass."""
        state = np.zeros(2, np.int64)  # end of the current window, and its events so far
        begun = False

        def first_ones(events: Events) -> Events:
            from dvskit.filters.select_kernels import first_of_windows

            nonlocal begun
            if not len(events):
                return events
            if not begun:
                begun, state[0] = True, events.t[0]
            keep = np.empty(len(events), np.bool_)
            first_of_windows(columns(events)[0], self.window_us, self.most, state, keep)
            return select(events, keep)

        return Blockwise(first_ones, size)


@check_arguments
@dataclass(frozen=True, slots=True)
class EvenRateLimit(_RateLimit):
    """Limit the event rate: keep events spread evenly over each time window.

    A window keeps floor(rate_hz window_us / 10^6) events at most, called n here: of N events, event
    j is kept if floor((j + 1) n / N) > floor(j n / N). Windows begin at multiples of `window_us`; a
    window is held back until it is over.
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
        from dvskit.filters.select_kernels import evenly_of_windows

        events = Events.concatenate(blocks, size=self.size)
        keep = np.empty(len(events), np.bool_)
        evenly_of_windows(columns(events)[0], self._window_us, self._most, keep)
        kept = select(events, keep)
        self.dropped += len(events) - len(kept)
        return kept
