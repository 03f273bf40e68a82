"""Spikes with a surrogate gradient.

The spike is a step, s = [u >= 0], with a derivative of zero almost everywhere. Training replaces it
by a smooth function, in the backward pass only. A surrogate is any object with
`derivative(u) -> Tensor`; as a frozen dataclass, its repr shows the parameters. The surrogates of
this module also have `primitive(u)`, whose derivative they are, and run in the fused kernels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor
from torch.autograd import Function

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError


@runtime_checkable
class Surrogate(Protocol):
    """A replacement for the derivative of the step.

    Implement `derivative`; such neurons run in plain torch. With `primitive` as well, see `ATan`.

        from dataclasses import dataclass

        @dataclass(frozen=True)
        class Gaussian:
            width: float = 0.5

            def derivative(self, u):
                return torch.exp(-((u / self.width) ** 2))

        neurons = dvskit.neurons.LIF(surrogate=Gaussian())
    """

    def derivative(self, u: Tensor) -> Tensor:
        """Return d[u >= 0]/du as used in training, with the shape and dtype of `u`."""
        ...


@dataclass(frozen=True, slots=True)
class _Positive:
    """Parameters that are finite and above 0."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(
                    f"{type(self).__name__}: {field.name} = {value} is not a finite number above "
                    f"0; try {field.default}"
                )


@check_arguments
@dataclass(frozen=True, slots=True)
class ATan(_Positive):
    """The derivative of arctan(pi alpha u / 2) / pi: (alpha / 2) / (1 + (pi alpha u / 2)^2).

    Its integral is 1 and its height alpha / 2 (Fang et al. 2021, PLIF).

        surrogate = dvskit.neurons.ATan(alpha=2.0)
        surrogate.derivative(torch.tensor([-1.0, 0.0, 1.0]))  # [0.092, 1, 0.092]
        neurons = dvskit.neurons.LIF(surrogate=surrogate)
    """

    alpha: float = 2.0

    def derivative(self, u: Tensor) -> Tensor:
        """Return the surrogate derivative at `u`, with its shape and dtype."""
        return (self.alpha / 2) / (1 + (math.pi / 2 * self.alpha * u) ** 2)

    def primitive(self, u: Tensor) -> Tensor:
        """Return arctan(pi alpha u / 2) / pi + 1/2, from 0 to 1."""
        return torch.atan(math.pi / 2 * self.alpha * u) / math.pi + 0.5


@check_arguments
@dataclass(frozen=True, slots=True)
class FastSigmoid(_Positive):
    """The derivative of u / (1 + slope |u|): 1 / (1 + slope |u|)^2.

    Its integral is 2 / slope and its height 1 (Zenke and Ganguli 2018, SuperSpike).

        surrogate = dvskit.neurons.FastSigmoid(slope=10.0)
        surrogate.derivative(torch.tensor([-0.1, 0.0, 0.1]))  # [0.25, 1, 0.25]
        neurons = dvskit.neurons.LIF(surrogate=surrogate)
    """

    slope: float = 10.0

    def derivative(self, u: Tensor) -> Tensor:
        """Return the surrogate derivative at `u`, with its shape and dtype."""
        return 1 / (1 + self.slope * u.abs()) ** 2

    def primitive(self, u: Tensor) -> Tensor:
        """Return u / (1 + slope |u|), from -1 / slope to 1 / slope."""
        return u / (1 + self.slope * u.abs())


@check_arguments
@dataclass(frozen=True, slots=True)
class Sigmoid(_Positive):
    """The derivative of the logistic function p of alpha u: alpha p (1 - p); integral 1.

    The height is alpha / 4. `u` is the potential minus the threshold, of any shape.

        surrogate = dvskit.neurons.Sigmoid(alpha=4.0)
        surrogate.derivative(torch.tensor([-0.5, 0.0, 0.5]))  # [0.42, 1, 0.42]
        neurons = dvskit.neurons.LIF(surrogate=surrogate)
    """

    alpha: float = 4.0

    def derivative(self, u: Tensor) -> Tensor:
        """Return the surrogate derivative at `u`, with its shape and dtype."""
        fall = torch.exp(-self.alpha * u.abs())  # the derivative is even; this never overflows
        return self.alpha * fall / (1 + fall) ** 2

    def primitive(self, u: Tensor) -> Tensor:
        """Return 1 / (1 + e^(-alpha u)), from 0 to 1."""
        return torch.sigmoid(self.alpha * u)


