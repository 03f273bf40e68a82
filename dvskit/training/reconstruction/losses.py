"""Losses between images, and scores of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

_SIDE, _SIGMA = 11, 1.5  # of the window of SSIM
_SQUARE = 7
_C1, _C2 = 0.01**2, 0.03**2
_OCCLUDED = 50.0  # 1 / squared brightness: how fast a pixel that does not fit loses its weight


@lru_cache(maxsize=8)
def _window(device: torch.device) -> Tensor:
    at = torch.arange(_SIDE, device=device) - (_SIDE - 1) / 2
    weights = torch.exp(-(at**2) / (2 * _SIGMA**2))
    total: Tensor = weights / weights.sum()
    return total


def _blurred(images: Tensor) -> Tensor:
    weights = _window(images.device)
    across = functional.conv2d(images, weights[None, None, None])
    return functional.conv2d(across, weights[None, None, :, None])


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Return the structural similarity of images (B, 1, H, W) from 0 to 1, (B,).

    A Gaussian window of 11 pixels, sigma 1.5, without the border (Wang et al. 2004).
    """
    return _similarity(first, second, _blurred)


def ssim_by_squares(first: Tensor, second: Tensor) -> Tensor:
    """Return the similarity as `ssim` does, over squares of 7 pixels, which is faster."""
    return _similarity(first, second, lambda images: functional.avg_pool2d(images, _SQUARE, 1))


def _similarity(first: Tensor, second: Tensor, mean: Callable[[Tensor], Tensor]) -> Tensor:
    given = torch.cat([first, second, first * first, second * second, first * second])
    a, b, aa, bb, ab = mean(given).chunk(5)
    squares = a * a + b * b
    covariance = ab - a * b
    variances = aa + bb - squares
    value = (2 * a * b + _C1) * (2 * covariance + _C2) / ((squares + _C1) * (variances + _C2))
    return value.mean((1, 2, 3))


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


def fitted(image: Tensor, frame: Tensor) -> Tensor:
    """Return images (B, 1, H, W) with the gain and offset, each its own, nearest to the frames."""
    x, y = image - image.mean((1, 2, 3), True), frame - frame.mean((1, 2, 3), True)
    gain = (x * y).sum((1, 2, 3), True) / (x * x).sum((1, 2, 3), True).clamp(min=1e-12)
    return x * gain + frame.mean((1, 2, 3), True)


def image_scores(image: Tensor, frame: Tensor) -> dict[str, Tensor]:
    """Return MSE and SSIM of images (B, 1, H, W), (B,), also after the best gain and offset."""
    near = fitted(image, frame)
    return {
        "mse": ((image - frame) ** 2).mean((1, 2, 3)),
        "ssim": ssim(image, frame),
        "mse_fitted": ((near - frame) ** 2).mean((1, 2, 3)),
        "ssim_fitted": ssim(near, frame),
    }
