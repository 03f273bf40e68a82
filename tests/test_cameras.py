"""The presets of cameras: light on the chip, noise of the photoreceptor, and the readout."""

from __future__ import annotations

import math

import numpy as np
import pytest

import dvskit
from dvskit import EmulatorParams, Events
from dvskit.emulator.params import preset_table
from dvskit.errors import ConfigError
from tests.laws import refused, refused_command
from tests.test_sensor import clip, pixel_of, still
from tests.test_sensor import run as seen

CAMERAS = [name for name, values in preset_table().items() if "by_light" in values]


def plain_readout(events, noise, rate, scan_us):
    """Read events one after another; return those read, their labels and the number of others."""
    free, ready, kept = -math.inf, {}, []
    for number in range(len(events)):
        at, pixel = int(events.t[number]), (int(events.y[number]), int(events.x[number]))
        if ready.get(pixel, -math.inf) > at:
            continue
        when = max((at // scan_us + 1) * scan_us if scan_us else at, free)
        free = when + (1e6 / rate if rate else 0.0)
        ready[pixel] = when
        kept.append((number, math.floor(when + 0.5)))
    rows = [number for number, _ in kept]
    t = np.array([when for _, when in kept], np.int64)
    read = Events.from_checked(
        t, events.x[rows], events.y[rows], events.p[rows], events.sensor_size
    )
    return read, noise[rows], len(events) - len(rows)


@pytest.mark.parametrize(("rate", "scan_us"), [(20_000.0, 0), (0.0, 777), (30_000.0, 500)])
@pytest.mark.parametrize("latency_us", [0, 4500])
def test_a_readout_is_that_of_the_plain_twin(rate, scan_us, latency_us):
    frames = clip(frames=12)
    how = {"latency_us": latency_us, "shot_hz": 20.0}
    expected, labels, lost = plain_readout(*seen(frames, EmulatorParams(**how)), rate, scan_us)
    params = EmulatorParams(readout_hz=rate, scan_us=scan_us, **how)
    events, noise = seen(frames, params)
    assert events == expected
    assert np.array_equal(noise, labels)
    assert lost > 50
    source = dvskit.emulate(frames, params)
    assert source.load() == events
    assert f"the readout lost {lost:,} events" in source.notes[-1]


def test_what_leaves_the_sensor_comes_with_the_step_that_ends_behind_it():
    emulation = dvskit.Emulator(EmulatorParams(readout_hz=5000.0)).start((40, 24))
    seen = 0
    for t_us, frame in clip():
        events = emulation.step(t_us, frame)
        seen += len(events)
        assert not len(events) or events.t[-1] < t_us
    assert len(emulation.finish()) > 0
    assert emulation.readout.read > seen > 0


def test_more_light_makes_a_camera_faster_and_its_contrasts_full():
    for name in CAMERAS:
        dark, office, sun = (EmulatorParams.preset(name, lux=lux) for lux in (1, 300, 100_000))
        assert EmulatorParams.preset(name) == office
        assert dark.cutoff_hz < office.cutoff_hz < sun.cutoff_hz
        assert dark.log_offset == dark.dark > office.dark > sun.dark
        assert dark.leak_hz < office.leak_hz < sun.leak_hz
        # Bandwidth and dark current are those of the chip, whatever counts as white.
        assert sun.cutoff_hz * sun.dark / (255 + sun.dark) == pytest.approx(
            dark.cutoff_hz * dark.dark / (255 + dark.dark)
        )
    assert EmulatorParams.preset("imx636") == EmulatorParams.preset("EVK4")


@pytest.mark.parametrize("lux", [0.0, -1.0, math.nan, 1e9])
def test_a_light_that_cannot_be_is_refused(lux):
    with refused(ConfigError, "lux"):
        EmulatorParams.preset("EVK4", lux=lux)


@pytest.mark.parametrize("name", CAMERAS)
def test_a_camera_emulates_the_darkest_and_the_brightest_light(name):
    for lux in (0.01, 1e6):
        events, _ = seen(clip(frames=4), EmulatorParams.preset(name, lux=lux))
        assert len(events) < 1e6


def test_a_sensor_without_light_and_a_file_take_no_lux(tmp_path, run):
    with refused(ConfigError, "clean", "EVK4"):
        EmulatorParams.preset("clean", lux=300)
    with refused(ConfigError, "mine.toml", "own light"):
        EmulatorParams.preset(tmp_path / "mine.toml", lux=300)
    refused_command(run("emulate", "a.mp4", "a.raw", "--lux", "300"), "lux", "clean")


def noise_hz(gray, params):
    """Return the shot noise of a still gray: events per second of a pixel."""
    for dtype in (np.uint8, np.float32):
        value = gray if dtype == np.uint8 else gray / 255
        events, noise = seen(still(value, 2.0, dtype=dtype), params)
        assert noise.all()
        rate = len(events) / 2.0 / 4000
        yield rate, abs(np.count_nonzero(events.p) - len(events) / 2) / math.sqrt(len(events) + 1)


@pytest.mark.parametrize("gray", [0, 20, 120, 255])
def test_the_noise_of_a_photoreceptor_is_that_of_rice_s_formula(gray):
    params = EmulatorParams(
        threshold_on=0.3, threshold_off=0.2, cutoff_hz=800.0, follower_hz=200.0,
        noise_sigma=0.08, log_offset=4.0, dark=4.0, light="luma",
    )  # fmt: skip
    light = (gray + 4) / 259
    f = 1 / (1 / (800 * light) + 1 / 200)
    sigma = 0.08 * math.sqrt(200 / (200 + 800 * light))
    expected = 2 * f * math.exp(-(0.25**2) / (4 * sigma**2))
    for rate, uneven in noise_hz(gray, params):
        assert rate == pytest.approx(expected, abs=4 * math.sqrt(expected / 8000) + 1e-3)
        assert uneven < 4


def test_noise_needs_its_bandwidth_and_shot_noise_stands_in_for_it():
    with refused(ConfigError, "noise_sigma", "follower_hz"):
        EmulatorParams(noise_sigma=0.1, cutoff_hz=300.0)
    office = EmulatorParams.preset("DAVIS346")
    events, _ = seen(still(100, 1.0), dvskit.EmulatorParams(shot_hz=5.0, noise_sigma=0.07,
        cutoff_hz=office.cutoff_hz, follower_hz=286.0, light="luma"))  # fmt: skip
    expected = 5.0 * (1 - 0.75 * 120 / 275) * 4000
    assert len(events) == pytest.approx(expected, abs=4 * math.sqrt(expected))


def test_a_scan_gives_a_pixel_one_event_at_most_and_all_events_its_time():
    events, _ = seen(clip(), EmulatorParams(scan_us=192))
    assert (events.t % 192 == 0).all()
    assert len(np.unique(np.stack([events.t, pixel_of(events)]), axis=1).T) == len(events)
