"""Laws of every representation: cuts, threads, and where it is written to do not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dvskit.errors import ShapeError
from dvskit.events import Events
from dvskit.tensors import (
    AveragedTimeSurface,
    Binary,
    Counts,
    DecayedCounts,
    EventFrames,
    FeatureCounts,
    FeatureLayer,
    LastTimes,
    PointSet,
    Representation,
    Signed,
    TimeSurface,
    Tore,
    VoxelGrid,
    fit_features,
)
from tests.test_tensors import SIZE, Blocks, random_events

FEATURES = fit_features(
    random_events(300, seed=1), FeatureLayer(n_features=3, patch=3, tau_us=4_000)
)
# One of each kind and rule; all have a shape that is known beforehand.
REPRESENTATIONS: list[Any] = [
    Counts(bins=6),
    Counts(bins=6, bin_us=4_000, outside="ignore"),
    Counts(bins=5, channels=1, dtype=torch.uint8),
    Counts(bins=5, dtype=torch.int16),
    Counts(bins=5, dtype=torch.float32),
    Binary(bins=6),
    Binary(bins=4, channels=1, dtype=torch.float32),
    Signed(bins=6),
    Signed(bins=3, dtype=torch.int16),
    Signed(bins=3, dtype=torch.float32),
    VoxelGrid(bins=5),
    VoxelGrid(bins=1),
    VoxelGrid(bins=9, duration_us=31_000, outside="ignore"),
    LastTimes(),
    LastTimes(bins=7, channels=1),
    TimeSurface(tau_us=9_000),
    TimeSurface(tau_us=3_000.5, bins=6),
    TimeSurface(tau_us=1e9, bins=3, bin_us=1 << 32),
    DecayedCounts(tau_us=8_000),
    DecayedCounts(tau_us=5_000, bins=11, bin_us=3_300, channels=1, outside="ignore"),
    EventFrames(frames=4),
    EventFrames(frames=3, count=111, outside="ignore"),
    EventFrames(frames=3, duration_us=9_000, outside="ignore", channels=1),
    Tore(latest=3, shortest_us=300),
    Tore(bins=5),
    AveragedTimeSurface(cell_px=4, radius_px=2, tau_us=4_000),
    AveragedTimeSurface(cell_px=5, radius_px=1, tau_us=20, window_us=9_000),
    PointSet(points=64, seed=3),
    PointSet(points=2_048, fewer="zeros", scale="pixels"),
    FeatureCounts(fitted=FEATURES),
    FeatureCounts(fitted=FEATURES, bins=3, bin_us=8_000, cell_px=4, outside="ignore"),
]
every = pytest.mark.parametrize("chosen", REPRESENTATIONS, ids=repr)


@pytest.mark.slow
@every
def test_a_representation_has_the_shape_and_dtype_that_it_says(chosen: Representation) -> None:
    tensor = chosen(random_events(700, seed=1))
    assert isinstance(chosen, Representation)
    assert tuple(tensor.shape) == chosen.shape(SIZE)
    assert tensor.dtype == chosen.dtype
    assert tensor.is_contiguous()


@pytest.mark.slow
@every
@pytest.mark.parametrize("length", [1, 7, 64, 5_000])
def test_every_byte_is_the_same_however_the_stream_is_cut(
    chosen: Representation, length: int
) -> None:
    events = random_events(900, seed=3)
    for start_us in (None, events.t[0] - 3):
        whole = chosen(events, start_us=start_us)
        assert torch.equal(chosen(Blocks(events, length), start_us=start_us), whole)


@every
def test_a_second_call_gives_the_same_and_leaves_the_first_alone(chosen: Representation) -> None:
    events = random_events(500, seed=2)
    first = chosen(events)
    kept = first.clone()
    assert torch.equal(chosen(events), kept)
    chosen(random_events(500, seed=9))
    assert torch.equal(first, kept)


@every
def test_a_sample_is_written_straight_into_its_place_in_a_batch(chosen: Representation) -> None:
    events = [random_events(400, seed=seed) for seed in (1, 2, 3)]
    time, *rest = chosen.shape(SIZE)
    batch = torch.full((time, 3, *rest), 77, dtype=chosen.dtype)
    for place in (2, 0):
        view = batch[:, place]
        assert chosen(events[place], out=view) is view
    assert torch.equal(batch[:, 0], chosen(events[0]))
    assert torch.equal(batch[:, 2], chosen(events[2]))
    assert bool((batch[:, 1] == 77).all())


@every
def test_any_strided_view_is_written_to(chosen: Representation) -> None:
    events = random_events(400, seed=5)
    expected = chosen(events)
    wide = torch.full((*expected.shape[:-1], 2 * expected.shape[-1]), 77, dtype=chosen.dtype)
    turned = torch.full(expected.shape[::-1], 77, dtype=chosen.dtype)
    for view in (wide[..., ::2], turned.permute(*range(expected.ndim)[::-1])):
        assert chosen(Blocks(events, 50), out=view) is view
        assert torch.equal(view, expected)
    assert bool((wide[..., 1::2] == 77).all())


@every
def test_an_out_that_does_not_fit_is_refused(chosen: Representation) -> None:
    shape = chosen.shape(SIZE)
    other = torch.float64 if chosen.dtype != torch.float64 else torch.float32
    for out in (torch.empty(shape, dtype=other), torch.empty((1, *shape), dtype=chosen.dtype)):
        with pytest.raises(ShapeError, match="is to be written"):
            chosen(random_events(10, seed=1), out=out)


@every
def test_no_events_give_a_tensor_of_the_same_shape(chosen: Representation) -> None:
    out = torch.full(chosen.shape(SIZE), 77, dtype=chosen.dtype)
    empty = chosen(Events.empty(SIZE))
    assert tuple(empty.shape) == chosen.shape(SIZE)
    assert torch.equal(chosen(Events.empty(SIZE), out=out), empty)


@pytest.mark.slow
@every
def test_events_of_strided_columns_give_the_same(chosen: Representation) -> None:
    events = random_events(300, seed=4)
    strided = Events.from_array(events.to_array("tonic"), size=SIZE)
    assert not strided.x.flags.c_contiguous
    assert torch.equal(chosen(strided), chosen(events))


def crowded(count: int, seed: int) -> Events:
    """Many events on few pixels: bytes wrap, and threads have something to do."""
    rng = np.random.default_rng(seed)
    return Events(
        t=np.sort(rng.integers(0, 100_000, count)),
        x=rng.integers(0, 6, count) ** 2 // 2,
        y=rng.integers(0, SIZE[1], count),
        p=rng.integers(0, 4, count) > 0,
        size=SIZE,
    )


@every
def test_threads_do_not_matter(chosen: Representation, monkeypatch: pytest.MonkeyPatch) -> None:
    events = crowded(6_000, seed=6)
    monkeypatch.setattr("dvskit.tensors.bins._WORTH_A_THREAD", 100)
    whole = []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("DVSKIT_THREADS", threads)
        whole.append(chosen(events))
    assert torch.equal(whole[0], whole[1])
    assert torch.equal(whole[0], whole[2])
