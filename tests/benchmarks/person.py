"""How long clips of the drawn person take, drawn and emulated with a noisy sensor.

python -m tests.benchmarks.person --clips 1000 --processes 2
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

import dvskit
from dvskit.scenes import PERSON_GESTURES, PersonScene

SENSOR = dvskit.EmulatorParams(
    threshold_on=0.25, threshold_off=0.25, threshold_sigma=0.03, cutoff_hz=200.0, leak_hz=0.1,
    shot_hz=0.5, refractory_us=500,
)  # fmt: skip


def clip(fps: int, seed: int) -> tuple[int, float]:
    """Return how many events a clip of 1.45 s has, and the seconds of a processor that it took."""
    start = time.process_time()
    scene = PersonScene.random(PERSON_GESTURES[seed % len(PERSON_GESTURES)], seed, fps=fps)
    run = dvskit.Emulator(SENSOR, seed).start(scene.size, transfer=scene.transfer, threads=1)
    count = sum(len(run.step(t_us, frame).t) for t_us, frame in scene) + len(run.finish().t)
    return count, time.process_time() - start


def main() -> None:
    """Make clips and say how long they took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--fps", type=int, default=200)
    args = parser.parse_args()
    make = partial(clip, args.fps)
    with ProcessPoolExecutor(args.processes) as pool:
        list(pool.map(make, range(args.processes)))  # compiles
        start = time.perf_counter()
        counts, seconds = np.array(list(pool.map(make, range(args.clips), chunksize=5))).T
        took = time.perf_counter() - start
    sys.stdout.write(
        f"{args.clips} clips in {took:.0f} s, {seconds.sum():.0f} s of processors; "
        f"{counts.mean():.0f} events a clip, {np.percentile(counts, 5):.0f} to "
        f"{np.percentile(counts, 95):.0f} of nine in ten\n"
    )


if __name__ == "__main__":
    main()
