"""Dense flow of events by contrast maximization, and flow between frames: known motions, errors."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dvskit.errors import ConfigError, EventsError, VideoError
from dvskit.events import Events
from dvskit.motion import DenseFlow, dense_flow, flow_over_time, frame_flow
from dvskit.motion import contrast_kernels as dense_flow_kernels
from dvskit.scenes import Patch, PlaneScene, SteadyPath
from dvskit.scenes.planes import noise_texture
from dvskit.streams import Frame
from tests.laws import refused, scattered
from tests.moving_points import SIZE, moving_points

DURATION_US = 20_000


def off_px(flow: NDArray[np.float32], truth: NDArray[np.float64], events: Events) -> float:
    """The mean error in px over the window, at pixels with events."""
    off = np.hypot(*np.moveaxis(flow - truth, -1, 0))[events.y, events.x]
    return float(off.mean() * DURATION_US * 1e-6)


def truth_of(vx: float, vy: float, turn: float = 0.0, zoom: float = 0.0) -> NDArray[np.float64]:
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    away = columns - 59.5 + 1j * (rows - 44.5)
    velocity = (zoom + 1j * turn) * away + vx + 1j * vy
    return np.stack([velocity.real, velocity.imag], -1)


POINTS = moving_points("translation", (300, 100))


@pytest.mark.parametrize("drift", [(300.0, 0.0), (-250.0, 400.0), (60.0, -90.0)])
def test_a_translation_gives_the_same_flow_everywhere(drift):
    events = moving_points("translation", drift)
    flow = dense_flow(events)
    assert flow.dtype == np.float32
    assert flow.shape == (90, 120, 2)
    assert off_px(flow, truth_of(*drift), events) < 0.1


def test_one_polarity_is_enough():
    some = POINTS[POINTS.p]
    assert off_px(dense_flow(some), truth_of(300, 100), some) < 0.15


@pytest.mark.parametrize(("turn", "zoom"), [(0, 8), (0, -8), (8, 0)])
def test_a_scene_that_expands_shrinks_or_turns_gives_its_flow(turn, zoom):
    events = moving_points("similarity", (0, 0, turn, zoom))
    assert off_px(dense_flow(events), truth_of(0, 0, turn, zoom), events) < 0.25


@pytest.mark.parametrize(
    ("count", "size", "seed"),
    [(100, SIZE, 1), (4000, SIZE, 1), (30_000, SIZE, 4), (1000, (64, 48), 4), (1000, (34, 34), 0)],
)
def test_noise_has_a_flow_of_exactly_0_where_it_has_one(count, size, seed):
    events = scattered(count, size, span_us=DURATION_US, seed=seed)
    assert not dense_flow(events)[events.y, events.x].any()


@pytest.mark.parametrize("slow", [4, 40])
def test_the_flow_of_a_long_window_is_that_of_its_middle(slow):
    """Points move at 300 px/s, then back, then on again, for 20 ms each, times `slow`.

    The middle is 60 ms, or more until it has an event for each four pixels.
    """
    parts = [moving_points("translation", (speed, 0.0)) for speed in (-300, 300, -300)]
    events = Events.concatenate([
        Events(t=(part.t + n * (DURATION_US + 1)) * slow, x=part.x, y=part.y, p=part.p, size=SIZE)
        for n, part in enumerate(parts)
    ])  # fmt: skip
    away = np.abs(events.t - (events.t[0] + events.t[-1]) / 2)
    part = events[away <= max(30_000, np.sort(away)[120 * 90 // 4 - 1])]
    flow = dense_flow(events)
    assert 1000 < len(part) < len(events)
    assert np.array_equal(flow[part.y, part.x], dense_flow(part)[part.y, part.x])
    assert off_px(flow, truth_of(300 / slow, 0), part) < 0.15


@pytest.mark.parametrize(
    ("t", "x", "y", "p"),
    [
        (np.arange(60) // 2, np.arange(60) // 2 % 6, np.arange(60) // 12, np.arange(60) % 2 == 0),
        (np.repeat([0, 10**6 // 2, 10**6], [1, 58, 1]), np.arange(60) % 7, np.arange(60) % 5,
         np.arange(60) > 9),
    ],
    ids=["canceled by the other polarity", "at the time of the middle"],
)  # fmt: skip
def test_windows_without_contrast_have_a_flow(t, x, y, p):
    events = Events(t=t, x=x, y=y, p=p, size=SIZE)
    assert np.isfinite(dense_flow(events)[events.y, events.x]).all()


def test_flow_is_known_near_events_alone():
    left = POINTS[POINTS.x < 30]
    flow = dense_flow(left, patch_px=8)
    assert np.isfinite(flow[left.y, left.x]).all()
    assert np.isnan(flow[:, 30 + 8 :]).all()
    assert (np.isnan(flow[..., 0]) == np.isnan(flow[..., 1])).all()


@pytest.mark.parametrize("name", ["variation", "bending"])
def test_derivatives_of_the_penalties_are_those_of_differences(name):
    penalty = getattr(dense_flow_kernels, name)
    nodes, way = np.random.default_rng(3).normal(size=(2, 5, 4, 2))
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


def test_the_flow_hardly_depends_on_the_start():
    one = dense_flow(POINTS)
    assert off_px(dense_flow(POINTS, start=one), one.astype(float), POINTS) < 0.1


def test_the_last_window_has_as_many_events_as_the_others():
    count = len(POINTS) - 60
    *_, (_, last) = flow_over_time(POINTS, count=count)
    expected = dense_flow(POINTS[60:], start=dense_flow(POINTS[:-60]))
    assert np.array_equal(last, expected, equal_nan=True)


def test_flow_at_a_time_is_that_of_the_window_around_it():
    found = dict(flow_over_time(POINTS, duration_us=8_000, at_us=[10_000, 90_000]))
    expected = dense_flow(POINTS.between(6_000, 14_000))
    assert np.array_equal(found[10_000], expected, equal_nan=True)
    assert np.isnan(found[90_000]).all()


def test_each_event_has_the_dense_flow_of_its_window():
    count = len(POINTS) * 2 // 3
    (_, first), (_, last) = flow_over_time(POINTS, count=count)
    parts = POINTS[:count], POINTS[count:]
    expected = np.concatenate([
        flow[part.y, part.x] for flow, part in zip((first, last), parts, strict=True)
    ])  # fmt: skip
    step = DenseFlow(count=count).start(SIZE)
    found = [step(POINTS), step.finish()]
    assert Events.concatenate([each.events for each in found]) == POINTS
    for column, name in enumerate(("vx", "vy")):
        whole = np.concatenate([getattr(each, name) for each in found])
        assert np.array_equal(whole, expected[:, column], equal_nan=True)


AT_ONCE = Events(t=[7] * 60, x=[1] * 60, y=[2] * 60, p=[True] * 60, size=SIZE)
WRONG = [
    (lambda: dense_flow(POINTS[:0]), EventsError, "0 events"),
    (lambda: dense_flow(POINTS[:49]), EventsError, "49 events"),
    (lambda: dense_flow(AT_ONCE), EventsError, "7 us"),
    (lambda: dense_flow(POINTS, start=np.zeros((3, 3), np.float32)), ConfigError, "(90, 120, 2)"),
    (lambda: list(flow_over_time(POINTS, at_us=[1])), ConfigError, "duration_us"),
    (lambda: list(flow_over_time(POINTS[:0], duration_us=9, at_us=[5, 5])), ConfigError, "5"),
    (lambda: list(flow_over_time(POINTS, count=5, duration_us=5)), ConfigError, "both"),
    (lambda: list(frame_flow(frames()[:1])), VideoError, "1"),
    (lambda: list(frame_flow(frames(rows=8))), VideoError, "96x8"),
    (lambda: next(frame_flow(frames(), preset="best")), ConfigError, "'best'"),
]


@pytest.mark.parametrize(("call", "kind", "named"), WRONG)
def test_wrong_windows_and_values_are_refused(call, kind, named):
    with refused(kind, named):
        call()


# --- flow between frames --------------------------------------------------------------------------


WALL = Patch((0, 0, 2), (4, 0, 0), (0, 3, 0), noise_texture(np.random.default_rng(1), (600, 800)))
SCENE = PlaneScene((WALL,), SteadyPath((0, 0.3, 0.8), (0.3, 0, 0)), None, (96, 72))


def frames(dtype=np.uint8, exposure_us=0, rows=72):
    return [
        Frame(t, t + exposure_us, (SCENE.frame(t)[:rows] >> (16 - np.iinfo(dtype).bits))
              .astype(dtype))
        for t in (0, 20_000, 40_000)
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_flow_between_frames_is_near_the_exact_flow(dtype):
    found = list(frame_flow(frames(dtype)))
    assert [(each.start_us, each.stop_us) for each in found] == [(0, 20_000), (20_000, 40_000)]
    for each in found:
        exact = SCENE.truth((each.start_us + each.stop_us) / 2).flow
        off = np.hypot(*(each.flow - exact)[8:-8, 8:-8].reshape(-1, 2).T)
        assert np.median(off) < 0.12 * np.median(np.hypot(*exact.reshape(-1, 2).T))


def test_frames_are_compared_as_asked():
    assert [each.start_us for each in frame_flow(frames(), [25_000, 26_000])] == [20_000]
    exposed = next(frame_flow(frames(exposure_us=4_000)))
    assert (exposed.start_us, exposed.stop_us) == (2_000, 22_000)  # the middles of the exposures
    colored = [frame._replace(image=np.stack([frame.image] * 3, -1)) for frame in frames()]
    assert np.array_equal(next(frame_flow(colored)).flow, next(frame_flow(frames())).flow)
