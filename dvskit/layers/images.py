"""Pooling and convolution of images at each time step, separate and merged."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvskit._arguments import check_arguments
from dvskit.errors import check_least
from dvskit.layers.batch import channels_last, check_images, check_window, over_time
from dvskit.layers.convolution import ConvWindow, convolve


class _Pool2d(nn.Module):
    """Windows of kernel_size x kernel_size pixels, `stride` apart (kernel_size if None)."""

    def __init__(self, kernel_size: int, stride: int | None = None) -> None:
        super().__init__()
        stride = kernel_size if stride is None else stride
        check_least(type(self).__name__, 1, kernel_size=kernel_size, stride=stride)
        self.kernel_size, self.stride = kernel_size, stride

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
        """Return the arguments for the repr."""
        return f"{self.kernel_size}, stride={self.stride}"


@check_arguments
class AvgPool2d(_Pool2d):
    """The mean of each window, at each time step: (T, B, C, H, W) -> (T, B, C, H', W').

    `kernel_size` and `stride` are in pixels; the stride is the kernel's size by default. Raises
    ShapeError for another shape, and for images smaller than the window.

        pool = dvskit.layers.AvgPool2d(2)
        pool(torch.rand(20, 8, 16, 34, 34)).shape  # (20, 8, 16, 17, 17)
    """

    def pool(self, images: Tensor) -> Tensor:
        """Return the means of images (N, C, H, W)."""
        return functional.avg_pool2d(images, self.kernel_size, self.stride)


@check_arguments
class SumPool2d(_Pool2d):
    """The sum of each window, at each time step: event counts of a coarser sensor.

    (T, B, C, H, W) -> (T, B, C, H', W'). Arguments are those of `AvgPool2d`.

        counts = torch.ones(20, 8, 2, 34, 34)
        dvskit.layers.SumPool2d(2)(counts).shape  # (20, 8, 2, 17, 17), each entry 4
    """

    def pool(self, images: Tensor) -> Tensor:
        """Return the sums of images (N, C, H, W)."""
        if torch.compiler.is_compiling():  # torch's ONNX files ignore divisor_override
            return self.kernel_size**2 * functional.avg_pool2d(
                images, self.kernel_size, self.stride
            )
        return functional.avg_pool2d(images, self.kernel_size, self.stride, divisor_override=1)


@check_arguments
class MaxPool2d(_Pool2d):
    """The entry of largest magnitude of each window, with its sign, at each time step.

    If a window holds both an ON spike (+1) and an OFF spike (-1), the ON spike wins. Without
    negative entries this is torch's max pooling, which would lose a -1 next to a 0. Except for
    ties of +m and -m it is odd: pool(-x) = -pool(x). The gradient goes to the chosen entry.

        signed = torch.tensor([[0.0, -1.0], [0.0, 0.0]]).view(1, 1, 1, 2, 2)
        dvskit.layers.MaxPool2d(2)(signed)  # -1, where torch's pooling returns 0
    """

    def pool(self, images: Tensor) -> Tensor:
        """Return the largest entries of images (N, C, H, W)."""
        on = functional.max_pool2d(images, self.kernel_size, self.stride)
        off = functional.max_pool2d(-images, self.kernel_size, self.stride)
        return torch.where(on >= off, on, -off)


class Conv2d(nn.Conv2d):
    """torch.nn.Conv2d at each time step: (T, B, C, H, W) -> (T, B, C', H', W').

    Arguments, weights and initial values are those of torch. Under torch.autocast it computes in
    bfloat16, in which spikes of -1, 0 and 1 and small counts are exact.

        conv = dvskit.layers.Conv2d(2, 16, 5, stride=2, padding=2)
        conv(torch.rand(20, 8, 2, 34, 34)).shape  # (20, 8, 16, 17, 17)
    """

    def forward(self, x: Tensor, of_spikes: bool = False) -> Tensor:
        """Return the convolution of `x` (T, B, C, H, W).

        With `of_spikes`, `x` holds only -1, 0 and 1, and the backward pass needs less memory
        (`convolve`); the result is the same. A Sequence sets it after neurons.
        """
        self.check(x)
        if not self._is_plain():
            return _over_time(super().forward, x)
        window = ConvWindow(self.stride, self.padding, self.dilation, self.groups)  # type: ignore[arg-type]
        return _convolved(x, self.weight, self.bias, window, of_spikes)

    def _is_plain(self) -> bool:
        return self.padding_mode == "zeros" and not isinstance(self.padding, str)

    def check(self, x: Tensor) -> None:
        """Raise ShapeError if `x` does not fit the layer."""
        check_images(self, x, self.in_channels)
        if isinstance(self.padding, str):  # "same" leaves the size, "valid" is 0
            return
        rows, columns = (
            (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for side, padding, dilation, kernel, stride in zip(
                x.shape[-2:], self.padding, self.dilation, self.kernel_size, self.stride,
                strict=True,
            )
        )  # fmt: skip
        check_window(self, x, (rows, columns), f"a kernel of {self.kernel_size}")


def can_merge(conv: nn.Module, pool: nn.Module) -> bool:
    """Return whether `conv` and the `pool` after it can be computed as one convolution."""
    return (
        isinstance(conv, Conv2d)
        and isinstance(pool, AvgPool2d)
        and conv.stride == conv.dilation == (1, 1)
        and conv._is_plain()
        and pool.stride == pool.kernel_size
    )


def pooled_convolution(conv: Conv2d, pool: AvgPool2d, x: Tensor, of_spikes: bool = False) -> Tensor:
    """Return pool(conv(x)) as one convolution, with the pool's stride and the averaged kernel.

    Both are linear: the result is the same up to rounding. For a kernel of 5 and a pool of 2 this
    takes 36 multiplications instead of 100, and there is no pooling to differentiate. Takes (T, B,
    C, H, W); `can_merge` checks the layers. `of_spikes` is that of Conv2d.
    """
    conv.check(x)
    size = pool.kernel_size
    edge = size - 1
    weight = functional.avg_pool2d(
        functional.pad(conv.weight, (edge, edge, edge, edge)), size, stride=1
    )  # K x K -> (K + P - 1) x (K + P - 1)
    padding = cast(tuple[int, int], conv.padding)
    rows, columns = (
        (side + 2 * edge - kernel + 1) // size
        for side, edge, kernel in zip(x.shape[-2:], padding, conv.kernel_size, strict=True)
    )
    check_window(pool, x, (rows, columns), f"a kernel of {conv.kernel_size} and a pool of {size}")
    window = ConvWindow((size, size), padding, (1, 1), conv.groups)
    return _convolved(x, weight, conv.bias, window, of_spikes)


def _convolved(
    x: Tensor, weight: Tensor, bias: Tensor | None, window: ConvWindow, of_spikes: bool
) -> Tensor:
    return _over_time(lambda images: convolve(images, weight, bias, window, of_spikes=of_spikes), x)


def _over_time(convolve: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return over_time(lambda images: convolve(channels_last(images)), x)
