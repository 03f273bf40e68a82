"""Batch normalisation over all time steps, plain and scaled to the neurons' threshold."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError
from dvskit.layers.folding import check_images, over_time


class BatchNorm2d(nn.BatchNorm2d):
    """torch.nn.BatchNorm2d with time folded into the batch: (T, B, C, H, W) -> the same shape.

    y = weight (x - mean) / sqrt(var + eps) + bias, for each channel; in training with the mean and
    the (biased) variance over time, batch and pixels, else with the running ones. Arguments are
    torch's. In training, chunks of time are normalised by their own statistics: only in evaluation
    do they give what the whole gives.
    Raises ShapeError for another number of channels.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised `x` (T, B, C, H, W)."""
        check_images(self, x, self.num_features)
        return over_time(self.normalise, x)

    def normalise(self, images: Tensor) -> Tensor:
        """Return the normalised images (N, C, H, W)."""
        return super().forward(images)


@check_arguments
class ThresholdBatchNorm2d(BatchNorm2d):
    """Batch normalisation that brings currents to the scale of the threshold (tdBN).

    y = weight (alpha threshold (x - mean) / sqrt(var + eps)) + bias, for each channel, with mean
    and variance as in BatchNorm2d: a fresh layer gives currents of standard deviation
    alpha threshold. `alpha` is 1, and 1 / sqrt(n) in each of n branches that are added, as in a
    residual block (Zheng et al. 2021, "Going deeper with directly-trained larger spiking neural
    networks", section 3.2).

    Raises ConfigError unless threshold and alpha are finite and above 0 and num_features is at
    least 1, ShapeError for another number of channels.
    """

    def __init__(
        self,
        num_features: int,
        threshold: float = 1.0,
        alpha: float = 1.0,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        for name, value in (("threshold", threshold), ("alpha", alpha)):
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(
                    f"ThresholdBatchNorm2d: {name} = {value} is not a finite number above 0"
                )
        if num_features < 1:
            raise ConfigError(f"ThresholdBatchNorm2d: num_features = {num_features} is below 1")
        super().__init__(num_features, eps, momentum)
        self.threshold, self.alpha = float(threshold), float(alpha)

    def normalise(self, images: Tensor) -> Tensor:
        """Return the normalised images (N, C, H, W)."""
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return functional.batch_norm(
            images,
            self.running_mean,
            self.running_var,
            self.weight * (self.alpha * self.threshold),
            self.bias,
            self.training,
            self.momentum or 0.0,
            self.eps,
        )

    def extra_repr(self) -> str:
        """Return the parameters as they were given."""
        return f"{self.num_features}, threshold={self.threshold}, alpha={self.alpha}"
