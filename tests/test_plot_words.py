"""The law of words: at any width none lies over another, and none leaves the page."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest

from dvskit.render import plots
from dvskit.render._numbers import scientific_text, small_hz_text
from dvskit.render.plots.confusion import broken, name_classes
from dvskit.render.plots.pixel_map import colour_bar
from dvskit.render.plots.style import note
from tests.plot_words import collisions, drawn_words
from tests.test_plots import crowded, drawings, lamp, scattered

WIDTHS = (45, 88, 180)
SIZES = {"chip": (34, 34), "hd": (1280, 720), "flat": (640, 100),
         "tall": (60, 200)}  # fmt: skip
GESTURES = ("hand clapping", "right arm clockwise", "left arm counter clockwise", "air guitar",
            "other gestures")  # fmt: skip


def confusion(names, most=120):
    counts = np.random.default_rng(0).integers(0, most, (len(names), len(names)))
    return lambda style: plots.confusion(counts, names, style=style)


def gestures(count):
    return [f"{GESTURES[i % 5]} {i}" if count > 5 else GESTURES[i] for i in range(count)]


@cache
def plots_with_many_words():
    """Return what draws plots whose words are long or many."""
    rng = np.random.default_rng(0)
    found = {"confusion-40": confusion(gestures(40))}
    found["confusion-digits"] = confusion("0123456789", 100_000)
    found["confusion-one-word"] = confusion(["Donaudampfschifffahrtsgesellschaft" * 2] * 3)
    for name, size in SIZES.items():
        for draw in (plots.pixel_map, plots.noise):
            events = scattered(20_000, size=size)
            found[f"{draw.__name__}-{name}"] = lambda style, draw=draw, e=events: draw(
                e, style=style
            )
        if name != "hd":
            lit = lamp(50, size=size, span_us=150_000)
            found[f"flicker-{name}"] = lambda style, lit=lit: plots.flicker(lit, style=style)
    found["map-hot"] = lambda style: plots.pixel_map(crowded(200), style=style)
    found["noise-hot"] = lambda style: plots.noise(crowded(200), style=style)
    for name, shape in {"long": (10, 200), "square": (100, 120), "flat": (32, 2, 5, 5)}.items():
        values = rng.normal(size=shape) * 1e-3
        found[f"weights-{name}"] = lambda style, v=values: plots.weights(v, style=style)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", [*drawings(), *plots_with_many_words()])
def test_no_word_of_a_plot_lies_over_another_or_leaves_the_page(name, width):
    draw = (drawings() | plots_with_many_words())[name]
    figure = draw(plots.Style(width_mm=width))
    words = drawn_words(figure)
    assert len(words) > 5
    assert collisions(figure, words) == []


@pytest.mark.slow
@pytest.mark.parametrize("font_pt", [6, 12])
@pytest.mark.parametrize("name", [*drawings(), "confusion-11"])
def test_words_of_other_sizes_lie_over_none_either(name, font_pt):
    draw = (drawings() | {"confusion-11": confusion(gestures(11))})[name]
    assert collisions(draw(plots.Style(font_pt=font_pt))) == []


def test_words_over_each_other_or_beyond_the_page_are_seen():
    figure = plots.Plot(figsize=(2, 1))
    figure.text(0.1, 0.5, "one")
    figure.text(0.12, 0.5, "two")
    figure.text(0.5, 0.95, "above")
    figure.text(0.1, 0.52, "hidden", visible=False)
    assert len(collisions(figure)) == 2
    slanted = plots.Plot(figsize=(2, 2))  # the boxes around them meet, the words do not
    for at in (0.4, 0.55):
        slanted.text(at, 0.5, "long words", rotation=45)
    assert collisions(slanted) == []


def test_a_long_note_stands_above_the_words_of_a_bar_beside_the_picture():
    with plots.PAPER.drawing(0.5) as figure:
        axes = figure.add_subplot()
        picture = axes.imshow(np.eye(4))  # the bar's highest tick, 1.0, is at its end
        colour_bar(figure, axes, picture, plots.PAPER, "share")
        note(axes, plots.PAPER, "words " * 6)
    assert collisions(figure) == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [45, 60, 88])
def test_names_of_the_panels_of_a_membrane_stand_well_apart(width):
    figure = drawings()["membrane"](plots.Style(width_mm=width))
    ends = {w.text: (w.corners[:, 1].min(), w.corners[:, 1].max()) for w in drawn_words(figure)}
    assert ends["potential"][0] - ends["output"][1] > 3.5  # points
    assert ends["input"][0] - ends["potential"][1] > 3.5


# --- names of classes ---


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [2, 5, 11, 20])
def test_every_class_of_a_matrix_is_named_apart_and_half_of_the_width_is_kept(count, width):
    figure = confusion(gestures(count))(plots.Style(width_mm=width))
    words = drawn_words(figure)
    assert collisions(figure, words) == []
    lines = [" ".join(word.text.split()) for word in words]
    for number, name in enumerate(gestures(count), 1):
        assert lines.count(name) == 2 or f"{number} {name}" in lines
    assert figure.axes[0].get_window_extent().width > 0.45 * figure.bbox.width


@pytest.mark.slow
@pytest.mark.parametrize("width", [88, 180])
@pytest.mark.parametrize("count", [3, 14, 20])
def test_names_that_fit_stand_at_rows_and_columns(count, width):
    names = [f"{name} {i}" for i, name in zip(range(count), 4 * GESTURES, strict=False)]
    for classes in (names, [name.replace(" ", "_") for name in names]):
        figure = confusion(classes)(plots.Style(width_mm=width))
        words = [re.sub(r"\s+|(?<=[_-])\s", " ", word.text) for word in drawn_words(figure)]
        shown = [word.replace("_ ", "_").replace("- ", "-") for word in words]
        assert {shown.count(name) for name in classes} == {2}


def test_names_are_broken_where_they_get_narrowest():
    assert broken("left arm counter clockwise", 2, len) == "left arm counter\nclockwise"
    assert broken("left arm counter clockwise", 3, len) == "left arm\ncounter\nclockwise"
    assert broken("counter-clockwise", 2, len) == "counter-\nclockwise"
    assert broken("counter_clockwise", 2, len) == "counter_\nclockwise"
    assert broken("clapping", 3, len) == "clapping"


def test_a_key_too_long_for_the_page_ends_in_an_ellipsis():
    naming = name_classes(["x" * 99, "y"], plots.PAPER, lambda text: 4.0 * len(text))
    (column,) = naming.key
    assert re.fullmatch("1 x{20,}…", column.lines[0])
    assert column.lines[1] == "2 y"


def test_short_names_are_never_numbered():
    narrow = plots.Style(width_mm=40)
    naming = name_classes([str(i) for i in range(36)], narrow, lambda t: 4.0 * len(t))
    assert naming.key == ()
    assert {"", "0"} < set(naming.rows) <= {"", *map(str, range(36))}


# --- numbers ---


@pytest.mark.parametrize(
    ("value", "text"),
    [(-0.0035, "−0.0035"), (12.3456, "12"), (-1.25e-7, "−1.2·10⁻⁷"), (0.0, "0"), (2e15, "2·10¹⁵")],
)
def test_numbers_have_a_true_minus(value, text):
    assert scientific_text(value, 2) == text


@pytest.mark.slow
def test_no_note_has_a_hyphen_for_a_minus():
    hertz = [small_hz_text(sign * 10.0**power) for power in range(-7, 4) for sign in (1, -1)]
    assert not any("-" in text for text in hertz)
    figure = plots.weights(-np.ones((3, 4)) * 1e-7)
    words = [word.text for word in drawn_words(figure)]
    assert any("−1·10⁻⁷" in text for text in words)
    assert not any(re.search(r"-\d", text) for text in words)
