"""Hostile input: mutate small files of every format and judge what reading makes of them.

    python tests/mutations.py                                  all samples, 200 mutations each
    python tests/mutations.py evt3 --count 10000 --seed 0      the samples of one format
    python tests/mutations.py evt3-vectors --replay 1234       one mutation, told in full
    python tests/mutations.py npy --boundscheck                indices of compiled loops checked

A mutation is known by its number alone: the same on all machines. Each is read in strict and in
salvage mode, in a child process, and judged so:

crash, hang, memory    the child dies, a read takes longer than TIME_LIMIT_S, or its memory grows
                       by more than MEMORY_LIMIT
foreign                any exception but a DvskitError; warnings are exceptions
garbage                time runs back or events are off the sensor; or, where no damage is told (no
                       error in strict mode, none in `damage`): an undamaged event is missing, or
                       more events are false than the damaged bytes can hold
false                  damage is told, and all the same more events are false than that, by 1 %
disagree               strict mode raises and salvage tells no damage, or the other way round
kept                   the share of undamaged events that salvage gives, unchanged

What is undamaged: tests/mutation_judge.py. Samples: tests/mutation_samples.py, a line each.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a script: the package beside it is the one that is meant
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.mutation_judge import Verdict, judge, read, tell
from tests.mutation_kinds import KINDS, mutate
from tests.mutation_parser_bench import ParserBench
from tests.mutation_parsers import Parser
from tests.mutation_samples import SAMPLES, Sample

TIME_LIMIT_S = 10.0
START_LIMIT_S = 300.0  # importing, and compiling what is not cached
COMPILE_LIMIT_S = 120.0  # for loops that a mutation is the first to need
MEMORY_LIMIT = 300 << 20
FEW = 100  # undamaged events, below which a share says little


class Bench:
    """A sample, read as it is, and what its mutations are compared with."""

    def __init__(self, sample: Sample, folder: Path) -> None:
        self.sample, self.folder = sample, folder
        self.data = sample.make()
        self.where = sample.where(self.data) if sample.where is not None else None
        path = folder / "sound"
        path.write_bytes(self.data)
        sound = [read(path, sample, strict=strict) for strict in (True, False)]
        for reading in sound:
            if reading.columns is None or reading.error or reading.wrong:
                raise ValueError(f"{sample.name}: the sample itself is not read: {reading}")
        assert sound[0].columns is not None
        self.original = sound[0].columns.rows
        if self.where is not None and len(self.where.own) != len(self.original):
            raise ValueError(
                f"{sample.name}: {len(self.original)} events, places of {len(self.where.own)}"
            )

    def judge(self, number: int, *, keep: Path | None = None) -> Verdict:
        mutation = mutate(self.data, number)
        path = self.folder / str(number) if keep is None else keep
        path.write_bytes(mutation.data)
        begin = time.perf_counter()
        readings = [read(path, self.sample, strict=strict) for strict in (True, False)]
        seconds = time.perf_counter() - begin
        verdict = judge(mutation, self.original, self.where, *readings)
        verdict.seconds = seconds
        if keep is None:
            path.unlink()
        else:
            verdict.story = tell(mutation, self.original, *readings)
        return verdict


def _watched() -> Callable[[], int]:
    """Limit the memory of this process; return what tells its peak so far, in bytes."""
    try:
        import resource
    except ImportError:  # not on Windows
        return lambda: 0
    unit = 1 if sys.platform == "darwin" else 1024
    with contextlib.suppress(OSError, ValueError):
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + (2 << 30), held + (2 << 30)))
    status = Path("/proc/self/status")
    if not status.exists():
        return lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    def peak() -> int:
        # Not getrusage: its peak begins with that of the process which started this one.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) << 10

    return peak


def _serve(link: Connection, folder: str) -> None:
    """Answer samples and numbers with verdicts until the parent hangs up."""
    words = (Path(folder) / "stderr").open("w")
    os.dup2(words.fileno(), 2)  # decoders write there, too
    faulthandler.enable(words)
    os.environ["DVSKIT_CACHE"] = str(Path(folder) / "cache")
    warnings.simplefilter("error")
    loose: list[str] = []
    sys.unraisablehook = lambda each: loose.append(repr(each.exc_value))
    benches: dict[str, Bench | ParserBench] = {}
    peak: Callable[[], int] | None = None
    most = 0
    while True:
        try:
            sample, number, keep = link.recv()
        except EOFError:
            return
        if sample.name not in benches:
            try:
                kind = ParserBench if isinstance(sample, Parser) else Bench
                benches[sample.name] = kind(sample, Path(folder))
            except Exception:
                link.send(traceback.format_exc())
                continue
        if peak is None:
            peak = _watched()
        if number is None:
            most = peak() + MEMORY_LIMIT
            link.send(None)
            continue
        verdict = benches[sample.name].judge(number, keep=keep)
        if peak() > most:
            text = f"the peak rose by {(peak() - most + MEMORY_LIMIT) >> 20} MB"
            verdict.faults.append(("memory", text))
            most = peak() + MEMORY_LIMIT
        verdict.faults += [("foreign", text) for text in loose]
        loose.clear()
        link.send(verdict)


# --- the parent -----------------------------------------------------------------------------------


class Reader:
    """A child process that reads and judges; another takes its place when it dies or hangs."""

    def __init__(self, limit_s: float = TIME_LIMIT_S) -> None:
        self._limit_s = limit_s
        self._folder = tempfile.TemporaryDirectory(prefix="mutations-")
        self._child: Any = None
        self._link: Any = None
        self._ready: set[str] = set()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._folder.cleanup()

    def judge(self, sample: Sample | Parser, number: int, *, keep: Path | None = None) -> Verdict:
        """Judge a mutation. Raises RuntimeError where the sample itself is not read.

        What takes too long or too much is judged once more: the first time may have compiled.
        """
        verdict = self._judge(sample, number, keep, self._limit_s)
        kinds = {kind for kind, _ in verdict.faults}
        if "hang" in kinds and self._limit_s >= TIME_LIMIT_S:
            self._judge(sample, number, keep, COMPILE_LIMIT_S)
        if kinds & {"hang", "memory"}:
            self._end()  # in a new child, which finds the loops compiled
            verdict = self._judge(sample, number, keep, self._limit_s)
        return verdict

    def _judge(
        self, sample: Sample | Parser, number: int, keep: Path | None, limit_s: float
    ) -> Verdict:
        if self._child is None:
            self._start()
        if sample.name not in self._ready:
            problem = self._ask((sample, None, None), START_LIMIT_S)
            if problem is not None:
                raise RuntimeError(f"{sample.name}: {problem}")
            self._ready.add(sample.name)
        try:
            verdict: Verdict = self._ask((sample, number, keep), limit_s)
            return verdict
        except TimeoutError:
            kind, symptom = "hang", f"more than {limit_s:g} s"
        except (EOFError, OSError):
            self._child.join(5)
            kind, symptom = "crash", f"exit code {self._child.exitcode}: {self._last_words()}"
        self._end()
        return Verdict(number, list(KINDS)[number % len(KINDS)], [(kind, symptom)])

    def _ask(self, question: object, limit_s: float) -> Any:
        self._link.send(question)
        if not self._link.poll(limit_s):
            raise TimeoutError
        return self._link.recv()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._link, other = context.Pipe()
        self._child = context.Process(target=_serve, args=(other, self._folder.name), daemon=True)
        self._child.start()
        other.close()

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = (Path(self._folder.name) / "stderr").read_text().splitlines()
            told = [line.strip() for line in lines if "dvskit" in line or "Fatal" in line]
            return " ".join(told)[:300]
        return ""

    def _end(self) -> None:
        if self._child is not None:
            self._link.close()
            self._child.kill()
            self._child.join()
            self._child = None
            self._ready.clear()


@dataclass
class Report:
    """The verdicts on the mutations of one sample, added up."""

    sample: str
    count: int = 0
    faults: dict[str, list[tuple[int, str, str]]] = field(default_factory=dict)
    judged: int = 0
    undamaged: int = 0
    kept: int = 0
    shares: list[tuple[float, int, str]] = field(default_factory=list)  # the worst
    by_kind: dict[str, list[int]] = field(default_factory=dict)  # undamaged, kept
    slowest: float = 0.0

    def add(self, verdict: Verdict) -> None:
        self.count += 1
        for kind, symptom in verdict.faults:
            self.faults.setdefault(kind, []).append((verdict.number, verdict.kind, symptom))
        self.slowest = max(self.slowest, verdict.seconds)
        if verdict.judged:
            self.judged += 1
            self.undamaged += verdict.undamaged
            self.kept += verdict.kept
            held = self.by_kind.setdefault(verdict.kind, [0, 0])
            held[0] += verdict.undamaged
            held[1] += verdict.kept
            if verdict.undamaged >= FEW and verdict.share < 0.99:
                self.shares.append((verdict.share, verdict.number, verdict.kind))

    @property
    def share(self) -> float:
        return self.kept / self.undamaged if self.undamaged else 1.0

    @property
    def worst(self) -> float:
        return min((share for share, _, _ in self.shares), default=1.0)

    def line(self) -> str:
        counts = "".join(f"{len(self.faults.get(kind, [])):>9}" for kind in FAULTS)
        kept = f"{self.share:>10.3%}{self.worst:>9.1%}" if self.judged else f"{'-':>10}{'-':>9}"
        return f"{self.sample:<16}{self.count:>7}{counts}{kept}{self.slowest:>8.2f}"

    def details(self, most: int) -> Iterator[str]:
        for kind, found in self.faults.items():
            for number, how, symptom in found[:most]:
                yield f"{kind}: {self.sample} --replay {number} ({how}): {symptom}"
            if len(found) > most:
                yield f"{kind}: {self.sample}: {len(found) - most} more"
        kinds = [
            f"{kind} {kept / max(1, undamaged):.1%}"
            for kind, (undamaged, kept) in self.by_kind.items()
            if kept < 0.999 * undamaged
        ]
        if kinds:
            yield f"kept by kind: {self.sample}: {', '.join(kinds)}"
        for share, number, how in sorted(self.shares)[:most]:
            yield f"kept {share:.1%}: {self.sample} --replay {number} ({how})"


FAULTS = ("crash", "hang", "memory", "foreign", "garbage", "false", "disagree", "silent")
HEAD = (
    f"{'sample':<16}{'count':>7}"
    + "".join(f"{kind:>9}" for kind in FAULTS)
    + f"{'kept':>10}{'worst':>9}{'slow/s':>8}"
)


def run(sample: Sample, *, seed: int, count: int) -> Report:
    """Judge mutations seed .. seed + count - 1 of a sample, in a child process."""
    report = Report(sample.name)
    with Reader() as reader:
        for number in range(seed, seed + count):
            report.add(reader.judge(sample, number))
    return report


def _chosen(names: list[str]) -> list[Sample]:
    chosen = [each for each in SAMPLES if not names or each.name in names or each.format in names]
    if not chosen:
        known = ", ".join(each.name for each in SAMPLES)
        raise SystemExit(f"no sample or format of that name; there are {known}")
    return chosen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="samples or formats; all without")
    parser.add_argument("--count", type=int, default=200, help="mutations of each sample")
    parser.add_argument("--seed", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--jobs", type=int, default=1, help="samples at a time")
    parser.add_argument("--list", type=int, default=5, help="faults of each kind to list")
    parser.add_argument("--replay", type=int, help="judge this mutation alone and tell all of it")
    parser.add_argument("--keep", type=Path, help="where the replayed file is left")
    parser.add_argument("--boundscheck", action="store_true", help="check indices in kernels")
    asked = parser.parse_args()
    samples = _chosen(asked.names)
    if asked.boundscheck:
        os.environ["NUMBA_BOUNDSCHECK"] = "1"
        cache = Path(tempfile.gettempdir()) / "mutations-boundscheck"
        os.environ["NUMBA_CACHE_DIR"] = str(cache)
    if asked.replay is not None:
        return _replay(samples, asked.replay, asked.keep)
    print(HEAD, flush=True)
    details: list[str] = []
    with ThreadPoolExecutor(asked.jobs) as pool:
        for report in pool.map(lambda s: run(s, seed=asked.seed, count=asked.count), samples):
            print(report.line(), flush=True)
            details += report.details(asked.list)
    print("\n".join(["", *details]))
    return int(any("kept" not in line for line in details))


def _replay(samples: list[Sample], number: int, keep: Path | None) -> int:
    with tempfile.TemporaryDirectory() as folder:
        for sample in samples:
            with Reader() as reader:
                verdict = reader.judge(sample, number, keep=keep or Path(folder) / "mutated")
            print(f"{sample.name} --replay {number}\n{verdict.story}")
            for kind, symptom in verdict.faults:
                print(f"{kind}: {symptom}")
            if verdict.judged:
                print(f"kept {verdict.kept} of {verdict.undamaged}, {verdict.false} false")
    return int(bool(verdict.faults))


if __name__ == "__main__":
    sys.exit(main())
