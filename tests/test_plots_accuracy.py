"""The plot of accuracies: it shows what was measured, and refuses what is none."""

from __future__ import annotations

import numpy as np
import pytest

from dvskit.errors import ArgumentError, ShapeError
from dvskit.render.plots import Measured, Style, accuracy

X = np.arange(1.0, 6.0)
SHARES = np.array([0.2, 0.5, 0.8, 0.9, 0.9])
ERRORS = np.full(5, 0.03)


@pytest.mark.parametrize("width_mm", [60, 88, 180])
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("steps", [1, 5, 40])
def test_each_measurement_has_a_panel_whose_curve_is_its_accuracies(width_mm, count, steps):
    x, share = np.arange(1.0, steps + 1), np.linspace(0.1, 0.9, steps)
    one = Measured(x, share, 0.1 * share, "time seen (ms)", 0.1, x[-1], ("90 %", "late"))
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
    figure = accuracy(Measured(factors, SHARES, ERRORS, "factor", factors=True))
    figure.canvas.draw()
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.5", "0.7", "1", "1.4", "2"]


@pytest.mark.parametrize(
    ("x", "share", "error", "factors"),
    [
        (X, SHARES[:4], ERRORS, False),
        (X, SHARES, ERRORS[:, None], False),
        (X[:0], SHARES[:0], ERRORS[:0], False),
        (X, np.where(X > 3, np.nan, SHARES), ERRORS, False),
        (X, SHARES, np.full(5, np.inf), False),
        (X - 1, SHARES, ERRORS, True),
    ],
)
def test_what_is_no_measurement_is_refused(x, share, error, factors):
    with pytest.raises(ShapeError):
        Measured(x, share, error, "level", factors=factors)


def test_nothing_is_no_plot():
    with pytest.raises(ShapeError, match="nothing was measured"):
        accuracy([])
    with pytest.raises(ArgumentError):
        accuracy("accuracies.png")
