"""Activity of neurons: a raster of a layer's spikes, and one neuron's membrane potential."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dvskit._checks import check_number
from dvskit.errors import ConfigError, ShapeError, count_of
from dvskit.events import Events
from dvskit.render._numbers import scientific_text
from dvskit.render.plots.fitting import legend_above
from dvskit.render.plots.style import (
    PAPER,
    Plot,
    Style,
    grid_lines,
    note,
    say_none,
    whole_ticks,
)

VECTORS = 20_000
_LEAST_MM = 58.0  # height for text of 8 points: room for the vertical labels of the panels


def as_array(values: Any) -> NDArray[Any]:
    """Return an array or a torch tensor as a numpy array, floats at least float32."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if values.is_floating_point():
            values = values.double()  # numpy has no bfloat16
    return np.asarray(values)


def over_time(values: Any, name: str) -> NDArray[Any]:
    """Return (T, ...) as (T, neurons). Raises ShapeError for arrays without time, and NaN."""
    array = as_array(values)
    if array.ndim == 0 or array.dtype.kind not in "fiub":
        raise ShapeError(f"{name} of shape {array.shape} ({array.dtype}); (T, neurons) is expected")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ShapeError(f"{name}: holds values that are not finite")
    return array.reshape(len(array), int(np.prod(array.shape[1:])))


def raster(spikes: Any, *, step_us: float | None = None, style: Style = PAPER) -> Plot:
    """Plot the spikes of a tensor (T, neurons) or (T, ...): a mark for each nonzero value.

    If there are negative spikes, they have OFF's color and positive ones ON's. With `step_us`, the
    length of a step, time is in milliseconds.

        spikes = torch.rand(100, 20) < 0.1  # 100 steps of 20 neurons
        figure = dvskit.render.plots.raster(spikes, step_us=1000)
        dvskit.render.plots.save(figure, "raster.pdf")
    """
    if step_us is not None:
        check_number("step_us", step_us, above=0)
    array = over_time(spikes, "spikes")
    with style.drawing(0.65) as figure:
        axes = figure.add_subplot()
        draw_raster(axes, array, style, step_us=step_us)
        note(axes, style, count_of(int(np.count_nonzero(array)), "spike"))
        axes.set_xlabel("time step" if step_us is None else "time (ms)")
        if (array < 0).any():
            legend_above(axes)
    return figure


def draw_raster(
    axes: Axes,
    spikes: NDArray[Any],
    style: Style,
    *,
    step_us: float | None = None,
    behind: float = 0.0,
) -> None:
    """Draw the spikes (T, neurons) into axes; step k is drawn at step k + `behind`."""
    steps, neurons = spikes.shape
    scale = 1.0 if step_us is None else step_us * 1e-3
    axes.set(
        ylabel="neuron", xlim=(-0.5 * scale, max(0.5, steps - 0.5) * scale),
        ylim=(max(1, neurons) - 0.5, -0.5),
    )  # fmt: skip
    whole_ticks(axes.yaxis, 5)
    if step_us is None:
        whole_ticks(axes.xaxis, 6)
    signed = bool((spikes < 0).any())
    theme = style.theme
    if not spikes.any():
        say_none(axes, style, "no spikes", scales="")
        return
    for name, chosen, color in (
        ("+1", spikes > 0, theme.on if signed else theme.text),
        ("−1", spikes < 0, theme.off),
    ):
        at, rows = np.nonzero(chosen)
        if not len(at) and not signed:
            continue
        axes.vlines(
            (at + behind) * scale, rows - 0.42, rows + 0.42, color=color, label=name,
            linewidth=_width_pt(style, steps), rasterized=len(at) > VECTORS,
        )  # fmt: skip


def _width_pt(style: Style, steps: int) -> float:
    # Three fifths of a step, but always wide enough for print.
    return float(np.clip(0.6 * 2.0 * style.width_mm / max(1, steps), 0.35, 1.5))


class Layer(Protocol):
    """A layer of neurons, such as those of `dvskit.neurons`."""

    @property
    def dynamics(self) -> Any:
        """The parameters of the neurons: beta, rest, threshold_off, and whether they spike."""

    def trace(self, x: Any) -> Any:
        """Return spikes, h, v and threshold at each step of currents (T, ...), from rest."""


