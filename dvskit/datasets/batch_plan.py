"""The composition of batches: shares of several sets, the samples of an epoch, and their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvskit._checks import check_fields, check_whole, checked, checked_dataclass
from dvskit.datasets.cache import Cache, CachedEvents, key_of, smallest
from dvskit.datasets.samples import AdaptedSamples, ImageSamples, Samples, Varying, from_zero, named
from dvskit.errors import ConfigError, ShapeError
from dvskit.events import Events, Filter, Size
from dvskit.filters import Chain, Fit
from dvskit.tensors.names import is_own
from dvskit.tensors.point_set import PointSet
from dvskit.tensors.representation import Representation


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


Relabel = Callable[[str, Filter], str]

# Purposes of seeds: no two draws share one.
SEED_OF_ORDER, SEED_OF_CONTENT = range(2)

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


@checked_dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchShare:
    """The share of each batch that comes from one set, and its changes.

    samples   recordings, or images that `encode` turns into tensors
    count     samples of this share per batch
    vary      filters drawn for each sample at each use, such as `dvskit.filters.Vary`
    relabel   relabel(class, filter) -> the class of a changed sample, such as a mirrored one
    encode    encode(image, rng) -> a tensor of the representation's shape; images (H, W) uint8
    balanced  draw equally from all classes; otherwise each sample comes equally often

    Raises ConfigError for parameters that do not fit each other.

        digits = dvskit.datasets.open_samples("digits")
        images = dvskit.datasets.open_images("images")
        encode = dvskit.datasets.Encode("latency", 20, (34, 34))
        shares = [
            dvskit.datasets.BatchShare(samples=digits, count=8, balanced=True),
            dvskit.datasets.BatchShare(samples=images, count=4, encode=encode),
        ]
        counts = dvskit.tensors.Counts(bins=20, dtype=torch.uint8)
        batches = dvskit.datasets.Batches(shares, counts, size=(34, 34))
        x, labels = next(iter(batches.epoch(0)))  # (20, 12, 2, 34, 34): 8 recordings, 4 images
    """

    samples: Samples | ImageSamples
    count: int = checked(check_whole, 1)
    vary: Varying | None = None
    relabel: Relabel | None = None
    encode: Callable[[NDArray[np.uint8], np.random.Generator], Tensor] | None = None
    balanced: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if not len(self.samples):
            raise ConfigError("a set without samples; remove it, or check where it was read from")
        if isinstance(self.samples, ImageSamples) != (self.encode is not None):
            raise ConfigError("images need encode; recordings take none, as they have events")
        if self.vary is not None and self.encode is not None:
            raise ConfigError("vary changes events; change images in encode")
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

    def batch(self, number: int) -> tuple[NDArray[np.int64], ...]:
        """Return the samples of each share in a batch."""
        return tuple(
            order[number * count : (number + 1) * count]
            for count, order in zip(self.counts, self.orders, strict=True)
        )

    def rows(self, number: int) -> list[tuple[int, int]]:
        """Return the share and the sample number of each row of a batch."""
        parts = enumerate(self.batch(number))
        return [(share, sample) for share, samples in parts for sample in samples.tolist()]


class Epochs:
    """Batches of shares, and the samples in each epoch; a base of `Batches` and `ImageBatches`.

    shares     they follow one another in each batch
    seed       of the order of samples, drawn for each epoch if `shuffle`
    steps      batches per epoch, all full; None: each sample of the longest share comes once
    drop_last  leave out the remainder of one share without `steps`
    """

    shares: Sequence[BatchShare]
    seed: int
    shuffle: bool
    steps: int | None
    drop_last = False

    def check_shares(self) -> None:
        """Raise ConfigError without a share, and for shares of different classes."""
        if not self.shares:
            raise ConfigError("batches without a share; give a set of samples")
        for share in self.shares[1:]:
            if share.samples.classes != self.classes:
                raise ConfigError(
                    f"classes {', '.join(self.classes)} in one share and "
                    f"{', '.join(share.samples.classes)} in another; make them equal"
                )

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in order of the labels."""
        return self.shares[0].samples.classes

    def sizes(self) -> list[int]:
        """Return the number of samples of each batch of an epoch."""
        full = sum(share.count for share in self.shares)
        if self.steps is not None:
            return [full] * self.steps
        if len(self.shares) > 1:
            return [full] * max(-(-len(share.samples) // share.count) for share in self.shares)
        whole, rest = divmod(len(self.shares[0].samples), full)
        return [full] * whole + [rest] * (rest > 0 and not self.drop_last)

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return len(self.sizes())

    def plan(self, epoch: int) -> EpochPlan:
        """Return the samples of an epoch, drawn by the seed or in order of the sets."""
        sizes, orders = self.sizes(), []
        for number, share in enumerate(self.shares):
            total, length = len(share.samples), len(sizes) * share.count
            length = sum(sizes) if len(self.shares) == 1 else length
            rng = np.random.default_rng((self.seed, SEED_OF_ORDER, epoch, number))
            if not self.shuffle:
                orders.append(np.arange(length, dtype=np.int64) % total)
            elif share.balanced:
                orders.append(drawn_by_class(share.samples.labels, length, rng))
            else:
                orders.append(drawn(total, length, rng))
        return EpochPlan(tuple(share.count for share in self.shares), tuple(orders))


class Fitting(NamedTuple):
    """Events of a sample put on another sensor: original size, events lost, and all events."""

    size: Size
    dropped: int
    total: int


class Row(NamedTuple):
    """A written row: share and number of the sample, its class, and its fitting.

    `fitting` is None if the size was right.
    """

    share: int
    number: int
    label: int
    fitting: Fitting | None = None


class WantedRow(NamedTuple):
    """A row to write: share and number of the sample, the seed of all its drawing, the place."""

    share: int
    number: int
    seed: tuple[int, ...]
    out: Tensor


class RowMaker:
    """Makes the rows of batches, on any thread; rows are independent of one another."""

    def __init__(
        self,
        shares: Sequence[BatchShare],
        representation: Representation,
        size: Size,
        *,
        weigh: bool,
        cache: Cache | None,
    ) -> None:
        self.shares = tuple(shares)
        self.representation, self.size, self.weigh = representation, size, weigh
        self.shape = tuple(representation.shape(size))
        self.dtype = torch.float32 if weigh else representation.dtype
        self.classes = shares[0].samples.classes
        # Code outside dvskit may change between runs, so its tensors are not cached.
        self._cache = cache if is_own(representation) else None
        self._sets = [
            _cached(share, cache if self._cache is None or share.vary is not None else None)
            for share in shares
        ]
        self._labels = [share.samples.labels.tolist() for share in shares]
        self._chance = [share.chance for share in shares]
        self._chain = "" if self._cache is None else key_of("tensor", representation, size, weigh)
        self._keys: dict[tuple[int, int], str] = {}

    def fill(self, wanted: Sequence[WantedRow]) -> Iterator[Row]:
        """Write samples, each to its `out`; yield a row for each that is written.

        Raises the errors of reading one, with its name, in its place.
        """
        for each, events in zip(wanted, self._read_together(wanted), strict=True):
            row = Row(each.share, each.number, self._labels[each.share][each.number])
            try:
                if self._chance[row.share]:
                    row = self._write(row, np.random.default_rng(each.seed), each.out, events)
                else:
                    row = self._write_kept(row, each.out, events)
            except Exception as error:
                sample = self.shares[row.share].samples.rows[row.number]
                raise named(error, sample) from error
            yield row

    def _read_together(self, wanted: Sequence[WantedRow]) -> list[Events | None]:
        """Return the events of samples that are read faster together; None for the others."""
        early: list[Events | None] = [None] * len(wanted)
        for share in {each.share for each in wanted}:
            samples = self._sets[share]
            if isinstance(samples, Samples) and self._cache is None and not samples.draws:
                places = [k for k, each in enumerate(wanted) if each.share == share]
                found = samples.events_together([wanted[k].number for k in places])
                for k, events in zip(places, found, strict=True):
                    early[k] = events
        return early

    def _write_kept(self, row: Row, out: Tensor, events: Events | None) -> Row:
        """Write a sample without chance, whose tensor may be in the cache."""
        if self._cache is None:
            return self._write(row, None, out, events)
        key = self._key(row)
        arrays = self._cache.get(key)
        if arrays is None:
            row = self._write(row, None, out, events)
            arrays = {"tensor": compact(out)}
            if row.fitting is not None:
                arrays["fitting"] = np.array([*row.fitting.size, *row.fitting[1:]])
            self._cache.put(key, arrays)
            return row
        np.copyto(out.numpy(), arrays["tensor"], casting="unsafe")
        if "fitting" not in arrays:
            return row
        width, height, dropped, total = arrays["fitting"].tolist()
        return row._replace(fitting=Fitting(Size(width, height), dropped, total))

    def _key(self, row: Row) -> str:
        key = self._keys.get(row[:2])
        if key is None:
            fingerprint = self._sets[row.share].fingerprint(row.number)
            key = self._keys[row[:2]] = key_of(self._chain, fingerprint)
        return key

    def _write(
        self, row: Row, rng: np.random.Generator | None, out: Tensor, events: Events | None
    ) -> Row:
        """Write a sample: read, fitted, changed and represented; `rng` where there is chance.

        events  its own, if they are read already
        """
        share, samples = self.shares[row.share], self._sets[row.share]
        if isinstance(samples, ImageSamples):
            self._write_image(share, samples.image(row.number), rng, out)
            return row
        if events is None:
            events = samples.events(row.number, rng if samples.draws else None)
        weight, start_us, represent = 1.0, None, self.representation
        if events.sensor_size != self.size:
            step = Fit(self.size).start(events.sensor_size)
            fitted = step(events)
            row = row._replace(fitting=Fitting(events.sensor_size, step.dropped, len(events)))
            events, weight = fitted, step.placement.weight
        if rng is not None and share.vary is not None:
            drawn = share.vary.draw(rng)
            events, start_us = Chain(drawn)(from_zero(events)), 0
            if share.relabel is not None:
                row = row._replace(label=self._relabeled(share.relabel, row.label, drawn))
        if rng is not None and isinstance(represent, PointSet):
            represent = represent.drawn(rng)
        if not self.weigh or (weight == 1 and represent.dtype == out.dtype):
            represent(events, start_us=start_us, out=out)
        else:
            plain = represent(events, start_us=start_us).numpy()
            np.multiply(plain, np.float32(weight), out=out.numpy(), casting="unsafe")
        return row

    def _relabeled(self, relabel: Relabel, label: int, drawn: Filter) -> int:
        name = relabel(self.classes[label], drawn)
        if name not in self.classes:
            raise ConfigError(f"relabel gives {name!r}, which is not among {self.classes}")
        return self.classes.index(name)

    def _write_image(
        self,
        share: BatchShare,
        image: NDArray[np.uint8],
        rng: np.random.Generator | None,
        out: Tensor,
    ) -> None:
        assert share.encode is not None
        assert rng is not None
        tensor = share.encode(image, rng)
        if tuple(tensor.shape) != self.shape:
            raise ShapeError(
                f"encode returns {tuple(tensor.shape)}, the representation {self.shape}; both "
                "must be equal"
            )
        out.copy_(tensor)


def _cached(share: BatchShare, cache: Cache | None) -> Samples | ImageSamples:
    """Return the samples of a share, with cached events unless they are images or drawn."""
    samples = share.samples
    if cache is None or not isinstance(samples, Samples) or samples.draws:
        return samples
    if isinstance(samples, AdaptedSamples) and isinstance(samples.adapt, CachedEvents):
        return samples
    return samples.cached(cache)


def compact(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as an array of the smallest dtype that holds its numbers exactly."""
    array = tensor.numpy()
    if not array.size or array.dtype == np.bool_ or not array.min() >= 0:
        return array
    most = array.max()
    if not most < 1 << 32:
        return array
    small = array.astype(smallest(int(most)))
    return small if array.dtype.kind in "iu" or np.array_equal(small, array) else array
