"""What a training on a folder does within its time: clips, steps, and trainings that judge it.

If there is no time to emulate all clips, some of each class and person are used.
"""

from __future__ import annotations

import csv
import math
import shutil
import statistics
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from itertools import accumulate
from pathlib import Path

import msgspec
import numpy as np
import torch

from dvskit import _files
from dvskit._threads import thread_count
from dvskit.datasets import Cache, ImageSamples, Sample, Samples, SplitSamples
from dvskit.errors import ConfigError, DvskitError, FittedWarning, OutputError, count_of, one_line
from dvskit.models.doubt import MOST_MEASURED
from dvskit.models.scores import Result, logits_of
from dvskit.training.checkpoint import write_table
from dvskit.training.config import Config
from dvskit.training.folder_choices import BATCH, parts_to_leave_out, with_steps
from dvskit.training.labels import LabelsTask, answers_of, train_sets
from dvskit.training.loop import Progress, ProgressCallback
from dvskit.training.sets import EMULATED, FolderNote, TrainingSet, judged_part, load_feed

_EMULATING = 0.5  # of the time, at most, until the last clip is emulated
CHOOSING = 0.2  # of the time, at most, until the start is chosen
_SPARE = 0.06  # of the time, as a reserve
_LEAST_TRAINING = 0.3  # of the time, for training, judging and the card
_CARD_S = 4.0  # to draw the pictures and end the process
_SLOWEST = 8.0  # the largest slowdown by a busy machine
_LEAST_BLOCKS = 2  # of one clip of each class: one to train on, one to judge by
_JUDGED_STEPS = 0.5  # time to judge a batch, in training steps
_LEAST_STEPS = 20
_JUDGES = 2  # trainings without a part that get time, if not all steps fit
_LEFT_OUT_FILE = "judged.csv"
_LEAST_PROBABILITY = 1e-12  # its logarithm is finite


class TooLittleTimeError(ConfigError):
    """The time of a run is too short; `minutes` are enough."""

    def __init__(self, text: str, minutes: float) -> None:
        self.minutes = minutes
        super().__init__(f"there is too little time{text}. Emulated events are kept")


class RunTime:
    """When the stages of a run end, as values of time.monotonic().

    minutes  for the whole run; math.inf: no limit
    began    when they began, default: now; half of them are left in any case
    """

    def __init__(self, minutes: float, began: float | None = None) -> None:
        now, self.whole_s = time.monotonic(), 60 * minutes
        self.began = max(now if began is None else min(began, now), now - self.whole_s / 2)
        self._computed = time.process_time()
        self.card_s = _CARD_S

    def at(self, share: float) -> float:
        """Return when a share of the time has passed."""
        return self.began + share * self.whole_s

    @property
    def judged(self) -> float:
        """The end of all trainings; what is left is for the card."""
        return self.at(1) - self.card_s

    def allow_for_a_busy_machine(self) -> None:
        """Give the card more time if a second of processor time took several seconds so far."""
        computed = max(time.process_time() - self._computed, 1e-3)
        slow = (time.monotonic() - self.began) / computed
        self.card_s = _CARD_S * min(max(slow, 1.0), _SLOWEST)


@dataclass(frozen=True, slots=True)
class _Place:
    """A sample to emulate; `missing` unless its events are kept already."""

    samples: Samples
    number: int
    missing: bool

    @property
    def row(self) -> Sample:
        return self.samples.rows[self.number]


