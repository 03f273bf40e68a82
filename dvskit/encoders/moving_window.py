"""Moving-window code: a spike where the signal leaves the mean of its recent past."""

from __future__ import annotations

import torch
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.encoders.checking import (
    check_signal,
    check_time,
    signed_spikes,
    threshold_for,
    working_dtype,
)
from dvskit.encoders.staircase import staircase
from dvskit.errors import ConfigError


@check_arguments
def moving_window(signal: Tensor, *, window: int, threshold: float | Tensor) -> Tensor:
    """Spike +1 where the signal is above mean + threshold, -1 where it is below mean - threshold.

    The mean is that of the `window` samples before; the first `window` samples, which have fewer
    before them, are compared with their own mean (Petro, Kasabov & Kiss 2020). `threshold` is a
    number, or a tensor that broadcasts against one time step.

    `signal` (T, ...), any number of channels; returns spikes -1, 0, 1 of its shape and dtype.
    Raises ShapeError for integers, a signal without time or a threshold that does not fit;
    ConfigError for NaN, infinities, a window below 1 and a threshold not above 0.

    >>> t = torch.arange(1000) / 1000
    >>> sine = torch.sin(2 * torch.pi * 2 * t)
    >>> spikes = moving_window(sine, window=3, threshold=0.01)
    >>> decoded = decode_moving_window(spikes, threshold=0.01, start=sine[0])
    >>> bool(reconstruction_error(sine, decoded).rmse < 0.07)
    True
    """
    check_signal(signal, "moving_window")
    if window < 1:
        raise ConfigError(f"moving_window: window = {window} is below 1")
    height = threshold_for(threshold, signal, "moving_window", "threshold")
    x = signal.detach().to(working_dtype(signal.dtype))
    if x.shape[0] == 0:
        return torch.zeros_like(signal)
    first = min(window, x.shape[0])
    mean = torch.empty_like(x)
    mean[:first] = _sums(x[:first], first) / first
    mean[first:] = _sums(x[:-1], window) / window
    return signed_spikes(x > mean + height, x < mean - height, signal.dtype)


@check_arguments
def decode_moving_window(
    spikes: Tensor, *, threshold: float | Tensor, start: float | Tensor = 0.0
) -> Tensor:
    """Return start + threshold (sum of the spikes since the first sample), for spikes (T, ...).

    As in the paper the first decoded sample is `start`, the first sample of the signal, whatever
    spike stands there. A signal that stays away from its past mean spikes in each step, so the
    error has no bound. Keeps the dtype of floats; float32 for integers. Raises ShapeError, and
    ConfigError for a threshold below 0.
    """
    check_time(spikes, "decode_moving_window", "spikes")
    later = spikes.clone()
    later[:1] = 0
    return staircase(later, threshold, start, "decode_moving_window")


def _sums(x: Tensor, window: int) -> Tensor:
    """Return the sums of all `window` samples in a row, (T - window + 1, ...).

    Longer and longer rows are added up, so that nothing cancels as it would in running sums: one
    large sample is in the sums that it belongs to only.
    """
    count = x.shape[0] - window + 1
    if count < 1:
        return x[:0]
    total, taken, row, length = None, 0, x, 1
    while True:
        if window & length:
            part = row[taken : taken + count]
            total = part if total is None else total + part
            taken += length
        if taken == window:
            assert total is not None
            return total
        row, length = row[:-length] + row[length:], 2 * length
