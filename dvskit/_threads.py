"""How many threads, and one way to use them.

Kernels are compiled without the GIL and run on slices from ordinary Python threads. That leaves
numba's own threading layers out: the default one must not be entered from two threads at once.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache

from dvskit.errors import ConfigError


def thread_count() -> int:
    """Return how many threads to use: DVSKIT_THREADS, else the processors of this process."""
    asked = os.environ.get("DVSKIT_THREADS")
    if asked is not None:
        if not asked.isdecimal() or int(asked) < 1:
            raise ConfigError(f"DVSKIT_THREADS={asked!r} is not a whole number of at least 1")
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache(maxsize=8)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="dvskit")


# The threads of a pool do not live on in a forked child, which must make its own.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


_here = threading.local()


def run_parts(work: Callable[[int], object], parts: int, threads: int | None = None) -> None:
    """Call `work(0) .. work(parts - 1)`, in parallel; all have ended on return.

    Where `work` calls `run_parts` itself, those parts run one after the other: the threads are busy
    already. The first error, by part, is raised.
    """
    threads = thread_count() if threads is None else threads
    if parts == 1 or threads == 1 or getattr(_here, "at_work", False):
        for part in range(parts):
            work(part)
        return
    # Who has time takes the next part: each thread is woken once, and this one works as well.
    waiting = deque(range(parts))
    errors: dict[int, Exception] = {}

    def take() -> None:
        _here.at_work = True
        try:
            while waiting:
                try:
                    part = waiting.popleft()
                except IndexError:  # another thread was faster
                    return
                try:
                    work(part)
                except Exception as error:
                    errors[part] = error
        finally:
            _here.at_work = False

    helpers = [_pool(threads).submit(take) for _ in range(min(threads, parts) - 1)]
    try:
        take()
    finally:
        waiting.clear()  # behind an interrupt nothing more is begun
        wait(helpers)
    if errors:
        raise errors[min(errors)]
    for helper in helpers:
        helper.result()
