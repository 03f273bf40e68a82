"""Flow between frames, on scenes of known flow."""

import numpy as np
import pytest

from dvskit.errors import ConfigError, VideoError
from dvskit.motion import frame_flow
from dvskit.scenes import Patch, PlaneScene, SteadyPath
from dvskit.scenes.planes import noise_texture
from dvskit.streams import Frame

WALL = Patch((0, 0, 2), (4, 0, 0), (0, 3, 0), noise_texture(np.random.default_rng(1), (600, 800)))
SCENE = PlaneScene((WALL,), SteadyPath((0, 0.3, 0.8), (0.3, 0, 0)), None, (96, 72))


def frames(times=(0, 20_000, 40_000), scale=1, exposure_us=0):
    return [
        Frame(t, t + exposure_us, (SCENE.frame(t) >> (8 if scale == 1 else 0)).astype(dtype))
        for t in times
        for dtype in (np.uint8 if scale == 1 else np.uint16,)
    ]


@pytest.mark.parametrize("scale", [1, 256])
def test_flow_between_frames_is_near_the_exact_flow(scale):
    found = list(frame_flow(frames(scale=scale)))
    assert [(each.start_us, each.stop_us) for each in found] == [(0, 20_000), (20_000, 40_000)]
    for each in found:
        exact = SCENE.truth((each.start_us + each.stop_us) / 2).flow
        off = np.hypot(*(each.flow - exact)[8:-8, 8:-8].reshape(-1, 2).T)
        assert np.median(off) < 0.12 * np.median(np.hypot(*exact.reshape(-1, 2).T))


def test_only_the_pairs_around_given_times_are_compared():
    assert [each.start_us for each in frame_flow(frames(), [25_000, 26_000])] == [20_000]


def test_frames_count_from_the_middle_of_their_exposure():
    (first, _) = frame_flow(frames(exposure_us=4_000))
    assert (first.start_us, first.stop_us) == (2_000, 22_000)


def test_colour_frames_have_the_flow_of_their_gray():
    gray = next(frame_flow(frames()))
    coloured = [frame._replace(image=np.stack([frame.image] * 3, -1)) for frame in frames()]
    assert np.array_equal(next(frame_flow(coloured)).flow, gray.flow)


def test_too_few_and_too_small_frames_are_refused():
    with pytest.raises(VideoError, match="at least two, and there are 1"):
        list(frame_flow(frames()[:1]))
    small = [frame._replace(image=frame.image[:8]) for frame in frames()]
    with pytest.raises(VideoError, match="at least 16x16 pixels; these are 96x8"):
        list(frame_flow(small))
    with pytest.raises(ConfigError, match="preset"):
        next(frame_flow(frames(), preset="best"))
