"""What goes on inside neurons at each time step, for plots, readouts and losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dvskit.neurons.dynamics import Step
from dvskit.neurons.state import NeuronState


@dataclass(frozen=True, slots=True)
class Traced:
    """What neurons did at each step of currents (T, ...); each tensor has the currents' shape.

    spikes     what `run` returns, in the dtype of the currents
    h          potential ahead of the reset: a spike is decided on it
    v          potential behind the reset
    threshold  of upward spikes, as adaptation moved it; inf of neurons that do not spike
    state      the state behind the last step

    h, v and threshold are float32, or float64 for float64 currents.
    """

    spikes: Tensor
    h: Tensor
    v: Tensor
    threshold: Tensor
    state: NeuronState


def traced(x: Tensor, start: NeuronState, steps: Sequence[Step]) -> Traced:
    """Return the steps that were taken over currents `x` (T, ...), from the state `start`."""
    if not steps:
        none = x.to(start.v.dtype)
        return Traced(x.clone(), none, none, none, start)
    return Traced(
        torch.stack([step.spikes for step in steps]),
        torch.stack([step.h for step in steps]),
        torch.stack([step.state.v for step in steps]),
        torch.stack([_threshold(step) for step in steps]),
        steps[-1].state,
    )


def _threshold(step: Step) -> Tensor:
    """Return the threshold of each neuron at a step, in the dtype of h."""
    if isinstance(step.threshold, Tensor):
        return step.threshold.to(step.h).expand_as(step.h)
    return torch.full_like(step.h, step.threshold)
