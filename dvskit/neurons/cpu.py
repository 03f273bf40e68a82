"""The fused kernels on the CPU, for float32 and bfloat16, in numba.

The forward pass keeps its input only; the backward pass recomputes the potentials in the cache.
Any dense layout of one time step is used as it is (channels_last too). Gradients have the same
layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvskit._threads import run_ranges, thread_count
from dvskit.neurons import lif_kernels as kernels
from dvskit.neurons import parts_kernels as parts
from dvskit.neurons.buffers import POOL, is_dense, same_strides, strides_of
from dvskit.neurons.dynamics import (
    VALUES,
    ATan,
    Boxcar,
    Dynamics,
    FastSigmoid,
    Gradients,
    NeuronState,
    Potential,
    Sigmoid,
    StraightThrough,
    Triangle,
)

_SMALLEST_PART = 1 << 17  # elements; a thread costs more than it saves below about 0.1 ms of work

_RESETS = {"soft": parts.Soft(0), "hard": parts.Hard(0), "none": parts.NoReset(0)}


def why_not(x: Tensor) -> str | None:
    """Return why the kernels cannot take this input, or None if they can."""
    if x.dtype not in (torch.float32, torch.bfloat16):
        return f"they take float32 and bfloat16, not {x.dtype}"
    return None


def forward(dynamics: Dynamics, x: Tensor, state: NeuronState) -> tuple[Tensor, NeuronState]:
    """Return the spikes of x (T, ...), and the state after it."""
    x = x if is_dense(x) else x.contiguous()
    strides = strides_of(x)
    step = strides[1:]
    s = POOL.empty(x.shape, strides, x.dtype)
    v, i, a, waiting = (None if part is None else _copied(part, step) for part in state.parts)
    assert v is not None  # every state has a membrane
    after = NeuronState(v, i, a, waiting)
    flat_x, flat_s, states = _flat(x), _flat(s), _states(after.parts)
    values, kind = _values(dynamics, x.shape[1:], step), _forward(_kind(dynamics))

    def part(start: int, stop: int) -> None:
        kernels.forward(flat_x, flat_s, states, values, kind, (start, stop))

    _over_neurons(part, flat_x.shape)
    return s, after


def backward(
    dynamics: Dynamics, x: Tensor, state: NeuronState, gradients: Gradients, wanted: Sequence[str]
) -> tuple[Tensor, Gradients, list[Tensor]]:
    """Return the gradients of x, of the state before it, and of the values wanted.

    gradients  of the spikes, and of the state after them
    """
    gs, *ends = gradients
    x = x if is_dense(x) else x.contiguous()
    strides = strides_of(x)
    shape, step = x.shape[1:], strides[1:]
    gx = POOL.empty(x.shape, strides, x.dtype)
    gv, gi, ga = (
        None if part is None else _zeros(shape, step) if given is None else _copied(given, step)
        for part, given in zip((state.v, state.i, state.a), ends, strict=True)
    )
    sinks = {name: _zeros(shape, step) for name in wanted}
    flat_x, flat_gs, flat_gx = _flat(x), _gradients(gs, x, strides), _flat(gx)
    starts = _states(None if part is None else _dense(part, step) for part in state.parts)
    back = _states((gv, gi, ga, None))
    values, kind = _values(dynamics, shape, step), _kind(dynamics)
    kinds = _forward(kind), kind
    to = kernels.Values(*(_step(sinks[name]) if name in sinks else None for name in VALUES))

    def part(start: int, stop: int) -> None:
        over_time, both = (flat_x, flat_gs, flat_gx), (values, to)
        kernels.backward(over_time, starts, back, both, kinds, (start, stop))

    _over_neurons(part, flat_x.shape)
    return gx, (gv, gi, ga), [_shaped(sinks[n], getattr(dynamics, n)) for n in wanted]


def _kind(dynamics: Dynamics) -> kernels.Kind:
    return kernels.Kind(
        _surrogate(dynamics.surrogate),
        _RESETS[dynamics.reset],
        None if dynamics.detach_reset else np.int32(1),
        np.int32(dynamics.refractory),
        tuple(np.float32(number) for number in range(2, dynamics.most + 1)) or None,
    )


def _forward(kind: kernels.Kind) -> kernels.Kind:
    """Return the kind for the forward pass, compiled once for all surrogates that spike."""
    spikes = not isinstance(kind.surrogate, parts.Identity)
    surrogate = parts.Through(np.float32(1)) if spikes else kind.surrogate
    return kind._replace(surrogate=surrogate, attached=None)


def _surrogate(given: Any) -> Any:
    """Return a surrogate in the form the kernels take."""
    f = np.float32
    match given:
        case ATan(alpha):
            return parts.Arctan(f(0.5) * f(alpha), f(0.25 * np.pi * np.pi) * f(alpha) * f(alpha))
        case FastSigmoid(slope):
            return parts.Fast(f(slope))
        case Sigmoid(alpha):
            return parts.Logistic(f(alpha))
        case Triangle(width, height):
            return parts.Tent(f(width), f(height))
        case Boxcar(width, height):
            return parts.Box(f(width / 2), f(height))
        case StraightThrough():
            return parts.Through(f(1))
        case Potential():
            return parts.Identity(f(1))
    raise AssertionError(f"no kernel for {given!r}")  # why_not_fused has checked


def _values(dynamics: Dynamics, shape: torch.Size, step: Sequence[int]) -> kernels.Values:
    def value(name: str) -> Any:
        if not dynamics.has(name):
            return None
        given = getattr(dynamics, name)
        if not isinstance(given, Tensor) or given.numel() == 1:
            return np.float32(given)
        return _step(_copied(given.expand(shape), step))

    return kernels.Values(*(value(name) for name in VALUES))


def _states(parts: Iterable[Tensor | None]) -> kernels.States:
    return kernels.States(*(None if part is None else _step(part) for part in parts))


def _over_neurons(work: Callable[[int, int], None], shape: tuple[int, ...]) -> None:
    steps, neurons = shape
    run_ranges(work, neurons, max(1, min(thread_count(), steps * neurons // _SMALLEST_PART)))


def _copied(v: Tensor, strides: Sequence[int]) -> Tensor:
    """Return a copy in the layout of one time step."""
    dtype = torch.int32 if v.dtype == torch.int32 else torch.float32
    return POOL.empty(v.shape, strides, dtype).copy_(v)


def _dense(v: Tensor, strides: Sequence[int]) -> Tensor:
    return v if same_strides(v, strides) else _copied(v, strides)


def _zeros(shape: torch.Size, strides: Sequence[int]) -> Tensor:
    return POOL.empty(shape, strides, torch.float32).zero_()


def _gradients(gs: Tensor | None, x: Tensor, strides: Sequence[int]) -> NDArray[Any]:
    """Return the gradients of the spikes as (T, N), or (1, N) if all times share them."""
    if gs is None:
        return _flat(POOL.empty(x[:1].shape, strides, x.dtype).zero_())
    if gs.stride(0) == 0 or gs.shape[0] == 1:
        gs = gs[:1]
    if same_strides(gs, strides):
        return _flat(gs)
    return _flat(POOL.empty(gs.shape, strides, gs.dtype).copy_(gs))


def _shaped(sink: Tensor, value: Tensor) -> Tensor:
    """Return the gradient per neuron in the shape of the value."""
    if value.numel() == 1:  # summed in one order, whatever the number of threads
        return torch.tensor(np.sum(_step(sink), dtype=np.float64), dtype=torch.float32).reshape(
            value.shape
        )
    return sink.contiguous()


def _step(v: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = v.detach().as_strided((v.numel(),), (1,)).numpy()
    return array


def _flat(x: Tensor) -> NDArray[Any]:
    neurons = x[0].numel()
    flat = x.detach().as_strided((x.shape[0], neurons), (neurons, 1))  # (T, ...) -> (T, N)
    array: NDArray[Any] = (flat.view(torch.int16) if x.dtype == torch.bfloat16 else flat).numpy()
    return array
