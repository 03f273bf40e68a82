"""The base of all layers of neurons, and the base of neurons with equations of your own.

The base holds parameters and runs over time. Equations of your own are one step in plain torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Literal, Self, TypedDict, get_args

import torch
from torch import Tensor, nn

from dvskit._checks import check_choice, check_number, check_whole
from dvskit.errors import ConfigError, ShapeError, did_you_mean
from dvskit.neurons.dynamics import (
    ATAN,
    STATE_PARTS,
    Dynamics,
    NeuronState,
    NeuronStep,
    NeuronTrace,
    Potential,
    Reset,
    Surrogate,
    Value,
    check_delayed,
    check_surrogate,
    fire,
    state_dtype,
    take_step,
    trace_of,
)
from dvskit.neurons.operator import run_fused, why_not_fused
from dvskit.registry import named_errors, takes

Backend = Literal["auto", "torch", "fused"]


class NeuronOptions(TypedDict, total=False):
    """Options of all layers of neurons: see `Neurons`."""

    reset: Reset
    surrogate: Surrogate
    detach_reset: bool
    backend: Backend
    refractory: int
    resolution: float | None


class Neurons(nn.Module):
    """The base of all layers of neurons: (T, ...) currents in, (T, ...) spikes out.

    A layer keeps no state: `forward` starts at rest, `run` and `step` take and return the state.
    Spikes have the shape and dtype of the input; the state is float32 (float64 for float64).

    A value (beta, a threshold, ...) is a number or a tensor, such as (N,) or (C, 1, 1), that
    broadcasts against one time step of the input. An nn.Parameter is learned, without bounds; other
    tensors are buffers. `reset`: "soft", "hard", "none", or "delayed", which runs in plain torch
    only and takes no refractory steps. `refractory`: steps without a spike after each one.
    `resolution`: potentials are multiples of it, see `dvskit.neurons.dynamics`.
    `backend`: "auto" takes the fused kernel if it fits and plain torch otherwise, with the same
    spikes; "torch" and "fused" force one of them.

    Raises ConfigError if a decay factor is outside [0, 1], a threshold is not above 0 (of upward
    spikes: above rest), `reset` or `backend` are unknown, or "fused" does not fit; ShapeError for
    an input without time, an integer input, and an input that does not fit the state or a value.

        neurons = dvskit.neurons.ALIF(beta=torch.nn.Parameter(torch.full((10,), 0.9)))  # learned
        isinstance(neurons, dvskit.neurons.Neurons)  # True
        state = None
        for current in torch.rand(20, 8, 10):  # step by step; the spikes are those of `run`
            spikes, state = neurons.step(current, state)  # (8, 10)
    """

    _own: tuple[str, ...] = ()  # the state variables of `CustomNeurons`

    def __init__(
        self,
        values: Mapping[str, Value | None],
        reset: Reset = "soft",
        surrogate: Surrogate = ATAN,
        detach_reset: bool = True,
        backend: Backend = "auto",
        *,
        refractory: int = 0,
        resolution: float | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        _check_values(name, values)
        check_choice("backend", backend, get_args(Backend), owner=name)
        check_surrogate("surrogate", surrogate, owner=name)
        check_whole("refractory", refractory, owner=name)
        others = {name: values.get(name) for name in ("kappa", "rest", "alpha")}
        how: Any = {"reset": reset, "refractory": refractory, "resolution": resolution, **others}
        with named_errors(name):
            Dynamics(beta=0.0, threshold=1.0, **how)  # checks what does not go together
        self.values: tuple[str, ...] = ()  # names; each value is an attribute
        self._hold(values)
        self.refractory = int(refractory)
        self.resolution = resolution
        self.reset: Reset = reset
        self.surrogate = surrogate
        self.detach_reset = detach_reset
        self.backend: Backend = backend

    def _hold(self, values: Mapping[str, Value | None]) -> None:
        """Store values as attributes: numbers, learned parameters, or buffers."""
        for name, value in values.items():
            if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
                self.register_buffer(name, value)
            elif value is None or isinstance(value, Tensor):
                setattr(self, name, value)
            else:
                setattr(self, name, float(value))
        self.values += tuple(values)

    @property
    def spiking(self) -> bool:
        """Whether the neurons spike; otherwise they return their potentials."""
        return not isinstance(self.surrogate, Potential)

    @property
    def dynamics(self) -> Dynamics:
        """The current parameters of the model (`dvskit.neurons.dynamics`)."""
        return Dynamics(
            **self._given(),
            refractory=self.refractory,
            resolution=self.resolution,
            reset=self.reset,
            surrogate=self.surrogate,
            detach_reset=self.detach_reset,
        )

    def _given(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.values}

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes of `x` (T, ...), from rest; the shape and dtype of `x`."""
        return self.run(x)[0]

    def run(self, x: Tensor, state: NeuronState | None = None) -> tuple[Tensor, NeuronState]:
        """Return the spikes of `x` (T, ...) and the state after it, from `state` or from rest.

        Running a sequence in chunks, each from the state of the one before, gives the spikes of the
        whole, bit for bit. Gradients flow through the state; `state.detach()` stops them.
        """
        dynamics = self.dynamics
        state = self._checked(dynamics, x, state)
        if self._fits_fused(dynamics, x):
            return self._run_fused(dynamics, x, state)
        spikes = []
        dynamics = dynamics.cast(state.v.dtype)
        for current in x.unbind(0):
            step = self._take_step(dynamics, state, current)
            spikes.append(step.spikes)
            state = step.state
        return (torch.stack(spikes) if spikes else x.clone()), state

    def _fits_fused(self, dynamics: Dynamics, x: Tensor) -> bool:
        """Return whether the fused kernel runs `x`; ConfigError if it must but cannot."""
        if self.backend == "torch" or x.numel() == 0:
            return False
        why_not = why_not_fused(x, dynamics)
        if why_not is not None and self.backend == "fused":
            raise ConfigError(
                f"{type(self).__name__}: the fused kernel does not fit: {why_not}; "
                "use backend='auto'"
            )
        return why_not is None

    def _run_fused(
        self, dynamics: Dynamics, x: Tensor, state: NeuronState
    ) -> tuple[Tensor, NeuronState]:
        return run_fused(dynamics, x, state)

    def step(self, current: Tensor, state: NeuronState | None = None) -> tuple[Tensor, NeuronState]:
        """Return the spikes of one time step, as `run` gives them, and the state after it."""
        spikes, state = self.run(current[None], state)
        return spikes[0], state

    def trace(self, x: Tensor, state: NeuronState | None = None) -> NeuronTrace:
        """Return spikes, potentials and thresholds at each step of `x` (T, ...), in plain torch.

        Spikes and state are those of `run`; gradients flow through all of it.
        """
        dynamics = self.dynamics
        start = state = self._checked(dynamics, x, state)
        dynamics = dynamics.cast(state.v.dtype)
        steps = []
        for current in x.unbind(0):
            steps.append(self._take_step(dynamics, state, current))
            state = steps[-1].state
        return trace_of(x, start, steps)

    def initial_state(self, current: Tensor) -> NeuronState:
        """Return the state at rest for currents shaped like `current`, one time step."""
        return self._start(self.dynamics, current)

    def _start(self, dynamics: Dynamics, current: Tensor) -> NeuronState:
        return dynamics.cast(state_dtype(current)).initial_state(current)

    def extra_repr(self) -> str:
        """Return the arguments for the repr; of tensors the shape."""
        names = [name for name in self.values if getattr(self, name) is not None]
        names += [name for name in ("refractory", "resolution") if getattr(self, name)]
        return ", ".join(
            f"{name}={_text(getattr(self, name))}"
            for name in (*names, "reset", "surrogate", "detach_reset")
        )

    def _take_step(self, dynamics: Dynamics, state: NeuronState, current: Tensor) -> NeuronStep:
        """Take one step in plain torch."""
        return take_step(dynamics, state, current)

    def _checked(self, dynamics: Dynamics, x: Tensor, state: NeuronState | None) -> NeuronState:
        """Return the state to start from. Raises ShapeError if input, state and values misfit."""
        check_input(self, x, "(T, ...)", x.ndim > 0)
        name = type(self).__name__
        for what, value in self._tensors(dynamics).items():
            if not broadcasts(value.shape, x.shape[1:]):
                raise ShapeError(
                    f"{name}: {what} of shape {tuple(value.shape)} does not broadcast against one "
                    f"step of the input, {tuple(x.shape[1:])}; give it (N,) or (C, 1, 1)"
                )
        if state is None:
            return self._start(dynamics, x.new_empty(x.shape[1:]))
        _check_state(name, dynamics, self._own, x, state)
        return state

    def _tensors(self, dynamics: Dynamics) -> Mapping[str, Tensor]:
        """Return the values that must broadcast against a step, by name."""
        return dynamics.tensors()


