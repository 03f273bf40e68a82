"""The leaky integrate-and-fire neuron, binary or signed: one step, and the layer over time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, ShapeError, did_you_mean
from dvskit.neurons.fused import Constants, fused_lif, why_not_fused
from dvskit.neurons.surrogates import ATan, Surrogate, spike

Reset = Literal["soft", "hard"]
Backend = Literal["auto", "torch", "fused"]

ATAN = ATan(2.0)


@dataclass(frozen=True, slots=True)
class LIFState:
    """What a LIF layer carries from one step to the next: the membrane potential.

    `v` has the shape of one time step; float32, or float64 for float64 currents.
    """

    v: Tensor

    @classmethod
    def rest(cls, current: Tensor) -> LIFState:
        """Return the state at rest (v = 0) for currents shaped like `current`, one time step."""
        return cls(torch.zeros_like(current, dtype=_membrane_dtype(current), requires_grad=False))

    def detach(self) -> LIFState:
        """Return the same state cut off from its past: gradients stop here."""
        return LIFState(self.v.detach())


def lif_step(
    state: LIFState,
    current: Tensor,
    *,
    beta: float,
    threshold: float,
    threshold_off: float = math.inf,
    reset: Reset = "soft",
    surrogate: Surrogate = ATAN,
    detach_reset: bool = True,
) -> tuple[Tensor, LIFState]:
    """Advance leaky integrate-and-fire neurons by one time step.

    h = beta v + current;  s = [h >= threshold] - [h <= -threshold_off], in {-1, 0, +1};
    soft reset: v = h - threshold [s = 1] + threshold_off [s = -1];  hard reset: v = h (1 - |s|).
    beta = exp(-dt / tau) for an RC membrane. threshold_off = inf is the binary neuron.
    With detach_reset the gradient passes the reset by, as if its spikes were constants.

    `current` has any shape; returns spikes of its shape and dtype, and the new state.
    """
    h = beta * state.v + current.to(state.v.dtype)  # two roundings, as in the fused kernel
    on = spike(h - threshold, surrogate)
    if math.isinf(threshold_off):
        spikes, drop, fired = on, threshold * on, on
    else:
        off = spike(-h - threshold_off, surrogate)
        spikes, drop, fired = on - off, threshold * on - threshold_off * off, on + off
    if reset == "soft":
        v = h - (drop.detach() if detach_reset else drop)
    else:
        v = h * (1 - (fired.detach() if detach_reset else fired))
    return spikes.to(current.dtype), LIFState(v)


@check_arguments
class LIF(nn.Module):
    """A layer of leaky integrate-and-fire neurons: (T, ...) currents in, (T, ...) spikes out.

    The equations are those of `lif_step`. A finite `threshold_off` makes the neuron signed: it
    also emits -1 where the potential falls to -threshold_off. The layer has no weights and keeps
    no state: `forward` starts at rest, `run` takes and returns the state.

    Spikes have the shape and dtype of the input; the membrane is float32 (float64 for float64).
    `backend`: "auto" takes the fused kernel where it fits (CPU, float32 or bfloat16, ATan) and
    plain torch elsewhere, with the same spikes; "torch" and "fused" insist.

    Raises ConfigError if beta is outside [0, 1], a threshold is not above 0, `threshold` or
    `reset`, `backend` are unknown, or "fused" does not fit; ShapeError for an input without time,
    of integers, or that does not fit the state.
    """

    def __init__(
        self,
        beta: float = 0.9,
        threshold: float = 1.0,
        threshold_off: float = math.inf,
        reset: Reset = "soft",
        surrogate: Surrogate = ATAN,
        detach_reset: bool = True,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        _check(beta, threshold, threshold_off, reset, surrogate, backend)
        self.beta = float(beta)
        self.threshold = float(threshold)
        self.threshold_off = float(threshold_off)
        self.reset: Reset = reset
        self.surrogate = surrogate
        self.detach_reset = detach_reset
        self.backend: Backend = backend

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes of `x` (T, ...), from rest; the shape and dtype of `x`."""
        return self.run(x)[0]

    def run(self, x: Tensor, state: LIFState | None = None) -> tuple[Tensor, LIFState]:
        """Return the spikes of `x` (T, ...) and the state after it, from `state` or from rest.

        Running a sequence in chunks, each from the state of the one before, gives the spikes of
        the whole, bit for bit. Gradients flow through the state; `state.detach()` stops them.
        """
        self._check_input(x, state)
        if self.backend == "torch" or x.numel() == 0:
            return self._run_torch(x, state)
        why_not = why_not_fused(x, self.surrogate)
        if why_not is not None and self.backend == "fused":
            raise ConfigError(f"LIF: the fused kernel does not fit: {why_not}; use backend='auto'")
        return self._run_torch(x, state) if why_not else self._run_fused(x, state)

    def extra_repr(self) -> str:
        """Return the parameters as they were given."""
        names = ("beta", "threshold", "threshold_off", "reset", "surrogate", "detach_reset")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)

    def _run_torch(self, x: Tensor, state: LIFState | None) -> tuple[Tensor, LIFState]:
        spikes = []
        state = LIFState.rest(x.new_empty(x.shape[1:])) if state is None else state
        for current in x.unbind(0):
            fired, state = lif_step(
                state,
                current,
                beta=self.beta,
                threshold=self.threshold,
                threshold_off=self.threshold_off,
                reset=self.reset,
                surrogate=self.surrogate,
                detach_reset=self.detach_reset,
            )
            spikes.append(fired)
        return (torch.stack(spikes) if spikes else x.clone()), state

    def _run_fused(self, x: Tensor, state: LIFState | None) -> tuple[Tensor, LIFState]:
        constants = Constants(
            beta=self.beta,
            threshold=self.threshold,
            threshold_off=None if math.isinf(self.threshold_off) else self.threshold_off,
            alpha=cast(ATan, self.surrogate).alpha,  # why_not_fused has looked
            soft=self.reset == "soft",
            detach_reset=self.detach_reset,
        )
        spikes, v = fused_lif(x, None if state is None else state.v, constants)
        return spikes, LIFState(v)

    def _check_input(self, x: Tensor, state: LIFState | None) -> None:
        if x.ndim == 0 or not x.is_floating_point():
            raise ShapeError(
                f"LIF takes floating-point currents of shape (T, ...), not {x.dtype} of shape "
                f"{tuple(x.shape)}; convert with .float() and put time first"
            )
        if state is None:
            return
        if state.v.shape != x.shape[1:]:
            raise ShapeError(
                f"LIF state of shape {tuple(state.v.shape)} does not fit one step of the input, "
                f"{tuple(x.shape[1:])}; start a new batch from state=None"
            )
        if state.v.dtype != _membrane_dtype(x) or state.v.device != x.device:
            raise ShapeError(
                f"LIF state is {state.v.dtype} on {state.v.device}, the input {x.dtype} on "
                f"{x.device} needs {_membrane_dtype(x)} there; start from state=None"
            )


