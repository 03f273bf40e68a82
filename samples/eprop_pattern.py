"""e-prop: a recurrent network learns to draw a curve, from a frozen pattern of input spikes.

    python samples/eprop_pattern.py                       # a table, and eprop_pattern.png
    python samples/eprop_pattern.py --rule bptt           # the same with another rule
    python samples/eprop_pattern.py --feedback random

The task is the pattern generation of Bellec et al. 2020: the target is a sum of four sines. The
gradients come online; the optimizer steps after each presentation.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from dvskit.learning import (
    BPTT,
    EProp,
    FiringRate,
    RecurrentNetwork,
    RecurrentNeurons,
    Rule,
    squared_error,
    teach,
)

INPUTS, INPUT_RATE = 20, 0.05  # spikes a step
CYCLES = (1, 2, 3, 5)  # of the sines, in the whole time
FIRST, LAST, CURVE = "#9a9daa", "#0072b2", "#d55e00"


class Shown(NamedTuple):
    """One presentation: the output (T,), the spikes (T, N)."""

    output: Tensor
    spikes: Tensor


def task(steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return input spikes (T, 1, INPUTS) and the curve (T, 1, 1), of amplitude about 1."""
    drawn = torch.Generator().manual_seed(seed)
    spikes = (torch.rand(steps, 1, INPUTS, generator=drawn) < INPUT_RATE).float()
    t = torch.arange(steps) / steps
    amplitude, phase = torch.rand(2, len(CYCLES), 1, generator=drawn) * 1.5 + 0.5
    waves = torch.sin(2 * torch.pi * (torch.tensor(CYCLES)[:, None] * t + phase))
    curve = (amplitude * waves).sum(0)
    return spikes, (curve / curve.abs().max())[:, None, None]


def network(seed: int, steps_ms: float = 1.0) -> RecurrentNetwork:
    """Return 60 LIF and 40 ALIF neurons: membranes of 20 ms, adaptation of 200 ms."""
    neurons = RecurrentNeurons(
        beta=float(np.exp(-steps_ms / 20)), rho=float(np.exp(-steps_ms / 200)), adaptation=0.1,
        readout=float(np.exp(-steps_ms / 20)),
    )  # fmt: skip
    made = RecurrentNetwork(INPUTS, 1, lif=60, alif=40, neurons=neurons, generator=seed)
    with torch.no_grad():
        made.w_out.mul_(0.1)
    return made


def present(net: RecurrentNetwork, x: Tensor) -> Shown:
    """Return what the network gives for x, without learning."""
    state, outputs, spikes = None, [], []
    with torch.no_grad():
        for x_t in x:
            output, state = net.step(x_t, state)
            outputs.append(output[0, 0])
            spikes.append(state.s[0])
    return Shown(torch.stack(outputs), torch.stack(spikes))


def rule_for(name: str, net: RecurrentNetwork, feedback: str, seed: int) -> Rule:
    """Return the rule of that name."""
    if name == "bptt":
        return BPTT(net, squared_error)
    return EProp(net, squared_error, feedback=feedback, rate=FiringRate(10.0, 0.05), generator=seed)  # type: ignore[arg-type]


def learn(
    rule: Rule, x: Tensor, curve: Tensor, iterations: int, learning_rate: float
) -> list[float]:
    """Return the mean squared error of each presentation."""
    parameters = [each for each in rule.parameters() if each.requires_grad]  # type: ignore[attr-defined]
    optimizer = torch.optim.Adam(parameters, learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    errors = []
    print(f"{'iteration':>9} {'mean squared error':>19} {'of the first':>12} {'seconds':>8}")
    start = time.perf_counter()
    for number in range(iterations):
        _, state = teach(rule, x, curve)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        errors.append(2 * float(state.loss) / len(x))
        if (number + 1) % max(1, iterations // 10) == 0 or number == 0:
            share, spent = errors[-1] / errors[0], time.perf_counter() - start
            print(f"{number + 1:>9} {errors[-1]:>19.5f} {share:>12.3f} {spent:>8.1f}")
    return errors


def draw(curve: Tensor, before: Shown, after: Shown, errors: Sequence[float], title: str) -> Figure:
    """Return the figure: the curve before and after, the spikes after, the error."""
    figure = Figure(figsize=(8, 7), dpi=110, layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, height_ratios=(3, 3, 2))
    top.plot(curve[:, 0, 0], color=CURVE, lw=2.5, label="target")
    top.plot(before.output, color=FIRST, lw=1, label="output before")
    top.plot(after.output, color=LAST, lw=1.2, label="output after")
    top.set(title=title, ylabel="readout", xlim=(0, len(curve)))
    top.set_ylim(-1.2, 1.5)
    top.legend(loc="upper right", ncols=3, frameon=False, fontsize=8)
    t, neuron = np.nonzero(after.spikes.numpy())
    middle.scatter(t, neuron, s=9, color="black", marker="|", linewidths=0.9)
    middle.set(ylabel="neuron", xlabel="time step", xlim=(0, len(curve)))
    bottom.semilogy(range(1, len(errors) + 1), errors, color=LAST)
    bottom.set(xlabel="presentation", ylabel="mean squared error")
    return figure


def main(arguments: Sequence[str] | None = None) -> list[float]:
    """Learn the curve, print the table and write the figure; return the errors."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("eprop_pattern.png"))
    parser.add_argument("--rule", choices=("eprop", "bptt"), default="eprop")
    choices = ("symmetric", "random", "adaptive")
    parser.add_argument("--feedback", choices=choices, default="symmetric")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--steps", type=int, default=250, help="time steps of the curve")
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    x, curve = task(args.steps, args.seed)
    net = network(args.seed)
    before = present(net, x)
    rule = rule_for(args.rule, net, args.feedback, args.seed + 1)
    errors = learn(rule, x, curve, args.iterations, args.learning_rate)
    after = present(net, x)
    rate = float(after.spikes.mean())
    print(f"error {errors[0]:.4f} -> {errors[-1]:.5f}: {errors[0] / errors[-1]:.0f} times smaller; "
          f"{rate:.3f} spikes a neuron and step")  # fmt: skip
    title = f"{args.rule}: {net.lif} LIF and {net.alif} ALIF neurons draw a curve"
    figure = draw(curve, before, after, errors, title)
    FigureCanvasAgg(figure).print_png(args.out)  # type: ignore[no-untyped-call]
    return errors


if __name__ == "__main__":
    main()
