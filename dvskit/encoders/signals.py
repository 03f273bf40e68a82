"""Codes of signals over time, their decoders, and the error of a decoded signal.

Codes by change (delta, temporal contrast, moving window, step-forward) decode to a level that each
spike moves by one threshold. Codes by FIR filters (BSA, HSA) decode to a sum of impulse responses.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dvskit._checks import check_number, check_whole
from dvskit._threads import run_ranges, thread_count
from dvskit.encoders.sequential_kernels import ben, follow, hough
from dvskit.encoders.values import (
    check_finite,
    check_time,
    decoded_dtype,
    refuse_first,
    spikes_as_floats,
    working_dtype,
)
from dvskit.errors import ShapeError

_SMALLEST_PART = 1 << 16  # fewer samples do not pay for a thread
_BLOCK = 2048  # channels; the rows under a filter stay in the cache


def _check_signal(signal: Tensor, name: str) -> None:
    """Raise as `check_finite` does, and ShapeError for a signal without time."""
    check_time(signal, name, "signal")
    check_finite(signal, name, "signal")


def _per_channel(
    value: float | Tensor, signal: Tensor, name: str, what: str, *, least: float = -math.inf
) -> Tensor:
    """Return a number or tensor for a time step of `signal`, in the working dtype, broadcast.

    Raises ShapeError if it does not broadcast against signal.shape[1:], ConfigError for values
    below `least`.
    """
    dtype = working_dtype(signal.dtype)
    given = torch.as_tensor(value, dtype=dtype, device=signal.device)
    if least > -math.inf:
        refuse_first(~(given >= least), given, f"{name}: {what}", f"it must be at least {least:g}")
    try:
        return given.expand(signal.shape[1:])
    except RuntimeError:
        raise ShapeError(
            f"{name}: {what} of shape {tuple(given.shape)} does not fit one time step, "
            f"{tuple(signal.shape[1:])}"
        ) from None


def _threshold(value: float | Tensor, signal: Tensor, name: str, what: str) -> Tensor:
    """Return `_per_channel` of a threshold. Raises ConfigError for one that is not above 0."""
    threshold = _per_channel(value, signal, name, what).detach()
    refuse_first(~(threshold > 0), threshold, f"{name}: {what}", "it must be above 0")
    return threshold


def _signed_spikes(up: Tensor, down: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 1 where `up` and -1 where `down`, both bool, of `dtype`."""
    return (up.view(torch.int8) - down.view(torch.int8)).to(dtype)


def _on_processor(signal: Tensor) -> bool:
    """Return whether compiled loops can process the signal; torch serves other devices."""
    return signal.device.type == "cpu"


