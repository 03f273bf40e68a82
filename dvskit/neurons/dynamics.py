"""The one model of all neurons in this package, its parts, and one step in plain torch.

A neuron is this model with parts left out. Each line of a time step names its part:

    i_t  = alpha i_{t-1} + x_t                          synapse; without it i_t = x_t
    h_t  = rest + beta (v_{t-1} - rest) + gain i_t      leak; without rest and gain: beta v + i
    th_t = threshold + kappa a_{t-1}                    adaptation; without it th_t = threshold
    s_t  = [h_t >= th_t] - [h_t <= -threshold_off]      0 while the neuron waits
    soft reset: v_t = h_t - (th_t - rest) [s_t = 1] + (threshold_off + rest) [s_t = -1]
    hard reset: v_t = rest where it fired or waits, else h_t          no reset: v_t = h_t
    delayed reset: v_t = h_t, and h_{t+1} is lower by the amount of a soft reset, undecayed
    a_t  = rho a_{t-1} + |s_t|

A neuron with a refractory time of n steps waits for n steps after a spike. It does not spike then.
Its membrane continues to integrate; with a hard reset it stays at rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, NamedTuple, Self, get_args

import torch
from torch import Tensor

from dvskit.errors import ConfigError, did_you_mean
from dvskit.neurons.surrogates import ATan, Surrogate, spike


def detached(state: Any) -> Any:
    """Return a state (tensors in dataclasses, tuples, lists or dicts) without its graph."""
    if isinstance(state, Tensor):
        return state.detach()
    if is_dataclass(state) and not isinstance(state, type):
        return replace(
            state, **{field.name: detached(getattr(state, field.name)) for field in fields(state)}
        )
    if isinstance(state, tuple | list):
        made = [detached(each) for each in state]
        return type(state)(*made) if hasattr(state, "_fields") else type(state)(made)
    if isinstance(state, dict):
        return {name: detached(each) for name, each in state.items()}
    return state


class Carried:
    """A state whose dataclass holds tensors."""

    __slots__ = ()

    def detach(self) -> Self:
        """Return the same state without its graph: gradients stop here."""
        other: Self = detached(self)
        return other


@dataclass(frozen=True, slots=True)
class NeuronState(Carried):
    """The state of a layer after a time step; each tensor has the shape of one time step.

    v        membrane potential, after the reset
    i        synaptic current, of neurons that have one
    a        adaptation of the threshold, of adaptive neurons: decayed count of their spikes
    waiting  int32: remaining steps without a spike, if the neuron has a refractory time
    s        spikes of the step, of recurrent neurons
    own      other state variables of `CustomNeurons`, by name

    All but `waiting` are float32, or float64 for float64 currents. Parts that a neuron lacks are
    None.

        neurons = dvskit.neurons.SynapticLIF()
        spikes, state = neurons.run(torch.rand(20, 8, 10))
        state.v.shape, state.i.shape  # (8, 10) each
        state = state.detach()  # the next chunk passes no gradient to this one
    """

    v: Tensor
    i: Tensor | None = None
    a: Tensor | None = None
    waiting: Tensor | None = None
    s: Tensor | None = None
    own: Mapping[str, Tensor] | None = None

    @classmethod
    def rest(cls, current: Tensor) -> NeuronState:
        """Return the state v = 0 for currents shaped like `current`, one time step."""
        return cls(torch.zeros_like(current, dtype=state_dtype(current), requires_grad=False))

    @property
    def parts(self) -> tuple[Tensor | None, ...]:
        """The parts that kernels take and return: v, i, a and waiting."""
        return self.v, self.i, self.a, self.waiting


STATE_PARTS = ("v", "i", "a", "waiting", "s")


def state_dtype(current: Tensor) -> torch.dtype:
    """Return the dtype of the state for such currents."""
    # A membrane in half precision would lose small currents; spikes are exact in either.
    return torch.float64 if current.dtype == torch.float64 else torch.float32


Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]
"""Gradients of v, i and a; None for absent ones."""

Reset = Literal["soft", "hard", "none", "delayed"]
Value = float | Tensor

ATAN = ATan(2.0)

VALUES = ("beta", "threshold", "threshold_off", "alpha", "gain", "rest", "kappa", "rho")


class Potential:
    """Replaces a surrogate in neurons that do not spike: they return their potential h."""

    def derivative(self, u: Tensor) -> Tensor:
        """Return 1, the derivative of h."""
        return torch.ones_like(u)

    def __repr__(self) -> str:
        return "Potential()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dynamics:
    """The parameters of the model. None leaves a part out, as does threshold_off = inf.

    Each value is a number, or a tensor that broadcasts against one time step. A tensor that
    requires a gradient gets one.

    beta           membrane kept a step          alpha       synaptic current kept a step
    threshold      of upward spikes              gain        factor on the current
    threshold_off  size of the threshold of downward spikes
    rest           potential without current     kappa, rho  threshold per adaptation; its decay
    refractory     steps without a spike after each one
    detach_reset   the reset passes no gradient, as if its spikes were constants
    """

    beta: Value
    threshold: Value
    threshold_off: Value = math.inf
    alpha: Value | None = None
    gain: Value | None = None
    rest: Value | None = None
    kappa: Value | None = None
    rho: Value | None = None
    refractory: int = 0
    reset: Reset = "soft"
    surrogate: Surrogate = ATAN
    detach_reset: bool = True

    @property
    def signed(self) -> bool:
        """Whether there are downward spikes."""
        return isinstance(self.threshold_off, Tensor) or not math.isinf(self.threshold_off)

    @property
    def spikes(self) -> bool:
        """Whether the neuron spikes; otherwise it returns its potential."""
        return not isinstance(self.surrogate, Potential)

    def has(self, name: str) -> bool:
        """Whether the model has this value: None and a threshold_off of inf leave it out."""
        return self.signed if name == "threshold_off" else getattr(self, name) is not None

    def tensors(self) -> dict[str, Tensor]:
        """Return the values that are tensors, by name."""
        given = {name: getattr(self, name) for name in VALUES}
        return {name: value for name, value in given.items() if isinstance(value, Tensor)}

    def cast(self, dtype: torch.dtype) -> Dynamics:
        """Return the same model with all tensors in `dtype`, that of the state."""
        other = {name: value.to(dtype) for name, value in self.tensors().items()
                 if value.dtype != dtype}  # fmt: skip
        return replace(self, **other) if other else self  # type: ignore[arg-type]

    def initial_state(self, current: Tensor) -> NeuronState:
        """Return the state at rest for currents shaped like `current`, one time step."""
        state = NeuronState.rest(current)
        v = state.v if self.rest is None else state.v + self.rest
        return NeuronState(
            v,
            None if self.alpha is None else torch.zeros_like(state.v),
            None if self.kappa is None else torch.zeros_like(state.v),
            torch.zeros_like(state.v, dtype=torch.int32) if self.refractory else None,
        )


class NeuronStep(NamedTuple):
    """One time step of neurons, with the values that its spikes depend on.

    spikes     of the shape and dtype of the current; h of neurons that do not spike
    h          potential before the reset, in the dtype of the state
    threshold  th of the step, a number or a tensor that broadcasts against h; inf for neurons that
               do not spike
    state      after the step
    """

    spikes: Tensor
    h: Tensor
    threshold: Value
    state: NeuronState


def advance(dynamics: Dynamics, state: NeuronState, current: Tensor) -> tuple[Tensor, NeuronState]:
    """Advance neurons by one step: spikes in the shape and dtype of `current`, and the state."""
    step = take_step(dynamics, state, current)
    return step.spikes, step.state


def take_step(dynamics: Dynamics, state: NeuronState, current: Tensor) -> NeuronStep:
    """Advance neurons by one time step like `advance`, and return the whole `NeuronStep`."""
    d = dynamics.cast(state.v.dtype)
    i = current.to(state.v.dtype)
    if d.alpha is not None and state.i is not None:
        i = d.alpha * state.i + i
    h = _leak(d, state.v, i)
    th = d.threshold if d.kappa is None or state.a is None else d.threshold + d.kappa * state.a
    fired = fire(d, state, h, th)
    a = None if d.kappa is None else fired.size
    if a is not None and state.a is not None and d.rho is not None:
        a = d.rho * state.a + a
    after = NeuronState(fired.v, None if d.alpha is None else i, a, fired.waiting)
    return fired.step(current.dtype, after)


class Fired(NamedTuple):
    """The spikes of one time step, and what they do to the potential.

    spikes     -1, 0 or 1; h of neurons that do not spike
    size       |spikes|, with the gradients of both directions
    h          potential before the reset            v          after it
    threshold  th of the step; inf for neurons that do not spike
    waiting    remaining steps without a spike; None without a refractory time
    """

    spikes: Tensor
    size: Tensor
    h: Tensor
    v: Tensor
    threshold: Value
    waiting: Tensor | None

    def step(self, dtype: torch.dtype, after: NeuronState) -> NeuronStep:
        """Return the step, with spikes of `dtype` and the state after it."""
        return NeuronStep(self.spikes.to(dtype), self.h, self.threshold, after)


def fire(d: Dynamics, state: NeuronState, h: Tensor, th: Value) -> Fired:
    """Spike where the potential `h` reaches `th` or the threshold of downward spikes, and reset.

    Takes v and waiting of `state`, that before the step; all are in its dtype.
    """
    if d.reset == "delayed":
        h = h - _drop(d, h, d.threshold, _fire(d, state.v, d.threshold, None))
    on, off = _fire(d, h, th, state.waiting)
    size = on if off is None else on + off
    waiting = None
    if d.refractory:
        before = torch.zeros_like(h, dtype=torch.int32) if state.waiting is None else state.waiting
        waiting = torch.where(size > 0, d.refractory, (before - 1).clamp(min=0)).to(torch.int32)
    v = _reset(d, h, th, (on, off), state.waiting)
    spikes = on if off is None else on - off
    return Fired(spikes, size, h, v, th if d.spikes else math.inf, waiting)


def _leak(d: Dynamics, v: Tensor, i: Tensor) -> Tensor:
    # Two roundings per step, as in the fused kernels: the same spikes, bit for bit.
    drive = i if d.gain is None else d.gain * i
    if d.rest is None:
        return d.beta * v + drive
    return d.rest + d.beta * (v - d.rest) + drive


def _fire(
    d: Dynamics, h: Tensor, th: Value, waiting: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Return upward and downward spikes, 1 each; the latter None for unsigned neurons."""
    if not d.spikes:
        return h, None
    on = spike(h - th, d.surrogate)
    off = spike(-h - d.threshold_off, d.surrogate) if d.signed else None
    if waiting is None:
        return on, off
    ready = (waiting <= 0).to(h.dtype)
    return on * ready, None if off is None else off * ready


