"""The leaky integrate-and-fire neuron, binary or signed, without a leak, and without spikes."""

from __future__ import annotations

import math
from typing import Any, Self

from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError
from dvskit.neurons.driver import Backend, Neurons
from dvskit.neurons.dynamics import ATAN, Dynamics, NeuronState, Potential, Reset, Value, advance
from dvskit.neurons.surrogates import Surrogate


def lif_step(
    state: NeuronState,
    current: Tensor,
    *,
    beta: Value,
    threshold: Value,
    threshold_off: Value = math.inf,
    reset: Reset = "soft",
    surrogate: Surrogate = ATAN,
    detach_reset: bool = True,
    gain: Value | None = None,
    rest: Value | None = None,
    refractory: int = 0,
) -> tuple[Tensor, NeuronState]:
    """Advance leaky integrate-and-fire neurons by one time step.

    h = rest + beta (v - rest) + gain current;
    s = [h >= threshold] - [h <= -threshold_off], in {-1, 0, +1}, and 0 while the neuron waits;
    soft reset: v = h - (threshold - rest) [s = 1] + (threshold_off + rest) [s = -1];
    hard reset: v = rest where s is not 0 or the neuron waits, else h;  no reset: v = h.
    beta = exp(-dt / tau) for an RC membrane. threshold_off = inf is the binary neuron.
    With detach_reset the gradient passes the reset by, as if its spikes were constants.
    For `refractory` steps after a spike the neuron waits: it does not spike.

    `current` has any shape; returns spikes of its shape and dtype, and the new state. Each value is
    a number or a tensor that broadcasts against `current`; gain None is 1 and rest None is 0. The
    first `state` is `NeuronState.rest(current)`, v = 0.
    Raises ConfigError for an unknown reset; values are not looked at.
    """
    dynamics = Dynamics(
        beta=beta,
        threshold=threshold,
        threshold_off=threshold_off,
        gain=gain,
        rest=rest,
        refractory=refractory,
        reset=reset,
        surrogate=surrogate,
        detach_reset=detach_reset,
    )
    return advance(dynamics, state, current)


@check_arguments
class LIF(Neurons):
    """A layer of leaky integrate-and-fire neurons: (T, ...) currents in, (T, ...) spikes out.

    The equations are those of `lif_step`. A finite `threshold_off` makes the neuron signed: it
    also emits -1 where the potential falls to -threshold_off. The layer keeps no state: `forward`
    starts at rest, `run` and `step` take and return the state.

    Spikes have the shape and dtype of the input; the state is float32 (float64 for float64).
    beta, thresholds, gain and rest are numbers, or tensors such as (N,) or (C, 1, 1) that broadcast
    against one time step; an nn.Parameter is learned, and nothing keeps it in its range (`PLIF`
    learns a beta that stays in it). `refractory`: steps without a spike after each one. `backend`:
    "auto" takes the fused kernel where it fits and plain torch elsewhere, with the same spikes;
    "torch" and "fused" insist.

    Raises ConfigError if beta is outside [0, 1], a threshold is not above 0 (of upward spikes:
    above rest), `reset` or `backend` are unknown, or "fused" does not fit; ShapeError for an input
    without time, of integers, or that does not fit the state or a tensor among the parameters.
    """

    beta: float | Tensor
    threshold: float | Tensor
    threshold_off: float | Tensor

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
        gain: float | Tensor | None = None,
        rest: float | Tensor | None = None,
        refractory: int = 0,
    ) -> None:
        values = {
            "beta": beta,
            "threshold": threshold,
            "threshold_off": threshold_off,
            "gain": gain,
            "rest": rest,
        }
        super().__init__(
            values,
            refractory=refractory,
            reset=reset,
            surrogate=surrogate,
            detach_reset=detach_reset,
            backend=backend,
        )

    @classmethod
    @check_arguments
    def from_rc(
        cls,
        *,
        tau_us: float,
        dt_us: float,
        resistance: float = 1.0,
        rest: float = 0.0,
        threshold: float = 1.0,
        threshold_off: float | None = None,
        reset: Reset = "soft",
        **layer: Any,
    ) -> Self:
        """Return a layer from the constants of a membrane: tau dv/dt = rest - v + resistance i.

        A step lasts `dt_us`, in which the current is constant; beta = exp(-dt / tau) and gain =
        resistance (1 - beta) are then exact. Potentials, such as `rest` and `threshold`, are in
        units of resistance times current. threshold_off None is the default of the layer. What else
        the layer takes, such as `surrogate` and `refractory`, and `recurrent` of a RecurrentLIF, is
        passed on. Raises ConfigError unless times and resistance are above 0, for IF, which has no
        leak, and as the layer does.
        """
        if issubclass(cls, IF):
            raise ConfigError(f"{cls.__name__}: it has no leak, and so no tau_us; use LIF.from_rc")
        for name, value in (("tau_us", tau_us), ("dt_us", dt_us), ("resistance", resistance)):
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{cls.__name__}: {name} = {value} is not a number above 0")
        beta = math.exp(-dt_us / tau_us)
        gain = resistance * -math.expm1(-dt_us / tau_us)
        layer |= {"beta": beta, "threshold": threshold, "reset": reset}
        layer |= {"gain": gain, "rest": rest or None}
        if threshold_off is not None:
            layer["threshold_off"] = threshold_off
        return cls(**layer)


