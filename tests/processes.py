"""Processes that tests start, end and kill; those of training fork from one with torch loaded."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.warm"])


def hear_signals() -> None:
    """Undo what a shell does for background jobs, and nohup: they ignore signals."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def wait_until(held: Callable[[], bool], limit_s: float = 30) -> None:
    """Wait until held() is true; a test fails where that takes longer than the limit."""
    end_s = time.monotonic() + limit_s
    while not held():
        assert time.monotonic() < end_s, f"it took more than {limit_s} s"
        time.sleep(0.005)


def children_of(number: int) -> list[int]:
    """Return the ids of the processes that a process has started, on Linux."""
    path = Path(f"/proc/{number}/task/{number}/children")
    return [int(word) for word in path.read_text().split()]


def start(function: Callable[..., Any], *given: Any, **environment: str) -> tuple[BaseProcess, Any]:
    """Start function(*given); return the process, and what its answer comes through."""
    ours, theirs = _context.Pipe(duplex=False)
    process = _context.Process(target=_call, args=(theirs, environment, function, given))
    process.start()
    theirs.close()
    return process, ours


def _call(
    answer: Any, environment: dict[str, str], function: Callable[..., Any], given: Any
) -> None:
    import torch

    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        answer.send(function(*given))
    except BaseException as error:
        traceback.print_exc()
        answer.send(f"{type(error).__name__}: {error}")
        raise SystemExit(1) from error


def run_in(folder: Path, function: Callable[..., Any], *given: Any) -> tuple[int, str]:
    """Run function(*given) in a process of its own, which works in a folder.

    Warnings are errors, as in the tests. Returns the exit code and what the process printed. The
    code is 1 after an error, and below 0 if the process was killed, as it is after 280 s.
    """
    printed = folder.with_name(f"{folder.name}.printed")
    process = _context.Process(target=_call_in, args=(str(folder), printed, function, given))
    process.start()
    process.join(280)
    if process.exitcode is None:
        process.kill()
    process.join()
    assert process.exitcode is not None
    return process.exitcode, printed.read_text()


def _call_in(
    folder: str, printed: Path, function: Callable[..., Any], given: tuple[Any, ...]
) -> None:
    with printed.open("w") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.chdir(folder)
    os.environ["MPLBACKEND"] = "agg"
    warnings.simplefilter("error")
    function(*given)


def together(count: int, function: Callable[..., Any], *given: Any) -> list[Any]:
    """Run function(*given) in `count` processes that find each other; return what each gave.

    Of one that raised it is "Kind: message".
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count)}
    started = [
        start(function, *given, RANK=str(rank), LOCAL_RANK=str(rank), **place)
        for rank in range(count)
    ]
    answers = []
    for process, answer in started:
        answers.append(answer.recv() if answer.poll(120) else "no answer in two minutes")
        if answers[-1] == "no answer in two minutes":
            process.kill()
        process.join()
    return answers
