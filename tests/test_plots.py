"""Plots of events show known events: read back from what was drawn, however the stream is cut."""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from dvskit.errors import ConfigError, OutputError
from dvskit.events import Events
from dvskit.filters import hot_pixels
from dvskit.formats import save_events
from dvskit.render import plots
from dvskit.render.plots.maps import count_pixels
from dvskit.render.plots.over_time import count_over_time, for_eyes
from dvskit.render.plots.pixel_past import KINDS, interval_edges
from tests import laws
from tests.laws import InBlocks, refused, refused_command, rows_of

OF_EVENTS = ("rate", "balance", "intervals", "pixel_map", "spectrum", "flicker", "noise")


def scattered(count=4000, size=(24, 16), span_us=200_000, seed=0, on=0.5):
    return laws.scattered(count, size, span_us=span_us, seed=seed, on=on)


def together(*parts):
    """Return the events of all parts in order of time."""
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in "txyp"]
    order = np.argsort(columns[0], kind="stable")
    t, x, y, p = (column[order] for column in columns)
    return Events(t=t, x=x, y=y, p=p, size=parts[0].sensor_size)


def at_pixel(times_us, x=0, y=0, size=(1, 1)):
    """Return ON events of one pixel."""
    column = np.zeros(len(times_us), int)
    return Events(t=times_us, x=column + x, y=column + y, p=column == 0, size=size)


