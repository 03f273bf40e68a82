"""Codes of values: the time or rank of one spike, a rate of spikes, or the shares of many neurons.

Neurons of a population have Gaussian receptive fields, and share each value.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from dvskit._checks import check_fields, check_number, check_whole, checked, checked_dataclass
from dvskit.errors import ConfigError, ShapeError

_SMALLEST_SEED, _LARGEST_SEED = -(2**63), 2**64 - 1  # torch's range


def generator_from(
    given: torch.Generator | int | None, name: str, device: torch.device | None = None
) -> torch.Generator | None:
    """Return the given generator, or a new one on `device` for a seed; None for None.

    Raises ConfigError, naming the function `name`, for anything but a seed in torch's range.
    """
    if given is None or isinstance(given, torch.Generator):
        return given
    check_whole("generator", given, _SMALLEST_SEED, _LARGEST_SEED, owner=name)
    return torch.Generator(device or "cpu").manual_seed(operator.index(given))


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of computations: float64 for float64, float32 for all others."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def refuse_first(bad: Tensor, values: Tensor, what: str, fix: str) -> None:
    """Raise ConfigError that names the first value that is marked as bad, and its place."""
    if bool(bad.any()):
        where = tuple(bad.nonzero()[0].tolist())
        raise ConfigError(f"{what} is {values[where].item():g} at {where}; {fix}")


def check_fractions(values: Tensor, steps: int, name: str, *, lowest: float = 0.0) -> None:
    """Raise ShapeError for integers, ConfigError for values outside [lowest, 1] or steps < 1."""
    if not values.is_floating_point():
        raise ShapeError(
            f"{name}: image is {values.dtype}; values in [{lowest:g}, 1] must be floats: "
            "image.float() / 255 for 8-bit pixels"
        )
    check_whole("steps", steps, 1, owner=name)
    refuse_first(
        ~((values >= lowest) & (values <= 1)), values, f"{name}: a value",
        f"it must be in [{lowest:g}, 1]: divide 8-bit pixels by 255, clamp, or torch.nan_to_num",
    )  # fmt: skip


def check_has_steps(spikes: Tensor, name: str) -> None:
    """Raise ShapeError for spikes without a time step."""
    check_time(spikes, name, "spikes")
    if spikes.shape[0] == 0:
        raise ShapeError(f"{name}: spikes have no time step; pass at least one")


def check_finite(values: Tensor, name: str, what: str) -> None:
    """Raise ShapeError for integers, ConfigError for NaN and infinities."""
    if not values.is_floating_point():
        raise ShapeError(f"{name}: {what} is {values.dtype}; floats are expected: {what}.float()")
    # If a sum is finite, so are its terms; it takes a fiftieth of the time, but may overflow.
    if not math.isfinite(values.detach().sum().item()):
        fix = f"pass finite values: torch.nan_to_num({what}), or drop such samples"
        refuse_first(~torch.isfinite(values), values, f"{name}: {what}", fix)


def check_time(values: Tensor, name: str, what: str) -> None:
    """Raise ShapeError for a tensor without dimensions: the first one is time."""
    if values.ndim < 1:
        raise ShapeError(f"{name}: {what} is a single number; shape (T, ...) with time first")


def spikes_as_floats(spikes: Tensor, name: str) -> Tensor:
    """Return spikes to decode in the working dtype. Raises ShapeError for spikes without time."""
    check_time(spikes, name, "spikes")
    return spikes.to(working_dtype(spikes.dtype))


def decoded_dtype(spikes: Tensor) -> torch.dtype:
    """Return the dtype of decoded values: that of the spikes, float32 if they are integers."""
    return spikes.dtype if spikes.is_floating_point() else torch.float32


LatencyLaw = Callable[[Tensor], Tensor]
"""A law from values in [0, 1] to times in steps, from 0; inf means no spike."""


def linear_latency(values: Tensor, *, tau: float, threshold: float = 0.0) -> Tensor:
    """Return the time tau (1 - x), in steps; inf (no spike) for x below `threshold`.

    `values`, of any shape, are floats in [0, 1]; the times have their shape and dtype.

        values = torch.tensor([1.0, 0.5, 0.05])
        times = dvskit.encoders.linear_latency(values, tau=10.0, threshold=0.1)  # [0, 5, inf]
    """
    times = tau * (1 - values)
    return times.masked_fill(values < threshold, math.inf)


def log_latency(values: Tensor, *, tau: float, threshold: float = 0.01) -> Tensor:
    """Return the time tau ln(x / (x - threshold)), in steps; inf for x at or below `threshold`.

    An RC membrane of time constant tau, charged by x, reaches the threshold then.

        from functools import partial

        law = partial(dvskit.encoders.log_latency, tau=5.0, threshold=0.1)
        law(torch.tensor([1.0, 0.5, 0.1]))  # [0.53, 1.12, inf]
        spikes = dvskit.encoders.latency(torch.rand(28, 28), 20, law=law)  # (20, 28, 28)
    """
    times = tau * torch.log(values / (values - threshold))
    return times.masked_fill(values <= threshold, math.inf)


def linear_value(times: Tensor, *, tau: float) -> Tensor:
    """Return the value 1 - t / tau of a time t in steps: the inverse of `linear_latency`.

    `times` and the values are floats of the same shape, and `tau` is in steps.

        dvskit.encoders.linear_value(torch.tensor([0.0, 5.0, 10.0]), tau=10.0)  # [1, 0.5, 0]
    """
    return 1 - times / tau


def log_value(times: Tensor, *, tau: float, threshold: float = 0.01) -> Tensor:
    """Return the value threshold / (1 - exp(-t / tau)): the inverse of `log_latency`.

    `times` are floats of any shape; `tau` is in steps. Times near 0 give values above 1.

        times = dvskit.encoders.log_latency(torch.tensor([0.9, 0.3]), tau=5.0)
        values = dvskit.encoders.log_value(times, tau=5.0)  # [0.9, 0.3]
    """
    return threshold / -torch.expm1(-times / tau)


def latency(image: Tensor, steps: int, *, law: LatencyLaw | None = None) -> Tensor:
    """Spike once, earlier for brighter values: at the step nearest to law(value).

    `image` (..., H, W), or any shape, holds values in [0, 1]. `law` returns times in steps, such as
    `partial(log_latency, tau=5.0)`; the default is linear_latency over the whole window, tau =
    steps - 1: white spikes in step 0, black in the last one. Halves round to the even step. A pixel
    with a time beyond the window, inf included, does not spike. Returns (steps, ...), 0 or 1.

    Raises ShapeError for a law that changes the shape, ConfigError for one that returns a time
    below 0 or NaN.

        image = torch.tensor([[1.0, 0.5], [0.25, 0.0]])
        spikes = dvskit.encoders.latency(image, 5)  # (5, 2, 2)
        spikes.argmax(0)  # [[0, 2], [3, 4]]: the step of each spike
    """
    check_fractions(image, steps, "latency")
    law = partial(linear_latency, tau=float(steps - 1)) if law is None else law
    # In half precision, neighboring steps of a long window would coincide.
    times = law(image.to(torch.float64))
    if times.shape != image.shape:
        raise ShapeError(
            f"latency: the law returned {tuple(times.shape)} for {tuple(image.shape)}; "
            "it must keep the shape"
        )
    if not bool((times >= 0).all()):
        raise ConfigError("latency: the law returns a time below 0 or NaN; times count from step 0")
    return spikes_at(times.round(), steps, image.dtype)


def decode_latency(spikes: Tensor, *, inverse: LatencyLaw | None = None) -> Tensor:
    """Return the values of the first spikes of (T, ...): inverse(time), in [0, 1]; 0 without one.

    `inverse` returns the value of a time in steps, as `partial(log_value, tau=5.0)` does for
    `log_latency`; the default is linear_value over the whole window, tau = T - 1. For the linear
    law the error is at most 1 / (2 tau); values without a spike are lost. Results are clamped to
    [0, 1]: the logarithmic law has values above 1 for its first half step.

        sine = 0.5 + 0.5 * torch.sin(torch.linspace(0, 6.28, 200))
        spikes = dvskit.encoders.latency(sine, 51)  # (51, 200)
        values = dvskit.encoders.decode_latency(spikes)  # (200,)
        bool((values - sine).abs().max() <= 0.0101)  # True
    """
    check_has_steps(spikes, "decode_latency")
    steps = spikes.shape[0]
    if inverse is None:
        inverse = partial(linear_value, tau=float(max(steps - 1, 1)))
    fired = spikes != 0
    # argmax is not defined for bool; for equal numbers it returns the first.
    times = fired.to(torch.uint8).argmax(0).to(torch.float64)
    values = inverse(times).clamp(0, 1) * fired.any(0)
    return values.to(decoded_dtype(spikes))


def spikes_at(times: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """Return (steps, ...) with a 1 at each whole time; none for times beyond the window."""
    within = times < steps
    index = times.masked_fill(~within, 0).to(torch.int64)
    spikes = torch.zeros((steps, *times.shape), dtype=dtype, device=times.device)
    return spikes.scatter_(0, index[None], within[None].to(dtype))


def rank_order(values: Tensor, steps: int, *, dims: int = 2, silent: float | None = None) -> Tensor:
    """Spike once, in the order of the values: the largest first (Thorpe & Gautrais 1998).

    The last `dims` dimensions are one sample, whose values are ranked with one another: 2 for
    images (..., H, W), 1 for vectors (..., N). Equal values are ranked by their position in the
    flattened sample. Values at or below `silent` do not spike and are not counted; None lets all
    spike.

    Of n values that spike, the k-th largest (k from 0) spikes in step k if there are as many steps,
    else in step floor(k steps / n): groups of equal size, give or take one. Returns (steps, ...), 0
    or 1. Only the order counts: any increasing function of the values gives the same spikes.

        values = torch.tensor([0.2, 0.9, 0.0, 0.5])
        spikes = dvskit.encoders.rank_order(values, 4, dims=1, silent=0.0)  # (4, 4)
        spikes.nonzero()  # (step, value): [[0, 1], [1, 3], [2, 0]]; 0.0 does not spike
    """
    check_finite(values, "rank_order", "values")
    check_whole("steps", steps, 1, owner="rank_order")
    check_whole("dims", dims, 1, owner="rank_order")
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


def decode_rank_order(spikes: Tensor, *, table: Tensor | None = None) -> Tensor:
    """Return a value for the step of each first spike of (T, ...); 0 without one.

    The values themselves are lost; their order is kept, except within a step. `table` (T,) holds
    the value of each step, such as the mean of the values with that step in many samples (the
    look-up table of VanRullen & Thorpe 2001). Without one the values are assumed to be spread
    evenly over [0, 1]: 1 - (step + 1/2) / T. Encoding the result gives the same spikes again (with
    silent=0 if some values did not spike).

        spikes = dvskit.encoders.rank_order(torch.tensor([0.2, 0.9, 0.4, 0.5]), 4, dims=1)
        dvskit.encoders.decode_rank_order(spikes)  # [0.125, 0.875, 0.375, 0.625]
    """
    check_has_steps(spikes, "decode_rank_order")
    steps = spikes.shape[0]
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
    return (table.to(spikes.device)[first] * fired.any(0)).to(decoded_dtype(spikes))


def poisson(image: Tensor, steps: int, *, generator: torch.Generator | int | None = None) -> Tensor:
    """Spike in each step with probability `image`, independently: a rate code.

    `image` (..., H, W), or any shape, holds probabilities in [0, 1]. Returns (steps, ...), 0 or 1.
    The count of a pixel r is binomial, with mean r steps and variance r (1 - r) steps. For a
    Poisson process of rate R, the probability of a step is R dt (Heeger, Poisson Model of Spike
    Generation, 2000). A rate that changes with time, `rates` (T, ...), is `poisson(rates, 1,
    generator=g)[0]`.

    `generator` is a torch.Generator on the device of `image`, which advances, or a seed.

        image = torch.full((28, 28), 0.3)
        spikes = dvskit.encoders.poisson(image, 100, generator=0)  # (100, 28, 28)
        spikes.mean()  # about 0.3
    """
    check_fractions(image, steps, "poisson")
    drawn_by = generator_from(generator, "poisson", image.device)
    return _draw(image, steps, drawn_by).to(image.dtype)


def signed_poisson(
    values: Tensor, steps: int, *, generator: torch.Generator | int | None = None
) -> Tensor:
    """Spike in each step with probability |values|, as +1 or -1 by the sign of the value.

    `values`, of any shape, lie in [-1, 1]. Returns (steps, ...): -1, 0 or 1. The absolute values of
    the spikes are those of `poisson` for |values| and the same generator.

        sine = torch.sin(torch.linspace(0, 6.28, 1000))
        spikes = dvskit.encoders.signed_poisson(sine, 400, generator=0)  # (400, 1000), -1, 0 or 1
        rates = dvskit.encoders.decode_poisson(spikes)  # (1000,)
        dvskit.encoders.reconstruction_error(sine, rates).rmse  # below 0.02
    """
    check_fractions(values, steps, "signed_poisson", lowest=-1.0)
    drawn_by = generator_from(generator, "signed_poisson", values.device)
    drawn = _draw(values.detach().abs(), steps, drawn_by)
    sign = values.detach().sign().to(torch.int8)
    return (drawn.view(torch.int8) * sign).to(values.dtype)


def decode_poisson(spikes: Tensor) -> Tensor:
    """Return the rate of spikes (T, ...): their mean over time, of shape (...).

    It estimates the input of `poisson` and `signed_poisson`, with a standard error of sqrt(|r| (1 -
    |r|) / T), at most 1 / (2 sqrt(T)).

        spikes = dvskit.encoders.poisson(torch.tensor([0.1, 0.8]), 1000, generator=0)
        dvskit.encoders.decode_poisson(spikes)  # about [0.1, 0.8]
    """
    check_has_steps(spikes, "decode_poisson")
    counted = spikes_as_floats(spikes, "decode_poisson")
    return counted.mean(0).to(decoded_dtype(spikes))


def _draw(chances: Tensor, steps: int, generator: torch.Generator | None) -> Tensor:
    # Drawn in float32 for any image dtype: in half precision the probability would be off.
    drawn = torch.empty((steps, *chances.shape), device=chances.device, dtype=torch.float32)
    return drawn.uniform_(generator=generator) < chances


_QUIET = 0.1  # Bohte et al. 2002: of times 0 to 10, those after 9 do not fire


@checked_dataclass(frozen=True, slots=True)
class ReceptiveFields:
    """Gaussian receptive fields: the center and the width of each neuron's response.

    centers  of the fields, increasing, in the units of the values
    width    the standard deviation of all fields

    `ReceptiveFields.spread(8)` returns those of eight neurons for values in [0, 1].

        fields = dvskit.encoders.ReceptiveFields.spread(8, -1.0, 1.0)  # for values in [-1, 1]
        own = dvskit.encoders.ReceptiveFields((0.0, 0.5, 1.0), width=0.2)
        dvskit.encoders.population(torch.tensor([0.5]), own)  # [[0.04, 1, 0.04]]
    """

    centers: tuple[float, ...]
    width: float = checked(check_number, above=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "centers", tuple(float(center) for center in self.centers))
        if not self.centers or not all(map(math.isfinite, self.centers)):
            raise ConfigError(f"centers {self.centers}; at least one finite number is expected")
        if not all(left < right for left, right in itertools.pairwise(self.centers)):
            raise ConfigError(f"centers {self.centers} do not increase; sort them, each once")
        check_fields(self)

    @classmethod
    def spread(
        cls, neurons: int, low: float = 0.0, high: float = 1.0, *, beta: float = 1.5
    ) -> ReceptiveFields:
        """Return the fields of Bohte, Kok & La Poutre (2002) for values in [low, high].

        Of m neurons, i from 1, the center is low + (2 i - 3) / 2 (high - low) / (m - 2) and the
        width (high - low) / (m - 2) / beta: the outer two centers lie outside of [low, high].
        """
        check_whole("neurons", neurons, 3, owner="ReceptiveFields")
        check_number("high", high, above=low, owner="ReceptiveFields")
        check_number("beta", beta, above=0, owner="ReceptiveFields")
        spacing = (high - low) / (neurons - 2)
        centers = [low + (2 * i - 3) / 2 * spacing for i in range(1, neurons + 1)]
        return cls(tuple(centers), spacing / beta)


def population(values: Tensor, fields: ReceptiveFields) -> Tensor:
    """Return the response of each neuron, exp(-(x - center)^2 / (2 width^2)): (..., neurons).

    The responses, in [0, 1], are probabilities for `poisson` and values for `latency`; gradients
    pass through.

        fields = dvskit.encoders.ReceptiveFields.spread(6)
        responses = dvskit.encoders.population(torch.rand(28, 28), fields)  # (28, 28, 6)
        spikes = dvskit.encoders.poisson(responses, 20)  # (20, 28, 28, 6)
    """
    check_finite(values, "population", "values")
    dtype = working_dtype(values.dtype)
    centers = torch.tensor(fields.centers, dtype=dtype, device=values.device)
    away = values.to(dtype)[..., None] - centers
    exponent = torch.addcmul(away.new_zeros(()), away, away, value=-0.5 / fields.width**2)
    return exponent.exp_().to(values.dtype)  # in place: new memory takes longer than exp


def population_latency(
    values: Tensor, fields: ReceptiveFields, steps: int, *, law: LatencyLaw | None = None
) -> Tensor:
    """Spike once per neuron, earlier for values near its center: (steps, ..., neurons).

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


