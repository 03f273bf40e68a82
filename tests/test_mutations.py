"""Mutated files of every kind are read safely, and the judge of this sees what it is meant to."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit import Events
from dvskit.errors import FormatError
from dvskit.formats import Format, formats
from dvskit.formats.losses import Damage
from dvskit.formats.recording import ReadOptions, Recording
from tests.conftest import find_data, skip_or_fail
from tests.mutation_judge import ParserBench, Reader, compare
from tests.mutation_kinds import KINDS, mutate
from tests.mutation_parsers import CALIB, PARSERS
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
    readable = {row.name for row in formats() if "r" in row.can} - {"toy", "udp", "rosbag2"}
    assert readable <= {sample.format for sample in SAMPLES}


# --- a format that does all that none may do ------------------------------------------------------

_HEAD, _ROW = 8, 8
_ROWS = 400
_TYPE = [("t", "<u4"), ("x", "<u2"), ("y", "<u2")]


def toy_bytes(how: str) -> bytes:
    """A file of the toy format: how it misbehaves where it is damaged, then rows of t, x, y."""
    if "toy" not in [row.name for row in formats()]:
        dvskit.register_format(Format("toy", (".toy",), __name__, None, "r", "for tests"))
    rows = np.zeros(_ROWS, _TYPE)
    rows["t"], rows["x"], rows["y"] = 10 * np.arange(_ROWS), np.arange(_ROWS) % 50, 7
    return how.encode().ljust(_HEAD) + rows.tobytes()


class ToyRecording(Recording):
    format = "toy"
    __module__ = "dvskit.formats.toy"  # as one of dvskit's own: its errors stay as they are

    def _blocks(self, damage: Damage, *_: object) -> Iterator[Events]:
        data = self.path.read_bytes()
        how = data[:_HEAD].decode("latin-1").strip()
        whole = max(0, len(data) - _HEAD) // _ROW * _ROW
        rows = np.frombuffer(data[_HEAD : _HEAD + whole], _TYPE)
        sound = np.frombuffer(toy_bytes(how)[_HEAD:], _TYPE)[: len(rows)]
        changed = (rows != sound).any()
        t, x, y = (rows[rows == sound][name].astype(np.int64) for name in "txy")
        if changed:
            t, x, y = self._misbehave(how, t, x, y, damage)
        p = np.ones(len(t), np.bool_)
        yield Events.from_checked(t, x.astype(np.int16), y.astype(np.int16), p, self.size)

    def _misbehave(self, how, t, x, y, damage):
        if how == "crash":
            os.abort()
        if how == "hang":
            time.sleep(60)
        if how == "foreign":
            raise KeyError("x")
        if how == "memory":
            np.ones(50 << 20)
        if how == "back":
            t = t[::-1]
        if how == "off":
            x = x + 1000
        if how == "disagree" and self.strict:
            raise FormatError("is damaged")
        if how == "missing":
            t, x, y = t[:50], x[:50], y[:50]
        if how == "told":
            damage.add(0, 0, "all is shifted")
            if self.strict:
                raise FormatError("all is shifted")
        if how in ("false", "told"):
            t = t + 1
        return t, x, y


def open_recording(path: Path, options: ReadOptions) -> ToyRecording:
    return ToyRecording(path, options, dvskit.Size(50, 50), "format")


def toy(how: str) -> Sample:
    return Sample(f"toy-{how}", "toy", partial(toy_bytes, how))


def flip() -> int:
    """The first mutation that flips a bit in the middle of a toy file."""
    data = toy_bytes("sound")
    for number in range(list(KINDS).index("flip_one"), 10_000, len(KINDS)):
        ((start, _),) = mutate(data, number).ranges()
        if 800 < start < len(data) - 800:
            return number
    raise ValueError("no such mutation")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "fault", "symptom"),
    [
        ("crash", "crash", "exit code"),
        ("foreign", "foreign", "KeyError"),
        ("memory", "memory", r"\d+ MB"),
        ("back", "garbage", "time"),
        ("off", "garbage", "off the sensor"),
        ("missing", "garbage", r"3\d\d undamaged events"),
        ("false", "garbage", r"\d+ false events"),
        ("told", "false", r"\d+ false events"),
        ("disagree", "disagree", "strict"),
    ],
)
def test_the_judge_sees_what_is_wrong(reader, how, fault, symptom):
    faults = reader.judge(toy(how), flip()).faults
    assert any(kind == fault and re.search(symptom, text) for kind, text in faults), faults


@pytest.mark.slow
def test_the_judge_sees_that_a_reader_hangs():
    with Reader(limit_s=0.5) as reader:
        reader.judge(toy("sound"), 0)
        verdict = reader.judge(toy("hang"), flip())
    assert [kind for kind, _ in verdict.faults] == ["hang"]


@pytest.mark.slow
def test_the_judge_has_nothing_against_a_sound_reader(reader):
    verdict = reader.judge(toy("sound"), flip())
    assert verdict.faults == []
    assert _ROWS - 60 < verdict.undamaged == verdict.kept < _ROWS


def test_the_judge_sees_foreign_errors_and_silent_changes_of_other_inputs(tmp_path):
    def fail(path):
        if path.read_text() != CALIB:
            raise KeyError("x")
        return CALIB, ""

    made = next(parser for parser in PARSERS if parser.name == "calib.txt")
    ((kind, text),) = ParserBench(made._replace(read=fail), tmp_path).judge(1).faults
    assert kind == "foreign"
    assert "KeyError" in text
    silent = made._replace(read=lambda path: (path.read_bytes(), ""), checked=True)
    assert ParserBench(silent, tmp_path).judge(1).faults[0][0] == "silent"


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
