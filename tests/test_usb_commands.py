"""Commands on USB event cameras, by a stand-in for the driver."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import dvskit
from dvskit import Events
from dvskit.cli.view import ShownArrivals
from dvskit.errors import LeftOutWarning, OutputError
from dvskit.formats import keeping_up
from dvskit.models import save_model
from tests.laws import forget_interrupts, refused, refused_command
from tests.processes import wait_until
from tests.test_live import EVENTS as MOVING
from tests.test_live import MODEL
from tests.test_usb import EVENTS, SIZE
from tests.usb_cameras import TRIGGERS, Device, Name, driver, packet, packets


@pytest.fixture
def plug(monkeypatch):
    """Connects a stand-in camera; Ctrl-C comes after its last packet."""
    forget_interrupts(monkeypatch)

    def connect(given: Any, size: Any = SIZE, *, camera: dict[str, Any] | None = None, **rest: Any):
        rest = {"at_end": lambda: signal.raise_signal(signal.SIGINT)} | rest
        device = Device(given, size, **rest)
        monkeypatch.setitem(sys.modules, "neuromorphic_drivers", driver(device, **(camera or {})))
        return device

    return connect


def test_cameras_are_listed(run, plug):
    plug([])
    code, out, _ = run("cameras")
    assert code == 0
    for shown in ("evk4:00050423", "Prophesee EVK4", "USB 3.0 SuperSpeed (5.0 Gb/s)"):
        assert shown in out
    plug([], camera={"serial": None, "problem": "Access denied", "name": Name.CENTURYARKS_VGA})
    assert "Access denied" in run("cameras")[1]
    (found,) = json.loads(run("cameras", "--json")[1])
    assert "Access denied" in found["problem"]
    assert (found["name"], found["camera"], found["serial"]) == ("CenturyArks VGA", "", None)


def test_no_camera_no_package_and_no_usb_are_one_line(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "neuromorphic_drivers", driver(None))
    code, out, err = run("cameras")
    assert (code, out, err.count("\n")) == (0, "", 1)
    assert run("cameras", "--json")[1] == "[]\n"
    broken = driver(None)

    def fail():
        raise RuntimeError("Other error")

    broken.list_devices = fail
    monkeypatch.setitem(sys.modules, "neuromorphic_drivers", broken)
    refused_command(run("cameras"), "Other error")
    monkeypatch.setitem(sys.modules, "neuromorphic_drivers", None)
    refused_command(run("cameras"), "pip install neuromorphic-drivers")


@pytest.mark.parametrize("name", ["out.raw", "out.npz", "out.mcap"])
def test_ctrl_c_completes_a_recording_that_holds_all_events(run, plug, tmp_path, name):
    plug(packets(EVENTS, 700))
    code, _, err = run("convert", "--camera", "evk4", name)
    assert code == 0
    assert f"{name}: 5,000 events on 346x260" in err
    assert dvskit.load_events(tmp_path / name) == EVENTS


def test_the_options_of_convert_apply_and_biases_reach_the_camera(run, plug, tmp_path):
    device = plug(packets(EVENTS, 700))
    words = ("--camera", "evk4:00050423", "--bias", "diff_on=9", "--bias", "diff_off=-9")
    assert run("convert", "o.raw", *words, "--crop", "0,0,100,100", "--start", "10ms")[0] == 0
    assert (device.configuration.biases.diff_on, device.configuration.biases.diff_off) == (9, -9)
    late = EVENTS.between(int(EVENTS.t[0]) + 10_000, None)
    cropped = late[(late.x < 100) & (late.y < 100)]
    written = dvskit.load_events(tmp_path / "o.raw")
    assert written.t.tolist() == cropped.t.tolist()
    assert written.sensor_size == (100, 100)


def test_stop_ends_a_recording_at_its_time_also_without_events(run, plug, tmp_path):
    plug(packets(EVENTS, 700))
    assert run("convert", "--camera", "evk4", "o.raw", "--stop", "20ms")[0] == 0
    until_us = int(EVENTS.t[0]) + 20_000
    assert dvskit.load_events(tmp_path / "o.raw") == EVENTS.between(None, until_us)
    device = plug([], at_end=None)
    assert run("convert", "--camera", "evk4", "dark.raw", "--stop", "20ms")[0] == 0
    assert len(dvskit.load_events(tmp_path / "dark.raw")) == 0
    assert device.closed.is_set()


def test_losses_and_triggers_are_reported(run, plug, tmp_path):
    triggers = np.array([(300, 1, True)], TRIGGERS)
    given = [packet(EVENTS[:2500], trigger_events=triggers), packet(EVENTS[2500:], frames=[1])]
    plug(given, dropped=lambda number: 5 * number, fails="No such device")
    code, _, err = run("convert", "--camera", "evk4", "o.raw")
    assert code == 0
    for reported in ("5 USB packets", "No such device", "1 frame"):
        assert reported in err
    recording = dvskit.open_events(tmp_path / "o.raw")
    assert recording.load() == EVENTS
    assert recording.triggers().t.tolist() == [300]
    plug(packets(EVENTS))
    code, _, err = run("convert", "--camera", "evk4", "o.raw")
    assert (code, err.count("\n")) == (1, 1)
    assert dvskit.load_events(tmp_path / "o.raw") == EVENTS


CAMERA = ("--camera", "evk4")
ROS, HDF5, RAW = "bag mcap db3", "hdf5 hdf5-ecf", "evt2 evt21 evt3 evt4"
ALL = f"dat aedat2 es dsec {ROS} {HDF5} {RAW}"
# Formats, a first time, and a gap after half of the events: times in us that they cannot hold.
NOT_HELD = [
    (ALL, 7, 1 << 61), (RAW, 7, 1 << 46), ("dat", 7, 1 << 31), ("es", 7, 1 << 35),
    (HDF5, 7, (1 << 28) * 2000), ("dsec", 7, (1 << 28) * 1000), ("aedat2", 7, 3 << 30),
    ("aedat2", (1 << 31) - 60_000, 1 << 30), (ROS, 7, 1 << 40), (ROS, 1 << 25, (1 << 31) * 10**6),
    (f"{ROS} es", -1, 0), (f"{ROS} es aedat2", (1 << 31) * 10**6, 0), ("aedat2", -1 << 32, 0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "first_us", "gap_us"),
    [(name, *times) for names, *times in NOT_HELD for name in names.split()],
)
def test_a_live_file_ends_whole_before_a_time_that_its_format_cannot_hold(
    run, plug, tmp_path, name, first_us, gap_us
):
    t = EVENTS.t - EVENTS.t[0] + first_us + (gap_us + 1) * (np.arange(5000) >= 2500)
    events = Events(t=t, x=EVENTS.x, y=EVENTS.y, p=EVENTS.p, size=SIZE)
    dvskit.save_events(events, tmp_path / "a.npz")
    (tmp_path / "o").write_bytes(b"old")
    plug(packets(events, 700))
    for source in (("a.npz",), CAMERA):
        code, out, err = run("convert", *source, "o", "--to", name, "--force")
        *notes, error = err.splitlines(keepends=True)
        refused_command((code, out, error), "o: ", "shift")
        if source == CAMERA and gap_us:
            assert [note for note in notes if "o: " in note and "2,500 events" in note] == notes
            assert dvskit.load_events(tmp_path / "o", format=name, size=SIZE) == events[:2500]
        else:
            assert notes == []
            assert (tmp_path / "o").read_bytes() == b"old"


def test_a_full_disk_ends_a_view_and_completes_its_file(plug, tmp_path, monkeypatch):
    left = iter([1 << 30] * 3 + [1 << 20])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=next(left)))
    plug(packets(EVENTS, 700), fails="unplugged")
    with pytest.warns(LeftOutWarning, match="2,100"), refused(OutputError, "o.npz", "space"):
        list(shown := ShownArrivals(dvskit.open_events("usb://evk4"), tmp_path / "o.npz"))
    assert any("o.npz" in each for each in shown.notes())
    assert dvskit.load_events(tmp_path / "o.npz") == EVENTS[:2100]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("convert", *CAMERA), ""),
        (("convert", *CAMERA, "a.raw", "b.raw"), "--camera"),
        (("convert", "--camera", "0", "b.raw"), "dvskit emulate --camera 0"),
        (("convert", *CAMERA, "b.raw", "--bias", "x=1"), "'x'"),
        (("convert", "a.raw", "b.raw", "--bias", "diff_on=1"), "--bias"),
        (("convert", *CAMERA, "b.raw", "--size", "9x9"), "size"),
        (("convert", *CAMERA, "b.npy", "--bins", "3"), "live"),
        (("render", "-o", "o.mp4"), "--camera evk4"),
        (("render", "-o", "o.mp4", "--camera", "calib.txt"), "calib.txt"),
        (("render", "-o", "o.mp4", *CAMERA, "--start", "1s"), "--start"),
        (("emulate", *CAMERA, "o.raw"), "dvskit convert --camera evk4"),
        (("view", "a.raw", "-o", "b.raw"), "--output"),
        (("view", *CAMERA, "-o", "b"), "b: "),
        (("view", *CAMERA, "-o", "b.raw", "--model", "m"), "--model"),
        (("view", *CAMERA, "--objects"), "--objects"),
        (("view", *CAMERA, "a.raw"), "a.raw: "),
        (("view", *CAMERA, "-o", "tcp://127.0.0.1:1"), "tcp://127.0.0.1:1: "),
        (("view", "-", "b.raw"), "-: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_words_are_one_line(run, plug, tmp_path, words, named):
    plug([], at_end=None)
    failed = run(*words)
    assert failed[0] == 2
    refused_command(failed, named)
    assert list(tmp_path.iterdir()) == []


def test_decisions_slower_than_a_camera_drop_events_and_count_them(
    run, plug, tmp_path, monkeypatch
):
    monkeypatch.setattr(keeping_up, "_WAITING_EVENTS", 49)
    plug(packets(MOVING, 50), MOVING.sensor_size, fails="unplugged")
    save_model(tmp_path / "m", MODEL)
    _, out, err = run("classify", "--live", "--camera", "evk4", "--model", "m", "--json")
    dropped = sum(len(MOVING[at : at + 50]) == 50 for at in range(0, len(MOVING), 50)) * 50
    assert f"{dropped:,} events dropped, as the decisions were too slow" in err
    assert sum(json.loads(line)["events"] for line in out.splitlines()) == len(MOVING) - dropped


@pytest.mark.parametrize(("name", "limit"), [("_WAITING_EVENTS", 1250), ("_WAITING_BLOCKS", 12)])
def test_a_slow_page_skips_events_that_the_file_holds(plug, tmp_path, monkeypatch, name, limit):
    monkeypatch.setattr(keeping_up, name, limit)
    plug(packets(EVENTS, 100), fails="unplugged")
    shown = ShownArrivals(dvskit.open_events("usb://evk4"), tmp_path / "o.npz")
    wait_until(lambda: shown.skipped == 3800, 20)
    assert Events.concatenate(shown) == EVENTS[:1200]
    shown.close()
    assert dvskit.load_events(tmp_path / "o.npz") == EVENTS
    assert any("3,800 events" in note for note in shown.notes())
