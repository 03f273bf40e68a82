"""One file at a time in each of several processes, which send their messages over pipes.

Each process is an executor of its own: if it dies the others go on, and a file of many is processed
exactly like a single file.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import active_children, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from dvskit import _files, _interrupt
from dvskit._progress import ProgressState
from dvskit.cli import _console
from dvskit.cli._trees import FileJob
from dvskit.errors import ConfigError, DvskitError, one_line

_BREAK_OFF_S = 1.2  # for interrupted processes to remove their unfinished outputs
_LOOK_S = 0.1  # between looks at messages, and for Ctrl-C
# Errors that would also stop all further files: no space, or a read-only file system.
_NO_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_TRACKER = "ignore::UserWarning:multiprocessing.resource_tracker"  # an option of Python

Work = Callable[[Path, Path], None]  # on an input, for an output; a process imports it by its name


class JobResult(NamedTuple):
    """The end of a job; `reason` is empty if it succeeded.

    usage    whether the options are wrong
    no_room  whether nothing more can be written
    trace    the traceback, with --debug
    """

    reason: str = ""
    usage: bool = False
    no_room: bool = False
    trace: str = ""


class _Wire:
    """Sends a process's messages to its parent."""

    def __init__(self, end: Connection) -> None:
        self._end, self._sent_s = end, 0.0

    def show(self, state: ProgressState) -> None:
        share = min(1.0, state.done / state.total) if state.total else 0.0
        if state.done and time.monotonic() - self._sent_s > _LOOK_S:
            self._sent_s = time.monotonic()
            self._end.send(("share", share))

    def note(self, text: str) -> None:
        self._end.send(("note", text))

    def announce(self, text: str) -> None:
        self._end.send(("announce", text))


def _begin(end: Connection, threads: int, debug: bool) -> None:
    """Prepare a process: the initializer of its executor."""
    for number in _interrupt.STOPPING:
        if number != signal.SIGTERM:  # the parent handles them, and ends its processes by SIGTERM
            signal.signal(number, signal.SIG_IGN)
    _interrupt.end_with_parent()
    os.environ["DVSKIT_THREADS"] = str(threads)
    _console.reports, _console.debug = _Wire(end), debug


def _do(work: Work, job: FileJob) -> JobResult:
    """Do a job in a process, which SIGTERM ends after the job's unfinished output is removed."""
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        with _console.warnings_as_notes():
            work(job.file, job.out)
        return JobResult()
    except KeyboardInterrupt:
        os._exit(1)
    except Exception as error:  # any error concerns only one file of many
        known = isinstance(error, DvskitError | OSError | MemoryError)
        text = one_line(error) if known else f"{type(error).__name__}: {one_line(error)}"
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        return JobResult(
            _console.for_shell(text) or type(error).__name__,
            isinstance(error, ConfigError),
            getattr(cause, "errno", None) in _NO_PLACE,
            traceback.format_exc() if _console.debug else "",
        )
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # do not interrupt the removal of outputs
    raise KeyboardInterrupt


class _Worker:
    """An executor of one process, and the messages that it sends."""

    process: BaseProcess

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
        self._begun_s = time.time()
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

    def messages(self) -> Iterator[tuple[str, Any]]:
        """Yield the messages that have arrived."""
        with suppress(EOFError, OSError):  # of a dead process
            while self._messages.poll():
                yield self._messages.recv()

    def result(self, future: Future[JobResult], job: FileJob) -> JobResult:
        """Return the end of a job, also of one whose process has died."""
        try:
            return future.result()
        except BrokenProcessPool:
            self._executor.shutdown()
            self._remove_begun(job)
            code = self.process.exitcode or 0
            how = f"signal {-code}" if code < 0 else f"code {code}"
            return JobResult(f"its process died ({how}); if memory ran out, --jobs 1 takes least")

    def break_off(self, job: FileJob, until_s: float) -> None:
        """End the process of an interrupted job, and remove its unfinished output."""
        self.process.join(max(0.0, until_s - time.monotonic()))
        self.process.kill()
        self.process.join()
        self._remove_begun(job)

    def dismiss(self) -> None:
        """Let an idle process end."""
        self._executor.shutdown(wait=False)

    def _remove_begun(self, job: FileJob) -> None:
        for path, target in _files.unfinished(job.out.parent):
            with suppress(OSError):
                if target == job.out and path.stat().st_mtime >= self._begun_s - 1:
                    path.unlink()


def do_jobs(
    jobs: list[FileJob], work: Work, *, processes: int, threads: int
) -> Generator[tuple[FileJob, str, Any] | None, None, None]:
    """Do work(file, out) for each job, in processes of `threads` threads; yield their messages.

    A message is a job with "note" and a text, "announce" and a text (before long work), "share" and
    the share that is done, or "end" and a JobResult. None comes in between, to show progress.
    Ctrl-C and a full disk end it early.
    """
    waiting, idle = deque(jobs), list[_Worker]()
    running: dict[Future[JobResult], tuple[_Worker, FileJob]] = {}
    # The first job runs alone until it has progress: the others then find compiled loops.
    warm = False
    stop: list[int] = []  # the signals that arrived
    with _interrupt.handled_by(lambda number, frame: stop.append(number)):
        try:
            while (waiting or running) and not stop:
                idle = [worker for worker in idle if worker.process.is_alive()]
                while waiting and len(running) < (processes if warm else 1):
                    worker, job = idle.pop() if idle else _Worker(threads), waiting.popleft()
                    running[worker.submit(work, job)] = worker, job
                ended, _ = wait(running, _LOOK_S, FIRST_COMPLETED)
                for worker, job in running.values():
                    for what, value in worker.messages():
                        warm |= what == "share"
                        yield job, what, value
                for future in ended:
                    worker, job = running.pop(future)
                    result, warm = worker.result(future, job), True
                    idle.append(worker)
                    yield job, "end", result
                    if result.no_room:
                        return
                yield None
        finally:
            for worker in idle:
                worker.dismiss()
            for worker, _ in running.values():
                worker.process.terminate()
            until_s = time.monotonic() + _BREAK_OFF_S
            for worker, job in running.values():
                worker.break_off(job, until_s)
