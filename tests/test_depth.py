"""Depth clips as scenes: a frame is a function of its time, and what flickers is held still."""

from __future__ import annotations

import runpy
import sys
from dataclasses import replace

import cv2
import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat

import dvskit
from dvskit.errors import DvskitError, FormatError, MissingFileError, ShapeError
from dvskit.scenes import DepthClip, DepthScene, read_depth_clip
from dvskit.scenes.depth_kernels import drift, steady
from tests.laws import refused
from tests.tree import SAMPLES

HIGH, WIDE = 110, 90
CORNER = (110, 60)  # of the person in the camera's picture
CENTER = (160.0 - CORNER[0], 120.0 - CORNER[1])
FOCAL = 285.63


def figure(angle: float = 0.0, shift: float = 0.0) -> np.ndarray:
    """Return (H, W) meters of a person 2.9 m away whose right arm is turned by `angle`."""
    fine = 4
    depth = np.full((HIGH * fine, WIDE * fine), np.nan, np.float32)

    def lay(draw, meters):
        mask = np.zeros(depth.shape, np.uint8)
        draw(mask)
        depth[mask > 0] = meters

    at = lambda x, y: (round((x + shift) * fine), round(y * fine))  # noqa: E731
    lay(lambda m: cv2.ellipse(m, at(50, 75), (16 * fine, 45 * fine), 0, 0, 360, 1, -1), 2.9)
    lay(lambda m: cv2.ellipse(m, at(50, 17), (8 * fine, 11 * fine), 0, 0, 360, 1, -1), 2.85)
    tip = 36 - 26 * np.sin(angle), 42 + 26 * np.cos(angle)
    lay(lambda m: cv2.line(m, at(36, 42), at(*tip), 1, 8 * fine), 2.8)
    return depth[fine // 2 :: fine, fine // 2 :: fine]


def joints(angle: float = 0.0) -> np.ndarray:
    """Return the (20, 3) joints that go with `figure`."""
    tip = np.array((-np.sin(angle), np.cos(angle)))
    arm = [np.array((36, 42)) + share * tip for share in (0, 13, 22, 26)]
    other = [np.array((62, y)) for y in (42, 55, 66, 70)]
    legs = [(56, 80), (56, 112), (56, 140), (56, 145), (44, 80), (44, 112), (44, 140), (44, 145)]
    rows = [(50, 17), (50, 32), (50, 60), (50, 76), *other, *arm, *legs]
    pixels = np.array([tuple(map(float, row)) for row in rows])
    flat = np.array([1, -1]) * (pixels - CENTER) * 2.9 / FOCAL
    return np.column_stack([flat, np.full(20, 2.9)]).astype(np.float32)


SAMPLE = SAMPLES / "make_arm_gestures.py"


def clip_of(angles, frames=None, **fields) -> DepthClip:
    depth = np.stack([figure(a) for a in angles]) if frames is None else frames
    return DepthClip(
        depth.astype(np.float32),
        np.arange(len(depth)) * 1_000_000 // 30,
        np.stack([joints(a) for a in angles]),
        center_px=CENTER,
        **fields,
    )


SWING = clip_of(np.linspace(0.1, 1.5, 10))


def flickering(frames: int, seed: int) -> DepthClip:
    """Return a person who stands still before a camera that errs by a pixel and by a centimeter."""
    rng = np.random.default_rng(seed)
    still = figure()
    noisy = []
    for _ in range(frames):
        frame = still + 0.008 * rng.integers(-1, 2, still.shape)
        wider = cv2.dilate(np.nan_to_num(frame, nan=0).astype(np.float32), np.ones((3, 3)))
        rim = np.isnan(still) & (wider > 0)
        frame[rim] = np.where(rng.random(rim.sum()) < 0.5, wider[rim], np.nan)
        frame[(rng.random(still.shape) < 0.01)] = np.nan  # holes
        noisy.append(frame)
    clip = clip_of(np.zeros(frames), np.stack(noisy))
    shaken = clip.joints_m + rng.normal(0, 0.004, clip.joints_m.shape)
    return replace(clip, joints_m=shaken.astype(np.float32))


@pytest.mark.parametrize("fps", [None, 100])
def test_a_frame_depends_on_its_time_alone(fps):
    scene = DepthScene.random(SWING, 3, size=(64, 48), fps=fps)
    whole = list(scene)
    assert whole[0][0] == 0
    assert {(frame.shape, frame.dtype.name) for _, frame in whole} == {((48, 64), "float32")}
    assert len(np.unique(whole[0][1])) > 256  # finer than bytes
    some = [8, 2, 2, 15, 0]
    for n, (t_us, frame) in zip(some, scene.frames([whole[n][0] for n in some]), strict=True):
        assert t_us == whole[n][0]
        np.testing.assert_array_equal(frame, whole[n][1])


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    one, same, other = (
        np.stack([frame for _, frame in DepthScene.random(SWING, seed, size=(40, 40))])
        for seed in (1, 1, 2)
    )
    assert one.tobytes() == same.tobytes()
    assert (one[0] != other[0]).any()


def test_a_seed_draws_the_same_person_at_every_size_and_rate():
    large = DepthScene.random(SWING, 5, size=(120, 120), fps=100)
    small = DepthScene.random(SWING, 5, size=(60, 60))
    fine, coarse = (next(replace(s, wall_texture=0).frames([90_000]))[1] for s in (large, small))
    pooled = fine.reshape(60, 2, 60, 2).mean((1, 3))
    assert np.corrcoef(pooled.ravel(), coarse.ravel())[0, 1] > 0.99


def test_a_flip_is_the_mirror_image():
    scene = DepthScene.random(SWING, 6, size=(64, 64), flip=False)
    flipped = replace(scene, flip=True, center_x=1 - scene.center_x)
    (_, frame), (_, mirrored) = next(scene.frames([155_000])), next(flipped.frames([155_000]))
    np.testing.assert_allclose(mirrored[:, ::-1], frame, atol=0.02)
    assert {DepthScene.random(SWING, seed).flip for seed in range(12)} == {False, True}


def test_twice_the_speed_shows_the_same_in_half_the_time():
    scene = replace(DepthScene.random(SWING, 7, size=(40, 40)), speed=1.0)
    fast = replace(scene, speed=2.0)
    assert fast.duration_us == scene.duration_us // 2
    (_, slow), (_, quick) = next(scene.frames([120_000])), next(fast.frames([60_000]))
    np.testing.assert_array_equal(slow, quick)


@pytest.mark.parametrize("seed", [1, 2])
def test_who_stands_still_gives_no_events_although_her_outline_flickers(seed):
    clip = flickering(30, seed)
    scene = DepthScene.random(clip, seed, size=(96, 96))
    assert len(dvskit.emulate(scene).load()) == 0


def test_the_background_stays_still_while_an_arm_moves():
    scene = replace(DepthScene.random(SWING, 8, size=(96, 96), flip=False), shadow=0.0)
    frames = np.stack([frame for _, frame in scene])
    change = np.ptp(frames, axis=0)
    assert change.max() > 0.05
    assert change[:, 70:].max() == 0  # the picture's right is the still arm's side, and the wall


def test_a_fast_arm_is_between_its_two_places_halfway():
    clip = clip_of([0.5, 0.5, 0.95, 0.95])  # the hand covers 12 pixels, an arm's width is 8
    plain = {"wall": 0.9, "skin": 0.1, "shirt": 0.1, "wall_texture": 0, "shadow": 0}
    scene = DepthScene(clip, size=(WIDE, HIGH), **plain)
    ahead, halfway, behind = (frame < 0.4 for _, frame in scene.frames([33_333, 50_000, 66_666]))
    assert (halfway & ~ahead & ~behind).sum() > 5


def test_drift_finds_a_turn_and_leaves_the_rest():
    rng = np.random.default_rng(1)
    arm = rng.uniform((0, 0, 2.5), (0.3, 0.06, 2.52), (150, 3)).astype(np.float32)
    body = rng.uniform((-0.3, -0.1, 2.8), (0, 0.2, 2.82), (60, 3)).astype(np.float32)
    c, s = np.cos(0.35), np.sin(0.35)
    turned = (arm @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])).astype(np.float32)
    points = np.concatenate([arm, body])
    moves = np.arange(210) < 150
    found = drift(points, moves, np.concatenate([turned, body]))
    assert (found[150:] == 0).all()
    error = np.linalg.norm(found[:150] - (turned - arm), axis=1)
    assert np.median(error) < 0.015
    assert np.linalg.norm(turned - arm, axis=1).max() > 0.09


