"""What a calibration reports: agreement, doubt about noise, errors, and the command."""

from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
import pytest

import dvskit
from dvskit import EmulatorParams, Events
from dvskit.emulator.calibration import calibrate, thresholds
from dvskit.emulator.calibration.coarse import stage
from dvskit.emulator.calibration.noise import Levels
from dvskit.emulator.calibration.observed import observe, see
from dvskit.emulator.calibration.table import Estimate, unknown
from dvskit.errors import EventsError, ShapeError, VideoError
from dvskit.events import EventsSource
from tests.laws import refused, refused_command
from tests.test_calibration import SLIDING, later, recorded, sliding, wandering

# ---- how well an emulation agrees


@pytest.fixture(scope="module")
def plane():
    return sliding()


def staged(plane, *most):
    observed = observe(EventsSource(plane[0]))
    return stage(observed, see(plane[1], observed), *most)


def test_a_recording_agrees_with_itself_and_not_with_its_negative(plane):
    found = staged(plane)
    assert found.agreement(found.recorded).counts == 1.0
    assert found.correlation(found.recorded) == pytest.approx(1.0)
    e = found.recorded
    negative = Events(t=e.t, x=e.x, y=e.y, p=~e.p, size=e.sensor_size)
    assert found.correlation(negative) == pytest.approx(-1.0, abs=0.1)


