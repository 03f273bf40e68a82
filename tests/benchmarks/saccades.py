"""How near emulated saccades come to N-MNIST's, and the search for the numbers they are made with.

    python -m tests.benchmarks.saccades DATA             # judge NOMINAL
    python -m tests.benchmarks.saccades DATA --fit 40    # search on, from NOMINAL

DATA holds nmnist-700/<digit>/<number>.bin, real recordings of MNIST training images 1, 2, ..., and
mnist/, the IDX files. Recordings up to --last are fitted, the rest are to judge by, once.

A recording is counted in 32 bins of 10 ms, two polarities and 34x34 places; its correlation with
the counts of its own digit, emulated without variation, is averaged over recordings. The search is
CMA-ES (Hansen 2016) for --fit generations on --digits recordings; what it makes least is
1 - correlation + ln(events / real events)^2 / 2, for correlations alone do not see thresholds.
Active are the places of a polarity that has an event there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit import load_events
from dvskit._threads import run_parts
from dvskit.datasets import read_images
from dvskit.emulator.saccades import NOMINAL, Saccades, emulate_moved
from dvskit.events import Events, Size
from dvskit.tensors import bin_events

SIZE = Size(34, 34)
BINS, BIN_US = 32, 10_000
STEPS = np.array([0.1] * 8 + [1.0] * 3 + [0.7] * 3 + [0.01, 0.01] + [0.1, 0.1, 0.3, 0.15, 0.05])

Counts = NDArray[np.float32]


@dataclass(frozen=True)
class Pairs:
    """Real recordings, counted, and the images they were made of."""

    numbers: NDArray[np.int64]
    counts: Counts
    images: NDArray[np.uint8]

    def of(self, chosen: NDArray[Any]) -> Pairs:
        """Return some of them."""
        return Pairs(self.numbers[chosen], self.counts[chosen], self.images[chosen])


def count(events: Events) -> Counts:
    """Return counts (BINS, 2, H, W); what comes later is left out."""
    binned = bin_events(events, bins=BINS, bin_us=BIN_US, start_us=0, outside="ignore")
    return binned.numpy().astype(np.float32)


def load_pairs(data: Path) -> Pairs:
    """Return all recordings of the folder, by number."""
    files = sorted((data / "nmnist-700").glob("*/*.bin"), key=lambda file: int(file.stem))
    numbers = np.array([int(file.stem) for file in files])
    counts = np.stack([count(load_events(file)) for file in files])
    return Pairs(numbers, counts, read_images(data / "mnist", "train").pixels[numbers - 1])


def emulated(pairs: Pairs, saccades: Saccades, *, frame_ms: int = 4) -> Counts:
    """Return the counts of each image, emulated."""
    made = np.empty_like(pairs.counts)

    def work(k: int) -> None:
        made[k] = count(emulate_moved(pairs.images[k], SIZE, saccades, seed=k, frame_ms=frame_ms))

    run_parts(work, len(made))
    return made


def correlations(a: Counts, b: Counts) -> NDArray[np.float64]:
    """Return the correlation of each recording of `a` with that of `b`."""
    rows = [c.reshape(len(c), -1).astype(np.float64) for c in (a, b)]
    rows = [c - c.mean(axis=1, keepdims=True) for c in rows]
    norms = [np.sqrt((c * c).sum(axis=1)) for c in rows]
    found: NDArray[np.float64] = (rows[0] * rows[1]).sum(axis=1) / (norms[0] * norms[1])
    return found


def to_vector(s: Saccades) -> NDArray[np.float64]:
    """Return the numbers that are searched; what is above 0 by its logarithm."""
    plain = [*np.ravel(s.stations_px), *s.fastest_ms, *s.width_ms, s.turn_rad, s.scale]
    balance = np.sqrt(s.threshold_on / s.threshold_off)
    above = [s.blur_px, s.gamma, s.pedestal, s.threshold_on / balance, balance]
    return np.array([*plain, *np.log(above)])


def from_vector(x: NDArray[np.float64]) -> Saccades:
    """Return the saccades of searched numbers."""
    blur, gamma, pedestal, threshold, balance = np.exp(x[16:]).tolist()
    return replace(
        NOMINAL,
        stations_px=tuple((a, b) for a, b in x[:8].reshape(4, 2).tolist()),
        fastest_ms=tuple(x[8:11].tolist()),
        width_ms=tuple(x[11:14].tolist()),
        turn_rad=float(x[14]),
        scale=float(x[15]),
        blur_px=blur,
        gamma=gamma,
        pedestal=pedestal,
        threshold_on=threshold * balance,
        threshold_off=threshold / balance,
    )


def search(
    loss: Callable[[NDArray[np.float64]], float],
    start: NDArray[np.float64],
    steps: NDArray[np.float64],
    generations: int,
) -> NDArray[np.float64]:
    """Return the mean of the last generation of CMA-ES, by the defaults of Hansen's tutorial."""
    rng, n = np.random.default_rng(0), len(start)
    born = 4 + int(3 * np.log(n))
    kept = born // 2
    w = np.log(kept + 0.5) - np.log(np.arange(1, kept + 1))
    w /= w.sum()
    mass = 1 / (w**2).sum()
    c_path, c_sigma = (4 + mass / n) / (n + 4 + 2 * mass / n), (mass + 2) / (n + mass + 5)
    c_one = 2 / ((n + 1.3) ** 2 + mass)
    c_rank = min(1 - c_one, 2 * (mass - 2 + 1 / mass) / ((n + 2) ** 2 + mass))
    damping = 1 + 2 * max(0, np.sqrt((mass - 1) / (n + 1)) - 1) + c_sigma
    usual = np.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))
    mean, sigma, spread = np.zeros(n), 1.0, np.eye(n)
    path, sigma_path = np.zeros(n), np.zeros(n)
    for generation in range(generations):
        values, axes = np.linalg.eigh(spread)
        lengths = np.sqrt(np.maximum(values, 1e-20))
        moves = rng.normal(size=(born, n)) * lengths @ axes.T
        losses = np.array([loss(start + steps * (mean + sigma * move)) for move in moves])
        best = moves[np.argsort(losses)[:kept]]
        move = w @ best
        mean = mean + sigma * move
        sigma_path *= 1 - c_sigma
        sigma_path += np.sqrt(c_sigma * (2 - c_sigma) * mass) * (axes @ ((axes.T @ move) / lengths))
        length = np.linalg.norm(sigma_path)
        grown = length / np.sqrt(1 - (1 - c_sigma) ** (2 * (generation + 1)))
        calm = grown / usual < 1.4 + 2 / (n + 1)
        path = (1 - c_path) * path + calm * np.sqrt(c_path * (2 - c_path) * mass) * move
        spread = (1 - c_one - c_rank) * spread + c_one * np.outer(path, path)
        spread += c_rank * (best.T * w) @ best
        sigma *= np.exp((c_sigma / damping) * (length / usual - 1))
        print(
            f"generation {generation + 1}: least {losses.min():.4f}, step {sigma:.3f}", flush=True
        )
    return start + steps * mean


