"""Layers of leaky integrate-and-fire neurons and their variants."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, check_positive
from dvskit.neurons.driver import Backend, Neurons
from dvskit.neurons.dynamics import (
    ATAN,
    Dynamics,
    NeuronState,
    Potential,
    Reset,
    Value,
    advance,
)
from dvskit.neurons.surrogates import Surrogate


def lif_step(
    state: NeuronState, current: Tensor, *, beta: Value, threshold: Value, **parts: Any
) -> tuple[Tensor, NeuronState]:
    """Advance leaky integrate-and-fire neurons by one time step.

    h = rest + beta (v - rest) + gain current;
    s = [h >= threshold] - [h <= -threshold_off], in {-1, 0, +1}, and 0 while the neuron waits;
    soft reset: v = h - (threshold - rest) [s = 1] + (threshold_off + rest) [s = -1].

    parts  threshold_off, gain, rest, refractory, reset, surrogate, detach_reset; alpha for neurons
           with a synaptic current, kappa and rho for adaptive ones: see `dvskit.neurons.dynamics`

    `current` has any shape; returns spikes of its shape and dtype, and the new state. Each value is
    a number or a tensor that broadcasts against `current`. The first `state` is
    `NeuronState.rest(current)`, v = 0. Values are not checked.

        currents = torch.rand(20, 8, 10)
        state = dvskit.neurons.NeuronState.rest(currents[0])
        for current in currents:
            # spikes (8, 10)
            spikes, state = dvskit.neurons.lif_step(state, current, beta=0.9, threshold=1.0)
    """
    return advance(Dynamics(beta=beta, threshold=threshold, **parts), state, current)


@check_arguments
class LIF(Neurons):
    """A layer of leaky integrate-and-fire neurons: (T, ...) currents in, (T, ...) spikes out.

    The equations are those of `lif_step`. A finite `threshold_off` makes the neuron signed: it also
    emits -1 where the potential falls to -threshold_off. Arguments and errors are those of
    `Neurons`; `PLIF` learns a beta that stays in its range.

        neurons = dvskit.neurons.LIF(beta=0.9, threshold=1.0)
        current = 0.5 * torch.rand(20, 8, 10)  # 20 steps, a batch of 8, 10 neurons
        spikes = neurons(current)  # (20, 8, 10), 0 or 1
        spikes, state = neurons.run(current)
        more, state = neurons.run(current, state)  # continues at step 20
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
        values: dict[str, Value | None]
        values = {"beta": beta, "threshold": threshold, "threshold_off": threshold_off}
        values |= {"gain": gain, "rest": rest}
        super().__init__(values, reset, surrogate, detach_reset, backend, refractory=refractory)

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

        A step lasts `dt_us`, with a constant current; beta = exp(-dt / tau) and gain = resistance
        (1 - beta) are then exact. Potentials, such as `rest` and `threshold`, are in units of
        resistance times current. threshold_off None is the default of the layer. Other arguments of
        the layer are passed on. Raises ConfigError unless times and resistance are above 0; for IF,
        which has no leak.
        """
        if issubclass(cls, IF):
            raise ConfigError(f"{cls.__name__}: it has no leak, so no tau_us; use LIF.from_rc")
        check_positive(cls.__name__, tau_us=tau_us, dt_us=dt_us, resistance=resistance)
        beta = math.exp(-dt_us / tau_us)
        gain = resistance * -math.expm1(-dt_us / tau_us)
        layer |= {"beta": beta, "threshold": threshold, "reset": reset}
        layer |= {"gain": gain, "rest": rest or None}
        if threshold_off is not None:
            layer["threshold_off"] = threshold_off
        return cls(**layer)


@check_arguments
class SignedLIF(LIF):
    """A LIF layer that also spikes downwards (-1); with equal thresholds it is odd in its input.

    (T, ...) currents in, (T, ...) spikes -1, 0 or 1 out. Everything else is as in `LIF`.

        neurons = dvskit.neurons.SignedLIF(beta=0.9, threshold=1.0, threshold_off=1.0)
        current = torch.randn(20, 8, 10)
        spikes = neurons(current)  # (20, 8, 10), -1, 0 or 1
        torch.equal(neurons(-current), -spikes)  # True
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
        how = (reset, surrogate, detach_reset, backend)
        more: dict[str, Any] = {"gain": gain, "rest": rest, "refractory": refractory}
        super().__init__(beta, threshold, threshold_off, *how, **more)


