"""Signed spikes as two channels, OFF and ON."""

from __future__ import annotations

import torch
from torch import Tensor

from dvskit.errors import ShapeError


def two_channels(spikes: Tensor) -> Tensor:
    """Split spikes by sign: (T, ..., H, W) -> (T, ..., 2, H, W), as events are binned.

    Channel 0 is OFF (the size of negative values), channel 1 ON (positive ones). Keeps the dtype;
    unsigned spikes leave OFF empty. Raises ShapeError below three dimensions, or for bool.
    """
    if spikes.ndim < 3 or spikes.dtype == torch.bool:
        raise ShapeError(
            f"two_channels takes numbers of shape (T, ..., H, W), not {spikes.dtype} of shape "
            f"{tuple(spikes.shape)}"
        )
    if not spikes.dtype.is_signed:
        return torch.stack((torch.zeros_like(spikes), spikes), dim=-3)
    return torch.stack(((-spikes).clamp(min=0), spikes.clamp(min=0)), dim=-3)
