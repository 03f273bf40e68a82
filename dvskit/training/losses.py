"""What training makes small, a function of the network's answer and the classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvskit.training.config import LoopConfig

Loss = Callable[[nn.Module, Tensor, Tensor, float], Tensor]
"""loss(module, inputs (T, B, C, H, W), labels (B,), label smoothing) -> a number."""


def mean_loss(module: nn.Module, inputs: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the cross-entropy of the network's logits, nats a sample."""
    logits = torch.as_tensor(module(inputs))
    return functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing)


LOSSES: Mapping[str, Loss] = {"mean": mean_loss}
"""The losses by name."""


def loss_of(loop: LoopConfig) -> Loss:
    """Return the loss that a configuration names."""
    return LOSSES[loop.loss]
