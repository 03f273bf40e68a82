"""Networks of the same function with fewer kinds of layers, for chips and other libraries.

`fold` puts normalization, pooling and voting into the convolutions and dense layers beside them.
`binary_row` replaces neurons of several or of negative spikes by binary ones where that is exact.
Weights are computed in float64 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from dvskit.errors import ConfigError
from dvskit.layers import (
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Delays,
    Flatten,
    Linear,
    Readout,
    Sequence,
    SumPool2d,
    ThresholdBatchNorm2d,
    Voting,
)
from dvskit.networks.layered import Layered, words_of
from dvskit.networks.network import (
    NetworkModule,
    Shape,
    input_shape,
    layers_in_a_row,
    plain_evaluation,
    silence,
)
from dvskit.neurons import LIF, PLIF, Neurons

Row = list[tuple[str, nn.Module]]
"""Layers by name, each after the one before."""
Weighted = Conv2d | Linear
Pool = AvgPool2d | SumPool2d


def fold(module: Sequence, shape: Shape | None = None) -> NetworkModule:
    """Return a network of the same function with norms, pools and votes in its weights.

    Batch normalization, voting, the gain of neurons, and mean and sum pooling behind a convolution
    become part of the convolution or dense layer beside them. A learned time constant becomes a
    number. Dropout is removed. Other layers stay. Outputs are the same up to rounding.

    shape  of one time step of one sample, (channels, rows, columns); None if the network knows it

    The network is described by a list of layers, so it can be saved. Raises ConfigError for layers
    that such a list does not have, such as branches and values per neuron.

        words = ("8C5", "P2", "tdbn", "lif", "10")
        module = dvskit.networks.Layered(layers=words, width=34, height=34).build()
        folded = dvskit.networks.fold(module)
        folded.network.layers  # ("8C6s2", "lif beta=0.7", "10", "mean")
    """
    shape = input_shape(module, shape, "fold")
    return listed(folded_row(module, shapes_of(module, shape)), shape)


def listed(row: Row, shape: Shape) -> NetworkModule:
    """Return layers in a row as a network described by their words. Raises ConfigError."""
    if len(shape) != 3:
        raise ConfigError(f"a list of layers takes images, not inputs of shape {shape}")
    words = words_of(row)
    classes = next(layer.out_features for _, layer in reversed(row) if isinstance(layer, Linear))
    inputs, height, width = shape
    network = Layered(
        layers=words, width=width, height=height, inputs=inputs, classes=classes, gain=1.0
    )
    module = network.build()
    for (_, made), (_, given) in zip(module.named_children(), row, strict=True):
        made.load_state_dict(given.state_dict())
    return module.eval()


def folded_row(
    module: Sequence,
    shapes: Mapping[str, Shape],
    leave_out: Collection[str] = (),
    *,
    pools: bool = True,
) -> Row:
    """Return the layers of `fold` by name, in a row.

    shapes  in front of the layers, as `shapes_of` returns them
    pools   whether pooling and the gain of neurons are folded too
    """
    row: Row = []
    with torch.no_grad():
        for name, layer in layers_in_a_row(module, leave_out):
            row.append((name, _own(layer)))
            while _merge(row, shapes, pools=pools):
                pass
    return row


def shapes_of(module: Sequence, shape: Shape) -> dict[str, Shape]:
    """Return the shape of one time step in front of each layer in a row, by name."""
    shapes, x = {}, silence(module, 1, 1, *shape)
    with plain_evaluation(module), torch.no_grad():
        for name, layer in layers_in_a_row(module, ()):
            shapes[name] = tuple(x.shape[2:])
            x = x if isinstance(layer, Readout) else layer(x)
    return shapes


def _own(layer: nn.Module) -> nn.Module:
    """Return a copy of a layer for evaluation, with plain numbers in place of learned ones."""
    layer = deepcopy(layer).eval()
    if isinstance(layer, PLIF) and layer.w.numel() == 1:
        d = layer.dynamics
        gain = None if d.gain is None else float(d.gain)
        layer = LIF(
            float(d.beta), d.threshold, d.threshold_off, d.reset, d.surrogate, d.detach_reset,
            gain=gain, refractory=d.refractory, resolution=d.resolution,
        )  # fmt: skip
    if isinstance(layer, Neurons):
        for name in layer.values:
            value = getattr(layer, name)
            if isinstance(value, Tensor) and value.numel() == 1:
                delattr(layer, name)
                setattr(layer, name, float(value))
    return layer


def _merge(row: Row, shapes: Mapping[str, Shape], *, pools: bool) -> bool:
    """Put the last layer of a row and the one before it together; return whether that was done."""
    if len(row) < 2:
        return False
    (name, first), (last, second) = row[-2:]
    if isinstance(first, Weighted) and isinstance(second, BatchNorm2d | BatchNorm1d):
        row[-2:] = [(name, _normalized(first, second))]
    elif isinstance(first, Weighted) and isinstance(second, Voting):
        row[-2:] = [(name, _voted(first, second.votes))]
    elif isinstance(first, Linear) and isinstance(second, Linear):
        row[-2:] = [(name, _multiplied(first, second))]
    elif isinstance(second, Voting):
        outputs = shapes[last][0]
        ones = filled(Linear(outputs, outputs), torch.eye(outputs), torch.zeros(outputs))
        row[-1] = (last, _voted(ones, second.votes))
        return False
    elif not pools:
        return False
    elif isinstance(first, Weighted) and isinstance(second, LIF) and isinstance(second.gain, float):
        row[-2] = (name, scaled_weights(first, second.gain))
        second.gain = None
        return False
    elif isinstance(first, Conv2d) and isinstance(second, Pool):
        made = _pooled_after(first, second)
        row[-2:] = [(name, made)] if made else row[-2:]
        return made is not None
    else:
        return False
    return True


def numbers(layer: Weighted) -> tuple[Tensor, Tensor]:
    """Return weights and biases in float64."""
    weight = layer.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().double()
    return weight, bias


def filled(layer: Weighted, weight: Tensor, bias: Tensor, stride: int | None = None) -> Weighted:
    """Return a layer of the kind, window and dtype of `layer` with other weights.

    stride  of a convolution, if another
    """
    made = deepcopy(layer)
    made.weight = nn.Parameter(weight.to(layer.weight.dtype))
    made.bias = nn.Parameter(bias.to(layer.weight.dtype))
    if isinstance(made, Linear):
        made.out_features, made.in_features = weight.shape
        return made
    made.out_channels, made.in_channels = len(weight), weight.shape[1] * made.groups
    made.kernel_size = weight.shape[2], weight.shape[3]
    made.stride = (stride, stride) if stride else made.stride
    return made


def _normalized(layer: Weighted, norm: BatchNorm2d | BatchNorm1d) -> Weighted:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None  # layers of dvskit keep both
    assert variance is not None
    scale = (variance.double() + norm.eps).rsqrt() * norm.weight.double()
    if isinstance(norm, ThresholdBatchNorm2d):
        scale = scale * norm.alpha * norm.threshold
    weight, bias = numbers(layer)
    bias = (bias - mean.double()) * scale + norm.bias.double()
    return filled(layer, weight * scale.view(-1, *[1] * (weight.ndim - 1)), bias)


def _voted(layer: Weighted, votes: int) -> Weighted:
    weight, bias = (each.view(-1, votes, *each.shape[1:]).mean(1) for each in numbers(layer))
    return filled(layer, weight, bias)


def _multiplied(first: Linear, second: Linear) -> Weighted:
    (inner, shift), (outer, bias) = numbers(first), numbers(second)
    return filled(second, outer @ inner, outer @ shift + bias)


def _share(pool: Pool) -> float:
    return 1 / pool.kernel_size**2 if isinstance(pool, AvgPool2d) else 1.0


def _is_plain(layer: Conv2d) -> bool:
    """Whether a convolution has a square window without dilation and groups."""
    square = len({*layer.kernel_size}) == len({*layer.stride}) == 1
    plain = layer.dilation == (1, 1) and layer.groups == 1 and layer.padding_mode == "zeros"
    return square and plain and not isinstance(layer.padding, str) and len({*layer.padding}) == 1


def scaled_weights(layer: Weighted, factor: float) -> Weighted:
    """Return a layer with its weights and biases multiplied by `factor`."""
    weight, bias = numbers(layer)
    return filled(layer, factor * weight, factor * bias)


def _pooled_after(layer: Conv2d, pool: Pool) -> Weighted | None:
    """Return a convolution of the function of one with pooling behind it; None if there is none."""
    if not _is_plain(layer):
        return None
    weight, bias = numbers(layer)
    size, stride, share = pool.kernel_size, layer.stride[0], _share(pool)
    side = weight.shape[-1] + (size - 1) * stride
    total = weight.new_zeros(*weight.shape[:2], side, side)
    for row in range(0, size * stride, stride):
        for column in range(0, size * stride, stride):
            ends = row + weight.shape[2], column + weight.shape[3]
            total[..., row : ends[0], column : ends[1]] += share * weight
    return filled(layer, total, share * size**2 * bias, stride=stride * pool.stride)


def with_pools(row: Row, kind: type[Pool]) -> Row:
    """Return a row with pooling of one kind, mean or sum, and weights that make up for it.

    A pool without a layer with weights behind it stays.
    """
    made = list(row)
    for at, (name, pool) in enumerate(row):
        behind = _next_weighted(row, at)
        if isinstance(pool, Pool) and not isinstance(pool, kind) and behind is not None:
            factor = pool.kernel_size**2 if kind is AvgPool2d else pool.kernel_size**-2
            made[at] = name, kind(pool.kernel_size, pool.stride)
            place, layer = made[behind]
            assert isinstance(layer, Weighted)
            weight, bias = numbers(layer)
            made[behind] = place, filled(layer, factor * weight, bias)
    return made


def binary_row(row: Row) -> Row:
    """Return a row in which neurons without memory spike once a step, and upward only.

    A neuron with beta = 0 compares each current with its thresholds alone. It becomes one binary
    neuron for each of its thresholds, with its weights up to a factor and a bias of its own; the
    next layer has its weights once for each. Outputs are the same up to the rounding of biases.
    """
    made = list(row)
    with torch.no_grad():
        for at, (name, layer) in enumerate(row):
            behind = _next_weighted(row, at)
            before = made[at - 1][1] if at else None
            if _splits(layer) and isinstance(before, Weighted) and behind is not None:
                assert isinstance(layer, LIF)
                weights, signs = _copies(before, layer)
                made[at - 1] = made[at - 1][0], weights
                made[at] = name, LIF(0.0, layer.threshold, reset="hard", gain=layer.gain)
                taps = [each.taps for _, each in row[at:behind] if isinstance(each, Delays)]
                made[behind] = made[behind][0], _spread(made[behind][1], signs, taps)
    return made


def _splits(layer: nn.Module) -> bool:
    """Whether neurons without memory have several thresholds."""
    if not isinstance(layer, LIF) or not (layer.dynamics.most > 1 or layer.dynamics.signed):
        return False
    plain = all(isinstance(each, float) for each in (layer.threshold, layer.threshold_off))
    memory = layer.beta != 0 or layer.rest is not None or layer.refractory > 0
    return plain and not memory


def _next_weighted(row: Row, at: int) -> int | None:
    """Return the place of the next layer with weights if only layers without state are between."""
    for place in range(at + 1, len(row)):
        layer = row[place][1]
        if isinstance(layer, Weighted) and getattr(layer, "groups", 1) == 1:
            return place
        if not isinstance(layer, Pool | Delays | Flatten):
            break
    return None


def _copies(before: Weighted, layer: LIF) -> tuple[Weighted, list[int]]:
    """Return the layer in front of the copies of neurons, and the sign of each copy's spikes."""
    weight, bias = numbers(before)
    threshold, most, gain = float(layer.threshold), layer.dynamics.most, float(layer.gain or 1.0)
    signs = [1] * most + ([-1] * most if layer.dynamics.signed else [])
    weights, biases = [], []
    for place, sign in enumerate(signs):
        factor = 1.0 if sign > 0 else -threshold / float(layer.threshold_off)
        weights.append(factor * weight)
        biases.append(factor * bias - place % most * threshold / gain)
    return filled(before, torch.cat(weights), torch.cat(biases)), signs


def _spread(layer: nn.Module, signs: list[int], taps: list[int]) -> nn.Module:
    """Return a layer for the copies of its inputs, behind delays of so many taps."""
    assert isinstance(layer, Weighted)
    weight, bias = numbers(layer)
    # Taps stand in front of the copies.
    parts = weight.view(len(weight), math.prod(taps), -1, *weight.shape[2:])
    return filled(layer, torch.cat([sign * parts for sign in signs], 2).flatten(1, 2), bias)
