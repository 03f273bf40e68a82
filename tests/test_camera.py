"""Cameras and linear light."""

from __future__ import annotations

import itertools
import time

import cv2
import numpy as np
import pytest

from dvskit import emulate
from dvskit.errors import ConfigError, VideoError
from dvskit.video import CameraFrames, ImageFolder, VideoFrames, luminance
from tests.laws import refused


class Capture:
    """A camera that gives `count` frames, one in each `period_s`."""

    def __init__(self, count, period_s=0.0, shape=(12, 16, 3)):
        self.count, self.period_s, self.shape = count, period_s, shape
        self.given = 0
        self.released = False

    def read(self):
        if self.given == self.count:
            return False, None
        if self.given:
            time.sleep(self.period_s)
        self.given += 1
        return True, np.full(self.shape, 10 * self.given % 256, np.uint8)

    def release(self):
        self.released = True


def test_a_camera_gives_gray_frames_at_the_times_they_came():
    capture = Capture(6, 0.02)
    camera = CameraFrames(capture=capture)
    assert camera.size == (16, 12)
    frames = list(camera)
    assert [int(frame[0, 0]) for _, frame in frames] == [10, 20, 30, 40, 50, 60]
    times = [t for t, _ in frames]
    assert times[0] == 0
    assert all(10_000 < later - earlier < 500_000 for earlier, later in itertools.pairwise(times))
    assert camera.dropped == 0
    assert capture.released


@pytest.mark.slow
def test_frames_that_come_too_fast_give_way_to_later_ones_and_are_counted():
    camera = CameraFrames(capture=Capture(40, 0.005))
    seen = []
    for _, frame in camera:
        seen.append(int(frame[0, 0]))
        time.sleep(0.03)
    assert camera.dropped > 10
    assert len(seen) + camera.dropped == 40
    assert seen[-1] == 400 % 256
    gray = [10 * n % 256 for n in range(1, 41)]
    assert [gray.index(value) for value in seen] == sorted(gray.index(value) for value in seen)


def test_a_camera_stops_when_asked_and_is_then_closed():
    capture = Capture(10**6, 0.002)
    camera = CameraFrames(capture=capture)
    for count, _ in enumerate(camera):
        if count == 4:
            camera.stop()
        assert count < 20
    assert capture.released
    with refused(VideoError, "closed"):
        next(iter(camera))


def test_a_camera_that_is_not_there_is_refused():
    with refused(VideoError, "camera 3"):
        CameraFrames(3, capture=Capture(0))


def test_a_camera_is_emulated():
    events = emulate(CameraFrames(capture=Capture(12, 0.01))).load()
    assert len(events) > 12 * 16
    assert events.p.all()


def test_linear_light_follows_the_srgb_curve():
    codes = np.arange(256, dtype=np.uint8)[None]
    light = luminance(codes)[0]
    assert (light[0], light[255]) == (0, 1)
    assert light[10] == pytest.approx(10 / 255 / 12.92, rel=1e-6)
    assert light[188] == pytest.approx(0.5029, abs=1e-4)
    assert np.allclose(luminance(codes.astype(np.uint16) * 257), light)
    red = np.zeros((1, 1, 3), np.uint8)
    red[..., 0] = 255
    assert luminance(red)[0, 0] == pytest.approx(0.2126)
    floats = np.full((2, 2), 3.5)
    assert (luminance(floats) == 3.5).all()


def test_images_and_videos_give_linear_light(tmp_path, data):
    folder = tmp_path / "clip"
    folder.mkdir()
    color = np.zeros((8, 10, 3), np.uint8)
    color[..., 1] = 188  # green, as OpenCV's BGR
    for number in range(2):
        cv2.imwrite(str(folder / f"{number}.png"), color)
    (_, frame), _ = ImageFolder(folder, fps=10, light="linear")
    assert frame.dtype == np.float32
    assert np.allclose(frame, 0.7152 * 0.5029, atol=1e-4)
    video = data / "video" / "carphone_pristine.mp4"
    _, luma = next(iter(VideoFrames(video)))
    _, linear = next(iter(VideoFrames(video, light="linear")))
    assert linear.shape == luma.shape
    # A gray picture's luminance is its luma, decoded; colors move it a little.
    decoded = luminance(luma)
    assert np.corrcoef(decoded.ravel(), linear.ravel())[0, 1] > 0.98
    assert abs(float(linear.mean() - decoded.mean())) < 0.03
    with refused(ConfigError, "'linea'", "'linear'"):
        VideoFrames(video, light="linea")
