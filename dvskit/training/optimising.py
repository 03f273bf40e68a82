"""Optimisers and how the learning rate goes on, by the names that a configuration has for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import nn

from dvskit.training.config import LoopConfig
from dvskit.training.world import ALONE, World

_OPTIMISERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
}


def _cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))


def _constant(done: float) -> float:
    return 1.0


_SCHEDULES: Mapping[str, Callable[[float], float]] = {"cosine": _cosine, "constant": _constant}


def make_optimiser(module: nn.Module, loop: LoopConfig) -> torch.optim.Optimizer:
    """Return the optimiser of a module's weights."""
    return _OPTIMISERS[loop.optimiser](
        module.parameters(),
        lr=loop.learning_rate,
        betas=loop.betas,
        weight_decay=loop.weight_decay,
    )


def rate_at(loop: LoopConfig, step: int, steps: int) -> float:
    """Return the learning rate of a step of all steps of a run."""
    return loop.learning_rate * _SCHEDULES[loop.schedule](step / steps)


def take_step(
    optimiser: torch.optim.Optimizer,
    loss: torch.Tensor,
    loop: LoopConfig,
    rate: float,
    world: World = ALONE,
) -> float:
    """Change the weights by the gradient of a loss, no longer than the norm that is allowed.

    Of several processes each has its part of the loss. Returns the sum of the parts.
    """
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    whole = world.add_gradients(weights, loss)
    if loop.clip_norm:
        torch.nn.utils.clip_grad_norm_(weights, loop.clip_norm)
    optimiser.step()
    return float(whole.detach())
