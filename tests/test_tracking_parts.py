"""Crossings of a line, mean shift, and scores of objects."""

from __future__ import annotations

import numpy as np
import pytest

from dvskit import emulate
from dvskit.errors import ConfigError, ShapeError
from dvskit.events import Events
from dvskit.scenes import DiscScene, MovingShape
from dvskit.tracking import OBJECT_ROW, LineCounter, MeanShift, count_crossings, score_tracks, track

DOWN = ((50.0, 0.0), (50.0, 100.0))  # a line along the y axis, looked along downwards


def path(places, number=0, start=0):
    rows = np.zeros(len(places), OBJECT_ROW)
    rows["id"] = number
    rows["t"] = 10_000 * (start + np.arange(len(places)))
    rows["x"], rows["y"] = np.array(places, float).T
    return rows


def test_crossings_count_by_direction_once_an_object():
    right = path([(60, 20), (52, 20), (40, 20)])  # to the right of one who looks down the picture
    left = path([(40, 30), (60, 34)], 1)
    counter = count_crossings(np.concatenate([right, left]), DOWN)
    assert (counter.to_left, counter.to_right) == (1, 1)


def test_the_place_of_a_crossing_is_on_the_line():
    crossing = LineCounter(DOWN)(path([(40, 30), (60, 34)]))
    assert crossing.tolist() == [(0, 10_000, 50.0, 32.0, False)]


def test_jitter_on_the_line_counts_once():
    jitter = [(50 + d, 20) for d in (-9, 1, -2, 2.9, -2.9, 1, 9)]
    counter = count_crossings(path(jitter), DOWN)
    assert (counter.to_left, counter.to_right) == (1, 0)
    assert count_crossings(path([(50 + d, 20) for d in (-9, 2, -2, -9)]), DOWN).to_left == 0


def test_an_object_that_comes_back_counts_in_both_directions():
    counter = count_crossings(path([(40, 20), (60, 20), (40, 20), (60, 20)]), DOWN)
    assert (counter.to_left, counter.to_right) == (2, 1)


def test_who_passes_beyond_the_ends_does_not_cross():
    counter = count_crossings(path([(40, 120), (60, 120)]), DOWN)
    assert (counter.to_left, counter.to_right) == (0, 0)


def test_crossings_do_not_depend_on_the_blocks_of_rows():
    rows = path([(50 + 20 * np.sin(k / 5), 20 + k / 9) for k in range(200)])
    counter = LineCounter(DOWN)
    parts = np.concatenate([counter(part) for part in np.array_split(rows, 23)])
    whole = LineCounter(DOWN)
    np.testing.assert_array_equal(parts, whole(rows))
    assert (counter.to_left, counter.to_right) == (whole.to_left, whole.to_right)
    assert whole.to_left > 3


@pytest.mark.parametrize("line", [((0, 0), (0, 0)), ((0, 0),), "x", ((0, np.nan), (1, 1))])
def test_a_line_of_no_length_is_an_error(line):
    with pytest.raises(ConfigError, match="two points apart"):
        LineCounter(line)


def disc_events():
    shape = MovingShape((0, 500_000), ((20, 20), (80, 44)), 14, 14, 0.9)
    drawn = DiscScene([shape], size=(96, 64), fps=250, duration_us=500_000)
    return shape, emulate(drawn).load()


@pytest.mark.parametrize("other", [np.zeros(3), Events.empty((9, 9)), [(1, 2)]])
def test_other_arrays_than_rows_are_an_error(other):
    with pytest.raises(ShapeError, match="without the fields id, t, x and y; pass the rows of"):
        count_crossings(other, DOWN)
    with pytest.raises(ShapeError, match="without the fields id, t, x and y; pass the rows of"):
        score_tracks(path([(1, 1)]), other)


def test_mean_shift_follows_a_disc():
    shape, events = disc_events()
    rows = track(events, MeanShift(bandwidth_px=12))
    assert rows.dtype == OBJECT_ROW
    for row in rows[10:]:
        middle = shape.place(row["t"] - 5_000)  # of the window
        assert np.hypot(row["x"] - middle[0], row["y"] - middle[1]) < 1.5
    assert len(rows) > 40


@pytest.mark.parametrize("count", [1, 333])
def test_mean_shift_does_not_depend_on_the_blocks(count):
    _, events = disc_events()
    method = MeanShift((20, 20), 12)
    step = method.start(events.size)
    rows = [step(block) for block in events.blocks(count=count)]
    np.testing.assert_array_equal(np.concatenate([*rows, step.finish()]), track(events, method))


def test_mean_shift_stands_still_without_events():
    _, events = disc_events()
    late = Events(t=[900_000], x=[1], y=[1], p=[True], size=events.size)
    rows = track(Events.concatenate([events, late]), MeanShift())
    rest = rows[rows["t"] > 510_000]
    assert len(rest) == 40
    assert not rest["seen"].any()
    assert len(set(rest["x"])) == 1


def test_mean_shift_without_events_has_no_rows():
    assert not len(track(Events.empty((9, 9)), MeanShift()))
    with pytest.raises(ConfigError, match="start_px"):
        MeanShift((1, np.nan))


def test_scores_of_perfect_rows():
    truth = np.concatenate([path([(k, 9) for k in range(20)], n) for n in (3, 5)])
    truth["y"] += 40 * (truth["id"] == 5)
    scores = score_tracks(truth, truth)
    assert (scores.rmse_px, scores.idf1, scores.swaps, scores.misses) == (0, 1, 0, 0)
    assert (scores.false_places, scores.false_ids, scores.matched) == (0, 0, 40)


def test_a_swap_counts_for_both_and_halves_idf1():
    truth = np.concatenate([path([(k, 9 + 40 * n) for k in range(20)], n) for n in (0, 1)])
    rows = truth.copy()
    late = rows["t"] >= 100_000
    rows["id"][late] = 1 - rows["id"][late]
    scores = score_tracks(rows, truth)
    assert scores.swaps == 2
    assert scores.idf1 == pytest.approx(0.5)
    assert scores.misses == 0


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


def test_scores_of_nothing():
    scores = score_tracks(np.empty(0, OBJECT_ROW), path([(1, 1)]))
    assert np.isnan(scores.rmse_px)
    assert (scores.idf1, scores.misses) == (0, 1)
