"""The number of threads, the memory, and a function to run work on threads.

Kernels are compiled without the GIL and run on slices from ordinary Python threads. That avoids
numba's own threading layers: the default one must not be entered from two threads at once.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import lru_cache

from dvskit.errors import ConfigError

_here = threading.local()


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the enclosed code of this thread on this thread only: `thread_count` is 1.

    Callers that read many samples at once have a thread for each, and more would compete with them.
    """
    before = getattr(_here, "alone", False)
    _here.alone = True
    try:
        yield
    finally:
        _here.alone = before


def thread_count() -> int:
    """Return the number of threads: DVSKIT_THREADS, else the processors of this process.

    The processes that torchrun starts on a machine share its processors equally.
    """
    if getattr(_here, "alone", False):
        return 1
    asked = os.environ.get("DVSKIT_THREADS")
    if asked is not None:
        if not asked.isdecimal() or int(asked) < 1:
            raise ConfigError(f"DVSKIT_THREADS={asked!r} is not a whole number of at least 1")
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    else:
        processors = os.cpu_count() or 1
    together = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, processors // max(1, int(together))) if together.isdecimal() else processors


def memory_bytes() -> int:
    """Return the memory of this machine in bytes; the largest integer if unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return (1 << 63) - 1


@lru_cache(maxsize=8)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="dvskit")


# Threads of a pool do not survive a fork; the child process creates its own.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def run_parts(work: Callable[[int], object], parts: int, threads: int | None = None) -> None:
    """Call `work(0) .. work(parts - 1)`, in parallel; all have ended on return.

    If `work` calls `run_parts` itself, those parts run one after the other, because the threads are
    busy. The first error, by part, is raised.
    """
    if threads is None or getattr(_here, "alone", False):
        threads = thread_count()
    if parts == 1 or threads == 1:
        for part in range(parts):
            work(part)
        return
    # Idle threads take the next part: each thread is woken once, and this one works too.
    waiting = deque(range(parts))
    errors: dict[int, Exception] = {}

    def take() -> None:
        with one_thread():
            while waiting:
                try:
                    part = waiting.popleft()
                except IndexError:  # another thread was faster
                    return
                try:
                    work(part)
                except Exception as error:
                    errors[part] = error

    helpers = [_pool(threads).submit(take) for _ in range(min(threads, parts) - 1)]
    try:
        take()
    finally:
        waiting.clear()  # nothing is started after an interrupt
        wait(helpers)
    if errors:
        raise errors[min(errors)]
    for helper in helpers:
        helper.result()


def run_ranges(
    work: Callable[[int, int], object], count: int, parts: int, threads: int | None = None
) -> None:
    """Call `work(first, stop)` for parts that cover range(count), as `run_parts` does."""
    run_parts(lambda n: work(count * n // parts, count * (n + 1) // parts), parts, threads)
