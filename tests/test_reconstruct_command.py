"""`dvskit reconstruct`: images of events as a video, PNG files or arrays."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

import dvskit
import dvskit.video
from dvskit import _files, _interrupt
from dvskit.cli.reconstruct import default_model
from dvskit.errors import ConfigError, VideoError
from dvskit.events import Events
from dvskit.formats.addresses import ADDRESSES
from dvskit.reconstruction import (
    EventsPerPixel,
    SeenEvents,
    SteadyTimes,
    reconstruct,
    save_images,
)
from dvskit.video import CameraFrames, open_frames
from tests.image_networks import FIRE_NAMES, FireShaped, export, seeded
from tests.test_camera import Capture
from tests.test_udp import LAYOUTS, datagrams, send

FILTERED = ("reconstruct", "--model", "filter")
WIDTH, HEIGHT, LAST_US = 33, 24, 299_000


def edge() -> Events:
    """An ON edge that moves right, a column each 10 ms, and noise, for 0.3 s."""
    random = np.random.default_rng(2)
    t = np.repeat(np.arange(0, LAST_US + 1, 1000), HEIGHT)
    x = np.minimum(t // 10_000, WIDTH - 1)
    x[::7] = random.integers(0, WIDTH, len(x[::7]))
    y = np.tile(np.arange(HEIGHT), LAST_US // 1000 + 1)
    return Events(t=t + 50_000, x=x, y=y, p=random.random(len(t)) < 0.8, size=(WIDTH, HEIGHT))


@pytest.fixture
def recording(tmp_path):
    dvskit.save_events(edge(), tmp_path / "a.npz")
    return tmp_path


def arrays(path: Any) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as found:
        return found["t_us"], found["images"]


def test_arrays_hold_the_images_of_the_library(run, recording):
    code, out, err = run(*FILTERED, "a.npz", "-o", "b.npz", "--model", "filter")
    assert (code, out) == (0, "")
    assert err == "b.npz: 9 images of 33x24 by filter, from 7,200 events in 299.001 ms on 33x24\n"
    times, images = arrays(recording / "b.npz")
    expected = list(reconstruct(edge(), "filter", SteadyTimes(30)))
    assert times.tolist() == [t for t, _ in expected]
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, np.stack([image for _, image in expected]))
    before = (recording / "b.npz").read_bytes()
    assert "exists already" in run(*FILTERED, "a.npz", "-o", "b.npz")[2]
    assert run("-q", *FILTERED, "a.npz", "-o", "b.npz", "--force", "--model", "filter")[2] == ""
    assert (recording / "b.npz").read_bytes() == before


def test_times_are_a_rate_a_number_of_events_or_a_list(run, recording):
    def times(*words: str) -> list[int]:
        code, _, err = run(*FILTERED, "a.npz", "-o", "t.npz", "--force", *words)
        assert code == 0, err
        return arrays(recording / "t.npz")[0].tolist()

    assert times("--fps", "100")[:3] == [60_000, 70_000, 80_000]
    wanted = EventsPerPixel(0.5)
    assert times("--every", "0.5") == [t for t, _ in reconstruct(edge(), "filter", wanted)]
    (recording / "images.txt").write_text("0.100000 a.png\n0.250000 b.png\n")
    assert times("--times", "images.txt") == [100_000, 250_000]
    assert times("--start", "100ms", "--stop", "200ms", "--fps", "50")[0] == 170_000


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.gif"])
def test_a_video_shows_each_image_at_its_own_time(run, recording, name):
    assert run(*FILTERED, "a.npz", "-o", name, "--every", "0.9")[0] == 0
    found = list(open_frames(recording / name))
    expected = list(reconstruct(edge(), "filter", EventsPerPixel(0.9)))
    assert len(found) == len(expected) > 5
    tick_us = 10_000 if name == "a.gif" else 1000
    first_us = expected[0][0]
    for (t_us, shown), (at_us, image) in zip(found, expected, strict=True):
        assert abs(t_us - (at_us - first_us)) <= tick_us
        assert shown.shape == (HEIGHT, WIDTH + 1)  # videos have even sides
        assert np.abs(shown[:, :WIDTH].astype(int) - image).mean() < 6


def test_a_folder_is_a_clip_that_can_be_emulated_again(run, recording):
    assert run(*FILTERED, "a.npz", "-o", "frames", "--fps", "100")[0] == 0
    clip = open_frames(recording / "frames")
    expected = list(reconstruct(edge(), "filter", SteadyTimes(100)))
    for (t_us, shown), (at_us, image) in zip(clip, expected, strict=True):
        assert t_us == at_us
        np.testing.assert_array_equal(shown, image)
    code, _, err = run("emulate", "frames", "again.npz", "--threshold", "0.1")
    assert code == 0, err
    assert len(dvskit.load_events(recording / "again.npz")) > 100


def test_beside_shows_the_image_at_the_left_and_its_events_at_the_right(run, recording):
    assert run(*FILTERED, "a.npz", "-o", "b.mp4", "--beside", "--fps", "50")[0] == 0
    pictures = [image for _, image in open_frames(recording / "b.mp4").pictures()]
    images = [image for _, image in reconstruct(edge(), "filter", SteadyTimes(50))]
    assert len(pictures) == len(images)
    scale = round(640 / WIDTH)
    picture, image = pictures[7], images[7]
    assert picture.shape[1] >= 2 * WIDTH * scale
    left, right = picture[:, : WIDTH * scale], picture[:, -WIDTH * scale :]
    shown = left[scale // 2 :: scale, scale // 2 :: scale].mean(2)
    assert np.abs(shown[:HEIGHT, :WIDTH] - image).mean() < 6
    # Columns 14 and 15 have the events of this image: 140 to 160 ms after the first.
    columns = right[scale // 2 :: scale, scale // 2 :: scale].max(2)[:HEIGHT].mean(0)
    assert set(np.argsort(columns)[-2:]) == {14, 15}
    assert run(*FILTERED, "a.npz", "-o", "b.gif", "--beside")[0] == 0
    assert "only videos show events beside" in run(*FILTERED, "a.npz", "-o", "c.npz",
                                                   "--beside")[2]  # fmt: skip


def test_exposure_stretches_the_brightness(run, recording):
    def spread(*words: str) -> float:
        assert run(*FILTERED, "a.npz", "-o", "e.npz", "--force", *words)[0] == 0
        images = arrays(recording / "e.npz")[1]
        return float(np.ptp(images[-1].astype(int)))

    assert spread("--exposure") > spread()


def test_an_onnx_network_is_named_by_its_file(run, recording):
    export(seeded(FireShaped, channels=4), recording / "fire.onnx", FIRE_NAMES)
    words = (*FILTERED, "a.npz", "-o", "n.npz", "--model", "fire.onnx:firenet+", "--json")
    code, out, err = run(*words)
    assert code == 0, err
    facts = json.loads(out)
    assert facts["images"] == len(arrays(recording / "n.npz")[0]) == 9
    assert facts | {"out": "n.npz", "model": "fire.onnx:firenet+", "width": WIDTH} == facts


def test_bad_input_gives_one_line(run, recording):
    def line(*words: str, code: int = 2) -> str:
        found, _, err = run(*FILTERED, *words)
        assert found == code, err
        assert err.count("\n") == 1
        assert err.startswith("dvskit: error: ")
        return err

    (recording / "bad.onnx").write_text("text")
    assert "unknown reconstructor 'filtr'; did you mean 'filter'" in line(
        "a.npz", "-o", "b.mp4", "--model", "filtr"
    )
    assert "bad.onnx: is no ONNX file" in line(
        "a.npz", "-o", "b.mp4", "--model", "bad.onnx", code=1
    )
    assert "--fps and --every both set the times" in line(
        "a.npz", "-o", "b.mp4", "--fps", "30", "--every", "1"
    )
    assert "fps = 0.0 is outside" in line("a.npz", "-o", "b.mp4", "--fps", "0")
    assert "every = -1.0 is not a number" in line("a.npz", "-o", "b.mp4", "--every=-1")
    assert "images are written as .mp4" in line("a.npz", "-o", "b.avi")
    assert "not written to standard output" in line("a.npz", "-o", "-")
    assert "there are no events to show" in line(
        "a.npz", "-o", "b.mp4", "--start", "10s", "--stop", "11s", code=1
    )
    assert "are 9.09 per pixel, fewer than an image of --every 20 takes" in line(
        "a.npz", "-o", "b.mp4", "--every", "20", code=1
    )
    (recording / "images.txt").write_text("no time\n")
    assert "images.txt" in line("a.npz", "-o", "b.mp4", "--times", "images.txt", code=1)
    assert "none.npz" in line("none.npz", "-o", "b.mp4", code=1)
    assert {path.name for path in recording.iterdir()} == {"a.npz", "bad.onnx", "images.txt"}


def test_times_outside_the_recording_are_counted_in_a_line(run, recording):
    events = dvskit.load_events(recording / "a.npz")
    middle_s = int(events.t[len(events) // 2]) / 1e6
    (recording / "t.txt").write_text(f"-1\n{middle_s}\n50\n60\n")
    code, _, err = run(*FILTERED, "a.npz", "-o", "t.npz", "--times", "t.txt")
    assert code == 0
    assert f"t.txt: 3 of 4 times are before the first event, at {events.t[0]} us, or after" in err
    (recording / "t.txt").write_text(f"{middle_s}\n")
    assert "t.txt" not in run(*FILTERED, "a.npz", "-o", "u.npz", "--times", "t.txt")[2]
    (recording / "t.txt").write_text("")
    code, _, err = run(*FILTERED, "a.npz", "-o", "v.npz", "--times", "t.txt")
    assert code == 1
    assert "t.txt: holds no times; give one a line, in seconds" in err


def interrupt_at_image(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise the signal of Ctrl-C while an image, counted from 1, is written."""
    monkeypatch.setattr(_interrupt, "_state", _interrupt._State())
    written = []

    def describe(t_us: int) -> str:
        written.append(t_us)
        if len(written) == number:
            signal.raise_signal(signal.SIGINT)
        return ""

    monkeypatch.setattr("dvskit.cli._console.describe_us", describe)


