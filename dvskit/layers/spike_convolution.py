"""The convolution of spikes, which keeps them for the backward pass in a byte each."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional


class Window(NamedTuple):
    """How a convolution moves over its input."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


def convolve_spikes(x: Tensor, weight: Tensor, bias: Tensor | None, window: Window) -> Tensor:
    """Return conv2d of spikes -1, 0 and 1 (N, C, H, W); gradients too are torch's, bit for bit.

    A convolution keeps its input for the gradient of its weights. Spikes are exact in int8, a
    quarter of the memory of float32, at no more time than is measured from run to run. Where
    torch.autocast computes in bfloat16 less would be won, and up to a tenth of the time lost: there
    they are kept as they are, and where torch.compile plans the memory.
    """
    keeps = torch.is_grad_enabled() and weight.requires_grad and x.element_size() >= 4
    if not keeps or torch.is_autocast_enabled(x.device.type) or torch.compiler.is_compiling():
        return functional.conv2d(x, weight, bias, *window)
    return cast(
        Tensor,
        _ConvolutionOfSpikes.apply(x, weight, bias, window),  # type: ignore[no-untyped-call]
    )


class _ConvolutionOfSpikes(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, window: Window) -> Tensor:
        ctx.save_for_backward(x.to(torch.int8), weight)
        ctx.window, ctx.dtype = window, x.dtype
        return functional.conv2d(x, weight, bias, *window)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        spikes, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.window
        x_needs, weight_needs, bias_needs, _ = ctx.needs_input_grad
        gradients = torch.ops.aten.convolution_backward(
            gradient, spikes.to(ctx.dtype), weight, [weight.shape[0]], stride, padding, dilation,
            False, (0, 0), groups, (x_needs, weight_needs, bias_needs),
        )  # fmt: skip
        return *gradients, None
