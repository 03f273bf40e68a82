"""From the pixels' crossings to the events that leave the sensor: latency, and the readout."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._random_kernels import normals
from dvskit.emulator.level_kernels import read_out
from dvskit.emulator.params import EmulatorParams
from dvskit.errors import count_of
from dvskit.events import Events, Size

_JITTER = 103  # stream of random numbers

Labelled = tuple[Events, NDArray[np.bool_]]
"""Events with a label each: True for noise."""


class _Queue:
    """Events in order of time, held back until no later one can precede them."""

    def __init__(self, size: Size) -> None:
        self._held: Labelled = Events.empty(size), np.empty(0, np.bool_)

    def push(
        self, events: Events, noise: NDArray[np.bool_], t: NDArray[np.int64], until_us: int | None
    ) -> Labelled:
        """Take events at other times `t`; return those before until_us, all for None."""
        held, labels = self._held
        before: tuple[NDArray[Any], ...] = held.t, held.x, held.y, held.p, labels
        new: tuple[NDArray[Any], ...] = t, events.x, events.y, events.p, noise
        t, x, y, p, labels = (np.concatenate(pair) for pair in zip(before, new, strict=True))
        order = np.argsort(t, kind="stable")
        labels = labels[order]
        whole = Events.from_checked(t[order], x[order], y[order], p[order], events.size)
        done = len(t) if until_us is None else int(np.searchsorted(whole.t, until_us))
        self._held = whole[done:], labels[done:]
        return whole[:done], labels[:done]


class SensorReadout:
    """Delays events by latency_us and a random part of it, and reads them at a limited rate.

    lost             events of pixels that were still waiting for the readout
    longest_wait_us  of an event for the readout
    """

    def __init__(self, params: EmulatorParams, size: Size, seed: int) -> None:
        self._params, self._seed, self._count = params, seed, 0
        self._late, self._waiting = _Queue(size), _Queue(size)
        self.lost, self.read, self.longest_wait_us = 0, 0, 0.0
        self._free = 0.0
        self._limited = bool(params.readout_hz or params.scan_us)
        self._ready = np.full(size.width * size.height if self._limited else 0, -np.inf)

    def push(self, events: Events, noise: NDArray[np.bool_], t_us: int | None) -> Labelled:
        """Take the events up to t_us; return those that have left the sensor by then.

        None ends the pass: all leave.
        """
        delayed = self._params.latency_us or self._params.jitter_us
        if not delayed and not self._limited:
            return events, noise
        if len(noise) != len(events):  # no labels requested
            noise = np.zeros(len(events), np.bool_)
        if delayed:
            later = events.t + self._delays(len(events))
            events, noise = self._late.push(events, noise, later, t_us)
        if not self._limited:
            return events, noise
        return self._waiting.push(*self._read(events, noise), t_us)

    def note(self) -> str:
        """Return what the readout lost as text, an empty one for nothing."""
        if not self.lost:
            return ""
        share = 100 * self.lost / (self.lost + self.read)
        return (
            f"the readout lost {count_of(self.lost, 'event')} ({share:.2g} %) of pixels that "
            f"waited for it, up to {self.longest_wait_us:,.0f} us"
        )

    def _read(
        self, events: Events, noise: NDArray[np.bool_]
    ) -> tuple[Events, NDArray[np.bool_], NDArray[np.int64]]:
        rate = self._params.readout_hz
        rule = self._free, 1e6 / rate if rate else 0.0, float(self._params.scan_us)
        pixel = events.y.astype(np.int64) * events.size.width + events.x
        out = np.empty(len(events), np.int64)
        self._free, wait = read_out(events.t, pixel, self._ready, rule, out)
        kept = out >= 0
        self.longest_wait_us = max(self.longest_wait_us, wait)
        self.read += int(kept.sum())
        self.lost += len(events) - int(kept.sum())
        return events[kept], noise[kept], out[kept]

    def _delays(self, count: int) -> NDArray[np.int64]:
        delays = np.full(count, self._params.latency_us, np.float64)
        if self._params.jitter_us:
            drawn = np.empty(count)
            normals(self._seed, _JITTER, self._count, drawn)
            delays += self._params.jitter_us * drawn
        self._count += count
        return np.maximum(0, np.rint(delays)).astype(np.int64)