def _reset(
    d: Dynamics, h: Tensor, th: Value, spikes: tuple[Tensor, Tensor | None], waiting: Tensor | None
) -> Tensor:
    if d.reset == "none":
        return h
    if d.reset == "delayed":
        check_delayed(d.refractory, d.kappa)
        return h
    if d.reset == "soft":
        return h - _drop(d, h, th, spikes)
    on, off = _given_to_reset(d, spikes)
    if d.reset != "hard":
        hint = did_you_mean(str(d.reset), get_args(Reset))
        raise ConfigError(f"reset = {d.reset!r} is unknown; {hint}")
    kept = 1 - (on if off is None else on + off)
    v = h * kept if d.rest is None else d.rest + (h - d.rest) * kept
    if waiting is None:
        return v
    rest = torch.zeros_like(v) if d.rest is None else torch.zeros_like(v) + d.rest
    return torch.where(waiting > 0, rest, v)


def _drop(d: Dynamics, h: Tensor, th: Value, spikes: tuple[Tensor, Tensor | None]) -> Tensor:
    """Return the amount that the spikes of a step subtract from the potential."""
    on, off = _given_to_reset(d, spikes)
    drop = _difference(th, d.rest, h) * on
    return drop if off is None else drop + _difference(-d.threshold_off, d.rest, h) * off


