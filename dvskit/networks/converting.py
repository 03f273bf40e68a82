"""Spiking networks from trained networks of rectifiers.

A rectifier gives a number at each step; a neuron gives it as the number of its spikes. Weights are
scaled so that the most spikes stand for the largest output of the channel over samples (Rueckauer
et al. 2017, "Conversion of continuous-valued deep networks to efficient event-driven networks for
image classification"; for each channel as Kim et al. 2020, "Spiking-YOLO"). Half a spike is added,
so that counts are rounded to the nearest, not down (Deng and Gu 2021, "Optimal conversion of
conventional artificial neural networks to spiking neural networks"). Then the biases are corrected
layer by layer, so that the mean of each channel is that of the rectifiers (Li et al. 2021, "A free
lunch from ANN: towards efficient, accurate spiking neural networks calibration").
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from dvskit._checks import check_number, check_whole
from dvskit.errors import ConfigError
from dvskit.layers import Delays, Flatten, Repeat, Sequence, StepMean
from dvskit.networks.folding import (
    Pool,
    Row,
    Weighted,
    filled,
    folded_row,
    listed,
    numbers,
    shapes_of,
)
from dvskit.networks.network import NetworkModule, Shape, input_shape, named_row
from dvskit.neurons import IF, BurstLIF

_AT_ONCE = 256  # samples times repeated steps, which bounds the memory


def to_spiking(
    module: Sequence,
    samples: Iterable[Tensor],
    *,
    steps: int = 32,
    most: int = 1,
    percentile: float = 99.9,
    shape: Shape | None = None,
) -> NetworkModule:
    """Return a trained network with spiking neurons in place of its rectifiers.

    samples     inputs (T, B, C, H, W) like those of the training: some hundred samples
    steps       time steps of the neurons for the one step of an input, which is repeated: for still
                images. Neurons integrate and fire with a soft reset (`IF`; several spikes a step:
                `BurstLIF`). steps = 1 is for inputs of many steps: neurons have no memory
                (beta = 0), as it would mix the steps, and `most` gives the number of levels
    most        spikes of a neuron in a step
    percentile  of the outputs of a channel that the most spikes stand for; larger ones are cut off
    shape       of one time step of one sample; None if the network knows it

    The steps are repeated from the layer in front of the first rectifier to the one behind the
    last. Norms, votes and pools behind convolutions are folded first (`fold`). Raises ConfigError
    for arguments out of range, without samples, for a network without rectifiers, for a rectifier
    that follows no convolution or dense layer, and for other layers than those, mean and sum
    pooling, and delays between rectifiers.

        words = ("8C5", "P2", "bn", "relu", "10")
        module = dvskit.networks.Layered(layers=words, width=28, height=28, inputs=1).build()
        images = torch.rand(1, 64, 1, 28, 28)  # 1 step of 64 samples
        spiking = dvskit.networks.to_spiking(module, [images], steps=16)
        spiking.network.layers  # ("R16", "8C6s2", "if", "10", "A16", "mean")
    """
    check_whole("steps", steps, 1, owner="to_spiking")
    check_whole("most", most, 1, owner="to_spiking")
    check_number("percentile", percentile, most=100, above=0, owner="to_spiking")
    shape = input_shape(module, shape, "to_spiking")
    row = folded_row(module, shapes_of(module, shape))
    first, last = _stretch(row, norms=steps == 1)
    given = [each for each in samples if each.numel()]
    if not given:
        raise ConfigError("to_spiking balances thresholds on samples; give some hundred")
    inputs = torch.cat(given, 1)
    if steps > 1 and len(inputs) > 1:
        raise ConfigError(
            f"to_spiking: the samples have {len(inputs)} steps, which neurons with memory would "
            f"mix; take steps=1 and most={steps}, or samples of one step"
        )
    balance = _Balance(inputs, steps, most, percentile / 100)
    with torch.no_grad():
        made = balance.converted(row[:first], row[first : last + 1])
    return listed([*made, *row[last + 1 :]], shape)


def _stretch(row: Row, *, norms: bool) -> tuple[int, int]:
    """Return the places of the layers with weights around all rectifiers. Raises ConfigError.

    norms  whether layer normalization may stand in front of a rectifier
    """
    scaled = Weighted | nn.LayerNorm if norms else Weighted
    places = [at for at, (_, layer) in enumerate(row) if isinstance(layer, nn.ReLU)]
    if not places:
        raise ConfigError("to_spiking: the network has no ReLU, which neurons would replace")
    last = len(row) - 1
    for at in range(places[0], len(row)):
        name, layer = row[at]
        if isinstance(layer, nn.ReLU) and not (at and isinstance(row[at - 1][1], scaled)):
            raise ConfigError(
                f"to_spiking: layer {name}, ReLU, does not follow a convolution or dense layer, "
                "with at most batch normalization and pooling between them; behind layer "
                "normalization take steps=1, with several spikes a step"
            )
        if at > places[-1] and isinstance(layer, Weighted):
            last = at
            break
        if not isinstance(layer, nn.ReLU | scaled | Pool | Delays | Flatten):
            raise ConfigError(
                f"to_spiking: layer {name}, {type(layer).__name__}, stands between rectifiers or "
                "in front of the layer that adds their spikes; only convolutions, dense layers, "
                "mean and sum pooling, and delays may; with steps=1 layer normalization in front "
                "of a ReLU too"
            )
    return places[0] - 1, last


class _Balance:
    """Converts layers one by one, and measures each on samples behind those before it."""

    def __init__(self, inputs: Tensor, steps: int, most: int, share: float) -> None:
        self._inputs, self._steps, self._most, self._share = inputs, steps, most, share

    def converted(self, before: Row, row: Row) -> Row:
        """Return the layers `before` and those of a row, with neurons in place of rectifiers."""
        exact, made = list(before), list(before)
        if self._steps > 1:
            made.append(("repeat", Repeat(self._steps)))
        unit = torch.ones(1)  # for each channel: the number that a spike stands for
        for (name, layer), (behind, follows) in pairwise([*row, ("", nn.Identity())]):
            exact.append((name, layer))
            if isinstance(layer, Weighted | nn.LayerNorm):
                fires = isinstance(follows, nn.ReLU)
                made.append((name, layer))
                unit = self._balanced(exact, made, unit, behind if fires else "")
            elif not isinstance(layer, nn.ReLU):
                made.append((name, layer))
                unit = unit.repeat(layer.taps) if isinstance(layer, Delays) else unit
        if self._steps > 1:
            made.append(("average", StepMean(self._steps)))
        return made

    def _balanced(self, exact: Row, made: Row, unit: Tensor, neurons: str) -> Tensor:
        """Scale and correct the last layer of `made`, and append neurons; return their units."""
        name, layer = made.pop()
        outputs = self._outputs(exact, _AT_ONCE)
        units = torch.ones(len(outputs))
        if neurons:
            outputs = outputs.relu()
            largest = torch.from_numpy(np.quantile(outputs.numpy(), self._share, axis=1)).float()
            units = torch.where(largest > 0, largest, 1.0) / self._most
        half = 0.5 / self._steps if neurons else 0.0  # of a spike, over all steps
        made.append((name, _scaled(layer, unit, units, half)))
        if neurons:
            burst = BurstLIF(1.0 if self._steps > 1 else 0.0, 1.0, self._most)
            kind = IF() if self._steps > 1 and self._most == 1 else burst
            made.append((neurons, kind))
        given = self._outputs(made, max(1, _AT_ONCE // self._steps)).mean(1)
        bias = made[-1 - bool(neurons)][1].bias
        assert isinstance(bias, Tensor)
        bias += outputs.mean(1) / units - given
        return units

    def _outputs(self, row: Row, at_once: int) -> Tensor:
        """Return the outputs of each channel behind a row of layers, (C, outputs)."""
        module = named_row(row).eval()
        found = [module(x.float()) for x in torch.split(self._inputs, at_once, 1)]
        return torch.cat([out.transpose(0, 2).flatten(1) for out in found], 1)  # of (T, B, C, ...)


def _scaled(layer: nn.Module, columns: Tensor, rows: Tensor, more: float) -> nn.Module:
    """Return a layer that takes inputs and gives outputs in units, with a larger bias."""
    if isinstance(layer, nn.LayerNorm):
        made = deepcopy(layer)
        made.weight = nn.Parameter(layer.weight / rows)
        made.bias = nn.Parameter(layer.bias / rows + more)
        return made
    assert isinstance(layer, Weighted)
    weight, bias = numbers(layer)
    columns = columns.double().repeat_interleave(weight.shape[1] // len(columns))
    weight = weight * columns.view(1, -1, *[1] * (weight.ndim - 2))
    weight = weight / rows.double().view(-1, *[1] * (weight.ndim - 1))
    return filled(layer, weight, bias / rows.double() + more)