def check_shape(layer: object, x: Tensor, shape: str, fits: bool, fix: str = "") -> None:
    """Raise ShapeError unless `x` is a tensor that fits the layer.

    shape  that the layer takes, such as "(T, B, N)"
    """
    if not (fits and isinstance(x, Tensor)):
        fix = fix or "put time first, and convert with .float() or torch.from_numpy(...)"
        raise ShapeError(
            f"{type(layer).__name__} takes {shape}, not {type(x).__name__} of {x.dtype} and shape "
            f"{tuple(x.shape)}; {fix}"
        )


def check_input(layer: nn.Module, x: Tensor, shape: str, fits: bool, fix: str = "") -> None:
    """Raise ShapeError unless `x` is a tensor of floating-point numbers that fits the layer."""
    fits = fits and isinstance(x, Tensor) and x.is_floating_point()
    check_shape(layer, x, f"floating-point {shape}", fits, fix)


def broadcasts(shape: torch.Size, step: torch.Size) -> bool:
    """Return whether a value of `shape` broadcasts against one time step and keeps its shape."""
    if len(shape) > len(step):
        return False
    behind = step[len(step) - len(shape) :]
    return all(ours in (1, theirs) for ours, theirs in zip(shape, behind, strict=True))


def _check_state(
    name: str, dynamics: Dynamics, own: Sequence[str], x: Tensor, state: NeuronState
) -> None:
    needed = {
        "v": True,
        "i": dynamics.alpha is not None,
        "a": dynamics.kappa is not None,
        "waiting": dynamics.refractory > 0,
    }
    more = {**dict.fromkeys(own), **(state.own or {})}
    parts = [(part, getattr(state, part), needed.get(part)) for part in STATE_PARTS]
    for part, tensor, need in (*parts, *((part, more[part], part in own) for part in more)):
        if tensor is None and not need:
            continue
        if tensor is None or need is False:
            lacks = "no" if tensor is None else "a part that these neurons lack,"
            raise ShapeError(f"{name}: the state has {lacks} {part}; start from state=None")
        dtype = torch.int32 if part == "waiting" else state_dtype(x)
        wanted = x.shape[1:], dtype, x.device
        if (tensor.shape, tensor.dtype, tensor.device) != wanted:
            raise ShapeError(
                f"{name}: the state's {part} is {tensor.dtype} {tuple(tensor.shape)} on "
                f"{tensor.device}, but one step of the input needs {dtype} {tuple(x.shape[1:])} on "
                f"{x.device}; start a new batch from state=None"
            )


