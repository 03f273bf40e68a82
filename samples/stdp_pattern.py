"""One neuron finds a hidden pattern by STDP, without being told that there is one.

    python samples/stdp_pattern.py [FOLDER]

1000 inputs spike at random, at a constant rate. Again and again 50 ms of what half of them do is
the same, but for jitter: rates do not show it. A neuron that starts out spiking at anything comes
to spike in the pattern, from its first milliseconds, and at nothing else (Masquelier, Guyonneau &
Thorpe 2008). FOLDER (the current one by default) gets stdp-pattern.png.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import torch
from torch import Tensor

from dvskit.learning import STDP, Window
from dvskit.neurons import LIF

matplotlib.use("Agg")
from matplotlib import pyplot as plt

INPUTS = 1000
IN_PATTERN = INPUTS // 2  # the first half of the inputs takes part
PATTERN_MS = 50
RATE = 0.05  # spikes a ms, of every input at all times
TAU_MS = 10.0
START_WEIGHT = 0.475
# Half of what average input drives an untrained neuron to: it spikes at anything.
THRESHOLD = 0.55 * START_WEIGHT * INPUTS * RATE * TAU_MS


@dataclass(frozen=True)
class Found:
    """A run: spikes of the inputs (T, INPUTS) and the neuron (T,), pattern starts, weights."""

    inputs: Tensor
    spikes: Tensor
    starts: list[int]
    weight: Tensor


def hidden_pattern(duration_ms: int, seed: int) -> tuple[Tensor, list[int]]:
    """Return input spikes (T, INPUTS), one row a ms, and when the pattern starts in them."""
    generator = torch.Generator().manual_seed(seed)
    spikes = torch.rand(duration_ms, INPUTS, generator=generator) < RATE
    pattern = torch.rand(PATTERN_MS, IN_PATTERN, generator=generator) < RATE
    starts, t = [], 100
    while t + PATTERN_MS <= duration_ms:
        starts.append(t)
        spikes[t : t + PATTERN_MS, :IN_PATTERN] = jittered(pattern, generator)
        t += PATTERN_MS * int(torch.randint(2, 6, (), generator=generator))
    return spikes, starts


def jittered(pattern: Tensor, generator: torch.Generator) -> Tensor:
    """Return the pattern with each spike moved by a normal 1 ms, at its ends turned back."""
    ms, which = pattern.nonzero(as_tuple=True)
    moved = (ms + torch.randn(len(ms), generator=generator)).round().long()
    moved = moved.abs().clamp(max=2 * PATTERN_MS - 2 - moved)
    again = torch.zeros_like(pattern)
    again[moved, which] = True
    return again


def listen(duration_ms: int, *, seed: int = 1) -> Found:
    """Let one neuron hear the inputs and learn; return what it did."""
    inputs, starts = hidden_pattern(duration_ms, seed)
    neuron = LIF(beta=math.exp(-1 / TAU_MS), threshold=THRESHOLD, reset="hard", backend="torch")
    # Inputs that spiked in the 12 ms before the neuron gain, all others lose, and the lot of
    # them a little: were it not for the pattern, the neuron would fall silent.
    rule = STDP(Window(0.02, 0.0, tau_plus=17.0), pairing="nearest", offset=0.5)
    weight = torch.full((1, INPUTS), START_WEIGHT)
    membrane, traces, spikes = None, None, torch.zeros(duration_ms)
    for t, pre in enumerate(inputs.float()):
        out, membrane = neuron.run((weight @ pre)[None], membrane)  # (T = 1, M = 1)
        traces = rule.start(pre, out[0], weight) if traces is None else traces
        change, traces = rule.step(traces, pre, out[0], weight)
        weight += change
        spikes[t] = out[0, 0]
    return Found(inputs, spikes, starts, weight[0])


def latencies(found: Found) -> tuple[Tensor, Tensor]:
    """Return when the neuron spikes (in ms), and how long after a pattern's start; -1: outside."""
    times = found.spikes.nonzero()[:, 0]
    starts = torch.tensor(found.starts)
    after = times - starts[(torch.searchsorted(starts, times, right=True) - 1).clamp(min=0)]
    inside = (after >= 0) & (after < PATTERN_MS)
    return times, torch.where(inside, after, -1)


def summary(found: Found, start_ms: int, stop_ms: int) -> tuple[float, float, float]:
    """Return the share of patterns met by a spike, other spikes a second, and the mean latency."""
    times, after = latencies(found)
    now = (times >= start_ms) & (times < stop_ms)
    shown = [t for t in found.starts if start_ms <= t and t + PATTERN_MS <= stop_ms]
    met = {int(t - lag) for t, lag in zip(times[now], after[now], strict=True) if lag >= 0}
    hits = sum(t in met for t in shown) / max(len(shown), 1)
    alarms = 1000 * int((after[now] < 0).sum()) / (stop_ms - start_ms)
    inside = after[now & (after >= 0)].double()
    return hits, alarms, inside.mean().item() if len(inside) else math.nan


def draw(found: Found, path: Path) -> None:
    """Draw the latencies over time, the weights, and one of the last patterns to a PNG."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    times, after = latencies(found)
    inside = after >= 0
    left.plot(times[~inside] / 1000, after[~inside], "|", color="tab:gray", label="no pattern")
    left.plot(times[inside] / 1000, after[inside], ".", ms=3, color="tab:red", label="in a pattern")
    left.set(xlabel="time, s", ylabel="spike after the start of the pattern, ms")
    left.set(title="Spikes of the neuron", ylim=(-4, PATTERN_MS + 12))
    left.legend(loc="upper right", ncols=2)
    halves = (found.weight[:IN_PATTERN].numpy(), found.weight[IN_PATTERN:].numpy())
    middle.hist(halves, 20, range=(0, 1), log=True, label=("in the pattern", "not in it"))
    middle.set(xlabel="weight", ylabel="inputs", title="Weights in the end")
    middle.legend()
    start = found.starts[-2]
    shown = found.inputs[start - 50 : start + 100].nonzero()
    strong = found.weight[shown[:, 1]] > 0.5
    for group, color, size in ((shown[~strong], "0.8", 1), (shown[strong], "tab:red", 6)):
        right.scatter(group[:, 0] - 50, group[:, 1], s=size, color=color)
    for count, t in enumerate(found.spikes[start - 50 : start + 100].nonzero()[:, 0] - 50):
        right.axvline(t, color="black", label=None if count else "the neuron spikes")
    right.axvspan(0, PATTERN_MS, 0, IN_PATTERN / INPUTS, color="tab:blue", alpha=0.15)
    right.set(xlabel="after the start of the pattern, ms", ylabel="input", ylim=(0, INPUTS))
    right.set(title="Input spikes; red: weight above 0.5")
    right.legend(loc="upper right")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main(folder: Path, duration_ms: int = 20_000) -> None:
    """Let the neuron listen, print what it did in each fifth of the time, and draw it."""
    found = listen(duration_ms)
    print("time, s     patterns met   other spikes a second   latency in the pattern, ms")
    for part in range(5):
        start, stop = duration_ms * part // 5, duration_ms * (part + 1) // 5
        hits, alarms, latency = summary(found, start, stop)
        span = f"{start / 1000:g} to {stop / 1000:g}"
        print(f"{span:<10} {hits:>13.0%} {alarms:>23.1f} {latency:>28.1f}")
    draw(found, folder / "stdp-pattern.png")


if __name__ == "__main__":
    torch.set_num_threads(1)  # tensors are small: threads would wait for one another
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
