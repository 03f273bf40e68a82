"""A neuron's membrane potential, beside what drove it and what it fired."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, ShapeError
from dvskit.events import Events
from dvskit.render.plots.arrays import over_time
from dvskit.render.plots.fitting import legend_above
from dvskit.render.plots.raster import VECTORS, draw_raster
from dvskit.render.plots.style import (
    PAPER,
    Plot,
    Style,
    grid_lines,
    note,
    say_none,
    whole_ticks,
)
from dvskit.render.plots.units import number_text

_LEAST_MM = 58.0  # high, beside words of 8 points: room for the names of the panels on their end


class Layer(Protocol):
    """A layer of LIF neurons, as `dvskit.neurons.LIF` is."""

    beta: Any
    threshold: Any
    threshold_off: Any

    def run(self, x: Any, state: Any = None) -> tuple[Any, Any]:
        """Return the spikes of currents (T, ...) and the state, with its potential `v`."""


class Steps(NamedTuple):
    """When time steps were: step k took what came in [start_us + k step_us, ... + step_us)."""

    start_us: int
    step_us: float


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


@check_arguments
def membrane(
    layer: Layer,
    current: Any,
    *,
    neuron: int = 0,
    inputs: Any = None,
    steps: Steps | None = None,
    style: Style = PAPER,
) -> Plot:
    """Plot the potential of one neuron of a LIF layer with what drove it above and its spikes.

    current  (T, ...): what the layer is fed; neurons are counted through the dimensions behind time
    inputs   what made the currents, drawn as a raster in place of the current: spikes (T, ...), or
             Events, a row a pixel, each at its own time (`dvskit.training.observe(...).causes()`)
    steps    when the steps were; then time is in milliseconds, and a step's potential and spikes
             stand at its end, behind the events that it took

    The potential is shown up to where the spike is decided and then reset, in the same step.
    Raises ShapeError for a neuron that is not there, and inputs of another length; ConfigError for
    Events without steps, and steps of no length.
    """
    if steps is None and isinstance(inputs, Events):
        raise ConfigError("events have times: pass steps=Steps(start_us, step_us) with them")
    if steps is not None and not steps.step_us > 0:
        raise ConfigError(f"step_us={steps.step_us} is not above 0")
    given, decided, reset, spikes = trace(layer, current)
    if not -given.shape[1] <= neuron < given.shape[1]:
        raise ShapeError(f"neuron {neuron} is not among the layer's {given.shape[1]}")
    # Without times a step is where its number is; with them, at its end.
    at = np.arange(len(given)) if steps is None else (np.arange(len(given)) + 1) * _ms(steps)
    with style.drawing(0.85, least_mm=_LEAST_MM) as figure:
        top, middle, low = figure.subplots(3, 1, sharex=True, height_ratios=(1, 1.6, 0.35))
        if isinstance(inputs, Events) and steps is not None:
            _draw_events(top, inputs, steps, style)
        elif inputs is None:
            _draw_current(top, at, given[:, neuron], style)
        else:
            before = over_time(inputs, "inputs")
            if len(before) != len(given):
                raise ShapeError(f"inputs of {len(before)} steps beside {len(given)} of currents")
            _draw_spikes(top, before, steps, style)
            top.set_ylabel("input")
        potential = (decided[:, neuron], reset[:, neuron])
        if steps is not None:  # at rest before anything came
            potential = (np.append(0.0, potential[0]), np.append(0.0, potential[1]))
        _draw_potential(middle, layer, np.append(0.0, at) if steps else at, potential, style)
        _draw_spikes(low, spikes[:, [neuron]], steps, style)
        low.set(
            ylabel="output", xlabel="time step" if steps is None else "time (ms)", yticks=[],
            ylim=(-0.5, 0.5),
        )  # fmt: skip
        if steps is not None:
            low.set_xlim(0, (len(given) + 0.5) * _ms(steps))
        for axes in (top, middle):
            axes.tick_params(labelbottom=False)
        note(top, style, f"neuron {neuron}", f"β = {number_text(layer.beta, 6)}")
        figure.align_ylabels()
    return figure


def _ms(steps: Steps) -> float:
    return steps.step_us * 1e-3


def _draw_spikes(axes: Axes, spikes: NDArray[Any], steps: Steps | None, style: Style) -> None:
    if steps is None:
        draw_raster(axes, spikes, style)
    else:
        draw_raster(axes, spikes, style, step_us=steps.step_us, behind=1.0)


def _draw_events(axes: Axes, events: Events, steps: Steps, style: Style) -> None:
    """Draw a row for each pixel that has events, with a mark for each at its own time."""
    pixels, rows = np.unique(events.y * np.int64(events.size.width) + events.x, return_inverse=True)
    at = (events.t - steps.start_us) * 1e-3
    half = max(0.42, 0.004 * len(pixels))  # a mark is never too small to be printed
    for chosen, colour in ((events.p, style.theme.on), (~events.p, style.theme.off)):
        axes.vlines(
            at[chosen], rows[chosen] - half, rows[chosen] + half, color=colour, linewidth=0.6,
            rasterized=len(at) > VECTORS,
        )  # fmt: skip
    axes.set(ylabel="pixel", ylim=(max(1, len(pixels)) - 0.5, -0.5))
    whole_ticks(axes.yaxis, 3)
    if not len(events):
        say_none(axes, style, scales="y")


def _draw_current(axes: Axes, at: NDArray[Any], current: NDArray[Any], style: Style) -> None:
    for chosen, colour in ((current >= 0, style.theme.on), (current < 0, style.theme.off)):
        axes.vlines(at[chosen], 0, current[chosen], color=colour, linewidth=0.9)
    axes.axhline(0, color=style.theme.line, linewidth=0.5)
    axes.set_ylabel("current")
    axes.margins(y=0.08)


def _draw_potential(
    axes: Axes, layer: Layer, at: NDArray[Any], potential: tuple[NDArray[Any], NDArray[Any]],
    style: Style,
) -> None:  # fmt: skip
    twice = np.repeat(at, 2)  # where the spike is decided, and behind the reset
    axes.plot(twice, np.column_stack(potential).ravel(), color=style.theme.text, lw=0.8)
    for value, colour, name in (
        (layer.threshold, style.theme.on, "threshold"),
        (-layer.threshold_off, style.theme.off, "OFF threshold"),
    ):
        if math.isfinite(value):
            axes.axhline(value, color=colour, linewidth=0.7, linestyle=(0, (4, 2)), label=name)
    axes.set_ylabel("potential")
    axes.margins(y=0.08)
    grid_lines(axes, style)
    legend_above(axes)
