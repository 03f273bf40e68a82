"""Layers of neurons and a small network, forward and backward, beside the peers in one run.

    python -m tests.benchmarks.neurons [--steps 50] [--neurons 1000000] [--rounds 7] [--only lif]
        [--compiled]

Prints, for each kind of neuron, the median milliseconds of one forward and backward pass, the
fastest in brackets, and how many times ours each takes, by the clock and by the time that all
threads were busy, which other work changes less; then the memory that a pass needs beside its input
and the gradient that comes in. --compiled adds spikingjelly's neurons stepped in a loop under
torch.compile, which takes a minute or two to compile for each number of steps. Passes of the
candidates alternate, so that other work on the machine falls on all alike; memory is taken of a
process each. Both are done with the C library's defaults and again with freed memory kept
(MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_) for all. Peers that are not installed are left out.

The peers' neurons are the nearest that they have, and not all the same: norse's LIF and LSNN always
have a synapse, and snntorch's Alpha has two. norse's layers are run cell by cell, which is faster
than their own loops; sinabs indexes the whole input in each step of its own. No peer trains signed
neurons: they are compared with binary ones. dvskit's network runs under autocast in bfloat16 where
that is faster, and its convolution and pooling are one; the peers' are as their guides have them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvskit._threads import thread_count
from dvskit.models.scores import has_fast_bfloat16
from dvskit.networks import ConvLIF
from dvskit.neurons import ALIF, LIF, PLIF, SignedLIF, SynapticLIF
from tests.benchmarks import spiking_peers
from tests.benchmarks.measured import in_process, in_turn, memory_mb, release
from tests.benchmarks.spiking_peers import Run, from_rest, spikingjelly_neurons

KEPT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 31), "MALLOC_TRIM_THRESHOLD_": str(1 << 33)}
STEPS, BATCH = 20, 32  # of the network
TOO_SLOW_S = 1.5  # such a candidate runs twice only


def snntorch_layer(name: str, states: int, **values: Any) -> Run:
    import snntorch

    return spiking_peers.snntorch_layer(getattr(snntorch, name)(**values), states)


def spikingjelly_layer(name: str = "LIFNode", tau: str = "tau") -> Run:
    return from_rest(spikingjelly_neurons(name, decay_input=False, **{tau: 10.0}))


def compiled_spikingjelly() -> Run:
    from spikingjelly.activation_based import functional as sj

    layer = spikingjelly_neurons("LIFNode", step_mode="s", decay_input=False, tau=10.0)

    def run(x: Tensor) -> Tensor:
        sj.reset_net(layer)
        return torch.stack([layer(current) for current in x.unbind(0)])

    compiled: Run = torch.compile(run)
    return compiled


def norse_layer(name: str) -> Run:
    import norse.torch as norse
    from norse.torch.module.lif_box import LIFBoxCell

    cell = LIFBoxCell() if name == "LIFBox" else getattr(norse, name)()

    def run(x: Tensor) -> Tensor:
        state, spikes = None, []
        for current in x:
            fired, state = cell(current, state)
            spikes.append(fired)
        return torch.stack(spikes)

    return run


def sinabs_layer(name: str, **values: Any) -> Run:
    import sinabs.layers

    layer = getattr(sinabs.layers, name)(tau_mem=10.0, norm_input=False, **values)

    def run(x: Tensor) -> Tensor:
        layer.reset_states()
        return layer(x.reshape(len(x), 1, -1).transpose(0, 1)).transpose(0, 1).reshape(x.shape)

    return run


def network(kind: str) -> tuple[Run, list[nn.Parameter]]:
    torch.manual_seed(0)
    if kind == "dvskit":
        module = ConvLIF().build()
        return module, list(module.parameters())
    layers = nn.ModuleList([nn.Conv2d(2, 12, 5), nn.Conv2d(12, 64, 5), nn.Linear(1600, 10)])

    def folded(neurons: Callable[[], Run]) -> Run:
        return spiking_peers.folded(layers, [neurons() for _ in range(2)])

    def stepped() -> Run:
        import snntorch

        return spiking_peers.stepped(layers, [snntorch.Leaky(beta=0.7) for _ in range(2)])

    make: dict[str, Callable[[], Run]] = {
        "snntorch": stepped,
        "spikingjelly": lambda: folded(spikingjelly_layer),
        "norse": lambda: folded(lambda: norse_layer("LIFBox")),
        "sinabs": lambda: folded(lambda: sinabs_layer("LIF")),
    }
    return make[kind](), list(layers.parameters())


CASES: dict[str, dict[str, Callable[[], Run]]] = {
    "lif": {
        "dvskit": lambda: LIF(),
        "dvskit, bfloat16": lambda: LIF(),
        "dvskit, torch": lambda: LIF(backend="torch"),
        "snntorch Leaky": lambda: snntorch_layer("Leaky", 1, beta=0.9),
        "spikingjelly LIFNode": spikingjelly_layer,
        "spikingjelly LIFNode, compiled": compiled_spikingjelly,
        "norse LIFBox": lambda: norse_layer("LIFBox"),
        "sinabs LIF": lambda: sinabs_layer("LIF"),
    },
    "signed": {"dvskit": lambda: SignedLIF(), "dvskit, binary": lambda: LIF()},
    "alif": {
        "dvskit": lambda: ALIF(),
        "norse LSNN": lambda: norse_layer("LSNNCell"),
        "sinabs ALIF": lambda: sinabs_layer("ALIF", tau_adapt=30.0),
    },
    "synaptic": {
        "dvskit": lambda: SynapticLIF(),
        "snntorch Synaptic": lambda: snntorch_layer("Synaptic", 2, alpha=0.8, beta=0.9),
        "snntorch Alpha": lambda: snntorch_layer("Alpha", 3, alpha=0.9, beta=0.8),
        "norse LIF": lambda: norse_layer("LIFCell"),
        "sinabs LIF": lambda: sinabs_layer("LIF", tau_syn=5.0),
    },
    "plif": {
        "dvskit": lambda: PLIF(10.0, decay_input=False),
        "snntorch Leaky": lambda: snntorch_layer("Leaky", 1, beta=0.9, learn_beta=True),
        "spikingjelly ParametricLIFNode": lambda: spikingjelly_layer(
            "ParametricLIFNode", "init_tau"
        ),
    },
    "net": {
        kind: lambda kind=kind: network(kind)  # type: ignore[misc]
        for kind in ("dvskit", "snntorch", "spikingjelly", "norse", "sinabs")
    },
}


class Candidate:
    """A way to do a case, with what it takes and a pass over it."""

    def __init__(self, case: str, name: str, steps: int, neurons: int) -> None:
        made: Any = CASES[case][name]()
        generator = torch.Generator().manual_seed(0)
        self.weights: list[nn.Parameter] = []
        if case == "net":
            self.run, self.weights = made
            self.x = (torch.rand(STEPS, BATCH, 2, 34, 34, generator=generator) < 0.08).float()
            self.labels = torch.randint(0, 10, (BATCH,), generator=generator)
        else:
            self.run = made
            kind = torch.bfloat16 if "bfloat16" in name else torch.float32
            x = torch.randn(steps, neurons, generator=generator) * 0.6 + 0.1
            self.x = x.to(kind).requires_grad_()
            self.gradient = torch.ones_like(self.x).detach()

    def once(self) -> None:
        """Pass forward and back."""
        self.x.grad = None
        for weight in self.weights:
            weight.grad = None
        if self.weights:  # a training step, in the precision that the processor is good at
            low = isinstance(self.run, nn.Module) and has_fast_bfloat16(torch.device("cpu"))
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                logits = self.run(self.x)
            functional.cross_entropy(logits.float(), self.labels).backward()
        else:
            self.run(self.x).backward(self.gradient)


def package_of(name: str) -> str | None:
    """Return a peer with its version, None where it is not installed."""
    return release(name.split(",")[0].split(" ")[0])


def bandwidth() -> float:
    """Return how many bytes a second are read and written, by all threads."""
    a, b = torch.ones(50_000_000), torch.ones(50_000_000)
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        torch.add(a, 1.0, out=b)
        taken.append(time.perf_counter() - start)
    return 2 * a.numel() * 4 / min(taken)


def memory_of(case: str, name: str, asked: argparse.Namespace) -> float:
    """Return the megabytes that three passes need beside what they are given, in a process."""
    words = ("--memory", case, name, "--steps", asked.steps, "--neurons", asked.neurons)
    return float(in_process("neurons", *words, limit_s=600))


def measure_memory(case: str, name: str, steps: int, neurons: int) -> None:
    Candidate(case, name, min(steps, 4), min(neurons, 4000)).once()  # imports and compiles
    candidate = Candidate(case, name, steps, neurons)
    Path("/proc/self/clear_refs").write_text("5", "utf-8")  # the largest so far is what is now
    before = memory_mb("VmRSS")
    for _ in range(3):
        candidate.once()
    print(json.dumps(memory_mb("VmHWM") - before))


def compare(case: str, asked: argparse.Namespace, bytes_per_second: float) -> None:
    """Print the times and the memory of all that do a case."""
    runs: dict[str, Candidate] = {}
    for name in CASES[case]:
        if "compiled" in name and not asked.compiled:
            continue
        if package_of(name) is None:
            print(f"  {name}: not installed, left out")
            continue
        runs[name] = Candidate(case, name, asked.steps, asked.neurons)
        if case != "net":  # all share one input and one gradient a dtype
            for other in runs.values():
                if other.x.dtype == runs[name].x.dtype:
                    runs[name].x, runs[name].gradient = other.x, other.gradient
                    break
    passes = in_turn(
        {name: each.once for name, each in runs.items()}, asked.rounds, most_s=TOO_SLOW_S
    )
    ours = passes["dvskit"].middle
    if case != "net":  # read twice and written once or twice, at the least
        floor = 5 * asked.steps * asked.neurons * 4 / bytes_per_second * 1e3
        print(f"  {'bytes that have to be moved':34s} {floor:7.0f} ms")
    for name, each in passes.items():
        (clock, busy), (least, least_busy) = each.middle, each.least
        memory = f"{memory_of(case, name, asked):7.0f} MB" if asked.with_memory else ""
        said = f"{1e3 * clock:7.1f} ms [{1e3 * least:.1f}] {clock / ours[0]:6.2f}x ours"
        work = f"processor {1e3 * busy:7.1f} ms [{1e3 * least_busy:.1f}] {busy / ours[1]:6.2f}x"
        print(f"  {name:34s} {said}; {work} {memory}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--neurons", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--compiled", action="store_true", help="torch.compile's loops too")
    parser.add_argument("--no-memory", dest="with_memory", action="store_false")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")  # of the peers
    torch.set_num_threads(thread_count())
    if asked.memory:
        measure_memory(*asked.memory, asked.steps, asked.neurons)
        return
    kept = "MALLOC_TRIM_THRESHOLD_" in os.environ
    peers = sorted({package for case in CASES.values() for name in case
                    if (package := package_of(name)) and package != "dvskit"})  # fmt: skip
    print(
        f"T = {asked.steps}, N = {asked.neurons:,}; the network: T = {STEPS}, batch {BATCH}; "
        f"forward + backward, {thread_count()} threads, torch {torch.__version__}, numba "
        f"{version('numba')}, {', '.join(peers)}; "
        f"freed memory is {'kept' if kept else 'given back'}"
    )
    bytes_per_second = bandwidth()
    print(f"memory: {bytes_per_second / 1e9:.1f} GB/s read and written")
    for case in asked.only:
        print(case)
        compare(case, asked, bytes_per_second)
    if not kept and not asked.here:
        sys.stdout.flush()
        words = [sys.executable, "-m", "tests.benchmarks.neurons", *sys.argv[1:]]
        subprocess.run(words, env={**os.environ, **KEPT}, check=True)


if __name__ == "__main__":
    main()
