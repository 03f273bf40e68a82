"""Commands run in processes of their own, disks of a few kilobytes, and what is found after."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dvskit import cli
from tests.benchmarks.reliability_trials import HANG_S, run


class Ran:
    """The end of a command: its exit code (negative for a signal), output and messages."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out = code, out
        lines = err.splitlines()
        said = ("dvskit: note:", "compiling the loops", "dvskit: compiling")
        self.err = [line for line in lines if not line.startswith(said)]
        self.errors = [line for line in lines if line.startswith("dvskit: error:")]

    def fault(self) -> str | None:
        """Return what is wrong with the end itself; None if nothing is."""
        if self.code < 0:
            return f"ended by signal {-self.code}"
        if any("Traceback" in line for line in self.err):
            return f"traceback: {self.err[-1]}"
        if self.code and len(self.errors) != 1:
            return f"{len(self.errors)} lines of error: {self.err[-2:]}"
        if self.code == 1 and ";" not in self.errors[0]:
            return f"an error without a fix: {self.errors[0]}"
        return None


def perform(folder: Path, words: list[str], **environment: str) -> Ran:
    """Run a command in a forked process, in a folder; threads of torch need a new one."""
    if words[0] == "train":
        done = subprocess.run(
            [sys.executable, "-m", "dvskit", *words], cwd=folder, capture_output=True, text=True,
            env={**os.environ, **environment}, timeout=10 * HANG_S,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr)

    def start() -> None:
        os.environ.update(environment)
        tempfile.tempdir = None
        if environment.get("JUMPS"):
            _let_clock_jump()
        cli.main()

    try:
        ended = run(start, tuple(words), folder)
    except TimeoutError:
        return Ran(-signal.SIGALRM, "", "")
    return Ran(ended.code, ended.out, ended.err)


def _let_clock_jump() -> None:
    plain, plain_ns, jumps = time.time, time.time_ns, itertools.cycle((0, 3600, -3600))
    time.time = lambda: plain() + next(jumps)
    time.time_ns = lambda: plain_ns() + next(jumps) * 10**9


@contextmanager
def disk(folder: Path, kilobytes: int = 64) -> Iterator[Path]:
    """A small file system of its own on a folder."""
    folder.mkdir()
    options = ["-o", f"size={kilobytes}k"]
    subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        folder.rmdir()


def fill(folder: Path, left: int) -> None:
    """Fill a disk up to some bytes."""
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    if left:
        os.truncate(folder / "filler", (folder / "filler").stat().st_size - left)


def content(folder: Path) -> dict[str, bytes | str]:
    """Return the files below a folder: their bytes, or their kinds."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = path.read_bytes()
        else:
            found[name] = "folder" if path.is_dir() else "device"
    return found


def left_over(before: dict[str, bytes | str], after: dict[str, bytes | str]) -> str | None:
    """Return what has come or changed; None if nothing has."""
    if lost := [name for name in before if before[name] != after.get(name)]:
        return f"lost or changed: {lost}"
    if more := [name for name in after if name not in before]:
        return f"left behind: {more[:4]}"
    return None
