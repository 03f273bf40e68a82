"""The figures of `article.py`, a function each: what they show is computed by dvskit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from make_emulator_figure import frame_of, picture_of, scene
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import stats
from spikeprop_neuron import CLASS_MS, one_neuron
from torch import Tensor

import dvskit
from dvskit import encoders
from dvskit.datasets import read_images
from dvskit.layers import Membrane
from dvskit.learning import Window
from dvskit.models import load_model
from dvskit.neurons import LIF
from dvskit.render import CloudView, cloud_image
from dvskit.scenes import PersonScene

INK, LINE, ON, OFF = "#1b1d26", "#9a9daa", "#d55e00", "#0072b2"
DPI, WIDTH_IN = 160, 7.2
STEP_MS = 0.5  # with it both decays of the article, 1/200 and 1/400 a step, do what it says
INPUTS_MS = (75, 125, 200, 270, 350, 460, 600, 635, 750)
NEURONS = ((200, 0.5), (400, 0.35), (400, 0.5))  # steps of the decay, weight
SQUARE = torch.tensor([[255.0, 207.0], [120.0, 45.0]])


def potentials(current: Tensor, beta: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return a neuron's potential ahead of each reset and its spikes, for currents (T,)."""
    traced = LIF(beta, threshold=1.0, reset="hard").trace(current.to(torch.float64))
    return traced.h.numpy(), traced.spikes.numpy() > 0


def figure(rows: int, columns: int, high_in: float, **options: object) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes, row by row."""
    made = Figure(figsize=(WIDTH_IN, high_in), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(made)
    grid = made.subplots(rows, columns, squeeze=False, **options)  # type: ignore[arg-type]
    axes = list(grid.ravel())
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.tick_params(labelsize=8, color=LINE)
    return made, axes


def one_input() -> Figure:
    """An input of 0.8 to a membrane at rest: the steps of the neuron on the RC circuit's curve."""
    tau_ms = 20.0
    current = torch.zeros(100)
    current[10] = 0.8
    decided, fired = potentials(current, float(np.exp(-1 / tau_ms)))
    made, (axes,) = figure(1, 1, 2.6)
    at = np.arange(100)
    fine = np.linspace(10, 99, 500)
    curve = 0.8 * np.exp(-(fine - 10) / tau_ms)
    axes.plot(fine, curve, color=LINE, lw=3, label="RC circuit, 0.8 exp(−t/τ)")
    axes.plot(at, decided, ".", color=INK, ms=3, label="LIF neuron, a step a millisecond")
    axes.axhline(1, color=ON, ls="--", lw=0.9, label="threshold")
    axes.set(xlabel="time (ms)", ylabel="potential", ylim=(-0.05, 1.1))
    axes.legend(fontsize=8, frameon=False, loc="center right")
    assert not fired.any()
    return made


def three_neurons() -> Figure:
    """The same input spikes to three neurons."""
    current = torch.zeros(round(900 / STEP_MS))
    current[[round(at / STEP_MS) for at in INPUTS_MS]] = 1.0
    made, axes = figure(4, 1, 5.0, sharex=True, height_ratios=(0.4, 1, 1, 1))
    at = np.arange(len(current)) * STEP_MS
    axes[0].vlines(INPUTS_MS, 0, 1, color=INK, lw=1.4)
    axes[0].set(yticks=[], ylabel="input")
    for panel, (steps, weight) in zip(axes[1:], NEURONS, strict=True):
        decided, fired = potentials(weight * current, float(np.exp(-1 / steps)))
        panel.plot(at, decided, color=INK, lw=1)
        panel.axhline(1, color=ON, ls="--", lw=0.8)
        panel.plot(at[fired], np.full(fired.sum(), 1.25), "v", color=ON, ms=6)
        said = " and ".join(f"at {time:g} ms" for time in at[fired]) or "never"
        panel.set(ylabel="potential", ylim=(-0.05, 1.4), yticks=(0, 0.5, 1))
        panel.set_title(f"decay 1/{steps} a step, weight {weight:g}: fires {said}", fontsize=8.5)
    axes[-1].set_xlabel("time (ms)")
    return made


