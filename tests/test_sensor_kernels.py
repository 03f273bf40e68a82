"""The loops of the sensor: crossings, their order and elementary functions, by plain Python."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from dvskit.emulator.levels import UNIT, Crossings
from dvskit.emulator.sensor.pixels import kernel
from dvskit.emulator.sensor.signal_kernels import closer, curve, exp, greater, lesser, log, turns
from dvskit.events import as_size
from tests.laws import on_threads

# ---- the order of events


@pytest.mark.parametrize(
    ("count", "instants", "parts", "threads", "labeled"),
    [
        (1, 1, 1, 1, False),
        (63, 5, 3, 1, True),
        (900, 1, 3, 3, False),
        (63, 100_000, 3, 1, True),  # so long an interval that the events are sorted
        (70_000, 2000, 3, 3, True),  # more events than one thread sorts
    ],
)
def test_events_of_the_same_time_are_put_in_order_of_pixels_and_those_of_one_stay(
    count, instants, parts, threads, labeled
):
    rng = np.random.default_rng(count)
    times = [rng.integers(0, instants, count).astype(np.int32) for _ in range(parts)]
    pixels = [100 * part + rng.integers(0, 40, count) for part in range(parts)]
    marks = [4 * pixel + rng.integers(0, 4, count) for pixel in pixels]
    made = Crossings(as_size((20, 15)), 50, instants, times, marks, by_pixel=False)
    with on_threads(threads):
        events, noise = made.events(labeled=labeled)
    times, marks = np.concatenate(times), np.concatenate(marks)
    order = np.lexsort((marks >> 2, times))
    assert np.array_equal(events.t, 50 + times[order])
    assert np.array_equal(20 * events.y.astype(int) + events.x, marks[order] >> 2)
    assert np.array_equal(events.p, (marks[order] & 1) != 0)
    assert not labeled or np.array_equal(noise, (marks[order] & 2) != 0)


# ---- when a signal crosses a level


def root(signal, two, low, at_low, high, at_high, level):
    """Close in on a crossing from the chord on, as the rounds do."""
    t = low + (high - low) * (level - at_low) / (at_high - at_low)
    for _ in range(80):
        t, low, high, near = closer(signal, two, (t, low, high), at_high > at_low, level)
        if near:
            return t
    raise AssertionError("no end of it")


def slow_root(f, low, high, level):
    rising = f(high) > f(low)
    for _ in range(100):
        middle = 0.5 * (low + high)
        if (f(middle) > level) == rising:
            high = middle
        else:
            low = middle
    return 0.5 * (low + high)


@pytest.mark.parametrize("follower", [False, True])
def test_crossings_are_within_a_thousandth_of_a_microsecond_of_the_root(follower):
    rng = np.random.default_rng(8)
    checked = 0
    while checked < 150:
        end = 10.0 ** rng.uniform(1, 6)
        tau1, tau2 = 10.0 ** rng.uniform(0, 5, 2)
        level0, level1, v, u = rng.uniform(0, 5.5, 4) * UNIT
        parts = curve(level0, (level1 - level0) / end, v, u, tau1, tau2 if follower else 0.0)
        a, b, c1, k1, c2, k2 = parts

        def signal(t, parts=parts):
            a, b, c1, k1, c2, k2 = parts
            return a + b * t + c1 * math.exp(-k1 * t) + c2 * math.exp(-k2 * t)

        kept = math.exp(-k1 * end), math.exp(-k2 * end) if c2 else 0.0
        ends = [0.0, *sorted({*turns((b, c1, k1, c2, k2), end, *kept), end})]
        for low, high in itertools.pairwise(ends):
            at_low, at_high = signal(low), signal(high)
            if abs(at_high - at_low) < 0.001 * UNIT:
                continue
            level = at_low + rng.uniform(0.001, 0.999) * (at_high - at_low)
            found = root((a, b, c1, k1, c2, k2), follower > 0, low, at_low, high, at_high, level)
            assert abs(found - slow_root(signal, low, high, level)) < 1e-3
            checked += 1


# ---- elementary functions


def spread(low, high, count=401):
    """Numbers of a range, and others between them at random."""
    drawn = np.random.default_rng(0).uniform(low, high, count)
    return np.concatenate([np.linspace(low, high, count), drawn])


@pytest.mark.parametrize(("low", "high"), [(-700, 0), (-1, 1), (-1e-6, 1e-6), (0, 700)])
def test_exp_is_exp(low, high):
    for x in spread(low, high):
        assert exp(x) == pytest.approx(math.exp(x), rel=1e-14 * max(1, abs(low), abs(high)))


def test_exp_of_numbers_far_below_zero_is_next_to_nothing():
    assert 0 <= exp(-1e300) == exp(-701.0) < 1e-300
    assert exp(0.0) == 1.0


@pytest.mark.parametrize(("low", "high"), [(-600, 600), (-1, 1), (-1e-6, 1e-6)])
def test_log_is_log(low, high):
    numbers = np.exp(spread(low, high))
    most = 1e-14 * max(abs(low), abs(high))
    for x in numbers:
        assert log(x) == pytest.approx(math.log(x), rel=1e-9, abs=0)
        assert abs(log(x) - math.log(x)) <= most


@kernel
def both(a, b):
    return lesser(a, b), greater(a, b)


def test_the_lesser_and_the_greater_are_those_of_python():
    for a, b in itertools.product([-3.0, 2.0, 1e300, -1.5], repeat=2):
        assert both(a, b) == (min(a, b), max(a, b))
    assert both(-3, 2.5) == (-3.0, 2.5)