def test_steady_is_what_its_words_say():
    rng = np.random.default_rng(2)
    values = rng.normal(0, 1, (13, 5)).astype(np.float32).cumsum(0)
    reach, jump, slack = 3, 0.7, 0.2
    expected = np.empty_like(values)
    for k in range(13):
        window = range(max(0, k - reach), min(13, k + reach + 1))
        for n in range(5):
            weights = [
                np.exp(-2 * (j - k) ** 2 / reach**2)
                / (1 + ((values[j, n] - values[k, n]) / jump) ** 2) ** 2
                for j in window
            ]
            expected[k, n] = np.average([values[j, n] for j in window], weights=weights)
    means = expected.copy()
    for n in range(5):
        first = 1
        while first < 13 and np.ptp(means[: first + 1, n]) <= 2 * slack:
            first += 1
        held = (means[:first, n].min() + means[:first, n].max()) / 2
        for k in range(13):
            held = np.clip(held, means[k, n] - slack, means[k, n] + slack)
            expected[k, n] = held
    np.testing.assert_allclose(steady(values, reach, jump, slack), expected, atol=1e-5)


def write_npz(path, clip: DepthClip, **changed):
    steps = np.rint((np.nan_to_num(clip.depth_m, nan=0) * 1000 - 2500) / 5) + 1
    held = {
        "depth": np.where(np.isnan(clip.depth_m), 0, steps).astype(np.uint8),
        "near_mm": np.int32(2500),
        "step_mm": np.int32(5),
        "corner": np.array(CORNER, np.int16),
        "joints_m": clip.joints_m.astype(np.float16),
    } | changed
    np.savez(path, **{key: value for key, value in held.items() if value is not None})
    return path


