"""Work done by threads ahead of who takes it, handed out in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext
from typing import Generic, TypeVar

T = TypeVar("T")

# Rows that take less than this are filled by one thread at a time. Most of their time is Python's,
# which runs in one thread at a time anyway, and threads that hand it to each other at each file and
# each kernel took 0.44 ms for a recording of N-MNIST where one alone took 0.25.
_QUICK_S = 1e-3


class _Run(Generic[T]):
    """One pass: what is to be made, what is being made, and by whom it is waited for."""

    def __init__(
        self,
        sizes: Sequence[int],
        begin: Callable[[int], T],
        fill: Callable[[T, int, int], object],
        ahead: int,
        at_once: int,
    ) -> None:
        self.sizes, self.begin, self.fill = sizes, begin, fill
        self.ahead, self.at_once = ahead, at_once
        self.changed = threading.Condition()
        self.made: dict[int, T] = {}
        self.missing: dict[int, int] = {}
        self.taken = 0
        self.next = (0, 0)  # the batch and the row that are begun next
        self.failed: dict[tuple[int, int], BaseException] = {}
        self.stopped = False
        self.turn, self.quick = threading.Lock(), False

    def work(self) -> None:
        """Fill rows, in order, until there are none, one has failed or the pass is over."""
        while (job := self._claim()) is not None:
            batch, first, stop = job
            row = first
            try:
                with self.turn if self.quick else nullcontext():
                    begun = time.perf_counter()
                    while row < stop:
                        self.fill(self.made[batch], batch, row)
                        row += 1
                    self.quick = time.perf_counter() - begun < _QUICK_S * (stop - first)
            except BaseException as error:  # to be raised where it is waited for
                with self.changed:
                    self.failed[batch, row] = error
                    self.changed.notify_all()
                return
            with self.changed:
                self.missing[batch] -= stop - first
                if not self.missing[batch]:
                    self.changed.notify_all()

    def _claim(self) -> tuple[int, int, int] | None:
        with self.changed:
            while True:
                batch, first = self.next
                if self.stopped or self.failed or batch >= len(self.sizes):
                    return None
                if batch < self.taken + self.ahead:
                    break
                self.changed.wait()
            if first == 0:
                try:
                    self.made[batch] = self.begin(batch)
                except BaseException as error:
                    self.failed[batch, -1] = error
                    self.changed.notify_all()
                    return None
                self.missing[batch] = self.sizes[batch]
            stop = min(first + self.at_once, self.sizes[batch])
            self.next = (batch, stop) if stop < self.sizes[batch] else (batch + 1, 0)
            return batch, first, stop

    def take(self) -> T | None:
        """Wait for the next batch and return it; None where something has failed."""
        with self.changed:
            while self.missing.get(self.taken) != 0:
                if self.failed and min(self.failed)[0] <= self.taken:
                    return None
                self.changed.wait()
            del self.missing[self.taken]
            batch = self.made.pop(self.taken)
            self.taken += 1
            self.changed.notify_all()
            return batch

    def stop(self) -> None:
        """Begin nothing more."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()


def made_ahead(
    sizes: Sequence[int],
    begin: Callable[[int], T],
    fill: Callable[[T, int, int], object],
    *,
    threads: int,
    ahead: int,
    at_once: int = 1,
) -> Generator[T]:
    """Yield what `begin(0)`, `begin(1)`, ... return, each after `fill` was called for its rows.

    sizes    how many rows each has, at least one; fill(batch, number of the batch, row) fills one
    threads  how many fill rows at a time, `at_once` rows one after the other; with 0 all is done
             in the caller's thread when it asks for it
    ahead    how many batches are begun that were not taken yet, that which is waited for included

    The first error, in order of rows, is raised where its batch would have come. The threads have
    ended when the iterator has, or was closed.
    """
    if not threads:
        for number, size in enumerate(sizes):
            batch = begin(number)
            for row in range(size):
                fill(batch, number, row)
            yield batch
        return
    run = _Run(sizes, begin, fill, ahead, at_once)
    # Daemons: an iterator that nobody closes must not keep the process from its end.
    workers = [
        threading.Thread(target=run.work, name=f"dvskit-loader-{k}", daemon=True)
        for k in range(threads)
    ]
    try:
        for worker in workers:
            worker.start()
        for _ in sizes:
            made = run.take()
            if made is None:
                break
            yield made
    finally:
        run.stop()
        for worker in workers:
            if worker.ident is not None:
                worker.join()
    if run.failed:
        raise run.failed[min(run.failed)]
