"""Delta code: a spike where the signal changes by a threshold from one sample to the next."""

from __future__ import annotations

import torch
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.encoders.checking import (
    check_signal,
    per_channel,
    signed_spikes,
    threshold_for,
    working_dtype,
)
from dvskit.encoders.staircase import staircase


@check_arguments
def delta(
    signal: Tensor,
    *,
    threshold: float | Tensor = 0.1,
    threshold_off: float | Tensor | None = None,
) -> Tensor:
    """Spike +1 where s_t - s_{t-1} >= threshold, -1 where it is <= -threshold_off.

    `signal` (T, ...), any number of channels. A threshold is a number or a tensor that broadcasts
    against one time step; `threshold_off` is the same as `threshold` if None, and inf gives ON
    spikes only. The first sample has nothing before it and does not spike: `run_delta` names what
    stands there, and takes signals in chunks.

    Returns spikes of the shape and dtype of `signal`. Differences are rounded to its dtype, float32
    at least. Raises ShapeError for integers, a signal without time and thresholds that do not fit;
    ConfigError for NaN, infinities and thresholds not above 0.
    """
    return run_delta(signal, threshold=threshold, threshold_off=threshold_off)[0]


@check_arguments
def run_delta(
    signal: Tensor,
    before: Tensor | None = None,
    *,
    threshold: float | Tensor = 0.1,
    threshold_off: float | Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return the spikes of `delta` and the last sample, which is `before` of what follows.

    `before` is the sample that the first one is compared with; None is the first sample itself, so
    that it does not spike. A signal in chunks, each with the sample that the one before returned,
    gives the spikes of the whole. The sample is None where there was none yet. Raises as `delta`.
    """
    check_signal(signal, "delta")
    on = threshold_for(threshold, signal, "delta", "threshold")
    off = on
    if threshold_off is not None:
        off = threshold_for(threshold_off, signal, "delta", "threshold_off")
    if before is not None:
        before = per_channel(before, signal, "delta", "before").detach()
    if signal.shape[0] == 0:
        return torch.zeros_like(signal), before
    x = signal.detach().to(working_dtype(signal.dtype))
    first = x[:1] if before is None else before[None]
    change = torch.diff(x, dim=0, prepend=first)
    return signed_spikes(change >= on, change <= -off, signal.dtype), x[-1].clone()


@check_arguments
def decode_delta(
    spikes: Tensor, *, threshold: float | Tensor, start: float | Tensor = 0.0
) -> Tensor:
    """Return start + threshold (sum of the spikes so far), of the shape of `spikes` (T, ...).

    `start` is the sample before the first one, or the first where that did not spike. Changes below
    the threshold, and how far one is above it, are lost and add up: the error is that of
    `reconstruction_error`, and has no bound; `step_forward` has one. Keeps the dtype of floats;
    float32 for integers. Raises ShapeError, and ConfigError for a threshold below 0.
    """
    return staircase(spikes, threshold, start, "decode_delta")
