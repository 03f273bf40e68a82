"""Damaged files of every kind, each read in a child process: see tests/mutation_judge.py.

    python -m tests.benchmarks.reliability mutations --seconds 3600      each kind for an hour
    python -m tests.benchmarks.reliability mutations evt3 onnx --seed 5000
    python -m tests.benchmarks.reliability mutations onnx --replay 5003 --keep broken.onnx

A mutation is known by its number. Counted are crashes, hangs (10 s), memory (300 MB), foreign
exceptions, and damage that goes unnoticed where the kind of file lets it be noticed. `other` counts
readings that give another value without a word, of files that hold no checksums.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import dvskit
from tests.mutation_judge import FAULTS, Reader
from tests.mutation_parsers import PARSERS, Parser
from tests.mutation_samples import SAMPLES, Sample

Subject = Sample | Parser
_LISTED = 5  # faults of a kind


@dataclass
class Row:
    """What the mutations of one kind of file gave."""

    name: str
    count: int = 0
    other: int = 0
    slowest_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    listed: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return the row of the table."""
        counts = "".join(f"{self.faults[kind]:>9}" for kind in FAULTS)
        return f"{self.name:<16}{self.count:>9,}{counts}{self.other:>8,}{self.slowest_s:>8.2f}"


def run(subject: Subject, seed: int, seconds: float) -> Row:
    """Judge mutations from `seed` on for a time."""
    row, until = Row(subject.name), time.monotonic() + seconds
    with Reader() as reader:
        for number in range(seed, sys.maxsize):
            if time.monotonic() > until:
                return row
            verdict = reader.judge(subject, number)
            row.count += 1
            row.slowest_s = max(row.slowest_s, verdict.seconds)
            row.other += isinstance(subject, Parser) and verdict.false
            for kind, symptom in verdict.faults:
                row.faults[kind] += 1
                if row.faults[kind] <= _LISTED:
                    row.listed.append(f"{kind}: {subject.name} --replay {number}: {symptom}")
    return row


def chosen(names: list[str]) -> list[Subject]:
    """Return the kinds of these names or formats; all without names."""
    every: list[Subject] = [*SAMPLES, *PARSERS]
    found = [
        each for each in every
        if not names or each.name in names or getattr(each, "format", "") in names
    ]  # fmt: skip
    if not found:
        sys.exit(f"no kind of that name; there are {', '.join(each.name for each in every)}")
    return found


def main(words: list[str]) -> None:
    """Print a row for each kind. Exits with 1 if there are faults."""
    parser = argparse.ArgumentParser(
        "reliability mutations", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("names", nargs="*", help="kinds or formats; all without")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each kind")
    parser.add_argument("--seed", type=int, default=1_000_000, help="number of the first mutation")
    parser.add_argument("--jobs", type=int, default=1, help="kinds at a time")
    parser.add_argument("--replay", type=int, help="judge this mutation alone")
    parser.add_argument("--keep", type=Path, help="where the replayed file is left")
    given = parser.parse_args(words)
    subjects = chosen(given.names)
    if given.replay is not None:
        for subject in subjects:
            with Reader() as reader:
                verdict = reader.judge(subject, given.replay, keep=given.keep)
            print(f"{subject.name}: {verdict.story}\n{verdict.faults}")
        return
    print(
        f"dvskit {dvskit.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores; "
        f"mutations from {given.seed}, {given.seconds:g} s each"
    )
    heads = "".join(f"{kind:>9}" for kind in FAULTS)
    print(f"{'kind':<16}{'count':>9}{heads}{'other':>8}{'slow/s':>8}", flush=True)
    listed: list[str] = []
    with ThreadPoolExecutor(given.jobs) as pool:
        for row in pool.map(lambda each: run(each, given.seed, given.seconds), subjects):
            print("\n".join([row.line(), *row.listed]), flush=True)
            listed += row.listed
    sys.exit(bool(listed))


if __name__ == "__main__":
    main(sys.argv[1:])
