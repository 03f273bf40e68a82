"""The voxel grids that image networks take, against a twin written from E2VID's definition."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dvskit.errors import EventsError, GeometryError, ShapeError
from dvskit.events import Events
from dvskit.reconstruction.network import EventWindow, VoxelInput
from tests.laws import refused, scattered

SIZE = WIDTH, HEIGHT = 13, 7


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


def normalized_twin(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    used = grid != 0
    values = grid[used]
    out = np.zeros_like(grid)
    out[used] = (values - values.mean()) / values.std()
    return out


@pytest.mark.parametrize(("bins", "early_us", "late_us"), [(2, 0, 0), (5, 0, 0), (5, 700, 1900)])
def test_voxels_equal_the_definition_between_the_ends_of_the_window(bins, early_us, late_us):
    events = scattered(500, SIZE, span_us=50_000)
    ends = int(events.t[0]) - early_us, int(events.t[-1]) + late_us
    given = {"start_us": ends[0], "stop_us": ends[1]} if early_us else {}
    found = VoxelInput(bins=bins)(events, **given)
    assert found.shape == (bins, HEIGHT, WIDTH)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, voxel_twin(events, bins, *ends), atol=2e-6)


def test_nonzero_voxels_have_mean_0_and_deviation_1_and_the_others_stay_0():
    events = scattered(60, SIZE, span_us=50_000)
    plain, found = VoxelInput()(events), VoxelInput(normalized=True)(events)
    np.testing.assert_allclose(found, normalized_twin(plain.astype(np.float64)), atol=1e-5)


def test_equal_voxels_stay_as_they_are():
    one = Events(t=[5], x=[1], y=[2], p=[1], size=SIZE)
    found = VoxelInput(normalized=True)(one)
    assert found[0, 2, 1] == 1
    assert np.count_nonzero(found) == 1


def test_a_window_without_events_is_zero():
    for given in (VoxelInput(), VoxelInput(normalized=True)):
        assert not given(Events.empty(SIZE)).any()
        assert not given(Events.empty(SIZE), start_us=10, stop_us=90).any()


def test_wrong_windows_are_refused():
    events = scattered(100, SIZE, span_us=50_000)
    window = EventWindow(events.sensor_size)
    window.add(events[50:])
    window.add(events[:50])
    with refused(EventsError, "block 1"):
        window.take()
    window.add(Events.empty((3, 2)))
    with refused(GeometryError, "3x2"):
        window.take()
    with refused(ShapeError):
        VoxelInput()(events, start_us=int(events.t[0]), stop_us=int(events.t[0]) + 1)
    with refused(ShapeError):
        VoxelInput()(events, start_us=int(events.t[0]) + 1, stop_us=int(events.t[-1]))
