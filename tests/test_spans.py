"""Spans in loops are the arrays that they are taken of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numba.core.errors import TypingError

from dvskit.emulator.sensor.compiled import greater, inner, kernel, lesser, spans


class Pair(NamedTuple):
    given: np.ndarray
    found: np.ndarray


@inner
def _copy(given, found):
    for i in range(given.size):
        found[i] = given[i]
    return given.size


@kernel
def copy_part(pair, low, high):
    pair = spans(pair)
    return _copy(pair.given[low:high], pair.found[low:])


@kernel
def take(values, places, found):
    values, places, found = spans(values), spans(places), spans(found)
    for i in range(places.size):
        found[i] = values[places[i]]


@kernel
def both(a, b):
    return lesser(a, b), greater(a, b)


@pytest.mark.slow
@pytest.mark.parametrize(
    "dtype", ["uint8", "int32", "int64", "uint64", "float32", "float64", "bool"]
)
@pytest.mark.parametrize(("low", "high"), [(0, 9), (2, 7), (3, 3), (4, 99)])
def test_a_part_of_a_span_is_that_of_the_array(dtype, low, high):
    given = np.arange(9).astype(dtype)
    found = np.zeros(9, dtype)
    assert copy_part(Pair(given, found), low, high) == given[low:high].size
    wanted = np.zeros(9, dtype)
    wanted[low:high] = given[low:high]
    np.testing.assert_array_equal(found, wanted)


def test_a_named_tuple_holds_spans_of_its_own_types():
    given, found = np.array([1.5, -2.5]), np.zeros(2, np.int32)
    assert copy_part(Pair(given, found), 0, 2) == 2
    assert found.tolist() == [1, -2]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "uint64"])
def test_places_of_every_type_are_counted_from_0(dtype):
    values, found = np.arange(300.0) ** 2, np.zeros(3)
    places = np.array([0, 7, 200]).astype(dtype)
    take(values, places, found)
    assert found.tolist() == [0.0, 49.0, 40_000.0]


def test_elements_that_are_not_side_by_side_are_refused():
    with pytest.raises(TypingError, match="contiguous elements"):
        copy_part(Pair(np.zeros(8)[::2], np.zeros(4)), 0, 4)


@pytest.mark.slow
def test_the_lesser_and_the_greater_are_those_of_python():
    some = [-3, 2, 0, -1.5, 2.0, np.float32(0.1), 1e300]
    for a in some:
        for b in some:
            assert both(a, b) == (min(float(a), float(b)), max(float(a), float(b)))
    assert isinstance(both(1, 2)[0], int)
