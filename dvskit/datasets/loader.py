"""Batches: samples read, filtered and turned into tensors, on all threads, in advance."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit._threads import thread_count
from dvskit.datasets.batch_plan import (
    WHOLE,
    BatchShare,
    EpochPlan,
    Varying,
    batch_sizes,
    check_classes,
    planned,
    rows_of,
)
from dvskit.datasets.batch_rows import Row, RowMaker
from dvskit.datasets.cache import Cache
from dvskit.datasets.prefetch import Workers, prefetched
from dvskit.datasets.samples import ImageSamples, Samples
from dvskit.errors import ConfigError, FittedWarning
from dvskit.events import Size, as_size
from dvskit.filters.fit import Placement
from dvskit.tensors.representation import Representation

Made = tuple[Tensor, list[Row]]  # a batch, and a description of each row

_BATCH_SIZE = 32
_NO_ROW = Row(-1, -1, -1)
# Purposes of seeds: no two draws share one.
_ORDER, _SAMPLE = range(2)


class Fitted(NamedTuple):
    """Samples of another size than the network's: their number, events lost, and all events."""

    samples: int
    dropped: int
    total: int


@check_arguments
@dataclass(frozen=True, eq=False)
class Batches:
    """Batches of samples for training and evaluation; a seed gives the same batches.

        counts = Counts(bins=20, bin_us=15_000, outside="ignore", dtype=torch.float32)
        batches = Batches(samples, counts, size=(34, 34), seed=1)
        for counts, labels in batches.epoch(0): ...

    Each sample passes a chain: its events are put on a sensor of `size` by `dvskit.filters.Fit`,
    changed by a filter drawn from `vary`, and made a tensor by `representation`, with time 0 at the
    first event. All drawing for a sample depends on the seed, the epoch and its place there alone:
    not on threads, processes, the cache, or earlier epochs. With chance, the events that a
    `PointSet` takes are drawn too; otherwise they depend on its own seed.

    samples         a set, or `BatchShare`s of several, which follow one another in each batch
    representation  such as `dvskit.tensors.Counts`; its dtype is that of the batches
    size            (width, height) of the sensor that the network takes
    batch_size      samples per batch; default: 32. With several shares each has its own count
    vary, balanced  as in `BatchShare`, for the one set
    seed            of the order and of all drawing
    shuffle         draw a new order for each epoch; otherwise, the order of the set
    steps           batches per epoch, all full. By default each sample of the longest share comes
                    once, of a single set exactly once: the last batch has the remainder, or is left
                    out with `drop_last`
    weigh           multiply by the weight of events scaled by `Fit` (`Placement.weight`), as
                    float32: for counts, whose height depends on the number of merged pixels
    batch_axis      axis of the batch: 1 gives (T, B, ...), 0 gives (B, ...)
    cache           keeps the tensors if no chance is involved, else the events before `vary`
    threads         that read in advance; default: the number of processors; 0 reads on demand
    processes       that read in place of threads: for samples made by slow Python code, which runs
                    in one thread at a time
    ahead           maximum number of batches made but not yet taken
    pin_memory      make batches in pinned memory, from which GPUs copy asynchronously

    say_fitted      whether a FittedWarning is given for the first sample of each other size;
                    `fitted` counts all of them

    Raises ConfigError for parameters that do not fit each other, and the errors of
    `representation.shape`.
    """

    samples: Samples | Sequence[BatchShare]
    representation: Representation
    size: tuple[int, int] = field(kw_only=True)
    batch_size: int | None = field(default=None, kw_only=True)
    vary: Varying | None = field(default=None, kw_only=True)
    balanced: bool = field(default=False, kw_only=True)
    seed: int = field(default=0, kw_only=True)
    shuffle: bool = field(default=True, kw_only=True)
    steps: int | None = field(default=None, kw_only=True)
    drop_last: bool = field(default=False, kw_only=True)
    weigh: bool = field(default=False, kw_only=True)
    batch_axis: int = field(default=1, kw_only=True)
    cache: Cache | None = field(default=None, kw_only=True)
    threads: int | None = field(default=None, kw_only=True)
    processes: int = field(default=0, kw_only=True)
    ahead: int = field(default=3, kw_only=True)
    pin_memory: bool = field(default=False, kw_only=True)
    say_fitted: bool = field(default=True, kw_only=True)
    _rows: RowMaker = field(init=False, repr=False)
    _idle: list[Workers] = field(default_factory=list, init=False, repr=False)
    _fitted: dict[Size, Fitted] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        shares = self._make_shares()
        self._check(shares)
        size = as_size(self.size)
        rows = RowMaker(shares, self.representation, size, weigh=self.weigh, cache=self.cache)
        if not 0 <= self.batch_axis <= len(rows.shape):
            raise ConfigError(f"batch_axis={self.batch_axis} of tensors of shape {rows.shape}")
        object.__setattr__(self, "_rows", rows)

    def _make_shares(self) -> tuple[BatchShare, ...]:
        if isinstance(self.samples, ImageSamples):
            raise ConfigError("stills have no events; pass BatchShare(samples=..., encode=...)")
        if isinstance(self.samples, Samples):
            count = _BATCH_SIZE if self.batch_size is None else self.batch_size
            one = BatchShare(
                samples=self.samples, count=count, vary=self.vary, balanced=self.balanced
            )
            return (one,)
        if self.batch_size is not None or self.vary is not None or self.balanced:
            raise ConfigError(
                "batch_size, vary and balanced belong to each BatchShare; pass them there"
            )
        return tuple(self.samples)

    def _check(self, shares: tuple[BatchShare, ...]) -> None:
        if not shares:
            raise ConfigError("batches without a share; give a set of samples")
        check_classes(shares)
        for name, least in (
            ("seed", 0),
            ("steps", 1),
            ("threads", 0),
            ("processes", 0),
            ("ahead", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name}={value} is less than {least}")
        if not self.shuffle and any(share.balanced for share in shares):
            raise ConfigError("balanced samples are drawn; keep shuffle=True")
        if self.drop_last and not self._sizes(shares):
            raise ConfigError("drop_last leaves no batch: the set is smaller than a batch")

    @property
    def shares(self) -> tuple[BatchShare, ...]:
        """The shares of the batches; for one set, one share."""
        return self._rows.shares

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in order of the labels."""
        return self._rows.classes

    @property
    def fitted(self) -> dict[Size, Fitted]:
        """The samples fitted so far, by the size of their own sensor."""
        return dict(self._fitted)

    def _sizes(self, shares: Sequence[BatchShare]) -> list[int]:
        return batch_sizes(shares, self.steps, drop_last=self.drop_last)

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return len(self._sizes(self.shares))

    def sizes(self) -> list[int]:
        """Return the number of samples of each batch of an epoch."""
        return self._sizes(self.shares)

    def plan(self, epoch: int) -> EpochPlan:
        """Return the samples of an epoch, in order."""
        if epoch < 0:
            raise ConfigError(f"epoch {epoch} is less than 0")
        seed = (self.seed, _ORDER, epoch) if self.shuffle else None
        return planned(self.shares, self.sizes(), seed)

    def fill(self, plan: EpochPlan, epoch: int, batch: int, row: int, out: Tensor) -> Row:
        """Write a row of a batch to `out`, a tensor of one sample."""
        share, number = plan.at(batch, row)
        place = batch * sum(plan.counts) + row
        return self._rows.fill(share, number, (self.seed, _SAMPLE, epoch, place), out)

    def fill_number(self, number: int, out: Tensor) -> Row:
        """Write a sample of a set without chance to `out`, by its number."""
        return self._rows.fill(0, number, (), out)

    def empty(self) -> Tensor:
        """Return an uninitialised tensor of one sample, without the batch."""
        return torch.empty(self._rows.shape, dtype=self._rows.dtype)

    def epoch(
        self, number: int, *, first: int = 0, part: tuple[int, int] = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch: tensors (T, B, ...) and labels (B,) int64.

        first  number of batches to skip at the beginning, for a run that is resumed; without
                processes they are not made either
        part   (k, n): every n-th row of each batch from the k-th on, as one of n computers takes a
               part of a batch; the other rows are not made. A batch of fewer than n rows comes
               whole

        Tensors are not written to again. Raises the errors of reading a sample, with its name, in
        place of its batch. The threads end with the iterator.
        """
        if self.processes:
            made = self._from_processes(number, first, part)
        else:
            made = self._from_threads(number, first, part)
        with closing(made):
            for tensor, rows in made:
                self.note(rows)
                yield tensor, torch.tensor([row.label for row in rows])

    def shape(self, count: int) -> tuple[int, ...]:
        """Return the shape of a batch of `count` samples."""
        shape = list(self._rows.shape)
        shape.insert(self.batch_axis, count)
        return tuple(shape)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of a batch."""
        return self._rows.dtype

    def make(
        self, epoch: int, batch: int, plan: EpochPlan, part: tuple[int, int], tensor: Tensor
    ) -> list[Row]:
        """Write a part of a batch to a tensor, in this thread; return its rows."""
        return [
            self.fill(plan, epoch, batch, place, tensor.select(self.batch_axis, row))
            for row, place in enumerate(rows_of(part, self.sizes()[batch]))
        ]

    def _from_threads(self, epoch: int, first: int, part: tuple[int, int]) -> Generator[Made]:
        plan = self.plan(epoch)
        taken = [rows_of(part, size) for size in self.sizes()[first:]]
        threads = thread_count() if self.threads is None else self.threads
        # With few rows per call, threads end at the same time; each call costs a lock.
        at_once = max(1, min(8, len(taken[0]) // (4 * max(1, threads)))) if taken else 1

        def begin(batch: int) -> Made:
            count = len(taken[batch])
            return _new_batch(self.shape(count), self.dtype, self.pin_memory), [_NO_ROW] * count

        def fill(made: Made, batch: int, row: int) -> None:
            out, place = made[0].select(self.batch_axis, row), taken[batch][row]
            made[1][row] = self.fill(plan, epoch, first + batch, place, out)

        return prefetched(
            list(map(len, taken)),
            begin,
            fill,
            threads=threads,
            ahead=self.ahead,
            at_once=at_once,
        )

    def _from_processes(self, epoch: int, first: int, part: tuple[int, int]) -> Generator[Made]:
        # Workers are kept from epoch to epoch; a concurrent epoch has its own.
        workers = self._idle.pop() if self._idle else Workers(self)
        try:
            yield from islice(workers.epoch(epoch, part), first, None)
        finally:
            self._idle.append(workers)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_idle": []}

    def note(self, rows: Sequence[Row]) -> None:
        """Count the fitted rows; give a FittedWarning for each new size."""
        for row in rows:
            if row.fitting is None:
                continue
            size, dropped, total = row.fitting
            before = self._fitted.get(size, Fitted(0, 0, 0))
            self._fitted[size] = Fitted(
                before.samples + 1, before.dropped + dropped, before.total + total
            )
            if self.say_fitted and not before.samples:
                where = self.shares[row.share].samples.rows[row.number].where
                how = str(Placement.of(size, as_size(self.size)))
                what = f"{where} and others of its size"
                warnings.warn(FittedWarning(what, how, dropped, total), stacklevel=3)


def _new_batch(shape: tuple[int, ...], dtype: torch.dtype, pin_memory: bool) -> Tensor:
    """Return an uninitialised tensor.

    Its memory is NumPy's, which the system provides in large pages if possible. The first access
    to torch's memory takes five times as long, and longer than reading the data put there.
    """
    if pin_memory:
        return torch.empty(shape, dtype=dtype, pin_memory=True)
    memory = np.empty(prod(shape) * dtype.itemsize, np.uint8)
    return torch.from_numpy(memory).view(dtype).view(shape)