@check_arguments
@dataclass(frozen=True, slots=True)
class Triangle(_Positive):
    """A triangle around the threshold: height max(0, 1 - |u| / width).

    Its integral is height * width (Bellec et al. 2018 take a height of 0.3 and width of 1).

        surrogate = dvskit.neurons.Triangle(width=1.0, height=0.3)
        surrogate.derivative(torch.tensor([-0.5, 0.0, 2.0]))  # [0.15, 0.3, 0]
        neurons = dvskit.neurons.LIF(surrogate=surrogate)
    """

    width: float = 1.0
    height: float = 1.0

    def derivative(self, u: Tensor) -> Tensor:
        """Return the surrogate derivative at `u`, with its shape and dtype."""
        return self.height * (1 - u.abs() / self.width).clamp(min=0)

    def primitive(self, u: Tensor) -> Tensor:
        """Return the area left of `u`, from 0 to height * width."""
        z = (u / self.width).clamp(-1, 1)
        return self.height * self.width * (0.5 + z - 0.5 * z * z.abs())


@check_arguments
@dataclass(frozen=True, slots=True)
class Boxcar(_Positive):
    """A box around the threshold: height where |u| <= width / 2, else 0.

    Its integral is height * width (Wu et al. 2018, STBP, with height 1 / width).

        surrogate = dvskit.neurons.Boxcar(width=0.5, height=2.0)
        surrogate.derivative(torch.tensor([-0.5, 0.0, 0.2]))  # [0, 2, 2]
        neurons = dvskit.neurons.LIF(surrogate=surrogate)
    """

    width: float = 1.0
    height: float = 1.0

    def derivative(self, u: Tensor) -> Tensor:
        """Return the surrogate derivative at `u`, with its shape and dtype."""
        return self.height * (u.abs() <= self.width / 2).to(u.dtype)

    def primitive(self, u: Tensor) -> Tensor:
        """Return the area left of `u`, from 0 to height * width."""
        return self.height * (u.clamp(-self.width / 2, self.width / 2) + self.width / 2)


@check_arguments
@dataclass(frozen=True, slots=True)
class StraightThrough:
    """A derivative of 1 everywhere, so that its integral is infinite (Bengio et al. 2013).

    It has no parameters.

        surrogate = dvskit.neurons.StraightThrough()
        u = torch.tensor([-3.0, 0.5], requires_grad=True)
        dvskit.neurons.spike(u, surrogate).sum().backward()
        u.grad  # [1, 1]
    """

    def derivative(self, u: Tensor) -> Tensor:
        """Return 1, with the shape and dtype of `u`."""
        return torch.ones_like(u)

    def primitive(self, u: Tensor) -> Tensor:
        """Return `u`."""
        return u.clone()


def check_surrogate(owner: str, surrogate: object, such_as: str) -> None:
    """Raise ConfigError unless `surrogate` has derivative(u) and is not a class."""
    if isinstance(surrogate, type) or not isinstance(surrogate, Surrogate):
        raise ConfigError(
            f"{owner}: surrogate = {surrogate!r} is not a value with derivative(u), such as "
            f"{such_as}"
        )


class _Step(Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(u)
        ctx.surrogate = surrogate
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (u,) = ctx.saved_tensors
        return gradients[0] * ctx.surrogate.derivative(u), None


def spike(u: Tensor, surrogate: Surrogate) -> Tensor:
    """Return [u >= 0] as 0 or 1 in the shape and dtype of `u`; its gradient is the surrogate's.

    `u` is the potential minus the threshold, a float tensor of any shape.

        u = torch.tensor([-0.2, 0.0, 0.3], requires_grad=True)
        spikes = dvskit.neurons.spike(u, dvskit.neurons.ATan())  # [0, 1, 1]
        spikes.sum().backward()
        u.grad  # the derivative of ATan at u: [0.72, 1, 0.53]
    """
    return cast(Tensor, _Step.apply(u, surrogate))  # type: ignore[no-untyped-call]
