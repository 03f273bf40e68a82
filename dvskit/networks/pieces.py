"""What the words of a layer list mean: of each its shape behind and its modules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from dvskit.errors import ConfigError, did_you_mean
from dvskit.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Delays,
    Dropout,
    Flatten,
    Linear,
    LogCounts,
    MaxPool2d,
    SumPool2d,
    ThresholdBatchNorm2d,
    Voting,
)

Shape = tuple[int, ...]
"""(channels, rows, columns) of images, or (numbers,)."""

Named = tuple[str, nn.Module]


@dataclass(frozen=True, slots=True)
class Defaults:
    """What layers take where their word does not say: see `Layered`."""

    beta: float
    threshold: float


class Piece(Protocol):
    """A word of a layer list."""

    def after(self, shape: Shape) -> Shape:
        """Return the shape behind it. Raises ConfigError, saying why `shape` does not fit."""
        ...

    def modules(self, shape: Shape) -> list[Named]:
        """Return its modules for inputs of `shape`, each with the kind that it is named by."""
        ...


def said(shape: Shape) -> str:
    """Return a shape for people: "12x15x15 (channels x rows x columns)"."""
    if len(shape) == 1:
        return f"{shape[0]} numbers"
    return f"{'x'.join(map(str, shape))} (channels x rows x columns)"


def _check_images(shape: Shape) -> None:
    if len(shape) != 3:
        raise ConfigError("it takes images; put it in front of the first dense layer")


def _check_sizes(*sizes: int) -> None:
    if min(sizes) < 1:
        raise ConfigError("sizes and strides are at least 1")


def _behind(shape: Shape, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    _check_sizes(kernel, stride)
    rows, columns = ((side + 2 * padding - kernel) // stride + 1 for side in shape[1:])
    if min(rows, columns) < 1:
        raise ConfigError(
            f"nothing would be left, {rows}x{columns}; take a smaller window, more padding, or "
            "pool less in front of it"
        )
    return rows, columns


@dataclass(frozen=True, slots=True)
class Convolution:
    """`channels` C `kernel`, of a stride and a padding: 64C3, 64C3s2p1."""

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0

    def after(self, shape: Shape) -> Shape:
        """Return (channels, rows, columns)."""
        _check_images(shape)
        _check_sizes(self.channels)
        return self.channels, *_behind(shape, self.kernel, self.stride, self.padding)

    def modules(self, shape: Shape) -> list[Named]:
        """Return the convolution."""
        layer = Conv2d(shape[0], self.channels, self.kernel, self.stride, self.padding)
        return [("conv", layer)]


@dataclass(frozen=True, slots=True)
class Pooling:
    """P (mean), S (sum) or M (largest magnitude) and the side: P2, M3s2."""

    letter: str
    size: int
    stride: int

    def after(self, shape: Shape) -> Shape:
        """Return (channels, rows, columns)."""
        _check_images(shape)
        return shape[0], *_behind(shape, self.size, self.stride, 0)

    def modules(self, shape: Shape) -> list[Named]:
        """Return the pooling."""
        kind = {"P": AvgPool2d, "S": SumPool2d, "M": MaxPool2d}[self.letter]
        return [("pool", kind(self.size, self.stride))]


@dataclass(frozen=True, slots=True)
class Dense:
    """A dense layer of so many outputs: 256, or F256. Images are flattened in front of it."""

    outputs: int

    def after(self, shape: Shape) -> Shape:
        """Return (outputs,)."""
        _check_sizes(self.outputs)
        return (self.outputs,)

    def modules(self, shape: Shape) -> list[Named]:
        """Return the layer, flattening in front of it where its inputs are images."""
        flatten: list[Named] = [("flatten", Flatten())] if len(shape) > 1 else []
        return [*flatten, ("dense", Linear(math.prod(shape), self.outputs))]


@dataclass(frozen=True, slots=True)
class Delayed:
    """The inputs of `taps` time steps side by side, each `spacing` behind the one ahead: T5s2."""

    taps: int
    spacing: int

    def after(self, shape: Shape) -> Shape:
        """Return as many times the channels, or numbers."""
        _check_sizes(self.taps, self.spacing)
        return self.taps * shape[0], *shape[1:]

    def modules(self, shape: Shape) -> list[Named]:
        """Return the delays."""
        return [("delays", Delays(self.taps, self.spacing))]


@dataclass(frozen=True, slots=True)
class LayerNormed:
    """ln: layer normalisation of each sample and time step by itself."""

    def after(self, shape: Shape) -> Shape:
        """Return the same shape."""
        if len(shape) != 1:
            raise ConfigError("it takes the outputs of a dense layer; of images take bn or tdbn")
        return shape

    def modules(self, shape: Shape) -> list[Named]:
        """Return torch's, which knows no time."""
        return [("norm", nn.LayerNorm(shape[0]))]


@dataclass(frozen=True, slots=True)
class Leaving:
    """Dropout of a share, constant in time: D0.2."""

    share: float

    def after(self, shape: Shape) -> Shape:
        """Return the same shape."""
        Dropout(self.share)
        return shape

    def modules(self, shape: Shape) -> list[Named]:
        """Return the dropout."""
        return [("dropout", Dropout(self.share))]


@dataclass(frozen=True, slots=True)
class Voted:
    """So many outputs vote for a class: V10."""

    votes: int

    def after(self, shape: Shape) -> Shape:
        """Return (outputs / votes,)."""
        _check_sizes(self.votes)
        if len(shape) != 1 or shape[0] % self.votes:
            raise ConfigError(f"it takes a multiple of {self.votes} outputs of a dense layer")
        return (shape[0] // self.votes,)

    def modules(self, shape: Shape) -> list[Named]:
        """Return the voting."""
        return [("vote", Voting(self.votes))]


@dataclass(frozen=True, slots=True)
class Rectified:
    """relu: max(x, 0), which knows no time, in place of neurons."""

    def after(self, shape: Shape) -> Shape:
        """Return the same shape."""
        return shape

    def modules(self, shape: Shape) -> list[Named]:
        """Return torch's, which treats each number alike."""
        return [("relu", nn.ReLU())]


@dataclass(frozen=True, slots=True)
class Norm:
    """bn, or tdbn with its alpha: batch normalisation."""

    word: str
    options: Mapping[str, Any]
    defaults: Defaults

    def after(self, shape: Shape) -> Shape:
        """Return the same shape."""
        _check_images(shape)
        check_options(self.options, {"bn": (), "tdbn": ("alpha",)}[self.word])
        self.modules(shape)  # which judges the parameters
        return shape

    def modules(self, shape: Shape) -> list[Named]:
        """Return the normalisation; that of tdbn is to the threshold of the network."""
        if self.word == "bn":
            return [("norm", BatchNorm2d(shape[0]))]
        norm = ThresholdBatchNorm2d(shape[0], self.defaults.threshold, **self.options)
        return [("norm", norm)]


@dataclass(frozen=True, slots=True)
class Logarithm:
    """log: what comes in on a logarithmic scale, for counts."""

    def after(self, shape: Shape) -> Shape:
        """Return the same shape."""
        return shape

    def modules(self, shape: Shape) -> list[Named]:
        """Return the logarithm."""
        return [("log", LogCounts())]


def check_options(options: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raise ConfigError for parameters that a word has not."""
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known) if known else "it has none"
            raise ConfigError(f"there is no parameter {name!r}; {hint}")
