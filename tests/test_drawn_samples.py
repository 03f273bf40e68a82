"""Drawn people and depth clips as samples: the same for a seed, named by gesture, kept by what they
depend on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvskit.datasets import DrawnSamples, open_samples
from dvskit.datasets.drawn import is_depth_clip, sensor_like_dvs128
from dvskit.errors import ConfigError, FormatError
from dvskit.scenes import PERSON_GESTURES
from tests.sample_files import recording

SHORT = {"size": (48, 48), "duration_us": 100_000, "fps": 100}


def test_a_seed_gives_the_same_people_however_many_are_asked_for() -> None:
    few = DrawnSamples(1, seed=3, gestures=("hand_clap", "arm_roll"), **SHORT)
    many = DrawnSamples(3, seed=3, gestures=("arm_roll", "hand_clap"), **SHORT)
    assert few.classes == many.classes == ("hand_clap", "arm_roll")
    place = [row.name for row in many.rows].index("hand_clap/00000")
    assert few.events(0) == many.events(place) == few.events(0, np.random.default_rng(1))
    assert few.fingerprint(0) == many.fingerprint(place)
    others = [DrawnSamples(1, seed=4, **SHORT), DrawnSamples(1, seed=3, **SHORT | {"fps": 50})]
    for other in others:
        assert other.fingerprint(0) != few.fingerprint(0)
        assert other.events(0) != few.events(0)
    assert few.events(0).size == (48, 48)
    assert not few.draws


def test_all_gestures_are_drawn_unless_some_are_named() -> None:
    samples = DrawnSamples(2, seed=0)
    assert samples.classes == PERSON_GESTURES
    assert len(samples) == 2 * len(PERSON_GESTURES)
    assert samples.scene(5).gesture == samples.rows[5].label


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 0}, "count = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"close": 1.5}, "close = 1.5"),
        ({"gestures": ("hand_clab",)}, "hand_clap"),
    ],
)
def test_what_cannot_be_drawn_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DrawnSamples(**({"count": 1, "seed": 0} | given))


def test_sensors_like_a_dvs128_follow_the_generator() -> None:
    first, again, other = (sensor_like_dvs128(np.random.default_rng(k)) for k in (1, 1, 2))
    assert first == again != other


def depth_clip(path: Path, frames: int = 6) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:60, :40]
    depth = np.zeros((frames, 60, 40), np.uint8)
    for k in range(frames):
        body = (abs(columns - 20) < 8) & (rows > 10)
        arm = (abs(rows - 25 - 2 * k) < 4) & (columns > 2) & (columns < 20)
        depth[k][body | arm] = 80
    np.savez(path, depth=depth, near_mm=1500, step_mm=10, corner=np.array([140, 60]),
             joints_m=np.zeros((frames, 20, 3), np.float32))  # fmt: skip


def test_depth_clips_in_a_folder_are_samples_beside_recordings(tmp_path: Path) -> None:
    depth_clip(tmp_path / "set/wave/s1_t1.npz")
    recording(tmp_path / "set/clap/s2_t1.npz")
    samples = open_samples(tmp_path / "set", size=(64, 64), params="noisy")
    assert [row.name for row in samples.rows] == ["clap/s2_t1.npz", "wave/s1_t1.npz"]
    assert is_depth_clip(samples.rows[1].file)
    assert not is_depth_clip(samples.rows[0].file)
    events = samples.events(1)
    assert events.size == (64, 64)
    assert len(events) > 100
    assert samples.events(1) == events
    assert open_samples(tmp_path / "set", seed=1).fingerprint(1) != samples.fingerprint(1)


def test_a_part_of_a_depth_clip_is_refused(tmp_path: Path) -> None:
    depth_clip(tmp_path / "a.npz")
    (tmp_path / "list.csv").write_text("file,label,start,stop\na.npz,wave,0ms,50ms\n")
    samples = open_samples(tmp_path / "list.csv")
    with pytest.raises(FormatError, match=r"a\.npz: is a depth clip, which is read whole"):
        samples.events(0)
