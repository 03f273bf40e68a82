"""Filters of finite length: each spike stands for one of their impulse responses."""

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
    spikes_as_floats,
    working_dtype,
)
from dvskit.encoders.sequential import flat_signal, on_processor, over_channels
from dvskit.errors import ConfigError, ShapeError


@check_arguments
def low_pass(taps: int, *, cutoff: float) -> Tensor:
    """Return the impulse response of a low-pass filter, (taps,) float64 with the sum 1.

    It is the sinc of the cut-off seen through a Hamming window, as scipy.signal.firwin makes it;
    `cutoff` is a share of the Nyquist frequency, in (0, 1): where the response falls to about a
    half. Spikes in every step decode to 1, so the filter suits signals in [0, 1]; scale it with
    them. Raises ConfigError for taps below 1 and a cut-off outside of (0, 1).
    """
    if taps < 1:
        raise ConfigError(f"low_pass: taps = {taps} is below 1")
    if not 0 < cutoff < 1:
        raise ConfigError(
            f"low_pass: cutoff = {cutoff:g} is outside (0, 1), shares of the Nyquist frequency; "
            "divide hertz by half of the sampling rate"
        )
    away = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    window = torch.hamming_window(taps, periodic=False, dtype=torch.float64)
    response = torch.sinc(cutoff * away) * window
    return response / response.sum()


def convolved(spikes: Tensor, response: Tensor, name: str) -> Tensor:
    """Return sum_k spikes_{t-k} response_k, of the shape of the spikes (T, ...).

    Keeps the dtype of floats; float32 for integers.
    """
    x = spikes_as_floats(spikes, name)
    shape = checked_response(response, x, name)
    if x.numel() == 0:
        return torch.zeros_like(x, dtype=decoded_dtype(spikes))
    rows = x.reshape(x.shape[0], -1).t()[:, None]  # (T, ...) -> (N, 1, T)
    padded = functional.pad(rows, (len(shape) - 1, 0))
    decoded = functional.conv1d(padded, shape.flip(0)[None, None])[:, 0]
    return decoded.t().reshape(x.shape).to(decoded_dtype(spikes))


def taken_off(
    signal: Tensor,
    response: Tensor,
    others: tuple[Tensor, ...],
    loop: Callable[..., object],
    fires: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return the spikes of a code that takes its filter off the signal wherever it spikes.

    loop    the code, compiled: loop(signal, spikes, response, *others, first channel, last)
    fires   whether the channels of a window (taps, N) spike: the same, for other devices
    others  what else the loop is given
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

    Raises ShapeError unless it is (taps,) of floats with a tap at least, ConfigError for NaN and
    infinities.
    """
    check_finite(response, name, "response")
    if response.ndim != 1 or len(response) == 0:
        raise ShapeError(
            f"{name}: response of shape {tuple(response.shape)}; shape (taps,) is meant"
        )
    return response.detach().to(signal.device, working_dtype(signal.dtype)).contiguous()


def check_unsigned(signal: Tensor, name: str) -> None:
    """Raise as `check_signal` does, and ConfigError for values below 0."""
    check_signal(signal, name)
    if signal.numel() and signal.min().item() < 0:
        where = tuple(int(index) for index in (signal < 0).nonzero()[0])
        raise ConfigError(
            f"{name}: signal is {signal[where].item():g} at {where}, below 0; subtract "
            "signal.amin(0), and add it again to what is decoded"
        )
