"""Losses of one time step: sums over the batch, so that a batch is the sum of its samples."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from dvskit.errors import ShapeError


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Return 1/2 sum (output - target)^2, for regression. Raises ShapeError for other shapes."""
    if output.shape != target.shape:
        raise ShapeError(
            f"the target is {tuple(target.shape)}, the output {tuple(output.shape)}; they are "
            "meant to have the same shape"
        )
    return 0.5 * (output - target).square().sum()


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Return the sum over the batch of the cross entropy of softmax(output), for classification.

    output  (B, C), logits        target  (B,) int64, numbers of classes, or (B, C), probabilities

    Raises ShapeError for other shapes, and for class numbers outside 0..C-1.
    """
    classes = output.shape[-1]
    if target.shape not in (output.shape[:1], output.shape) or output.ndim != 2:
        raise ShapeError(
            f"the target is {tuple(target.shape)}, the output {tuple(output.shape)}; class numbers "
            "(B,) or probabilities (B, C) for an output (B, C) are meant"
        )
    if target.ndim == 1:
        if target.is_floating_point():
            raise ShapeError(f"class numbers are {target.dtype}; convert them with .long()")
        if len(target) and not 0 <= int(target.min()) <= int(target.max()) < classes:
            raise ShapeError(f"class numbers of {classes} outputs are 0 to {classes - 1}")
    return functional.cross_entropy(output, target, reduction="sum")
