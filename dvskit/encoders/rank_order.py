"""Rank order: the order of the values alone says when each spikes."""

from __future__ import annotations

import torch
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.encoders.checking import check_finite, check_has_steps, check_steps, decoded_dtype
from dvskit.encoders.latency import spikes_at
from dvskit.errors import ConfigError, ShapeError


@check_arguments
def rank_order(values: Tensor, steps: int, *, dims: int = 2, silent: float | None = None) -> Tensor:
    """Spike once, in the order of the values: the largest first (Thorpe & Gautrais 1998).

    `values` of any size; the last `dims` dimensions are one sample, whose values are ranked with
    one another: 2 for images (..., H, W), 1 for vectors (..., N). Equal values go by their place,
    the first in the flattened sample first. `silent`: values at or below it do not spike and are
    not counted; 0 keeps black pixels quiet, None lets all spike.

    Of n values that spike, the k-th largest (k from 0) spikes in step k if there are as many
    steps, else in step floor(k steps / n): groups of equal size, give or take one.

    Returns (steps, ...) of the dtype of `values`, 0 or 1. Only the order counts: any increasing
    function of the values gives the same spikes. Raises ShapeError for integers or fewer than
    `dims` dimensions, ConfigError for NaN, infinities, and steps or dims below 1.
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

    The values themselves are lost; their order is kept, but within a step. `table` (T,) holds the
    value of each step, such as the mean of what spiked then in many samples (the look-up table of
    VanRullen & Thorpe 2001). Without one the values are taken to be spread evenly over [0, 1]:
    1 - (step + 1/2) / T. Encoding the result gives the same spikes again (with silent=0 where
    some values did not spike).

    Keeps the dtype of floats; float32 for integers. Raises ShapeError for spikes without a time
    step, and a table of another length.
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
            f"shape ({steps},) is meant"
        )
    fired = spikes != 0
    first = fired.to(torch.uint8).argmax(0)
    return (table.to(spikes.device)[first] * fired.any(0)).to(dtype)