@check_arguments
class SignedLIF(LIF):
    """A LIF layer that spikes upwards (+1) and downwards (-1): both thresholds are finite.

    With equal thresholds it is odd: the spikes of -x are minus those of x.
    Raises ConfigError as LIF does, and for an infinite threshold_off.
    """

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        threshold: float | Tensor = 1.0,
        threshold_off: float | Tensor = 1.0,
        reset: Reset = "soft",
        surrogate: Surrogate = ATAN,
        detach_reset: bool = True,
        backend: Backend = "auto",
        *,
        gain: float | Tensor | None = None,
        rest: float | Tensor | None = None,
        refractory: int = 0,
    ) -> None:
        if not isinstance(threshold_off, Tensor) and threshold_off == math.inf:
            raise ConfigError("SignedLIF: threshold_off = inf never spikes downwards; use LIF")
        super().__init__(
            beta,
            threshold,
            threshold_off,
            reset,
            surrogate,
            detach_reset,
            backend,
            gain=gain,
            rest=rest,
            refractory=refractory,
        )


@check_arguments
class IF(LIF):
    """A layer of integrate-and-fire neurons: LIF without a leak, beta = 1.

    Raises ConfigError and ShapeError as LIF does.
    """

    def __init__(
        self,
        threshold: float | Tensor = 1.0,
        threshold_off: float | Tensor = math.inf,
        reset: Reset = "soft",
        surrogate: Surrogate = ATAN,
        detach_reset: bool = True,
        backend: Backend = "auto",
        *,
        gain: float | Tensor | None = None,
        refractory: int = 0,
    ) -> None:
        super().__init__(
            1.0,
            threshold,
            threshold_off,
            reset,
            surrogate,
            detach_reset,
            backend,
            gain=gain,
            refractory=refractory,
        )


@check_arguments
class LI(Neurons):
    """A layer of leaky integrators: (T, ...) currents in, (T, ...) potentials out.

    v_t = beta v_{t-1} + gain x_t, and v_t is returned, in the dtype of the input. gain None is 1.
    beta and gain are numbers or tensors, and all else is as in `LIF`.

    Raises ConfigError if beta is outside [0, 1]; ShapeError as LIF does.
    """

    beta: float | Tensor
    gain: float | Tensor | None

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        backend: Backend = "auto",
        *,
        gain: float | Tensor | None = None,
    ) -> None:
        super().__init__(
            {"beta": beta, "gain": gain}, reset="none", surrogate=Potential(), backend=backend
        )

    @property
    def dynamics(self) -> Dynamics:
        """The parameters of the model as they are now."""
        return Dynamics(
            beta=self.beta, threshold=1.0, gain=self.gain, reset="none", surrogate=self.surrogate
        )

    def extra_repr(self) -> str:
        """Return the parameters as they were given; of tensors the shape."""
        return super().extra_repr().split(", reset=")[0]
