"""Mutated files of every kind are read safely, and the judge of this sees what it is meant to."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dvskit.formats import formats
from tests.conftest import find_data, skip_or_fail
from tests.mutation_judge import (
    Reader,
    Reading,
    Verdict,
    compare,
    impossible,
    judge_events,
    judge_safety,
)
from tests.mutation_kinds import KINDS, mutate
from tests.mutation_parsers import CALIB, PARSERS, Parser, text_file
from tests.mutation_samples import SAMPLES, Sample

# The share of undamaged events that salvage keeps at least. Where bytes are missing, some formats
# do not find the next unit, and lose all after it.
KEEPS = {
    "aedat4": 0.95, "csv": 0.95, "es": 0.9, "aedat2": 0.6, "dat": 0.6, "evt2": 0.6, "evt21": 0.6,
    "evt3": 0.6, "evt4": 0.6, "mcap": 0.6, "nmnist": 0.6, "npy": 0.6,
}  # fmt: skip
# Formats whose salvage makes no false events of words that are out of step.
NO_FALSE = ("dat", "evt2", "evt3", "evt4")


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader() as reader:
        yield reader


def judge_sample(reader: Reader, sample: Sample, numbers: range) -> None:
    """Judge mutations of a sample; check that all are read safely and enough of them is kept."""
    if sample.recording is not None and find_data() is None:
        skip_or_fail("no recordings: set DVSKIT_DATA to their folder")
    verdicts = [reader.judge(sample, number) for number in numbers]
    allowed = () if sample.format in NO_FALSE else ("false",)
    faults = [
        (each.number, *fault)
        for each in verdicts
        for fault in each.faults
        if fault[0] not in allowed
    ]
    assert faults == []
    undamaged = sum(each.undamaged for each in verdicts)
    if sample.format in KEEPS:
        assert undamaged > 0
        assert sum(each.kept for each in verdicts) >= KEEPS[sample.format] * undamaged


def judge_parser(reader: Reader, parser, numbers: range) -> None:
    assert [fault for number in numbers for fault in reader.judge(parser, number).faults] == []


@pytest.mark.campaign
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_many_mutated_recordings_are_read_safely(reader, sample):
    judge_sample(reader, sample, range(1000, 1000 + 20 * len(KINDS)))


@pytest.mark.slow
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_few_mutated_recordings_are_read_safely(reader, sample):
    judge_sample(reader, sample, range(1000, 1000 + len(KINDS)))


@pytest.mark.campaign
@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_many_mutated_inputs_are_read_safely(reader, parser):
    judge_parser(reader, parser, range(3000, 3200))


@pytest.mark.slow
@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_a_few_mutated_inputs_are_read_safely(reader, parser):
    judge_parser(reader, parser, range(3000, 3006))


def test_every_readable_format_has_a_sample():
    # A folder of a ROS 2 recording holds files of the formats db3 and mcap.
    readable = {row.name for row in formats() if "r" in row.can} - {"udp", "rosbag2"}
    assert readable <= {sample.format for sample in SAMPLES}


# --- what the judge must see ----------------------------------------------------------------------


def misbehave(path: Path, how: str):
    """Read a text; of a damaged one do what no reader may do."""
    if path.read_text() != CALIB:
        if how == "crash":
            os.abort()
        if how == "hang":
            time.sleep(60)
        if how == "memory":
            np.ones(50 << 20)
        if how == "foreign":
            raise KeyError("x")
    return "another value" if how == "silent" and path.read_text() != CALIB else CALIB, ""


def toy(how: str) -> Parser:
    """An input of a reader that misbehaves."""
    make = partial(text_file, name="calib.txt", text=CALIB)
    return Parser(f"toy-{how}", make, partial(misbehave, how=how), text=True, checked=True)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["sound", "crash", "memory", "foreign", "silent"])
def test_the_judge_sees_what_is_wrong_with_a_reader(reader, fault):
    kinds = [kind for kind, _ in reader.judge(toy(fault), 1).faults]
    assert kinds == ([] if fault == "sound" else [fault])


@pytest.mark.slow
def test_the_judge_sees_that_a_reader_hangs():
    with Reader(limit_s=0.5) as reader:
        reader.judge(toy("sound"), 1)
        verdict = reader.judge(toy("hang"), 1)
    assert [kind for kind, _ in verdict.faults] == ["hang"]


def readings(**salvaged) -> tuple[Reading, Reading]:
    """What reading a damaged file in both modes gives."""
    return Reading(error="is damaged"), Reading(**{"rows": ROWS, "damage": "1 byte"} | salvaged)


ROWS = np.column_stack([10 * np.arange(400), np.arange(400) % 50, np.full(400, 7), np.ones(400)])
ROWS = ROWS.astype(np.int64)
LATE = ROWS + np.array([1, 0, 0, 0])


@pytest.mark.parametrize(
    ("strict", "salvaged", "fault"),
    [
        (*readings(), None),
        (*readings(wrong="time runs back"), "garbage"),
        (*readings(foreign="KeyError"), "foreign"),
        (*readings(damage=""), "disagree"),
        (Reading(rows=ROWS), Reading(rows=ROWS, damage="1 byte"), "disagree"),
        (Reading(rows=ROWS[:300]), Reading(rows=ROWS[:300]), "garbage"),
        (Reading(rows=np.repeat(ROWS, 2, axis=0)), Reading(rows=ROWS), "garbage"),
        (*readings(rows=LATE), "false"),
        (*readings(rows=ROWS[:300]), None),
    ],
)
def test_the_judge_sees_what_is_wrong_with_events(strict, salvaged, fault):
    spoiled = np.zeros(400, np.bool_)
    spoiled[100:110] = True
    verdict = Verdict(0, "")
    judge_safety(verdict, strict, salvaged)
    judge_events(verdict, ROWS, spoiled, 20, [strict, salvaged])
    assert {kind for kind, _ in verdict.faults} == ({fault} if fault else set())
    assert verdict.undamaged == 390


@pytest.mark.parametrize(("column", "value"), [(0, 5000), (1, 50), (1, -1), (2, 40)])
def test_time_that_runs_back_and_events_off_the_sensor_are_impossible(column, value):
    assert impossible(ROWS, (50, 40)) == ""
    rows = ROWS.copy()
    rows[200, column] = value
    assert impossible(rows, (50, 40))


@pytest.mark.parametrize("kind", KINDS)
def test_undamaged_bytes_are_in_the_mutated_file_in_their_order(kind):
    data = np.random.default_rng(3).bytes(3000)
    for number in range(list(KINDS).index(kind), 8 * len(KINDS), len(KINDS)):
        mutation = mutate(data, number)
        assert mutation.data == mutate(data, number).data
        edges = np.flatnonzero(np.diff(~mutation.damaged, prepend=False, append=False))
        place = 0
        for start, stop in edges.reshape(-1, 2):
            place = mutation.data.index(data[start:stop], place) + int(stop - start)
        assert (~mutation.damaged).sum() + mutation.foreign <= len(mutation.data)
    assert mutation.data != data


def test_events_are_compared_as_multisets():
    rows = np.array([[1, 2, 3, 0], [1, 2, 3, 0], [5, 2, 3, 1]])
    got = np.array([[1, 2, 3, 0], [6, 2, 3, 1], [7, 2, 3, 1]])
    assert compare(rows, got, np.ones(3, np.bool_)) == (2, 2)
    assert compare(rows, got, np.array([True, False, True])) == (2, 1)
