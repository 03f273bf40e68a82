"""Hough's spiker algorithm (HSA): a spike where a filter fits below all of the signal."""

from __future__ import annotations

from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.encoders.fir import check_unsigned, checked_response, convolved, taken_off
from dvskit.encoders.sequential_kernels import hough


@check_arguments
def hsa(signal: Tensor, *, response: Tensor) -> Tensor:
    """Spike where s_{t+k} >= f_k for all taps k of the filter, then subtract f from s there.

    (Hough, de Garis, Korkin, Gers & Nawa, SPIKER, 1999; as given by Schrauwen & Van Campenhout
    2003.) `response` (taps,) is the filter, such as `low_pass(...)`; the last taps - 1 steps have
    no whole filter before the end, and do not spike. Where the filter is not below 0, the decoded
    signal never exceeds the signal, but for rounding: its error has one sign. What stays below the
    largest tap does not spike at all, so a longer filter, with smaller taps, follows fainter
    signals.

    `signal` (T, ...) of any number of channels is not below 0: shift it. Returns spikes 0 or 1 of
    its shape and dtype. Raises ShapeError for integers, a signal without time or a filter that is
    not (taps,) of floats; ConfigError for NaN, infinities and values below 0.

    >>> t = torch.arange(1000) / 1000
    >>> sine = 0.5 + 0.4 * torch.sin(2 * torch.pi * 2 * t)
    >>> response = low_pass(20, cutoff=0.1)
    >>> decoded = decode_hsa(hsa(sine, response=response), response=response)
    >>> bool(reconstruction_error(sine[20:-20], decoded[20:-20]).rmse < 0.1)
    True
    """
    check_unsigned(signal, "hsa")
    shape = checked_response(response, signal, "hsa")
    return taken_off(signal, shape, (), hough, lambda window: (window >= shape[:, None]).all(0))


@check_arguments
def decode_hsa(spikes: Tensor, *, response: Tensor) -> Tensor:
    """Return the spikes (T, ...) convolved with the filter, sum_k spikes_{t-k} f_k, of their shape.

    Keeps the dtype of floats; float32 for integers. Raises ShapeError, and ConfigError for a filter
    that is not finite.
    """
    return convolved(spikes, response, "decode_hsa")
