"""Variants of LIF neurons: adaptive, synaptic, with a learned time constant, without spikes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError
from dvskit.neurons.driver import Backend, Neurons
from dvskit.neurons.dynamics import ATAN, Potential, Reset, Value
from dvskit.neurons.surrogates import Surrogate


@check_arguments
class ALIF(Neurons):
    """A layer of adaptive leaky integrate-and-fire neurons: (T, ...) currents to (T, ...) spikes.

    A spike raises the threshold by kappa, and the rise decays by rho per step: th = threshold +
    kappa a, then a = rho a + |s|. The threshold of downward spikes does not adapt. (Bellec et al.
    2020, e-prop, with beta for their alpha and kappa for their beta; they detach the reset.) Spikes
    pass a gradient to the adaptation even with detach_reset. Everything else is as in `LIF`.
    """

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        threshold: float | Tensor = 1.0,
        threshold_off: float | Tensor = math.inf,
        reset: Reset = "soft",
        surrogate: Surrogate = ATAN,
        detach_reset: bool = True,
        backend: Backend = "auto",
        *,
        kappa: float | Tensor = 0.1,
        rho: float | Tensor = 0.97,
        refractory: int = 0,
    ) -> None:
        values = {"beta": beta, "threshold": threshold, "threshold_off": threshold_off}
        values |= {"kappa": kappa, "rho": rho}
        super().__init__(values, reset, surrogate, detach_reset, backend, refractory=refractory)


@check_arguments
class SynapticLIF(Neurons):
    """A layer of leaky integrate-and-fire neurons with synapses: (T, ...) currents to spikes.

    The current decays by alpha = exp(-dt / tau_synapse) per step: i = alpha i + current. A spike
    leaves it as it is. Everything else is as in `LIF`.
    """

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        threshold: float | Tensor = 1.0,
        threshold_off: float | Tensor = math.inf,
        reset: Reset = "soft",
        surrogate: Surrogate = ATAN,
        detach_reset: bool = True,
        backend: Backend = "auto",
        *,
        alpha: float | Tensor = 0.8,
        gain: float | Tensor | None = None,
        refractory: int = 0,
    ) -> None:
        values: dict[str, Value | None]
        values = {"beta": beta, "threshold": threshold, "threshold_off": threshold_off}
        values |= {"alpha": alpha, "gain": gain}
        super().__init__(values, reset, surrogate, detach_reset, backend, refractory=refractory)


@check_arguments
class PLIF(Neurons):
    """A layer of leaky integrate-and-fire neurons with a learned time constant.

    beta = 1 - sigmoid(w) with the learned parameter `w`; initially 1 / (1 - beta) = tau, in time
    steps above 1 (Fang et al. 2021, parametric LIF). With `decay_input` the current is multiplied
    by 1 - beta, as in the paper; without it the equations are those of `LIF`. `shape` is that of w:
    () is one time constant for the layer, (C, 1, 1) one per channel. Everything else is as in
    `LIF`.
    """

    threshold: float | Tensor
    threshold_off: float | Tensor

    def __init__(
        self,
        tau: float = 2.0,
        threshold: float | Tensor = 1.0,
        threshold_off: float | Tensor = math.inf,
        reset: Reset = "soft",
        surrogate: Surrogate = ATAN,
        detach_reset: bool = True,
        backend: Backend = "auto",
        *,
        decay_input: bool = True,
        shape: tuple[int, ...] = (),
        refractory: int = 0,
    ) -> None:
        if not (math.isfinite(tau) and tau > 1):
            raise ConfigError(f"PLIF: tau = {tau} is not a number of time steps above 1")
        values = {"threshold": threshold, "threshold_off": threshold_off}
        super().__init__(values, reset, surrogate, detach_reset, backend, refractory=refractory)
        self.w = nn.Parameter(torch.full(shape, -math.log(tau - 1)))
        self.decay_input = decay_input

    def _given(self) -> dict[str, Any]:
        share = torch.sigmoid(self.w)
        gain = share if self.decay_input else None
        return {**super()._given(), "beta": 1 - share, "gain": gain}

    @property
    def tau(self) -> Tensor:
        """The current time constants 1 / (1 - beta), in time steps."""
        return 1 / torch.sigmoid(self.w.detach())

    def extra_repr(self) -> str:
        """Return the arguments for the repr; the time constant as its shape."""
        return f"w={tuple(self.w.shape)}, decay_input={self.decay_input}, {super().extra_repr()}"


@check_arguments
class LI(Neurons):
    """A layer of leaky integrators: (T, ...) currents in, (T, ...) potentials out.

    v_t = beta v_{t-1} + gain x_t is returned in the dtype of the input. gain None is 1. Everything
    else is as in `LIF`.
    """

    beta: float | Tensor
    gain: float | Tensor | None

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        backend: Backend = "auto",
        *,
        gain: float | Tensor | None = None,
    ) -> None:
        super().__init__({"beta": beta, "gain": gain}, "none", Potential(), backend=backend)

    def _given(self) -> dict[str, Any]:
        return {**super()._given(), "threshold": 1.0}

    def extra_repr(self) -> str:
        """Return the arguments for the repr; of tensors the shape."""
        return super().extra_repr().split(", reset=")[0]
