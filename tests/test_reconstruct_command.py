"""`dvskit reconstruct`: images of events as a video, PNG files or arrays."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import numpy as np
import pytest

import dvskit
import dvskit.video
from dvskit.errors import ConfigError, VideoError
from dvskit.events import Events
from dvskit.reconstruction import (
    EventsPerPixel,
    SeenEvents,
    SteadyTimes,
    reconstruct,
    save_images,
)
from dvskit.video import CameraFrames, open_frames
from tests.laws import forget_interrupts, refused, refused_command
from tests.test_camera import Capture

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


EDGE = edge()


def expected(times: Any, events: Any = EDGE) -> list[tuple[int, np.ndarray]]:
    return list(reconstruct(events, "filter", times))


@pytest.fixture
def recording(tmp_path):
    dvskit.save_events(EDGE, tmp_path / "a.npz")
    return tmp_path


def arrays(path: Any) -> tuple[list[int], np.ndarray]:
    with np.load(path) as found:
        return found["t_us"].tolist(), found["images"]


def test_arrays_hold_the_images_of_the_library(run, recording):
    code, out, err = run(*FILTERED, "a.npz", "-o", "b.npz")
    assert (code, out) == (0, "")
    assert err.startswith("b.npz: 9 images of 33x24 by filter, from 7,200 events")
    times, images = arrays(recording / "b.npz")
    wanted = expected(SteadyTimes(30))
    assert times == [t for t, _ in wanted]
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, np.stack([image for _, image in wanted]))
    before = (recording / "b.npz").read_bytes()
    assert run("-q", *FILTERED, "a.npz", "-o", "b.npz", "--force")[2] == ""
    assert (recording / "b.npz").read_bytes() == before


def test_times_are_a_rate_a_number_of_events_or_a_list(run, recording):
    def times(*words: str) -> list[int]:
        code, _, err = run(*FILTERED, "a.npz", "-o", "t.npz", "--force", *words)
        assert code == 0, err
        return arrays(recording / "t.npz")[0]

    assert times("--fps", "100")[:3] == [60_000, 70_000, 80_000]
    assert times("--every", "0.5") == [t for t, _ in expected(EventsPerPixel(0.5))]
    assert times("--start", "100ms", "--stop", "200ms", "--fps", "50")[0] == 170_000
    (recording / "t.txt").write_text("-1\n0.200000\n50\n60\n")
    code, _, err = run(*FILTERED, "a.npz", "-o", "u.npz", "--times", "t.txt")
    assert "t.txt: 3 of 4 times" in err
    (recording / "t.txt").write_text("0.100000 a.png\n0.250000 b.png\n")
    code, _, err = run(*FILTERED, "a.npz", "-o", "v.npz", "--times", "t.txt")
    assert code == 0
    assert arrays(recording / "v.npz")[0] == [100_000, 250_000]
    assert "t.txt" not in err


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.gif"])
def test_a_video_shows_each_image_at_its_own_time(run, recording, name):
    assert run(*FILTERED, "a.npz", "-o", name, "--every", "0.9")[0] == 0
    found, wanted = list(open_frames(recording / name)), expected(EventsPerPixel(0.9))
    assert len(found) == len(wanted) > 5
    tick_us = 10_000 if name == "a.gif" else 1000
    first_us = wanted[0][0]
    for (t_us, shown), (at_us, image) in zip(found, wanted, strict=True):
        assert abs(t_us - (at_us - first_us)) <= tick_us
        assert shown.shape == (HEIGHT, WIDTH + 1)  # videos have even sides
        assert np.abs(shown[:, :WIDTH].astype(int) - image).mean() < 6


def test_a_folder_is_a_clip_that_can_be_emulated_again(run, recording):
    assert run(*FILTERED, "a.npz", "-o", "frames", "--fps", "100")[0] == 0
    clip = open_frames(recording / "frames")
    for (t_us, shown), (at_us, image) in zip(clip, expected(SteadyTimes(100)), strict=True):
        assert t_us == at_us
        np.testing.assert_array_equal(shown, image)
    assert run("emulate", "frames", "again.npz", "--threshold", "0.1")[0] == 0
    assert len(dvskit.load_events(recording / "again.npz")) > 100


@pytest.mark.slow
def test_beside_shows_the_image_at_the_left_and_its_events_at_the_right(run, recording):
    assert run(*FILTERED, "a.npz", "-o", "b.mp4", "--beside", "--fps", "50")[0] == 0
    pictures = [image for _, image in open_frames(recording / "b.mp4").pictures()]
    images = [image for _, image in expected(SteadyTimes(50))]
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


def test_exposure_stretches_the_brightness(run, recording):
    spread = []
    for words in (["--exposure"], []):
        assert run(*FILTERED, "a.npz", "-o", "e.npz", "--force", *words)[0] == 0
        spread.append(np.ptp(arrays(recording / "e.npz")[1][-1].astype(int)))
    assert spread[0] > spread[1]


class Webcam(CameraFrames):
    """A stand-in of a webcam that remembers its frames; it may send Ctrl-C at one of them."""

    def __init__(self, count: int, interrupt_at: int) -> None:
        self.plugged = Capture(count, 0.01, (24, 32, 3))
        super().__init__(7, capture=self.plugged)
        self.seen: list[tuple[int, np.ndarray]] = []
        self.interrupt_at = interrupt_at

    def __iter__(self) -> Any:
        for t_us, frame in super().__iter__():
            self.seen.append((t_us, frame))
            if len(self.seen) == self.interrupt_at:
                os.kill(os.getpid(), signal.SIGINT)
            yield t_us, frame


@pytest.fixture
def webcam(monkeypatch):
    """Let a stand-in of so many frames be the only webcam, of number 7."""

    def plug(count: int, interrupt_at: int = 0) -> Webcam:
        camera = Webcam(count, interrupt_at)
        monkeypatch.setattr(dvskit.video, "CameraFrames", {7: camera}.__getitem__)
        return camera

    return plug


def test_a_webcam_is_emulated_and_reconstructed(run, tmp_path, webcam):
    camera = webcam(15)
    words = ("--camera", "7", "-o", "c.npz", "--fps", "100", "--size", "16x12")
    code, out, err = run(*FILTERED, *words)
    assert (code, out) == (0, "")
    assert "camera 7: is a webcam" in err
    times, images = arrays(tmp_path / "c.npz")
    wanted = expected(SteadyTimes(100), dvskit.emulate(camera.seen, size=(16, 12)))
    assert times == [t for t, _ in wanted]
    np.testing.assert_array_equal(images, np.stack([image for _, image in wanted]))
    assert ("left out" in err) == (camera.dropped > 0)


def test_ctrl_c_completes_the_images_of_a_webcam(run, tmp_path, webcam, monkeypatch):
    forget_interrupts(monkeypatch)
    camera = webcam(100_000, 20)
    code, _, err = run(*FILTERED, "--camera", "7", "-o", "c.npz", "--fps", "50")
    assert code == 130
    assert "error" not in err
    times, images = arrays(tmp_path / "c.npz")
    assert 3 < len(times) == len(images)
    assert len(camera.seen) < 30
    assert camera.plugged.released


def test_a_webcam_that_sees_nothing_and_has_no_past_is_refused(run, tmp_path, webcam):
    webcam(1)
    words = (*FILTERED, "--camera", "7", "-o", "c.npz")
    refused_command(run(*words))
    refused_command(run(*words, "--start", "1s"), "camera 7: --start")
    assert list(tmp_path.iterdir()) == []


def test_images_are_saved_from_python(tmp_path):
    events = SeenEvents(EDGE)
    images = reconstruct(events, "filter", SteadyTimes(50))
    saved = save_images(images, tmp_path / "a.mp4", beside=events)
    assert (saved.images, saved.size) == (15, (WIDTH, HEIGHT))
    with refused(VideoError):
        save_images(reconstruct(EDGE, "filter", []), tmp_path / "b.mp4")
    with refused(ConfigError, "b.txt"):
        save_images(images, tmp_path / "b.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_the_shipped_network_is_the_default(run, recording):
    code, out, _ = run("reconstruct", "a.npz", "-o", "b.npz", "--fps", "5", "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["images"] == len(arrays(recording / "b.npz")[0]) > 0
    assert facts | {"out": "b.npz", "model": "reconstruct", "width": WIDTH} == facts
