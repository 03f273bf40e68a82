"""Judge a training by samples that it leaves out: the same steps again, without each part in turn.

A part is one person, or several, if people are known, else a third of the samples. The answers are
kept in judged.csv, so that an interrupted run goes on with the next part.
"""

from __future__ import annotations

import csv
import io
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch

from dvskit import _files
from dvskit.datasets import Cache, Samples, SplitSamples, k_fold
from dvskit.errors import OutputError, count_of
from dvskit.models.model import make_folder
from dvskit.models.scores import Result
from dvskit.training.config import Config
from dvskit.training.feed import judged_part
from dvskit.training.folder_notes import FolderNote
from dvskit.training.loop import train_sets
from dvskit.training.running import Progress
from dvskit.training.sets import TrainingSet
from dvskit.training.validation import answers_of

_FILE = "judged.csv"
_MOST_PEOPLE, _THIRDS = 5, 3
_LEAST = 1e-12  # of a probability: its logarithm is finite


def parts_to_leave_out(samples: Samples, seed: int) -> list[SplitSamples[Samples]]:
    """Return a split for each part of the samples; the part is the test part of its split.

    Known people stay whole; of more than five, several are in a part. Raises ConfigError if a class
    would not be in training, and for fewer than two people or three samples.
    """
    people = {row.group for row in samples.rows}
    count = _THIRDS if None in people else min(len(people), _MOST_PEOPLE)
    return k_fold(samples, count, seed=seed)


@dataclass(frozen=True, slots=True)
class JudgedSample:
    """A row of judged.csv: a sample that a training left out, and the answer of its model.

    part         number of the part that the sample is in
    label, name, group   of the sample; "" for an unknown group
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


def plan_to_leave_out(config: Config, whole: TrainingSet) -> None:
    """Write judged.csv without answers: it names the parts that will be judged."""
    folder, samples = Path(config.output), whole.parts.train
    assert isinstance(samples, Samples)
    make_folder(folder)
    splits = parts_to_leave_out(samples, config.seed)
    _write(folder, [row for part, split in enumerate(splits) for row in _rows(part, split)])


def parts_left_out(folder: Path) -> int:
    """Return the number of parts in judged.csv. Raises OutputError."""
    return len({each.part for each in left_out(folder)})


def left_out(folder: Path) -> tuple[JudgedSample, ...]:
    """Return the rows of judged.csv in a run's folder; () if there is none. Raises OutputError."""
    file = folder / _FILE
    if not file.is_file():
        return ()
    try:
        with file.open(encoding="utf-8", newline="") as text:
            return tuple(
                JudgedSample(
                    int(row["part"]), row["label"], row["name"], row["group"], row["answer"],
                    float(row["probability"]), float(row["own"]),
                )
                for row in csv.DictReader(text)
            )  # fmt: skip
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise OutputError(f"{file}: is no list of judged samples; remove it") from error


def judge_left_out(
    config: Config,
    whole: TrainingSet,
    *,
    until: float | None = None,
    part_s: float = 0.0,
    progress: Callable[[Progress], None] = lambda now: None,
) -> tuple[JudgedSample, ...]:
    """Train without each part in judged.csv that has no answers yet, and judge it.

    config   of the run that learned from all samples
    whole    these samples
    until    a value of time.monotonic(): parts that would end later are not judged
    part_s   seconds that a part takes, about
    """
    folder, samples = Path(config.output), whole.parts.train
    assert isinstance(samples, Samples)
    rows = list(left_out(folder))
    parts = sorted({each.part for each in rows})
    splits = parts_to_leave_out(samples, config.seed) if rows else []
    for part in parts:
        if all(each.answer for each in rows if each.part == part):
            continue
        if until is not None and time.monotonic() + part_s > until:
            rows = [each for each in rows if each.answer]
            _write(folder, rows)
            break
        judged = _judged(
            config, whole, part, splits[part], counted(progress, part + 1, len(parts) + 1)
        )
        others = [each for each in rows if each.part != part]
        rows = sorted(others + judged, key=lambda each: each.part)
        _write(folder, rows)
    return tuple(rows)


def _judged(
    config: Config,
    whole: TrainingSet,
    part: int,
    split: SplitSamples[Samples],
    progress: Callable[[Progress], None],
) -> list[JudgedSample]:
    """Train without a part in a folder of its own, which is removed, and return its answers."""
    folder = Path(config.output) / f"without-part-{part}"
    nothing = split.test.choose([])
    parts = SplitSamples(split.train, nothing, nothing)
    trained = train_sets(
        replace(config, output=str(folder)), [replace(whole, parts=parts)], progress=progress
    )
    batches = judged_part(whole, split.test, config, Cache())
    logits, _ = answers_of(trained.model.module, batches)
    shares = torch.softmax(logits, 1).numpy().astype(np.float64)
    classes = trained.model.classes
    rows = [
        replace(
            row, answer=classes[int(np.argmax(share))], probability=round(float(share.max()), 6),
            own=round(float(share[classes.index(row.label)]), 6),
        )
        for row, share in zip(_rows(part, split), shares, strict=True)
    ]  # fmt: skip
    shutil.rmtree(folder)
    return rows


def _rows(part: int, split: SplitSamples[Samples]) -> list[JudgedSample]:
    return [JudgedSample(part, row.label, row.name, row.group or "") for row in split.test.rows]


def counted(
    progress: Callable[[Progress], None], number: int, trainings: int
) -> Callable[[Progress], None]:
    """Return a callback for one of several trainings, which counts all as one."""

    def follow(now: Progress) -> None:
        done, steps = number * now.steps, trainings * now.steps
        epoch, epochs = number * now.epochs + now.epoch, trainings * now.epochs
        progress(replace(now, epoch=epoch, epochs=epochs, step=done + now.step, steps=steps))

    return follow


def result_of_left_out(rows: Sequence[JudgedSample], classes: tuple[str, ...]) -> Result:
    """Return the result of the answers; at least one row."""
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    for each in rows:
        confusion[classes.index(each.label), classes.index(each.answer)] += 1
    loss = -sum(math.log(max(each.own, _LEAST)) for each in rows) / len(rows)
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
    without = [row for row in samples.rows if (row.label, row.name) not in answered]
    if not without:
        return None
    people = sorted({row.group for row in without if row.group})
    what = ", ".join(people) or count_of(len(without), "sample")
    were = "was" if len(people or without) == 1 else "were"
    return FolderNote(
        f"{what} {were} not judged: no time was left; give more --minutes, and another output (-o)",
        "not judged",
        people=people,
        samples=len(without),
    )


def _write(folder: Path, rows: Sequence[JudgedSample]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, [each.name for each in fields(JudgedSample)])
    writer.writeheader()
    writer.writerows(map(asdict, rows))
    _files.write_whole(folder / _FILE, text.getvalue(), overwrite=True)
