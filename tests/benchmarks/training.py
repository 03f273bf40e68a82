"""Epochs of training on N-MNIST, data included: dvskit beside spikingjelly and snntorch in one run.

    python -m tests.benchmarks.training NMNIST [--epochs 6] [--seeds 2] [--also]

NMNIST is a folder of recordings, a folder a class. All train 2-12C5-P2-LIF-64C5-P2-LIF-10 (beta
0.7, threshold 1, soft reset, arctan surrogate of width 2) from the same first weights, on the
same recordings in batches of 32, 20 bins of 15 ms, by AdamW with the same rate, and are judged by
the same recordings after each has had the same epochs. Each runs in a process of its own, and
epochs take turns, so that other work on the machine falls on all alike; the first epoch, in which
loops are compiled and tonic's cache is filled, is not timed. Printed are the median seconds of an
epoch and the median of the ratios of epochs that followed each other, by the clock and by the
time that all threads of a process were busy, which other work changes less.

What is unlike: dvskit is as `dvskit train` runs it. It holds the events of its files in memory
and makes tensors of them anew in each epoch, computes in bfloat16 where the processor has units
for it (with --also in float32 too), computes a convolution and the pooling behind it as one, and
keeps the memory that it frees. The peers get frames from tonic's MemoryCachedDataset, which holds
all of them in memory, and run as their guides have them: snntorch step by step, spikingjelly in
multi-step mode with time folded into the batch; with --also they are timed with freed memory kept
and in bfloat16 as well. snntorch's reset is subtracted a step later.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dvskit._threads import thread_count
from dvskit.datasets import Samples, open_samples, split_by_share
from dvskit.models import InputConfig
from dvskit.models.scores import has_fast_bfloat16
from dvskit.networks import Layered
from dvskit.training import Config, LoopConfig, RecordingData
from dvskit.training.distributed import keep_memory, training_precision
from dvskit.training.losses import make_optimizer, take_step
from dvskit.training.sets import load_feed
from tests.benchmarks import spiking_peers
from tests.benchmarks.measured import TOP, release
from tests.benchmarks.spiking_peers import Run

BINS, BIN_US, BATCH, BETA = 20, 15_000, 32, 0.7
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 31), "MALLOC_TRIM_THRESHOLD_": str(1 << 33)}
NETWORK = Layered(layers=("12C5", "P2", "lif", "64C5", "P2", "lif", "10"), beta=BETA)
LOOP = LoopConfig(learning_rate=4e-3, weight_decay=1e-2, schedule="constant", label_smoothing=0.0)
SPLIT = {"validation": 0.1, "test": 0.3}
CPU = torch.device("cpu")
Data = Iterable[tuple[Tensor, Tensor]]
ALWAYS = ("dvskit", "snntorch", "spikingjelly")
ALSO = tuple(f"{name}, {how}" for how, names in (
    ("float32", ("dvskit",)), ("kept", ALWAYS[1:]), ("kept, bfloat16", ALWAYS[1:]),
) for name in names)  # fmt: skip


class Ours:
    """dvskit's own network and data, as its trainer has them."""

    def __init__(self, folder: str, seed: int) -> None:
        entry = RecordingData(path=folder, count=BATCH, by="share", **SPLIT)
        given = InputConfig(bins=BINS, bin_us=BIN_US)
        self.feed = load_feed(Config(network=NETWORK, data=(entry,), input=given, seed=seed))
        self.run: Any = NETWORK.build()
        self.weights = list(self.run.parameters())
        keep_memory()

    def epoch(self, number: int) -> Data:
        return self.feed.train.epoch(number)

    def test(self) -> Data:
        return self.feed.test["recordings"].epoch(0)


class Theirs:
    """A peer's neurons between torch's layers, and tonic's data."""

    def __init__(self, folder: str, seed: int, kind: str) -> None:
        parts = split_by_share(open_samples(folder, group=None), **SPLIT, seed=seed)
        self.loaders = [_tonic(parts.train, True), _tonic(parts.test, False)]
        layers = nn.ModuleList([nn.Conv2d(2, 12, 5), nn.Conv2d(12, 64, 5), nn.Linear(1600, 10)])
        torch.manual_seed(seed)
        for layer, first in zip(layers, _weighted(NETWORK.build()), strict=True):
            layer.load_state_dict(first.state_dict())
        self.weights = list(layers.parameters())
        self.run: Run = {"snntorch": _snntorch, "spikingjelly": _spikingjelly}[kind](layers)

    def epoch(self, number: int) -> Data:
        return iter(self.loaders[0])

    def test(self) -> Data:
        return iter(self.loaders[1])


def _weighted(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if isinstance(part, nn.Conv2d | nn.Linear)]


def _tonic(samples: Samples, shuffle: bool) -> Any:
    import tonic
    from tonic.collation import PadTensors
    from tonic.datasets import NMNIST
    from torch.utils.data import DataLoader, Dataset

    frames = tonic.transforms.ToFrame(
        sensor_size=NMNIST.sensor_size, time_window=BIN_US, include_incomplete=True
    )
    labels = samples.labels.tolist()

    class Files(Dataset):  # tonic's own NMNIST takes the whole set only
        def __len__(self) -> int:
            return len(labels)

        def __getitem__(self, number: int) -> tuple[Any, int]:
            events = tonic.io.read_mnist_file(str(samples.rows[number].file), dtype=NMNIST.dtype)
            return frames(events)[:BINS], labels[number]

    return DataLoader(
        tonic.MemoryCachedDataset(Files()),
        batch_size=BATCH,
        shuffle=shuffle,
        collate_fn=PadTensors(batch_first=False),
    )


