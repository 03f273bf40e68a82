"""Connections between neurons for local rules: full connections and convolutions.

A local rule needs one operation of a connection: for each weight, the sum of a product of both
neurons over all its synapses. This is the weight gradient of the layer, so any layer can have one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor
from torch.nn.grad import conv2d_weight

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, ShapeError


@runtime_checkable
class Connection(Protocol):
    """How the weights of a layer join its presynaptic and postsynaptic neurons."""

    def correlate(self, pre: Tensor, post: Tensor, shape: torch.Size) -> Tensor:
        """Return, for each weight of `shape`, the sum of pre * post over its synapses.

        `pre` and `post` hold one number per neuron, for one time step.
        """
        ...


@check_arguments
@dataclass(frozen=True, slots=True)
class Dense:
    """Full connections, as in torch.nn.Linear: weight (M, N)."""

    def correlate(self, pre: Tensor, post: Tensor, shape: torch.Size) -> Tensor:
        """Return the sums (M, N) of post[b, m] pre[b, n] over the batch b.

        `pre` is (..., N), `post` (..., M), with the same leading dimensions, or none. Raises
        ShapeError if they do not fit `shape`.
        """
        fits = len(shape) == 2 and pre.ndim == post.ndim > 0 and pre.shape[:-1] == post.shape[:-1]
        if not fits or (post.shape[-1], pre.shape[-1]) != tuple(shape):
            raise ShapeError(
                f"Dense: pre {tuple(pre.shape)} and post {tuple(post.shape)} do not fit a weight "
                f"of shape {tuple(shape)}; they are (B, N) and (B, M) for a weight (M, N)"
            )
        return post.reshape(-1, shape[0]).T @ pre.reshape(-1, shape[1])


@check_arguments
@dataclass(frozen=True, slots=True)
class Convolution:
    """A 2-d convolution, as in torch.nn.Conv2d with one group: weight (M, C, height, width).

    A weight serves one synapse at each output position: its change is the sum over them.
    Raises ConfigError for a stride or dilation below 1, or a padding below 0.
    """

    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def __post_init__(self) -> None:
        if min(self.stride, self.dilation) < 1 or self.padding < 0:
            raise ConfigError(f"{self}: stride and dilation must be at least 1, padding at least 0")

    def correlate(self, pre: Tensor, post: Tensor, shape: torch.Size) -> Tensor:
        """Return the sums (M, C, height, width) over the batch and the output positions.

        `pre` is (B, C, H, W), `post` (B, M, H', W') with the H', W' of the convolution. Raises
        ShapeError if they do not fit `shape`.
        """
        if pre.ndim != 4 or len(shape) != 4 or post.shape != self._out_shape(pre.shape, shape):
            raise ShapeError(
                f"{self}: pre {tuple(pre.shape)} and post {tuple(post.shape)} do not fit a weight "
                f"of shape {tuple(shape)}; they must be (B, C, H, W) and the output of its conv2d"
            )
        # The sums are the weight gradient of a convolution: ten times as fast as over patches.
        how = (self.stride, self.padding, self.dilation)
        sums = conv2d_weight(pre, shape, post, *how)  # type: ignore[no-untyped-call]
        return cast(Tensor, sums)

    def _out_shape(self, pre: torch.Size, weight: torch.Size) -> tuple[int, ...]:
        if pre[1] != weight[1]:
            return ()
        sides = [
            (pre[dim] + 2 * self.padding - self.dilation * (weight[dim] - 1) - 1) // self.stride + 1
            for dim in (2, 3)
        ]
        return (pre[0], weight[0], *sides)
