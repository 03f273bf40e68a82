"""Networks in whole numbers, as on chips: weights of a few bits, and potentials as integers.

Each layer has its own unit, a power of two. Its weights and biases, the thresholds and potentials
of the neurons behind it, and so all sums are multiples of the unit, which float32 holds exactly.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from dvskit._checks import check_choice, check_whole
from dvskit.errors import ConfigError
from dvskit.layers import Delays, Flatten, MaxPool2d, Readout, Sequence, SumPool2d
from dvskit.networks.folding import (
    Row,
    Weighted,
    filled,
    folded_row,
    listed,
    numbers,
    shapes_of,
    with_pools,
)
from dvskit.networks.network import NetworkModule, Shape, input_shape
from dvskit.neurons import LIF, RecurrentLIF

_DECAY_BITS = 8  # beta is a multiple of 2**-8
_POTENTIAL_BITS = 16


def quantize(
    module: Sequence,
    bits: int = 8,
    shape: Shape | None = None,
    *,
    potentials: Literal["integer", "float"] = "integer",
) -> NetworkModule:
    """Return a network in whole numbers: weights of `bits` bits, potentials as integers.

    bits        of each weight, 2 to 8, its sign included
    shape       of one time step of one sample; None if the network knows it
    potentials  "float": not rounded when they decay, as in libraries that read NIR

    Norms, gains and pooling are folded first (`fold`). The unit u of a layer is the power of two
    with the least square error of its weights, k u with -2**(bits-1) <= k < 2**(bits-1). Biases and
    thresholds are rounded to multiples of u; beta to multiples of 2**-8. A decayed potential is
    rounded toward 0: v = (b v) >> 8, plus the inputs. For inputs that are whole numbers all
    potentials are integers times u, and the network computes them exactly, as integers would.

    It is described by a list of layers and can be saved: weights take half of their bytes on disk.
    Raises ConfigError, naming the layer, for layers that have no such form: rectifiers
    (`to_spiking` replaces them), layer normalization, logarithmic counts, and neurons other than
    IF, LIF, SignedLIF and BurstLIF without a rest potential and refractory steps.

        words = ("8C5", "P2", "tdbn", "lif", "10")
        module = dvskit.networks.Layered(layers=words, width=34, height=34).build()
        small = dvskit.networks.quantize(module)
        unit = dvskit.networks.unit_of(small.conv1)  # a power of two
        whole = small.conv1.weight / unit  # whole numbers from -128 to 127
    """
    check_whole("bits", bits, 2, 8, owner="quantize")
    check_choice("potentials", potentials, ("integer", "float"), owner="quantize")
    shape = input_shape(module, shape, "quantize")
    row: Row = []
    unit = 1.0
    for name, layer in with_pools(folded_row(module, shapes_of(module, shape)), SumPool2d):
        if isinstance(layer, Weighted):
            layer, unit = _rounded(layer, bits)
        elif isinstance(layer, LIF) and not isinstance(layer, RecurrentLIF):
            _round_neurons(name, layer, unit)
            layer.resolution = unit if potentials == "integer" else None
        elif not isinstance(layer, SumPool2d | MaxPool2d | Flatten | Delays | Readout):
            raise ConfigError(
                f"quantize: layer {name}, {type(layer).__name__}, has no form in whole numbers; "
                f"{_ADVICE.get(type(layer).__name__, 'take convolutions, dense layers and LIF')}"
            )
        row.append((name, layer))
    return listed(row, shape)


def unit_of(layer: Weighted) -> float:
    """Return the largest power of two of which all weights and biases of a layer are multiples.

    It is the unit of a layer of `quantize`. Raises ConfigError if they do not fit 16 bits.

        layer = dvskit.layers.Linear(2, 1)
        layer.weight.data, layer.bias.data = torch.tensor([[0.75, -1.5]]), torch.tensor([3.0])
        dvskit.networks.unit_of(layer)  # 0.25
    """
    values = torch.cat([part.flatten() for part in numbers(layer)])
    for power in range(40, -41, -1):
        scaled = values / 2.0**power
        whole = bool((scaled == scaled.round()).all()) and values.any()
        if whole and scaled.abs().max() <= 2 ** (_POTENTIAL_BITS - 1):
            return 2.0**power
    raise ConfigError("the weights have no common unit; make a network in whole numbers: quantize")


_ADVICE = {
    "ReLU": "replace it with to_spiking",
    "LayerNorm": "take tdbn behind a convolution of the whole image, such as 192C8",
    "LogCounts": "train without it",
}


def _rounded(layer: Weighted, bits: int) -> tuple[Weighted, float]:
    """Return a layer with weights and biases of whole units, and the unit."""
    weight, bias = numbers(layer)
    most = 2 ** (bits - 1)
    largest = max(float(weight.abs().max()), torch.finfo(torch.float32).tiny)
    least = int(torch.tensor(largest / most).log2().floor())
    tried = [2.0**power for power in range(least - 2, least + 2)]
    errors = [float((_whole(weight, unit, most) - weight).square().sum()) for unit in tried]
    unit = tried[errors.index(min(errors))]
    limit = 2 ** (_POTENTIAL_BITS - 1)
    return filled(layer, _whole(weight, unit, most), _whole(bias, unit, limit)), unit


def _whole(value: Tensor, unit: float, most: int) -> Tensor:
    return (value / unit).round().clamp(-most, most - 1) * unit


def _round_neurons(name: str, layer: LIF, unit: float) -> None:
    """Round the values of neurons to whole units. Raises ConfigError for other neurons."""
    values = layer.beta, layer.threshold, layer.threshold_off
    plain = all(isinstance(value, float) for value in values) and layer.gain is None
    if not plain or layer.rest is not None or layer.refractory or layer.reset == "delayed":
        raise ConfigError(
            f"quantize: layer {name}, {type(layer).__name__}, has a rest potential, refractory "
            "steps, a delayed reset, a gain or values per neuron; take LIF without them"
        )
    scale = 2**_DECAY_BITS
    layer.beta = round(float(layer.beta) * scale) / scale
    layer.threshold = max(1, round(float(layer.threshold) / unit)) * unit
    if layer.dynamics.signed:
        layer.threshold_off = max(1, round(float(layer.threshold_off) / unit)) * unit
