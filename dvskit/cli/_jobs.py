"""Worker processes that do one file at a time and send their messages over pipes.

Each worker is a process and not a thread: if it dies the others go on, and a file of many is
processed exactly like a single file.
"""

from __future__ import annotations

import errno
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any, NamedTuple

from dvskit import _interrupt
from dvskit._files import unfinished
from dvskit._progress import ProgressState
from dvskit.cli import _console
from dvskit.cli._trees import Job
from dvskit.errors import ConfigError, DvskitError, one_line

if TYPE_CHECKING:
    from dvskit.cli._many_files import ManyFiles

_PATIENCE_S = 15.0  # for idle processes to end
_BREAK_OFF_S = 1.2  # for interrupted processes to remove their unfinished outputs
_LOOK_S = 0.1  # between checks for Ctrl-C
# Errors that would also stop all further files: no space, or a read-only file system.
_NO_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class Task(NamedTuple):
    """The work on each file: a module's command, with options."""

    module: str
    options: dict[str, Any]


class Result(NamedTuple):
    """The end of a job; `reason` is empty if it succeeded.

    usage    whether the options are wrong
    no_room  whether nothing more can be written
    trace    the traceback, with --debug
    """

    reason: str = ""
    usage: bool = False
    no_room: bool = False
    trace: str = ""


# A message of a worker: its progress, a note, an announcement, or the end of a job.
_Said = tuple[str, Any]


class _Wire:
    """Sends a worker's messages to its parent process.

    If the parent has ended, the worker ends too, as after Ctrl-C.
    """

    def __init__(self, end: Connection) -> None:
        self._end = end

    def show(self, state: ProgressState) -> None:
        share = min(1.0, state.done / state.total) if state.total else 0.0
        self.say("share", (share, state.done > 0))

    def note(self, text: str) -> None:
        self.say("note", text)

    def announce(self, text: str) -> None:
        self.say("announce", text)

    def say(self, what: str, value: object) -> None:
        try:
            self._end.send((what, value))
        except OSError:
            raise KeyboardInterrupt from None


def serve(end: Connection, task: Task, threads: int, debug: bool) -> None:
    """Do the jobs that arrive until None arrives: the loop of a worker."""
    _mind_signals()
    os.environ["DVSKIT_THREADS"] = str(threads)
    wire = _Wire(end)
    _console.reports, _console.debug = wire, debug
    with suppress(KeyboardInterrupt, EOFError, OSError):
        from dvskit.cli._many import do_one

        with _console.warnings_as_notes():
            while (paths := end.recv()) is not None:
                wire.say("end", _done(partial(do_one, *paths, **task._asdict())))


def _mind_signals() -> None:
    """Ignore Ctrl-C: the parent process handles it, and ends this process with SIGTERM."""

    def stop(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # do not interrupt the removal of outputs
        raise KeyboardInterrupt

    for number in _interrupt.STOPPING:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)


def _done(work: Callable[[], None]) -> Result:
    try:
        work()
    except Exception as error:  # any error concerns only one file of many
        known = isinstance(error, DvskitError | OSError | MemoryError)
        text = one_line(error) if known else f"{type(error).__name__}: {one_line(error)}"
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        return Result(
            _console.for_shell(text) or type(error).__name__,
            isinstance(error, ConfigError),
            getattr(cause, "errno", None) in _NO_PLACE,
            traceback.format_exc() if _console.debug else "",
        )
    return Result()


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    end: Connection
    job: Job | None = None
    begun: float = field(default_factory=time.time)


