"""BPTT, e-prop and DECOLLE learn digits from 700 recordings of N-MNIST: one table, one figure.

    python samples/learning_nmnist.py NMNIST-FOLDER       # <digit>/<recording>.bin

Each rule sees the same split, chosen by the seed: 420 recordings to train on, 80 to choose the
epoch by, and 200 that are judged once, with the chosen epoch. Recordings are binned and pooled to
17x17 pixels, and varied in training. Two networks:

    recurrent     RecurrentNetwork, 100 LIF and 50 ALIF neurons: BPTT and e-prop
    convolutions  DecolleNetwork, two layers of P, Q, R neurons: BPTT and DECOLLE

The online rules change the weights within each recording, whole BPTT after it. Numbers of updates,
batches and learning rates were chosen on the validation part, for e-prop and DECOLLE with more care
than for BPTT. With seed 1, right of 200 tested and the 95 % interval, in %:

    BPTT, recurrent     88.5 (83.4 to 92.2)    BPTT, convolutions     89.0 (83.9 to 92.6)
    e-prop, recurrent   87.0 (81.6 to 91.0)    DECOLLE, convolutions  91.5 (86.8 to 94.6)

These are few recordings: the rules differ by no more than chance does.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from dvskit.datasets import Batches, open_samples, split_by_share
from dvskit.filters import Vary
from dvskit.learning import (
    BPTT,
    DECOLLE,
    DecolleLayer,
    DecolleNetwork,
    DecolleNeurons,
    EProp,
    RecurrentNetwork,
    RecurrentNeurons,
    Rule,
    cross_entropy,
    predict,
)
from dvskit.models.scores import wilson
from dvskit.neurons import ATan
from dvskit.tensors import Counts

SIDE, POOL, CLASSES, WINDOW_US = 34, 2, 10, 310_000
VARY = Vary(shift_px=2.0, rotate_deg=8.0, zoom=0.08, time_scale=0.05, drop=0.2)
COLORS = ("#9a9daa", "#0072b2", "#5d5f6b", "#d55e00")


@dataclass(frozen=True)
class Plan:
    """How a network is taught.

    every  time steps after which the weights change; 0: after the last one
    skip   time steps at the start of a recording without a loss, while neurons fill up
    """

    name: str
    network: str
    rule: str
    every: int
    skip: int = 0
    learning_rate: float = 2e-3
    batch: int = 25
    epochs: int = 15


PLANS = (
    Plan("BPTT, recurrent", "recurrent", "bptt", every=0, learning_rate=3e-3),
    Plan("e-prop, recurrent", "recurrent", "eprop", every=4, learning_rate=3e-3),
    Plan(
        "BPTT, convolutions",
        "convolutions",
        "bptt",
        every=0,
        skip=4,
        learning_rate=3e-3,
        batch=10,
    ),
    Plan("DECOLLE, convolutions", "convolutions", "decolle", every=1, skip=4, batch=40),
)


class Result(NamedTuple):
    """What came of a plan; shares of recordings told right, and seconds of training."""

    plan: Plan
    parameters: int
    validation: list[float]
    chosen: int
    tested: float
    judged: int
    seconds: float

    @property
    def interval_95(self) -> tuple[float, float]:
        """The 95 % interval of the tested share."""
        return wilson(round(self.tested * self.judged), self.judged)


class Parts(NamedTuple):
    """Batches to train on (varied, shuffled), to choose the epoch by, and to judge."""

    train: Batches
    validation: Batches
    test: Batches


def open_parts(folder: Path, bins: int, batch: int, seed: int) -> Parts:
    """Return the three parts of the recordings: 420, 80 and 200 of 700."""
    samples = open_samples(folder, size=(SIDE, SIDE))
    split = split_by_share(samples, validation=80 / 700, test=200 / 700, seed=seed)
    counts = Counts(bins=bins, bin_us=WINDOW_US // bins, outside="ignore", dtype=torch.float32)
    size = (SIDE, SIDE)
    return Parts(
        Batches(split.train, counts, size=size, batch_size=batch, vary=VARY, seed=seed),
        Batches(split.validation, counts, size=size, batch_size=100, shuffle=False),
        Batches(split.test, counts, size=size, batch_size=100, shuffle=False),
    )


def pooled(batches: Batches, epoch: int, *, flat: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield counts (T, B, 2, 17, 17), or (T, B, 578), and labels (B,)."""
    for counts, labels in batches.epoch(epoch):
        x = functional.avg_pool2d(counts.flatten(0, 1), POOL) * POOL**2
        x = x.reshape(*counts.shape[:3], *x.shape[2:])  # (T*B, ...) -> (T, B, ...)
        yield (x.flatten(2) if flat else x), labels


def network_for(plan: Plan, seed: int) -> RecurrentNetwork | DecolleNetwork:
    """Return the network of a plan, with weights drawn from the seed."""
    side = SIDE // POOL
    if plan.network == "recurrent":
        neurons = RecurrentNeurons(beta=0.9, readout=0.9, rho=0.97, surrogate=ATan(1.0))
        return RecurrentNetwork(
            2 * side * side, CLASSES, lif=100, alif=50, neurons=neurons, generator=seed
        )
    torch.manual_seed(seed)
    own = DecolleNeurons(alpha=0.8, beta=0.7)
    layers = [
        DecolleLayer(nn.Conv2d(2, 16, 5, padding=2), pool=2, neurons=own),
        DecolleLayer(nn.Conv2d(16, 32, 5, padding=2), pool=2, neurons=own),
    ]
    return DecolleNetwork(layers, CLASSES, (2, side, side), gain=10.0, generator=seed)


