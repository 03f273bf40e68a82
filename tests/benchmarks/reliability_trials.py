"""Commands in forked processes, killed at a chosen moment; and what lies in a folder after it.

Everything is imported before, so that a moment falls into the work and not into the imports.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import random
import signal
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

HANG_S = 30.0  # an interrupted command ends within 20 s, also beside other work
_SOON_S = 1e-4
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of Linux: orphans of a killed command become ours
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.chmod"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
Files = dict[str, bytes]


class Ended(NamedTuple):
    """The end of a command: exit code (-9 if killed), stderr, seconds, file operations, stdout."""

    code: int
    err: str
    seconds: float
    operations: int
    out: str = ""


@dataclass(frozen=True)
class Moment:
    """When a signal comes: before an operation on files, or some seconds after the start.

    torn  whether half of the bytes of an os.write come first; and other signals soon after
    """

    operation: int = 0
    seconds: float = 0.0
    torn: bool = False
    number: int = signal.SIGKILL


def adopt_orphans() -> None:
    """Let processes that a killed command has started become children of this one."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def tree(folder: Path) -> Files:
    """Return the bytes of all files below a folder by their paths."""
    found: Files = {}
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file() and not path.is_symlink():
                found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def run(
    start: Callable[[], object], words: tuple[str, ...], folder: Path, moment: Moment | None = None
) -> Ended:
    """Run a command in a folder, to its end or to a moment.

    `start` is called in a forked process with `words` as its command line. Raises TimeoutError if
    a process of it is still there after `HANG_S`.
    """
    reader, writer = os.pipe()
    out, err = (folder.with_name(f"{folder.name}.std{name}") for name in ("out", "err"))
    begun = time.monotonic()
    pid = os.fork()
    if not pid:
        os.close(reader)
        _child(start, words, folder, (out, err), moment or Moment(), writer)
    os.close(writer)
    if moment is not None and moment.seconds:
        if moment.number != signal.SIGKILL:
            _wait_for_handler(pid)
        time.sleep(moment.seconds)
        with suppress(ProcessLookupError):
            os.kill(pid, moment.number)
    code = _reap(pid)
    with os.fdopen(reader, "rb") as report:
        operations = int(report.read() or 0)
    said, told = (each.read_text("utf-8", "replace") for each in (out, err))
    return Ended(code, told, time.monotonic() - begun, operations, said)


def _wait_for_handler(pid: int) -> None:
    status = Path(f"/proc/{pid}/status")
    with suppress(FileNotFoundError, ProcessLookupError, KeyError):
        while True:
            lines = dict(
                row.split(":\t") for row in status.read_text().splitlines() if ":\t" in row
            )
            if int(lines["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1 or "Z" in lines["State"]:
                return
            time.sleep(0.001)


def _reap(pid: int) -> int:
    """Wait for a command and for all processes of its group; return the code of the first."""
    until, found = time.monotonic() + HANG_S, None
    while True:
        try:
            ended, status = os.waitpid(-pid if found is not None else pid, os.WNOHANG)
        except ChildProcessError:
            if found is not None:
                return found
            ended = 0
        if ended == pid:
            found = os.waitstatus_to_exitcode(status)
        if not ended:
            if time.monotonic() > until:
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                raise TimeoutError(f"a process of it was still there after {HANG_S:.0f} s")
            time.sleep(0.001)


def _child(
    start: Callable[[], object], words: tuple[str, ...], folder: Path, outs: tuple[Path, Path],
    moment: Moment, writer: int,
) -> None:  # fmt: skip
    code, counter = 1, _Counter(folder, moment)
    try:
        _forget_exits()
        os.setpgid(0, 0)
        os.chdir(folder)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler if number == 2 else signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for target, path in enumerate(outs, 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), target)
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(number, mode, buffering)
            for number, mode, buffering in ((0, "r", -1), (1, "w", -1), (2, "w", 1))
        )
        sys.argv = ["dvskit", *words]
        counter.watch()
        start()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os.write(writer, str(counter.count).encode())
        os._exit(code)


def _forget_exits() -> None:
    """Do not run what the parent process does at its end, such as removing its folder."""
    atexit._clear()
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]


class _Counter:
    """Counts the operations on files below a folder, and sends a signal before one of them."""

    def __init__(self, folder: Path, moment: Moment) -> None:
        self._root, self._moment = f"{folder.resolve()}{os.sep}", moment
        self.count, self._process = 0, os.getpid()
        self._lock = threading.RLock()

    def watch(self) -> None:
        sys.addaudithook(self._heard)
        write = os.write

        def counted(file: int, data: Any) -> int:
            if self._is_below(Path(f"/proc/self/fd/{file}").readlink()) and self._next():
                if self._moment.torn:
                    write(file, bytes(data)[: len(data) // 2])
                self._send()
            return write(file, data)

        os.write = counted

    def _heard(self, event: str, given: tuple[Any, ...]) -> None:
        opens = event == "open" and isinstance(given[2], int) and given[2] & _WRITES
        if (opens or event in _CHANGES) and self._is_below(given[0]) and self._next():
            self._send()

    def _is_below(self, path: object) -> bool:
        try:
            # Path.absolute keeps "..", and Path.resolve asks the file system.
            absolute = os.path.abspath(os.fsdecode(path))  # type: ignore[arg-type]  # noqa: PTH100
            return absolute.startswith(self._root)
        except (TypeError, ValueError):
            return False

    def _next(self) -> bool:
        if os.getpid() != self._process:  # a worker
            return False
        with self._lock:
            self.count += 1
            return self.count == self._moment.operation

    def _send(self) -> None:
        if self._moment.torn and self._moment.number != signal.SIGKILL:
            threading.Timer(_SOON_S, os.kill, (self._process, self._moment.number)).start()
        else:
            os.kill(self._process, self._moment.number)


def fork_workers() -> None:
    """Fork the workers of many files: a new process would import everything again."""
    from dvskit.cli import _workers

    _workers.get_context = lambda _: get_context("fork")  # type: ignore[attr-defined]


def moments(count: int, operations: int, seconds: float, rng: random.Random) -> list[Moment]:
    """Return moments: before each operation on files (or a part of them), else random.

    At least half of them are random; a third of these in the last tenth of the time.
    """
    numbers = list(range(1, operations + 1))
    if len(numbers) > count // 2:
        numbers = sorted(rng.sample(numbers[:-10], max(0, count // 2 - 10)) + numbers[-10:])
    made = [Moment(each, torn=bool(rng.random() < 0.5)) for each in numbers]
    while len(made) < count:
        late = rng.random() < 1 / 3
        at = seconds * (rng.uniform(0.88, 1.05) if late else rng.uniform(0.0, 1.0))
        made.append(Moment(seconds=max(at, 1e-4)))
    return made[:count]
