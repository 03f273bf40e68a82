"""LIF neurons that feed their spikes back through weights."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ShapeError
from dvskit.neurons.driver import Backend, broadcasts
from dvskit.neurons.dynamics import ATAN, Dynamics, NeuronState, NeuronStep, Reset, take_step
from dvskit.neurons.lif import LIF
from dvskit.neurons.operator import run_fused
from dvskit.neurons.surrogates import Surrogate


@check_arguments
class RecurrentLIF(LIF):
    """A layer of LIF neurons that feeds its spikes back: x_t + W s_{t-1} in place of x_t.

    recurrent  W: a module from spikes (B, ...) to currents of the same shape, such as nn.Linear, or
               one weight per neuron: a tensor that broadcasts against one time step (an
               nn.Parameter is learned)

    The state also has the spikes of the last step, `s`. Time steps run one after another, as each
    needs the spikes of the last.

        neurons = dvskit.neurons.RecurrentLIF(torch.nn.Linear(10, 10, bias=False), beta=0.9)
        spikes, state = neurons.run(torch.rand(20, 8, 10))  # (20, 8, 10)
        state.s.shape  # (8, 10): the spikes that the next step feeds back
    """

    def __init__(
        self,
        recurrent: nn.Module | Tensor,
        beta: float | Tensor = 0.9,
        threshold: float | Tensor = 1.0,
        threshold_off: float | Tensor = math.inf,
        reset: Reset = "soft",
        surrogate: Surrogate = ATAN,
        detach_reset: bool = True,
        backend: Backend = "auto",
        *,
        gain: float | Tensor | None = None,
        rest: float | Tensor | None = None,
        refractory: int = 0,
    ) -> None:
        how = (reset, surrogate, detach_reset, backend)
        more: dict[str, Any] = {"gain": gain, "rest": rest, "refractory": refractory}
        super().__init__(beta, threshold, threshold_off, *how, **more)
        if isinstance(recurrent, Tensor) and not isinstance(recurrent, nn.Parameter):
            self.register_buffer("recurrent", recurrent)
        else:
            self.recurrent = recurrent

    def _run_fused(
        self, dynamics: Dynamics, x: Tensor, state: NeuronState
    ) -> tuple[Tensor, NeuronState]:
        """Run the kernel on one step after another."""
        spikes = []
        for current in x.unbind(0):
            fed = (current + self._fed_back(current, state.s))[None]
            fired, inner = run_fused(dynamics, fed, replace(state, s=None))
            state = replace(inner, s=fired[0].to(inner.v.dtype))
            spikes.append(fired[0])
        return torch.stack(spikes), state

    def _take_step(self, dynamics: Dynamics, state: NeuronState, current: Tensor) -> NeuronStep:
        """Take one step in plain torch with the spikes of the last step as feedback."""
        step = take_step(dynamics, state, current + self._fed_back(current, state.s))
        s = step.spikes.to(step.state.v.dtype)
        return step._replace(state=replace(step.state, s=s))

    def _checked(self, dynamics: Dynamics, x: Tensor, state: NeuronState | None) -> NeuronState:
        state = super()._checked(dynamics, x, state)
        self._check_recurrent(x.shape[1:])
        return state

    def _check_recurrent(self, step: torch.Size) -> None:
        """Raise ShapeError if W cannot take the spikes of one time step, of shape `step`."""
        given = self.recurrent
        size: tuple[int, ...]
        if isinstance(given, nn.Linear):
            fits, size = step[-1:] == (given.in_features,), (given.out_features, given.in_features)
        elif isinstance(given, Tensor):
            fits, size = broadcasts(given.shape, step), tuple(given.shape)
        else:
            return
        if not fits:
            raise ShapeError(
                f"RecurrentLIF: recurrent, of shape {size}, does not take the spikes of one step, "
                f"{tuple(step)}; give torch.nn.Linear(N, N, bias=False) for N fully connected "
                "neurons, or a tensor (N,) with one weight per neuron"
            )

    def _fed_back(self, current: Tensor, s: Tensor | None) -> Tensor:
        """Return W s in the dtype of the currents."""
        if s is None:
            s = torch.zeros_like(current)
        s = s.to(current.dtype)
        fed = self.recurrent(s) if isinstance(self.recurrent, nn.Module) else self.recurrent * s
        if fed.shape != current.shape:
            raise ShapeError(
                f"RecurrentLIF: the recurrent part gives {tuple(fed.shape)} for spikes "
                f"{tuple(s.shape)}; it must keep the shape"
            )
        return fed.to(current.dtype)
