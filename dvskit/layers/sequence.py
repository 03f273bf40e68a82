"""Layers one behind another, over all of time, in chunks of it, or step by step; and their states.

States are what layers carry from one chunk of time to the next: passed in, handed out, never kept.
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
from dvskit.errors import ArgumentError, ConfigError, ShapeError
from dvskit.layers.dense import Delays, Linear
from dvskit.layers.images import AvgPool2d, Conv2d, MaxPool2d, can_merge, pooled_convolution
from dvskit.layers.normalisation import BatchNorm2d
from dvskit.layers.readouts import MeanMembrane, Readout
from dvskit.neurons import Neurons


class State(Protocol):
    """What a layer carries to the next chunk of time."""

    def detach(self) -> Any:
        """Return the same state cut off from its past: gradients stop here."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """A layer whose output depends on what it saw before: neurons, readouts, dropout."""

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return the output of `x` (T, ...) and the state after it; state None is a new start."""
        ...


@dataclass(frozen=True, slots=True)
class States:
    """The states of the layers of a Sequence, in their order; None where a layer has none.

    They are of the samples of one batch: a new batch starts from states=None.
    """

    parts: tuple[Any, ...]

    def detach(self) -> States:
        """Return the same states cut off from their past: gradients stop here."""
        return States(tuple(None if part is None else part.detach() for part in self.parts))


