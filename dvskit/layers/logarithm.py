"""Counts on a logarithmic scale, so that sensitive and coarse sensors look alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LogCounts(nn.Module):
    """log(1 + x) of each entry, -log(1 - x) of negative ones: any shape in, the same out.

    A sensor of half the threshold gives twice the events of an edge, and where it is ten events
    rather than five matters little: what a network is to learn is where edges are.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return sign(x) log(1 + |x|)."""
        return torch.sign(x) * torch.log1p(torch.abs(x))
