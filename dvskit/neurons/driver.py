"""The base of all layers of neurons: parameters, and the run over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from dvskit.errors import ArgumentError, ConfigError, ShapeError, did_you_mean
from dvskit.neurons.dynamics import (
    ATAN,
    STATE_PARTS,
    VALUES,
    Dynamics,
    NeuronState,
    NeuronStep,
    Potential,
    Reset,
    Traced,
    Value,
    check_delayed,
    state_dtype,
    take_step,
    traced,
)
from dvskit.neurons.operator import run_fused, why_not_fused
from dvskit.neurons.surrogates import Surrogate, check_surrogate

Backend = Literal["auto", "torch", "fused"]


class Neurons(nn.Module):
    """The base of all layers of neurons: (T, ...) currents in, (T, ...) spikes out.

    A layer keeps no state: `forward` starts at rest, `run` and `step` take and return the state.
    Spikes have the shape and dtype of the input; the state is float32 (float64 for float64).

    A value (beta, a threshold, ...) is a number or a tensor, such as (N,) or (C, 1, 1), that
    broadcasts against one time step of the input. An nn.Parameter is learned, without bounds; other
    tensors are buffers. `reset`: "soft", "hard", "none", or "delayed", which runs in plain torch
    only and takes no refractory steps. `refractory`: steps without a spike after each one.
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
    ) -> None:
        super().__init__()
        _check_values(type(self).__name__, values)
        _check_choices(type(self).__name__, reset, surrogate, backend, refractory)
        if reset == "delayed":
            check_delayed(refractory, values.get("kappa"))
        self._values: tuple[str, ...] = ()
        self._hold(values)
        self.refractory = int(refractory)
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
        self._values += tuple(values)

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
            reset=self.reset,
            surrogate=self.surrogate,
            detach_reset=self.detach_reset,
        )

    def _given(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._values}

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

    def trace(self, x: Tensor, state: NeuronState | None = None) -> Traced:
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
        return traced(x, start, steps)

    def initial_state(self, current: Tensor) -> NeuronState:
        """Return the state at rest for currents shaped like `current`, one time step."""
        return self._start(self.dynamics, current)

    def _start(self, dynamics: Dynamics, current: Tensor) -> NeuronState:
        return dynamics.cast(state_dtype(current)).initial_state(current)

    def extra_repr(self) -> str:
        """Return the arguments for the repr; of tensors the shape."""
        names = [name for name in self._values if getattr(self, name) is not None]
        names += ["refractory"] if self.refractory else []
        return ", ".join(
            f"{name}={_said(getattr(self, name))}"
            for name in (*names, "reset", "surrogate", "detach_reset")
        )

    def _take_step(self, dynamics: Dynamics, state: NeuronState, current: Tensor) -> NeuronStep:
        """Take one step in plain torch."""
        return take_step(dynamics, state, current)

    def _checked(self, dynamics: Dynamics, x: Tensor, state: NeuronState | None) -> NeuronState:
        """Return the state to start from. Raises ShapeError if input, state and values misfit."""
        check_tensor(self, x)
        name = type(self).__name__
        if x.ndim == 0 or not x.is_floating_point():
            raise ShapeError(
                f"{name} takes floating-point currents of shape (T, ...), not {x.dtype} of shape "
                f"{tuple(x.shape)}; convert with .float() and put time first"
            )
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


def check_tensor(owner: nn.Module, x: object) -> None:
    """Raise ArgumentError if `x` is not a tensor, for example a NumPy array."""
    if not isinstance(x, Tensor):
        raise ArgumentError(
            f"{type(owner).__name__} takes a torch.Tensor, not {type(x).__name__}; convert an "
            "array with torch.from_numpy(...)"
        )


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
        if tensor is None:
            if need:
                raise ShapeError(f"{name}: the state has no {part}; start from state=None")
            continue
        if need is False:
            raise ShapeError(
                f"{name}: the state has a part {part} that these neurons lack; "
                "start from state=None"
            )
        if tensor.shape != x.shape[1:]:
            raise ShapeError(
                f"{name} state of shape {tuple(tensor.shape)} does not fit one step of the input, "
                f"{tuple(x.shape[1:])}; start a new batch from state=None"
            )
        dtype = torch.int32 if part == "waiting" else state_dtype(x)
        if tensor.dtype != dtype or tensor.device != x.device:
            raise ShapeError(
                f"{name} state {part} is {tensor.dtype} on {tensor.device}, the input {x.dtype} on "
                f"{x.device} needs {dtype} there; start from state=None"
            )


