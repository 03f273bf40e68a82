"""Backpropagation through time: the reference that the other rules are compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError
from dvskit.learning.rule import Loss, Stepped, check_batch, check_loss, loss_value, squared_error
from dvskit.learning.van_rossum import VanRossum
from dvskit.neurons.dynamics import detached


@dataclass(frozen=True, slots=True)
class BPTTState:
    """What BPTT carries: the network's state with its graph, and the losses.

    network  the state of the network        pending  losses that are not differentiated yet
    loss     the sum of all losses so far, without a graph
    filters  the state of a loss that remembers, such as VanRossum
    steps    how many time steps there were
    """

    network: Any
    pending: Tensor | None
    loss: Tensor
    filters: Any = None
    steps: int = 0


@check_arguments
class BPTT(nn.Module):
    """Backpropagation through time with surrogate gradients, called as every `Rule`.

    network  any module with step(x, state) -> (output, state) whose parameters learn
    loss     of one time step, (output, target) -> one number; or VanRossum
    every    differentiate and cut the graph after this many time steps (truncated BPTT): memory for
             `every` steps, and the optimiser may step between. None: once, in `finish`

    Memory grows with the number of steps between two cuts. Raises ConfigError for every < 1 and a
    network without `step`.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Loss | VanRossum = squared_error,
        *,
        every: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(network, Stepped):
            raise ConfigError(
                f"BPTT: {type(network).__name__} has no step(x, state); take a network of "
                "dvskit.learning, or a module that has it"
            )
        if not isinstance(loss, VanRossum):
            check_loss("BPTT", loss)
        if every is not None and every < 1:
            raise ConfigError(f"BPTT: every = {every}: at least 1 time step is meant")
        self.network: Any = network
        self.loss = loss
        self.every = every

    def start(self, batch: int) -> BPTTState:
        """Return the state before the first time step; the batch is that of the first input."""
        check_batch(batch)
        like = next(self.network.parameters(), torch.zeros(()))
        return BPTTState(None, None, like.new_zeros((), requires_grad=False))

    def step(
        self, state: BPTTState, x: Tensor, target: Tensor | None = None
    ) -> tuple[Tensor, BPTTState]:
        """Return the output for the inputs of one time step, with its graph, and the new state."""
        output, network = self.network.step(x, state.network)
        pending, filters, total = state.pending, state.filters, state.loss
        value = None
        if isinstance(self.loss, VanRossum):
            value, filters = self.loss.step(output, target, filters)
        elif target is not None:
            value = loss_value(self.loss(output, target))
        if value is not None:
            pending = value if pending is None else pending + value
            total = total + value.detach()
        after = BPTTState(network, pending, total, filters, state.steps + 1)
        if self.every is not None and after.steps % self.every == 0:
            self.finish(after)
            network, filters = detached(after.network), detached(after.filters)
            after = replace(after, network=network, filters=filters, pending=None)
        return output, after

    def finish(self, state: BPTTState) -> None:
        """Differentiate the losses since the last cut, and add to the parameters' `.grad`."""
        if state.pending is not None and state.pending.requires_grad:
            state.pending.backward()  # type: ignore[no-untyped-call]
