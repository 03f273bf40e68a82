"""Calibration: what was put into an emulated sensor comes out of its recording."""

from __future__ import annotations

import json
import math
import re

import cv2
import numpy as np
import pytest

import dvskit
from dvskit import Emulator, EmulatorParams, Events
from dvskit.emulator.calibration import calibrate, noise, thresholds
from dvskit.emulator.calibration import rest_kernels as k
from dvskit.emulator.calibration import row_kernels as pairs
from dvskit.emulator.calibration.observed import observe
from dvskit.emulator.calibration.row_kernels import Numbers, PixelEvents, Response
from dvskit.errors import ConfigError, EventsError, ShapeError, VideoError
from dvskit.events import EventsSource
from dvskit.streams import Frame

NO_DOUBT = np.empty((0, 0), np.uint8)
WORN = EmulatorParams(
    threshold_on=0.25, threshold_off=0.18, threshold_sigma=0.03, cutoff_hz=200.0, leak_hz=1.0,
    leak_spread=0.1, leak_jitter=0.1, shot_hz=2.0, refractory_us=500, hot_fraction=0.003,
    hot_hz=30.0,
)  # fmt: skip
OFFSET = EmulatorParams(
    threshold_on=0.15, threshold_off=0.22, threshold_sigma=0.02, log_offset=6.0, shot_hz=1.0
)


def texture(seed: int, side: int = 256) -> np.ndarray:
    """A smooth random texture, digital numbers from 5 to 250, that tiles the plane."""
    noise = np.random.default_rng(seed).standard_normal((side, side)).astype(np.float32)
    smooth = cv2.GaussianBlur(np.tile(noise, (3, 3)), (0, 0), 2.5)[side : 2 * side, side : 2 * side]
    return 5 + 245 * ((smooth - smooth.min()) / np.ptp(smooth)) ** 1.5


def scene(seed=0, side=64, fps=500, moving_s=1.0, still_s=4.0, speed=120.0):
    """A texture that wanders and then stands still, as (t_us, frame)."""
    wide = np.tile(texture(seed), (3, 3)).astype(np.float32)
    frames = []
    for number in range(round(moving_s * fps)):
        t = number / fps
        x, y = speed * t, 0.37 * speed * t + 6 * np.sin(9 * t) + 20
        turn = np.array([[1, 0, x], [0, 1, y]], np.float32)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        view = cv2.warpAffine(wide, turn, (side, side), flags=flags)
        frames.append((round(t * 1e6), np.clip(np.rint(view), 0, 255).astype(np.uint8)))
    if still_s:
        t_us, view = frames[-1]
        frames += [(t_us + 100_000, view), (t_us + round(still_s * 1e6), view)]
    return frames


def recorded(frames, params, seed=0) -> Events:
    return Events.concatenate(list(dvskit.emulate(frames, params, seed)))


@pytest.fixture(scope="module")
def frames():
    return scene(side=48)


@pytest.fixture(scope="module")
def worn(frames):
    return recorded(frames, WORN)


@pytest.fixture(scope="module")
def calibrated(worn, frames):
    return calibrate(worn, frames)


def near(found, name, truth, part):
    assert found[name].value == pytest.approx(truth, rel=part), name


# ---- what was put in comes out


@pytest.mark.slow
def test_thresholds_low_pass_and_refractory_period_are_recovered(calibrated):
    near(calibrated, "threshold_on", 0.25, 0.02)
    near(calibrated, "threshold_off", 0.18, 0.02)
    near(calibrated, "threshold_sigma", 0.03, 0.1)
    near(calibrated, "cutoff_hz", 200.0, 0.05)
    near(calibrated, "refractory_us", 500, 0.05)
    assert calibrated["log_offset"].value is None  # lin-log it was


@pytest.mark.slow
def test_noise_rates_are_recovered(calibrated):
    near(calibrated, "shot_hz", 2.0, 0.1)
    near(calibrated, "leak_hz", 1.0, 0.1)
    near(calibrated, "leak_spread", 0.1, 0.2)
    near(calibrated, "hot_hz", 30.0, 0.1)
    assert calibrated["leak_jitter"].value == pytest.approx(0.1, abs=0.04)


