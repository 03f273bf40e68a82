"""The voxel grids that image networks take, against a twin written from E2VID's definition."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dvskit.errors import EventsError, GeometryError, ShapeError
from dvskit.events import Events
from dvskit.reconstruction.voxels import EventWindow, VoxelInput
from tests.test_tensors import SIZE, random_events

WIDTH, HEIGHT = SIZE


def voxel_twin(events: Events, bins: int, start_us: int, stop_us: int) -> NDArray[np.float64]:
    """Split each polarity, +1 or -1, between the nodes before and after t*, event by event."""
    grid = np.zeros((bins, HEIGHT, WIDTH))
    for t, x, y, p in zip(events.t, events.x, events.y, events.p, strict=True):
        at = (bins - 1) * int(t - start_us) / max(1, stop_us - start_us)
        before, share = int(at), at - int(at)
        sign = 1.0 if p else -1.0
        grid[before, y, x] += sign * (1 - share)
        if before + 1 < bins:
            grid[before + 1, y, x] += sign * share
    return grid


def normalised_twin(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    used = grid != 0
    values = grid[used]
    out = np.zeros_like(grid)
    out[used] = (values - values.mean()) / values.std()
    return out


@pytest.mark.parametrize("bins", [2, 5])
def test_voxels_equal_the_definition_between_the_first_event_and_the_last(bins):
    events = random_events(500, seed=bins)
    expected = voxel_twin(events, bins, int(events.t[0]), int(events.t[-1]))
    found = VoxelInput(bins=bins)(events)
    assert found.shape == (bins, HEIGHT, WIDTH)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_voxels_equal_the_definition_between_the_ends_of_the_window():
    events = random_events(300, seed=3)
    ends = int(events.t[0]) - 700, int(events.t[-1]) + 1900
    found = VoxelInput()(events, start_us=ends[0], stop_us=ends[1])
    np.testing.assert_allclose(found, voxel_twin(events, 5, *ends), atol=2e-6)


def test_nonzero_voxels_have_mean_0_and_deviation_1_and_the_others_stay_0():
    events = random_events(60, seed=4)
    plain, found = VoxelInput()(events), VoxelInput(normalised=True)(events)
    np.testing.assert_allclose(found, normalised_twin(plain.astype(np.float64)), atol=1e-5)
    used = plain != 0
    assert 0 < used.sum() < used.size
    assert found[used].mean() == pytest.approx(0, abs=1e-6)
    assert found[used].std() == pytest.approx(1, abs=1e-6)
    assert not found[~used].any()


def test_equal_voxels_stay_as_they_are():
    one = Events(t=[5], x=[1], y=[2], p=[1], size=SIZE)
    found = VoxelInput(normalised=True)(one)
    assert found[0, 2, 1] == 1
    assert np.count_nonzero(found) == 1


def test_a_window_without_events_is_zero():
    for given in (VoxelInput(), VoxelInput(normalised=True)):
        assert not given(Events.empty(SIZE)).any()
        assert not given(Events.empty(SIZE), start_us=10, stop_us=90).any()


@pytest.mark.parametrize("chunk", [1, 7, 64, 5000])
def test_voxels_do_not_depend_on_how_the_window_is_cut(chunk):
    events = random_events(400, seed=5)
    window = EventWindow(events.size)
    for first in range(0, len(events), chunk):
        window.add(events[first : first + chunk])
        window.add(Events.empty(SIZE))
    found = VoxelInput(normalised=True)(window.take())
    np.testing.assert_array_equal(found, VoxelInput(normalised=True)(events))
    assert len(window.take()) == 0


def test_a_window_refuses_other_sizes_and_earlier_events():
    events = random_events(100, seed=6)
    window = EventWindow(events.size)
    window.add(events[50:])
    window.add(events[:50])
    with pytest.raises(EventsError, match="block 1 starts at"):
        window.take()
    window.add(Events.empty((3, 2)))
    with pytest.raises(GeometryError, match="block 0 is 3x2, the others"):
        window.take()


def test_events_outside_the_given_ends_are_refused():
    events = random_events(100, seed=7)
    with pytest.raises(ShapeError, match="events are outside the window"):
        VoxelInput()(events, start_us=int(events.t[0]), stop_us=int(events.t[0]) + 1)
