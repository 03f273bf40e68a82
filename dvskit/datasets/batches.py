"""Batches: samples read, filtered and turned into tensors, in advance on all threads."""

from __future__ import annotations

import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, nullcontext
from dataclasses import KW_ONLY, dataclass, field
from math import prod
from queue import SimpleQueue
from typing import NamedTuple, TypeVar
from weakref import finalize

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvskit._checks import check_fields, check_seed, check_whole, checked
from dvskit._threads import thread_count
from dvskit.datasets.batch_plan import (
    SEED_OF_CONTENT,
    WHOLE,
    BatchShare,
    Epochs,
    Row,
    RowMaker,
    WantedRow,
    rows_of,
)
from dvskit.datasets.cache import Cache
from dvskit.datasets.encode import Encode
from dvskit.datasets.samples import ImageSamples, Samples, Varying, named
from dvskit.errors import ConfigError, FittedWarning, GeometryError
from dvskit.events import Size, as_size
from dvskit.filters.fit import Placement
from dvskit.tensors.representation import Representation

T = TypeVar("T")
Batch = tuple[Tensor, list[Row]]  # a tensor, and a description of each row

_BATCH_SIZE = 32
_IMAGE_BATCHES_AHEAD = 2
_NO_ROW = Row(-1, -1, -1)


class Fitted(NamedTuple):
    """Samples of another size than the network's: their number, events lost, and all events."""

    samples: int
    dropped: int
    total: int