class Pool:
    """Processes with `threads` threads each that do jobs and report to `watcher`."""

    def __init__(self, task: Task, processes: int, threads: int, watcher: ManyFiles) -> None:
        self._task, self._most, self._threads = task, processes, threads
        self._watcher = watcher
        self._workers: list[_Worker] = []
        # The first job runs alone until it has progress: the others then find compiled loops.
        self._warm = False

    def run(self, jobs: list[Job]) -> bool:
        """Do the jobs; return whether all are done, False after Ctrl-C or on a full disk."""
        waiting = deque(jobs)
        stop: list[int] = []  # the signals that arrived
        with _interrupt.handled_by(lambda number, frame: stop.append(number)):
            try:
                while waiting or any(worker.job for worker in self._workers):
                    self._hand_out(waiting)
                    if self._listen() or stop:
                        self._break_off()
                        return False
                self._dismiss()
            except BaseException:
                self._break_off()
                raise
        return True

    def _hand_out(self, waiting: deque[Job]) -> None:
        most = self._most if self._warm else 1
        while waiting and len(self._workers) < min(most, self._busy() + len(waiting)):
            self._workers.append(_start(self._task, self._threads))
        for worker in self._workers:
            if worker.job is None and waiting:
                worker.job, worker.begun = waiting.popleft(), time.time()
                with suppress(OSError):  # _listen reports a dead worker
                    worker.end.send((worker.job.file, worker.job.out))

    def _busy(self) -> int:
        return sum(worker.job is not None for worker in self._workers)

    def _listen(self) -> bool:
        """Handle the messages of the workers; return whether nothing more can be written."""
        full = False
        by_end = {worker.end: worker for worker in self._workers}
        for end in connection.wait(list(by_end), timeout=_LOOK_S):
            worker = by_end[end]  # type: ignore[index]
            try:
                full |= self._take(worker, worker.end.recv())
            except (EOFError, OSError):
                self._bury(worker)
        self._watcher.waited()
        return full

    def _take(self, worker: _Worker, said: _Said) -> bool:
        what, value = said
        job = worker.job
        if job is None:
            return False
        if what == "end":
            worker.job, self._warm = None, True
            self._watcher.ended(job, value)
            return bool(value.no_room)
        if what == "share":
            self._warm |= value[1]
            self._watcher.moved(job, value[0])
        elif what == "note":
            self._watcher.noted(job, value)
        else:
            self._watcher.announced(value)
        return False

    def _bury(self, worker: _Worker) -> None:
        """Remove a dead worker and its unfinished output."""
        self._workers.remove(worker)
        worker.end.close()
        worker.process.join(_PATIENCE_S)
        if worker.job is not None:
            _remove_begun(worker)
            code = worker.process.exitcode or 0
            how = f"signal {-code}" if code < 0 else f"code {code}"
            self._watcher.ended(
                worker.job,
                Result(f"its process died ({how}); if memory ran out, --jobs 1 takes least"),
            )

    def _dismiss(self) -> None:
        for worker in self._workers:
            with suppress(OSError):
                worker.end.send(None)
        self._end_all(time.monotonic() + _PATIENCE_S)

    def _break_off(self) -> None:
        """End all processes, and remove the unfinished outputs that they leave."""
        for worker in self._workers:
            worker.end.close()
            if os.name == "posix":  # elsewhere this would end it without cleaning up
                worker.process.terminate()
        self._end_all(time.monotonic() + _BREAK_OFF_S)
        for worker in self._workers:
            if worker.process.exitcode:  # else it has removed its own output
                _remove_begun(worker)

    def _end_all(self, until: float) -> None:
        for worker in self._workers:
            worker.process.join(max(0.0, until - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


def _remove_begun(worker: _Worker) -> None:
    if worker.job is not None:
        for path, target in unfinished(worker.job.out.parent):
            with suppress(OSError):
                if target == worker.job.out and path.stat().st_mtime >= worker.begun - 1:
                    path.unlink()


def _start(task: Task, threads: int) -> _Worker:
    """Start a process by spawn on all systems: a fork would copy locks that threads hold."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(
        target=serve, args=(there, task, threads, _console.debug), daemon=True
    )
    # It ignores Ctrl-C from the start, before it can set this itself.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
        there.close()
    return _Worker(process, here)
