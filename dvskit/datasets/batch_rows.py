"""One sample of a batch: read, fitted, varied, and written to its row as a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvskit.datasets.batch_plan import BatchShare
from dvskit.datasets.cache import Cache
from dvskit.datasets.cache_entries import CachedSamples, key_of, smallest
from dvskit.datasets.samples import ImageSamples, Samples, named
from dvskit.errors import ConfigError, ShapeError
from dvskit.events import Events, Size
from dvskit.filters import Fit, chain
from dvskit.tensors.point_set import PointSet
from dvskit.tensors.representation import Representation


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
        self._sets = [_kept(share, cache) for share in shares]
        self._labels = [share.samples.labels.tolist() for share in shares]
        self._chance = [share.chance for share in shares]
        self._cache = cache
        self._chain = "" if cache is None else key_of("tensor", representation, size, weigh)
        self._keys: dict[tuple[int, int], str] = {}

    def fill(self, share: int, number: int, seed: tuple[int, ...], out: Tensor) -> Row:
        """Write a sample to `out`; `seed` determines all drawing for it.

        Raises the errors of reading it, with its name.
        """
        given = self.shares[share]
        label = self._labels[share][number]
        try:
            if not self._chance[share]:
                return Row(share, number, label, self._fill_kept(share, number, out))
            row = Row(share, number, label)
            rng = np.random.default_rng(seed)
            if given.encode is None:
                return self._fill_drawn(row, rng, out)
            stills = self._sets[share]
            assert isinstance(stills, ImageSamples)
            self._write(given.encode(stills.image(number), rng), out)
            return row
        except Exception as error:
            raise named(error, given.samples.rows[number]) from error

    def _fill_drawn(self, row: Row, rng: np.random.Generator, out: Tensor) -> Row:
        given = self.shares[row.share]
        events, weight, fitting = self._events(row.share, row.number, rng)
        row = row._replace(fitting=fitting)
        if given.vary is None:
            self._represent(events, weight, None, out, rng)
            return row
        if len(events):  # filters of time start at 0
            t = events.t - events.t[0]
            events = Events.from_checked(t, events.x, events.y, events.p, events.size)
        drawn = given.vary.draw(rng)
        self._represent(chain(drawn)(events), weight, 0, out, rng)
        if given.relabel is None:
            return row
        name = given.relabel(self.classes[row.label], drawn)
        if name not in self.classes:
            raise ConfigError(f"relabel gives {name!r}, which is not among {self.classes}")
        return row._replace(label=self.classes.index(name))

    def _fill_kept(self, share: int, number: int, out: Tensor) -> Fitting | None:
        cache = self._cache
        arrays = None if cache is None else cache.get(self._key(share, number))
        if arrays is None:
            events, weight, fitting = self._events(share, number, None)
            self._represent(events, weight, None, out)
            if cache is not None:
                made = {"tensor": compact(out)}
                if fitting is not None:
                    made["fitting"] = np.array([*fitting.size, fitting.dropped, fitting.total])
                cache.put(self._key(share, number), made)
            return fitting
        np.copyto(out.numpy(), arrays["tensor"], casting="unsafe")
        if "fitting" not in arrays:
            return None
        width, height, dropped, total = arrays["fitting"].tolist()
        return Fitting(Size(width, height), dropped, total)

    def _key(self, share: int, number: int) -> str:
        key = self._keys.get((share, number))
        if key is None:
            samples = self._sets[share]
            assert isinstance(samples, Samples)
            key = self._keys[share, number] = key_of(self._chain, samples.fingerprint(number))
        return key

    def _events(
        self, share: int, number: int, rng: np.random.Generator | None
    ) -> tuple[Events, float, Fitting | None]:
        """Return the events on the network's sensor, the weight of each, and the fitting."""
        samples = self._sets[share]
        assert isinstance(samples, Samples)
        events = samples.events(number, rng if samples.draws else None)
        if events.size == self.size:
            return events, 1.0, None
        step = Fit(self.size).start(events.size)
        fitted = step(events)
        fitting = Fitting(events.size, step.dropped, len(events))
        return fitted, step.placement.weight, fitting

    def _represent(
        self,
        events: Events,
        weight: float,
        start_us: int | None,
        out: Tensor,
        rng: np.random.Generator | None = None,
    ) -> None:
        represent = self.representation
        if rng is not None and isinstance(represent, PointSet):
            represent = represent.drawn(rng)
        if not self.weigh or (weight == 1 and represent.dtype == out.dtype):
            represent(events, start_us=start_us, out=out)
            return
        plain = represent(events, start_us=start_us)
        np.multiply(plain.numpy(), np.float32(weight), out=out.numpy(), casting="unsafe")

    def _write(self, tensor: Tensor, out: Tensor) -> None:
        if tuple(tensor.shape) != self.shape:
            raise ShapeError(
                f"encode returns {tuple(tensor.shape)}, the representation {self.shape}; both "
                "must be equal"
            )
        out.copy_(tensor)


def _kept(share: BatchShare, cache: Cache | None) -> Samples | ImageSamples:
    """Return the samples of a share, with cached events if their tensors are not cached."""
    samples = share.samples
    if cache is None or share.vary is None or not isinstance(samples, Samples) or samples.draws:
        return samples
    return samples if isinstance(samples, CachedSamples) else CachedSamples(samples, cache)


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
