"""Pooling of each time step: mean, sum, and the entry of largest magnitude."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError
from dvskit.layers.batch import check_images, check_window, over_time


class _Pool2d(nn.Module):
    """Windows of kernel_size x kernel_size pixels, `stride` apart; those cut off are left out."""

    def __init__(self, kernel_size: int, stride: int | None = None) -> None:
        super().__init__()
        if kernel_size < 1 or (stride is not None and stride < 1):
            raise ConfigError(
                f"{type(self).__name__}: kernel_size = {kernel_size}, stride = {stride}: numbers "
                "of at least 1 are meant"
            )
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled `x`: (T, B, C, H, W) -> (T, B, C, H', W'). Raises ShapeError."""
        check_images(self, x)
        rows, columns = ((side - self.kernel_size) // self.stride + 1 for side in x.shape[-2:])
        check_window(self, x, (rows, columns), f"a pool of {self.kernel_size}")
        return over_time(self.pool, x)

    def pool(self, images: Tensor) -> Tensor:
        """Return the pooled images (N, C, H, W)."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Return the parameters as they were given."""
        return f"{self.kernel_size}, stride={self.stride}"


@check_arguments
class AvgPool2d(_Pool2d):
    """The mean of each window, at each time step: (T, B, C, H, W) -> (T, B, C, H', W').

    `stride` is the kernel's size if not given. Raises ConfigError for sizes below 1, ShapeError for
    an input that is no images or smaller than the window.
    """

    def pool(self, images: Tensor) -> Tensor:
        """Return the means of images (N, C, H, W)."""
        return functional.avg_pool2d(images, self.kernel_size, self.stride)


@check_arguments
class SumPool2d(_Pool2d):
    """The sum of each window, at each time step: events counted on a coarser sensor.

    Arguments and errors are those of AvgPool2d.
    """

    def pool(self, images: Tensor) -> Tensor:
        """Return the sums of images (N, C, H, W)."""
        return functional.avg_pool2d(images, self.kernel_size, self.stride, divisor_override=1)


@check_arguments
class MaxPool2d(_Pool2d):
    """The entry of largest magnitude of each window, with its sign, at each time step.

    Of an ON spike (+1) and an OFF spike (-1) in one window the ON spike wins. Without negative
    entries it is torch's max pooling; a plain maximum would lose each -1 beside a 0. It is odd but
    for these ties: pool(-x) = -pool(x) where no window holds both +m and -m as its largest.
    The gradient goes to the entry that was taken. Arguments and errors are those of AvgPool2d.
    """

    def pool(self, images: Tensor) -> Tensor:
        """Return the largest entries of images (N, C, H, W)."""
        on = functional.max_pool2d(images, self.kernel_size, self.stride)
        off = functional.max_pool2d(-images, self.kernel_size, self.stride)
        return torch.where(on >= off, on, -off)
