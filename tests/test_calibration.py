"""Calibration: what was put into an emulated sensor comes out of its recording and frames."""

from __future__ import annotations

import dataclasses
import math
import tomllib

import cv2
import numpy as np
import pytest

import dvskit
from dvskit import EmulatorParams, Events
from dvskit.emulator.calibration import calibrate, thresholds
from dvskit.emulator.calibration import observed as inputs
from dvskit.emulator.calibration.observed import observe, see
from dvskit.emulator.calibration.table import Estimate, params_of, unknown
from dvskit.events import EventsSource
from dvskit.streams import Frame
from dvskit.video import luminance
from dvskit.video.light import coded
from tests.laws import InBlocks, on_threads

WORN = EmulatorParams(
    threshold_on=0.25, threshold_off=0.18, threshold_sigma=0.03, cutoff_hz=200.0, leak_hz=1.0,
    leak_spread=0.1, leak_jitter=0.1, shot_hz=2.0, refractory_us=500, hot_fraction=0.01,
    hot_hz=30.0,
)  # fmt: skip
THRESHOLDS = ("threshold_on", "threshold_off", "threshold_sigma")


# ---- scenes


def texture(seed, scales=(2.5,), side=192):
    """A smooth random texture, digital numbers from 5 to 250, that tiles the plane."""
    rng, total = np.random.default_rng(seed), np.zeros((side, side), np.float32)
    for scale in scales:
        plain = np.tile(rng.standard_normal((side, side)).astype(np.float32), (3, 3))
        smooth = cv2.GaussianBlur(plain, (0, 0), scale)[side : 2 * side, side : 2 * side]
        total += smooth / smooth.std()
    return (5 + 245 * ((total - total.min()) / np.ptp(total)) ** 1.5).astype(np.float32)


def moved(wide, x, y, size):
    turn = np.array([[1, 0, x], [0, 1, y]], np.float32)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(wide, turn, size, flags=flags, borderMode=cv2.BORDER_WRAP)


def wandering(side=24, seed=0, moving_s=1.0, still_s=4.0, speed=120.0):
    """A texture that wanders and then stands still, 500 frames a second of whole numbers."""
    wide, frames = texture(seed, side=256), []
    for number in range(round(moving_s * 500)):
        t = number / 500
        view = moved(wide, speed * t, 0.37 * speed * t + 6 * np.sin(9 * t) + 20, (side, side))
        frames.append((round(t * 1e6), np.clip(np.rint(view), 0, 255).astype(np.uint8)))
    if still_s:
        t_us, view = frames[-1]
        frames += [(t_us + 100_000, view), (t_us + round(still_s * 1e6), view)]
    return frames


def filmed(seed, *, size=(40, 30), moving=800, speed=70.0):
    """Light of 0 to 1, 1000 frames a second: a texture, then a rest of 4 s."""
    wide, frames = texture(seed, (1.5, 3.0, 6.0)), []
    for number in range(moving):
        t = number / 1000
        view = moved(wide, speed * t, 0.4 * speed * t + 6 * np.sin(7 * t), size)
        frames.append((number * 1000, np.clip(view, 0.5, 255) / 255))
    t_us, view = frames[-1]
    return frames + [(t_us + n * 40_000, view) for n in range(1, 101)]


