"""When the fused kernels fit, and the run of a model through them."""

from __future__ import annotations

import torch
from torch import Tensor

from dvskit.neurons.dynamics import Dynamics
from dvskit.neurons.operator import BACKENDS, KNOWN, model_arguments, neurons
from dvskit.neurons.state import NeuronState


def why_not_fused(x: Tensor, dynamics: Dynamics) -> str | None:
    """Return why the fused kernels cannot take this input, or None if they can."""
    if type(dynamics.surrogate) not in KNOWN.values():
        return f"they know {', '.join(KNOWN)}, not {dynamics.surrogate!r}"
    if x.device.type not in BACKENDS or x.layout != torch.strided:
        return (
            f"they take dense tensors on the {' or '.join(BACKENDS)}, not {x.layout} on {x.device}"
        )
    return BACKENDS[x.device.type].why_not(x)


def run_fused(dynamics: Dynamics, x: Tensor, state: NeuronState) -> tuple[Tensor, NeuronState]:
    """Return the spikes of `x` (T, ...), T >= 1, and the state after it."""
    model = model_arguments(dynamics.cast(state.v.dtype), x.shape[1:])
    spikes, v, *others = neurons(x, state.v, state.i, state.a, state.waiting, *model)
    i = others.pop(0) if state.i is not None else None
    a = others.pop(0) if state.a is not None else None
    return spikes, NeuronState(v, i, a, others.pop(0) if state.waiting is not None else None)
