"""The fused kernels on a GPU, in Triton, for float32, bfloat16 and float16.

Builds of torch for a GPU that Triton supports bring it along. It is imported and tried once, at the
first tensor, as it needs a C compiler. If it fails, layers run in plain torch. The forward pass
keeps its input and start state only.

The backward pass writes the potentials into the memory of the gradient of a float32 input, and
needs no other memory for the plain neuron. Inputs of 16 bits, adaptation, refractory steps, a
learned beta, and, with a synapse, a learned alpha or gain each take scratch memory: 4 bytes per
step and active neuron. As many neurons are active as fit into `SCRATCH` bytes, but at least one
block.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor

from dvskit.neurons.buffers import is_dense, same_strides, strides_of
from dvskit.neurons.dynamics import (
    VALUES,
    ATan,
    Boxcar,
    Dynamics,
    FastSigmoid,
    Gradients,
    NeuronState,
    Sigmoid,
    Triangle,
)

SCRATCH = 1 << 28
WARPS = 4
_OLDEST = (7, 0)  # the lowest compute capability that Triton supports
_INSTALLED = importlib.util.find_spec("triton") is not None


def block_of(neurons: int) -> int:
    """Return the number of neurons per program."""
    # Four per thread fill the 16 bytes of a load; with few neurons one per thread keeps all busy.
    return 32 * WARPS * (4 if neurons >= 1 << 19 else 1)


def why_not(x: Tensor) -> str | None:
    """Return why the kernels cannot take this input, or None if they can."""
    if x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"they take float32, bfloat16 and float16, not {x.dtype}"
    if not _INSTALLED:
        return "Triton, which compiles them, is not installed"
    # Under torch.compile no trial is possible; torch.compile needs the same of a GPU itself.
    return _failure(x.device) if x.is_cuda and not torch.compiler.is_compiling() else None


def forward(dynamics: Dynamics, x: Tensor, state: NeuronState) -> tuple[Tensor, NeuronState]:
    """Return the spikes of x (T, ...), and the state after it."""
    from dvskit.neurons import triton_kernels as kernels

    x = x if is_dense(x) else x.contiguous()
    strides = strides_of(x)
    s = _empty(x.shape, strides, x)
    before = [_dense(part, strides[1:]) for part in state.parts]
    after = [None if part is None else torch.empty_like(part) for part in before]
    steps, neurons = x.shape[0], x[0].numel()
    block = block_of(neurons)
    with _device_of(x):
        kernels.neurons_forward[(_ceil(neurons, block),)](
            x, s, *before, *after, *_given(dynamics, x.shape[1:], strides[1:]),
            steps, neurons, dynamics.refractory or None,
            **_flags(dynamics), BLOCK=block, num_warps=WARPS, enable_fp_fusion=False,
        )  # fmt: skip
    v, i, a, waiting = after
    assert v is not None  # every state has a membrane
    return s, NeuronState(v, i, a, waiting)


def backward(
    dynamics: Dynamics, x: Tensor, state: NeuronState, gradients: Gradients, wanted: Sequence[str]
) -> tuple[Tensor, Gradients, list[Tensor]]:
    """Return the gradients of x, of the state before it, and of the values wanted.

    gradients  of the spikes, and of the state after them
    """
    from dvskit.neurons import triton_kernels as kernels

    gs, *ends = gradients
    x = x if is_dense(x) else x.contiguous()
    strides = strides_of(x)
    shape, step = x.shape[1:], strides[1:]
    before = [_dense(part, step) for part in state.parts]
    gx = _empty(x.shape, strides, x)
    gs, gs_row = _in_time(gs, strides)
    ends = [_dense(part, step) for part in ends]
    starts = [None if part is None else _empty(shape, step, part) for part in before[:3]]
    sinks = {name: _empty(shape, step, state.v) for name in wanted}
    neurons, block = x[0].numel(), block_of(x[0].numel())
    rows, programs = _scratch(dynamics, x, wanted, block)
    with _device_of(x):
        kernels.neurons_backward[(programs,)](
            x, gs, gx, *before, *ends, *starts, *_given(dynamics, shape, step),
            *(sinks.get(name) for name in VALUES), *rows,
            x.shape[0], neurons, _ceil(_ceil(neurons, block), programs), gs_row,
            dynamics.refractory or None, *_slope(dynamics),
            **_flags(dynamics), LEARNED=_bits(wanted), ATTACHED=not dynamics.detach_reset,
            SURROGATE=type(dynamics.surrogate).__name__,
            BLOCK=block, num_warps=WARPS, enable_fp_fusion=False,
        )  # fmt: skip
    found = [_shaped(sinks[name], getattr(dynamics, name)) for name in wanted]
    return gx, (starts[0], starts[1], starts[2]), found


@cache
def _failure(device: torch.device) -> str | None:
    """Return why the kernels do not run on a GPU, or None; the smallest kernel is tried."""
    if torch.version.hip is None:
        able = torch.cuda.get_device_capability(device)
        if able < _OLDEST:
            return f"they need a GPU of compute capability {_OLDEST[0]}.{_OLDEST[1]}, not {able}"
    x = torch.zeros(1, 1, device=device)
    try:
        forward(Dynamics(beta=0.9, threshold=1.0), x, NeuronState(x[0]))
    except Exception as error:  # of a compiler, a linker, a driver: any kind
        said = (str(error).strip() or "no reason given").splitlines()[0]
        return f"Triton fails on {device} with {type(error).__name__}: {said}"
    return None


def _device_of(x: Tensor) -> AbstractContextManager[Any]:
    """Return a context that selects the device of `x`; in the interpreter it does nothing."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def _given(dynamics: Dynamics, shape: torch.Size, step: Sequence[int]) -> list[Any]:
    """Return the values in the form of the kernels: a number, a tensor (1,) or (N,), or None."""
    found: list[Any] = []
    for name in VALUES:
        value = getattr(dynamics, name)
        if not dynamics.has(name):
            found.append(None)
        elif isinstance(value, Tensor):
            value = value.detach().to(torch.float32)
            found.append(_dense(value.expand(shape), step) if value.numel() > 1 else value)
        else:
            found.append(float(value))
    return found


