"""The loops of a calibration, by plain Python: rows, fits, gaps and the likelihood of a leak."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dvskit import Events
from dvskit.emulator.calibration import noise
from dvskit.emulator.calibration import rest_kernels as k
from dvskit.emulator.calibration import row_kernels as pairs
from dvskit.emulator.calibration.observed import observe
from dvskit.emulator.calibration.row_kernels import Numbers, PixelEvents, Response
from dvskit.emulator.calibration.stillness import StillSpans
from dvskit.events import EventsSource
from tests.laws import same_on_threads

NO_DOUBT = np.empty((0, 0), np.uint8)
OFFSET = 4.0, 1.0, 0.0, 0.0  # the map ln(I + 4)


# ---- rows of changes


def random_events(seed, pixels=7, count=300, span=1_000_000):
    rng = np.random.default_rng(seed)
    pixel = rng.integers(0, pixels, count).astype(np.int32)
    t = np.sort(rng.integers(0, span, count))
    p = rng.random(count) < 0.5
    events = Events(t=t, x=pixel, y=np.zeros(count, int), p=p, size=(pixels, 1))
    return events, observe(EventsSource(events)).events


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


@pytest.mark.slow
@pytest.mark.parametrize(("held", "doubtful"), [(0.0, True), (3000.0, False)])
def test_changes_between_events_are_those_of_the_integrated_signal(held, doubtful):
    rng = np.random.default_rng(5)
    _, events = random_events(5, pixels=3, count=24, span=60_000)
    frame_t = np.array([0.0, 9000.0, 21_000.0, 30_000.0, 55_000.0])
    numbers = rng.integers(0, 256, (3, 5)).astype(np.float32)
    sure = (rng.random((3, 5)) < 0.7).astype(np.uint8) if doubtful else np.empty((0, 0), np.uint8)
    room = len(events.t)
    rows = pairs.RowColumns.of(room, weighted=False)
    shown, response = Numbers(frame_t, numbers, sure), Response(OFFSET, 1500.0, held, 1e-5)
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


def test_changes_between_frames_are_those_of_cubics_through_the_events():
    rng = np.random.default_rng(0)
    t = np.sort(rng.choice(1_000_000, 60, replace=False))
    p = np.repeat(rng.random(20) < 0.5, 3)
    starts, frame_t = np.array([0, 60]), np.arange(0.0, 1e6, 15_000)
    numbers = rng.uniform(0, 255, (1, frame_t.size)).astype(np.float32)
    leak, pole, longest = 2e-6, 3000.0, 60_000.0
    rows = pairs.RowColumns.of(99, weighted=True)
    shown, response = Numbers(frame_t, numbers, NO_DOUBT), Response(OFFSET, pole, 0.0, leak)
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


# ---- pixels at rest


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


@pytest.mark.parametrize("width", [5, 7])
def test_events_around_spans_are_counted_as_a_plain_loop_does(width):
    rng = np.random.default_rng(2)
    t = np.sort(rng.integers(0, 1000, 400))
    pixel = rng.integers(0, 35, 400)
    order = np.argsort(pixel, kind="stable")
    starts = np.searchsorted(pixel[order], np.arange(36))
    place, start = np.arange(35), rng.uniform(0, 500, 35)
    stop = start + rng.uniform(10, 400, 35)
    near, around, own = np.empty((3, 35), np.int64)
    events = PixelEvents(t[order], np.ones(400, bool), starts)
    k.beside_spans(events, width, k.Spans(place, start, stop, start, start > 0), near, around, own)
    for s in range(35):
        inside = (t >= start[s]) & (t < stop[s])
        x, y = s % width, s // width
        beside = [
            np.count_nonzero(inside & (pixel == v * width + u))
            for v in range(y - 1, y + 2)
            for u in range(x - 1, x + 2)
            if (u, v) != (x, y) and 0 <= u < width and 0 <= v < 35 // width
        ]
        assert near[s] == sum(beside) - max(beside)
        assert around[s] == len(beside) - 1
        assert own[s] == np.count_nonzero(inside & (pixel == s))


PERIOD = 4e6
SHOT = 3e-7  # events a microsecond
R = np.linspace(0, 3, 60_001)  # leak periods to go


def survival(density, at):
    """How many have more than `at` to go, by plain sums over R."""
    return density[at < R].sum() / density.sum()


# ---- laws


@pytest.mark.parametrize(
    ("slope", "left", "ahead", "gap"), [(0.0, 0.1, 0.02, 0.2), (0.6, 0.5, 0.3, 0.3), (1, 1.2, 0, 1)]
)
def test_a_known_start_stays_as_bayes_says(slope, left, ahead, gap):
    blur, reach = 0.15, 1.8
    density = (1 - slope + slope * R) * np.exp(-0.5 * ((left - R) / blur) ** 2)
    both = 0.95 * density / density.sum() + 0.05 * (reach > R) / (reach > R).sum()
    expected = survival(both, ahead + gap) / survival(both, ahead)
    leaks = k.Leaks(slope, reach, 0.5, 0.0)
    found, _ = k.known_start(left, ahead * PERIOD, gap * PERIOD, PERIOD, blur, leaks)
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("left", "ahead", "gap"), [(1.3, 0.5, 0.2), (0.8, 0, 0.3)])
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


@pytest.mark.parametrize(
    ("start", "left"), [("known", 0.2), ("known", 1.3), ("unknown", 0.9), ("unknown", 1.3)]
)
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


@pytest.mark.parametrize(("held", "doubtful"), [(0.0, True), (3000.0, False)])
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
    shown, response = Numbers(frame_t, numbers, sure), Response(OFFSET, 1500.0, held, 0.0)
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


def drawn_gaps(rest_us, shot_hz, leak_hz, spread, pixels=1500, known=True):
    """Draw pixels that come to rest for a time: their gaps, and how far they were from a leak."""
    rng = np.random.default_rng(9)
    spans, lengths, ends, begins, left = [], [], [], [], rng.uniform(0.1, 1.0, pixels)
    for number in range(pixels):
        period = 1e6 / leak_hz * 10.0 ** (spread * rng.standard_normal())
        t, togo, begin = 0.0, left[number] * period, k.KNOWN if known else k.MOVED
        while t < rest_us:
            strike = rng.exponential(1e6 / shot_hz)
            gap = min(togo, strike, rest_us - t)
            end = k.CUT
            if t + gap < rest_us:
                end = k.ON if gap == togo or rng.random() < 0.5 else k.OFF
            spans.append(number)
            lengths.append(gap)
            ends.append(end)
            begins.append(begin)
            t, togo, begin = t + gap, period, k.RESET
            if end == k.CUT:
                break
    blur, zeros, place = np.full(pixels, 0.03), np.zeros(pixels), np.arange(pixels)
    seen = left + blur * rng.standard_normal(pixels)
    return StillSpans(
        place, place, zeros, np.full(pixels, 0.2), seen, zeros, blur, np.array(spans),
        np.array(lengths), np.array(ends, np.int8), np.array(begins, np.int8),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rest_us", "known"), [(3e6, False), (6e5, True), (6e5, False)], ids=["long", "short", "guess"]
)
def test_a_leak_is_the_most_likely_one_of_the_gaps_drawn_from_it(rest_us, known):
    """Of a rest for longer than the leak takes, or of a short one after a known start."""
    still = drawn_gaps(rest_us, 0.4, 1.0, 0.1, known=known)
    rate = np.full(still.gap_span.size, 0.4e-6)

    def found():
        return noise.most_likely(still, rate, 1.4e6, 0.5, 2.0)

    one = same_on_threads(found)
    assert one.guessed == (not known and rest_us < 1e6)
    if one.guessed:
        return
    assert one.leak_hz == pytest.approx(1.0, rel=0.05)
    assert abs(one.leak_hz - 1.0) < 3 * one.leak_error
    assert one.pixels == 1500
    assert known or one.spread == pytest.approx(0.1, abs=0.02)
