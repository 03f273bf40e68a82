"""Layers of neurons on a GPU, forward and backward, beside the peers in one run.

    python -m tests.benchmarks.neurons_gpu [--steps 50] [--neurons 4000000] [--only lif] [--blocks]

Prints, for each kind of neuron, the median milliseconds of a forward and backward pass, those of
the forward pass, how many times ours each takes, the memory that a pass needs beside its input and
the gradient that comes in, and the share of spikes. The floor is what a copy of the same bytes
takes: an input read twice, a gradient read, spikes and a gradient written. --blocks has ours with
other numbers of neurons and warps a program instead of peers.

Each candidate has a process of its own, twice, in turns: what fails, or is not installed, is left
out with its reason, and the faster of the two medians counts. spikingjelly has its implementations
(triton, cuda, torch; cupy in old versions) one by one. Without a GPU the kernels run in Triton's
interpreter, which says nothing of speed; then take few neurons: --steps 4 --neurons 100.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from tests.benchmarks.measured import in_process, versions

DTYPES = ("float32", "bfloat16", "float16")
PEERS = {
    "lif": ["snntorch", *(f"spikingjelly {each}" for each in ("triton", "cuda", "cupy", "torch"))],
    "plif": [f"spikingjelly {each}" for each in ("triton", "cuda", "cupy", "torch")],
    "synaptic": ["snntorch"],
    "signed": [],
    "alif": [],
}
BLOCKS = [(block, warps) for block in (64, 128, 256, 512, 1024, 2048) for warps in (2, 4, 8)
          if block >= 32 * warps]  # fmt: skip


def our_layer(kind: str, backend: str) -> Any:
    from dvskit.neurons import ALIF, LIF, PLIF, SignedLIF, SynapticLIF

    return {
        "lif": lambda: LIF(0.9, backend=backend),
        "signed": lambda: SignedLIF(0.9, backend=backend),
        "plif": lambda: PLIF(2.0, backend=backend),
        "alif": lambda: ALIF(0.9, kappa=0.1, rho=0.97, backend=backend),
        "synaptic": lambda: SynapticLIF(0.9, alpha=0.8, backend=backend),
    }[kind]()


def spikingjelly_layer(kind: str, implementation: str) -> Any:
    from tests.benchmarks.spiking_peers import from_rest, spikingjelly_neurons

    if kind == "lif":
        layer: Any = spikingjelly_neurons("LIFNode", tau=10.0, decay_input=False)
    else:
        layer = spikingjelly_neurons("ParametricLIFNode", init_tau=2.0)
    if hasattr(layer, "supported_backends"):  # before version 2
        layer.backend = implementation
    elif implementation == "cupy":
        raise ImportError("this version has no CuPy back end")
    run = from_rest(layer)
    run.layer = layer  # type: ignore[attr-defined]
    return run


def snntorch_layer(kind: str) -> Callable[[Any], Any]:
    import snntorch

    from tests.benchmarks import spiking_peers

    common = {"beta": 0.9, "threshold": 1.0, "spike_grad": snntorch.surrogate.atan()}
    if kind == "lif":
        return spiking_peers.snntorch_layer(snntorch.Leaky(**common), 1)
    return spiking_peers.snntorch_layer(snntorch.Synaptic(alpha=0.8, **common), 2)


def layer_of(kind: str, candidate: str) -> Callable[[Any], Any]:
    package, _, way = candidate.partition(" ")
    if package == "snntorch":
        return snntorch_layer(kind)
    if package == "spikingjelly":
        return spikingjelly_layer(kind, way)
    if way.startswith("block"):
        from dvskit.neurons import gpu

        block, warps = (int(number) for number in way.split()[1::2])
        gpu.block_of = lambda neurons: block
        gpu.WARPS = warps
    return our_layer(kind, "torch" if way == "torch" else "fused")


def timed(run: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Milliseconds of a run, and what it returns."""
    import torch

    if device == "cpu":
        start = time.perf_counter()
        found = run()
        return (time.perf_counter() - start) * 1e3, found
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    found = run()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end), found


