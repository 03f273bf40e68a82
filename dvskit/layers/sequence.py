"""Layers one behind another, over all of time, in chunks of it, or step by step."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from dvskit.errors import ConfigError, ShapeError
from dvskit.layers.convolution import Conv2d, can_merge, pooled_convolution
from dvskit.layers.dense import Linear
from dvskit.layers.pooling import AvgPool2d, MaxPool2d
from dvskit.layers.readouts import MeanMembrane, Readout
from dvskit.layers.states import Stateful, States
from dvskit.neurons import Neurons

# Of torch's own layers those that would take time for the batch or the batch for channels, and
# what to take instead.
_KNOW_NO_TIME: dict[type[nn.Module], str] = {
    nn.Conv2d: "Conv2d",
    nn.BatchNorm2d: "BatchNorm2d",
    nn.AvgPool2d: "AvgPool2d",
    nn.MaxPool2d: "MaxPool2d",
    nn.Flatten: "Flatten",
    nn.Dropout: "Dropout",
    nn.Dropout2d: "Dropout",
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
    it, where the mean comes first and costs T times less. Forward hooks of the first of them do not
    run.

    Raises ConfigError for a layer of torch's own that knows no time, and for neurons behind a
    readout; what the layers raise.
    """

    def __init__(self, *layers: Any) -> None:
        super().__init__(*layers)
        ended = ""
        for name, layer in self.named_children():
            if type(layer) in _KNOW_NO_TIME:
                kind = _KNOW_NO_TIME[type(layer)]
                raise ConfigError(
                    f"Sequence: layer {name} is torch.nn.{type(layer).__name__}, which knows no "
                    f"time; take dvskit.layers.{kind}"
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
        for a layer that holds neurons and hands out no state, such as torch's Sequential of them.
        """
        parts: list[Any] = [None] * len(self) if states is None else list(states.parts)
        if len(parts) != len(self):
            raise ShapeError(
                f"Sequence: states of {len(parts)} layers for {len(self)} layers; take those that "
                "its own run returned, or None"
            )
        for index, layer in _units(self):
            if isinstance(layer, Stateful):
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
        self.linear.check(x)
        return cast(Tensor, self.linear(self.mean(x)))

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        self.linear.check(x)
        mean, state = self.mean.run(x, state)
        return self.linear(mean), state


def _units(layers: nn.Sequential) -> Iterator[tuple[int, Any]]:
    """Yield what to compute one after another, neighbours merged, each with its state's index."""
    parts = list(layers)
    index, spikes = 0, False
    while index < len(parts):
        layer, behind = parts[index], parts[index + 1] if index + 1 < len(parts) else None
        if behind is not None and can_merge(layer, behind):
            unit = _PooledConvolution(cast(Conv2d, layer), cast(AvgPool2d, behind), spikes)
            yield index, unit
            index += 2
        elif isinstance(layer, Linear) and isinstance(behind, MeanMembrane):
            yield index + 1, _LinearOfMean(layer, behind)
            index += 2
        else:
            yield index, partial(layer, of_spikes=spikes) if isinstance(layer, Conv2d) else layer
            index += 1
        spikes = _gives_spikes(layer, spikes)


def _gives_spikes(layer: nn.Module, given: bool) -> bool:
    """Return whether the output of a layer is -1, 0 and 1, `given` whether its input is."""
    if isinstance(layer, Neurons):
        return layer.dynamics.spikes
    return given and isinstance(layer, MaxPool2d)