def in_turn(times, size):
    """Return events of pixels, row by row: each is ON and OFF in turn at its own times."""
    lengths = [len(one) for one in times]
    t, at = np.concatenate(times), np.repeat(np.arange(len(times)), lengths)
    p = np.concatenate([np.arange(length) % 2 == 0 for length in lengths])
    order = np.argsort(t, kind="stable")
    return Events(t=t[order], x=at[order] % size[0], y=at[order] // size[0], p=p[order], size=size)


def lamp_times(hz, span_us=1_000_000, jitter_us=0.0, rng=None):
    """Return the times at which a pixel below a lamp changes."""
    times = np.arange(0, 2 * hz * span_us / 1e6) * 5e5 / hz
    if rng is not None:
        times = np.sort(times + jitter_us * rng.normal(size=len(times)))
    return np.rint(times).astype(np.int64)


def lamp(hz, size=(6, 4), span_us=1_000_000):
    """Return the events of a sensor that sees a lamp flicker."""
    return in_turn([lamp_times(hz, span_us)] * (size[0] * size[1]), size)


def stairs(axes, label):
    """Return values and edges of the curve with this label."""
    for artist in axes.patches:
        if artist.get_label() == label:
            data = artist.get_data()
            return np.asarray(data.values), np.asarray(data.edges)
    raise AssertionError(f"no curve {label!r}")


def image(axes):
    return axes.images[0].get_array()


def circles(axes):
    """Return the circled pixels (x, y)."""
    places = axes.collections[0].get_offsets().tolist()
    return {(round(x), round(y)) for x, y in places}


# --- every plot ---

HOSTILE = {
    "none": Events.empty((3, 2)),
    "one": Events(t=[5], x=[0], y=[0], p=[True], size=(1, 1)),
    "ages apart": Events(t=[-(1 << 62), 1 << 62], x=[0, 0], y=[0, 0], p=[1, 0], size=(1, 1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_EVENTS)
def test_hostile_events_are_drawn_all_the_same(name):
    for number, events in enumerate(HOSTILE.values()):
        style = plots.Style(dark=number % 2 > 0, width_mm=60)
        figure = getattr(plots, name)(events, style=style)
        assert figure.axes


@pytest.mark.slow
def test_plots_need_neither_a_display_nor_pyplot_and_leave_settings_alone(tmp_path):
    code = (
        "import sys, numpy as np, matplotlib as mpl; before = mpl.rcParams.copy()\n"
        "from dvskit import Events; from dvskit.render import plots\n"
        "e = Events(t=np.arange(99), x=[0] * 99, y=[0] * 99, p=[True] * 99, size=(1, 1))\n"
        "plots.save(plots.rate(e), 'a.png')\n"
        "print('matplotlib.pyplot' in sys.modules, mpl.rcParams.copy() == before)"
    )
    env = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "MPLBACKEND")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["False", "True"]
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_plot_is_saved_as_the_same_bytes_each_time(tmp_path, suffix):
    paths = [plots.save(plots.rate(scattered(50)), tmp_path / f"{n}{suffix}") for n in range(2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {f"0{suffix}", f"1{suffix}"}


def test_a_saved_plot_has_its_width_and_replaces_nothing_unasked(tmp_path):
    figure = plots.rate(scattered(50), style=plots.Style(width_mm=60))
    path = plots.save(figure, tmp_path / "a.png")
    assert cv2.imread(str(path)).shape[1] == pytest.approx(60 / 25.4 * 300, abs=1)
    with refused(OutputError, "a.png"):
        plots.save(figure, path)
    with refused(ConfigError, ".jpg"):
        plots.save(figure, tmp_path / "a.jpg")
    assert plots.save(figure, path, overwrite=True, dpi=100) == path
    assert cv2.imread(str(path)).shape[1] == pytest.approx(60 / 25.4 * 100, abs=1)
    assert figure._repr_png_().startswith(b"\x89PNG")  # how it shows itself in a notebook


WRONG = [
    (plots.rate, {"bin_us": 1}, "4,194,304"),
    (plots.balance, {"bin_us": 1}, "4,194,304"),
    (plots.event_raster, {"max_events": 0}, "max_events"),
    (plots.flicker, {"min_hz": 10, "max_hz": 5}, "min_hz"),
    (plots.measure_noise, {"window_us": 10_000_001}, "window_us"),
]


@pytest.mark.parametrize(("make", "wrong", "named"), WRONG)
def test_arguments_out_of_range_are_refused(make, wrong, named):
    with refused(ConfigError, named):
        make(scattered(50, span_us=10_000_000_000), **wrong)


# --- rate and balance ---


@pytest.mark.parametrize("span_us", [900, 54_321, 400_000_000])
def test_the_areas_under_the_rates_are_the_numbers_of_events(span_us):
    events = scattered(span_us=span_us, on=0.3)
    axes = plots.rate(InBlocks(events, 13)).axes[0]
    total, edges = stairs(axes, "total")
    on, _ = stairs(axes, "ON")
    off, _ = stairs(axes, "OFF")
    np.testing.assert_allclose(on + off, total)
    assert len(total) <= 250
    seconds = {"µs": 1e-6, "ms": 1e-3, "s": 1}[axes.get_xlabel().split("(")[1].split(")")[0]]
    unit = axes.get_ylabel().split("(")[1].split(")")[0]
    widths = np.diff(edges) * seconds * {"ev/s": 1, "kev/s": 1e3, "Mev/s": 1e6}[unit]
    assert total @ widths == pytest.approx(len(events))
    assert on @ widths == pytest.approx(events.p.sum())


def test_a_known_rate_is_drawn_at_its_height():
    axes = plots.rate(at_pixel(np.arange(0, 2_006_000, 100)), bin_us=10_000).axes[0]
    values, edges = stairs(axes, "ON")
    assert "kev/s" in axes.get_ylabel()
    np.testing.assert_allclose(values, 10, rtol=0.02)
    np.testing.assert_allclose(edges[:3], [0, 0.01, 0.02])


def test_a_lone_spike_does_not_press_the_rate_flat():
    steady = at_pixel(np.arange(0, 1_000_000, 100))
    axes = plots.rate(together(steady, at_pixel(np.repeat(500_000, 5000))), bin_us=10_000).axes[0]
    assert axes.get_ylim()[1] == pytest.approx(10 * 1.3 * 1.05, rel=0.02)
    axes = plots.rate(together(steady, at_pixel(np.repeat(500_000, 300))), bin_us=10_000).axes[0]
    assert axes.get_ylim()[1] == pytest.approx(40 * 1.05, rel=0.02)


def test_bins_of_time_hold_what_a_slow_count_finds():
    events = scattered(700, span_us=3_000)
    found = count_over_time(InBlocks(events, 13), bin_us=7)
    slow = np.zeros_like(found.counts)
    for t, _, _, p in rows_of(events):
        slow[int(p), (t - int(events.t[0])) // 7] += 1
    np.testing.assert_array_equal(found.counts, slow)
    assert (found.start_us, found.stop_us) == (events.t[0], events.t[-1] + 1)


def test_bins_grow_with_the_stream_and_lose_nothing():
    events = scattered(3000, span_us=10_000_000)
    found = count_over_time(InBlocks(events, 11), most_bins=100)
    assert found.bin_us == 100_000
    assert found.counts.sum() == 3000
    coarse = for_eyes(found, 3)
    assert (coarse.counts.sum(), coarse.counts.shape[1]) == (3000, 2)


def test_the_balance_is_the_share_of_on_events():
    figure = plots.balance(InBlocks(scattered(40_000, on=0.3), 777))
    share, _ = stairs(figure.axes[0], "share of ON")
    assert np.nanmean(share) == pytest.approx(0.3, abs=0.01)
    (band,) = figure.axes[0].collections  # two standard errors either way
    heights = np.ptp(band.get_paths()[0].vertices[:, 1])
    assert heights > 4 * math.sqrt(0.3 * 0.7 / (40_000 / 100))
    over_pixels = figure.axes[1].patches[0].get_data()
    assert over_pixels.values.sum() == 24 * 16
    middles = (over_pixels.edges[1:] + over_pixels.edges[:-1]) / 2
    assert over_pixels.values @ middles / (24 * 16) == pytest.approx(0.3, abs=0.02)


def test_the_balance_of_pixels_leaves_out_those_with_less_than_ten_events():
    events = together(at_pixel(range(10), 1, size=(3, 1)), at_pixel(range(9), 2, size=(3, 1)))
    assert plots.balance(events).axes[1].patches[0].get_data().values.sum() == 1


def test_a_raster_of_events_has_a_point_for_each_at_its_time_and_pixel():
    events = scattered(300)
    axes = plots.event_raster(InBlocks(events, 7)).axes[0]
    points = axes.collections[0]
    expected = np.column_stack([(events.t - events.t[0]) / 1e3, events.y * 24 + events.x])
    np.testing.assert_allclose(points.get_offsets(), expected)
    colors = points.get_facecolors()
    assert len(np.unique(colors[events.p], axis=0)) == 1
    assert len(np.unique(colors[~events.p], axis=0)) == 1
    assert (colors[events.p][0] != colors[~events.p][0]).any()
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # row 0 is on top
    few = plots.event_raster(events, max_events=100).axes[0].collections[0]
    np.testing.assert_allclose(few.get_offsets(), expected[::4])


# --- intervals ---


def slow_intervals(events):
    found = {kind: [] for kind in KINDS}
    last = {}
    for t, x, y, p in rows_of(events):
        if (x, y) in last:
            before, polarity = last[x, y]
            kind = "mixed" if polarity != p else "ON-ON" if p else "OFF-OFF"
            found[kind].append(t - before)
        last[x, y] = (t, p)
    return found


def test_intervals_are_those_that_a_slow_count_finds():
    events = scattered(3000, size=(5, 4), span_us=30_000)
    edges, counts = plots.count_intervals(InBlocks(events, 17))
    for kind, row in zip(KINDS, counts, strict=True):
        np.testing.assert_array_equal(row, np.histogram(slow_intervals(events)[kind], edges)[0])


def test_edges_of_intervals_are_whole_and_hold_each_power_of_ten():
    edges = interval_edges()
    assert edges[:5].tolist() == [0, 1, 2, 3, 4]
    assert (np.diff(edges) > 0).all()
    assert {10**k for k in range(13)} <= set(edges.tolist())


# --- maps ---


def test_the_map_holds_the_count_of_each_pixel_and_circles_the_hot_one():
    events = together(scattered(20_000), at_pixel(range(3000), 7, 3, size=(24, 16)))
    axes = plots.pixel_map(InBlocks(events, 999)).axes[0]
    slow = np.zeros((16, 24), int)
    for _, x, y, _ in rows_of(events):
        slow[y, x] += 1
    np.testing.assert_array_equal(np.ma.filled(image(axes), 0), slow)
    assert circles(axes) == {(7, 3)}


def crowded(count):
    """Return events of `count` hot pixels, each with an event more than the one ahead of it."""
    numbers, times = np.arange(count), np.arange(20, 20 + count)
    x, y = np.repeat(numbers % 20 * 5 + 3, times), np.repeat(numbers // 20 * 5, times)
    return Events(t=np.arange(len(x)), x=x, y=y, p=np.ones(len(x), bool), size=(103, 53))


@pytest.mark.slow
@pytest.mark.parametrize("draw", [plots.pixel_map, plots.noise])
def test_of_many_hot_pixels_a_hundred_with_the_most_events_are_circled(draw):
    numbers = np.arange(100, 200)
    expected = set(zip((numbers % 20 * 5 + 3).tolist(), (numbers // 20 * 5).tolist(), strict=True))
    assert circles(draw(crowded(200)).axes[0]) == expected


def test_a_hot_pixel_is_found_at_borders_too_and_a_bright_edge_is_not_hot():
    even = np.random.default_rng(1).poisson(20, (16, 24))
    assert not hot_pixels(even).any()
    for at in ((0, 0), (0, 23), (15, 0), (15, 23), (8, 12), (1, 1), (1, 22), (14, 3)):
        counts = even.copy()
        counts[at] = 400
        assert np.argwhere(hot_pixels(counts)).tolist() == [list(at)]
    even[:, 9:12] = 500
    assert not hot_pixels(even).any()


@pytest.mark.slow
def test_small_pixels_are_shown_by_the_most_of_their_block():
    events = scattered(500, size=(1280, 721))
    shown = np.ma.filled(image(plots.pixel_map(events).axes[0]), 0)
    slow = np.zeros((241, 427), int)
    for (y, x), count in np.ndenumerate(count_pixels(events).sum(0)):
        if count:
            slow[y // 3, x // 3] = max(slow[y // 3, x // 3], count)
    np.testing.assert_array_equal(shown, slow)


# --- spectrum ---


@pytest.mark.slow
@pytest.mark.parametrize("hz", [33, 60])
def test_the_spectrum_names_the_bursts_of_a_lamp_first(hz):
    exact = lamp(hz, span_us=3_000_000)
    late = exact.t + np.random.default_rng(0).integers(0, 2000, len(exact))
    order = np.argsort(late, kind="stable")
    events = Events(
        t=late[order], x=exact.x[order], y=exact.y[order], p=exact.p[order], size=exact.sensor_size
    )
    axes = plots.spectrum(InBlocks(events, 555)).axes[0]
    named = sorted(float(text.get_text()) for text in axes.texts if text.get_text())
    # All pixels fire at each change: two bursts a period.
    assert named[0] == pytest.approx(2 * hz, abs=0.3)
    multiples = np.array(named) / (2 * hz)
    np.testing.assert_allclose(multiples, np.rint(multiples), atol=0.02)
    found = plots.rate_spectrum(events)
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), found.frequency_hz)
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), found.density)


def test_the_spectrum_names_the_weaker_of_two_lamps_rather_than_a_multiple_of_the_other():
    strong, weak = (np.arange(0, 2_000_000, period_us) for period_us in (10_000, 4_347))
    t = np.sort(np.concatenate([*[strong] * 5, weak]))
    events = Events(t=t, x=0 * t, y=0 * t, p=0 * t, size=(8, 8))
    axes = plots.spectrum(events, max_hz=300).axes[0]
    named = {round(float(text.get_text())) for text in axes.texts}
    assert {100, 230} <= named
    assert 200 not in named


PEAKS = {
    "before multiples": (1.0, {100: 1e3, 200: 1e5, 300: 1e5, 400: 1e5, 570: 1e2}, [100, 200, 570]),
    "beside a stronger comb": (
        2.0,  # of seven times 37 Hz, 250 Hz is too far off
        {100: 1e6, 200: 1e6, 300: 1e6, 400: 1e6, 500: 1e6, 38: 1e3, 250: 1e3},
        [38, 100, 250],
    ),
    "the strongest": (1.0, {70: 1e4, 111: 1e6, 303: 1e3, 505: 1e5}, [70, 111, 505]),
    "of 10 dB at least": (1.0, {70: 11.0, 333: 9.0}, [70]),
}


@pytest.mark.parametrize(("step_hz", "peaks", "expected"), PEAKS.values(), ids=PEAKS)
def test_peaks_are_chosen_by_power_and_before_multiples_of_lower_ones(step_hz, peaks, expected):
    frequency = np.arange(step_hz, 1000 + step_hz, step_hz)
    density = np.ones(len(frequency))
    for hz, power in peaks.items():
        density[round(hz / step_hz) - 1] = power
    found = plots.find_peaks(plots.Spectrum(frequency, density), most=3)
    assert [round(peak.frequency_hz) for peak in found] == expected
    assert found[0].above_db == pytest.approx(10 * math.log10(peaks[expected[0]]), abs=0.1)


def test_the_spectrum_of_noise_has_no_peaks_and_the_power_of_a_poisson_process():
    events = scattered(100_000, span_us=10_000_000)
    found = plots.rate_spectrum(events)
    assert plots.find_peaks(found) == []
    # Campbell's theorem: one-sided density twice the rate.
    assert found.density.mean() == pytest.approx(2 * 10_000, rel=0.05)
    assert 990 < found.frequency_hz[-1] <= 1000
    assert len(plots.rate_spectrum(events, max_hz=100).frequency_hz) < len(found.frequency_hz)


# --- flicker ---


def slow_flickers(events, certainty=1e6):
    """Return the frequency of each pixel, NaN without flicker: by definition, pixel by pixel."""
    found = np.full((events.sensor_size.height, events.sensor_size.width), np.nan)
    chance = (3 * 0.1 - 0.1**3) / 2
    for y, x in np.ndindex(found.shape):
        mine = (events.x == x) & (events.y == y)
        p, t = events.p[mine], events.t[mine]
        periods = np.diff(t[1:][p[1:] & ~p[:-1]]).tolist()
        within = [1000 <= period <= 200_000 for period in periods]
        alike, best, run, most = [], [], 0.0, 0.0
        for i in range(1, len(periods)):
            one, two = periods[i - 1], periods[i]
            if within[i - 1] and within[i] and abs(one - two) <= 0.1 * (one + two):
                alike.append(two)
                run += math.log(0.9 / chance)
            else:
                run += math.log(0.1 / (1 - chance))
            if run <= 0:
                alike, run = [], 0.0
            if run > most:
                best, most = list(alike), run
        if most >= math.log(certainty):
            found[y, x] = 1e6 / np.mean(best)
    return found


def test_flicker_is_what_a_slow_search_finds():
    rng = np.random.default_rng(5)
    times = [lamp_times(hz, 500_000, 0.004 * n * 1e6 / hz, rng)
             for n in range(30) for hz in (24, 60)]  # fmt: skip
    times[-4:] = [lamp_times(hz, 500_000) for hz in (990, 1010)] + [lamp_times(4.9, 2_900_000)] * 2
    events = in_turn(times, (10, 6))
    found = plots.measure_flicker(InBlocks(events, 7)).frequency_hz
    np.testing.assert_allclose(found, slow_flickers(events))
    assert 10 < np.isfinite(found).sum() < 50


def two_lamps():
    """Left half at 40 Hz, right half at 160 Hz, one stray pixel at 20 Hz, and one that is noisy."""
    times = [lamp_times(40 if n % 20 < 10 else 160) for n in range(200)]
    times[0], times[19], times[199] = lamp_times(20), times[0][:0], times[0][:0]
    return together(in_turn(times, (20, 10)), at_pixel(lamp_times(40), 19, 9, size=(20, 10)))


def test_pixels_that_flicker_are_in_color_others_gray_and_those_without_events_bare():
    behind, above = plots.flicker(two_lamps()).axes[0].images
    expected = np.full((10, 20), 40.0)
    expected[:, 10:], expected[0, 0], expected[0, 19], expected[9, 19] = 160, 20, np.nan, np.nan
    np.testing.assert_allclose(above.get_array().filled(np.nan), expected, rtol=1e-3)
    gray = ~np.ma.getmaskarray(behind.get_array())
    assert np.argwhere(gray).tolist() == [[9, 19]]  # ON alone is no flicker
    shade = behind.cmap(0.5)[:3]
    assert max(shade) - min(shade) < 0.05


# --- noise ---


def slow_isolated(events, window_us):
    found = np.zeros((2, events.sensor_size.height, events.sensor_size.width), int)
    rows = rows_of(events)
    for i, (t, x, y, p) in enumerate(rows):
        beside = any(
            t - s < window_us and max(abs(x - u), abs(y - v)) == 1 for s, u, v, _ in rows[:i]
        )
        found[int(p), y, x] += not beside
    return found


def test_isolated_events_are_those_that_a_slow_search_finds():
    events = scattered(700, span_us=100_000)
    found = plots.measure_noise(InBlocks(events, 9), window_us=1000)
    np.testing.assert_array_equal(found.isolated, slow_isolated(events, 1000))
    assert 0 < found.isolated.sum() < 700
    assert (found.events, found.span_us) == (700, events.duration_us)


@pytest.mark.parametrize(("later_us", "isolated"), [(999, 1), (1000, 2)])
def test_a_neighbor_stands_beside_a_pixel_for_less_than_the_window(later_us, isolated):
    events = Events(t=[0, later_us], x=[0, 1], y=[0, 0], p=[True, True], size=(2, 1))
    found = plots.measure_noise(events, window_us=1000)
    assert found.isolated.sum() == isolated
    # The neighbor of the first event is not alone until the window ends, or the recording.
    np.testing.assert_allclose(found.alone_s, [[later_us * 1e-6, max(0, later_us - 1000) * 1e-6]])


@pytest.mark.parametrize("rate_hz", [0.5, 20.0])
def test_noise_of_a_known_rate_is_found_again(rate_hz):
    pixels, seconds = 40 * 30, 40 if rate_hz < 1 else 4
    count = round(rate_hz * pixels * seconds)
    found = plots.measure_noise(
        scattered(count, size=(40, 30), span_us=seconds * 1_000_000, on=0.7)
    )
    assert sum(found.rates_hz) == pytest.approx(rate_hz, rel=0.05)
    assert found.shot_hz == pytest.approx(0.6 * rate_hz, rel=0.08)
    assert found.leak_hz == pytest.approx(0.4 * rate_hz, rel=0.15)


def test_the_quietest_tenth_has_no_noise_where_a_scene_without_noise_rests():
    """An edge sweeps over half a clean sensor: isolated events, and yet no noise."""
    columns = np.arange(0, 80)
    t = np.repeat(columns * 20_000, 40) + np.tile(np.arange(40) * 17_013 % 20_000, 80)
    x, y = np.repeat(columns, 40), np.tile(np.arange(0, 120, 3), 80)
    order = np.argsort(t, kind="stable")
    p = np.random.default_rng(0).random(len(t)) < 0.5
    found = plots.measure_noise(Events(t=t[order], x=x[order], y=y[order], p=p, size=(160, 120)))
    assert found.isolated.sum() > 1000
    assert min(found.rates_hz) > 0
    assert found.quiet_rates_hz == (0, 0)


@pytest.mark.slow
def test_a_lone_pixel_with_the_most_isolated_events_is_counted_and_circled():
    """Beside an edge that passes often it is not hot by its events, but stands out on the map."""
    place, size = np.arange(24), (24, 24)
    t = np.repeat(np.arange(14) * 300_000, 24 * 24) + np.tile(np.repeat(place * 400, 24), 14)
    x, y = np.tile(np.repeat(place, 24), 14), np.tile(np.tile(place, 24), 14)
    edge = Events(t=t, x=x, y=y, p=np.ones(len(t), bool), size=size)
    events = together(edge, at_pixel(np.arange(14) * 300_000 + 150_000, 12, 12, size))
    found = plots.measure_noise(events)
    assert not hot_pixels(count_pixels(events).sum(0)).any()
    most = found.isolated.sum(0) == 14  # the lone one, and where the edge enters
    assert most.sum() == 2
    np.testing.assert_array_equal(found.hot, most)
    axes = plots.noise(events).axes
    assert (12, 12) in circles(axes[0])
    np.testing.assert_array_equal(np.ma.filled(image(axes[0]), 0), found.isolated.sum(0))
    on, edges_hz = stairs(axes[1], "ON")
    at = int(np.searchsorted(edges_hz, 14e6 / found.span_us)) - 1
    assert on[at] == 2


# --- the command ---


@pytest.fixture
def dvskit(run):
    """Run `dvskit plot` in an empty folder; gives (exit code, stdout, stderr)."""
    return functools.partial(run, "-q", "plot")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "in.npz"
    save_events(scattered(), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["rate", "balance", "intervals", "map", "spectrum", "flicker", "noise", "raster"]
)
def test_a_command_plots_a_part_of_a_file(dvskit, file, tmp_path, kind):
    span = ("--start", "10ms", "--stop", "60ms")
    assert dvskit(kind, file, "-o", "a.png", *span, "--width", "60", "--dark") == (0, "", "")
    draw = getattr(plots, {"map": "pixel_map", "raster": "event_raster"}.get(kind, kind))
    first_us = int(scattered().t[0])
    part = scattered().between(first_us + 10_000, first_us + 60_000)
    plots.save(draw(part, style=plots.Style(dark=True, width_mm=60)), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("rate", "none.npz", "-o", "a.png"), "none.npz"),
        (("rate", "in.npz", "-o", "a.jpg"), ".jpg"),
        (("rate", "in.npz", "-o", "in.npz"), ".npz"),
        (("rate", "in.npz", "-o", "there.png"), "--force"),
        (("rate", "in.npz", "-o", "no/a.png"), "no"),
        (("rate", "in.npz", "-o", "a.png", "--start", "5"), "--start"),
        (("rate", "in.npz", "-o", "a.png", "--start", "5s", "--stop", "1s"), "--stop"),
        (("rate", "in.npz", "-o", "a.png", "--width", "3"), "--width"),
        (("curves", "in.npz", "-o", "a.png"), "log.csv"),
        (("raster", "in.npz", "-o", "a.png", "--layer", "lif1"), "--model"),
        (("raster", "in.npz", "-o", "a.png", "--model", "none"), "none"),
    ],
)
def test_a_wrong_command_is_refused_and_nothing_is_written(dvskit, file, tmp_path, words, named):
    (tmp_path / "there.png").write_bytes(b"mine")
    refused_command(dvskit(*words), named)
    assert {path.name for path in tmp_path.iterdir()} == {"in.npz", "there.png"}
    assert (tmp_path / "there.png").read_bytes() == b"mine"
