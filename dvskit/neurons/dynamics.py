"""The one model of all neurons in this package, one step in plain torch, and surrogate gradients.

A neuron is this model with parts left out. Each line of a time step names its part:

    i_t  = alpha i_{t-1} + x_t                          synapse; without it i_t = x_t
    h_t  = rest + beta (v_{t-1} - rest) + gain i_t      leak; without rest and gain: beta v + i
    th_t = threshold + kappa a_{t-1}                    adaptation; without it th_t = threshold
    s_t  = [h_t >= th_t] - [h_t <= -threshold_off]      0 while the neuron waits
    burst: s_t = sum over k = 1 ... most of [h_t >= k th] - [h_t <= -k threshold_off]
    soft reset: v_t = h_t - (th_t - rest) [s_t = 1] + (threshold_off + rest) [s_t = -1], once for
    each spike of a burst
    hard reset: v_t = rest where it fired or waits, else h_t          no reset: v_t = h_t
    delayed reset: v_t = h_t, and h_{t+1} is lower by the amount of a soft reset, undecayed
    a_t  = rho a_{t-1} + |s_t|

A neuron with a refractory time of n steps waits for n steps after a spike. It does not spike then.
Its membrane continues to integrate; with a hard reset it stays at rest.

The spike is a step, s = [u >= 0], with a derivative of zero almost everywhere. Training replaces it
by a smooth function, in the backward pass only. A surrogate is any object with
`derivative(u) -> Tensor`; as a frozen dataclass, its repr shows the parameters. The surrogates of
this module also have `primitive(u)`, whose derivative they are, and run in the fused kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol, Self, cast, get_args, runtime_checkable

import torch
from torch import Tensor
from torch.autograd import Function

from dvskit._checks import check_choice, check_fields, check_number, checked
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


@dataclass(frozen=True, slots=True)
class _Positive:
    """Parameters that are finite and above 0."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class ATan(_Positive):
    """The derivative of arctan(pi alpha u / 2) / pi: (alpha / 2) / (1 + (pi alpha u / 2)^2).

    Its integral is 1 and its height alpha / 2 (Fang et al. 2021, PLIF).

        surrogate = dvskit.neurons.ATan(alpha=2.0)
        surrogate.derivative(torch.tensor([-1.0, 0.0, 1.0]))  # [0.092, 1, 0.092]
        neurons = dvskit.neurons.LIF(surrogate=surrogate)
    """

    alpha: float = checked(check_number, above=0, default=2.0)

    def derivative(self, u: Tensor) -> Tensor:
        """Return the surrogate derivative at `u`, with its shape and dtype."""
        return (self.alpha / 2) / (1 + (math.pi / 2 * self.alpha * u) ** 2)

    def primitive(self, u: Tensor) -> Tensor:
        """Return arctan(pi alpha u / 2) / pi + 1/2, from 0 to 1."""
        return torch.atan(math.pi / 2 * self.alpha * u) / math.pi + 0.5


@dataclass(frozen=True, slots=True)
class FastSigmoid(_Positive):
    """The derivative of u / (1 + slope |u|): 1 / (1 + slope |u|)^2.

    Its integral is 2 / slope and its height 1 (Zenke and Ganguli 2018, SuperSpike).

        surrogate = dvskit.neurons.FastSigmoid(slope=10.0)
        surrogate.derivative(torch.tensor([-0.1, 0.0, 0.1]))  # [0.25, 1, 0.25]
        neurons = dvskit.neurons.LIF(surrogate=surrogate)
    """

    slope: float = checked(check_number, above=0, default=10.0)

    def derivative(self, u: Tensor) -> Tensor:
        """Return the surrogate derivative at `u`, with its shape and dtype."""
        return 1 / (1 + self.slope * u.abs()) ** 2

    def primitive(self, u: Tensor) -> Tensor:
        """Return u / (1 + slope |u|), from -1 / slope to 1 / slope."""
        return u / (1 + self.slope * u.abs())


