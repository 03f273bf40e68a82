"""Commands on USB event cameras, by a stand-in for the driver."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

import dvskit
from dvskit import Events, _interrupt
from dvskit.cli._cameras import CameraOptions
from dvskit.cli._live_view import ShownArrivals
from dvskit.errors import ConfigError, FormatError
from dvskit.evaluation import decide
from dvskit.formats import keeping_up
from dvskit.training import save_model
from tests.test_live import EVENTS as MOVING
from tests.test_live import MODEL
from tests.test_udp import LAYOUTS, datagrams, send
from tests.test_usb import EVENTS, SIZE
from tests.usb_cameras import TRIGGERS, Device, Name, driver, packet, packets


@pytest.fixture
def plug(monkeypatch):
    """Connects a stand-in camera; Ctrl-C comes after its last packet."""
    monkeypatch.setattr(_interrupt, "_state", _interrupt._State())

    def connect(given: Any, size: Any = SIZE, *, camera: dict[str, Any] | None = None, **rest: Any):
        rest = {"at_end": lambda: signal.raise_signal(signal.SIGINT)} | rest
        device = Device(given, size, **rest)
        monkeypatch.setitem(sys.modules, "neuromorphic_drivers", driver(device, **(camera or {})))
        return device

    return connect


def test_cameras_are_listed(run, plug):
    plug([])
    code, out, _ = run("cameras")
    assert (code, out.split("  ")) == (
        0, ["evk4:00050423", "Prophesee EVK4", "00050423", "USB 3.0 SuperSpeed (5.0 Gb/s)\n"],
    )  # fmt: skip
    plug([], camera={"serial": None, "problem": "Access denied", "name": Name.CENTURYARKS_VGA})
    code, out, _ = run("cameras")
    assert out.startswith("-  CenturyArks VGA  -  USB 3.0")
    assert "Access denied; on Linux, allow access once: sudo neuromorphic-drivers-inst" in out
    assert json.loads(run("cameras", "--json")[1])[0] == {
        "name": "CenturyArks VGA", "camera": "", "serial": None,
        "connection": "USB 3.0 SuperSpeed (5.0 Gb/s)",
        "problem": "Access denied; on Linux, allow access once: "
                   "sudo neuromorphic-drivers-install-udev-rules",
    }  # fmt: skip


def test_no_camera_no_package_and_no_usb_are_one_line(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "neuromorphic_drivers", driver(None))
    assert run("cameras") == (
        0, "", "no USB event camera is connected; supported: evk4, evk3, davis346, dvxplorer\n",
    )  # fmt: skip
    assert run("cameras", "--json")[1] == "[]\n"
    broken = driver(None)

    def fail():
        raise RuntimeError("Other error")

    broken.list_devices = fail
    monkeypatch.setitem(sys.modules, "neuromorphic_drivers", broken)
    code, out, err = run("cameras")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "USB devices cannot be listed (Other error); on Linux, allow access once" in err
    monkeypatch.setitem(sys.modules, "neuromorphic_drivers", None)
    code, out, err = run("cameras")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "pip install 'dvskit[cameras]'" in err


@pytest.mark.parametrize("name", ["out.raw", "out.npz", "out.mcap"])
def test_ctrl_c_completes_a_recording_that_holds_all_events(run, plug, tmp_path, name):
    plug(packets(EVENTS, 700))
    code, _, err = run("convert", "--camera", "evk4", name)
    assert code == 0
    assert "stopped; the events so far are written" in err
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
    assert written.size == (100, 100)


def test_stop_ends_a_recording_at_its_time_also_without_events(run, plug, tmp_path):
    device = plug(packets(EVENTS, 700))
    assert run("convert", "--camera", "evk4", "o.raw", "--stop", "20ms")[0] == 0
    until_us = int(EVENTS.t[0]) + 20_000
    assert dvskit.load_events(tmp_path / "o.raw") == EVENTS.between(None, until_us)
    device = plug([], at_end=None)
    code, _, err = run("convert", "--camera", "evk4", "dark.raw", "--stop", "20ms")
    assert code == 0
    assert "dark.raw: holds no events" in err
    assert device.closed.is_set()


def test_losses_and_triggers_are_reported(run, plug, tmp_path):
    triggers = np.array([(300, 1, True)], TRIGGERS)
    given = [packet(EVENTS[:2500], trigger_events=triggers), packet(EVENTS[2500:], frames=[1])]
    plug(given, dropped=lambda number: 5 * number)
    _, _, err = run("convert", "--camera", "evk4", "o.raw")
    assert "usb://evk4: 5 USB packets lost, as the computer was too slow" in err
    assert "o.raw: left out: 1 frame" in err
    assert dvskit.open_events(tmp_path / "o.raw").triggers().t.tolist() == [300]


def test_a_camera_that_is_unplugged_leaves_a_complete_file(run, plug, tmp_path):
    plug(packets(EVENTS), fails="No such device")
    code, _, err = run("convert", "--camera", "evk4", "o.npz")
    assert code == 0
    assert "1 early end of the camera (No such device); is it plugged in?" in err
    assert dvskit.load_events(tmp_path / "o.npz") == EVENTS


def test_a_file_that_exists_stays(run, plug, tmp_path):
    (tmp_path / "o.raw").write_bytes(b"mine")
    plug(packets(EVENTS))
    code, _, err = run("convert", "--camera", "evk4", "o.raw")
    assert (code, err.count("\n")) == (1, 1)
    assert (tmp_path / "o.raw").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--camera", "evk4"), "name the file to write after it"),
        (("--camera", "evk4", "a.raw", "b.raw"), "--camera takes no input; name only the output"),
        (("--camera", "0", "b.raw"), "is a webcam; dvskit emulate --camera 0 OUT"),
        (("--camera", "front", "b.raw"), "neither a webcam's number, from 0, nor an event camera"),
        (("--camera", "evk4", "b.raw", "--bias", "diff_on"), "--bias 'diff_on' is not NAME=VALUE"),
        (("--camera", "evk4", "b.raw", "--bias", "x=1"), "bias 'x' is unknown to evk4; choices:"),
        (("a.raw", "b.raw", "--bias", "diff_on=1"), "--bias needs --camera"),
        (("--camera", "evk4", "b.raw", "--size", "9x9"), "has a size of its own"),
        (("--camera", "evk4", "b.npy", "--bins", "3"), "cannot be made of live events"),
        (("--camera", "evk4", "b.nothing"), "no format is written as '.nothing'"),
    ],
)
def test_wrong_words_of_convert_are_one_line(run, plug, tmp_path, words, message):
    plug(packets(EVENTS))
    code, out, err = run("convert", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name an event file or a video; or an event camera: --camera evk4"),
        (("--camera", "calib.txt"), "--camera calib.txt: is neither a webcam's number"),
        (("--camera", "evk4", "--start", "1s"), "usb://evk4: --start and --stop need a file"),
    ],
)
def test_wrong_words_of_render_are_one_line(run, plug, tmp_path, words, message):
    plug([], at_end=None)
    code, out, err = run("render", "-o", "o.mp4", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_emulate_refers_to_convert(run):
    code, _, err = run("emulate", "--camera", "evk4", "o.raw")
    assert (code, err.count("\n")) == (2, 1)
    assert "--camera evk4 is an event camera; dvskit convert --camera evk4 OUT records" in err


def test_classify_decides_on_a_camera_as_on_its_recording(run, plug, tmp_path):
    plug(packets(MOVING, 50), MOVING.size, fails="unplugged")
    save_model(tmp_path / "m", MODEL)
    words = ("classify", "--live", "--camera", "evk4", "--model", "m", "--json")
    code, out, err = run(*words)
    assert code == 0
    expected = list(decide(MODEL, MOVING))
    found = [json.loads(line) for line in out.splitlines()]
    assert [each["class"] for each in found[: len(expected)]] == [e.answer for e in expected]
    assert [each["events"] for each in found[: len(expected)]] == [e.events for e in expected]
    assert "usb://evk4: as they arrive; small decides every 1.000 ms" in err
    assert "usb://evk4: 1 early end of the camera (unplugged)" in err
    code, _, err = run(*words[:4], "--size", "9x9", *words[4:])
    assert (code, err.count("\n")) == (2, 1)


def test_decisions_slower_than_a_camera_drop_events_and_count_them(
    run, plug, tmp_path, monkeypatch
):
    monkeypatch.setattr(keeping_up, "_WAITING_EVENTS", 49)
    plug(packets(MOVING, 50), MOVING.size, fails="unplugged")
    save_model(tmp_path / "m", MODEL)
    _, out, err = run("classify", "--live", "--camera", "evk4", "--model", "m", "--json")
    dropped = sum(len(MOVING[at : at + 50]) == 50 for at in range(0, len(MOVING), 50)) * 50
    assert f"{dropped:,} events dropped, as the decisions were too slow" in err
    assert sum(json.loads(line)["events"] for line in out.splitlines()) == len(MOVING) - dropped


def test_render_and_reconstruct_take_a_camera_until_ctrl_c(run, plug, tmp_path):
    plug(packets(EVENTS, 700))
    code, _, err = run("render", "--camera", "evk4", "-o", "o.gif", "--scale", "1")
    assert code == 130
    assert "5,000 events" in err
    assert (tmp_path / "o.gif").stat().st_size > 1000
    plug(packets(EVENTS, 700))
    code, _, err = run("reconstruct", "--camera", "evk4", "-o", "o.npz", "--model", "filter")
    assert code == 130
    assert "from 5,000 events" in err


@pytest.fixture
def serve(monkeypatch):
    """Replaces the page's server: runs a function, then Ctrl-C."""

    def replace(work):
        def served(viewed, port, browser):
            try:
                work(viewed[0])
                raise KeyboardInterrupt
            finally:
                viewed[0].close()

        monkeypatch.setattr("dvskit.cli.view._serve", served)

    return replace


