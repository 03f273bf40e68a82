"""Contrast maximization: its warps, votes and derivatives, and the motions that it finds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dvskit.errors import ConfigError, EventsError
from dvskit.events import Events
from dvskit.formats import open_events
from dvskit.motion import contrast_kernels as kernels
from dvskit.motion import maximize_contrast
from dvskit.motion.contrast import MODELS, OBJECTIVES, ContrastWindow, model_of
from dvskit.scenes.planes import rotation_of
from tests.laws import refused, scattered
from tests.moving_points import BARREL, LENS, MOTIONS, SIZE, moving_points


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("model", MODELS)
def test_derivatives_of_the_contrast_are_its_differences(model, objective):
    events, motion = moving_points(model, MOTIONS[model], count=1000), np.array(MOTIONS[model])
    window = ContrastWindow(events, model_of(model, events, 10_000.0, BARREL), objective)
    whole, at = window.frame(motion, 1), 0.9 * motion + 0.1
    for frame in (whole, window.covered(motion, whole)):
        slope = window.contrast(at, frame)[1]
        for k, step in enumerate(1e-2 * np.abs(motion)):
            aside = np.eye(len(at))[k] * step
            ahead, behind = (window.contrast(at + way * aside, frame)[0] for way in (1, -1))
            assert slope[k] == pytest.approx((ahead - behind) / (2 * step), rel=0.02)


def test_contrast_is_measured_where_the_sensor_sees_the_whole_window():
    events, motion = moving_points("translation", (1500.0, -600.0)), np.array([1500.0, -600.0])
    window = ContrastWindow(events, model_of("translation", events, 10_000.0, None), "variance")
    frame = window.frame(motion, 1)
    mask = window.covered(motion, frame).mask
    rows, columns = np.nonzero(mask)
    x = columns + 0.5 + frame.corner[0]
    assert abs(x.min() - 15) < 4  # it moves 15 pixels in half a window, and blur reaches 2
    assert abs(x.max() - (119 - 15)) < 4
    assert mask.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    very_fast = window.covered(12 * motion, window.frame(12 * motion, 1))
    assert very_fast.area == 120 * 90  # no part is seen for long


def spline(distance: float) -> float:
    """The quadratic B-spline: a box of width 1 convolved with itself twice."""
    away = abs(distance)
    return 0.75 - away**2 if away < 0.5 else 0.5 * max(1.5 - away, 0.0) ** 2


def test_votes_are_those_of_a_quadratic_spline_and_slopes_their_derivatives():
    rng, sides, corner, cell = np.random.default_rng(1), (9, 12), (-3.0, 2.0), 1.5
    x, y = rng.uniform(-6, 18, 60).astype(np.float32), rng.uniform(-1, 18, 60).astype(np.float32)
    x[0] = np.nan
    sign, weights = rng.choice([-1, 1], 60).astype(np.float32), rng.normal(size=sides)
    weights = weights.astype(np.float32)
    image, slopes = np.zeros(sides, np.float32), np.zeros((2, 60), np.float32)
    kernels.vote(x, y, sign, image, corner, cell)
    kernels.slopes(x, y, sign, weights, corner, cell, *slopes)

    def votes(n: int, right: float = 0.0, low: float = 0.0) -> np.ndarray:
        at_x, at_y = (x[n] + right - corner[0]) / cell, (y[n] + low - corner[1]) / cell
        if not (1 <= (x[n] - corner[0]) / cell < 11 and 1 <= (y[n] - corner[1]) / cell < 8):
            return np.zeros(sides)
        across = np.array([spline(at_x - column - 0.5) for column in range(12)])
        down = np.array([spline(at_y - row - 0.5) for row in range(9)])
        return sign[n] * np.outer(down, across)

    np.testing.assert_allclose(image, sum(votes(n) for n in range(60)), atol=1e-5)
    for n in range(60):
        for axis, step in ((0, (1e-4, 0.0)), (1, (0.0, 1e-4))):
            back = [-each for each in step]
            change = np.vdot(weights, votes(n, *step) - votes(n, *back)) / 2e-4
            assert slopes[axis, n] == pytest.approx(change, abs=3e-3)
    assert not slopes[:, 0].any()


@pytest.mark.parametrize("turn", [(0.4, -0.7, 1.9), (1e-9, 0.0, 0.0), (20.0, -35.0, 50.0)])
def test_the_warp_of_a_rotation_is_k_r_k_inverse(turn):
    events = scattered(200, SIZE, span_us=40_000, on=1.0)
    places = model_of("rotation", events, 20_000.0, LENS).moved(np.array(turn))
    for n in range(200):
        rotation = rotation_of(np.array(turn) * (events.t[n] - 20_000) * 1e-6)
        seen = LENS.matrix @ rotation @ np.linalg.inv(LENS.matrix) @ [events.x[n], events.y[n], 1]
        if seen[2] <= 0:
            assert np.isnan(places.x[n])
        else:
            there = np.array([places.x[n], places.y[n]])
            np.testing.assert_allclose(there, seen[:2] / seen[2], rtol=2e-5, atol=2e-3)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_known_motion_is_found_from_any_start(model, objective):
    events, motion = moving_points(model, MOTIONS[model], camera=BARREL), np.array(MOTIONS[model])
    for start in (None, 0 * motion, -motion, 3 * motion):
        found = maximize_contrast(events, model, camera=BARREL, objective=objective, start=start)
        assert found.converged
        assert not found.still
        assert found.rival is None
        assert found.names == MODELS[model].parameters
        assert np.linalg.norm(found.parameters - motion) < 0.02 * np.linalg.norm(motion)


@pytest.mark.parametrize("velocity", [(0.0, 0.0), (3.0, 40.0), (4000.0, -1000.0)])
def test_velocities_from_rest_to_two_thirds_of_the_sensor_are_found(velocity):
    found = maximize_contrast(moving_points("translation", velocity))
    np.testing.assert_allclose(found.parameters, velocity, atol=6)
    assert found.still == (velocity == (0.0, 0.0))


def test_swapped_polarities_give_the_same_motion():
    events = moving_points("translation", (250.0, 90.0))
    whole = maximize_contrast(events)
    swapped = Events(t=events.t, x=events.x, y=events.y, p=~events.p, size=events.sensor_size)
    np.testing.assert_allclose(maximize_contrast(swapped).parameters, whole.parameters, atol=0.1)


def test_a_shifted_clock_changes_nothing_but_the_time():
    one, other = (
        maximize_contrast(moving_points("translation", (250.0, 90.0), start_us=start_us))
        for start_us in (0, 10**15)
    )
    assert other.t_us - one.t_us == 10**15
    np.testing.assert_array_equal(one.parameters, other.parameters)


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_still(seed):
    found = maximize_contrast(scattered(4000, SIZE, span_us=20_000, seed=seed))
    assert found.still
    assert np.linalg.norm(found.parameters) * 0.02 < 20  # pixels: next to rest


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (34, 34), (2000, 1), (1, 2000)])
@pytest.mark.parametrize("model", MODELS)
def test_any_size_of_sensor_and_any_events_give_finite_motions(size, model):
    camera = LENS._replace(cx=size[0] / 2, cy=size[1] / 2)
    some = scattered(300, size, span_us=20_000)
    for t in (some.t, np.repeat([0, 10**12], 150), [0] * 299 + [1]):
        events = Events(t=t, x=some.x, y=some.y, p=some.p, size=size)
        found = maximize_contrast(events, model, camera=camera)
        assert np.isfinite(found.parameters).all()
        assert np.isfinite([found.contrast, found.contrast_at_rest]).all()


def test_two_motions_that_are_as_good_are_both_reported():
    one = moving_points("translation", (600.0, 0.0))
    t, p, y = (np.repeat(column, 2) for column in (one.t, one.p, one.y))
    x = np.stack([one.x, 119 - one.x], 1)  # and their mirror image, in turn before and behind
    x[::2] = x[::2, ::-1].copy()
    found = maximize_contrast(Events(t=t, x=x.ravel(), y=y, p=p, size=SIZE))
    assert found.rival is not None
    both = sorted([found.parameters[0], found.rival[0]])
    np.testing.assert_allclose(both, (-600, 600), atol=12)


@pytest.mark.parametrize("name", ["boxes", "poster"])
def test_real_rotations_are_found(data, name):
    recording = open_events(data / "motion" / f"{name}_rotation")
    found = maximize_contrast(recording.load(), "rotation", camera=recording.intrinsics())
    known = np.loadtxt(data / "motion" / f"{name}_rotation" / "motion.txt")
    speed, right = np.linalg.norm(found.parameters), np.linalg.norm(known)
    assert math.degrees(math.acos(found.parameters @ known / speed / right)) < 4
    assert 0.8 < speed / right < 1.2


EVENTS = moving_points("translation", (1.0, 1.0))
AT_ONCE = Events(t=0 * EVENTS.t, x=EVENTS.x, y=EVENTS.y, p=EVENTS.p, size=SIZE)
BEYOND = LENS._replace(k1=-1e5, cx=1e5)


@pytest.mark.parametrize(
    ("call", "kind", "named"),
    [
        (lambda: maximize_contrast(EVENTS[:20]), EventsError, "20 events"),
        (lambda: maximize_contrast(AT_ONCE), EventsError, "0 us"),
        (lambda: maximize_contrast(EVENTS, "rotation"), ConfigError, "camera"),
        (lambda: maximize_contrast(EVENTS, "rotation", camera=BEYOND), ConfigError, "calibration"),
        (lambda: maximize_contrast(EVENTS, start=np.array([1.0, np.nan])), ConfigError, "vx_px_s"),
        (lambda: maximize_contrast(EVENTS, start=np.ones(3)), ConfigError, "vx_px_s"),
        (lambda: maximize_contrast(EVENTS, "rotate"), ConfigError, "'rotation'"),
        (lambda: maximize_contrast(EVENTS, objective="var"), ConfigError, "'var'"),
    ],
)
def test_wrong_events_and_values_are_refused(call, kind, named):
    with refused(kind, named):
        call()
