"""Layers of leaky integrate-and-fire neurons and their variants."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, ShapeError, check_positive
from dvskit.neurons.driver import Backend, Neurons, broadcasts
from dvskit.neurons.dynamics import (
    ATAN,
    Dynamics,
    NeuronState,
    NeuronStep,
    Potential,
    Reset,
    Value,
    advance,
    take_step,
)
from dvskit.neurons.operator import run_fused
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
    """
    return advance(Dynamics(beta=beta, threshold=threshold, **parts), state, current)


@check_arguments
class LIF(Neurons):
    """A layer of leaky integrate-and-fire neurons: (T, ...) currents in, (T, ...) spikes out.

    The equations are those of `lif_step`. A finite `threshold_off` makes the neuron signed: it also
    emits -1 where the potential falls to -threshold_off. Arguments and errors are those of
    `Neurons`; `PLIF` learns a beta that stays in its range.
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
    """A LIF layer that also spikes downwards (-1); with equal thresholds it is odd in its input."""

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
    """A layer of integrate-and-fire neurons: LIF without a leak, beta = 1."""

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
class RecurrentLIF(LIF):
    """A layer of LIF neurons that feeds its spikes back: x_t + W s_{t-1} in place of x_t.

    recurrent  W: a module from spikes (B, ...) to currents of the same shape, such as nn.Linear, or
               one weight per neuron: a tensor that broadcasts against one time step (an
               nn.Parameter is learned)

    The state also has the spikes of the last step, `s`. Time steps run one after another, as each
    needs the spikes of the last.
    """

    def __init__(
        self,
        recurrent: nn.Module | Tensor,
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
        how = (reset, surrogate, detach_reset, backend)
        more: dict[str, Any] = {"gain": gain, "rest": rest, "refractory": refractory}
        super().__init__(beta, threshold, threshold_off, *how, **more)
        if isinstance(recurrent, Tensor) and not isinstance(recurrent, nn.Parameter):
            self.register_buffer("recurrent", recurrent)
        else:
            self.recurrent = recurrent

    def _run_fused(
        self, dynamics: Dynamics, x: Tensor, state: NeuronState
    ) -> tuple[Tensor, NeuronState]:
        """Run the kernel on one step after another."""
        spikes = []
        for current in x.unbind(0):
            fed = (current + self._fed_back(current, state.s))[None]
            fired, inner = run_fused(dynamics, fed, replace(state, s=None))
            state = replace(inner, s=fired[0].to(inner.v.dtype))
            spikes.append(fired[0])
        return torch.stack(spikes), state

    def _take_step(self, dynamics: Dynamics, state: NeuronState, current: Tensor) -> NeuronStep:
        """Take one step in plain torch with the spikes of the last step as feedback."""
        step = take_step(dynamics, state, current + self._fed_back(current, state.s))
        s = step.spikes.to(step.state.v.dtype)
        return step._replace(state=replace(step.state, s=s))

    def _checked(self, dynamics: Dynamics, x: Tensor, state: NeuronState | None) -> NeuronState:
        state = super()._checked(dynamics, x, state)
        self._check_recurrent(x.shape[1:])
        return state

    def _check_recurrent(self, step: torch.Size) -> None:
        """Raise ShapeError if W cannot take the spikes of one time step, of shape `step`."""
        given = self.recurrent
        size: tuple[int, ...]
        if isinstance(given, nn.Linear):
            fits, size = step[-1:] == (given.in_features,), (given.out_features, given.in_features)
        elif isinstance(given, Tensor):
            fits, size = broadcasts(given.shape, step), tuple(given.shape)
        else:
            return
        if not fits:
            raise ShapeError(
                f"RecurrentLIF: recurrent, of shape {size}, does not take the spikes of one step, "
                f"{tuple(step)}; give torch.nn.Linear(N, N, bias=False) for N fully connected "
                "neurons, or a tensor (N,) with one weight per neuron"
            )

    def _fed_back(self, current: Tensor, s: Tensor | None) -> Tensor:
        """Return W s in the dtype of the currents."""
        if s is None:
            s = torch.zeros_like(current)
        s = s.to(current.dtype)
        fed = self.recurrent(s) if isinstance(self.recurrent, nn.Module) else self.recurrent * s
        if fed.shape != current.shape:
            raise ShapeError(
                f"RecurrentLIF: the recurrent part gives {tuple(fed.shape)} for spikes "
                f"{tuple(s.shape)}; it must keep the shape"
            )
        return fed.to(current.dtype)


@check_arguments
class ALIF(Neurons):
    """A layer of adaptive leaky integrate-and-fire neurons: (T, ...) currents to (T, ...) spikes.

    A spike raises the threshold by kappa, and the rise decays by rho per step: th = threshold +
    kappa a, then a = rho a + |s|. The threshold of downward spikes does not adapt. (Bellec et al.
    2020, e-prop, with beta for their alpha and kappa for their beta; they detach the reset.) Spikes
    pass a gradient to the adaptation even with detach_reset. Everything else is as in `LIF`.
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
