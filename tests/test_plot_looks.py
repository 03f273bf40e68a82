"""Plots as a whole: beside stored pictures, and no word over another at any width."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.font_manager import get_font

from dvskit.events import Events
from dvskit.neurons import SignedLIF
from dvskit.render import plots
from tests.pictures import matches
from tests.plot_words import collisions, drawn_words
from tests.test_plots import at_pixel, crowded, lamp, scattered, together

DARK_ONES = ("balance", "flicker", "raster")


def lit_arm():
    """A bar that sweeps over, a lamp and a hot pixel: every plot has something to show."""
    steps, size = np.arange(3000), (24, 16)
    t = np.rint(1e6 * (steps / 3000 + 0.1 * np.sin(steps / 477.5))).astype(np.int64)
    order = np.argsort(t, kind="stable")
    x, y, p = 4 + t * 16 // 1_000_000, 8 + steps % 6, steps * 37 % 100 < 40 + t // 40_000
    bar = Events(t=t[order], x=x[order], y=y[order], p=p[order], size=size)
    return together(bar, at_pixel(np.arange(900) * 1111, 21, 2, size), lamp(50, size=(5, 4)))


COUNTS = np.array([[18, 1, 1], [2, 15, 3], [0, 4, 16]])
EPOCHS = np.arange(12)
LOG = {
    "epoch": np.arange(12.0),
    "loss": 2 * 0.8**EPOCHS,
    "validation_loss": 0.4 + 1.7 * 0.8**EPOCHS,
    "accuracy": 1 - 0.7 * 0.75**EPOCHS,
    "accuracy_low": 0.85 - 0.65 * 0.75**EPOCHS,
    "accuracy_high": 1 - 0.4 * 0.75**EPOCHS,
}


def spikes_and_rng():
    """Return signed spikes (40, 30), and the generator that goes on behind them."""
    rng = np.random.default_rng(3)
    return (rng.random((40, 30)) < 0.1) * rng.choice([-1, 1], (40, 30)), rng


def membrane(style):
    spikes, _ = spikes_and_rng()
    current = torch.tensor(0.6 * spikes[:, :1] + 0.15, dtype=torch.float32)
    return plots.membrane(SignedLIF(), current, inputs=spikes[:, :5], style=style)


def weights(style):
    return plots.weights(spikes_and_rng()[1].normal(size=(8, 2, 5, 5)), style=style)


DRAWINGS = {
    "rate": lambda style: plots.rate(lit_arm(), bin_us=50_000, style=style),
    "balance": lambda style: plots.balance(lit_arm(), bin_us=50_000, style=style),
    "spectrum": lambda style: plots.spectrum(lit_arm(), max_hz=120, style=style),
    "intervals": lambda style: plots.intervals(lit_arm(), style=style),
    "pixel_map": lambda style: plots.pixel_map(lit_arm(), style=style),
    "flicker": lambda style: plots.flicker(lit_arm(), style=style),
    "noise": lambda style: plots.noise(lit_arm(), style=style),
    "raster": lambda style: plots.raster(spikes_and_rng()[0], step_us=5000, style=style),
    "membrane": membrane,
    "weights": weights,
    "confusion": lambda style: plots.confusion(COUNTS, ("one", "two", "three"), style=style),
    "curves": lambda style: plots.curves(LOG, style=style),
}


def looks_as_stored(name, figure):
    """Compare a plot with its stored picture; steep lines move with their axes."""
    figure.set_dpi(150)
    figure.canvas.draw()
    shown = np.asarray(figure.canvas.buffer_rgba())[:, :, :3]
    tolerance = 0.22 if name in ("intervals", "noise") else 0.15
    return matches(f"plot-{name}", shown, tolerance=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWINGS)
def test_each_plot_looks_as_its_stored_picture(name):
    # Wider where many words would make the picture's file large.
    style = plots.Style(dark=name in DARK_ONES, width_mm=130 if name == "noise" else 88)
    assert looks_as_stored(name, DRAWINGS[name](style))


def test_a_plot_that_lacks_a_line_does_not_look_so():
    figure = DRAWINGS["rate"](plots.PAPER)
    with mpl.rc_context({"text.hinting": "none"}):  # letters may differ
        assert looks_as_stored("rate", figure)
    figure.axes[0].patches[1].remove()
    assert not looks_as_stored("rate", figure)


# --- words ---

GESTURES = ("hand clapping", "right arm clockwise", "left arm counter clockwise", "air guitar",
            "other gestures")  # fmt: skip


def confusion(names):
    counts = np.random.default_rng(0).integers(0, 120, (len(names), len(names)))
    return lambda style: plots.confusion(counts, names, style=style)


def gestures(count):
    return [f"{GESTURES[i % 5]} {i}" if count > 5 else GESTURES[i] for i in range(count)]


CROWDED = {
    "confusion of many": confusion(gestures(40)),
    "one long word": confusion(["Donaudampfschifffahrtsgesellschaft" * 2] * 3),
    "hot pixels": lambda style: plots.pixel_map(crowded(200), style=style),
    "flat sensor": lambda style: plots.noise(scattered(20_000, size=(640, 100)), style=style),
    "tall sensor": lambda style: plots.flicker(lamp(50, (60, 200), 150_000), style=style),
    "long weights": lambda style: plots.weights(np.eye(10, 200) * 1e-3, style=style),
}
QUICK = [("rate", 45), ("noise", 88), ("membrane", 60), ("curves", 45), ("flicker", 45),
         ("weights", 88), ("hot pixels", 45), ("one long word", 88)]  # fmt: skip


def check_words(name, style):
    figure = (DRAWINGS | CROWDED)[name](style)
    words = drawn_words(figure)
    assert len(words) > 5
    assert collisions(figure, words) == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "width"), QUICK)
def test_no_word_of_a_plot_lies_over_another_or_leaves_the_page(name, width):
    check_words(name, plots.Style(width_mm=width))


@pytest.mark.campaign
@pytest.mark.parametrize("font_pt", [6, 8, 12])
@pytest.mark.parametrize("width", [45, 88, 180])
@pytest.mark.parametrize("name", [*DRAWINGS, *CROWDED])
def test_no_word_lies_over_another_at_any_width_and_size(name, width, font_pt):
    check_words(name, plots.Style(width_mm=max(width, 5.6 * font_pt), font_pt=font_pt))


@pytest.mark.slow
def test_names_may_be_of_any_letters(tmp_path):
    folder = f"{mpl.get_data_path()}/fonts/ttf"
    letters = [set(get_font(f"{folder}/{name}.ttf").get_charmap())
               for name in ("STIXGeneral", "DejaVuSans")]  # fmt: skip
    other = chr(min(code for code in letters[0] - letters[1] if code > 0x2100))
    figure = confusion(["clap", f"to {other}", "\U000f1234"])(plots.PAPER)
    plots.save(figure, tmp_path / "a.png")  # a warning of matplotlib would be an error
    told = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert told == ["clap", f"to {other}", "□"]
