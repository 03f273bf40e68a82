"""What a network does inside: the cost of its operations per sample, and a recording of its layers.

Layers are counted and recorded by hooks while any network runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import UninitializedParameter

from dvskit.encoders.names import Encoder
from dvskit.errors import ConfigError, ShapeError, did_you_mean
from dvskit.evaluation.judging import Data, Judging, open_judging
from dvskit.events import Events
from dvskit.layers import Conv2d, Membrane
from dvskit.models.inputs import fit_recording, input_of
from dvskit.models.model import Model
from dvskit.models.scores import device_of
from dvskit.neurons import Neurons, NeuronTrace, RecurrentLIF

_RECTIFIERS = (nn.ReLU, nn.ReLU6)


@dataclass(frozen=True, slots=True)
class LayerOperations:
    """The operations of a layer with weights, over all samples and steps.

    name, kind  its name in the network, and its class
    inputs      the number of inputs; `active` of them are not 0
    synaptic    operations: for each active input, its weights that are not 0
    dense       for each input, all its weights
    of_spikes   whether all inputs were -1, 0 or 1

        samples = dvskit.datasets.open_samples("digits")[::20]
        counted = dvskit.evaluation.count_operations("nmnist-signed-lif", samples, split="all")
        first = counted.layers[0]
        first.name, first.active / first.inputs  # the layer, the share of inputs that are not 0
    """

    name: str
    kind: str
    inputs: int
    active: int
    synaptic: int
    dense: int
    of_spikes: bool


@dataclass(frozen=True, slots=True)
class NeuronUpdates:
    """The updates of neurons or rectifiers, over all samples and steps.

    updates  updates of neurons; 0 for rectifiers, which have no state
    outputs  the number of outputs; `active` of them are not 0, None for neurons that do not spike

        samples = dvskit.datasets.open_samples("digits")[::20]
        counted = dvskit.evaluation.count_operations("nmnist-signed-lif", samples, split="all")
        last = counted.neurons[-1]
        last.name, last.updates  # the layer, one update of each neuron, step and sample
        last.active / last.outputs  # the share of spikes among the outputs
    """

    name: str
    kind: str
    updates: int
    outputs: int
    active: int | None


def counted(module: nn.Module, inputs: Iterable[Tensor]) -> Operations:
    """Run a network over inputs (T, B, ...), and return the operations of its layers.

    In evaluation mode and inference mode; the network's mode is restored. Counts convolutions and
    dense layers, torch's and dvskit's, anywhere in the network and however often they run.
    """
    weighted: dict[str, _Weighted] = {}
    neurons: dict[str, _Active] = {}
    samples = steps = 0
    hooks, uncounted = _attach(module, weighted, neurons)
    was_training, device = module.training, device_of(module)
    module.eval()
    try:
        for batch in inputs:
            samples, steps = samples + batch.shape[1], batch.shape[0]
            with torch.inference_mode():
                module(batch.to(device).float())
    finally:
        module.train(was_training)
        for hook in hooks:
            hook.remove()
    if not samples:
        raise ConfigError("operations are counted while samples run; give at least one sample")
    stored = [*module.parameters(), *module.buffers()]
    return Operations(
        tuple(layer.counted(name) for name, layer in weighted.items()),
        tuple(layer.counted(name) for name, layer in neurons.items()),
        samples,
        steps,
        sum(each.numel() for each in module.parameters()),
        sum(each.numel() * each.element_size() for each in stored),
        uncounted,
    )


def _attach(
    module: nn.Module, weighted: dict[str, _Weighted], neurons: dict[str, _Active]
) -> tuple[list[Any], tuple[str, ...]]:
    """Attach hooks to all counted layers; return them, and the names of layers without one."""
    hooks, uncounted = [], []
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear | _ConvNd):

            def see(layer: nn.Module, given: tuple[Any, ...], name: str = name) -> None:
                weighted.setdefault(name, _Weighted(layer)).see(given[0])

            hooks.append(part.register_forward_pre_hook(see))
        elif isinstance(part, (Neurons, Membrane, *_RECTIFIERS)):

            def fired(layer: nn.Module, given: Any, out: Tensor, name: str = name) -> None:
                neurons.setdefault(name, _Active(layer)).see(out)

            hooks.append(part.register_forward_hook(fired))
        elif _has_matrix(part):
            uncounted.append(name)
        if isinstance(part, RecurrentLIF) and isinstance(part.recurrent, Tensor):
            uncounted.append(f"{name}.recurrent")
    return hooks, tuple(uncounted)


def _has_matrix(part: nn.Module) -> bool:
    own = part.parameters(recurse=False)
    return any(not isinstance(each, UninitializedParameter) and each.ndim > 1 for each in own)


@dataclass(slots=True)
class _Weighted:
    """A layer with weights, and its inputs so far, by their shape."""

    layer: nn.Module
    inputs: int = 0
    of_spikes: bool = True
    active: dict[torch.Size, Tensor] = field(default_factory=dict)
    times: dict[torch.Size, int] = field(default_factory=dict)

    def see(self, x: Tensor) -> None:
        """Count the inputs of a run, (..., N) of a dense layer, (..., C, *pixels) else."""
        weight = self.layer.weight
        assert isinstance(weight, Tensor)
        images = x.reshape(-1, *x.shape[x.ndim - (weight.ndim - 1) :])
        shape = images.shape[1:]
        active = images != 0
        self.of_spikes &= bool((active == (images.abs() == 1)).all())
        self.inputs += images.numel()
        self.times[shape] = self.times.get(shape, 0) + len(images)
        self.active[shape] = self.active.get(shape, 0) + active.sum(0)

    def counted(self, name: str) -> LayerOperations:
        """Return the operations of the layer."""
        synaptic = dense = active = 0
        for shape, each in self.active.items():
            weight = self.layer.weight
            assert isinstance(weight, Tensor)
            reached, all_weights = (
                fan_out(self.layer, shape, mask) for mask in (weight != 0, torch.ones_like(weight))
            )
            synaptic += int((each.to(reached) * reached).sum())
            dense += self.times[shape] * int(all_weights.sum())
            active += int(each.sum())
        kind = type(self.layer).__name__
        return LayerOperations(name, kind, self.inputs, active, synaptic, dense, self.of_spikes)


def fan_out(layer: nn.Module, shape: torch.Size, weights: Tensor) -> Tensor:
    """Return the number of products of each input of one image or row of `shape`, float64.

    weights  1 for those that count, else 0

    With such weights and no bias, the sum of a layer's output is the sum of its inputs, each times
    its number of products. The derivative by an input is that number, also at padded borders, with
    strides, dilation and groups. Exact up to 2**53.
    """
    leading = (1, 1) if isinstance(layer, Conv2d) else (1,)  # time and batch, or the batch
    image = torch.zeros(*leading, *shape, dtype=torch.float64, requires_grad=True)
    ones = {"weight": weights.detach().to("cpu", torch.float64)}
    if isinstance(layer.bias, Tensor):
        ones["bias"] = torch.zeros(layer.bias.shape, dtype=torch.float64)
    with torch.inference_mode(False), torch.enable_grad():
        total = functional_call(layer, ones, (image,)).sum()
        (slope,) = torch.autograd.grad(total, image)
    return slope.reshape(shape)


@dataclass(slots=True)
class _Active:
    """A layer of neurons or a rectifier, and the count of its outputs."""

    layer: nn.Module
    outputs: int = 0
    active: int = 0

    def see(self, out: Tensor) -> None:
        """Count the outputs of a run."""
        self.outputs += out.numel()
        self.active += int(out.count_nonzero())

    def counted(self, name: str) -> NeuronUpdates:
        """Return the updates of the neurons."""
        layer = self.layer
        rectifies = isinstance(layer, _RECTIFIERS)
        hands_out = rectifies or (isinstance(layer, Neurons) and layer.spiking)
        return NeuronUpdates(
            name,
            type(layer.neurons if isinstance(layer, Membrane) else layer).__name__,
            0 if rectifies else self.outputs,
            self.outputs,
            self.active if hands_out else None,
        )


AC_J = 0.9e-12
"""Energy of a float32 addition in 45 nm, joules (Horowitz 2014, figure 1.1.9)."""

MAC_J = 4.6e-12
"""Energy of a float32 multiplication, 3.7 pJ, and an addition, joules (Horowitz 2014)."""

COUNTING_RULE = (
    "An input that is not 0 costs one operation for each of its weights that is not 0; strides and "
    "borders are taken into account. If all inputs of a layer are -1, 0 or 1, the operation is an "
    "addition (AC), else a multiplication and an addition (MAC). Dense is a MAC for each input and "
    "weight at each step. Biases, pooling, normalization and sums of branches are not counted; "
    "neurons are counted separately."
)
"""How operations are counted, for people."""

ENERGY_SOURCE = (
    "0.9 pJ per AC and 4.6 pJ per MAC, of float32 in 45 nm: M. Horowitz, Computing's energy "
    "problem, ISSCC 2014. Memory is not counted, which may cost more"
)
"""The source of the energies, for people."""


_Counts = TypeVar("_Counts", LayerOperations, NeuronUpdates)


def _sum(one: _Counts, other: _Counts) -> _Counts:
    """Add the counts of a layer; `of_spikes` is whether both are."""
    added: dict[str, Any] = {}
    for each in fields(one):
        value = getattr(one, each.name)
        if isinstance(value, bool):
            added[each.name] = value and getattr(other, each.name)
        elif isinstance(value, int):
            added[each.name] = value + getattr(other, each.name)
    return replace(one, **added)


@dataclass(frozen=True, slots=True)
class Operations:
    """The operations of a network for samples of equal steps.

    layers      those with weights, in the order in which they first ran
    neurons     those with neurons or rectifiers
    samples     the number of samples
    steps       per sample; for a network of points, its points
    weights     the number of learned numbers
    bytes       of these and of the network's other numbers, as they are stored
    uncounted   layers with weights of kinds whose operations are not counted

    COUNTING_RULE is neurobench's rule (Yik et al. 2025), except that a layer's inputs are checked
    over all samples, not batch by batch. The properties are means per sample, over all its steps.

        samples = dvskit.datasets.open_samples("digits")[::20]
        counted = dvskit.evaluation.count_operations("nmnist-signed-lif", samples, split="all")
        counted.acs, counted.macs  # operations per sample
        counted.energy_j, counted.sparsity  # joules per sample, share of outputs that are 0
    """

    layers: tuple[LayerOperations, ...]
    neurons: tuple[NeuronUpdates, ...]
    samples: int
    steps: int
    weights: int
    bytes: int
    uncounted: tuple[str, ...] = ()

    def __add__(self, other: Operations) -> Operations:
        """Return the operations of the samples of both."""
        layers = tuple(map(_sum, self.layers, other.layers))
        neurons = tuple(map(_sum, self.neurons, other.neurons))
        samples = self.samples + other.samples
        return replace(self, layers=layers, neurons=neurons, samples=samples)

    @property
    def dense(self) -> float:
        """Multiply-accumulates per sample if no input were 0: the same layers without spikes."""
        return sum(layer.dense for layer in self.layers) / self.samples

    @property
    def acs(self) -> float:
        """Additions per sample: synaptic operations of layers with spikes as inputs."""
        return sum(layer.synaptic for layer in self.layers if layer.of_spikes) / self.samples

    @property
    def macs(self) -> float:
        """Multiply-accumulates per sample: synaptic operations of the other layers."""
        return sum(layer.synaptic for layer in self.layers if not layer.of_spikes) / self.samples

    @property
    def synaptic(self) -> float:
        """Synaptic operations per sample, of both kinds."""
        return self.acs + self.macs

    @property
    def updates(self) -> float:
        """Neuron updates per sample: each neuron at each step."""
        return sum(layer.updates for layer in self.neurons) / self.samples

    @property
    def sparsity(self) -> float:
        """The share of 0 among the outputs of neurons and rectifiers; nan without any."""
        spiking = [layer for layer in self.neurons if layer.active is not None]
        given = sum(layer.outputs for layer in spiking)
        active = sum(layer.active or 0 for layer in spiking)
        return 1 - active / given if given else float("nan")

    @property
    def energy_j(self) -> float:
        """Joules of the synaptic operations per sample, by AC_J and MAC_J."""
        return self.acs * AC_J + self.macs * MAC_J

    @property
    def dense_energy_j(self) -> float:
        """Joules per sample if no input were 0."""
        return self.dense * MAC_J

    @property
    def update_energy_j(self) -> float:
        """Joules of the neuron updates per sample, a MAC each: decay, and current added."""
        return self.updates * MAC_J


def count_operations(
    model: Model | str | PathLike[str],
    data: Data,
    *,
    split: str = "held-out",
    encoder: str | Encoder | None = None,
    seed: int | None = None,
) -> Operations:
    """Return the mean operations of a model per sample of labeled data.

    Arguments and errors are those of `evaluate`.

        samples = dvskit.datasets.open_samples("digits")[::20]
        counted = dvskit.evaluation.count_operations("nmnist-signed-lif", samples, split="all")
        counted.dense, counted.synaptic  # operations per sample: if no input were 0, and done
    """
    judging = open_judging(model, data, split=split, encoder=encoder, seed=seed)
    return operations_of(judging)


def operations_of(judging: Judging) -> Operations:
    """Return the operations of a model on an opened judging."""
    batches = judging.batches().epoch(0)
    return counted(judging.model.module, (counts for counts, _ in batches))


@dataclass(frozen=True, slots=True)
class Observed:
    """A spiking layer while its network saw a recording.

    name, layer  of the layer, and itself; a copy on the CPU if the network is on another device
    current      (T, ...) float32: its input, on the CPU
    spikes       (T, ...) float32: its output
    events       the input of the network; step k begins at start_us + k bin_us
    weight       of each event, if the recording was of another sensor; else None

        model = dvskit.models.load_model("nmnist-signed-lif")
        events = dvskit.load_events("digits/0/00001.bin")
        observed = dvskit.evaluation.observe(model, events)
        observed.current.shape, observed.spikes.shape  # (T, ...) both
        neuron = observed.liveliest()
        observed.causes(neuron)  # the events of its field
    """

    name: str
    layer: Neurons
    current: Tensor
    spikes: Tensor
    events: Events
    start_us: int
    bin_us: int
    model: Model
    weight: float | None = None

    @property
    def neurons(self) -> int:
        """The number of neurons, counted over all dimensions."""
        return int(np.prod(self.spikes.shape[1:]))

    def trace(self) -> NeuronTrace:
        """Return the trace of the layer: potentials and thresholds at each step, (T, ...) each.

        The parts of the state have a batch of one.
        """
        with torch.no_grad():
            traced = self.layer.trace(self.current[:, None])
        parts = {name: getattr(traced, name)[:, 0] for name in ("spikes", "h", "v", "threshold")}
        return replace(traced, **parts)

    def liveliest(self) -> int:
        """Return the neuron that most often starts or stops firing; of equals, the first.

        Neurons that fire at each step, or never, show little.
        """
        spikes = self.spikes.flatten(1)
        return int((spikes[1:] != spikes[:-1]).sum(0).argmax())

    def field(self, neuron: int) -> NDArray[np.bool_]:
        """Return the pixels (H, W) whose events reach a neuron of the layer.

        These are the pixels with a gradient of its current, summed over time, without recurrent
        feedback. Raises ShapeError for a neuron outside the layer.
        """
        if not 0 <= neuron < self.neurons:
            raise ShapeError(f"neuron {neuron} is not among the {self.neurons} of {self.name}")
        counts = _counts(self.model, self.events, self.weight).requires_grad_()
        with torch.enable_grad():
            current, _ = _run(self.model, self.name, counts)
            (slope,) = torch.autograd.grad(current.flatten(2)[:, 0, neuron].sum(), counts)
        reached: NDArray[np.bool_] = (slope != 0).any(0).any(0).any(0).cpu().numpy()
        return reached

    def causes(self, neuron: int) -> Events:
        """Return the events that reach a neuron: those of its field."""
        reached = self.field(neuron)
        return self.events[reached[self.events.y, self.events.x]]


def observe(model: Model, events: Events, layer: str | None = None) -> Observed:
    """Run a network on a recording, and return the input and output of one of its spiking layers.

    `layer` is a name, as in `spiking_layers`; None for the last. The window is the first of
    `classify`. A recording of another sensor is fitted, with a FittedWarning. Raises
    ConfigError for another name, ShapeError for no events.

        model = dvskit.models.load_model("nmnist-signed-lif")
        events = dvskit.load_events("digits/0/00001.bin")
        observed = dvskit.evaluation.observe(model, events, "lif1")
        observed.spikes.shape  # (T, channels, H, W)
        traced = observed.trace()  # potentials and thresholds, (T, ...)
    """
    layers = spiking_layers(model)
    name = next(reversed(layers), "") if layer is None else layer
    if name not in layers:
        hint = did_you_mean(name, layers) if layers else "the model has none"
        raise ConfigError(f"no spiking layer {name!r}; {hint}")
    events, weight = fit_recording(events, model.size)
    if not len(events):
        raise ShapeError("no events to observe; the window begins at the first one")
    start_us, bin_us = int(events.t[0]), model.input.bin_us
    seen = events.between(start_us, start_us + model.input.bins * bin_us)
    with torch.no_grad():
        current, spikes = _run(model, name, _counts(model, seen, weight))
    current, spikes = (part[:, 0].float().cpu() for part in (current, spikes))
    return Observed(
        name, _on_processor(layers[name]), current, spikes, seen, start_us, bin_us, model, weight
    )


def spiking_layers(model: Model) -> dict[str, Neurons]:
    """Return the layers of spiking neurons by name, in the order in which they were made.

    All kinds that spike. Layers whose membranes are the output (`dvskit.layers.Membrane`) return no
    spikes, and are not included.

        model = dvskit.models.load_model("nmnist-signed-lif")
        list(dvskit.evaluation.spiking_layers(model))  # ["lif1", "lif2", "lif3"]
    """
    parts = dict(model.module.named_modules())
    silent = {id(part.neurons) for part in parts.values() if isinstance(part, Membrane)}
    return {
        name: part
        for name, part in parts.items()
        if isinstance(part, Neurons) and part.spiking and id(part) not in silent
    }


def weighted_layers(model: Model) -> dict[str, nn.Module]:
    """Return the layers with matrices or kernels as weights, by name.

    `count_operations` counts the operations of these layers.

        model = dvskit.models.load_model("nmnist-signed-lif")
        list(dvskit.evaluation.weighted_layers(model))  # ["conv1", "conv2", ..., "dense2"]
    """
    return {
        name: part
        for name, part in model.module.named_modules()
        if isinstance(getattr(part, "weight", None), Tensor) and part.weight.ndim in (2, 4)
    }


def _on_processor(layer: Neurons) -> Neurons:
    devices = {tensor.device.type for tensor in (*layer.parameters(), *layer.buffers())}
    return layer if devices <= {"cpu"} else deepcopy(layer).cpu()


def _counts(model: Model, events: Events, weight: float | None) -> Tensor:
    """Return the counts of the window as a batch of one: (T, 1, 2, H, W) float32."""
    device = device_of(model.module)
    return input_of(model.input, events, weight)[:, None].to(device)


def _run(model: Model, name: str, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Run the network, and return the input and output of a layer, (T, 1, ...) each."""
    seen: list[tuple[Tensor, Tensor]] = []

    def keep(part: nn.Module, given: tuple[Any, ...], spikes: Tensor) -> None:
        seen.append((given[0], spikes))

    hook = spiking_layers(model)[name].register_forward_hook(keep)
    model.module.eval()
    try:
        model.module(counts)
    finally:
        hook.remove()
    return seen[0]