def write_mat(folder, clip: DepthClip, wall_mm=4200, skeleton=True, mirrored=()):
    picture = np.full((240, 320, len(clip)), wall_mm, np.uint16)
    x, y = CORNER
    millimeters = np.rint(np.nan_to_num(clip.depth_m, nan=0) * 1000)
    window = picture[y : y + HIGH, x : x + WIDE]
    window[:] = np.where(millimeters > 0, millimeters, wall_mm).transpose(1, 2, 0)
    bones = clip.joints_m.astype(np.float16).astype(float).transpose(1, 2, 0)
    if "picture" in mirrored:
        picture = picture[:, ::-1]
    if "joints" in mirrored:
        bones = bones * np.array((-1, 1, 1))[None, :, None]
    savemat(folder / "a3_s1_t1_depth.mat", {"d_depth": picture})
    if skeleton:
        savemat(folder / "a3_s1_t1_skeleton.mat", {"d_skel": bones})
    return folder / "a3_s1_t1_depth.mat"


def test_npz_and_mat_of_one_clip_give_the_same_scene(tmp_path):
    packed = read_depth_clip(write_npz(tmp_path / "s1_t1.npz", SWING))
    whole = read_depth_clip(write_mat(tmp_path, SWING))
    np.testing.assert_array_equal(packed.depth_m, whole.depth_m)
    assert packed.center_px == whole.center_px
    one, two = (list(DepthScene.random(clip, 9, size=(48, 48))) for clip in (packed, whole))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a[1], b[1])


@pytest.mark.parametrize("mirrored", [("picture", "joints"), ("joints",), ("picture",)])
def test_a_mirrored_mat_is_turned_and_it_is_said(tmp_path, mirrored):
    whole = read_depth_clip(write_mat(tmp_path, SWING))
    (tmp_path / "m").mkdir()
    turned = read_depth_clip(write_mat(tmp_path / "m", SWING, mirrored=mirrored))
    np.testing.assert_array_equal(turned.depth_m, whole.depth_m)
    np.testing.assert_array_equal(turned.joints_m, whole.joints_m)
    assert any("mirror" in note for note in turned.notes)


def test_a_mat_of_version_73_is_read(tmp_path):
    path = write_mat(tmp_path, SWING)
    whole, stored = read_depth_clip(path), loadmat(path)["d_depth"]
    path.unlink()
    with h5py.File(path, "w", userblock_size=512) as file:
        file["d_depth"] = stored.T
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    np.testing.assert_array_equal(read_depth_clip(path).depth_m, whole.depth_m)


def test_without_a_skeleton_the_nearest_body_is_found_and_clothed_by_height(tmp_path):
    clip = read_depth_clip(write_mat(tmp_path, SWING, skeleton=False))
    assert clip.joints_m is None
    assert "by height" in clip.notes[0]
    with_joints = read_depth_clip(write_mat(tmp_path, SWING))
    bodies = [(~np.isnan(c.depth_m)).sum() for c in (clip, with_joints)]
    assert 0.55 < bodies[0] / bodies[1] <= 1.01
    frame = next(iter(DepthScene.random(clip, 2, size=(64, 64))))[1]
    assert frame.std() > 0.02


def test_frames_without_a_person_are_left_out_and_counted(tmp_path):
    depth = SWING.depth_m.copy()
    depth[3:5] = np.nan
    path = tmp_path / "s1_t1.npz"
    write_npz(path, SWING, depth=np.where(np.isnan(depth), 0, 80).astype(np.uint8))
    clip = read_depth_clip(path)
    assert len(clip) == 8
    assert clip.notes == ("2 of 10 frames hold no person and were left out",)
    assert np.diff(clip.t_us).max() > 90_000  # the others' times stay


