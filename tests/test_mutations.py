"""Mutated files of every kind are read safely, and the judge of this sees what it is meant to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dvskit.formats import list_formats
from tests.conftest import find_data, skip_or_fail
from tests.mutation_judge import Reader
from tests.mutation_kinds import KINDS
from tests.mutation_parsers import CALIB, PARSERS, Parser, text_file
from tests.mutation_samples import SAMPLES, Sample

# The share of undamaged events that salvage keeps at least. Where bytes are missing, some formats
# do not find the next unit, and lose all after it.
KEEPS = {
    "aedat4": 0.95, "csv": 0.93, "es": 0.85, "aedat2": 0.6, "dat": 0.6, "evt2": 0.6, "evt21": 0.6,
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


def judge_parser(reader: Reader, parser, numbers: Iterable[int]) -> None:
    assert [fault for number in numbers for fault in reader.judge(parser, number).faults] == []


@pytest.mark.slow
def test_words_out_of_step_give_no_false_triggers(reader):
    triggers = next(sample for sample in SAMPLES if sample.name == "dat-triggers")
    judge_parser(reader, triggers, (1064, 1070, 1174, 1268))


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
    readable = {row.name for row in list_formats() if "r" in row.can} - {"udp", "rosbag2"}
    assert readable <= {sample.format for sample in SAMPLES}


# --- what the judge must see ----------------------------------------------------------------------


def misbehave(path: Path, how: str):
    """Read a text; of a damaged one do what no reader may do."""
    if path.read_text() != CALIB:
        if how == "crash":
            os.abort()
        if how == "memory":
            np.ones(100 << 20)
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
