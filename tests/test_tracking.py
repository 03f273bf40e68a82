"""Objects with identities: emulated scenes of known motion, mean shift, hostile input."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from dvskit import emulate
from dvskit.errors import ConfigError
from dvskit.events import Events
from dvskit.scenes import DiscScene, MovingShape
from dvskit.tracking import OBJECT_ROW, MeanShift, Tracker, score_tracks, track
from tests.laws import refused, scattered

SIZE = (128, 96)
TRUTH = np.dtype([("id", "<i8"), ("t", "<i8"), ("x", "<f8"), ("y", "<f8")])
STILL = (64.0, 50.0)


def disc(t_ms, places, width=20.0, height=20.0, shade=0.85, is_round=True):
    return MovingShape(np.array(t_ms) * 1000, places, width, height, shade, is_round)


SCENES = {
    "crossing": [
        disc((0, 700), ((14, 40), (112, 46))),
        disc((0, 700), ((112, 44), (14, 52)), shade=0.1),
    ],
    "rectangle": [disc((0, 700), ((20, 40), (105, 50)), 30, 16, 0.9, False)],
    "stop": [disc((0, 300, 700, 1000), ((20, 40), STILL, STILL, (110, 60)))],
    "behind a bar": [disc((0, 900), ((14, 48), (114, 48)), 16, 16)],
}
BARS = {"behind a bar": [(58, 0, 20, 96)]}


@functools.cache
def drawn(name):
    """A scene and its events."""
    duration_us = int(SCENES[name][0].t_us[-1])
    scene = DiscScene(SCENES[name], BARS.get(name, ()), SIZE, fps=250, duration_us=duration_us)
    return scene, emulate(scene).load()


def scores_of(name, rows):
    """Compare rows with the places of shapes that are seen, every 10 ms."""
    scene, truth = drawn(name)[0], []
    for t_us in range(150_000, scene.duration_us - 5_000, 10_000):
        found = scene.truth(t_us)
        truth += [(n, t_us, *found.place[n]) for n in np.flatnonzero(found.shown >= 0.9)]
    return score_tracks(rows, np.array(truth, TRUTH))


@pytest.mark.slow
def test_discs_that_cross_keep_their_numbers_and_are_within_a_pixel():
    events = drawn("crossing")[1]
    rows = track(events)
    scores = scores_of("crossing", rows)
    assert (scores.swaps, scores.misses) == (0, 0)
    assert scores.rmse_px < 1
    moved = track(events, Tracker(delay_us=10_000))
    np.testing.assert_allclose(moved["x"], rows["x"] + rows["vx"] * 0.01, atol=1e-4)


def test_a_rectangle_is_one_object_of_its_size():
    rows = track(drawn("rectangle")[1])
    assert set(rows["id"]) == {0}
    last = rows[-1]
    assert last["width"] == pytest.approx(30, abs=2)
    assert last["height"] == pytest.approx(16, abs=2)
    np.testing.assert_allclose((last["vx"], last["vy"]), (85 / 0.7, 10 / 0.7), atol=10)


def test_an_object_that_stops_stays_where_it_is_and_keeps_its_number():
    rows = track(drawn("stop")[1])
    assert set(rows["id"]) == {0}
    rest = rows[(rows["t"] > 400_000) & (rows["t"] < 690_000)]
    assert len(rest) == 28
    assert not rest["seen"].any()
    np.testing.assert_allclose(rest["x"], STILL[0], atol=2)
    assert rows["seen"][-1]
    assert scores_of("stop", rows).rmse_px < 1.5


def test_an_object_that_is_gone_for_too_long_gets_a_new_number():
    rows = track(drawn("stop")[1], Tracker(lost_us=200_000))
    assert set(rows["id"]) == {0, 1}
    assert not len(rows[(rows["t"] > 550_000) & (rows["t"] < 690_000)])


def test_an_object_that_goes_behind_a_wider_bar_comes_out_with_its_number():
    rows = track(drawn("behind a bar")[1])
    assert set(rows["id"]) == {0}
    assert not rows["seen"].all()
    assert scores_of("behind a bar", rows).rmse_px < 1.5


def test_noise_alone_is_no_object():
    assert not len(track(scattered(20_000, SIZE, span_us=350_000)))  # 5 a pixel and second


def test_no_events_and_events_at_one_time_give_no_rows():
    x = np.arange(96)
    at_once = Events(t=np.full(96, -5), x=x, y=x, p=x > 40, size=SIZE)
    for rows in (track(Events.empty(SIZE)), track(at_once), track(at_once[:0], MeanShift())):
        assert rows.dtype == OBJECT_ROW
        assert not len(rows)


def test_years_without_events_take_no_time():
    part = drawn("crossing")[1].between(0, 150_000)
    later = Events(t=part.t + 10**15, x=part.x, y=part.y, p=part.p, size=SIZE)
    rows = track(Events.concatenate([part, later]), Tracker(lost_us=50_000))
    assert {0, 1, 2, 3} == set(rows["id"])
    assert rows["t"][-1] > 10**15


@pytest.mark.parametrize("start_px", [None, (20, 40)])
def test_mean_shift_follows_a_disc_and_stands_still_without_events(start_px):
    (shape,), events = SCENES["behind a bar"], drawn("behind a bar")[1].between(0, 300_000)
    late = Events(t=[700_000], x=[1], y=[1], p=[True], size=events.sensor_size)
    both = Events.concatenate([events, late])
    rows = track(both, MeanShift(start_px, bandwidth_px=14))
    assert rows.dtype == OBJECT_ROW
    moving, rest = rows[10:29], rows[rows["t"] > 310_000]
    for row in moving:
        middle = shape.place(row["t"] - 5_000)  # of the window
        assert np.hypot(row["x"] - middle[0], row["y"] - middle[1]) < 1.5
    assert len(rest) == 40
    assert not rest["seen"].any()
    assert len(set(rest["x"])) == 1


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: track(Events.empty(SIZE), "mean"), "Tracker()"),
        (lambda: track(Events.empty(SIZE), Tracker), "Tracker()"),
        (lambda: Tracker(window_us=0), "window_us"),
        (lambda: MeanShift((1, np.nan)), "start_px"),
    ],
)
def test_wrong_ways_and_values_are_refused(make, named):
    with refused(ConfigError, named):
        make()
