"""Objects with identities: laws, emulated scenes of known motion, hostile input."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from dvskit import emulate
from dvskit.errors import ConfigError
from dvskit.events import Events
from dvskit.scenes import DiscScene, MovingShape
from dvskit.tracking import OBJECT_ROW, Tracker, score_tracks, track

SIZE = (128, 96)
TRUTH = np.dtype([("id", "<i8"), ("t", "<i8"), ("x", "<f8"), ("y", "<f8")])


def disc(t_ms, places, width=20.0, height=20.0, shade=0.85, is_round=True):
    return MovingShape(np.array(t_ms) * 1000, places, width, height, shade, is_round)


def scene(*shapes, bars=(), ms=700):
    return DiscScene(shapes, bars, SIZE, fps=250, duration_us=ms * 1000)


def truth_of(drawn, start_ms=150, least=0.9):
    """The places of shapes that are seen, every 10 ms."""
    rows = []
    for t_us in range(start_ms * 1000, drawn.duration_us - 5_000, 10_000):
        truth = drawn.truth(t_us)
        rows += [(n, t_us, *truth.place[n]) for n in np.flatnonzero(truth.shown >= least)]
    return np.array(rows, TRUTH)


@functools.cache
def crossing():
    """Two discs that cross; the events of both, once."""
    drawn = scene(
        disc((0, 700), ((14, 40), (112, 46))), disc((0, 700), ((112, 44), (14, 52)), shade=0.1)
    )
    return drawn, emulate(drawn).load()


@pytest.mark.slow(seconds=3)
@pytest.mark.parametrize("count", [1, 997, 20_000])
def test_rows_do_not_depend_on_the_blocks_of_a_stream(count):
    _, events = crossing()
    events = events.between(0, 100_000) if count == 1 else events
    step, rows = Tracker().start(events.size), []
    for block in events.blocks(count=count):
        rows += [step(block), step(block[:0])]
    rows.append(step.finish())
    whole = track(events)
    assert len(whole)
    np.testing.assert_array_equal(np.concatenate(rows), whole)


def test_a_second_pass_gives_the_same_rows():
    _, events = crossing()
    np.testing.assert_array_equal(track(events), track(events))


def test_discs_that_cross_keep_their_numbers_and_are_within_a_pixel():
    drawn, events = crossing()
    scores = score_tracks(track(events), truth_of(drawn))
    assert scores.swaps == 0
    assert scores.misses == 0
    assert scores.rmse_px < 1


def test_a_rectangle_is_one_object_of_its_size():
    drawn = scene(disc((0, 700), ((20, 40), (105, 50)), 30, 16, 0.9, False))
    rows = track(emulate(drawn))
    assert set(rows["id"]) == {0}
    last = rows[-1]
    assert last["width"] == pytest.approx(30, abs=2)
    assert last["height"] == pytest.approx(16, abs=2)
    np.testing.assert_allclose((last["vx"], last["vy"]), (85 / 0.7, 10 / 0.7), atol=10)


def test_an_object_that_stops_stays_where_it_is_and_keeps_its_number():
    still = (64.0, 50.0)
    drawn = scene(disc((0, 300, 600, 900), ((20, 40), still, still, (110, 60))), ms=900)
    rows = track(emulate(drawn))
    assert set(rows["id"]) == {0}
    rest = rows[(rows["t"] > 400_000) & (rows["t"] < 590_000)]
    assert len(rest) == 18
    assert not rest["seen"].any()
    np.testing.assert_allclose(rest["x"], still[0], atol=2)
    assert rows["seen"][-1]
    assert score_tracks(rows, truth_of(drawn)).rmse_px < 1.5


def test_an_object_that_goes_behind_a_bar_comes_out_with_its_number():
    drawn = scene(
        disc((0, 900), ((14, 48), (114, 48)), 16, 16), bars=((58, 0, 20, 96),), ms=900
    )  # the bar is wider than the disc
    rows = track(emulate(drawn))
    assert set(rows["id"]) == {0}
    assert not rows["seen"].all()
    assert score_tracks(rows, truth_of(drawn)).rmse_px < 1.5


def test_an_object_that_is_gone_for_too_long_gets_a_new_number():
    still = (64.0, 50.0)
    drawn = scene(disc((0, 300, 700, 1000), ((20, 40), still, still, (110, 60))), ms=1000)
    rows = track(emulate(drawn), Tracker(lost_us=200_000))
    assert set(rows["id"]) == {0, 1}
    assert not len(rows[(rows["t"] > 550_000) & (rows["t"] < 690_000)])


def test_the_delay_moves_places_on():
    _, events = crossing()
    rows, moved = track(events), track(events, Tracker(delay_us=10_000))
    np.testing.assert_allclose(moved["x"], rows["x"] + rows["vx"] * 0.01, atol=1e-4)


def test_noise_alone_is_no_object():
    rng = np.random.default_rng(0)
    count = 20_000  # 5 a pixel and second
    x, y = rng.integers(0, SIZE[0], count), rng.integers(0, SIZE[1], count)
    t = np.sort(rng.integers(0, 350_000, count))
    assert not len(track(Events(t=t, x=x, y=y, p=rng.random(count) < 0.5, size=SIZE)))


def test_a_hot_pixel_is_no_object():
    t = np.arange(0, 500_000, 100)
    x = np.full(len(t), 7)
    assert not len(track(Events(t=t, x=x, y=x, p=t > 0, size=SIZE)))


def test_no_events_and_events_at_one_time_give_no_rows():
    rows = track(Events.empty(SIZE))
    assert rows.dtype == OBJECT_ROW
    assert not len(rows)
    x = np.arange(96)
    assert not len(track(Events(t=np.full(96, -5), x=x, y=x, p=x > 40, size=SIZE)))


def test_years_without_events_take_no_time():
    _, events = crossing()
    part = events.between(0, 150_000)
    later = Events(t=part.t + 10**15, x=part.x, y=part.y, p=part.p, size=SIZE)
    rows = track(Events.concatenate([part, later]), Tracker(lost_us=50_000))
    assert {0, 1, 2, 3} == set(rows["id"])
    assert rows["t"][-1] > 10**15


def test_a_disc_that_comes_out_from_behind_a_bar_is_known_as_a_whole_with_its_middle():
    drawn = scene(disc((0, 900), ((64, 48), (104, 48)), 20, 20), bars=((54, 0, 20, 96),), ms=900)
    rows = track(emulate(drawn))
    assert score_tracks(rows, truth_of(drawn, 750)).rmse_px < 1


@pytest.mark.parametrize("other", ["mean", Tracker, 3])
def test_other_ways_than_those_allowed_are_an_error_of_one_line(other):
    with pytest.raises(ConfigError, match=r"pass Tracker\(\) or MeanShift\(\)"):
        track(Events.empty(SIZE), other)


@pytest.mark.parametrize("wrong", [{"window_us": 0}, {"gate": 0}, {"hits": 0}, {"join_px": 0}])
def test_parameters_out_of_range_are_errors(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Tracker(**wrong)
