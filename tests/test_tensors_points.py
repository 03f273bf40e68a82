"""Point sets: which events are drawn, in which order, and in which numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dvskit.errors import ConfigError, ShapeError
from dvskit.events import Events
from dvskit.tensors import PointSet
from tests.laws import refused
from tests.test_tensors import SIZE, Blocks, random_events


def as_pixels(events: Events) -> np.ndarray:
    p = np.where(events.p, 1, -1)
    return np.stack([events.x, events.y, events.t - events.t[0], p], 1).astype(float)


def test_all_events_are_points_in_the_order_of_time_unless_fewer_are_wanted() -> None:
    events = random_events(500, seed=1)
    points = PointSet(scale="pixels")(events)
    assert points.dtype == torch.float64
    assert np.array_equal(points.numpy(), as_pixels(events))
    assert torch.equal(PointSet(points=500, scale="pixels")(events), points)


def test_points_are_scaled_to_one() -> None:
    events = random_events(2_000, seed=2)
    points = PointSet()(events)
    assert points.dtype == torch.float32
    expected = as_pixels(events) / [SIZE[0] - 1, SIZE[1] - 1, events.duration_us, 1]
    np.testing.assert_allclose(points.numpy(), expected, rtol=1e-6)
    instant = Events(t=[5, 5], x=[0, 0], y=[0, 0], p=[1, 0], size=(1, 1))
    assert PointSet()(instant).tolist() == [[0, 0, 0, 1], [0, 0, 0, -1]]


def numbered(count: int) -> Events:
    """Events whose time is their number."""
    zeros = np.zeros(count, np.int64)
    return Events(t=np.arange(count), x=zeros, y=zeros, p=zeros == 0, size=SIZE)


def drawn(chosen: PointSet, events: Events) -> list[int]:
    return chosen(events)[:, 2].long().tolist()


def test_no_event_is_drawn_twice_and_a_seed_draws_the_same() -> None:
    events, chosen = numbered(1_000), PointSet(points=300, seed=5, scale="pixels")
    first = drawn(chosen, events)
    assert first == sorted(set(first))
    assert len(first) == 300
    assert drawn(PointSet(points=300, seed=5, scale="pixels"), events) == first
    assert drawn(PointSet(points=300, seed=6, scale="pixels"), events) != first
    again, other = (chosen.drawn(np.random.default_rng(seed)) for seed in (1, 2))
    assert drawn(again, events) != drawn(other, events)
    assert chosen.drawn(np.random.default_rng(1)) == again


def test_each_event_is_as_likely_to_be_drawn() -> None:
    often = np.zeros(40)
    for seed in range(500):
        often[drawn(PointSet(points=10, seed=seed, scale="pixels"), numbered(40))] += 1
    # 500 draws of probability 1/4: mean 125, standard deviation 9.7
    assert often.sum() == 5_000
    assert abs(often - 125).max() < 4.5 * 9.7


def test_of_fewer_events_each_is_repeated_as_often_or_zeros_follow() -> None:
    events = numbered(4)
    assert drawn(PointSet(points=10, scale="pixels"), events) == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    zeros = PointSet(points=6, fewer="zeros", scale="pixels")(events)
    assert zeros[:, 2].tolist() == [0, 1, 2, 3, 0, 0]
    assert zeros[:, 3].tolist() == [1, 1, 1, 1, 0, 0]
    for fewer in ("repeat", "zeros"):
        assert not PointSet(points=3, fewer=fewer)(Events.empty(SIZE)).any()


@pytest.mark.parametrize("block", [1, 7, 40])
def test_events_outside_the_window_are_left_out_and_its_length_is_the_unit(block: int) -> None:
    events = numbered(40)
    assert drawn(PointSet(scale="pixels"), events[35:]) == [0, 1, 2, 3, 4]
    from_35 = PointSet(scale="pixels")(Blocks(events, block), start_us=35)
    assert from_35[:, 2].tolist() == [0, 1, 2, 3, 4]
    window = PointSet(scale="pixels", duration_us=16)
    assert window(Blocks(events, block))[:, 2].tolist() == list(range(16))
    assert window(Blocks(events, block), start_us=30)[:, 2].tolist() == list(range(10))
    unit = PointSet(duration_us=16)(Blocks(events, block), start_us=30)
    assert unit[:, 2].tolist() == [k / 16 for k in range(10)]
    few = PointSet(points=5, duration_us=16, seed=2)
    assert torch.equal(few(Blocks(events, block)), few(events[:16]))


def test_what_cannot_be_is_refused() -> None:
    for wrong, named in (
        ({"points": 0}, "points = 0"),
        ({"points": 1, "fewer": "zero"}, "'zeros'"),
        ({"scale": "meters"}, "scale"),
        ({"duration_us": 0}, "duration_us = 0"),
    ):
        with refused(ConfigError, named):
            PointSet(**wrong)  # type: ignore[arg-type]
    with refused(ShapeError, "points"):
        PointSet().shape(SIZE)
