"""Still images and signed spikes -> spike tensors with time first.

Values lie in [0, 1]: the brighter the pixel, the more spikes (`poisson`) or the sooner its only
spike (`latency`). Randomness comes from a generator or seed that the caller names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, ShapeError

LatencyLaw = Callable[[Tensor], Tensor]
"""What turns values in [0, 1] into times in steps, from 0; inf means no spike."""


@check_arguments
def poisson(image: Tensor, steps: int, *, generator: torch.Generator | int) -> Tensor:
    """Spike in each step with probability `image`, independently: a rate code.

    `image` (..., H, W), or any shape, holds probabilities in [0, 1]. Returns (steps, ...) of the
    dtype of `image`, 0 or 1. The count of a pixel r is binomial, with mean r steps and variance
    r (1 - r) steps: r = 0.125 over T = 1 s in steps of dt = 1 ms gives r T / dt = 125 spikes on
    average. (The article writes the probability of a step as "r dt", which would give 0.125
    spikes, and calls the count Gaussian, which it is in the limit only.)

    `generator` is a torch.Generator on the device of `image`, which moves on, or a seed: the same
    seed gives the same spikes. Raises ShapeError for an image of integers, ConfigError for values
    outside [0, 1] or steps below 1.
    """
    _check(image, steps, "poisson")
    if not isinstance(generator, torch.Generator):
        generator = torch.Generator(image.device).manual_seed(generator)
    # Drawn in float32 whatever the image is: in half precision the chance would be off.
    drawn = torch.empty((steps, *image.shape), device=image.device, dtype=torch.float32)
    return (drawn.uniform_(generator=generator) < image).to(image.dtype)


def linear_latency(values: Tensor, *, tau: float, threshold: float = 0.0) -> Tensor:
    """Return the time tau (1 - x), in steps; inf (no spike) for x below `threshold`."""
    times = tau * (1 - values)
    return times.masked_fill(values < threshold, math.inf)


def log_latency(values: Tensor, *, tau: float, threshold: float = 0.01) -> Tensor:
    """Return the time tau ln(x / (x - threshold)), in steps; inf for x at or below `threshold`.

    It is when an RC membrane of time constant tau, charged by x, reaches the threshold.
    """
    times = tau * torch.log(values / (values - threshold))
    return times.masked_fill(values <= threshold, math.inf)


@check_arguments
def latency(image: Tensor, steps: int, *, law: LatencyLaw | None = None) -> Tensor:
    """Spike once, the sooner the brighter: at the step nearest to law(value).

    `image` (..., H, W), or any shape, holds values in [0, 1]. `law` gives times in steps, such as
    `partial(log_latency, tau=5.0)`; without one it is linear_latency over the whole window,
    tau = steps - 1: white spikes in step 0, black in the last one. A half goes to the even step.
    A time beyond the window, inf included, is a pixel without a spike.

    Returns (steps, ...) of the dtype of `image`, 0 or 1. Raises ShapeError for an image of
    integers or a law that changes the shape, ConfigError for values outside [0, 1], steps below 1
    and a law that gives a time below 0 or NaN.
    """
    _check(image, steps, "latency")
    law = partial(linear_latency, tau=float(steps - 1)) if law is None else law
    # In half precision neighbouring steps of a long window would fall together.
    times = law(image.to(torch.float64))
    if times.shape != image.shape:
        raise ShapeError(
            f"latency: the law made {tuple(times.shape)} of {tuple(image.shape)}; "
            "it must keep the shape"
        )
    if not bool((times >= 0).all()):
        raise ConfigError("latency: the law gives a time below 0 or NaN; times count from step 0")
    step = torch.arange(steps, device=image.device).reshape(-1, *[1] * image.ndim)
    return (times.round() == step).to(image.dtype)


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


def _check(image: Tensor, steps: int, name: str) -> None:
    if not image.is_floating_point():
        raise ShapeError(
            f"{name}: image is {image.dtype}; values in [0, 1] are floats: image.float() / 255 "
            "for 8-bit pixels"
        )
    if steps < 1:
        raise ConfigError(f"{name}: steps = {steps} is below 1")
    outside = ~((image >= 0) & (image <= 1))
    if bool(outside.any()):
        where = tuple(int(index) for index in outside.nonzero()[0])
        raise ConfigError(
            f"{name}: value {image[where].item():g} at {where} is outside [0, 1]; divide 8-bit "
            "pixels by 255, or clamp"
        )
