"""The adaptive leaky integrate-and-fire neuron: each spike raises its threshold for a while."""

from __future__ import annotations

import math

from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.neurons.driver import Backend, Neurons
from dvskit.neurons.dynamics import ATAN, Dynamics, NeuronState, Reset, Value, advance
from dvskit.neurons.surrogates import Surrogate


def alif_step(
    state: NeuronState,
    current: Tensor,
    *,
    beta: Value,
    threshold: Value,
    kappa: Value,
    rho: Value,
    threshold_off: Value = math.inf,
    reset: Reset = "soft",
    surrogate: Surrogate = ATAN,
    detach_reset: bool = True,
    refractory: int = 0,
) -> tuple[Tensor, NeuronState]:
    """Advance adaptive leaky integrate-and-fire neurons by one time step.

    th = threshold + kappa a;  s and v are those of `lif_step` with the threshold th;
    then a = rho a + |s|. The threshold of downward spikes does not adapt.
    (Bellec et al. 2020, e-prop, with beta for their alpha and kappa for their beta; they detach the
    reset.) A spike acts on the adaptation, and on the gradient through it, whatever detach_reset.

    `current` has any shape; returns spikes of its shape and dtype, and the new state. Each value is
    a number or a tensor that broadcasts against `current`. The first `state` is
    `NeuronState.rest(current)`.
    Raises ConfigError for an unknown reset; values are not looked at.
    """
    dynamics = Dynamics(
        beta=beta,
        threshold=threshold,
        threshold_off=threshold_off,
        kappa=kappa,
        rho=rho,
        refractory=refractory,
        reset=reset,
        surrogate=surrogate,
        detach_reset=detach_reset,
    )
    return advance(dynamics, state, current)


@check_arguments
class ALIF(Neurons):
    """A layer of adaptive leaky integrate-and-fire neurons: (T, ...) currents to (T, ...) spikes.

    The equations are those of `alif_step`: a spike raises the threshold by kappa, and this decays
    by rho a step. All else is as in `LIF`, the parameters too; kappa and rho are numbers or tensors
    as beta is.

    Raises ConfigError if rho is outside [0, 1] or kappa is not finite, and as LIF does; ShapeError
    as LIF does.
    """

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        threshold: float | Tensor = 1.0,
        threshold_off: float | Tensor = math.inf,
        reset: Reset = "soft",
        surrogate: Surrogate = ATAN,
        detach_reset: bool = True,
        backend: Backend = "auto",
        *,
        kappa: float | Tensor = 0.1,
        rho: float | Tensor = 0.97,
        refractory: int = 0,
    ) -> None:
        values = {
            "beta": beta,
            "threshold": threshold,
            "threshold_off": threshold_off,
            "kappa": kappa,
            "rho": rho,
        }
        super().__init__(
            values,
            refractory=refractory,
            reset=reset,
            surrogate=surrogate,
            detach_reset=detach_reset,
            backend=backend,
        )
