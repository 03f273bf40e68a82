"""Calibration where the frames' clock is not the events', and where there are few frames."""

from __future__ import annotations

import dataclasses
import json
import tomllib

import cv2
import numpy as np
import pytest

import dvskit
from dvskit import EmulatorParams, Events
from dvskit.emulator.calibration import calibrate, thresholds
from dvskit.emulator.calibration import rest_kernels as k
from dvskit.emulator.calibration.coarse import stage
from dvskit.emulator.calibration.observed import observe, see
from dvskit.emulator.calibration.row_kernels import PixelEvents
from dvskit.errors import ConfigError
from dvskit.events import EventsSource
from dvskit.streams import Frame
from tests.test_calibration_coarse import texture

SIZE = (96, 72)
PARAMS = EmulatorParams(
    threshold_on=0.4, threshold_off=0.3, threshold_sigma=0.04, cutoff_hz=2000.0, shot_hz=0.5,
    leak_hz=0.1, leak_spread=0.1,
)  # fmt: skip


def view(wide, x):
    turn = np.array([[1, 0, x + 9], [0, 1, 0.25 * x + 5]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(wide, turn, SIZE, flags=flags, borderMode=cv2.BORDER_WRAP) / 255


def slid(params, stop_ms=1000, speed=0.12):
    """Events of a texture that slides by, and 25 frames a second on their clock, unexposed."""
    wide = texture(3).astype(np.float32)
    pictures = [(1000 * t, view(wide, speed * t)) for t in range(-40, stop_ms + 40)]
    events = Events.concatenate(list(dvskit.emulate(pictures, params, 1)))
    times = range(0, stop_ms + 1, 40)
    return events, [
        (1000 * t, np.rint(255 * view(wide, speed * t)).astype(np.uint8)) for t in times
    ]


@pytest.fixture(scope="module")
def plane():
    return slid(PARAMS)


def later(frames, by_us):
    return [(t + by_us, frame) for t, frame in frames]


@pytest.fixture(scope="module")
def found(plane):
    return calibrate(*plane)


# ---- the offset


@pytest.mark.slow
def test_an_offset_of_the_stamps_is_found_and_taken_off(plane, found):
    (events, frames), clock_us = plane, -7000
    assert abs(found["offset_us"].value) < 500
    moved = calibrate(events, later(frames, clock_us))
    # What is within the claimed error of 0 is taken as 0.
    assert moved["offset_us"].value - found["offset_us"].value == pytest.approx(-clock_us, abs=500)
    assert abs(moved["offset_us"].value + clock_us) < 3 * moved["offset_us"].uncertainty
    for name in ("threshold_on", "threshold_off"):
        truth = getattr(PARAMS, name)
        assert moved[name].value == pytest.approx(found[name].value, rel=0.03)
        assert moved[name].value == pytest.approx(truth, rel=0.1)
    assert moved.agreement.correlation == pytest.approx(found.agreement.correlation, abs=0.02)


@pytest.mark.slow
def test_an_offset_that_is_given_is_used_as_it_is(plane, found):
    events, frames = plane
    given = calibrate(events, later(frames, 9000), offset_us=-9000)
    assert given["offset_us"].value == -9000
    assert given["offset_us"].how == "given"
    assert given["threshold_on"].value == pytest.approx(found["threshold_on"].value, rel=0.03)
    assert given.agreement.correlation == pytest.approx(found.agreement.correlation, abs=0.02)


@pytest.mark.slow
def test_the_offset_counts_from_the_middle_of_an_exposure_that_a_frame_tells(plane):
    events, frames = plane
    told = [Frame(t - 4000, t + 2000, frame) for t, frame in frames]
    assert calibrate(events, told)["offset_us"].value == pytest.approx(1000, abs=500)


@pytest.mark.slow
def test_the_preset_keeps_the_offset_and_still_loads(found, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(found.preset_text())
    assert EmulatorParams.preset(path) == found.params
    told = tomllib.loads(path.read_text())["calibration"]
    assert told["offset_us"] == round(found["offset_us"].value)
    assert told["correlation"] == pytest.approx(found.agreement.correlation, abs=1e-4)
    path.write_text("threshold_on = 0.3\n[calibrated]\noffset_us = 3\n")
    with pytest.raises(ConfigError, match="calibrated"):
        EmulatorParams.preset(path)


# ---- few frames


@pytest.mark.slow
def test_a_clip_of_six_frames_gives_coarse_thresholds():
    """Of pixels with an event or two each, single events tell nothing."""
    params = dataclasses.replace(PARAMS, threshold_on=0.8, threshold_off=0.6, threshold_sigma=0.1)
    events, frames = slid(params, stop_ms=200)
    coarse = calibrate(events, frames)
    assert abs(coarse["offset_us"].value) < 1000
    for name in ("threshold_on", "threshold_off"):
        truth, each = getattr(params, name), coarse[name]
        assert each.value == pytest.approx(truth, rel=0.25)
        assert abs(each.value - truth) < 2 * each.uncertainty
        assert "coarse" in each.how
        assert each.uncertainty > 0.1 * each.value
    assert coarse.agreement.counts == pytest.approx(1.0, abs=0.25)


# ---- how well an emulation agrees


def staged(plane):
    observed = observe(EventsSource(plane[0]))
    return stage(observed, see(plane[1], observed))


def test_a_recording_agrees_with_itself_and_not_with_its_negative(plane):
    found = staged(plane)
    assert found.agreement(found.recorded).counts == 1.0
    assert found.correlation(found.recorded) == pytest.approx(1.0)
    e = found.recorded
    negative = Events(t=e.t, x=e.x, y=e.y, p=~e.p, size=e.size)
    assert found.correlation(negative) == pytest.approx(-1.0, abs=0.1)


def test_the_correlation_is_that_of_signed_smoothed_voxels(plane, monkeypatch):
    found = staged(plane)
    emulated = found.emulated(PARAMS)
    planes = []
    for events in (found.recorded, emulated):
        bins = -(-(found.stop_us - found.start_us) // 5000)
        voxels = np.zeros((bins, SIZE[1], SIZE[0]))
        bin_of = (events.t - found.start_us) // 5000
        np.add.at(voxels, (bin_of, events.y, events.x), np.where(events.p, 1.0, -1.0))
        planes.append(np.stack([cv2.GaussianBlur(each, (0, 0), 1.0) for each in voxels]))
    expected = np.corrcoef(planes[0].reshape(-1), planes[1].reshape(-1))[0, 1]
    assert found.correlation(emulated) == pytest.approx(expected, abs=1e-5)
    monkeypatch.setattr("dvskit.emulator.calibration.coarse._CHUNK", SIZE[0] * SIZE[1] * 7)
    assert found.correlation(emulated) == pytest.approx(expected, abs=1e-5)


def test_of_many_frames_those_are_emulated_where_most_happens(plane):
    events, frames = plane
    observed = observe(EventsSource(events))
    seen = see(frames, observed)
    few = stage(observed, seen, 20 * SIZE[0] * SIZE[1])
    assert len(few.frames) == 20
    inside = (events.t >= few.start_us) & (events.t < few.stop_us)
    assert len(few.recorded) == np.count_nonzero(inside)


# ---- noise, where all moves


def test_what_never_rests_tells_no_noise(plane, found):
    """What frames miss between them must not be taken for noise."""
    for name in ("shot_hz", "leak_hz"):
        each = found[name]
        if each.value is not None:
            assert abs(each.value - getattr(PARAMS, name)) < 3 * each.uncertainty, name


@pytest.mark.slow
def test_a_sensor_that_is_switched_on_with_a_clip_that_never_rests(data):
    from dvskit.video import open_frames

    clip = open_frames(data / "video" / "carphone_pristine.mp4")
    frames = [(t, frame[:48, :64].copy()) for t, frame in clip]
    params = EmulatorParams.preset("DAVIS346")
    found = calibrate(Events.concatenate(list(dvskit.emulate(frames, params, 4))), frames)
    for name in ("threshold_on", "threshold_off", "leak_hz"):
        each = found[name]
        assert each.value is None or abs(each.value - getattr(params, name)) < 3 * each.uncertainty


@pytest.mark.parametrize("width", [5, 7])
def test_events_around_spans_are_counted_as_a_plain_loop_does(width):
    rng = np.random.default_rng(2)
    t = np.sort(rng.integers(0, 1000, 400))
    pixel = rng.integers(0, 35, 400)
    order = np.argsort(pixel, kind="stable")
    starts = np.searchsorted(pixel[order], np.arange(36))
    place, start = np.arange(35), rng.uniform(0, 500, 35)
    stop = start + rng.uniform(10, 400, 35)
    near, around, own = np.empty((3, 35), np.int64)
    events = PixelEvents(t[order], np.ones(400, bool), starts)
    k.beside_spans(events, width, k.Spans(place, start, stop, start, start > 0), near, around, own)
    for s in range(35):
        inside = (t >= start[s]) & (t < stop[s])
        x, y = s % width, s // width
        beside = [
            np.count_nonzero(inside & (pixel == v * width + u))
            for v in range(y - 1, y + 2)
            for u in range(x - 1, x + 2)
            if (u, v) != (x, y) and 0 <= u < width and 0 <= v < 35 // width
        ]
        assert near[s] == sum(beside) - max(beside)
        assert around[s] == len(beside) - 1
        assert own[s] == np.count_nonzero(inside & (pixel == s))


def test_thresholds_are_taken_where_nearly_all_pixels_are_known():
    rng = np.random.default_rng(5)
    tiles = np.repeat(np.arange(40), 64)
    threshold = rng.normal(0.2, 0.05, tiles.size)
    # Half of the tiles see much; in the others only pixels of low thresholds give enough events.
    good = (tiles < 20) | (threshold < 0.17)
    fair, missing = thresholds._fair(good, tiles)
    assert set(tiles[fair]) == set(range(20))
    assert missing == 0.0
    assert np.median(threshold[fair]) == pytest.approx(0.2, abs=0.005)
    fair, missing = thresholds._fair(good & (rng.random(tiles.size) < 0.9), tiles)
    assert 0.05 < missing < 0.15


# ---- the command


@pytest.mark.slow
def test_the_command_ends_with_the_agreement_and_writes_the_offset(run, tmp_path, plane):
    events, frames = plane[0].between(0, 480_000), plane[1][:13]
    dvskit.save_events(events, tmp_path / "a.npz")
    folder = tmp_path / "clip"
    folder.mkdir()
    for number, (_, frame) in enumerate(frames):
        cv2.imwrite(str(folder / f"{number:04}.png"), frame)
    words = ("calibrate", "a.npz", "clip", "--fps", "25")
    code, out, _ = run(*words, "-o", "mine.toml")
    assert code == 0
    assert "offset_us" in out
    assert out.splitlines()[-1].startswith("agreement: ")
    assert "correlation" in out.splitlines()[-1]
    assert EmulatorParams.preset(tmp_path / "mine.toml").threshold_on > 0.2
    assert "offset_us" in tomllib.loads((tmp_path / "mine.toml").read_text())["calibration"]
    code, out, _ = run(*words, "--offset", "3ms", "--json")
    told = json.loads(out)
    assert told["estimates"][0]["name"] == "offset_us"
    assert told["estimates"][0]["value"] == 3000
    assert 0.5 < told["agreement"]["counts"] < 2
