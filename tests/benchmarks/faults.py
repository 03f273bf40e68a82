"""Plant faults in a copy of dvskit, one at a time, and see whether the tests find each.

    python -m tests.benchmarks.faults                          # all faults of faults.toml
    python -m tests.benchmarks.faults --only 3 7 --jobs 2      # these, on two processes
    python -m tests.benchmarks.faults --tests ../before/tests  # by the tests of another checkout

A fault is found by its first failing test; campaigns do not count. The files of tests that name
most of the faulty module run first. A fault is not found if all tests pass, which takes minutes;
with `--first N` only the first N files are tried.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import measured

_QUICK, _REST = "not slow and not campaign", "slow and not campaign"
_STEPS = ((_QUICK, 0, 12), (_REST, 0, 5), (_QUICK, 12, 1000), (_REST, 5, 20), (_REST, 20, 1000))
_LEFT_OUT = shutil.ignore_patterns(".venv", ".pytest_cache", ".mypy_cache", "dist", "dvskit-demo*")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?::.+?)(?: - |$)", re.MULTILINE)


@dataclass(frozen=True)
class Fault:
    """A text in a file below `dvskit/`, its replacement, and what goes wrong then."""

    what: str
    file: str
    old: str
    new: str


def faults() -> list[Fault]:
    text = Path(__file__).with_suffix(".toml").read_text("utf-8")
    return [Fault(**each) for each in tomllib.loads(text)["fault"]]


def plant(fault: Fault, package: Path) -> None:
    """Edit the copy."""
    text = (package / fault.file).read_text("utf-8")
    if fault.old not in text:
        raise SystemExit(f"{fault.file}: {fault.old!r} is not there any more; change faults.toml")
    write(package / fault.file, text.replace(fault.old, fault.new, 1), package)


def write(place: Path, text: str, package: Path) -> None:
    """Change a file and all files of loops that call it: numba renews a loop by its own file."""
    place.write_text(text, "utf-8")
    changed, files = {place}, set(package.rglob("*_kernels.py"))
    while more := {f for f in files - changed if {p.stem for p in changed} & words_of(f)}:
        changed |= more
    for each in changed - {place}:
        each.write_text(each.read_text("utf-8") + "\n", "utf-8")


def words_of(file: Path) -> set[str]:
    return set(re.findall(r"\w+", file.read_text("utf-8")))


def ranked(fault: Fault, tests: Path, package: Path) -> list[Path]:
    """Return the files of tests, those that name most of the faulty module first."""
    module = package / fault.file
    own = {module.stem, module.stem.removesuffix("_kernels"), *Path(fault.file).parts[:-1]}
    tree = ast.parse(module.read_text("utf-8"))
    defined = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}

    def likeness(file: Path) -> int:
        words = words_of(file)
        named = any(n.rstrip("s") in file.stem for n in own)
        return len(words & defined) + 2 * len(words & own) + 4 * named

    return sorted(sorted(tests.glob("test_*.py")), key=likeness, reverse=True)


def first_failure(fault: Fault, tests: Path, most_files: int) -> str:
    """Return the test that fails with the fault and passes without it, or "" if none does."""
    with tempfile.TemporaryDirectory(prefix="dvskit-fault-") as folder:
        top = Path(folder, "dvskit")
        shutil.copytree(measured.TOP, top, ignore=_LEFT_OUT)
        if tests != measured.TOP / "tests":
            shutil.rmtree(top / "tests")
            shutil.copytree(tests, top / "tests")
        files = [str(f) for f in ranked(fault, top / "tests", top / "dvskit")[:most_files]]
        package, unfit = top / "dvskit", list[str]()
        place = package / fault.file
        whole = place.read_text("utf-8")
        plant(fault, package)
        for marks, first, last in _STEPS:
            words = ["-m", marks, *files[first:last]]
            while files[first:last] and (found := _failed(top, [*words, *_deselected(unfit)])):
                planted = place.read_text("utf-8")
                write(place, whole, package)
                if not _failed(top, [found] if "::" in found else words):
                    return found
                write(place, planted, package)
                if found in unfit:
                    raise SystemExit(f"{found}, also without {fault.what}; mend the tests first")
                unfit.append(found)  # such as a test of time on a busy machine
    return ""


def _failed(top: Path, words: list[str]) -> str:
    """Return the first of some tests that fails in a copy, or ""."""
    data = os.environ.get("DVSKIT_DATA", measured.TOP.parent / "shared" / "data")
    # Without a folder of its own numba takes the loops that lie in the tree.
    environment = os.environ | {
        "PYTHONPATH": str(top), "DVSKIT_DATA": str(data), "NUMBA_CACHE_DIR": ""
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", *words], cwd=top, env=environment,
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode in (0, 5):  # all passed, or there was none
        return ""
    found = _FAILED.search(done.stdout)
    return found[1] if found else f"exit code {done.returncode}"


def _deselected(tests: list[str]) -> list[str]:
    return [word for each in tests for word in ("--deselect", each)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tests", type=Path, default=measured.TOP / "tests")
    parser.add_argument("--only", type=int, nargs="*", metavar="N")
    parser.add_argument("--first", type=int, default=1000, metavar="N")
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args()
    chosen = [(n, each) for n, each in enumerate(faults()) if asked.only is None or n in asked.only]

    def look(numbered: tuple[int, Fault]) -> bool:
        number, fault = numbered
        begun = time.monotonic()
        found = first_failure(fault, asked.tests.resolve(), asked.first)
        seconds = time.monotonic() - begun
        print(f"| {number} | `{fault.file}` | {fault.what} | {found or 'NOT FOUND'} | "
              f"{seconds:.0f} s |", flush=True)  # fmt: skip
        return bool(found)

    print("| | file | fault | found by | |\n|---|---|---|---|---|", flush=True)
    with ThreadPoolExecutor(asked.jobs) as pool:
        count = sum(pool.map(look, chosen))
    print(f"\n{count} of {len(chosen)} faults found", file=sys.stderr)


if __name__ == "__main__":
    main()
