"""Workers on other machines: those of a Dask scheduler, which Dask `distributed` reaches."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import chdir, nullcontext, suppress
from pathlib import Path
from platform import node
from typing import Any

from dvskit import __version__
from dvskit._threads import one_thread
from dvskit.cli import _console
from dvskit.cli._jobs import JobResult, Work, WorkersGoneError, do_job, remove_begun
from dvskit.cli._remote import address_of
from dvskit.cli._trees import FileJob
from dvskit.errors import ConfigError, OutputError, count_of, one_line

_ADDRESS = re.compile(r"(tcp|tls)://.+:\d+")
_CONNECT_S = 5.0
_ANSWER_S = 30.0  # of a busy scheduler, on a busy machine
_LOOK_S = 2.0  # between looks at the workers
_SKEW_S = 60.0  # at most, between the clocks of machines
_LINED_UP = 2  # jobs for each worker: it never waits for the next one

_one_job = threading.Lock()  # messages and the current folder belong to a process


def _do(work: Work, job: FileJob, here: Path, debug: bool, version: str) -> JobResult:
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
        return do_job(work, job, lambda message: None)


class Cluster:
    """The workers of a scheduler; `limit` is the number of jobs submitted at a time, if any.

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
        future: Future[JobResult] = self._executor.submit(_do, work, job, *given)
        self._running[future] = job
        self._outs.add(job.out)
        return future

    def messages(self) -> Iterator[tuple[FileJob, str, Any]]:
        """Yield nothing: notes come with the results. Raises WorkersGoneError."""
        if time.monotonic() - self._looked_s > _LOOK_S:
            self._look()
        yield from ()

    def result(self, future: Future[JobResult], job: FileJob) -> JobResult:
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
        """Leave the workers; jobs in line are cancelled, and those that run complete their file."""
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
    from distributed.comm import connect

    comm = await asyncio.wait_for(connect(address, timeout=_CONNECT_S), _CONNECT_S + 1)
    await comm.close()
