"""The options --jobs and --cluster: the workers of a command."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from dvskit._threads import thread_count
from dvskit.cli import _console
from dvskit.cli._jobs import JobResult, Work, Workers, do_jobs
from dvskit.cli._processes import Processes
from dvskit.cli._trees import FileJob
from dvskit.errors import ConfigError, OutputError

NO_OUTPUT = Path(os.devnull)  # of a job that returns a value


def _jobs(shown: str) -> Any:
    return typer.Option(
        min=1, help="For many inputs: how many are processed at a time; each needs its own "
                    "memory.",
        show_default=shown,
    )  # fmt: skip


JobsOption = Annotated[int | None, _jobs("one a processor")]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        help="For many inputs: the Dask scheduler of the machines that process them, such as "
             "tcp://host:8786. All need the same folders at the same paths.",
        metavar="ADDRESS", show_default="this machine",
    ),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Crew:
    """The options --jobs and --cluster: how many inputs at a time, and where."""

    jobs: Annotated[int | None, _jobs("one, in this process")] = None
    cluster: ClusterOption = None

    def check_one(self, fix: str) -> None:
        """Raise ConfigError, with the fix, if one input is not for this crew."""
        if self.cluster is not None:
            raise ConfigError(f"--cluster is for many inputs; {fix}")

    def workers(self, files: int) -> Workers:
        """Return the workers for a number of files. Raises as `Cluster` does."""
        if self.cluster is not None:
            from dvskit.cli._cluster import Cluster

            return Cluster(self.cluster, self.jobs)
        processors = thread_count()
        processes = min(self.jobs or processors, files)
        return Processes(processes, max(1, processors // processes))

    def results(self, work: Work, jobs: Sequence[FileJob]) -> Iterator[JobResult]:
        """Return the results of jobs in their order; without the options, of this process.

        Jobs differ by their numbers. Raises as `workers` does; the iterator WorkersGoneError,
        OutputError for a full disk, and KeyboardInterrupt after Ctrl-C; in this process also the
        errors of the work.
        """
        if self == Crew():
            return (JobResult(value=work(job)) for job in jobs)
        return _in_order(work, jobs, self.workers(len(jobs)))


def _in_order(work: Work, jobs: Sequence[FileJob], workers: Workers) -> Iterator[JobResult]:
    ended: dict[FileJob, JobResult] = {}
    waited, announced = iter(jobs), set[str]()
    job = next(waited, None)
    with closing(do_jobs(list(jobs), work, workers)) as messages:
        for message in messages:
            if message is None:
                continue
            of, what, value = message
            if what == "announce" and value not in announced:
                announced.add(value)
                _console.say(value)
            elif what == "end":
                if value.no_room:
                    raise OutputError(f"{of.file}: {value.reason}")
                ended[of] = value
                while job in ended:
                    yield ended.pop(job)
                    job = next(waited, None)
    if job is not None:
        raise KeyboardInterrupt
