"""Latency: events that leave the sensor later than they happen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.params import EmulatorParams
from dvskit.emulator.random_kernels import normals
from dvskit.events import Events, Size

_JITTER = 103  # stream of random numbers


class Delay:
    """Delays events by latency_us and a random part of it, and keeps them in order of time.

    Events are held back until no later one can be ahead of them.
    """

    def __init__(self, params: EmulatorParams, size: Size, seed: int) -> None:
        self._latency_us, self._jitter_us = params.latency_us, params.jitter_us
        self._seed, self._count = seed, 0
        self._held = Events.empty(size), np.empty(0, np.bool_)

    def push(
        self, events: Events, noise: NDArray[np.bool_], t_us: int
    ) -> tuple[Events, NDArray[np.bool_]]:
        """Take the events up to t_us; return those that have left the sensor by then."""
        if not self._latency_us and not self._jitter_us:
            return events, noise
        if len(noise) != len(events):  # nobody asked for labels
            noise = np.zeros(len(events), np.bool_)
        t = events.t + self._delays(len(events))
        held, held_noise = self._held
        joined = np.concatenate([held.t, t])
        order = np.argsort(joined, kind="stable")
        everything = Events.from_checked(
            joined[order],
            np.concatenate([held.x, events.x])[order],
            np.concatenate([held.y, events.y])[order],
            np.concatenate([held.p, events.p])[order],
            events.size,
        )
        labels = np.concatenate([held_noise, noise])[order]
        done = int(np.searchsorted(everything.t, t_us))
        self._held = everything[done:], labels[done:]
        return everything[:done], labels[:done]

    def rest(self) -> tuple[Events, NDArray[np.bool_]]:
        """Return the events that are held back."""
        rest = self._held
        self._held = rest[0][:0], rest[1][:0]
        return rest

    def _delays(self, count: int) -> NDArray[np.int64]:
        delays = np.full(count, self._latency_us, np.float64)
        if self._jitter_us:
            drawn = np.empty(count)
            normals(self._seed, _JITTER, self._count, drawn)
            delays += self._jitter_us * drawn
        self._count += count
        return np.maximum(0, np.rint(delays)).astype(np.int64)
