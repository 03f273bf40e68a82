"""Events dropped, moved and added at random, drawn by event index."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_number, check_seed, checked, checked_dataclass
from dvskit.errors import EventsError
from dvskit.events import Events, Size
from dvskit.filters.base import (
    Blockwise,
    CallableFilter,
    Columns,
    Step,
    columns,
    in_parts,
    room,
    select,
)

REACH = 5  # cut, in standard deviations; normally 6 in 10 million lie beyond
_PIECE = 1 << 17  # events sorted at once
_LONGEST_JITTER_US = 100_000.0
_MOST = 200_000_000  # events added at once


@checked_dataclass(frozen=True, slots=True)
class DropEvents(CallableFilter):
    """Drop each event with the probability `share`, drawn by event index from `seed`.

    The same seed drops the same events, for any blocks of the stream.

        events = dvskit.load_events("events.raw")
        fewer = dvskit.filters.DropEvents(0.9, seed=1)(events)    # about a tenth of the events
    """

    share: float = checked(check_number, 0, 1)
    seed: int = checked(check_seed, default=0)

    def start(self, size: Size) -> Blockwise:
        """Return the step of one pass."""
        seen = 0

        def left(events: Events) -> Events:
            from dvskit.filters.chance_kernels import kept_by_chance

            nonlocal seen
            keep = np.empty(len(events), np.bool_)
            share = float(self.share)
            in_parts(
                lambda at: kept_by_chance(self.seed, 0, seen + at.start, share, keep[at]),
                len(events),
            )
            seen += len(events)
            return select(events, keep)

        return Blockwise(left, size)


@dataclass(frozen=True, slots=True)
class SpatialJitter(CallableFilter):
    """Move each event in x and in y by a normally distributed number of pixels.

    The numbers are drawn from `seed` by event index, rounded to whole pixels and cut at five
    standard deviations. Events that leave the sensor are dropped and counted.

    std_px  the standard deviation

        events = dvskit.load_events("events.raw")
        blurred = dvskit.filters.SpatialJitter(std_px=1.5, seed=2)(events)
    """

    std_px: float = checked(check_number, 0, 1000, default=1.0)
    seed: int = checked(check_seed, default=0)

    def start(self, size: Size) -> Blockwise:
        """Return the step of one pass."""
        seen, table = 0, _normal_table(self.std_px)

        def moved(events: Events) -> Events:
            from dvskit.filters.chance_kernels import jitter_pixels

            nonlocal seen
            t, x, y, p = columns(events)
            _, out_x, out_y, keep = room(len(events))

            def move(at: slice) -> None:
                jitter_pixels(
                    (self.seed, seen + at.start), (size.width, size.height), table,
                    (x[at], y[at]), (out_x[at], out_y[at], keep[at]),
                )  # fmt: skip

            in_parts(move, len(events))
            seen += len(events)
            return select(Events.from_checked(t, out_x, out_y, p, size), keep)

        return Blockwise(moved, size)


@checked_dataclass(frozen=True, slots=True)
class TemporalJitter(CallableFilter):
    """Move each event in time by a normally distributed number of microseconds, and sort.

    The numbers are drawn from `seed` by event index and cut at five standard deviations. Events are
    held back until no earlier one can follow. Events of the same time keep their order. Events that
    move from time 0 or later to before 0 are dropped and counted.

    std_us  the standard deviation

        events = dvskit.load_events("events.raw")
        jittered = dvskit.filters.TemporalJitter(std_us=200, seed=2)(events)
        np.all(np.diff(jittered.t) >= 0)    # True
    """

    std_us: float = checked(check_number, 0, _LONGEST_JITTER_US)
    seed: int = checked(check_seed, default=0)

    def start(self, size: Size) -> TemporalJitterStep:
        """Return the step of one pass."""
        return TemporalJitterStep(self, size)


def _normal_table(std: float) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Return an alias table (see `alias_of`) that draws integers near a normal random number.

    Entry k means k - reach, of 2 reach + 1 entries.
    """
    from dvskit.filters.chance_kernels import alias_of

    reach = math.ceil(REACH * std)
    edges = np.arange(-reach, reach + 2) - 0.5
    scale = max(std, 1e-9) * math.sqrt(2)
    weights = np.diff([math.erfc(-edge / scale) for edge in edges])
    chance, other = np.zeros(len(weights), np.uint64), np.zeros(len(weights), np.int32)
    alias_of(weights, chance, other)
    return chance, other


