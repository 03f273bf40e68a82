"""Topics of ROS 2, by a stand-in for rclpy, with messages that rosbags serializes."""

from __future__ import annotations

import signal
import struct
import sys

import numpy as np
import pytest
from mcap.reader import make_reader

import dvskit
from dvskit import Events
from dvskit.errors import ConfigError, FormatError
from dvskit.formats import ReadOptions
from dvskit.formats.addresses import LiveAddress
from dvskit.formats.keeping_up import Pace
from dvskit.formats.ros.live import RosTopic
from dvskit.formats.ros.messages import read_packet
from tests.laws import forget_interrupts, refused, rows_of
from tests.ros_bags import (
    SIZE,
    STORES,
    array,
    build,
    encode_libcaer,
    packet,
    some_events,
)
from tests.ros_bags import (
    rows_of as rows_in_ns,
)
from tests.ros_topics import ARRAY, PACKET, Ros

TOPIC = "/camera/events"


def every(data, count):
    """Return data in pieces of `count`."""
    return [data[at : at + count] for at in range(0, len(data), count)]


EVENTS = some_events(3000, seed=2, start_us=50)


def serialized(said) -> bytes:
    types = STORES[False]
    return bytes(types.serialize_cdr(build(types, said, ros1=False), said.type))


@pytest.fixture
def ros(monkeypatch):
    """The stand-in; Ctrl-C comes after the last message."""
    forget_interrupts(monkeypatch)
    made = Ros(monkeypatch)
    made.at_end = lambda: signal.raise_signal(signal.SIGINT)
    return made


@pytest.fixture
def packets(tmp_path):
    """The events as messages, read from a bag that dvskit has written: their bytes."""
    dvskit.save_events(EVENTS, tmp_path / "bag.mcap")
    with (tmp_path / "bag.mcap").open("rb") as file:
        return [message.data for _, _, message in make_reader(file).iter_messages()]


def listen(ros: Ros) -> RosTopic:
    """Open the topic; the last message closes it."""
    topic = RosTopic(LiveAddress(f"ros:/{TOPIC}"), ReadOptions(), TOPIC, patience_s=5)
    ros.at_end = topic.close
    return topic


# Messages that are decoded together, as a slow receiver gathers them.
AT_ONCE = pytest.mark.parametrize("at_once", [1, 3, 256])


@AT_ONCE
def test_messages_arrive_exactly(ros, packets, monkeypatch, at_once):
    monkeypatch.setattr("dvskit.formats.ros.live._AT_ONCE", at_once)
    assert len(packets) > 5
    ros.say(TOPIC, PACKET, packets)
    topic = listen(ros)
    assert topic.load() == EVENTS
    assert not topic.damage
    assert (topic.size, ros.open) == (SIZE, 0)
    (quality,) = ros.asked
    service = (quality.history, quality.depth, quality.reliability)
    assert service == ("keep last", 1000, "best effort")


@AT_ONCE
def test_packets_that_go_on_from_each_other_arrive(ros, tmp_path, monkeypatch, at_once):
    monkeypatch.setattr("dvskit.formats.ros.live._AT_ONCE", at_once)
    late = Events(t=EVENTS.t * 400, x=EVENTS.x, y=EVENTS.y, p=EVENTS.p, size=SIZE)
    assert late.t[-1] > 2 * 2**24  # the clock of EVT 3.0 wraps
    dvskit.save_events(late, tmp_path / "a.raw")
    words = (tmp_path / "a.raw").read_bytes().partition(b"% end\n")[2]
    messages = [
        serialized(packet(part, "evt3", 0, topic=TOPIC, seq=number))
        for number, part in enumerate(every(words, 1010))
    ]
    ros.say(TOPIC, PACKET, messages)
    topic = listen(ros)
    assert topic.load() == late
    assert not topic.damage


def test_arrays_of_dvs_msgs_arrive(ros):
    messages = [serialized(array(rows_in_ns(part), topic=TOPIC)) for part in every(EVENTS, 500)]
    ros.say(TOPIC, ARRAY, messages)
    assert listen(ros).load() == EVENTS


def test_packets_in_libcaer_arrive_and_missing_ones_are_counted(ros):
    messages = []
    for number, part in enumerate(every(EVENTS, 300)):
        data, base_us = encode_libcaer(part, int(part.t[0])), int(part.t[0])
        said = packet(data, "libcaer", base_us * 1000, topic=TOPIC, seq=number)
        messages.append(serialized(said))
    del messages[2:4], messages[-2]
    ros.say(TOPIC, PACKET, messages)
    topic = listen(ros)
    kept = np.ones(3000, bool)
    kept[600:1200] = kept[2400:2700] = False
    assert topic.load() == EVENTS[kept]
    assert topic.damage.tallies == {("message", "missing or damaged by number"): 3}


def test_missing_packets_of_evt3_and_a_damaged_message_are_counted(ros, packets):
    damaged = packets[5][:-3]
    ros.say(TOPIC, PACKET, [*packets[:2], packets[3], damaged, *packets[6:]])
    topic = listen(ros)
    found = topic.load()
    assert 0 < len(found) < len(EVENTS)
    assert set(rows_of(found)) <= set(rows_of(EVENTS))
    assert topic.damage.tallies["message", "missing or damaged by number"] == 3  # one is damaged


