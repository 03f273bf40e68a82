"""Step-forward code: a spike moves a baseline after the signal, one threshold at a time."""

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
from dvskit.encoders.sequential import flat_signal, on_processor, over_channels
from dvskit.encoders.sequential_kernels import follow
from dvskit.encoders.staircase import staircase


@check_arguments
def step_forward(signal: Tensor, *, threshold: float | Tensor) -> Tensor:
    """Spike +1 where the signal is above baseline + threshold, -1 where below baseline - threshold.

    The baseline is the first sample, and each spike moves it by the threshold its way (Petro,
    Kasabov & Kiss 2020; the send-on-delta rule with one spike a step at most). `threshold` is a
    number, or a tensor that broadcasts against one time step.

    `signal` (T, ...), any number of channels; returns spikes -1, 0, 1 of its shape and dtype.
    Wherever no sample differs from the one before by more than the threshold, the decoded signal is
    off by no more than the threshold. `run_step_forward` takes signals in chunks. Raises ShapeError
    for integers, a signal without time or a threshold that does not fit; ConfigError for NaN,
    infinities and a threshold not above 0.

    >>> t = torch.arange(1000) / 1000
    >>> sine = torch.sin(2 * torch.pi * 2 * t)
    >>> spikes = step_forward(sine, threshold=0.05)
    >>> decoded = decode_step_forward(spikes, threshold=0.05, start=sine[0])
    >>> bool((decoded - sine).abs().max() <= 0.05 + 1e-5)
    True
    """
    return run_step_forward(signal, threshold=threshold)[0]


@check_arguments
def run_step_forward(
    signal: Tensor, baseline: Tensor | None = None, *, threshold: float | Tensor
) -> tuple[Tensor, Tensor | None]:
    """Return the spikes of `step_forward` and the baseline after them, from `baseline` on.

    `baseline`, shaped as one time step, is what the call before returned; None is the first sample.
    A signal in chunks, each with the baseline of the one before, gives the spikes of the whole. It
    is float64 for float64 and else float32; None where there was no sample yet. Raises as
    `step_forward` does.
    """
    check_signal(signal, "step_forward")
    height = threshold_for(threshold, signal, "step_forward", "threshold")
    if baseline is not None:
        baseline = per_channel(baseline, signal, "step_forward", "baseline").detach()
    if signal.shape[0] == 0:
        return torch.zeros_like(signal), baseline
    x = flat_signal(signal, working_dtype(signal.dtype))
    level = x[0].clone() if baseline is None else baseline.reshape(-1).clone()
    step = height.reshape(-1)
    spikes = torch.empty_like(x)
    if on_processor(signal):
        arrays = x.numpy(), spikes.numpy(), level.numpy(), step.contiguous().numpy()
        over_channels(lambda first, last: follow(*arrays, first, last), x.shape)
    else:
        for now, fired in zip(x, spikes, strict=True):
            fired.copy_(signed_spikes(now > level + step, now < level - step, x.dtype))
            level += fired * step
    return spikes.to(signal.dtype).reshape(signal.shape), level.reshape(signal.shape[1:])


@check_arguments
def decode_step_forward(
    spikes: Tensor, *, threshold: float | Tensor, start: float | Tensor = 0.0
) -> Tensor:
    """Return the baseline, start + threshold (sum of the spikes so far), for spikes (T, ...).

    `start` is the first sample, or the baseline where a chunk begins. Keeps the dtype of floats;
    float32 for integers. Raises ShapeError, and ConfigError for a threshold below 0.
    """
    return staircase(spikes, threshold, start, "decode_step_forward")
