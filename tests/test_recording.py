"""What all recordings share: blocks by count and duration, storage, parts, indexes, streams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit import Events, Frame, Imu, Labels, Triggers
from dvskit.errors import DamagedFileError, UnknownFormatError
from dvskit.events import Size
from dvskit.formats import InputStream, index_cache
from dvskit.formats.file_bytes import FileMap
from dvskit.formats.index_cache import NEVER, Index, find_index
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.storage import ReusedStorage, WholeStorage
from dvskit.formats.validate import Columns, Validator, block_of
from tests.arriving import Pieces, arrive, cut
from tests.laws import refused, scattered

COUNT = 5000


def make(count: int = COUNT) -> Events:
    events = scattered(count, (60, 40), span_us=20 * COUNT, seed=5)
    return Events(t=events.t - 1000, x=events.x, y=events.y, p=events.p, size=events.sensor_size)


def test_loaded_columns_grow_without_changing_what_they_hold():
    storage = WholeStorage(1)
    events = make(COUNT)
    for start in range(0, COUNT, 7):
        part = events[start : start + 7]
        t, x, y, p = storage.columns(9)
        n = len(part)
        t[:n], x[:n], y[:n], p[:n] = part.t, part.x, part.y, part.p
        storage.keep(Events.from_checked(t[:n], x[:n], y[:n], p[:n], part.sensor_size))
    assert storage.events(events.sensor_size) == events


def test_a_block_that_begins_further_on_in_its_columns_is_moved_to_its_place():
    storage, events = WholeStorage(100), make(60)
    t, x, y, p = storage.columns(60)
    t[:], x[:], y[:], p[:] = events.t, events.x, events.y, events.p
    storage.keep(Events.from_checked(t[10:], x[10:], y[10:], p[10:], events.sensor_size))
    assert storage.events(events.sensor_size) == events[10:]


def test_reused_columns_share_their_memory():
    storage = ReusedStorage()
    assert np.shares_memory(storage.columns(10)[0], storage.columns(8)[0])


def test_a_duration_may_end_beyond_the_last_time_there_is(tmp_path):
    events = Events(
        t=[-5, 2**63 - 2, 2**63 - 1], x=[0, 0, 0], y=[0, 0, 0], p=[0, 1, 1], size=(1, 1)
    )
    dvskit.save_events(events, tmp_path / "a.npz")
    blocks = list(dvskit.open_events(tmp_path / "a.npz").blocks(duration_us=1000))
    assert [len(block) for block in blocks] == [1, 2]


def test_a_part_of_a_real_recording_holds_its_triggers(data):
    recording = dvskit.open_events(data / "recordings" / "evt3_triggers_640x480.raw")
    part = recording.between(8_000_000, 8_500_000)
    assert part.load() == recording.load().between(8_000_000, 8_500_000)
    triggers = recording.triggers()
    inside = (triggers.t >= 8_000_000) & (triggers.t < 8_500_000)
    assert len(part.triggers()) == np.count_nonzero(inside) > 100
    assert len(part.imu()) == len(part.labels()) == len(list(part.frames())) == 0


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
    rows = ((NEVER, 0, 0, 1), (10, 100, 2, 3), (10, 200, 4, 5), (25, 300, 6, 7))
    return index_cache.index_of(rows)


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


@pytest.mark.parametrize("step", [1, 3, 100])
def test_looking_ahead_in_a_stream_takes_nothing_from_it(step):
    data = bytes(range(50))
    stream = InputStream(Pieces(cut(data, step)), "a pipe")
    assert stream.peek(7) == data[:7]
    assert stream.peek(3) == data[:3]
    assert stream.peek_more()[:8] == data[:8]
    got = bytearray()
    room = memoryview(bytearray(11))
    while count := stream.readinto(room):
        got += room[:count]
    assert bytes(got) == data
    assert stream.peek(1) == b""


def test_a_stream_of_nothing_known_or_of_a_format_that_needs_a_file_is_refused():
    with refused(UnknownFormatError, "pipe", "npz"):
        arrive(b"PK\x03\x04" + bytes(500), 2)
    with refused(UnknownFormatError, "pipe"):
        arrive(b"hello", 2)


SIZE = Size(20, 10)
X = np.array([1, 2, 30, 4, 40, 50, 7], np.int16)  # numbers 2, 4 and 5 are off the sensor
COLUMNS = Columns(
    np.arange(7) * 10, X, np.full(7, 3, np.int16), np.ones(7, bool),
    offsets=100 + 8 * np.arange(7), widths=np.full(7, 8),
)  # fmt: skip


def test_strict_names_the_first_event_that_is_off_the_sensor() -> None:
    order = Validator(Losses(Path("a.bin"), strict=True), SIZE)
    with refused(DamagedFileError, "byte 116", "(30, 3)", "20x10"):
        list(order.push(block_of(COLUMNS)))


@pytest.mark.parametrize("kept", [1000, 2, 0])
def test_salvage_lists_each_loss_by_its_own_place_and_counts_those_beyond(kept: int) -> None:
    damage = Damage(kept=kept)
    order = Validator(Losses(Path("a.bin"), strict=False, damage=damage), SIZE)
    blocks = [*order.push(block_of(COLUMNS)), *order.rest()]
    assert np.concatenate([block.x for block in blocks]).tolist() == [1, 2, 4, 7]
    assert [loss[:2] for loss in damage.losses] == [(116, 8), (132, 8), (140, 8)][:kept]
    assert [loss[2].split(")")[0][-5:] for loss in damage.losses] == ["30, 3", "40, 3", "50, 3"][
        :kept
    ]
    assert (damage.count, damage.lost_bytes) == (3, 24)


def test_damage_counts_places_and_bytes_and_names_the_first():
    damage = Damage()
    for number in range(167):
        damage.add(number, 0, "a checksum is wrong")
    assert "167 places" in str(damage)
    damage.add(900, 3, "a word is unknown")
    assert all(word in str(damage) for word in ("3 bytes", "168 places", "byte 0"))


def resident_kb() -> int:
    with Path("/proc/self/status").open() as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssFile"))


def test_forgotten_parts_of_a_file_take_no_memory_and_are_read_again(tmp_path):
    try:
        before = resident_kb()
    except (OSError, StopIteration):
        pytest.skip("the system does not tell how much of files is in memory")
    content = np.random.default_rng(1).integers(0, 256, 24 << 20, np.uint8)
    (tmp_path / "a").write_bytes(content.tobytes())
    file = FileMap(tmp_path / "a")
    peak = 0
    for stop in range(1 << 20, len(content) + 1, 1 << 20):
        assert np.array_equal(file.data[stop - (1 << 20) : stop], content[stop - (1 << 20) : stop])
        file.forget(stop)
        peak = max(peak, resident_kb())
    assert peak - before < 12 << 10
    file.forget(1 << 40)
    assert np.array_equal(file.data, content)
