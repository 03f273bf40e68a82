"""Batch normalisation over all time steps, and logarithmic counts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvskit._arguments import check_arguments
from dvskit.errors import ShapeError, check_least, check_positive
from dvskit.layers.batch import BatchPart, check_images, current_part, over_time
from dvskit.neurons.driver import check_tensor


class BatchNorm2d(nn.BatchNorm2d):
    """torch.nn.BatchNorm2d with time folded into the batch: (T, B, C, H, W) -> the same shape.

    y = weight (x - mean) / sqrt(var + eps) + bias, for each channel. In training, mean and (biased)
    variance are taken over time, batch and pixels; in evaluation the running ones are used.
    Arguments are those of torch. In training each chunk of time is normalised by its own
    statistics, so running in chunks gives the whole result only in evaluation. Parts of a batch in
    several processes share the statistics of all parts (`dvskit.layers.batch`).

        network = dvskit.layers.Sequence(
            dvskit.layers.Conv2d(2, 16, 3, padding=1, bias=False),
            dvskit.layers.BatchNorm2d(16),
            dvskit.neurons.LIF(),
        )
        spikes = network(torch.rand(20, 8, 2, 34, 34))  # (20, 8, 16, 34, 34)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised `x` (T, B, C, H, W)."""
        check_images(self, x, self.num_features)
        return over_time(self.normalise, x)

    def normalise(self, images: Tensor) -> Tensor:
        """Return the normalised images (N, C, H, W)."""
        part = current_part() if self.training else None
        if part is None:
            return super().forward(images)
        return _normalised_together(self, images, self.weight, part)


class BatchNorm1d(BatchNorm2d):
    """torch.nn.BatchNorm1d with time folded into the batch: (T, B, N) -> the same shape.

    Each of the N features is normalised like a channel of BatchNorm2d, over time (or the points of
    a cloud) and batch. Inputs (B, N) after a readout are normalised over the batch.

        norm = dvskit.layers.BatchNorm1d(100)
        norm(torch.rand(20, 8, 100)).shape  # (20, 8, 100)
        norm(torch.rand(8, 100)).shape  # (8, 100), after a readout
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised `x` (T, B, N) or (B, N)."""
        check_tensor(self, x)
        if x.ndim < 2 or x.shape[-1] != self.num_features or not x.is_floating_point():
            raise ShapeError(
                f"BatchNorm1d takes floating-point (T, B, {self.num_features}), not {x.dtype} of "
                f"shape {tuple(x.shape)}; change num_features, or take BatchNorm2d for images"
            )
        return self.normalise(x.reshape(-1, x.shape[-1], 1, 1)).reshape(x.shape)


@check_arguments
class ThresholdBatchNorm2d(BatchNorm2d):
    """Batch normalisation that scales currents to the threshold (tdBN).

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
        check_positive("ThresholdBatchNorm2d", threshold=threshold, alpha=alpha)
        check_least("ThresholdBatchNorm2d", 1, num_features=num_features)
        super().__init__(num_features, eps, momentum)
        self.threshold, self.alpha = float(threshold), float(alpha)

    def normalise(self, images: Tensor) -> Tensor:
        """Return the normalised images (N, C, H, W)."""
        weight = self.weight * (self.alpha * self.threshold)
        part = current_part() if self.training else None
        if part is not None:
            return _normalised_together(self, images, weight, part)
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


def _normalised_together(
    layer: nn.BatchNorm2d, images: Tensor, weight: Tensor | None, part: BatchPart
) -> Tensor:
    """Return the images (N, C, H, W) of one part, normalised by statistics of all parts."""
    x, sides = images.float(), (0, 2, 3)
    count = x.new_full((1,), x.numel() / x.shape[1])
    sums = part.sum(torch.cat([x.sum(sides), count]))
    mean, total = sums[:-1] / sums[-1], sums[-1].detach()
    centred = x - mean[:, None, None]
    var = part.sum(centred.square().sum(sides)) / total
    _track(layer, mean.detach(), var.detach() * total / (total - 1))
    y = centred * torch.rsqrt(var + layer.eps)[:, None, None]
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
