"""Drawn people and depth clips as samples: the same for a seed, named by gesture, kept by what they
depend on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dvskit.datasets import DrawnSamples, SkeletonSamples, open_samples
from dvskit.datasets.drawn import Skeleton, liveliest, sensor_like_dvs128
from dvskit.errors import ConfigError, FormatError
from dvskit.scenes import PERSON_GESTURES
from dvskit.scenes.person import from_msr_action3d
from tests.laws import refused
from tests.sample_files import recording
from tests.test_depth import SWING, write_npz

SHORT = {"size": (48, 48), "duration_us": 100_000, "fps": 100}


def test_a_seed_gives_the_same_people_however_many_are_asked_for() -> None:
    few = DrawnSamples(1, seed=3, gestures=("hand_clap", "arm_roll"), **SHORT)
    many = DrawnSamples(3, seed=3, gestures=("arm_roll", "hand_clap"), **SHORT)
    assert few.classes == many.classes == ("hand_clap", "arm_roll")
    place = [row.name for row in many.rows].index("hand_clap/00000")
    assert few.events(0) == many.events(place) == few.events(0, np.random.default_rng(1))
    assert few.fingerprint(0) == many.fingerprint(place)
    for seed, fps in ((4, 100), (3, 50)):
        other = DrawnSamples(1, seed=seed, **SHORT | {"fps": fps})
        assert other.fingerprint(0) != few.fingerprint(0)
        assert other.events(0) != few.events(0)
    assert few.events(0).sensor_size == (48, 48)
    assert not few.draws


def test_all_gestures_are_drawn_unless_some_are_named() -> None:
    samples = DrawnSamples(2, seed=0)
    assert samples.classes == PERSON_GESTURES
    assert len(samples) == 2 * len(PERSON_GESTURES)
    assert samples.scene(5).gesture == samples.rows[5].label


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"count": 0}, "count = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"close": 1.5}, "close = 1.5"),
        ({"gestures": ("hand_clab",)}, "hand_clap"),
    ],
)
def test_what_cannot_be_drawn_is_refused(given: dict[str, object], named: str) -> None:
    with refused(ConfigError, named):
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
    assert samples.kinds == ("recording", "depth clip")
    events = samples.events(1)
    assert events.sensor_size == (64, 64)
    assert len(events) > 100
    assert samples.events(1) == events
    assert open_samples(tmp_path / "set", seed=1).fingerprint(1) != samples.fingerprint(1)


def test_a_part_of_a_depth_clip_is_refused(tmp_path: Path) -> None:
    depth_clip(tmp_path / "a.npz")
    (tmp_path / "list.csv").write_text("file,label,start,stop\na.npz,wave,0ms,50ms\n")
    samples = open_samples(tmp_path / "list.csv")
    with refused(FormatError, "a.npz", "depth clip"):
        samples.events(0)


def swinging(frames: int, quick: slice) -> NDArray[np.float64]:
    """A skeleton that stands, and in some frames swings its right arm; as MSR Action3D has it."""
    joints = np.zeros((frames, 20, 4))
    joints[:, :, 2] = 2.5
    heights = {19: 0.6, 2: 0.45, 3: 0.1, 6: 0.0, 0: 0.4, 7: 0.15, 9: -0.1, 11: -0.2, 1: 0.4,
               8: 0.15, 10: -0.1, 12: -0.2, 4: 0.0, 13: -0.4, 15: -0.8, 17: -0.85, 5: 0.0,
               14: -0.4, 16: -0.8, 18: -0.85}  # fmt: skip
    for joint, height in heights.items():
        joints[:, joint, 1] = height
    joints[:, [0, 7, 9, 11], 0] = -0.2
    joints[:, [1, 8, 10, 12], 0] = 0.2
    swing = np.zeros(frames)
    swing[quick] = np.sin(np.arange(frames)[quick])
    for joint, part in ((8, 0.5), (10, 1.0), (12, 1.2)):
        joints[:, joint, 0] += 0.3 * part * swing
    return joints


def test_skeletons_move_people_who_are_drawn_anew_for_each(tmp_path: Path) -> None:
    path = tmp_path / "joints.npz"
    clips = {f"{name}/s{p}_t{t}": swinging(40, slice(25, 38)) + 0.01 * p
             for name in ("clap", "wave") for p in (1, 2) for t in (1, 2)}  # fmt: skip
    np.savez(path, **clips)
    samples = SkeletonSamples(path, 2, seed=3, size=(48, 48), fps=50, duration_us=600_000)
    assert len(samples) == 2 * len(clips)
    assert samples.classes == ("clap", "wave")
    assert {row.group for row in samples.rows} == {"s1", "s2"}
    assert samples.rows[1].name == "clap/s1_t1/1"
    assert samples.scene(0).look != samples.scene(1).look
    events = samples.events(0)
    assert len(events) > 100
    assert events.duration_us < 600_000
    again = SkeletonSamples(path, 3, seed=3, actions=("clap",), size=(48, 48), fps=50,
                            duration_us=600_000)  # fmt: skip
    assert again.events(0) == events
    assert again.fingerprint(0) == samples.fingerprint(0) != samples.fingerprint(1)
    other = SkeletonSamples(path, 2, seed=4, size=(48, 48), fps=50, duration_us=600_000)
    assert other.events(0) != events


def test_clips_of_an_archive_without_a_skeleton_are_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "joints.npz"
    whole = swinging(30, slice(5, 20))
    empty = np.zeros_like(whole)
    np.savez(path, **{"wave/s1_t1": whole, "wave/s1_t2": empty, "clap/s2_t1": whole})
    samples = SkeletonSamples(path, seed=1)
    assert [row.name for row in samples.rows] == ["clap/s2_t1/0", "wave/s1_t1/0"]
    assert f"{path}: wave/s1_t2: left out, it has no skeleton in any frame" in samples.notes


def test_that_part_of_a_skeleton_is_taken_in_which_its_hands_move_most() -> None:
    times = np.arange(60) * 50_000
    joints = from_msr_action3d(swinging(60, slice(40, 50)))
    part = liveliest(Skeleton(joints, times), 1_000_000)
    assert part.t_us[-1] - part.t_us[0] == 1_000_000
    assert part.t_us[0] <= times[39] < times[50] <= part.t_us[-1]
    whole = Skeleton(joints[:10], times[:10])
    assert liveliest(whole, 1_000_000) is whole


def test_depth_clips_lend_their_skeletons(tmp_path: Path) -> None:
    joints = from_msr_action3d(swinging(len(SWING), slice(0, 99)))
    (tmp_path / "set" / "wave").mkdir(parents=True)
    write_npz(tmp_path / "set/wave/s1_t1.npz", replace(SWING, joints_m=joints.astype(np.float32)))
    samples = SkeletonSamples(tmp_path / "set", seed=1, size=(48, 48), fps=50)
    assert samples.classes == ("wave",)
    assert len(samples.events(0)) > 0


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"count": 0}, "count = 0"),
        ({"actions": ("wavy",)}, "'wave'"),
        ({"path": "nothing.npz"}, "nothing.npz"),
        ({"path": "flat.npz"}, "flat.npz"),
        ({"path": "empty"}, "empty"),
    ],
)
def test_what_is_no_skeleton_is_refused(
    tmp_path: Path, given: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "joints.npz", **{"wave/s1_t1": swinging(10, slice(2, 8))})
    np.savez(tmp_path / "flat.npz", a=np.zeros(()))
    (tmp_path / "empty").mkdir()
    with refused((ConfigError, FormatError), named):
        SkeletonSamples(**({"path": "joints.npz", "count": 1, "seed": 0} | given))
    np.savez(tmp_path / "short.npz", **{"wave/a": np.zeros((10, 3, 3))})
    with refused(FormatError, "short.npz", "wave/a", "(10, 3, 3)"):
        SkeletonSamples("short.npz", seed=0).events(0)