def _snntorch(layers: nn.ModuleList) -> Run:
    import snntorch

    neurons = [snntorch.Leaky(beta=BETA, spike_grad=snntorch.surrogate.atan(2.0)) for _ in range(2)]
    return spiking_peers.stepped(layers, neurons)


def _spikingjelly(layers: nn.ModuleList) -> Run:
    tau = {"decay_input": False, "tau": 1 / (1 - BETA)}
    neurons = [spiking_peers.spikingjelly_neurons("LIFNode", **tau) for _ in range(2)]
    return spiking_peers.folded(layers, [spiking_peers.from_rest(each) for each in neurons])


def serve(name: str, folder: str, seed: int) -> None:
    """Train an epoch for each line of stdin; print its seconds, and of "test" the accuracy."""
    warnings.filterwarnings("ignore")  # of the peers
    torch.set_num_threads(thread_count())
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (of the peers)
    kind, *how = name.split(", ")
    way: Ours | Theirs = Ours(folder, seed) if kind == "dvskit" else Theirs(folder, seed, kind)
    precision = "auto" if kind == "dvskit" else "float32"
    precision = next((word for word in how if "float" in word), precision)
    holder = nn.ParameterList(way.weights)
    optimizer = make_optimizer(holder, LOOP)
    for number, asked in enumerate(sys.stdin):
        begun, busy, right = time.perf_counter(), time.process_time(), []
        if asked.strip() == "test":
            with torch.inference_mode():
                for counts, labels in way.test():
                    right.append((way.run(counts.float()).argmax(1) == labels).float())
            print(json.dumps(float(torch.cat(right).mean())), flush=True)
            continue
        for counts, labels in way.epoch(number):
            with training_precision(CPU, precision):
                logits = way.run(counts.float())
            loss = functional.cross_entropy(logits.float(), labels)
            take_step(optimizer, loss, rate=LOOP.learning_rate)
        print(json.dumps([time.perf_counter() - begun, time.process_time() - busy]), flush=True)


class Candidate:
    """A process that trains in one way."""

    def __init__(self, name: str, folder: str, seed: int) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.training", folder, "--serve", name]
        command += ["--seed", str(seed)]
        environment = {**os.environ, **(KEPT if "kept" in name else {})}
        self.process = subprocess.Popen(
            command, cwd=TOP, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def ask(self, what: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        while (line := self.process.stdout.readline()) and line[0] not in "[01":
            pass  # what a peer prints
        return json.loads(line)

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def package_of(name: str) -> str | None:
    return release(name.split(",")[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nmnist")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--also", action="store_true", help="the peers in other conditions too")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve, asked.nmnist, asked.seed)
        return
    names = [name for name in (*ALWAYS, *(ALSO if asked.also else ())) if package_of(name)]
    packages = sorted({str(package_of(name)) for name in names} - {str(package_of("dvskit"))})
    print(
        f"python {sys.version.split()[0]}, torch {torch.__version__}, numba {version('numba')}, "
        f"tonic {version('tonic')}, {', '.join(packages)}; {thread_count()} threads; bfloat16 "
        f"{'is' if has_fast_bfloat16(CPU) else 'is not'} fast here"
    )
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    right: dict[str, list[float]] = {name: [] for name in names}
    for seed in range(1, asked.seeds + 1):
        folder = str(Path(asked.nmnist).resolve())
        candidates = {name: Candidate(name, folder, seed) for name in names}
        for number in range(asked.epochs):
            for name, candidate in candidates.items():
                found = candidate.ask("epoch")
                if number:
                    took[name].append(tuple(found))
        for name, candidate in candidates.items():
            right[name].append(candidate.ask("test"))
            candidate.end()
            print(
                f"seed {seed}: {name}: {100 * right[name][-1]:.1f} %", file=sys.stderr, flush=True
            )
    test = round(SPLIT["test"] * len(open_samples(asked.nmnist, group=None)))
    print(f"{asked.seeds} seeds, {asked.epochs} epochs each; an epoch of the training part:")
    for name in names:
        wall, busy = zip(*took[name], strict=True)
        by_wall, by_busy = (
            median(b[k] / a[k] for a, b in zip(took["dvskit"], took[name], strict=True))
            for k in range(2)
        )
        mean = fmean(right[name])
        error = math.sqrt(mean * (1 - mean) / (test * asked.seeds))
        print(
            f"  {name:30s} {median(wall):7.3f} s [{min(wall):.3f}] {by_wall:6.2f}x dvskit's; "
            f"processor {median(busy):7.3f} s {by_busy:6.2f}x; accuracy {100 * mean:.1f} % "
            f"(+- {100 * error:.1f})"
        )


if __name__ == "__main__":
    main()
