"""Batches made in advance, by threads or by the processes of torch's DataLoader.

BatchesDataset and EpochBatches serve a DataLoader of your own.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from math import prod
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from dvskit._arguments import check_arguments
from dvskit.datasets.batch_plan import EpochPlan, rows_of
from dvskit.datasets.batch_rows import Row
from dvskit.errors import ConfigError

if TYPE_CHECKING:
    from dvskit.datasets.loader import Batches


T = TypeVar("T")

# Rows faster than this are filled by one thread at a time. They spend most of their time in Python,
# which runs in one thread at a time anyway. Threads that switch at each file and kernel took 0.44
# ms for a recording of N-MNIST; one thread alone took 0.25 ms.
_QUICK_S = 1e-3


def prefetched(
    sizes: Sequence[int],
    begin: Callable[[int], T],
    fill: Callable[[T, int, int], object],
    *,
    threads: int,
    ahead: int,
    at_once: int = 1,
) -> Generator[T]:
    """Yield the results of `begin(0)`, `begin(1)`, ..., each after `fill` has run for its rows.

    sizes    number of rows of each batch, at least one; fill(batch, batch number, row) fills a row
    threads  number of threads that fill rows, `at_once` rows in turn; with 0 the caller's thread
             does all work on demand
    ahead    number of batches begun but not yet taken, including the one waited for

    The first error, in order of rows, is raised in place of its batch. The threads end when the
    iterator ends or is closed.
    """
    if not threads:
        for number, size in enumerate(sizes):
            batch = begin(number)
            for row in range(size):
                fill(batch, number, row)
            yield batch
        return
    turn, quick = threading.Lock(), False
    jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
    begun: deque[tuple[T, list[Future[None]]]] = deque()

    def filled(batch: T, number: int, rows: range) -> Future[None]:
        """Let the next idle thread fill some rows of a batch."""
        future: Future[None] = Future()

        def job() -> None:
            nonlocal quick
            if not future.set_running_or_notify_cancel():
                return
            try:
                with turn if quick else nullcontext():
                    start = time.perf_counter()
                    for row in rows:
                        fill(batch, number, row)
                    quick = time.perf_counter() - start < _QUICK_S * len(rows)
            except BaseException as error:  # raised when the batch is waited for
                future.set_exception(error)
            else:
                future.set_result(None)

        jobs.put(job)
        return future

    def begin_one(number: int) -> None:
        batch, size = begin(number), sizes[number]
        firsts = range(0, size, at_once)
        parts = [filled(batch, number, range(k, min(k + at_once, size))) for k in firsts]
        begun.append((batch, parts))

    def work() -> None:
        while (job := jobs.get()) is not None:
            job()

    # Daemons: an iterator that is never closed must not keep the process alive.
    workers = [
        threading.Thread(target=work, name=f"dvskit-loader-{k}", daemon=True)
        for k in range(threads)
    ]
    parts: list[Future[None]] = []
    try:
        for worker in workers:
            worker.start()
        for number in range(min(ahead, len(sizes))):
            begin_one(number)
        for number in range(ahead, len(sizes) + ahead):
            if not begun:
                break
            batch, parts = begun.popleft()
            for part in parts:
                part.result()
            if number < len(sizes):
                begin_one(number)
            yield batch
    finally:
        for part in (*parts, *(part for _, each in begun for part in each)):
            part.cancel()
        for _ in workers:
            jobs.put(None)
        for worker in workers:
            if worker.ident is not None:
                worker.join()


Answer = tuple[Tensor, list[Row]] | Exception


class _Answers(Dataset[Answer]):
    """Whole batches, or the reason for a missing one; each process has its own copy of the data.

    The data is copied, not forked: at a fork another thread may hold a lock.
    """

    def __init__(self, packed: bytes) -> None:
        self._packed = packed
        self._batches: Batches | None = None
        self._plan: tuple[int, EpochPlan] | None = None

    def __getitem__(self, place: tuple[int, int, tuple[int, int]]) -> Answer:
        epoch, batch, part = place
        try:
            if self._batches is None:
                self._batches = pickle.loads(self._packed)
            if self._plan is None or self._plan[0] != epoch:
                self._plan = epoch, self._batches.plan(epoch)
            batches = self._batches
            count = len(rows_of(part, batches.sizes()[batch]))
            tensor = _shared(batches.shape(count), batches.dtype)
            return tensor, batches.make(epoch, batch, self._plan[1], part, tensor)
        except Exception as error:
            return that_travels(error)


def _shared(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return an uninitialised tensor in memory that is shared with another process."""
    size = prod(shape) * dtype.itemsize
    # As in torch's own collate: a tensor that is shared later is copied.
    new_shared: Any = torch.UntypedStorage._new_shared
    whole = torch.empty(0, dtype=torch.uint8).set_(new_shared(size, device="cpu"))
    return whole.view(dtype).view(shape)