# Of torch's own layers those that would take time for the batch or the batch for channels, or keep
# a state of their own, and what to take instead.
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
    """Layers one behind another: (T, B, ...) in, (T, B, ...) out, or (B, ...) behind a readout.

    Built and indexed like torch.nn.Sequential, of layers of dvskit.layers, neurons, and modules
    that treat each number alike. State is passed, never kept:

        out, states = network.run(x)                    # from rest
        out, states = network.run(more, states)         # goes on where the first ended
        out, states = network.step(bin, states)         # one time step, (B, ...)

    Running in chunks gives what the whole gives: spikes bit for bit where the sums of weights are
    exact or the processor adds them up in the same order, else to rounding, as torch may add up
    batches of different sizes differently. A readout gives the answer to all steps so far.

    Two neighbours that are linear are computed as one, the same but for rounding: a convolution and
    the average pooling behind it (`pooled_convolution`), and a Linear and the MeanMembrane behind
    it, where the mean comes first and costs T times less. Where the first of them has forward hooks
    they are computed one by one, so that the hooks run.

    Raises ConfigError for what is no layer, a layer of torch's own that knows no time, and neurons
    behind a readout; what the layers raise.
    """

    def __init__(self, *layers: Any) -> None:
        _check_layers(layers)
        super().__init__(*layers)
        ended = ""
        for name, layer in self.named_children():
            if type(layer) in _KNOW_NO_TIME:
                why = "hides its state" if isinstance(layer, nn.RNNBase) else "knows no time"
                raise ConfigError(
                    f"Sequence: layer {name} is torch.nn.{type(layer).__name__}, which {why}; "
                    f"take {_KNOW_NO_TIME[type(layer)]}"
                )
            if ended and isinstance(layer, Stateful):
                raise ConfigError(
                    f"Sequence: layer {name}, {type(layer).__name__}, comes behind the readout "
                    f"{ended}, where time has ended; put the readout last"
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
        """Return the output for `x` (T, B, ...) and the states behind it; None is from rest.

        Raises ShapeError for states of another number of layers or of another batch, ConfigError
        for what is no States, and for a layer that holds neurons and hands out no state, such as
        torch's Sequential of them.
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
        """Return the output (B, ...) for one time step `x` (B, ...), and the states behind it.

        Behind a readout the output is the answer to all steps so far.
        """
        out, states = self.run(x[None], states)
        return (out if ends_time(self) else out[0]), states


def check_states(layer: nn.Module, states: Any) -> None:
    """Raise ArgumentError unless `states` is what the run of a Sequence returns, or None."""
    if states is not None and not isinstance(states, States):
        raise ArgumentError(
            f"{type(layer).__name__}: states is a {type(states).__name__}; take those that its own "
            "run returned, or None"
        )


def _check_layers(layers: tuple[Any, ...]) -> None:
    """Raise ArgumentError for what is no layer, with the usual mistakes named."""
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
                f"Sequence: layer {number} is {layer!r}; a torch.nn.Module is meant"
            )


def ends_time(layer: nn.Module) -> bool:
    """Return whether a layer makes (B, ...) of (T, B, ...): a readout, or a Sequence with one."""
    if isinstance(layer, nn.Sequential):
        return any(ends_time(part) for part in layer)
    return isinstance(layer, Readout)


def _check_hides_no_state(layer: Any) -> None:
    """Raise ConfigError if a layer holds neurons whose state it does not hand out."""
    if not isinstance(layer, nn.Module) or not any(layer.children()):
        return
    for name, part in layer.named_modules():
        if isinstance(part, Stateful):
            raise ConfigError(
                f"Sequence: {type(layer).__name__} holds {type(part).__name__} ({name}) but has no "
                "run(x, state) that hands its state out; take dvskit.layers.Sequence instead, or "
                "give it one"
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
    """Mean and weighted sums commute: the mean first costs T times less."""

    linear: Linear
    mean: MeanMembrane

    def __call__(self, x: Tensor) -> Tensor:
        return self.run(x)[0]

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        self.linear.check(x)
        mean, state = self.mean.run(x, state)
        # The mean is float32 at least, which weights in half precision do not take; so is the
        # answer, as it is where the sums of weights come first.
        return self.linear(mean.to(self.linear.weight.dtype)).to(mean.dtype), state


def _units(layers: nn.Sequential) -> Iterator[tuple[int, Any]]:
    """Yield what to compute one after another, neighbours merged, each with its state's index."""
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
    """Return whether the output of a layer is -1, 0 and 1, `given` whether its input is."""
    if isinstance(layer, Neurons):
        return layer.spiking
    return given and isinstance(layer, MaxPool2d | Delays)


@check_arguments
class ResidualBlock(nn.Module):
    """body(x) + shortcut(x): (T, B, ...) -> (T, B, ...); the shortcut is x itself if not given.

    Where the neurons stand says which of the known blocks it is:

        spikes added (SEW, Fang et al. 2021)            body: conv, norm, neuron, conv, norm, neuron
        membranes added (Hu et al. 2021, MS-ResNet)     body: neuron, conv, norm, neuron, conv, norm
        spikes of the sum (Zheng et al. 2021)           body: conv, norm, neuron, conv, norm; and a
                                                        neuron behind the block

    With spikes added the output is no spike but a small whole number. A shortcut is needed where
    the body changes the shape, such as Sequence(Conv2d(64, 128, 1, stride=2), BatchNorm2d(128)).

    State is passed as in Sequence, which `body` and `shortcut` are. Raises ConfigError for a body
    that ends with a readout, ShapeError if what is to be added has different shapes.
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = _as_sequence(body)
        self.shortcut = Sequence() if shortcut is None else _as_sequence(shortcut)
        if ends_time(self.body) or ends_time(self.shortcut):
            raise ConfigError("ResidualBlock: a readout ends time; put it behind the block")

    def forward(self, x: Tensor) -> Tensor:
        """Return body(x) + shortcut(x) of `x` (T, B, ...), from rest."""
        return _added(x, self.body(x), self.shortcut(x))

    def run(self, x: Tensor, state: States | None = None) -> tuple[Tensor, States]:
        """Return the sum for `x` (T, B, ...) and the states behind it, of body and shortcut."""
        check_states(self, state)
        body, shortcut = (None, None) if state is None else state.parts
        out, body = self.body.run(x, body)
        past, shortcut = self.shortcut.run(x, shortcut)
        return _added(x, out, past), States((body, shortcut))


def _added(x: Tensor, out: Tensor, past: Tensor) -> Tensor:
    if out.shape != past.shape:
        raise ShapeError(
            f"ResidualBlock: the body makes {tuple(out.shape)} of {tuple(x.shape)}, the "
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

    `x` (T, ...) is run in chunks of `chunk` steps; the backward pass runs each again when it comes
    to it (torch.utils.checkpoint). Gradients are those of layers.run, and flow through the states;
    memory is that of one chunk, the input and T / chunk states; time is up to half as much again.
    The square root of T times a small number is a good chunk.

    Raises ConfigError for chunk < 1, and where batch normalisation is training: its statistics are
    over all of time, which no chunk knows. Raises ShapeError for an input without time steps.
    """
    if chunk < 1:
        raise ConfigError(f"checkpointed: chunk = {chunk} is below 1; it is in time steps")
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
