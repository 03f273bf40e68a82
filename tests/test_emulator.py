"""The brightness-threshold rule: oracles, laws, and a plain twin."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

import dvskit
from dvskit import Emulator, EmulatorParams, Events, emulate
from dvskit.emulator import levels
from dvskit.errors import ConfigError, ShapeError, VideoError

LOG = EmulatorParams(threshold_on=0.2, threshold_off=0.2)


def run(frames, params=LOG, size=None):
    """Emulate (t_us, frame) pairs in one go."""
    height, width = frames[0][1].shape
    step = Emulator(params).start(size or (width, height))
    return Events.concatenate([step.step(t, f) for t, f in frames])


def plain_twin(frames, params):
    """The rule as written in the docstring, with exact fractions: slow, and sorted at the end."""
    on, off = (levels.to_units(c) for c in (params.threshold_on, params.threshold_off))

    def level(value):
        number = float(value) * {"u1": 1.0, "u2": 255 / 65535}.get(
            frames[0][1].dtype.str[1:], 255.0
        )
        return math.floor(levels.lin_log(number, params.linear_below) * levels.UNIT + 0.5)

    t0, first = frames[0]
    ref = {k: level(v) for k, v in enumerate(first.reshape(-1))}
    before = dict(ref)
    rows = []
    for number, (t1, frame) in enumerate(frames[1:]):
        for k, value in enumerate(frame.reshape(-1)):
            new = level(value)
            while new - ref[k] >= on or ref[k] - new >= off:
                rise = new > ref[k]
                ref[k] += on if rise else -off
                share = Fraction(ref[k] - before[k], new - before[k])
                t = t0 + math.floor(share * (t1 - t0) + Fraction(1, 2))
                y, x = divmod(k, frame.shape[1])
                rows.append((number, t, k, len(rows), x, y, rise))
            before[k] = new
        t0 = t1
    rows.sort()
    return [(x, y, t, p) for _, t, _, _, x, y, p in rows]


def as_rows(events):
    return list(zip(*(getattr(events, c).tolist() for c in "xytp"), strict=True))


def clip(seed=0, frames=12, shape=(9, 14), dtype=np.uint8, step_us=1000):
    random = np.random.default_rng(seed)
    levels_ = random.integers(0, 256, (frames, *shape))
    if dtype == np.uint8:
        images = levels_.astype(np.uint8)
    elif dtype == np.uint16:
        images = (levels_ * 257).astype(np.uint16)
    else:
        images = (levels_ / 64).astype(dtype)  # up to 4 times white: a bright float frame
    return [(i * step_us, image) for i, image in enumerate(images)]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize(("on", "off"), [(0.2, 0.2), (0.15, 0.31), (0.9, 0.05)])
def test_events_equal_those_of_the_plain_twin(dtype, on, off):
    params = EmulatorParams(threshold_on=on, threshold_off=off)
    frames = clip(3, dtype=dtype)
    expected = plain_twin(frames, params)
    assert len(expected) > 500
    assert as_rows(run(frames, params)) == expected


@pytest.mark.parametrize("step_us", [1000, 10_000])
def test_ramp_gives_eight_events_a_pixel_at_the_times_of_the_crossings(step_us):
    duration = 200_000
    frames = [
        (t, np.full((4, 5), (40 + 160 * t / duration) / 255))
        for t in range(0, duration + 1, step_us)
    ]
    events = run(frames)
    assert len(events) == 8 * 20  # ln(200 / 40) = 8.05 thresholds of 0.2
    assert events.p.all()
    pixel = events[(events.x == 2) & (events.y == 1)].t
    true = [(40 * math.exp(0.2 * k) - 40) / 160 * duration for k in range(1, 9)]
    error = np.abs(pixel - np.array(true))
    # 1 ms: half a microsecond of rounding and little else; 10 ms: the ramp is curved in L.
    assert error.mean() < (1.0 if step_us == 1000 else 80.0)


def test_step_gives_six_events_a_pixel():
    frames = [(0, np.full((3, 3), 50, np.uint8)), (1000, np.full((3, 3), 200, np.uint8))]
    events = run(frames)
    assert len(events) == 6 * 9  # ln 4 = 6.9 thresholds
    pixel = events[(events.x == 0) & (events.y == 0)].t
    expected = [round(1000 * 0.2 * k / math.log(4)) for k in range(1, 7)]
    assert pixel.tolist() == expected


def test_a_pixel_with_one_event_keeps_its_own_time_beside_one_with_twelve():
    before = np.array([[100, 20]], np.uint8)
    after = np.array([[125, 235]], np.uint8)
    events = run([(0, before), (10_000, after)])
    slow = events[events.x == 0]
    assert len(slow) == 1
    assert slow.t[0] == round(10_000 * 0.2 / math.log(1.25))  # 0.896 of the interval
    assert np.count_nonzero(events.x == 1) == 12


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_conservation_the_events_sum_to_the_change_within_one_threshold(dtype):
    params = EmulatorParams(threshold_on=0.2, threshold_off=0.2)
    frames = clip(7, frames=60, shape=(20, 30), dtype=dtype)
    events = run(frames, params)
    summed = np.zeros((20, 30), np.int64)
    np.add.at(summed, (events.y, events.x), np.where(events.p, 1, -1))

    def level(frame):
        if dtype == np.float32:
            return levels.float_levels(frame, LOG).reshape(frame.shape)
        return levels.level_table(frame.dtype, LOG)[frame]

    change = level(frames[-1][1]).astype(np.int64) - level(frames[0][1])
    left = np.abs(change - summed * levels.to_units(0.2)) / levels.to_units(0.2)
    assert left.max() < 1.0  # exactly: a whole threshold would have been an event


def test_a_change_of_exactly_one_threshold_is_an_event_at_the_frame_s_own_time():
    table = levels.level_table(np.dtype(np.uint8), LOG)
    threshold = (int(table[140]) - int(table[100])) / levels.UNIT
    params = EmulatorParams(threshold_on=threshold, threshold_off=threshold)
    up = run([(0, np.full((1, 1), 100, np.uint8)), (777, np.full((1, 1), 140, np.uint8))], params)
    down = run([(0, np.full((1, 1), 140, np.uint8)), (777, np.full((1, 1), 100, np.uint8))], params)
    assert as_rows(up) == [(0, 0, 777, True)]
    assert as_rows(down) == [(0, 0, 777, False)]


def test_sinusoid_gives_two_floor_events_a_period():
    amplitude, periods, threshold = 0.75, 5, 0.2
    times = np.arange(0, periods * 100_000 + 1, 500)
    frames = [
        (int(t), np.full((2, 2), 0.3 * math.exp(-amplitude * math.cos(2e-5 * math.pi * t))))
        for t in times
    ]
    events = run(frames, EmulatorParams(threshold_on=threshold, threshold_off=threshold))
    # It starts at the trough, where a level lies: 7 levels fit between trough and crest.
    assert len(events) == 4 * periods * 2 * math.floor(2 * amplitude / threshold)


def test_a_moving_edge_s_speed_is_told_by_the_times_of_its_events():
    speed = 40.0  # pixels a second
    x = np.arange(60)
    frames = [
        (t, np.repeat((0.1 + 0.8 / (1 + np.exp((x + 20 - speed * t * 1e-6) / 2.0)))[None], 4, 0))
        for t in range(0, 1_800_001, 2000)
    ]
    events = run(frames, EmulatorParams(threshold_on=0.5, threshold_off=0.5))
    seen = events[(events.x > 15) & (events.x < 45)]
    first = np.array([seen.t[(seen.x == column) & (seen.y == 0)][0] for column in range(16, 45)])
    slope = np.polyfit(np.arange(16, 45), first * 1e-6, 1)[0]
    assert 1 / slope == pytest.approx(speed, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_any_number_of_threads_gives_the_same_events(monkeypatch, dtype):
    frames = clip(5, frames=4, shape=(512, 700), dtype=dtype)  # large enough to be cut in parts
    results = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("DVSKIT_THREADS", threads)
        results.append(run(frames))
    assert len(results[0]) > 100_000
    assert results[0] == results[1] == results[2]


def test_a_clip_cut_anywhere_gives_the_same_events():
    frames = clip(1, frames=30)
    whole = run(frames)
    for cut in (1, 2, 17):
        step = Emulator(LOG).start((14, 9))
        parts = [
            Events.concatenate([step.step(t, f) for t, f in frames[start : start + cut]])
            for start in range(0, len(frames), cut)
        ]
        assert Events.concatenate(parts) == whole


@pytest.mark.parametrize("start_us", [-5_000_000, 1_000_000_000_000])
def test_events_only_move_with_the_clock(start_us):
    frames = clip(2)
    whole = run(frames)
    moved = run([(t + start_us, f) for t, f in frames])
    assert np.array_equal(moved.t, whole.t + start_us)
    assert np.array_equal(moved.x, whole.x)
    assert np.array_equal(moved.p, whole.p)


def test_swapping_bright_and_dark_swaps_on_and_off():
    # exp(L) and exp(-L) are mirror images; a float frame has the room for both.
    random = np.random.default_rng(11)
    logs = random.uniform(-1, 1, (8, 6, 7))
    bright = [(i * 997, np.exp(image)) for i, image in enumerate(logs)]
    dark = [(i * 997, np.exp(-image)) for i, image in enumerate(logs)]
    a, b = run(bright), run(dark)
    assert len(a) > 300
    assert np.array_equal(a.p, ~b.p)
    assert np.array_equal(a.t, b.t)


def test_a_long_interval_is_sorted_as_a_short_one_is():
    random = np.random.default_rng(4)
    images = random.integers(1, 256, (2, 5, 6)).astype(np.uint8)
    long = run([(0, images[0]), (1_000_000_000, images[1])])
    assert as_rows(long) == plain_twin([(0, images[0]), (1_000_000_000, images[1])], LOG)


def test_a_buffer_filled_anew_for_each_frame_gives_the_same_events():
    frames = clip(6)
    buffer = np.empty((9, 14), np.uint8)
    step = Emulator(LOG).start((14, 9))
    parts = []
    for t, frame in frames:
        buffer[:] = frame
        parts.append(step.step(t, buffer))
    assert Events.concatenate(parts) == run(frames)


def test_emulate_is_a_source_that_starts_anew():
    frames = clip(8)
    source = emulate(frames, LOG)
    first, second = (Events.concatenate(source) for _ in range(2))
    assert first == second == run(frames)
    assert source.size == (14, 9)
    assert isinstance(source, dvskit.Source)


def test_emulate_takes_an_iterator_once():
    source = emulate(iter(clip(8)), LOG)
    assert Events.concatenate(source) == run(clip(8))
    with pytest.raises(VideoError, match="used up"):
        list(source)


def test_white_is_the_same_in_all_types():
    codes = clip(9)
    expected = run(codes)
    wide = run([(t, f.astype(np.uint16) * 257) for t, f in codes])
    real = run([(t, f / 255) for t, f in codes])
    assert wide == expected
    assert real == expected


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda t, f: (t, f), VideoError, "not after"),
        (lambda t, f: (t - 1, f), VideoError, "not after"),
        (lambda t, f: (t + 2**31, f), VideoError, "18 minutes"),
        (lambda t, f: (t + 5, f[:-1]), ShapeError, "shape"),
        (lambda t, f: (t + 5, f.astype(np.uint16)), ShapeError, "uint16"),
    ],
)
def test_a_wrong_frame_is_refused_by_its_number(change, error, message):
    step = Emulator().start((4, 3))
    frame = np.zeros((3, 4), np.uint8)
    step.step(10, frame)
    with pytest.raises(error, match=rf"frame 1.*{message}"):
        step.step(*change(10, frame))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1e31])
def test_a_pixel_without_a_logarithm_is_refused(bad):
    frame = np.full((3, 4), 0.5)
    frame[2, 1] = bad
    with pytest.raises(ShapeError, match=r"pixel \(1, 2\)"):
        Emulator().start((4, 3)).step(0, frame)


@pytest.mark.parametrize(
    "values", [{"threshold_on": 0.0}, {"threshold_off": math.nan}, {"linear_below": 1.0}]
)
def test_parameters_out_of_range_are_refused(values):
    with pytest.raises(ConfigError, match="outside"):
        EmulatorParams(**values)


def test_an_unknown_preset_is_refused_with_the_nearest_name():
    assert EmulatorParams.preset("clean") == EmulatorParams()
    with pytest.raises(ConfigError, match="did you mean 'clean'"):
        EmulatorParams.preset("claen")


def test_too_short_a_clip_is_refused():
    with pytest.raises(VideoError, match="the clip has 1 frame;"):
        list(emulate([(0, np.zeros((2, 2), np.uint8))]))
    with pytest.raises(VideoError, match="no frames"):
        emulate([])