def _flat_signal(signal: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a signal (T, ...) as contiguous (T, N) of `dtype`."""
    steps = signal.shape[0]
    return signal.detach().to(dtype).reshape(steps, signal[0].numel()).contiguous()


def _over_channels(work: Callable[[int, int], object], shape: torch.Size) -> None:
    """Call `work(first, last)` for parts of the channels of (T, N), on all threads."""
    steps, channels = shape
    parts = max(1, min(thread_count(), channels, steps * channels // _SMALLEST_PART))
    run_ranges(work, channels, max(parts, -(-channels // _BLOCK)))


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
    _check_signal(signal, "delta")
    on = _threshold(threshold, signal, "delta", "threshold")
    off = on
    if threshold_off is not None:
        off = _threshold(threshold_off, signal, "delta", "threshold_off")
    if before is not None:
        before = _per_channel(before, signal, "delta", "before").detach()
    if signal.shape[0] == 0:
        return torch.zeros_like(signal), before
    x = signal.detach().to(working_dtype(signal.dtype))
    first = x[:1] if before is None else before[None]
    change = torch.diff(x, dim=0, prepend=first)
    return _signed_spikes(change >= on, change <= -off, signal.dtype), x[-1].clone()


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
    height = _per_channel(threshold, steps, "decode", "threshold", least=0)
    level = _per_channel(start, steps, "decode", "start") + height * steps.cumsum(0)
    return level.to(decoded_dtype(spikes))


decode_temporal_contrast = decode_step_forward = decode_delta


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
    spikes[1:] = _signed_spikes(change > threshold, change < -threshold, signal.dtype)
    return spikes


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
    _check_signal(signal, "temporal_contrast")
    scale = _per_channel(factor, signal, "temporal_contrast", "factor", least=0)
    change = torch.diff(signal.detach().to(working_dtype(signal.dtype)), dim=0)
    if not len(change):
        return change, change.new_zeros(change.shape[1:])
    mean = change.mean(0)
    spread = (change - mean).square().mean(0).sqrt()  # torch's std warns if there are no channels
    return change, mean.abs() + scale * spread


def moving_window(signal: Tensor, *, window: int, threshold: float | Tensor) -> Tensor:
    """Spike +1 where the signal is above mean + threshold, -1 where it is below mean - threshold.

    The mean is that of the previous `window` samples. The first `window` samples, which have fewer
    predecessors, are compared with their own mean (Petro, Kasabov & Kiss 2020).

        sine = torch.sin(torch.linspace(0, 12.56, 1000))
        spikes = dvskit.encoders.moving_window(sine, window=3, threshold=0.01)  # -1, 0 or 1
        decoded = dvskit.encoders.decode_moving_window(spikes, threshold=0.01, start=sine[0])
        dvskit.encoders.reconstruction_error(sine, decoded).rmse  # below 0.07
    """
    _check_signal(signal, "moving_window")
    check_whole("window", window, 1, owner="moving_window")
    height = _threshold(threshold, signal, "moving_window", "threshold")
    x = signal.detach().to(working_dtype(signal.dtype))
    if x.shape[0] == 0:
        return torch.zeros_like(signal)
    first = min(window, x.shape[0])
    mean = torch.empty_like(x)
    mean[:first] = _sums(x[:first], first) / first
    mean[first:] = _sums(x[:-1], window) / window
    return _signed_spikes(x > mean + height, x < mean - height, signal.dtype)


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
    _check_signal(signal, "step_forward")
    height = _threshold(threshold, signal, "step_forward", "threshold")
    if baseline is not None:
        baseline = _per_channel(baseline, signal, "step_forward", "baseline").detach()
    if signal.shape[0] == 0:
        return torch.zeros_like(signal), baseline
    x = _flat_signal(signal, working_dtype(signal.dtype))
    level = x[0].clone() if baseline is None else baseline.reshape(-1).clone()
    step = height.reshape(-1)
    spikes = torch.empty_like(x)
    if _on_processor(signal):
        arrays = x.numpy(), spikes.numpy(), level.numpy(), step.contiguous().numpy()
        _over_channels(lambda first, last: follow(*arrays, first, last), x.shape)
    else:
        for now, fired in zip(x, spikes, strict=True):
            fired.copy_(_signed_spikes(now > level + step, now < level - step, x.dtype))
            level += fired * step
    return spikes.to(signal.dtype).reshape(signal.shape), level.reshape(signal.shape[1:])


def low_pass(taps: int, *, cutoff: float) -> Tensor:
    """Return the impulse response of a low-pass filter, (taps,) float64 with the sum 1.

    It is a sinc with a Hamming window, as in scipy.signal.firwin. `cutoff` is a share of the
    Nyquist frequency, in (0, 1): the frequency at which the response falls to about a half. Spikes
    in every step decode to 1, so the filter suits signals in [0, 1]; scale it with them.

        response = dvskit.encoders.low_pass(40, cutoff=0.1)  # (40,): 50 Hz for a signal at 1 kHz
    """
    check_whole("taps", taps, 1, owner="low_pass")
    check_number("cutoff", cutoff, above=0, below=1, owner="low_pass")
    away = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    window = torch.hamming_window(taps, periodic=False, dtype=torch.float64)
    response = torch.sinc(cutoff * away) * window
    return response / response.sum()


def _taken_off(
    signal: Tensor,
    response: Tensor,
    others: tuple[Tensor, ...],
    loop: Callable[..., object],
    fires: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return the spikes of a code that subtracts its filter from the signal at each spike.

    loop    the code, compiled: loop(signal, spikes, response, *others, first channel, last)
    fires   whether the channels of a window (taps, N) spike: the same, for other devices
    others  further arguments of the loop
    """
    if signal.numel() == 0:
        return torch.zeros_like(signal)
    left = _flat_signal(signal, working_dtype(signal.dtype)).clone()
    spikes = torch.zeros_like(left)
    if _on_processor(signal):
        arrays = [given.numpy() for given in (left, spikes, response, *others)]
        _over_channels(lambda first, last: loop(*arrays, first, last), left.shape)
    else:
        for t in range(len(left) - len(response) + 1):
            window = left[t : t + len(response)]
            spikes[t] = fires(window)
            window -= spikes[t] * response[:, None]
    return spikes.to(signal.dtype).reshape(signal.shape)


def _checked_response(response: Tensor, signal: Tensor, name: str) -> Tensor:
    """Return the filter in the working dtype and on the device of a signal.

    Raises ShapeError unless it is (taps,) of floats with at least one tap.
    """
    check_finite(response, name, "response")
    if response.ndim != 1 or len(response) == 0:
        raise ShapeError(
            f"{name}: response of shape {tuple(response.shape)}; shape (taps,) is expected"
        )
    return response.detach().to(signal.device, working_dtype(signal.dtype)).contiguous()


def _check_unsigned(signal: Tensor, name: str) -> None:
    """Raise as `_check_signal` does, and ConfigError for values below 0."""
    _check_signal(signal, name)
    if signal.numel() and signal.min() < 0:
        fix = "it must be at least 0: subtract signal.amin(0), and add it to the decoded signal"
        refuse_first(signal < 0, signal, f"{name}: signal", fix)


def bsa(signal: Tensor, *, response: Tensor, threshold: float | Tensor = 0.955) -> Tensor:
    """Spike where sum_k |s_{t+k} - f_k| <= sum_k |s_{t+k}| - threshold, then subtract f from s.

    (Schrauwen & Van Campenhout 2003, whose threshold is 0.955.) `response` (taps,) is the filter f,
    such as `low_pass(...)`, and the threshold is in the units of its sum: with the sum 1, a
    threshold of 1 requires that the filter fits below the signal everywhere, as in `hsa`; a lower
    one allows a total excess of (1 - threshold) / 2. Others (Petro, Kasabov & Kiss 2020) have
    threshold times the second sum on the right. The last taps - 1 steps have no whole filter before
    the end, and do not spike. The signal must be at least 0, and at most the sum of the filter for
    an accurate code.

        sine = 0.5 + 0.4 * torch.sin(torch.linspace(0, 12.56, 1000))
        response = dvskit.encoders.low_pass(40, cutoff=0.1)
        spikes = dvskit.encoders.bsa(sine, response=response)  # (1000,), 0 or 1
        decoded = dvskit.encoders.decode_bsa(spikes, response=response)
        dvskit.encoders.reconstruction_error(sine[40:-40], decoded[40:-40]).rmse  # below 0.02
    """
    _check_unsigned(signal, "bsa")
    limit = _threshold(threshold, signal, "bsa", "threshold")
    shape = _checked_response(response, signal, "bsa")
    limit = limit.reshape(-1).contiguous()

    def fires(window: Tensor) -> Tensor:
        return (window - shape[:, None]).abs().sum(0) <= window.abs().sum(0) - limit

    return _taken_off(signal, shape, (limit,), ben, fires)


def decode_bsa(spikes: Tensor, *, response: Tensor) -> Tensor:
    """Return the spikes (T, ...) of `bsa` or `hsa` convolved, sum_k spikes_{t-k} response_k.

    `response` (taps,) is the filter that encoded the signal. Returns the shape of `spikes`.

        response = torch.tensor([0.5, 0.25, 0.25])
        dvskit.encoders.decode_bsa(torch.tensor([1.0, 1.0, 0.0, 0.0]), response=response)
        # [0.5, 0.75, 0.5, 0.25]
    """
    x = spikes_as_floats(spikes, "decode")
    shape = _checked_response(response, x, "decode")
    if x.numel() == 0:
        return torch.zeros_like(x, dtype=decoded_dtype(spikes))
    rows = x.reshape(x.shape[0], -1).t()[:, None]  # (T, ...) -> (N, 1, T)
    padded = functional.pad(rows, (len(shape) - 1, 0))
    decoded = functional.conv1d(padded, shape.flip(0)[None, None])[:, 0]
    return decoded.t().reshape(x.shape).to(decoded_dtype(spikes))


decode_hsa = decode_bsa


def hsa(signal: Tensor, *, response: Tensor) -> Tensor:
    """Spike where s_{t+k} >= f_k for all taps k of the filter, then subtract f from s there.

    (Hough, de Garis, Korkin, Gers & Nawa, SPIKER, 1999; as given by Schrauwen & Van Campenhout
    2003.) `response` (taps,) is the filter f, such as `low_pass(...)`; the last taps - 1 steps do
    not spike. The signal must be at least 0. If the filter is not below 0, the decoded signal never
    exceeds the signal, except for rounding. Signals below the largest tap do not spike at all, so a
    longer filter, with smaller taps, follows fainter signals.

        sine = 0.5 + 0.4 * torch.sin(torch.linspace(0, 12.56, 1000))
        response = dvskit.encoders.low_pass(20, cutoff=0.1)
        spikes = dvskit.encoders.hsa(sine, response=response)  # (1000,), 0 or 1
        decoded = dvskit.encoders.decode_hsa(spikes, response=response)
        dvskit.encoders.reconstruction_error(sine[20:-20], decoded[20:-20]).rmse  # below 0.1
    """
    _check_unsigned(signal, "hsa")
    shape = _checked_response(response, signal, "hsa")
    return _taken_off(signal, shape, (), hough, lambda window: (window >= shape[:, None]).all(0))


def two_channels(spikes: Tensor) -> Tensor:
    """Split spikes by sign: (T, ..., H, W) -> (T, ..., 2, H, W), as events are binned.

    Channel 0 is OFF (absolute values of negative spikes), channel 1 ON (positive ones). Unsigned
    spikes leave OFF empty. Raises ShapeError below three dimensions, or for bool.

        spikes = dvskit.encoders.delta(torch.rand(20, 8, 10), threshold=0.5)  # -1, 0 or 1
        channels = dvskit.encoders.two_channels(spikes)  # (20, 2, 8, 10)
    """
    if spikes.ndim < 3 or spikes.dtype == torch.bool:
        raise ShapeError(
            f"two_channels takes numbers of shape (T, ..., H, W), not {spikes.dtype} of shape "
            f"{tuple(spikes.shape)}"
        )
    if not spikes.dtype.is_signed:
        return torch.stack((torch.zeros_like(spikes), spikes), dim=-3)
    return torch.stack(((-spikes).clamp(min=0), spikes.clamp(min=0)), dim=-3)


@dataclass(frozen=True, slots=True)
class ReconstructionError:
    """The error of each channel, shaped as one time step.

    rmse    root mean squared error, in the units of the signal
    snr_db  10 log10 of the signal's power over that of the error, in decibels; inf without error

        signal = torch.rand(100, 3)
        error = dvskit.encoders.reconstruction_error(signal, signal + 0.1)
        error.rmse  # [0.1, 0.1, 0.1], one for each channel
        error.snr_db.mean()  # about 15 dB
    """

    rmse: Tensor
    snr_db: Tensor


def reconstruction_error(signal: Tensor, decoded: Tensor) -> ReconstructionError:
    """Return the error over time of a decoded signal against the signal, both (T, ...).

    rmse = sqrt(mean (s - d)^2);  snr_db = 10 log10(sum s^2 / sum (s - d)^2). The power includes the
    mean of the signal: subtract it from both if only variations count. Sums are float64. To compare
    codes, report their numbers of spikes too (Petro, Kasabov & Kiss 2020).

        sine = torch.sin(torch.linspace(0, 6.28, 1000))
        spikes = dvskit.encoders.step_forward(sine, threshold=0.05)
        decoded = dvskit.encoders.decode_step_forward(spikes, threshold=0.05)
        dvskit.encoders.reconstruction_error(sine, decoded).snr_db  # above 25
    """
    _check_signal(signal, "reconstruction_error")
    if decoded.shape != signal.shape:
        raise ShapeError(
            f"reconstruction_error: decoded {tuple(decoded.shape)} and signal "
            f"{tuple(signal.shape)} differ in shape"
        )
    check_finite(decoded, "reconstruction_error", "decoded")
    if signal.shape[0] == 0:
        raise ShapeError("reconstruction_error: the signals have no time step")
    exact = signal.to(torch.float64)
    noise = (exact - decoded.to(torch.float64)).square().mean(0)
    power = exact.square().mean(0)
    snr = 10 * torch.log10(power / noise)
    dtype = working_dtype(signal.dtype)
    snr = torch.where(noise > 0, snr, math.inf)
    return ReconstructionError(noise.sqrt().to(dtype), snr.to(dtype))
