"""Inputs that change while they are read, clocks that jump, and two processes on one output.

Each case runs in a process of its own, as a mapped file that becomes shorter ends it (SIGBUS).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import dvskit
from dvskit.errors import DvskitError
from tests.benchmarks.reliability_trials import run

LIMIT_S = 60
_SKIPPED = ("truth.json",)


def _in_child(folder: Path, work: Callable[[], str | None]) -> str | None:
    """Return the result of a function that runs in a forked process, or how that ended."""
    try:
        ended = run(lambda: print(work() or "ok"), (), folder)
    except TimeoutError:
        return "hangs"
    if ended.code < 0:
        return f"ended by signal {-ended.code}"
    found = (ended.out or ended.err).strip()
    return None if found == "ok" else found


def _read_changed(path: Path, change: Callable[[Path], None], at: str) -> str | None:
    """Read a recording that is changed when it is opened, or after its first block."""
    whole = len(dvskit.load_events(path))
    try:
        recording = dvskit.open_events(path)
        if at == "opened":
            change(path)
        count = 0
        for block in recording.blocks(count=max(1000, whole // 7)):
            if not count and at == "read":
                change(path)
            count += len(block)
    except DvskitError as error:
        return None if "\n" not in str(error) else f"an error of several lines: {error}"
    except OSError as error:
        return None if error.filename else f"an error that names no file: {error}"
    return None if count >= min(whole, 1) else "no events, and no error"


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def _grow(path: Path) -> None:
    data = path.read_bytes()
    with path.open("ab") as file:
        file.write(data[len(data) // 2 :])


CHANGES: dict[str, Callable[[Path], None]] = {"deleted": Path.unlink, "cut": _cut, "grown": _grow}


def _changed(data: Path) -> Iterator[tuple[str, str, Callable[[Path], str | None]]]:
    for file in sorted((data / "recordings").iterdir()):
        if file.name in _SKIPPED:
            continue
        for name, change in CHANGES.items():
            for at in ("opened", "read"):

                def case(folder: Path, file=file, change=change, at=at) -> str | None:
                    copy = folder / file.name
                    shutil.copy(file, copy)
                    len(dvskit.load_events(file))  # loops that are loaded here are there in a child
                    return _in_child(folder, lambda: _read_changed(copy, change, at))

                yield file.name, f"{name} when {at}", case
        yield file.name, "half through a pipe", lambda folder, file=file: _piped(folder, file)


def _command(folder: Path, *words: object, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dvskit", *map(str, words)], cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **environment},
    )  # fmt: skip


def _ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    try:
        _, err = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return -9, "hangs"
    lines = [line for line in err.decode().splitlines() if line.startswith("dvskit: error:")]
    if "Traceback" in err.decode():
        return process.returncode, f"traceback: {err.decode().splitlines()[-1]}"
    return process.returncode, "\n".join(lines)


def _piped(folder: Path, file: Path) -> str | None:
    """A writer that dies half-way: its events so far, or one line."""
    pipe = folder / f"pipe{file.suffix}"
    os.mkfifo(pipe)

    def send() -> None:
        data = file.read_bytes()
        with suppress(BrokenPipeError), pipe.open("wb") as out:
            out.write(data[: len(data) // 2])

    writer = threading.Thread(target=send, daemon=True)
    writer.start()
    code, said = _ended(_command(folder, "convert", pipe.name, "o.csv", "--force"))
    with suppress(OSError):
        os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
    if said == "hangs" or "traceback" in said or code < 0:
        return said or f"ended by signal {-code}"
    if code and said.count("\n"):
        return f"several lines: {said}"
    if code and (folder / "o.csv").exists():
        return "an output, and an error"
    return None


def _two(words: str, check: Callable[[Path], str | None]) -> Callable[[Path], str | None]:
    """Two processes with the same words at once: each ends well or with one line."""

    def case(folder: Path) -> str | None:
        _events(folder)
        both = [_command(folder, *words.split()) for _ in range(2)]
        ends = [_ended(each) for each in both]
        if bad := [each for each in ends if each[0] not in (0, 1) or "\n" in each[1]
                   or (each[0] and not each[1]) or "traceback" in each[1]]:  # fmt: skip
            return f"{bad}"
        if all(code for code, _ in ends):
            return f"both fail: {ends}"
        if left := [path.name for path in folder.rglob(".*partial*")]:
            return f"left behind: {left}"
        return check(folder)

    return case


def _events(folder: Path) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    for name in "abc":
        events = dvskit.Events(
            t=np.sort(rng.integers(0, 100_000, 20_000)), x=rng.integers(0, 64, 20_000),
            y=rng.integers(0, 48, 20_000), p=rng.random(20_000) < 0.5, size=(64, 48),
        )  # fmt: skip
        dvskit.save_events(events, folder / f"{name}.raw")


def _holds(name: str) -> Callable[[Path], str | None]:
    def check(folder: Path) -> str | None:
        count = len(dvskit.load_events(folder / name))
        return None if count == 20_000 else f"{name} holds {count} events"

    return check


def _manifest(folder: Path) -> str | None:
    lines = (folder / "out" / "manifest.csv").read_text().splitlines()
    if bad := [line for line in lines if line.count(",") != lines[0].count(",")]:
        return f"rows of the manifest: {bad}"
    return _holds("out/c.npz")(folder)


TWO = {
    "one output": ("convert a.raw o.npz --force", _holds("o.npz")),
    "one new output": ("convert a.raw o.npz", _holds("o.npz")),
    "one manifest": ("convert a.raw b.raw c.raw -o out --to npz", _manifest),
    "one folder of frames": ("render a.raw -o frames --force", lambda folder: None),
    "one picture": ("cloud a.raw -o o.png --force", lambda folder: None),
}


def _trained_twice(data: Path) -> Callable[[Path], str | None]:
    def case(folder: Path) -> str | None:
        for digit in "01":
            (folder / "digits" / digit).mkdir(parents=True)
            for file in sorted((data / "nmnist-700" / digit).glob("*.bin"))[:8]:
                shutil.copy(file, folder / "digits" / digit)
        return _two("train digits -o run --set loop.epochs=1", lambda folder: None)(folder)

    return case


def input_cases(data: Path, only: str) -> Iterator[tuple[str, str, str | None]]:
    """Yield each input or place, case and fault."""
    cases = [*_changed(data)]
    cases += [("two processes", name, _two(*given)) for name, given in TWO.items()]
    cases.append(("two processes", "one training folder", _trained_twice(data)))
    for name, kind, case in cases:
        if only in f"{name}: {kind}":
            with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
                yield name, kind, case(Path(folder))
