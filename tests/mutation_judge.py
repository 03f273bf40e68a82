"""Read mutated files in a child process, and judge what reading makes of them.

An event file is read in strict and in salvage mode:

crash, hang, memory    the child dies, a read takes longer than TIME_LIMIT_S, or its memory grows
                       by more than MEMORY_LIMIT
foreign                any exception but a DvskitError; warnings are exceptions
garbage                time runs back or events are off the sensor; an error has several lines; or,
                       where no damage is told: an undamaged event is missing, or more events are
                       false than the damaged bytes can hold
false                  damage is told, and all the same more events are false than that, by 1 %
disagree               strict mode raises and salvage tells no damage, or the other way round
kept                   the share of undamaged events that salvage gives, unchanged

Undamaged are the events at some distance from all damaged bytes (`Sample.reach`). Where an event
stands is found by cutting the file. Files that give no events when they are cut, and mutations of
the file's own header, are judged for safety alone: damage there may change what all events mean.

Of the other inputs (tests/mutation_parsers.py) `silent` is another value, and nothing said, where
the files hold checksums. Without checksums nothing can notice it: `Verdict.false` counts it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dvskit
from dvskit.errors import DvskitError
from tests.mutation_kinds import KINDS, Mutation, mutate, mutate_text
from tests.mutation_parsers import Parser
from tests.mutation_samples import Sample

TIME_LIMIT_S = 10.0
START_LIMIT_S = 300.0  # importing, and compiling what is not cached
COMPILE_LIMIT_S = 120.0  # for loops that a mutation is the first to need
MEMORY_LIMIT = 512 << 20  # FFmpeg takes 400 MB for a damaged header of HEVC
FAULTS = ("crash", "hang", "memory", "foreign", "garbage", "false", "disagree", "silent")
_CUTS = 50  # of a sound file, which show where its events stand

Rows = NDArray[np.int64]


@dataclass
class Reading:
    """Events or triggers of a file as rows of t, x, y, p, or the error; and what is wrong."""

    rows: Rows | None = None
    error: str = ""
    foreign: str = ""
    damage: str = ""
    left_out: bool = False
    wrong: str = ""


@dataclass
class Verdict:
    """What is to be said of one mutation; `faults` are (kind, symptom), none where all is well."""

    number: int
    kind: str
    faults: list[tuple[str, str]] = field(default_factory=list)
    judged: bool = False  # whether what is kept counts
    undamaged: int = 0
    kept: int = 0
    false: int = 0
    seconds: float = 0.0
    story: str = ""


# --- reading --------------------------------------------------------------------------------------


def _rows(blocks: Iterable[Any], size: tuple[int, int]) -> Rows:
    parts = [np.empty((0, 4), np.int64)]
    for block in blocks:
        if block.sensor_size != size:
            raise TypeError(f"a block of {block.sensor_size} from a recording of {size}")
        if (block.t.dtype, block.x.dtype, block.p.dtype) != (np.int64, np.int16, np.bool_):
            raise TypeError(f"columns of {block.t.dtype}, {block.x.dtype}, {block.p.dtype}")
        columns = [getattr(block, name).astype(np.int64) for name in "txyp"]
        parts.append(np.stack(columns, axis=1))
    return np.concatenate(parts)


def impossible(rows: Rows, size: tuple[int, int]) -> str:
    """Say what no events may be, whatever the file holds."""
    if (np.diff(rows[:, 0]) < 0).any():
        return "time runs back"
    if (rows[:, 1:3] < 0).any() or (rows[:, 1:3] >= size).any():
        return "events are off the sensor"
    return ""


def _read_all_else(recording: Any) -> None:
    """Read what a recording holds beside events."""
    for name in ("header", "triggers", "imu", "labels", "other_streams"):
        if hasattr(recording, name):
            getattr(recording, name)()
    if hasattr(recording, "frames"):
        for _ in recording.frames():
            pass


def read(path: Path, sample: Sample, *, strict: bool) -> Reading:
    """Read all that a file holds."""
    reading = Reading()
    try:
        recording = dvskit.open_events(path, format=sample.format, strict=strict)
        if sample.stream == "triggers":
            hits = recording.triggers()
            reading.rows = np.stack([hits.t, hits.id, hits.id * 0, hits.p], axis=1).astype(np.int64)
            reading.damage = "" if strict else "unknown: damage is told of events"
            reading.wrong = impossible(reading.rows, (32768, 32768))
        else:
            reading.rows = _rows(recording, recording.size)
            reading.damage = str(recording.damage) if recording.damage else ""
            reading.left_out = any("left out" in each for each in recording.assumptions)
            reading.wrong = impossible(reading.rows, recording.size)
        if strict and recording.damage:
            reading.wrong = "damage is told in strict mode"
    except DvskitError as error:
        reading.error = str(error)
        if "\n" in reading.error:
            reading.wrong = "an error of more than one line"
    except BaseException:
        reading.foreign = last_lines(traceback.format_exc())
    if not reading.foreign and not reading.error:
        try:
            _read_all_else(dvskit.open_events(path, format=sample.format, strict=strict))
        except DvskitError:
            pass
        except BaseException:
            reading.foreign = last_lines(traceback.format_exc())
    return reading


def last_lines(trace: str) -> str:
    """Return the last line of a traceback, and the last place in dvskit."""
    lines = [line.strip() for line in trace.strip().splitlines()]
    place = [line for line in lines if line.startswith("File ") and "dvskit" in line][-1:]
    return f"{lines[-1][:200]} ({place[0] if place else ''})"


# --- judging --------------------------------------------------------------------------------------


def compare(original: Rows, got: Rows, marked: NDArray[np.bool_]) -> tuple[int, int]:
    """Compare events as multisets: how many are false, and how many marked ones are missing."""
    _, place = np.unique(np.concatenate([original, got]), axis=0, return_inverse=True)
    place = place.ravel()
    count = len(place)
    here, there = place[: len(original)], place[len(original) :]
    found = np.bincount(there, minlength=count)
    false = np.maximum(0, found - np.bincount(here, minlength=count)).sum()
    missing = np.maximum(0, np.bincount(here[marked], minlength=count) - found).sum()
    return int(false), int(missing)


def with_steps(rows: Rows) -> Rows:
    """Return rows with the time since the row before: of formats that store no other time."""
    return np.column_stack([np.diff(rows[:, 0], prepend=0), rows[:, 1:]])


class Bench:
    """A sample, read as it is, and what its mutations are compared with."""

    def __init__(self, sample: Sample, folder: Path) -> None:
        self.sample, self.folder = sample, folder
        self.data = sample.make()
        sound = [self._read("sound", self.data, strict) for strict in (True, False)]
        for reading in sound:
            if reading.rows is None or reading.error or reading.wrong:
                raise ValueError(f"{sample.name}: the sample itself is not read: {reading}")
        assert sound[0].rows is not None
        self.original = sound[0].rows
        self.cuts = np.unique(np.linspace(0, len(self.data), _CUTS, dtype=np.int64))
        self.counts = [self._count(cut) for cut in self.cuts[:-1].tolist()] + [len(self.original)]

    def _read(self, name: str, data: bytes, strict: bool) -> Reading:
        path = self.folder / name
        path.write_bytes(data)
        return read(path, self.sample, strict=strict)

    def _count(self, cut: int) -> int:
        """How many events the file gives if it is cut here."""
        path = self.folder / "cut"
        path.write_bytes(self.data[:cut])
        try:
            recording = dvskit.open_events(path, format=self.sample.format, strict=False)
            triggers = self.sample.stream == "triggers"
            return len(recording.triggers().t) if triggers else len(recording.load())
        except DvskitError:
            return 0

    def spoiled(self, mutation: Mutation) -> NDArray[np.bool_] | None:
        """Which events are near damaged bytes; None if the header is damaged, too."""
        marked = np.zeros(len(self.original), np.bool_)
        head = self.cuts[np.flatnonzero(np.array(self.counts) == 0)[-1]]
        for start, stop in mutation.ranges():
            if start < head:
                return None
            first = self.counts[np.searchsorted(self.cuts, start, "right") - 1]
            last = self.counts[np.searchsorted(self.cuts, stop)]
            last = min((each for each in self.counts if each > last), default=last)  # of a packet
            marked[max(0, first - self.sample.reach) : last + self.sample.reach] = True
        return marked

    def judge(self, number: int, *, keep: Path | None = None) -> Verdict:
        mutation = mutate(self.data, number)
        begin = time.perf_counter()
        readings = [self._read("mutated", mutation.data, strict) for strict in (True, False)]
        verdict = Verdict(number, mutation.kind, seconds=time.perf_counter() - begin)
        judge_safety(verdict, *readings)
        spoiled = self.spoiled(mutation)
        if spoiled is not None:
            places = mutation.foreign + len(mutation.ranges())
            may_be_false = int(spoiled.sum() + places * self.sample.most) + 1
            as_stored = with_steps if self.sample.steps else np.asarray
            judge_events(
                verdict,
                as_stored(self.original),
                spoiled,
                may_be_false,
                [
                    replace(each, rows=None if each.rows is None else as_stored(each.rows))
                    for each in readings
                ],
            )
        if keep is not None:
            keep.write_bytes(mutation.data)
        verdict.story = "\n".join(
            [
                f"{mutation.kind}: {len(self.data)} bytes, now {len(mutation.data)}",
                f"damaged: {mutation.ranges()[:20]}; foreign bytes: {mutation.foreign}",
                *(str(each) for each in readings),
            ]
        )
        return verdict


def judge_events(
    verdict: Verdict,
    original: Rows,
    spoiled: NDArray[np.bool_],
    may_be_false: int,
    readings: list[Reading],
) -> None:
    """Compare the strict and the salvaged events with the original ones."""
    verdict.judged, verdict.undamaged = True, int((~spoiled).sum())
    for name, reading in zip(("strict", "salvage"), readings, strict=True):
        if reading.rows is None:
            continue
        false, missing = compare(original, reading.rows, ~spoiled)
        false = max(0, false - may_be_false)
        if name == "salvage":
            verdict.kept, verdict.false = verdict.undamaged - missing, false
        if missing and not (reading.damage or reading.left_out):
            text = f"{name}: {missing} undamaged events are missing, nothing is told"
            verdict.faults.append(("garbage", text))
        if not reading.damage and false:
            text = f"{name}: {false} false events beyond {may_be_false}, nothing is told"
            verdict.faults.append(("garbage", text))
        elif false * 100 > len(original):
            verdict.faults.append(("false", f"{false} false events beyond {may_be_false}"))


def judge_safety(verdict: Verdict, strict: Reading, salvaged: Reading) -> None:
    for name, reading in (("strict", strict), ("salvage", salvaged)):
        if reading.foreign:
            verdict.faults.append(("foreign", f"{name}: {reading.foreign}"))
        if reading.wrong:
            verdict.faults.append(("garbage", f"{name}: {reading.wrong}"))
    if strict.foreign or salvaged.foreign or salvaged.damage.startswith("unknown"):
        return
    told = salvaged.error or salvaged.damage
    if bool(strict.error) != bool(told):
        mode = "strict" if strict.error else "salvage"
        verdict.faults.append(("disagree", f"only {mode} tells damage: {strict.error or told}"))


class ParserBench:
    """Sound files, their value, and what mutations of one of them at a time give."""

    def __init__(self, parser: Parser, folder: Path) -> None:
        self._parser, work = parser, folder / parser.name
        shutil.rmtree(work, ignore_errors=True)  # of a child that died
        work.mkdir()
        self._path = parser.make(work)
        self._sound = parser.read(self._path)
        if self._sound != parser.read(self._path):
            raise ValueError(f"{parser.name}: two readings of the sound files differ")
        patterns = parser.targets
        found = chain.from_iterable(map(self._path.glob, patterns)) if patterns else [self._path]
        self._targets = [(path, path.read_bytes()) for path in sorted(found)]

    def judge(self, number: int, *, keep: Path | None = None) -> Verdict:
        """Judge mutation `number`; the files take turns. `keep` gets the mutated file."""
        number_there, turn = divmod(number, len(self._targets))
        target, data = self._targets[turn]
        kind = "text" if self._parser.text else list(KINDS)[number_there % len(KINDS)]
        mutated = mutate_text if self._parser.text else lambda *given: mutate(*given).data
        target.write_bytes(mutated(data, number_there))
        verdict, begun = Verdict(number, kind), time.perf_counter()
        try:
            self._read(verdict)
        finally:
            verdict.seconds = time.perf_counter() - begun
            if keep is not None:
                shutil.copyfile(target, keep)
            target.write_bytes(data)
        return verdict

    def _read(self, verdict: Verdict) -> None:
        try:
            value, said = self._parser.read(self._path)
        except DvskitError as error:
            verdict.story = f"{type(error).__name__}: {error}"
            if "\n" in str(error):
                verdict.faults.append(("foreign", f"of more than one line: {str(error)[:200]!r}"))
            return
        except BaseException:
            verdict.faults.append(("foreign", last_lines(traceback.format_exc())))
            return
        verdict.story = said or repr(value)[:1000]
        if value != self._sound[0] and said == self._sound[1]:
            verdict.false = 1
            if self._parser.checked:
                verdict.faults.append(("silent", "another value, and nothing said"))


# --- the child ------------------------------------------------------------------------------------


def _watched() -> Callable[[], int]:
    """Limit the memory of this process; return what tells its peak so far, in bytes."""
    status = Path("/proc/self/status")
    if not status.exists():
        return lambda: 0
    import resource

    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (held + (2 << 30), held + (2 << 30)))

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

        What takes long or much memory is judged once more: the first time may have compiled.
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
            fault = "hang", f"more than {limit_s:g} s"
        except (EOFError, OSError):
            self._child.join(5)
            fault = "crash", f"exit code {self._child.exitcode}: {self._last_words()}"
        self._end()
        return Verdict(number, list(KINDS)[number % len(KINDS)], [fault])

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