@dataclass(frozen=True, slots=True)
class Sigmoid(_Positive):
    """The derivative of the logistic function p of alpha u: alpha p (1 - p); integral 1.

    The height is alpha / 4. `u` is the potential minus the threshold, of any shape.

        surrogate = dvskit.neurons.Sigmoid(alpha=4.0)
        surrogate.derivative(torch.tensor([-0.5, 0.0, 0.5]))  # [0.42, 1, 0.42]
        neurons = dvskit.neurons.LIF(surrogate=surrogate)
    """

    alpha: float = checked(check_number, above=0, default=4.0)

    def derivative(self, u: Tensor) -> Tensor:
        """Return the surrogate derivative at `u`, with its shape and dtype."""
        fall = torch.exp(-self.alpha * u.abs())  # the derivative is even; this never overflows
        return self.alpha * fall / (1 + fall) ** 2

    def primitive(self, u: Tensor) -> Tensor:
        """Return 1 / (1 + e^(-alpha u)), from 0 to 1."""
        return torch.sigmoid(self.alpha * u)


@dataclass(frozen=True, slots=True)
class Triangle(_Positive):
    """A triangle around the threshold: height max(0, 1 - |u| / width).

    Its integral is height * width (Bellec et al. 2018 take a height of 0.3 and width of 1).

        surrogate = dvskit.neurons.Triangle(width=1.0, height=0.3)
        surrogate.derivative(torch.tensor([-0.5, 0.0, 2.0]))  # [0.15, 0.3, 0]
        neurons = dvskit.neurons.LIF(surrogate=surrogate)
    """

    width: float = checked(check_number, above=0, default=1.0)
    height: float = checked(check_number, above=0, default=1.0)

    def derivative(self, u: Tensor) -> Tensor:
        """Return the surrogate derivative at `u`, with its shape and dtype."""
        return self.height * (1 - u.abs() / self.width).clamp(min=0)

    def primitive(self, u: Tensor) -> Tensor:
        """Return the area left of `u`, from 0 to height * width."""
        z = (u / self.width).clamp(-1, 1)
        return self.height * self.width * (0.5 + z - 0.5 * z * z.abs())


@dataclass(frozen=True, slots=True)
class Boxcar(_Positive):
    """A box around the threshold: height where |u| <= width / 2, else 0.

    Its integral is height * width (Wu et al. 2018, STBP, with height 1 / width).

        surrogate = dvskit.neurons.Boxcar(width=0.5, height=2.0)
        surrogate.derivative(torch.tensor([-0.5, 0.0, 0.2]))  # [0, 2, 2]
        neurons = dvskit.neurons.LIF(surrogate=surrogate)
    """

    width: float = checked(check_number, above=0, default=1.0)
    height: float = checked(check_number, above=0, default=1.0)

    def derivative(self, u: Tensor) -> Tensor:
        """Return the surrogate derivative at `u`, with its shape and dtype."""
        return self.height * (u.abs() <= self.width / 2).to(u.dtype)

    def primitive(self, u: Tensor) -> Tensor:
        """Return the area left of `u`, from 0 to height * width."""
        return self.height * (u.clamp(-self.width / 2, self.width / 2) + self.width / 2)


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


