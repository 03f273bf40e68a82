"""What plots show: known events give known curves, read back from what was drawn."""

from __future__ import annotations

import functools
import math
import os
import re
import subprocess
import sys

import cv2
import matplotlib as mpl
import numpy as np
import pytest

from dvskit import Emulator, EmulatorParams, emulate, training
from dvskit.errors import ArgumentError, ConfigError, FormatError, OutputError, ShapeError
from dvskit.events import Events
from dvskit.filters import hot_pixels
from dvskit.formats import save_events
from dvskit.render import _drawing, plots
from dvskit.render._numbers import hz_text
from dvskit.render.plots import Measured, Style, accuracy
from dvskit.render.plots.fitting import all_axes
from dvskit.render.plots.intervals import KINDS, interval_edges
from dvskit.render.plots.noise import report
from dvskit.render.plots.pixel_map import count_pixels, most_of_blocks
from dvskit.render.plots.rate import count_over_time, for_eyes
from dvskit.render.plots.spectrum import name_points
from dvskit.render.plots.style import log_ticks, plain_number
from dvskit.render.plots.training import tiled
from tests.pictures import matches

OF_EVENTS = ("rate", "balance", "intervals", "pixel_map", "spectrum", "flicker", "noise")


def scattered(count=4000, size=(24, 16), span_us=200_000, seed=0, on=0.5):
    rng = np.random.default_rng(seed)
    return Events(
        t=np.sort(rng.integers(0, span_us, count)),
        x=rng.integers(0, size[0], count),
        y=rng.integers(0, size[1], count),
        p=rng.random(count) < on,
        size=size,
    )


class Cut:
    """Events as a source of blocks of `length`."""

    def __init__(self, events, length):
        self.events, self.length, self.size = events, length, events.size

    def __iter__(self):
        for start in range(0, len(self.events), self.length):
            yield self.events[start : start + self.length]


def lamp(hz, size=(6, 4), span_us=1_000_000, start_us=0):
    """A sensor that sees a lamp flicker: each pixel ON, and OFF half a period later."""
    width, height = size
    pixels = width * height
    times = np.rint(start_us + np.arange(0, 2 * hz * span_us / 1e6) * 5e5 / hz).astype(np.int64)
    return Events(
        t=np.repeat(times, pixels),
        x=np.tile(np.arange(pixels) % width, len(times)),
        y=np.tile(np.arange(pixels) // width, len(times)),
        p=np.repeat(np.arange(len(times)) % 2 == 0, pixels),
        size=size,
    )


def stairs(axes, label):
    """Return values and edges of the curve with this label."""
    for artist in axes.patches:
        if artist.get_label() == label:
            data = artist.get_data()
            return np.asarray(data.values), np.asarray(data.edges)
    raise AssertionError(f"no curve {label!r}")


def image(axes):
    return axes.images[0].get_array()


def drawn(figure) -> bytes:
    figure.set_dpi(60)  # soon drawn
    figure.canvas.draw()
    return bytes(figure.canvas.buffer_rgba())


# --- every plot of events ---


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_EVENTS)
def test_a_plot_is_the_same_however_the_stream_is_cut(name):
    events = lamp(50, span_us=300_000) if name == "flicker" else scattered(400)
    draw = getattr(plots, name)
    whole = drawn(draw(events))
    for length in (1, 13):
        assert drawn(draw(Cut(events, length))) == whole


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_EVENTS)
@pytest.mark.parametrize(
    "events",
    [
        Events.empty((3, 2)),
        Events(t=[5], x=[0], y=[0], p=[True], size=(1, 1)),
        Events(t=[0, 1 << 62], x=[0, 0], y=[0, 0], p=[True, False], size=(1, 1)),
        Events(t=[-(1 << 62), 1 << 62], x=[0, 1], y=[0, 0], p=[True, True], size=(2, 1)),
        scattered(50, size=(40, 1)),
    ],
    ids=["none", "one", "ages apart", "below zero", "one row"],
)
def test_hostile_events_are_drawn_all_the_same(name, events):
    figure = getattr(plots, name)(events, style=plots.Style(dark=len(name) % 2 > 0, width_mm=60))
    assert len(drawn(figure)) > 1000


@pytest.mark.parametrize("name", OF_EVENTS)
def test_no_events_are_said_to_be_none(name):
    axes = getattr(plots, name)(Events.empty((3, 2))).axes
    words = " ".join(text.get_text() for one in axes for text in one.texts)
    assert "no " in words or "too short" in words


@pytest.mark.slow
def test_plots_leave_the_settings_of_matplotlib_alone():
    before = dict(mpl.rcParams)
    drawn(plots.rate(scattered()))
    assert dict(mpl.rcParams) == before


@pytest.mark.slow
def test_plots_need_neither_a_display_nor_pyplot(tmp_path):
    code = (
        "import sys, numpy as np; from dvskit import Events; from dvskit.render import plots\n"
        "e = Events(t=np.arange(99), x=[0] * 99, y=[0] * 99, p=[True] * 99, size=(1, 1))\n"
        "plots.save(plots.rate(e), 'a.png'); print('matplotlib.pyplot' in sys.modules)"
    )
    env = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "MPLBACKEND")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"
    assert (tmp_path / "a.png").stat().st_size > 1000


