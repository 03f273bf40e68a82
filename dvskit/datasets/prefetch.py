"""Batches made in advance, by threads or by the processes of torch's DataLoader."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from dvskit._arguments import check_arguments
from dvskit.datasets.batch_plan import EpochPlan, Row
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
    prefetch: int,
    at_once: int = 1,
) -> Generator[T]:
    """Yield the results of `begin(0)`, `begin(1)`, ..., each after `fill` has run for its rows.

    sizes     number of rows of each batch, at least one; fill(batch, batch number, row) fills a row
    threads   number of threads that fill rows, `at_once` rows at a time; 0: the caller's thread
    prefetch  number of batches begun but not yet taken, including the one waited for

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
        for number in range(min(prefetch, len(sizes))):
            begin_one(number)
        for number in range(prefetch, len(sizes) + prefetch):
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


class BatchPlace(NamedTuple):
    """A row of a batch of an epoch."""

    epoch: int
    batch: int
    row: int


@check_arguments
class BatchesDataset(Dataset[tuple[Tensor, int]]):
    """The samples of `Batches`, for torch's DataLoader, whose processes make the same batches.

        data = BatchesDataset(batches)
        loader = DataLoader(data, batch_sampler=EpochBatches(batches), collate_fn=data.collate,
                            num_workers=2)
        for counts, labels in loader: ...                # the next epoch at each pass

    data[place] is the tensor of a sample (T, ...), without the batch axis, and its label. Without
    chance, data[number] works too, so any sampler can be used.
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