class Steps(NamedTuple):
    """The times of steps: step k covers [start_us + k step_us, ... + step_us).

    `membrane` takes them, to show time in milliseconds.

        steps = dvskit.render.plots.Steps(start_us=0, step_us=1000)
        layer, current = dvskit.neurons.LIF(beta=0.9), torch.full((100, 1), 0.15)
        figure = dvskit.render.plots.membrane(layer, current, steps=steps)
    """

    start_us: int
    step_us: float


class _Course(NamedTuple):
    """One neuron over time: arrays (T,), and its parameters.

    h, v       potential before the reset and after it
    threshold  of upward spikes, and off of downward ones; not finite without spikes
    """

    current: NDArray[Any]
    h: NDArray[Any]
    v: NDArray[Any]
    threshold: NDArray[Any]
    spikes: NDArray[Any]
    beta: float
    rest: float
    off: float


def membrane(
    layer: Layer,
    current: Any,
    *,
    neuron: int = 0,
    inputs: Any = None,
    steps: Steps | None = None,
    style: Style = PAPER,
) -> Plot:
    """Plot the potential of one neuron of a layer with its input above and its spikes below.

    layer    of any neurons (`dvskit.neurons.Neurons`)
    current  (T, ...): the input of the layer; neurons are numbered over the dimensions after time
    inputs   the origin of the currents, drawn as a raster instead of them: spikes (T, ...), or
             Events, one row per pixel, at their own times, such as `causes` of
             `dvskit.evaluation.observe`
    steps    the times of the steps; then time is in milliseconds, and a step's potential and spikes
             are at its end, after the events that it covers

    The potential is shown up to the spike decision and then reset, in the same step; an adaptive
    threshold is that of each step. The feedback of recurrent neurons is in the potential, not in
    the current. Raises ShapeError for an invalid neuron, and inputs of another length; ConfigError
    for Events without steps, and steps of no length.

        layer = dvskit.neurons.LIF(beta=0.9)
        current = 0.3 * torch.rand(100, 5)  # 100 steps of 5 neurons
        figure = dvskit.render.plots.membrane(layer, current, neuron=2)
        dvskit.render.plots.save(figure, "membrane.pdf")
    """
    if steps is None and isinstance(inputs, Events):
        raise ConfigError("events have times: pass steps=Steps(start_us, step_us) with them")
    if steps is not None:
        check_number("step_us", steps.step_us, above=0)
    course = _course(layer, current, neuron)
    count = len(course.current)
    # Without times a step is at its number; with them, at its end.
    at = np.arange(count) if steps is None else (np.arange(count) + 1) * _ms(steps)
    timed = {} if steps is None else {"step_us": steps.step_us, "behind": 1.0}
    with style.drawing(0.85, least_mm=_LEAST_MM) as figure:
        top, middle, low = figure.subplots(3, 1, sharex=True, height_ratios=(1, 1.6, 0.35))
        if isinstance(inputs, Events) and steps is not None:
            _draw_events(top, inputs, steps, style)
        elif inputs is None:
            _draw_current(top, at, course.current, style)
        else:
            before = over_time(inputs, "inputs")
            if len(before) != count:
                raise ShapeError(f"inputs of {len(before)} steps beside {count} of currents")
            draw_raster(top, before, style, **timed)
            top.set_ylabel("input")
        if steps is None:
            _draw_potential(middle, at, course, style)
        else:
            _draw_potential(middle, np.append(0.0, at), _from_rest(course), style)
        draw_raster(low, course.spikes[:, None], style, **timed)
        low.set(
            ylabel="output", xlabel="time step" if steps is None else "time (ms)", yticks=[],
            ylim=(-0.5, 0.5),
        )  # fmt: skip
        if steps is not None:
            low.set_xlim(0, (count + 0.5) * _ms(steps))
        for axes in (top, middle):
            axes.tick_params(labelbottom=False)
        note(top, style, f"neuron {neuron}", f"β = {scientific_text(course.beta, 6)}")
        figure.align_ylabels()
    return figure