def decode_population(responses: Tensor, fields: ReceptiveFields) -> Tensor:
    """Return the values (...) of responses (..., neurons).

    Two neighbors with centers c, d and responses r, s give (c + d) / 2 + width^2 / (d - c) ln(s /
    r); the result is the mean over all neighbors, weighted by r s. Exact responses give the exact
    value; responses may also be spike rates or `decode_latency` of spikes. If no two neighbors
    respond it is the mean of the centers weighted by the responses, and NaN if no neuron responds.

        fields = dvskit.encoders.ReceptiveFields.spread(6)
        responses = dvskit.encoders.population(torch.tensor([0.2, 0.7]), fields)  # (2, 6)
        dvskit.encoders.decode_population(responses, fields)  # [0.2, 0.7]
    """
    check_finite(responses, "decode_population", "responses")
    neurons = len(fields.centers)
    if responses.ndim < 1 or responses.shape[-1] != neurons:
        raise ShapeError(
            f"decode_population: responses of shape {tuple(responses.shape)} for {neurons} "
            f"neurons; shape (..., {neurons}) is expected"
        )
    refuse_first(
        responses < 0, responses, "decode_population: a response", "it must be from 0 to 1"
    )
    found = responses.to(working_dtype(responses.dtype))
    centers = torch.tensor(fields.centers, dtype=found.dtype, device=found.device)
    mean = (found * centers).sum(-1) / found.sum(-1)
    left, right = found[..., :-1], found[..., 1:]
    weights = left * right
    total = weights.sum(-1)
    middle, apart = (centers[1:] + centers[:-1]) / 2, centers[1:] - centers[:-1]
    both = weights > 0
    ratio = torch.where(both, right, 1).log() - torch.where(both, left, 1).log()
    places = middle + fields.width**2 / apart * ratio
    value = torch.where(total > 0, (weights * places).sum(-1) / total, mean)
    return value.to(decoded_dtype(responses))