def that_travels(error: Exception) -> Exception:
    """Return an error that can be sent to another process, of the nearest possible type."""
    with suppress(Exception):  # the constructor of an error may need any arguments
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    text = str(error)
    made: Exception = RuntimeError(text)
    for kind in type(error).__mro__:
        with suppress(Exception):
            candidate = kind(text)
            if isinstance(candidate, Exception) and str(candidate) == text:
                made = candidate
                break
    for note in getattr(error, "__notes__", ()):
        made.add_note(note)
    return made


class Workers:
    """Processes that make batches, from one epoch to the next. Raises ConfigError."""

    def __init__(self, batches: Batches) -> None:
        try:
            packed = pickle.dumps(batches)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"the parts of the batches cannot be sent to other processes ({error}); "
                "use threads instead"
            ) from error
        self._count = len(batches)
        self._order: list[tuple[int, int, tuple[int, int]]] = []  # of the current epoch
        self._loader = DataLoader(
            _Answers(packed),
            batch_size=None,
            sampler=self._order,
            num_workers=batches.processes,
            prefetch_factor=max(1, -(-batches.ahead // batches.processes)),
            persistent_workers=True,
            pin_memory=batches.pin_memory,
        )

    def epoch(self, number: int, part: tuple[int, int]) -> Iterator[tuple[Tensor, list[Row]]]:
        """Yield the batches of an epoch. Raises the error of a batch in its place."""
        self._order[:] = [(number, batch, part) for batch in range(self._count)]
        for answer in self._loader:
            if isinstance(answer, Exception):
                raise answer
            yield answer


class BatchPlace(NamedTuple):
    """A row of a batch of an epoch."""

    epoch: int
    batch: int
    row: int


@check_arguments
class BatchesDataset(Dataset[tuple[Tensor, int]]):
    """The samples of `Batches`, for torch's DataLoader: the same batches, made by its processes.

        data = BatchesDataset(batches)
        loader = DataLoader(data, batch_sampler=EpochBatches(batches), collate_fn=data.collate,
                            num_workers=2)
        for counts, labels in loader: ...                # the next epoch at each pass

    data[place] gives the tensor of a sample (T, ...), without the batch, and its label. Without
    chance, data[number] gives a sample by its number too, so any sampler works.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self._plans: dict[int, EpochPlan] = {}

    def __len__(self) -> int:
        return sum(self.batches.sizes())

    def __getitem__(self, place: BatchPlace | int) -> tuple[Tensor, int]:
        """Return the tensor and the label of a place or, without chance, of a number.

        Raises ConfigError for a number if the epoch matters, and the errors of reading.
        """
        out = self.batches.empty()
        if isinstance(place, tuple):
            epoch, batch, row = place
            made = self.batches.fill(self._plan(epoch), epoch, batch, row, out)
        else:
            made = self._fill_number(place, out)
        self.batches.note([made])
        return out, made.label

    def _plan(self, epoch: int) -> EpochPlan:
        plan = self._plans.get(epoch)
        if plan is None:
            plan = self.batches.plan(epoch)
            self._plans = {epoch: plan}
        return plan

    def _fill_number(self, number: int, out: Tensor) -> Row:
        shares = self.batches.shares
        if len(shares) > 1 or shares[0].chance:
            raise ConfigError(
                f"sample {number} depends on its epoch, which is not known; pass "
                "batch_sampler=EpochBatches(batches) to the DataLoader"
            )
        if not 0 <= number < len(shares[0].samples):
            raise IndexError(f"sample {number} of {len(shares[0].samples)}")
        return self.batches.fill_number(number, out)

    def collate(self, samples: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        """Return a batch, (T, B, ...) as in `Batches`, and labels (B,) int64."""
        tensors, labels = zip(*samples, strict=True)
        return torch.stack(tensors, self.batches.batch_axis), torch.tensor(labels)


@check_arguments
class EpochBatches(Sampler[list[BatchPlace]]):
    """The samples of each batch, for torch's DataLoader: a pass is an epoch.

    epoch  the number of the next pass; set it to resume a training run
    """

    def __init__(self, batches: Batches, *, epoch: int = 0) -> None:
        self._sizes = batches.sizes()
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[list[BatchPlace]]:
        epoch = self.epoch
        self.epoch += 1
        for batch, size in enumerate(self._sizes):
            yield [BatchPlace(epoch, batch, row) for row in range(size)]
