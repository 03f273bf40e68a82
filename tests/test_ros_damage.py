"""Damaged bags, databases and MCAP files: strict mode says where, salvage keeps the rest."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest

import dvskit
from dvskit.errors import DamagedFileError, DvskitError, FormatError
from dvskit.formats import open_sink
from dvskit.formats.losses import Damage
from dvskit.formats.ros import packing, writing
from dvskit.formats.ros.container import unpacked
from dvskit.formats.ros.decoding import _unfounded
from tests import ros_bags as bags
from tests.ros_bags import CONTAINERS, array, packet, rows_of, some_events

EPOCH_US = 1_700_000_000_000_000


@pytest.fixture(params=[(container, start) for container in CONTAINERS for start in (0, EPOCH_US)],
                ids=lambda value: f"{value[0]}-{'libcaer' if value[1] else 'evt3'}")  # fmt: skip
def sample(request, tmp_path, monkeypatch):
    """A file of some hundred packets, and its events."""
    container, start = request.param
    monkeypatch.setattr(packing, "PACKET_EVENTS", 100)
    monkeypatch.setattr(writing, "CHUNK_BYTES", 6000)
    events = some_events(20_000, seed=1, start_us=start, size=(320, 240))
    path = tmp_path / f"a.{container}"
    with open_sink(path, events.size) as sink:
        sink.write(events)
    return path, events


def shared(got, events):
    """How many events of `got` are among `events`."""
    known = set(bags.lists(events))
    return sum(row in known for row in bags.lists(got))


def assert_sound(events):
    assert (np.diff(events.t) >= 0).all()
    if len(events):
        assert 0 <= events.x.min() <= events.x.max() < events.size.width
        assert 0 <= events.y.min() <= events.y.max() < events.size.height


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.75, 0.999])
def test_a_cut_file_keeps_what_is_ahead_of_the_cut(sample, share):
    path, events = sample
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DamagedFileError, match="at byte"):
        dvskit.open_events(path).load()
    recording = dvskit.open_events(path, strict=False)
    got = recording.load()
    assert recording.damage
    assert_sound(got)
    # What stands ahead of the messages (definitions, an index) takes the place of 2200 events.
    assert shared(got, events) == len(got) > 0.94 * share * len(events) - 2200


def test_a_few_flipped_bits_cost_a_few_chunks_at_most(sample):
    path, events = sample
    dice = random.Random(2)
    data = bytearray(path.read_bytes())
    for _ in range(5):
        data[dice.randrange(len(data) // 4, 3 * len(data) // 4)] ^= 1 << dice.randrange(8)
    path.write_bytes(data)
    recording = dvskit.open_events(path, strict=False)
    got = recording.load()
    assert_sound(got)
    assert shared(got, events) > 0.8 * len(events)


def test_noise_in_the_middle_costs_a_few_chunks_at_most(sample):
    path, events = sample
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1500] = random.Random(3).randbytes(1500)
    path.write_bytes(data)
    recording = dvskit.open_events(path, strict=False)
    got = recording.load()
    assert recording.damage
    assert_sound(got)
    assert shared(got, events) > 0.85 * len(events)
    with pytest.raises(DamagedFileError) as caught:
        dvskit.open_events(path).load()
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_any_damage_ends_in_events_or_our_own_error(sample, seed):
    path, _ = sample
    data = path.read_bytes()[:90_000]
    dice = random.Random(seed)
    for _ in range(12):
        mutated = bytearray(data)
        for _ in range(dice.choice([1, 3, 20])):
            place, length = dice.randrange(len(mutated)), dice.choice([1, 4, 8, 300])
            kind = dice.randrange(4)
            if kind == 0:
                mutated[place : place + length] = dice.randbytes(length)
            elif kind == 1:
                mutated[place : place + length] = b"\xff" * length
            elif kind == 2:
                del mutated[place : place + length]
            else:
                mutated[place:place] = mutated[place // 2 : place // 2 + length]
        path.write_bytes(mutated)
        for strict in (True, False):
            try:
                recording = dvskit.open_events(path, strict=strict)
                assert_sound(recording.load())
                recording.triggers()
                recording.imu()
                list(recording.frames())
                recording.other_streams()
            except DvskitError:
                continue


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
    data = bytearray(path.read_bytes())
    path.write_bytes(data[: len(data) // 2])
    recording = dvskit.open_events(path, strict=False)
    assert len(recording.load()) > 0.2 * len(events)
    assert recording.damage
    data[len(data) // 3] ^= 4
    path.write_bytes(data)
    got = dvskit.open_events(path, strict=False).load()
    assert_sound(got)
    assert len(got) > 0.2 * len(events)


def test_a_chunk_that_says_to_become_huge_is_refused():
    import lz4.frame
    import zstandard

    zeros = bytes(1 << 24)
    for kind, packed in (("lz4", lz4.frame.compress(zeros)), ("zstd", zstandard.compress(zeros))):
        assert unpacked(packed, kind, len(zeros)) == unpacked(packed, kind, -1) == zeros
        with pytest.raises(ValueError, match="more than the 134217728 allowed"):
            unpacked(packed, kind, 1 << 40)
        with pytest.raises(ValueError, match="more than 1000 bytes"):
            unpacked(packed, kind, 1000)


def test_a_chunk_with_a_wrong_checksum_gives_no_events(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "CHUNK_BYTES", 6000)
    events = some_events(5000, seed=7, start_us=EPOCH_US)
    path = tmp_path / "a.mcap"
    dvskit.save_events(events, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match="its checksum is another one"):
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
    with pytest.raises(DamagedFileError, match="4000000000 events where 50 are"):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False)
    assert recording.load() == events[:40]
    assert "4000000000 events" in str(recording.damage)


@pytest.mark.slow
def test_a_packet_at_a_wrong_time_does_not_take_the_others_with_it(tmp_path):
    events = some_events(3000, seed=6, start_us=EPOCH_US)
    said = []
    for number, at in enumerate(range(0, 3000, 100)):
        part = events[at : at + 100]
        base = int(part.t[0]) * 1000
        said.append(packet(bags.encode_mono(part, base), "mono", base, seq=number))
    said[10] = packet(said[10].fields["events"].tobytes(), "mono", base * 2, seq=10)
    path = bags.write(tmp_path / "a.mcap", said)
    with pytest.raises(DamagedFileError, match="time runs back"):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False)
    assert bags.lists(recording.load()) == bags.lists(events[:1000]) + bags.lists(events[1100:])
    assert recording.damage.count == 100


def test_events_off_the_sensor_are_told_with_their_place(tmp_path):
    rows = [(1000, 1, 1, 1), (2000, 64, 1, 1), (3000, 1, 48, 0), (4000, 2, 2, 0)]
    path = bags.write(tmp_path / "a.bag", [array(rows)])
    with pytest.raises(DamagedFileError, match=r"event at \(64, 1\) is off the 64x48") as caught:
        dvskit.load_events(path)
    word = struct.pack("<HH", 64, 1)
    assert path.read_bytes()[caught.value.offset :].startswith(word)
    recording = dvskit.open_events(path, strict=False)
    assert recording.load().t.tolist() == [1, 4]
    assert recording.damage.count == 2


def test_words_that_build_on_lost_ones_are_marked():
    words = np.array(
        [0x2001, 0x0005, 0x2002, 0x8001, 0x2003, 0x6001, 0x2004, 0x4001, 0x3001, 0x4001], "<u2"
    )
    marks = _unfounded(words)
    assert words[marks].tolist() == [0x2001, 0x2002, 0x2003, 0x4001]
    assert _unfounded(words[:3]).tolist() == [True, False, True]


def test_a_high_part_of_time_that_is_damaged_costs_few_events(tmp_path):
    events = some_events(6000, seed=5, start_us=1000)
    path = tmp_path / "a.bag"
    dvskit.save_events(events, path)
    content = bytearray(path.read_bytes())
    highs = [
        at
        for part in parts_of(path)
        for at in range(part.place(0), part.place(len(part.data)), 2)
        if content[at + 1] >> 4 == 8
    ]
    content[highs[len(highs) // 3]] ^= 0x20  # 131 ms ahead: a step that could be
    path.write_bytes(content)
    recording = dvskit.open_events(path, strict=False)
    assert len(recording.load()) > 0.9 * len(events)
    assert recording.damage


def parts_of(path):
    recording = dvskit.open_events(path)
    return recording.topics.events.parts(recording.container, recording._losses(Damage()))


def test_a_truncated_real_bag_keeps_its_start(data, tmp_path):
    for name in ("ros1_evt3_640x480.bag", "ros2_libcaer_rollover_640x480.db3"):
        whole = dvskit.load_events(data / "recordings" / name)
        content = (data / "recordings" / name).read_bytes()
        path = tmp_path / name
        path.write_bytes(content[: len(content) * 2 // 3])
        recording = dvskit.open_events(path, strict=False)
        got = recording.load()
        assert len(got) > 0.6 * len(whole)
        assert got == whole[: len(got)]
        assert recording.damage


def test_files_of_another_kind_are_refused(tmp_path):
    for container, magic in (("bag", b"#ROSBAG V1.2\n"), ("mcap", b"\x89MCAP1\r\n"),
                             ("db3", b"SQLite format 2\0")):  # fmt: skip
        path = tmp_path / f"a.{container}"
        path.write_bytes(magic + bytes(200))
        with pytest.raises(FormatError):
            dvskit.open_events(path, format=container)


@pytest.mark.parametrize("strict", [True, False])
def test_an_mcap_file_that_ends_in_its_first_chunk_is_refused_with_the_reason(tmp_path, strict):
    path = tmp_path / "a.mcap"
    dvskit.save_events(some_events(5000, seed=7, start_us=EPOCH_US), path)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(FormatError, match="not closed, or cut; it holds no whole chunk"):
        dvskit.open_events(path, strict=strict)