def poisson_counts() -> Figure:
    """Spikes of Poisson encoding against r, their spread at r = 0.125, and the mean over time."""
    steps = 1000
    made, axes = figure(1, 3, 2.6)
    r = torch.arange(0, 257, 8) / 256
    counts = encoders.poisson(r, steps, generator=1).sum(0).numpy()
    mean, sigma = r.numpy() * steps, np.sqrt(r.numpy() * (1 - r.numpy()) * steps)
    axes[0].fill_between(r, mean - 2 * sigma, mean + 2 * sigma, color="#e3e4ea")
    axes[0].plot(r, counts, ".", color=INK, ms=4)
    axes[0].set(xlabel="r", ylabel="spikes in T = 1 s, dt = 1 ms")
    drawn = encoders.poisson(torch.full((20_000,), 0.125), steps, generator=2).sum(0).numpy()
    k = np.arange(85, 166)
    axes[1].hist(drawn, bins=k - 0.5, density=True, color="#cfd1da", label="20,000 pixels")
    axes[1].plot(k, stats.binom.pmf(k, steps, 0.125), color=INK, lw=1.2, label="binomial")
    axes[1].plot(k, stats.poisson.pmf(k, 125), color=OFF, lw=1.2, ls="--", label="Poisson")
    axes[1].set(
        xlabel="spikes at r = 32/256", ylabel="share", yticks=[], ylim=(0, 0.06), xlim=(60, 166)
    )
    axes[1].legend(fontsize=7, frameon=False, loc="upper left", handlelength=1.2)
    train = encoders.poisson(torch.full((3,), 0.125), steps, generator=4).numpy()
    number = np.arange(1, steps + 1)
    axes[2].plot(number, train.cumsum(0) / number[:, None], color=INK, lw=0.8)
    axes[2].axhline(0.125, color=ON, ls="--", lw=0.9)
    axes[2].set(xlabel="num_steps", ylabel="spikes / num_steps", ylim=(0, 0.3))
    return made


def square_encoded() -> Figure:
    """A 2x2 image by a rate code and by a temporal one: 50 steps of 0.02 ms."""
    values = SQUARE / 255
    rate = encoders.poisson(values, 50, generator=3).flatten(1).numpy()
    first = encoders.latency(values, 50).flatten(1).numpy()
    made, axes = figure(1, 3, 2.4, width_ratios=(0.7, 1, 1))
    axes[0].imshow(255 - SQUARE.numpy(), cmap="gray", vmin=0, vmax=255)
    for (row, column), value in np.ndenumerate(SQUARE.numpy()):
        ink = "white" if value > 127 else "black"
        axes[0].text(column, row, f"{value:g}", color=ink, ha="center", va="center", fontsize=11)
    axes[0].set(xticks=[], yticks=[], title="the image")
    for panel, spikes, name in ((axes[1], rate, "Poisson"), (axes[2], first, "latency")):
        steps, pixels = spikes.nonzero()
        panel.vlines(steps * 0.02, pixels - 0.38, pixels + 0.38, color=INK, lw=1.3)
        panel.set(title=name, xlabel="time (ms)", xlim=(-0.02, 1.02), ylim=(3.6, -0.6))
        panel.set_yticks(range(4), [f"{value:g}" for value in SQUARE.flatten()])
    for panel in axes:
        panel.title.set_fontsize(9)
    return made


def window_of_stdp() -> Figure:
    """How much a weight changes for each time between a spike in and a spike out."""
    made, (axes,) = figure(1, 1, 2.6)
    for sign in (-1, 1):
        apart = sign * torch.linspace(0.1, 100, 400, dtype=torch.float64)
        axes.plot(apart, Window()(apart), color=ON if sign > 0 else OFF, lw=1.6)
    axes.axhline(0, color=LINE, lw=0.6)
    axes.axvline(0, color=LINE, lw=0.6)
    axes.set(xlabel="spike out − spike in (ms)", ylabel="change of the weight")
    axes.text(30, 0.006, "in before out:\nstronger", color=ON, fontsize=9)
    axes.text(-75, -0.008, "in after out:\nweaker", color=OFF, fontsize=9)
    return made


