"""RMSMax: the optimiser of SuperSpike's paper."""

from __future__ import annotations

import math
from typing import Any

import torch

from dvskit.errors import ConfigError

_TINY = 1e-30  # no division by zero where a weight never had a gradient


class RMSMax(torch.optim.Optimizer):
    """A learning rate for each weight from the largest recent gradient (Zenke & Ganguli 2018).

        n <- max(decay n, g^2);   w <- w - lr g / (sqrt(n) + tiny)

    decay  what is kept of n a step, near 1. Raises ConfigError for lr not above 0 or decay outside
           [0, 1]
    """

    def __init__(self, params: Any, lr: float = 1e-3, decay: float = 0.999) -> None:
        if not (math.isfinite(lr) and lr > 0 and 0 <= decay <= 1):
            raise ConfigError(
                f"RMSMax: lr = {lr}, decay = {decay}: a finite lr above 0, and a decay from 0 to 1 "
                "are meant"
            )
        super().__init__(params, {"lr": lr, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Change the parameters by their gradients; those without one stay."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                kept = self.state[parameter]
                squared = parameter.grad.square()
                if "largest" in kept:
                    squared = torch.maximum(group["decay"] * kept["largest"], squared)
                kept["largest"] = squared
                parameter -= group["lr"] * parameter.grad / (squared.sqrt() + _TINY)
        return loss
