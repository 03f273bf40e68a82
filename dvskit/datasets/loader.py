"""Batches: samples read, filtered and turned into tensors, in advance on all threads."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple
from weakref import finalize

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit._threads import thread_count
from dvskit.datasets.batch_plan import (
    WHOLE,
    BatchShare,
    Row,
    RowMaker,
    WantedRow,
    batch_sizes,
    check_classes,
    planned,
    rows_of,
)
from dvskit.datasets.cache import Cache
from dvskit.datasets.prefetch import prefetched
from dvskit.datasets.samples import ImageSamples, Samples, Varying
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

        samples = dvskit.datasets.open_samples("digits")
        counts = dvskit.tensors.Counts(bins=20, bin_us=15_000, outside="ignore")
        batches = dvskit.datasets.Batches(samples, counts, size=(34, 34), batch_size=8, seed=1)
        for x, labels in batches.epoch(0):
            x.shape, labels.shape  # (20, 8, 2, 34, 34), (8,)

    The events of each sample are fitted to a sensor of `size` (`dvskit.filters.Fit`), changed by a
    filter drawn from `vary`, and turned into a tensor by `representation`, with time 0 at the first
    event. All random draws for a sample depend only on the seed, the epoch and its place in it. The
    events that a `PointSet` takes are drawn likewise where there is chance, else by its own seed.

    samples         a set, or `BatchShare`s of several, which follow one another in each batch
    representation  such as `dvskit.tensors.Counts`; its dtype is that of the batches
    size            (width, height) of the sensor that the network takes
    batch_size      samples per batch; default: 32. With several shares each has its own count
    vary, balanced  as in `BatchShare`, for the one set
    seed            of the order and of all random draws
    shuffle         draw a new order for each epoch; otherwise use the order of the set
    steps           batches per epoch, all full. By default an epoch has each sample of the longest
                    share once; for one set, the last batch has the remainder
    drop_last       leave that remainder out
    weigh           multiply by the weight of fitted events (`Placement.weight`), as float32: for
                    counts, which grow with the number of merged pixels
    batch_axis      axis of the batch: 1 gives (T, B, ...), 0 gives (B, ...)
    cache           stores tensors; with chance, or for a representation that is not dvskit's, the
                    events before `vary`
    threads         that prepare batches; default: the number of processors; 0: the caller's. For
                    samples made by slow Python code use processes: `Samples.dataset`
    prefetch        maximum number of batches prepared but not yet taken
    pin_memory      use pinned memory, from which GPUs copy asynchronously
    warn_fitted     give a FittedWarning for the first sample of each other size; `fitted` counts
                    all

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
    prefetch: int = field(default=3, kw_only=True)
    pin_memory: bool = field(default=False, kw_only=True)
    warn_fitted: bool = field(default=True, kw_only=True)
    _rows: RowMaker = field(init=False, repr=False)
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
            raise ConfigError("images have no events; pass BatchShare(samples=..., encode=...)")
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
            ("prefetch", 1),
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

    def epoch(
        self, number: int, *, first: int = 0, part: tuple[int, int] = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch: tensors (T, B, ...) and labels (B,) int64.

        first  number of batches to skip, for a run that is resumed
        part   (k, n): every n-th row of each batch from row k on, for one of n processes; the other
               rows are not made. All parts get the whole of a batch of fewer than n rows

        Tensors are not written to again. Raises the errors of reading a sample, with its name, in
        place of its batch. The threads end with the iterator.
        """
        with closing(self._made(number, first, part)) as made:
            for tensor, rows in made:
                self._note(rows)
                yield tensor, torch.tensor([row.label for row in rows])

    def _made(self, epoch: int, first: int, part: tuple[int, int]) -> Generator[Made]:
        if epoch < 0:
            raise ConfigError(f"epoch {epoch} is less than 0")
        sizes = self.sizes()
        plan = planned(self.shares, sizes, (self.seed, _ORDER, epoch) if self.shuffle else None)
        taken = [rows_of(part, size) for size in sizes[first:]]
        threads = thread_count() if self.threads is None else self.threads
        # Few rows per call, so that threads end at the same time; small files are read together.
        at_once = max(1, min(16, len(taken[0]) // (2 * max(1, threads)))) if taken else 1

        dtype = self._rows.dtype
        largest = max(map(len, taken), default=0) * prod(self._rows.shape) * dtype.itemsize
        memory = _BatchMemory(largest, self.prefetch + 2)  # the caller may hold two

        def begin(batch: int) -> Made:
            count = len(taken[batch])
            shape = list(self._rows.shape)
            shape.insert(self.batch_axis, count)
            if self.pin_memory:
                return torch.empty(shape, dtype=dtype, pin_memory=True), [_NO_ROW] * count
            return memory.tensor(shape, dtype), [_NO_ROW] * count

        def fill(made: Made, batch: int, rows: range) -> Iterator[None]:
            whole, wanted = first + batch, []
            for row in rows:
                place = whole * sum(plan.counts) + taken[batch][row]
                seed, out = (self.seed, _SAMPLE, epoch, place), made[0].select(self.batch_axis, row)
                wanted.append(WantedRow(*plan.at(whole, taken[batch][row]), seed, out))
            for row, found in zip(rows, self._rows.fill(wanted), strict=True):
                made[1][row] = found
                yield

        return prefetched(
            list(map(len, taken)),
            begin,
            fill,
            threads=threads,
            prefetch=self.prefetch,
            at_once=at_once,
        )

    def _note(self, rows: Sequence[Row]) -> None:
        """Count the fitted rows; give a FittedWarning for each new size."""
        for row in rows:
            if row.fitting is None:
                continue
            size, dropped, total = row.fitting
            before = self._fitted.get(size, Fitted(0, 0, 0))
            self._fitted[size] = Fitted(
                before.samples + 1, before.dropped + dropped, before.total + total
            )
            if self.warn_fitted and not before.samples:
                where = self.shares[row.share].samples.rows[row.number].where
                how = str(Placement.of(size, as_size(self.size)))
                what = f"{where} and others of its size"
                warnings.warn(FittedWarning(what, how, dropped, total), stacklevel=3)


class _BatchMemory:
    """Memory for batches of at most `size` bytes; that of dropped tensors is used again.

    NumPy allocates it, in large pages if possible: the first write to memory of torch takes five
    times as long. To write to new memory for each batch doubles the time of small samples.
    """

    def __init__(self, size: int, most: int) -> None:
        self._size = size
        self._free: deque[NDArray[np.uint8]] = deque(maxlen=most)

    def tensor(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return an uninitialised tensor."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(self._size, np.uint8)
        # The tensor and all that share its memory hold this view, and nothing else does.
        view = memory[: prod(shape) * dtype.itemsize]
        finalize(view, self._free.append, memory).atexit = False
        return torch.from_numpy(view).view(dtype).view(shape)
