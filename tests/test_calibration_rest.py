"""The leak of pixels that come to rest: from how far they are from their next event."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from dvskit import EmulatorParams, Events
from dvskit.emulator.calibration import calibrate, leak, stillness
from dvskit.emulator.calibration import observed as inputs
from dvskit.emulator.calibration import rest_kernels as k
from dvskit.emulator.calibration.observed import PixelView, observe, see
from dvskit.emulator.calibration.row_kernels import Numbers, Response
from dvskit.emulator.calibration.stillness import still_in_frames
from dvskit.emulator.calibration.thresholds import KNEE, Pixel
from dvskit.emulator.level_kernels import level_of, light_of
from dvskit.events import EventsSource
from tests.test_calibration import low_passed, random_events
from tests.test_calibration_coarse import MOVING, rare, recorded, scene

PERIOD = 4e6
SHOT = 3e-7  # events a microsecond
R = np.linspace(0, 3, 600_001)  # leak periods to go


def survival(density, at):
    """How many have more than `at` to go, by plain sums over R."""
    return density[at < R].sum() / density.sum()


# ---- laws


@pytest.mark.parametrize("slope", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(("left", "ahead", "gap"), [(0.1, 0.02, 0.2), (0.5, 0.3, 0.3), (1.2, 0, 1)])
def test_a_known_start_stays_as_bayes_says(slope, left, ahead, gap):
    blur, reach = 0.15, 1.8
    density = (1 - slope + slope * R) * np.exp(-0.5 * ((left - R) / blur) ** 2)
    both = 0.95 * density / density.sum() + 0.05 * (reach > R) / (reach > R).sum()
    expected = survival(both, ahead + gap) / survival(both, ahead)
    leaks = k.Leaks(slope, reach, 0.5, 0.0)
    found, _ = k.known_start(left, ahead * PERIOD, gap * PERIOD, PERIOD, blur, leaks)
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("left", "ahead", "gap"), [(1.0, 0, 0.4), (1.3, 0.5, 0.2), (0.8, 0, 0.3)])
def test_an_unknown_start_stays_as_a_renewal_process_does(left, ahead, gap):
    """Drawn: pixels that were reset, by shot events or leak, and then saw a change of the light."""
    rng = np.random.default_rng(3)
    stop = 20 * PERIOD
    reset, following = np.zeros(100_000), np.zeros(100_000)
    while (following <= stop).any():
        on = following <= stop
        reset[on] = following[on]
        following[on] += np.minimum(PERIOD, rng.exponential(1 / SHOT, np.count_nonzero(on)))
    age = stop - reset
    togo = left * PERIOD - age
    there = togo > ahead * PERIOD
    expected = np.mean(togo[there] > (ahead + gap) * PERIOD)
    found, _ = k.unknown_start(left, ahead * PERIOD, gap * PERIOD, PERIOD, SHOT)
    assert found == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("start", ["known", "unknown"])
@pytest.mark.parametrize("left", [0.2, 0.9, 1.3])
def test_a_start_has_the_density_by_which_its_stay_falls(start, left):
    def law(gap):
        if start == "known":
            return k.known_start(left, 1e5, gap, PERIOD, 0.1, k.Leaks(0.7, 1.8, 0.5, 0.0))
        return k.unknown_start(left, 1e5, gap, PERIOD, SHOT)

    assert law(0.0)[0] == pytest.approx(1.0)
    for gap in np.linspace(0.05, 1.2, 9) * PERIOD:
        fall = (law(gap - 50.0)[0] - law(gap + 50.0)[0]) / 100.0
        assert law(gap)[1] == pytest.approx(fall, rel=1e-3, abs=1e-4 / PERIOD)


def likelihood(gaps, end, jitter):
    n = len(gaps)
    kinds = np.full(n, end, np.int8), np.full(n, k.RESET, np.int8)
    ones, table = np.ones(n), np.empty((n, 1))
    leaking = k.LeakGaps(gaps, *kinds, ones, ones, ones, 0 * ones)
    periods = np.array([PERIOD])
    k.leak_likelihood(np.arange(n + 1), leaking, k.Leaks(0.0, 2.0, 0.5, jitter), periods, table)
    return np.exp(table[:, 0])


@pytest.mark.parametrize("jitter", [0.05, 0.2])
def test_a_jitter_spreads_the_leak_evenly_not_its_period(jitter):
    rng = np.random.default_rng(4)
    drawn = PERIOD / (1 + math.sqrt(3) * jitter * rng.uniform(-1, 1, 100_000))
    gaps = np.linspace(0.5, 2.0, 3001) * PERIOD
    density = likelihood(gaps, k.ON, jitter)
    step = gaps[1] - gaps[0]
    assert density.sum() * step == pytest.approx(1.0, rel=0.01)
    assert (density * gaps).sum() * step == pytest.approx(drawn.mean(), rel=0.003)
    stays = likelihood(gaps, k.CUT, jitter)
    for number in (1000, 1100, 1200):
        assert stays[number] == pytest.approx(np.mean(drawn > gaps[number]), abs=0.01)


@pytest.mark.parametrize("held", [0.0, 3000.0])
@pytest.mark.parametrize("doubtful", [False, True])
def test_changes_to_rest_are_those_of_the_integrated_signal(held, doubtful):
    rng = np.random.default_rng(6)
    _, events = random_events(6, pixels=3, count=12, span=40_000)
    frame_t = np.array([0.0, 9000.0, 21_000.0, 30_000.0, 90_000.0])
    numbers = rng.integers(1, 256, (3, 5)).astype(np.float32)
    sure = (rng.random((3, 5)) < 0.6).astype(np.uint8) if doubtful else np.empty((0, 0), np.uint8)
    place = np.array([0, 0, -1, 1, 2, 2])
    start = np.array([-1.0, 50_000.0, 50_000.0, 60_000.0, 20_000.0, 60_000.0])
    light = rng.uniform(0.1, 1.0, 6)
    rests = k.Rests.of(place, start, light)
    since, change, fresh = rests.since, rests.change, rests.fresh
    shown, response = Numbers(frame_t, numbers, sure), Response(4.0, 20.0, 1500.0, held, 0.0)
    k.changes_to_rest(events, shown, response, rests)
    known = 0
    for s in range(6):
        j = place[s]
        t = events.t[events.starts[j] : events.starts[j + 1]] if j >= 0 else []
        ahead = [each for each in t if each < start[s]]
        at = ahead[-1] + held if ahead else frame_t[0]
        if j < 0 or at > start[s]:
            assert math.isnan(change[s])
            continue
        if doubtful and not sure[j, max(1, int(np.searchsorted(frame_t, at)))]:
            assert math.isnan(change[s])
            continue
        levels = np.log(numbers[j] + 4.0)
        v = low_passed(at, frame_t, levels, 1500.0 * 275.0 / (numbers[j] + 20.0))
        assert fresh[s] == (not ahead)
        assert since[s] == at
        assert change[s] == pytest.approx(np.log(275.0 * light[s] - 20.0 + 4.0) - v, abs=2e-3)
        known += 1
    assert known > (1 if doubtful else 2)


@pytest.mark.parametrize("offset", [None, 4.0])
@pytest.mark.parametrize("number", [3.0, 12.0, 60.0, 200.0])
def test_a_rest_that_frames_show_in_whole_numbers_is_known_so_well(offset, number):
    """For a keen sensor in the dark, a step of them is more than its threshold."""
    pixel = Pixel(log_offset=offset)
    shown = number + np.random.default_rng(2).uniform(-0.5, 0.5, 5000)
    levels = [level_of(each, pixel.response.offset, KNEE, math.log(KNEE) / KNEE) for each in shown]
    light = np.array([light_of(number)])
    found = stillness._coarse(light, 1.0, pixel)
    assert found == pytest.approx(np.std(levels), rel=0.03)
    assert stillness._coarse(light, 255 / 65535, pixel) == pytest.approx(found / 257)
    assert stillness._coarse(light, 255.0, pixel) == 0.0  # frames of floats


@pytest.mark.slow
def test_no_start_is_known_better_than_the_light_that_a_pixel_rests_at():
    frames = [(t, 0.3 * view) for t, view in scene(7)]
    events = recorded(frames, EmulatorParams(threshold_on=0.1, threshold_off=0.1))
    observed = observe(EventsSource(events))
    seen = see(rare(frames, 40), observed)
    near, far = (
        PixelView.of(observed, inputs.fill_light(seen, observed)),
        PixelView.of(observed, seen),
    )
    pixel = Pixel()
    still = stillness.with_remainder(still_in_frames(observed, far, pixel, 0.1), seen, near, pixel)
    known = still.gap_span[still.gap_begin == k.KNOWN]
    coarse = stillness._coarse(still.light, 1.0, pixel)[known] / 0.1
    assert known.size > 1000
    assert coarse.max() > 0.3
    assert (still.blur[known] > 0.8 * coarse).all()


# ---- what was put in comes out


@pytest.mark.slow
@pytest.mark.parametrize("shot_hz", [0.2, 1.0])
def test_a_leak_is_known_though_nothing_rests_for_as_long_as_it_takes(shot_hz):
    frames = scene(7)
    params = EmulatorParams(
        threshold_on=0.25, threshold_off=0.22, threshold_sigma=0.03, leak_hz=0.15,
        leak_spread=0.1, leak_jitter=0.1, shot_hz=shot_hz,
    )  # fmt: skip
    rest_s = (frames[-1][0] - frames[MOVING][0]) * 1e-6
    assert rest_s < 0.6 / params.leak_hz
    found = calibrate(recorded(frames, params), rare(frames, 40))["leak_hz"]
    assert found.value == pytest.approx(0.15, rel=0.1 if shot_hz < 1 else 0.2)
    assert abs(found.value - 0.15) < 3 * found.uncertainty
    assert found.uncertainty < 0.15 * found.value


@pytest.mark.slow
def test_where_it_is_not_known_how_pixels_begin_a_longer_rest_is_asked_for():
    still = [(0, np.full((48, 48), 128, np.uint8)), (8_000_000, np.full((48, 48), 128, np.uint8))]
    params = EmulatorParams(leak_hz=0.08, leak_spread=0.1, shot_hz=0.2)
    found: Events = recorded(still, params)
    leak = calibrate(found)["leak_hz"]
    assert "a longer recording at rest is needed" in leak.how
    assert leak.uncertainty > 0.3 * leak.value
    still[1] = (60_000_000, still[1][1])
    leak = calibrate(recorded(still, params))["leak_hz"]
    assert "longer" not in leak.how
    assert leak.value == pytest.approx(0.08, rel=0.1)


def test_likelihoods_of_gaps_do_not_depend_on_how_pixels_are_shared_out(monkeypatch):
    rng, count, pixels = np.random.default_rng(4), 400, 37
    still = SimpleNamespace(
        gap_span=np.arange(count), gap_length=rng.exponential(1e6, count),
        gap_end=rng.integers(0, 3, count).astype(np.int8),
        gap_begin=rng.integers(0, 4, count).astype(np.int8), left=rng.random(count),
        ahead=1e5 * rng.random(count), blur=np.full(count, 0.1),
    )  # fmt: skip
    starts = np.array([0, *np.sort(rng.integers(0, count, pixels - 1)), count])
    periods = 1e6 * 10.0 ** np.linspace(-0.8, 0.8, leak._NODES)
    gaps = leak._Gaps(still, np.full(count, 1e-6), 3.5, periods, pixels, 0.1, ())
    found = []
    for shares in (1, 16, 50):
        monkeypatch.setattr(leak, "_SHARES", shares)
        found.append(gaps._filled(leak._Model(0.5), np.arange(count), starts))
    assert np.count_nonzero(found[0].any(1)) == np.count_nonzero(np.diff(starts))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
