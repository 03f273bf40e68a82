"""Kernels of tracking against slow twins, and memory under noise."""

from __future__ import annotations

import numpy as np
import pytest

from dvskit.events import Events
from dvskit.tracking import Tracker, track
from dvskit.tracking.object_kernels import (
    correct,
    explain,
    find_box,
    learn,
    predict,
    shift_to_mean,
    supported,
)
from tests.laws import scattered


@pytest.mark.parametrize(("count", "least"), [(0, 1), (1, 1), (80, 2), (600, 5), (600, 1)])
def test_supported_events_are_those_with_company(count, least):
    size = (23, 17)
    events = scattered(count, size, seed=count)
    x, y, p = events.x, events.y, events.p
    counts, kept = np.zeros((2, *size[::-1]), np.int32), np.zeros(count, np.bool_)
    supported(x, y, p, least, counts, kept)
    twin = []
    for i in range(count):
        near = [
            min(((x == a) & (y == b) & (p == p[i])).sum(), 2)
            for a in range(x[i] - 1, x[i] + 2) for b in range(y[i] - 1, y[i] + 2)
        ]  # fmt: skip
        twin.append(sum(near) >= least)
    assert kept.tolist() == twin
    assert not counts.any()


def test_a_prediction_moves_the_covariance_as_matrices_do():
    rng = np.random.default_rng(0)
    half = rng.normal(size=(4, 4))
    state, cov = rng.normal(size=4), half @ half.T
    step = np.eye(4) + 0.1 * np.eye(4, k=2)
    force = np.concatenate([np.eye(2) * 0.005, np.eye(2) * 0.1])
    expected = step @ state, step @ cov @ step.T + 9 * force @ force.T
    predict(state, cov, 0.1, 3.0)
    np.testing.assert_allclose(state, expected[0])
    np.testing.assert_allclose(cov, expected[1], atol=1e-12)


def square(rng, off, count=400):
    """Events on the border of a square of 20 px, ON on the right and below."""
    along, side = rng.uniform(-10, 10, count), rng.integers(0, 4, count)
    x = np.choose(side, (np.full(count, -10.0), np.full(count, 10.0), along, along)) + off[0]
    y = np.choose(side, (along, along, np.full(count, -10.0), np.full(count, 10.0))) + off[1]
    return np.zeros(count, np.int64), 50 + x, 40 + y, side % 2 == 1


def learned(rng, share=0.05):
    template, corner = np.zeros((2, 2, 35, 35)), np.array([-17.0, -17.0])
    state = np.array([50.0, 40.0, 0.0, 0.0])
    events = square(rng, (0, 0), 2000)
    learn(events, 0, state, template, corner, np.full(2000, share), 1.0)
    return state, template, corner


def test_a_template_holds_the_shares_of_its_events_and_forgets():
    state, template, corner = learned(np.random.default_rng(0))
    assert template[0].sum() == pytest.approx(100)
    assert template[1].sum() == pytest.approx(100)
    box = np.zeros(4)
    find_box(template[0], 0.1, box)
    np.testing.assert_allclose(box, (7, 7, 27, 27), atol=1)
    nothing = square(np.random.default_rng(0), (0, 0), 0)
    learn(nothing, 0, state, template, corner, np.empty(0), 0.25)
    assert template.sum() == pytest.approx(50)


@pytest.mark.parametrize(
    ("off", "part"), [((0.0, 0.0), "whole"), ((0.7, -0.4), "left"), ((-2.3, 1.6), "left")]
)
def test_a_part_of_an_object_shows_the_place_of_the_whole(off, part):
    rng = np.random.default_rng(1)
    state, template, corner = learned(rng)
    t, x, y, p = square(rng, off)
    kept = (x < 45) | (part == "whole")
    events = t[kept], x[kept], y[kept], p[kept]
    cov = np.diag([4.0, 4.0, 100.0, 100.0])
    rest = np.full(kept.sum(), 0.01)
    sums = np.zeros(2)
    count = correct(events, 0, state, cov, template[1], corner, 1.0, rest, 2.0, sums)
    assert count > 0.9 * kept.sum()
    np.testing.assert_allclose(state[:2], np.add((50, 40), off), atol=0.3)
    assert cov[0, 0] < 0.1
    assert np.linalg.eigvalsh(cov).min() > 0


