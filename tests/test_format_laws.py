"""Laws that every format keeps, over the table of formats: how a file is read changes nothing.

Neither blocks and chunks nor threads nor a pipe change what is read; a part by time is that part of
the whole; what is written does not depend on how the events are cut; damage is refused or counted.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import cache, partial

import numpy as np
import pytest

import dvskit
from dvskit.errors import DvskitError
from dvskit.events import read_all
from dvskit.formats import formats, open_sink
from dvskit.formats.table import TABLE
from tests.arriving import arrive
from tests.damage import assert_only_our_errors, damaged
from tests.mutation_samples import SAMPLES, stream

pytestmark = pytest.mark.slow

PIPED = [
    sample for sample in SAMPLES if "r" in TABLE[sample.format].piped and sample.stream == "events"
]
WRITTEN = [row for row in formats() if "w" in row.can]

# How many bytes, words, events or losses each format takes at a time: few, so that small files are
# cut in many places. Each name is set in every module of the format that has it.
_WORDS = {"CHUNK_WORDS": 700, "_SLICE_UNITS": 100}
_HDF5 = {"BLOCK_EVENTS": 300, "PIECE_BYTES": 900}
_ROS = {"GROUP_EVENTS": 150, "_LANE_EVENTS": 40}
_TEXT = {"CHUNK_BYTES": 900, "_SLICE_BYTES": 64, "BLOCK_EVENTS": 41, "_LOSSES": 1}
SMALL = {
    "aedat2": {"BLOCK_WORDS": 100, "_PART_WORDS": 30},
    "aedat31": {"BLOCK_EVENTS": 37, "_PART_EVENTS": 10},
    "aedat4": {"_WINDOW": 5000, "_MOST_PACKETS": 2, "_SHORT_BYTES": 100},
    "bag": _ROS,
    "csv": _TEXT,
    "dat": _WORDS,
    "db3": _ROS,
    "dsec": _HDF5,
    "es": {"BLOCK_EVENTS": 64, "_LOSSES": 2, "_INDEXED_BYTES": 0},
    "evt2": _WORDS,
    "evt21": _WORDS,
    "evt3": _WORDS,
    "evt4": _WORDS,
    "hdf5": _HDF5,
    "hdf5-gzip": _HDF5,
    "mcap": _ROS,
    "nmnist": {"BLOCK_EVENTS": 41},
    "npy": {"BLOCK_EVENTS": 41},
    "npz": {},
    "rpg": _TEXT,
}


@contextmanager
def small(format: str, threads: int):
    """Files of a format are read in small units, on so many threads."""
    TABLE[format].openers()
    folder = ".".join(TABLE[format].module.partition(":")[0].split(".")[:3])
    modules = [module for name, module in sys.modules.items() if name.startswith(folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVSKIT_THREADS", str(threads))
        for name, value in SMALL[format].items():
            places = [module for module in modules if hasattr(module, name)]
            assert places, name
            for module in places:
                patch.setattr(module, name, value)
        yield


content_of = cache(lambda sample: sample.make())


def opened_in_all_ways(sample, folder):
    """What opens the sample, strictly and not, and what chance damage made of it."""
    (folder / "whole").write_bytes(content_of(sample))
    ways = [(folder / "whole", True), (folder / "whole", False)]
    for seed in range(3):
        ways.append((folder / f"damaged{seed}", False))
        ways[-1][0].write_bytes(damaged(content_of(sample), seed, 5))
    for path, strict in ways:
        yield partial(dvskit.open_events, path, format=sample.format, strict=strict)


def what_is_read(recording):
    """Events, triggers and losses of a recording, or what is wrong with it."""
    try:
        events = read_all(recording)
        triggers = recording.triggers()
    except DvskitError as error:
        return str(error)
    stored = [column.tolist() for column in (triggers.t, triggers.id, triggers.p)]
    return events, stored, sorted(recording.damage.losses), recording.damage.count


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_neither_blocks_nor_threads_nor_a_pass_before_change_what_is_read(sample, tmp_path):
    read = 0
    for reopen in opened_in_all_ways(sample, tmp_path):
        try:
            recording = reopen()
        except DvskitError:
            continue
        whole = what_is_read(recording)
        assert what_is_read(recording) == whole
        for threads in (1, 3):
            with small(sample.format, threads):
                assert what_is_read(reopen()) == whole
        if not isinstance(whole, str):
            read += 1
            assert reopen().load() == whole[0]
    assert read >= 2


@pytest.mark.filterwarnings("ignore::dvskit.errors.UnitWarning")  # of parts of microseconds
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_part_is_that_of_the_whole(sample, tmp_path, monkeypatch):
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for reopen in opened_in_all_ways(sample, tmp_path):
        with small(sample.format, 1):
            try:
                recording = reopen()
                whole = recording.load()
            except DvskitError:
                continue
            first, last = (int(whole.t[0]), int(whole.t[-1])) if len(whole) else (0, 0)
            ends = np.sort(rng.integers(first - 9, last + 9, (8, 2)), axis=1).tolist()
            for start, stop in [(first, last), (last, last + 1), (first - 9, first), *ends]:
                assert recording.between(start, stop).load() == whole.between(start, stop)


@pytest.mark.parametrize("length", [1, 7, 1000])
@pytest.mark.parametrize("sample", PIPED, ids=lambda sample: sample.name)
def test_a_pipe_gives_what_a_file_does_however_it_arrives(sample, length, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(content_of(sample)[: 4000 * min(length, 9)])
    recording = dvskit.open_events(path, format=sample.format, strict=False)
    arriving = arrive(
        path.read_bytes(), length, TABLE[sample.format], strict=False, size=recording.size
    )
    assert what_is_read(arriving) == what_is_read(recording)


@pytest.mark.parametrize(("count", "cut"), [(700, 1), (700, 7), (70_000, 999), (70_000, 65_536)])
@pytest.mark.parametrize("row", WRITTEN, ids=lambda row: row.name)
def test_what_is_written_is_read_back_and_does_not_depend_on_cuts(row, count, cut, tmp_path):
    events = stream(count, (346, 260))
    dvskit.save_events(events, tmp_path / "whole", format=row.name)
    with open_sink(tmp_path / "cut", events.size, format=row.name) as sink:
        for start in range(0, len(events), cut):
            sink.write(events[start : start + cut])
    read = dvskit.load_events(tmp_path / "cut", format=row.name, size=events.size)
    assert read == events
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_damage_raises_only_our_errors_and_is_never_silent(sample, tmp_path):
    extra = b"0123456789e.,- \n" if SMALL[sample.format] is _TEXT else b""
    for seed in range(12):
        assert_only_our_errors(
            tmp_path / "a", content_of(sample), seed, 7, extra, format=sample.format
        )
