"""The pixel that is not ideal: a twin that integrates it step by step, laws and oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest

import dvskit
from dvskit import Emulator, EmulatorParams, Events
from dvskit.emulator import levels
from tests.laws import same_on_threads

NOISY = EmulatorParams(
    threshold_sigma=0.03, cutoff_hz=300.0, leak_hz=2.0, leak_spread=0.1, leak_jitter=0.1,
    shot_hz=20.0, refractory_us=500,
)  # fmt: skip


def run(frames, params, seed=0, t0=0, awake=False):
    """Emulate (t_us, frame) pairs; returns the events and which are noise.

    awake  look at every block in every frame. No input does that without changing the signal:
           this is the one place where a run's inner state is set.
    """
    height, width = frames[0][1].shape
    emulation = Emulator(params, seed).start((width, height))
    events, noise = [], []
    for number, (t, frame) in enumerate(frames):
        if awake and number:
            emulation._pixels.pixels.quiet[:] = -1.0
        got, labels = emulation.step_labeled(t + t0, frame)
        events.append(got)
        noise.append(labels)
    got, labels = emulation.finish_labeled()
    return Events.concatenate([*events, got]), np.concatenate([*noise, labels])


def still(value, seconds, fps=30, shape=(50, 80), dtype=np.uint8):
    frame = np.full(shape, value, dtype)
    return [(round(i * 1e6 / fps), frame) for i in range(round(seconds * fps) + 1)]


def clip(seed=0, frames=20, shape=(24, 40), step_us=3000, dtype=np.uint8):
    """Frames that change here and there, with stretches that do not."""
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 256, shape)
    made = []
    for number in range(frames):
        frame = frame.copy()
        if number % 3:
            y, x = rng.integers(0, shape[0] - 6), rng.integers(0, shape[1] - 6)
            frame[y : y + 6, x : x + 6] = rng.integers(0, 256, (6, 6))
        scale = {np.uint8: 1, np.uint16: 257}.get(dtype, 1 / 255)
        made.append((number * step_us, (frame * scale).astype(dtype)))
    return made


def pixel_of(events):
    return events.y.astype(int) * events.sensor_size.width + events.x


def intervals(events):
    """Return the times from event to event of each pixel, in microseconds."""
    order = np.lexsort((events.t, pixel_of(events)))
    return np.diff(events.t[order])[np.diff(pixel_of(events)[order]) == 0]


def thresholds_of(params, size, seed=0):
    """Measure the ON and OFF threshold of each pixel: where a ramp of log intensity fires first."""
    drawn = EmulatorParams(threshold_sigma=params.threshold_sigma)
    found = []
    for ends in ((3.1, 5.1), (5.1, 3.1)):
        frames = [
            (2_000_000 * k, np.full(size[::-1], math.exp(end) / 255)) for k, end in enumerate(ends)
        ]
        events, _ = run(frames, drawn, seed)
        pixels, first = np.unique(pixel_of(events), return_index=True)
        assert len(pixels) == size[0] * size[1]
        found.append(events.t[first] * 1e-6)
    return found


# ---- the twin


def twin(frames, params, first, steps_us=1.0):
    """One pixel, integrated in steps of a microsecond: crossings to the step, in order.

    A leaking pixel begins anywhere on its way, so the twin takes its first event as given.
    """
    c_on, c_off = params.threshold_on, params.threshold_off
    log = [levels.log_intensity(float(f[0, 0]), params) for _, f in frames]
    v = u = log[0]
    ref = u if not params.leak_hz else None
    out, free = [], -math.inf
    for number in range(1, len(frames)):
        (t0, _), (t1, frame) = frames[number - 1], frames[number]
        tau1 = 1e6 / (2 * math.pi * params.cutoff_hz * (float(frame[0, 0]) + 20) / 275)
        tau2 = 1e6 / (2 * math.pi * params.follower_hz) if params.follower_hz else 0.0
        slope = (log[number] - log[number - 1]) / (t1 - t0)
        for i in range(round((t1 - t0) / steps_us)):
            level = log[number - 1] + slope * (i + 0.5) * steps_us
            v += (level - v) * -math.expm1(-steps_us / tau1)
            u = u + (v - u) * -math.expm1(-steps_us / tau2) if tau2 else v
            now = t0 + (i + 1) * steps_us
            if ref is None:
                if now >= first[0]:
                    ref = u
                    out.append(first)
                continue
            ref -= params.leak_hz * c_on * steps_us * 1e-6
            if now < free:
                continue
            if free > now - steps_us:
                ref = u
            while u - ref >= c_on or ref - u >= c_off:
                rise = u > ref
                ref += c_on if rise else -c_off
                out.append((now, rise))
                if params.refractory_us:
                    free = now + params.refractory_us
                    break
    return out


@pytest.mark.parametrize(
    ("extra", "seed"),
    [
        ({}, 0),
        ({"follower_hz": 60.0}, 1),
        ({"leak_hz": 30.0}, 2),
        ({"leak_hz": 30.0, "follower_hz": 400.0}, 0),
        ({"refractory_us": 700}, 1),
        ({"threshold_off": 0.13, "log_offset": 4.0}, 2),
    ],
    ids=str,
)
def test_a_pixel_fires_when_the_twin_does(extra, seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(5, 255, 12)
    values[5] = values[6] = values[4]
    times = np.concatenate([[0], np.cumsum(rng.integers(500, 9000, 11))])
    frames = [(int(t), np.full((1, 1), v, np.uint8)) for t, v in zip(times, values, strict=True)]
    params = EmulatorParams(cutoff_hz=100.0, light="luma", **extra)
    events, _ = run(frames, params, 1)
    # Behind a refractory period an error of the step carries over to the next crossing.
    first = int(events.t[0]), bool(events.p[0])
    expected = twin(frames, params, first, steps_us=0.25 if params.refractory_us else 1.0)
    assert len(expected) >= 8
    assert events.p.tolist() == [rise for _, rise in expected]
    most = 30 if params.refractory_us else 3
    assert np.abs(events.t - np.array([t for t, _ in expected])).max() <= most


# ---- laws


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_a_sensor_without_faults_gives_the_ideal_events(dtype):
    frames = clip(dtype=dtype)
    ideal, _ = run(frames, EmulatorParams())
    sensor, noise = run(frames, EmulatorParams(dead_fraction=1e-12))  # no pixel is dead
    assert len(ideal) > 1000
    assert not noise.any()
    assert len(ideal) == len(sensor)
    assert np.abs(ideal.t - sensor.t).max() <= 1
    keys = [np.sort(2 * pixel_of(events) + events.p) for events in (ideal, sensor)]
    assert np.array_equal(*keys)


@pytest.mark.parametrize(
    ("frames", "params"),
    [
        (clip(frames=40), NOISY),
        (clip(frames=20), EmulatorParams(cutoff_hz=50.0, follower_hz=80.0)),
        # A leak that noise made faster is not slept through.
        (
            still(100, 10.0, fps=200, shape=(1, 1)),
            EmulatorParams(leak_hz=20.0, leak_jitter=0.3, shot_hz=40.0),
        ),
    ],
    ids=["noisy", "follower", "leak"],
)
def test_pixels_that_are_left_alone_would_have_done_nothing(frames, params):
    found = run(frames, params, 4), run(frames, params, 4, awake=True)
    (lazy, lazy_noise), (awake, awake_noise) = found
    assert len(lazy) > 200
    assert len(lazy) == len(awake)
    a, b = (np.lexsort((events.t, pixel_of(events))) for events, _ in found)
    assert np.array_equal(pixel_of(lazy)[a], pixel_of(awake)[b])
    assert np.array_equal(lazy.p[a], awake.p[b])
    assert np.abs(lazy.t[a] - awake.t[b]).max() <= 1
    assert np.array_equal(lazy_noise[a], awake_noise[b])


def test_the_events_do_not_depend_on_the_number_of_threads():
    frames = clip(shape=(128, 300), frames=6)
    assert len(same_on_threads(lambda: run(frames, NOISY)[0], 2, 8)) > 3000


def test_no_event_is_lost_where_the_room_for_it_grows():
    # About 4,030 draws a tile: some need more room than the 4,096 there is at first, most do not.
    # One thread needs room for more events than each of many does.
    params = EmulatorParams(shot_hz=4030 / (4096 * 0.9455), threshold_sigma=0.02)
    codes = np.random.default_rng(0).integers(90, 190, (2, 256, 256)).astype(np.uint8)

    def noise():
        emulation = Emulator(params, seed=5).start((256, 256))
        emulation.step(0, codes[0])
        return emulation.step(1_000_000, codes[1])

    assert len(same_on_threads(noise, 2, 8)) > 70_000


def test_the_events_do_not_depend_on_when_the_clip_begins():
    frames = clip()
    here, _ = run(frames, NOISY)
    for t0 in (-5_000_000, 10**12):
        there, _ = run(frames, NOISY, t0=t0)
        assert np.array_equal(there.t - t0, here.t)
        assert np.array_equal(pixel_of(there), pixel_of(here))
        assert np.array_equal(there.p, here.p)


def test_a_seed_fixes_the_events_and_another_one_changes_them():
    frames = clip()
    assert run(frames, NOISY, seed=3)[0] == run(frames, NOISY, seed=3)[0]
    assert run(frames, NOISY, seed=3)[0] != run(frames, NOISY, seed=4)[0]


@pytest.mark.parametrize("params", [NOISY, EmulatorParams()])
def test_events_are_in_order_of_time_row_and_column_and_are_not_written_over(params):
    frames = clip(shape=(128, 300), frames=8, step_us=300)
    emulation, again = (Emulator(params).start((300, 128)) for _ in range(2))
    held = [emulation.step(t, frame) for t, frame in frames]
    assert sum(map(len, held)) > 300
    for events, (t, frame) in zip(held, frames, strict=True):
        assert events == again.step(t, frame)
        assert (np.diff(events.t * 128 * 300 + pixel_of(events)) >= 0).all()


# ---- oracles


def test_a_low_pass_gives_the_same_events_at_any_frame_interval():
    params = EmulatorParams(cutoff_hz=30.0, follower_hz=100.0, light="luma")
    dark, bright = np.full((1, 1), 40, np.uint8), np.full((1, 1), 200, np.uint8)
    times = []
    for step in (500, 10_000, 100_000):
        frames = [(-1000, dark), *((i * step, bright) for i in range(200_000 // step + 1))]
        times.append(run(frames, params)[0].t.tolist())
    assert len(times[0]) == 8
    assert times[0] == times[1] == times[2]


def test_a_leaking_pixel_fires_on_at_its_rate_and_not_in_step_with_others():
    events, noise = run(still(100, 4.0), EmulatorParams(leak_hz=1.0))
    assert events.p.all()
    assert noise.all()
    assert len(events) / 4000 / 4 == pytest.approx(1.0, abs=1e-3)
    assert np.histogram(events.t[:2000], bins=5, range=(0, 500_000))[0].min() > 300


@pytest.mark.parametrize("shot_hz", [0.5, 12.0])
def test_leak_beside_shot_noise_is_as_frequent_at_first_as_later(shot_hz):
    events, _ = run(still(128, 3.0), EmulatorParams(leak_hz=1.0, shot_hz=shot_hz, light="luma"))
    struck = shot_hz * (1 - 0.75 * (128 + 20) / 275)  # resets by noise in the time of a leak
    leaks = struck / math.expm1(struck)  # of a pixel: one ends the time if none of them came
    for start_us, stop_us in ((0, 100_000), (0, 500_000), (2_000_000, 3_000_000)):
        on = np.count_nonzero(events.p & (events.t >= start_us) & (events.t < stop_us))
        mean = (leaks + struck / 2) * 4000 * (stop_us - start_us) * 1e-6
        assert abs(on - mean) < 4 * math.sqrt(mean)


def test_leaks_differ_from_pixel_to_pixel_and_jitter_from_event_to_event():
    frames = still(100, 20.0, fps=10)
    events, _ = run(frames, EmulatorParams(leak_hz=1.0, leak_spread=0.1))
    counts = np.bincount(pixel_of(events), minlength=4000)
    assert np.std(np.log10(np.maximum(counts, 1) / 20)) == pytest.approx(0.1, abs=0.02)
    events, _ = run(frames, EmulatorParams(leak_hz=1.0, leak_jitter=0.1))
    gaps = intervals(events)
    assert 1e6 / gaps.mean() == pytest.approx(1.0, abs=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("value", "rate", "dtype"),
    [(0, 4.727, np.uint8), (128, 2.982, np.float32), (128, 2.982, np.uint8), (255, 1.25, np.uint8)],
)
def test_shot_noise_falls_with_the_light(value, rate, dtype):
    frames = still(value if dtype == np.uint8 else value / 255, 4.0, dtype=dtype)
    events, noise = run(frames, EmulatorParams(shot_hz=5.0, light="luma"))
    expected = rate * 4 * 4000
    assert abs(len(events) - expected) < 4 * math.sqrt(expected)
    assert abs(np.count_nonzero(events.p) - expected / 2) < 4 * math.sqrt(expected / 2)
    assert noise.all()


@pytest.mark.slow
def test_shot_noise_is_rarer_the_higher_the_threshold_down_to_the_few_lowest_ones():
    # The pixels with the lowest thresholds are drawn in another way than the others.
    size, params = (128, 96), EmulatorParams(shot_hz=200.0, threshold_sigma=0.08)
    events, _ = run(still(0, 0.7, fps=10, shape=size[::-1]), params, 2)
    counts = np.bincount(2 * pixel_of(events) + events.p, minlength=2 * 128 * 96)
    on, off = thresholds_of(params, size, 2)
    expected = 0.2 / np.stack([off, on], 1).reshape(-1) * 0.7 * 100 * (1 - 0.75 * 20 / 275)
    order = np.argsort(expected)
    for part in [*np.array_split(order, 8), order[-400:], order[-40:]]:
        mean = expected[part].sum()
        assert abs(counts[part].sum() - mean) < 4 * math.sqrt(mean)
    misses = (counts - expected) / np.sqrt(expected)
    assert misses.std() == pytest.approx(1.0, abs=0.03)


def test_noise_of_a_pixel_is_in_order_however_much_there_is():
    events, _ = run(still(0, 0.2, fps=10, shape=(8, 8)), EmulatorParams(shot_hz=10_000.0))
    expected = 64 * 0.2 * 10_000 * (1 - 0.75 * 20 / 275)
    assert len(events) == pytest.approx(expected, abs=4 * math.sqrt(expected))
    assert (np.diff(events.t) >= 0).all()
    assert np.bincount(pixel_of(events)).min() > 1600


@pytest.mark.parametrize("shot_hz", [0.0, 200.0])
def test_no_pixel_fires_within_its_refractory_period(shot_hz):
    rng = np.random.default_rng(5)
    frames = [(i * 1000, rng.integers(0, 256, (20, 30)).astype(np.uint8)) for i in range(60)]
    events, _ = run(frames, EmulatorParams(refractory_us=2000, shot_hz=shot_hz))
    gaps = intervals(events)
    assert len(gaps) > 5000
    assert 2000 <= gaps.min() < 2050


def test_thresholds_differ_as_asked():
    on, off = thresholds_of(EmulatorParams(threshold_sigma=0.03), (200, 100))
    for column in (on, off):
        assert column.mean() == pytest.approx(0.2, abs=0.001)
        assert column.std() == pytest.approx(0.03, abs=0.001)
    assert abs(np.corrcoef(on, off)[0, 1]) < 0.03


def test_events_sum_to_the_change_within_a_threshold_whatever_the_mismatch():
    frames, params = clip(frames=12), EmulatorParams(threshold_sigma=0.04, light="luma")
    events, _ = run(frames, params)
    thresholds = thresholds_of(params, (40, 24))
    pixel = pixel_of(events)
    sums = np.zeros(24 * 40)
    np.add.at(sums, pixel, np.where(events.p, thresholds[0][pixel], -thresholds[1][pixel]))
    first, last = (
        np.vectorize(lambda value: levels.log_intensity(float(value), params))(frame.reshape(-1))
        for _, frame in (frames[0], frames[-1])
    )
    rest = last - first - sums
    assert (np.abs(rest) / np.where(rest > 0, *thresholds)).max() < 1 + 1e-4


def test_hot_pixels_fire_and_dead_ones_do_not():
    events, noise = run(still(100, 2.0), EmulatorParams(hot_fraction=0.01, hot_hz=50.0))
    pixels, counts = np.unique(pixel_of(events), return_counts=True)
    assert 20 <= len(pixels) <= 60
    assert counts.mean() == pytest.approx(100, rel=0.1)
    assert events.p.all()
    assert noise.all()
    params = EmulatorParams(shot_hz=200.0, leak_hz=5.0, dead_fraction=0.3)
    events, _ = run(still(0, 0.5), params)
    assert len(np.unique(pixel_of(events))) / 4000 == pytest.approx(0.7, abs=0.03)


def test_latency_delays_all_events_and_jitter_spreads_them_in_order():
    frames = clip()
    base, _ = run(frames, EmulatorParams())
    late, _ = run(frames, EmulatorParams(latency_us=4500))
    assert np.array_equal(late.t, base.t + 4500)
    assert np.array_equal(late.x, base.x)
    shaken, _ = run(frames, EmulatorParams(latency_us=4500, jitter_us=200.0))
    assert len(shaken) == len(base)
    assert (np.diff(shaken.t) >= 0).all()
    assert (shaken.t - base.t - 4500).mean() == pytest.approx(0, abs=20)
    assert not np.array_equal(shaken.t, late.t)
    source = dvskit.emulate(frames, EmulatorParams(latency_us=50_000))
    assert len(source.load()) == len(base)  # also those that come behind the last frame


def test_a_surround_takes_away_what_changes_everywhere():
    frames = [(0, np.full((40, 60), 60, np.uint8)), (1000, np.full((40, 60), 180, np.uint8))]
    assert len(run(frames, EmulatorParams())[0]) == 40 * 60 * 11  # 11 times the light
    params = EmulatorParams(surround_px=4.0, surround_gain=1.0)
    assert len(run(frames, params)[0]) == 0
    edge = frames[1][1].copy()
    edge[:, :30] = 60
    events, _ = run([frames[0], (1000, edge)], params)
    assert events.x.min() > 15
    assert events.x.max() < 45
    assert events.p[events.x >= 30].all()
    assert not events.p[events.x < 30].any()