def _course(layer: Layer, current: Any, neuron: int) -> _Course:
    """Run a layer over currents (T, ...), from rest, and return the course of one neuron."""
    given = over_time(current, "currents")
    if not -given.shape[1] <= neuron < given.shape[1]:
        raise ShapeError(f"neuron {neuron} is not one of the layer's {given.shape[1]}")
    traced, dynamics = layer.trace(current), layer.dynamics

    def of_neuron(value: Any) -> float:
        """Return a number, or the neuron's own from a tensor that broadcasts against a step."""
        each = np.broadcast_to(as_array(value), current.shape[1:])
        return float(each.reshape(-1)[neuron])

    spikes = over_time(traced.spikes, "spikes")[:, neuron]
    return _Course(
        current=given[:, neuron],
        h=over_time(traced.h, "potentials")[:, neuron],
        v=over_time(traced.v, "potentials")[:, neuron],
        threshold=as_array(traced.threshold).reshape(given.shape)[:, neuron],
        spikes=spikes if dynamics.spikes else np.zeros_like(spikes),
        beta=of_neuron(dynamics.beta),
        rest=0.0 if dynamics.rest is None else of_neuron(dynamics.rest),
        off=of_neuron(dynamics.threshold_off),
    )


def _from_rest(course: _Course) -> _Course:
    return course._replace(
        h=np.append(course.rest, course.h),
        v=np.append(course.rest, course.v),
        threshold=np.append(course.threshold[:1], course.threshold),
    )


def _ms(steps: Steps) -> float:
    return steps.step_us * 1e-3


def _draw_events(axes: Axes, events: Events, steps: Steps, style: Style) -> None:
    """Draw a row for each pixel that has events, with a mark for each at its own time."""
    pixels, rows = np.unique(
        events.y * np.int64(events.sensor_size.width) + events.x, return_inverse=True
    )
    at = (events.t - steps.start_us) * 1e-3
    half = max(0.42, 0.004 * len(pixels))  # a mark is always large enough for print
    for chosen, color in ((events.p, style.theme.on), (~events.p, style.theme.off)):
        axes.vlines(
            at[chosen], rows[chosen] - half, rows[chosen] + half, color=color, linewidth=0.6,
            rasterized=len(at) > VECTORS,
        )  # fmt: skip
    axes.set(ylabel="pixel", ylim=(max(1, len(pixels)) - 0.5, -0.5))
    whole_ticks(axes.yaxis, 3)
    if not len(events):
        say_none(axes, style, scales="y")


def _draw_current(axes: Axes, at: NDArray[Any], current: NDArray[Any], style: Style) -> None:
    for chosen, color in ((current >= 0, style.theme.on), (current < 0, style.theme.off)):
        axes.vlines(at[chosen], 0, current[chosen], color=color, linewidth=0.9)
    axes.axhline(0, color=style.theme.line, linewidth=0.5)
    axes.set_ylabel("current")
    axes.margins(y=0.08)


def _draw_potential(axes: Axes, at: NDArray[Any], course: _Course, style: Style) -> None:
    twice = np.repeat(at, 2)  # at the spike decision, and after the reset
    axes.plot(twice, np.column_stack((course.h, course.v)).ravel(), color=style.theme.text, lw=0.8)
    for levels, color, name in (
        (course.threshold, style.theme.on, "threshold"),
        (np.array([-course.off]), style.theme.off, "OFF threshold"),
    ):
        look: dict[str, Any] = {"color": color, "linewidth": 0.7, "linestyle": (0, (4, 2))}
        if not len(levels) or not np.isfinite(levels).all():
            continue
        if (levels == levels[0]).all():
            axes.axhline(levels[0], label=name, **look)
        else:  # it changes after a spike: a step's value holds from the previous step up to it
            axes.plot(at, levels, drawstyle="steps-pre", label=name, **look)
    axes.set_ylabel("potential")
    axes.margins(y=0.08)
    grid_lines(axes, style)
    if axes.get_legend_handles_labels()[1]:
        legend_above(axes)