@check_arguments
class IF(LIF):
    """A layer of integrate-and-fire neurons: LIF without a leak, beta = 1.

    (T, ...) currents in, (T, ...) spikes out. Everything else is as in `LIF`.

        neurons = dvskit.neurons.IF(threshold=1.0)
        spikes = neurons(torch.full((100, 1), 0.25))  # (100, 1)
        spikes.sum()  # 25: the rate is the current divided by the threshold
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
        how = (reset, surrogate, detach_reset, backend)
        super().__init__(1.0, threshold, threshold_off, *how, gain=gain, refractory=refractory)


@check_arguments
class ALIF(Neurons):
    """A layer of adaptive leaky integrate-and-fire neurons: (T, ...) currents to (T, ...) spikes.

    A spike raises the threshold by kappa, and the rise decays by rho per step: th = threshold +
    kappa a, then a = rho a + |s|. The threshold of downward spikes does not adapt. (Bellec et al.
    2020, e-prop, with beta for their alpha and kappa for their beta; they detach the reset.) Spikes
    pass a gradient to the adaptation even with detach_reset. Everything else is as in `LIF`.

        neurons = dvskit.neurons.ALIF(beta=0.95, kappa=0.2, rho=0.99)
        current = torch.full((300, 1), 0.2)  # constant, so only the threshold changes
        spikes = neurons(current)  # (300, 1)
        spikes[:100].sum(), spikes[200:].sum()  # (9, 6): fewer spikes later
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
        values = {"beta": beta, "threshold": threshold, "threshold_off": threshold_off}
        values |= {"kappa": kappa, "rho": rho}
        super().__init__(values, reset, surrogate, detach_reset, backend, refractory=refractory)


@check_arguments
class SynapticLIF(Neurons):
    """A layer of leaky integrate-and-fire neurons with synapses: (T, ...) currents to spikes.

    The current decays by alpha = exp(-dt / tau_synapse) per step: i = alpha i + current. A spike
    leaves it as it is. Everything else is as in `LIF`.

        neurons = dvskit.neurons.SynapticLIF(beta=0.9, alpha=0.8)
        current = torch.zeros(20, 1)
        current[0] = 0.5  # one input, which the synapse spreads over time
        neurons(current).nonzero()[:, 0]  # [2]: a spike in step 2
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
        values: dict[str, Value | None]
        values = {"beta": beta, "threshold": threshold, "threshold_off": threshold_off}
        values |= {"alpha": alpha, "gain": gain}
        super().__init__(values, reset, surrogate, detach_reset, backend, refractory=refractory)


@check_arguments
class PLIF(Neurons):
    """A layer of leaky integrate-and-fire neurons with a learned time constant.

    beta = 1 - sigmoid(w) with the learned parameter `w`; initially 1 / (1 - beta) = tau, in time
    steps above 1 (Fang et al. 2021, parametric LIF). With `decay_input` the current is multiplied
    by 1 - beta, as in the paper; without it the equations are those of `LIF`. `shape` is that of w:
    () is one time constant for the layer, (C, 1, 1) one per channel. Everything else is as in
    `LIF`.

        neurons = dvskit.neurons.PLIF(tau=5.0, shape=(16, 1, 1))  # one time constant per channel
        spikes = neurons(torch.rand(20, 8, 16, 12, 12))
        spikes.sum().backward()
        neurons.w.grad.shape  # (16, 1, 1)
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
        values = {"threshold": threshold, "threshold_off": threshold_off}
        super().__init__(values, reset, surrogate, detach_reset, backend, refractory=refractory)
        self.w = nn.Parameter(torch.full(shape, -math.log(tau - 1)))
        self.decay_input = decay_input

    def _given(self) -> dict[str, Any]:
        share = torch.sigmoid(self.w)
        gain = share if self.decay_input else None
        return {**super()._given(), "beta": 1 - share, "gain": gain}

    @property
    def tau(self) -> Tensor:
        """The current time constants 1 / (1 - beta), in time steps."""
        return 1 / torch.sigmoid(self.w.detach())

    def extra_repr(self) -> str:
        """Return the arguments for the repr; the time constant as its shape."""
        return f"w={tuple(self.w.shape)}, decay_input={self.decay_input}, {super().extra_repr()}"


@check_arguments
class LI(Neurons):
    """A layer of leaky integrators: (T, ...) currents in, (T, ...) potentials out.

    v_t = beta v_{t-1} + gain x_t is returned in the dtype of the input. gain None is 1. Everything
    else is as in `LIF`.

        readout = dvskit.neurons.LI(beta=0.5)
        readout(torch.tensor([[1.0], [0.0], [0.0]]))  # [[1], [0.5], [0.25]]
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
        super().__init__({"beta": beta, "gain": gain}, "none", Potential(), backend=backend)

    def _given(self) -> dict[str, Any]:
        return {**super()._given(), "threshold": 1.0}

    def extra_repr(self) -> str:
        """Return the arguments for the repr; of tensors the shape."""
        return super().extra_repr().split(", reset=")[0]
