"""Leaky integrate-and-fire neurons that may spike several times in a time step."""

from __future__ import annotations

from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.errors import check_least
from dvskit.neurons.driver import Neurons
from dvskit.neurons.dynamics import ATAN, Dynamics, NeuronState, NeuronStep
from dvskit.neurons.surrogates import Surrogate, spike


@check_arguments
class BurstLIF(Neurons):
    """A LIF layer of up to `most` spikes a step: (T, ...) currents in, (T, ...) counts out.

    h = beta v + x;  s = sum of [h / threshold >= k] for k = 1 to `most`;  v = h - s threshold.

    One spike says little in a step of 100 ms; with counts a layer can replace a ReLU. With beta = 0
    a count is the rectified current in units of the threshold, rounded down. Layers learn from
    counts as those of Luo et al. 2024, "Integer-valued training and spike-driven inference spiking
    neural network"; the gradient is the sum of the surrogates of h / threshold - k. most = 1 is LIF
    with a soft reset, but for the unit of the surrogate. Runs in plain torch. Everything else is as
    in `LIF`. Raises ConfigError if most < 1.

        neurons = dvskit.neurons.BurstLIF(beta=0.0, most=4)
        neurons(torch.tensor([[0.5], [1.5], [2.5], [9.0]]))  # [[0], [1], [2], [4]]
    """

    beta: float | Tensor
    threshold: float | Tensor

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        threshold: float | Tensor = 1.0,
        most: int = 4,
        surrogate: Surrogate = ATAN,
        detach_reset: bool = True,
    ) -> None:
        check_least(type(self).__name__, 1, most=most)
        values = {"beta": beta, "threshold": threshold}
        super().__init__(values, "soft", surrogate, detach_reset, "torch")
        self.most = most

    def _take_step(self, dynamics: Dynamics, state: NeuronState, current: Tensor) -> NeuronStep:
        """Take one step in plain torch."""
        threshold = dynamics.threshold
        h = dynamics.beta * state.v + current.to(state.v.dtype)
        levels = h / threshold
        count = spike(levels - 1, dynamics.surrogate)
        for number in range(2, self.most + 1):
            count = count + spike(levels - number, dynamics.surrogate)
        taken = count.detach() if dynamics.detach_reset else count
        after = NeuronState(h - threshold * taken)
        return NeuronStep(count.to(current.dtype), h, threshold, after)

    def extra_repr(self) -> str:
        """Return the arguments for the repr; of tensors the shape."""
        return f"most={self.most}, {super().extra_repr()}"