@pytest.mark.parametrize(
    ("changed", "kind", "named"),
    [
        ({"depth": None}, FormatError, "'depth'"),
        ({"near_mm": None}, FormatError, "'near_mm'"),
        ({"depth": np.zeros((4, 9, 9), np.uint8)}, FormatError, "4 of 4"),
        ({"depth": np.ones((1, 9, 9), np.uint8)}, FormatError, "1 frame"),
        ({"depth": np.ones((4, 9, 9), np.float32)}, ShapeError, "float32"),
        ({"joints_m": np.zeros((3, 20, 3))}, ShapeError, "(3, 20, 3)"),
        ({"joints_m": np.full((10, 20, 3), np.nan)}, ShapeError, "joints_m"),
        ({"near_mm": np.int32(2_500_000)}, ShapeError, "bad.npz"),
        ({"corner": np.arange(3)}, ShapeError, "corner"),
    ],
)
def test_a_wrong_npz_is_refused_by_name(tmp_path, changed, kind, named):
    with refused(kind, "bad.npz", named):
        read_depth_clip(write_npz(tmp_path / "bad.npz", SWING, **changed))


def test_hostile_files_are_refused_by_name(tmp_path):
    for name in ("noise.npz", "noise_depth.mat", "clip.avi"):
        (tmp_path / name).write_bytes(b"PK\x03\x04" + bytes(range(200)))
    savemat(tmp_path / "other_depth.mat", {"x": np.zeros(3)})
    savemat(tmp_path / "small_depth.mat", {"d_depth": np.zeros((3, 4, 5))})
    write_mat(tmp_path, SWING)
    savemat(tmp_path / "a3_s1_t1_skeleton.mat", {"d_skel": np.zeros((20, 3, 4))})
    for name, kind, named in (
        ("noise.npz", DvskitError, ""),
        ("noise_depth.mat", DvskitError, ""),
        ("clip.avi", DvskitError, ""),
        ("none.npz", MissingFileError, ""),
        ("other_depth.mat", FormatError, "'d_depth'"),
        ("small_depth.mat", ShapeError, "(3, 4, 5)"),
        ("a3_s1_t1_depth.mat", ShapeError, "10 frames"),
    ):
        with pytest.raises(kind) as caught:
            read_depth_clip(tmp_path / name)
        assert named in str(caught.value)


@pytest.mark.slow
def test_real_clips_move_where_their_hands_are(data):
    clip = read_depth_clip(data / "gestures" / "utd-mhad" / "wave" / "s1_t1.npz")
    scene = DepthScene.random(clip, 1, flip=False)
    early = [t_us for t_us in scene.times_us() if t_us < 900_000]
    events = dvskit.emulate(list(scene.frames(early))).load()
    # The right arm is on the left of the picture.
    assert len(events) > 3000
    assert (events.x < 64).mean() > 0.7
    assert 0.4 < events.p.mean() < 0.6


def test_the_sample_makes_what_is_not_there_and_lists_what_failed(tmp_path, monkeypatch, capsys):
    depth, out = tmp_path / "depth", tmp_path / "out"
    (depth / "wave").mkdir(parents=True)
    few = clip_of(np.linspace(0.1, 0.6, 4))
    write_npz(depth / "wave" / "s1_t1.npz", few)
    write_npz(depth / "wave" / "s2_t1.npz", few, near_mm=None)
    write_mat(depth, few)  # action 3 of subject 1, which is a wave too
    (depth / "a3_s1_t1_depth.mat").rename(depth / "a9_s3_t1_depth.mat")
    words = [str(SAMPLE), str(depth), str(out), "--to", "npz", "--jobs", "1"]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setenv("DVSKIT_THREADS", "1")
    threads = cv2.getNumThreads()

    def run():
        with pytest.raises(SystemExit, match=r"s2_t1\.npz: has no 'near_mm'"):
            runpy.run_path(str(SAMPLE), run_name="__main__")
        files = sorted(path for path in out.rglob("*") if path.is_file())
        return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in files}

    first = run()
    assert "2 recordings made, 0 were there" in capsys.readouterr().err
    assert list(first) == ["circle_clockwise/s3_t1.npz", "wave/s1_t1.npz"]
    assert dvskit.load_events(out / "wave" / "s1_t1.npz").sensor_size == (128, 128)
    assert run() == first
    assert "0 recordings made, 2 were there" in capsys.readouterr().err
    cv2.setNumThreads(threads)
