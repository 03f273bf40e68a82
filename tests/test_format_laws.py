"""Laws that every format keeps, over the table of formats: how a file is read changes nothing.

Neither blocks and chunks nor threads nor a pipe change what is read; a part by time is that part of
the whole; what is written does not depend on how the events are cut; damage is refused or counted.
"""

from __future__ import annotations

import os
from functools import cache, partial

import numpy as np
import pytest

import dvskit
from dvskit.errors import DvskitError, FormatError
from dvskit.events import Events
from dvskit.events.sources import read_all
from dvskit.formats import list_formats, open_sink
from dvskit.formats.table import TABLE
from tests.arriving import SMALL, TEXT, arrive, small
from tests.damage import assert_only_our_errors, damaged
from tests.laws import refused
from tests.mutation_samples import SAMPLES, stream

pytestmark = pytest.mark.slow

PIPED = [
    sample for sample in SAMPLES if "r" in TABLE[sample.format].piped and sample.stream == "events"
]
WRITTEN = [row for row in list_formats() if "w" in row.can]
INDEXED = ("evt2", "evt21", "evt3", "evt4", "dat", "aedat2-signed", "aedat31", "es")

content_of = cache(lambda sample: sample.make())
every_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)


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


@every_sample
def test_neither_blocks_nor_threads_nor_a_pass_before_change_what_is_read(sample, tmp_path):
    read = []
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
            read.append(whole)
            assert reopen().load() == whole[0]
            whole = whole[0].to_array()
            for how in ({}, {"count": 101}, {"duration_us": 999}):
                blocks = [block.to_array() for block in reopen().blocks(reuse=True, **how)]
                assert np.array_equal(np.concatenate([*blocks, whole[:0]]), whole)
    assert len(read) >= 2
    assert read[0] == read[1]  # salvage of a sound file loses nothing


@pytest.mark.filterwarnings("ignore::dvskit.errors.UnitWarning")  # of parts of microseconds
@every_sample
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


@pytest.mark.parametrize(
    "sample", [each for each in SAMPLES if each.name in INDEXED], ids=lambda sample: sample.name
)
def test_a_late_part_is_read_without_what_is_ahead_of_it(sample, tmp_path, monkeypatch):
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "a"
    path.write_bytes(content_of(sample))
    with small(sample.format, 1):
        recording = dvskit.open_events(path, format=sample.format)
        whole = recording.load()
        start = int(whole.t[len(whole) * 9 // 10])
        assert recording.between(start, None).load() == whole.between(start, None)
        stamp, size = path.stat(), len(content_of(sample))
        with path.open("r+b") as file:
            file.seek(size // 3)
            file.write(b"\xfa" * (size // 4))
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # as if it had not changed
        assert recording.between(start, None).load() == whole.between(start, None)
        with pytest.raises(FormatError):
            recording.load()


@pytest.mark.parametrize("length", [1, 7, 1000])
@pytest.mark.parametrize("sample", PIPED, ids=lambda sample: sample.name)
def test_a_pipe_gives_what_a_file_does_however_it_arrives(sample, length, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(content_of(sample)[: 4000 * min(length, 9)])
    recording = dvskit.open_events(path, format=sample.format, strict=False)
    options = {"row": TABLE[sample.format], "strict": False, "size": recording.size}
    arriving = arrive(path.read_bytes(), length, **options)
    assert what_is_read(arriving) == what_is_read(recording)
    assert arriving.other_streams() == recording.other_streams()
    if arriving.live:  # it is read once
        assert read_all(arriving) == Events.empty(recording.size)
    else:
        with refused(FormatError, "once"):
            read_all(arriving)
    for seed in range(3):
        spoilt = arrive(damaged(path.read_bytes(), seed, 9), 10 * length, **options)
        try:
            events = read_all(spoilt)
        except DvskitError:
            continue
        assert (
            Events(t=events.t, x=events.x, y=events.y, p=events.p, size=events.sensor_size)
            == events
        )


@pytest.mark.parametrize(("count", "cut"), [(700, 1), (700, 7), (70_000, 999), (70_000, 65_536)])
@pytest.mark.parametrize("row", WRITTEN, ids=lambda row: row.name)
def test_what_is_written_is_read_back_and_does_not_depend_on_cuts(row, count, cut, tmp_path):
    events = stream(count, (346, 260))
    dvskit.save_events(events, tmp_path / "whole", format=row.name)
    with open_sink(tmp_path / "cut", events.sensor_size, format=row.name) as sink:
        for start in range(0, len(events), cut):
            sink.write(events[start : start + cut])
    read = dvskit.load_events(tmp_path / "cut", format=row.name, size=events.sensor_size)
    assert read == events
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()


@every_sample
def test_damage_raises_only_our_errors_and_is_never_silent(sample, tmp_path):
    extra = b"0123456789e.,- \n" if SMALL[sample.format] is TEXT else b""
    for seed in range(12):
        assert_only_our_errors(
            tmp_path / "a", content_of(sample), seed, 7, extra, format=sample.format
        )


@pytest.mark.parametrize("name", ["evt2", "evt3", "aedat4-none"])
def test_a_file_that_becomes_shorter_while_it_is_read_is_an_error(name, tmp_path):
    (sample,) = (each for each in SAMPLES if each.name == name)
    path = tmp_path / "a"
    path.write_bytes(content_of(sample))
    with small(sample.format, 1):
        blocks = iter(dvskit.open_events(path, format=sample.format))
        next(blocks)
        os.truncate(path, len(content_of(sample)) // 3)
        with pytest.raises(FormatError):
            list(blocks)
