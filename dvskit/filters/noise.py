"""Events added at random."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import EventsError
from dvskit.events import Events, Size
from dvskit.filters.base import CallableFilter, Step
from dvskit.filters.parameters import check_number, check_seed
from dvskit.filters.selecting import columns, room

_MOST = 200_000_000  # events added at once


@dataclass(frozen=True, slots=True)
class Noise(CallableFilter):
    """Add events that every pixel has alike, at `hz` a second, from the first event to the last.

    A Poisson process: exponential gaps, and a pixel and a polarity for each, drawn for its number.
    Noise stands ahead of events of the same time. The step counts what it adds: `step.added`.
    Raises EventsError where the events leave a gap that would hold hundreds of millions.
    """

    hz: float = 0.1
    on_share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        check_number(self, "hz", 0, 1e6)
        check_number(self, "on_share", 0, 1)
        check_seed(self)

    def start(self, size: Size) -> NoiseStep:
        """Return the step of one pass."""
        return NoiseStep(self, size)


class NoiseStep(Step):
    """A pass of a `Noise`."""

    def __init__(self, noise: Noise, size: Size) -> None:
        super().__init__(size)
        self._noise = noise
        rate = noise.hz * size.width * size.height * 1e-6
        self._gap_us = 1 / rate if rate > 1e-12 else math.inf
        self._origin: int | None = None
        self._next_us = 0.0  # behind the first event

    def __call__(self, events: Events) -> Events:
        """Return the events with the noise up to the last of them."""
        from dvskit.emulator.random_kernels import uniform
        from dvskit.filters.chance_kernels import merge_noise

        if not len(events) or math.isinf(self._gap_us):
            return events
        if self._origin is None:
            self._origin = int(events.t[0])
            self._next_us = -math.log(uniform(self._noise.seed, 4, 0, 0)) * self._gap_us
        times = self._times(int(events.t[-1]) - self._origin) + self._origin
        if not len(times):
            return events
        out = room(len(events) + len(times))
        merge_noise(self._noise.seed, self.added, float(self._noise.on_share), *self.size, times,
                    *columns(events), *out)  # fmt: skip
        self.added += len(times)
        return Events.from_checked(*out, self.size)

    def _times(self, stop_us: int) -> NDArray[np.int64]:
        """Return the times of the noise up to `stop_us`, from the first event on."""
        from dvskit.filters.chance_kernels import noise_times

        found: list[NDArray[np.int64]] = []
        count = 0
        while self._next_us < stop_us + 1:
            expected = (stop_us + 1 - self._next_us) / self._gap_us
            if count + expected > _MOST:
                raise EventsError(
                    f"Noise: {expected:,.0f} events would be added at once, up to "
                    f"{(self._origin or 0) + stop_us} us; give less noise, or cut the gap"
                )
            times = np.empty(int(expected + 4 * math.sqrt(expected) + 16), np.int64)
            more, self._next_us = noise_times(
                self._noise.seed, self.added + count, self._next_us, self._gap_us, stop_us, times
            )
            count += more
            found.append(times[:more])
        return np.concatenate(found) if found else np.empty(0, np.int64)
