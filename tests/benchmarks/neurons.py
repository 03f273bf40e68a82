"""Layers of neurons and a small network, forward and backward, beside the peers in one run.

    python tests/benchmarks/neurons.py [--steps 50] [--neurons 1000000] [--rounds 7] [--only lif]
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
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvskit._threads import thread_count
from dvskit.networks import ConvLIF
from dvskit.neurons import ALIF, LIF, PLIF, SignedLIF, SynapticLIF
from dvskit.training.device import has_fast_bfloat16

Run = Callable[[Tensor], Tensor]
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 31), "MALLOC_TRIM_THRESHOLD_": str(1 << 33)}
STEPS, BATCH = 20, 32  # of the network
TOO_SLOW_MS = 1500  # such a candidate runs twice only


def snntorch_layer(make: Callable[[Any], nn.Module], states: int) -> Run:
    import snntorch

    layer = make(snntorch)

    def run(x: Tensor) -> Tensor:
        state: tuple[Any, ...] = tuple(torch.zeros_like(x[0]) for _ in range(states))
        spikes = []
        for current in x:
            fired, *rest = layer(current, *state)
            state = tuple(rest)
            spikes.append(fired)
        return torch.stack(spikes)

    return run


def spikingjelly_layer(name: str, tau: str) -> Run:
    from spikingjelly.activation_based import functional as sj
    from spikingjelly.activation_based import neuron, surrogate

    layer = getattr(neuron, name)(
        **{tau: 10.0},
        decay_input=False,
        v_reset=None,
        detach_reset=True,
        surrogate_function=surrogate.ATan(2.0),
        step_mode="m",
    )

    def run(x: Tensor) -> Tensor:
        sj.reset_net(layer)
        return layer(x)

    return run


def compiled_spikingjelly() -> Run:
    from spikingjelly.activation_based import functional as sj
    from spikingjelly.activation_based import neuron, surrogate

    layer = neuron.LIFNode(
        tau=10.0,
        decay_input=False,
        v_reset=None,
        detach_reset=True,
        surrogate_function=surrogate.ATan(2.0),
    )

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


def folded(layers: list[nn.Module], neurons: list[Run]) -> Run:
    """2-12C5-P2-64C5-P2-10 with time folded into the batch; logits are the mean of the readout."""

    def run(x: Tensor) -> Tensor:
        for layer, spiking in zip(layers[:2], neurons, strict=True):
            z = functional.avg_pool2d(layer(x.flatten(0, 1)), 2)
            x = spiking(z.unflatten(0, (STEPS, BATCH)))
        return layers[2](x.flatten(2)).mean(0)

    return run


def stepped(layers: list[nn.Module], neurons: list[Any]) -> Run:
    """The same, one step after another, as snntorch's guides have it."""

    def run(x: Tensor) -> Tensor:
        potentials = [layer.init_leaky() for layer in neurons]
        out = []
        for z in x:
            for number, layer in enumerate(layers[:2]):
                z = functional.avg_pool2d(layer(z), 2)
                z, potentials[number] = neurons[number](z, potentials[number])
            out.append(layers[2](z.flatten(1)))
        return torch.stack(out).mean(0)

    return run


def snntorch_network(layers: list[nn.Module]) -> Run:
    import snntorch

    return stepped(layers, [snntorch.Leaky(beta=0.7), snntorch.Leaky(beta=0.7)])


def network(kind: str) -> tuple[Run, list[nn.Parameter]]:
    torch.manual_seed(0)
    if kind == "dvskit":
        module = ConvLIF().build()
        return module, list(module.parameters())
    layers = [nn.Conv2d(2, 12, 5), nn.Conv2d(12, 64, 5), nn.Linear(1600, 10)]
    make: dict[str, Callable[[], Run]] = {
        "snntorch": lambda: snntorch_network(layers),
        "spikingjelly": lambda: folded(
            layers, [spikingjelly_layer("LIFNode", "tau") for _ in range(2)]
        ),
        "norse": lambda: folded(layers, [norse_layer("LIFBox") for _ in range(2)]),
        "sinabs": lambda: folded(layers, [sinabs_layer("LIF") for _ in range(2)]),
    }
    return make[kind](), [weight for layer in layers for weight in layer.parameters()]


