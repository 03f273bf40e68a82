"""The composition of batches: shares of several sets, and the samples of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.datasets.samples import ImageSamples, Samples
from dvskit.errors import ConfigError
from dvskit.events import Filter


def drawn(total: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return `count` numbers below `total`: each once before any repeats."""
    passes = [rng.permutation(total) for _ in range(-(-count // total))]
    return np.concatenate([np.empty(0, np.int64), *passes])[:count]


def drawn_by_class(
    labels: Sequence[int] | NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return `count` indices of `labels`, as many of each class, give or take one.

    Each sample of a class comes once before any repeats. The classes take turns in random order.
    """
    given = np.asarray(labels, np.int64)
    classes = np.unique(given)
    turns = np.concatenate(
        [np.empty(0, np.int64)]
        + [rng.permutation(classes) for _ in range(-(-count // len(classes)))]
    )[:count]
    order = np.empty(count, np.int64)
    for kind in classes:
        places = np.flatnonzero(turns == kind)
        members = np.flatnonzero(given == kind)
        order[places] = members[drawn(len(members), len(places), rng)]
    return order


WHOLE = (0, 1)
"""The part that is the whole batch: every row from the first on."""


def rows_of(part: tuple[int, int], count: int) -> range:
    """Return the rows of part (k, n) of a batch of `count`: every n-th from the k-th on.

    With fewer rows than parts, each part has all rows. Raises ConfigError for an invalid part.
    """
    first, every = part
    if not 0 <= first < every:
        raise ConfigError(f"part = {part} must be (k, n) with 0 <= k < n")
    return range(first, count, every) if count >= every else range(count)


class Varying(Protocol):
    """A distribution of filters, such as `dvskit.filters.Vary`."""

    def draw(self, rng: np.random.Generator) -> Filter:
        """Return a filter; the same for the same generator state."""


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchShare:
    """The share of each batch that comes from one set, and its changes.

    samples   recordings, or images that `encode` turns into tensors
    count     samples of this share per batch
    vary      filters drawn for each sample at each use, such as `dvskit.filters.Vary`
    relabel   relabel(class, filter) -> the class of a changed sample, such as a mirrored one
    encode    encode(image, rng) -> a tensor of the representation's shape; images (H, W) uint8
    balanced  draw equally from all classes; otherwise each sample comes equally often

    Raises ConfigError for parameters that do not fit each other.
    """

    samples: Samples | ImageSamples
    count: int
    vary: Varying | None = None
    relabel: Callable[[str, Filter], str] | None = None
    encode: Callable[[NDArray[np.uint8], np.random.Generator], Tensor] | None = None
    balanced: bool = False

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"{self.count} samples of each batch must be at least 1")
        if not len(self.samples):
            raise ConfigError("a set without samples; remove it, or check where it was read from")
        if isinstance(self.samples, ImageSamples) != (self.encode is not None):
            raise ConfigError("stills need encode; recordings take none, as they have events")
        if self.vary is not None and self.encode is not None:
            raise ConfigError("vary changes events; vary stills in encode")
        if self.relabel is not None and self.vary is None:
            raise ConfigError("relabel needs vary: without a filter no class can change")

    @property
    def chance(self) -> bool:
        """Whether a sample may differ at each use."""
        drawn_events = isinstance(self.samples, Samples) and self.samples.draws
        return self.vary is not None or self.encode is not None or drawn_events


@dataclass(frozen=True, slots=True, eq=False)
class EpochPlan:
    """The samples of an epoch: `orders` of each share, in batches of `counts` each."""

    counts: tuple[int, ...]
    orders: tuple[NDArray[np.int64], ...]

    def at(self, batch: int, row: int) -> tuple[int, int]:
        """Return the share and the sample number of a row of a batch."""
        for share, count in enumerate(self.counts):
            if row < count:
                return share, int(self.orders[share][batch * count + row])
            row -= count
        raise IndexError("a row past the end of its batch")

    def batch(self, number: int) -> tuple[NDArray[np.int64], ...]:
        """Return the samples of each share in a batch."""
        return tuple(
            order[number * count : (number + 1) * count]
            for count, order in zip(self.counts, self.orders, strict=True)
        )


def check_classes(shares: Sequence[BatchShare]) -> None:
    """Raise ConfigError for shares of different classes."""
    classes = shares[0].samples.classes
    for share in shares[1:]:
        if share.samples.classes != classes:
            raise ConfigError(
                f"classes {', '.join(classes)} in one share and "
                f"{', '.join(share.samples.classes)} in another; make them equal"
            )


def batch_sizes(
    shares: Sequence[BatchShare], steps: int | None, *, drop_last: bool = False
) -> list[int]:
    """Return the number of samples of each batch of an epoch; arguments are those of `Batches`."""
    full = sum(share.count for share in shares)
    if steps is not None:
        return [full] * steps
    if len(shares) > 1:
        return [full] * max(-(-len(share.samples) // share.count) for share in shares)
    whole, rest = divmod(len(shares[0].samples), full)
    return [full] * whole + [rest] * (rest > 0 and not drop_last)


def planned(
    shares: Sequence[BatchShare], sizes: Sequence[int], seed: Sequence[int] | None
) -> EpochPlan:
    """Return an epoch with batches of `sizes`, drawn by a seed or in order without one."""
    orders = []
    for number, share in enumerate(shares):
        total, length = len(share.samples), len(sizes) * share.count
        length = sum(sizes) if len(shares) == 1 else length
        if seed is None:
            orders.append(np.arange(length, dtype=np.int64) % total)
            continue
        rng = np.random.default_rng((*seed, number))
        if share.balanced:
            orders.append(drawn_by_class(share.samples.labels, length, rng))
        else:
            orders.append(drawn(total, length, rng))
    return EpochPlan(tuple(share.count for share in shares), tuple(orders))
