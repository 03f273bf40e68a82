"""Batches made in advance by threads."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")

# Rows faster than this are filled by one thread at a time. They spend most of their time in Python,
# which runs in one thread at a time anyway. Threads that switch at each file and kernel took 0.44
# ms for a recording of N-MNIST; one thread alone took 0.25 ms.
_QUICK_S = 1e-3


def _ranges(count: int, at_once: int) -> list[range]:
    return [range(k, min(k + at_once, count)) for k in range(0, count, at_once)]


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
    if not threads:
        for number, size in enumerate(sizes):
            batch = begin(number)
            for rows in _ranges(size, at_once):
                for _ in fill(batch, number, rows):
                    pass
            yield batch
        return
    turn, quick, closed = threading.Lock(), False, False
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
                    for _ in fill(batch, number, rows):
                        if closed:
                            break
                    quick = time.perf_counter() - start < _QUICK_S * len(rows)
            except BaseException as error:  # raised when the batch is waited for
                future.set_exception(error)
            else:
                future.set_result(None)

        jobs.put(job)
        return future

    def begin_one(number: int) -> None:
        batch, size = begin(number), sizes[number]
        parts = [filled(batch, number, rows) for rows in _ranges(size, at_once)]
        begun.append((batch, parts))

    def work() -> None:
        while (job := jobs.get()) is not None:
            job()
            del job  # it holds its batch

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
        closed = True
        for part in (*parts, *(part for _, each in begun for part in each)):
            part.cancel()
        for _ in workers:
            jobs.put(None)
        for worker in workers:
            if worker.ident is not None:
                worker.join()
