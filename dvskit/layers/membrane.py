"""The membranes of neurons in place of their spikes, for readouts and losses at each step."""

from __future__ import annotations

from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ShapeError
from dvskit.neurons import Neurons, NeuronState


@check_arguments
class Membrane(nn.Module):
    """Neurons whose output is their membrane: (T, ...) currents in, (T, ...) potentials out.

    The potential of a step is that ahead of the reset, h in `dvskit.neurons.dynamics`: the neurons
    spike and are reset as ever, and the step at which one spikes shows the highest potential. As
    the last layer it gives membranes (T, B, classes) for a loss at each step, and in front of a
    MeanMembrane or LastMembrane one answer. Computed in plain torch (`Neurons.trace`), in float32
    (float64 for float64): in half precision they would make poor logits. Gradients flow through
    potentials and states.

    Raises ShapeError as the neurons do, and for currents without time steps.
    """

    def __init__(self, neurons: Neurons) -> None:
        super().__init__()
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
        traced = self.neurons.trace(x, state)
        return traced.h, traced.state