def _given_to_reset(
    d: Dynamics, spikes: tuple[Tensor, Tensor | None]
) -> tuple[Tensor, Tensor | None]:
    on, off = spikes
    if d.detach_reset:
        return on.detach(), None if off is None else off.detach()
    return on, off


def check_delayed(refractory: int, kappa: Value | None) -> None:
    """Raise ConfigError if spikes do not follow from the potential after a step alone."""
    if refractory or kappa is not None:
        raise ConfigError(
            "reset = 'delayed' needs neurons without refractory steps and adaptation; take 'soft'"
        )


def _difference(level: Value, rest: Value | None, like: Tensor) -> Value:
    if rest is None:
        return level
    return torch.as_tensor(level, dtype=like.dtype, device=like.device) - rest


@dataclass(frozen=True, slots=True)
class Traced:
    """The course of neurons for currents (T, ...); each tensor has the shape of the currents.

    spikes     what `run` returns, in the dtype of the currents
    h          potential before the reset, which decides on a spike
    v          potential after the reset
    threshold  of upward spikes, with adaptation; inf for neurons that do not spike
    state      after the last step

    h, v and threshold are float32, or float64 for float64 currents.

        neurons = dvskit.neurons.ALIF(beta=0.95)
        traced = neurons.trace(torch.rand(50, 3))
        traced.h.shape, traced.threshold.shape  # (50, 3) each, to plot
        torch.equal(traced.spikes, (traced.h >= traced.threshold).float())  # True
    """

    spikes: Tensor
    h: Tensor
    v: Tensor
    threshold: Tensor
    state: NeuronState


def traced(x: Tensor, start: NeuronState, steps: Sequence[NeuronStep]) -> Traced:
    """Collect the steps taken over currents `x` (T, ...) from the state `start`."""
    if not steps:
        none = x.to(start.v.dtype)
        return Traced(x.clone(), none, none, none, start)
    return Traced(
        torch.stack([step.spikes for step in steps]),
        torch.stack([step.h for step in steps]),
        torch.stack([step.state.v for step in steps]),
        torch.stack([_threshold_of(step) for step in steps]),
        steps[-1].state,
    )


def _threshold_of(step: NeuronStep) -> Tensor:
    """Return the threshold of each neuron at a step, in the dtype of h."""
    if isinstance(step.threshold, Tensor):
        return step.threshold.to(step.h).expand_as(step.h)
    return torch.full_like(step.h, step.threshold)
