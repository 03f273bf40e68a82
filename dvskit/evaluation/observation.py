"""Record the inside of a network during a recording: currents, spikes, and causing events."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, ShapeError, did_you_mean
from dvskit.events import Events
from dvskit.layers import Membrane
from dvskit.models.inputs import fit_recording, input_of
from dvskit.models.model import Model
from dvskit.neurons import Neurons, Traced


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

    def trace(self) -> Traced:
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


@check_arguments
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
    device = next(model.module.parameters()).device
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
