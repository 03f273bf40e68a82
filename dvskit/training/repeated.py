"""The batches of a run that repeats its first epochs, and the layers that it does not change.

Layers that a run keeps give the same outputs when an epoch comes again, so these are computed once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from dvskit.datasets.batch_plan import WHOLE
from dvskit.errors import ConfigError
from dvskit.layers import Sequence
from dvskit.models.inputs import AnyBatches

_KEPT_BYTES = 1 << 30


def layers_before_dense(module: nn.Module) -> list[nn.Module]:
    """Return the layers with weights or means before the first dense one; [] if there is none."""
    found: list[nn.Module] = []
    for part in module.modules():
        if isinstance(part, nn.Linear):
            return found
        if not any(part.children()) and part.state_dict():
            found.append(part)
    return []


class FixedLayers:
    """The layers of a module that a run does not change: those before the first dense one.

    first  these layers and those between them, one module; None if the module is no Sequence
    rest   the module that a run changes: all other layers, or the whole module

    Raises ConfigError if there are none.
    """

    def __init__(self, module: nn.Module) -> None:
        self._layers = layers_before_dense(module)
        if not self._layers:
            raise ConfigError(
                'loop.trained_layers = "dense": the network has no layer with weights before a '
                'dense one; set it to "all"'
            )
        for each in self._layers:
            each.requires_grad_(False)
        self.first: Sequence | None = None
        self.rest = module
        if isinstance(module, Sequence):
            parts = list(module.named_children())
            fixed = set(map(id, self._layers))
            count = 1 + max(
                k for k, (_, part) in enumerate(parts) if fixed & set(map(id, part.modules()))
            )
            self.first = Sequence(OrderedDict(parts[:count]))
            self.rest = Sequence(OrderedDict(parts[count:]))

    def set_evaluation(self) -> None:
        """Set the layers to evaluation: batch normalisation keeps its means, dropout is off."""
        for each in [self.first] if self.first is not None else self._layers:
            each.eval()


class RepeatedEpochs:
    """The batches of a run: those of the first epochs again and again.

    epochs  number of different epochs; 0: all differ
    first   layers of which the batches are the outputs, as float16; None: batches are inputs
    """

    def __init__(
        self, batches: AnyBatches, epochs: int, first: nn.Module | None, device: torch.device
    ) -> None:
        self._batches, self._epochs, self._first, self._device = batches, epochs, first, device
        self._kept: dict[int, list[tuple[Tensor, Tensor]]] = {}
        self._room = _KEPT_BYTES

    def epoch(
        self, number: int, *, first: int = 0, part: tuple[int, int] = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches and labels, as of `dvskit.datasets.Batches.epoch`."""
        number = number % self._epochs if self._epochs else number
        if number in self._kept:
            yield from self._kept[number][first:]
            return
        made: list[tuple[Tensor, Tensor]] = []
        for counts, labels in self._batches.epoch(number, first=first, part=part):
            if self._first is None:
                yield counts, labels
                continue
            with torch.no_grad():
                outputs = self._first(counts.to(self._device).float()).half()
            made.append((outputs, labels))
            yield outputs, labels
        size = sum(outputs.nbytes for outputs, _ in made)
        if made and self._epochs and not first and size <= self._room:
            self._kept[number] = made
            self._room -= size