def hot_pixels(frames, params, seed=0):
    emulation = Emulator(params, seed).start((48, 48))
    emulation.step(*frames[0])
    return {(int(n % 48), int(n // 48)) for n in emulation._pixels._hot}


@pytest.mark.slow
def test_the_hot_pixels_are_found_and_no_others(calibrated, worn, frames):
    truth = hot_pixels(frames, WORN)
    assert len(truth) > 3
    assert set(calibrated.hot) == truth
    assert set(calibrate(worn).hot) == truth
    assert calibrated["hot_fraction"].value == pytest.approx(len(truth) / 48**2)


@pytest.mark.slow
def test_the_log_offset_is_recovered(frames):
    small = [(t, frame[:32, :32]) for t, frame in frames]
    found = calibrate(recorded(small, OFFSET), small)
    near(found, "log_offset", 6.0, 0.1)
    near(found, "threshold_on", 0.15, 0.05)
    near(found, "threshold_off", 0.22, 0.05)
    near(found, "threshold_sigma", 0.02, 0.2)
    assert found["cutoff_hz"].value is None
    assert found["refractory_us"].value is None
    assert found.params.refractory_us == 0


@pytest.mark.slow
def test_an_ideal_sensor_is_found_ideal(frames):
    found = calibrate(recorded(frames, EmulatorParams()), frames)
    near(found, "threshold_on", 0.2, 0.005)
    near(found, "threshold_off", 0.2, 0.005)
    assert found["threshold_sigma"].value < 1e-3
    for name in ("shot_hz", "leak_hz", "hot_fraction"):
        assert found[name].value == 0.0
    for name in ("cutoff_hz", "log_offset", "refractory_us", "hot_hz"):
        assert found[name].value is None


def test_events_alone_give_the_rates_but_no_thresholds():
    still = [(0, np.full((48, 48), 128, np.uint8)), (20_000_000, np.full((48, 48), 128, np.uint8))]
    params = EmulatorParams(
        leak_hz=0.5,
        leak_spread=0.1,
        shot_hz=2.0,
        refractory_us=2000,
        hot_fraction=0.002,
        hot_hz=20.0,
    )
    found = calibrate(recorded(still, params))
    near(found, "shot_hz", 2.0, 0.1)
    near(found, "leak_hz", 0.5, 0.1)
    near(found, "hot_hz", 20.0, 0.1)
    near(found, "refractory_us", 2000, 0.05)
    for name in (*thresholds.NAMES, "cutoff_hz", "log_offset"):
        assert found[name].value is None
        assert "no frames" in found[name].how
    assert found.params.threshold_on == EmulatorParams().threshold_on


def test_motion_is_not_taken_for_noise():
    """The texture is seen moving, then still, at middle gray on average."""
    moving = [(t, (frame // 4 + 100).astype(np.uint8)) for t, frame in scene(seed=3, still_s=8.0)]
    found = calibrate(recorded(moving, EmulatorParams(threshold_sigma=0.02, shot_hz=3.0)))
    near(found, "shot_hz", 3.0, 0.1)
    assert found["shot_hz"].uncertainty > 0.2  # the light is not known


def test_what_always_moves_tells_no_noise():
    found = calibrate(recorded(scene(seed=3, still_s=0), EmulatorParams()))
    assert found["shot_hz"].value is None
    assert "still" in found["shot_hz"].how


@pytest.mark.slow
def test_the_truth_lies_within_three_uncertainties_for_most_seeds():
    names = (
        "threshold_on",
        "threshold_off",
        "threshold_sigma",
        "shot_hz",
        "leak_hz",
        "leak_spread",
    )
    params = EmulatorParams(
        threshold_on=0.2, threshold_off=0.25, threshold_sigma=0.03, shot_hz=2.0, leak_hz=1.0,
        leak_spread=0.1,
    )  # fmt: skip
    within = []
    for seed in range(3):
        frames = scene(seed=seed, side=20, fps=200, moving_s=0.8)
        found = calibrate(recorded(frames, params, seed), frames)
        for name in names:
            each = found[name]
            assert each.samples > 0
            within.append(abs(each.value - getattr(params, name)) < 3 * each.uncertainty)
    assert np.mean(within) > 0.85


# ---- laws


class Pieces:
    """Events as a Source of small blocks."""

    def __init__(self, events, count):
        self.size, self.events, self.count = events.size, events, count

    def __iter__(self):
        for start in range(0, len(self.events), self.count):
            yield self.events[start : start + self.count]


@pytest.mark.slow
def test_the_result_does_not_depend_on_threads_or_how_the_recording_is_cut_or_when_it_began(
    frames, monkeypatch
):
    small = [(t, frame[:24, :24]) for t, frame in frames[:200:2]]
    events = recorded(small, EmulatorParams(threshold_sigma=0.03, leak_hz=1.0, shot_hz=5.0))
    monkeypatch.setenv("DVSKIT_THREADS", "1")
    whole = calibrate(events, small)
    assert whole["leak_hz"].value is not None
    monkeypatch.setenv("DVSKIT_THREADS", "3")
    assert calibrate(Pieces(events, 777), iter(small)) == whole
    later = Events(t=events.t + 10**12, x=events.x, y=events.y, p=events.p, size=events.size)
    moved = calibrate(later, [(t + 10**12, frame) for t, frame in small])
    for name in ("threshold_on", "threshold_off", "threshold_sigma"):
        near(moved, name, whole[name].value, 1e-3)


@pytest.mark.parametrize("kind", ["uint16", "float", "rgb", "Frame"])
def test_frames_of_any_kind_mean_the_same(frames, kind):
    small = [(t, frame[:24, :24]) for t, frame in frames[:200:2]]
    events = recorded(small, EmulatorParams())
    make = {
        "uint16": lambda t, f: (t, f.astype(np.uint16) * 257),
        "float": lambda t, f: (t, f / 255.0),
        "rgb": lambda t, f: (t, np.stack([f, f, f], 2)),
        "Frame": lambda t, f: Frame(t - 100, t + 100, f),
    }[kind]
    found = calibrate(events, [make(t, frame) for t, frame in small])
    near(found, "threshold_on", 0.2, 0.01)
    assert found.notes == ()


def test_frames_of_10_bits_are_told_and_noted(frames):
    small = [(t, frame[:24, :24]) for t, frame in frames[:200:2]]
    events = recorded(small, EmulatorParams())
    found = calibrate(events, [(t, frame.astype(np.uint16) * 4) for t, frame in small])
    near(found, "threshold_on", 0.2, 0.02)
    assert any("1023" in note for note in found.notes)


# ---- kernels against plain twins


def random_events(seed, pixels=7, count=300, span=1_000_000):
    rng = np.random.default_rng(seed)
    pixel = rng.integers(0, pixels, count).astype(np.int32)
    t = np.sort(rng.integers(0, span, count))
    p = rng.random(count) < 0.5
    events = Events(t=t, x=pixel, y=np.zeros(count, int), p=p, size=(pixels, 1))
    return events, observe(EventsSource(events)).events


@pytest.mark.parametrize("seed", range(3))
def test_events_are_sorted_by_pixel_and_stay_in_order(seed):
    events, by_pixel = random_events(seed)
    for pixel in range(7):
        part = slice(by_pixel.starts[pixel], by_pixel.starts[pixel + 1])
        assert np.array_equal(by_pixel.t[part], events.t[events.x == pixel])
        assert np.array_equal(by_pixel.p[part], events.p[events.x == pixel])


def low_passed(t, frame_t, levels, taus):
    """The signal at t by small Euler steps: tau v' = L - v."""
    v, at = levels[0], frame_t[0]
    while at < t - 1e-9:
        step = min(25.0, t - at, *(edge - at for edge in frame_t if edge > at))
        f = min(int(np.searchsorted(frame_t, at, "right")) - 1, len(frame_t) - 2)
        middle = at + 0.5 * step
        level = np.interp(middle, frame_t, levels)
        v += (level - v) * -math.expm1(-step / taus[f + 1])
        at += step
    return v


@pytest.mark.parametrize("held", [0.0, 3000.0])
@pytest.mark.parametrize("doubtful", [False, True])
def test_changes_between_events_are_those_of_the_integrated_signal(held, doubtful):
    rng = np.random.default_rng(5)
    _, events = random_events(5, pixels=3, count=24, span=60_000)
    frame_t = np.array([0.0, 9000.0, 21_000.0, 30_000.0, 55_000.0])
    numbers = rng.integers(0, 256, (3, 5)).astype(np.float32)
    sure = (rng.random((3, 5)) < 0.7).astype(np.uint8) if doubtful else np.empty((0, 0), np.uint8)
    room = len(events.t)
    rows = pairs.RowColumns.of(room, weighted=False)
    shown, response = Numbers(frame_t, numbers, sure), Response(4.0, 20.0, 1500.0, held, 1e-5)
    n = pairs.rows_between_events(events, shown, response, rows)
    expected = []
    for j in range(3):
        levels = np.log(numbers[j] + 4.0)
        taus = 1500.0 * 275.0 / (numbers[j] + 20.0)
        t, p = (c[events.starts[j] : events.starts[j + 1]] for c in (events.t, events.p))
        for i in range(1, len(t)):
            begun = min(t[i - 1] + held, t[i])
            first, last = np.searchsorted(frame_t, [begun, t[i]])
            gone = range(first, last + 1)
            if t[i] <= frame_t[-1] and (not doubtful or sure[j, gone].all()):
                a, b = (low_passed(at, frame_t, levels, taus) for at in (begun, t[i]))
                leaked = 1e-5 * (t[i] - begun)
                expected.append((j, float(p[i]) - leaked, float(p[i]) - 1.0, b - a))
    assert n == len(expected) > (2 if doubtful else 10)
    found = np.stack([each[:n] for each in rows[:4]], 1)
    assert np.allclose(found, expected, atol=2e-3)


def light_between(t, p, gap_start, at, values):
    """Level and slope at a time, of the cubic whose ends slope as parabolas of three events do."""
    i = gap_start
    slopes = []
    for node, other in ((i, i - 1), (i + 1, i + 2)):
        inside = 0 <= other < len(t) and p[other if other > node else node - 1] == p[i + 1]
        inside = inside and p[max(node, other)] == p[min(node, other)]
        three = sorted({i, i + 1, other}) if inside else [i, i + 1]
        fitted = np.polynomial.Polynomial.fit(t[three], values[three], len(three) - 1)
        slopes.append(fitted.deriv()(t[node]))
    g = t[i + 1] - t[i]
    powers = np.array([[1, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0], [0, 1, 2, 3]], float)
    ends = [values[i], values[i + 1], g * slopes[0], g * slopes[1]]
    cubic = np.polynomial.Polynomial(np.linalg.solve(powers, ends))
    u = (at - t[i]) / g
    return cubic(u), cubic.deriv()(u) / g


@pytest.mark.parametrize("seed", range(3))
def test_changes_between_frames_are_those_of_cubics_through_the_events(seed):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.choice(1_000_000, 60, replace=False))
    p = np.repeat(rng.random(20) < 0.5, 3)
    starts, frame_t = np.array([0, 60]), np.arange(0.0, 1e6, 15_000)
    numbers = rng.uniform(0, 255, (1, frame_t.size)).astype(np.float32)
    leak, pole, longest = 2e-6, 3000.0, 60_000.0
    rows = pairs.RowColumns.of(99, weighted=True)
    shown, response = Numbers(frame_t, numbers, NO_DOUBT), Response(4.0, 20.0, pole, 0.0, leak)
    n = pairs.rows_between_frames(PixelEvents(t, p, starts), shown, response, longest, rows)
    level = np.stack([np.cumsum(p) - leak * t, -np.cumsum(~p)]).astype(float)
    last, expected = None, []
    for at, number in zip(frame_t, numbers[0], strict=True):
        i = int(np.searchsorted(t, at, "right")) - 1
        if i < 0 or i + 1 >= len(t) or p[i] != p[i + 1] or t[i + 1] - t[i] > longest:
            continue
        tau = pole * 275 / (number + 20)
        here = [v + tau * s for v, s in (light_between(t, p, i, at, each) for each in level)]
        here = (*here, np.log(np.float64(number) + 4), i)
        if last is not None and i > last[3]:
            expected.append([b - a for a, b in zip(last[:3], here[:3], strict=True)])
        if last is None or i > last[3]:
            last = here
    assert n == len(expected) > 10
    assert np.allclose(np.stack([each[:n] for each in rows[1:4]], 1), expected, atol=1e-6)
    assert (rows.weight[:n] > 0).all()
    assert (rows.weight[:n] <= 1).all()


@pytest.mark.parametrize("held", [0.0, 4000.0])
def test_a_ramp_behind_a_low_pass_is_known_from_its_events(held):
    """Then all is exact: the signal lags by tau, and what is missed is held times the slope."""
    slope, threshold = 2e-6, 0.02
    t = 100_000 + np.round(np.arange(80) * (threshold / slope + held)).astype(np.int64)
    frame_t = np.arange(0.0, 1e6, 37_000)
    level = 3.0 + slope * frame_t
    numbers = (np.exp(level) - 4.0).astype(np.float32)[None]
    rows = pairs.RowColumns.of(99, weighted=True)
    events = PixelEvents(t, np.ones(80, bool), np.array([0, 80]))
    shown, response = Numbers(frame_t, numbers, NO_DOUBT), Response(4.0, 20.0, 0.0, held, 0.0)
    n = pairs.rows_between_frames(events, shown, response, 1e6, rows)
    assert n > 15
    assert np.allclose(rows.change[:n], threshold * rows.on[:n], rtol=1e-3)
    assert not rows.off[:n].any()


@pytest.mark.parametrize("held", [0.0, 500.0])
def test_gaps_in_spans_are_those_of_a_walk(held):
    _, events = random_events(6)
    pixel = np.array([0, 0, 3, 6])
    start = np.array([10_000.0, 500_000.0, 0.0, 900_000.0])
    stop = np.array([400_000.0, 800_000.0, 1e6, 901_000.0])
    moved = np.array([False, True, False, True])
    room = len(events.t) + 4
    span, length = np.empty(room, int), np.empty(room)
    end, first = np.empty(room, np.int8), np.empty(room, np.int8)
    spans = k.Spans(pixel, start, stop, np.ones(4), moved)
    n = k.gaps_in_spans(events, spans, held, k.Gaps(span, length, end, first))
    expected = []
    for s in range(4):
        own = slice(events.starts[pixel[s]], events.starts[pixel[s] + 1])
        begun, is_first = start[s], k.MOVED if moved[s] else k.STEADY
        for t, p in zip(events.t[own], events.p[own], strict=True):
            if start[s] <= t < stop[s]:
                expected.append((s, max(0.0, t - begun), int(p), is_first))
                begun, is_first = t + held, k.RESET
        expected.append((s, max(0.0, stop[s] - begun), k.CUT, is_first))
    assert n == len(expected) > 50
    columns = (span[:n], length[:n], end[:n], first[:n])
    assert [tuple(row) for row in zip(*columns, strict=True)] == expected


def test_rows_are_fitted_as_by_least_squares_and_outliers_do_not_matter():
    rng = np.random.default_rng(7)
    on, off = rng.integers(0, 4, 200).astype(float), -rng.integers(0, 4, 200).astype(float)
    change = 0.3 * on + 0.2 * off + rng.normal(0, 0.01, 200)
    truth = np.linalg.lstsq(np.stack([on, off], 1), change, rcond=None)[0]
    for broken in (0, 40):
        change[:broken] = rng.uniform(-2, 2, broken)
        a, b = np.array([0.25]), np.array([0.25])
        error, rest, ones = np.zeros((2, 1)), np.empty(200), np.ones(200)
        rows = pairs.Pairs(on, off, change, on, off, ones)
        found = pairs.Thresholds(a, b, *error)
        pairs.fit_rows(np.array([0, 200]), rows, pairs.Robust(0.05, 2, 30), found, rest)
        assert a[0] == pytest.approx(truth[0], abs=0.003)
        assert b[0] == pytest.approx(truth[1], abs=0.003)
        assert np.allclose(rest, change - a[0] * on - b[0] * off)
        assert 0.01 < 0.05 * error[0, 0] / 0.05 < 0.1  # of some 100 rows, each of 1.5 events


def test_events_that_are_counted_badly_do_not_lower_the_thresholds():
    """Frames are exact here, and events are not: least squares is 10 % off and more."""
    rng = np.random.default_rng(11)
    change = rng.normal(0, 0.3, 20_000)
    n = np.where(change > 0, change / 0.3, -change / 0.2)
    wrong = n + rng.normal(0, 0.6, change.size)
    on, off = np.where(change > 0, wrong, 0.0), np.where(change > 0, 0.0, -wrong)
    weight = rng.uniform(0.5, 1.0, change.size)
    for sure, part in (((change.clip(0), change.clip(None, 0)), 0.02), ((on, off), 0.5)):
        a, b = np.array([0.3]), np.array([0.2])
        errors, rest = np.zeros((2, 1)), np.empty(change.size)
        rows = pairs.Pairs(on, off, change, *sure, weight)
        found = pairs.Thresholds(a, b, *errors)
        starts = np.array([0, change.size])
        pairs.fit_rows(starts, rows, pairs.Robust(10.0, 2, 3), found, rest)
        assert abs(a[0] / 0.3 - 1) < part
        assert abs(b[0] / 0.2 - 1) < part
    assert max(a[0] / 0.3, b[0] / 0.2) < 0.9


def test_a_pixel_with_few_rows_keeps_what_it_has():
    on, off, rest = np.array([0.3]), np.array([0.2]), np.empty(3)
    errors, row = np.zeros((2, 1)), np.array([1.0, 2.0, 3.0])
    rows = pairs.Pairs(row, -row, row, row, -row, row)
    found = pairs.Thresholds(on, off, *errors)
    pairs.fit_rows(np.array([0, 3]), rows, pairs.Robust(1.0, 4, 3), found, rest)
    assert (on[0], off[0]) == (0.3, 0.2)
    assert np.isinf(errors).all()


@pytest.mark.parametrize("shot", [0.0, 0.5, 3.0])
def test_shot_noise_that_resets_the_leak_lowers_its_rate_as_a_renewal_process(shot):
    rng = np.random.default_rng(8)
    period, t, count, end = 1.0, 0.0, 0, 20_000.0
    while t < end:
        strike = rng.exponential(1 / shot) if shot else math.inf
        count += strike > period
        t += min(period, strike)
    seen = noise._seen_leak(period * 1e6, shot * 1e-6) * 1e6
    assert seen == pytest.approx(count / end, rel=0.05)
    assert noise._period(seen * 1e-6, shot * 1e-6) == pytest.approx(1e6, rel=1e-6)


def test_a_contrast_edge_is_no_refractory_period():
    frames = []
    for number in range(300):
        frame = np.full((24, 24), 50, np.uint8)
        frame[:, : number // 5 % 24] = 200
        frames.append((number * 2000, frame))
    plain = thresholds.find_edge(observe(EventsSource(recorded(frames, EmulatorParams()))).events)
    assert plain is not None  # all steps are alike, so that intervals do have an edge
    assert not plain.confirmed
    assert calibrate(recorded(frames, EmulatorParams()), frames)["refractory_us"].value is None


# ---- what cannot be


def test_a_recording_without_events_is_an_error():
    with pytest.raises(EventsError, match="0 events"):
        calibrate(Events.empty((8, 8)))


def test_frames_that_do_not_fit_are_errors(frames, worn):
    with pytest.raises(ShapeError, match=r"frame 0 has shape \(48, 32\)"):
        calibrate(worn, [(t, frame[:, :32]) for t, frame in frames])
    with pytest.raises(VideoError, match="do not overlap"):
        calibrate(worn, [(t + 10**9, frame) for t, frame in frames])
    with pytest.raises(VideoError, match="frame 1 is at"):
        calibrate(worn, [frames[5], frames[4]])
    with pytest.raises(VideoError, match="1 frame"):
        calibrate(worn, frames[:1])
    with pytest.raises(ShapeError, match="float frames"):
        calibrate(worn, [(t, frame / -255.0) for t, frame in frames[:2]])
    with pytest.raises(ShapeError, match="complex"):
        calibrate(worn, [(t, frame.astype(complex)) for t, frame in frames[:2]])


def test_a_still_scene_gives_noise_but_no_thresholds():
    frames = [(t, np.full((48, 48), 60, np.uint8)) for t in range(0, 10_000_001, 1_000_000)]
    found = calibrate(recorded(frames, EmulatorParams(shot_hz=2.0)), frames)
    near(found, "shot_hz", 2.0, 0.1)
    assert found["threshold_on"].value is None
    assert "moving" in found["threshold_on"].how


def test_what_the_emulator_cannot_take_is_left_at_its_default_and_said(calibrated, monkeypatch):
    from dvskit.emulator.calibration import run
    from dvskit.emulator.calibration.table import Estimate

    observed = observe(EventsSource(random_events(1)[0]))
    made = run._made(observed, [Estimate("shot_hz", 1e9, 1.0, 5, "x")], [], np.empty(0, int))
    assert made.params == EmulatorParams()
    assert "outside" in made["shot_hz"].how
    with pytest.raises(KeyError):
        calibrated["model"]


# ---- the command line


@pytest.mark.slow
def test_the_preset_goes_through_emulate(run, tmp_path, frames):
    still = [(t, frame[:24, :24]) for t, frame in frames[:500:2]]
    dvskit.save_events(recorded(still, WORN), tmp_path / "real.npz")
    (tmp_path / "clip").mkdir()
    for number, (_, frame) in enumerate(still):
        cv2.imwrite(str(tmp_path / "clip" / f"{number:04d}.png"), frame)
    code, out, err = run("calibrate", "real.npz", "clip", "--fps", 250, "-o", "mine.toml")
    assert code == 0, err
    assert "threshold_on" in out
    mine = EmulatorParams.preset("mine.toml")
    assert mine.threshold_on == pytest.approx(0.25, rel=0.05)
    assert mine.cutoff_hz == pytest.approx(200, rel=0.2)
    assert run("emulate", "clip", "again.npz", "--fps", 250, "--preset", "mine.toml")[0] == 0
    assert len(dvskit.load_events("again.npz")) > 1000

    before = (tmp_path / "mine.toml").read_text()
    code, out, err = run("calibrate", "real.npz", "-o", "mine.toml")
    assert (code, out) == (1, "")
    assert "exists already" in err
    assert err.count("\n") == 1
    assert (tmp_path / "mine.toml").read_text() == before
    code, out, _ = run("calibrate", "real.npz", "--json", "-o", "mine.toml", "--force")
    assert code == 0
    facts = json.loads(out)
    assert {each["name"] for each in facts["estimates"]} >= {"threshold_on", "shot_hz", "hot_hz"}
    assert (tmp_path / "mine.toml").read_text() != before
    assert {file.name for file in tmp_path.iterdir()} == {
        "real.npz", "clip", "again.npz", "mine.toml",
    }  # fmt: skip


@pytest.mark.slow
def test_frames_come_from_a_video_but_not_from_a_recording_without_any(run, tmp_path, frames):
    small = [(t, frame[:24, :24]) for t, frame in frames[:200]]
    dvskit.save_events(recorded(small, EmulatorParams()), tmp_path / "a.npz")
    dvskit.video.write_video(small, tmp_path / "a.mp4", fps=500)
    code, out, err = run("calibrate", "a.npz", "a.mp4", "--fps", 500, "-o", "a.toml")
    assert code == 0, err
    # Video of 8 bits is compressed: near enough.
    assert EmulatorParams.preset("a.toml").threshold_on == pytest.approx(0.2, rel=0.15)
    code, out, err = run("calibrate", "a.npz", "a.npz")
    assert (code, out) == (1, "")
    assert "without frames" in err


def test_bad_input_is_one_line_of_error(run, tmp_path, frames):
    dvskit.save_events(recorded(frames[:50], EmulatorParams()), tmp_path / "a.npz")
    dvskit.save_events(Events.empty((8, 8)), tmp_path / "none.npz")
    (tmp_path / "clip").mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / "clip" / f"{number}.png"), np.zeros((9, 9), np.uint8))
    for words, ended_with, text in (
        (("none.npz",), 1, "0 events"),
        (("a.npz", "clip", "--fps", 100), 1, "shape (9, 9)"),
        (("a.npz", "clip", "--fps", 100, "--offset", "9"), 2, "unit"),
        (("a.npz", "missing"), 1, "missing"),
        (("a.npz", "-o", "a.txt"), 2, ".toml"),
        (("a.npz", "-o", "no/a.toml"), 1, "does not exist"),
    ):
        code, out, err = run("calibrate", *words)
        assert (code, out) == (ended_with, ""), words
        *stages, last = err.splitlines()
        assert text in last
        assert all(re.match(r"dvskit: \w+\.npz: (reading|searching) ", line) for line in stages)
    assert {file.name for file in tmp_path.glob("*.toml")} == set()


def test_every_preset_that_is_written_is_read_back(worn, tmp_path):
    found = calibrate(worn)
    path = tmp_path / "mine.toml"
    path.write_text(found.preset_text())
    assert EmulatorParams.preset(path) == found.params
    path.write_text("threshold_on = 100.0\n")
    with pytest.raises(ConfigError):
        EmulatorParams.preset(path)


# ---- real recordings


@pytest.mark.parametrize(
    "name", ["davis240c_aps_imu.aedat", "dvxplorer_320x240_lz4.aedat4", "evt2_gen3_640x480.raw"]
)
def test_real_recordings_give_sane_values(data, name):
    found = calibrate(dvskit.open_events(data / "recordings" / name))
    assert found["threshold_on"].value is None
    for each in found.table:
        assert each.value is None or (math.isfinite(each.value) and each.value >= 0)
    assert found["hot_fraction"].value < 0.05
    assert found.params.shot_hz < 100
