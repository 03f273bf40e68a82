"""The complementary filter beside a plain twin, its laws, and its thresholds."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from dvskit.emulator import EmulatorParams, emulate
from dvskit.errors import ConfigError, GeometryError, ShapeError
from dvskit.events import Events, Size
from dvskit.reconstruction import ComplementaryFilter, load_reconstructor, reconstruct
from dvskit.reconstruction.image_kernels import CELL, leaky_sums
from tests.laws import refused, scattered

SIZE = Size(12, 9)


EVENTS = scattered(600, SIZE, seed=1)


def some_frames(times, seed=2, size=SIZE):
    rng = np.random.default_rng(seed)
    return [(t, rng.integers(0, 256, (size.height, size.width)).astype(np.uint8)) for t in times]


def image_of(chosen, events, t_us, frames=()):
    (found,) = reconstruct(events, chosen, [t_us], frames=list(frames)).images()
    return found[1]


def twin(events, frames, t_us, *, on, off, hz, carried):
    """The equation of the filter, one pixel and one event at a time, in float64."""
    height, width = events.sensor_size.height, events.sensor_size.width
    out = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            here = (events.x == column) & (events.y == row) & (events.t <= t_us)
            steps = [
                (int(t), on if p else -off)
                for t, p in zip(events.t[here], events.p[here], strict=True)
            ]
            seen = [(t, "frame", int(frame[row, column])) for t, frame in frames if t < t_us]
            both = sorted([*((t, "event", c) for t, c in steps), *seen], key=lambda each: each[0])
            reference = log = math.log(0.42 * 255 + 5)
            rate, last, framed = 2 * math.pi * hz, None, False
            for t, kind, value in [*both, (t_us, "end", 0)]:
                passed = 0 if last is None else (t - last) * 1e-6
                log = reference + (log - reference) * math.exp(-rate * passed)
                last = t
                if kind == "event":
                    log += value
                    reference += value if carried and framed else 0
                elif kind == "frame":
                    reference = math.log(value + 5)
                    log = log if framed else reference
                    near = min(value, 255 - value) / (0.05 * 255)
                    rate = 2 * math.pi * hz * (0.1 + 0.9 * min(near, 1))
                    framed = True
            out[row, column] = min(max((math.exp(log) - 5) / 255, 0), 1)
    return out


@pytest.mark.parametrize("carried", [True, False])
@pytest.mark.parametrize("times", [(), (20_000, 50_000, 70_000)])
def test_an_image_is_that_of_the_equation(carried, times):
    events, frames = EVENTS, some_frames(times)
    chosen = ComplementaryFilter(5.0, 0.2, 0.3, carried=carried, smooth_px=0.0)
    found = image_of(chosen, events, 90_000, frames)
    expected = twin(events, frames, 90_000, on=0.2, off=0.3, hz=5.0, carried=carried)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert expected.std() > 0.05


@pytest.mark.parametrize("framed", [False, True])
def test_a_pixel_of_very_many_events_is_white_or_black(framed):
    x = np.repeat([3, 8], 5_000)
    events = Events(t=np.arange(10_000) + 10, x=x, y=x % 5, p=x == 3, size=SIZE)
    frames = [(5, np.full((SIZE.height, SIZE.width), 107, np.uint8))] if framed else []
    found = image_of(ComplementaryFilter(0.0, 10.0, 10.0, smooth_px=0.0), events, 20_000, frames)
    assert (found[3, 3], found[3, 8]) == (1, 0)
    assert found[0, 0] == pytest.approx(107 / 255, abs=1e-3)


def test_an_image_leaves_the_pass_as_it_was():
    events, chosen = EVENTS, ComplementaryFilter(2.0)
    alone = image_of(chosen, events, 90_000)
    *_, (_, after) = reconstruct(events, chosen, range(10_000, 90_001, 10_000)).images()
    np.testing.assert_array_equal(alone, after)


def test_without_events_an_image_is_mid_gray_or_the_latest_frame():
    none, chosen = Events.empty(SIZE), ComplementaryFilter()
    assert np.ptp(image_of(chosen, none, 5)) == 0
    assert image_of(chosen, none, 5)[0, 0] == pytest.approx(0.42, abs=1e-5)
    frames = some_frames((1, 2))
    np.testing.assert_allclose(image_of(chosen, none, 5, frames[:1]), frames[0][1] / 255, atol=1e-6)


def sliding(threshold_on, threshold_off):
    """A texture that slides: its events, and a frame each 40 ms."""
    rng = np.random.default_rng(3)
    texture = np.kron(rng.integers(40, 200, (8, 40)), np.ones((5, 5))).astype(float)
    kernel = np.ones(7) / 7
    texture = np.apply_along_axis(np.convolve, 1, texture, kernel, "same")
    frames = [
        (t * 1000, texture[:, 10 + t // 4 : 90 + t // 4].astype(np.uint8)) for t in range(0, 320, 4)
    ]
    params = EmulatorParams(threshold_on=threshold_on, threshold_off=threshold_off, log_offset=5.0)
    return emulate(frames, params, light="luma").load(), frames[::10]


def test_thresholds_are_estimated_from_events_and_frames():
    events, frames = sliding(0.25, 0.15)
    run = ComplementaryFilter().start(events.sensor_size)
    for (start_us, frame), (stop_us, _) in pairwise(frames):
        run.see(start_us, frame)
        run.add(events.between(start_us + 1, stop_us + 1))
    off, on = run.thresholds
    assert on == pytest.approx(0.25, rel=0.15)
    assert off == pytest.approx(0.15, rel=0.15)


def test_given_thresholds_stay_and_a_sensor_gives_them(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("threshold_on = 0.31\nthreshold_off = 0.17\n")
    assert load_reconstructor(f"filter:sensor={file}").thresholds() == (0.17, 0.31)
    assert ComplementaryFilter(sensor=EmulatorParams(threshold_on=0.4)).thresholds() == (0.2, 0.4)


def test_a_pass_without_frames_ignores_them():
    chosen = ComplementaryFilter(uses_frames=False)
    given = image_of(chosen, EVENTS, 90_000, some_frames((20_000, 50_000)))
    np.testing.assert_array_equal(given, image_of(chosen, EVENTS, 90_000))


def test_times_far_apart_do_not_overflow():
    day_us = 86_400_000_000
    t = np.array([-day_us, 5, day_us])
    events = Events(t=t, x=[0, 1, 0], y=[0, 0, 0], p=[True] * 3, size=(3, 1))
    cells = np.zeros(3, CELL)
    cells["rate"], cells["last"] = 1e-12, -(1 << 61)
    leaky_sums((events.t, events.x, events.y, events.p), 3, (-0.2, 0.3), cells)
    assert cells["level"][0] == pytest.approx(0.3 + 0.3 * math.exp(-0.1728))
    assert cells["level"][1] == pytest.approx(0.3)
    assert cells["level"][2] == 0


@pytest.mark.parametrize("times", [(), (20_000, 50_000)])
def test_smoothing_changes_pixels_with_events_alone(times):
    events, frames = scattered(40, SIZE), some_frames(times)
    rough, smooth = (
        image_of(ComplementaryFilter(smooth_px=px), events, 90_000, frames) for px in (0.0, 1.0)
    )
    since = events[events.t > max(times, default=-1)]
    changed = np.zeros(rough.shape, bool)
    changed[since.y, since.x] = True
    np.testing.assert_array_equal(rough[~changed], smooth[~changed])
    assert np.abs(rough - smooth)[changed].mean() > 1e-3


def test_frames_of_another_size_are_refused():
    frame = np.zeros((4, 5), np.uint8)
    with refused(GeometryError, "5x4", "12x9"):
        image_of(ComplementaryFilter(), EVENTS, 50_000, [(1, frame)])
    with refused(ShapeError, "(9, 12)"):
        ComplementaryFilter().start(SIZE).see(0, frame)


def test_values_out_of_range_are_refused():
    for name, value in (("threshold_off", 11.0), ("sensor", "nothing")):
        with refused(ConfigError, value):
            ComplementaryFilter(**{name: value})
