"""A part of a batch: what a layer must know that looks over all of a batch, or draws for it.

Several processes that train one network have a part of each batch each. Within `part_of_batch`,
batch normalisation takes its statistics over all parts, and dropout draws for all and takes its
rows: so the parts together are what the whole batch is in one process, but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class BatchPart:
    """The rows first, first + every, ... of a batch of `whole`.

    add  puts the sum over all parts in the place of a tensor; all processes call it alike
    """

    first: int
    every: int
    whole: int
    add: Callable[[Tensor], None]

    @property
    def rows(self) -> slice:
        """The rows of the whole batch that the part has."""
        return slice(self.first, None, self.every)

    @property
    def count(self) -> int:
        """How many rows it has."""
        return len(range(self.first, self.whole, self.every))

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum of `x` over all parts; gradients flow to all of them."""
        total: Tensor = _Sum.apply(x, self.add)  # type: ignore[no-untyped-call]
        return total


# Not of a context or a thread: the backward pass, which may compute layers again, has its own.
_current: BatchPart | None = None


@contextmanager
def part_of_batch(part: BatchPart | None) -> Iterator[None]:
    """Have the layers take their inputs for a part of a batch; None for a whole one.

    The backward pass belongs within.
    """
    global _current
    before, _current = _current, part
    try:
        yield
    finally:
        _current = before


def current_part() -> BatchPart | None:
    """Return which part of a batch the layers have now; None for all of it."""
    return _current


class _Sum(torch.autograd.Function):
    """The sum over all parts, whose gradient is the sum of the parts' gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, add: Callable[[Tensor], None]) -> Tensor:
        ctx.add = add
        total = x.clone()
        add(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone()
        ctx.add(total)
        return total, None
