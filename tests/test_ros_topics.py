"""Topics of ROS 2, by a stand-in for rclpy, with messages that rosbags serialises."""

from __future__ import annotations

import signal
import sys

import numpy as np
import pytest

import dvskit
from dvskit import Events, _interrupt
from dvskit.errors import ConfigError, FormatError
from dvskit.formats import ReadOptions
from dvskit.formats.addresses import LiveAddress
from dvskit.formats.keeping_up import Pace
from dvskit.formats.ros.live import RosTopic, topic_of
from dvskit.formats.ros.messages import read_packet
from tests.ros_bags import SIZE, STORES, array, build, packet
from tests.ros_topics import ARRAY, PACKET, Ros

TOPIC = "/camera/events"


def make(count: int = 3000, seed: int = 2) -> Events:
    rng = np.random.default_rng(seed)
    return Events(
        t=50 + np.cumsum(rng.integers(0, 120, count)),
        x=rng.integers(0, SIZE[0], count),
        y=rng.integers(0, SIZE[1], count),
        p=rng.integers(0, 2, count).astype(bool),
        size=SIZE,
    )


EVENTS = make()


def serialised(said) -> bytes:
    types = STORES[False]
    return bytes(types.serialize_cdr(build(types, said, ros1=False), said.type))


@pytest.fixture
def ros(monkeypatch):
    """The stand-in; Ctrl-C comes after the last message."""
    monkeypatch.setattr(_interrupt, "_state", _interrupt._State())
    made = Ros(monkeypatch)
    made.at_end = lambda: signal.raise_signal(signal.SIGINT)
    return made


@pytest.fixture
def packets(tmp_path):
    """The events as messages, read from a bag that dvskit has written: their bytes."""
    from mcap.reader import make_reader

    dvskit.save_events(EVENTS, tmp_path / "bag.mcap")
    with (tmp_path / "bag.mcap").open("rb") as file:
        return [message.data for _, _, message in make_reader(file).iter_messages()]


def listen(ros: Ros) -> RosTopic:
    """Open the topic; the last message closes it."""
    topic = RosTopic(LiveAddress(f"ros:/{TOPIC}"), ReadOptions(), TOPIC, patience_s=5)
    ros.at_end = topic.close
    return topic


def test_messages_arrive_exactly(ros, packets):
    assert len(packets) > 5
    ros.say(TOPIC, PACKET, packets)
    topic = listen(ros)
    assert topic.load() == EVENTS
    assert not topic.damage
    assert (topic.size, ros.open) == (SIZE, 0)
    (quality,) = ros.asked
    assert (quality.history, quality.depth, quality.reliability) == (
        "keep last", 1000, "best effort",
    )  # fmt: skip


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_the_events_do_not_depend_on_how_messages_are_gathered(ros, packets, monkeypatch, at_once):
    monkeypatch.setattr("dvskit.formats.ros.live._AT_ONCE", at_once)
    ros.say(TOPIC, PACKET, packets)
    assert listen(ros).load() == EVENTS


@pytest.mark.parametrize("at_once", [1, 4, 1000])
def test_packets_that_go_on_from_each_other_arrive(ros, tmp_path, monkeypatch, at_once):
    monkeypatch.setattr("dvskit.formats.ros.live._AT_ONCE", at_once)
    late = Events(t=EVENTS.t * 200, x=EVENTS.x, y=EVENTS.y, p=EVENTS.p, size=SIZE)
    assert late.t[-1] > 2 * 2**24  # the clock of EVT 3.0 wraps
    dvskit.save_events(late, tmp_path / "a.raw")
    words = (tmp_path / "a.raw").read_bytes().partition(b"% end\n")[2]
    assert words
    messages = [
        serialised(packet(words[at : at + 1010], "evt3", 0, topic=TOPIC, seq=number))
        for number, at in enumerate(range(0, len(words), 1010))
    ]
    ros.say(TOPIC, PACKET, messages)
    topic = listen(ros)
    assert topic.load() == late
    assert not topic.damage


def test_arrays_of_dvs_msgs_arrive(ros):
    columns = (EVENTS.t.tolist(), EVENTS.x.tolist(), EVENTS.y.tolist(), EVENTS.p.tolist())
    rows = [(t * 1000, x, y, p) for t, x, y, p in zip(*columns, strict=True)]
    messages = [serialised(array(rows[at : at + 500], topic=TOPIC)) for at in range(0, 3000, 500)]
    ros.say(TOPIC, ARRAY, messages)
    assert listen(ros).load() == EVENTS


def test_packets_of_rosbags_in_libcaer_arrive_and_missing_ones_are_counted(ros):
    from dvskit.formats.ros.packing import _pack_libcaer

    said = []
    for number, at in enumerate(range(0, 3000, 300)):
        part = EVENTS[at : at + 300]
        data = _pack_libcaer(part)
        said.append(packet(data, "libcaer", int(part.t[0]) * 1000, topic=TOPIC, seq=number))
    messages = [serialised(each) for each in said]
    del messages[2:4], messages[-2]
    ros.say(TOPIC, PACKET, messages)
    topic = listen(ros)
    kept = np.ones(3000, bool)
    kept[600:1200] = kept[2400:2700] = False
    assert topic.load() == EVENTS[kept]
    assert str(topic.damage) == "3 messages missing or damaged by number"


