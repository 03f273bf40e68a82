"""Events of several sources as one, in order of time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import dvskit
from dvskit.errors import EventsError, GeometryError, LeftOutWarning
from dvskit.events import Events, EventsSource
from dvskit.formats import open_sink
from dvskit.streams import Triggers
from tests.laws import random_cuts, refused, refused_command, rows_of, scattered
from tests.ros_bags import assert_same_triggers

SIZE = (64, 48)


def drawn(count, *, seed, most_us=1000):
    """Draw events whose times often coincide."""
    return scattered(count, SIZE, span_us=most_us, seed=seed)


class Cut(EventsSource):
    """A source in blocks of any length, some of them empty; it counts those that are read."""

    def __init__(self, events, seed):
        super().__init__(events)
        self._seed, self.read = seed, 0

    def __iter__(self):
        cuts = random_cuts(len(self.events), self._seed, len(self.events) // 20)
        for start, stop in pairwise(cuts):
            self.read += 1
            yield self.events[start:stop]


def plainly(sources):
    """Merge as the definition says: sorted by time, then by the number of the source."""
    rows = [
        (t, number, place, x, y, p)
        for number, events in enumerate(sources)
        for place, (t, x, y, p) in enumerate(rows_of(events))
    ]
    return [(t, x, y, p) for t, _, _, x, y, p in sorted(rows)]


@pytest.mark.parametrize("counts", [(300,), (300, 200), (200, 0, 300), (0, 0), (1, 500, 1, 90)])
@pytest.mark.parametrize(("seed", "most_us"), [(0, 5), (1, 1000), (2, 5)])
def test_the_merge_is_that_of_plain_python_however_the_sources_are_cut(counts, seed, most_us):
    parts = [drawn(n, seed=10 * seed + i, most_us=most_us) for i, n in enumerate(counts)]
    merged = dvskit.merge(*(Cut(part, seed + i) for i, part in enumerate(parts)))
    assert rows_of(merged.load()) == plainly(parts)
    assert merged.load() == merged.load()
    assert dvskit.merge(*parts).load() == merged.load()


def test_parts_of_a_stream_merge_into_it_in_any_order():
    whole = drawn(2000, seed=1, most_us=1 << 40)
    parts = [whole.between(a, a + (1 << 38)) for a in range(0, 1 << 40, 1 << 38)]
    assert dvskit.merge(*parts).load() == whole
    assert dvskit.merge(*reversed(parts)).load() == whole
    assert dvskit.merge(whole[::2], whole[1::2]).load() == whole
    with refused(EventsError, "dvskit.merge"):
        Events.concatenate([parts[1], parts[0]])


def test_no_more_than_a_block_of_each_source_is_held():
    sources = [Cut(drawn(4000, seed=i, most_us=100_000), i) for i in range(3)]
    seen = 0
    for block in dvskit.merge(*sources):
        seen += len(block)
        assert sum(each.read for each in sources) * 20 < seen + 3000
    assert seen == 12_000


class Back(EventsSource):
    def __iter__(self):
        yield self.events
        yield self.events


def test_what_cannot_be_merged_is_an_error_that_names_the_fix():
    with refused(GeometryError, "64x48", "8x8", "Fit"):
        dvskit.merge(drawn(5, seed=0), Events.empty((8, 8)))
    with refused(EventsError):
        dvskit.merge()
    with refused(EventsError, "runs back"):
        dvskit.merge(Back(drawn(50, seed=0)), drawn(5, seed=1)).load()


def save(path, events, triggers):
    with open_sink(path, events.sensor_size) as sink:
        sink.write_triggers(triggers)
        sink.write(events)


def test_triggers_are_merged_and_what_cannot_be_kept_is_said(tmp_path):
    parts, edges = [], []
    for number in range(2):
        parts.append(drawn(400, seed=number))
        edges.append(
            Triggers(parts[-1].t[::50].copy(), np.full(8, number, np.int16), np.ones(8, bool))
        )
        save(tmp_path / f"{number}.raw", parts[-1], edges[-1])
    opened = [dvskit.open_events(tmp_path / f"{number}.raw") for number in range(2)]
    dvskit.save_events(dvskit.merge(*opened), tmp_path / "c.raw")
    merged = dvskit.open_events(tmp_path / "c.raw")
    assert merged.load() == dvskit.merge(*parts).load()
    assert_same_triggers(merged.triggers(), Triggers.in_order(edges))
    with pytest.warns(LeftOutWarning, match="16 triggers"):
        dvskit.save_events(dvskit.merge(*opened), tmp_path / "c.npz")
    half = dvskit.filters.Crop(0, 0, 32, 48)(opened[0])
    other = Events.empty((32, 48))
    with pytest.warns(LeftOutWarning, match="8 triggers"):
        dvskit.save_events(dvskit.merge(half, other), tmp_path / "d.raw")


@pytest.mark.slow(seconds=4)
def test_the_parts_of_a_real_recording_merge_into_it(run, data, tmp_path):
    source = data / "recordings" / "evt3_triggers_640x480.raw"
    assert run("convert", source, "whole.raw")[0] == 0
    assert run("convert", source, "a.raw", "--stop", "1s")[0] == 0
    assert run("convert", source, "b.raw", "--start", "1s")[0] == 0
    code, out, err = run("merge", "b.raw", "a.raw", "-o", "c.raw")
    assert (code, out) == (0, "")
    assert "343,474 events" in err
    assert (tmp_path / "c.raw").read_bytes() == (tmp_path / "whole.raw").read_bytes()
    assert run("merge", "a.raw", "b.raw", "c.raw")[0] == 1
    assert run("-q", "merge", "a.raw", "b.raw", "c.raw", "--force") == (0, "", "")


def test_merge_refuses_what_it_cannot_merge_in_one_line(run, tmp_path):
    dvskit.save_events(drawn(50, seed=0), "a.npz")
    dvskit.save_events(Events.empty(SIZE), "none.npz")
    dvskit.save_events(Events.empty((8, 8)), "small.npz")
    assert run("-q", "merge", "a.npz", "none.npz", "b.npz") == (0, "", "")
    assert dvskit.load_events(tmp_path / "b.npz") == drawn(50, seed=0)
    for words, code in (
        ("a.npz", 2),
        ("a.npz b.raw", 2),
        ("a.npz small.npz c.npz", 1),
        ("a.npz missing.npz c.npz", 1),
        ("- - c.npz", 2),
        ("a.npz none.npz c.unknown", 2),
    ):
        got = run("merge", *words.split())
        refused_command(got)
        assert got[0] == code, words
    assert not (tmp_path / "c.npz").exists()
