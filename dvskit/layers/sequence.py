"""Sequences of layers, run over all of time, in chunks or step by step, and their states.

A state is what a layer carries from one chunk of time to the next. It is passed in and returned,
never kept on the layer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dvskit._arguments import check_arguments
from dvskit.errors import ArgumentError, ConfigError, ShapeError, check_least
from dvskit.layers.dense import Delays, Linear
from dvskit.layers.images import AvgPool2d, Conv2d, MaxPool2d, can_merge, pooled_convolution
from dvskit.layers.normalisation import BatchNorm2d
from dvskit.layers.readouts import MeanMembrane, Readout
from dvskit.neurons import Neurons


class State(Protocol):
    """The data that a layer carries to the next chunk of time: its method is `detach`.

    Detach it between two chunks of a long sequence, to limit the memory of the backward pass:

        network = dvskit.layers.Sequence(dvskit.layers.Linear(5, 5), dvskit.neurons.LIF())
        state = None
        for chunk in torch.rand(100, 8, 5).split(20):
            out, state = network.run(chunk, state)
            out.sum().backward()  # truncated backpropagation through time
            state = state.detach()
    """

    def detach(self) -> Any:
        """Return the same state without its graph: gradients stop here."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """A layer whose output depends on earlier inputs: neurons, readouts, dropout.

    A module with this method works in a `Sequence`:

        class RunningSum(torch.nn.Module):
            def run(self, x, state=None):
                sums = x.cumsum(0) if state is None else state + x.cumsum(0)
                return sums, sums[-1]

        network = dvskit.layers.Sequence(dvskit.layers.Linear(5, 3), RunningSum())
        out, states = network.run(torch.rand(20, 8, 5))  # (20, 8, 3)
    """

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return the output of `x` (T, ...) and the state after it; state=None starts from rest."""
        ...


@dataclass(frozen=True, slots=True)
class States:
    """The states of the layers of a Sequence, None for layers without; they belong to one batch.

    `parts` holds one state per layer, in order; `detach` detaches all of them.

        network = dvskit.layers.Sequence(dvskit.layers.Linear(5, 3), dvskit.neurons.LIF())
        out, states = network.run(torch.rand(20, 8, 5))
        states.parts[0], states.parts[1].v.shape  # (None, (8, 3))
    """

    parts: tuple[Any, ...]

    def detach(self) -> States:
        """Return the same states without their graph: gradients stop here."""
        return States(tuple(None if part is None else part.detach() for part in self.parts))


# Layers of torch that would take time for the batch or the batch for channels, or that keep a state
# on the module; with their replacements.
_KNOW_NO_TIME: dict[type[nn.Module], str] = {
    nn.Conv1d: "dvskit.layers.Conv2d with images of one row",
    nn.Conv2d: "dvskit.layers.Conv2d",
    nn.Conv3d: "dvskit.layers.Conv2d",
    nn.BatchNorm1d: "dvskit.layers.BatchNorm1d",
    nn.BatchNorm2d: "dvskit.layers.BatchNorm2d",
    nn.BatchNorm3d: "dvskit.layers.BatchNorm2d",
    nn.AvgPool2d: "dvskit.layers.AvgPool2d",
    nn.MaxPool2d: "dvskit.layers.MaxPool2d",
    nn.Flatten: "dvskit.layers.Flatten",
    **dict.fromkeys(
        (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout),
        "dvskit.layers.Dropout",
    ),
    **dict.fromkeys((nn.RNN, nn.LSTM, nn.GRU), "dvskit.neurons.RecurrentLIF"),
}


