"""A LIF layer, forward and backward, beside the peers in one run.

    python tests/benchmarks/neurons.py [--steps 50] [--neurons 1000000] [--rounds 7]

Prints the median milliseconds of one forward and backward pass, fastest pass in brackets, and how
many times ours each takes. Peers that are not installed are left out. The passes of the candidates
alternate, so that other work on the machine falls on all alike.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from statistics import median

import torch
from torch import Tensor

from dvskit._threads import thread_count
from dvskit.neurons import LIF

Run = Callable[[Tensor], Tensor]


def snntorch_loop() -> Run:
    import snntorch

    layer = snntorch.Leaky(beta=0.9, threshold=1.0)

    def run(x: Tensor) -> Tensor:
        potential, spikes = layer.init_leaky(), []
        for current in x:
            fired, potential = layer(current, potential)
            spikes.append(fired)
        return torch.stack(spikes)

    return run


def spikingjelly_multi_step() -> Run:
    from spikingjelly.activation_based import functional, neuron, surrogate

    layer = neuron.LIFNode(
        tau=10.0,
        decay_input=False,
        v_reset=None,
        detach_reset=True,
        surrogate_function=surrogate.ATan(2.0),
        step_mode="m",
    )

    def run(x: Tensor) -> Tensor:
        functional.reset_net(layer)
        return layer(x)

    return run


def candidates() -> dict[str, tuple[Run, torch.dtype]]:
    found: dict[str, tuple[Run, torch.dtype]] = {
        "dvskit, fused": (LIF(backend="fused"), torch.float32),
        "dvskit, fused, bfloat16": (LIF(backend="fused"), torch.bfloat16),
        "dvskit, torch": (LIF(backend="torch"), torch.float32),
    }
    for package, make in {
        "snntorch": snntorch_loop,
        "spikingjelly": spikingjelly_multi_step,
    }.items():
        try:
            found[f"{package} {version(package)}"] = (make(), torch.float32)
        except (PackageNotFoundError, ImportError) as error:
            print(f"{package}: left out ({error})")
    return found


def one_pass(run: Run, x: Tensor, gradient: Tensor) -> float:
    x.grad = None
    start = time.perf_counter()
    run(x).backward(gradient)
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--neurons", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()

    torch.set_num_threads(thread_count())
    runs = candidates()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(asked.steps, asked.neurons, generator=generator) * 0.6 + 0.1
    inputs = {kind: x.to(kind).requires_grad_() for kind in (torch.float32, torch.bfloat16)}
    gradients = {kind: torch.ones_like(given).detach() for kind, given in inputs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(asked.rounds + 1):
        for name, (run, kind) in runs.items():
            taken = one_pass(run, inputs[kind], gradients[kind])
            if turn:  # the first pass compiles
                times[name].append(taken)
    print(
        f"LIF, T = {asked.steps}, N = {asked.neurons:,}, forward + backward, "
        f"{thread_count()} threads, torch {torch.__version__}, numba {version('numba')}"
    )
    ours = median(times["dvskit, fused"])
    for name, taken in times.items():
        middle = median(taken)
        print(f"{name:26s} {middle:7.0f} ms  [{min(taken):.0f}]  {middle / ours:5.2f}x ours")


if __name__ == "__main__":
    main()
