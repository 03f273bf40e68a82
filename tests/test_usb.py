"""USB event cameras, by a stand-in for the driver: what the driver gives is what arrives."""

from __future__ import annotations

import sys
from dataclasses import fields
from inspect import signature
from typing import Any

import numpy as np
import pytest

import dvskit
from dvskit.errors import ConfigError, FormatError
from dvskit.formats.usb_driver import CAMERAS, UsbAddress
from tests.laws import refused, scattered
from tests.usb_cameras import TRIGGERS, Device, driver, packet, packets, rows_of

SIZE = (346, 260)


EVENTS = scattered(5000, SIZE, span_us=50_000, seed=1)


@pytest.fixture
def plug(monkeypatch):
    """Connects a stand-in camera."""

    def connect(device: Device | str | None, **rest: Any) -> Device | str | None:
        monkeypatch.setitem(sys.modules, "neuromorphic_drivers", driver(device, **rest))
        return device

    return connect


def read(plug, given, **rest):
    """Read a camera with some packets to its end, which is an error of the driver; and close it."""
    device = plug(Device(given, SIZE, fails="unplugged", **rest))
    camera = dvskit.open_events("usb://evk4")
    events = camera.load()
    assert device.closed.is_set()
    camera.damage.tallies.pop(("early end", "of the camera (unplugged); is it plugged in?"))
    return events, camera


@pytest.mark.parametrize("count", [1, 7, 640, 10_000])
def test_the_packets_of_the_driver_arrive_whole_however_they_are_cut(plug, count):
    events = EVENTS[:900] if count == 1 else EVENTS
    idle = [None, packet(None), packet(rows_of(EVENTS[:0]))]
    found, camera = read(plug, [*idle, *packets(events, count), None])
    assert found == events
    assert camera.size == SIZE
    assert camera.damage.tallies == {}


def test_a_block_does_not_share_the_memory_of_the_driver(plug):
    rows = rows_of(EVENTS)
    plug(Device([packet(rows)], SIZE))
    block = next(iter(dvskit.open_events("usb://evk4")))
    rows["t"], rows["x"] = 0, 0
    assert block == EVENTS


@pytest.mark.parametrize("given", [[None], packets(EVENTS)], ids=["dark", "events"])
def test_a_limit_ends_reading_though_no_more_events_come(plug, given):
    device = plug(Device(given, SIZE))
    camera = dvskit.open_events("usb://evk4")
    camera.limit_us = 30_000
    assert len(camera.load()) == (0 if given == [None] else len(EVENTS))
    assert device.closed.is_set()
    assert not camera.damage


def test_events_from_before_the_reading_are_skipped(plug):
    given = packets(EVENTS)
    device = Device(given, SIZE, fails="unplugged", dropped=lambda number: 9)
    device.old = 3
    plug(device)
    camera = dvskit.open_events("usb://evk4")
    assert camera.load() == EVENTS[3000:]
    assert ("USB packet", "lost, as the computer was too slow") not in camera.damage.tallies


def clock_twin(t: list[int]) -> tuple[list[int], list[bool], int]:
    """One event after the other: times that go on, which are late, and the restarts."""
    newest, shift, restarts = None, 0, 0
    times, late = [], []
    for each in t:
        now = each + shift
        if newest is not None and newest - now > 10_000:
            shift += newest - now
            now, restarts = newest, restarts + 1
        late.append(newest is not None and now < newest)
        newest = now if newest is None else max(newest, now)
        times.append(now)
    return times, late, restarts


@pytest.mark.parametrize("count", [1, 3, 100, 3000])
def test_a_clock_that_starts_again_goes_on_and_late_events_are_counted(plug, count):
    rng = np.random.default_rng(4)
    rows = rows_of(scattered(2000, SIZE, span_us=20_000, seed=7))
    t = rows["t"].astype(np.int64) * 5
    t[rng.integers(0, 2000, 60)] -= 400  # late
    t[500:] -= t[500]  # starts again
    t[1400:] -= t[1400] - 3
    rows["t"] = t.clip(0)
    given = [packet(rows[at : at + count]) for at in range(0, 2000, count)]
    times, late, restarts = clock_twin(rows["t"].tolist())
    assert restarts == 2
    assert sum(late) > 20
    events, camera = read(plug, given)
    kept = ~np.array(late)
    assert events.t.tolist() == np.array(times)[kept].tolist()
    assert events.x.tolist() == rows["x"][kept].tolist()
    assert camera.damage.tallies == {
        ("restart", "of the clock; times go on from the last one"): 2,
        ("event", "that came late left out"): sum(late),
    }


