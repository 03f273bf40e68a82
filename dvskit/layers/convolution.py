"""Convolution of images (N, C, H, W): what it keeps for the backward pass, and its gradients."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

_FEW = 16  # channels of the input; with more, torch's gradient of strided images is as fast
_AT_ONCE = 1 << 19  # numbers in the windows that are made at a time: they stay in the cache


class ConvWindow(NamedTuple):
    """Stride, padding, dilation and groups of a convolution."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, window: ConvWindow, *, of_spikes: bool
) -> Tensor:
    """Return conv2d of images (N, C, H, W), with gradients that equal torch's up to rounding.

    A convolution keeps its input for the gradient of its weights. `of_spikes` says that there are
    only -1, 0 and 1: int8 stores them exactly in a quarter of the memory of float32, without
    measurable loss of time. Of few channels on the CPU, the gradient of images from which every
    second or later window was taken is computed in half of torch's time (`_images_slope`). Under
    torch.autocast (a smaller gain, a tenth of the time lost) and torch.compile (which plans memory
    itself) torch does it all.
    """
    own = not (torch.is_autocast_enabled(x.device.type) or torch.compiler.is_compiling())
    byte = of_spikes and weight.requires_grad and x.element_size() >= 4
    folded = x.requires_grad and _folds(x, window)
    if not (own and torch.is_grad_enabled() and (byte or folded)):
        return functional.conv2d(x, weight, bias, *window)
    kept = torch.int8 if byte else x.dtype
    return cast(
        Tensor,
        _Convolution.apply(x, weight, bias, window, kept, folded),  # type: ignore[no-untyped-call]
    )


def _folds(x: Tensor, window: ConvWindow) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.shape[1] <= _FEW
        and min(window.stride) > 1
        and window.dilation == (1, 1)
        and window.groups == 1
    )


class _Convolution(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        window: ConvWindow,
        kept: torch.dtype,
        folded: bool,
    ) -> Tensor:
        ctx.save_for_backward(x.to(kept), weight)
        ctx.window, ctx.dtype, ctx.folded = window, x.dtype, folded
        return functional.conv2d(x, weight, bias, *window)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        window, (x_needs, *others) = ctx.window, ctx.needs_input_grad[:3]
        gx, gweight, gbias = torch.ops.aten.convolution_backward(
            gradient, x.to(ctx.dtype), weight, [weight.shape[0]], window.stride, window.padding,
            window.dilation, False, (0, 0), window.groups, (x_needs and not ctx.folded, *others),
        )  # fmt: skip
        if ctx.folded:
            gx = _images_slope(gradient, weight, x.shape, window)
        return gx, gweight, gbias, None, None, None


def _images_slope(slopes: Tensor, weight: Tensor, shape: torch.Size, window: ConvWindow) -> Tensor:
    """Return the gradient of images of `shape`: slopes times weights, added where windows overlap.

    The product is as fast as any of matrices; torch takes twice the time for strides above 1.
    """
    from dvskit.layers.fold_kernels import fold

    images, outputs, rows, columns = slopes.shape
    flat = weight.permute(0, 2, 3, 1).reshape(outputs, -1)  # (O, C, K, L) -> (O, K*L*C)
    whole = slopes.permute(0, 2, 3, 1).reshape(images, -1, outputs)  # -> (N, P*Q, O)
    out = slopes.new_empty(shape[0], *shape[2:], shape[1])  # channels last, as the kernel takes it
    down, across = zip(window.stride, window.padding, strict=True)
    step = max(1, _AT_ONCE // (rows * columns * flat.shape[1]))
    for first in range(0, images, step):
        windows = (whole[first : first + step].reshape(-1, outputs) @ flat).numpy()
        shaped = windows.reshape(-1, rows, columns, *weight.shape[2:], shape[1])
        # On one thread: of the whole it takes a tenth, and waking another takes as long.
        fold(shaped, out[first : first + step].numpy(), down, across)
    return out.permute(0, 3, 1, 2)  # (N, H, W, C) -> (N, C, H, W)
