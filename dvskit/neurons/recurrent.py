"""The leaky integrate-and-fire neuron that is fed its layer's spikes of a step ago."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, ShapeError
from dvskit.neurons.driver import Backend, broadcasts
from dvskit.neurons.dynamics import ATAN, Dynamics, NeuronState, Reset, Step, take_step
from dvskit.neurons.lif import LIF
from dvskit.neurons.surrogates import Surrogate


@check_arguments
class RecurrentLIF(LIF):
    """A layer of LIF neurons that feeds its spikes back: x_t + W s_{t-1} in place of x_t.

    recurrent  W: a module from spikes (B, ...) to currents of the same shape, such as nn.Linear, or
               one weight a neuron: a tensor that broadcasts against one time step (an nn.Parameter
               is learned)

    The state has the spikes of the last step, `s`. All else is as in `LIF`. Time steps are taken
    one after another, as each needs the spikes of the last.
    Raises ShapeError where W s has another shape than x_t, and as LIF does; ConfigError for a
    `recurrent` that is neither a module nor a tensor, and as LIF does.
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
        super().__init__(
            beta,
            threshold,
            threshold_off,
            reset,
            surrogate,
            detach_reset,
            backend,
            gain=gain,
            rest=rest,
            refractory=refractory,
        )
        if not isinstance(recurrent, nn.Module | Tensor):
            raise ConfigError(
                f"RecurrentLIF: recurrent = {recurrent!r} is neither a module nor a tensor; take "
                "torch.nn.Linear(N, N, bias=False) for N neurons that are all connected"
            )
        if isinstance(recurrent, Tensor) and not isinstance(recurrent, nn.Parameter):
            self.register_buffer("recurrent", recurrent)
        else:
            self.recurrent = recurrent

    def run(self, x: Tensor, state: NeuronState | None = None) -> tuple[Tensor, NeuronState]:
        """Return the spikes of `x` (T, ...) and the state after it, as `LIF.run` does."""
        spikes = []
        state = self._checked(self.dynamics, x, state)
        self._check_recurrent(x.shape[1:])
        for current in x.unbind(0):
            fired, inner = super().run((current + self._fed_back(current, state.s))[None],
                                       replace(state, s=None))  # fmt: skip
            state = replace(inner, s=fired[0].to(inner.v.dtype))
            spikes.append(fired[0])
        return (torch.stack(spikes) if spikes else x.clone()), state

    def _take_step(self, dynamics: Dynamics, state: NeuronState, current: Tensor) -> Step:
        """Take one step in plain torch, fed the spikes of the last."""
        step = take_step(dynamics, state, current + self._fed_back(current, state.s))
        s = step.spikes.to(step.state.v.dtype)
        return step._replace(state=replace(step.state, s=s))

    def _check_recurrent(self, step: torch.Size) -> None:
        """Raise ShapeError where W cannot take the spikes of one time step, of shape `step`."""
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
                f"{tuple(step)}; give torch.nn.Linear(N, N, bias=False) for N neurons that are all "
                "connected, or a tensor (N,) with one weight a neuron"
            )

    def _fed_back(self, current: Tensor, s: Tensor | None) -> Tensor:
        """Return W s, of the dtype of the currents."""
        if s is None:
            s = torch.zeros_like(current)
        s = s.to(current.dtype)
        fed = self.recurrent(s) if isinstance(self.recurrent, nn.Module) else self.recurrent * s
        if fed.shape != current.shape:
            raise ShapeError(
                f"RecurrentLIF: the recurrent part gives {tuple(fed.shape)} for spikes "
                f"{tuple(s.shape)}; the same shape is meant"
            )
        return fed.to(current.dtype)