def _check_values(name: str, values: Mapping[str, Value | None]) -> None:
    for what in ("beta", "alpha", "rho"):  # exp(-dt / tau)
        _check_value(name, what, values.get(what), 0, 1)
    for what in ("gain", "rest", "kappa"):
        _check_value(name, what, values.get(what))
    on, off, rest = (values.get(what) for what in ("threshold", "threshold_off", "rest"))
    level = "0" if rest is None else f"rest = {_text(rest)}"
    base = _as(0.0 if rest is None else rest)
    if on is not None and not _holds(_as(on).isfinite() & (_as(on) > base)):
        raise ConfigError(f"{name}: threshold = {_text(on)} is not a finite number above {level}")
    if isinstance(off, Tensor):
        _check_value(name, "threshold_off", off)
    if off is not None and not _holds(-_as(off) < base):
        bound = "above 0" if rest is None else f"above -rest, {level}"
        raise ConfigError(
            f"{name}: threshold_off = {_text(off)} is not {bound}; it is the size of the downward "
            "threshold, inf for a binary neuron"
        )


def _check_value(
    name: str, what: str, value: Value | None, least: float | None = None, most: float | None = None
) -> None:
    """Raise ConfigError if a value is not a number or a tensor, not finite or out of its range."""
    if isinstance(value, Tensor):
        low, high = (-math.inf if least is None else least, math.inf if most is None else most)
        given = _as(value)
        if not _holds(given.isfinite() & (given >= low) & (given <= high)):
            inside = "" if least is None else f" from {least} to {most}"
            raise ConfigError(f"{name}: {what} = {_text(value)} is not finite{inside}")
    elif value is not None:
        check_number(what, value, least, most, owner=name)


def _as(value: Value) -> Tensor:
    # Numbers stay on the CPU, even if a network is built on torch's meta device.
    device = value.device if isinstance(value, Tensor) else "cpu"
    return torch.as_tensor(value, device=device).detach().to(torch.float64)