class Sequence(nn.Sequential):
    """Layers in sequence: (T, B, ...) in, (T, B, ...) out, or (B, ...) after a readout.

    Built and indexed like torch.nn.Sequential, from layers of dvskit.layers, neurons, and
    element-wise modules. State is passed, never kept:

        network = dvskit.layers.Sequence(
            dvskit.layers.Linear(100, 10), dvskit.neurons.LIF(), dvskit.layers.SpikeCount()
        )
        counts = network(torch.rand(20, 8, 100))  # (8, 10), from rest
        counts, states = network.run(torch.rand(20, 8, 100))
        counts, states = network.run(torch.rand(20, 8, 100), states)  # of all 40 steps
        counts, states = network.step(torch.rand(8, 100), states)  # one more step

    Running in chunks gives the result of the whole: spikes bit for bit if weighted sums are exact
    or are added in the same order, else up to rounding. A readout returns the answer for all steps
    so far.

    Two linear neighbours are computed as one, the same up to rounding: a convolution and the
    average pooling after it (`pooled_convolution`), and a Linear and the MeanMembrane after it,
    where taking the mean first costs T times less. If the first of the two has forward hooks, both
    are computed one by one so that the hooks run.

    Raises ConfigError for a layer of torch without time, and for neurons after a readout;
    ArgumentError for anything that is not a layer.
    """

    def __init__(self, *layers: Any) -> None:
        _check_layers(layers)
        super().__init__(*layers)
        ended = ""
        for name, layer in self.named_children():
            if type(layer) in _KNOW_NO_TIME:
                why = "hides its state" if isinstance(layer, nn.RNNBase) else "ignores time"
                raise ConfigError(
                    f"Sequence: layer {name} is torch.nn.{type(layer).__name__}, which {why}; "
                    f"take {_KNOW_NO_TIME[type(layer)]}"
                )
            if ended and isinstance(layer, Stateful):
                raise ConfigError(
                    f"Sequence: layer {name}, {type(layer).__name__}, comes after the readout "
                    f"{ended}, which ends time; put the readout last"
                )
            ended = ended or (name if ends_time(layer) else "")

    def __getitem__(self, index: Any) -> Any:
        """Return a layer by its index, or those of a slice as a Sequence."""
        if isinstance(index, slice):
            return Sequence(OrderedDict(list(self.named_children())[index]))
        return super().__getitem__(index)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for `x` (T, B, ...), from rest."""
        for _, layer in _units(self):
            x = layer(x)
        return x

    def run(self, x: Tensor, states: States | None = None) -> tuple[Tensor, States]:
        """Return the output for `x` (T, B, ...) and the states after it; None starts from rest.

        Raises ShapeError for states of another network or batch; ConfigError for a layer that holds
        neurons but does not return their state, such as torch's Sequential.
        """
        check_states(self, states)
        parts: list[Any] = [None] * len(self) if states is None else list(states.parts)
        if len(parts) != len(self):
            raise ShapeError(
                f"Sequence: states of {len(parts)} layers for {len(self)} layers; take those that "
                "its own run returned, or None"
            )
        for index, layer in _units(self):
            if hasattr(layer, "run"):  # is Stateful; isinstance takes as long as a small layer
                x, parts[index] = layer.run(x, parts[index])
            else:
                _check_hides_no_state(layer)
                x = layer(x)
        return x, States(tuple(parts))

    def step(self, x: Tensor, states: States | None = None) -> tuple[Tensor, States]:
        """Return the output (B, ...) of one time step `x` (B, ...), or of a readout so far."""
        out, states = self.run(x[None], states)
        return (out if ends_time(self) else out[0]), states


def check_states(layer: nn.Module, states: Any) -> None:
    """Raise ArgumentError unless `states` was returned by the run of a Sequence, or is None."""
    if states is not None and not isinstance(states, States):
        raise ArgumentError(
            f"{type(layer).__name__}: states is a {type(states).__name__}; pass those returned by "
            "its own run, or None"
        )


def _check_layers(layers: tuple[Any, ...]) -> None:
    """Raise ArgumentError for anything that is not a layer, with hints for common mistakes."""
    if len(layers) == 1 and isinstance(layers[0], dict):  # layers by name
        return
    for number, layer in enumerate(layers):
        if isinstance(layer, type):
            fix = f"make one: {layer.__name__}(...)"
            raise ArgumentError(f"Sequence: layer {number} is the class {layer.__name__}; {fix}")
        if isinstance(layer, list | tuple):
            raise ArgumentError(
                f"Sequence: layer {number} is a {type(layer).__name__}; pass its layers one by "
                "one: Sequence(*layers)"
            )
        if not isinstance(layer, nn.Module):
            raise ArgumentError(
                f"Sequence: layer {number} is {layer!r}; it must be a torch.nn.Module"
            )


def ends_time(layer: nn.Module) -> bool:
    """Return whether a layer maps (T, B, ...) to (B, ...): a readout, or a Sequence with one."""
    if isinstance(layer, nn.Sequential):
        return any(ends_time(part) for part in layer)
    return isinstance(layer, Readout)


def _check_hides_no_state(layer: Any) -> None:
    """Raise ConfigError if a layer holds neurons but does not return their state."""
    if not isinstance(layer, nn.Module) or not any(layer.children()):
        return
    for name, part in layer.named_modules():
        if isinstance(part, Stateful):
            raise ConfigError(
                f"Sequence: {type(layer).__name__} holds {type(part).__name__} ({name}) but has no "
                "run(x, state) that returns its state; take dvskit.layers.Sequence instead, or "
                "add that method"
            )


@dataclass(frozen=True, slots=True)
class _PooledConvolution:
    conv: Conv2d
    pool: AvgPool2d
    of_spikes: bool

    def __call__(self, x: Tensor) -> Tensor:
        return pooled_convolution(self.conv, self.pool, x, self.of_spikes)


@dataclass(frozen=True, slots=True)
class _LinearOfMean:
    """A Linear and the mean after it, with the mean taken first: T times cheaper."""

    linear: Linear
    mean: MeanMembrane

    def __call__(self, x: Tensor) -> Tensor:
        return self.run(x)[0]

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        self.linear.check(x)
        mean, state = self.mean.run(x, state)
        # The mean is at least float32, which weights in half precision do not take. The answer is
        # float32 too, as when the weighted sums come first.
        return self.linear(mean.to(self.linear.weight.dtype)).to(mean.dtype), state


def _units(layers: nn.Sequential) -> Iterator[tuple[int, Any]]:
    """Yield the units to compute in order, neighbours merged, each with the index of its state."""
    parts = list(layers)
    index, spikes = 0, False
    while index < len(parts):
        layer, behind = parts[index], parts[index + 1] if index + 1 < len(parts) else None
        hooked = bool(layer._forward_hooks or layer._forward_pre_hooks)
        if behind is not None and not hooked and can_merge(layer, behind):
            unit = _PooledConvolution(cast(Conv2d, layer), cast(AvgPool2d, behind), spikes)
            yield index, unit
            index += 2
        elif not hooked and isinstance(layer, Linear) and isinstance(behind, MeanMembrane):
            yield index + 1, _LinearOfMean(layer, behind)
            index += 2
        else:
            yield index, partial(layer, of_spikes=spikes) if isinstance(layer, Conv2d) else layer
            index += 1
        spikes = _gives_spikes(layer, spikes)


def _gives_spikes(layer: nn.Module, given: bool) -> bool:
    """Return whether a layer's output holds only -1, 0 and 1; `given`: whether its input does."""
    if isinstance(layer, Neurons):
        return layer.spiking
    return given and isinstance(layer, MaxPool2d | Delays)


