"""Rate codes: a value is the probability of a spike in each step."""

from __future__ import annotations

import torch
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.encoders.checking import (
    check_fractions,
    check_has_steps,
    decoded_dtype,
    generator_from,
    spikes_as_floats,
)


@check_arguments
def poisson(image: Tensor, steps: int, *, generator: torch.Generator | int) -> Tensor:
    """Spike in each step with probability `image`, independently: a rate code.

    `image` (..., H, W), or any shape, holds probabilities in [0, 1]. Returns (steps, ...) of the
    dtype of `image`, 0 or 1. The count of a pixel r is binomial, with mean r steps and variance
    r (1 - r) steps: r = 0.125 over T = 1 s in steps of dt = 1 ms gives r T / dt = 125 spikes on
    average. A Poisson process of rate R has R dt for the probability of a step (Heeger, Poisson
    Model of Spike Generation, 2000).

    A rate that changes with time, `rates` (T, ...), is `poisson(rates, 1, generator=g)[0]`.

    `generator` is a torch.Generator on the device of `image`, which moves on, or a seed: the same
    seed gives the same spikes. Raises ShapeError for an image of integers, ConfigError for values
    outside [0, 1], steps below 1, or what is neither generator nor seed.
    """
    check_fractions(image, steps, "poisson")
    generator = generator_from(generator, "poisson", "generator", image.device)
    return _draw(image, steps, generator).to(image.dtype)


@check_arguments
def signed_poisson(values: Tensor, steps: int, *, generator: torch.Generator | int) -> Tensor:
    """Spike in each step with probability |values|, as +1 or -1 by the sign of the value.

    `values`, of any shape, lie in [-1, 1]. Returns (steps, ...) of their dtype: -1, 0 or 1. The
    sizes of the spikes are those that `poisson` gives for |values| and the same generator.

    Raises as `poisson` does.

    >>> g = torch.Generator().manual_seed(0)
    >>> t = torch.arange(1000) / 1000
    >>> sine = torch.sin(2 * torch.pi * t)
    >>> spikes = signed_poisson(sine, 400, generator=g)  # 400 trials of each sample
    >>> bool(reconstruction_error(sine, decode_poisson(spikes)).rmse < 0.02)
    True
    """
    check_fractions(values, steps, "signed_poisson", lowest=-1.0)
    generator = generator_from(generator, "signed_poisson", "generator", values.device)
    drawn = _draw(values.detach().abs(), steps, generator)
    sign = values.detach().sign().to(torch.int8)
    return (drawn.view(torch.int8) * sign).to(values.dtype)


@check_arguments
def decode_poisson(spikes: Tensor) -> Tensor:
    """Return the rate of spikes (T, ...): their mean over time, of shape (...).

    It estimates what `poisson` and `signed_poisson` were given, with a standard error of
    sqrt(|r| (1 - |r|) / T), at most 1 / (2 sqrt(T)). Keeps the dtype of floats; float32 for
    integers. Raises ShapeError for spikes without a time step.
    """
    check_has_steps(spikes, "decode_poisson")
    counted = spikes_as_floats(spikes, "decode_poisson")
    return counted.mean(0).to(decoded_dtype(spikes))


def _draw(chances: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    # Drawn in float32 whatever the image is: in half precision the chance would be off.
    drawn = torch.empty((steps, *chances.shape), device=chances.device, dtype=torch.float32)
    return drawn.uniform_(generator=generator) < chances
