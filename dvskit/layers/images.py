"""Images at each time step: convolution, pooling, batch normalization, and logarithmic counts.

Time is folded into the batch: functions see (T * B, ...), and the result is unfolded again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from dvskit._checks import check_number, check_whole
from dvskit.errors import ShapeError
from dvskit.layers.dense import BatchPart, current_part
from dvskit.neurons.driver import check_input

_FEW = 16  # channels of the input; with more, torch's gradient of strided images is as fast
_AT_ONCE = 1 << 19  # numbers in the windows that are made at a time: they stay in the cache


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
    fits = x.ndim == 5 and channels in (None, x.shape[2])
    check_input(layer, x, f"(T, B, {'C' if channels is None else channels}, H, W)", fits)


def check_window(
    layer: nn.Module, x: Tensor, kernel: tuple[int, ...], padding: tuple[int, ...], what: str
) -> None:
    """Raise ShapeError if no pixel of the images of `x` remains after a window, in words `what`."""
    sides = zip(x.shape[-2:], kernel, padding, strict=True)
    if any(side + 2 * edge < size for side, size, edge in sides):
        rows, columns = x.shape[-2:]
        raise ShapeError(
            f"{type(layer).__name__}: no pixel of {rows}x{columns} (rows x columns) remains "
            f"after {what}; take larger images, a smaller window or more padding"
        )


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
    byte = of_spikes and weight.requires_grad and x.element_size() >= 4
    folded = x.requires_grad and _folds(x, window)
    own = torch.is_grad_enabled() and (byte or folded) and not torch.compiler.is_compiling()
    if not own or torch.is_autocast_enabled(x.device.type):
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


class _Pool2d(nn.Module):
    """Windows of kernel_size x kernel_size pixels, `stride` apart (kernel_size if None)."""

    def __init__(self, kernel_size: int, stride: int | None = None) -> None:
        super().__init__()
        stride = kernel_size if stride is None else stride
        check_whole("kernel_size", kernel_size, 1, owner=type(self).__name__)
        check_whole("stride", stride, 1, owner=type(self).__name__)
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled `x`: (T, B, C, H, W) -> (T, B, C, H', W'). Raises ShapeError."""
        check_images(self, x)
        check_window(self, x, (self.kernel_size,) * 2, (0, 0), f"a pool of {self.kernel_size}")
        return over_time(self.pool, x)

    def pool(self, images: Tensor) -> Tensor:
        """Return the pooled images (N, C, H, W)."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Return the arguments for the repr."""
        return f"{self.kernel_size}, stride={self.stride}"


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
            return _convolved(super().forward, x)
        window = ConvWindow(self.stride, self.padding, self.dilation, self.groups)  # type: ignore[arg-type]
        how: dict[str, Any]
        how = {"weight": self.weight, "bias": self.bias, "window": window, "of_spikes": of_spikes}
        return _convolved(partial(convolve, **how), x)

    def _is_plain(self) -> bool:
        return self.padding_mode == "zeros" and not isinstance(self.padding, str)

    def check(self, x: Tensor) -> None:
        """Raise ShapeError if `x` does not fit the layer."""
        check_images(self, x, self.in_channels)
        if isinstance(self.padding, str):  # "same" leaves the size, "valid" is 0
            return
        spans = zip(self.dilation, self.kernel_size, strict=True)
        wide = tuple(dilation * (kernel - 1) + 1 for dilation, kernel in spans)
        check_window(self, x, wide, self.padding, f"a kernel of {self.kernel_size}")


def can_merge(conv: nn.Module, pool: nn.Module) -> bool:
    """Return whether `conv` and the `pool` after it can be computed as one convolution."""
    return (
        isinstance(conv, Conv2d)
        and isinstance(pool, AvgPool2d)
        and conv.stride == conv.dilation == (1, 1)
        and conv._is_plain()
        and pool.stride == pool.kernel_size
    )


def pooled_convolution(conv: Any, pool: Any, x: Tensor, of_spikes: bool = False) -> Tensor:
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
    wide = tuple(kernel + edge for kernel in conv.kernel_size)
    check_window(pool, x, wide, padding, f"a kernel of {conv.kernel_size} and a pool of {size}")
    window = ConvWindow((size, size), padding, (1, 1), conv.groups)
    how: dict[str, Any]
    how = {"weight": weight, "bias": conv.bias, "window": window, "of_spikes": of_spikes}
    return _convolved(partial(convolve, **how), x)


