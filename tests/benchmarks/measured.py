"""What benchmarks share: passes in turn, processes, versions, and tables with their age.

A table stands on the page between two comments, of which the first holds a digest of the code that
was measured:

    <!-- begin formats 3f2a9c1d5b7e -->
    | ... |
    <!-- end formats -->
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import dvskit

TOP = Path(__file__).resolve().parents[2]
PACKAGE = Path(dvskit.__file__).parent
PAGE = Path(__file__).with_name("README.md")
NEVER = "never"  # in place of a digest: nothing was measured yet
OLDER = "**Older than the code that it measures.**\n\n"
_BLOCK = re.compile(
    r"<!-- begin (?P<name>[a-z_]+) (?P<digest>\w+) -->\n(?P<text>.*?)<!-- end (?P=name) -->",
    re.DOTALL,
)


def machine() -> str:
    """Return the processor, its number of cores, and the load of the last minute."""
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    cores = len(os.sched_getaffinity(0))
    return (
        f"{model}, {cores} cores, load {os.getloadavg()[0]:.1f} before; "
        f"Python {platform.python_version()}"
    )


def release(package: str) -> str | None:
    """Return a package with its version, "faery 0.7.1"; None if it is not installed."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return None


def versions(packages: Iterable[str]) -> str:
    """Return packages with their versions; of one that is not installed, that."""
    return ", ".join(release(name) or f"{name} not installed" for name in packages)


@dataclass
class Passes:
    """The passes of a candidate: seconds by the clock, and of all processors.

    first  what the first pass returned, in which loops are compiled; it is not timed
    """

    first: Any = None
    wall: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    def run(self, call: Callable[[], Any]) -> Any:
        """Call and time it."""
        start, used = time.perf_counter(), time.process_time()
        found = call()
        self.wall.append(time.perf_counter() - start)
        self.busy.append(time.process_time() - used)
        return found

    @property
    def middle(self) -> tuple[float, float]:
        """The medians: by the clock, and of all processors."""
        return median(self.wall), median(self.busy)

    @property
    def least(self) -> tuple[float, float]:
        """The least of each."""
        return min(self.wall), min(self.busy)


def in_turn(
    runs: Mapping[str, Callable[[], Any]], rounds: int, *, most_s: float = math.inf
) -> dict[str, Passes]:
    """Run candidates in turn, so that other work on the machine falls on all alike.

    A candidate that takes more than `most_s` is timed twice only.
    """
    passes = {name: Passes(call()) for name, call in runs.items()}
    for turn in range(rounds):
        for name, call in runs.items():
            if turn < 2 or passes[name].wall[-1] <= most_s:
                passes[name].run(call)
    return passes


def in_process(name: str, *words: object, limit_s: float, **environment: str) -> Any:
    """Return the JSON in the last line that a benchmark prints in a process of its own.

    Returns a text with the reason if it fails, or takes longer.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", f"tests.benchmarks.{name}", *map(str, words)], cwd=TOP,
            capture_output=True, text=True, timeout=limit_s, env={**os.environ, **environment},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"more than {limit_s:.0f} s"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        return last.removeprefix("ModuleNotFoundError: ")[:150]
    return json.loads(done.stdout.splitlines()[-1])


def memory_mb(field: str) -> float:
    """Return VmHWM, the most memory so far, or VmRSS, that of now, of this process, on Linux.

    getrusage would begin with the most of the process that started this one.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} here; memory is measured on Linux")


def shown(output: str) -> str:
    """Return what a benchmark printed as it stands on the page: a table in Markdown, or a block."""
    text = output.strip()
    return text if re.search(r"^\|", text, re.MULTILINE) else f"```text\n{text}\n```"


def digest_of(parts: Iterable[str]) -> str:
    """Return a digest of the code of files and folders below `dvskit/`, without its docstrings."""
    total = hashlib.sha256()
    for part in parts:
        top = PACKAGE / part
        for file in sorted(top.rglob("*.py")) if top.is_dir() else [top]:
            total.update(file.relative_to(PACKAGE).as_posix().encode())
            total.update(_code_of(file.read_text("utf-8")).encode())
    return total.hexdigest()[:12]


def _code_of(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and ast.get_docstring(node, clean=False) is not None
        ):
            del node.body[0]
    return ast.dump(tree)


def block(name: str, digest: str, text: str) -> str:
    """Return a table as it stands on the page."""
    return f"<!-- begin {name} {digest} -->\n{text.strip()}\n<!-- end {name} -->"


def blocks_of(page: str) -> dict[str, tuple[str, str]]:
    """Return the digest and the text of each table of the page, by the benchmark's name."""
    return {found["name"]: (found["digest"], found["text"]) for found in _BLOCK.finditer(page)}


def replaced(page: str, name: str, digest: str, text: str) -> str:
    """Return the page with another table of this benchmark.

    Raises KeyError if the page has no table of that name.
    """
    if name not in blocks_of(page):
        raise KeyError(f"the page has no table {name!r}; add its two comments")
    new = block(name, digest, text)
    return _BLOCK.sub(lambda found: new if found["name"] == name else found[0], page)


def marked(page: str, digests: dict[str, str]) -> str:
    """Return the page with a mark at each table that is older than its code, and no other."""
    for name, (digest, text) in blocks_of(page).items():
        plain = text.replace(OLDER, "")
        older = digest not in (digests[name], NEVER)
        page = replaced(page, name, digest, (OLDER if older else "") + plain)
    return page
