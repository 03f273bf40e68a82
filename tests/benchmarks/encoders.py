"""Values and signals to spikes, beside the peers in one run.

    python -m tests.benchmarks.encoders [--steps 1000] [--channels 1024] [--rounds 5] [--looped 16]

For each code prints the median milliseconds of ours [fastest pass] and of each peer, how many times
ours that is by the clock and by the processor time of the fastest pass (which other work on the
machine disturbs less), and how many of its spikes are not ours ("of chance": drawn apart, so their
mean rates are told). Signals are float32, (steps, channels); still values are as many channels over
as many steps. Peers that loop over channels in Python are timed on `--looped` of them and the time
is multiplied: their channels do not depend on one another. Passes alternate. Peers that are not
installed are left out: snntorch, norse, innuce-spikify, spike-encoding (only its converters are
used: `pip install --no-deps spike-encoding` with optuna, torchmetrics, colorama, joblib serves).

Not alike: spikify has int8 spikes of float64 signals; its temporal contrast puts a spike one step
sooner (set right here), counts the last change twice and keeps the sign of the mean, so that its
thresholds, and some spikes, differ; spike-encoding's BSA leaves out the first tap and goes on with
cut filters up to the end, which is left out. On a busy machine set DVSKIT_THREADS=1: threads of
torch wait for one another.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor

from dvskit import encoders
from dvskit._threads import thread_count
from tests.benchmarks.measured import Passes, release

TAPS, CUTOFF, THRESHOLD, BSA_THRESHOLD, WINDOW = 20, 0.1, 0.05, 0.955, 5
FIELDS = 8
PEERS = ("snntorch", "norse", "innuce-spikify", "spike-encoding")
Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Peer:
    """What a peer does to the same input; `looped` if in Python, channel by channel."""

    name: str
    run: Run
    looped: bool = False
    apart: int = 0  # steps at the end in which its spikes are not to be ours
    chance: bool = False


def walks(steps: int, channels: int) -> Tensor:
    """Smooth signals in [0, 1], which start at 0 for as long as a filter is."""
    generator = torch.Generator().manual_seed(0)
    step = (torch.rand(steps, channels, generator=generator, dtype=torch.float64) - 0.5) * 0.2
    step[:TAPS] = 0
    return (((step.cumsum(0) + 1) % 2) - 1).abs().to(torch.float32)


def signed(theirs: np.ndarray) -> Tensor:
    return torch.from_numpy(theirs)


def of_snntorch() -> dict[str, list[Peer]]:
    from snntorch import spikegen

    return {
        "poisson": [Peer("snntorch", lambda x: spikegen.rate(x, num_steps=STEPS), chance=True)],
        "latency": [
            Peer(
                "snntorch",
                lambda x: spikegen.latency(x, num_steps=STEPS, tau=STEPS - 1, linear=True),
            )
        ],
        "delta": [
            Peer(
                "snntorch",
                lambda x: spikegen.delta(x, threshold=THRESHOLD, padding=True, off_spike=True),
            )
        ],
    }


def of_norse() -> dict[str, list[Peer]]:
    from norse.torch.functional.encode import population_encode, signed_poisson_encode

    def drawn(x: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return signed_poisson_encode(2 * x - 1, STEPS, f_max=1000.0, generator=generator)

    return {
        "signed_poisson": [Peer("norse", drawn)],
        "population": [Peer("norse", lambda x: population_encode(x, FIELDS, scale=1))],
    }


def of_spikify() -> dict[str, list[Peer]]:
    from spikify.encoders.temporal.contrast import (
        moving_window,
        step_forward,
        threshold_based_representation,
    )
    from spikify.encoders.temporal.deconvolution import bens_spiker, hough_spiker

    def peer(encode: Callable[[np.ndarray], tuple[np.ndarray, ...]]) -> Run:
        return lambda x: signed(encode(x.to(torch.float64).numpy())[0])

    hamming = {"window_type": "hamming"}
    return {
        "temporal_contrast": [
            Peer("spikify", peer(partial(threshold_based_representation, factor=1.0)))
        ],
        "step_forward": [Peer("spikify", peer(partial(step_forward, threshold=THRESHOLD)), True)],
        "moving_window": [
            Peer(
                "spikify",
                peer(partial(moving_window, window_length=WINDOW, threshold=THRESHOLD)),
                True,
            )
        ],
        "hsa": [
            Peer(
                "spikify",
                peer(partial(hough_spiker, window_length=TAPS, cutoff=CUTOFF, **hamming)),
                True,
            )
        ],
        "bsa": [
            Peer(
                "spikify",
                peer(
                    partial(
                        bens_spiker,
                        window_length=TAPS,
                        cutoff=CUTOFF,
                        threshold=BSA_THRESHOLD,
                        **hamming,
                    )
                ),
                True,
            )
        ],
    }


def of_spike_encoding() -> dict[str, list[Peer]]:
    from spike_encoding.bens_spiker_algorithm import BensSpikerAlgorithm
    from spike_encoding.delta_modulation_converter import DeltaModulationConverter
    from spike_encoding.step_forward_converter import StepForwardConverter

    def step_forward(x: Tensor) -> Tensor:
        thresholds = torch.full((x.shape[1],), THRESHOLD)
        return StepForwardConverter(threshold=thresholds).encode(x.t()).sum(0).t()

    def delta(x: Tensor) -> Tensor:
        converter = DeltaModulationConverter(delta=THRESHOLD, padding=True, off_spike=True)
        return converter(x.t()).sum(0).t()

    def bsa(x: Tensor) -> Tensor:
        channels = x.shape[1]
        converter = BensSpikerAlgorithm(
            threshold=torch.full((channels,), BSA_THRESHOLD),
            filter_order=torch.full(
                (channels,), TAPS
            ),  # a tap more, the first of which is left out
            filter_cutoff=torch.full((channels,), CUTOFF / 2),  # of the sampling rate
        )
        return converter.encode(x.t().clone(), isNormed=True).t()

    return {
        "step_forward": [Peer("spike-encoding", step_forward)],
        "delta": [Peer("spike-encoding", delta)],
        "bsa, 20 of 21 taps": [Peer("spike-encoding", bsa, looped=True, apart=TAPS - 1)],
    }


STEPS = 1000


def ours() -> dict[str, Run]:
    response = encoders.low_pass(TAPS, cutoff=CUTOFF)
    without_first = encoders.low_pass(TAPS + 1, cutoff=CUTOFF)[1:]
    fields = encoders.ReceptiveFields(tuple(torch.linspace(0, 1, FIELDS).tolist()), 1.0)
    return {
        "poisson": lambda x: encoders.poisson(x, STEPS, generator=0),
        "signed_poisson": lambda x: encoders.signed_poisson(2 * x - 1, STEPS, generator=0),
        "latency": lambda x: encoders.latency(x, STEPS),
        "rank_order": lambda x: encoders.rank_order(x, STEPS, dims=1),
        "population": lambda x: encoders.population(x, fields),
        "delta": lambda x: encoders.delta(x, threshold=THRESHOLD),
        "temporal_contrast": encoders.temporal_contrast,
        "step_forward": lambda x: encoders.step_forward(x, threshold=THRESHOLD),
        "moving_window": lambda x: encoders.moving_window(x, window=WINDOW, threshold=THRESHOLD),
        "hsa": lambda x: encoders.hsa(x, response=response),
        "bsa": lambda x: encoders.bsa(x, response=response, threshold=BSA_THRESHOLD),
        "bsa, 20 of 21 taps": lambda x: encoders.bsa(
            x, response=without_first, threshold=BSA_THRESHOLD
        ),
    }


STILL = ("poisson", "signed_poisson", "latency", "rank_order")


def found_peers() -> dict[str, list[Peer]]:
    every: dict[str, list[Peer]] = {}
    makers = (of_snntorch, of_norse, of_spikify, of_spike_encoding)
    for package, make in zip(PEERS, makers, strict=True):
        try:
            for name, peers in make().items():
                every.setdefault(name, []).extend(peers)
            print(release(package), end="; ")
        except ImportError as error:
            print(f"{package}: left out ({error})", end="; ")
    print(f"torch {torch.__version__}, numba {version('numba')}, {thread_count()} threads")
    return every


def agreement(peer: Peer, made: Tensor, theirs: Tensor, name: str) -> str:
    if peer.chance:
        return f"of chance, rates {made.mean():.4f} and {theirs.float().mean():.4f}"
    if name == "population":
        return f"responses within {(made - theirs).abs().max():.0e}"
    if name == "temporal_contrast":
        made, theirs = made[1:], theirs[:-1]
    made, theirs = made[: len(made) - peer.apart], theirs[: len(made) - peer.apart]
    unlike = int((made != theirs).sum())
    return f"{unlike} of {int((theirs != 0).sum()):,} spikes unlike"


def compare(name: str, run: Run, peers: list[Peer], x: Tensor, rounds: int, looped: int) -> None:
    made = run(x)  # compiles
    mine, others = Passes(), [Passes() for _ in peers]
    for turn in range(rounds):
        mine.run(lambda: run(x))
        for peer, taken in zip(peers, others, strict=True):
            if not peer.looped or turn < 2:
                part = x[..., :looped] if peer.looped else x
                found = taken.run(lambda run=peer.run, part=part: run(part))
                taken.first = found if turn == 0 else taken.first
    middle, least = mine.middle[0], mine.least
    print(f"{name:20s} {1e3 * middle:9.2f} ms [{1e3 * least[0]:.2f}]")
    for peer, taken in zip(peers, others, strict=True):
        times = x.shape[-1] / min(looped, x.shape[-1]) if peer.looped else 1.0
        clock, processor = times * taken.middle[0], times * taken.least[1] / least[1]
        ours = made[..., :looped] if peer.looped else made
        print(
            f"    {peer.name:16s} {1e3 * clock:9.1f} ms {clock / middle:8.1f}x, processor "
            f"{processor:8.1f}x {'*' if peer.looped else ' '} "
            f"{agreement(peer, ours, taken.first, name)}"
        )


def main() -> None:
    global STEPS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--channels", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--looped", type=int, default=16, help="channels of peers that loop")
    asked = parser.parse_args()
    STEPS = asked.steps
    torch.set_num_threads(thread_count())
    peers = found_peers()
    print(f"T = {asked.steps}, N = {asked.channels}; *: timed on {asked.looped} channels, scaled")
    signal = walks(asked.steps, asked.channels)
    still = torch.rand(asked.channels, generator=torch.Generator().manual_seed(1)) * 0.95 + 0.05
    looped = min(asked.looped, asked.channels)
    for name, run in ours().items():
        x = still if name in STILL else signal
        compare(name, run, peers.get(name, []), x, asked.rounds, looped)


if __name__ == "__main__":
    main()
