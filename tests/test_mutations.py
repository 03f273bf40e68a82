"""Hostile input: the judge sees what it is meant to see, and a few mutations of every format."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
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
from tests.mutation_judge import compare, hit
from tests.mutation_kinds import KINDS, Mutation, mutate, mutations
from tests.mutation_places import Places, fixed_rows
from tests.mutation_samples import SAMPLES, Sample
from tests.mutations import Reader, Report

# Formats whose salvage keeps 95 % of what is undamaged.
KEEPS = (
    "aedat4", "csv", "dsec", "es", "hdf5",
)  # fmt: skip
# Salvage does not search for the next unit here: bytes that are missing may cost all after them.
# The sample of AEDAT 3.1 is one packet, and a cut packet is lost.
KEEPS_LESS = (
    "aedat2", "aedat31", "bag", "dat", "db3", "evt2", "evt21", "evt3", "evt4", "mcap", "nmnist",
    "npy",
)  # fmt: skip
# Formats whose salvage makes no false events of words that are out of step.
NO_FALSE = ("dat", "evt2", "evt3", "evt4")
# What is known to be wrong: samples and a fault each. They must fail, or go from here.
KNOWN: dict[str, str] = {}


# --- a format that does all that none may do ------------------------------------------------------

_HEAD, _ROW = 8, 8
_ROWS = 400


def toy_bytes(how: str) -> bytes:
    """A file of the toy format: how it misbehaves where it is damaged, then rows of t, x, y."""
    if "toy" not in [row.name for row in formats()]:
        dvskit.register_format(Format("toy", (".toy",), __name__, None, "r", "for tests"))
    rows = np.zeros(_ROWS, [("t", "<u4"), ("x", "<u2"), ("y", "<u2")])
    rows["t"], rows["x"], rows["y"] = 10 * np.arange(_ROWS), np.arange(_ROWS) % 50, 7
    return how.encode().ljust(_HEAD) + rows.tobytes()


class ToyRecording(Recording):
    format = "toy"
    __module__ = "dvskit.formats.toy"  # as one of dvskit's own: its errors stay as they are

    def _blocks(self, damage: Damage, *_: object) -> Iterator[Events]:
        data = self.path.read_bytes()
        how = data[:_HEAD].decode("latin-1").strip()
        sound = toy_bytes(how)
        rows = np.frombuffer(
            data[_HEAD : len(data) - (len(data) - _HEAD) % _ROW],
            [("t", "<u4"), ("x", "<u2"), ("y", "<u2")],
        )
        if data != sound:
            rows = rows[rows == np.frombuffer(sound[_HEAD:], rows.dtype)[: len(rows)]]
        t, x, y = (rows[name].astype(np.int64) for name in "txy")
        if data != sound:
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
        if how == "false":
            t = t + 1
        if how == "told":
            damage.add(0, 0, "all is shifted")
            if self.strict:
                raise FormatError("all is shifted")
            t = t + 1
        return t, x, y


def open_recording(path: Path, options: ReadOptions) -> ToyRecording:
    return ToyRecording(path, options, dvskit.Size(50, 50), "format")


def toy_places(data: bytes) -> Places:
    return fixed_rows(data, head=_HEAD, width=_ROW)


def toy(how: str) -> Sample:
    return Sample(f"toy-{how}", "toy", partial(toy_bytes, how), toy_places)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader() as reader:
        yield reader


def number_of(kind: str, sample: Sample) -> int:
    """The first mutation of a kind that damages a row in the middle of a sample, not its head."""
    data = sample.make()
    for number in range(list(KINDS).index(kind), 10_000, len(KINDS)):
        ranges = mutate(data, number).ranges()
        if ranges and ranges[0][0] > 800 and ranges[-1][1] < len(data) - 800:
            return number
    raise ValueError(kind)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "fault", "symptom"),
    [
        ("crash", "crash", "exit code"),
        ("foreign", "foreign", "KeyError"),
        ("memory", "memory", r"rose by \d+ MB"),
        ("back", "garbage", "runs back"),
        ("off", "garbage", "off the sensor"),
        ("missing", "garbage", "349 undamaged events are missing, nothing is told"),
        ("false", "garbage", "false events beyond"),
        ("told", "false", "false events beyond"),
        ("disagree", "disagree", "only strict tells damage: is damaged"),
    ],
)
def test_the_judge_sees_what_is_wrong(reader, how, fault, symptom):
    sample = toy(how)
    verdict = reader.judge(sample, number_of("flip_one", sample))
    assert fault in [kind for kind, _ in verdict.faults]
    told = [text for kind, text in verdict.faults if kind == fault]
    assert any(re.search(symptom, text) for text in told), told


@pytest.mark.slow
def test_the_judge_sees_that_a_reader_hangs():
    sample = toy("hang")
    with Reader(limit_s=0.5) as reader:
        reader.judge(toy("sound"), 0)
        verdict = reader.judge(sample, number_of("flip_one", sample))
    assert verdict.faults == [("hang", "more than 0.5 s")]


def test_the_judge_has_nothing_against_a_sound_reader(reader):
    sample = toy("sound")
    verdict = reader.judge(sample, number_of("flip_one", sample))
    assert verdict.faults == []
    assert (verdict.undamaged, verdict.kept) == (_ROWS - 1, _ROWS - 1)


def test_a_sample_that_is_not_read_is_no_mutation(reader):
    sample = replace_where(toy("sound"), width=16)
    with pytest.raises(RuntimeError, match="400 events, places of 200"):
        reader.judge(sample, 0)


def replace_where(sample: Sample, width: int) -> Sample:
    return sample._replace(name="toy-places", where=partial(fixed_rows, head=_HEAD, width=width))


# --- mutations ------------------------------------------------------------------------------------


def test_mutations_are_the_same_on_all_machines():
    data = bytes(range(256)) * 20
    digest = hashlib.sha256(b"".join(each.data for each in mutations(data, 5, 200)))
    assert digest.hexdigest()[:16] == "91a1298b4f4609ff"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_damaged_is_in_the_mutated_file(kind):
    data = np.random.default_rng(3).bytes(3000)
    changed = 0
    for number in range(list(KINDS).index(kind), 40 * len(KINDS), len(KINDS)):
        mutation = mutate(data, number)
        changed += mutation.data != data
        place = 0
        edges = [0, *mutation.shifted.tolist(), len(data)]
        for start, stop in pairwise(edges):
            kept = ~mutation.damaged[start:stop]
            assert kept.any() or stop == start or mutation.damaged[start:stop].all()
            stretch = np.frombuffer(data[start:stop], np.uint8)
            if kept.any():
                first = int(np.argmax(kept))
                last = len(kept) - int(np.argmax(kept[::-1]))
                place = find(mutation.data, stretch[first:last], kept[first:last], place)
                assert place >= 0, (number, start, stop)
        assert (~mutation.damaged).sum() + mutation.foreign == len(mutation.data)
    assert changed > 30


def find(data: bytes, stretch: np.ndarray, kept: np.ndarray, start: int) -> int:
    """Where the kept bytes of a stretch stand in `data` from `start` on; -1 where they do not."""
    there = np.frombuffer(data, np.uint8)
    for place in range(start, len(there) - len(stretch) + 1):
        part = there[place : place + len(stretch)]
        if (part == stretch)[kept].all():
            return place + len(stretch)
    return -1


def mutation_of(damaged: list[int], shifted: list[int], length: int = 40) -> Mutation:
    mask = np.zeros(length, np.bool_)
    mask[damaged] = True
    return Mutation(0, "", b"", mask, np.array(shifted, np.int64), 0)


def test_an_event_is_damaged_by_a_changed_byte_or_a_shift_within_it():
    rows = np.array([[0, 8], [8, 16], [16, 24]])
    assert hit(rows, mutation_of([9], []), bytes_too=True).tolist() == [False, True, False]
    assert hit(rows, mutation_of([9], []), bytes_too=False).tolist() == [False, False, False]
    assert hit(rows, mutation_of([], [16]), bytes_too=True).tolist() == [False] * 3
    assert hit(rows, mutation_of([], [17]), bytes_too=True).tolist() == [False, False, True]


def test_events_are_compared_as_multisets():
    rows = np.array([[1, 2, 3, 0], [1, 2, 3, 0], [5, 2, 3, 1]])
    got = np.array([[1, 2, 3, 0], [6, 2, 3, 1], [7, 2, 3, 1]])
    every = np.ones(3, np.bool_)
    assert compare(rows, got, [every, np.array([True, False, True])], relative=False) == (2, [2, 1])
    assert compare(rows, rows + np.array([9, 0, 0, 0]), [every], relative=True) == (1, [1])


# --- the formats ----------------------------------------------------------------------------------


def test_every_readable_format_has_a_sample():
    # A folder of a ROS 2 recording holds files of the formats db3 and mcap.
    readable = {row.name for row in formats() if "r" in row.can} - {"toy", "udp", "rosbag2"}
    assert readable <= {sample.format for sample in SAMPLES}


@pytest.mark.slow
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_mutated_files_are_read_safely(reader, sample, request):
    if sample.recording is not None and find_data() is None:
        skip_or_fail("no recordings: set DVSKIT_DATA to their folder")
    report = Report(sample.name)
    for number in range(1000, 1000 + 2 * len(KINDS)):
        report.add(reader.judge(sample, number))
    if sample.name in KNOWN:
        assert KNOWN[sample.name] in report.faults
        pytest.xfail(KNOWN[sample.name])
    faults = {kind: found for kind, found in report.faults.items() if kind != "false"}
    assert not faults
    assert report.judged > len(KINDS)
    if sample.format in NO_FALSE:
        assert "false" not in report.faults
    if sample.format in KEEPS:
        assert report.share >= 0.95
    if sample.format in KEEPS_LESS:
        assert report.share >= 0.6