def test_missing_packets_of_evt3_and_a_damaged_message_are_counted(ros, packets):
    damaged = packets[5][:-3]
    ros.say(TOPIC, PACKET, [*packets[:2], packets[3], damaged, *packets[6:]])
    topic = listen(ros)
    found = topic.load()
    assert 0 < len(found) < len(EVENTS)
    rows = set(zip(*(getattr(EVENTS, name).tolist() for name in "txyp"), strict=True))
    assert set(zip(*(getattr(found, name).tolist() for name in "txyp"), strict=True)) <= rows
    assert topic.damage.tallies["message", "missing or damaged by number"] == 3  # one is damaged
    assert "says to hold" in str(topic.damage)


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


@pytest.mark.parametrize("name", ["out.mcap", "out.raw", "out.npz"])
def test_listen_writes_any_format_until_ctrl_c(run, ros, packets, tmp_path, name):
    ros.say(TOPIC, PACKET, packets)
    code, _, err = run("ros", "listen", TOPIC, name)
    assert code == 0, err
    assert dvskit.load_events(tmp_path / name) == EVENTS
    assert "/camera/events: waits for messages; Ctrl-C ends it" in err
    assert "stopped; the events so far are written" in err
    assert ros.open == 0


def test_listen_reports_missing_messages_and_stops_at_its_time(run, ros, packets):
    ros.say(TOPIC, PACKET, [packets[0], *packets[2:]])
    ros.at_end = None
    code, _, err = run("ros", "listen", TOPIC, "out.npz", "--stop", "2s")
    assert code == 0
    assert "ros://camera/events: 1 message missing or damaged by number" in err


def test_what_is_played_is_heard_as_it_was_at_its_pace(run, ros, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(Pace, "wait", lambda pace, t_us: waited.append(t_us) or 0.0)
    dvskit.save_events(EVENTS, tmp_path / "a.raw")
    code, _, err = run("ros", "play", "a.raw", "camera/events", "--rate", "2")
    assert code == 0, err
    assert f"/camera/events: {len(ros.sent)} messages published" in err
    assert {name for name, _, _ in ros.sent} == {TOPIC}
    messages = [message for _, _, message in ros.sent]
    starts_us = [read_packet(each, ros1=False).base_ns // 1000 for each in messages]
    assert waited == [round(t_us / 2) for t_us in starts_us]
    assert starts_us[0] == EVENTS.t[0]
    ros.say(TOPIC, PACKET, messages)
    assert listen(ros).load() == EVENTS


def test_all_commands_take_a_topic(run, ros, packets):
    ros.say(TOPIC, PACKET, packets)
    code, _, err = run("convert", f"ros:/{TOPIC}", "x.csv", "--crop", "0,0,30,30")
    assert code == 0, err
    assert "on 30x30, csv" in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("listen", "/a b", "o.raw"), 2, "is not ros://TOPIC"),
        (("listen", TOPIC, "o.nothing"), 2, "no format is written as '.nothing'"),
        (("listen", "/scan", "o.raw"), 1, "carries sensor_msgs/msg/LaserScan, which holds no even"),
        (("play", "a.raw", TOPIC, "--rate", "0"), 2, "--rate 0 must be above 0"),
        (("play", "none.raw", TOPIC), 1, "none.raw"),
    ],
)
def test_wrong_words_are_one_line(run, ros, words, code, message):
    ros.types["/scan"] = "sensor_msgs/msg/LaserScan"
    ended, out, err = run("ros", *words)
    err = err.replace("/scan: waits for messages; Ctrl-C ends it\n", "")
    assert (ended, out, err.count("\n")) == (code, "", 1)
    assert message in err


def test_without_rclpy_one_line_names_the_setup_file(run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "rclpy", None)
    dvskit.save_events(EVENTS, tmp_path / "a.raw")
    code, _, err = run("ros", "play", "a.raw", TOPIC)
    assert (code, err.count("\n")) == (2, 1)
    assert "source the setup file of ROS 2 first, such as /opt/ros/jazzy/setup.bash" in err
    with pytest.raises(ConfigError, match="rclpy, which cannot be imported"):
        dvskit.open_events(f"ros:/{TOPIC}")


def test_an_unknown_package_and_a_silent_topic_are_errors(ros, monkeypatch):
    ros.types[TOPIC], ros.at_end = PACKET, None
    with pytest.raises(FormatError, match=r"no messages on /camera/events within 0\.01 s"):
        RosTopic(LiveAddress("ros://x"), ReadOptions(), TOPIC, patience_s=0.01)
    monkeypatch.setitem(sys.modules, "event_camera_msgs.msg", None)
    with pytest.raises(FormatError, match="install the package event_camera_msgs"):
        dvskit.open_events(f"ros:/{TOPIC}")
    assert ros.open == 0


def test_a_topic_has_one_name():
    assert topic_of("ros://a/b") == topic_of("/a/b") == topic_of("a/b") == "/a/b"
    with pytest.raises(ConfigError, match="is not ros://TOPIC"):
        topic_of("ros://")
