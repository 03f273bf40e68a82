"""Neurons with equations of your own: a subclass writes one step, in plain torch."""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, DvskitError, ShapeError, did_you_mean, one_line
from dvskit.neurons.driver import Neurons, broadcasts, check_finite
from dvskit.neurons.dynamics import (
    ATAN,
    Dynamics,
    NeuronState,
    NeuronStep,
    Potential,
    Reset,
    Traced,
    Value,
    check_delayed,
    fire,
    state_dtype,
)
from dvskit.neurons.surrogates import Surrogate


@check_arguments
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
            check_finite(type(self).__name__, what, value)
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
            if function is None and what == "adapt":
                continue
            try:
                inspect.signature(function).bind(None, **dict.fromkeys(state))  # type: ignore[arg-type]
            except TypeError:
                raise ConfigError(
                    f"{type(self).__name__}: the state variables are {', '.join(state)}; write def "
                    f"{what}(self, {', '.join((first, *state))})"
                ) from None

    def run(self, x: Tensor, state: NeuronState | None = None) -> tuple[Tensor, NeuronState]:
        """Return the spikes of `x` (T, ...) and the state after it, as `Neurons.run` does."""
        return super(CustomNeurons, self._cast(x)).run(x, state)

    def trace(self, x: Tensor, state: NeuronState | None = None) -> Traced:
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
        held = {name: getattr(self, name) for name in self._values}
        return {name: value for name, value in held.items() if isinstance(value, Tensor)}

    def _given(self) -> dict[str, Any]:
        """Return the values of spikes and resets; the leak of the model is not used."""
        threshold = 1.0 if self.threshold is None else self.threshold
        given = {"threshold_off": self.threshold_off, "rest": self.rest}
        return {"beta": 1.0, "threshold": threshold, **given}

    def _tensors(self, dynamics: Dynamics) -> Mapping[str, Tensor]:
        return self._held()

    def _start(self, dynamics: Dynamics, current: Tensor) -> NeuronState:
        zero = NeuronState.rest(current).v

        def start(name: str, default: Value | None = None) -> Tensor:
            value = getattr(self, f"{name}_start", default)
            if value is None:
                return zero
            return zero + (value.to(zero.dtype) if isinstance(value, Tensor) else value)

        waiting = torch.zeros_like(zero, dtype=torch.int32) if self.refractory else None
        own = {name: start(name) for name in self._own}
        return NeuronState(start("v", self.rest), waiting=waiting, own=own)

    def _take_step(self, dynamics: Dynamics, state: NeuronState, current: Tensor) -> NeuronStep:
        before = {"v": state.v, **(state.own or {})}
        known = (*before, "threshold") if self.spiking else tuple(before)
        given = current.to(state.v.dtype)
        found = self._results("integrate", self._called("integrate", given, before), known, state.v)
        if "v" not in found:
            raise ConfigError(f"{type(self).__name__}.integrate returned no 'v', the potential")
        if self.reset == "delayed":
            check_delayed(self.refractory, found.get("threshold"))
        fired = fire(dynamics, state, found["v"], found.pop("threshold", dynamics.threshold))
        after = {**before, **found, "v": fired.v}
        if self.adapt is not None and self.spiking:
            changed = self._called("adapt", fired.size, after)
            after |= self._results("adapt", changed, tuple(before), state.v)
        v = after.pop("v")
        return fired.step(current.dtype, NeuronState(v, waiting=fired.waiting, own=after))

    def _called(self, what: str, first: Tensor, state: Mapping[str, Tensor]) -> Any:
        """Return what an equation returns. Raises ConfigError, with the place, for its errors."""
        equation = getattr(self, what)
        if torch.compiler.is_compiling():
            return equation(first, **state)
        try:
            return equation(first, **state)
        except DvskitError:
            raise
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[:2][-1]
            raise ConfigError(
                f"{type(self).__name__}.{what} raises {type(error).__name__}: {one_line(error)} "
                f"({place.filename}, line {place.lineno})"
            ) from error

    def _results(
        self, what: str, found: Any, known: tuple[str, ...], like: Tensor
    ) -> dict[str, Tensor]:
        """Return what an equation returned, in the dtype of the state. Raises if it misfits."""
        where = f"{type(self).__name__}.{what}"
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
