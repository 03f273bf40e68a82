"""The pixel that is not ideal: oracles, laws, and a twin that integrates it step by step."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import dvskit
from dvskit import Emulator, EmulatorParams, Events
from dvskit.emulator import levels
from dvskit.emulator.crossings import Crossings
from dvskit.emulator.params import preset_table, presets, read_preset, write_preset
from dvskit.emulator.sensor import SensorPixels
from dvskit.emulator.sensor.signal_kernels import closer, curve, turns
from dvskit.errors import ConfigError, MissingFileError
from dvskit.events import as_size

UNIT = levels.UNIT
NOISY = EmulatorParams(
    threshold_sigma=0.03, cutoff_hz=300.0, leak_hz=2.0, leak_spread=0.1, leak_jitter=0.1,
    shot_hz=20.0, refractory_us=500,
)  # fmt: skip


def run(frames, params, seed=0, prepare=None, t0=0):
    """Emulate (t_us, frame) pairs; returns the events and which are noise."""
    height, width = frames[0][1].shape
    emulation = Emulator(params, seed).start((width, height))
    if prepare == "sensor":
        emulation._pixels = SensorPixels(params, emulation.size, seed, 2)
    events, noise = [], []
    for t, frame in frames:
        if prepare == "wake" and emulation._frames:
            emulation._pixels.pixels.quiet[:] = -1.0  # every block is looked at in every frame
        got, labels = emulation.step_labelled(t + t0, frame)
        events.append(got)
        noise.append(labels)
    got, labels = emulation.finish_labelled()
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
        if dtype == np.uint8:
            made.append((number * step_us, frame.astype(np.uint8)))
        elif dtype == np.uint16:
            made.append((number * step_us, (frame * 257).astype(np.uint16)))
        else:
            made.append((number * step_us, (frame / 255).astype(dtype)))
    return made


def same(a: Events, b: Events) -> bool:
    return a == b


# ---- laws


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_a_sensor_without_faults_gives_the_ideal_events(dtype):
    frames = clip(dtype=dtype)
    ideal, _ = run(frames, EmulatorParams())
    sensor, noise = run(frames, EmulatorParams(), prepare="sensor")
    assert len(ideal) > 1000
    assert not noise.any()
    assert len(ideal) == len(sensor)
    assert np.abs(ideal.t - sensor.t).max() <= 1
    keys = [np.sort(e.x.astype(int) * 4 + e.y * 4000 + e.p) for e in (ideal, sensor)]
    assert np.array_equal(*keys)


@pytest.mark.parametrize(
    "params",
    [
        NOISY,
        pytest.param(
            EmulatorParams(cutoff_hz=50.0, follower_hz=80.0), marks=pytest.mark.slow(seconds=5)
        ),
    ],
)
def test_pixels_that_are_left_alone_would_have_done_nothing(params):
    frames = clip(frames=40)
    lazy, lazy_noise = run(frames, params)
    awake, awake_noise = run(frames, params, prepare="wake")
    assert len(lazy) > 500
    assert len(lazy) == len(awake)
    order = [np.lexsort((e.t, e.y, e.x)) for e in (lazy, awake)]
    for column in "xyp":
        a, b = getattr(lazy, column)[order[0]], getattr(awake, column)[order[1]]
        assert np.array_equal(a, b)
    assert np.abs(lazy.t[order[0]] - awake.t[order[1]]).max() <= 1
    assert np.array_equal(lazy_noise[order[0]], awake_noise[order[1]])


def test_a_leak_that_noise_made_faster_is_not_slept_through():
    params = EmulatorParams(leak_hz=20.0, leak_jitter=0.3, shot_hz=40.0)
    frames = still(100, 20.0, fps=200, shape=(1, 1))
    lazy, lazy_noise = run(frames, params, seed=4)
    awake, awake_noise = run(frames, params, seed=4, prepare="wake")
    assert len(lazy) > 500
    assert np.array_equal(lazy.p, awake.p)
    assert np.abs(lazy.t - awake.t).max() <= 1
    assert np.array_equal(lazy_noise, awake_noise)


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_the_events_do_not_depend_on_the_number_of_threads(monkeypatch, threads):
    frames = clip(shape=(128, 300), frames=10)
    monkeypatch.setenv("DVSKIT_THREADS", "1")
    one, _ = run(frames, NOISY)
    monkeypatch.setenv("DVSKIT_THREADS", str(threads))
    many, _ = run(frames, NOISY)
    assert len(one) > 5000
    assert one == many


@pytest.mark.parametrize("t0", [-5_000_000, 10**12])
def test_the_events_do_not_depend_on_when_the_clip_begins(t0):
    frames = clip()
    here, _ = run(frames, NOISY)
    there, _ = run(frames, NOISY, t0=t0)
    assert np.array_equal(there.t - t0, here.t)
    assert np.array_equal(there.x, here.x)
    assert np.array_equal(there.p, here.p)


def test_a_seed_fixes_the_events_and_another_one_changes_them():
    frames = clip()
    assert run(frames, NOISY, seed=3)[0] == run(frames, NOISY, seed=3)[0]
    assert run(frames, NOISY, seed=3)[0] != run(frames, NOISY, seed=4)[0]


def test_room_for_events_grows_without_losing_or_repeating_any(monkeypatch):
    from dvskit.emulator.sensor import run as module

    frames = clip(frames=8)
    params = EmulatorParams(shot_hz=5000.0, threshold_sigma=0.03, leak_hz=100.0)
    whole, _ = run(frames, params)
    monkeypatch.setattr(module, "_ROOM", 64)
    assert len(whole) > 5000
    assert run(frames, params)[0] == whole


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize(("count", "instants"), [(1, 1), (63, 5), (5000, 2000), (900, 1)])
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("threads", [1, 3])
def test_events_of_the_same_time_are_put_in_order_of_pixels_and_those_of_one_stay(
    count, instants, labelled, parts, threads, monkeypatch
):
    monkeypatch.setattr("dvskit.emulator.crossings._FEW", 0)
    monkeypatch.setenv("DVSKIT_THREADS", str(threads))
    rng = np.random.default_rng(count)
    drawn = [
        (
            rng.integers(0, instants, count).astype(np.int32),
            4 * (100 * part + rng.integers(0, 40, count)) + rng.integers(0, 4, count),
        )
        for part in range(parts)
    ]
    times, marks = zip(*drawn, strict=True)
    made = Crossings(as_size((20, 15)), 50, instants, list(times), list(marks), by_pixel=False)
    events, noise = made.events(labelled=labelled)
    times, marks = np.concatenate(times), np.concatenate(marks)
    order = np.lexsort((marks >> 2, times))
    assert np.array_equal(events.t, 50 + times[order])
    assert np.array_equal(20 * events.y.astype(int) + events.x, marks[order] >> 2)
    assert np.array_equal(events.p, (marks[order] & 1) != 0)
    assert not labelled or np.array_equal(noise, (marks[order] & 2) != 0)


@pytest.mark.parametrize("params", [NOISY, EmulatorParams()])
def test_events_that_were_given_out_are_not_written_over(params):
    emulation = Emulator(params).start((40, 24))
    held = [emulation.step(t, frame) for t, frame in clip()]
    again = Emulator(params).start((40, 24))
    for events, (t, frame) in zip(held, clip(), strict=True):
        assert events == again.step(t, frame)
    assert sum(map(len, held[1:3])) > 0


def test_events_are_in_order_of_time_then_row_then_column():
    frames = clip(shape=(128, 300), frames=10, step_us=300)
    emulation = Emulator(NOISY).start((300, 128))
    for t, frame in frames:
        events = emulation.step(t, frame)
        place = (events.t * 128 + events.y) * 300 + events.x
        assert t == 0 or len(events) > 100
        assert (np.diff(place) >= 0).all()


# ---- the twin


def twin(frames, params, ref, steps_us=1.0):
    """One pixel, integrated in steps of a microsecond: crossings to the step, in order."""
    c_on, c_off = params.threshold_on, params.threshold_off
    log = [levels.log_intensity(float(f[0, 0]), params) for _, f in frames]
    v = u = log[0]
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
    "extra",
    [
        {},
        {"follower_hz": 60.0},
        {"leak_hz": 30.0},
        {"leak_hz": 30.0, "follower_hz": 400.0},
        {"refractory_us": 700},
        {"threshold_off": 0.13},
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_a_pixel_fires_when_the_twin_does(extra, seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(5, 255, 12)
    values[5] = values[6] = values[4]
    times = np.concatenate([[0], np.cumsum(rng.integers(500, 9000, 11))])
    frames = [(int(t), np.full((1, 1), v, np.uint8)) for t, v in zip(times, values, strict=True)]
    params = EmulatorParams(cutoff_hz=100.0, **extra)
    emulation = Emulator(params, 1).start((1, 1))
    emulation.step(*frames[0])
    pixel = emulation._pixels.pixels
    ref = (pixel.ref[0] + pixel.leak[0] * pixel.begun[0]) / UNIT  # at 0; begun is when it was set
    events = Events.concatenate([emulation.step(t, f) for t, f in frames[1:]])
    # Behind a refractory period an error of the step carries over to the next crossing.
    expected = twin(frames, params, ref, steps_us=0.25 if params.refractory_us else 1.0)
    assert len(expected) >= 8
    assert events.p.tolist() == [rise for _, rise in expected]
    most = 30 if params.refractory_us else 3
    assert np.abs(events.t - np.array([t for t, _ in expected])).max() <= most


def root(signal, two, low, at_low, high, at_high, level):
    """Close in on a crossing from the chord on, as the rounds do."""
    t = low + (high - low) * (level - at_low) / (at_high - at_low)
    for _ in range(80):
        t, low, high, near = closer(signal, two, (t, low, high), at_high > at_low, level)
        if near:
            return t
    raise AssertionError("no end of it")


def slow_root(f, low, high, level):
    rising = f(high) > f(low)
    for _ in range(200):
        middle = 0.5 * (low + high)
        if (f(middle) > level) == rising:
            high = middle
        else:
            low = middle
    return 0.5 * (low + high)


@pytest.mark.parametrize("follower", [False, True])
def test_crossings_are_within_a_thousandth_of_a_microsecond_of_the_root(follower):
    rng = np.random.default_rng(8)
    checked = 0
    while checked < 300:
        end = 10.0 ** rng.uniform(1, 6)
        tau1, tau2 = 10.0 ** rng.uniform(0, 5, 2)
        level0, level1, v, u = rng.uniform(0, 5.5, 4) * UNIT
        parts = curve(level0, (level1 - level0) / end, v, u, tau1, tau2 if follower else 0.0)
        a, b, c1, k1, c2, k2 = parts

        def signal(t, parts=parts):
            a, b, c1, k1, c2, k2 = parts
            return a + b * t + c1 * math.exp(-k1 * t) + c2 * math.exp(-k2 * t)

        kept = math.exp(-k1 * end), math.exp(-k2 * end) if c2 else 0.0
        ends = [0.0, *sorted({*turns((b, c1, k1, c2, k2), end, *kept), end})]
        for low, high in itertools.pairwise(ends):
            at_low, at_high = signal(low), signal(high)
            if abs(at_high - at_low) < 0.001 * UNIT:
                continue
            level = at_low + rng.uniform(0.001, 0.999) * (at_high - at_low)
            found = root((a, b, c1, k1, c2, k2), follower > 0, low, at_low, high, at_high, level)
            assert abs(found - slow_root(signal, low, high, level)) < 1e-3
            checked += 1


# ---- oracles


def test_a_low_pass_gives_the_same_events_at_any_frame_interval():
    params = EmulatorParams(cutoff_hz=30.0, follower_hz=100.0)
    dark, bright = np.full((1, 1), 40, np.uint8), np.full((1, 1), 200, np.uint8)
    times = []
    for step in (100, 1000, 10_000, 100_000):
        frames = [(-1000, dark), *((i * step, bright) for i in range(200_000 // step + 1))]
        times.append(run(frames, params)[0].t.tolist())
    assert len(times[0]) == 8
    assert times[0] == times[1] == times[2] == times[3]


@pytest.mark.parametrize("cutoff_hz", [10.0, 40.0])
def test_the_signal_is_3_db_down_at_the_cutoff_of_its_intensity(cutoff_hz):
    mean, swing = math.log(128.0), 0.02
    light = (128 + 20) / 275
    params = EmulatorParams(
        cutoff_hz=cutoff_hz, threshold_on=0.01, threshold_off=0.01, linear_below=1.5
    )
    period_us = 1e6 / (cutoff_hz * light)
    emulation = Emulator(params).start((1, 1))
    seen = []
    for i in range(4000):
        level = mean + swing * math.sin(2 * math.pi * i / 1000)
        emulation.step(round(i * period_us / 1000), np.full((1, 1), math.exp(level) / 255))
        if i >= 2000:
            seen.append(level + emulation._pixels.pixels.v[0] / UNIT)
    assert (max(seen) - min(seen)) / (2 * swing) == pytest.approx(math.sqrt(0.5), rel=2e-3)


def test_a_leaking_pixel_fires_on_at_its_rate_and_not_in_step_with_others():
    params = EmulatorParams(leak_hz=1.0)
    events, noise = run(still(100, 4.0), params)
    pixels = 50 * 80
    assert events.p.all()
    assert noise.all()
    assert len(events) / pixels / 4 == pytest.approx(1.0, abs=1e-3)
    first = events.t[: pixels // 2]
    assert np.histogram(first, bins=5, range=(0, 500_000))[0].min() > 300


@pytest.mark.parametrize("shot_hz", [0.5, 3.0, 12.0])
def test_leak_beside_shot_noise_is_as_frequent_at_first_as_later(shot_hz):
    params = EmulatorParams(leak_hz=1.0, shot_hz=shot_hz)
    events, _ = run(still(128, 3.0), params)
    struck = shot_hz * (1 - 0.75 * (128 + 20) / 275)  # resets by noise in the time of a leak
    leaks = struck / math.expm1(struck)  # of a pixel: one ends the time if none of them came
    expected = leaks + struck / 2
    pixels = events.size.width * events.size.height
    for start_us, stop_us in ((0, 100_000), (0, 500_000), (2_000_000, 3_000_000)):
        on = np.count_nonzero(events.p & (events.t >= start_us) & (events.t < stop_us))
        mean = expected * pixels * (stop_us - start_us) * 1e-6
        assert abs(on - mean) < 4 * math.sqrt(mean)


def test_leaks_differ_from_pixel_to_pixel_and_jitter_from_event_to_event():
    events, _ = run(still(100, 20.0), EmulatorParams(leak_hz=1.0, leak_spread=0.1))
    counts = np.bincount(events.x + 80 * events.y.astype(int), minlength=4000)
    assert np.std(np.log10(np.maximum(counts, 1) / 20)) == pytest.approx(0.1, abs=0.02)
    events, _ = run(still(100, 20.0), EmulatorParams(leak_hz=1.0, leak_jitter=0.1))
    order = np.lexsort((events.t, events.y, events.x))
    gaps = np.diff(events.t[order])
    gaps = gaps[(np.diff(events.x[order]) == 0) & (np.diff(events.y[order]) == 0)]
    assert 1e6 / gaps.mean() == pytest.approx(1.0, abs=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(("value", "rate"), [(0, 4.727), (128, 2.982), (255, 1.25)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_shot_noise_falls_with_the_light(value, rate, dtype):
    frames = still(value, 4.0) if dtype == np.uint8 else still(value / 255, 4.0, dtype=dtype)
    events, noise = run(frames, EmulatorParams(shot_hz=5.0))
    expected = rate * 4 * 4000
    assert abs(len(events) - expected) < 4 * math.sqrt(expected)
    assert abs(np.count_nonzero(events.p) - expected / 2) < 4 * math.sqrt(expected / 2)
    assert noise.all()


def test_the_intervals_of_shot_noise_are_exponential():
    events, _ = run(still(0, 60.0, fps=5, shape=(20, 20)), EmulatorParams(shot_hz=10.0))
    order = np.lexsort((events.t, events.y, events.x))
    gaps = np.diff(events.t[order])
    same_pixel = (np.diff(events.x[order]) == 0) & (np.diff(events.y[order]) == 0)
    gaps = np.sort(gaps[same_pixel]) * 1e-6
    model = 1 - np.exp(-gaps / gaps.mean())
    distance = np.abs(model - (np.arange(len(gaps)) + 0.5) / len(gaps)).max()
    assert len(gaps) > 50_000
    assert distance < 0.01
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.03)


def test_shot_noise_is_rarer_where_the_threshold_is_higher():
    params = EmulatorParams(shot_hz=200.0, threshold_sigma=0.05)
    emulation = Emulator(params).start((80, 50))
    events = Events.concatenate([emulation.step(t, f) for t, f in still(0, 2.0)])
    on = emulation._pixels.pixels.on / UNIT
    counts = np.bincount((events.x + 80 * events.y.astype(int))[events.p], minlength=4000)
    expected = 2.0 * 100 * (1 - 0.75 * 20 / 275) * 0.2 / on
    assert np.corrcoef(counts, expected)[0, 1] > 0.9
    assert counts.sum() == pytest.approx(expected.sum(), rel=0.01)


def test_the_few_pixels_with_the_lowest_thresholds_have_their_whole_noise():
    # They are drawn in another way than the others.
    params = EmulatorParams(shot_hz=200.0, threshold_sigma=0.08)
    emulation = Emulator(params, 2).start((128, 96))
    frame = np.zeros((96, 128), np.uint8)
    emulation.step(0, frame)
    counts = np.zeros(96 * 128 * 2)
    for number in range(1, 21):
        events = emulation.step(number * 100_000, frame)
        choices = 2 * (events.x + 128 * events.y.astype(int)) + events.p
        counts += np.bincount(choices, minlength=counts.size)
    pixels = emulation._pixels.pixels
    expected = np.empty(96 * 128 * 2)
    expected[::2], expected[1::2] = 0.2 * UNIT / pixels.off, 0.2 * UNIT / pixels.on
    expected *= 2.0 * 100 * (1 - 0.75 * 20 / 275)
    order = np.argsort(expected)
    for part in [*np.array_split(order, 8), order[-400:], order[-40:]]:
        mean = expected[part].sum()
        assert abs(counts[part].sum() - mean) < 4 * math.sqrt(mean)
    misses = (counts - expected) / np.sqrt(expected)
    assert misses.std() == pytest.approx(1.0, abs=0.03)


def test_noise_of_a_pixel_is_in_order_however_much_there_is():
    events, _ = run(still(0, 0.2, fps=10, shape=(8, 8)), EmulatorParams(shot_hz=10_000.0))
    order = np.lexsort((events.t, events.y, events.x))
    pixel = (events.x + 8 * events.y.astype(int))[order]
    expected = 64 * 0.2 * 10_000 * (1 - 0.75 * 20 / 275)
    assert len(events) == pytest.approx(expected, abs=4 * math.sqrt(expected))
    assert (np.diff(events.t) >= 0).all()
    assert np.bincount(pixel).min() > 1600


@pytest.mark.parametrize("shot_hz", [0.0, 200.0])
def test_no_pixel_fires_within_its_refractory_period(shot_hz):
    rng = np.random.default_rng(5)
    frames = [(i * 1000, rng.integers(0, 256, (20, 30)).astype(np.uint8)) for i in range(60)]
    events, _ = run(frames, EmulatorParams(refractory_us=2000, shot_hz=shot_hz))
    order = np.lexsort((events.t, events.y, events.x))
    pixel = (events.x + 30 * events.y.astype(int))[order]
    gaps = np.diff(events.t[order])[np.diff(pixel) == 0]
    assert len(gaps) > 5000
    assert 2000 <= gaps.min() < 2050


def test_a_held_pixel_begins_anew_with_what_it_sees_then():
    frames = [(0, np.full((1, 1), 50, np.uint8)), (10_000, np.full((1, 1), 200, np.uint8))]
    events, _ = run(frames, EmulatorParams(refractory_us=3000))
    # L rises by ln 4 = 1.386 in 10 ms: 0.2 takes 1442.7 us, and each period is 3000 us
    assert events.t.tolist() == [1443, 5885]


def test_thresholds_differ_as_asked():
    emulation = Emulator(EmulatorParams(threshold_sigma=0.03)).start((200, 100))
    emulation.step(0, np.zeros((100, 200), np.uint8))
    for column in (emulation._pixels.pixels.on, emulation._pixels.pixels.off):
        assert column.mean() / UNIT == pytest.approx(0.2, abs=0.001)
        assert column.std() / UNIT == pytest.approx(0.03, abs=0.001)
    assert abs(np.corrcoef(emulation._pixels.pixels.on, emulation._pixels.pixels.off)[0, 1]) < 0.03


def test_events_sum_to_the_change_within_a_threshold_whatever_the_mismatch():
    frames = clip(frames=12)
    emulation = Emulator(EmulatorParams(threshold_sigma=0.04)).start((40, 24))
    sums = np.zeros((24, 40))
    events = [emulation.step(t, f) for t, f in frames]
    on = emulation._pixels.pixels.on.reshape(24, 40) / UNIT
    off = emulation._pixels.pixels.off.reshape(24, 40) / UNIT
    for block in events:
        np.add.at(sums, (block.y, block.x), np.where(block.p, on[block.y, block.x], 0))
        np.add.at(sums, (block.y, block.x), np.where(block.p, 0, -off[block.y, block.x]))
    log = [
        np.vectorize(lambda value: levels.lin_log(float(value), 20.0))(frame)
        for _, frame in (frames[0], frames[-1])
    ]
    rest = (log[1] - log[0] - sums) / np.where(log[1] - log[0] - sums > 0, on, off)
    assert np.abs(rest).max() < 1 + 1e-6


def test_hot_pixels_fire_and_dead_ones_do_not():
    frames = still(100, 2.0)
    events, noise = run(frames, EmulatorParams(hot_fraction=0.01, hot_hz=50.0))
    pixels, counts = np.unique(events.x + 80 * events.y.astype(int), return_counts=True)
    assert 20 <= len(pixels) <= 60
    assert counts.mean() == pytest.approx(100, rel=0.1)
    assert events.p.all()
    assert noise.all()
    params = EmulatorParams(shot_hz=500.0, leak_hz=5.0, dead_fraction=0.3)
    events, _ = run(still(0, 1.0), params)
    fired = np.unique(events.x + 80 * events.y.astype(int))
    assert len(fired) / 4000 == pytest.approx(0.7, abs=0.03)


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


def test_a_source_gives_the_delayed_events_behind_the_last_frame():
    frames = clip()
    params = EmulatorParams(latency_us=50_000)
    source = dvskit.emulate(frames, params=params)
    assert len(Events.concatenate(source)) == len(run(frames, EmulatorParams())[0])


def test_a_surround_takes_away_what_changes_everywhere():
    frames = [(0, np.full((40, 60), 60, np.uint8)), (1000, np.full((40, 60), 180, np.uint8))]
    assert len(run(frames, EmulatorParams())[0]) == 40 * 60 * 5
    params = EmulatorParams(surround_px=4.0, surround_gain=1.0)
    assert len(run(frames, params)[0]) == 0
    edge = frames[1][1].copy()
    edge[:, :30] = 60
    events, _ = run([frames[0], (1000, edge)], params)
    assert events.x.min() > 15
    assert events.x.max() < 45
    assert events.p[events.x >= 30].all()
    assert not events.p[events.x < 30].any()


def test_a_log_map_with_an_offset_is_taken():
    frames = [(0, np.full((1, 1), 0, np.uint8)), (1000, np.full((1, 1), 255, np.uint8))]
    events, _ = run(frames, EmulatorParams(log_offset=5.0, threshold_on=0.5))
    assert len(events) == math.floor(math.log(260 / 5) / 0.5)


# ---- presets


def test_every_preset_says_where_it_is_from():
    for name, params in presets().items():
        assert isinstance(params, EmulatorParams)
        assert len(preset_table()[name]["source"]) > 10
        assert len(preset_table()[name]["summary"]) > 10
    assert {"DVS128", "DAVIS240", "DAVIS346", "Gen3", "Gen4"} < set(presets())
    assert EmulatorParams.preset("clean") == EmulatorParams()
    assert EmulatorParams.preset("noisy").cutoff_hz == 30.0


def test_a_preset_file_is_written_and_read(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(write_preset(NOISY, "from a test\nof two lines"))
    assert EmulatorParams.preset(path) == NOISY
    assert path.read_text().startswith("# from a test\n# of two lines\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thresold_on = 0.2", "did you mean 'threshold_on'"),
        ("threshold_on = 'x'", "is not a number"),
        ("threshold_on = 99.0", "outside 0.01 to 10"),
        ("threshold_on", "is not a preset file"),
        ("refractory_us = 1.5", "not a whole number"),
    ],
)
def test_a_wrong_preset_file_is_refused(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_preset(path)


def test_unknown_presets_missing_files_and_seeds_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'noisy'"):
        EmulatorParams.preset("noissy")
    with pytest.raises(MissingFileError, match="no such file"):
        EmulatorParams.preset(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="seed"):
        Emulator(seed=-1)
    with pytest.raises(ConfigError, match="log_offset"):
        EmulatorParams(log_offset=0.0)


@pytest.mark.parametrize("threads", [2, 4, 8])
def test_no_noise_is_lost_where_the_room_for_it_grows(threads: int) -> None:
    # About 4,030 draws a tile: some need more room than the 4,096 there is at first, most do not.
    params = EmulatorParams(shot_hz=4030 / (4096 * 0.9455))
    frame = np.full((256, 256), 128, np.uint8)

    def noise(threads: int) -> Events:
        run = Emulator(params, seed=5).start((256, 256), threads=threads)
        run.step(0, frame)
        return run.step(1_000_000, frame)

    few, many = noise(1), noise(threads)
    assert len(few) > 30_000
    assert np.array_equal(few.t, many.t)
    assert np.array_equal(few.x, many.x)
