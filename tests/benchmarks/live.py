"""How long a live decision takes behind the last event of its bin, at 128x128 pixels.

    python -m tests.benchmarks.live [--rate 100000] [--bins 200]

Milliseconds from the arrival of a bin's events to the decision (binning, a step of the network, the
readout, softmax), of events all over the sensor at a rate as DVS128 gestures have it: with the one
thread that live decisions take, and with as many as torch would; the processor time of a decision,
which other work on the machine changes less; and the same by running the whole window anew.
"""

from __future__ import annotations

import argparse
import platform
import time
from contextlib import nullcontext
from unittest import mock

import numpy as np
import torch

import dvskit
from dvskit import Events
from dvskit.evaluation import Live
from dvskit.evaluation.live import WindowByWindow
from dvskit.models import InputConfig, Model, load_model, shipped_models
from dvskit.networks import ConvLIF, Layered, MotionLIF

SIZE, BINS, BIN_US = (128, 128), 29, 50_000
NETWORKS = {
    "motion-lif, blocks of 2": MotionLIF(
        width=128, height=128, classes=11, pool=2, channels=(16, 32), hidden=128
    ),
    "motion-lif, blocks of 4": MotionLIF(
        width=128, height=128, classes=11, pool=4, channels=(16, 32), hidden=128
    ),
    "conv-lif": ConvLIF(width=128, height=128, classes=11),
    "layers, 5 convolutions": Layered(
        width=128, height=128, classes=11,
        layers=("S2", *["16C3p1", "signed-lif", "M2"] * 4, "16C3p1", "signed-lif", "M2", "11"),
    ),
}  # fmt: skip


def models() -> dict[str, Model]:
    """The networks above with fresh weights, and what is shipped for recordings."""
    torch.manual_seed(0)
    given = InputConfig(bins=BINS, bin_us=BIN_US)
    names = tuple(map(str, range(11)))
    found = {
        name: Model(name, network, network.build().eval(), given, names)
        for name, network in NETWORKS.items()
    }
    for name in shipped_models():
        model = load_model(name)
        if model.input.channels == 2:
            found[f"{name} ({model.size})"] = model
    return found


def bins_of(model: Model, rate: float, count: int) -> list[Events]:
    """`count` bins of events that are all over the sensor."""
    rng = np.random.default_rng(1)
    bin_us, (width, height) = model.input.bin_us, model.size
    made = []
    for number in range(count):
        events = rng.poisson(rate * bin_us / 1e6)
        t = np.sort(rng.integers(number * bin_us, (number + 1) * bin_us, events))
        t[:1] = number * bin_us  # so that the bins are these
        x, y = rng.integers(0, width, events), rng.integers(0, height, events)
        made.append(Events(t=t, x=x, y=y, p=rng.random(events) < 0.5, size=model.size))
    return made


def measure(model: Model, bins: list[Events]) -> tuple[np.ndarray, np.ndarray]:
    """Return the delay and the processor time of each decision, ms."""
    run, delays, work = Live(model).start(), [], []
    for number, events in enumerate(bins):
        begun = time.process_time()
        (decision,) = run.push(events, until_us=(number + 1) * model.input.bin_us)
        work.append(time.process_time() - begun)
        delays.append(decision.delay_s)
    return 1e3 * np.array(delays), 1e3 * np.array(work)


def line(name: str, how: str, figures: tuple[np.ndarray, np.ndarray]) -> str:
    delays, work = figures
    middle, most = np.quantile(delays, [0.5, 0.95])
    return (
        f"{name:34} {how:18} {middle:8.2f} {most:8.2f} {delays.max():8.2f} {np.median(work):10.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=100_000, help="events per second")
    parser.add_argument("--bins", type=int, default=200)
    given = parser.parse_args()
    print(f"dvskit {dvskit.__version__}, torch {torch.__version__}, numpy {np.__version__}, "
          f"Python {platform.python_version()}, {torch.get_num_threads()} threads")  # fmt: skip
    print(f"{given.rate:,.0f} events/s, {given.bins} bins; ms")
    print(f"{'network':34} {'how':18} {'median':>8} {'95 %':>8} {'longest':>8} {'processor':>10}")
    for name, model in models().items():
        bins = bins_of(model, given.rate, given.bins)
        print(line(name, "one thread", measure(model, bins)), flush=True)
        with mock.patch("dvskit.evaluation.live.torch_threads", nullcontext):
            print(line("", f"{torch.get_num_threads()} threads", measure(model, bins)), flush=True)
        with mock.patch("dvskit.evaluation.live.stepping", WindowByWindow):
            few = bins[: model.input.bins + 10]
            print(line("", "window by window", measure(model, few)), flush=True)


if __name__ == "__main__":
    main()
