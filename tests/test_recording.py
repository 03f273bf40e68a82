"""What all recordings share: blocks by count and duration, storage, parts, indexes, streams."""

from __future__ import annotations

import io

import numpy as np
import pytest

import dvskit
from dvskit import Events, Frame, Imu, Labels, Triggers
from dvskit.errors import ConfigError, UnknownFormatError
from dvskit.formats import InputStream, ReadOptions, open_stream
from dvskit.formats.index_cache import NEVER, Index, find_index
from dvskit.formats.recording import Recording
from dvskit.formats.storage import ReusedStorage, Storage, WholeStorage

COUNT = 5000


def make(count: int = COUNT, seed: int = 5) -> Events:
    rng = np.random.default_rng(seed)
    return Events(
        t=np.cumsum(rng.integers(0, 40, count)) - 1000,
        x=rng.integers(0, 60, count),
        y=rng.integers(0, 40, count),
        p=rng.integers(0, 2, count).astype(bool),
        size=(60, 40),
    )


class InStorage(Recording):
    """Decodes into the columns of the storage, as most formats do."""

    format = "made"
    cuts = (0, 700, 701, 2000, 2000, 4999, COUNT)

    def _blocks(self, damage, storage):
        events = make()
        for start, stop in zip(self.cuts[:-1], self.cuts[1:], strict=True):
            part = events[start:stop]
            t, x, y, p = storage.columns(stop - start + 17)
            for column, values in ((t, part.t), (x, part.x), (y, part.y), (p, part.p)):
                column[: len(part)] = values
            n = len(part)
            yield Events.from_checked(t[:n], x[:n], y[:n], p[:n], self.size)


class OwnColumns(InStorage):
    """Has its columns already."""

    def _blocks(self, damage, storage):
        yield from super()._blocks(damage, Storage())


@pytest.fixture(params=[InStorage, OwnColumns])
def recording(request, tmp_path):
    path = tmp_path / "a.made"
    path.write_bytes(b"")  # so small that the columns have to grow
    return request.param(path, ReadOptions(), make().size, "format")


def test_load_gives_what_the_blocks_hold(recording):
    assert recording.load() == make()
    assert recording.load() == Events.concatenate(recording)


def test_loaded_columns_grow_without_changing_what_they_hold():
    storage = WholeStorage(1)
    events = make(COUNT)
    for start in range(0, COUNT, 7):
        part = events[start : start + 7]
        t, x, y, p = storage.columns(9)
        n = len(part)
        t[:n], x[:n], y[:n], p[:n] = part.t, part.x, part.y, part.p
        storage.keep(Events.from_checked(t[:n], x[:n], y[:n], p[:n], part.size))
    assert storage.events(events.size) == events


def test_a_block_that_begins_further_on_in_its_columns_is_moved_to_its_place():
    storage, events = WholeStorage(100), make(60)
    t, x, y, p = storage.columns(60)
    t[:], x[:], y[:], p[:] = events.t, events.x, events.y, events.p
    storage.keep(Events.from_checked(t[10:], x[10:], y[10:], p[10:], events.size))
    assert storage.events(events.size) == events[10:]


def test_reused_blocks_hold_until_the_next_one_and_share_their_memory(recording):
    joined = [
        Events(t=b.t.copy(), x=b.x.copy(), y=b.y.copy(), p=b.p.copy(), size=b.size)
        for b in recording.blocks(reuse=True)
    ]
    assert Events.concatenate(joined) == make()
    storage = ReusedStorage()
    assert np.shares_memory(storage.columns(10)[0], storage.columns(8)[0])


@pytest.mark.slow
@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("count", [1, 7, 699, 700, 701, COUNT, COUNT + 1])
def test_blocks_of_a_count_hold_so_many_events_each(recording, count, reuse):
    kept, lengths = [], []
    for block in recording.blocks(count=count, reuse=reuse):
        lengths.append(len(block))
        kept.append(block.to_array())
    assert set(lengths[:-1]) <= {count}
    assert 1 <= lengths[-1] <= count
    assert np.array_equal(np.concatenate(kept), make().to_array())


@pytest.mark.slow
@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("duration_us", [1, 39, 1000, 10**12])
def test_blocks_of_a_duration_hold_the_spans_that_have_events(recording, duration_us, reuse):
    events = make()
    kept = [block.to_array() for block in recording.blocks(duration_us=duration_us, reuse=reuse)]
    spans = (events.t - events.t[0]) // duration_us
    assert [len(part) for part in kept] == np.unique(spans, return_counts=True)[1].tolist()
    assert np.array_equal(np.concatenate(kept), events.to_array())


def test_a_duration_may_end_beyond_the_last_time_there_is(tmp_path):
    events = Events(
        t=[-5, 2**63 - 2, 2**63 - 1], x=[0, 0, 0], y=[0, 0, 0], p=[0, 1, 1], size=(1, 1)
    )
    dvskit.save_events(events, tmp_path / "a.npz")
    blocks = list(dvskit.open_events(tmp_path / "a.npz").blocks(duration_us=1000))
    assert [len(block) for block in blocks] == [1, 2]


def test_blocks_are_cut_one_way_and_by_something(recording):
    with pytest.raises(ConfigError, match="not by both"):
        recording.blocks(count=1, duration_us=1)
    with pytest.raises(ConfigError, match="count 0 is less than 1"):
        recording.blocks(count=0)
    with pytest.raises(ConfigError, match="duration_us -1"):
        recording.blocks(duration_us=-1)


