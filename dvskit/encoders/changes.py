"""Codes by change: delta, temporal contrast, moving window and step-forward.

All decode to a level that each spike moves by one threshold.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.encoders.checking import (
    at_least_0,
    check_signal,
    check_time,
    decoded_dtype,
    flat_signal,
    on_processor,
    over_channels,
    per_channel,
    signed_spikes,
    spikes_as_floats,
    threshold_for,
    working_dtype,
)
from dvskit.encoders.sequential_kernels import follow
from dvskit.errors import check_least


@check_arguments
def delta(
    signal: Tensor, *, threshold: float | Tensor = 0.1, threshold_off: float | Tensor | None = None
) -> Tensor:
    """Spike +1 where s_t - s_{t-1} >= threshold, -1 where it is <= -threshold_off.

    `threshold_off` is the same as `threshold` if None, and inf gives ON spikes only. The first
    sample has no predecessor and does not spike; `run_delta` accepts one, and signals in chunks.
    Differences are rounded to the dtype of `signal` (T, ...), float32 at least.

        signal = torch.tensor([0.0, 0.2, 0.25, 0.0])
        dvskit.encoders.delta(signal, threshold=0.1)  # [0, 1, 0, -1]
        dvskit.encoders.delta(signal, threshold=0.1, threshold_off=0.5)  # [0, 1, 0, 0]
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
    """Return the spikes of `delta` and the last sample, to pass as `before` with the next chunk.

    `before` is the predecessor of the first sample; None means that the first sample does not
    spike. A signal in chunks gives the spikes of the whole. The returned sample is None if there
    was none yet.

        signal, before, chunks = torch.rand(100, 3), None, []
        for chunk in signal.split(30):
            spikes, before = dvskit.encoders.run_delta(chunk, before, threshold=0.2)
            chunks.append(spikes)
        torch.equal(torch.cat(chunks), dvskit.encoders.delta(signal, threshold=0.2))  # True
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

    It decodes `delta`, `temporal_contrast` (with the threshold of `contrast_threshold`) and
    `step_forward`. `start` is the first sample, or the sample or baseline before a chunk. Changes
    below the threshold, and the excess above it, are lost and add up, except for `step_forward`:
    the error has no bound.

        signal = torch.tensor([0.5, 0.6, 0.6, 0.5])
        spikes = dvskit.encoders.delta(signal, threshold=0.09)  # [0, 1, 0, -1]
        dvskit.encoders.decode_delta(spikes, threshold=0.1, start=0.5)  # [0.5, 0.6, 0.6, 0.5]
    """
    steps = spikes_as_floats(spikes, "decode")
    height = at_least_0(threshold, steps, "decode", "threshold")
    level = per_channel(start, steps, "decode", "start") + height * steps.cumsum(0)
    return level.to(decoded_dtype(spikes))


decode_temporal_contrast = decode_step_forward = decode_delta


@check_arguments
def temporal_contrast(signal: Tensor, *, factor: float | Tensor = 1.0) -> Tensor:
    """Spike +1 where s_t - s_{t-1} > threshold and -1 where it is < -threshold, its own threshold.

    The threshold is that of `contrast_threshold`, one per channel (Petro, Kasabov & Kiss 2020, who
    also call it threshold-based representation). The first sample does not spike. The whole signal
    must be known; for a stream use `delta` with the threshold of a part. Negating the signal
    negates the spikes; adding a constant or scaling by a positive number changes nothing but
    rounding.

        sine = torch.sin(torch.linspace(0, 31.4, 1000))
        spikes = dvskit.encoders.temporal_contrast(sine, factor=0.9)  # (1000,), -1, 0 or 1
        height = dvskit.encoders.contrast_threshold(sine, factor=0.9)
        decoded = dvskit.encoders.decode_temporal_contrast(spikes, threshold=height)
        dvskit.encoders.reconstruction_error(sine, decoded).rmse  # below 0.3
    """
    change, threshold = _changes(signal, factor)
    spikes = torch.zeros_like(signal)
    spikes[1:] = signed_spikes(change > threshold, change < -threshold, signal.dtype)
    return spikes