def fit(pairs: Pairs, generations: int) -> Saccades:
    """Return the numbers found on these recordings."""
    real = pairs.counts.sum()

    def loss(x: NDArray[np.float64]) -> float:
        made = emulated(pairs, from_vector(x))
        more = np.log((made.sum() + 1) / real)
        return float(1 - correlations(made, pairs.counts).mean() + more**2 / 2)

    return from_vector(search(loss, to_vector(NOMINAL), STEPS, generations))


def describe(name: str, counts: Counts) -> None:
    """Print what is compared beside the correlation."""
    events, totals = counts.sum() / len(counts), counts.sum(axis=1)
    on = counts[:, :, 1].sum() / counts.sum()
    active = (totals > 0).sum() / len(counts)
    busiest = totals.max(axis=(1, 2, 3)).mean()
    print(f"{name:8} {events:.0f} events, ON {on:.3f}, {active:.0f} active, busiest {busiest:.1f}")
    print("   a bin", *np.rint(counts.sum(axis=(0, 2, 3, 4)) / len(counts)).astype(int))


def judge(pairs: Pairs, saccades: Saccades, *, frame_ms: int) -> None:
    """Print how near emulated recordings come."""
    made = emulated(pairs, saccades, frame_ms=frame_ms)
    single = correlations(made, pairs.counts)
    error = single.std() / np.sqrt(len(single))
    print(f"{len(single)} recordings, {pairs.numbers[0]} to {pairs.numbers[-1]}")
    print(f"correlation of single recordings {single.mean():.4f} +- {error:.4f}")
    mean = correlations(made[:100].mean(axis=0)[None], pairs.counts[:100].mean(axis=0)[None])
    print(f"correlation of the means of 100  {mean[0]:.4f}")
    describe("real", pairs.counts)
    describe("emulated", made)


def main(words: Sequence[str] | None = None) -> None:
    """Fit, if asked to, then judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--fit", type=int, default=0, metavar="GENERATIONS")
    parser.add_argument("--digits", type=int, default=50, help="to fit, evenly spaced by number")
    parser.add_argument("--last", type=int, default=400, help="number of the last one to fit")
    parser.add_argument("--frame-ms", type=int, default=4)
    asked = parser.parse_args(words)
    pairs = load_pairs(asked.data)
    saccades, frame_ms = NOMINAL, asked.frame_ms
    known = pairs.of(pairs.numbers <= asked.last)
    if asked.fit:
        began = time.perf_counter()
        step = max(1, len(known.numbers) // asked.digits)
        saccades = fit(known.of(np.arange(0, len(known.numbers), step)), asked.fit)
        print(f"{saccades}\nin {time.perf_counter() - began:.0f} s\n\nfitted:")
        judge(known, saccades, frame_ms=frame_ms)
    else:
        rest = pairs.of(pairs.numbers > asked.last)
        judge(rest, saccades, frame_ms=frame_ms)


if __name__ == "__main__":
    main()
