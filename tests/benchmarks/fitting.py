"""How often the shipped digit network is right about digits on sensors of other sizes.

    python -m tests.benchmarks.fitting MNIST [--digits 200]

MNIST is the folder of the four IDX files. Digits of its test part are moved along N-MNIST's
saccades before a sensor of each size, which sees all as large as it is itself, and emulated. The
events are fitted to the network's 34x34 (`dvskit.filters.Fit`) and judged in two ways: each
counting the area of its pixel (as `dvskit.training` does), and each counting 1.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch

from dvskit import models
from dvskit.datasets import read_images
from dvskit.emulator.saccades import NOMINAL, emulate_moved
from dvskit.events import Events, Size
from dvskit.filters import Fit
from dvskit.tensors import bin_events

_SIZES = (17, 26, 34, 68, 100, 128, 136, 240)


def emulate(image: np.ndarray, size: Size, seed: int) -> Events:
    """Return the events of a digit that fills a sensor of any size as it fills 34x34."""
    scale = size.width / 34
    shown = replace(
        NOMINAL,
        stations_px=tuple((scale * x, scale * y) for x, y in NOMINAL.stations_px),
        scale=scale * NOMINAL.scale,
        blur_px=max(0.4, scale * NOMINAL.blur_px),
    )
    return emulate_moved(image, size, shown, seed=seed)


def main() -> None:
    """Print a row a size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mnist")
    parser.add_argument("--digits", type=int, default=200)
    args = parser.parse_args()
    model = models.load_model("nmnist-signed-lif")
    images = read_images(args.mnist, "t10k")
    labels = torch.from_numpy(images.labels[: args.digits])
    print(f"{'sensor':>8}  {'events':>8}  {'by area':>8}  {'by count':>8}  fit")
    for side in _SIZES:
        size, counts, total = Size(side, side), [], 0
        for number in range(len(labels)):
            events = emulate(images.pixels[number], size, number)
            step = Fit(model.size).start(size)
            total += len(events)
            counts.append(bin_events(step(events), bins=20, bin_us=15_500, outside="ignore"))
        weight = step.placement.weight
        shares = [_right(model, counts, labels, each) for each in (weight, 1.0)]
        mean = total / len(labels)
        print(
            f"{size!s:>8}  {mean:8,.0f}  {shares[0]:6.1f} %  {shares[1]:6.1f} %  {step.placement}"
        )


def _right(
    model: models.Model, counts: list[torch.Tensor], labels: torch.Tensor, weight: float
) -> float:
    """Return the share of right answers, in percent."""
    right = 0
    with torch.inference_mode():
        for start in range(0, len(counts), 50):
            batch = torch.stack(counts[start : start + 50], 1).float() * weight
            right += int((model.module(batch).argmax(1) == labels[start : start + 50]).sum())
    return 100 * right / len(labels)


if __name__ == "__main__":
    main()
