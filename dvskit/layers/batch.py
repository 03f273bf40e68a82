"""The batch that layers see: time folded into it, and parts of it in several processes.

What knows no time sees (T * B, ...) and gives (T, B, ...) back. Several processes that train one
network have a part of each batch each. Within `part_of_batch`, batch normalisation takes its
statistics over all parts, and dropout draws for all and takes its rows: so the parts together are
what the whole batch is in one process, but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dvskit.errors import ArgumentError, ShapeError


def over_time(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return `function` of each time step, computed at once: (T, B, ...) -> (T, B, ...).

    `function` takes and returns (T * B, ...).
    """
    out = function(x.flatten(0, 1))  # (T, B, ...) -> (T*B, ...)
    return out.reshape(*x.shape[:2], *out.shape[1:])


def channels_last(images: Tensor) -> Tensor:
    """Return images (N, C, H, W) laid out pixel by pixel, as convolutions on a processor like them.

    They then take half to three quarters of the time. Neurons and pooling keep the layout, so that
    only the first convolution of a network copies its input.
    """
    return images.contiguous(memory_format=torch.channels_last)


def check_tensor(layer: nn.Module, x: object) -> None:
    """Raise ArgumentError for an input that is no tensor, such as an array of numpy."""
    if not isinstance(x, Tensor):
        raise ArgumentError(
            f"{type(layer).__name__} takes a torch.Tensor, not {type(x).__name__}; convert an "
            "array with torch.from_numpy(...)"
        )


def check_images(layer: nn.Module, x: Tensor, channels: int | None = None) -> None:
    """Raise ShapeError unless `x` is (T, B, channels, H, W) of floating-point numbers."""
    check_tensor(layer, x)
    name = type(layer).__name__
    wanted = "C" if channels is None else channels
    fits = x.ndim == 5 and (channels is None or x.shape[2] == channels)
    if not fits or not x.is_floating_point():
        raise ShapeError(
            f"{name} takes floating-point (T, B, {wanted}, H, W), not {x.dtype} of shape "
            f"{tuple(x.shape)}; put time first, then the batch, and convert with .float()"
        )


def check_step(layer: nn.Module, x: Tensor, state: Tensor | None) -> None:
    """Raise ShapeError for a state of another shape than a step of `x` (T, ...)."""
    if state is not None and state.shape != x.shape[1:]:
        raise ShapeError(
            f"{type(layer).__name__}: the state is of {tuple(state.shape)}, a step of the input of "
            f"{tuple(x.shape[1:])}; start a new batch from state=None"
        )


def check_window(layer: nn.Module, x: Tensor, out: tuple[int, int], what: str) -> None:
    """Raise ShapeError where a window leaves nothing of the images of `x`."""
    if min(out) < 1:
        rows, columns = x.shape[-2:]
        raise ShapeError(
            f"{type(layer).__name__}: nothing is left of {rows}x{columns} (rows x columns) behind "
            f"{what}; take larger images, a smaller window or more padding"
        )


@dataclass(frozen=True, slots=True)
class BatchPart:
    """The rows first, first + every, ... of a batch of `whole`.

    add  puts the sum over all parts in the place of a tensor; all processes call it alike
    """

    first: int
    every: int
    whole: int
    add: Callable[[Tensor], None]

    @property
    def rows(self) -> slice:
        """The rows of the whole batch that the part has."""
        return slice(self.first, None, self.every)

    @property
    def count(self) -> int:
        """How many rows it has."""
        return len(range(self.first, self.whole, self.every))

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum of `x` over all parts; gradients flow to all of them."""
        total: Tensor = _Sum.apply(x, self.add)  # type: ignore[no-untyped-call]
        return total


# Not of a context or a thread: the backward pass, which may compute layers again, has its own.
_current: BatchPart | None = None


@contextmanager
def part_of_batch(part: BatchPart | None) -> Iterator[None]:
    """Have the layers take their inputs for a part of a batch; None for a whole one.

    The backward pass belongs within.
    """
    global _current
    before, _current = _current, part
    try:
        yield
    finally:
        _current = before


def current_part() -> BatchPart | None:
    """Return which part of a batch the layers have now; None for all of it."""
    return _current


class _Sum(torch.autograd.Function):
    """The sum over all parts, whose gradient is the sum of the parts' gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, add: Callable[[Tensor], None]) -> Tensor:
        ctx.add = add
        total = x.clone()
        add(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone()
        ctx.add(total)
        return total, None
