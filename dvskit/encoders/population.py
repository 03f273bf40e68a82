"""Population codes: many neurons with Gaussian receptive fields share a value."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.encoders.checking import check_finite, decoded_dtype, working_dtype
from dvskit.encoders.values import LatencyLaw, latency, linear_latency
from dvskit.errors import ArgumentError, ConfigError, ShapeError, check_least, check_positive

_QUIET = 0.1  # Bohte et al. 2002: of times 0 to 10, those after 9 do not fire


@check_arguments
@dataclass(frozen=True, slots=True)
class ReceptiveFields:
    """Gaussian receptive fields: the centre and the width of each neuron's response.

    centres  of the fields, increasing, in the units of the values
    width    the standard deviation of all fields

    `ReceptiveFields.spread(8)` returns those of eight neurons for values in [0, 1].

        fields = dvskit.encoders.ReceptiveFields.spread(8, -1.0, 1.0)  # for values in [-1, 1]
        own = dvskit.encoders.ReceptiveFields((0.0, 0.5, 1.0), width=0.2)
        dvskit.encoders.population(torch.tensor([0.5]), own)  # [[0.04, 1, 0.04]]
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
        check_positive("ReceptiveFields", width=self.width)

    @classmethod
    def spread(
        cls, neurons: int, low: float = 0.0, high: float = 1.0, *, beta: float = 1.5
    ) -> ReceptiveFields:
        """Return the fields of Bohte, Kok & La Poutre (2002) for values in [low, high].

        Of m neurons, i from 1, the centre is low + (2 i - 3) / 2 (high - low) / (m - 2) and the
        width (high - low) / (m - 2) / beta: the outer two centres lie outside of [low, high].
        """
        check_least("ReceptiveFields", 3, neurons=neurons)
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

        fields = dvskit.encoders.ReceptiveFields.spread(6)
        responses = dvskit.encoders.population(torch.rand(28, 28), fields)  # (28, 28, 6)
        spikes = dvskit.encoders.poisson(responses, 20)  # (20, 28, 28, 6)
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

        fields = dvskit.encoders.ReceptiveFields.spread(8, -1.0, 1.0)
        sine = torch.sin(torch.linspace(0, 6.28, 200))
        spikes = dvskit.encoders.population_latency(sine, fields, 21)  # (21, 200, 8)
        responses = dvskit.encoders.decode_latency(spikes)
        values = dvskit.encoders.decode_population(responses, fields)
        bool((values - sine).abs().max() < 0.02)  # True
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

        fields = dvskit.encoders.ReceptiveFields.spread(6)
        responses = dvskit.encoders.population(torch.tensor([0.2, 0.7]), fields)  # (2, 6)
        dvskit.encoders.decode_population(responses, fields)  # [0.2, 0.7]
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
