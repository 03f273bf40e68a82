"""Crossings of a line, and scores of objects."""

from __future__ import annotations

import numpy as np
import pytest

from dvskit.errors import ConfigError, ShapeError
from dvskit.events import Events
from dvskit.tracking import OBJECT_ROW, LineCounter, count_crossings, score_tracks
from tests.laws import refused

DOWN = ((50.0, 0.0), (50.0, 100.0))  # a line along the y axis, looked along downwards


def path(places, number=0, start=0):
    rows = np.zeros(len(places), OBJECT_ROW)
    rows["id"] = number
    rows["t"] = 10_000 * (start + np.arange(len(places)))
    rows["x"], rows["y"] = np.array(places, float).T
    return rows


@pytest.mark.parametrize(
    ("x", "y", "to_left", "to_right"),
    [
        ([60, 52, 40], 20, 0, 1),  # to the right of one who looks down the picture
        ([40, 60], 30, 1, 0),
        ([41, 51, 48, 52.9, 47.1, 51, 59], 20, 1, 0),  # jitter on the line
        ([41, 52, 48, 41], 20, 0, 0),
        ([40, 60, 40, 60], 20, 2, 1),
        ([40, 60], 120, 0, 0),  # beyond the end
        ([40, 60], -20, 0, 0),
    ],
)
def test_crossings_count_by_direction_within_the_ends_of_the_line(x, y, to_left, to_right):
    other = path([(10, 5), (12, 6)], 1)
    counter = count_crossings(np.concatenate([path([(each, y) for each in x]), other]), DOWN)
    assert (counter.to_left, counter.to_right) == (to_left, to_right)


def test_the_place_of_a_crossing_is_on_the_line():
    crossing = LineCounter(DOWN)(path([(40, 30), (60, 34)]))
    assert crossing.tolist() == [(0, 10_000, 50.0, 32.0, False)]


def test_crossings_do_not_depend_on_the_blocks_of_rows():
    rows = path([(50 + 20 * np.sin(k / 5), 20 + k / 9) for k in range(200)])
    counter, whole = LineCounter(DOWN), LineCounter(DOWN)
    parts = np.concatenate([counter(part) for part in np.array_split(rows, 23)])
    np.testing.assert_array_equal(parts, whole(rows))
    assert (counter.to_left, counter.to_right) == (whole.to_left, whole.to_right)
    assert whole.to_left > 3


@pytest.mark.parametrize("line", [((0, 0), (0, 0)), ((0, 0),), "x", ((0, np.nan), (1, 1))])
def test_a_line_of_no_length_and_a_margin_below_0_are_errors(line):
    with refused(ConfigError, repr(line)):
        LineCounter(line)
    with refused(ConfigError, "margin_px = -1"):
        LineCounter(DOWN, margin_px=-1)


@pytest.mark.parametrize("other", [np.zeros(3), Events.empty((9, 9)), [(1, 2)]])
def test_other_arrays_than_rows_are_an_error(other):
    with refused(ShapeError, type(other).__name__):
        count_crossings(other, DOWN)
    with refused(ShapeError, type(other).__name__):
        score_tracks(path([(1, 1)]), other)


def test_scores_of_perfect_rows():
    truth = np.concatenate([path([(k, 9 + 40 * n) for k in range(20)], n) for n in (0, 1)])
    scores = score_tracks(truth, truth)
    assert (scores.rmse_px, scores.idf1, scores.swaps, scores.misses) == (0, 1, 0, 0)
    assert (scores.false_places, scores.false_ids, scores.matched) == (0, 0, 40)
    rows = truth.copy()  # a swap counts for both and halves idf1
    late = rows["t"] >= 100_000
    rows["id"][late] = 1 - rows["id"][late]
    scores = score_tracks(rows, truth)
    assert (scores.swaps, scores.misses) == (2, 0)
    assert scores.idf1 == pytest.approx(0.5)


def test_missed_false_and_hidden_places_are_counted_apart():
    truth = path([(k, 9) for k in range(10)])
    rows = np.concatenate(
        [path([(k, 12) for k in range(6)], 7), path([(k, 60) for k in range(4)], 8)]
    )
    scores = score_tracks(rows, truth)
    assert (scores.misses, scores.false_places, scores.false_ids) == (4, 4, 1)
    assert scores.rmse_px == pytest.approx(3)
    assert scores.idf1 == pytest.approx(2 * 6 / (10 + 10))
    hidden = path([(k, 61) for k in range(4)], 1)
    scores = score_tracks(rows, truth, hidden=hidden)
    assert scores.false_places == 0
    assert scores.idf1 == pytest.approx(2 * 6 / (6 + 10))
    nothing = score_tracks(rows[:0], path([(1, 1)]))
    assert np.isnan(nothing.rmse_px)
    assert (nothing.idf1, nothing.misses) == (0, 1)
