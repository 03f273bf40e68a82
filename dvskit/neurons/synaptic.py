"""The leaky integrate-and-fire neuron behind a synapse: what comes in decays over several steps."""

from __future__ import annotations

import math

from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.neurons.driver import Backend, Neurons
from dvskit.neurons.dynamics import ATAN, Dynamics, NeuronState, Reset, Value, advance
from dvskit.neurons.surrogates import Surrogate


def synaptic_step(
    state: NeuronState,
    current: Tensor,
    *,
    beta: Value,
    threshold: Value,
    alpha: Value,
    threshold_off: Value = math.inf,
    reset: Reset = "soft",
    surrogate: Surrogate = ATAN,
    detach_reset: bool = True,
    gain: Value | None = None,
    refractory: int = 0,
) -> tuple[Tensor, NeuronState]:
    """Advance leaky integrate-and-fire neurons with a synaptic current by one time step.

    i = alpha i + current;  s and v are those of `lif_step` with the current i.
    alpha = exp(-dt / tau_synapse). A spike leaves the synaptic current as it is.

    `current` has any shape; returns spikes of its shape and dtype, and the new state. Each value is
    a number or a tensor that broadcasts against `current`; gain None is 1. The first `state` is
    `NeuronState.rest(current)`.
    Raises ConfigError for an unknown reset; values are not looked at.
    """
    dynamics = Dynamics(
        beta=beta,
        threshold=threshold,
        threshold_off=threshold_off,
        alpha=alpha,
        gain=gain,
        refractory=refractory,
        reset=reset,
        surrogate=surrogate,
        detach_reset=detach_reset,
    )
    return advance(dynamics, state, current)


@check_arguments
class SynapticLIF(Neurons):
    """A layer of leaky integrate-and-fire neurons with synapses: (T, ...) currents to spikes.

    The equations are those of `synaptic_step`: the current decays by alpha a step. All else is as
    in `LIF`, the parameters too; alpha is a number or a tensor as beta is.

    Raises ConfigError if alpha is outside [0, 1], and as LIF does; ShapeError as LIF does.
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
        alpha: float | Tensor = 0.8,
        gain: float | Tensor | None = None,
        refractory: int = 0,
    ) -> None:
        values = {
            "beta": beta,
            "threshold": threshold,
            "threshold_off": threshold_off,
            "alpha": alpha,
            "gain": gain,
        }
        super().__init__(
            values,
            refractory=refractory,
            reset=reset,
            surrogate=surrogate,
            detach_reset=detach_reset,
            backend=backend,
        )
