"""Laws of every representation: cuts, threads, names, and where it is written to do not matter."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import dvskit.tensors
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
    representation_from,
)
from dvskit.tensors.names import REPRESENTATIONS, parameters_of
from tests.laws import refused, same_on_threads
from tests.test_tensors import SIZE, Blocks, crowded, random_events, result

FEATURES = fit_features(
    random_events(300, seed=1), FeatureLayer(n_features=3, patch=3, tau_us=4_000)
)
# One of each kind and rule; all have a shape that is known beforehand.
MADE: list[Any] = [
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
    Counts(bins=1),  # threads share a bin
    Counts(bins=1, dtype=torch.uint8),
]
every = pytest.mark.parametrize("chosen", MADE, ids=repr)


@pytest.mark.slow
@every
def test_a_tensor_has_the_shape_and_dtype_that_its_representation_says(
    chosen: Representation,
) -> None:
    assert isinstance(chosen, Representation)
    empty = chosen(Events.empty(SIZE))
    for tensor in (chosen(random_events(700, seed=1)), empty):
        assert tuple(tensor.shape) == chosen.shape(SIZE)
        assert tensor.dtype == chosen.dtype
        assert tensor.is_contiguous()
    out = torch.full(chosen.shape(SIZE), 77, dtype=chosen.dtype)
    assert torch.equal(chosen(Events.empty(SIZE), out=out), empty)


@every
def test_every_byte_is_the_same_however_the_stream_is_cut_and_in_each_call(
    chosen: Representation,
) -> None:
    events = random_events(900, seed=3)
    for start_us in (None, events.t[0] - 3):
        whole = chosen(events, start_us=start_us)
        kept = whole.clone()
        for length in (1, 64, 5_000):
            assert torch.equal(chosen(Blocks(events, length), start_us=start_us), whole)
        chosen(random_events(500, seed=9))
        assert torch.equal(whole, kept)


@pytest.mark.parametrize("chosen", [MADE[0], MADE[10], MADE[15]], ids=repr)
def test_events_of_strided_columns_give_the_same(chosen: Representation) -> None:
    events = random_events(300, seed=4)
    strided = Events.from_array(events.to_array("tonic"), size=SIZE)
    assert not strided.x.flags.c_contiguous
    assert torch.equal(chosen(strided), chosen(events))


@pytest.mark.slow
@every
def test_threads_do_not_matter(chosen: Representation) -> None:
    events = crowded(140_000, seed=6)  # threads are started for so many
    same_on_threads(lambda: result(chosen, events), 2, 3)


@every
def test_any_strided_view_is_written_to_and_nothing_beside_it(chosen: Representation) -> None:
    events = random_events(400, seed=5)
    expected = chosen(events)
    time, *rest = expected.shape
    batch = torch.full((time, 3, *rest), 77, dtype=chosen.dtype)
    wide = torch.full((*expected.shape[:-1], 2 * expected.shape[-1]), 77, dtype=chosen.dtype)
    turned = torch.full(expected.shape[::-1], 77, dtype=chosen.dtype)
    for view in (batch[:, 2], wide[..., ::2], turned.permute(*range(expected.ndim)[::-1])):
        for given in (events, Blocks(events, 50)):
            view.fill_(77)
            assert chosen(given, out=view) is view
            assert torch.equal(view, expected)
    assert bool((batch[:, :2] == 77).all())
    assert bool((wide[..., 1::2] == 77).all())


@every
def test_an_out_that_does_not_fit_is_refused(chosen: Representation) -> None:
    shape = chosen.shape(SIZE)
    other = torch.float64 if chosen.dtype != torch.float64 else torch.float32
    for out in (torch.empty(shape, dtype=other), torch.empty((1, *shape), dtype=chosen.dtype)):
        with refused(ShapeError, tuple(out.shape), out.dtype):
            chosen(random_events(10, seed=1), out=out)


def test_each_representation_has_a_name() -> None:
    assert {type(each) for each in MADE} == set(REPRESENTATIONS.values())
    for kind in REPRESENTATIONS.values():
        assert getattr(dvskit.tensors, kind.__name__) is kind


@every
def test_a_representation_is_made_anew_from_its_name_and_parameters(chosen: Any) -> None:
    name = next(name for name, kind in REPRESENTATIONS.items() if kind is type(chosen))
    parameters = {each: getattr(chosen, each) for each in parameters_of(name)}
    assert representation_from(name, **parameters) == chosen
    if "dtype" in parameters:
        parameters["dtype"] = str(chosen.dtype).removeprefix("torch.")
        assert representation_from(name, **parameters) == chosen
