"""One job at a time on each of several workers: processes of this machine, or a Dask scheduler's.

Jobs are submitted to executors of `concurrent.futures`. `Processes` and `Cluster` say how many run
at a time, and what the loss of a worker means.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import chdir, nullcontext, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from platform import node
from queue import SimpleQueue
from typing import Any, NamedTuple

from dvskit import __version__, _files, _interrupt
from dvskit._progress import ProgressState
from dvskit._threads import one_thread
from dvskit.cli import _console
from dvskit.cli._inputs import FileJob
from dvskit.cli._remote import address_of
from dvskit.errors import (
    ConfigError,
    DvskitError,
    FittedWarning,
    OutputError,
    count_of,
    explained,
    one_line,
)

_LOOK_S = 0.1  # between looks at messages, and for Ctrl-C
_BREAK_OFF_S = 1.2  # for interrupted processes to remove their unfinished outputs
_ADDRESS = re.compile(r"(tcp|tls)://.+:\d+")
_CONNECT_S = 5.0
_ANSWER_S = 30.0  # of a busy scheduler, on a busy machine
_LOOK_AT_WORKERS_S = 2.0
_SKEW_S = 60.0  # at most, between the clocks of machines
_LINED_UP = 2  # jobs for each worker of a scheduler: it never waits for the next one

# Does a job; returns its value. A worker imports it by name.
Work = Callable[[FileJob], Any]


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
    notes: tuple[str | Warning, ...] = ()
    value: Any = None
    seconds: float = 0.0
    host: str = ""


# Of a running job: the share that is done, or a text before long work; or its end.
Message = tuple[FileJob, float | str | JobResult]


class WorkersGoneError(DvskitError):
    """All workers are out of reach."""


def do_jobs(
    jobs: Sequence[FileJob], work: Work, workers: Processes | Cluster
) -> Generator[Message | None, None, None]:
    """Do work(job) for each job; yield shares and ends of jobs, and None in between.

    Texts before long work are printed once. Ctrl-C and a full disk end it early. The workers are
    closed at the end.
    """
    waiting, announced = deque(jobs), set[str]()
    running: dict[Future[JobResult], FileJob] = {}
    stop: list[int] = []  # the signals that arrived
    with _interrupt.handled_by(lambda number, frame: stop.append(number)):
        try:
            while (waiting or running) and not stop:
                while waiting and len(running) < workers.room():
                    job = waiting.popleft()
                    running[workers.submit(work, job)] = job
                ended, _ = wait(running, _LOOK_S, FIRST_COMPLETED)
                for job, said in workers.messages():
                    if not isinstance(said, str):
                        yield job, said
                    elif said not in announced:
                        announced.add(said)
                        _console.say(said)
                for future in ended:
                    result = workers.result(future)
                    yield running.pop(future), result
                    if result.no_room:
                        return
                yield None
        finally:
            workers.close()


class _Reports:
    """Sends the progress of a job to the command, and collects its notes."""

    def __init__(self, send: Callable[[float | str], None]) -> None:
        self.announce, self._sent_s = send, 0.0
        self._send = send
        self.notes: list[str | Warning] = []

    def show(self, state: ProgressState) -> None:
        share = min(1.0, state.done / state.total) if state.total else 0.0
        if state.done and time.monotonic() - self._sent_s > _LOOK_S:
            self._sent_s = time.monotonic()
            self._send(share)

    def note(self, said: str | Warning) -> None:
        # Of warnings only those that are summed up stay warnings.
        self.notes.append(said if isinstance(said, FittedWarning) else _console.shown(str(said)))


def do_job(work: Work, job: FileJob, send: Callable[[float | str], None]) -> JobResult:
    """Do a job in this process, and return its end; `send` takes the messages before that."""
    reports = _console.reports = _Reports(send)
    begun_s = time.monotonic()
    try:
        result = _end_of(work, job)
    finally:
        _console.reports = None
        _console.stand_ins.clear()
    return result._replace(
        reason=unnamed(job, result.reason),
        notes=tuple(unnamed(job, said) for said in reports.notes),
        seconds=time.monotonic() - begun_s,
        host=node(),
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
            _console.shown(text) or type(error).__name__,
            isinstance(error, ConfigError),
            getattr(cause, "errno", None) in _files.NO_PLACE,  # which stop all further files
            traceback.format_exc() if _console.debug else "",
        )


def unnamed(job: FileJob, said: Any) -> Any:
    """Return a message about a job without a leading path."""
    for path in (job.out, job.file) if isinstance(said, str) else ():
        said = said.removeprefix(f"{_console.shown(str(path))}: ")
    return said


def remove_begun(outs: Collection[Path], since_s: float) -> None:
    """Remove the unfinished files of outputs that were begun since a time."""
    for folder in {out.parent for out in outs}:
        for path, target in _files.unfinished(folder):
            with suppress(OSError):
                if target in outs and path.stat().st_mtime >= since_s - 1:
                    path.unlink()


# --- processes of this machine --------------------------------------------------------------------


class Processes:
    """Workers on this machine: processes of `threads` threads each.

    A thread waits for each process. If one dies, its job fails alone.
    """

    def __init__(self, count: int, threads: int) -> None:
        self._count, self._threads = count, threads
        self._waiting = ThreadPoolExecutor(count)
        self._idle: list[_Process] = []
        self._running: dict[Future[JobResult], _Process] = {}
        self._messages: SimpleQueue[Message] = SimpleQueue()
        # The first job runs alone until it has progress: the others then find compiled loops.
        self._warm = False

    def room(self) -> int:
        """Return the number of jobs to have submitted at a time."""
        return self._count if self._warm else 1

    def submit(self, work: Work, job: FileJob) -> Future[JobResult]:
        """Begin a job in an idle process, or in a new one."""
        worker = self._idle.pop() if self._idle else _Process(self._threads)
        future = self._waiting.submit(worker.do, work, job, self._messages)
        self._running[future] = worker
        return future

    def messages(self) -> Iterator[Message]:
        """Yield the messages of running jobs that have arrived."""
        while not self._messages.empty():
            job, said = self._messages.get()
            self._warm |= isinstance(said, float)
            yield job, said

    def result(self, future: Future[JobResult]) -> JobResult:
        """Return the end of a job, also of one whose process has died."""
        worker, self._warm = self._running.pop(future), True
        if worker.process.is_alive():
            self._idle.append(worker)
        return future.result()

    def close(self) -> None:
        """Let idle processes end, and end the others."""
        for worker in self._idle:
            worker.pipe.close()
        for worker in self._running.values():
            worker.process.terminate()
        until_s = time.monotonic() + _BREAK_OFF_S
        for worker in (*self._idle, *self._running.values()):
            worker.end(until_s)
        self._waiting.shutdown()


class _Process:
    """A process that does jobs, and sends their messages over a pipe."""

    def __init__(self, threads: int) -> None:
        # Spawned on all systems: a fork would copy locks that threads hold.
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, threads, _console.debug))
        # The process ignores Ctrl-C from the start, before it can set this itself.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self.process.start()
        finally:
            signal.signal(signal.SIGINT, before)
            theirs.close()
        self._job: FileJob | None = None

    def do(self, work: Work, job: FileJob, messages: SimpleQueue[Message]) -> JobResult:
        """Do a job, and wait for its end; if the process dies, that is its end."""
        self._job, self._begun_s = job, time.time()
        try:
            self.pipe.send((work, job))
            while not isinstance(said := self.pipe.recv(), JobResult):
                messages.put((job, said))
        except (EOFError, OSError):
            self.process.join()
            remove_begun([job.out], self._begun_s)
            code = self.process.exitcode or 0
            how = f"signal {-code}" if code < 0 else f"code {code}"
            reason = f"its process died ({how}); if memory ran out, --jobs 1 takes least"
            return JobResult(reason, host=node())
        self._job = None
        return said

    def end(self, until_s: float) -> None:
        """Wait for the end of the process until a time, and remove an unfinished output."""
        self.process.join(max(0.0, until_s - time.monotonic()))
        self.process.kill()
        self.process.join()
        if self._job is not None:
            remove_begun([self._job.out], self._begun_s)


def _serve(pipe: Connection, threads: int, debug: bool) -> None:
    """Do the jobs that come over a pipe, in a process of its own.

    SIGTERM ends it, after the unfinished output of the job is removed.
    """
    _interrupt.begin_worker(threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # of torch, which is not loaded yet
    _console.debug = debug
    with suppress(EOFError):  # when it is dismissed
        while True:
            work, job = pipe.recv()
            before = signal.signal(signal.SIGTERM, _stop)
            try:
                pipe.send(do_job(work, job, pipe.send))
            except KeyboardInterrupt:
                os._exit(1)
            signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # do not interrupt the removal of outputs
    raise KeyboardInterrupt


# --- workers of a scheduler -----------------------------------------------------------------------


class Cluster:
    """The workers of a Dask scheduler; `limit` is the number of jobs submitted at a time, if any.

    Dask gives the jobs of a lost worker to others. Raises ConfigError without distributed, and for
    workers with several threads; OutputError if the scheduler does not answer.
    """

    def __init__(self, address: str, limit: int | None) -> None:
        self._address, self._limit = address, limit
        self._client = _connected(address)
        self._executor = self._client.get_executor(pure=False)
        self._running: dict[Future[JobResult], FileJob] = {}
        self._outs: set[Path] = set()
        self._begun_s, self._looked_s = time.time(), 0.0
        self._workers: dict[str, int] = {}
        self._look()
        for worker, threads in self._workers.items():
            if threads > 1:
                self.close()
                raise ConfigError(
                    f"{address}: worker {worker} has {threads} threads; start it with --nthreads 1"
                )
        if not self._workers:
            _console.say(f"{address}: no workers yet; waiting for them")

    def room(self) -> int:
        """Return the number of jobs to have submitted at a time."""
        room = _LINED_UP * max(1, len(self._workers))
        return room if self._limit is None else min(room, self._limit)

    def submit(self, work: Work, job: FileJob) -> Future[JobResult]:
        """Put a job in line."""
        given = Path.cwd(), _console.debug, __version__
        future: Future[JobResult] = self._executor.submit(do_elsewhere, work, job, *given)
        self._running[future] = job
        self._outs.add(job.out)
        return future

    def messages(self) -> Iterator[Message]:
        """Yield nothing: notes come with the results. Raises WorkersGoneError."""
        if time.monotonic() - self._looked_s > _LOOK_AT_WORKERS_S:
            self._look()
        yield from ()

    def result(self, future: Future[JobResult]) -> JobResult:
        """Return the end of a job. Raises WorkersGoneError if the scheduler has forgotten it."""
        from distributed import KilledWorker

        del self._running[future]
        try:
            return future.result()
        except CancelledError:
            raise self._gone() from None
        except KilledWorker as error:
            times = count_of(error.allowed_failures + 1, "worker")
            return JobResult(f"{times} died with this file in line; memory may have run out")
        except Exception as error:  # a worker without dvskit, or with another Python
            return JobResult(f"{type(error).__name__}: {one_line(error)}")

    def close(self) -> None:
        """Leave the workers; jobs in line are canceled, and those that run complete their file."""
        outs = self._outs - {job.out for job in self._running.values()}
        with suppress(Exception):  # the scheduler may be gone
            self._executor.shutdown(wait=False)
        with suppress(Exception):
            self._client.close(timeout=1)
        # Those of lost workers; a loss between two looks is not seen.
        remove_begun(outs, self._begun_s - _SKEW_S)

    def _look(self) -> None:
        try:
            answer = self._client.sync(self._client.scheduler.ncores, callback_timeout=_ANSWER_S)
        except (OSError, TimeoutError, RuntimeError):
            raise self._gone() from None
        self._workers, self._looked_s = answer, time.monotonic()

    def _gone(self) -> WorkersGoneError:
        return WorkersGoneError(f"{self._address}: the scheduler has ended or is out of reach")


def _connected(address: str) -> Any:
    """Return a client. Raises as `Cluster` does."""
    if not _ADDRESS.fullmatch(address):
        raise ConfigError(f"--cluster {address}: is no address such as tcp://host:8786")
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError("--cluster needs Dask distributed; pip install distributed") from None
    import asyncio  # here because it loads slowly
    import logging

    for name in tuple(logging.root.manager.loggerDict):
        if name.startswith(("distributed", "tornado")):  # losses are reported here
            logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        asyncio.run(_reach(address))
        return Client(address, timeout=_CONNECT_S, set_as_default=False)
    except Exception as error:  # a server of another kind may answer anything
        raise OutputError(
            f"{address}: no scheduler answers; start one with: dask scheduler"
        ) from error


async def _reach(address: str) -> None:
    """Connect once, since a client would wait without end for a server of another kind."""
    from asyncio import wait_for

    from distributed.comm import connect

    comm = await wait_for(connect(address, timeout=_CONNECT_S), _CONNECT_S + 1)
    await comm.close()


_one_job = threading.Lock()  # messages and the current folder belong to a process


def do_elsewhere(work: Work, job: FileJob, here: Path, debug: bool, version: str) -> JobResult:
    """Do a job in a thread of a worker's process, as in the folder `here`."""
    host = node()
    if version != __version__:
        return JobResult(
            f"{host} has dvskit {__version__}, this machine {version}; install one version on all",
            host=host,
        )
    with _one_job, chdir(here) if here.is_dir() else nullcontext(), one_thread():
        for path in (job.file, job.out.parent):
            if address_of(path) is None and not os.path.lexists(path := here / path):
                return JobResult(
                    f"{host} does not see {path}; all machines need the folders of inputs and "
                    "outputs at the same paths",
                    host=host,
                )
        _console.debug = debug
        return do_job(work, job, lambda said: None)
