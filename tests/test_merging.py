"""Events of several sources as one, in order of time."""

from __future__ import annotations

import numpy as np
import pytest

import dvskit
from dvskit.errors import EventsError, GeometryError, LeftOutWarning
from dvskit.events import Events, EventsSource
from dvskit.formats import open_sink
from dvskit.streams import Triggers
from tests.ros_bags import assert_same_triggers

SIZE = (64, 48)


def drawn(count, *, seed, most_us=1000):
    """Draw events whose times often coincide."""
    random = np.random.default_rng(seed)
    return Events(
        t=np.sort(random.integers(0, most_us, count)), x=random.integers(0, 64, count),
        y=random.integers(0, 48, count), p=random.random(count) < 0.5, size=SIZE,
    )  # fmt: skip


class Cut:
    """A source in blocks of any length, some of them empty; it counts those that are read."""

    def __init__(self, events, seed):
        self.size, self._events, self._seed = events.size, events, seed
        self.read = 0

    def __iter__(self):
        random, at = np.random.default_rng(self._seed), 0
        while at < len(self._events):
            stop = at + int(random.integers(0, 40))
            self.read += 1
            yield self._events[at:stop]
            at = stop


def plainly(sources):
    """Merge as the definition says: sorted by time, then by the number of the source."""
    rows = [
        (t, number, place, x, y, p)
        for number, events in enumerate(sources)
        for place, (t, x, y, p) in enumerate(
            zip(*(getattr(events, n).tolist() for n in "txyp"), strict=True)
        )
    ]
    return [(t, x, y, p) for t, _, _, x, y, p in sorted(rows)]


def rows(events):
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


@pytest.mark.parametrize("counts", [(300,), (300, 200), (200, 0, 300), (0, 0), (1, 500, 1, 90)])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("most_us", [5, 1000])
def test_the_merge_is_that_of_plain_python_however_the_sources_are_cut(counts, seed, most_us):
    parts = [drawn(n, seed=10 * seed + i, most_us=most_us) for i, n in enumerate(counts)]
    merged = dvskit.merge(*(Cut(part, seed + i) for i, part in enumerate(parts)))
    assert rows(merged.load()) == plainly(parts)
    assert merged.load() == merged.load()
    assert dvskit.merge(*parts).load() == merged.load()


def test_parts_of_a_stream_merge_into_it_in_any_order():
    whole = drawn(2000, seed=1, most_us=1 << 40)
    parts = [whole.between(a, a + (1 << 38)) for a in range(0, 1 << 40, 1 << 38)]
    assert dvskit.merge(*parts).load() == whole
    assert dvskit.merge(*reversed(parts)).load() == whole
    assert dvskit.merge(whole[::2], whole[1::2]).load() == whole
    with pytest.raises(EventsError, match=r"dvskit\.merge\(\.\.\.\) takes any times"):
        Events.concatenate([parts[1], parts[0]])


def test_no_more_than_a_block_of_each_source_is_held():
    sources = [Cut(drawn(4000, seed=i, most_us=100_000), i) for i in range(3)]
    seen = 0
    for block in dvskit.merge(*sources):
        seen += len(block)
        assert sum(each.read for each in sources) * 20 < seen + 3000
    assert seen == 12_000


def test_what_cannot_be_merged_is_an_error_that_names_the_fix():
    with pytest.raises(GeometryError, match=r"64x48, .* 8x8; scale one first .*--fit 64x48.*--siz"):
        dvskit.merge(drawn(5, seed=0), Events.empty((8, 8)))
    with pytest.raises(EventsError, match="none"):
        dvskit.merge()

    class Back(EventsSource):
        def __iter__(self):
            yield self.events
            yield self.events

    with pytest.raises(EventsError, match=r"time runs back from .* between blocks"):
        dvskit.merge(Back(drawn(50, seed=0)), drawn(5, seed=1)).load()


def save(path, events, triggers):
    with open_sink(path, events.size) as sink:
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
    with pytest.warns(LeftOutWarning, match="16 triggers are left out: npz has none"):
        dvskit.save_events(dvskit.merge(*opened), tmp_path / "c.npz")
    half = dvskit.filters.Crop(0, 0, 32, 48)(opened[0])
    other = Events.empty((32, 48))
    with pytest.warns(LeftOutWarning, match="8 triggers of the recording are left out: a filter"):
        dvskit.save_events(dvskit.merge(half, other), tmp_path / "d.raw")


@pytest.mark.slow(seconds=4)
def test_the_parts_of_a_real_recording_merge_into_it(run, data, tmp_path):
    source = data / "recordings" / "evt3_triggers_640x480.raw"
    assert run("convert", source, "whole.raw")[0] == 0
    assert run("convert", source, "a.raw", "--stop", "1s")[0] == 0
    assert run("convert", source, "b.raw", "--start", "1s")[0] == 0
    code, out, err = run("merge", "b.raw", "a.raw", "-o", "c.raw")
    assert (code, out) == (0, "")
    assert "c.raw: 343,474 events of 2 files on 640x480, evt3" in err
    assert (tmp_path / "c.raw").read_bytes() == (tmp_path / "whole.raw").read_bytes()
    assert run("merge", "a.raw", "b.raw", "c.raw")[0] == 1
    assert run("-q", "merge", "a.raw", "b.raw", "c.raw", "--force") == (0, "", "")


def test_merge_says_what_is_wrong_in_one_line(run, tmp_path):
    dvskit.save_events(drawn(50, seed=0), "a.npz")
    dvskit.save_events(Events.empty(SIZE), "none.npz")
    dvskit.save_events(Events.empty((8, 8)), "small.npz")
    assert run("-q", "merge", "a.npz", "none.npz", "b.npz") == (0, "", "")
    assert dvskit.load_events(tmp_path / "b.npz") == drawn(50, seed=0)
    for words, code in (
        (("a.npz",), 2), (("a.npz", "b.raw"), 2), (("a.npz", "small.npz", "c.npz"), 1),
        (("a.npz", "missing.npz", "c.npz"), 1), (("-", "-", "c.npz"), 2),
        (("a.npz", "none.npz", "c.unknown"), 2),
    ):  # fmt: skip
        got, _, err = run("merge", *words)
        assert (got, err.count("\n")) == (code, 1), words
    assert not (tmp_path / "c.npz").exists()
