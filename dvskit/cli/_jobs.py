"""One file at a time on each of several workers, which are processes here or on other machines.

Jobs are submitted to executors of `concurrent.futures`; `Workers` says how many run at a time, and
what the loss of one means.
"""

from __future__ import annotations

import platform
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from dvskit import _files, _interrupt
from dvskit._progress import ProgressState
from dvskit.cli import _console
from dvskit.cli._trees import FileJob
from dvskit.errors import ConfigError, DvskitError, explained, one_line

_LOOK_S = 0.1  # between looks at messages, and for Ctrl-C

# Does a job; returns its value. A worker imports it by name.
Work = Callable[[FileJob], Any]
Message = tuple[str, Any]


class JobResult(NamedTuple):
    """The end of a job; `reason` is empty if it succeeded.

    usage    whether the options are wrong
    no_room  whether nothing more can be written
    trace    the traceback, with --debug
    notes    messages for the user
    value    that the work returned: for a file, the number of events written, None if unknown
    seconds  the time that the job took
    host     the machine that did it
    """

    reason: str = ""
    usage: bool = False
    no_room: bool = False
    trace: str = ""
    notes: tuple[str, ...] = ()
    value: Any = None
    seconds: float = 0.0
    host: str = ""


class WorkersGoneError(DvskitError):
    """All workers are out of reach."""


class Workers(Protocol):
    """Does jobs, one at a time on each worker."""

    def room(self) -> int:
        """Return the number of jobs to have submitted at a time."""

    def submit(self, work: Work, job: FileJob) -> Future[JobResult]:
        """Begin a job, or put it in line."""

    def messages(self) -> Iterator[tuple[FileJob, str, Any]]:
        """Yield the messages of running jobs that have arrived. Raises WorkersGoneError."""

    def result(self, future: Future[JobResult], job: FileJob) -> JobResult:
        """Return the end of a job, also of one that took its worker down."""

    def close(self) -> None:
        """End the workers or leave them; break off jobs that are not done."""


class _Wire:
    """Sends a job's progress to the command, and collects its notes."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send, self._sent_s = send, 0.0
        self.notes: list[str] = []

    def show(self, state: ProgressState) -> None:
        share = min(1.0, state.done / state.total) if state.total else 0.0
        if state.done and time.monotonic() - self._sent_s > _LOOK_S:
            self._sent_s = time.monotonic()
            self._send(("share", share))

    def note(self, text: str) -> None:
        self.notes.append(text)

    def announce(self, text: str) -> None:
        self._send(("announce", text))


def do_job(work: Work, job: FileJob, send: Callable[[Message], None]) -> JobResult:
    """Do a job in this process, and return its end; `send` takes the messages before that."""
    wire = _console.reports = _Wire(send)
    begun_s = time.monotonic()
    try:
        result = _end_of(work, job)
    finally:
        _console.reports = None
        _console.stand_ins.clear()
    return result._replace(
        reason=_unnamed(job, result.reason),
        notes=tuple(_unnamed(job, text) for text in wire.notes),
        seconds=time.monotonic() - begun_s,
        host=platform.node(),
    )


def _end_of(work: Work, job: FileJob) -> JobResult:
    try:
        with _console.warnings_as_notes():
            return JobResult(value=work(job))
    except Exception as raised:  # any error concerns only one file of many
        error = explained(raised)
        known = isinstance(error, DvskitError | OSError | MemoryError)
        text = one_line(error) if known else f"{type(error).__name__}: {one_line(error)}"
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        return JobResult(
            _console.for_shell(text) or type(error).__name__,
            isinstance(error, ConfigError),
            getattr(cause, "errno", None) in _files.NO_PLACE,  # which stop all further files
            traceback.format_exc() if _console.debug else "",
        )


def _unnamed(job: FileJob, text: str) -> str:
    """Return a message about a job without a leading path."""
    for path in (job.out, job.file):
        text = text.removeprefix(f"{_console.shown(str(path))}: ")
    return text


def remove_begun(outs: Collection[Path], since_s: float) -> None:
    """Remove the unfinished files of outputs that were begun since a time."""
    for folder in {out.parent for out in outs}:
        for path, target in _files.unfinished(folder):
            with suppress(OSError):
                if target in outs and path.stat().st_mtime >= since_s - 1:
                    path.unlink()


def do_jobs(
    jobs: list[FileJob], work: Work, workers: Workers
) -> Generator[tuple[FileJob, str, Any] | None, None, None]:
    """Do work(job) for each job, and yield the messages of the workers.

    A message is a job with "announce" and a text (before long work), "share" and the share that is
    done, or "end" and a JobResult. None comes in between, to show progress. Ctrl-C and a full disk
    end it early. The workers are closed at the end.
    """
    waiting = deque(jobs)
    running: dict[Future[JobResult], FileJob] = {}
    stop: list[int] = []  # the signals that arrived
    with _interrupt.handled_by(lambda number, frame: stop.append(number)):
        try:
            while (waiting or running) and not stop:
                while waiting and len(running) < workers.room():
                    job = waiting.popleft()
                    running[workers.submit(work, job)] = job
                ended, _ = wait(running, _LOOK_S, FIRST_COMPLETED)
                yield from workers.messages()
                for future in ended:
                    job = running.pop(future)
                    result = workers.result(future, job)
                    yield job, "end", result
                    if result.no_room:
                        return
                yield None
        finally:
            workers.close()
