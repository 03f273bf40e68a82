"""Frames between frames: where they are, and that they bring the events nearer to the truth."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from dvskit import Events, emulate
from dvskit.emulator.upsample import Upsampled
from dvskit.errors import ConfigError, ShapeError
from dvskit.events import Size
from dvskit.tensors import bin_events
from tests.laws import refused

SIZE = Size(160, 120)


def texture(seed, height, width, blur):
    noise = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), blur)
    return (smooth - smooth.min()) / (smooth.max() - smooth.min())


GROUND, PATCH = 60 + 80 * texture(0, 480, 640, 12), 90 + 140 * texture(1, 160, 160, 10)


def scene(seconds):
    """A textured patch that moves at 306 pixels a second over a textured ground."""
    image = GROUND.copy()
    x, y = int(4 * (30 + 300 * seconds)), int(4 * (30 + 60 * seconds))
    image[y : y + 160, x : x + 160] = PATCH
    return np.rint(cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA)).astype(np.uint8)


def frames(fps, seconds=0.2):
    return [(round(i * 1e6 / fps), scene(i / fps)) for i in range(int(seconds * fps) + 1)]


@pytest.fixture(scope="module")
def clips():
    """What 1000 frames a second give, 30, and 30 with frames added."""
    added = Upsampled(frames(30), SIZE)
    return [Events.concatenate(emulate(each)) for each in (frames(1000), frames(30), added)]


@pytest.mark.slow
@pytest.mark.parametrize("bin_us", [2000, 10_000])
def test_events_of_30_frames_a_second_come_nearer_to_those_of_1000(clips, bin_us):
    truth, plain, added = (
        bin_events(each, bins=200_000 // bin_us, bin_us=bin_us, start_us=0, outside="ignore")
        .numpy()
        .astype(int)
        for each in clips
    )
    error = [np.abs(each - truth).sum() / truth.sum() for each in (plain, added)]
    assert error[1] < 0.7 * error[0]
    assert abs(added.sum() - truth.sum()) < abs(plain.sum() - truth.sum())


def test_the_frames_of_the_clip_stay_and_the_added_ones_move_a_pixel_at_most():
    clip = frames(30)
    added = list(Upsampled(clip, SIZE))
    times = [t for t, _ in added]
    assert all(later > earlier for earlier, later in itertools.pairwise(times))
    kept = dict(added)
    for t, frame in clip:
        assert np.array_equal(kept[t], frame.astype(np.uint16) * 257)
    source = Upsampled(clip, SIZE)
    assert len(list(source)) == len(added) == 1 + sum(n * k for n, k in source.steps.items())
    assert all(8 <= steps <= 30 for steps in source.steps)  # 10.2 pixels an interval
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    for (_, a), (_, b) in itertools.pairwise(added[:13]):
        flow = search.calc(*(np.rint(each / 257).astype(np.uint8) for each in (a, b)), None)
        assert np.percentile(np.hypot(flow[..., 0], flow[..., 1]), 99) < 1.5


def test_a_still_clip_gets_no_frames_and_a_finer_step_more():
    still = [(i * 1000, np.full((30, 40), 90, np.uint8)) for i in range(4)]
    assert len(list(Upsampled(still, Size(40, 30)))) == 4
    clip = frames(30)[:3]
    assert len(list(Upsampled(clip, SIZE, most_px=0.5))) > len(list(Upsampled(clip, SIZE)))
    assert len(list(Upsampled(clip, SIZE, most_px=1000))) == 3


def test_a_wrong_step_and_frames_that_are_too_small_are_refused():
    with refused(ConfigError, "most_px"):
        Upsampled([], SIZE, most_px=0)
    with refused(ShapeError, "8x8"):
        Upsampled([], Size(8, 8))