def test_the_correlation_is_that_of_signed_smoothed_voxels(plane):
    found = staged(plane)
    emulated = found.emulated(SLIDING)
    planes = []
    for events in (found.recorded, emulated):
        bins = -(-(found.stop_us - found.start_us) // 5000)
        voxels = np.zeros((bins, 48, 64))
        bin_of = (events.t - found.start_us) // 5000
        np.add.at(voxels, (bin_of, events.y, events.x), np.where(events.p, 1.0, -1.0))
        planes.append(np.stack([cv2.GaussianBlur(each, (0, 0), 1.0) for each in voxels]))
    expected = np.corrcoef(planes[0].reshape(-1), planes[1].reshape(-1))[0, 1]
    assert found.correlation(emulated) == pytest.approx(expected, abs=1e-5)


def test_of_many_frames_those_are_emulated_where_most_happens(plane):
    few = staged(plane, 20 * 64 * 48)
    assert len(few.frames) == 20
    t = plane[0].t
    assert len(few.recorded) == np.count_nonzero((t >= few.start_us) & (t < few.stop_us))


# ---- what is known of thresholds, and of the noise that they let through


def test_shot_noise_is_as_frequent_as_the_thresholds_give():
    drawn = np.random.default_rng(5).normal(0.12, 0.04, 400_000)
    levels = Levels(0.12, 0.3, 0.04)
    assert levels.oftener(0.12) == pytest.approx(np.mean(0.12 / np.maximum(0.01, drawn)), rel=0.01)
    assert 1.0 < levels.oftener(0.3) < 1.03
    assert levels.share_on > 0.5
    assert levels.reach == pytest.approx(3.5)
    assert Levels().share_on == 0.5


@pytest.mark.parametrize(("sigma", "error"), [(0.02, 0.01), (0.06, 0.004)])
def test_shot_noise_is_doubted_by_as_much_as_the_spread_of_thresholds_leaves_it_open(sigma, error):
    levels = Levels(0.2, 0.15, sigma, error)
    drawn = np.abs(np.random.default_rng(1).normal(sigma, error, 2000))
    oftener = [dataclasses.replace(levels, sigma=each).oftener(0.15) for each in drawn]
    assert levels.doubt(0.15) == pytest.approx(np.std(oftener) / np.mean(oftener), rel=0.25)


def table(on, off, sigma, error):
    values = zip(thresholds.NAMES, (on, off, sigma), (0.0, 0.0, error), strict=True)
    return tuple(Estimate(name, value, wrong, 100, "") for name, value, wrong in values)


def test_a_spread_is_drawn_to_the_usual_one_by_as_much_as_it_may_be_off():
    assert Levels.of(table(0.2, 0.2, 0.07, 1e-6)).sigma == pytest.approx(0.07, abs=1e-4)
    usual = Levels.of((*table(0.3, 0.3, 0.0, 0.0)[:2], unknown("threshold_sigma", "")))
    assert usual.sigma == pytest.approx(0.3 / 0.2 * Levels().sigma)
    vague = Levels.of(table(0.3, 0.3, 0.15, usual.sigma_error))
    assert usual.sigma < vague.sigma < 0.15
    assert 0 < vague.sigma_error < usual.sigma_error
    nothing = Levels.of((unknown("threshold_on", ""), *table(0.3, 0.3, 0.1, 0.01)[1:]))
    assert nothing == Levels()


def test_a_contrast_edge_is_no_refractory_period():
    frames = []
    for number in range(200):
        frame = np.full((24, 24), 50, np.uint8)
        frame[:, : number // 5 % 24] = 200
        frames.append((number * 2000, frame))
    plain = thresholds.find_edge(observe(EventsSource(recorded(frames, EmulatorParams()))).events)
    assert plain is not None  # all steps are alike, so that intervals do have an edge
    assert not plain.confirmed


# ---- what cannot be


def test_a_recording_without_events_is_an_error():
    with refused(EventsError, "0 events"):
        calibrate(Events.empty((8, 8)))


WRONG = [
    (lambda frames: [(t, frame[:, :9]) for t, frame in frames], ShapeError, "frame 0"),
    (lambda frames: later(frames, 10**9), VideoError, "overlap"),
    (lambda frames: [frames[5], frames[4]], VideoError, "frame 1"),
    (lambda frames: frames[:1], VideoError, "1 frame"),
    (lambda frames: [(t, frame / -255.0) for t, frame in frames], ShapeError, "float"),
]


@pytest.mark.parametrize(("wrong", "kind", "named"), WRONG)
def test_frames_that_do_not_fit_are_errors(wrong, kind, named):
    frames = wandering(16, moving_s=0.02, still_s=0)
    with refused(kind, named):
        calibrate(recorded(frames, EmulatorParams()), wrong(frames))


# ---- the command


@pytest.mark.slow
def test_the_command_writes_a_preset_that_emulate_takes(run, tmp_path):
    frames = wandering(16, moving_s=0.4, still_s=1.0)
    frames = [*frames, *((frames[-1][0] + 2000 * n, frames[-1][1]) for n in range(1, 3))]
    dvskit.save_events(recorded(later(frames, 3000), EmulatorParams()), "a.npz")
    dvskit.video.write_video(frames, "a.mp4", fps=500)
    words = ("calibrate", "a.npz", "a.mp4", "--offset", "0ms", "-o", "mine.toml")
    code, out, err = run(*words)
    assert code == 0, err
    assert "threshold_on" in out
    assert out.splitlines()[-1].startswith("agreement")
    # Video of 8 bits is compressed: near enough.
    assert EmulatorParams.preset("mine.toml").threshold_on == pytest.approx(0.2, rel=0.15)
    assert run("emulate", "a.mp4", "again.npz", "--preset", "mine.toml")[0] == 0
    assert len(dvskit.load_events("again.npz")) > 1000

    before = (tmp_path / "mine.toml").read_text()
    assert "offset_us = 0" in before
    refused_command(run("calibrate", "a.npz", "-o", "mine.toml"), "mine.toml")
    assert (tmp_path / "mine.toml").read_text() == before
    code, out, _ = run("calibrate", "a.npz", "--json", "-o", "mine.toml", "--force")
    assert code == 0
    facts = json.loads(out)
    assert {each["name"] for each in facts["estimates"]} >= {"threshold_on", "shot_hz", "hot_hz"}
    assert (tmp_path / "mine.toml").read_text() != before
    assert {file.name for file in tmp_path.iterdir()} == {
        "a.npz", "a.mp4", "again.npz", "mine.toml",
    }  # fmt: skip


def test_bad_input_is_one_line_of_error(run, tmp_path):
    frames = wandering(16, moving_s=0.1, still_s=0)
    dvskit.save_events(recorded(frames, EmulatorParams()), "a.npz")
    for words, ended_with, named in (
        (("a.npz", "-o", "a.toml", "--offset", "9"), 2, "--offset"),
        (("a.npz", "missing"), 1, "missing"),
        (("a.npz", "a.npz"), 1, "without frames"),
        (("a.npz", "-o", "a.txt"), 2, ".toml"),
        (("a.npz", "-o", "no/a.toml"), 1, "no/a.toml"),
    ):
        code, out, err = run("calibrate", *words)
        assert (code, out) == (ended_with, ""), words
        assert named in err.splitlines()[-1]
    assert not list(tmp_path.glob("*.toml"))