def check_surrogate(name: str, value: object, *, owner: str = "") -> None:
    """Raise ConfigError unless a value has derivative(u) and is not a class."""
    if isinstance(value, type) or not isinstance(value, Surrogate):
        raise ConfigError(
            f"{owner}: {name} = {value!r} is not a value with derivative(u), such as ATan(2.0)"
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


def map_tensors(state: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return a state (tensors in dataclasses, tuples, lists or dicts) with all tensors replaced."""
    if isinstance(state, Tensor):
        return function(state)
    if is_dataclass(state) and not isinstance(state, type):
        values = {each.name: getattr(state, each.name) for each in fields(state)}
        return replace(state, **map_tensors(values, function))
    if isinstance(state, Mapping):
        return {name: map_tensors(each, function) for name, each in state.items()}
    if isinstance(state, tuple | list):
        made = [map_tensors(each, function) for each in state]
        return type(state)(*made) if hasattr(state, "_fields") else type(state)(made)
    return state


def detached(state: Any) -> Any:
    """Return a state without its graph."""
    return map_tensors(state, Tensor.detach)


class TensorState:
    """A state whose dataclass holds tensors."""

    __slots__ = ()

    def detach(self) -> Self:
        """Return the same state without its graph: gradients stop here."""
        other: Self = detached(self)
        return other


@dataclass(frozen=True, slots=True)
class NeuronState(TensorState):
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


Gradients = tuple[Tensor | None, ...]
"""Gradients of v, i and a, or of the spikes and them; None for absent ones."""

Reset = Literal["soft", "hard", "none", "delayed"]
_RESETS: tuple[Reset, ...] = get_args(Reset)
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
    most           spikes of a step in each direction. More than one needs a soft reset or none, and
                   neither rest, adaptation nor refractory steps
    resolution     the decayed potential is rounded toward 0 to a multiple of it, as on chips that
                   hold potentials as integers; such neurons run in plain torch
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
    most: int = 1
    resolution: float | None = None
    reset: Reset = "soft"
    surrogate: Surrogate = ATAN
    detach_reset: bool = True

    def __post_init__(self) -> None:
        if self.reset not in _RESETS:
            check_choice("reset", self.reset, _RESETS)
        if self.reset == "delayed":
            check_delayed(self.refractory, self.kappa)
        if self.resolution is not None:
            check_number("resolution", self.resolution, above=0)
            if self.rest is not None or self.alpha is not None:
                raise ConfigError("resolution needs neurons without rest and synaptic current")
        others = self.rest is not None or self.kappa is not None or self.refractory
        if self.most > 1 and (others or self.reset not in ("soft", "none")):
            raise ConfigError(
                f"most = {self.most} spikes a step need a soft reset or none, and neurons without "
                "rest, adaptation and refractory steps"
            )

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


class Firing(NamedTuple):
    """The spikes of one time step, and what they do to the potential.

    spikes     -most to most; h of neurons that do not spike
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


def fire(d: Dynamics, state: NeuronState, h: Tensor, th: Value) -> Firing:
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
    return Firing(spikes, size, h, v, th if d.spikes else math.inf, waiting)


def _leak(d: Dynamics, v: Tensor, i: Tensor) -> Tensor:
    # Two roundings per step, as in the fused kernels: the same spikes, bit for bit.
    drive = i if d.gain is None else d.gain * i
    if d.resolution is not None:
        return torch.trunc(d.beta * v / d.resolution) * d.resolution + drive
    if d.rest is None:
        return d.beta * v + drive
    return d.rest + d.beta * (v - d.rest) + drive


def _fire(
    d: Dynamics, h: Tensor, th: Value, waiting: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Return upward and downward spikes, 1 each; the latter None for unsigned neurons."""
    if not d.spikes:
        return h, None
    on = _count(d, h, th)
    off = _count(d, -h, d.threshold_off) if d.signed else None
    if waiting is None:
        return on, off
    ready = (waiting <= 0).to(h.dtype)
    return on * ready, None if off is None else off * ready


def _count(d: Dynamics, h: Tensor, th: Value) -> Tensor:
    """Return how many of th, 2 th, ... up to the most spikes of a step the potential reaches."""
    if d.most > 1 and not (torch.is_grad_enabled() and h.requires_grad):
        level = _like(th, h)
        count = torch.floor(h / level)  # off by one at most, by the rounding of the quotient
        count = count - (h < count * level).to(h.dtype) + (h >= (count + 1) * level).to(h.dtype)
        return count.clamp(0, d.most).nan_to_num(0.0)  # NaN reaches no threshold
    count = spike(h - th, d.surrogate)
    for number in range(2, d.most + 1):
        count = count + spike(h - number * _like(th, h), d.surrogate)
    return count


def _reset(
    d: Dynamics, h: Tensor, th: Value, spikes: tuple[Tensor, Tensor | None], waiting: Tensor | None
) -> Tensor:
    if d.reset in ("none", "delayed"):
        return h
    if d.reset == "soft":
        return h - _drop(d, h, th, spikes)
    on, off = _given_to_reset(d, spikes)
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
    return level if rest is None else _like(level, like) - rest


def _like(value: Value, other: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=other.dtype, device=other.device)


@dataclass(frozen=True, slots=True)
class NeuronTrace:
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


def trace_of(x: Tensor, start: NeuronState, steps: Sequence[NeuronStep]) -> NeuronTrace:
    """Collect the steps taken over currents `x` (T, ...) from the state `start`."""
    if not steps:
        none = x.to(start.v.dtype)
        return NeuronTrace(x.clone(), none, none, none, start)
    return NeuronTrace(
        torch.stack([step.spikes for step in steps]),
        torch.stack([step.h for step in steps]),
        torch.stack([step.state.v for step in steps]),
        torch.stack([_like(step.threshold, step.h).expand_as(step.h) for step in steps]),
        steps[-1].state,
    )
