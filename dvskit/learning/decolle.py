"""DECOLLE: each layer learns online from a loss of its own, without gradients of other layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError
from dvskit.learning.decolle_layers import DecolleLayerState, DecolleNetwork
from dvskit.learning.rule import Loss, check_batch, check_loss, loss_value, squared_error


@check_arguments
@dataclass(frozen=True, slots=True)
class Activity:
    """Keeps the potentials of a layer in reach of the threshold (Kaiser et al. 2020).

    high  cost of the mean of [U + 0.01]+: too active      low  of [0.1 - mean U]+: too quiet

    Means are over the neurons of a sample, and the costs a sum over samples, as losses are.
    Raises ConfigError for costs that are not finite or below 0.
    """

    high: float = 0.0
    low: float = 0.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(cost) and cost >= 0 for cost in (self.high, self.low)):
            raise ConfigError(
                f"Activity: high = {self.high}, low = {self.low}: finite costs from 0 on are meant"
            )

    def cost(self, u: Tensor) -> Tensor:
        """Return the cost of potentials (B, ...), one number."""
        u = u.flatten(1)
        high = (u + 0.01).clamp(min=0).mean(1)
        low = (0.1 - u.mean(1)).clamp(min=0)
        return (self.high * high + self.low * low).sum()


@dataclass(frozen=True, slots=True)
class DECOLLEState:
    """What DECOLLE carries.

    network   the state of each layer         loss      the sum of the losses so far, (layers,)
    readouts  what each layer's readout gave in the last step, (layers, B, outputs)
    """

    network: tuple[DecolleLayerState, ...] | None
    loss: Tensor
    readouts: Tensor


@check_arguments
class DECOLLE(nn.Module):
    """Deep continuous local learning (Kaiser, Mostafa & Neftci 2020).

    At each time step, each layer's fixed random readout is compared with the target, and the
    layer's weights get the gradient of that local loss alone:

        dL/dW = sum_t (G^T dL_t/dy_t * sigma'(U_t)) P_t^T

    It is the exact gradient of the sum of the local losses where no gradient flows from a layer
    into the one before, nor through R: P depends on no weight of the layer.

    network   a DecolleNetwork, whose layers' weights are learned
    loss      of one time step and layer, (output, target) -> one number
    activity  keeps potentials near the threshold; None: not

    It is called as every `Rule`; the output is the last layer's readout, `state.readouts` are those
    of all layers. Gradients are in `.grad` after each `step`, and an optimiser may step there. No
    memory of the past is kept but P, Q and R.
    """

    def __init__(
        self,
        network: DecolleNetwork,
        loss: Loss = squared_error,
        *,
        activity: Activity | None = None,
    ) -> None:
        super().__init__()
        check_loss("DECOLLE", loss)
        self.network, self.loss, self.activity = network, loss, activity

    def start(self, batch: int) -> DECOLLEState:
        """Return the state before the first time step of `batch` samples."""
        check_batch(batch)
        layers = self.network.rows()
        zeros = layers[0].weights.weight.detach().new_zeros
        return DECOLLEState(
            None, zeros(len(layers)), zeros(len(layers), batch, self.network.outputs)
        )

    def step(
        self, state: DECOLLEState, x: Tensor, target: Tensor | None = None
    ) -> tuple[Tensor, DECOLLEState]:
        """Return the output (B, outputs) for inputs (B, *shape), and the new state.

        Adds the gradients of all layers where there is a target. Raises ShapeError for inputs of
        another shape or batch than the state's.
        """
        self.network.check(x, state.readouts.shape[1])
        layers, readouts, losses = [], [], []
        for number, layer in enumerate(self.network.rows()):
            before = None if state.network is None else state.network[number]
            with torch.set_grad_enabled(target is not None):
                u, spikes, after = layer.advance(x.detach(), before)
                y = self.network.readout(number, spikes)
                if target is not None:
                    losses.append(self._learn(u, y, target))
            layers.append(DecolleLayerState(*(each.detach() for each in after)))
            readouts.append(y.detach())
            x = spikes
        loss = state.loss + torch.stack(losses) if losses else state.loss
        return readouts[-1], DECOLLEState(tuple(layers), loss, torch.stack(readouts))

    def finish(self, state: DECOLLEState) -> None:
        """Do nothing: all gradients are known after each step."""

    def _learn(self, u: Tensor, y: Tensor, target: Tensor) -> Tensor:
        value = loss_value(self.loss(y, target))
        whole = value if self.activity is None else value + self.activity.cost(u)
        if whole.requires_grad:  # not where a layer is frozen
            whole.backward()  # type: ignore[no-untyped-call]
        return value.detach()
