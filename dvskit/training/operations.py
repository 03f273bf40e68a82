"""What a network computes for a sample: synaptic operations, neuron updates, energy, memory."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike

from dvskit._arguments import check_arguments
from dvskit.datasets.encode import Encoder
from dvskit.training.judging import Data, Judging, open_judging
from dvskit.training.models import Model
from dvskit.training.operation_counting import LayerOperations, NeuronUpdates, counted

AC_J = 0.9e-12
"""Energy of a float32 addition in 45 nm, joules (Horowitz 2014, figure 1.1.9)."""

MAC_J = 4.6e-12
"""Energy of a float32 multiplication, 3.7 pJ, and an addition, joules (Horowitz 2014)."""

COUNTING_RULE = (
    "An input that is not 0 costs an operation for each of its weights that is not 0; strides and "
    "borders are counted as they are. Where all inputs of a layer are -1, 0 or 1 that is an "
    "addition (AC), else a multiplication and an addition (MAC). Dense is a MAC for each input and "
    "weight at each step. Biases, pooling, normalisation and sums of branches are not counted; "
    "neurons are counted apart."
)
"""How operations are counted, for people."""

ENERGY_SOURCE = (
    "0.9 pJ an AC and 4.6 pJ a MAC, of float32 in 45 nm: M. Horowitz, Computing's energy problem, "
    "ISSCC 2014. Memory is not counted, which may cost more"
)
"""Where the energies are from, for people."""


@dataclass(frozen=True, slots=True)
class Operations:
    """What a network computed for samples, each of so many steps of time.

    layers      those with weights, in the order in which they first ran
    neurons     those with neurons or rectifiers
    samples     how many there were
    steps       of each; of a network of points, its points
    weights     numbers that were learned
    bytes       of these and of the network's other numbers, as they are stored
    uncounted   layers with weights that are of no kind whose operations are counted

    Counted as COUNTING_RULE says, which is neurobench's rule (Yik et al. 2025) but for one point:
    there a layer's inputs are looked at batch by batch, here over all samples, so that nothing
    depends on how they are batched. The means below are those of a sample, over all its steps.
    """

    layers: tuple[LayerOperations, ...]
    neurons: tuple[NeuronUpdates, ...]
    samples: int
    steps: int
    weights: int
    bytes: int
    uncounted: tuple[str, ...] = ()

    @property
    def dense(self) -> float:
        """Multiply-accumulates of a sample if no input were 0: the same layers without spikes."""
        return sum(layer.dense for layer in self.layers) / self.samples

    @property
    def acs(self) -> float:
        """Additions of a sample: synaptic operations of layers whose inputs are spikes."""
        return sum(layer.synaptic for layer in self.layers if layer.of_spikes) / self.samples

    @property
    def macs(self) -> float:
        """Multiply-accumulates of a sample: synaptic operations of the other layers."""
        return sum(layer.synaptic for layer in self.layers if not layer.of_spikes) / self.samples

    @property
    def synaptic(self) -> float:
        """Synaptic operations of a sample, of both kinds."""
        return self.acs + self.macs

    @property
    def updates(self) -> float:
        """Updates of neurons of a sample: each neuron at each step."""
        return sum(layer.updates for layer in self.neurons) / self.samples

    @property
    def sparsity(self) -> float:
        """The share of 0 among what neurons and rectifiers hand out; nan without any."""
        spiking = [layer for layer in self.neurons if layer.active is not None]
        given = sum(layer.outputs for layer in spiking)
        active = sum(layer.active or 0 for layer in spiking)
        return 1 - active / given if given else float("nan")

    @property
    def energy_j(self) -> float:
        """Joules of a sample's synaptic operations, by AC_J and MAC_J."""
        return self.acs * AC_J + self.macs * MAC_J

    @property
    def dense_energy_j(self) -> float:
        """Joules of a sample if no input were 0."""
        return self.dense * MAC_J

    @property
    def update_energy_j(self) -> float:
        """Joules of a sample's neuron updates, taken for a MAC each: decay, and current added."""
        return self.updates * MAC_J


@check_arguments
def count_operations(
    model: Model | str | PathLike[str],
    data: Data,
    *,
    split: str = "held-out",
    encoder: str | Encoder | None = None,
    seed: int | None = None,
) -> Operations:
    """Return what a model computes for samples of labelled data, in the mean.

    Arguments and errors are those of `evaluate`.
    """
    judging = open_judging(model, data, split=split, encoder=encoder, seed=seed)
    return operations_of(judging)


def operations_of(judging: Judging) -> Operations:
    """Return what a model computes for what was opened for it."""
    module = judging.model.module
    layers, neurons, uncounted, (samples, steps) = counted(
        module, (counts for counts, _ in judging.batches().epoch(0))
    )
    stored = [*module.parameters(), *module.buffers()]
    return Operations(
        layers,
        neurons,
        samples,
        steps,
        sum(each.numel() for each in module.parameters()),
        sum(each.numel() * each.element_size() for each in stored),
        uncounted,
    )
