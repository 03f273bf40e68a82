"""Samples as map-style data sets of torch, and the collate functions for their batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, default_collate

from dvskit.datasets.sample import named
from dvskit.errors import ConfigError, ShapeError
from dvskit.events import Events, Filter, as_size
from dvskit.filters import Fit, chain
from dvskit.filters.base import Chain, Function
from dvskit.tensors.point_set import PointSet
from dvskit.tensors.representation import Representation

if TYPE_CHECKING:
    from dvskit.datasets.samples import ImageSamples, Samples

Item = TypeVar("Item")


@runtime_checkable
class Varying(Protocol):
    """A distribution of filters, such as `dvskit.filters.Vary`."""

    def draw(self, rng: np.random.Generator) -> Filter:
        """Return a filter; the same for the same generator state."""


class SamplesDataset(Dataset[tuple[Item, int]], Generic[Item]):
    """Samples for torch's DataLoader, Subset, random_split and ConcatDataset.

    data[number] is a tensor (or Events) and the number of the sample's class. `Samples.dataset` and
    `ImageSamples.dataset` make it.

    classes  names of the classes
    targets  the number of each sample's class, (N,) int64

    All random draws for a sample depend only on the seed, its number and the epoch, so they are the
    same for any number of workers and in any order.

        samples = dvskit.datasets.open_samples("digits")
        data = samples.dataset(dvskit.tensors.Counts(bins=20), size=(34, 34), seed=1)
        counts, label = data[0]  # (20, 2, 34, 34), 0
        loader = torch.utils.data.DataLoader(
            data, 8, shuffle=True, collate_fn=dvskit.datasets.collate_tensors
        )
        counts, labels = next(iter(loader))  # (20, 8, 2, 34, 34), (8,)
    """

    def __init__(
        self,
        samples: Samples | ImageSamples,
        make: Callable[[int, np.random.Generator], Item],
        seed: int,
    ) -> None:
        if seed < 0:
            raise ConfigError(f"seed={seed} is less than 0")
        self.samples, self.seed, self._make = samples, seed, make
        self.classes, self.targets = samples.classes, samples.labels
        # In shared memory: the processes of a DataLoader see a later change.
        self._epoch = _shared(torch.zeros((), dtype=torch.int64))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _shared(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, from which other random draws follow; at first it is 0.

        Call it before each pass of a DataLoader; processes that it keeps see the change.
        """
        if epoch < 0:
            raise ConfigError(f"epoch {epoch} is less than 0")
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.samples!r}>"

    def __getitem__(self, number: int) -> tuple[Item, int]:
        """Return the tensor and the class of a sample. Raises IndexError past the end.

        Other errors name the sample.
        """
        place = self.samples.place(number)
        rng = np.random.default_rng((self.seed, int(self._epoch), place))
        try:
            return self._make(place, rng), int(self.targets[place])
        except Exception as error:
            raise named(error, self.samples.rows[place]) from error


def _shared(tensor: Tensor) -> Tensor:
    """Return the same tensor, moved to shared memory."""
    return tensor.share_memory_()  # type: ignore[no-untyped-call, no-any-return]


@dataclass(frozen=True, slots=True)
class EventItems:
    """Makes the events of a sample, or what `represent` makes of them.

    before  the first filter; `vary` draws another one after it
    """

    samples: Samples
    represent: Representation | Callable[[Events], Tensor] | None
    before: Chain
    vary: Varying | None
    start_us: int | None

    @classmethod
    def of(
        cls,
        samples: Samples,
        represent: Representation | Callable[[Events], Tensor] | None,
        size: tuple[int, int] | None,
        change: Filter | Function | Varying | None,
        start_us: int | None,
    ) -> EventItems:
        """Return a maker by the parameters of `Samples.dataset`. Raises ConfigError."""
        if represent is not None and not callable(represent):
            raise ConfigError(
                f"representation is {represent!r}; pass one such as tensors.Counts(bins=20)"
            )
        if start_us is not None and not isinstance(represent, Representation):
            raise ConfigError(f"start_us = {start_us} needs a representation such as Counts")
        filters: list[Filter | Function] = [] if size is None else [Fit(as_size(size))]
        if isinstance(change, Varying):
            return cls(samples, represent, chain(*filters), change, start_us)
        filters += [] if change is None else [change]
        return cls(samples, represent, chain(*filters), None, start_us)

    def __call__(self, number: int, rng: np.random.Generator) -> Any:
        """Return the tensor of a sample, or its events."""
        draws, start_us = self.samples.draws, self.start_us
        events = self.before(self.samples.events(number, rng if draws else None))
        if self.vary is not None:
            events = chain(self.vary.draw(rng))(from_zero(events, start_us))
            start_us = 0
        if not isinstance(self.represent, Representation):
            return events if self.represent is None else self.represent(events)
        represent = self.represent
        if isinstance(represent, PointSet) and (draws or self.vary is not None):
            represent = represent.drawn(rng)
        return represent(events, start_us=start_us)


@dataclass(frozen=True, slots=True)
class ImageItems:
    """Makes the spikes of an image."""

    samples: ImageSamples
    encode: Callable[[NDArray[np.uint8], np.random.Generator], Tensor]

    def __call__(self, number: int, rng: np.random.Generator) -> Tensor:
        """Return the tensor of an image."""
        return self.encode(self.samples.image(number), rng)


def from_zero(events: Events, start_us: int | None = None) -> Events:
    """Return events with times from `start_us`, or from the first event, on."""
    if not len(events):
        return events
    t = events.t - (events.t[0] if start_us is None else start_us)
    return Events.from_checked(t, events.x, events.y, events.p, events.size)


def collate_tensors(batch: Sequence[tuple[Any, Any]]) -> tuple[Tensor, Any]:
    """Return a batch of tensors, (T, B, ...), and their labels, (B,) int64.

        samples = dvskit.datasets.open_samples("digits")
        data = samples.dataset(dvskit.tensors.Counts(bin_us=10_000))  # 31 or more bins
        collate = dvskit.datasets.collate_tensors
        loader = torch.utils.data.DataLoader(data, 8, collate_fn=collate)
        counts, labels = next(iter(loader))  # (T, 8, 2, 34, 34) for the longest sample

    batch  (tensor, label) of each sample; tensors (T, ...) or arrays, as tonic's transforms return

    Tensors of fewer time steps are padded with zeros at the end, which are steps without events, up
    to the longest one. Raises ShapeError if the other dimensions or the dtypes differ.
    """
    tensors = [torch.as_tensor(tensor).to_dense() for tensor, _ in batch]
    kinds = {(tuple(tensor.shape[1:]), tensor.dtype) for tensor in tensors}
    if len(kinds) > 1 or not tensors[0].ndim:
        shown = " and ".join(sorted(f"(T, {str(shape)[1:]} {dtype}" for shape, dtype in kinds))
        raise ShapeError(f"a batch of {shown}; the samples must differ in T only: pass size=")
    return pad_sequence(tensors), default_collate([label for _, label in batch])


def collate_events(batch: Sequence[tuple[Events, Any]]) -> tuple[list[Events], Any]:
    """Return a list of the events of each sample, and their labels, (B,) int64.

    DataLoader(samples.dataset(), 32, collate_fn=collate_events)

        samples = dvskit.datasets.open_samples("digits")
        loader = torch.utils.data.DataLoader(
            samples.dataset(), 8, collate_fn=dvskit.datasets.collate_events
        )
        events, labels = next(iter(loader))  # a list of 8 Events, (8,)
    """
    return [events for events, _ in batch], default_collate([label for _, label in batch])