def wait_until(condition, seconds=20.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.005)


def test_a_view_shows_a_camera_and_records_it(run, plug, serve, tmp_path):
    plug([None, *packets(EVENTS, 500), None], at_end=None)
    shown = []

    def look(viewed):
        wait_until(lambda: viewed.overview.progress.total == len(EVENTS))
        shown.append(viewed.overview.kept().events)
        assert viewed.page_meta()["live"]

    serve(look)
    code, _, err = run("view", "--camera", "evk4", "-o", "o.raw")
    assert code == 130
    assert shown == [EVENTS]
    assert "usb://evk4: shown as it comes, written to o.raw" in err
    assert "o.raw: 5,000 events on 346x260" in err
    assert dvskit.load_events(tmp_path / "o.raw") == EVENTS


def test_a_view_shows_datagrams_without_a_model(run, serve, tmp_path, monkeypatch):
    monkeypatch.setattr(_interrupt, "_state", _interrupt._State())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def look(viewed):
        send(port, datagrams(EVENTS[:500], LAYOUTS[0]))
        wait_until(lambda: viewed.overview.progress.total == 500)

    serve(look)
    words = ("view", f"udp://127.0.0.1:{port}", "--size", "346x260", "-o", "o.raw")
    assert run(*words)[0] == 130
    assert dvskit.load_events(tmp_path / "o.raw") == EVENTS[:500]


