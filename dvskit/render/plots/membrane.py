"""A neuron's membrane potential, beside what drove it and what it fired."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dvskit.errors import ShapeError
from dvskit.render.plots.arrays import over_time
from dvskit.render.plots.raster import draw_raster
from dvskit.render.plots.style import PAPER, Plot, Style, grid_lines, note


class Layer(Protocol):
    """A layer of LIF neurons, as `dvskit.neurons.LIF` is."""

    beta: float
    threshold: float
    threshold_off: float

    def run(self, x: Any, state: Any = None) -> tuple[Any, Any]:
        """Return the spikes of currents (T, ...) and the state, with its potential `v`."""


def trace(
    layer: Layer, current: Any
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Run a layer step by step over currents (T, ...), from rest.

    Returns four arrays (T, neurons): the currents, the potential h = beta v + current on which a
    spike is decided, the potential v after the reset, and the spikes.
    """
    given = over_time(current, "currents").astype(np.float64)
    reset, spikes = np.zeros_like(given), np.zeros_like(given)
    state = None
    for step in range(len(given)):
        fired, state = layer.run(current[step : step + 1], state)
        spikes[step] = over_time(fired, "spikes")[0]
        reset[step] = over_time(state.v[None], "potentials")[0]
    before = np.vstack([np.zeros((1, given.shape[1])), reset[:-1]])[: len(given)]
    return given, layer.beta * before + given, reset, spikes


def membrane(
    layer: Layer,
    current: Any,
    *,
    neuron: int = 0,
    inputs: Any = None,
    style: Style = PAPER,
) -> Plot:
    """Plot the potential of one neuron of a LIF layer with what drove it above and its spikes.

    current  (T, ...): what the layer is fed; neurons are counted through the dimensions behind time
    inputs   (T, ...): the spikes that made the currents, drawn as a raster in place of the current

    The potential is shown up to where the spike is decided and then reset, in the same step.
    Raises ShapeError for a neuron that is not there, and inputs of another length.
    """
    given, decided, reset, spikes = trace(layer, current)
    if not -given.shape[1] <= neuron < given.shape[1]:
        raise ShapeError(f"neuron {neuron} is not among the layer's {given.shape[1]}")
    with style.drawing(0.85) as figure:
        top, middle, low = figure.subplots(3, 1, sharex=True, height_ratios=(1, 1.6, 0.35))
        if inputs is None:
            _draw_current(top, given[:, neuron], style)
        else:
            before = over_time(inputs, "inputs")
            if len(before) != len(given):
                raise ShapeError(f"inputs of {len(before)} steps beside {len(given)} of currents")
            draw_raster(top, before, style)
            top.set_ylabel("input")
        _draw_potential(middle, layer, decided[:, neuron], reset[:, neuron], style)
        draw_raster(low, spikes[:, [neuron]], style)
        low.set(ylabel="output", xlabel="time step", yticks=[])
        for axes in (top, middle):
            axes.tick_params(labelbottom=False)
        note(top, style, f"neuron {neuron}", f"β = {layer.beta:g}")
        figure.align_ylabels()
    return figure


def _draw_current(axes: Axes, current: NDArray[Any], style: Style) -> None:
    steps = np.arange(len(current))
    for chosen, colour in ((current >= 0, style.theme.on), (current < 0, style.theme.off)):
        axes.vlines(steps[chosen], 0, current[chosen], color=colour, linewidth=0.9)
    axes.axhline(0, color=style.theme.line, linewidth=0.5)
    axes.set_ylabel("current")
    axes.margins(y=0.08)


def _draw_potential(
    axes: Axes, layer: Layer, decided: NDArray[Any], reset: NDArray[Any], style: Style
) -> None:
    at = np.repeat(np.arange(len(decided)), 2)
    axes.plot(at, np.column_stack([decided, reset]).ravel(), color=style.theme.text, lw=0.8)
    for value, colour, name in (
        (layer.threshold, style.theme.on, "threshold"),
        (-layer.threshold_off, style.theme.off, "OFF threshold"),
    ):
        if math.isfinite(value):
            axes.axhline(value, color=colour, linewidth=0.7, linestyle=(0, (4, 2)), label=name)
    axes.set_ylabel("potential")
    axes.margins(y=0.08)
    grid_lines(axes, style)