def rule_for(plan: Plan, network: Any) -> Rule:
    """Return the rule of a plan: all are called alike."""
    rules: dict[str, Any] = {"bptt": BPTT, "eprop": EProp, "decolle": DECOLLE}
    made: Rule = rules[plan.rule](network, cross_entropy)
    return made


def share_right(network: Any, batches: Batches, plan: Plan) -> float:
    """Return the share of recordings whose mean output is largest at their class."""
    right = count = 0
    for x, labels in pooled(batches, 0, flat=plan.network == "recurrent"):
        told = predict(network, x)[plan.skip :].mean(0).argmax(1)
        right += int((told == labels).sum())
        count += len(labels)
    return right / count


def learn_epoch(rule: Rule, optimizer: Any, schedule: Any, batches: Any, plan: Plan) -> None:
    """Teach all batches once: the same lines for every rule."""
    for x, labels in batches:
        state = rule.start(x.shape[1])
        for t, x_t in enumerate(x):
            _, state = rule.step(state, x_t, labels if t >= plan.skip else None)
            if plan.every and t >= plan.skip and (t + 1) % plan.every == 0:
                optimizer.step()
                optimizer.zero_grad()
        rule.finish(state)
        if not plan.every:
            optimizer.step()
            optimizer.zero_grad()
        schedule.step()


def carry_out(plan: Plan, folder: Path, bins: int, seed: int) -> Result:
    """Train by a plan, choose the epoch on the validation part, judge the test part once."""
    parts = open_parts(folder, bins, plan.batch, seed)
    network = network_for(plan, seed)
    rule = rule_for(plan, network)
    optimizer = torch.optim.Adam(network.parameters(), plan.learning_rate)
    steps = plan.epochs * math.ceil(len(parts.train.samples) / plan.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    validation, best, chosen, spent = [], copy.deepcopy(network.state_dict()), -1, 0.0
    for epoch in range(plan.epochs):
        start = time.perf_counter()
        batches = pooled(parts.train, epoch, flat=plan.network == "recurrent")
        learn_epoch(rule, optimizer, schedule, batches, plan)
        spent += time.perf_counter() - start
        validation.append(share_right(network, parts.validation, plan))
        if chosen < 0 or validation[-1] >= validation[chosen]:
            best, chosen = copy.deepcopy(network.state_dict()), epoch
        print(f"  {plan.name}, epoch {epoch + 1}: validation {validation[-1]:.3f}", flush=True)
    network.load_state_dict(best)
    tested = share_right(network, parts.test, plan)
    learned = sum(each.numel() for each in network.parameters())
    count = len(parts.test.samples)
    return Result(plan, learned, validation, chosen, tested, count, spent)


def table(results: Sequence[Result]) -> str:
    """Return the table of the results."""
    lines = [f"{'rule, network':<22} {'weights':>8} {'validation':>10} {'epoch':>5} "
             f"{'test':>6} {'95 % interval':>14} {'seconds':>8}"]  # fmt: skip
    lines += [
        f"{each.plan.name:<22} {each.parameters:>8,} {100 * each.validation[each.chosen]:>9.1f}% "
        f"{each.chosen + 1:>5} {100 * each.tested:>5.1f}% "
        f"{'{:.1f} to {:.1f}'.format(*(100 * end for end in each.interval_95)):>14} "
        f"{each.seconds:>8.0f}"
        for each in results
    ]
    return "\n".join(lines)


def draw(results: Sequence[Result]) -> Figure:
    """Return the figure: validation by epoch, and the tests with their 95 % intervals."""
    figure = Figure(figsize=(9, 4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for color, each in zip(COLORS, results, strict=False):
        epochs = np.arange(len(each.validation)) + 1
        left.plot(epochs, 100 * np.array(each.validation), color=color, label=each.plan.name)
        left.plot(each.chosen + 1, 100 * each.validation[each.chosen], "o", color=color)
    left.set(xlabel="epoch", ylabel="validation, % right", title="80 recordings; the dot is chosen")
    left.legend(frameon=False, loc="lower right")
    names = [each.plan.name.replace(", ", "\n") for each in results]
    heights = 100 * np.array([each.tested for each in results])
    low, high = 100 * np.array([each.interval_95 for each in results]).T
    errors = (heights - low, high - heights)
    bars = right.bar(names, heights, yerr=errors, color=COLORS[: len(results)], capsize=4)
    right.bar_label(bars, fmt="%.1f", label_type="center", color="white")
    right.set(title=f"test, {results[0].judged} recordings", ylabel="% right")
    right.tick_params(axis="x", labelsize=7)
    return figure


def main(arguments: Sequence[str] | None = None) -> list[Result]:
    """Carry out the plans, print the table and write the figure; return the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="<digit>/<recording>.bin")
    parser.add_argument("--out", type=Path, default=Path("learning_nmnist.png"))
    parser.add_argument("--epochs", type=int, help="of each rule, in place of its own number")
    parser.add_argument("--bins", type=int, default=16)
    parser.add_argument("--only", help="part of the names of the rules to run, such as e-prop")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(arguments)
    plans = [plan for plan in PLANS if args.only is None or args.only in plan.name]
    results = []
    for plan in plans:
        chosen = plan if args.epochs is None else replace(plan, epochs=args.epochs)
        results.append(carry_out(chosen, args.folder, args.bins, args.seed))
    print(table(results))
    FigureCanvasAgg(draw(results)).print_png(args.out)  # type: ignore[no-untyped-call]
    return results


if __name__ == "__main__":
    main()
