"""SpikeProp: backpropagation through the times of single spikes (Bohte, Kok & La Poutré 2002).

Every neuron spikes at most once. The error is that of the times of the output spikes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.encoders.checking import generator_from
from dvskit.errors import ConfigError, ShapeError
from dvskit.learning.rule import checked_sizes
from dvskit.learning.spike_times import Synapses, divided_by_slope, first_spikes


@check_arguments
def time_error(actual: Tensor, desired: Tensor, *, silent_at: float) -> Tensor:
    """Return E = 1/2 sum (t_actual - t_desired)^2 over neurons and batch.

    Both are (B, M). A neuron that did not spike (inf) counts as a spike at `silent_at`; that part
    has no gradient. Raises ShapeError if the shapes differ.
    """
    if actual.shape != desired.shape:
        raise ShapeError(
            f"time_error: actual times {tuple(actual.shape)} and desired {tuple(desired.shape)} "
            "must have the same shape"
        )
    counted = torch.where(actual == math.inf, silent_at, actual)
    return 0.5 * ((counted - desired) ** 2).sum()


@check_arguments
def spikeprop_gradients(
    times: Tensor, weights: Sequence[Tensor], desired: Tensor, synapses: Synapses
) -> list[Tensor]:
    """Return dE/dweight of each layer in the written form of the rule, for E of `time_error`.

    For an output neuron j, delta_j = (t_desired - t_actual) / u_j'; for a hidden neuron i, delta_i
    = sum over j of delta_j (sum over delays of w_ij alpha'(t_j - t_i - d)) / u_i'. u' is the slope
    of the neuron's potential at its spike, sum of w alpha'. Then dE/dw_ij = delta_j alpha(t_j - t_i
    - d), summed over the batch, and the step is minus a learning rate times it. Neurons that do not
    spike have delta 0.

    The rule divides by slopes of the *response* in time. In the article's delta_j, and in the
    hidden delta of the paper, that slope is written d y_i(t_j) / d t. With respect to the later
    spike t_j it has the sign used here; with respect to the earlier one, t_i, the opposite sign.

    `times` (B, N) are the input spikes, `weights` the layers' (M, N, L), `desired` (B, M) the times
    of the last layer. Autograd through `first_spikes` gives the same result.
    """
    spikes = [times]
    for weight in weights:
        spikes.append(first_spikes(spikes[-1], weight, synapses).detach())
    gradients: list[Tensor] = []
    error_in = torch.where(spikes[-1] == math.inf, 0, desired - spikes[-1])
    for weight, before, after in zip(
        reversed(weights), reversed(spikes[:-1]), reversed(spikes[1:]), strict=True
    ):
        since = synapses.since_arrival(before, after)  # (B, M, N, L)
        pull = (weight.detach() * synapses.alpha_slope(since)).sum(3)
        delta = divided_by_slope(error_in, pull.sum(2), synapses)
        gradients.append((delta[:, :, None, None] * synapses.alpha(since)).sum(0))
        error_in = (delta[:, :, None] * pull).sum(1)
    return gradients[::-1]


@check_arguments
class SpikePropLayer(nn.Module):
    """A layer of neurons that spike once: input times (B, inputs) in, spike times (B, outputs) out.

    `weight` (outputs, inputs, delays) is drawn uniformly from [0, 2 m) such that simultaneous
    inputs drive an average neuron to `drive` times its threshold. `generator` is a torch.Generator
    or a seed; the default is torch's generator. Raises ConfigError for sizes below 1 or a drive not
    above 0.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        synapses: Synapses,
        *,
        generator: torch.Generator | int | None = None,
        drive: float = 2.0,
    ) -> None:
        super().__init__()
        if min(inputs, outputs) < 1:
            raise ConfigError(
                f"SpikePropLayer: {inputs} inputs, {outputs} outputs; both must be at least 1"
            )
        if not (math.isfinite(drive) and drive > 0):
            raise ConfigError(f"SpikePropLayer: drive = {drive} is not a finite number above 0")
        self.synapses = synapses
        drawn_by = generator_from(generator, "SpikePropLayer", "generator")
        drawn = torch.rand(outputs, inputs, len(synapses.delays), generator=drawn_by)
        mean = drive * synapses.threshold / (inputs * _highest(synapses))
        self.weight = nn.Parameter(2 * mean * drawn)

    def forward(self, times: Tensor) -> Tensor:
        """Return the spike times (B, outputs) for input times (B, inputs); inf for no spike."""
        return first_spikes(times, self.weight, self.synapses)

    def extra_repr(self) -> str:
        """Return the arguments for the repr."""
        outputs, inputs, _ = self.weight.shape
        return f"{inputs}, {outputs}, {self.synapses}"


@check_arguments
class SpikeProp(nn.Module):
    """Layers of neurons that spike once each, trained by the times of their spikes.

        network = SpikeProp([3, 5, 1], Synapses(tau=7.0), generator=1)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        for step in range(steps):
            times = network.run(inputs)
            optimizer.zero_grad()
            time_error(times[-1], desired, silent_at=40.0).backward()
            optimizer.step()
            network.wake(times, by=0.01)

    `sizes` counts the neurons of each layer, inputs first. All layers share one `Synapses`. The
    gradient is exact: see `first_spikes`. A neuron that never spikes has no gradient and would not
    learn again; `wake` raises its weights. Raises ConfigError for fewer than two sizes, and as
    SpikePropLayer does.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        synapses: Synapses,
        *,
        generator: torch.Generator | int | None = None,
        drive: float = 2.0,
    ) -> None:
        super().__init__()
        sizes = checked_sizes("SpikeProp", "sizes", sizes)
        if len(sizes) < 2:
            raise ConfigError(f"SpikeProp: sizes = {list(sizes)} must name inputs and outputs")
        drawn_by = generator_from(generator, "SpikeProp", "generator")
        self.layers = nn.ModuleList(
            SpikePropLayer(inputs, outputs, synapses, generator=drawn_by, drive=drive)
            for inputs, outputs in pairwise(sizes)
        )

    def forward(self, times: Tensor) -> Tensor:
        """Return the spike times (B, M) of the last layer for input times (B, N)."""
        return self.run(times)[-1]

    def run(self, times: Tensor) -> list[Tensor]:
        """Return the spike times (B, neurons) of each layer in turn, without the inputs."""
        spikes = []
        for layer in self.layers:
            times = layer(times)
            spikes.append(times)
        return spikes

    def wake(self, times: Sequence[Tensor], by: float) -> int:
        """Add `by` to every weight of the silent neurons; return the number of these neurons.

        `times` is the result of `run`. A neuron of the last layer is silent if it missed any input
        of the batch; a hidden one, if it spiked for none.
        """
        woken = 0
        for layer, spikes in zip(self.layers, times, strict=True):
            missed = spikes.detach() == math.inf
            silent = missed.any(0) if layer is self.layers[-1] else missed.all(0)
            with torch.no_grad():
                cast(Tensor, layer.weight)[silent] += by
            woken += int(silent.sum())
        return woken


def _highest(synapses: Synapses) -> float:
    """Return the highest potential for one input with weight 1 through every delay."""
    until = max(synapses.delays) + 2 * synapses.tau
    t = torch.linspace(0, until, 1000, dtype=torch.float64)[:, None]
    return float(synapses.alpha(t - t.new_tensor(synapses.delays)).sum(1).max())
