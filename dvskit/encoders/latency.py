"""One spike per value: latency codes, earlier for larger values, and rank order."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.encoders.checking import (
    check_finite,
    check_fractions,
    check_has_steps,
    check_steps,
    decoded_dtype,
)
from dvskit.errors import ArgumentError, ConfigError, ShapeError

LatencyLaw = Callable[[Tensor], Tensor]
"""A law from values in [0, 1] to times in steps, from 0; inf means no spike."""


def linear_latency(values: Tensor, *, tau: float, threshold: float = 0.0) -> Tensor:
    """Return the time tau (1 - x), in steps; inf (no spike) for x below `threshold`."""
    times = tau * (1 - values)
    return times.masked_fill(values < threshold, math.inf)


def log_latency(values: Tensor, *, tau: float, threshold: float = 0.01) -> Tensor:
    """Return the time tau ln(x / (x - threshold)), in steps; inf for x at or below `threshold`.

    An RC membrane of time constant tau, charged by x, reaches the threshold then.
    """
    times = tau * torch.log(values / (values - threshold))
    return times.masked_fill(values <= threshold, math.inf)


def linear_value(times: Tensor, *, tau: float) -> Tensor:
    """Return the value 1 - t / tau of a time t in steps: the inverse of `linear_latency`."""
    return 1 - times / tau


def log_value(times: Tensor, *, tau: float, threshold: float = 0.01) -> Tensor:
    """Return the value threshold / (1 - exp(-t / tau)): the inverse of `log_latency`."""
    return threshold / -torch.expm1(-times / tau)


@check_arguments
def latency(image: Tensor, steps: int, *, law: LatencyLaw | None = None) -> Tensor:
    """Spike once, earlier for brighter values: at the step nearest to law(value).

    `image` (..., H, W), or any shape, holds values in [0, 1]. `law` returns times in steps, such as
    `partial(log_latency, tau=5.0)`; the default is linear_latency over the whole window, tau =
    steps - 1: white spikes in step 0, black in the last one. Halves round to the even step. A pixel
    with a time beyond the window, inf included, does not spike. Returns (steps, ...), 0 or 1.

    Raises ShapeError for a law that changes the shape, ArgumentError for one that is not a function
    of values, ConfigError for one that returns a time below 0 or NaN.
    """
    check_fractions(image, steps, "latency")
    law = partial(linear_latency, tau=float(steps - 1)) if law is None else law
    _check_law(law, "latency", "law", "log_latency")
    # In half precision, neighbouring steps of a long window would coincide.
    times = law(image.to(torch.float64))
    if times.shape != image.shape:
        raise ShapeError(
            f"latency: the law returned {tuple(times.shape)} for {tuple(image.shape)}; "
            "it must keep the shape"
        )
    if not bool((times >= 0).all()):
        raise ConfigError("latency: the law returns a time below 0 or NaN; times count from step 0")
    return spikes_at(times.round(), steps, image.dtype)


@check_arguments
def decode_latency(spikes: Tensor, *, inverse: LatencyLaw | None = None) -> Tensor:
    """Return the values of the first spikes of (T, ...): inverse(time), in [0, 1]; 0 without one.

    `inverse` returns the value of a time in steps, as `partial(log_value, tau=5.0)` does for
    `log_latency`; the default is linear_value over the whole window, tau = T - 1. For the linear
    law the error is at most 1 / (2 tau); values without a spike are lost. Results are clamped to
    [0, 1]: the logarithmic law has values above 1 for its first half step.

    >>> t = torch.arange(200) / 200
    >>> sine = 0.5 + 0.5 * torch.sin(2 * torch.pi * t)
    >>> decoded = decode_latency(latency(sine, 51))
    >>> bool((decoded - sine).abs().max() <= 0.5 / 50 + 1e-6)
    True
    """
    check_has_steps(spikes, "decode_latency")
    steps = spikes.shape[0]
    if inverse is None:
        inverse = partial(linear_value, tau=float(max(steps - 1, 1)))
    _check_law(inverse, "decode_latency", "inverse", "log_value")
    fired = spikes != 0
    # argmax is not defined for bool; for equal numbers it returns the first.
    times = fired.to(torch.uint8).argmax(0).to(torch.float64)
    values = inverse(times).clamp(0, 1) * fired.any(0)
    return values.to(decoded_dtype(spikes))


def _check_law(law: Any, name: str, what: str, example: str) -> None:
    """Raise ArgumentError unless it is a function other than a law here without its tau."""
    if not callable(law) or isinstance(law, type):
        problem = f"{law!r}, no function"
    elif law in (linear_latency, log_latency, linear_value, log_value):
        example = law.__name__
        problem = f"{example} without its tau"
    else:
        return
    raise ArgumentError(f"{name}: {what} is {problem}; take partial({example}, tau=5.0)")


def spikes_at(times: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """Return (steps, ...) with a 1 at each whole time; none for times beyond the window."""
    within = times < steps
    index = times.masked_fill(~within, 0).to(torch.int64)
    spikes = torch.zeros((steps, *times.shape), dtype=dtype, device=times.device)
    return spikes.scatter_(0, index[None], within[None].to(dtype))


@check_arguments
def rank_order(values: Tensor, steps: int, *, dims: int = 2, silent: float | None = None) -> Tensor:
    """Spike once, in the order of the values: the largest first (Thorpe & Gautrais 1998).

    The last `dims` dimensions are one sample, whose values are ranked with one another: 2 for
    images (..., H, W), 1 for vectors (..., N). Equal values are ranked by their position in the
    flattened sample. Values at or below `silent` do not spike and are not counted; None lets all
    spike.

    Of n values that spike, the k-th largest (k from 0) spikes in step k if there are as many steps,
    else in step floor(k steps / n): groups of equal size, give or take one. Returns (steps, ...), 0
    or 1. Only the order counts: any increasing function of the values gives the same spikes.
    """
    check_finite(values, "rank_order", "values")
    check_steps(steps, "rank_order")
    if dims < 1:
        raise ConfigError(f"rank_order: dims = {dims} is below 1; 2 for images, 1 for vectors")
    if values.ndim < dims:
        raise ShapeError(
            f"rank_order: values of shape {tuple(values.shape)} have fewer than {dims} dimensions; "
            f"pass dims={max(values.ndim, 1)}"
        )
    flat = values.flatten(values.ndim - dims)
    order = flat.argsort(dim=-1, descending=True, stable=True)
    places = torch.arange(flat.shape[-1], device=flat.device)
    ranks = torch.empty_like(order).scatter_(-1, order, places.expand_as(order))
    if silent is None:
        counts = torch.tensor(flat.shape[-1], device=flat.device)
    else:
        counts = (flat > silent).sum(-1, keepdim=True)  # silent values have the last ranks
    step = ranks * counts.clamp(max=steps) // counts.clamp(min=1)
    step = step.masked_fill(ranks >= counts, steps)
    return spikes_at(step.reshape(values.shape), steps, values.dtype)


@check_arguments
def decode_rank_order(spikes: Tensor, *, table: Tensor | None = None) -> Tensor:
    """Return a value for the step of each first spike of (T, ...); 0 without one.

    The values themselves are lost; their order is kept, except within a step. `table` (T,) holds
    the value of each step, such as the mean of the values with that step in many samples (the
    look-up table of VanRullen & Thorpe 2001). Without one the values are assumed to be spread
    evenly over [0, 1]: 1 - (step + 1/2) / T. Encoding the result gives the same spikes again (with
    silent=0 if some values did not spike).
    """
    check_has_steps(spikes, "decode_rank_order")
    steps = spikes.shape[0]
    dtype = decoded_dtype(spikes)
    if table is None:
        middle = torch.arange(steps, device=spikes.device, dtype=torch.float64) + 0.5
        table = 1 - middle / steps
    elif table.shape != (steps,):
        raise ShapeError(
            f"decode_rank_order: a table of shape {tuple(table.shape)} for {steps} steps; "
            f"shape ({steps},) is expected"
        )
    fired = spikes != 0
    first = fired.to(torch.uint8).argmax(0)
    return (table.to(spikes.device)[first] * fired.any(0)).to(dtype)