def test_a_slow_page_skips_events_that_the_file_holds(plug, tmp_path, monkeypatch):
    monkeypatch.setattr(keeping_up, "_WAITING_EVENTS", 1250)
    plug(packets(EVENTS, 100), fails="unplugged")
    shown = ShownArrivals(dvskit.open_events("usb://evk4"), tmp_path / "o.npz")
    assert shown._keeping.join(20)  # before the page takes any
    assert Events.concatenate(shown) == EVENTS[:1200]
    shown.close()
    assert dvskit.load_events(tmp_path / "o.npz") == EVENTS
    assert (
        f"not shown: 3,800 events, faster than the page; {tmp_path}/o.npz has them" in shown.notes()
    )


def test_an_error_of_writing_ends_the_view_with_its_reason(plug, tmp_path):
    plug(packets(EVENTS, 100), at_end=None)
    (tmp_path / "o.npz").write_bytes(b"mine")
    shown = ShownArrivals(dvskit.open_events("usb://evk4"), tmp_path / "o.npz")
    with pytest.raises(dvskit.DvskitError, match="exists already"):
        list(shown)
    assert any("exists already" in each for each in shown.notes())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a.raw", "-o", "b.raw"), "--out is for live events; dvskit convert writes those of a fi"),
        (("--camera", "evk4", "-o", "b"), "b: has no suffix of a format"),
        (("--camera", "evk4", "-o", "b.raw", "--model", "m"), "--out records without --model"),
        (("--camera", "evk4", "--objects"), "--objects needs a file"),
        (("--camera", "evk4", "a.raw"), "a.raw: --camera is a second source"),
        (("--camera", "evk4", "-o", "tcp://127.0.0.1:1"), "tcp://127.0.0.1:1: --out names a file"),
        (("udp://127.0.0.1:1", "-o", "ws://127.0.0.1:1"), "ws://127.0.0.1:1: --out names a file"),
        (("-", "b.raw"), "-: live events are shown alone; name nothing else"),
    ],
)
def test_wrong_words_of_view_are_one_line(run, plug, tmp_path, words, message):
    plug([], at_end=None)
    code, out, err = run("view", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_the_option_names_a_webcam_or_an_address():
    assert CameraOptions("3").source() == 3
    assert CameraOptions().source() is None
    assert str(CameraOptions("evk3").source()) == "usb://evk3"
    with pytest.raises(ConfigError, match="--bias does not apply to a webcam, --camera 3"):
        CameraOptions("3", ["a=1"]).source()


def test_events_are_shown_as_fast_as_they_come(plug):
    plug(packets(Events.concatenate([EVENTS])[:2000], 100), real_time=True, fails="end")
    began = time.monotonic()
    shown = ShownArrivals(dvskit.open_events("usb://evk4"), None)
    blocks = [block for block in shown if len(block)]
    took_s = time.monotonic() - began
    assert Events.concatenate(blocks) == EVENTS[:2000]
    assert took_s >= EVENTS[:2000].duration_us / 1e6 - 0.002


@pytest.mark.parametrize("scheme", ["tcp", "ws"])
def test_a_camera_is_sent_to_a_receiver_until_ctrl_c(run, plug, tmp_path, scheme):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"{scheme}://127.0.0.1:{free.getsockname()[1]}"
    received = []

    def receive() -> None:
        for _ in range(200):
            try:
                received.append(dvskit.load_events(address))
                return
            except FormatError:
                time.sleep(0.05)

    def stop() -> None:
        time.sleep(0.5)  # the waiting events are sent
        signal.raise_signal(signal.SIGINT)

    plug(packets(EVENTS), at_end=stop)
    thread = threading.Thread(target=receive)
    thread.start()
    code, out, err = run("convert", "--camera", "evk4", address)
    thread.join(20)
    assert (code, out) == (0, "")
    assert received == [EVENTS]
    assert "stopped; the events so far are written" in err
    assert f"{address}: {len(EVENTS):,} events" in err
