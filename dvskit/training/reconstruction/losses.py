"""Losses between images; `reconstruction.scores` judges them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_SQUARE = 7
_C1, _C2 = 0.01**2, 0.03**2
_OCCLUDED = 50.0  # 1 / squared brightness: how fast a pixel that does not fit loses its weight


def ssim_by_squares(first: Tensor, second: Tensor) -> Tensor:
    """Return the structural similarity of images (B, 1, H, W) from 0 to 1, (B,).

    It is that of `reconstruction.scores.ssim`, over squares of 7 pixels: fast, with gradients.
    """
    given = torch.cat([first, second, first * first, second * second, first * second])
    down, across = (_means(length).to(given) for length in given.shape[-2:])
    a, b, aa, bb, ab = (down @ given @ across.T).chunk(5)
    squares = a * a + b * b
    covariance = ab - a * b
    variances = aa + bb - squares
    value = (2 * a * b + _C1) * (2 * covariance + _C2) / ((squares + _C1) * (variances + _C2))
    return value.mean((1, 2, 3))


def _means(length: int) -> Tensor:
    """Return the matrix that takes the mean of each run of 7; faster than pooling."""
    band = torch.ones(length, length).tril().triu(1 - _SQUARE)
    return band[_SQUARE - 1 :] / _SQUARE


def moved_back(images: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    """Return images (B, 1, H, W) sampled at each pixel's place plus `back` (B, H, W, 2), in pixels.

    Also returns where that place is known and inside, (B, 1, H, W) of 0 and 1.
    """
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device) + back[..., 0]
    y = torch.arange(height, device=images.device)[:, None] + back[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)  # false for NaN
    places = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], -1)
    sampled = functional.grid_sample(
        images, torch.nan_to_num(places), mode="bilinear", align_corners=True
    )
    return sampled, inside[:, None].to(images.dtype)


def temporal_difference(
    image: Tensor, before: Tensor, frame: Tensor, frame_before: Tensor, back: Tensor
) -> Tensor:
    """Return the mean absolute difference of images to the ones before, moved by the flow, (B,).

    All are (B, 1, H, W), back (B, H, W, 2). A pixel counts by exp(-50 e^2), where e is the same
    difference of the true frames: those that were hidden count little (Lai et al. 2018). 0 without
    known pixels.
    """
    moved, known = moved_back(torch.cat([before, frame_before], 1), back)
    weight = known * torch.exp(-_OCCLUDED * (frame - moved[:, 1:]) ** 2)
    total = ((image - moved[:, :1]).abs() * weight).sum((1, 2, 3))
    return total / weight.sum((1, 2, 3)).clamp(min=1)
