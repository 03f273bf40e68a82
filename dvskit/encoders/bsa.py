"""Ben's spiker algorithm (BSA): a spike where a filter brings the signal nearer to 0."""

from __future__ import annotations

from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.encoders.checking import threshold_for
from dvskit.encoders.fir import check_unsigned, checked_response, convolved, taken_off
from dvskit.encoders.sequential_kernels import ben


@check_arguments
def bsa(signal: Tensor, *, response: Tensor, threshold: float | Tensor = 0.955) -> Tensor:
    """Spike where sum_k |s_{t+k} - f_k| <= sum_k |s_{t+k}| - threshold, then subtract f from s.

    (Schrauwen & Van Campenhout 2003, whose threshold 0.955 is.) `response` (taps,) is the filter,
    such as `low_pass(...)`, and the threshold is in the units of its sum: with the sum 1, a
    threshold of 1 asks that the filter fits below the signal everywhere, as `hsa` does, and a lower
    one lets it stand out by (1 - threshold) / 2 in all. Others (Petro, Kasabov & Kiss 2020) have
    threshold times the second sum on the right instead of the difference. The last taps - 1 steps
    have no whole filter before the end, and do not spike.

    `signal` (T, ...) of any number of channels is not below 0, and not above the sum of the filter
    if it is to be followed: shift and scale it. `threshold` is a number, or a tensor that
    broadcasts against one time step. Returns spikes 0 or 1 of the shape and dtype of `signal`.
    Raises ShapeError for integers, a signal without time, a threshold that does not fit or a filter
    that is not (taps,) of floats; ConfigError for NaN, infinities, values below 0 and a threshold
    not above 0.

    >>> t = torch.arange(1000) / 1000
    >>> sine = 0.5 + 0.4 * torch.sin(2 * torch.pi * 2 * t)
    >>> response = low_pass(40, cutoff=0.1)
    >>> decoded = decode_bsa(bsa(sine, response=response), response=response)
    >>> bool(reconstruction_error(sine[40:-40], decoded[40:-40]).rmse < 0.02)
    True
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
    """Return the spikes (T, ...) convolved with the filter, sum_k spikes_{t-k} f_k, of their shape.

    Keeps the dtype of floats; float32 for integers. Raises ShapeError, and ConfigError for a filter
    that is not finite.
    """
    return convolved(spikes, response, "decode_bsa")
