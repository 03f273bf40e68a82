"""Dense flow by contrast maximisation: exact motions, derivatives, windows of a stream, errors."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dvskit.errors import ArgumentError, ConfigError, EventsError
from dvskit.events import Events, Size
from dvskit.motion import DenseFlow, dense_flow, dense_flow_kernels, flow_over_time
from dvskit.motion.dense_flow import _middle, _Window

SIZE = Size(96, 72)
DURATION_US = 20_000
MIDDLE = np.array([47.5, 35.5])


def moving_points(
    slope: NDArray[np.float64], drift: tuple[float, float], *, seed: int = 0, points: int = 500
) -> Events:
    """Points that move with the velocity slope @ (place - middle) + drift, in px/s.

    Each gives an event of its own polarity wherever it enters a pixel.
    """
    rng = np.random.default_rng(seed)
    times = np.linspace(-0.5, 0.5, 401) * DURATION_US
    start = rng.uniform((-10, -10), (SIZE.width + 10, SIZE.height + 10), (points, 2))
    velocity = (start - MIDDLE) @ slope.T + drift
    # To second order: exact for a drift, and within 0.01 px for the slopes here.
    s = times[:, None, None] * 1e-6
    places = start + s * velocity + s**2 / 2 * (velocity @ slope.T)
    cells = np.floor(places + 0.5).astype(int)
    entered = np.zeros(cells.shape[:2], bool)
    entered[1:] = (np.diff(cells, axis=0) != 0).any(-1)
    entered &= ((cells >= 0) & (cells < (SIZE.width, SIZE.height))).all(-1)
    step, point = np.nonzero(entered)
    x, y = cells[step, point].T
    t = np.round(times[step] - times[0]).astype(np.int64)
    return Events(t=t, x=x, y=y, p=point % 2 == 0, size=SIZE)


def off_px(flow: NDArray[np.float32], truth: NDArray[np.float64], events: Events) -> float:
    """The mean error in px over the window, at pixels with events."""
    off = np.hypot(*np.moveaxis(flow - truth, -1, 0))[events.y, events.x]
    return float(off.mean() * DURATION_US * 1e-6)


def truth_of(slope: NDArray[np.float64], drift: tuple[float, float]) -> NDArray[np.float64]:
    rows, columns = np.mgrid[: SIZE.height, : SIZE.width]
    truth: NDArray[np.float64] = (np.stack([columns, rows], -1) - MIDDLE) @ slope.T + drift
    return truth


STILL = np.zeros((2, 2))


@pytest.mark.parametrize("drift", [(300.0, 0.0), (-250.0, 400.0), (60.0, -90.0)])
def test_a_translation_gives_the_same_flow_everywhere(drift):
    events = moving_points(STILL, drift)
    flow = dense_flow(events)
    assert flow.dtype == np.float32
    assert flow.shape == (72, 96, 2)
    assert off_px(flow, truth_of(STILL, drift), events) < 0.1


@pytest.mark.parametrize("zoom", [8.0, -8.0])
def test_an_expanding_scene_neither_collapses_nor_stands_still(zoom):
    slope = np.eye(2) * zoom
    events = moving_points(slope, (0, 0))
    flow = dense_flow(events)
    truth = truth_of(slope, (0, 0))
    assert off_px(flow, truth, events) < 0.25 * off_px(0 * flow, truth, events)
    inner = np.s_[20:-20, 20:-20]
    zooms = [np.diff(flow[inner][..., k], axis=1 - k).mean() for k in (0, 1)]
    assert np.allclose(zooms, zoom, rtol=0.2)


def test_a_turn_gives_its_flow():
    slope = np.array([[0, -8.0], [8.0, 0]])
    events = moving_points(slope, (100, 0))
    assert off_px(dense_flow(events), truth_of(slope, (100, 0)), events) < 0.3


def test_one_polarity_is_enough():
    events = moving_points(STILL, (200, -150))
    some = events[events.p]
    assert off_px(dense_flow(some), truth_of(STILL, (200, -150)), some) < 0.15


def test_pixels_that_flicker_in_a_still_scene_give_no_flow():
    rng = np.random.default_rng(4)
    pixels = rng.choice(72 * 96, 400, replace=False)
    fired = rng.choice(pixels, 4000)
    events = Events(
        t=np.sort(rng.integers(0, DURATION_US, 4000)), x=fired % 96, y=fired // 96,
        p=pixels.searchsorted(fired) % 2 == 0, size=SIZE,
    )  # fmt: skip
    assert off_px(dense_flow(events), truth_of(STILL, (0, 0)), events) < 0.15


def reversing(slow: int = 1) -> Events:
    """Points that move at 300 px/s, then back, then at 300 px/s again; 20 ms each, times `slow`."""
    parts = [
        moving_points(STILL, (speed, 0.0), seed=n) for n, speed in enumerate((-300, 300, -300))
    ]
    return Events.concatenate([
        Events(t=(part.t + n * (DURATION_US + 1)) * slow, x=part.x, y=part.y, p=part.p, size=SIZE)
        for n, part in enumerate(parts)
    ])  # fmt: skip


def test_a_motion_that_reverses_in_a_long_window_has_the_flow_of_the_middle():
    slow = 4  # the middle 80 ms move at 75 px/s
    events = reversing(slow)
    part = events[(events.t >= 80_000) & (events.t <= 160_000)]
    flow = dense_flow(events)
    assert off_px(flow, truth_of(STILL, (300 / slow, 0)), part) < 0.15


def test_a_long_window_of_few_events_is_used_in_a_wider_middle():
    least, count = SIZE.width * SIZE.height // 4, 3000
    rng = np.random.default_rng(7)
    events = Events(
        t=np.arange(count) * 100, x=rng.integers(0, SIZE.width, count),
        y=rng.integers(0, SIZE.height, count), p=rng.random(count) < 0.5, size=SIZE,
    )  # fmt: skip
    middle = _middle(events)
    assert least <= len(middle) <= least + 1
    assert middle.t[0] + middle.t[-1] == pytest.approx(events.t[0] + events.t[-1], abs=200)
    few = events[:least]
    assert _middle(few) == few


def test_events_all_at_the_time_of_the_middle_leave_the_window_whole():
    t = np.concatenate([[0], np.full(2000, 500_000), [1_000_000]])
    events = Events(t=t, x=t % 7, y=t % 5, p=t > 0, size=SIZE)
    assert _middle(events) == events
    assert np.isfinite(dense_flow(events)[events.y, events.x]).all()


@pytest.mark.parametrize("count", [100, 4000])
def test_noise_has_a_flow_of_exactly_0_where_it_has_one(count):
    rng = np.random.default_rng(count)
    events = Events(
        t=np.sort(rng.integers(0, DURATION_US, count)), x=rng.integers(0, SIZE.width, count),
        y=rng.integers(0, SIZE.height, count), p=rng.random(count) < 0.5, size=SIZE,
    )  # fmt: skip
    assert not dense_flow(events)[events.y, events.x].any()


def test_flow_is_known_near_events_alone():
    events = moving_points(STILL, (300, 0))
    left = events[events.x < 30]
    flow = dense_flow(left, patch_px=8)
    assert np.isfinite(flow[left.y, left.x]).all()
    assert np.isnan(flow[:, 30 + 8 :]).all()
    assert (np.isnan(flow[..., 0]) == np.isnan(flow[..., 1])).all()


def test_derivatives_of_the_cost_are_those_of_differences():
    window = _Window(moving_points(STILL, (300, 100)), 1.0)
    rng = np.random.default_rng(2)
    for step in (16, 64):
        window.level(step)
        sides = -(-(SIZE.height - 1) // step) + 1, -(-(SIZE.width - 1) // step) + 1
        nodes = rng.normal(4, 2, (*sides, 2))
        slopes = window.cost(nodes)[1]
        for _ in range(5):
            way = rng.normal(size=nodes.shape)
            ahead, behind = (window.cost(nodes + sign * 1e-2 * way)[0] for sign in (1, -1))
            expected = (ahead - behind) / 2e-2
            assert np.vdot(slopes, way) == pytest.approx(expected, rel=0.02, abs=2e-3)


def test_events_that_cancel_have_no_contrast_and_are_no_fault():
    x, y = np.divmod(np.arange(60) // 2, 6)
    events = Events(t=np.arange(60) // 2, x=5 * x, y=5 * y, p=np.arange(60) % 2 == 0, size=SIZE)
    assert np.isfinite(dense_flow(events)[5 * y, 5 * x]).all()


@pytest.mark.parametrize("name", ["variation", "bending"])
def test_derivatives_of_the_penalties_are_those_of_differences(name):
    penalty = getattr(dense_flow_kernels, name)
    rng = np.random.default_rng(3)
    nodes, way = rng.normal(size=(2, 5, 4, 2))
    slopes = np.zeros_like(nodes)
    penalty(nodes, 0.05, slopes)
    ahead, behind = (penalty(nodes + s * 1e-6 * way, 0.05, 0 * nodes) for s in (1, -1))
    assert np.vdot(slopes, way) == pytest.approx((ahead - behind) / 2e-6, rel=1e-6)


def test_bending_does_not_count_against_a_slope_but_variation_does():
    rows, columns = np.mgrid[:5, :6].astype(float)
    plane = np.stack([2 * rows - columns, 3 * columns], -1)
    assert dense_flow_kernels.bending(plane, 0.05, 0 * plane) == pytest.approx(0, abs=1e-12)
    assert dense_flow_kernels.variation(plane, 0.05, 0 * plane) > 10


def test_gathering_is_the_transpose_of_interpolating():
    rng = np.random.default_rng(5)
    x, y = rng.uniform(0, 95, 50), rng.uniform(0, 71, 50)
    nodes = rng.normal(size=(6, 7, 2))
    at_x, at_y, slope_x, slope_y = (*np.empty((2, 50)), *rng.normal(size=(2, 50)))
    dense_flow_kernels.interpolate(x, y, nodes, 16.0, at_x, at_y)
    pulled = np.zeros_like(nodes)
    dense_flow_kernels.gather(x, y, slope_x, slope_y, 16.0, pulled)
    assert np.vdot(pulled, nodes) == pytest.approx(at_x @ slope_x + at_y @ slope_y)


def test_the_flow_does_not_depend_on_threads_or_on_an_earlier_call():
    events = moving_points(STILL, (-250, 400))
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = dense_flow(events)
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(one, dense_flow(events), equal_nan=True)


class Cut:
    """Events in blocks of some length."""

    def __init__(self, events: Events, count: int) -> None:
        self.size, self._events, self._count = events.size, events, count

    def __iter__(self) -> Iterator[Events]:
        yield Events.empty(self.size)
        for start in range(0, len(self._events), self._count):
            yield self._events[start : start + self._count]


WINDOWS = [
    {"count": 400},
    {"duration_us": 10_000},
    {"duration_us": 8_000, "at_us": [5_000, 9_000]},
]


@pytest.mark.parametrize("how", WINDOWS, ids=str)
def test_flow_over_time_does_not_depend_on_how_the_stream_is_cut(how):
    events = moving_points(STILL, (300, 100), points=120)
    whole = list(flow_over_time(events, **how))
    assert len(whole) >= 2
    for (t_us, flow), (other_us, other) in zip(
        whole, flow_over_time(Cut(events, 97), **how), strict=True
    ):
        assert t_us == other_us
        assert np.array_equal(flow, other, equal_nan=True)


def test_the_last_window_has_as_many_events_as_the_others():
    events = moving_points(STILL, (300, 100), points=120)
    *_, (_, last) = flow_over_time(events, count=len(events) - 60)
    part = events[60:]
    start = dense_flow(events[:-60])
    assert np.array_equal(last, dense_flow(part, start=start), equal_nan=True)


def test_flow_at_a_time_is_that_of_the_window_around_it():
    events = moving_points(STILL, (300, 100))
    found = dict(flow_over_time(events, duration_us=8_000, at_us=[10_000, 90_000]))
    assert np.array_equal(found[10_000], dense_flow(events.between(6_000, 14_000)), equal_nan=True)
    assert np.isnan(found[90_000]).all()


def test_a_start_in_the_right_place_changes_little():
    events = moving_points(STILL, (300, 100))
    flow = dense_flow(events)
    again = dense_flow(events, start=flow)
    assert off_px(again, flow.astype(float), events) < 0.1


def first(**how):
    return next(iter(flow_over_time(moving_points(STILL, (300, 0)), **how)))


FAULTS = [
    (lambda: dense_flow(Events.empty(SIZE)), EventsError, "0 events are too few"),
    (lambda: dense_flow(moving_points(STILL, (300, 0))[:49]), EventsError, "at least 50"),
    (
        lambda: dense_flow(Events(t=[7] * 60, x=[1] * 60, y=[2] * 60, p=[True] * 60, size=SIZE)),
        EventsError, "take a longer window",
    ),
    (lambda: dense_flow(moving_points(STILL, (300, 0)), patch_px=2), ConfigError, "4 to 512"),
    (
        lambda: dense_flow(moving_points(STILL, (300, 0)), smoothness=float("nan")),
        ConfigError, "0.01 to 100",
    ),
    (
        lambda: dense_flow(moving_points(STILL, (300, 0)), start=np.zeros((3, 3), np.float32)),
        ConfigError, r"must be a flow \(72, 96, 2\)",
    ),
    (lambda: first(at_us=[1]), ConfigError, "need duration_us"),
    (lambda: list(flow_over_time(Events.empty(SIZE), duration_us=9, at_us=[5, 5])), ConfigError,
     "5 comes after 5"),
    (lambda: first(count=5, duration_us=5), ConfigError, "not by both"),
    (lambda: dense_flow("a.raw"), ArgumentError, "events"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "said"), FAULTS)
def test_faults_are_one_line_with_the_fix(call, kind, said):
    with pytest.raises(kind, match=said) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_all_events_at_one_pixel_give_a_flow():
    events = Events(
        t=np.arange(100) * 10, x=np.zeros(100, int), y=np.zeros(100, int),
        p=np.ones(100, bool), size=(2, 2),
    )  # fmt: skip
    assert np.isfinite(dense_flow(events)).all()


def test_each_event_has_the_dense_flow_of_its_window_however_the_stream_is_cut():
    events = moving_points(np.zeros((2, 2)), (300.0, -150.0))
    count = len(events) * 2 // 3
    (_, first), (_, last) = flow_over_time(events, count=count)
    expected = np.concatenate([
        first[events.y[:count], events.x[:count]], last[events.y[count:], events.x[count:]]
    ])  # fmt: skip
    for cuts in ([], [7, 500], list(range(0, len(events), 900))):
        step = DenseFlow(count=count).start(SIZE)
        parts = [step(part) for part in pieces(events, cuts)]
        found = [*parts, step.finish()]
        assert Events.concatenate([each.events for each in found]) == events
        for column, name in enumerate(("vx", "vy")):
            whole = np.concatenate([getattr(each, name) for each in found])
            assert np.array_equal(whole, expected[:, column], equal_nan=True)


def pieces(events: Events, cuts: list[int]) -> list[Events]:
    borders = [0, *cuts, len(events)]
    return [events[start:stop] for start, stop in pairwise(borders)]