def test_ctrl_c_completes_the_output(run, recording, monkeypatch):
    interrupt_at_image(4, monkeypatch)
    code, _, _ = run(*FILTERED, "a.npz", "-o", "b.npz", "--fps", "100")
    assert code == 130
    times, images = arrays(recording / "b.npz")
    assert len(times) == len(images) == 4


def test_events_come_through_a_pipe(run, recording, monkeypatch):
    dvskit.save_events(edge(), recording / "a.raw")
    with (recording / "a.raw").open() as piped:
        monkeypatch.setattr(sys, "stdin", piped)
        code, _, err = run(*FILTERED, "-", "-o", "p.npz", "--size", "33x24")
    assert code == 0, err
    assert run(*FILTERED, "a.raw", "-o", "f.npz")[0] == 0
    np.testing.assert_array_equal(arrays(recording / "p.npz")[1], arrays(recording / "f.npz")[1])


def free_port(port: int = 0) -> int:
    """Return a free port, or the given one if it is free, else 0."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tried:
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return 0
        return int(tried.getsockname()[1])


@pytest.mark.slow(seconds=4)
def test_live_events_become_images_until_ctrl_c(tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "dvskit", *FILTERED, f"udp://127.0.0.1:{port}", "--size",
               f"{WIDTH}x{HEIGHT}", "-o", "live", "--fps", "100"]  # fmt: skip
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as running:
        until = time.monotonic() + 60
        while free_port(port) and time.monotonic() < until:  # until it listens
            time.sleep(0.05)
        send(port, datagrams(edge(), LAYOUTS[0]))
        while len(list(tmp_path.glob(".live*/*.png"))) < 20 and time.monotonic() < until:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)
    assert running.returncode == 130, told
    assert b"live holds the images so far" in told
    assert 20 <= sum(1 for _ in open_frames(tmp_path / "live")) <= 30


class Remembered(CameraFrames):
    """A stand-in of a webcam that remembers its frames."""

    def __init__(self, count: int) -> None:
        super().__init__(7, capture=Capture(count, 0.01, (24, 32, 3)))
        self.seen: list[tuple[int, np.ndarray]] = []

    def __iter__(self) -> Any:
        for t_us, frame in super().__iter__():
            self.seen.append((t_us, frame))
            yield t_us, frame


@pytest.fixture
def webcam(monkeypatch):
    """Let a stand-in of so many frames be the only webcam; gives those that were opened."""
    opened: list[Remembered] = []

    def plug(count: int) -> list[Remembered]:
        def camera(number: int) -> Remembered:
            assert number == 7
            opened.append(Remembered(count))
            return opened[-1]

        monkeypatch.setattr(dvskit.video, "CameraFrames", camera)
        return opened

    return plug


@pytest.mark.parametrize("size", [(32, 24), (16, 12)])
def test_a_webcam_is_emulated_and_reconstructed(run, tmp_path, webcam, size):
    opened = webcam(15)
    words = ("--camera", "7", "-o", "c.npz", "--fps", "100", "--size", f"{size[0]}x{size[1]}")
    code, out, err = run(*FILTERED, *words)
    assert (code, out) == (0, "")
    assert "camera 7: is a webcam: its frames are emulated for an ideal sensor" in err
    (camera,) = opened
    times, images = arrays(tmp_path / "c.npz")
    expected = list(reconstruct(dvskit.emulate(camera.seen, size=size), "filter", SteadyTimes(100)))
    assert times.tolist() == [t for t, _ in expected]
    np.testing.assert_array_equal(images, np.stack([image for _, image in expected]))
    assert ("left out" in err) == (camera.dropped > 0)


def test_ctrl_c_completes_the_images_of_a_webcam(run, tmp_path, webcam, monkeypatch):
    opened = webcam(100_000)
    interrupt_at_image(3, monkeypatch)
    assert run(*FILTERED, "--camera", "7", "-o", "c.npz", "--fps", "50")[0] == 130
    assert len(arrays(tmp_path / "c.npz")[0]) == 3
    assert opened[0]._capture.released


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), f"an event file, a video, - or an address ({ADDRESSES}); or a webcam: --camera 0"),
        (("a.npz", "--camera", "7"), "a.npz: --camera is a second source; give only one"),
        (("--camera", "7", "--salvage"), "--from and --salvage do not apply to a camera"),
        (("--camera", "7", "--from", "raw"), "--from and --salvage do not apply to a camera"),
        (("--camera", "7", "--size", "big"), "big"),
        (("--camera", "7", "--start", "1s"), "camera 7: --start and --stop need a file"),
        (("--camera", "-1"), "--camera"),
        (("--camera", "front"), "--camera"),
    ],
)
def test_a_wrong_webcam_is_one_line(run, recording, webcam, words, message):
    webcam(3)
    code, out, err = run(*FILTERED, "-o", "c.npz", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert [path.name for path in recording.iterdir()] == ["a.npz"]


def test_a_webcam_that_is_not_there_or_sees_nothing_is_one_line(run, tmp_path, webcam):
    code, _, err = run(*FILTERED, "--camera", "63", "-o", "c.npz")
    assert (code, err.count("\n")) == (1, 1)
    assert "camera 63: cannot be opened; is it connected, and not in use?" in err
    webcam(1)
    code, _, err = run(*FILTERED, "--camera", "7", "-o", "c.npz")
    assert (code, err.count("\n")) == (1, 1)
    assert list(tmp_path.iterdir()) == []


def test_images_are_saved_from_python(tmp_path):
    events = SeenEvents(edge())
    images = reconstruct(events, "filter", SteadyTimes(50))
    seen: list[tuple[int, int]] = []
    saved = save_images(
        images, tmp_path / "a.mp4", beside=events, on_image=lambda *now: seen.append(now)
    )
    assert (saved.images, saved.size) == (15, (WIDTH, HEIGHT))
    assert seen[0] == (1, saved.first_us)
    assert seen[-1] == (15, saved.last_us)
    with pytest.raises(VideoError, match="there are no images to write"):
        save_images(reconstruct(edge(), "filter", []), tmp_path / "b.mp4")
    with pytest.raises(ConfigError, match="images are written as"):
        save_images(images, tmp_path / "b.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_the_shipped_network_is_the_default_if_it_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(_files, "__file__", str(tmp_path / "dvskit" / "_files.py"))
    assert default_model() == "filter"
    (tmp_path / "models" / "reconstruct").mkdir(parents=True)
    (tmp_path / "models" / "reconstruct" / "model.toml").write_text("")
    assert default_model() == "reconstruct"