@check_arguments
class ResidualBlock(nn.Module):
    """body(x) + shortcut(x): (T, B, ...) -> (T, B, ...); the shortcut defaults to x itself.

        body = dvskit.layers.Sequence(
            dvskit.layers.Conv2d(16, 16, 3, padding=1), dvskit.neurons.LIF()
        )
        block = dvskit.layers.ResidualBlock(body)
        block(torch.rand(20, 8, 16, 9, 9).round()).shape  # (20, 8, 16, 9, 9), 0, 1 or 2

    The place of the neurons selects one of the known blocks:

        spikes added (SEW, Fang et al. 2021)            body: conv, norm, neuron, conv, norm, neuron
        membranes added (Hu et al. 2021, MS-ResNet)     body: neuron, conv, norm, neuron, conv, norm
        spikes of the sum (Zheng et al. 2021)           body: conv, norm, neuron, conv, norm; and a
                                                        neuron after the block

    With spikes added, the output is a small whole number instead of a spike. A shortcut is needed
    if the body changes the shape, such as Sequence(Conv2d(64, 128, 1, stride=2), BatchNorm2d(128)).
    State is passed as in Sequence, which `body` and `shortcut` are.
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = _as_sequence(body)
        self.shortcut = Sequence() if shortcut is None else _as_sequence(shortcut)
        if ends_time(self.body) or ends_time(self.shortcut):
            raise ConfigError("ResidualBlock: a readout ends time; put it after the block")

    def forward(self, x: Tensor) -> Tensor:
        """Return body(x) + shortcut(x) of `x` (T, B, ...), from rest."""
        return _added(x, self.body(x), self.shortcut(x))

    def run(self, x: Tensor, state: States | None = None) -> tuple[Tensor, States]:
        """Return the sum for `x` (T, B, ...) and the states of body and shortcut after it."""
        check_states(self, state)
        body, shortcut = (None, None) if state is None else state.parts
        out, body = self.body.run(x, body)
        past, shortcut = self.shortcut.run(x, shortcut)
        return _added(x, out, past), States((body, shortcut))


def _added(x: Tensor, out: Tensor, past: Tensor) -> Tensor:
    if out.shape != past.shape:
        raise ShapeError(
            f"ResidualBlock: the body returns {tuple(out.shape)} for {tuple(x.shape)}, the "
            f"shortcut {tuple(past.shape)}; give a shortcut of the body's shape"
        )
    return out + past


def _as_sequence(layer: nn.Module) -> Sequence:
    return layer if isinstance(layer, Sequence) else Sequence(layer)


@check_arguments
def checkpointed(
    layers: Sequence, x: Tensor, states: States | None = None, *, chunk: int
) -> tuple[Tensor, States]:
    """Return layers.run(x, states), keeping for the backward pass only the states between chunks.

    `x` (T, ...) is run in chunks of `chunk` steps. The backward pass runs each chunk again
    (torch.utils.checkpoint). Gradients equal those of layers.run and flow through the states.
    Memory is that of one chunk, the input and T / chunk states; time grows by up to half. A small
    multiple of the square root of T is a good chunk. Raises ConfigError while batch normalisation
    is training, as its statistics cover all of time.

        layers = dvskit.layers.Sequence(dvskit.layers.Linear(5, 5), dvskit.neurons.LIF())
        out, states = dvskit.layers.checkpointed(layers, torch.rand(400, 8, 5), chunk=40)
        out.sum().backward()  # out is (400, 8, 5)
    """
    check_least("checkpointed", 1, chunk=chunk)
    if x.ndim < 2 or x.shape[0] < 1:
        raise ShapeError(f"checkpointed takes (T, B, ...) with T >= 1, not {tuple(x.shape)}")
    for name, layer in layers.named_modules():
        if isinstance(layer, BatchNorm2d) and layer.training:
            raise ConfigError(
                f"checkpointed: layer {name}, {type(layer).__name__}, takes its statistics over "
                "all of time while it is training; put it into .eval(), or pass layers without it"
            )
    outs = []
    for part in torch.split(x, chunk):
        out, states = checkpoint(layers.run, part, states, use_reentrant=False)
        outs.append(out)
    return (outs[-1] if ends_time(layers) else torch.cat(outs)), cast(States, states)
