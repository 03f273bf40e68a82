"""An epoch of N-MNIST in batches: dvskit against tonic, from raw files and from caches.

    python -m tests.benchmarks.loader NMNIST [--rounds 7] [--raw]

NMNIST is a folder of recordings, a folder a class. All give counts (20, B, 2, 34, 34) in bins of
15 ms, which are checked to be equal. Epochs of all ways take turns; medians are printed. With --raw
only epochs from files are measured. Beside other work on the machine, OMP_WAIT_POLICY=passive
keeps torch's threads from waiting for each other in loops, which favors tonic's cache in memory.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tonic
import torch
from tonic.collation import PadTensors
from tonic.datasets import NMNIST
from torch import nn
from torch.utils.data import DataLoader, Dataset

from dvskit.datasets import Batches, Cache, Samples, open_samples
from dvskit.tensors import Counts

BINS, BIN_US, BATCH, WORKERS = 20, 15_000, 32, 2
SIZE = (34, 34)
Epoch = Callable[[int], Iterator[tuple[torch.Tensor, torch.Tensor]]]


class TonicFiles(Dataset):
    """The same files as tonic's own NMNIST reads them, which takes the whole set only."""

    def __init__(self, samples: Samples) -> None:
        self.files = [str(row.file) for row in samples.rows]
        self.labels = samples.labels.tolist()
        self.frames = tonic.transforms.ToFrame(
            sensor_size=NMNIST.sensor_size, time_window=BIN_US, include_incomplete=True
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int):
        events = tonic.io.read_mnist_file(self.files[number], dtype=NMNIST.dtype)
        return self.frames(events)[:BINS], self.labels[number]


def tonic_epochs(dataset, workers: int = WORKERS) -> Epoch:
    loader = DataLoader(
        dataset,
        batch_size=BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=PadTensors(batch_first=False),
    )
    return lambda epoch: iter(loader)


def our_epochs(samples: Samples, dtype: torch.dtype, **options) -> Epoch:
    counts = Counts(bins=BINS, bin_us=BIN_US, outside="ignore", dtype=dtype)
    return Batches(samples, counts, size=SIZE, batch_size=BATCH, **options).epoch


def check_equal(samples: Samples) -> None:
    """Compare both, sample by sample."""
    theirs = TonicFiles(samples)
    ours = Batches(
        samples, Counts(bins=BINS, bin_us=BIN_US, outside="ignore"), size=SIZE, shuffle=False
    )
    number = 0
    for counts, labels in ours.epoch(0):
        for row in range(len(labels)):
            frames, label = theirs[number]
            found = counts[:, row].numpy()
            assert np.array_equal(found[: len(frames)], frames), samples.rows[number].name
            assert not found[len(frames) :].any()
            assert label == labels[row]
            number += 1
    assert number == len(samples)
    print(f"equal: {number} samples, counts and labels")


def measure(ways: dict[str, Epoch], rounds: int, step: Callable | None = None) -> dict[str, float]:
    """Return seconds an epoch, the median of `rounds` behind two that warm up, in turn."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 2):
        for name, epoch in ways.items():
            begun = time.perf_counter()
            for counts, labels in epoch(number):
                if step is not None:
                    step(counts, labels)
            took[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times[2:]) for name, times in took.items()}


def show(title: str, took: dict[str, float], count: int) -> None:
    print(f"\n{title}")
    fastest = min((took[name] for name in took if name.startswith("tonic")), default=None)
    for name, seconds in took.items():
        ratio = f"{fastest / seconds:6.1f} x" if fastest and not name.startswith("tonic") else ""
        print(f"  {name:44} {seconds:7.3f} s  {1e6 * seconds / count:7.0f} us a sample {ratio}")


def small_net() -> Callable:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 12, 5), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(12, 32, 5), nn.ReLU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(32 * 5 * 5, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters())

    def step(counts: torch.Tensor, labels: torch.Tensor) -> None:
        optimizer.zero_grad()
        said = net(counts.float().flatten(0, 1)).unflatten(0, counts.shape[:2]).mean(0)
        nn.functional.cross_entropy(said, labels).backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nmnist", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--raw", action="store_true")
    given = parser.parse_args()
    samples = open_samples(given.nmnist)
    print(f"python {sys.version.split()[0]}, torch {version('torch')}, tonic {version('tonic')}")
    check_equal(samples)
    files = TonicFiles(samples)
    single, small = torch.float32, torch.uint8

    raw = {
        "tonic, 2 workers": tonic_epochs(files),
        "dvskit, 2 threads": our_epochs(samples, single, threads=2),
        "dvskit, 2 threads, uint8": our_epochs(samples, small, threads=2),
        "dvskit, 1 thread, uint8": our_epochs(samples, small, threads=1),
    }
    show("raw files", measure(raw, given.rounds), len(samples))
    if given.raw:
        return

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        disk = tonic.DiskCachedDataset(files, cache_path=str(place / "lzf"))
        plain = tonic.DiskCachedDataset(files, cache_path=str(place / "plain"), compress=False)
        memory = tonic.MemoryCachedDataset(files)
        cache, held = Cache(place / "ours"), Cache(place / "ours", memory_gb=1)
        cached = {
            "tonic, disk, 2 workers": tonic_epochs(disk),
            "tonic, disk not compressed, 2 workers": tonic_epochs(plain),
            "tonic, memory, no workers": tonic_epochs(memory, 0),
            "dvskit, disk, 2 threads": our_epochs(samples, single, cache=cache, threads=2),
            "dvskit, disk, 1 thread": our_epochs(samples, single, cache=cache, threads=1),
            "dvskit, disk and memory, 1 thread": our_epochs(samples, single, cache=held, threads=1),
            "dvskit, disk and memory, 2 threads": our_epochs(
                samples, single, cache=held, threads=2
            ),
        }
        show("cached", measure(cached, given.rounds), len(samples))
        kept = sum(file.stat().st_size for file in (place / "lzf").iterdir())
        print(f"  on disk: tonic {kept / 1e6:.1f} MB, dvskit {cache.usage()[1] / 1e6:.1f} MB")

        beside = {
            "no reading: the same batch again": lambda epoch: iter([ready] * 22),
            "tonic, 2 workers": tonic_epochs(files),
            "dvskit, 2 threads": our_epochs(samples, small, threads=2),
            "dvskit, 1 thread": our_epochs(samples, small, threads=1),
            "dvskit, disk, 1 thread": our_epochs(samples, small, cache=cache, threads=1),
        }
        ready = next(iter(our_epochs(samples, small)(0)))
        show("with a training step", measure(beside, given.rounds, small_net()), len(samples))


if __name__ == "__main__":
    main()