class ClipEmulation:
    """Emulates the clips of sets while there is time, so that their events are kept on disk.

    Clips come in blocks of one of each class, all of one person; the first blocks are of different
    people. Damaged files are found too, with `salvage`.

    unreadable  samples that cannot be read, with the reason; an error without `salvage`
    late        samples beyond the time, about as many of each class
    """

    def __init__(self, sets: Sequence[TrainingSet], limit: RunTime, *, salvage: bool) -> None:
        self.limit, self.salvage = limit, salvage
        self.unreadable: dict[Sample, str] = {}
        self.late: list[Sample] = []
        self._blocks = _blocks([*_places(sets)])
        self._total = sum(map(len, self._blocks))
        missing = (sum(place.missing for place in block) for block in self._blocks)
        self._to_emulate = list(accumulate(missing))  # clips of the blocks up to each block
        self._is_late: dict[int, bool] = {}  # by the number of a block
        self._lock = threading.Lock()
        self._began, self._seconds = time.monotonic(), list[float]()  # of each clip

    @property
    def clip_s(self) -> float:
        """Seconds per clip, with all workers busy; 0 before the first.

        The first clip of each worker counts only before others, because it may compile loops.
        """
        seconds = self._seconds[thread_count() :] or self._seconds or [0.0]
        return statistics.median(seconds) / thread_count()

    def run(self, made: Callable[[int, int], None]) -> None:
        """Emulate the clips; `made` is called with the number of those that are done, and of all.

        Raises TooLittleTimeError if there is no time for two clips of each class.
        """
        pool = ThreadPoolExecutor(thread_count())
        try:
            futures = [
                pool.submit(self._emulate, number, place)
                for number, block in enumerate(self._blocks)
                for place in block
            ]
            for done, future in enumerate(futures, 1):
                future.result()
                made(done, self._total)
        finally:
            pool.shutdown(cancel_futures=True)

    def notes(self) -> Iterator[FolderNote]:
        """Yield notes on samples that cannot be used."""
        for row, why in self.unreadable.items():
            text = f"{row.where}{row.times}: left out: {why}"
            yield FolderNote(text, "unreadable files", count=len(self.unreadable))
        if self.late:
            used, minutes = self._total - len(self.late), self._minutes_for_all()
            text = (
                f"there is time to emulate {used:,} of {self._total:,} clips, {self.clip_s:.2g} s "
                f"each, about as many of each class; minutes={minutes} uses all"
            )
            yield FolderNote(text, "short of time", used=used, total=self._total, minutes=minutes)

    def _emulate(self, number: int, place: _Place) -> None:
        """Emulate a clip of a block, unless its events are kept or the block is late."""
        if not place.missing or not self._has_time(number):
            return
        began = time.monotonic()
        try:
            place.samples.events(place.number)
        except DvskitError as error:
            if not self.salvage:
                raise
            self.unreadable[place.row] = one_line(error)
        self._seconds.append(time.monotonic() - began)

    def _has_time(self, number: int) -> bool:
        """Return whether a block is ready in time. Raises TooLittleTimeError for the first ones."""
        with self._lock:
            if not self._seconds:  # the first clip shows how long clips take
                return True
            left = self._to_emulate[number] - len(self._seconds)
            is_measured = len(self._seconds) > thread_count()  # without compiling
            end = time.monotonic() + left * self.clip_s * is_measured
            if number < _LEAST_BLOCKS:
                if end > self.limit.at(1 - _LEAST_TRAINING):
                    minutes = self._minutes_for_all()
                    raise TooLittleTimeError(
                        f": {count_of(self._to_emulate[-1], 'clip')} must be emulated, "
                        f"{self.clip_s:.2g} s each; minutes={minutes} is enough for all of them",
                        minutes,
                    )
                return True
            if number not in self._is_late:
                self._is_late[number] = end > self.limit.at(_EMULATING)
                if self._is_late[number]:
                    self.late += [place.row for place in self._blocks[number]]
            return not self._is_late[number]

    def _minutes_for_all(self) -> float:
        """Return the minutes that are enough to emulate all clips."""
        needed = self._began - self.limit.began + self._to_emulate[-1] * self.clip_s
        return _minutes(needed / _EMULATING)


def _minutes(seconds: float) -> float:
    return (math.ceil(seconds / 6) + 1) / 10  # 0.1 more, to start the process


def _places(sets: Sequence[TrainingSet]) -> Iterator[_Place]:
    """Yield the samples that are emulated, and those that may be damaged."""
    cache = Cache()
    for each in sets:
        emulated = each.entry.kind in EMULATED
        for part in each.parts if emulated or getattr(each.entry, "salvage", False) else ():
            assert not isinstance(part, ImageSamples)
            samples = part.cached(cache) if emulated else part
            for number in range(len(part)):
                kept = emulated and cache.holds(samples, number)
                yield _Place(samples, number, missing=not kept)


def _blocks(places: Sequence[_Place]) -> list[list[_Place]]:
    """Return places in blocks of one sample per class, each block of one person.

    The first blocks are of different people.
    """
    cells: dict[tuple[str, str], list[_Place]] = defaultdict(list)
    for place in sorted(places, key=lambda place: place.row.name):
        cells[str(place.row.group), place.row.label].append(place)
    blocks: dict[tuple[int, str], list[_Place]] = defaultdict(list)
    for (group, _), members in sorted(cells.items()):
        for turn, place in enumerate(members):
            blocks[turn, group].append(place)
    return [blocks[key] for key in sorted(blocks)]