def test_a_part_is_what_is_between_its_times(recording):
    events = recording.load()
    for start, stop in ((0, 1000), (-2000, 50), (9_000, 40_000), (10**9, 2 * 10**9), (50, 50)):
        part = recording.between(start, stop)
        assert part.size == events.size
        assert part.load() == events.between(start, stop)
        assert part.load() == events.between(start, stop)  # it starts anew


def test_a_part_of_a_real_recording_holds_its_triggers(data):
    recording = dvskit.open_events(data / "recordings" / "evt3_triggers_640x480.raw")
    part = recording.between(8_000_000, 8_500_000)
    assert part.load() == recording.load().between(8_000_000, 8_500_000)
    triggers = recording.triggers()
    inside = (triggers.t >= 8_000_000) & (triggers.t < 8_500_000)
    assert len(part.triggers()) == np.count_nonzero(inside) > 100
    assert len(part.imu()) == len(part.labels()) == len(list(part.frames())) == 0


def test_what_a_recording_does_not_hold_is_empty(recording):
    assert len(recording.triggers()) == len(recording.imu()) == len(recording.labels()) == 0
    assert list(recording.frames()) == []


def test_what_stands_beside_events_is_cut_by_time():
    t = np.array([1, 5, 9])
    three = np.zeros((3, 3), np.float32)
    imu = Imu(t, three, three, np.array([1, 2, 3], np.float32), three)
    assert imu.between(5, None).temperature.tolist() == [2, 3]
    assert len(Imu.in_order([imu.between(5, 9), imu.between(None, 5)])) == 2
    assert Imu.in_order([imu.between(5, 9), imu.between(None, 5)]).t.tolist() == [1, 5]
    triggers = Triggers(t, np.array([0, 1, 2], np.int16), np.array([True, False, True]))
    assert triggers.between(None, 9).id.tolist() == [0, 1]
    assert triggers.between(9, 9).id.tolist() == []
    labels = Labels(np.array([0, 10, 20]), np.array([10, 20, 30]), ("a", "b", "c"))
    assert labels.between(10, 21).name == ("b", "c")
    assert labels.between(None, 10).name == ("a",)
    assert labels.between(5, 6).name == ("a",)
    assert Frame(3, 4, np.zeros((2, 2), np.uint8)).x == 0


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def index_of(calls: list[int]) -> Index:
    calls.append(1)
    return Index(
        np.array([NEVER, 10, 10, 25]), np.array([0, 100, 200, 300]), np.arange(8).reshape(4, 2)
    )


def test_an_index_names_the_latest_checkpoint_with_all_later_events_behind_it():
    index = index_of([])
    assert [index.at(t) for t in (-100, 10, 11, 25, 26, 10**15)] == [0, 0, 2, 2, 3, 3]


def test_an_index_is_built_once_until_the_file_changes(tmp_path, cache):
    path, calls = tmp_path / "a.raw", []
    path.write_bytes(b"abc")
    for _ in range(3):
        index = find_index(path, "made", lambda: index_of(calls))
    assert len(calls) == 1
    assert index.state.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    find_index(path, "made otherwise", lambda: index_of(calls))
    assert len(calls) == 2
    path.write_bytes(b"abcd")
    find_index(path, "made", lambda: index_of(calls))
    assert len(calls) == 3


def test_a_damaged_or_unwritable_cache_is_no_hindrance(tmp_path, cache):
    path, calls = tmp_path / "a.raw", []
    path.write_bytes(b"abc")
    find_index(path, "made", lambda: index_of(calls))
    (kept,) = (cache / "indexes").iterdir()
    whole = kept.read_bytes()
    for content in (b"", b"junk", whole[: len(whole) // 2]):
        kept.write_bytes(content)
        assert len(find_index(path, "made", lambda: index_of(calls))) == 4
    assert len(calls) == 4
    kept.unlink()
    kept.parent.rmdir()
    kept.parent.write_bytes(b"")  # a file where the folder should be
    assert len(find_index(path, "made", lambda: index_of(calls))) == 4


class Trickle:
    """A raw stream that gives a few bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._file, self._step = io.BytesIO(data), step

    def readinto(self, buffer: memoryview) -> int:
        return self._file.readinto(buffer[: self._step])


@pytest.mark.parametrize("step", [1, 3, 100])
def test_looking_ahead_in_a_stream_takes_nothing_from_it(step):
    data = bytes(range(50))
    stream = InputStream(Trickle(data, step), "a pipe")
    assert stream.peek(7) == data[:7]
    assert stream.peek(3) == data[:3]
    assert stream.peek_more()[:8] == data[:8]
    got = bytearray()
    room = memoryview(bytearray(11))
    while count := stream.readinto(room):
        got += room[:count]
    assert bytes(got) == data
    assert stream.peek(1) == b""


def test_a_stream_of_a_format_that_needs_a_file_is_refused():
    stream = InputStream(Trickle(b"PK\x03\x04" + bytes(500), 2), "a pipe")
    with pytest.raises(UnknownFormatError, match="a pipe: npz is not read from a pipe"):
        open_stream(stream, None, ReadOptions())


def test_a_stream_of_nothing_known_is_refused():
    with pytest.raises(UnknownFormatError, match="which matches no format"):
        open_stream(InputStream(Trickle(b"hello", 2), "a pipe"), None, ReadOptions())


def test_a_format_without_variants_takes_none(tmp_path):
    with pytest.raises(UnknownFormatError, match="npz has no variants"):
        dvskit.open_events(tmp_path / "a", format="npz:x")
    assert list(tmp_path.iterdir()) == []
