"""What neurons carry from one time step to the next."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class NeuronState:
    """The state of a layer behind a time step; each tensor has the shape of one time step.

    v        membrane potential, after the reset
    i        synaptic current, of neurons that have one
    a        adaptation of the threshold, of neurons that adapt: decayed count of their spikes
    waiting  int32: for how many more steps the neuron does not spike, if it has a refractory time
    s        spikes of the step, of recurrent neurons

    v, i, a and s are float32, or float64 for float64 currents. Parts that a neuron lacks are None.
    """

    v: Tensor
    i: Tensor | None = None
    a: Tensor | None = None
    waiting: Tensor | None = None
    s: Tensor | None = None

    @classmethod
    def rest(cls, current: Tensor) -> NeuronState:
        """Return the state v = 0 for currents shaped like `current`, one time step."""
        return cls(torch.zeros_like(current, dtype=state_dtype(current), requires_grad=False))

    def detach(self) -> NeuronState:
        """Return the same state cut off from its past: gradients stop here."""
        return NeuronState(
            self.v.detach(), _cut(self.i), _cut(self.a), _cut(self.waiting), _cut(self.s)
        )


STATE_PARTS = ("v", "i", "a", "waiting", "s")


def _cut(part: Tensor | None) -> Tensor | None:
    return None if part is None else part.detach()


def state_dtype(current: Tensor) -> torch.dtype:
    """Return the dtype of the state of neurons that take such currents."""
    # A membrane in half precision would lose small currents; spikes are exact in either.
    return torch.float64 if current.dtype == torch.float64 else torch.float32
