"""Rate codes: a value is the probability of a spike per step, of one neuron or of many.

In a population code, many neurons with Gaussian receptive fields share a value.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.encoders.checking import (
    check_finite,
    check_fractions,
    check_has_steps,
    decoded_dtype,
    generator_from,
    spikes_as_floats,
    working_dtype,
)
from dvskit.encoders.latency import LatencyLaw, latency, linear_latency
from dvskit.errors import ArgumentError, ConfigError, ShapeError

_QUIET = 0.1  # Bohte et al. 2002: of times 0 to 10, those after 9 do not fire


@check_arguments
def poisson(image: Tensor, steps: int, *, generator: torch.Generator | int | None = None) -> Tensor:
    """Spike in each step with probability `image`, independently: a rate code.

    `image` (..., H, W), or any shape, holds probabilities in [0, 1]. Returns (steps, ...), 0 or 1.
    The count of a pixel r is binomial, with mean r steps and variance r (1 - r) steps. For a
    Poisson process of rate R, the probability of a step is R dt (Heeger, Poisson Model of Spike
    Generation, 2000). A rate that changes with time, `rates` (T, ...), is `poisson(rates, 1,
    generator=g)[0]`.

    `generator` is a torch.Generator on the device of `image`, which advances, or a seed.
    """
    check_fractions(image, steps, "poisson")
    drawn_by = generator_from(generator, "poisson", "generator", image.device)
    return _draw(image, steps, drawn_by).to(image.dtype)


@check_arguments
def signed_poisson(
    values: Tensor, steps: int, *, generator: torch.Generator | int | None = None
) -> Tensor:
    """Spike in each step with probability |values|, as +1 or -1 by the sign of the value.

    `values`, of any shape, lie in [-1, 1]. Returns (steps, ...): -1, 0 or 1. The absolute values of
    the spikes are those of `poisson` for |values| and the same generator.

    >>> g = torch.Generator().manual_seed(0)
    >>> t = torch.arange(1000) / 1000
    >>> sine = torch.sin(2 * torch.pi * t)
    >>> spikes = signed_poisson(sine, 400, generator=g)  # 400 trials of each sample
    >>> bool(reconstruction_error(sine, decode_poisson(spikes)).rmse < 0.02)
    True
    """
    check_fractions(values, steps, "signed_poisson", lowest=-1.0)
    drawn_by = generator_from(generator, "signed_poisson", "generator", values.device)
    drawn = _draw(values.detach().abs(), steps, drawn_by)
    sign = values.detach().sign().to(torch.int8)
    return (drawn.view(torch.int8) * sign).to(values.dtype)


@check_arguments
def decode_poisson(spikes: Tensor) -> Tensor:
    """Return the rate of spikes (T, ...): their mean over time, of shape (...).

    It estimates the input of `poisson` and `signed_poisson`, with a standard error of sqrt(|r| (1 -
    |r|) / T), at most 1 / (2 sqrt(T)).
    """
    check_has_steps(spikes, "decode_poisson")
    counted = spikes_as_floats(spikes, "decode_poisson")
    return counted.mean(0).to(decoded_dtype(spikes))


def _draw(chances: Tensor, steps: int, generator: torch.Generator | None) -> Tensor:
    # Drawn in float32 for any image dtype: in half precision the probability would be off.
    drawn = torch.empty((steps, *chances.shape), device=chances.device, dtype=torch.float32)
    return drawn.uniform_(generator=generator) < chances


@check_arguments
@dataclass(frozen=True, slots=True)
class ReceptiveFields:
    """Gaussian receptive fields: the centre and the width of each neuron's response.

    centres  of the fields, increasing, in the units of the values
    width    the standard deviation of all fields

    `ReceptiveFields.spread(8)` returns those of eight neurons for values in [0, 1].
    """

    centres: tuple[float, ...]
    width: float

    def __post_init__(self) -> None:
        if not isinstance(self.centres, Iterable):
            raise ArgumentError(
                f"ReceptiveFields: centres is {self.centres!r}, one number; pass one for each "
                "neuron, or use ReceptiveFields.spread(neurons)"
            )
        object.__setattr__(self, "centres", tuple(float(centre) for centre in self.centres))
        pairs = itertools.pairwise(self.centres)
        if not self.centres or not all(math.isfinite(c) for c in self.centres):
            raise ConfigError(f"centres {self.centres}; at least one finite number is expected")
        if not all(left < right for left, right in pairs):
            raise ConfigError(f"centres {self.centres} do not increase; sort them, each once")
        if not 0 < self.width < math.inf:
            raise ConfigError(f"width = {self.width:g} is not above 0 and finite")

    @classmethod
    def spread(
        cls, neurons: int, low: float = 0.0, high: float = 1.0, *, beta: float = 1.5
    ) -> ReceptiveFields:
        """Return the fields of Bohte, Kok & La Poutre (2002) for values in [low, high].

        Of m neurons, i from 1, the centre is low + (2 i - 3) / 2 (high - low) / (m - 2) and the
        width (high - low) / (m - 2) / beta: the outer two centres lie outside of [low, high].
        """
        if neurons < 3:
            raise ConfigError(f"neurons = {neurons} is below 3; pass the centres of fewer")
        if not low < high or not beta > 0:
            raise ConfigError(
                f"low = {low:g}, high = {high:g}, beta = {beta:g}; low < high and beta > 0 "
                "are expected"
            )
        spacing = (high - low) / (neurons - 2)
        centres = [low + (2 * i - 3) / 2 * spacing for i in range(1, neurons + 1)]
        return cls(tuple(centres), spacing / beta)


@check_arguments
def population(values: Tensor, fields: ReceptiveFields) -> Tensor:
    """Return the response of each neuron, exp(-(x - centre)^2 / (2 width^2)): (..., neurons).

    The responses, in [0, 1], are probabilities for `poisson` and values for `latency`; gradients
    pass through.
    """
    check_finite(values, "population", "values")
    dtype = working_dtype(values.dtype)
    centres = torch.tensor(fields.centres, dtype=dtype, device=values.device)
    away = values.to(dtype)[..., None] - centres
    exponent = torch.addcmul(away.new_zeros(()), away, away, value=-0.5 / fields.width**2)
    return exponent.exp_().to(values.dtype)  # in place: new memory takes longer than exp


@check_arguments
def population_latency(
    values: Tensor, fields: ReceptiveFields, steps: int, *, law: LatencyLaw | None = None
) -> Tensor:
    """Spike once per neuron, earlier for values near its centre: (steps, ..., neurons).

    It is `latency` of the responses of `population`. By default the time is linear over the window
    and responses below 0.1 do not spike, as in Bohte et al. (2002).

    >>> fields = ReceptiveFields.spread(8, -1.0, 1.0)
    >>> t = torch.arange(200) / 200
    >>> sine = torch.sin(2 * torch.pi * t)
    >>> spikes = population_latency(sine, fields, 21)  # (21, 200, 8)
    >>> decoded = decode_population(decode_latency(spikes), fields)
    >>> bool((decoded - sine).abs().max() < 0.02)
    True
    """
    law = partial(linear_latency, tau=float(steps - 1), threshold=_QUIET) if law is None else law
    return latency(population(values, fields), steps, law=law)


@check_arguments
def decode_population(responses: Tensor, fields: ReceptiveFields) -> Tensor:
    """Return the values (...) of responses (..., neurons).

    Two neighbours with centres c, d and responses r, s give (c + d) / 2 + width^2 / (d - c) ln(s /
    r); the result is the mean over all neighbours, weighted by r s. Exact responses give the exact
    value; responses may also be spike rates or `decode_latency` of spikes. If no two neighbours
    respond it is the mean of the centres weighted by the responses, and NaN if no neuron responds.
    """
    check_finite(responses, "decode_population", "responses")
    neurons = len(fields.centres)
    if responses.ndim < 1 or responses.shape[-1] != neurons:
        raise ShapeError(
            f"decode_population: responses of shape {tuple(responses.shape)} for {neurons} "
            f"neurons; shape (..., {neurons}) is expected"
        )
    if bool((responses < 0).any()):
        raise ConfigError("decode_population: a response is below 0; responses lie in [0, 1]")
    found = responses.to(working_dtype(responses.dtype))
    centres = torch.tensor(fields.centres, dtype=found.dtype, device=found.device)
    mean = (found * centres).sum(-1) / found.sum(-1)
    left, right = found[..., :-1], found[..., 1:]
    weights = left * right
    total = weights.sum(-1)
    middle, apart = (centres[1:] + centres[:-1]) / 2, centres[1:] - centres[:-1]
    both = weights > 0
    ratio = torch.where(both, right, 1).log() - torch.where(both, left, 1).log()
    places = middle + fields.width**2 / apart * ratio
    value = torch.where(total > 0, (weights * places).sum(-1) / total, mean)
    return value.to(decoded_dtype(responses))
