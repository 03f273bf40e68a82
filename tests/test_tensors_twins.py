"""Representations against slow twins written from their definitions, and against other tools."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dvskit.errors import ConfigError, ShapeError
from dvskit.events import Events
from dvskit.tensors import (
    NEVER_US,
    AveragedTimeSurface,
    DecayedCounts,
    EventFrames,
    LastTimes,
    TimeSurface,
    Tore,
    VoxelGrid,
)
from tests.laws import refused, rows_of
from tests.test_tensors import SIZE, Blocks, at_one_pixel, random_events

WIDTH, HEIGHT = SIZE


def rows(events: Events) -> list[tuple[int, int, int, int]]:
    return [(t, x, y, int(p)) for t, x, y, p in rows_of(events)]


def voxel_twin(events: Events, bins: int, start: int, duration: int) -> NDArray[np.float64]:
    grid = np.zeros((bins, 1, HEIGHT, WIDTH))
    for t, x, y, p in rows(events):
        at = (bins - 1) * (t - start) / duration if duration else 0.0
        for b in range(bins):
            grid[b, 0, y, x] += (2 * p - 1) * max(0.0, 1 - abs(b - at))
    return grid


@pytest.mark.parametrize("bins", [1, 2, 5, 16])
def test_a_voxel_grid_equals_its_definition(bins: int) -> None:
    events = random_events(600, seed=bins)
    expected = voxel_twin(events, bins, int(events.t[0]), events.duration_us)
    found = VoxelGrid(bins=bins)(Blocks(events, 99))
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)
    instant = VoxelGrid(bins=bins)(at_one_pixel(3))
    assert instant[0, 0, 2, 3] == instant.sum() == 3


def test_a_voxel_grid_of_a_given_duration_has_both_its_ends() -> None:
    events = Events(t=[10, 60, 110, 111], x=[0, 1, 2, 3], y=[0] * 4, p=[1, 0, 1, 1], size=SIZE)
    with refused(ShapeError, "1 events", "[10, 111)"):
        VoxelGrid(bins=3, duration_us=100)(events)
    grid = VoxelGrid(bins=3, duration_us=100, outside="ignore")(events)
    assert grid[:, 0, 0, :4].tolist() == [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 1, 0]]


def latest_twin(
    events: Events, ends: list[int], deep: int, channels: int = 2
) -> list[list[list[int]]]:
    """For each end the latest times before it of each value (channel, y, x), newest first."""
    found = []
    for end in ends:
        times: list[list[int]] = [[] for _ in range(channels * HEIGHT * WIDTH)]
        for t, x, y, p in rows(events):
            if t < end:
                times[((p if channels == 2 else 0) * HEIGHT + y) * WIDTH + x].insert(0, t)
        found.append([each[:deep] for each in times])
    return found


@pytest.mark.parametrize("channels", [1, 2])
def test_last_times_are_exactly_those_of_the_latest_events(channels: Any) -> None:
    events = random_events(700, seed=8)
    found = LastTimes(bins=5, bin_us=10_000, channels=channels, outside="ignore")(
        Blocks(events, 99), start_us=900
    )
    inside = events.between(900, 50_900)
    expected = latest_twin(inside, [900 + 10_000 * (k + 1) for k in range(5)], 1, channels)
    flat = [each[0] if each else NEVER_US for plane in expected for each in plane]
    assert found.reshape(-1).tolist() == flat
    assert NEVER_US in flat


def test_last_times_are_exact_near_both_ends_of_int64() -> None:
    for start in (-(1 << 63), (1 << 63) - 9):
        events = Events(t=[start, start + 8], x=[3, 4], y=[0, 0], p=[1, 1], size=SIZE)
        assert LastTimes()(events)[0, 1, 0, 3:5].tolist() == [start, start + 8]


@pytest.mark.parametrize(("tau_us", "bin_us"), [(40.0, 10_000), (9_000.0, 1 << 31), (1e9, 1 << 31)])
def test_a_time_surface_fades_from_the_latest_event_to_the_end_of_each_bin(
    tau_us: float, bin_us: int
) -> None:
    events = random_events(500, seed=9)
    start = int(events.t[0])
    found = TimeSurface(bins=6, bin_us=bin_us, tau_us=tau_us)(events)
    ends = [start + bin_us * (k + 1) for k in range(6)]
    expected = [
        math.exp((each[0] - end) / tau_us) if each else 0.0
        for end, plane in zip(ends, latest_twin(events, ends, 1), strict=True)
        for each in plane
    ]
    np.testing.assert_allclose(found.reshape(-1).numpy(), expected, rtol=2e-7, atol=1e-44)


@pytest.mark.parametrize("tau_us", [40.0, 1e12])
def test_decayed_counts_equal_their_definition(tau_us: float) -> None:
    events = random_events(900, seed=10)
    start = int(events.t[0])
    found = DecayedCounts(bins=5, bin_us=11_000, tau_us=tau_us)(Blocks(events, 50)).numpy()
    expected = np.zeros((5, 2, HEIGHT, WIDTH))
    for k in range(5):
        end = start + 11_000 * (k + 1)
        for t, x, y, p in rows(events):
            if t < end:
                expected[k, p, y, x] += math.exp((t - end) / tau_us)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-40)


def test_bins_of_unequal_length_fade_each_by_its_own() -> None:
    events = Events(t=[0, 1, 2, 10], x=[0, 0, 1, 2], y=[0] * 4, p=[1] * 4, size=SIZE)
    found = DecayedCounts(bins=3, tau_us=2.0)(events)[:, 1, 0]
    for k, end in enumerate((4, 8, 11)):  # 11 us in three bins of 4, 4 and 3
        first, second = math.exp(-end / 2), math.exp((1 - end) / 2)
        np.testing.assert_allclose(found[k, 0], first + second, rtol=1e-6)
        np.testing.assert_allclose(found[k, 1], math.exp((2 - end) / 2), rtol=1e-6)


@pytest.mark.parametrize("latest", [1, 3])
def test_a_tore_volume_has_the_log_ages_of_the_latest_events(latest: int) -> None:
    events = random_events(900, seed=12)
    start = int(events.t[0])
    chosen = Tore(bins=4, bin_us=15_000, latest=latest, shortest_us=500.0, longest_us=30_000.0)
    found = chosen(Blocks(events, 41)).numpy()
    ends = [start + 15_000 * (k + 1) for k in range(4)]
    for k, plane in enumerate(latest_twin(events, ends, latest)):
        for place, times in enumerate(plane):
            p, pixel = divmod(place, HEIGHT * WIDTH)
            y, x = divmod(pixel, WIDTH)
            ages = [float(ends[k] - t) for t in times] + [math.inf] * (latest - len(times))
            expected = [math.log((min(max(age, 500), 30_000) + 1) / 501) for age in ages]
            values = found[k, p * latest : (p + 1) * latest, y, x]
            np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-7)


def averaged_twin(events: Events, chosen: AveragedTimeSurface) -> NDArray[np.float64]:
    surfaces = np.zeros(chosen.shape(SIZE))
    number = np.zeros(surfaces.shape[:2])
    cell, radius = chosen.cell_px, chosen.radius_px
    across, every = -(-WIDTH // cell), rows(events)
    for i, (t, x, y, p) in enumerate(every):
        place = y // cell * across + x // cell
        number[place, p] += 1
        for t_j, x_j, y_j, p_j in every[:i]:
            down, aside = y_j - y, x_j - x
            same = p_j == p and y_j // cell == y // cell and x_j // cell == x // cell
            young = chosen.window_us is None or t - t_j <= chosen.window_us
            if same and young and max(abs(down), abs(aside)) <= radius:
                left = math.exp((t_j - t) / chosen.tau_us)
                surfaces[place, p, radius + down, radius + aside] += left
    return surfaces / np.maximum(number, 1)[:, :, None, None]


@pytest.mark.slow
@pytest.mark.parametrize(("tau_us", "window_us"), [(7.0, None), (9_000.0, 4_000), (1e9, None)])
def test_averaged_surfaces_equal_their_definition(tau_us: float, window_us: int | None) -> None:
    events = random_events(500, seed=13)
    chosen = AveragedTimeSurface(cell_px=4, radius_px=2, tau_us=tau_us, window_us=window_us)
    found = chosen(Blocks(events, 37)).numpy()
    np.testing.assert_allclose(found, averaged_twin(events, chosen), rtol=1e-6, atol=1e-30)


def test_a_window_of_averaged_surfaces_has_its_oldest_microsecond() -> None:
    events = Events(t=[0, 1, 100], x=[0, 1, 2], y=[0] * 3, p=[1] * 3, size=SIZE)
    for window_us, ages in ((100, [100, 99, 1]), (99, [99, 1]), (98, [1])):
        chosen = AveragedTimeSurface(cell_px=7, radius_px=2, tau_us=50.0, window_us=window_us)
        total = sum(math.exp(-age / 50) for age in ages)  # the second sees the first, too
        np.testing.assert_allclose(chosen(events).sum(), total / 3, rtol=1e-6)


def frame_numbers(chosen: EventFrames, events: Events) -> list[int]:
    return [int(each.sum()) for each in chosen(events)]


def test_frames_of_a_count_keep_the_last_one_or_drop_it() -> None:
    events = random_events(1_000, seed=14)
    assert frame_numbers(EventFrames(count=300), events) == [300, 300, 300, 100]
    assert frame_numbers(EventFrames(count=300, partial="drop"), events) == [300, 300, 300]
    assert frame_numbers(EventFrames(count=500, partial="drop"), events) == [500, 500]
    assert frame_numbers(EventFrames(count=2_000, partial="drop"), events) == []


def test_frames_of_a_duration_keep_the_last_one_or_drop_it() -> None:
    events = random_events(1_000, seed=15, start_us=0, span_us=10_000)
    kept = EventFrames(duration_us=3_000)(events, start_us=0)
    dropped = EventFrames(duration_us=3_000, partial="drop")(events, start_us=0)
    assert len(kept) == 4
    assert int(kept.sum()) == 1_000
    assert torch.equal(dropped, kept[:3])
    whole = EventFrames(duration_us=events.duration_us + 1, partial="drop")(events)
    assert [int(each.sum()) for each in whole] == [1_000]


@pytest.mark.parametrize("frames", [1, 3, 7, 1_500])
def test_frames_of_equal_numbers_differ_by_one_event_at_most(frames: int) -> None:
    events = random_events(1_000, seed=16)
    numbers = frame_numbers(EventFrames(frames=frames), events)
    assert len(numbers) == frames
    assert sum(numbers) == 1_000
    assert max(numbers) - min(numbers) <= 1


def test_each_frame_has_the_events_that_follow_those_of_the_one_before() -> None:
    events = random_events(700, seed=17)
    found = EventFrames(count=150)(Blocks(events, 64))
    for k, frame in enumerate(found):
        expected = np.zeros((2, HEIGHT, WIDTH))
        some = events[150 * k : 150 * (k + 1)]
        np.add.at(expected, (some.p.astype(int), some.y, some.x), 1)
        assert np.array_equal(frame.numpy(), expected)


def test_a_given_number_of_frames_refuses_or_ignores_what_is_behind_them() -> None:
    events = random_events(1_000, seed=18)
    with refused(ShapeError, "400 events", "2 frames"):
        EventFrames(frames=2, count=300)(events)
    with refused(ShapeError, "window"):
        EventFrames(frames=2, duration_us=300)(events)
    chosen = EventFrames(frames=2, count=300, outside="ignore")
    assert frame_numbers(chosen, events) == [300, 300]
    assert frame_numbers(EventFrames(frames=4, count=300), events) == [300, 300, 300, 100]
    later = chosen(events, start_us=int(events.t[100]))
    assert torch.equal(later[0], chosen(events.between(int(events.t[100]), None))[0])


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda: EventFrames(), "frames"),
        (lambda: EventFrames(count=5, duration_us=5), "duration_us"),
        (lambda: EventFrames(count=5, partial="dorp"), "'drop'"),
        (lambda: EventFrames(count=5).shape(SIZE), "frames"),
        (lambda: EventFrames(count=0), "count = 0"),
        (lambda: VoxelGrid(bins=0), "bins = 0"),
        (lambda: VoxelGrid(bins=2, duration_us=-1), "duration_us = -1"),
        (lambda: TimeSurface(tau_us=0), "tau_us = 0"),
        (lambda: DecayedCounts(tau_us=math.nan), "tau_us = nan"),
        (lambda: Tore(latest=0), "latest = 0"),
        (lambda: Tore(shortest_us=9, longest_us=9), "9"),
        (lambda: AveragedTimeSurface(cell_px=3, tau_us=1), "3"),
        (lambda: AveragedTimeSurface(tau_us=1, window_us=0), "window_us = 0"),
    ],
)
def test_parameters_that_cannot_be_are_refused(wrong: Any, named: str) -> None:
    with refused((ConfigError, ShapeError), named):
        wrong()
