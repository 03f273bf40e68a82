"""Calibration with frames as far apart as those of a real sensor: 25 and 40 a second."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import dvskit
from dvskit import EmulatorParams, Events
from dvskit.emulator.calibration import calibrate, noise
from dvskit.emulator.calibration import observed as inputs
from dvskit.emulator.calibration.observed import observe, see
from dvskit.events import EventsSource
from dvskit.streams import Frame

SIZE = (48, 36)
MOVING = 1500  # frames at 1000 a second
SLOW = EmulatorParams(
    threshold_on=0.22, threshold_off=0.18, threshold_sigma=0.03, cutoff_hz=30.0, leak_hz=0.3,
    leak_spread=0.1, shot_hz=5.0,
)  # fmt: skip
DEAF = EmulatorParams(
    threshold_on=0.4, threshold_off=0.3, threshold_sigma=0.04, cutoff_hz=300.0, leak_hz=1.0,
    leak_spread=0.1, shot_hz=1.0, refractory_us=1000,
)  # fmt: skip
KEEN = EmulatorParams(threshold_on=0.1, threshold_off=0.13, threshold_sigma=0.02, shot_hz=1.0)


def texture(seed, scales=(1.5, 3.0, 6.0), side=192):
    rng, total = np.random.default_rng(seed), np.zeros((side, side), np.float32)
    for scale in scales:
        plain = np.tile(rng.standard_normal((side, side)).astype(np.float32), (3, 3))
        smooth = cv2.GaussianBlur(plain, (0, 0), scale)[side : 2 * side, side : 2 * side]
        total += smooth / smooth.std()
    return 5 + 245 * ((total - total.min()) / np.ptp(total)) ** 1.5


def moved(wide, x, y, size=SIZE):
    turn = np.array([[1, 0, x], [0, 1, y]], np.float32)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(wide, turn, size, flags=flags, borderMode=cv2.BORDER_WRAP)


def scene(seed, speed=70.0, disk=False):
    """Frames of 0 to 1, 1000 a second: a texture that wanders, a disk before it, then a rest."""
    wide, other = texture(seed).astype(np.float32), texture(seed + 50).astype(np.float32)
    y, x = np.mgrid[: SIZE[1], : SIZE[0]].astype(np.float32)
    frames = []
    for number in range(MOVING):
        t = number / 1000
        view = moved(wide, speed * t, 0.4 * speed * t + 6 * np.sin(7 * t))
        if disk:
            at = 24 + 18 * np.sin(4 * t), 18 + 8 * np.cos(3 * t)
            share = np.clip(10.5 - np.hypot(x - at[0], y - at[1]), 0, 1)
            view += share * (moved(other, -at[0], -at[1]) - view)
        frames.append((number * 1000, np.clip(view, 0.5, 255) / 255))
    t_us, view = frames[-1]
    return frames + [(t_us + n * 40_000, view) for n in range(1, 101)]


def recorded(frames, params, seed=0) -> Events:
    return Events.concatenate(list(dvskit.emulate(frames, params, seed)))


def rare(frames, fps, exposure_us=0):
    """Bytes, few a second, of the moving part, each averaged over an exposure; and of the rest."""
    step, half = round(1000 / fps), exposure_us // 2000
    found = []
    for number in range(step // 2, MOVING - half, step):
        those = frames[number - half : number + half + 1]
        image = np.mean([image for _, image in those], 0)
        found.append(Frame(those[0][0], those[-1][0], np.rint(255 * image).astype(np.uint8)))
    for t, view in frames[MOVING:]:
        found.append(Frame(t, t + exposure_us, np.rint(255 * view).astype(np.uint8)))
    return found


@pytest.fixture(scope="module")
def frames():
    return scene(7)


def check(found, params, *, part=0.05):
    """Thresholds are near, and so is what is known of all else; and what is claimed is true."""
    for name in ("threshold_on", "threshold_off"):
        assert found[name].value == pytest.approx(getattr(params, name), rel=part), name
    sigma = found["threshold_sigma"].value
    assert sigma == pytest.approx(params.threshold_sigma, rel=0.2)
    for name in ("threshold_on", "threshold_off", "threshold_sigma", "cutoff_hz", "refractory_us"):
        each = found[name]
        if each.value is not None:
            assert abs(each.value - getattr(params, name)) < 3 * each.uncertainty, name


# ---- what was put in comes out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("params", "fps", "exposure_us"),
    [(SLOW, 25, 8000), (DEAF, 40, 0), (KEEN, 25, 8000)],
    ids=["slow", "deaf", "keen"],
)
def test_rare_frames_still_give_the_sensor(frames, params, fps, exposure_us):
    found = calibrate(recorded(frames, params), rare(frames, fps, exposure_us))
    check(found, params)
    assert found["shot_hz"].value == pytest.approx(params.shot_hz, rel=0.1)
    if params is DEAF:
        assert found["leak_hz"].value == pytest.approx(1.0, rel=0.1)
        assert found["refractory_us"].value == pytest.approx(1000, rel=0.3)
    if params.cutoff_hz:
        assert found["cutoff_hz"].value == pytest.approx(params.cutoff_hz, rel=0.25)


@pytest.mark.slow
def test_what_is_covered_and_uncovered_does_not_lower_the_thresholds():
    frames = scene(8, speed=40.0, disk=True)
    params = EmulatorParams(threshold_on=0.25, threshold_off=0.2, threshold_sigma=0.03)
    check(calibrate(recorded(frames, params), rare(frames, 25)), params)


@pytest.mark.slow
def test_light_that_flickers_in_place_is_no_motion_and_is_calibrated_by_frames_alone():
    """A texture of which each pixel has its own pace: nothing moves."""
    rng = np.random.default_rng(3)
    pace, phase = rng.uniform(1, 2.5, (18, 24)), rng.uniform(0, 6, (18, 24))
    frames = [(n * 1000, 0.3 + 0.25 * np.sin(pace * n / 1000 * 6 + phase)) for n in range(3000)]
    params = EmulatorParams(threshold_on=0.25, threshold_off=0.2, threshold_sigma=0.02)
    found = calibrate(recorded(frames, params), frames[::25])
    for name in ("threshold_on", "threshold_off"):
        assert found[name].value == pytest.approx(getattr(params, name), rel=0.05)


# ---- the light between frames


def shown(frames, events=None):
    width, height = frames[0][1].shape[::-1]
    if events is None:
        t = np.arange(int(frames[0][0]), int(frames[-1][0]), 1000)
        x = np.arange(t.size) % width
        events = Events(t=t, x=x, y=np.zeros(t.size, int), p=x % 2 == 0, size=(width, height))
    observed = observe(EventsSource(events))
    return see(frames, observed), observed


def test_the_light_between_frames_is_that_of_what_moves():
    wide = texture(9, scales=(3.0,)).astype(np.float32)
    speed = 100.0
    frames = [(t, moved(wide, speed * t * 1e-6, 0) / 255) for t in range(0, 400_001, 40_000)]
    seen, observed = shown([(t, frame.astype(np.float32)) for t, frame in frames])
    filled = inputs.fill_light(seen, observed)
    assert filled.t.size >= 8 * 10 + 1  # 4 pixels a frame, half a pixel a step
    inner = (filled.pixels % SIZE[0] > 8) & (filled.pixels % SIZE[0] < SIZE[0] - 8)
    assert filled.sure[inner].mean() > 0.98
    plain = np.stack([np.interp(filled.t, seen.t, row) for row in seen.numbers])
    truth = np.stack([moved(wide, speed * t * 1e-6, 0).reshape(-1) for t in filled.t], 1)
    wrong, straight = (np.abs(each - truth)[inner].mean() for each in (filled.numbers, plain))
    assert wrong < 0.15 * straight
    assert wrong < 1.0


def test_the_motion_of_each_interval_is_estimated_once(monkeypatch):
    wide = texture(9).astype(np.float32)
    frames = [(t, moved(wide, 1e-4 * t, 0).astype(np.uint8)) for t in range(0, 400_000, 40_000)]
    asked = []
    plain = inputs.motion_from

    def counted(seen, number):
        asked.append(number)
        return plain(seen, number)

    monkeypatch.setattr(inputs, "motion_from", counted)
    assert inputs.fill_light(*shown(frames)) is not None
    assert sorted(asked) == list(range(9))


def test_where_something_is_covered_the_light_is_not_known():
    wide = texture(9).astype(np.float32)
    frames = []
    for n in range(8):
        view = moved(wide, 0, 0)
        view[:, 4 * n : 4 * n + 8] = 250.0
        frames.append((n * 40_000, np.rint(view).astype(np.uint8)))
    seen, observed = shown(frames)
    filled = inputs.fill_light(seen, observed)
    sure = filled.sure.reshape(SIZE[1], SIZE[0], -1).astype(bool)
    bar = np.array([4 * n for n in range(8)])
    beside = [
        sure[:, at : at + 12, filled.t.searchsorted(n * 40_000.0 + 1)]
        for n, at in enumerate(bar[:-1])
    ]
    away = [
        sure[:, at + 18 :, filled.t.searchsorted(n * 40_000.0 + 1)] for n, at in enumerate(bar[:5])
    ]
    assert np.mean(np.stack(beside)) < 0.8
    assert np.mean([each.mean() for each in away]) > 0.95


def test_nothing_is_filled_in_where_nothing_moves_or_the_sensor_is_tiny():
    wide = texture(9).astype(np.float32)
    still = [(t, moved(wide, 0, 0).astype(np.uint8)) for t in range(0, 200_000, 40_000)]
    assert inputs.fill_light(*shown(still)) is None
    tiny = [(t, moved(wide, 1e-4 * t, 0, (8, 6)).astype(np.uint8)) for t in range(0, 10**6, 40_000)]
    assert inputs.fill_light(*shown(tiny)) is None


def test_an_exposure_is_undone():
    t = np.sort(np.random.default_rng(1).uniform(0, 1e6, 800))
    omega, exposure = 2 * np.pi * 8e-6, 20_000.0
    blurred = np.sinc(omega * exposure / 2 / np.pi)
    light = (100 + 50 * blurred * np.sin(omega * t))[None].astype(np.float32)
    truth = 100 + 50 * np.sin(omega * t)
    inner = (t > exposure) & (t < 1e6 - exposure)
    before = np.abs(light[0] - truth)[inner].max()
    inputs._sharpen(t, light, exposure)
    assert before > 2.0
    assert np.abs(light[0] - truth)[inner].max() < 0.2 * before
    same = light.copy()
    inputs._sharpen(t, light, 0.0)
    assert np.array_equal(light, same)


def test_the_pixels_of_many_frames_are_fewer(monkeypatch):
    wide = texture(9).astype(np.float32)
    frames = [(t, moved(wide, 1e-4 * t, 0).astype(np.uint8)) for t in range(0, 400_000, 40_000)]
    seen, observed = shown(frames)
    whole = inputs.fill_light(seen, observed)
    monkeypatch.setattr(inputs, "_MOST_FILLED", whole.numbers.size // 2)
    part = inputs.fill_light(seen, observed)
    assert part.pixels.size == whole.pixels.size // 2
    place = np.searchsorted(whole.pixels, part.pixels)
    assert np.array_equal(whole.numbers[place], part.numbers)
    assert np.array_equal(whole.sure[place], part.sure)
    monkeypatch.setattr(inputs, "_MOST_LOOKED_AT", 8 * SIZE[0] * SIZE[1])
    assert inputs.fill_light(seen, observed).t[-1] <= frames[-1][0]


# ---- noise of thresholds that are not alike


def test_shot_noise_is_as_often_as_the_thresholds_say():
    drawn = np.random.default_rng(5).normal(0.12, 0.04, 400_000)
    levels = noise.Levels(0.12, 0.3, 0.04)
    assert levels.oftener(0.12) == pytest.approx(np.mean(0.12 / np.maximum(0.01, drawn)), rel=0.01)
    assert 1.0 < levels.oftener(0.3) < 1.03
    assert levels.share_on > 0.5
    assert levels.reach == pytest.approx(3.5)
    assert noise.Levels().share_on == 0.5
