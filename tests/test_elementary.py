"""Elementary functions of the sensor's kernels, by those of Python."""

import math

import numpy as np
import pytest

from dvskit.emulator.sensor.pixels import kernel
from dvskit.emulator.sensor.signal_kernels import exp, greater, lesser, log


@kernel
def each_exp(numbers, found):
    for i in range(numbers.size):
        found[i] = exp(numbers[i])


@kernel
def each_log(numbers, found):
    for i in range(numbers.size):
        found[i] = log(numbers[i])


def spread(low, high, count=10_001):
    """Numbers of a range, and others between them at random."""
    drawn = np.random.default_rng(0).uniform(low, high, count)
    return np.concatenate([np.linspace(low, high, count), drawn])


@pytest.mark.parametrize(("low", "high"), [(-700, 0), (-1, 1), (-1e-6, 1e-6), (0, 700)])
def test_exp_is_exp(low, high):
    numbers = spread(low, high)
    found = np.empty_like(numbers)
    each_exp(numbers, found)
    true = np.array([math.exp(x) for x in numbers])
    assert np.abs(found / true - 1).max() < 1e-14 * max(1, abs(low), abs(high))


def test_exp_of_numbers_far_below_zero_is_next_to_nothing():
    assert 0 <= exp(-1e300) == exp(-701.0) < 1e-300
    assert exp(0.0) == 1.0


@pytest.mark.parametrize(("low", "high"), [(-600, 600), (-1, 1), (-1e-6, 1e-6)])
def test_log_is_log(low, high):
    numbers = np.exp(spread(low, high))
    found = np.empty_like(numbers)
    each_log(numbers, found)
    true = np.array([math.log(x) for x in numbers])
    assert np.abs(found - true).max() <= 1e-14 * np.abs(true).max()
    apart = true != 0
    assert np.abs(found[apart] / true[apart] - 1).max() < 1e-9


def test_many_at_a_time_are_the_same_bits_as_one_by_one():
    numbers = spread(-50, 5, 1000)
    found = np.empty_like(numbers)
    each_exp(numbers, found)
    assert found.tobytes() == np.array([exp(x) for x in numbers]).tobytes()
    above = np.exp(numbers)
    each_log(above, found)
    assert found.tobytes() == np.array([log(x) for x in above]).tobytes()


@kernel
def both(a, b):
    return lesser(a, b), greater(a, b)


@pytest.mark.slow
def test_the_lesser_and_the_greater_are_those_of_python():
    some = [-3, 2, 0, -1.5, 2.0, np.float32(0.1), 1e300]
    for a in some:
        for b in some:
            assert both(a, b) == (min(float(a), float(b)), max(float(a), float(b)))
    assert isinstance(both(1, 2)[0], int)