def _bits(names: Sequence[str]) -> int:
    return sum(1 << bit for bit, name in enumerate(VALUES) if name in names)


_WAITS = 1 << len(VALUES)


def _flags(dynamics: Dynamics) -> dict[str, Any]:
    tensors = dynamics.tensors()
    return {
        "PARTS": _bits([name for name in VALUES if dynamics.has(name)])
        + (_WAITS if dynamics.refractory else 0),
        "TENSORS": _bits(list(tensors)),
        "MANY": _bits([name for name, tensor in tensors.items() if tensor.numel() > 1]),
        "RESET": dynamics.reset,
        "MOST": dynamics.most,
        "SPIKES": dynamics.spikes,
    }


def _slope(dynamics: Dynamics) -> tuple[float, float]:
    """Return the parameters p and q of the surrogate's derivative."""
    match dynamics.surrogate:
        case ATan(alpha):
            return alpha / 2, math.pi / 2 * alpha
        case FastSigmoid(slope):
            return 1.0, slope
        case Sigmoid(alpha):
            return alpha, alpha
        case Triangle(width, height):
            return height, width
        case Boxcar(width, height):
            return height, width / 2
    return 1.0, 1.0


def _scratch(
    dynamics: Dynamics, x: Tensor, wanted: Sequence[str], block: int
) -> tuple[list[Tensor | None], int]:
    """Return the memory for h, v, i, a and ready in the backward pass, and the program count."""
    needed = (
        x.dtype != torch.float32,
        "beta" in wanted,
        dynamics.alpha is not None and bool({"alpha", "gain"} & set(wanted)),
        dynamics.kappa is not None,
        dynamics.refractory > 0,
    )
    programs = _ceil(x[0].numel(), block)
    if any(needed):
        each = sum(needed) * 4 * x.shape[0] * block
        programs = min(programs, max(1, SCRATCH // each))
    size = (programs, x.shape[0], block)
    rows = [torch.empty(size, dtype=torch.float32, device=x.device) if part else None
            for part in needed]  # fmt: skip
    return rows, programs


def _in_time(gs: Tensor | None, strides: Sequence[int]) -> tuple[Tensor | None, int]:
    """Return gradients with dense steps, and the number of elements between steps."""
    if gs is None:
        return None, 0
    if gs.shape[0] == 1 or gs.stride(0) == 0:  # all steps share one
        return _dense(gs[:1], strides), 0
    return _dense(gs, strides), strides[0]


def _dense(part: Tensor | None, strides: Sequence[int]) -> Tensor | None:
    return part if part is None or same_strides(part, strides) else _copied(part, strides)


def _copied(part: Tensor, strides: Sequence[int]) -> Tensor:
    return _empty(part.shape, strides, part).copy_(part)


def _empty(shape: Sequence[int], strides: Sequence[int], like: Tensor) -> Tensor:
    return torch.empty_strided(tuple(shape), tuple(strides), dtype=like.dtype, device=like.device)


def _shaped(sink: Tensor, value: Tensor) -> Tensor:
    """Return the gradient per neuron in the shape and dtype of the value."""
    if value.numel() == 1:
        return sink.sum(dtype=torch.float64).to(value.dtype).reshape(value.shape)
    return sink.contiguous().to(value.dtype)


def _ceil(count: int, size: int) -> int:
    return -(-count // size)