@check_arguments
class SignedLIF(LIF):
    """A LIF layer that spikes upwards (+1) and downwards (-1): both thresholds are finite.

    With equal thresholds it is odd: the spikes of -x are minus those of x.
    Raises ConfigError as LIF does, and for an infinite threshold_off.
    """

    def __init__(
        self,
        beta: float = 0.9,
        threshold: float = 1.0,
        threshold_off: float = 1.0,
        reset: Reset = "soft",
        surrogate: Surrogate = ATAN,
        detach_reset: bool = True,
        backend: Backend = "auto",
    ) -> None:
        if math.isinf(threshold_off):
            raise ConfigError("SignedLIF: threshold_off = inf never spikes downwards; use LIF")
        super().__init__(beta, threshold, threshold_off, reset, surrogate, detach_reset, backend)


def _membrane_dtype(current: Tensor) -> torch.dtype:
    # A membrane in half precision would lose small currents; spikes are exact in either.
    return torch.float64 if current.dtype == torch.float64 else torch.float32


def _check(
    beta: float,
    threshold: float,
    threshold_off: float,
    reset: str,
    surrogate: object,
    backend: str,
) -> None:
    if not 0 <= beta <= 1:
        raise ConfigError(f"LIF: beta = {beta} is outside [0, 1]; beta = exp(-dt / tau)")
    if not (math.isfinite(threshold) and threshold > 0):
        raise ConfigError(f"LIF: threshold = {threshold} is not a finite number above 0")
    if not threshold_off > 0:
        raise ConfigError(
            f"LIF: threshold_off = {threshold_off} is not above 0; it is the size of the downward "
            "threshold, inf for a binary neuron"
        )
    for name, value, choices in (("reset", reset, Reset), ("backend", backend, Backend)):
        if value not in get_args(choices):
            hint = did_you_mean(str(value), get_args(choices))
            raise ConfigError(f"LIF: {name} = {value!r} is unknown; {hint}")
    if isinstance(surrogate, type) or not isinstance(surrogate, Surrogate):
        raise ConfigError(
            f"LIF: surrogate = {surrogate!r} is no value with derivative(u), such as ATan(2.0)"
        )
