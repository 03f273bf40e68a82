"""What reading makes of a mutated file, and what is to be said of it.

An event is undamaged where all bytes are as they were that it is made of: its own, and those of the
words of clock, row and column that it builds on (`Places.own`). A damaged word may turn into a word
of row or column, or of clock in formats where that cannot be told: then it is damaged from there to
the next word of that kind. For garbage, all back to the oldest word counts (`Places.wide`). Bytes
that were moved are damaged; of duplicated bytes the first stay. In a compressed packet one byte
damages all events. Mutations that touch the file's own header are judged for safety alone: a digit
of a size or a version changes what all events mean, and none can know.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import dvskit
from dvskit.errors import DvskitError, UnitWarning
from tests.mutation_kinds import Mutation
from tests.mutation_places import Places
from tests.mutation_samples import Sample


class Columns(NamedTuple):
    """Events or triggers as (n, 4) int64 rows of t, x, y, p; and the size."""

    rows: NDArray[np.int64]
    size: tuple[int, int]


@dataclass
class Reading:
    """What came of reading a file once: rows, or the error; and whether damage was told."""

    columns: Columns | None = None
    error: str = ""
    foreign: str = ""
    damage: str = ""
    wrong: str = ""


def _columns(blocks: Iterable[Any], size: tuple[int, int]) -> Columns:
    parts = [np.empty((0, 4), np.int64)]
    for block in blocks:
        if block.size != size:
            raise TypeError(f"a block of {block.size} from a recording of {size}")
        if (block.t.dtype, block.x.dtype, block.p.dtype) != (np.int64, np.int16, np.bool_):
            raise TypeError(f"columns of {block.t.dtype}, {block.x.dtype}, {block.p.dtype}")
        columns = [getattr(block, name).astype(np.int64) for name in "txyp"]
        parts.append(np.stack(columns, axis=1))
    return Columns(np.concatenate(parts), size)


def _triggers(hits: Any) -> Columns:
    rows = np.stack([hits.t, hits.id.astype(np.int64), hits.id * 0, hits.p], axis=1)
    return Columns(rows.astype(np.int64), (32768, 32768))


def _impossible(columns: Columns) -> str:
    """Say what no events may be, whatever the file holds."""
    t, x, y, _ = columns.rows.T
    if (t[1:] < t[:-1]).any():
        return "time runs back"
    if len(t) and (min(x.min(), y.min()) < 0 or x.max() >= columns.size[0]):
        return "x is off the sensor"
    if len(t) and y.max() >= columns.size[1]:
        return "y is off the sensor"
    return ""


def _all_else(recording: Any) -> None:
    """Read what a recording holds beside events."""
    for name in ("header", "triggers", "imu", "labels", "other_streams"):
        if hasattr(recording, name):
            getattr(recording, name)()
    if hasattr(recording, "frames"):
        for _ in recording.frames():
            pass


def _contradicted(recording: Any, columns: Columns) -> str:
    """Read all at once, and a part in the middle; say where that contradicts what came in blocks.

    Where damage is told, a part that is sought may be judged otherwise: it must be in order.
    """
    whole = _columns([recording.load()], recording.size)
    if not np.array_equal(whole.rows, columns.rows):
        return "load() and the blocks give different events"
    if not len(columns.rows):
        return ""
    t = columns.rows[:, 0]
    start, stop = int(t[len(t) // 3]), int(t[2 * len(t) // 3])
    with warnings.catch_warnings():  # damage makes windows of microseconds, which are meant
        warnings.simplefilter("ignore", UnitWarning)
        part = _columns(recording.between(start, stop), recording.size).rows
    if problem := _impossible(Columns(part, recording.size)):
        return f"between({start}, {stop}): {problem}"
    if len(part) and (part[0, 0] < start or part[-1, 0] >= stop):
        return f"between({start}, {stop}) gives other times"
    meant = columns.rows[(t >= start) & (t < stop)]
    if not recording.damage and not np.array_equal(part, meant):
        return f"between({start}, {stop}) gives {len(part)} events and the blocks {len(meant)}"
    return ""


def read(path: Path, sample: Sample, *, strict: bool) -> Reading:
    """Read all that a file holds."""
    reading = Reading()
    try:
        recording = dvskit.open_events(path, format=sample.format, strict=strict)
        if sample.stream == "triggers":
            reading.columns = _triggers(recording.triggers())
            reading.damage = "" if strict else "unknown: damage is told of events"
            reading.wrong = _impossible(reading.columns)
        else:
            reading.columns = _columns(recording, recording.size)
            reading.damage = str(recording.damage) if recording.damage else ""
            reading.wrong = _impossible(reading.columns) or _contradicted(
                recording, reading.columns
            )
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
            _all_else(dvskit.open_events(path, format=sample.format, strict=strict))
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

    @property
    def share(self) -> float:
        return self.kept / self.undamaged if self.undamaged else 1.0


def hit(ranges: NDArray[np.int64], mutation: Mutation, *, bytes_too: bool) -> NDArray[np.bool_]:
    """Which byte ranges hold a damaged byte (if `bytes_too`), or a shift within."""
    start, stop = ranges[..., 0], ranges[..., 1]
    length = len(mutation.damaged)
    shifts = np.zeros(length + 2, np.int64)
    shifts[mutation.shifted] = 1
    passed = np.concatenate([[0], np.cumsum(shifts)])
    found = passed[stop] > passed[np.minimum(start + 1, stop)]
    if bytes_too:
        counted = np.concatenate([[0], np.cumsum(mutation.damaged)])
        found |= counted[stop] > counted[start]
    return found


def keys(rows: NDArray[np.int64], *, relative: bool) -> NDArray[Any]:
    """One sortable key an event."""
    table = rows.copy()
    if relative and len(table):
        table[1:, 0] = np.diff(rows[:, 0])
    packed = np.ascontiguousarray(table[:, [0, 1, 2, 3]])
    return packed.view([("t", "i8"), ("x", "i8"), ("y", "i8"), ("p", "i8")]).ravel()


class Compared(NamedTuple):
    """How many events are false, and how many of some marked ones are missing."""

    false: int
    missing: list[int]


def compare(
    original: NDArray[np.int64],
    got: NDArray[np.int64],
    marks: list[NDArray[np.bool_]],
    *,
    relative: bool,
) -> Compared:
    """Compare events as multisets."""
    both = np.concatenate([keys(original, relative=relative), keys(got, relative=relative)])
    _, place = np.unique(both, return_inverse=True)
    place = place.ravel()
    count = int(place.max()) + 1 if len(place) else 0
    here, there = place[: len(original)], place[len(original) :]
    found = np.bincount(there, minlength=count)
    false = np.maximum(0, found - np.bincount(here, minlength=count)).sum()
    missing = [
        int(np.maximum(0, np.bincount(here[mark], minlength=count) - found).sum()) for mark in marks
    ]
    return Compared(int(false), missing)


def judge(
    mutation: Mutation,
    original: NDArray[np.int64],
    where: Places | None,
    strict: Reading,
    salvaged: Reading,
) -> Verdict:
    """Judge both readings of a mutated file; `original` are the rows of the sound one."""
    verdict = Verdict(mutation.number, mutation.kind)
    for name, reading in (("strict", strict), ("salvage", salvaged)):
        if reading.foreign:
            verdict.faults.append(("foreign", f"{name}: {reading.foreign}"))
        if reading.wrong:
            verdict.faults.append(("garbage", f"{name}: {reading.wrong}"))
    if not strict.foreign and not salvaged.foreign:
        told = bool(salvaged.error or salvaged.damage)
        if bool(strict.error) != told and not salvaged.damage.startswith("unknown"):
            said = strict.error or salvaged.error or salvaged.damage
            mode = "strict" if strict.error else "salvage"
            verdict.faults.append(("disagree", f"only {mode} tells damage: {said}"))
    if (
        where is None
        or mutation.damaged[: where.head].any()
        or (mutation.shifted < where.head).any()
    ):
        return verdict
    broken = hit(where.framed, mutation, bytes_too=False).any(axis=1)
    undamaged = ~(hit(where.own, mutation, bytes_too=True).any(axis=1) | broken)
    certain = ~hit(where.wide, mutation, bytes_too=True) & ~broken
    places = len(mutation.ranges()) + len(mutation.shifted)  # each may spoil a sound neighbour too
    may_be_false = int((~certain).sum()) + int((mutation.foreign + places) * where.most) + 1
    verdict.judged, verdict.undamaged = True, int(undamaged.sum())
    for name, reading in (("strict", strict), ("salvage", salvaged)):
        if reading.columns is None:
            continue
        compared = compare(
            original, reading.columns.rows, [undamaged, certain], relative=where.relative
        )
        false = max(0, compared.false - may_be_false)
        if name == "salvage":
            verdict.kept, verdict.false = verdict.undamaged - compared.missing[0], false
        if not reading.damage and compared.missing[1]:
            text = f"{name}: {compared.missing[1]} undamaged events are missing, nothing is told"
            verdict.faults.append(("garbage", text))
        if not reading.damage and false:
            text = f"{name}: {false} false events beyond {may_be_false}, nothing is told"
            verdict.faults.append(("garbage", text))
        elif false * 100 > len(original):
            verdict.faults.append(("false", f"{false} false events beyond {may_be_false}"))
    return verdict


def tell(
    mutation: Mutation, original: NDArray[np.int64], strict: Reading, salvaged: Reading
) -> str:
    """All that is to be known of one mutation, as text."""
    got = "nothing" if salvaged.columns is None else f"{len(salvaged.columns.rows)} events"
    ranges = mutation.ranges()
    return "\n".join(
        [
            f"{mutation.kind}: {len(mutation.damaged)} bytes, now {len(mutation.data)}",
            f"damaged: {ranges[:20]}{'...' if len(ranges) > 20 else ''}",
            f"shifted at: {mutation.shifted[:20].tolist()}; foreign bytes: {mutation.foreign}",
            f"strict: {strict.foreign or strict.error or 'no error'}",
            f"salvage: {got} of {len(original)}; "
            f"{salvaged.foreign or salvaged.error or salvaged.damage or 'no damage'}",
        ]
    )
