"""ROS 1 bags, ROS 2 databases and MCAP: what is written, and what others read of it."""

from __future__ import annotations

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

import dvskit
from dvskit.errors import EventsError
from dvskit.formats import open_sink
from dvskit.streams import Triggers
from tests import ros_bags as bags
from tests.laws import refused
from tests.ros_bags import CONTAINERS, assert_same_triggers, some_events

EPOCH_US = 1_700_000_000_000_000


def some_triggers(count, *, seed, start_us=0):
    dice = np.random.default_rng(seed)
    return Triggers(
        start_us + 20_000 * np.arange(count),  # one every 4 s is at the border of two packets
        dice.integers(0, 4, count).astype(np.int16),
        dice.integers(0, 2, count).astype(bool),
    )


def save(path, events, triggers=None, *, chunk=10**6):
    with open_sink(path, events.sensor_size) as sink:
        if triggers is not None:
            sink.write_triggers(triggers)
        for block in events.blocks(count=chunk):
            sink.write(block)
    return sink


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(("start_us", "encoding"), [(1000, "evt3"), (EPOCH_US, "libcaer")])
def test_what_is_written_is_read_again(tmp_path, container, start_us, encoding):
    events = some_events(10_000, seed=1, start_us=start_us, size=(640, 480))
    triggers = some_triggers(300, seed=2, start_us=start_us + 5)
    path = tmp_path / f"a.{container}"
    sink = save(path, events, triggers, chunk=999)
    for strict in (True, False):
        recording = dvskit.open_events(path, strict=strict)
        assert recording.format == container
        assert recording.header()["encoding"] == encoding
        assert recording.load() == events
        assert_same_triggers(recording.triggers(), triggers)
        assert not recording.damage
        assert recording.other_streams() == {}
    assert bool(sink.notes) == (encoding == "libcaer")
    path = tmp_path / f"triggers.{container}"
    save(path, dvskit.Events.empty((30, 20)), triggers)
    recording = dvskit.open_events(path, size=(30, 20))
    assert len(recording.load()) == 0
    assert_same_triggers(recording.triggers(), triggers)
    path = tmp_path / f"none.{container}"
    save(path, dvskit.Events.empty((30, 20)))
    recording = dvskit.open_events(path)
    assert (recording.size, len(recording.load())) == ((30, 20), 0)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("start_us", [0, EPOCH_US])
def test_rosbags_and_plain_python_read_the_same_events(tmp_path, container, start_us):
    events = some_events(5000, seed=3, start_us=start_us, size=(200, 100))
    triggers = some_triggers(50, seed=4, start_us=start_us)
    path = tmp_path / f"a.{container}"
    save(path, events, triggers)
    payload, rows, edges = b"", [], []
    with AnyReader([path]) as reader:
        for link, log_ns, data in reader.messages():
            message = reader.deserialize(data, link.msgtype)
            assert (message.width, message.height) == (200, 100)
            stamp = message.header.stamp
            assert stamp.sec * 10**9 + stamp.nanosec == log_ns
            words = message.events.tobytes()
            if message.encoding == "evt3":
                payload += words
            elif message.encoding == "trigger":
                for word in np.frombuffer(words, "<u8").tolist():
                    t = (message.time_base + (word & 0xFFFFFFFF)) // 1000
                    edges.append((t, word >> 48 & 0x7FFF, word >> 63))
            else:
                rows += bags.decode_packet(words, message.encoding, message.time_base)
    if start_us:
        assert rows == bags.lists(events)
        columns = (triggers.t, triggers.id, triggers.p.astype(int))
        assert edges == list(zip(*(column.tolist() for column in columns), strict=True))
    else:  # joined, the packets are a RAW file without its head
        raw = tmp_path / "a.raw"
        raw.write_bytes(b"% evt 3.0\n% format EVT3;height=100;width=200\n% end\n" + payload)
        recording = dvskit.open_events(raw)
        assert recording.load() == events
        assert_same_triggers(recording.triggers(), triggers)


def test_a_large_sensor_and_a_large_trigger_id_are_written_as_libcaer(tmp_path):
    events = some_events(100, seed=8, size=(4000, 30))
    dvskit.save_events(events, tmp_path / "a.mcap")
    assert dvskit.load_events(tmp_path / "a.mcap") == events
    triggers = Triggers(np.array([5]), np.array([20], np.int16), np.array([True]))
    small = some_events(100, seed=9)
    save(tmp_path / "b.mcap", small, triggers)
    recording = dvskit.open_events(tmp_path / "b.mcap")
    assert recording.load() == small
    assert_same_triggers(recording.triggers(), triggers)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("container", "gap_us"),
    [("bag", 4096), ("mcap", 1 << 24), ("db3", (1 << 32) + 4096)],
)
def test_gaps_keep_their_length(tmp_path, container, gap_us):
    t = np.array([10, 10 + gap_us, 11 + gap_us, 12 + 2 * gap_us])
    one = np.ones(4, np.int16)
    events = dvskit.Events(t=t, x=one, y=one, p=one.astype(bool), size=(4, 4))
    sink = save(tmp_path / f"a.{container}", events)
    assert dvskit.load_events(tmp_path / f"a.{container}") == events
    assert bool(sink.notes) == (gap_us > 1 << 32)


def test_triggers_are_checked(tmp_path):
    events = some_events(10, seed=1)
    for t, numbers in (([5, 4], [0, 0]), ([4, 5], [0, -1])):
        wrong = Triggers(np.array(t), np.array(numbers, np.int16), np.zeros(2, bool))
        with (
            refused(EventsError, "a.bag"),
            open_sink(tmp_path / "a.bag", events.sensor_size) as sink,
        ):
            sink.write_triggers(wrong)
    with open_sink(tmp_path / "a.bag", events.sensor_size) as sink:
        sink.write(events)
        with refused(EventsError, "a.bag"):
            sink.write_triggers(Triggers.empty())
