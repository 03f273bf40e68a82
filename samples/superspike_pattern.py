"""SuperSpike: two layers learn to fire a pattern of spikes, from frozen Poisson noise.

    python samples/superspike_pattern.py                  # a table, and superspike_pattern.png
    python samples/superspike_pattern.py --feedback random
    python samples/superspike_pattern.py --rule bptt      # the same with another rule

The task follows Zenke & Ganguli 2018: the inputs are the same Poisson spikes at each presentation,
and the target is written in spikes. A time step is 1 ms.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from dvskit.learning import (
    BPTT,
    DoubleExponential,
    RMSMax,
    Rule,
    SpikeResponseNetwork,
    SuperSpike,
    VanRossum,
    predict,
    teach,
)

INPUTS, HIDDEN, OUTPUTS = 200, 64, 24
INPUT_RATE = 0.02  # spikes a step
CYCLES = 1.5  # of the curve that the target's spikes follow


def task(steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return input spikes (T, 1, INPUTS) and target spikes (T, 1, OUTPUTS).

    The target is a sine in time and neurons: each output neuron fires where the curve passes it.
    """
    drawn = torch.Generator().manual_seed(seed)
    inputs = (torch.rand(steps, 1, INPUTS, generator=drawn) < INPUT_RATE).float()
    target = torch.zeros(steps, 1, OUTPUTS)
    for t in range(steps // 10, steps, 5):
        height = 0.5 + 0.48 * np.sin(2 * np.pi * CYCLES * t / steps)
        target[t, 0, int(height * OUTPUTS)] = 1
    return inputs, target


def learn(
    rule: Rule, x: Tensor, target: Tensor, iterations: int, learning_rate: float
) -> list[float]:
    """Return the van Rossum distance of each presentation."""
    optimizer = RMSMax(rule.parameters(), learning_rate)  # type: ignore[attr-defined]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    losses = []
    print(f"{'presentation':>12} {'van Rossum distance':>20} {'of the first':>12} {'seconds':>8}")
    start = time.perf_counter()
    for number in range(iterations):
        _, state = teach(rule, x, target)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(float(state.loss))
        if (number + 1) % max(1, iterations // 10) == 0 or number == 0:
            share, spent = losses[-1] / losses[0], time.perf_counter() - start
            print(f"{number + 1:>12} {losses[-1]:>20.3f} {share:>12.3f} {spent:>8.1f}")
    return losses


def raster(axes: Axes, spikes: Tensor, target: Tensor, title: str) -> None:
    """Draw spikes (T, 1, N) over those of the target."""
    for shown, color, size in ((target, "#d55e00", 60), (spikes, "black", 14)):
        t, _, neuron = np.nonzero(shown.numpy())
        axes.scatter(t, neuron, s=size, color=color, marker="|", linewidths=1.4)
    axes.set(title=title, xlim=(0, len(target)), ylim=(-1, OUTPUTS), ylabel="output neuron")


def draw(x: Tensor, target: Tensor, before: Tensor, after: Tensor, losses: list[float]) -> Figure:
    """Return the figure: inputs, outputs before and after over the target, the distance."""
    figure = Figure(figsize=(8, 9), dpi=110, layout="constrained")
    inputs, first, last, curve = figure.subplots(4, 1, height_ratios=(2, 3, 3, 2))
    t, _, neuron = np.nonzero(x.numpy())
    inputs.scatter(t, neuron, s=4, color="#9a9daa", marker="|")
    inputs.set(title="frozen Poisson inputs", xlim=(0, len(x)), ylabel="input")
    raster(first, before, target, "before: spikes (black) and target (orange)")
    raster(last, after, target, "after")
    last.set(xlabel="time step (ms)")
    curve.semilogy(range(1, len(losses) + 1), losses, color="#0072b2")
    curve.set(xlabel="presentation", ylabel="van Rossum distance")
    return figure


def main(arguments: Sequence[str] | None = None) -> list[float]:
    """Learn the pattern, print the table and write the figure; return the distances."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("superspike_pattern.png"))
    parser.add_argument("--rule", choices=("superspike", "bptt"), default="superspike")
    choices = ("symmetric", "random", "uniform")
    parser.add_argument("--feedback", choices=choices, default="symmetric")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--steps", type=int, default=250, help="of 1 ms")
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    x, target = task(args.steps, args.seed)
    network = SpikeResponseNetwork((INPUTS, HIDDEN, OUTPUTS), gain=2.0, generator=args.seed)
    loss = VanRossum(DoubleExponential(5.0, 10.0))
    rule: Rule = BPTT(network, loss)
    if args.rule == "superspike":
        rule = SuperSpike(network, loss, feedback=args.feedback, generator=args.seed + 1)
    before = predict(network, x)
    losses = learn(rule, x, target, args.iterations, args.learning_rate)
    after = predict(network, x)
    print(f"distance {losses[0]:.2f} -> {losses[-1]:.2f}: {losses[0] / losses[-1]:.1f} times "
          f"smaller; {int(after.sum())} spikes, {int(target.sum())} of the target")  # fmt: skip
    figure = draw(x, target, before, after, losses)
    FigureCanvasAgg(figure).print_png(args.out)  # type: ignore[no-untyped-call]
    return losses


if __name__ == "__main__":
    main()
