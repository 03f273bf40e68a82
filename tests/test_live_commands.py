"""Every command on live events, by stand-ins for a USB camera and for ROS 2."""

from __future__ import annotations

import json
import sys

import pytest

import dvskit
from dvskit import _interrupt
from dvskit.cli import MODULES
from dvskit.evaluation import classify
from dvskit.formats.ros.live import RosTopic
from dvskit.models import save_model
from tests.ros_topics import PACKET, Ros
from tests.test_live import EVENTS, MODEL
from tests.usb_cameras import Device, driver, packets

# Of each command: its words, {} for the address; and the file that it writes, if any.
READING = {
    "info": ("info {} --json", None),
    "convert": ("convert {} o.raw", "o.raw"),
    "merge": ("merge {} beside.npz -o o.npz", "o.npz"),
    "cloud": ("cloud {} -o o.html", "o.html"),
    "render": ("render {} -o o.gif", "o.gif"),
    "corners": ("corners {} -o o.csv", "o.csv"),
    "flow": ("flow {} -o o.npz", "o.npz"),
    "motion": ("motion {} -o o.csv", "o.csv"),
    "track": ("track {} -o o.csv", "o.csv"),
    "reconstruct": ("reconstruct {} -o o.npz --model filter", "o.npz"),
    "classify": ("classify {} --model m --json", None),
    "classify --live": ("classify {} --model m --json --live", None),
    "plot": ("plot rate {} -o o.png", "o.png"),
    "ros": ("ros play {} /again --rate 100", None),
}
# They read files, labeled folders or webcams, or nothing at all; view has tests of its own.
OTHERS = {
    "calibrate", "cameras", "demo", "doctor", "emulate", "eval", "filters", "sample", "teach",
    "train", "view",
}  # fmt: skip


@pytest.fixture
def ros(monkeypatch):
    return Ros(monkeypatch)


@pytest.fixture(params=["usb://evk4", "ros://camera/events"])
def address(request, monkeypatch, tmp_path, ros):
    """A camera that is unplugged, or a topic that is closed, after the events."""
    monkeypatch.setattr(_interrupt, "_state", _interrupt._State())
    if request.param.startswith("usb"):
        device = Device(packets(EVENTS, 50), EVENTS.sensor_size, fails="unplugged")
        monkeypatch.setitem(sys.modules, "neuromorphic_drivers", driver(device))
    else:
        from mcap.reader import make_reader

        dvskit.save_events(EVENTS, tmp_path / "bag.mcap")
        with (tmp_path / "bag.mcap").open("rb") as file:
            said = [message.data for _, _, message in make_reader(file).iter_messages()]
        ros.say("/camera/events", PACKET, said)
        topics: list[RosTopic] = []
        begin = RosTopic._prepare
        monkeypatch.setattr(
            RosTopic, "_prepare", lambda topic, *given: (topics.append(topic), begin(topic, *given))
        )
        ros.at_end = lambda: topics[-1].close()
    return request.param


def test_every_command_is_in_one_of_the_lists():
    assert {words.split()[0] for words in READING} | OTHERS == set(MODULES)


@pytest.mark.parametrize("name", READING)
def test_every_command_reads_live_events(run, address, ros, tmp_path, name):
    dvskit.save_events(EVENTS, tmp_path / "beside.npz")
    save_model(tmp_path / "m", MODEL)
    words, out = READING[name]
    code, said, err = run(*words.format(address).split())
    assert code == 0, err
    assert "Traceback" not in err
    assert ":/" not in err.replace("://", ""), "an address keeps both slashes"
    if out is not None:
        assert (tmp_path / out).stat().st_size > 0
    if name == "convert":
        assert dvskit.load_events(tmp_path / out) == EVENTS
    if name == "merge":
        assert len(dvskit.load_events(tmp_path / out)) == 2 * len(EVENTS)
    if name == "info":
        assert json.loads(said)["events"] == len(EVENTS)
    if name == "classify":
        assert json.loads(said)["probabilities"] == pytest.approx(classify(MODEL, EVENTS))
    if name == "ros":
        assert len(ros.sent) > 0
