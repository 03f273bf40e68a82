"""Train neurons by the times of their spikes: one that tells two classes apart, and XOR.

    python samples/spikeprop_neuron.py [FOLDER]

One neuron learns to spike at 50 ms for inputs of the first class and at 75 ms for those of the
second, and is tried on inputs that it has not seen. Then three inputs, five hidden neurons and one
output learn XOR. FOLDER (the current one by default) gets spikeprop-neuron.png.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import torch
from torch import Tensor

from dvskit.learning import SpikeProp, Synapses, time_error

matplotlib.use("Agg")
from matplotlib import pyplot as plt

CLASS_MS = (50.0, 75.0)
INPUTS = 20
JITTER_MS = 1.0


@dataclass(frozen=True)
class Course:
    """How a network was before training and after it: errors by step, output times in ms."""

    errors: list[float]
    before: Tensor
    after: Tensor


def two_classes(count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Return spike times (count, INPUTS) in ms and labels (count,): two patterns with jitter.

    The patterns are the same for every seed: 20 input spikes within 40 ms, drawn once.
    """
    patterns = 40 * torch.rand(2, INPUTS, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    jitter = JITTER_MS * torch.randn(count, INPUTS, generator=generator)
    return (patterns[labels] + jitter).clamp(min=0), labels


def learn(network: SpikeProp, times: Tensor, desired: Tensor, *, steps: int, rate: float) -> Course:
    """Train the network to spike at `desired` (B, M) for input spikes at `times` (B, N)."""
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    silent_at = 2 * desired.max().item()
    before, errors = network(times).detach(), []
    for _ in range(steps):
        spikes = network.run(times)
        error = time_error(spikes[-1], desired, silent_at=silent_at) / len(times)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        network.wake(spikes, by=rate)
        errors.append(error.item())
    return Course(errors, before, network(times).detach())


def one_neuron(steps: int) -> tuple[Course, Tensor, Tensor, Tensor]:
    """Return the training of the neuron, the labels, and times and labels of new inputs."""
    synapses = Synapses(tuple(float(d) for d in range(0, 50, 5)), tau=15.0, least_slope=0.01)
    network = SpikeProp([INPUTS, 1], synapses, generator=0)
    times, labels = two_classes(40, seed=2)
    course = learn(network, times, torch.tensor(CLASS_MS)[labels][:, None], steps=steps, rate=0.002)
    new_times, new_labels = two_classes(200, seed=3)
    return course, labels, network(new_times).detach(), new_labels


def xor(steps: int, seed: int = 0) -> tuple[Course, Tensor]:
    """Return the training on XOR and the desired times: 10 ms is true, 16 ms false.

    Inputs spike at 0 or 6 ms, and a third one always at 0 (Bohte, Kok & La Poutré 2002).
    """
    network = SpikeProp([3, 5, 1], Synapses(tau=7.0, least_slope=0.02), generator=seed)
    bits = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    desired = torch.tensor([[16.0], [10.0], [10.0], [16.0]])
    return learn(network, 6 * bits, desired, steps=steps, rate=0.01), desired


def table(course: Course, classes: Tensor, new: tuple[Tensor, Tensor]) -> list[str]:
    """Return the lines of a table of the neuron's spike times: mean and spread of each class."""
    new_times, new_labels = new
    lines = ["desired   before training   after training   new inputs   right"]
    for label, wanted in enumerate(CLASS_MS):
        groups = (course.before[classes == label], course.after[classes == label])
        cells = [_spread(group) for group in (*groups, new_times[new_labels == label])]
        right = (_nearest(new_times) == new_labels)[new_labels == label].double().mean().item()
        lines.append(
            f"{wanted:4.0f} ms   {cells[0]:>15}   {cells[1]:>14}   {cells[2]:>10}   {right:5.1%}"
        )
    return lines


def draw(
    path: Path, one: tuple[Course, Tensor, Tensor, Tensor], two: Course, wanted: Tensor
) -> None:
    """Draw the spike times of the neuron, and errors by step, to a PNG."""
    course, labels, new_times, new_labels = one
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    edges = torch.arange(36.0, 82.0, 0.5).numpy()
    for label, color in enumerate(("tab:blue", "tab:orange")):
        before, new = course.before[labels == label], new_times[new_labels == label]
        left.hist(before.numpy().ravel(), edges, color=color, alpha=0.35)
        left.hist(new.numpy().ravel(), edges, color=color, label=f"class {label + 1}")
        left.axvline(CLASS_MS[label], color="black", lw=0.8, ls=":")
    left.set(xlabel="time of the spike, ms", ylabel="inputs", title="One neuron, two classes")
    left.text(41, left.get_ylim()[1] * 0.6, "before\ntraining", ha="left")
    left.legend(title="new inputs, after")
    for axis, errors, title in (
        (middle, course.errors, "One neuron: error"),
        (right, two.errors, "XOR, 3-5-1: error"),
    ):
        axis.semilogy(errors, color="tab:green")
        axis.set(xlabel="step", ylabel="half the squared error, ms²", title=title)
    rows = ["in    wanted    spike"] + [
        f"{bits}   {want:5.1f}   {got:6.2f}"
        for bits, want, got in zip(
            ("0 0", "0 1", "1 0", "1 1"), wanted.ravel(), two.after.ravel(), strict=True
        )
    ]
    right.text(0.04, 0.05, "\n".join(rows), transform=right.transAxes, family="monospace")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _spread(times: Tensor) -> str:
    return f"{times.mean():.1f} ± {times.std():.1f}"


def _nearest(times: Tensor) -> Tensor:
    """Return the class whose time each spike (B, 1) is nearest to."""
    return (times - torch.tensor(CLASS_MS)).abs().argmin(1)


def main(folder: Path, steps: int = 300, xor_steps: int = 400) -> None:
    """Train both, print the tables and draw the picture."""
    one = one_neuron(steps)
    course, labels, new_times, new_labels = one
    print("\n".join(table(course, labels, (new_times, new_labels))))
    two, wanted = xor(xor_steps)
    print("\nXOR   wanted   before    after")
    for bits, *times in zip(
        ("0 0", "0 1", "1 0", "1 1"), wanted[:, 0], two.before[:, 0], two.after[:, 0], strict=True
    ):
        print(f"{bits}   {times[0]:6.1f}   {times[1]:6.2f}   {times[2]:6.2f}  ms")
    draw(folder / "spikeprop-neuron.png", one, two, wanted)


if __name__ == "__main__":
    torch.set_num_threads(1)  # tensors are small: threads would wait for one another
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
