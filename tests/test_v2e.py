"""The pixel as v2e steps it: counts by v2e's rule, on the same frames."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from dvskit import Emulator, EmulatorParams, Events
from dvskit.errors import ConfigError
from tests.laws import refused, same_on_threads
from tests.test_cli import usage_error

SHAPE = (60, 80)


def clip(seconds=0.5, fps=240):
    """A disk that goes round before a soft ground."""
    rows, columns = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    ground = 60 + 40 * np.sin(columns / 9) * np.cos(rows / 7)
    made = []
    for i in range(round(seconds * fps) + 1):
        angle = 2 * math.pi * i / fps
        distance = np.hypot(columns - 40 - 20 * math.cos(angle), rows - 30 - 15 * math.sin(angle))
        cover = np.clip(9 - distance, 0, 1)
        frame = ground + (220 - ground) * cover
        made.append((round(i * 1e6 / fps), np.rint(frame).astype(np.uint8)))
    return made


def ours(params, frames, seed=0):
    run = Emulator(params, seed).start(frames[0][1].shape[::-1])
    return Events.concatenate([run.step(t, frame) for t, frame in frames])


def plain(frames, c, cutoff_hz=0.0):
    """Count the events of each polarity by v2e's rule, without noise, an array at a time."""

    def log(frame):
        value = frame.astype(np.float64)
        return np.where(value <= 20, value * math.log(20) / 20, np.log(np.maximum(value, 1)))

    # Without a low-pass v2e works in float32; ties are common and fall by it.
    real = np.float64 if cutoff_hz else np.float32
    c = real(c)
    low = base = np.round(log(frames[0][1]), 8).astype(np.float32).astype(real)
    on = off = 0
    for (t0, _), (t1, frame) in itertools.pairwise(frames):
        share = 1.0
        if cutoff_hz:
            light = (frame + 20.0) / 275
            share = np.minimum(1, light * (t1 - t0) * 1e-6 * 2 * math.pi * cutoff_hz)
        new = np.round(log(frame), 8).astype(np.float32).astype(real)
        low = (1 - share) * low + share * new if cutoff_hz else new
        difference = low - base
        steps = np.where(difference > 0, difference // c, -(-difference // c)).astype(real)
        base = base + steps.astype(np.float32) * np.float32(c)
        on += int(steps[steps > 0].sum())
        off -= int(steps[steps < 0].sum())
    return on, off


@pytest.mark.parametrize("cutoff_hz", [0.0, 30.0, 300.0])
def test_counts_are_those_of_the_rule(cutoff_hz):
    params = EmulatorParams(model="v2e", light="luma", cutoff_hz=cutoff_hz)
    events = ours(params, clip(0.2))
    on, off = plain(clip(0.2), 0.2, cutoff_hz)
    assert on > 1000
    assert (int(events.p.sum()), int((~events.p).sum())) == (on, off)


def test_the_times_of_a_frame_are_shared_by_all_pixels():
    frames = [(0, np.full(SHAPE, 50, np.uint8)), (6000, np.full(SHAPE, 200, np.uint8))]
    frames[1][1][:, 40:] = 62
    events = ours(EmulatorParams(model="v2e", light="luma"), frames)
    assert np.unique(events.t).tolist() == [1000, 2000, 3000, 4000, 5000, 6000]
    assert set(events.t[events.x >= 40].tolist()) == {1000}


def test_noise_is_as_frequent_as_asked_on_any_number_of_threads():
    still = [(round(i * 1e6 / 100), np.zeros((240, 320), np.uint8)) for i in range(41)]
    params = EmulatorParams(model="v2e", light="luma", shot_hz=5.0)
    events = same_on_threads(lambda: ours(params, still), 7)
    expected = 5 * (1 - 0.75 * 20 / 275) * 0.4 * 320 * 240
    assert abs(len(events) - expected) < 5 * math.sqrt(expected)
    assert abs(int(events.p.sum()) - expected / 2) < 5 * math.sqrt(expected / 2)
    leaking = EmulatorParams(model="v2e", light="luma", leak_hz=7.5)
    assert len(ours(leaking, still)) == 3 * 320 * 240


def test_leaks_and_thresholds_spread_as_asked():
    still = [(i * 50_000, np.full(SHAPE, 100, np.uint8)) for i in range(201)]
    counts = np.zeros(SHAPE)
    events = ours(EmulatorParams(model="v2e", light="luma", leak_hz=5.0, leak_spread=0.1), still)
    np.add.at(counts, (events.y, events.x), 1)
    assert np.std(np.log10(counts / 50)) == pytest.approx(0.1, abs=0.02)
    step = [(0, np.full(SHAPE, 50, np.uint8)), (1000, np.full(SHAPE, 250, np.uint8))]
    events = ours(EmulatorParams(model="v2e", light="luma", threshold_sigma=0.03), step)
    counts[:] = 0
    np.add.at(counts, (events.y, events.x), 1)
    assert counts.std() == pytest.approx(math.log(5) / 0.2 * 0.03 / 0.2, rel=0.25)


def test_refractory_pixels_keep_their_reference():
    frames = [(0, np.full(SHAPE, 50, np.uint8)), (6000, np.full(SHAPE, 200, np.uint8))]
    params = EmulatorParams(model="v2e", light="luma", refractory_us=1500)
    events = ours(params, [*frames, (12_000, frames[1][1])])
    assert np.unique(events.t).tolist() == [1000, 3000, 5000, 8000, 10_000, 12_000]


# ---- the names of parameters

NAMES = {
    "pos_thres": "threshold_on",
    "refractory_period": "refractory_us",
    "dvs_emulator_seed": "seed=",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_v2e_is_answered_with_the_name_here(tmp_path, name):
    (tmp_path / "own.toml").write_text(f"{name} = 0.1\n")
    with refused(ConfigError, name, NAMES[name]):
        EmulatorParams.preset(tmp_path / "own.toml")


def test_the_command_answers_names_of_v2e_too(run):
    for words in (("--set", "pos_thres=0.1"), ("--pos_thres", "0.1")):
        assert "threshold_on" in usage_error(run("emulate", "a.mp4", "a.raw", *words))
