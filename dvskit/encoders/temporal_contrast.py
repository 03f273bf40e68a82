"""Temporal contrast: a spike where the change stands out among all changes of the signal."""

from __future__ import annotations

import torch
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.encoders.checking import at_least_0, check_signal, signed_spikes, working_dtype
from dvskit.encoders.staircase import staircase


@check_arguments
def temporal_contrast(signal: Tensor, *, factor: float | Tensor = 1.0) -> Tensor:
    """Spike +1 where s_t - s_{t-1} > threshold and -1 where it is < -threshold, its own threshold.

    The threshold is that of `contrast_threshold`, one a channel (Petro, Kasabov & Kiss 2020, who
    also call it threshold-based representation). The first sample does not spike. The whole signal
    must be known; for a stream take `delta` with the threshold of a part.

    `signal` (T, ...); returns spikes -1, 0, 1 of its shape and dtype. Negating the signal negates
    the spikes; adding a constant or scaling by a positive number changes nothing but rounding.
    Raises ShapeError for integers, a signal without time or a factor that does not fit one time
    step, ConfigError for NaN, infinities and a factor below 0.

    >>> t = torch.arange(1000) / 1000
    >>> sine = torch.sin(2 * torch.pi * 5 * t)
    >>> spikes = temporal_contrast(sine, factor=0.9)
    >>> decoded = decode_temporal_contrast(spikes, threshold=contrast_threshold(sine, factor=0.9))
    >>> bool(reconstruction_error(sine, decoded).rmse < 0.3)
    True
    """
    change, threshold = _changes(signal, factor)
    spikes = torch.zeros_like(signal)
    spikes[1:] = signed_spikes(change > threshold, change < -threshold, signal.dtype)
    return spikes


@check_arguments
def contrast_threshold(signal: Tensor, *, factor: float | Tensor = 1.0) -> Tensor:
    """Return the threshold of each channel, |mean| + factor std of the differences of `signal`.

    The standard deviation divides by the number of differences. The papers take the mean with its
    sign, which gives a falling signal a smaller threshold than its mirror image, even a negative
    one; with a mean of 0 or above they are the same.

    `signal` (T, ...); returns (...), float64 for float64 and else float32; 0 where there are no
    differences. Raises as `temporal_contrast` does.
    """
    return _changes(signal, factor)[1]


def _changes(signal: Tensor, factor: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return the differences of a signal, and the threshold of each channel."""
    check_signal(signal, "temporal_contrast")
    scale = at_least_0(factor, signal, "temporal_contrast", "factor")
    change = torch.diff(signal.detach().to(working_dtype(signal.dtype)), dim=0)
    if not len(change):
        return change, change.new_zeros(change.shape[1:])
    mean = change.mean(0)
    spread = (change - mean).square().mean(0).sqrt()  # torch's std warns of channels that are none
    return change, mean.abs() + scale * spread


@check_arguments
def decode_temporal_contrast(
    spikes: Tensor, *, threshold: float | Tensor, start: float | Tensor = 0.0
) -> Tensor:
    """Return start + threshold (sum of the spikes so far), of the shape of `spikes` (T, ...).

    `threshold` is what `contrast_threshold` gave, `start` the first sample. As with `delta`, the
    error adds up. Keeps the dtype of floats; float32 for integers. Raises ShapeError, and
    ConfigError for a threshold below 0.
    """
    return staircase(spikes, threshold, start, "decode_temporal_contrast")
