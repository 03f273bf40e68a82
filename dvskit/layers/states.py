"""What layers carry from one chunk of time to the next: passed in, handed out, never kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


class State(Protocol):
    """What a layer carries to the next chunk of time."""

    def detach(self) -> Any:
        """Return the same state cut off from its past: gradients stop here."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """A layer whose output depends on what it saw before: neurons, readouts, dropout."""

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return the output of `x` (T, ...) and the state after it; state None is a new start."""
        ...


@dataclass(frozen=True, slots=True)
class States:
    """The states of the layers of a Sequence, in their order; None where a layer has none.

    They are of the samples of one batch: a new batch starts from states=None.
    """

    parts: tuple[Any, ...]

    def detach(self) -> States:
        """Return the same states cut off from their past: gradients stop here."""
        return States(tuple(None if part is None else part.detach() for part in self.parts))
