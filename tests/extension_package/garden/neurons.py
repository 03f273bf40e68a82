"""Neurons of a package: quadratic integrate-and-fire, "quadratic" in layer lists."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dvskit import neurons


class Quadratic(neurons.CustomNeurons):
    """h = v + v (v - critical) / tau + current: above `critical` the potential grows by itself."""

    tau: float
    critical: float

    def __init__(self, tau: float = 10.0, critical: float = 0.5, **others: Any) -> None:
        super().__init__({}, {"tau": tau, "critical": critical}, **others)

    def integrate(self, current: Tensor, v: Tensor) -> dict[str, Tensor]:
        return {"v": v + v * (v - self.critical) / self.tau + current}


neurons.register_neuron("quadratic", Quadratic)
