"""The leaky integrate-and-fire neuron that learns its time constant."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError
from dvskit.neurons.driver import Backend, Neurons
from dvskit.neurons.dynamics import ATAN, Dynamics, Reset
from dvskit.neurons.surrogates import Surrogate


@check_arguments
class PLIF(Neurons):
    """A layer of leaky integrate-and-fire neurons with a learned time constant.

    beta = 1 - sigmoid(w) with the parameter `w`, which is learned; at first 1 / (1 - beta) = tau,
    in time steps (Fang et al. 2021, parametric LIF). With `decay_input` the current is multiplied
    by 1 - beta, as there; without it the equations are those of `LIF`. `shape` is that of w: () is
    one time constant for the layer, (C, 1, 1) one a channel. All else is as in `LIF`.

    Raises ConfigError unless tau is above 1 and finite, and as LIF does; ShapeError as LIF does.
    """

    threshold: float | Tensor
    threshold_off: float | Tensor

    def __init__(
        self,
        tau: float = 2.0,
        threshold: float | Tensor = 1.0,
        threshold_off: float | Tensor = math.inf,
        reset: Reset = "soft",
        surrogate: Surrogate = ATAN,
        detach_reset: bool = True,
        backend: Backend = "auto",
        *,
        decay_input: bool = True,
        shape: tuple[int, ...] = (),
        refractory: int = 0,
    ) -> None:
        if not (math.isfinite(tau) and tau > 1):
            raise ConfigError(f"PLIF: tau = {tau} is not a number of time steps above 1")
        super().__init__(
            {"threshold": threshold, "threshold_off": threshold_off},
            refractory=refractory,
            reset=reset,
            surrogate=surrogate,
            detach_reset=detach_reset,
            backend=backend,
        )
        self.w = nn.Parameter(torch.full(shape, -math.log(tau - 1)))
        self.decay_input = decay_input

    @property
    def dynamics(self) -> Dynamics:
        """The parameters of the model as they are now: beta from w."""
        share = torch.sigmoid(self.w)
        return Dynamics(
            beta=1 - share,
            threshold=self.threshold,
            threshold_off=self.threshold_off,
            gain=share if self.decay_input else None,
            refractory=self.refractory,
            reset=self.reset,
            surrogate=self.surrogate,
            detach_reset=self.detach_reset,
        )

    @property
    def tau(self) -> Tensor:
        """The time constants 1 / (1 - beta) as they are now, in time steps."""
        return 1 / torch.sigmoid(self.w.detach())

    def extra_repr(self) -> str:
        """Return the parameters; the time constant as its shape."""
        return f"w={tuple(self.w.shape)}, decay_input={self.decay_input}, {super().extra_repr()}"