@check_arguments
def contrast_threshold(signal: Tensor, *, factor: float | Tensor = 1.0) -> Tensor:
    """Return the threshold of each channel, |mean| + factor std of the differences of `signal`.

    The standard deviation divides by the number of differences. The papers use the signed mean,
    which gives a falling signal a smaller threshold than its mirror image, even a negative one.
    `signal` is (T, ...); returns (...), float64 for float64 and else float32; 0 without
    differences.

        channels = torch.randn(1000, 3) * torch.tensor([0.1, 1.0, 10.0])
        dvskit.encoders.contrast_threshold(channels)  # about [0.14, 1.4, 14]
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
    spread = (change - mean).square().mean(0).sqrt()  # torch's std warns if there are no channels
    return change, mean.abs() + scale * spread


@check_arguments
def moving_window(signal: Tensor, *, window: int, threshold: float | Tensor) -> Tensor:
    """Spike +1 where the signal is above mean + threshold, -1 where it is below mean - threshold.

    The mean is that of the previous `window` samples. The first `window` samples, which have fewer
    predecessors, are compared with their own mean (Petro, Kasabov & Kiss 2020).

        sine = torch.sin(torch.linspace(0, 12.56, 1000))
        spikes = dvskit.encoders.moving_window(sine, window=3, threshold=0.01)  # -1, 0 or 1
        decoded = dvskit.encoders.decode_moving_window(spikes, threshold=0.01, start=sine[0])
        dvskit.encoders.reconstruction_error(sine, decoded).rmse  # below 0.07
    """
    check_signal(signal, "moving_window")
    check_least("moving_window", 1, window=window)
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

    As in the paper, the first decoded sample is `start`, the first sample of the signal, for any
    first spike. A signal that stays away from its past mean spikes in each step: the error has no
    bound.

        spikes = torch.tensor([1.0, 1.0, 0.0, -1.0])
        dvskit.encoders.decode_moving_window(spikes, threshold=0.5, start=2.0)  # [2, 2.5, 2.5, 2]
    """
    check_time(spikes, "decode_moving_window", "spikes")
    later = spikes.clone()
    later[:1] = 0
    return decode_delta(later, threshold=threshold, start=start)


def _sums(x: Tensor, window: int) -> Tensor:
    """Return the sums of all `window` samples in a row, (T - window + 1, ...).

    Rows of doubling length are added, without the cancellation of running sums.
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


@check_arguments
def step_forward(signal: Tensor, *, threshold: float | Tensor) -> Tensor:
    """Spike +1 where the signal is above baseline + threshold, -1 where below baseline - threshold.

    The baseline starts at the first sample, and each spike moves it by the threshold (Petro,
    Kasabov & Kiss 2020; the send-on-delta rule with at most one spike per step). If no sample
    differs from the previous one by more than the threshold, the error of the decoded signal is at
    most the threshold. `run_step_forward` accepts signals in chunks.

        sine = torch.sin(torch.linspace(0, 12.56, 1000))
        spikes = dvskit.encoders.step_forward(sine, threshold=0.05)  # (1000,), -1, 0 or 1
        decoded = dvskit.encoders.decode_step_forward(spikes, threshold=0.05, start=sine[0])
        (decoded - sine).abs().max()  # at most the threshold, 0.05
    """
    return run_step_forward(signal, threshold=threshold)[0]


@check_arguments
def run_step_forward(
    signal: Tensor, baseline: Tensor | None = None, *, threshold: float | Tensor
) -> tuple[Tensor, Tensor | None]:
    """Return the spikes of `step_forward` and the baseline after them, from `baseline` on.

    `baseline`, shaped as one time step, is the result of the previous call; None is the first
    sample. A signal in chunks gives the spikes of the whole. The baseline is float64 for float64
    and else float32; None if there was no sample yet.

        signal, baseline, chunks = torch.rand(100, 3), None, []
        for chunk in signal.split(30):
            spikes, baseline = dvskit.encoders.run_step_forward(chunk, baseline, threshold=0.2)
            chunks.append(spikes)
        whole = dvskit.encoders.step_forward(signal, threshold=0.2)
        torch.equal(torch.cat(chunks), whole)  # True
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
