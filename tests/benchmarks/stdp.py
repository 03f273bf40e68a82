"""STDP over time, dense and convolutional, beside the peers in one run.

    python -m tests.benchmarks.stdp [--steps 20] [--batch 16] [--rounds 7]

The spikes of both sides are given; a pass changes the weights step by step. Prints the largest
difference to our weights, the median milliseconds of a pass, fastest in brackets, and how many
times ours each takes. Peers that are not installed are left out. Passes alternate. All decay alike
(the peers by 1 - 1 / tau a step), and spikes of the two sides fall in different steps, since the
peers count spikes of one step as pairs and we do not. Only ours keeps weights within bounds.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dvskit.learning import STDP, Convolution, Dense, Window
from tests.benchmarks.measured import in_turn, release

Run = Callable[[], Tensor]
RATE, TAU_PRE, TAU_POST = 1e-4, 20.0, 25.0


@dataclass(frozen=True)
class Case:
    """The spikes of both sides, time first, and the layer between them."""

    pre: Tensor
    post: Tensor
    layer: nn.Module


def make_case(layer: nn.Module, shape: tuple[int, ...], steps: int) -> Case:
    generator = torch.Generator().manual_seed(0)
    pre = (torch.rand(steps, *shape, generator=generator) < 0.05).float()
    with torch.no_grad():
        post = torch.rand(steps, *layer(pre[0]).shape, generator=generator) < 0.02
    pre[1::2] = 0
    post[::2] = False
    return Case(pre, post.float(), layer)


def ours(case: Case) -> Run:
    taus = [-1 / math.log(1 - 1 / tau) for tau in (TAU_PRE, TAU_POST)]
    connection = Convolution() if isinstance(case.layer, nn.Conv2d) else Dense()
    rule = STDP(Window(RATE, RATE, *taus), connection, w_min=-1.0, w_max=1.0)
    return lambda: rule.run(case.pre, case.post, case.layer.weight)[0]


def of_peer(learner_type: Any, layer: nn.Module, case: Case, **named: Any) -> Run:
    """Return a pass of a peer's learner, whose monitors are given the spikes."""
    first = case.layer.weight.detach().clone()

    def run() -> Tensor:
        layer.weight.data.copy_(first)
        neuron = nn.Identity()
        learner = learner_type(
            synapse=layer, sn=neuron, tau_pre=TAU_PRE, tau_post=TAU_POST,
            f_pre=lambda w: RATE, f_post=lambda w: RATE, **named,
        )  # fmt: skip
        for before, after in zip(case.pre, case.post, strict=True):
            learner.in_spike_monitor.records.append(before)
            learner.out_spike_monitor.records.append(after)
            layer.weight.data += learner.step(on_grad=False)
        return layer.weight.detach().clone()

    return run


def of_snntorch(case: Case) -> Run:
    from snntorch.functional.stdp_learner import STDPLearner

    return of_peer(STDPLearner, case.layer, case)


def of_spikingjelly(case: Case) -> Run:
    from spikingjelly.activation_based import layer, learning

    if isinstance(case.layer, nn.Conv2d):
        same: nn.Module = layer.Conv2d(2, 32, 5, bias=False)
    else:
        same = layer.Linear(784, 400, bias=False)
    return of_peer(learning.STDPLearner, same, case, step_mode="s")


def compare(name: str, case: Case, rounds: int) -> None:
    runs = {"dvskit": ours(case)}
    for package, make in (("snntorch", of_snntorch), ("spikingjelly", of_spikingjelly)):
        try:
            runs[str(release(package))] = make(case)
        except ImportError as error:
            print(f"{package}: left out ({error})")
    kept = case.layer.weight.detach().clone()

    def again(run: Callable[[], Tensor]) -> Tensor:
        case.layer.weight.data.copy_(kept)
        return run()

    passes = in_turn({who: partial(again, run) for who, run in runs.items()}, rounds)
    first = passes["dvskit"]
    for who, each in passes.items():
        apart = (each.first - first.first).abs().max().item()
        print(
            f"{name:<14} {who:<20} {1e3 * each.middle[0]:8.1f} ms ({1e3 * each.least[0]:.1f})   "
            f"x{each.middle[0] / first.middle[0]:.2f}   differs by {apart:.1e}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    dense, conv = nn.Linear(784, 400, bias=False), nn.Conv2d(2, 32, 5, bias=False)
    compare("dense 784-400", make_case(dense, (args.batch, 784), args.steps), args.rounds)
    compare("conv 2-32C5", make_case(conv, (args.batch, 2, 28, 28), args.steps), args.rounds)


if __name__ == "__main__":
    main()