# --- saving ---


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_plot_is_saved_as_the_same_bytes_each_time(tmp_path, suffix):
    paths = [
        plots.save(plots.rate(scattered()), tmp_path / f"{number}{suffix}") for number in range(2)
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {f"0{suffix}", f"1{suffix}"}


def test_a_png_is_as_wide_as_the_style_says_at_300_dots_an_inch(tmp_path):
    import cv2

    path = plots.save(plots.rate(scattered()), tmp_path / "a.png")
    assert cv2.imread(str(path)).shape[1] == pytest.approx(88 / 25.4 * 300, abs=1)


def test_nothing_is_overwritten_or_written_by_another_suffix(tmp_path):
    figure = plots.rate(scattered())
    path = plots.save(figure, tmp_path / "a.png")
    with pytest.raises(OutputError, match="exists"):
        plots.save(figure, path)
    with pytest.raises(ConfigError, match="jpg"):
        plots.save(figure, tmp_path / "a.jpg")
    assert plots.save(figure, path, overwrite=True) == path


@pytest.mark.parametrize("wrong", [{"width_mm": 5}, {"width_mm": math.nan}, {"font_pt": 1}])
def test_a_style_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        plots.Style(**wrong)


def test_a_figure_shows_itself_in_a_notebook():
    assert plots.rate(scattered())._repr_png_().startswith(b"\x89PNG")


# --- rate and balance ---


@pytest.mark.parametrize("span_us", [900, 54_321, 7_000_000, 400_000_000])
def test_the_areas_under_the_rates_are_the_numbers_of_events(span_us):
    events = scattered(span_us=span_us, on=0.3)
    axes = plots.rate(events).axes[0]
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
    events = Events(
        t=np.arange(0, 2_006_000, 100), x=[0] * 20_060, y=[0] * 20_060, p=[True] * 20_060,
        size=(1, 1),
    )  # fmt: skip
    axes = plots.rate(events, bin_us=10_000).axes[0]
    values, edges = stairs(axes, "ON")
    assert "kev/s" in axes.get_ylabel()
    assert "(s), bins of 10 ms" in axes.get_xlabel()
    np.testing.assert_allclose(values, 10, rtol=0.02)
    np.testing.assert_allclose(edges[:3], [0, 0.01, 0.02])


def test_bins_of_time_hold_what_a_slow_count_finds():
    events = scattered(700, span_us=3_000)
    found = count_over_time(Cut(events, 13), bin_us=7)
    for row, on in enumerate((False, True)):
        slow = [0] * found.counts.shape[1]
        for t, p in zip(events.t.tolist(), events.p.tolist(), strict=True):
            if p == on:
                slow[(t - int(events.t[0])) // 7] += 1
        assert found.counts[row].tolist() == slow


def test_bins_grow_with_the_stream_and_lose_nothing():
    events = scattered(3000, span_us=10_000_000)
    found = count_over_time(Cut(events, 11), most_bins=100)
    assert found.bin_us == 100_000
    assert found.counts.sum() == 3000
    assert for_eyes(found, 3).counts.sum() == 3000


def test_a_bin_too_short_for_the_recording_is_refused():
    with pytest.raises(ConfigError, match="longer bins"):
        plots.rate(scattered(span_us=10_000_000_000), bin_us=1)
    with pytest.raises(ConfigError, match="below 1"):
        plots.rate(scattered(), bin_us=0)


def test_the_balance_is_the_share_of_on_events():
    figure = plots.balance(scattered(40_000, on=0.3))
    share, _ = stairs(figure.axes[0], "share of ON")
    assert np.nanmean(share) == pytest.approx(0.3, abs=0.01)
    over_pixels = figure.axes[1].patches[0].get_data()
    assert over_pixels.values.sum() == 24 * 16
    middles = (over_pixels.edges[1:] + over_pixels.edges[:-1]) / 2
    assert over_pixels.values @ middles / (24 * 16) == pytest.approx(0.3, abs=0.02)


# --- intervals ---


def slow_intervals(events):
    found = {kind: [] for kind in KINDS}
    last = {}
    for t, x, y, p in zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True):
        if (x, y) in last:
            before, polarity = last[x, y]
            kind = "mixed" if polarity != p else "ON-ON" if p else "OFF-OFF"
            found[kind].append(t - before)
        last[x, y] = (t, p)
    return found


def test_intervals_are_those_that_a_slow_count_finds():
    events = scattered(3000, size=(5, 4), span_us=30_000)
    edges, counts = plots.count_intervals(Cut(events, 17))
    for kind, row in zip(KINDS, counts, strict=True):
        np.testing.assert_array_equal(row, np.histogram(slow_intervals(events)[kind], edges)[0])


def test_edges_of_intervals_are_whole_and_hold_each_power_of_ten():
    edges = interval_edges()
    assert edges[:5].tolist() == [0, 1, 2, 3, 4]
    assert (np.diff(edges) > 0).all()
    assert {10**k for k in range(13)} <= set(edges.tolist())


def test_a_lamp_has_mixed_intervals_of_half_its_period():
    axes = plots.intervals(lamp(100)).axes[0]
    values, edges = stairs(axes, "mixed")
    at = int(np.nanargmax(values))
    assert edges[at] <= 5000 < edges[at + 1]
    assert np.isnan(stairs(axes, "ON-ON")[0]).all()


# --- axes ---


def log_axes(figure):
    """The logarithmic axes of a figure that is drawn, and the names of their ticks in view."""
    figure.canvas.draw()
    for axes in all_axes(figure):
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log" and axis.get_visible():
                low, high = sorted(axis.get_view_interval())
                yield axis, [
                    tick.label1.get_text() or tick.label2.get_text()
                    for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high
                ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["intervals", "pixel_map", "spectrum", "flicker", "noise"])
@pytest.mark.parametrize(
    ("events", "width_mm"),
    [(scattered(300), 60), (scattered(9000, span_us=40_000_000), 180), (lamp(80), 60),
     (scattered(200, size=(3, 2), span_us=3000), 60), (scattered(200, size=(3, 2)), 180)],
    ids=["few", "long", "lamp", "short", "wide"],
)  # fmt: skip
def test_a_logarithmic_axis_names_two_values_at_least(name, width_mm, events):
    for axis, names in log_axes(getattr(plots, name)(events, style=plots.Style(width_mm=width_mm))):
        told = [text for text in names if text]
        assert len(told) >= 2, (axis.get_label_text(), axis.get_view_interval(), names)


@pytest.mark.slow
@pytest.mark.parametrize(("low", "high"), [(0.31, 0.33), (3.1, 4.4), (3, 22), (0.7, 900), (1, 1e9)])
def test_ticks_of_a_logarithmic_axis_lie_in_view(low, high):
    with plots.PAPER.drawing(0.6) as figure:
        axes = figure.add_subplot(xscale="log", xlim=(low, high))
        log_ticks(axes.xaxis, low, high)
    (_, names), = log_axes(figure)  # fmt: skip
    assert 2 <= len(set(names)) == len(names) <= 12


def test_large_numbers_have_commas_on_axes_and_in_words():
    assert [plain_number(value) for value in (0.5, 20, 2000, 1e5)] == [
        "0.5",
        "20",
        "2,000",
        "$10^{5}$",
    ]
    assert hz_text(2345.6) == "2,346 Hz"


# --- maps ---


@pytest.mark.slow
def test_the_map_holds_the_count_of_each_pixel_and_circles_the_hot_one():
    cold = scattered(20_000)
    hot = Events(t=np.arange(3000), x=[7] * 3000, y=[3] * 3000, p=[True] * 3000, size=(24, 16))
    order = np.argsort(np.concatenate([cold.t, hot.t]), kind="stable")
    events = Events(
        size=(24, 16),
        **{n: np.concatenate([getattr(cold, n), getattr(hot, n)])[order] for n in "txyp"},
    )
    axes = plots.pixel_map(events).axes[0]
    slow = np.zeros((16, 24), int)
    for x, y in zip(events.x.tolist(), events.y.tolist(), strict=True):
        slow[y, x] += 1
    np.testing.assert_array_equal(np.ma.filled(image(axes), 0), slow)
    assert axes.collections[0].get_offsets().tolist() == [[7, 3]]
    assert "1 hot pixel" in axes.get_title(loc="left")


def crowded(count):
    """Events of `count` hot pixels, each with an event more than the one ahead of it."""
    times = np.arange(20, 20 + count)
    x, y = (
        np.repeat(np.arange(count) % 20 * 5 + 3, times),
        np.repeat(np.arange(count) // 20 * 5, times),
    )
    return Events(t=np.arange(len(x)), x=x, y=y, p=np.ones(len(x), bool), size=(103, 53))


@pytest.mark.slow
@pytest.mark.parametrize("draw", [plots.pixel_map, plots.noise])
def test_of_many_hot_pixels_a_hundred_with_the_most_events_are_circled_and_it_says_so(draw):
    few, many = draw(crowded(100)), draw(crowded(200))
    assert len(few.axes[0].collections[0].get_offsets()) == 100
    found = {(round(x), round(y)) for x, y in many.axes[0].collections[0].get_offsets().tolist()}
    assert found == {(n % 20 * 5 + 3, n // 20 * 5) for n in range(100, 200)}
    words = [text.get_text() for axes in many.axes for text in axes.texts]
    words += [many.axes[0].get_title(loc="left")]
    told = " ".join(words).replace("\n", " ")
    assert "200" in told
    assert "100 with most events circled" in told or "(100 circled)" in told
    words = [text.get_text() for axes in few.axes for text in axes.texts]
    assert "circled)" not in "".join(words)


@pytest.mark.parametrize("at", [(0, 0), (0, 23), (15, 0), (8, 12), (15, 23)])
def test_a_hot_pixel_is_found_in_corners_too_and_nothing_else(at):
    counts = np.random.default_rng(1).poisson(20, (16, 24))
    assert not hot_pixels(counts).any()
    counts[at] = 400
    assert np.argwhere(hot_pixels(counts)).tolist() == [list(at)]


def test_a_bright_edge_is_not_hot():
    counts = np.random.default_rng(1).poisson(2, (16, 24))
    counts[:, 9:12] = 500
    assert not hot_pixels(counts).any()


@pytest.mark.parametrize("at", [(1, 1), (1, 22), (14, 3)])
def test_a_hot_pixel_near_the_edge_is_not_its_own_rival(at):
    counts = np.random.default_rng(1).poisson(20, (16, 24))
    counts[at] = 400
    assert np.argwhere(hot_pixels(counts)).tolist() == [list(at)]


def test_where_all_flickers_the_busiest_are_not_hot_and_those_far_above_are():
    rng = np.random.default_rng(2)
    # Contrast about the threshold: many pixels see nothing, some fire often, none of them is hot.
    counts = np.where(rng.random((120, 160)) < 0.4, rng.geometric(0.12, (120, 160)), 0)
    assert np.count_nonzero(hot_pixels(counts)) < 0.002 * counts.size
    hot = [(10, 10), (10, 12), (60, 80), (119, 0)]  # two of them near each other
    for row, column in hot:
        counts[row, column] = 900
    assert all(hot_pixels(counts)[place] for place in hot)


@pytest.mark.slow
def test_the_hot_pixels_of_an_emulated_sensor_are_found():
    params = EmulatorParams(shot_hz=1.0, hot_fraction=2e-3, hot_hz=60.0)
    frames = [(i * 20_000, np.full((60, 80), 90 + 10 * (i % 2), np.uint8)) for i in range(51)]
    emulation = Emulator(params, 4).start((80, 60))
    emulation.step(*frames[0])
    truth = {(int(n) // 80, int(n) % 80) for n in emulation._pixels._hot}
    found = hot_pixels(count_pixels(emulate(frames, params=params, seed=4)).sum(0))
    assert len(truth) > 5
    assert {tuple(place) for place in np.argwhere(found).tolist()} == truth


@pytest.mark.slow
def test_small_pixels_are_shown_by_the_most_of_their_block():
    counts = np.zeros((5, 7), int)
    counts[4, 6] = 9
    assert most_of_blocks(counts, 3).tolist() == [[0, 0, 0], [0, 0, 9]]
    axes = plots.pixel_map(scattered(500, size=(1280, 720))).axes[0]
    assert image(axes).shape == (240, 427)
    assert image(axes).max() == count_pixels(scattered(500, size=(1280, 720))).sum(0).max()


# --- spectrum and flicker ---


@pytest.mark.slow
@pytest.mark.parametrize("hz", [33, 50, 60])
def test_the_spectrum_names_the_bursts_of_a_lamp_first(hz):
    exact = lamp(hz, span_us=3_000_000)
    late = exact.t + np.random.default_rng(0).integers(0, 2000, len(exact))
    order = np.argsort(late, kind="stable")
    events = Events(
        t=late[order], x=exact.x[order], y=exact.y[order], p=exact.p[order], size=exact.size
    )
    axes = plots.spectrum(events).axes[0]
    # All pixels fire at each change: two bursts a period.
    named = sorted(float(text.get_text()) for text in axes.texts if text.get_text())
    assert named[0] == pytest.approx(2 * hz, abs=0.3)
    multiples = np.array(named) / (2 * hz)
    np.testing.assert_allclose(multiples, np.rint(multiples), atol=0.02)


def comb():
    """A rate that swings at 20 Hz and its multiples: many peaks side by side."""
    return lamp(10, size=(6, 4), span_us=4_000_000)


@pytest.mark.slow
def test_the_axis_of_a_spectrum_follows_the_densities_with_a_little_head_room():
    for events in (comb(), lit_arm(), scattered(span_us=4_000_000)):
        found = plots.rate_spectrum(events)
        low, high = np.log10([found.density.min(), found.density.max()])
        bottom, top = np.log10(plots.spectrum(events).axes[0].get_ylim())
        assert 0.02 * (high - low) < low - bottom < 0.2 * (high - low)
        assert 0.05 * (high - low) < top - high < 0.2 * (high - low)


@pytest.mark.slow
def test_a_tone_is_named_ahead_of_the_multiples_beside_it():
    """A weak tone at 260 Hz amid the many and stronger multiples of 50 Hz has its name."""
    teeth = np.repeat(np.arange(0, 3_000_000, 20_000), 40)
    tone = np.repeat(np.arange(0, 3_000_000, 3_846), 2)
    times = np.concatenate([teeth, tone])
    events = on_times(np.sort(times + np.random.default_rng(0).integers(0, 900, len(times))))
    for width in (88, 180):
        axes = plots.spectrum(events, peaks=12, style=plots.Style(width_mm=width)).axes[0]
        assert {"50", "260"} <= {text.get_text().split(".")[0] for text in axes.texts}


@pytest.mark.slow
@pytest.mark.parametrize("width", [60, 88, 180])
@pytest.mark.parametrize("peaks", [6, 20])
def test_names_of_peaks_stand_at_them_within_the_axes_and_none_over_another(width, peaks):
    figure = plots.spectrum(comb(), peaks=peaks, style=plots.Style(width_mm=width))
    figure.canvas.draw()
    axes = figure.axes[0]
    frame = axes.get_window_extent()
    texts = [text for text in axes.texts if text.get_text()]
    assert len(texts) >= (3 if width > 60 else 1)
    boxes = [mpl.text.Text.get_window_extent(text) for text in texts]
    for i, (text, box) in enumerate(zip(texts, boxes, strict=True)):
        assert float(text.get_text()) == pytest.approx(text.xy[0], abs=0.5)
        assert frame.x0 - 2 <= box.x0 < box.x1 <= frame.x1 + 2
        assert frame.y0 - 2 <= box.y0 < box.y1 <= frame.y1 + 2
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        u, v = axes.transData.transform(text.xy)
        assert math.hypot(*(np.clip([u, v], box.min, box.max) - [u, v])) < 60 / 72 * figure.dpi


@pytest.mark.slow
def test_a_name_without_room_is_left_out_and_the_first_has_its_own():
    figure = plots.Plot(figsize=(2, 1))
    axes = figure.add_subplot(xlim=(0, 1), ylim=(0, 1))
    x = np.linspace(0, 1, 400)
    y = np.where(np.arange(400) % 2, 0.1, 0.8)  # a wall of lines
    name_points(figure, axes, (x, y), [(0.5, 0.8, "top"), (0.5, 0.1, "foot")], plots.PAPER)
    assert [text.get_text() for text in axes.texts] == ["top"]


@pytest.mark.slow
def test_names_are_as_exact_as_bins_tell():
    long, short = (lamp(20, size=(2, 2), span_us=span) for span in (20_000_000, 1_000_000))
    for events, digits in ((long, 1), (short, 0)):
        (name, *_) = (text.get_text() for text in plots.spectrum(events).axes[0].texts)
        assert len(name.partition(".")[2]) == digits


def test_peaks_are_named_before_multiples_of_lower_ones():
    frequency = np.arange(1, 1001.0)
    density = np.ones(1000)
    density[[99, 199, 299, 399, 569]] = [1e3, 1e5, 1e5, 1e5, 1e2]
    found = plots.find_peaks(plots.Spectrum(frequency, density), most=3)
    assert [round(peak.frequency_hz) for peak in found] == [100, 200, 570]


def on_times(times_us):
    z = np.zeros(len(times_us), int)
    return Events(t=times_us, x=z, y=z, p=z == 0, size=(1, 1))


@pytest.mark.parametrize("period_us", [10_000, 9_973, 15_152])  # in whole bins, and not
def test_an_exact_comb_is_named_by_its_first_teeth(period_us):
    teeth = on_times(np.repeat(np.arange(0, 3_000_000, period_us), 20))
    found = [p.frequency_hz for p in plots.find_peaks(plots.rate_spectrum(teeth), most=5)]
    np.testing.assert_allclose(found, np.arange(1, 6) * 1e6 / period_us, atol=0.5)


def test_a_square_flicker_is_named_by_its_odd_multiples():
    swing = np.arange(0, 2_000_000, 50)
    square = on_times(swing[swing % 10_000 < 5_000])  # which has odd multiples alone
    found = plots.find_peaks(plots.rate_spectrum(square), most=3)
    np.testing.assert_allclose([p.frequency_hz for p in found], [100, 300, 500], atol=0.2)


def test_a_tone_beside_a_stronger_comb_has_its_name():
    frequency = np.arange(2.0, 1001.0, 2.0)
    density = np.ones(500)
    density[[49, 99, 149, 199, 249]] = 1e6  # 100 Hz and multiples
    density[[18, 124]] = 1e3  # 38 and 250 Hz: of seven times 37 it is too far off
    found = plots.find_peaks(plots.Spectrum(frequency, density), most=3)
    assert [round(peak.frequency_hz) for peak in found] == [38, 100, 250]


def test_the_spectrum_of_noise_has_no_peaks_and_the_power_of_a_poisson_process():
    events = scattered(100_000, span_us=10_000_000)
    found = plots.rate_spectrum(events)
    assert plots.find_peaks(found) == []
    # Campbell's theorem: one-sided density twice the rate.
    assert found.density.mean() == pytest.approx(2 * 10_000, rel=0.05)
    assert found.frequency_hz[-1] <= 1000


def test_a_spectrum_needs_a_sensible_range():
    with pytest.raises(ConfigError, match="max_hz"):
        plots.spectrum(scattered(), max_hz=math.nan)
    with pytest.raises(ConfigError, match="min_hz"):
        plots.flicker(scattered(), min_hz=10, max_hz=5)
    with pytest.raises(ConfigError, match="certainty"):
        plots.measure_flicker(scattered(), certainty=0.5)


def test_flicker_is_found_at_its_pixels_and_its_frequency():
    dark = scattered(300, size=(6, 4), span_us=1_000_000)
    assert np.isnan(plots.measure_flicker(dark).frequency_hz).all()
    found = plots.measure_flicker(Cut(lamp(80), 5))
    np.testing.assert_allclose(found.frequency_hz, 80, rtol=0.001)
    axes = plots.flicker(lamp(80)).axes[0]
    np.testing.assert_allclose(image(axes), 80, rtol=0.001)
    assert "median 80.0 Hz" in axes.get_title(loc="left")


def slow_flickers(events, certainty=1e6):
    """Whether each pixel flickers, and its frequency: from the definition, pixel by pixel."""
    found = np.full((events.size.height, events.size.width), np.nan)
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


def jittered_lamp(hz, jitter, rng, span_us=1_000_000):
    """Times and polarities of a pixel below a lamp: each change early or late by so many us."""
    times = np.arange(0, 2 * hz * span_us / 1e6) * 5e5 / hz
    return np.rint(np.sort(times + jitter * rng.normal(size=len(times)))).astype(np.int64)


def by_pixel(times, size):
    """Events of pixels in order: ON and OFF in turn, each at its own times."""
    t = np.concatenate(times)
    at = np.repeat(np.arange(len(times)), [len(one) for one in times])
    p = np.concatenate([np.arange(len(one)) % 2 > 0 for one in times])
    order = np.argsort(t, kind="stable")
    return Events(t=t[order], x=at[order] % size[0], y=at[order] // size[0], p=p[order], size=size)


def test_what_flickers_is_what_a_slow_search_finds():
    rng = np.random.default_rng(5)
    times = [jittered_lamp(hz, 0.004 * n * 1e6 / hz, rng, 500_000)
             for n in range(30) for hz in (24, 60)]  # fmt: skip
    events = by_pixel(times, (10, 6))
    found = plots.measure_flicker(Cut(events, 7)).frequency_hz
    np.testing.assert_allclose(found, slow_flickers(events))
    assert 10 < np.isfinite(found).sum() < 50


@pytest.mark.parametrize("rate_hz", [8, 30, 200])
def test_independent_events_do_not_flicker_however_their_rate_changes(rate_hz):
    rng = np.random.default_rng(rate_hz)
    swell = np.repeat([1.0, 0.02, 3.0, 0.1, 0.6], rate_hz)  # of the times between: bursts
    times = [np.cumsum(rng.exponential(1e6 / rate_hz, len(swell)) * swell).astype(np.int64)
             for _ in range(40 * 30)]  # fmt: skip
    found = plots.measure_flicker(by_pixel(times, (40, 30)))
    assert found.periods.sum() > 1000, "periods are alike now and then"
    assert not np.isfinite(found.frequency_hz).any()


def test_light_that_goes_up_and_down_with_the_frames_of_a_film_does_not_flicker():
    """Textures that pass by: each pixel changes at times of frames, by chance up or down."""
    rng = np.random.default_rng(9)
    frames = [cv2.GaussianBlur(rng.uniform(0, 255, (60, 80)), (0, 0), 1.0) for _ in range(60)]
    clip = [(i * 40_000, np.clip(128 + 4 * (f - 128), 0, 255).astype(np.uint8))
            for i, f in enumerate(frames)]  # fmt: skip
    events = np.concatenate([block.t for block in emulate(clip)])
    found = plots.measure_flicker(emulate(clip))
    assert len(events) > 100_000
    assert np.isfinite(found.frequency_hz).mean() < 0.001  # frames are a clock, too


def test_a_lamp_is_found_below_noise_and_while_it_is_seen_for_a_part_of_the_time():
    rng = np.random.default_rng(2)
    times = [np.concatenate([jittered_lamp(100, 300, rng, 200_000) + 400_000,
                             np.sort(rng.integers(0, 400_000, 6))]) for _ in range(24)]  # fmt: skip
    found = plots.measure_flicker(by_pixel([np.sort(one) for one in times], (6, 4)))
    assert np.isfinite(found.frequency_hz).mean() > 0.9
    np.testing.assert_allclose(found.frequency_hz[np.isfinite(found.frequency_hz)], 100, rtol=0.05)


def two_lamps():
    """Left half at 40 Hz, right half at 160 Hz, one stray pixel at 20 Hz, and one that is noisy."""
    width, height = 20, 10
    columns = [np.empty(0, np.int64)] * 4
    for y in range(height):
        for x in range(width):
            one = lamp(20 if (x, y) == (0, 0) else 40 if x < 10 else 160, size=(1, 1))
            parts = (one.t, np.full(len(one), x), np.full(len(one), y), one.p)
            if (x, y) == (19, 9):
                parts = tuple(part[one.p] for part in parts)  # ON alone is no flicker
            elif (x, y) == (19, 0):
                continue
            columns = [np.concatenate(pair) for pair in zip(columns, parts, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    t, x, y, p = (column[order] for column in columns)
    return Events(t=t, x=x, y=y, p=p.astype(bool), size=(width, height))


@pytest.mark.slow
def test_what_does_not_flicker_is_grey_and_what_has_no_events_is_bare():
    behind, above = plots.flicker(two_lamps()).axes[0].images
    grey, coloured = (~np.ma.getmaskarray(behind.get_array()), np.isfinite(above.get_array()))
    assert np.argwhere(grey).tolist() == [[9, 19]]
    assert coloured.sum() == 198
    shade = behind.cmap(0.5)[:3]
    assert max(shade) - min(shade) < 0.05


@pytest.mark.slow
def test_beside_the_map_is_how_many_pixels_have_each_frequency_in_its_colours():
    axes = plots.flicker(two_lamps()).axes[0]
    (beside,) = axes.child_axes
    assert (beside.get_xlabel(), beside.get_ylabel()) == ("pixels", "flicker (Hz)")
    image = axes.images[1]
    bars = [bar for bar in beside.patches if bar.get_width()]
    assert [bar.get_width() for bar in bars] == [1, 99, 98]
    for bar, hz in zip(bars, (20, 40, 160), strict=True):
        assert bar.get_y() < hz < bar.get_y() + bar.get_height()
        np.testing.assert_allclose(bar.get_facecolor(), image.cmap(image.norm(hz)), atol=0.06)
    assert image.norm.vmin > 30, "a stray pixel does not press all others into one colour"


def marked(count, size):
    """What `plots.flicker` draws of `count` lamps on a sensor: the marks, and the words above."""
    pixels = np.arange(count) * 7
    one = lamp(80, size=(1, 1))
    events = Events(
        t=np.repeat(one.t, count), x=np.tile(pixels % size[0], len(one)),
        y=np.tile(pixels // size[0], len(one)), p=np.repeat(one.p, count), size=size,
    )  # fmt: skip
    axes = plots.flicker(events).axes[0]
    return axes.collections, axes.get_title(loc="left"), pixels


@pytest.mark.slow
def test_few_pixels_that_flicker_are_drawn_larger_and_it_says_so():
    sides = []
    for count in (3, 100, 1000):
        (marks,), words, pixels = marked(count, (320, 240))
        assert marks.get_offsets().tolist() == [[n % 320, n // 320] for n in pixels]
        np.testing.assert_allclose(marks.get_array(), 80, rtol=0.001)
        assert f"{count:,} pixels, drawn larger" in words
        sides.append(math.sqrt(marks.get_sizes()[0]))
    assert sides[0] > 3 > sides[1] > sides[2] > 0.5  # points; a pixel is 0.5 wide
    for count, size in ((40, (20, 20)), (10_000, (320, 240))):
        marks, words, _ = marked(count, size)
        assert len(marks) == 0
        assert "larger" not in words


# --- noise ---


def slow_isolated(events, window_us):
    found = np.zeros((2, events.size.height, events.size.width), int)
    rows = list(zip(*(getattr(events, n).tolist() for n in "txyp"), strict=True))
    for i, (t, x, y, p) in enumerate(rows):
        beside = any(
            t - s < window_us and max(abs(x - u), abs(y - v)) == 1 for s, u, v, _ in rows[:i]
        )
        found[int(p), y, x] += not beside
    return found


def test_isolated_events_are_those_that_a_slow_search_finds():
    events = scattered(700, span_us=100_000)
    found = plots.measure_noise(Cut(events, 9), window_us=1000)
    np.testing.assert_array_equal(found.isolated, slow_isolated(events, 1000))
    assert 0 < found.isolated.sum() < 700


@pytest.mark.parametrize(("later_us", "isolated"), [(999, 1), (1000, 2)])
def test_a_neighbour_stands_beside_a_pixel_for_less_than_the_window(later_us, isolated):
    events = Events(t=[0, later_us], x=[0, 1], y=[0, 0], p=[True, True], size=(2, 1))
    assert plots.measure_noise(events, window_us=1000).isolated.sum() == isolated


@pytest.mark.parametrize("rate_hz", [0.5, 20.0])
def test_noise_of_a_known_rate_is_found_again(rate_hz):
    pixels, seconds = 40 * 30, 40 if rate_hz < 1 else 4
    events = scattered(
        round(rate_hz * pixels * seconds), size=(40, 30), span_us=seconds * 1_000_000, on=0.7
    )
    found = plots.measure_noise(events)
    assert sum(found.rates_hz) == pytest.approx(rate_hz, rel=0.05)
    assert found.shot_hz == pytest.approx(0.6 * rate_hz, rel=0.08)
    assert found.leak_hz == pytest.approx(0.4 * rate_hz, rel=0.15)
    assert f"{found.events:,} events" in report(found)


@pytest.mark.parametrize("seed", [1, 2])
def test_even_noise_is_told_as_one_rate_whether_of_the_quietest_tenth_or_of_all(seed):
    """Also of so few events, 10 a block, that the blocks with the least have half as many."""
    events = scattered(24_000, size=(640, 480), span_us=10_000_000, seed=seed)
    found = plots.measure_noise(events)
    assert found.quiet_rates_hz == pytest.approx(found.rates_hz, rel=0.12)


def test_the_quietest_tenth_has_no_noise_where_a_scene_without_noise_rests():
    """An edge sweeps over half a clean sensor: isolated events, and yet no noise."""
    columns = np.arange(0, 80)
    t = np.repeat(columns * 20_000, 40) + np.tile(np.arange(40) * 17_013 % 20_000, 80)
    order = np.argsort(t, kind="stable")
    x, y = np.repeat(columns, 40), np.tile(np.arange(0, 120, 3), 80)
    p = np.random.default_rng(0).random(len(t)) < 0.5
    edge = Events(t=t[order], x=x[order], y=y[order], p=p, size=(160, 120))
    found = plots.measure_noise(edge)
    assert found.isolated.sum() > 1000
    assert min(found.rates_hz) > 0
    assert found.quiet_rates_hz == (0, 0)
    assert "shot: 0 to " in report(found)


@pytest.mark.parametrize("size", [(34, 34), (33, 31), (5, 3)])
def test_sensors_of_any_size_have_a_quietest_tenth(size):
    events = scattered(size[0] * size[1] * 8, size=size, span_us=4_000_000)
    quiet = plots.measure_noise(events).quiet_rates_hz
    assert quiet == pytest.approx(plots.measure_noise(events).rates_hz, rel=0.4)


@pytest.mark.slow
def test_a_lone_pixel_with_the_most_isolated_events_is_counted_and_circled():
    """Beside an edge that passes often it is not hot by its events, but stands out on the map."""
    swept = np.repeat(np.arange(14) * 300_000, 24 * 24)
    t = swept + np.tile(np.repeat(np.arange(24) * 400, 24), 14)
    x, y = np.tile(np.repeat(np.arange(24), 24), 14), np.tile(np.tile(np.arange(24), 24), 14)
    lone = np.arange(14) * 300_000 + 150_000
    order = np.argsort(np.concatenate([t, lone]), kind="stable")
    events = Events(
        t=np.concatenate([t, lone])[order], x=np.append(x, np.full(14, 12))[order],
        y=np.append(y, np.full(14, 12))[order], p=np.ones(len(order), bool), size=(24, 24),
    )  # fmt: skip
    found = plots.measure_noise(events)
    assert not hot_pixels(count_pixels(events).sum(0)).any()
    most = found.isolated.sum(0) == 14  # the lone one, and where the edge enters
    assert most.sum() == 2
    np.testing.assert_array_equal(found.hot, most)
    assert "standing out: 2" in report(found)
    assert [12, 12] in plots.noise(events).axes[0].collections[0].get_offsets().tolist()


@pytest.mark.slow
def test_the_plot_says_that_isolated_events_are_of_scenes_too():
    words = " ".join(text.get_text() for text in plots.noise(scattered()).texts)
    assert "Scenes have such events, too" in words


def test_a_noise_window_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="window_us"):
        plots.noise(scattered(), window_us=0)


# --- layers ---


def test_a_raster_has_a_mark_for_each_spike():
    spikes = np.random.default_rng(0).integers(-1, 2, (30, 4, 3))
    axes = plots.raster(spikes, step_us=2000).axes[0]
    flat = spikes.reshape(30, 12)
    for label, sign in (("+1", 1), ("−1", -1)):
        (marks,) = (c for c in axes.collections if c.get_label() == label)
        places = {(seg[0, 0] / 2, (seg[0, 1] + seg[1, 1]) / 2) for seg in marks.get_segments()}
        assert places == {(t, n) for t, n in np.argwhere(flat == sign).tolist()}


@pytest.mark.parametrize("wrong", [np.float32(1), np.full((2, 2), np.nan), np.array(["a"])])
def test_what_is_no_spike_tensor_is_refused(wrong):
    with pytest.raises(ShapeError, match="spikes"):
        plots.raster(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1), (5,)])
def test_rasters_of_little_are_drawn(shape):
    assert len(drawn(plots.raster(np.zeros(shape)))) > 1000


def test_a_raster_of_events_has_a_point_for_each_at_its_time_and_pixel():
    events = scattered(300)
    figure = plots.event_raster(events)
    axes = figure.axes[0]
    points = axes.collections[0]
    rows = events.y.astype(int) * events.size.width + events.x
    assert axes.get_xlabel() == "time (ms)"
    np.testing.assert_allclose(points.get_offsets()[:, 0], (events.t - events.t[0]) / 1e3)
    np.testing.assert_array_equal(points.get_offsets()[:, 1], rows)
    colours = points.get_facecolors()
    assert len(np.unique(colours[events.p], axis=0)) == 1
    assert len(np.unique(colours[~events.p], axis=0)) == 1
    assert (colours[events.p][0] != colours[~events.p][0]).any()
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"ON", "OFF"}
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # row 0 is on top


def test_a_raster_of_many_events_says_how_many_it_shows():
    figure = plots.event_raster(scattered(300), max_events=100)
    assert len(figure.axes[0].collections[0].get_offsets()) == 75
    assert figure.notes[0].parts == ("1 in 4 events shown: 75 of 300",)
    assert len(drawn(plots.event_raster(scattered(300)[:0]))) > 1000


def test_a_command_draws_the_raster_of_a_recording(dvskit, file, tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "RASTER_EVENTS", 100)
    code, _, err = dvskit("raster", file, "-o", "a.svg", "--stop", "60ms")
    part = scattered().between(int(scattered().t[0]), int(scattered().t[0]) + 60_000)
    assert code == 0
    assert re.fullmatch(rf"dvskit: note: a.svg: 1 in \d+ .*shown: \d+ of {len(part):,}\n", err)
    assert "<svg" in (tmp_path / "a.svg").read_text()
    code, _, err = dvskit("raster", file, "-o", "b.svg", "--layer", "lif1")
    assert (code, err.count("\n")) == (2, 1)
    assert "name the model with --model" in err


@pytest.mark.slow
def test_the_membrane_is_that_of_the_equations():
    import torch

    from dvskit.neurons import LIF, SignedLIF

    current = torch.randn((40, 5), generator=torch.Generator().manual_seed(0))
    for layer, hard in ((LIF(), 0), (SignedLIF(reset="hard"), 1), (LIF(backend="torch"), 0)):
        v, line = 0.0, []
        for x in current[:, 2].tolist():
            h = 0.9 * v + x
            s = int(h >= 1) - int(h <= -layer.threshold_off)
            v = h * (1 - abs(s)) if hard else h - s
            line += [h, v]
        _, middle, low = plots.membrane(layer, current, neuron=2).axes
        np.testing.assert_allclose(middle.lines[0].get_ydata(), line, atol=1e-5)
        fired = sorted(seg[0, 0] for marks in low.collections for seg in marks.get_segments())
        assert fired == layer(current)[:, 2].nonzero().flatten().tolist()
        levels = [level.get_ydata()[0] for level in middle.lines[1:]]
        assert levels == [1, -1][: 1 + hard]
    with pytest.raises(ShapeError, match="neuron 5"):
        plots.membrane(LIF(), current, neuron=5)
    with pytest.raises(ShapeError, match="39 steps"):
        plots.membrane(LIF(), current, inputs=current[1:])


def own(values, number):
    """A number, or a neuron's own of a tensor of them."""
    return values[number].item() if hasattr(values, "shape") and values.shape else float(values)


@pytest.mark.slow
@pytest.mark.parametrize("neuron", [0, 3])
def test_the_potential_drawn_is_that_of_the_neuron_s_own_values(neuron):
    import torch

    from dvskit.neurons import LIF, PLIF, SynapticLIF

    current = torch.rand((30, 5), generator=torch.Generator().manual_seed(1))
    values = torch.linspace(0.3, 0.9, 5)
    for layer in (
        LIF(values, threshold=values - 64, rest=-65 + values, gain=2.0),
        PLIF(4.0, threshold=0.5, shape=(5,)),
        SynapticLIF(0.5, alpha=values),
    ):
        d, i, line = layer.dynamics, 0.0, []
        beta, threshold, gain, rest, alpha = (
            own(unset if value is None else value, neuron)
            for value, unset in (
                (d.beta, 0), (d.threshold, 0), (d.gain, 1), (d.rest, 0), (d.alpha, 0),
            )
        )  # fmt: skip
        v = rest
        for x in current[:, neuron].tolist():
            i = alpha * i + x
            h = rest + beta * (v - rest) + gain * i
            v = h - (threshold - rest) * (h >= threshold)
            line += [h, v]
        figure = plots.membrane(layer, current, neuron=neuron, steps=plots.Steps(0, 1000))
        potential, level = figure.axes[1].lines
        # Before anything comes the neuron is at rest.
        np.testing.assert_allclose(potential.get_ydata(), [rest, rest, *line], atol=1e-3)
        assert level.get_ydata()[0] == pytest.approx(threshold)
        assert figure.notes[0].parts == (f"neuron {neuron}", f"β = {beta:.3g}")


@pytest.mark.slow
@pytest.mark.parametrize("steps", [None, plots.Steps(0, 1000)])
def test_a_threshold_that_adapts_is_drawn_as_it_moves(steps):
    import torch

    from dvskit.neurons import ALIF, SignedLIF

    layer = ALIF(0.9, 1.0, 2.0, kappa=0.5, rho=0.8)
    current = torch.full((20, 2), 0.6)
    a, levels = 0.0, []
    for spike in layer(current)[:, 1].tolist():
        levels.append(1 + 0.5 * a)
        a = 0.8 * a + abs(spike)
    _, middle, low = plots.membrane(layer, current, neuron=1, steps=steps).axes
    _, moving, down = middle.lines
    first = [] if steps is None else [1.0]
    np.testing.assert_allclose(moving.get_ydata(), first + levels, atol=1e-6)
    assert max(levels) > 1.5
    assert (moving.get_label(), moving.get_drawstyle()) == ("threshold", "steps-pre")
    assert set(down.get_ydata()) == {-2.0}
    # A neuron spikes where its potential, the first of two at each step, reaches the line.
    decided = middle.lines[0].get_ydata()[::2]
    reached = moving.get_xdata()[decided >= moving.get_ydata()]
    assert [seg[0, 0] for seg in low.collections[0].get_segments()] == pytest.approx(list(reached))
    still = plots.membrane(SignedLIF(), current).axes[1].lines[1]
    assert len(still.get_ydata()) == 2


@pytest.mark.slow
def test_neurons_that_do_not_spike_have_neither_a_threshold_nor_spikes_in_their_plot():
    import torch

    from dvskit.neurons import LI

    figure = plots.membrane(LI(0.8), torch.ones(6, 2))
    assert len(figure.axes[1].lines) == 1
    assert figure.axes[1].get_legend() is None
    assert not figure.axes[2].collections
    assert len(drawn(figure)) > 1000


@pytest.mark.slow
def test_events_stand_above_the_potential_that_they_made():
    import torch

    from dvskit.neurons import LIF

    # Two pixels drive one neuron; steps of 10 ms begin at 1000 us.
    events = Events(
        t=[1_500, 12_000, 12_500, 29_000], x=[3, 5, 3, 3], y=[2, 0, 2, 2],
        p=[True, False, True, True], size=(6, 4),
    )  # fmt: skip
    current = torch.tensor([[0.7], [0.7], [0.1]])
    steps = plots.Steps(1000, 10_000)
    figure = plots.membrane(LIF(beta=0.9), current, inputs=events, steps=steps)
    top, middle, low = figure.axes
    marks = [
        (segment[0, 0], segment[:, 1].mean())
        for c in top.collections
        for segment in c.get_segments()
    ]
    assert sorted(marks) == [(0.5, 1.0), (11.0, 0.0), (11.5, 1.0), (28.0, 1.0)]
    # A step's potential stands at its end, behind the events that it took.
    assert middle.lines[0].get_xdata().tolist() == [0, 0, 10, 10, 20, 20, 30, 30]
    assert middle.lines[0].get_ydata()[4] == pytest.approx(0.9 * 0.7 + 0.7)
    (spike,) = low.collections[0].get_segments()
    assert spike[0, 0] == 20
    assert "time (ms)" in low.get_xlabel()
    with pytest.raises(ConfigError, match="Steps"):
        plots.membrane(LIF(), current, inputs=events)
    with pytest.raises(ConfigError, match="step_us"):
        plots.membrane(LIF(), current, steps=plots.Steps(0, 0))


@pytest.mark.slow
def test_weights_are_shown_as_they_are_with_zero_in_the_middle():
    values = np.random.default_rng(0).normal(size=(6, 9))
    figure = plots.weights(values)
    np.testing.assert_array_equal(image(figure.axes[0]), values)
    low, high = figure.axes[0].images[0].get_clim()
    assert -low == high == np.abs(values).max()


def test_kernels_are_laid_out_as_tiles():
    kernels = np.random.default_rng(0).normal(size=(7, 2, 3, 4))
    picture = tiled(kernels)
    assert picture.shape == (2 * 4 - 1, 7 * 5 - 1)
    np.testing.assert_array_equal(picture[4:7, 10:14], kernels[2, 1])
    assert np.isnan(picture[3]).all()
    with pytest.raises(ShapeError, match="outputs"):
        plots.weights(np.zeros(3))


@pytest.mark.slow
def test_the_confusion_matrix_shows_shares_and_counts():
    counts = np.array([[8, 2], [0, 5]])
    axes = plots.confusion(counts, ("a", "b")).axes[0]
    np.testing.assert_allclose(image(axes), [[0.8, 0.2], [0, 1]])
    assert [text.get_text() for text in axes.texts] == ["8", "2", "5"]
    assert axes.get_title(loc="left") == "13 of 15 right, 86.7 %"
    with pytest.raises(ShapeError, match="3 classes"):
        plots.confusion(counts, "abc")
    with pytest.raises(ShapeError, match="whole"):
        plots.confusion(counts * 0.5, "ab")


LOG = "epoch,loss,rate,a_accuracy,accuracy,validation_loss,seconds\n0,1.5,0.1,0.5,0.5,1.2,3\n" + (
    "1,0.7,0.1,0.9,0.9,0.6,3\n2,0.5,0.1,0.8,0.8,0.7,3\n"
)


@pytest.mark.slow
def test_classes_may_have_names_in_any_letters(tmp_path):
    """With a font that has them, or else with boxes; with no word of matplotlib's on stderr."""
    stix = sorted(_drawing._letters(mpl.get_data_path() + "/fonts/ttf/STIXGeneral.ttf"))
    other = next(a for a in map(chr, stix) if ord(a) > 0x2100 and
                 ord(a) not in _drawing._letters(_drawing.font_file()))  # fmt: skip
    names = ("clap", f"to {other}", "\U000f1234")
    figure = plots.confusion(np.eye(3, dtype=int), names)
    plots.save(figure, tmp_path / "a.png")  # a warning would be an error
    told = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert told == ["clap", f"to {other}", "□"]


def test_training_curves_are_those_of_the_log(tmp_path):
    (tmp_path / "log.csv").write_text(LOG)
    left, right = plots.curves(tmp_path).axes
    lines = {line.get_label(): line.get_ydata().tolist() for line in left.lines}
    assert lines["training"] == [1.5, 0.7, 0.5]
    assert lines["validation"] == [1.2, 0.6, 0.7]
    assert right.get_title(loc="left") == "best 90.0 %, epoch 1"
    assert not right.collections  # logs of before have no intervals


def test_the_band_of_the_curve_is_the_interval_of_the_accuracy(tmp_path):
    rows = LOG.split()
    ends = ("accuracy_low,accuracy_high", "0.3,0.7", "0.6,0.98", "0.5,0.94")
    (tmp_path / "log.csv").write_text("\n".join(map(",".join, zip(rows, ends, strict=True))))
    _, right = plots.curves(tmp_path).axes
    (band,) = right.collections
    corners = np.concatenate([path.vertices for path in band.get_paths()])
    for epoch, low, high in ((0, 30, 70), (1, 60, 98), (2, 50, 94)):
        heights = corners[corners[:, 0] == epoch, 1]
        assert (heights.min(), heights.max()) == (pytest.approx(low), pytest.approx(high))
    assert len(right.lines) == 2  # the curve and its best point


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column"),
        ("a,b\n1,2\n", "no column epoch"),
        ("epoch,loss,accuracy\n1,2,0.5\n", "no column validation_loss"),
        (LOG + "3,x\n", "line 5"),
        (None, "no such"),
    ],
)
def test_what_is_no_log_is_said_in_one_line(tmp_path, text, said):
    if text is not None:
        (tmp_path / "log.csv").write_text(text)
    with pytest.raises(FormatError, match=said):
        plots.curves(tmp_path / "log.csv")


# --- beside stored pictures ---


def lit_arm() -> Events:
    """A bar that sweeps over, a lamp and a hot pixel: every plot has something to show."""
    steps = np.arange(3000)
    t = np.rint(1e6 * (steps / 3000 + 0.1 * np.sin(steps / 477.5))).astype(np.int64)
    bar = (t, 4 + t * 16 // 1_000_000, 8 + steps % 6, steps * 37 % 100 < 40 + t // 40_000)
    hot = (np.arange(900) * 1111, np.full(900, 21), np.full(900, 2), np.full(900, True))
    light = lamp(50, size=(5, 4))
    t, x, y, p = (
        np.concatenate(column)
        for column in zip(bar, hot, (light.t, light.x, light.y, light.p), strict=True)
    )
    order = np.argsort(t, kind="stable")
    return Events(t=t[order], x=x[order], y=y[order], p=p[order], size=(24, 16))


DARK_ONES = ("balance", "flicker", "raster")


def drawings() -> dict[str, object]:
    """Return what draws each plot that has a stored picture."""
    rng = np.random.default_rng(3)
    spikes = (rng.random((40, 30)) < 0.1) * rng.choice([-1, 1], (40, 30))
    counts = np.array([[18, 1, 1], [2, 15, 3], [0, 4, 16]])
    log = {
        "epoch": np.arange(12.0),
        "loss": 2 * 0.8 ** np.arange(12),
        "validation_loss": 0.4 + 1.7 * 0.8 ** np.arange(12),
        "accuracy": 1 - 0.7 * 0.75 ** np.arange(12),
        "accuracy_low": 0.85 - 0.65 * 0.75 ** np.arange(12),
        "accuracy_high": 1 - 0.4 * 0.75 ** np.arange(12),
    }

    def membrane(style):
        import torch

        from dvskit.neurons import SignedLIF

        current = torch.tensor(0.6 * spikes[:, :1] + 0.15, dtype=torch.float32)
        return plots.membrane(SignedLIF(), current, inputs=spikes[:, :5], style=style)

    return {
        "rate": lambda style: plots.rate(lit_arm(), bin_us=50_000, style=style),
        "balance": lambda style: plots.balance(lit_arm(), bin_us=50_000, style=style),
        "spectrum": lambda style: plots.spectrum(lit_arm(), max_hz=120, style=style),
        **{name: lambda style, name=name: getattr(plots, name)(lit_arm(), style=style)
           for name in ("intervals", "pixel_map", "flicker", "noise")},
        "raster": lambda style: plots.raster(spikes, step_us=5000, style=style),
        "membrane": membrane,
        "weights": lambda style: plots.weights(rng.normal(size=(8, 2, 5, 5)), style=style),
        "confusion": lambda style: plots.confusion(counts, ("one", "two", "three"), style=style),
        "curves": lambda style: plots.curves(log, style=style),
    }  # fmt: skip


def bearable(name: str) -> float:
    """Return how much of a tile may be off: more where steep lines move with their axes."""
    return 0.22 if name in ("intervals", "noise") else 0.15


def style_of(name: str) -> plots.Style:
    """Return how a stored picture is drawn: wider where many words would make its file large."""
    return plots.Style(dark=name in DARK_ONES, width_mm=130 if name == "noise" else 88)


def shown(figure) -> np.ndarray:
    figure.set_dpi(150)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[:, :, :3]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(drawings()))
def test_each_plot_looks_as_its_stored_picture(name):
    style = style_of(name)
    assert matches(f"plot-{name}", shown(drawings()[name](style)), tolerance=bearable(name))


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil",
    [
        lambda axes: axes.get_legend().remove(),
        lambda axes: axes.patches[1].remove(),
        lambda axes: axes.yaxis.set_visible(False),
        lambda axes: axes.xaxis.set_ticklabels([]),
        lambda axes: axes.set_xlabel(""),
        lambda axes: axes.set_ylim(0, 2 * axes.get_ylim()[1]),
        lambda axes: axes.patches[1].set_edgecolor(axes.patches[2].get_edgecolor()),
    ],
    ids=["legend", "line", "axis", "ticks", "label", "scale", "colour"],
)
def test_a_plot_that_lacks_something_does_not_look_so(spoil):
    figure = drawings()["rate"](plots.PAPER)
    spoil(figure.axes[0])
    assert not matches("plot-rate", shown(figure))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(drawings()))
def test_other_letters_still_look_so(name):
    style = style_of(name)
    with mpl.rc_context({"text.hinting": "none"}):
        assert matches(f"plot-{name}", shown(drawings()[name](style)), tolerance=bearable(name))


# --- the command line ---


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
    "kind", ["rate", "balance", "intervals", "map", "spectrum", "flicker", "noise"]
)
def test_each_plot_of_a_file_is_written_by_a_command(dvskit, file, tmp_path, kind):
    assert dvskit(kind, file, "-o", "a.svg") == (0, "", "")
    assert "<svg" in (tmp_path / "a.svg").read_text()


@pytest.mark.slow
def test_the_command_plots_the_part_between_start_and_stop(dvskit, file, tmp_path):
    assert dvskit("rate", file, "-o", "a.png", "--start", "10ms", "--stop", "60ms")[0] == 0
    part = scattered().between(int(scattered().t[0]) + 10_000, int(scattered().t[0]) + 60_000)
    plots.save(plots.rate(part), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "ended_with", "said"),
    [
        (("rate", "none.npz", "-o", "a.png"), 1, "none.npz"),
        (("rate", "in.npz", "-o", "a.jpg"), 2, ".png, .svg or .pdf"),
        (("rate", "in.npz", "-o", "in.npz"), 2, ".png, .svg or .pdf"),
        (("rate", "in.npz", "-o", "there.png"), 1, "--force"),
        (("rate", "in.npz", "-o", "no/a.png"), 1, "does not exist"),
        (("rate", "in.npz", "-o", "a.png", "--start", "5"), 2, "1.5s"),
        (("rate", "in.npz", "-o", "a.png", "--start", "5s", "--stop", "1s"), 2, "not after"),
        (("rate", "in.npz", "-o", "a.png", "--width", "3"), 2, "40..1000"),
        (("curves", "in.npz", "-o", "a.png"), 1, "log.csv"),
        (("raster", "in.npz", "-o", "a.png", "--model", "none"), 1, "none"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    dvskit, file, tmp_path, words, ended_with, said
):
    (tmp_path / "there.png").write_bytes(b"mine")
    code, out, err = dvskit(*words)
    assert (code, out) == (ended_with, "")
    assert err.startswith("dvskit: error: ")
    assert said in err
    assert err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"in.npz", "there.png"}
    assert (tmp_path / "there.png").read_bytes() == b"mine"


@pytest.mark.slow
def test_curves_confusion_and_raster_are_fed_by_runs_and_models(dvskit, tmp_path):
    (tmp_path / "log.csv").write_text(LOG)
    folder = tmp_path / "data" / "3"
    folder.mkdir(parents=True)
    save_events(scattered(2000, size=(34, 34), span_us=300_000), folder / "a.npz")
    model = "nmnist-signed-lif"
    assert dvskit("curves", ".", "-o", "a.pdf") == (0, "", "")
    assert dvskit("confusion", model, "data", "-o", "b.pdf") == (0, "", "")
    assert dvskit("raster", folder / "a.npz", "--model", model, "-o", "c.pdf") == (0, "", "")
    asked = (folder / "a.npz", "--model", model, "--layer", "lif1")
    assert dvskit("raster", *asked, "-o", "e.pdf") == (0, "", "")
    assert dvskit("membrane", *asked, "-o", "f.pdf") == (0, "", "")
    assert dvskit("membrane", *asked, "--neuron", "7", "-o", "g.pdf") == (0, "", "")
    assert dvskit("weights", model, "-o", "h.pdf") == (0, "", "")
    assert dvskit("weights", model, "--layer", "dense1", "-o", "i.pdf") == (0, "", "")
    for words, said in (
        (("raster", *asked[:-1], "lif", "-o", "d.pdf"), "lif1"),
        (("membrane", *asked, "--neuron", "99999", "-o", "d.pdf"), "neuron 99999"),
        (("weights", model, "--layer", "lif1", "-o", "d.pdf"), "conv1"),
    ):
        code, _, err = dvskit(*words)
        assert code == 2
        assert said in err
    assert {path.stem for path in tmp_path.glob("*.pdf")} == set("abcefghi")


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["plif1", "alif1", "recurrent1"])
def test_rasters_and_membranes_are_of_any_kind_of_neurons_by_the_command_line(
    dvskit, file, tmp_path, layer
):
    from tests.test_observation import many_kinds

    training.save_model(tmp_path / "m", many_kinds(24, 16))
    asked = (file, "--model", "m", "--layer", layer, "-o")
    assert dvskit("raster", *asked, "a.pdf") == (0, "", "")
    assert dvskit("membrane", *asked, "b.pdf") == (0, "", "")
    assert {path.stem for path in tmp_path.glob("*.pdf")} == {"a", "b"}
    code, _, err = dvskit("raster", *asked[:-2], "li1", "-o", "c.pdf")
    assert code == 2
    assert "plif1" in err


X = np.arange(1.0, 6.0)
SHARES = np.array([0.2, 0.5, 0.8, 0.9, 0.9])
ENDS = np.stack([SHARES - 0.05, SHARES + 0.02], axis=1)  # wider below than above


@pytest.mark.slow
@pytest.mark.parametrize("width_mm", [60, 180])
@pytest.mark.parametrize(("count", "steps"), [(1, 1), (2, 5), (7, 40)])
def test_each_measurement_has_a_panel_whose_curve_is_its_accuracies(width_mm, count, steps):
    x, share = np.arange(1.0, steps + 1), np.linspace(0.1, 0.9, steps)
    ends = np.stack([0.8 * share, 1.1 * share], axis=1)
    one = Measured(x, share, ends, "time seen (ms)", 0.1, x[-1], ("90 %", "late"))
    figure = accuracy([one] * count, style=Style(width_mm=width_mm))
    figure.canvas.draw()
    assert len(figure.axes) == count
    for axes in figure.axes:
        line = axes.lines[0]
        np.testing.assert_array_equal(line.get_xdata(), x)
        np.testing.assert_allclose(line.get_ydata(), 100 * share)
        assert axes.get_xlabel() == "time seen (ms)"
        assert axes.get_window_extent().height > 40


def test_factors_are_even_steps_of_a_logarithm_named_as_they_are():
    factors = np.array([0.5, 0.7, 1.0, 1.4, 2.0])
    figure = accuracy(Measured(factors, SHARES, ENDS, "factor", factors=True))
    figure.canvas.draw()
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.5", "0.7", "1", "1.4", "2"]


@pytest.mark.parametrize(
    ("x", "share", "ends", "factors"),
    [
        (X, SHARES[:4], ENDS, False),
        (X, SHARES, ENDS[:, 0], False),
        (X[:0], SHARES[:0], ENDS[:0], False),
        (X, np.where(X > 3, np.nan, SHARES), ENDS, False),
        (X, SHARES, np.full((5, 2), np.inf), False),
        (X, SHARES, ENDS[:, ::-1], False),
        (X - 1, SHARES, ENDS, True),
    ],
)
def test_what_is_no_measurement_is_refused(x, share, ends, factors):
    with pytest.raises(ShapeError):
        Measured(x, share, ends, "level", factors=factors)


@pytest.mark.parametrize("points", [5, 40])
def test_the_bars_and_the_band_of_an_accuracy_are_its_interval(points):
    x = np.arange(1.0, points + 1)
    share = np.linspace(0.5, 1.0, points)
    ends = np.stack([share - 0.3, np.minimum(1, share + 0.1)], axis=1)
    (axes,) = accuracy(Measured(x, share, ends, "level")).axes
    (drawn,) = axes.collections  # the bars, or the band
    corners = np.concatenate([path.vertices for path in drawn.get_paths()])
    for at, (low, high) in zip(x, 100 * ends, strict=True):
        heights = corners[corners[:, 0] == at, 1]
        assert (heights.min(), heights.max()) == (pytest.approx(low), pytest.approx(high))


def test_nothing_is_no_plot():
    with pytest.raises(ShapeError, match="nothing was measured"):
        accuracy([])
    with pytest.raises(ArgumentError):
        accuracy("accuracies.png")
