"""Motion over recordings, warped images, and stabilized recordings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dvskit.errors import ConfigError
from dvskit.events import Events, EventsSource
from dvskit.formats import open_events
from dvskit.motion import Stabilized, maximize_contrast, motion_over_time, warped_image
from dvskit.motion.contrast import MODELS
from dvskit.scenes.planes import rotation_of
from tests.laws import InBlocks, refused
from tests.moving_points import BARREL, LENS, MOTIONS, SIZE, moving_points


@pytest.mark.parametrize("model", MODELS)
def test_motion_over_time_is_that_of_each_window(model):
    events = moving_points(model, MOTIONS[model], duration_us=60_000, count=12_000, camera=BARREL)
    motions = motion_over_time(events, model, window_us=20_000, camera=BARREL)
    assert motions.names == MODELS[model].parameters
    assert len(motions) == 3
    assert motions.events.sum() == len(events)
    assert motions.converged.all()
    for row in motions.parameters:
        error = np.linalg.norm(row - MOTIONS[model]) / np.linalg.norm(MOTIONS[model])
        assert error < (0.2 if model == "similarity" else 0.04)


def test_windows_of_too_few_events_are_unknown_and_counted():
    events = moving_points("translation", MOTIONS["translation"])
    later = Events(t=events.t[:20] + 100_000, x=events.x[:20], y=events.y[:20], p=events.p[:20],
                   size=SIZE)  # fmt: skip
    motions = motion_over_time(Events.concatenate([events, later]), window_us=20_000)
    assert motions.unknown == 1
    assert motions.events.tolist() == [len(events), 20]
    assert np.isnan(motions.parameters[1]).all()
    assert not motions.still[1]
    assert not motions.converged[1]
    np.testing.assert_array_equal(motions.held()[1], motions.parameters[0])
    assert not len(motion_over_time(events[:0], count=100))


def test_reports_follow_the_windows():
    events, seen = moving_points("translation", MOTIONS["translation"]), []
    motions = motion_over_time(events, count=2000, on_window=lambda *row: seen.append(row))
    assert seen == [(n + 1, t) for n, t in enumerate(motions.stop_us.tolist())]


@pytest.mark.parametrize("model", MODELS)
def test_a_warped_image_is_sharper_and_holds_the_events(model):
    events = moving_points(model, MOTIONS[model])
    motion = maximize_contrast(events, model, camera=LENS)
    image = warped_image(events, motion, camera=LENS)
    assert image.shape == SIZE[::-1]
    assert image.dtype == np.float32
    at_rest = replace(motion, parameters=0 * motion.parameters)
    assert image.var() > 1.5 * warped_image(events, at_rest, camera=LENS).var()
    one = warped_image(events[events.p], motion, camera=LENS)
    assert 0.7 * events.p.sum() < one.sum() <= events.p.sum() + 1e-2


@pytest.mark.parametrize("model", MODELS)
def test_stabilized_points_stay_where_they_were(model):
    motion = MOTIONS[model]
    events = moving_points(model, motion, duration_us=60_000, count=20_000)
    motions = motion_over_time(events, model, window_us=15_000, camera=LENS)
    motions.parameters[:] = motion
    stable = Stabilized(InBlocks(events, 50), motions, camera=LENS)
    moved = stable.load()
    assert stable.left_by_motion == len(events) - len(moved) > 0
    assert stable.left_by_undistortion == 0
    before, after = (len(np.unique(each.x + 1000 * each.y)) for each in (events, moved))
    assert after < 0.35 * before  # at most a few pixels a point


def test_stabilized_events_are_turned_back_through_one_window_after_the_other():
    events = moving_points("rotation", (0.0, 0.0, 0.0), duration_us=40_000)
    motions = motion_over_time(events, "rotation", window_us=14_000, camera=LENS)
    motions.parameters[:] = velocities = [(9.0, 0.0, 9.0), (0.0, -9.0, 3.0), (-8.0, 8.0, 0.0)]
    stable = Stabilized(events, motions, camera=LENS)
    borders = [events.t[0], *((motions.t_us[:-1] + motions.t_us[1:]) // 2)]
    before = np.eye(3)
    for velocity, duration_us in zip(velocities[:2], np.diff(borders), strict=True):
        before = before @ rotation_of(np.array(velocity) * duration_us * 1e-6)
    last = np.nonzero(events.t > borders[2])[0][-300:]
    there = []
    for n in last:
        turn = before @ rotation_of(np.array(velocities[2]) * (events.t[n] - borders[2]) * 1e-6)
        x, y, z = LENS.matrix @ turn @ np.linalg.inv(LENS.matrix) @ [events.x[n], events.y[n], 1]
        there.append((x / z, y / z))
    there = [place for place in there if -0.5 <= place[0] < 119.5 and -0.5 <= place[1] < 89.5]
    moved = stable.load()[-len(there) :]
    assert len(there) > 100
    assert stable.left_by_motion
    assert np.abs(moved.x - np.array(there)[:, 0]).max() < 0.6
    assert np.abs(moved.y - np.array(there)[:, 1]).max() < 0.6


@pytest.mark.parametrize("motion", [(0.0, 0.0, 0.0), MOTIONS["rotation"]])
def test_events_that_leave_by_undistortion_and_by_motion_are_counted_apart(motion):
    events = moving_points("rotation", motion, duration_us=60_000, count=20_000, camera=BARREL)
    motions = motion_over_time(events, "rotation", window_us=15_000, camera=BARREL)
    motions.parameters[:] = motion
    stable = Stabilized(InBlocks(events, 50), motions, camera=BARREL)
    kept = len(stable.load())
    assert kept + stable.left_by_undistortion + stable.left_by_motion == len(events)
    assert (stable.left_by_motion > 0) == any(motion)
    places = BARREL.directions(events.x.astype(float), events.y.astype(float))[:2]
    x, y = np.floor(np.add(LENS.pixels(*places), 0.5))
    outside = np.count_nonzero((x < 0) | (x >= SIZE[0]) | (y < 0) | (y >= SIZE[1]))
    least = 1 if any(motion) else outside  # the motion brings some back
    assert least <= stable.left_by_undistortion <= outside


@pytest.mark.slow(seconds=3)
def test_the_turn_of_a_real_recording_is_that_of_its_gyroscope(data):
    recording = open_events(data / "recordings" / "davis240c_aps_imu.aedat")
    part = recording.between(None, int(next(iter(recording)).t[0]) + 1_000_000)
    motions = motion_over_time(part, "similarity", window_us=100_000)
    imu = recording.imu()
    inside = [(imu.t >= a) & (imu.t <= b)
              for a, b in zip(motions.start_us, motions.stop_us, strict=True)]  # fmt: skip
    shown = [-np.radians(imu.gyroscope[each, 2]).mean() for each in inside]  # about -z in the file
    assert len(motions) == 10
    assert not motions.still.any()
    np.testing.assert_allclose(motions.parameters[:, 2], shown, atol=0.05)


EVENTS = moving_points("translation", (1.0, 1.0))
ROTATING = motion_over_time(EVENTS, "rotation", count=1000, camera=LENS)
NONE = motion_over_time(EVENTS[:0], count=100)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: motion_over_time(EVENTS), "window_us="),
        (lambda: motion_over_time(EVENTS, window_us=1000, count=100), "window_us="),
        (lambda: motion_over_time(EventsSource(EVENTS), "rotation", count=1000), "camera"),
        (lambda: Stabilized(EVENTS, NONE), "motions"),
        (lambda: Stabilized(EVENTS, ROTATING), "camera"),
    ],
)
def test_wrong_windows_and_motions_are_refused(call, named):
    with refused(ConfigError, named):
        call()