def test_words_that_build_on_lost_ones_are_left_out(ros):
    whole = [0x8000, 0x6001, 0x0003, 0x2804]
    # Behind the loss: no clock, no row, no base; then a full time, and a base.
    rest = [0x2001, 0x0005, 0x2002, 0x8001, 0x2003, 0x6001, 0x2004, 0x4001, 0x3001, 0x4001]
    messages = []
    for number, words in ((0, whole), (2, rest)):
        data = struct.pack(f"<{len(words)}H", *words)
        messages.append(serialized(packet(data, "evt3", 0, topic=TOPIC, seq=number)))
    ros.say(TOPIC, PACKET, messages)
    topic = listen(ros)
    found = [(1, 4, 3, True), (0x1001, 4, 5, False), (0x1001, 1, 5, False)]
    assert rows_of(topic.load()) == found
    assert topic.damage.lost_bytes == 2 * 4


def test_a_publisher_that_starts_again_is_counted_and_time_goes_on(ros, packets):
    ros.say(TOPIC, PACKET, [*packets, *packets])
    topic = listen(ros)
    found = topic.load()
    assert len(found) == 2 * len(EVENTS)
    assert found.t[len(EVENTS)] == EVENTS.t[-1]
    assert topic.damage.tallies == {
        ("restart", "of the publisher's numbers"): 1,
        ("restart", "of the clock; times go on from the last one"): 1,
    }


@pytest.mark.parametrize("name", ["out.mcap", "out.npz"])
def test_listen_writes_any_format_until_ctrl_c(run, ros, packets, tmp_path, name):
    ros.say(TOPIC, PACKET, packets)
    code, _, err = run("ros", "listen", TOPIC, name)
    assert code == 0, err
    assert dvskit.load_events(tmp_path / name) == EVENTS
    assert ros.open == 0


@pytest.mark.slow
def test_listen_reports_missing_messages_and_stops_at_its_time(run, ros, packets):
    ros.say(TOPIC, PACKET, [packets[0], *packets[2:]])
    ros.at_end = None
    code, _, err = run("ros", "listen", TOPIC, "out.npz", "--stop", "1s")
    assert code == 0
    assert "ros://camera/events: 1 message missing" in err


def test_what_is_played_is_heard_as_it_was_at_its_pace(run, ros, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(Pace, "wait", lambda pace, t_us: waited.append(t_us) or 0.0)
    dvskit.save_events(EVENTS, tmp_path / "a.raw")
    code, _, err = run("ros", "play", "a.raw", "camera/events", "--rate", "2")
    assert code == 0, err
    assert f"{TOPIC}: {len(ros.sent)} messages" in err
    assert {name for name, _, _ in ros.sent} == {TOPIC}
    messages = [message for _, _, message in ros.sent]
    starts_us = [read_packet(each, ros1=False).base_ns // 1000 for each in messages]
    assert waited == [round(t_us / 2) for t_us in starts_us]
    assert starts_us[0] == EVENTS.t[0]
    ros.say(TOPIC, PACKET, messages)
    assert listen(ros).load() == EVENTS


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (("listen", "/a b", "o.raw"), 2, "ros://TOPIC"),
        (("listen", TOPIC, "o.nothing"), 2, ".nothing"),
        (("listen", "/scan", "o.raw"), 1, "sensor_msgs/msg/LaserScan"),
        (("play", "a.raw", TOPIC, "--rate", "0"), 2, "--rate 0"),
        (("play", "none.raw", TOPIC), 1, "none.raw"),
    ],
)
def test_wrong_words_are_one_line(run, ros, words, code, named):
    ros.types["/scan"] = "sensor_msgs/msg/LaserScan"
    ended, out, err = run("ros", *words)
    (line,) = [each for each in err.splitlines() if "error" in each]
    assert (ended, out) == (code, "")
    assert named in line


def test_without_rclpy_one_line_names_the_setup_file(run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "rclpy", None)
    dvskit.save_events(EVENTS, tmp_path / "a.raw")
    code, _, err = run("ros", "play", "a.raw", TOPIC)
    assert (code, err.count("\n")) == (2, 1)
    assert "/opt/ros/jazzy/setup.bash" in err
    with refused(ConfigError, "rclpy"):
        dvskit.open_events(f"ros:/{TOPIC}")


def test_an_unknown_package_and_a_silent_topic_are_errors(ros, monkeypatch):
    ros.types[TOPIC], ros.at_end = PACKET, None
    with refused(FormatError, TOPIC, "0.01 s"):
        RosTopic(LiveAddress("ros://x"), ReadOptions(), TOPIC, patience_s=0.01)
    monkeypatch.setitem(sys.modules, "event_camera_msgs.msg", None)
    with refused(FormatError, "event_camera_msgs"):
        dvskit.open_events(f"ros:/{TOPIC}")
    assert ros.open == 0
