"""Images by networks: speed of `reconstruct` and of an ONNX file, beside eventcv's StatefulModel.

    python -m tests.benchmarks.reconstruction_onnx [--images 20] [--threads 1]

The file is in the layout of FireNet: 16 channels, 38,000 weights at random, sides of the sensor.
`reconstruct` is the shipped network. All take the same windows of 0.35 events per pixel at random
pixels, in three rounds, one tool after the other, since idle threads of onnxruntime wait actively;
medians of the wall clock. All times include the voxels; eventcv's have another convention, so that
its images differ.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from dvskit.events import Events, as_size
from dvskit.reconstruction import OnnxReconstructor, Reconstructor, load_reconstructor
from tests.image_networks import FIRE_NAMES, FireShaped, export, seeded

SIZES = ((240, 180), (640, 480))
EVERY, STEP_US = 0.35, 20_000


def windows(size: tuple[int, int], count: int) -> list[Events]:
    """Windows of `EVERY` events per pixel."""
    random, each = np.random.default_rng(1), round(EVERY * size[0] * size[1])
    found = []
    for number in range(count):
        t = np.sort(random.integers(0, STEP_US, each)) + number * STEP_US
        x, y = random.integers(0, size[0], each), random.integers(0, size[1], each)
        found.append(Events(t=t, x=x, y=y, p=random.random(each) < 0.5, size=size))
    return found


def ours(network: Reconstructor, size: tuple[int, int]) -> Callable[[Events], Any]:
    """Return a function that makes an image of a window, with state."""
    run = network.start(as_size(size))

    def image(window: Events) -> Any:
        run.add(window)
        return run.image(int(window.t[-1]))

    return image


def theirs(path: Path, size: tuple[int, int]) -> Callable[[Events], Any]:
    """Return the same by eventcv."""
    import eventcv

    states = {after: before for before, after in OnnxReconstructor(path).states.items()}
    model = eventcv.StatefulModel(eventcv.Model(str(path)), states)

    def image(window: Events) -> Any:
        rows = np.stack([window.x, window.y, window.t, window.p], 1)
        stream = eventcv.from_numpy(rows, sensor_size=size, time_unit="us")
        return model(stream.voxel(bins=5))

    return image


def main() -> None:
    """Print the medians, for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--threads", type=int, help="of ours; theirs takes what it takes")
    given = parser.parse_args()
    if given.threads:
        os.environ["DVSKIT_THREADS"] = str(given.threads)
    names = ("onnxruntime", "torch", "eventcv", "numpy")
    print(", ".join(f"{name} {version(name)}" for name in names))
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            sides = size[1], size[0]
            path = Path(folder) / "fire.onnx"
            export(seeded(FireShaped), path, FIRE_NAMES, free=False, sides=sides)
            every = {
                "reconstruct": ours(load_reconstructor("reconstruct"), size),
                "ONNX in dvskit": ours(OnnxReconstructor(path, convention="firenet+"), size),
                "ONNX in eventcv": theirs(path, size),
            }
            took: dict[str, list[float]] = {name: [] for name in every}
            for name, image in list(every.items()) * 3:
                for window in windows(size, given.images):
                    begun = time.perf_counter()
                    image(window)
                    took[name].append(1e3 * (time.perf_counter() - begun))
                time.sleep(0.5)
            medians = {name: float(np.median(each)) for name, each in took.items()}
            words = ", ".join(f"{name} {ms:.1f} ms" for name, ms in medians.items())
            print(f"{size[0]}x{size[1]}: {words} an image; the last to the others:", end=" ")
            last = medians.pop("ONNX in eventcv")
            print(", ".join(f"{last / ms:.2f}" for ms in medians.values()))


if __name__ == "__main__":
    main()