def two_classes() -> Figure:
    """When a neuron spikes that SpikeProp taught to tell two classes apart, and its error."""
    course, labels, new_times, new_labels = one_neuron(300)
    made, axes = figure(1, 2, 2.8, width_ratios=(1.6, 1))
    edges = np.arange(36, 82, 0.5)
    for label, color in enumerate((ON, OFF)):
        before, after = course.before[labels == label], new_times[new_labels == label]
        name = f"class {label + 1}"
        axes[0].hist(before.numpy().ravel(), edges, color=color, alpha=0.3, label=f"{name} before")
        axes[0].hist(after.numpy().ravel(), edges, color=color, label=f"{name}, new inputs, after")
        axes[0].axvline(CLASS_MS[label], color=INK, lw=0.8, ls=":")
    axes[0].set(xlabel="time of the neuron’s spike (ms)", ylabel="inputs")
    axes[0].legend(fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    axes[1].semilogy(course.errors, color=INK, lw=1)
    axes[1].set(xlabel="step of training", ylabel="E, half the squared error (ms²)")
    return made


def event_cloud() -> Figure:
    """All events of a gesture in space and time, early ones yellow, late ones purple."""
    clip = PersonScene.random("hand_clap", 5, size=(240, 180), duration_us=1_000_000)
    events = dvskit.emulate(clip, dvskit.EmulatorParams.preset("clean")).load()
    view = CloudView(dark=False, azimuth_deg=42, elevation_deg=18)
    made, (axes,) = figure(1, 1, 5.0)
    picture = cloud_image(events, view=view, width_px=round(WIDTH_IN * DPI), height_px=5 * DPI)
    axes.imshow(picture, interpolation="none")
    axes.set_axis_off()
    return made


def camera_beside() -> Figure:
    """One frame of a camera, and the events that an event camera saw about its time."""
    frames = list(scene())
    events = dvskit.emulate(frames, dvskit.EmulatorParams(threshold_on=0.15, threshold_off=0.15))
    seen = events.load()
    at_us, frame = frame_of(frames, seen, None, 10_000)
    made, axes = figure(1, 2, 2.9)
    axes[0].imshow(frame, cmap="gray", vmin=0, vmax=65535)
    axes[1].imshow(picture_of(seen.between(at_us - 5000, at_us + 5000)), interpolation="nearest")
    axes[0].set_title("standard camera: one frame", fontsize=9)
    axes[1].set_title("event camera: 10 ms, ON orange, OFF blue", fontsize=9)
    for panel in axes:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(True)
    return made


def digit(mnist: Path | None) -> Tensor:
    """Return a digit (28, 28) in [0, 1]: the first of MNIST's test part, or a drawn seven."""
    if mnist is not None:
        return torch.tensor(read_images(mnist, "t10k").pixels[0]) / 255
    picture = Image.new("L", (28, 28))
    font = ImageFont.load_default(size=24)
    ImageDraw.Draw(picture).text((14, 14), "7", fill=255, font=font, anchor="mm")
    return torch.from_numpy(np.asarray(picture, np.float32) / 255)


def network_spikes(mnist: Path | None) -> Figure:
    """A digit through the article's network: what its neurons fire, what its outputs hold."""
    image, module = digit(mnist), load_model("article-mnist").module
    layers = list(module.children())
    *before, outputs = layers[: 1 + max(k for k, x in enumerate(layers) if isinstance(x, Membrane))]
    flow, hidden = image.expand(25, 1, 1, 28, 28), torch.empty(0)
    with torch.inference_mode():
        for layer in before:
            flow = layer(flow)
            hidden = flow if isinstance(layer, LIF) else hidden
        held = outputs(flow)[:, 0].numpy()
        fired = outputs.neurons(flow)[:, 0].numpy()  # type: ignore[union-attr,operator]
    answer = int(held.mean(0).argmax())
    made, axes = figure(1, 4, 2.7, width_ratios=(0.8, 1.2, 0.9, 1.2))
    axes[0].imshow(image.numpy(), cmap="gray")
    axes[0].set(xticks=[], yticks=[], title="the digit")
    steps, neurons = hidden[:, 0].numpy().nonzero()
    axes[1].plot(steps, neurons, ".", color=INK, ms=0.8)
    axes[1].set(title=f"{hidden.shape[2]:,} hidden: spikes", xlabel="step", ylim=(1000, 0))
    steps, neurons = fired.nonzero()
    inks = np.where(neurons == answer, ON, INK)
    axes[2].vlines(steps, neurons - 0.38, neurons + 0.38, color=inks, lw=1.4)
    axes[2].set(title="10 outputs: spikes", xlabel="step", yticks=range(10), ylim=(9.6, -0.6))
    for number, trace in enumerate(held.T):
        chosen = number == answer
        axes[3].plot(trace, color=ON if chosen else LINE, lw=1.6 if chosen else 0.8, zorder=chosen)
    axes[3].set(title=f"their potentials: it is a {answer}", xlabel="step")
    axes[2].set_xlim(axes[1].get_xlim())
    for panel in axes:
        panel.title.set_fontsize(8.5)
    return made