@dataclass(frozen=True, eq=False)
class Batches(Epochs):
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
    _: KW_ONLY
    size: tuple[int, int]
    batch_size: int | None = None
    vary: Varying | None = None
    balanced: bool = False
    seed: int = checked(check_seed, default=0)
    shuffle: bool = True
    steps: int | None = checked(check_whole, 1, default=None)
    drop_last: bool = False
    weigh: bool = False
    batch_axis: int = 1
    cache: Cache | None = None
    threads: int | None = checked(check_whole, default=None)
    prefetch: int = checked(check_whole, 1, default=3)
    pin_memory: bool = False
    warn_fitted: bool = True
    shares: tuple[BatchShare, ...] = field(init=False, repr=False)
    _rows: RowMaker = field(init=False, repr=False)
    _fitted: dict[Size, Fitted] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", self._make_shares())
        self.check_shares()
        if not self.shuffle and any(share.balanced for share in self.shares):
            raise ConfigError("balanced samples are drawn; keep shuffle=True")
        size = as_size(self.size)
        rows = RowMaker(self.shares, self.representation, size, weigh=self.weigh, cache=self.cache)
        object.__setattr__(self, "_rows", rows)
        check_fields(self)
        check_whole("batch_axis", self.batch_axis, 0, len(rows.shape))
        if self.drop_last and not self.sizes():
            raise ConfigError("drop_last leaves no batch: the set is smaller than a batch")

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

    @property
    def fitted(self) -> dict[Size, Fitted]:
        """The samples fitted so far, by the size of their own sensor."""
        return dict(self._fitted)

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
        check_whole("epoch", number)
        with closing(self._made(number, first, part)) as made:
            for tensor, rows in made:
                self._note(rows)
                yield tensor, torch.tensor([row.label for row in rows])

    def _made(self, epoch: int, first: int, part: tuple[int, int]) -> Generator[Batch]:
        sizes = self.sizes()
        plan = self.plan(epoch)
        taken = [rows_of(part, size) for size in sizes[first:]]
        threads = thread_count() if self.threads is None else self.threads
        # Few rows per call, so that threads end at the same time; small files are read together.
        at_once = max(1, min(16, len(taken[0]) // (2 * max(1, threads)))) if taken else 1

        dtype = self._rows.dtype
        largest = max(map(len, taken), default=0) * prod(self._rows.shape) * dtype.itemsize
        memory = _BatchMemory(largest, self.prefetch + 2)  # the caller may hold two

        def begin(batch: int) -> Batch:
            count = len(taken[batch])
            shape = list(self._rows.shape)
            shape.insert(self.batch_axis, count)
            if self.pin_memory:
                return torch.empty(shape, dtype=dtype, pin_memory=True), [_NO_ROW] * count
            return memory.tensor(shape, dtype), [_NO_ROW] * count

        def fill(made: Batch, batch: int, rows: range) -> Iterator[None]:
            number, wanted = first + batch, []
            samples, start = plan.rows(number), number * sum(plan.counts)
            for row in rows:
                place = taken[batch][row]
                seed = (self.seed, SEED_OF_CONTENT, epoch, start + place)
                out = made[0].select(self.batch_axis, row)
                wanted.append(WantedRow(*samples[place], seed, out))
            for row, found in zip(rows, self._rows.fill(wanted), strict=True):
                made[1][row] = found
                yield

        counts = [len(rows) for rows in taken]
        return prefetched(
            counts, begin, fill, threads=threads, prefetch=self.prefetch, at_once=at_once
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
        """Return an uninitialized tensor."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(self._size, np.uint8)
        # The tensor and all that share its memory hold this view, and nothing else does.
        view = memory[: prod(shape) * dtype.itemsize]
        finalize(view, self._free.append, memory).atexit = False
        return torch.from_numpy(view).view(dtype).view(shape)


@dataclass(frozen=True, eq=False)
class ImageBatches(Epochs):
    """Batches of encoded images for training and evaluation; a seed gives the same batches.

    shares   of images, each with an `Encode`; they follow one another in each batch
    seed     of the order and of all random draws
    shuffle  draw a new order for each epoch; otherwise use the order of the sets
    steps    batches per epoch, all full; default: as in `Batches`

    Unlike `Batches`, it draws the spikes of a batch together, so they depend on the images in it.
    Raises ConfigError for shares of anything else, and for classes that differ.

        images = dvskit.datasets.open_images("images")
        encode = dvskit.datasets.Encode("latency", 20, (28, 28))
        share = dvskit.datasets.BatchShare(samples=images, count=8, encode=encode)
        batches = dvskit.datasets.ImageBatches([share], seed=1)
        spikes, labels = next(iter(batches.epoch(0)))  # (20, 8, 2, 28, 28), (8,)
    """

    shares: Sequence[BatchShare]
    seed: int = field(default=0, kw_only=True)
    shuffle: bool = field(default=True, kw_only=True)
    steps: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for share in self.shares:
            if not isinstance(share.encode, Encode):
                raise ConfigError("ImageBatches takes shares of images with an Encode; use Batches")
        self.check_shares()

    def epoch(
        self, number: int, *, first: int = 0, part: tuple[int, int] = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch: tensors (T, B, C, H, W) and labels (B,) int64.

        first, part  as in `Batches.epoch`; the whole batch is encoded in any case

        A thread makes batches in advance. Raises the errors of reading and encoding images.
        """
        sizes = self.sizes()
        plan = self.plan(number)

        def fill(made: list[tuple[Tensor, Tensor]], batch: int, rows: range) -> Iterator[None]:
            chosen = plan.batch(first + batch)
            made.append(self._made(chosen, (self.seed, SEED_OF_CONTENT, number, first + batch)))
            yield

        lists = prefetched(
            [1] * (len(sizes) - first),
            lambda batch: list[tuple[Tensor, Tensor]](),
            fill,
            threads=1,
            prefetch=_IMAGE_BATCHES_AHEAD,
        )
        with closing(lists):
            for made, size in zip(lists, sizes[first:], strict=True):
                tensor, labels = made[0]
                rows = rows_of(part, size)
                taken = slice(rows.start, None, rows.step)
                yield tensor[:, taken], labels[taken]

    def _made(
        self, chosen: Sequence[NDArray[np.int64]], seed: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        parts, labels = [], []
        for number, (share, numbers) in enumerate(zip(self.shares, chosen, strict=True)):
            if len(numbers):
                rng = np.random.default_rng((*seed, number))
                assert isinstance(share.encode, Encode)
                assert isinstance(share.samples, ImageSamples)
                parts.append(_encoded_images(share.encode, share.samples, numbers, rng))
                labels.append(torch.from_numpy(share.samples.labels[numbers]))
        if len(parts) == 1:
            return parts[0], labels[0]
        return torch.cat([part.float() for part in parts], 1), torch.cat(labels)


def _encoded_images(
    encode: Encode, samples: ImageSamples, numbers: NDArray[np.int64], rng: np.random.Generator
) -> Tensor:
    """Return the spikes of some images. Raises GeometryError with the name of one too large."""
    images = samples.images(numbers)
    try:
        return encode.many(images, rng)
    except GeometryError as error:
        width, height = encode.size
        pairs = zip(numbers.tolist(), images, strict=True)
        large = (k for k, image in pairs if image.shape[0] > height or image.shape[1] > width)
        raise named(error, samples.rows[next(large, 0)]) from error


# Rows faster than this are filled by one thread at a time. They spend most of their time in Python,
# which runs in one thread at a time anyway. Threads that switch at each file and kernel took 0.44
# ms for a recording of N-MNIST; one thread alone took 0.25 ms.
_QUICK_S = 1e-3


def prefetched(
    sizes: Sequence[int],
    begin: Callable[[int], T],
    fill: Callable[[T, int, range], Iterable[object]],
    *,
    threads: int,
    prefetch: int,
    at_once: int = 1,
) -> Generator[T]:
    """Yield the results of `begin(0)`, `begin(1)`, ..., each after `fill` has run for its rows.

    sizes     number of rows of each batch, at least one
    fill      fill(batch, batch number, rows) fills some rows, one at each step of its iterator
    threads   number of threads that fill rows; 0: the caller's thread
    at_once   number of rows that are filled in one call
    prefetch  number of batches begun but not yet taken, including the one waited for

    The first error, in order of rows, is raised in place of its batch. The threads end when the
    iterator ends, or after the row at hand when it is closed.
    """
    turn, quick, closed = threading.Lock(), False, False

    def fill_rows(batch: T, number: int, rows: range) -> None:
        nonlocal quick
        with turn if quick else nullcontext():
            start = time.perf_counter()
            for _ in fill(batch, number, rows):
                if closed:
                    break
            quick = time.perf_counter() - start < _QUICK_S * len(rows)

    def parts(number: int) -> list[range]:
        size = sizes[number]
        return [range(first, min(first + at_once, size)) for first in range(0, size, at_once)]

    if not threads:
        for number in range(len(sizes)):
            batch = begin(number)
            for rows in parts(number):
                fill_rows(batch, number, rows)
            yield batch
        return

    jobs: SimpleQueue[tuple[Future[None], T, int, range] | None] = SimpleQueue()
    begun: deque[tuple[T, list[Future[None]]]] = deque()

    def begin_one(number: int) -> None:
        batch = begin(number)
        futures = {rows: Future[None]() for rows in parts(number)}
        begun.append((batch, [*futures.values()]))
        for rows, future in futures.items():
            jobs.put((future, batch, number, rows))

    def work() -> None:
        while (job := jobs.get()) is not None:
            future, batch, number, rows = job
            if future.set_running_or_notify_cancel():
                try:
                    fill_rows(batch, number, rows)
                    future.set_result(None)
                except BaseException as error:  # raised when the batch is waited for
                    future.set_exception(error)
            del job, batch

    # Daemons: an iterator that is never closed must not keep the process alive.
    workers = [
        threading.Thread(target=work, name=f"dvskit-loader-{k}", daemon=True)
        for k in range(threads)
    ]
    try:
        for worker in workers:
            worker.start()
        for number in range(min(prefetch, len(sizes))):
            begin_one(number)
        for number in range(prefetch, len(sizes) + prefetch):
            if not begun:
                break
            batch, futures = begun[0]
            for future in futures:
                future.result()
            begun.popleft()
            if number < len(sizes):
                begin_one(number)
            yield batch
    finally:
        closed = True
        for _, futures in begun:
            for future in futures:
                future.cancel()
        for _ in workers:
            jobs.put(None)
        for worker in workers:
            if worker.ident is not None:
                worker.join()