def rare(frames, fps, exposure_us=0, moving=800):
    """Bytes, few a second, of the moving part, each averaged over an exposure; and of the rest."""
    step, half = round(1000 / fps), exposure_us // 2000
    found = []
    for number in range(step // 2, moving - half, step):
        those = frames[number - half : number + half + 1]
        image = np.mean([image for _, image in those], 0)
        found.append(Frame(those[0][0], those[-1][0], np.rint(255 * image).astype(np.uint8)))
    for t, view in frames[moving:]:
        found.append(Frame(t, t + exposure_us, np.rint(255 * view).astype(np.uint8)))
    return found


SLIDING = EmulatorParams(
    threshold_on=0.4, threshold_off=0.3, threshold_sigma=0.04, cutoff_hz=2000.0, shot_hz=0.5,
    leak_hz=0.1, leak_spread=0.1,
)  # fmt: skip


def sliding(params=SLIDING, stop_ms=400, size=(64, 48), speed=0.12):
    """Events of a texture that slides by, and 25 frames a second on their clock, unexposed."""
    wide = texture(3, (1.5, 3.0, 6.0))

    def view(t_ms):
        return np.clip(moved(wide, speed * t_ms + 9, 0.25 * speed * t_ms + 5, size), 0, 255)

    pictures = [(1000 * t, view(t) / 255) for t in range(-40, stop_ms + 40)]
    codes = [
        (1000 * t, (coded(view(t) / 255) // 257).astype("u1")) for t in range(0, stop_ms + 1, 40)
    ]
    return recorded(pictures, params, 1), codes


def recorded(frames, params, seed=0) -> Events:
    return dvskit.emulate(frames, params, seed).load()


def later(frames, by_us):
    return [(t + by_us, frame) for t, frame in frames]


def near(found, truth, **parts):
    """Check estimates against the truth: each near by a part of it."""
    for name, part in parts.items():
        assert found[name].value == pytest.approx(getattr(truth, name), rel=part), name


def claimed(found, truth, *names, errors=3):
    """Check that what is known of some parameters is true within some standard errors."""
    for name in names:
        each = found[name]
        if each.value is not None:
            wrong = abs(each.value - getattr(truth, name))
            assert wrong < errors * each.uncertainty, name


# ---- what was put in comes out


@pytest.fixture(scope="module")
def frames():
    return wandering()


@pytest.fixture(scope="module")
def worn(frames):
    return recorded(frames, WORN)


@pytest.fixture(scope="module")
def calibrated(worn, frames):
    return calibrate(worn, frames, offset_us=0)


@pytest.mark.slow(seconds=4)
def test_thresholds_response_and_noise_are_recovered(calibrated):
    near(
        calibrated, WORN, threshold_on=0.02, threshold_off=0.02, threshold_sigma=0.1,
        cutoff_hz=0.05, refractory_us=0.05, shot_hz=0.1, leak_hz=0.1, leak_spread=0.2, hot_hz=0.2,
    )  # fmt: skip
    claimed(calibrated, WORN, *THRESHOLDS, "shot_hz", "leak_hz", "leak_spread", "cutoff_hz")
    assert calibrated["leak_jitter"].value == pytest.approx(0.1, abs=0.04)
    assert calibrated["log_offset"].value is None  # lin-log it was
    assert all(each.samples > 0 for each in calibrated.table if each.value)


@pytest.mark.slow
def test_the_hot_pixels_are_found_and_no_others(calibrated, worn, frames):
    hot = EmulatorParams(hot_fraction=WORN.hot_fraction, hot_hz=1000.0)
    events = recorded([(0, frames[0][1]), (100_000, frames[0][1])], hot)
    truth = set(zip(events.x.tolist(), events.y.tolist(), strict=True))
    assert len(truth) > 3
    assert set(calibrated.hot) == set(calibrate(worn).hot) == truth
    assert calibrated["hot_fraction"].value == pytest.approx(len(truth) / 24**2, rel=0.02)


@pytest.mark.slow
def test_a_preset_says_the_light_that_it_was_fitted_in(calibrated, worn, frames):
    of_luma = calibrate(worn, frames, offset_us=0, light="luma")
    assert of_luma["threshold_on"].value < 0.7 * WORN.threshold_on  # codes change less than light
    assert [each.params.light for each in (calibrated, of_luma)] == ["linear", "luma"]


@pytest.mark.slow
def test_a_calibration_is_kept_as_a_preset(calibrated, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(calibrated.preset_text())
    assert EmulatorParams.preset(path) == calibrated.params
    kept = tomllib.loads(path.read_text())["calibration"]
    assert kept["offset_us"] == 0
    assert kept["correlation"] == pytest.approx(calibrated.agreement.correlation, abs=1e-4)


@pytest.mark.slow
def test_the_log_offset_is_recovered():
    params = EmulatorParams(
        threshold_on=0.15, threshold_off=0.22, threshold_sigma=0.02, log_offset=6.0, shot_hz=1.0
    )
    frames = wandering(20, moving_s=0.5, still_s=2.0)
    found = calibrate(recorded(frames, params), frames, offset_us=0)
    near(
        found, params, log_offset=0.1, threshold_on=0.05, threshold_off=0.05, threshold_sigma=0.2
    )  # fmt: skip
    assert found["cutoff_hz"].value is None
    assert found["refractory_us"].value is None
    assert found.params.refractory_us == 0


@pytest.mark.slow
def test_an_ideal_sensor_is_found_ideal_with_a_given_offset():
    frames = wandering(16, moving_s=0.6, still_s=2.0)
    found = calibrate(recorded(frames, EmulatorParams()), later(frames, 9000), offset_us=-9000)
    near(found, EmulatorParams(), threshold_on=0.005, threshold_off=0.005)
    assert found["threshold_sigma"].value < 1e-3
    for name in ("shot_hz", "leak_hz", "hot_fraction"):
        assert found[name].value == 0.0
    for name in ("cutoff_hz", "log_offset", "refractory_us", "hot_hz"):
        assert found[name].value is None
    assert (found["offset_us"].value, found["offset_us"].how) == (-9000, "given")


@pytest.mark.slow
def test_events_alone_give_the_rates_but_no_thresholds():
    still = [(t, np.full((48, 48), 128, np.uint8)) for t in (0, 20_000_000)]
    params = EmulatorParams(
        leak_hz=0.5, leak_spread=0.1, shot_hz=2.0, refractory_us=2000, hot_fraction=0.002,
        hot_hz=20.0,
    )  # fmt: skip
    found = calibrate(recorded(still, params))
    near(found, params, shot_hz=0.1, leak_hz=0.1, hot_hz=0.1, refractory_us=0.05)
    for name in (*thresholds.NAMES, "cutoff_hz", "log_offset"):
        assert found[name].value is None
    assert found.params.threshold_on == EmulatorParams().threshold_on
    assert found.agreement is None


def test_motion_is_not_taken_for_noise():
    """The texture is seen moving, then still, at middle gray on average."""
    frames = wandering(48, seed=3, moving_s=0.6, still_s=6.0)
    gray = [(t, (frame // 4 + 100).astype(np.uint8)) for t, frame in frames]
    params = EmulatorParams(threshold_sigma=0.02, shot_hz=3.0)
    found = calibrate(recorded(gray, params))
    near(found, params, shot_hz=0.1)
    assert found["shot_hz"].uncertainty > 0.2  # the light is not known
    assert calibrate(recorded(frames[:-2], EmulatorParams()))["shot_hz"].value is None


@pytest.mark.slow
def test_where_it_is_not_known_how_pixels_begin_a_longer_rest_is_asked_for():
    params = EmulatorParams(leak_hz=0.08, leak_spread=0.1, shot_hz=0.2)
    for rest_s, asked in ((8, True), (60, False)):
        still = [(t, np.full((32, 32), 128, np.uint8)) for t in (0, rest_s * 1_000_000)]
        leak = calibrate(recorded(still, params))["leak_hz"]
        assert ("longer" in leak.how) == asked
        assert (leak.uncertainty > 0.3 * leak.value) == asked
        assert asked or leak.value == pytest.approx(0.08, rel=0.1)


def test_what_the_emulator_cannot_take_is_left_at_its_default():
    params, table = params_of([Estimate("shot_hz", 1e9, 1.0, 5, "x"), unknown("leak_hz", "y", 3)])
    assert params == EmulatorParams()
    assert table[0].value is None
    assert table[0].samples == 5


@pytest.mark.slow
def test_the_result_does_not_depend_on_threads_cuts_or_when_the_recording_began():
    frames = wandering(16, moving_s=0.5, still_s=2.0)
    events = recorded(frames, EmulatorParams(threshold_sigma=0.03, leak_hz=1.0, shot_hz=5.0))
    with on_threads(1):
        whole = calibrate(events, frames, offset_us=0)
    assert whole["leak_hz"].value is not None
    with on_threads(3):
        assert calibrate(InBlocks(events, 777), iter(frames), offset_us=0) == whole
    moved = Events(t=events.t + 10**12, x=events.x, y=events.y, p=events.p, size=events.sensor_size)
    found = calibrate(moved, later(frames, 10**12), offset_us=0)
    for name in THRESHOLDS:
        assert found[name].value == pytest.approx(whole[name].value, rel=1e-3)


# ---- frames as far apart as those of a real sensor

SLOW = EmulatorParams(
    threshold_on=0.22, threshold_off=0.18, threshold_sigma=0.03, cutoff_hz=30.0, leak_hz=0.3,
    leak_spread=0.1, shot_hz=5.0,
)  # fmt: skip
KEEN = EmulatorParams(threshold_on=0.1, threshold_off=0.13, threshold_sigma=0.02, shot_hz=1.0)


@pytest.mark.slow(seconds=3)
@pytest.mark.parametrize("params", [SLOW, KEEN], ids=["slow", "keen"])
def test_rare_frames_still_give_the_sensor(params):
    frames = filmed(7)
    found = calibrate(recorded(frames, params), rare(frames, 25, 8000), offset_us=0)
    near(found, params, threshold_on=0.05, threshold_off=0.05, threshold_sigma=0.2, shot_hz=0.1)
    claimed(found, params, *THRESHOLDS, "cutoff_hz", "refractory_us")
    if params.cutoff_hz:
        near(found, params, cutoff_hz=0.25)


@pytest.mark.slow(seconds=4)
def test_an_offset_of_the_stamps_is_found_and_taken_off():
    (events, frames), clock_us = sliding(), -7000
    found = calibrate(events, later(frames, clock_us))
    offset = found["offset_us"]
    assert offset.value == pytest.approx(-clock_us, abs=500)
    assert abs(offset.value + clock_us) < 3 * offset.uncertainty
    near(found, SLIDING, threshold_on=0.1, threshold_off=0.1)
    assert found.agreement.correlation > 0.8
    assert found.agreement.counts == pytest.approx(1.0, abs=0.2)
    claimed(found, SLIDING, "shot_hz", "leak_hz")  # what frames miss is no noise


@pytest.mark.slow
def test_a_clip_of_five_frames_gives_coarse_thresholds():
    """Of pixels with an event or two each, single events say nothing."""
    params = dataclasses.replace(
        SLIDING, threshold_on=0.8, threshold_off=0.6, threshold_sigma=0.1
    )  # fmt: skip
    events, frames = sliding(params, stop_ms=160)
    found = calibrate(events, frames)
    assert abs(found["offset_us"].value) < 1000
    near(found, params, threshold_on=0.25, threshold_off=0.25)
    claimed(found, params, "threshold_on", "threshold_off", errors=2)
    for name in ("threshold_on", "threshold_off"):
        assert "coarse" in found[name].how
        assert found[name].uncertainty > 0.1 * found[name].value


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dvxplorer_320x240_lz4.aedat4", "evt2_gen3_640x480.raw"])
def test_real_recordings_give_sane_values(data, name):
    found = calibrate(dvskit.open_events(data / "recordings" / name))
    assert found["threshold_on"].value is None
    for each in found.table:
        assert each.value is None or (math.isfinite(each.value) and each.value >= 0)
    assert found["hot_fraction"].value < 0.05
    assert found.params.shot_hz < 100


# ---- the frames, and the light between them


def shown(frames, size=(24, 24)):
    t = np.arange(int(frames[0][0]), int(frames[-1][0]), 1000)
    x = np.arange(t.size) % size[0]
    events = Events(t=t, x=x, y=np.zeros(t.size, int), p=x % 2 == 0, size=size)
    observed = observe(EventsSource(events))
    return see(frames, observed), observed


KINDS = {
    "uint16": lambda t, f: (t, f.astype(np.uint16) * 257),
    "float": lambda t, f: (t, luminance(f)),
    "rgb": lambda t, f: (t, np.stack([f, f, f], 2)),
    "10 bits": lambda t, f: (t, f.astype(np.uint16) * 4),
}


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_any_kind_mean_the_same(kind):
    frames = [(t, np.maximum(frame, 3)) for t, frame in wandering(moving_s=0.1, still_s=0)]
    frames[3][1][0, 0] = 255
    plain, _ = shown(frames)
    seen, _ = shown([KINDS[kind](t, frame) for t, frame in frames])
    assert np.array_equal(seen.t, plain.t)
    np.testing.assert_allclose(seen.numbers, plain.numbers, atol=1.8 if kind == "10 bits" else 1e-3)
    assert ("1023" in (seen.note or "")) == (kind == "10 bits")


def test_a_frame_is_shown_at_the_middle_of_its_exposure():
    frames = [Frame(t - 4000, t + 2000, f) for t, f in wandering(moving_s=0.1, still_s=0)]
    seen, _ = shown(frames)
    assert seen.exposure_us == 6000
    assert np.array_equal(seen.t, [frame.t_us + 3000 for frame in frames])


WIDE, SIZE = texture(9, (1.5, 3.0, 6.0)), (48, 36)


def sliding_view(speed=100.0, size=SIZE, wide=WIDE):
    return lambda t_us: moved(wide, speed * t_us * 1e-6, 0, size)


@pytest.mark.parametrize("exposure_us", [0, 20_000])
def test_the_light_between_frames_is_that_of_what_moves_and_an_exposure_is_undone(exposure_us):
    view = sliding_view(wide=texture(9, (3.0,)))
    around = np.linspace(-0.5, 0.5, 41) * exposure_us
    frames = [
        Frame(t - exposure_us // 2, t + exposure_us // 2,
              np.mean([view(t + by) for by in around], 0) / np.float32(255))
        for t in range(0, 400_001, 40_000)
    ]  # fmt: skip
    seen, observed = shown(frames, SIZE)
    filled = inputs.fill_light(seen, observed)
    blurred = inputs.fill_light(dataclasses.replace(seen, exposure_us=0.0), observed)
    assert filled.t.size >= 8 * 10 + 1  # 4 pixels a frame, half a pixel a step
    inner = (filled.pixels % SIZE[0] > 8) & (filled.pixels % SIZE[0] < SIZE[0] - 8)
    assert filled.sure[inner].mean() > 0.98
    middle = (filled.t > 20_000) & (filled.t < 380_000)
    plain = np.stack([np.interp(filled.t, seen.t, row) for row in seen.numbers])
    truth = np.stack([view(t).reshape(-1) for t in filled.t], 1)
    wrong, straight, left = (
        np.abs(each - truth)[inner][:, middle].mean()
        for each in (filled.numbers, plain, blurred.numbers)
    )
    assert wrong < 0.15 * straight
    assert wrong < (0.7 * left if exposure_us else 1.0)


def test_where_something_is_covered_the_light_is_not_known():
    frames = []
    for n in range(8):
        view = moved(WIDE, 0, 0, SIZE)
        view[:, 4 * n : 4 * n + 8] = 250.0
        frames.append((n * 40_000, np.rint(view).astype(np.uint8)))
    filled = inputs.fill_light(*shown(frames, SIZE))
    sure = filled.sure.reshape(SIZE[1], SIZE[0], -1).astype(bool)
    place = [filled.t.searchsorted(n * 40_000.0 + 1) for n in range(7)]
    assert np.mean([sure[:, 4 * n : 4 * n + 12, place[n]].mean() for n in range(7)]) < 0.8
    assert np.mean([sure[:, 4 * n + 18 :, place[n]].mean() for n in range(5)]) > 0.95


def test_nothing_is_filled_in_where_nothing_moves_or_the_sensor_is_tiny():
    for speed, size in ((0.0, SIZE), (100.0, (8, 6))):
        view = sliding_view(speed, size)
        frames = [(t, view(t).astype(np.uint8)) for t in range(0, 400_000, 40_000)]
        assert inputs.fill_light(*shown(frames, size)) is None
