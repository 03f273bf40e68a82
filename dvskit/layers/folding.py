"""Time folded into the batch: what knows no time sees (T * B, ...) and gives (T, B, ...) back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dvskit.errors import ArgumentError, ShapeError

if TYPE_CHECKING:
    from torch import nn


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


def check_window(layer: nn.Module, x: Tensor, out: tuple[int, int], what: str) -> None:
    """Raise ShapeError where a window leaves nothing of the images of `x`."""
    if min(out) < 1:
        rows, columns = x.shape[-2:]
        raise ShapeError(
            f"{type(layer).__name__}: nothing is left of {rows}x{columns} (rows x columns) behind "
            f"{what}; take larger images, a smaller window or more padding"
        )
