"""The LIF layer as one fused operation of autograd, for float32 and bfloat16 on the CPU.

The forward pass keeps its input only; the backward pass recomputes the potentials in the cache.
Any dense layout of one time step is worked on as it lies (channels_last too), and gradients come
back in the same layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from dvskit._threads import run_parts, thread_count
from dvskit.neurons._kernels import lif_backward, lif_forward
from dvskit.neurons.dynamics import Dynamics
from dvskit.neurons.state import NeuronState
from dvskit.neurons.surrogates import ATan

_SMALLEST_PART = 1 << 17  # elements; below about 0.1 ms of work a thread costs more than it gives


@dataclass(frozen=True, slots=True)
class Constants:
    """The parameters of the layer, as `lif_step` takes them; threshold_off None means binary."""

    beta: float
    threshold: float
    threshold_off: float | None
    alpha: float
    soft: bool
    detach_reset: bool


def why_not_fused(x: Tensor, dynamics: Dynamics) -> str | None:
    """Return why the fused kernel cannot take this input, or None if it can."""
    if type(dynamics.surrogate) is not ATan:
        return f"it knows the surrogate ATan only, not {dynamics.surrogate!r}"
    optional = (dynamics.alpha, dynamics.gain, dynamics.rest, dynamics.kappa)
    if any(value is not None for value in optional) or dynamics.tensors() or dynamics.refractory:
        return "it knows numbers for beta and the thresholds only"
    if dynamics.reset == "none":
        return "it knows soft and hard resets only"
    if x.device.type != "cpu" or x.layout != torch.strided:
        return f"it takes dense tensors on the cpu, not {x.layout} on {x.device}"
    if x.dtype not in (torch.float32, torch.bfloat16):
        return f"it takes float32 and bfloat16, not {x.dtype}"
    if torch.compiler.is_compiling():
        return "it cannot be traced by torch.compile"
    return None


def run_fused(dynamics: Dynamics, x: Tensor, state: NeuronState) -> tuple[Tensor, NeuronState]:
    """Return the spikes of `x` (T, ...), T >= 1, and the state after it."""
    constants = Constants(
        beta=cast(float, dynamics.beta),
        threshold=cast(float, dynamics.threshold),
        threshold_off=cast(float, dynamics.threshold_off) if dynamics.signed else None,
        alpha=cast(ATan, dynamics.surrogate).alpha,  # why_not_fused has looked
        soft=dynamics.reset == "soft",
        detach_reset=dynamics.detach_reset,
    )
    spikes, v = fused_lif(x, state.v, constants)
    return spikes, NeuronState(v)


def fused_lif(x: Tensor, v: Tensor | None, constants: Constants) -> tuple[Tensor, Tensor]:
    """Return the spikes of `x` (T, ...), T >= 1, and the potentials after it; v None is rest."""
    return cast(
        tuple[Tensor, Tensor],
        _FusedLIF.apply(x, v, constants),  # type: ignore[no-untyped-call]
    )


class _FusedLIF(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, v: Tensor | None, constants: Constants
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.constants = constants
        x = x if _is_flat(x) else x.contiguous()
        strides = _flat_strides(x)
        s = torch.empty_strided(x.shape, strides, dtype=x.dtype)
        v_end = _membrane(v, x.shape[1:], strides[1:])
        beta, on, off, flags = _scalars(constants)
        flat_x, flat_s, flat_v = _flat(x), _flat(s), _flat(v_end[None])[0]

        def part(start: int, stop: int) -> None:
            lif_forward(flat_x, flat_s, flat_v, start, stop, beta, on, off, flags)

        _over_neurons(part, flat_x.shape)
        ctx.save_for_backward(x, v)
        return s, v_end

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gs: Tensor | None, gv: Tensor | None) -> Any:
        x, v = ctx.saved_tensors
        strides = _flat_strides(x)
        gs = _in_layout(torch.zeros_like(x) if gs is None else gs, strides)
        gx = torch.empty_strided(x.shape, strides, dtype=x.dtype)
        gv_start = _membrane(gv, x.shape[1:], strides[1:])
        flat_v = _flat(_membrane(v, x.shape[1:], strides[1:])[None])[0]
        flat_x, flat_gs, flat_gx = _flat(x), _flat(gs), _flat(gx)
        flat_gv = _flat(gv_start[None])[0]
        beta, on, off, flags = _scalars(ctx.constants)
        alpha = np.float32(ctx.constants.alpha)

        def part(start: int, stop: int) -> None:
            arrays = (flat_x, flat_gs, flat_v, flat_gx, flat_gv)
            lif_backward(*arrays, start, stop, beta, on, off, alpha, flags)

        _over_neurons(part, flat_x.shape)
        return gx, gv_start if ctx.needs_input_grad[1] else None, None


def _scalars(c: Constants) -> tuple[np.float32, np.float32, np.float32, tuple[bool, bool, bool]]:
    off = np.float32(0.0 if c.threshold_off is None else c.threshold_off)
    flags = (c.soft, c.threshold_off is not None, c.detach_reset)
    return np.float32(c.beta), np.float32(c.threshold), off, flags


def _over_neurons(work: Any, shape: tuple[int, ...]) -> None:
    steps, neurons = shape
    parts = max(1, min(thread_count(), steps * neurons // _SMALLEST_PART))
    cuts = [neurons * part // parts for part in range(parts + 1)]
    run_parts(lambda part: work(cuts[part], cuts[part + 1]), parts)


def _is_flat(x: Tensor) -> bool:
    """Return whether each time step fills a run of memory, and the steps follow one another."""
    expected = 1
    dims = [dim for dim in range(1, x.ndim) if x.shape[dim] > 1]
    for dim in sorted(dims, key=x.stride):
        if x.stride(dim) != expected:
            return False
        expected *= x.shape[dim]
    return x.shape[0] == 1 or x.stride(0) == expected


def _flat_strides(x: Tensor) -> tuple[int, ...]:
    return (x[0].numel(), *x.stride()[1:])


def _in_layout(x: Tensor, strides: tuple[int, ...]) -> Tensor:
    same = all(
        size == 1 or ours == wanted
        for size, ours, wanted in zip(x.shape, x.stride(), strides, strict=True)
    )
    return x if same else torch.empty_strided(x.shape, strides, dtype=x.dtype).copy_(x)


def _membrane(v: Tensor | None, shape: torch.Size, strides: tuple[int, ...]) -> Tensor:
    """Return a copy of v (0 if None), in the layout of one time step, for the kernel to write."""
    out = torch.empty_strided(shape, strides, dtype=torch.float32)
    return out.zero_() if v is None else out.copy_(v)


def _flat(x: Tensor) -> NDArray[Any]:
    neurons = x[0].numel()
    flat = x.detach().as_strided((x.shape[0], neurons), (neurons, 1))  # (T, ...) -> (T, N)
    array: NDArray[Any] = (flat.view(torch.int16) if x.dtype == torch.bfloat16 else flat).numpy()
    return array