def steps_in_time(
    config: Config,
    sets: Sequence[TrainingSet],
    limit: RunTime,
    *,
    parts_left_out: int,
    say: Callable[[str], None],
) -> tuple[Config, float]:
    """Return a configuration with as many of its steps as fit, and the deadline of its training.

    parts_left_out  the most parts that are left out to judge the run: if not all steps fit, two
                    trainings without a part get as many, where each of the three has enough
    say             called with a line if not all steps fit

    Raises TooLittleTimeError if there is no time for a few steps.
    """
    limit.allow_for_a_busy_machine()
    parts, wanted = sets[0].parts, config.loop.epochs * config.loop.steps
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FittedWarning)  # the run gives them
        feed = load_feed(config, sets)
        task = LabelsTask(config, feed)
        step_s = task.seconds_a_step()
        # Judging compiles loops of its own: run it once here, so that the time is measured.
        counts, _ = next(iter(judged_part(sets[0], parts.train, config, Cache()).epoch(0)))
        logits_of(task.module.eval(), counts)
    sample_s = step_s * _JUDGED_STEPS / BATCH
    measured = 0 if task.fixed is not None else MOST_MEASURED  # for the likeness
    last_s = sample_s * (measured + (len(parts.test) or len(parts.train)))
    judging_s = last_s + 10 * sample_s * len(parts.validation)  # in ten epochs
    kept_s, least = limit.card_s + _SPARE * limit.whole_s, min(wanted, _LEAST_STEPS)
    now = time.monotonic()
    possible = int((limit.at(1) - kept_s - judging_s - now) / step_s)
    if possible < least:
        needed = now - limit.began + judging_s + least * step_s + kept_s
        minutes = _minutes(needed / (1 - _SPARE))
        raise TooLittleTimeError(
            f" to train: a step takes {step_s:.2g} s; minutes={minutes} leaves time for {least}",
            minutes,
        )
    trainings = 1 + min(parts_left_out, _JUDGES)
    if possible < (1 + _JUDGES) * least:  # the run itself comes first
        trainings = 1
    steps = min(wanted, possible // trainings)
    if steps < wanted:
        say(f"steps     {steps:,}: as many as the time allows, {step_s:.2g} s each")
        config = replace(config, loop=with_steps(config.loop, steps))
    return config, limit.judged - last_s


@dataclass(frozen=True, slots=True)
class JudgedSample:
    """A row of judged.csv: a sample that a training left out, and the answer of its model.

    part         number of the part that the sample is in
    label, name, group   of the sample, the name with its span; "" for an unknown group
    answer       the class; "" before the part is judged
    probability  of the answer               own  probability of the sample's class
    """

    part: int
    label: str
    name: str
    group: str
    answer: str = ""
    probability: float = 0.0
    own: float = 0.0


class PartsLeftOut:
    """Trainings that judge a run: its steps again, without each part of the samples in turn.

    A part is one person, or several, if people are known, else a third of the samples. judged.csv
    holds the answers, so that an interrupted run goes on with the next part.

    config    of the run, which learns from all samples       whole  these samples
    progress  is called with the progress of all trainings together, that of the run included
    rows      of judged.csv; [] before `begin`, or if no parts are left out
    """

    def __init__(self, config: Config, whole: TrainingSet, progress: ProgressCallback) -> None:
        self._seed, self._whole, self._progress = config.seed, whole, progress
        self._file = Path(config.output) / _LEFT_OUT_FILE
        self.rows = _read(self._file) if self._file.is_file() else []

    def begin(self) -> None:
        """Write judged.csv without answers: it names the parts that will be judged."""
        _files.make_folder(self._file.parent)
        parts = enumerate(self._splits())
        self._write([row for part, split in parts for row in _rows(part, split)])

    def progress_of_run(self) -> ProgressCallback:
        """Return the callback of the run, the first of all trainings."""
        return self._progress_of(0)

    def _progress_of(self, training: int) -> ProgressCallback:
        """Return the callback of one of the trainings, which counts all as one."""
        trainings = 1 + len({row.part for row in self.rows})

        def follow(now: Progress) -> None:
            done, steps = training * now.steps, trainings * now.steps
            epoch, epochs = training * now.epochs + now.epoch, trainings * now.epochs
            whole = replace(now, epoch=epoch, epochs=epochs, step=done + now.step, steps=steps)
            self._progress(whole)

        return follow

    def judge(self, config: Config, *, until: float, part_s: float) -> None:
        """Train without each part that has no answers yet, and judge it.

        config   of the run, with the epochs that it took
        until    a value of time.monotonic(): parts that would end later are not judged
        part_s   seconds that a part takes, about
        """
        for part, split in enumerate(self._splits() if self.rows else ()):
            if all(row.answer for row in self.rows if row.part == part):
                continue
            if time.monotonic() + part_s > until:
                self._write([row for row in self.rows if row.answer])
                return
            judged = self._judge_part(config, part, split)
            others = [row for row in self.rows if row.part != part]
            self._write(sorted(others + judged, key=lambda row: row.part))

    def missing(self) -> FolderNote | None:
        """Return a note on people, or samples, without an answer; None if each has one."""
        return not_judged(self.rows, self._samples)

    @property
    def _samples(self) -> Samples:
        samples = self._whole.parts.train
        assert isinstance(samples, Samples)
        return samples

    def _splits(self) -> list[SplitSamples[Samples]]:
        return parts_to_leave_out(self._samples, self._seed)

    def _judge_part(
        self, config: Config, part: int, split: SplitSamples[Samples]
    ) -> list[JudgedSample]:
        """Train without a part in a folder of its own, which is removed, and return its answers."""
        folder = self._file.parent / f"without-part-{part}"
        nothing = split.test.choose([])
        rest = replace(self._whole, parts=SplitSamples(split.train, nothing, nothing))
        config = replace(config, output=str(folder))
        model = train_sets(config, [rest], progress=self._progress_of(part + 1)).model
        batches = judged_part(self._whole, split.test, config, Cache())
        logits, _ = answers_of(model.module, batches)
        shares = torch.softmax(logits, 1).numpy().astype(np.float64)
        rows = [
            replace(
                row, answer=model.classes[int(np.argmax(share))],
                probability=round(float(share.max()), 6),
                own=round(float(share[model.classes.index(row.label)]), 6),
            )
            for row, share in zip(_rows(part, split), shares, strict=True)
        ]  # fmt: skip
        shutil.rmtree(folder)
        return rows

    def _write(self, rows: list[JudgedSample]) -> None:
        self.rows = rows
        columns = [each.name for each in fields(JudgedSample)]
        write_table(self._file, [asdict(row) for row in rows], columns)


def _read(file: Path) -> list[JudgedSample]:
    """Return the rows of a judged.csv. Raises OutputError."""
    try:
        with file.open(encoding="utf-8", newline="") as text:
            return msgspec.convert([*csv.DictReader(text)], list[JudgedSample], strict=False)
    except (OSError, ValueError) as error:
        raise OutputError(f"{file}: is no list of judged samples; remove it") from error


def _rows(part: int, split: SplitSamples[Samples]) -> list[JudgedSample]:
    return [JudgedSample(part, row.label, row.title, row.group or "") for row in split.test.rows]


def result_of_left_out(rows: Sequence[JudgedSample], classes: tuple[str, ...]) -> Result:
    """Return the result of the answers; at least one row."""
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    for each in rows:
        confusion[classes.index(each.label), classes.index(each.answer)] += 1
    loss = -sum(math.log(max(each.own, _LEAST_PROBABILITY)) for each in rows) / len(rows)
    return Result(classes, confusion, loss)


def by_person(rows: Sequence[JudgedSample]) -> dict[str, tuple[int, int]]:
    """Return the number of right answers, and of all, of each person; {} if they are unknown."""
    found: dict[str, tuple[int, int]] = {}
    for each in rows:
        if each.group:
            right, of = found.get(each.group, (0, 0))
            found[each.group] = (right + (each.answer == each.label), of + 1)
    return dict(sorted(found.items()))


def not_judged(rows: Sequence[JudgedSample], samples: Samples) -> FolderNote | None:
    """Return a note on people, or samples, without an answer; None if each has one."""
    answered = {(each.label, each.name) for each in rows if each.answer}
    without = [row for row in samples.rows if (row.label, row.title) not in answered]
    if not without:
        return None
    people = sorted({row.group for row in without if row.group})
    what = ", ".join(people) or count_of(len(without), "sample")
    were = "was" if len(people or without) == 1 else "were"
    return FolderNote(
        f"{what} {were} not judged: no time was left; give more minutes, and another output",
        "not judged",
        people=people,
        samples=len(without),
    )
