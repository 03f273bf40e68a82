"""Point sets: which events are drawn, in which order, and in which numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dvskit.errors import ShapeError
from dvskit.events import Events
from dvskit.tensors import PointSet
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
    assert points[:, :3].min() == 0
    assert points[:, :3].max() == 1


def numbered(count: int) -> Events:
    """Events whose time is their number."""
    zeros = np.zeros(count, np.int64)
    return Events(t=np.arange(count), x=zeros, y=zeros, p=zeros == 0, size=SIZE)


def drawn(chosen: PointSet, events: Events) -> list[int]:
    return chosen(events)[:, 2].long().tolist()


def test_no_event_is_drawn_twice_and_a_seed_draws_the_same() -> None:
    events = numbered(1_000)
    first = drawn(PointSet(points=300, seed=5, scale="pixels"), events)
    assert first == sorted(set(first))
    assert len(first) == 300
    assert drawn(PointSet(points=300, seed=5, scale="pixels"), events) == first
    assert drawn(PointSet(points=300, seed=6, scale="pixels"), events) != first


def test_each_event_is_as_likely_to_be_drawn() -> None:
    often = np.zeros(40)
    for seed in range(1_500):
        often[drawn(PointSet(points=10, seed=seed, scale="pixels"), numbered(40))] += 1
    # 1,500 draws of probability 1/4: mean 375, standard deviation 16.8
    assert often.sum() == 15_000
    assert abs(often - 375).max() < 4.5 * 16.8


@pytest.mark.parametrize("block", [1, 13, 400])
def test_the_draw_is_the_same_however_the_stream_is_cut(block: int) -> None:
    events = random_events(900, seed=3)
    chosen = PointSet(points=200, seed=1)
    assert torch.equal(chosen(Blocks(events, block)), chosen(events))


def test_of_fewer_events_each_is_repeated_as_often_or_zeros_follow() -> None:
    events = numbered(4)
    assert drawn(PointSet(points=10, scale="pixels"), events) == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    zeros = PointSet(points=6, fewer="zeros", scale="pixels")(events)
    assert zeros[:, 2].tolist() == [0, 1, 2, 3, 0, 0]
    assert zeros[:, 3].tolist() == [1, 1, 1, 1, 0, 0]
    for fewer in ("repeat", "zeros"):
        assert not PointSet(points=3, fewer=fewer)(Events.empty(SIZE)).any()


def test_events_before_the_start_are_left_out() -> None:
    points = PointSet(scale="pixels")(numbered(10), start_us=7)
    assert points[:, 2].tolist() == [0, 1, 2]


@pytest.mark.parametrize("block", [1, 7, 40])
def test_events_behind_the_window_are_left_out_and_its_length_is_the_unit(block: int) -> None:
    events = numbered(40)
    window = PointSet(scale="pixels", duration_us=16)
    assert window(Blocks(events, block))[:, 2].tolist() == list(range(16))
    assert window(Blocks(events, block), start_us=30)[:, 2].tolist() == list(range(10))
    unit = PointSet(duration_us=16)(Blocks(events, block), start_us=30)
    assert unit[:, 2].tolist() == [k / 16 for k in range(10)]
    few = PointSet(points=5, duration_us=16, seed=2)
    assert torch.equal(few(Blocks(events, block)), few(events[:16]))
    with pytest.raises(ShapeError, match="duration_us=0"):
        PointSet(duration_us=0)


def test_other_events_are_drawn_from_a_generator() -> None:
    whole, chosen = numbered(1_000), PointSet(points=50, scale="pixels")
    first, second = (chosen.drawn(np.random.default_rng(seed)) for seed in (1, 2))
    assert drawn(first, whole) != drawn(second, whole)
    assert chosen.drawn(np.random.default_rng(1)) == first


def test_a_sensor_of_one_pixel_and_events_of_one_instant_stay_finite() -> None:
    events = Events(t=[5, 5], x=[0, 0], y=[0, 0], p=[1, 0], size=(1, 1))
    assert PointSet()(events).tolist() == [[0, 0, 0, 1], [0, 0, 0, -1]]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ShapeError, match="points=0"):
        PointSet(points=0)
    with pytest.raises(ShapeError, match="did you mean 'zeros'"):
        PointSet(points=1, fewer="zero")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="unknown scale"):
        PointSet(scale="metres")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="depends on the events; pass points too"):
        PointSet().shape(SIZE)