def test_events_off_the_sensor_and_lost_packets_are_counted(plug):
    rows = rows_of(EVENTS)
    rows["x"][[5, 4000]], rows["y"][77] = 346, 40_000
    given = [
        packet(rows[:2500], polarity_events_overflow_indices=np.array([3, 9])),
        packet(rows[2500:], polarity_events_overflow_indices=None),
    ]
    events, camera = read(plug, given, dropped=lambda number: (4, 6)[number])
    kept = np.ones(len(EVENTS), bool)
    kept[[5, 77, 4000]] = False
    assert events == EVENTS[kept]
    assert {what: count for (what, _), count in camera.damage.tallies.items()} == {
        "USB packet": 6,
        "gap": 2,
        "event": 3,
    }


def test_triggers_come_along_and_other_data_is_counted(plug):
    triggers = np.array([(150, 2, True), (300, 0, False)], TRIGGERS)
    given = [packet(EVENTS, trigger_events=triggers, imu_events=np.zeros(7), frames=[1, 2])]
    plug(Device(given, SIZE))
    camera = dvskit.open_events("usb://evk4")
    blocks = iter(camera)
    next(blocks)
    found = camera.new_triggers()
    columns = (found.t.tolist(), found.id.tolist(), found.p.tolist())
    assert columns == ([150, 300], [2, 0], [True, False])
    assert len(camera.new_triggers()) == 0
    camera.close()
    assert list(blocks) == []
    assert camera.assumptions == ["left out: 7 IMU samples and 2 frames"]
    with refused(FormatError, "evk4", "closed"):
        camera.load()


def test_biases_are_set(plug):
    device = plug(Device([], SIZE))
    dvskit.open_events("usb://evk4:00050423?diff_on=-20&nrst=true").close()
    assert (device.configuration.biases.diff_on, device.configuration.biases.nrst) == (-20, True)
    assert device.closed.is_set()


@pytest.mark.parametrize(
    ("path", "error", "named"),
    [
        ("usb://evk5", ConfigError, "'evk4'"),
        ("usb://evk4/7", ConfigError, "usb://CAMERA"),
        ("usb://evk4?dif_on=3", ConfigError, "'diff_on'"),
        ("usb://evk4?diff_on=high", ConfigError, "diff_on=high"),
        ("usb://evk4?diff_on=300", ConfigError, "-80 to 140"),
        ("usb://evk4:77", FormatError, "evk4:00050423"),
        ("usb://dvxplorer", FormatError, "evk4:00050423"),
    ],
)
def test_a_wrong_address_is_one_line(plug, path, error, named):
    device = plug(Device([], SIZE))
    with refused(error, named):
        dvskit.open_events(path)
    assert device.closed.is_set() == ("300" in path)


def test_a_size_and_a_format_do_not_apply(plug):
    plug(Device([], SIZE))
    with refused(ConfigError, "evk4", "size"):
        dvskit.open_events("usb://evk4", size=(9, 9))
    with refused(FormatError, "csv"):
        dvskit.open_events("usb://evk4", format="csv")


def test_a_camera_that_cannot_be_opened_is_one_line(plug, monkeypatch):
    plug("the device is already used by another program")
    with refused(FormatError, "already used by another program"):
        dvskit.open_events("usb://evk4")
    plug(Device([], SIZE), serial=None, problem="Access denied (insufficient permissions)")
    with refused(FormatError, "Access denied", "neuromorphic-drivers-install-udev-rules"):
        dvskit.open_events("usb://evk4")
    plug(None)
    with refused(FormatError, "evk4"):
        dvskit.open_events("usb://evk4")
    monkeypatch.setitem(sys.modules, "neuromorphic_drivers", None)
    with refused(ConfigError, "pip install neuromorphic-drivers"):
        dvskit.open_events("usb://evk4")


def test_an_address_is_read_back():
    address = UsbAddress("evk4", "A:1", {"diff_on": "-20", "pr": "a&b"})
    assert UsbAddress.parse(address.path()) == address
    assert str(address.path()) == "usb://evk4:A:1?diff_on=-20&pr=a%26b"


def test_the_driver_has_what_is_used():
    nd = pytest.importorskip("neuromorphic_drivers")
    from neuromorphic_drivers.device import Device as Real

    assert set(CAMERAS.values()) <= {each.name.lower() for each in nd.Name}
    for module in map(nd.__dict__.get, CAMERAS.values()):
        assert fields(module.Configuration)[0].name == "biases"
        assert fields(module.Biases)
        assert module.Properties().width > 0
    for name in ("properties", "backlog", "clear_backlog", "biases_bounds", "close", "__next__"):
        assert hasattr(Real, name)
    names = [each.name for each in fields(nd.ListedDevice)]
    assert names == ["name", "connection", "address", "serial", "error"]
    assert signature(nd.list_devices).parameters == {}
