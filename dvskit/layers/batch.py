"""Time folded into the batch, and batches split over several processes.

Layers without time see (T * B, ...); the result is unfolded to (T, B, ...). When several processes
train one network, each has a part of each batch. Within `part_of_batch`, batch normalisation takes
its statistics over all parts, and each part takes its rows of the dropout mask of the whole batch.
The parts together then equal the whole batch in one process, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dvskit.errors import ShapeError
from dvskit.neurons.driver import check_tensor


def over_time(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return `function` of each time step, computed at once: (T, B, ...) -> (T, B, ...).

    `function` takes and returns (T * B, ...).
    """
    out = function(x.flatten(0, 1))  # (T, B, ...) -> (T*B, ...)
    return out.reshape(*x.shape[:2], *out.shape[1:])


def channels_last(images: Tensor) -> Tensor:
    """Return images (N, C, H, W) in channels_last layout, which a CPU convolves in half the time.

    Neurons and pooling keep the layout, so only the first convolution of a network copies its
    input.
    """
    return images.contiguous(memory_format=torch.channels_last)


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
    """Raise ShapeError unless the shape of `state` is that of one step of `x` (T, ...)."""
    if state is not None and state.shape != x.shape[1:]:
        raise ShapeError(
            f"{type(layer).__name__}: the state has shape {tuple(state.shape)}, one step of the "
            f"input {tuple(x.shape[1:])}; start a new batch from state=None"
        )


def check_window(layer: nn.Module, x: Tensor, out: tuple[int, int], what: str) -> None:
    """Raise ShapeError if a window leaves no pixel of the images of `x`."""
    if min(out) < 1:
        rows, columns = x.shape[-2:]
        raise ShapeError(
            f"{type(layer).__name__}: no pixel of {rows}x{columns} (rows x columns) remains "
            f"after {what}; take larger images, a smaller window or more padding"
        )


@dataclass(frozen=True, slots=True)
class BatchPart:
    """The rows first, first + every, ... of a batch of `whole`.

    add  replaces a tensor by its sum over all parts; all processes call it in the same order
    """

    first: int
    every: int
    whole: int
    add: Callable[[Tensor], None]

    @property
    def rows(self) -> slice:
        """The rows of this part in the whole batch."""
        return slice(self.first, None, self.every)

    @property
    def count(self) -> int:
        """The number of rows of this part."""
        return len(range(self.first, self.whole, self.every))

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum of `x` over all parts; gradients flow to all of them."""
        total: Tensor = _Sum.apply(x, self.add)  # type: ignore[no-untyped-call]
        return total


# Not per context or thread: the backward pass, which may compute layers again, has its own thread.
_current: BatchPart | None = None


@contextmanager
def part_of_batch(part: BatchPart | None) -> Iterator[None]:
    """Make layers treat their inputs as this part of a batch; None for a whole batch.

    Run the backward pass within the context too.
    """
    global _current
    before, _current = _current, part
    try:
        yield
    finally:
        _current = before


def current_part() -> BatchPart | None:
    """Return the part of a batch that layers work on now; None for a whole batch."""
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