def _holds(condition: Tensor) -> bool:
    return condition.is_meta or bool(condition.all())  # meta tensors have no values


def _text(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{type(value).__name__}{tuple(value.shape)}"
    return repr(value)


class CustomNeurons(Neurons):
    """The base of layers of neurons with equations of your own: currents to spikes, (T, ...).

    A subclass writes one time step; spikes, resets and the run over time are those of all neurons:

        class Izhikevich(dvskit.neurons.CustomNeurons):
            def __init__(self, a=0.02, b=0.2, d=8.0, **others):
                others = {"threshold": 30.0, "rest": -65.0, "reset": "hard", **others}
                state = {"u": b * others["rest"]}
                super().__init__(state, {"a": a, "b": b, "d": d}, **others)

            def integrate(self, current, v, u):
                h = v + 0.04 * v**2 + 5 * v + 140 - u + current
                return {"v": h, "u": u + self.a * (self.b * v - u)}

            def adapt(self, fired, v, u):
                return {"u": u + self.d * fired}

        spikes = Izhikevich()(torch.full((500, 1), 10.0))  # (500, 1); a step is 1 ms

    integrate  returns "v", the potential before spikes and reset, and the state variables that
               change. It may return "threshold", that of upward spikes at this step
    adapt      optional: returns the state variables that spikes change, after the reset. `fired` is
               1 where a neuron spiked, up or down, else 0. It passes a gradient
    state      state variables by name, with their values at rest; of "v" it is `rest` by default
    values     parameters of the equations by name, attributes of the layer

    Both functions take all state variables by name. They, `current` and `fired` have the shape of
    one time step, and are float32 (float64 for float64 currents). A value is a number or a tensor,
    as in `Neurons`. `rest` (None is 0) is where resets lead: a soft one subtracts threshold - rest.
    With reset "none" a neuron spikes at each step at which it is above its threshold. With
    threshold None the neurons do not spike, and return their potential, as `LI` does. The state
    after a step holds `v`, and the other state variables in `own`. Everything else is as in `LIF`;
    there is no fused kernel.

    Raises the errors of `Neurons`; ConfigError for functions that do not take the state variables,
    return others, or raise an error, with its file and line; ShapeError for results of another
    shape.
    """

    threshold: float | Tensor | None
    threshold_off: float | Tensor
    rest: float | Tensor | None
    integrate: Callable[..., Mapping[str, Any]]
    adapt: Callable[..., Mapping[str, Any]] | None = None

    def __init__(
        self,
        state: Mapping[str, float | Tensor] | None = None,
        values: Mapping[str, float | Tensor] | None = None,
        /,
        *,
        threshold: float | Tensor | None = 1.0,
        threshold_off: float | Tensor = math.inf,
        reset: Reset = "soft",
        surrogate: Surrogate = ATAN,
        detach_reset: bool = True,
        rest: float | Tensor | None = None,
        refractory: int = 0,
    ) -> None:
        name = type(self).__name__
        if threshold is None:
            if refractory or isinstance(threshold_off, Tensor) or threshold_off != math.inf:
                raise ConfigError(
                    f"{name}: neurons with threshold = None do not spike; leave out threshold_off "
                    "and refractory"
                )
            reset, surrogate = "none", Potential()
        thresholds = {"threshold": threshold, "threshold_off": threshold_off, "rest": rest}
        super().__init__(thresholds, reset, surrogate, detach_reset, "torch", refractory=refractory)
        self._own = tuple(each for each in state or {} if each != "v")
        self._check_equations()
        self._hold_own({f"{each}_start": start for each, start in (state or {}).items()})
        self._hold_own(values or {})

    def _hold_own(self, values: Mapping[str, Value]) -> None:
        for what, value in values.items():
            if hasattr(self, what):
                raise ConfigError(
                    f"{type(self).__name__}: {what} is an attribute of all neurons; take another "
                    "name"
                )
            _check_value(type(self).__name__, what, value)
        self._hold(values)

    def _check_equations(self) -> None:
        """Raise ConfigError unless the equations take the state variables by name."""
        state = ("v", *self._own)
        for each in state:
            if not str(each).isidentifier() or each in ("current", "fired", "threshold"):
                raise ConfigError(
                    f"{type(self).__name__}: a state variable cannot be named {each!r}; take "
                    "another name"
                )
        for what, first in (("integrate", "current"), ("adapt", "fired")):
            function = getattr(self, what, None)
            optional = what == "adapt" and function is None
            if not optional and not takes(function, None, **dict.fromkeys(state)):
                raise ConfigError(
                    f"{type(self).__name__}: the state variables are {', '.join(state)}; write def "
                    f"{what}(self, {', '.join((first, *state))})"
                )

    def run(self, x: Tensor, state: NeuronState | None = None) -> tuple[Tensor, NeuronState]:
        """Return the spikes of `x` (T, ...) and the state after it, as `Neurons.run` does."""
        return super(CustomNeurons, self._cast(x)).run(x, state)

    def trace(self, x: Tensor, state: NeuronState | None = None) -> NeuronTrace:
        """Return what happens at each step of `x` (T, ...), as `Neurons.trace` does."""
        return super(CustomNeurons, self._cast(x)).trace(x, state)

    def _cast(self, x: Tensor) -> Self:
        """Return the layer, or one with values in the dtype of the state for `x`."""
        dtype = state_dtype(x)
        other = {name: value.to(dtype) for name, value in self._held().items()
                 if value.dtype != dtype}  # fmt: skip
        if not other:
            return self
        layer = object.__new__(type(self))
        layer.__dict__.update(self.__dict__)
        layer.__dict__.update(other)  # found before parameters and buffers
        return layer

    def _held(self) -> dict[str, Tensor]:
        held = {name: getattr(self, name) for name in self.values}
        return {name: value for name, value in held.items() if isinstance(value, Tensor)}

    def _given(self) -> dict[str, Any]:
        """Return the values of spikes and resets; the leak of the model is not used."""
        threshold = 1.0 if self.threshold is None else self.threshold
        given = {"threshold_off": self.threshold_off, "rest": self.rest}
        return {"beta": 1.0, "threshold": threshold, **given}

    def _tensors(self, dynamics: Dynamics) -> Mapping[str, Tensor]:
        return self._held()

    def _start(self, dynamics: Dynamics, current: Tensor) -> NeuronState:
        state = super()._start(dynamics, current)
        zero = torch.zeros_like(state.v)
        names = (*self._own, *(["v"] if hasattr(self, "v_start") else ()))
        own = {name: (zero + getattr(self, f"{name}_start")).to(zero.dtype) for name in names}
        return replace(state, v=own.pop("v", state.v), own=own)

    def _take_step(self, dynamics: Dynamics, state: NeuronState, current: Tensor) -> NeuronStep:
        before = {"v": state.v, **(state.own or {})}
        known = (*before, "threshold") if self.spiking else tuple(before)
        found = self._solved("integrate", known, current.to(state.v.dtype), before)
        if "v" not in found:
            raise ConfigError(f"{type(self).__name__}.integrate returned no 'v', the potential")
        if self.reset == "delayed":
            check_delayed(self.refractory, found.get("threshold"))
        fired = fire(dynamics, state, found["v"], found.pop("threshold", dynamics.threshold))
        after = {**before, **found, "v": fired.v}
        if self.adapt is not None and self.spiking:
            after |= self._solved("adapt", tuple(before), fired.size, after)
        v = after.pop("v")
        return fired.step(current.dtype, NeuronState(v, waiting=fired.waiting, own=after))

    def _solved(
        self, what: str, known: tuple[str, ...], first: Tensor, state: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return what an equation returns for a state, in the dtype of the state.

        Raises ConfigError for its errors, with the place; ConfigError and ShapeError for misfits.
        """
        where, equation, like = f"{type(self).__name__}.{what}", getattr(self, what), state["v"]
        with nullcontext() if torch.compiler.is_compiling() else named_errors(where):
            found = equation(first, **state)
        if not isinstance(found, dict):
            kind = type(found).__name__
            raise ConfigError(f'{where} returned {kind}; return a dict, such as {{"v": v}}')
        for name, value in found.items():
            if name not in known:
                raise ConfigError(f"{where} returned {name!r}; {did_you_mean(str(name), known)}")
            is_tensor = isinstance(value, Tensor)
            broad = is_tensor and name == "threshold" and broadcasts(value.shape, like.shape)
            if not (broad or (is_tensor and value.shape == like.shape)):
                shape = f"of shape {tuple(value.shape)}" if is_tensor else type(value).__name__
                raise ShapeError(
                    f"{where} returned {name} {shape}; it must be a tensor of the shape of one "
                    f"step, {tuple(like.shape)}"
                )
        return {name: value.to(like.dtype) for name, value in found.items()}
