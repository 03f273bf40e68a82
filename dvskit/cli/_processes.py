"""Workers on this machine: processes, which send their messages over pipes.

Each process is an executor of its own: if it dies the others go on, and a file of many is processed
exactly like a single file.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import active_children, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from platform import node
from typing import Any

from dvskit import _interrupt
from dvskit.cli import _console
from dvskit.cli._jobs import JobResult, Message, Work, do_job, remove_begun
from dvskit.cli._trees import FileJob

_BREAK_OFF_S = 1.2  # for interrupted processes to remove their unfinished outputs
_TRACKER = "ignore::UserWarning:multiprocessing.resource_tracker"  # an option of Python

_send: Callable[[Message], None]  # to the parent, in a worker


def _begin(end: Connection, threads: int, debug: bool) -> None:
    """Prepare a process: the initializer of its executor."""
    global _send
    for number in _interrupt.STOPPING:
        if number != signal.SIGTERM:  # the parent handles them, and ends its processes by SIGTERM
            signal.signal(number, signal.SIG_IGN)
    _interrupt.end_with_parent()
    os.environ["DVSKIT_THREADS"] = str(threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # of torch, which is not loaded yet
    _send, _console.debug = end.send, debug


def _do(work: Work, job: FileJob) -> JobResult:
    """Do a job in a process, which SIGTERM ends after the job's unfinished output is removed."""
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        return do_job(work, job, _send)
    except KeyboardInterrupt:
        os._exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # do not interrupt the removal of outputs
    raise KeyboardInterrupt


class _Process:
    """An executor of one process, its job, and the messages that it sends."""

    process: BaseProcess
    job: FileJob

    def __init__(self, threads: int) -> None:
        # Spawned on all systems: a fork would copy locks that threads hold.
        context = get_context("spawn")
        # An interrupt may come between the removal of a semaphore and its report to Python's
        # tracker, a process that inherits these options and would print a warning.
        if _TRACKER not in sys.warnoptions:
            sys.warnoptions.append(_TRACKER)
        self._messages, self._end = context.Pipe(duplex=False)
        given = self._end, threads, _console.debug
        self._executor = ProcessPoolExecutor(1, context, _begin, given)
        self._begun_s = 0.0

    def submit(self, work: Work, job: FileJob) -> Future[JobResult]:
        self.job, self._begun_s = job, time.time()
        others = set(active_children())
        # The process ignores Ctrl-C from the start, before it can set this itself.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return self._executor.submit(_do, work, job)
        finally:
            signal.signal(signal.SIGINT, before)
            for process in set(active_children()) - others:  # started by the first job
                self.process = process
                self._end.close()

    def messages(self) -> Iterator[Message]:
        """Yield the messages that have arrived."""
        with suppress(EOFError, OSError):  # of a dead process
            while self._messages.poll():
                yield self._messages.recv()

    def result(self, future: Future[JobResult]) -> JobResult:
        """Return the end of the job, also if the process has died."""
        try:
            return future.result()
        except BrokenProcessPool:
            self._executor.shutdown()
            remove_begun([self.job.out], self._begun_s)
            code = self.process.exitcode or 0
            how = f"signal {-code}" if code < 0 else f"code {code}"
            reason = f"its process died ({how}); if memory ran out, --jobs 1 takes least"
            return JobResult(reason, host=node())

    def break_off(self, until_s: float) -> None:
        """End the process of an interrupted job, and remove its unfinished output."""
        self.process.join(max(0.0, until_s - time.monotonic()))
        self.process.kill()
        self.process.join()
        remove_begun([self.job.out], self._begun_s)

    def dismiss(self) -> None:
        """End an idle process, and wait: a thread of its executor may fail at the end of Python."""
        self._executor.shutdown()


class Processes:
    """Workers on this machine: processes of `threads` threads each."""

    def __init__(self, count: int, threads: int) -> None:
        self._count, self._threads = count, threads
        self._idle: list[_Process] = []
        self._running: dict[Future[JobResult], _Process] = {}
        # The first job runs alone until it has progress: the others then find compiled loops.
        self._warm = False

    def room(self) -> int:
        """Return the number of jobs to have submitted at a time."""
        return self._count if self._warm else 1

    def submit(self, work: Work, job: FileJob) -> Future[JobResult]:
        """Begin a job in an idle process, or in a new one."""
        self._idle = [each for each in self._idle if each.process.is_alive()]
        process = self._idle.pop() if self._idle else _Process(self._threads)
        future = process.submit(work, job)
        self._running[future] = process
        return future

    def messages(self) -> Iterator[tuple[FileJob, str, Any]]:
        """Yield the messages of running jobs that have arrived."""
        for process in self._running.values():
            for what, value in process.messages():
                self._warm |= what == "share"
                yield process.job, what, value

    def result(self, future: Future[JobResult], job: FileJob) -> JobResult:
        """Return the end of a job, also of one whose process has died."""
        process = self._running.pop(future)
        self._warm = True
        self._idle.append(process)
        return process.result(future)

    def close(self) -> None:
        """Let idle processes end, and end the others."""
        for process in self._running.values():
            process.process.terminate()
        with ThreadPoolExecutor() as together:
            list(together.map(_Process.dismiss, self._idle))
        until_s = time.monotonic() + _BREAK_OFF_S
        for process in self._running.values():
            process.break_off(until_s)