class TemporalJitterStep(Step):
    """A pass of a `TemporalJitter`."""

    def __init__(self, jitter: TemporalJitter, size: Size) -> None:
        super().__init__(size)
        self._seed, self._table = jitter.seed, _normal_table(jitter.std_us)
        self._seen = 0
        self._held = Events.empty(size)  # sorted
        self._new: list[Columns] = []  # later than those, not yet sorted
        self._waiting = 0

    def __call__(self, events: Events) -> Events:
        """Return the sorted events that no later input can precede."""
        given = [
            self._moved(events[start : start + _PIECE]) for start in range(0, len(events), _PIECE)
        ]
        return Events.concatenate(given, size=self.size)

    def finish(self) -> Events:
        """Return the remaining events."""
        return self._sorted()

    def _moved(self, events: Events) -> Events:
        from dvskit.filters.chance_kernels import jitter_times

        t, x, y, p = columns(events)
        out_t, keep = np.empty_like(t), np.empty(len(t), np.bool_)
        jitter_times((self._seed, self._seen), self._table, t, out_t, keep)
        self._seen += len(t)
        if not keep.all():
            self.dropped += len(t) - int(np.count_nonzero(keep))
            out_t, x, y, p = out_t[keep], x[keep], y[keep], p[keep]
        self._new.append((out_t, x.copy(), y.copy(), p.copy()))  # the caller may change its arrays
        self._waiting += len(out_t)
        if 4 * self._waiting < len(self._held):  # sorting for few events at a time would be slow
            return Events.empty(self.size)
        known = self._sorted()
        sure = int(np.searchsorted(known.t, t[-1] - len(self._table[0]) // 2, "right"))
        self._held = known[sure:].copy()
        return known[:sure]

    def _sorted(self) -> Events:
        from dvskit.filters.event_kernels import order_of, take

        held = self._held
        parts = [(held.t, held.x, held.y, held.p), *self._new]
        t, x, y, p = (np.concatenate(each) for each in zip(*parts, strict=True))
        self._held, self._new, self._waiting = Events.empty(self.size), [], 0
        order = np.empty(len(t), np.int64)
        if len(t) and not order_of(t, order):
            order = np.argsort(t, kind="stable")
        out = room(len(t))
        take(order, (t, x, y, p), out)
        return Events.from_checked(*out, self.size)


@dataclass(frozen=True, slots=True)
class Noise(CallableFilter):
    """Add noise events at `hz` per second and pixel, from the first event to the last.

    A Poisson process: exponential gaps; pixel and polarity are drawn from `seed` by index of the
    noise event. Noise comes before events of the same time. `step.added` counts it. Raises
    EventsError for gaps between events that would hold hundreds of millions.

    on_share  the share of ON events

        events = dvskit.load_events("events.raw")
        noisy = dvskit.filters.Noise(hz=0.5, seed=3)(events)
        len(noisy) - len(events)    # about 0.5 / s x 128 x 128 pixels x 2 s
    """

    hz: float = checked(check_number, 0, 1e6, default=0.1)
    on_share: float = checked(check_number, 0, 1, default=0.5)
    seed: int = checked(check_seed, default=0)

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
        self._next_us = 0.0  # after the first event

    def __call__(self, events: Events) -> Events:
        """Return the events merged with the noise up to the last of them."""
        from dvskit._random_kernels import uniform
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
        drawing, size = (self._noise.seed, self.added), (self.size.width, self.size.height)
        merge_noise(drawing, float(self._noise.on_share), size, times, columns(events), out)
        self.added += len(times)
        return Events.from_checked(*out, self.size)

    def _times(self, stop_us: int) -> NDArray[np.int64]:
        """Return the times of the noise from the first event to `stop_us`."""
        from dvskit.filters.chance_kernels import noise_times

        found: list[NDArray[np.int64]] = []
        count = 0
        while self._next_us < stop_us + 1:
            expected = (stop_us + 1 - self._next_us) / self._gap_us
            if count + expected > _MOST:
                raise EventsError(
                    f"Noise: {expected:,.0f} events would be added at once, up to "
                    f"{(self._origin or 0) + stop_us} us; reduce hz, or cut the gap"
                )
            times = np.empty(int(expected + 4 * math.sqrt(expected) + 16), np.int64)
            more, self._next_us = noise_times(
                self._noise.seed, self.added + count, self._next_us, self._gap_us, stop_us, times
            )
            count += more
            found.append(times[:more])
        return np.concatenate(found) if found else np.empty(0, np.int64)
