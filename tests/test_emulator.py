"""The brightness-threshold rule: a plain twin, oracles and laws; and the presets of sensors."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

import dvskit
from dvskit import Emulator, EmulatorParams, Events, emulate
from dvskit.emulator import levels
from dvskit.emulator.params import preset_table, read_preset, write_preset
from dvskit.errors import ConfigError, MissingFileError, ShapeError, VideoError
from tests.laws import refused, rows_of, same_on_threads

LOG = EmulatorParams(threshold_on=0.2, threshold_off=0.2)


def run(frames, params=LOG):
    """Emulate (t_us, frame) pairs in one go."""
    height, width = frames[0][1].shape
    step = Emulator(params).start((width, height))
    return Events.concatenate([step.step(t, f) for t, f in frames])


def plain_twin(frames, params):
    """The rule as written in the docstring, with exact fractions: slow, and sorted at the end."""
    on, off = (levels.to_units(c) for c in (params.threshold_on, params.threshold_off))

    top = {"u1": 255, "u2": 65535}.get(frames[0][1].dtype.str[1:])

    def level(value):
        light = float(value)
        if top:  # codes: IEC 61966-2-1
            code = float(value) / top
            light = code / 12.92 if code <= 0.04045 else ((code + 0.055) / 1.055) ** 2.4
        number = 255 * light
        log = number if number <= 1 else 1 + math.log(number)
        return math.floor(log * levels.UNIT + 0.5)

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
    return [(t, x, y, p) for _, t, _, _, x, y, p in rows]


def clip(seed=0, frames=12, shape=(9, 14), dtype=np.uint8, step_us=1000):
    random = np.random.default_rng(seed)
    scale = {np.uint8: 1, np.uint16: 257}.get(dtype, 1 / 64)  # floats: up to 4 times white
    images = (random.integers(0, 256, (frames, *shape)) * scale).astype(dtype)
    return [(i * step_us, image) for i, image in enumerate(images)]


@pytest.mark.parametrize(
    ("dtype", "on", "off", "step_us"),
    [
        (np.uint8, 0.2, 0.2, 1000),
        (np.uint8, 0.15, 0.31, 1_000_000_000),  # so long that the events are sorted
        (np.uint16, 0.9, 0.05, 1000),
        (np.float32, 0.15, 0.31, 1000),
        (np.float64, 0.2, 0.2, 777),
    ],
)
def test_events_equal_those_of_the_plain_twin(dtype, on, off, step_us):
    params = EmulatorParams(threshold_on=on, threshold_off=off)
    frames = clip(3, frames=6, dtype=dtype, step_us=step_us)
    expected = plain_twin(frames, params)
    assert len(expected) > 500
    assert rows_of(run(frames, params)) == expected


def test_ramp_gives_eight_events_a_pixel_at_the_times_of_the_crossings():
    duration = 200_000
    frames = [
        (t, np.full((4, 5), (40 + 160 * t / duration) / 255)) for t in range(0, duration + 1, 1000)
    ]
    events = run(frames)
    assert len(events) == 8 * 20  # ln(200 / 40) = 8.05 thresholds of 0.2
    assert events.p.all()
    pixel = events[(events.x == 2) & (events.y == 1)].t
    true = [(40 * math.exp(0.2 * k) - 40) / 160 * duration for k in range(1, 9)]
    assert np.abs(pixel - np.array(true)).mean() < 1.0  # half a microsecond of it is rounding


@pytest.mark.parametrize(("dtype", "scale"), [(np.uint8, 1), (np.uint16, 257)])
def test_a_change_of_exactly_one_threshold_is_an_event_at_the_frame_s_own_time(dtype, scale):
    table = levels.level_table(np.dtype(dtype), LOG)
    threshold = (int(table[140 * scale]) - int(table[100 * scale])) / levels.UNIT
    params = EmulatorParams(threshold_on=threshold, threshold_off=threshold)
    for codes, polarity in (((100, 140), True), ((140, 100), False)):
        frames = [(777 * k, np.full((1, 1), scale * code, dtype)) for k, code in enumerate(codes)]
        assert rows_of(run(frames, params)) == [(777, 0, 0, polarity)]


def test_codes_of_8_and_16_bits_give_the_same_events_also_where_logarithms_are_negative():
    dark = [(t, image // 16) for t, image in clip(4)]
    same = [(t, image.astype(np.uint16) * 257) for t, image in dark]
    for params in (EmulatorParams(log_offset=0.05), EmulatorParams(linear_below=0.05)):
        events = run(dark, params)
        assert len(events) > 1000
        assert events == run(same, params)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_any_number_of_threads_gives_the_same_events(dtype):
    frames = clip(5, frames=2, shape=(200, 500), dtype=dtype)  # large enough to be cut in parts
    assert len(same_on_threads(lambda: run(frames), 2, 5)) > 200_000


def test_events_only_move_with_the_clock():
    frames = clip(2)
    whole = run(frames)
    for start_us in (-5_000_000, 1_000_000_000_000):
        moved = run([(t + start_us, f) for t, f in frames])
        assert np.array_equal(moved.t, whole.t + start_us)
        assert np.array_equal(moved.x, whole.x)
        assert np.array_equal(moved.p, whole.p)


def test_swapping_bright_and_dark_swaps_on_and_off():
    # exp(L) and exp(-L) are mirror images; a float frame has the room for both.
    logs = np.random.default_rng(11).uniform(-1, 1, (8, 6, 7))
    a, b = (run([(i * 997, np.exp(s * image)) for i, image in enumerate(logs)]) for s in (1, -1))
    assert len(a) > 300
    assert np.array_equal(a.p, ~b.p)
    assert np.array_equal(a.t, b.t)


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
    assert source.load() == source.load() == run(frames)
    assert source.size == (14, 9)
    assert isinstance(source, dvskit.Source)


# ---- what cannot be emulated

WRONG_FRAMES = [
    (lambda t, f: (t, f), VideoError, "10 us"),
    (lambda t, f: (t - 1, f), VideoError, "9 us"),
    (lambda t, f: (t + 2**31, f), VideoError, 2**31),
    (lambda t, f: (t + 0.5, f), VideoError, "10.5"),
    (lambda t, f: (t + 5, f[:-1]), ShapeError, "(2, 4)"),
    (lambda t, f: (t + 5, f.astype(np.uint16)), ShapeError, "uint16"),
]


@pytest.mark.parametrize(("change", "kind", "named"), WRONG_FRAMES)
def test_a_wrong_frame_is_refused_by_its_number(change, kind, named):
    step = Emulator().start((4, 3))
    frame = np.zeros((3, 4), np.uint8)
    step.step(10, frame)
    with refused(kind, "frame 1", named):
        step.step(*change(10, frame))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1e31])
def test_a_pixel_without_a_logarithm_is_refused(bad):
    frame = np.full((3, 4), 0.5)
    frame[2, 1] = bad
    with refused(ShapeError, "(1, 2)"):
        Emulator().start((4, 3)).step(0, frame)


def test_a_clip_of_fewer_than_two_frames_is_refused():
    with refused(VideoError, "1 frame"):
        list(emulate([(0, np.zeros((2, 2), np.uint8))]))
    with refused(VideoError, "no frames"):
        emulate([])


@pytest.mark.parametrize(
    "values",
    [
        {"threshold_on": 0.0}, {"linear_below": 1.0, "light": "luma"}, {"refractory_us": 1.5},
        {"model": "v3e"},
    ],
)  # fmt: skip
def test_parameters_out_of_range_are_refused(values):
    with refused(ConfigError, next(iter(values))):
        EmulatorParams(**values)


# ---- presets


def test_every_preset_has_a_source_and_is_found_in_any_case():
    names = EmulatorParams.presets()
    assert {"clean", "noisy", "v2e", "DVS128", "DAVIS240", "DAVIS346", "Gen3", "Gen4"} <= set(names)
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        assert len(preset_table()[name]["source"]) > 10
        params = EmulatorParams.preset(name)
        assert EmulatorParams.preset(name.lower()) == EmulatorParams.preset(name.upper()) == params
        assert Emulator(name).params == params
    assert EmulatorParams.preset("clean") == EmulatorParams()


def test_a_preset_file_is_written_and_read(tmp_path):
    path = tmp_path / "mine.toml"
    noisy = EmulatorParams.preset("noisy")
    path.write_text(write_preset(noisy, "from a test\nof two lines", {"offset_us": 3}))
    assert EmulatorParams.preset(path) == noisy
    assert path.read_text().startswith("# from a test\n# of two lines\n")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("thresold_on = 0.2", "'threshold_on'"),
        ("threshold_on = 'x'", "'x'"),
        ("threshold_on = 99.0", "99.0"),
        ("threshold_on", "mine.toml"),
        ("refractory_us = 1.5", "refractory_us"),
        ("[calibrated]\noffset_us = 3", "calibrated"),
    ],
)
def test_a_wrong_preset_file_is_refused(tmp_path, text, named):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with refused(ConfigError, path, named):
        read_preset(path)


def test_an_unknown_preset_is_refused_with_the_nearest_name(tmp_path):
    with refused(ConfigError, "'claen'", "'clean'"):
        EmulatorParams.preset("claen")
    with refused(MissingFileError, "none.toml"):
        EmulatorParams.preset(tmp_path / "none.toml")
