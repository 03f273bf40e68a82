"""A Dask scheduler and its workers on the loopback, which tests and benchmarks start and kill."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

_FAILURES = "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"  # deaths, before a file is given up


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{free.getsockname()[1]}"


class LocalCluster:
    """A scheduler and workers, each a process of its own without a nanny; a context manager.

    deaths  of workers with a file in line before it is given up, less 1; Dask's own is 3
    """

    def __init__(self, folder: Path, workers: int = 2, *, deaths: int = 1) -> None:
        self.address, self._limits = free_address(), {_FAILURES: str(deaths)}
        self._folder = folder
        self.start_scheduler()
        self.workers = [self.worker() for _ in range(workers)]

    def __enter__(self) -> LocalCluster:
        try:
            self.wait_for_workers()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()

    def start_scheduler(self) -> None:
        host, port = self.address.removeprefix("tcp://").split(":")
        self.scheduler = self._start("scheduler", "--host", host, "--port", port)

    def worker(self, threads: int = 1) -> subprocess.Popen[bytes]:
        """Start a worker."""
        place = "--no-nanny", "--local-directory", self._folder, "--host", "127.0.0.1"
        return self._start("worker", self.address, "--nthreads", threads, *place)

    def replace(self, number: int) -> None:
        """Kill a worker, and start another in its place."""
        self.workers[number].kill()
        self.workers[number].wait()
        self.workers[number] = self.worker()

    def wait_for_workers(self) -> None:
        from distributed import Client

        with Client(self.address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(len(self.workers), timeout=60)

    def _start(self, *words: object) -> subprocess.Popen[bytes]:
        given = map(str, (*words, "--no-dashboard"))
        return subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_" + str(words[0]), *list(given)[1:]],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | self._limits,
            cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
