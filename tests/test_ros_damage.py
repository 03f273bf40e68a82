"""Damaged bags, databases and MCAP files: strict mode says where, salvage keeps the rest."""

from __future__ import annotations

import struct

import numpy as np
import pytest

import dvskit
from dvskit.errors import DamagedFileError, FormatError
from dvskit.formats import open_sink
from dvskit.formats.ros import packing, writing
from tests import ros_bags as bags
from tests.laws import refused
from tests.ros_bags import CONTAINERS, array, packet, rows_of, some_events

EPOCH_US = 1_700_000_000_000_000


@pytest.fixture(params=[(container, start) for container in CONTAINERS for start in (0, EPOCH_US)],
                ids=lambda value: f"{value[0]}-{'libcaer' if value[1] else 'evt3'}")  # fmt: skip
def sample(request, tmp_path, monkeypatch):
    """A file of some hundred packets, and its events."""
    container, start = request.param
    # Small units, so that a small file has many.
    monkeypatch.setattr(packing, "PACKET_EVENTS", 100)
    monkeypatch.setattr(writing, "CHUNK_BYTES", 6000)
    events = some_events(20_000, seed=1, start_us=start, size=(320, 240))
    path = tmp_path / f"a.{container}"
    with open_sink(path, events.sensor_size) as sink:
        sink.write(events)
    return path, events


def shared(got, events):
    """How many events of `got` are among `events`."""
    known = set(bags.lists(events))
    return sum(row in known for row in bags.lists(got))


def assert_sound(events):
    assert (np.diff(events.t) >= 0).all()
    if len(events):
        assert 0 <= events.x.min() <= events.x.max() < events.sensor_size.width
        assert 0 <= events.y.min() <= events.y.max() < events.sensor_size.height


@pytest.mark.slow
def test_a_cut_file_keeps_what_is_ahead_of_the_cut(sample):
    path, events = sample
    data = path.read_bytes()
    for share in (0.3, 0.999)[path.suffix == ".bag" :]:  # a short bag has no index
        path.write_bytes(data[: int(len(data) * share)])
        with refused(DamagedFileError, "at byte"):
            dvskit.open_events(path).load()
        recording = dvskit.open_events(path, strict=False)
        got = recording.load()
        assert recording.damage
        assert_sound(got)
        # What stands ahead of the messages (definitions, an index) takes the place of 2200 events.
        assert shared(got, events) == len(got) > 0.94 * share * len(events) - 2200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("container", "kind"),
    [("bag", "lz4"), ("bag", "bz2"), ("mcap", "lz4"), ("mcap", "zstd"), ("db3", "message")],
)
def test_compressed_recordings_are_read_and_salvaged(tmp_path, container, kind):
    events = some_events(30_000, seed=4, start_us=EPOCH_US)
    said = [array(rows_of(events[at : at + 100]), number=at // 100) for at in range(0, 30_000, 100)]
    written = "" if container == "mcap" else kind
    path = bags.write(tmp_path / f"a.{container}", said, compression=written)
    if container == "mcap":
        bags.cut_chunks(path, kind)
    assert dvskit.load_events(path) == events
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(1000) + data[middle + 1000 :])
    recording = dvskit.open_events(path, strict=False)
    assert 0.5 * len(events) < len(recording.load()) < len(events)
    assert recording.damage


@pytest.mark.parametrize("sample", [("mcap", EPOCH_US)], indirect=True)
def test_a_chunk_with_a_wrong_checksum_gives_no_events(sample):
    path, events = sample
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with refused(DamagedFileError, path, "checksum"):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False)
    got = recording.load()
    assert shared(got, events) == len(got) > 0.5 * len(events)
    assert recording.damage.count == 1


def test_a_message_that_claims_more_events_than_it_has_is_skipped(tmp_path):
    events = some_events(90, seed=5)
    said = [array(rows_of(events[:40])), array(rows_of(events[40:]), number=1)]
    path = bags.write(tmp_path / "a.bag", said)
    data = path.read_bytes()
    count = struct.pack("<III", 48, 64, 50)
    assert data.count(count) == 1
    path.write_bytes(data.replace(count, struct.pack("<III", 48, 64, 4_000_000_000)))
    with refused(DamagedFileError, 4_000_000_000, 50):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False)
    assert recording.load() == events[:40]
    assert "4000000000" in str(recording.damage)


def test_a_packet_at_a_wrong_time_does_not_take_the_others_with_it(tmp_path):
    events = some_events(3000, seed=6, start_us=EPOCH_US)
    said = []
    for number, at in enumerate(range(0, 3000, 100)):
        part = events[at : at + 100]
        base = int(part.t[0]) * 1000
        data = bags.encode_mono(part, base)
        said.append(packet(data, "mono", base * 2 if number == 10 else base, seq=number))
    path = bags.write(tmp_path / "a.mcap", said)
    with refused(DamagedFileError, path):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False)
    assert bags.lists(recording.load()) == bags.lists(events[:1000]) + bags.lists(events[1100:])
    assert recording.damage.count == 100


def test_events_off_the_sensor_are_reported_with_their_place(tmp_path):
    rows = [(1000, 1, 1, 1), (2000, 64, 1, 1), (3000, 1, 48, 0), (4000, 2, 2, 0)]
    path = bags.write(tmp_path / "a.bag", [array(rows)])
    with pytest.raises(DamagedFileError, match=r"\(64, 1\).* 64x48") as caught:
        dvskit.load_events(path)
    word = struct.pack("<HH", 64, 1)
    assert path.read_bytes()[caught.value.offset :].startswith(word)
    recording = dvskit.open_events(path, strict=False)
    assert recording.load().t.tolist() == [1, 4]
    assert recording.damage.count == 2


def test_a_bag_that_was_not_closed_is_refused_and_messages_of_no_channel_are_damage(tmp_path):
    events = some_events(300, seed=2)
    said = [array(rows_of(events[at : at + 100]), number=at) for at in (0, 100, 200)]
    path = bags.write(tmp_path / "a.bag", said)
    whole = path.read_bytes()
    at = whole.index(b"index_pos=") + 10
    index = int.from_bytes(whole[at : at + 8], "little")
    for bag in (whole[:at] + bytes(8) + whole[at + 8 : index], whole[:index], whole[:50]):
        path.write_bytes(bag)
        for strict in (True, False):
            with refused(FormatError, f"byte {len(bag)}", f"rosbag reindex {path}"):
                dvskit.open_events(path, strict=strict)
    message = whole.index(b"op=\x02")
    link = whole.rindex(b"conn=", 0, message + 60) + 5
    path.write_bytes(whole[:link] + b"\x09" + whole[link + 1 :])
    with refused(DamagedFileError, path, "channel 9"):
        dvskit.load_events(path)
    assert dvskit.load_events(path, strict=False) == events[100:]
