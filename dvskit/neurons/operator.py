"""All neurons as one torch operator, which dispatches to a back end by the input's device.

`neurons` and its backward pass are registered with `torch.library`, so torch.compile, autocast and
torch.export support them like torch's own operators. Only the input and the state before it are
kept for the backward pass; a back end recomputes everything else.

A back end for another kind of device is a module with three functions over plain tensors, without
autograd, stored in `BACKENDS` under the device type:

    why_not(x)                    why the kernels cannot take this input, or None if they can
    forward(dynamics, x, state)   the spikes of x (T, ...), T >= 1, and the state after it
    backward(dynamics, x, state, gradients, wanted)
                                  the gradients of x, of v, i and a of the state before it, and of
                                  the values in `wanted`, each in the shape of the value

`x` and `state` of the backward pass are those of the forward pass; `gradients` are those of the
spikes and of the state after them, None for 0. All results are new tensors. It must support:

- Every `Dynamics`: each value as a number or a tensor, of one element or of the shape of one time
  step; any surrogate of `dvskit.neurons.dynamics` and `Potential`; every reset, detached or not;
  refractory steps.
- Input and spikes in float32 or bfloat16, in the layout of `strides_of`; state and gradients of
  state and values in float32, `waiting` in int32, in the layout of one time step. `why_not` reports
  unsupported input.
- The roundings of `dvskit.neurons.dynamics.advance`, so that spikes are equal bit for bit: no
  multiplication is contracted with an addition. Gradients agree to a few roundings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from dvskit.neurons import cpu, gpu
from dvskit.neurons.buffers import strides_of
from dvskit.neurons.dynamics import (
    VALUES,
    ATan,
    Boxcar,
    Dynamics,
    FastSigmoid,
    NeuronState,
    Potential,
    Sigmoid,
    StraightThrough,
    Triangle,
    Value,
)

KNOWN = {
    kind.__name__: kind
    for kind in (ATan, FastSigmoid, Sigmoid, Triangle, Boxcar, StraightThrough, Potential)
}  # the surrogates that back ends support


_MOST = 8  # spikes of a step: each takes code of its own

BACKENDS: dict[str, Any] = {"cpu": cpu, "cuda": gpu}

_STATE = "Tensor v, Tensor? i, Tensor? a, Tensor? waiting"
_TENSORS = ", ".join(f"Tensor? {name}" for name in VALUES)
_MODEL = (
    f"{_TENSORS}, float[] numbers, str surrogate, float[] shape, str reset, bool detach_reset, "
    "int refractory, int most"
)
# Five tensors, not a list: with gradients torch takes 0.05 ms more for a list.
_FORWARD = f"(Tensor x, {_STATE}, {_MODEL}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
_BACKWARD = (
    f"(Tensor x, {_STATE}, {_MODEL}, Tensor? gs, Tensor? gv, Tensor? gi, Tensor? ga, str[] wanted) "
    "-> Tensor[]"
)


def model_arguments(dynamics: Dynamics, step: torch.Size) -> tuple[Any, ...]:
    """Return a model as operator arguments: a value is a tensor or a number, NaN for None."""
    tensors: list[Tensor | None] = []
    numbers: list[float] = []
    for name in VALUES:
        value: Value | None = getattr(dynamics, name)
        if isinstance(value, Tensor):
            tensors.append(value.reshape(()) if value.numel() == 1 else value.expand(step))
            numbers.append(math.nan)
        else:
            tensors.append(None)
            numbers.append(math.nan if value is None else value)
    surrogate = dynamics.surrogate
    fields = getattr(surrogate, "__dataclass_fields__", ())
    # torch's autograd takes an empty list for a list of tensors, so it is never empty.
    shape = [float(getattr(surrogate, name)) for name in fields] or [math.nan]
    return (
        *tensors, numbers, type(surrogate).__name__, shape, dynamics.reset, dynamics.detach_reset,
        dynamics.refractory, dynamics.most,
    )  # fmt: skip


def _dynamics(*model: Any) -> Dynamics:
    """Return the model of arguments made by `model_arguments`."""
    tensors = model[: len(VALUES)]
    numbers, surrogate, shape, reset, detach_reset, refractory, most = model[len(VALUES) :]
    values: dict[str, Any] = {
        name: number if tensor is None else tensor
        for name, tensor, number in zip(VALUES, tensors, numbers, strict=True)
        if tensor is not None or not math.isnan(number)
    }
    return Dynamics(
        **values,
        surrogate=KNOWN[surrogate](*(number for number in shape if not math.isnan(number))),
        reset=reset,
        detach_reset=detach_reset,
        refractory=refractory,
        most=most,
    )


# Registered one by one: an operator of torch.library.custom_op imports torch's compiler at its
# first call, which takes a second.
torch.library.define("dvskit::neurons", _FORWARD)
torch.library.define("dvskit::neurons_backward", _BACKWARD)


def _neurons(x: Tensor, *others: Any) -> tuple[Tensor, ...]:
    """Return the spikes and the parts of the state after them; empty tensors for absent parts."""
    state, model = NeuronState(*others[:4]), others[4:]
    spikes, state = BACKENDS[x.device.type].forward(_dynamics(*model), x, state)
    return spikes, *(x.new_empty(0) if part is None else part for part in state.parts)


def _like_neurons(x: Tensor, *others: Any) -> tuple[Tensor, ...]:
    strides = strides_of(x)
    state = (
        x.new_empty(0) if part is None else _like(part, x.shape[1:], strides[1:])
        for part in others[:4]
    )
    return _like(x, x.shape, strides), *state


@torch.library.impl("dvskit::neurons_backward", "default")
def _neurons_backward(x: Tensor, *others: Any) -> list[Tensor]:
    state, model, (gs, gv, gi, ga, wanted) = NeuronState(*others[:4]), others[4:-5], others[-5:]
    gx, gradients, found = BACKENDS[x.device.type].backward(
        _dynamics(*model), x, state, (gs, gv, gi, ga), wanted
    )
    return [gx, *_there(*gradients), *found]


def _like_neurons_backward(x: Tensor, *others: Any) -> list[Tensor]:
    strides = strides_of(x)
    state = (_like(part, x.shape[1:], strides[1:]) for part in _there(*others[:3]))
    given = (others[4 + VALUES.index(name)] for name in others[-1])
    values = (torch.empty_like(each, memory_format=torch.contiguous_format) for each in given)
    return [_like(x, x.shape, strides), *state, *values]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    tensors = 5 + len(VALUES)  # x and the state, then the values
    ctx.model = inputs[tensors:]
    ctx.save_for_backward(*inputs[:tensors])


def _differentiate(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
    x, v, i, a, waiting, *tensors = ctx.saved_tensors
    gs, gv, gi, ga, _ = gradients
    wanted = [
        name
        for name, tensor in zip(VALUES, tensors, strict=True)
        if tensor is not None and tensor.requires_grad
    ]
    gx, gv, *found = torch.ops.dvskit.neurons_backward.default(
        x, v, i, a, waiting, *tensors, *ctx.model, gs, gv, gi, ga, wanted
    )
    gi = found.pop(0) if i is not None else None
    ga = found.pop(0) if a is not None else None
    of_values = dict(zip(wanted, found, strict=True))
    return (gx, gv, gi, ga, None, *(of_values.get(name) for name in VALUES), *[None] * 7)


torch.library.impl("dvskit::neurons", "default", _neurons)
torch.library.register_fake("dvskit::neurons", _like_neurons)
torch.library.register_fake("dvskit::neurons_backward", _like_neurons_backward)
torch.library.register_autograd("dvskit::neurons", _differentiate, setup_context=_setup_context)
neurons = torch.ops.dvskit.neurons.default


class _Neurons(Function):
    """The operator outside torch.compile: torch.library takes 0.2 ms more for a pass and back."""

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        return _neurons(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _setup_context(ctx, inputs, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        return _differentiate(ctx, *gradients)


def _there(*parts: Tensor | None) -> list[Tensor]:
    return [part for part in parts if part is not None]


def _like(x: Tensor, shape: Sequence[int], strides: Sequence[int]) -> Tensor:
    return torch.empty_strided(tuple(shape), tuple(strides), dtype=x.dtype, device=x.device)


def why_not_fused(x: Tensor, dynamics: Dynamics) -> str | None:
    """Return why the fused kernels cannot take this input, or None if they can."""
    if type(dynamics.surrogate) not in KNOWN.values():
        return f"they know {', '.join(KNOWN)}, not {dynamics.surrogate!r}"
    if dynamics.reset == "delayed":
        return "they reset at once, not a step later"
    if dynamics.resolution is not None:
        return "they do not round potentials to a resolution"
    if dynamics.most > _MOST:
        return f"they spike up to {_MOST} times a step, not {dynamics.most}"
    if x.device.type not in BACKENDS or x.layout != torch.strided:
        return (
            f"they take dense tensors on the {' or '.join(BACKENDS)}, not {x.layout} on {x.device}"
        )
    reason: str | None = BACKENDS[x.device.type].why_not(x)
    return reason


def run_fused(dynamics: Dynamics, x: Tensor, state: NeuronState) -> tuple[Tensor, NeuronState]:
    """Return the spikes of `x` (T, ...), T >= 1, and the state after it."""
    model = model_arguments(dynamics.cast(state.v.dtype), x.shape[1:])
    run = neurons if torch.compiler.is_compiling() else _Neurons.apply
    spikes, v, *others = run(x, *state.parts, *model)  # type: ignore[no-untyped-call]
    parts = zip(state.parts[1:], others, strict=True)
    return spikes, NeuronState(v, *(None if part is None else after for part, after in parts))