def measure(asked: argparse.Namespace, device: str) -> dict[str, Any]:
    """Measure one candidate, in this process."""
    import torch

    if device == "cpu":
        from dvskit.neurons import gpu, operator

        operator.BACKENDS["cpu"] = gpu
    layer = layer_of(asked.only, asked.candidate)
    for module in (layer, getattr(layer, "layer", None)):
        if isinstance(module, torch.nn.Module):
            module.to(device)
    words = asked.candidate.split()
    dtype = getattr(torch, words[-1] if words[-1] in DTYPES else "float32")
    generator = torch.Generator(device).manual_seed(0)
    shape = (asked.steps, asked.neurons)
    x = torch.randn(shape, generator=generator, device=device) * 0.6 + 0.1
    x, gradient = x.to(dtype).requires_grad_(), torch.ones(shape, device=device, dtype=dtype)
    passes: list[tuple[float, float]] = []
    for turn in range(asked.rounds + 3):
        x.grad = None
        if device == "cuda" and turn == 2:  # the first passes compile
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        forward, spikes = timed(lambda: layer(x), device)
        backward, _ = timed(lambda spikes=spikes: spikes.backward(gradient), device)
        rate = spikes.detach().abs().mean(dtype=torch.float32).item()
        del spikes
        if device == "cuda" and turn == 2:
            memory = (torch.cuda.max_memory_allocated() - before) / 1e6
        if turn > 2:
            passes.append((forward + backward, forward))
    return {
        "ms": median(total for total, _ in passes),
        "forward_ms": median(forward for _, forward in passes),
        "memory_mb": memory if device == "cuda" else float("nan"),
        "spikes": rate,
        "floor_ms": 2.5 * copy_ms(x.detach(), device),  # a copy reads and writes: 5 of these
    }


def copy_ms(x: Any, device: str) -> float:
    """Milliseconds that the copy of a tensor takes."""
    import torch

    to = torch.empty_like(x)
    return median(timed(lambda: to.copy_(x), device)[0] for _ in range(20))


def in_a_process(asked: argparse.Namespace, kind: str, candidate: str) -> dict[str, Any]:
    """Measure one candidate in a process of its own; {"error": reason} where it fails."""
    package, _, way = candidate.partition(" ")
    environment = {}
    if package == "spikingjelly":
        environment[f"SJ_{kind.upper()}_CUDA_IMPLEMENTATION"] = way if way != "cupy" else "auto"
    words = ["--candidate", candidate, "--only", kind]
    for name in ("steps", "neurons", "rounds"):
        words += [f"--{name}", str(getattr(asked, name))]
    found = in_process("neurons_gpu", *words, limit_s=300, **environment)
    return {"error": found} if isinstance(found, str) else found


def candidates(kind: str, asked: argparse.Namespace) -> list[str]:
    if asked.blocks:
        return ["dvskit fused", *(f"dvskit block {b} warps {w}" for b, w in BLOCKS)]
    ours = ["dvskit fused", "dvskit fused bfloat16", "dvskit fused float16", "dvskit torch"]
    return ours + PEERS[kind]


def compare(kind: str, asked: argparse.Namespace) -> None:
    names = candidates(kind, asked)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(2):
        for name in names:
            if not any("error" in result for result in found[name]):
                found[name].append(in_a_process(asked, kind, name))
    best = {name: min(results, key=lambda result: result.get("ms", float("inf")))
            for name, results in found.items()}  # fmt: skip
    ours = best["dvskit fused"].get("ms", float("nan"))
    print(f"\n{kind}, T = {asked.steps}, N = {asked.neurons:,}, forward + backward")
    for name, result in best.items():
        if "error" in result:
            print(f"{name:28s} left out: {result['error']}")
            continue
        print(
            f"{name:28s} {result['ms']:8.2f} ms  (forward {result['forward_ms']:7.2f})  "
            f"{result['ms'] / ours:6.2f}x ours  {result['memory_mb']:7.0f} MB  "
            f"{result['spikes']:.4f} spikes  floor {result['floor_ms']:.2f} ms",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--neurons", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", choices=PEERS, help="one kind of neuron")
    parser.add_argument("--blocks", action="store_true", help="sizes of programs, not peers")
    parser.add_argument("--candidate", help=argparse.SUPPRESS)
    asked = parser.parse_args()

    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    if asked.candidate:
        print(json.dumps(measure(asked, device)))
        return
    on = torch.cuda.get_device_name() if device == "cuda" else "Triton's interpreter"
    print(f"{on}, {versions(('torch', 'triton', 'spikingjelly', 'snntorch'))}")
    for kind in [asked.only] if asked.only else PEERS:
        compare(kind, asked)


if __name__ == "__main__":
    main()
