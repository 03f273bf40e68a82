"""Spikes with a surrogate gradient.

The spike is a step, s = [u >= 0], whose derivative is zero almost everywhere. Training puts a
smooth stand-in in its place, in the backward pass only. A surrogate is any object with
`derivative(u) -> Tensor`; make it a frozen dataclass and its parameters show in its repr.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

from torch import Tensor
from torch.autograd import Function

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError


@runtime_checkable
class Surrogate(Protocol):
    """What stands in for the derivative of the step."""

    def derivative(self, u: Tensor) -> Tensor:
        """Return d[u >= 0]/du as training sees it, with the shape and dtype of `u`."""
        ...


@check_arguments
@dataclass(frozen=True, slots=True)
class ATan:
    """The derivative of arctan(pi alpha u / 2) / pi: (alpha / 2) / (1 + (pi alpha u / 2)^2).

    Its integral is 1 and its height alpha / 2 (Fang et al. 2021, PLIF).
    Raises ConfigError unless alpha is finite and above 0.
    """

    alpha: float = 2.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ConfigError(f"ATan: alpha = {self.alpha} is not a finite number above 0; try 2.0")

    def derivative(self, u: Tensor) -> Tensor:
        """Return the surrogate derivative at `u`, with its shape and dtype."""
        return (self.alpha / 2) / (1 + (math.pi / 2 * self.alpha * u) ** 2)


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
    """Return [u >= 0] as 0 or 1 in the shape and dtype of `u`; its gradient is the surrogate's."""
    return cast(Tensor, _Step.apply(u, surrogate))  # type: ignore[no-untyped-call]