def _convolved(convolve: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return over_time(lambda images: convolve(channels_last(images)), x)


class BatchNorm2d(nn.BatchNorm2d):
    """torch.nn.BatchNorm2d with time folded into the batch: (T, B, C, H, W) -> the same shape.

    y = weight (x - mean) / sqrt(var + eps) + bias, for each channel. In training, mean and (biased)
    variance are taken over time, batch and pixels; in evaluation the running ones are used.
    Arguments are those of torch. In training each chunk of time is normalized by its own
    statistics, so running in chunks gives the whole result only in evaluation. Parts of a batch in
    several processes share the statistics of all parts (`dvskit.layers.dense`).

        network = dvskit.layers.Sequence(
            dvskit.layers.Conv2d(2, 16, 3, padding=1, bias=False),
            dvskit.layers.BatchNorm2d(16),
            dvskit.neurons.LIF(),
        )
        spikes = network(torch.rand(20, 8, 2, 34, 34))  # (20, 8, 16, 34, 34)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized `x` (T, B, C, H, W)."""
        check_images(self, x, self.num_features)
        return over_time(self.normalize, x)

    def normalize(self, images: Tensor) -> Tensor:
        """Return the normalized images (N, C, H, W)."""
        part = current_part() if self.training else None
        if part is None:
            return super().forward(images)
        return _normalized_together(self, images, self.weight, part)


class BatchNorm1d(BatchNorm2d):
    """torch.nn.BatchNorm1d with time folded into the batch: (T, B, N) -> the same shape.

    Each of the N features is normalized like a channel of BatchNorm2d, over time (or the points of
    a cloud) and batch. Inputs (B, N) after a readout are normalized over the batch.

        norm = dvskit.layers.BatchNorm1d(100)
        norm(torch.rand(20, 8, 100)).shape  # (20, 8, 100)
        norm(torch.rand(8, 100)).shape  # (8, 100), after a readout
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized `x` (T, B, N) or (B, N)."""
        fits = x.ndim > 1 and x.shape[-1] == self.num_features
        check_input(self, x, f"(T, B, {self.num_features})", fits, "take BatchNorm2d for images")
        return self.normalize(x.reshape(-1, x.shape[-1], 1, 1)).reshape(x.shape)


class ThresholdBatchNorm2d(BatchNorm2d):
    """Batch normalization that scales currents to the threshold (tdBN).

    y = weight (alpha threshold (x - mean) / sqrt(var + eps)) + bias, for each channel, with mean
    and variance as in BatchNorm2d. A new layer gives currents of standard deviation alpha
    threshold. Use alpha = 1, or 1 / sqrt(n) in each of n branches that are added, as in a residual
    block (Zheng et al. 2021, "Going deeper with directly-trained larger spiking neural networks",
    section 3.2).

        network = dvskit.layers.Sequence(
            dvskit.layers.Conv2d(2, 16, 3, padding=1, bias=False),
            dvskit.layers.ThresholdBatchNorm2d(16, threshold=0.5),
            dvskit.neurons.LIF(threshold=0.5),
        )
        spikes = network(torch.rand(20, 8, 2, 34, 34))  # (20, 8, 16, 34, 34)
    """

    def __init__(
        self,
        num_features: int,
        threshold: float = 1.0,
        alpha: float = 1.0,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        check_whole("num_features", num_features, 1, owner="ThresholdBatchNorm2d")
        check_number("threshold", threshold, above=0, owner="ThresholdBatchNorm2d")
        check_number("alpha", alpha, above=0, owner="ThresholdBatchNorm2d")
        super().__init__(num_features, eps, momentum)
        self.threshold, self.alpha = float(threshold), float(alpha)

    def normalize(self, images: Tensor) -> Tensor:
        """Return the normalized images (N, C, H, W)."""
        weight = self.weight * (self.alpha * self.threshold)
        part = current_part() if self.training else None
        if part is not None:
            return _normalized_together(self, images, weight, part)
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return functional.batch_norm(
            images,
            self.running_mean,
            self.running_var,
            weight,
            self.bias,
            self.training,
            self.momentum or 0.0,
            self.eps,
        )

    def extra_repr(self) -> str:
        """Return the arguments for the repr."""
        return f"{self.num_features}, threshold={self.threshold}, alpha={self.alpha}"


def _normalized_together(
    layer: nn.BatchNorm2d, images: Tensor, weight: Tensor | None, part: BatchPart
) -> Tensor:
    """Return the images (N, C, H, W) of one part, normalized by statistics of all parts."""
    x, sides = images.float(), (0, 2, 3)
    count = x.new_full((1,), x.numel() / x.shape[1])
    sums = part.sum(torch.cat([x.sum(sides), count]))
    mean, total = sums[:-1] / sums[-1], sums[-1].detach()
    centered = x - mean[:, None, None]
    var = part.sum(centered.square().sum(sides)) / total
    _track(layer, mean.detach(), var.detach() * total / (total - 1))
    y = centered * torch.rsqrt(var + layer.eps)[:, None, None]
    if weight is not None:
        y = y * weight[:, None, None]
    if layer.bias is not None:
        y = y + layer.bias[:, None, None]
    return y.to(images.dtype)


def _track(layer: nn.BatchNorm2d, mean: Tensor, var: Tensor) -> None:
    """Update the running mean and the running (unbiased) variance as torch does."""
    if layer.running_mean is None or layer.running_var is None:
        return
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    share = layer.momentum or 1.0 / float(layer.num_batches_tracked)
    layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), share)
    layer.running_var.lerp_(var.to(layer.running_var.dtype), share)


class LogCounts(nn.Module):
    """log(1 + x) of each entry, -log(1 - x) of negative ones; the shape is kept.

    The number of events at an edge depends on the sensor's threshold: half the threshold gives
    twice the events. The logarithm keeps the place of edges and damps this factor.

        counts = torch.tensor([[0.0, 1.0], [3.0, -3.0]])
        dvskit.layers.LogCounts()(counts)  # [[0, 0.69], [1.39, -1.39]]
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """Return sign(x) log(1 + |x|)."""
        return torch.sign(x) * torch.log1p(torch.abs(x))