def _check_values(name: str, values: Mapping[str, Value | None]) -> None:
    assert set(values) <= set(VALUES)
    for what, value in values.items():
        if value is not None and not isinstance(value, Tensor):
            _number(name, what, value)
    for what, meaning in (
        ("beta", "beta = exp(-dt / tau)"),
        ("alpha", "alpha = exp(-dt / tau_synapse)"),
        ("rho", "rho = exp(-dt / tau_adaptation)"),
    ):
        value = values.get(what)
        if value is not None and not _holds((_as(value) >= 0) & (_as(value) <= 1)):
            raise ConfigError(f"{name}: {what} = {_said(value)} is outside [0, 1]; {meaning}")
    for what in ("gain", "rest", "kappa"):
        check_finite(name, what, values.get(what))
    _check_thresholds(name, values)


def check_finite(name: str, what: str, value: Value | None) -> None:
    """Raise ConfigError if a value is not a number or a tensor, or not finite."""
    if value is not None and not isinstance(value, Tensor):
        _number(name, what, value)
    if value is not None and not _holds(_as(value).isfinite()):
        raise ConfigError(f"{name}: {what} = {_said(value)} is not finite")


def _check_thresholds(name: str, values: Mapping[str, Value | None]) -> None:
    on, off, rest = (values.get(what) for what in ("threshold", "threshold_off", "rest"))
    level = "0" if rest is None else f"rest = {_said(rest)}"
    base = _as(0.0 if rest is None else rest)
    if on is not None and not _holds(_as(on).isfinite() & (_as(on) > base)):
        raise ConfigError(f"{name}: threshold = {_said(on)} is not a finite number above {level}")
    if isinstance(off, Tensor) and not _holds(_as(off).isfinite()):
        raise ConfigError(
            f"{name}: threshold_off = {_said(off)} is not finite; a large number does the same"
        )
    if off is not None and not _holds(-_as(off) < base):
        bound = "above 0" if rest is None else f"above -rest, {level}"
        raise ConfigError(
            f"{name}: threshold_off = {_said(off)} is not {bound}; it is the size of the downward "
            "threshold, inf for a binary neuron"
        )


def _check_choices(
    name: str, reset: str, surrogate: object, backend: str, refractory: object
) -> None:
    for what, value, choices in (("reset", reset, Reset), ("backend", backend, Backend)):
        if value not in get_args(choices):
            hint = did_you_mean(str(value), get_args(choices))
            raise ConfigError(f"{name}: {what} = {value!r} is unknown; {hint}")
    check_surrogate(name, surrogate, "ATan(2.0)")
    if not isinstance(refractory, int) or isinstance(refractory, bool) or refractory < 0:
        raise ConfigError(
            f"{name}: refractory = {refractory!r} is not a number of time steps, 0 or more"
        )


def _number(name: str, what: str, value: Any) -> None:
    try:
        if isinstance(value, str):
            raise TypeError
        float(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{name}: {what} = {value!r} is not a number or a tensor") from None


def _as(value: Value) -> Tensor:
    # Numbers stay on the CPU, even if a network is built on torch's meta device.
    device = value.device if isinstance(value, Tensor) else "cpu"
    return torch.as_tensor(value, device=device).detach().to(torch.float64)


def _holds(condition: Tensor) -> bool:
    return condition.is_meta or bool(condition.all())  # meta tensors have no values


def _said(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{type(value).__name__}{tuple(value.shape)}"
    return repr(value)