CASES: dict[str, dict[str, Callable[[], Run]]] = {
    "lif": {
        "dvskit": lambda: LIF(),
        "dvskit, bfloat16": lambda: LIF(),
        "dvskit, torch": lambda: LIF(backend="torch"),
        "snntorch Leaky": lambda: snntorch_layer(lambda s: s.Leaky(beta=0.9), 1),
        "spikingjelly LIFNode": lambda: spikingjelly_layer("LIFNode", "tau"),
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
        "snntorch Synaptic": lambda: snntorch_layer(lambda s: s.Synaptic(alpha=0.8, beta=0.9), 2),
        "snntorch Alpha": lambda: snntorch_layer(lambda s: s.Alpha(alpha=0.9, beta=0.8), 3),
        "norse LIF": lambda: norse_layer("LIFCell"),
        "sinabs LIF": lambda: sinabs_layer("LIF", tau_syn=5.0),
    },
    "plif": {
        "dvskit": lambda: PLIF(10.0, decay_input=False),
        "snntorch Leaky": lambda: snntorch_layer(lambda s: s.Leaky(beta=0.9, learn_beta=True), 1),
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

    def once(self) -> tuple[float, float]:
        """Return the milliseconds of one pass forward and back: by the clock, of processors."""
        self.x.grad = None
        for weight in self.weights:
            weight.grad = None
        start, busy = time.perf_counter(), time.process_time()
        if self.weights:  # a training step, in the precision that the processor is good at
            low = isinstance(self.run, nn.Module) and has_fast_bfloat16(torch.device("cpu"))
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                logits = self.run(self.x)
            functional.cross_entropy(logits.float(), self.labels).backward()
        else:
            self.run(self.x).backward(self.gradient)
        return (time.perf_counter() - start) * 1e3, (time.process_time() - busy) * 1e3


def package_of(name: str) -> str | None:
    """Return a peer with its version, None where it is not installed."""
    package = name.split(",")[0].split(" ")[0]
    try:
        return package if package == "dvskit" else f"{package} {version(package)}"
    except PackageNotFoundError:
        return None


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
    command = [sys.executable, __file__, "--memory", case, name, "--steps", str(asked.steps),
               "--neurons", str(asked.neurons)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def measure_memory(case: str, name: str, steps: int, neurons: int) -> None:
    Candidate(case, name, min(steps, 4), min(neurons, 4000)).once()  # imports and compiles
    candidate = Candidate(case, name, steps, neurons)
    Path("/proc/self/clear_refs").write_text("5", "utf-8")  # the largest so far is what is now
    before = _status("VmRSS")
    for _ in range(3):
        candidate.once()
    print(json.dumps((_status("VmHWM") - before) / 1e3))


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise RuntimeError(f"no {name} here; memory is measured on Linux")


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
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for turn in range(asked.rounds + 1):
        for name, candidate in runs.items():
            if turn > 2 and times[name][-1][0] > TOO_SLOW_MS:
                continue
            taken = candidate.once()
            candidate.x.grad = None
            if turn:  # the first pass compiles
                times[name].append(taken)
    del runs
    ours = [median(each) for each in zip(*times["dvskit"], strict=True)]
    if case != "net":  # read twice and written once or twice, at the least
        floor = 5 * asked.steps * asked.neurons * 4 / bytes_per_second * 1e3
        print(f"  {'bytes that have to be moved':34s} {floor:7.0f} ms")
    for name, taken in times.items():
        clock, busy = zip(*taken, strict=True)
        memory = f"{memory_of(case, name, asked):7.0f} MB" if asked.with_memory else ""
        passes = f"{median(clock):7.1f} ms [{min(clock):.1f}] {median(clock) / ours[0]:6.2f}x ours"
        work = f"processor {median(busy):7.1f} ms [{min(busy):.1f}] {median(busy) / ours[1]:6.2f}x"
        print(f"  {name:34s} {passes}; {work} {memory}", flush=True)


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
        subprocess.run([sys.executable, *sys.argv], env={**os.environ, **KEPT}, check=True)


if __name__ == "__main__":
    main()
