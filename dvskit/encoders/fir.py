"""Codes by FIR filters, BSA and HSA: a spike represents an impulse response."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from dvskit._arguments import check_arguments
from dvskit.encoders.checking import (
    check_finite,
    check_signal,
    decoded_dtype,
    first_of,
    flat_signal,
    on_processor,
    over_channels,
    spikes_as_floats,
    threshold_for,
    working_dtype,
)
from dvskit.encoders.sequential_kernels import ben, hough
from dvskit.errors import ConfigError, ShapeError, check_least


@check_arguments
def low_pass(taps: int, *, cutoff: float) -> Tensor:
    """Return the impulse response of a low-pass filter, (taps,) float64 with the sum 1.

    It is a sinc with a Hamming window, as in scipy.signal.firwin. `cutoff` is a share of the
    Nyquist frequency, in (0, 1): the frequency at which the response falls to about a half. Spikes
    in every step decode to 1, so the filter suits signals in [0, 1]; scale it with them.

        response = dvskit.encoders.low_pass(40, cutoff=0.1)  # (40,): 50 Hz for a signal at 1 kHz
    """
    check_least("low_pass", 1, taps=taps)
    if not 0 < cutoff < 1:
        raise ConfigError(
            f"low_pass: cutoff = {cutoff:g} is outside (0, 1), a share of the Nyquist frequency; "
            "divide hertz by half of the sampling rate"
        )
    away = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    window = torch.hamming_window(taps, periodic=False, dtype=torch.float64)
    response = torch.sinc(cutoff * away) * window
    return response / response.sum()


def taken_off(
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
    left = flat_signal(signal, working_dtype(signal.dtype)).clone()
    spikes = torch.zeros_like(left)
    if on_processor(signal):
        arrays = [given.numpy() for given in (left, spikes, response, *others)]
        over_channels(lambda first, last: loop(*arrays, first, last), left.shape)
    else:
        for t in range(len(left) - len(response) + 1):
            window = left[t : t + len(response)]
            spikes[t] = fires(window)
            window -= spikes[t] * response[:, None]
    return spikes.to(signal.dtype).reshape(signal.shape)


def checked_response(response: Tensor, signal: Tensor, name: str) -> Tensor:
    """Return the filter in the working dtype and on the device of a signal.

    Raises ShapeError unless it is (taps,) of floats with at least one tap.
    """
    check_finite(response, name, "response")
    if response.ndim != 1 or len(response) == 0:
        raise ShapeError(
            f"{name}: response of shape {tuple(response.shape)}; shape (taps,) is expected"
        )
    return response.detach().to(signal.device, working_dtype(signal.dtype)).contiguous()


def check_unsigned(signal: Tensor, name: str) -> None:
    """Raise as `check_signal` does, and ConfigError for values below 0."""
    check_signal(signal, name)
    if signal.numel() and signal.min().item() < 0:
        where = first_of(signal < 0)
        raise ConfigError(
            f"{name}: signal is {signal[where].item():g} at {where}, below 0; subtract "
            "signal.amin(0), and add it to the decoded signal"
        )


@check_arguments
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
    check_unsigned(signal, "bsa")
    limit = threshold_for(threshold, signal, "bsa", "threshold")
    shape = checked_response(response, signal, "bsa")
    limit = limit.reshape(-1).contiguous()

    def fires(window: Tensor) -> Tensor:
        return (window - shape[:, None]).abs().sum(0) <= window.abs().sum(0) - limit

    return taken_off(signal, shape, (limit,), ben, fires)


@check_arguments
def decode_bsa(spikes: Tensor, *, response: Tensor) -> Tensor:
    """Return the spikes (T, ...) of `bsa` or `hsa` convolved, sum_k spikes_{t-k} response_k.

    `response` (taps,) is the filter that encoded the signal. Returns the shape of `spikes`.

        response = torch.tensor([0.5, 0.25, 0.25])
        dvskit.encoders.decode_bsa(torch.tensor([1.0, 1.0, 0.0, 0.0]), response=response)
        # [0.5, 0.75, 0.5, 0.25]
    """
    x = spikes_as_floats(spikes, "decode")
    shape = checked_response(response, x, "decode")
    if x.numel() == 0:
        return torch.zeros_like(x, dtype=decoded_dtype(spikes))
    rows = x.reshape(x.shape[0], -1).t()[:, None]  # (T, ...) -> (N, 1, T)
    padded = functional.pad(rows, (len(shape) - 1, 0))
    decoded = functional.conv1d(padded, shape.flip(0)[None, None])[:, 0]
    return decoded.t().reshape(x.shape).to(decoded_dtype(spikes))


decode_hsa = decode_bsa


@check_arguments
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
    check_unsigned(signal, "hsa")
    shape = checked_response(response, signal, "hsa")
    return taken_off(signal, shape, (), hough, lambda window: (window >= shape[:, None]).all(0))
