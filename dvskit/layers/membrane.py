"""The membranes of neurons in place of their spikes, for readouts and losses at each step."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, ShapeError
from dvskit.neurons import Neurons, NeuronState, RecurrentLIF
from dvskit.neurons.dynamics import Dynamics, Potential, advance


@check_arguments
class Membrane(nn.Module):
    """Neurons whose output is their membrane: (T, ...) currents in, (T, ...) potentials out.

    The potential of a step is that ahead of the reset, h in `dvskit.neurons.dynamics`: the neurons
    spike and are reset as ever, and the step at which one spikes shows the highest potential. As
    the last layer it gives membranes (T, B, classes) for a loss at each step, and in front of a
    MeanMembrane or LastMembrane one answer. Computed in plain torch, in float32 (float64 for
    float64); gradients flow through potentials and states.

    Raises ConfigError for recurrent neurons, ShapeError as the neurons do.
    """

    def __init__(self, neurons: Neurons) -> None:
        super().__init__()
        if isinstance(neurons, RecurrentLIF):
            raise ConfigError("Membrane: RecurrentLIF feeds its spikes back; take another neuron")
        self.neurons = neurons

    def forward(self, x: Tensor) -> Tensor:
        """Return the potentials (T, ...) at each step of `x` (T, ...), from rest."""
        return self.run(x)[0]

    def run(self, x: Tensor, state: NeuronState | None = None) -> tuple[Tensor, NeuronState]:
        """Return the potentials (T, ...) at each step of `x`, and the state behind it."""
        if x.ndim == 0 or x.shape[0] < 1 or not x.is_floating_point():
            raise ShapeError(
                f"Membrane takes floating-point currents (T, ...) with T >= 1, not {x.dtype} of "
                f"shape {tuple(x.shape)}"
            )
        dynamics = self.neurons.dynamics
        ahead = _without_reset(dynamics)
        # In the precision of the state: membranes in half precision would make poor logits.
        state = self.neurons.initial_state(x[0]) if state is None else state
        if state.v.shape != x.shape[1:]:
            raise ShapeError(
                f"Membrane: the state is of {tuple(state.v.shape)}, a step of the input of "
                f"{tuple(x.shape[1:])}; start a new batch from state=None"
            )
        potentials = []
        for current in x.to(state.v.dtype).unbind(0):
            potentials.append(advance(ahead, state, current)[0])
            state = advance(dynamics, state, current)[1]
        return torch.stack(potentials), state


def _without_reset(dynamics: Dynamics) -> Dynamics:
    """Return the same neurons without spikes: a step of them returns h."""
    return replace(
        dynamics, surrogate=Potential(), reset="none", threshold_off=math.inf, kappa=None,
        refractory=0,
    )  # fmt: skip