def test_too_few_events_change_nothing_and_a_straight_edge_only_the_way_across():
    rng = np.random.default_rng(2)
    state, template, corner = learned(rng)
    t, x, y, p = square(rng, (1.0, 0.0))
    kept = (x < 42) & (abs(y - 40) < 6)  # of the left edge
    events, rest = (t[kept], x[kept], y[kept], p[kept]), np.full(kept.sum(), 0.01)
    cov, sums = np.diag([4.0, 4.0, 100.0, 100.0]), np.zeros(2)
    before = state.copy(), cov.copy()
    correct(events, 0, state, cov, template[1], corner, 1.0, rest, 1e6, sums)
    np.testing.assert_array_equal(state, before[0])
    np.testing.assert_array_equal(cov, before[1])
    correct(events, 0, state, cov, template[1], corner, 1.0, rest, 2.0, sums)
    assert state[0] == pytest.approx(51, abs=0.4)
    assert cov[0, 0] < 0.2
    assert cov[1, 1] > 1


def test_events_are_explained_where_the_template_has_them_at_their_age():
    state, template, corner = learned(np.random.default_rng(3))
    state[2] = 100.0
    t = np.array([0, 0, 0])  # 50 ms before now: the object was 5 px to the left
    x, y, p = np.array([35, 40, 90]), np.array([40, 40, 90]), np.array([False, False, True])
    own, total, claims = np.zeros((3, 3))
    explain((t, x, y, p), 50_000, state, template[1], corner, 2.0, 0.01, own, total, claims)
    assert own[0] > 1
    assert own[1] == pytest.approx(0.01, abs=0.01)
    assert own[2] == 0
    assert total.tolist() == own.tolist()
    assert claims.tolist() == [1, 1, 0]


@pytest.mark.parametrize(("most", "radius"), [(1, 10.0), (3, 2.5), (100, 10.0), (100, 200.0)])
def test_mean_shift_goes_from_mean_to_mean(radius, most):
    rng = np.random.default_rng(int(radius))
    points = np.concatenate([rng.normal((40, 30), 5, (200, 2)), rng.uniform(0, 80, (100, 2))])
    x, y = np.rint(points).astype(np.int16).T.copy()
    at, count = np.array([46.0, 35.0]), 0
    for _ in range(most):
        inside = np.hypot(x - at[0], y - at[1]) <= radius
        count = inside.sum()
        move = np.array([x[inside].mean(), y[inside].mean()]) - at
        at += move
        if abs(move).sum() < 0.01:
            break
    found = shift_to_mean(x, y, (46.0, 35.0), radius, most)
    assert found == pytest.approx((*at, count))


def test_mean_shift_without_events_near_stays():
    x = np.array([50, 51], np.int16)
    assert shift_to_mean(x, x, (3.0, 4.0), 5.0, 100) == (3.0, 4.0, 0)
    assert shift_to_mean(x[:0], x[:0], (3.0, 4.0), 5.0, 100) == (3.0, 4.0, 0)


@pytest.mark.slow(seconds=3)
def test_flicker_everywhere_is_followed_in_fixed_memory():
    left, top = (each.ravel() for each in np.meshgrid(np.arange(1, 80, 5), np.arange(1, 90, 5)))
    windows = []  # of 288 squares of 3x3 pixels
    for window in range(3):
        x, y = np.repeat(left, 18) + np.tile(np.arange(18) % 3, 288), np.repeat(top, 18)
        y = y + np.tile(np.arange(18) // 3 % 3, 288) + window % 2
        t = 10_000 * window + np.arange(len(x))
        windows.append(Events(t=t, x=x, y=y, p=np.full(len(x), True), size=(128, 96)))
    rows = track(Events.concatenate(windows), Tracker(join_px=1, hits=1))
    assert 0 < np.unique(rows["t"], return_counts=True)[1].max() <= 256
