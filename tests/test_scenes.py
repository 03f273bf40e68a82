"""Scenes: a frame is a function of its time, and the gestures are what their names say."""

from __future__ import annotations

from dataclasses import replace
from math import atan2, hypot, pi

import numpy as np
import pytest

from dvskit.errors import ConfigError, GeometryError
from dvskit.events import Size
from dvskit.scenes import GESTURES, ArmScene
from dvskit.scenes._figure import Sprite, _Canvas, paste
from dvskit.scenes._motion import Limbs, hanging, pose

LIMBS = Limbs(1.4, 1.15, 0.95)
SMALL = Size(96, 72)


@pytest.mark.slow
@pytest.mark.parametrize("gesture", GESTURES)
def test_a_frame_depends_on_its_time_alone(gesture):
    scene = ArmScene.random(gesture, 3, size=SMALL, duration_us=100_000)
    assert scene.noise > 0
    whole = list(scene)
    some = [8, 2, 2, 15]
    again = list(scene.frames([whole[n][0] for n in some]))
    for n, (t_us, frame) in zip(some, again, strict=True):
        assert t_us == whole[n][0]
        np.testing.assert_array_equal(frame, whole[n][1])


def test_frames_are_gray_bytes_of_the_asked_size_at_exact_times():
    scene = ArmScene(size=SMALL, fps=120, duration_us=50_000)
    frames = list(scene)
    assert [t_us for t_us, _ in frames] == [0, 8333, 16666, 25000, 33333, 41666]
    assert all(type(t_us) is int for t_us, _ in frames)
    assert all(frame.shape == (72, 96) and frame.dtype == np.uint8 for _, frame in frames)
    assert list(replace(scene, duration_us=50_001).times_us())[-1] == 50_000
    assert list(replace(scene, duration_us=0)) == []


def test_clips_of_one_seed_are_equal_and_of_two_seeds_are_not():
    one, same, other = (ArmScene.random("hand wave", seed, size=SMALL) for seed in (1, 1, 2))
    assert one == same
    np.testing.assert_array_equal(*(next(iter(scene))[1] for scene in (one, same)))
    assert one != other
    assert (next(iter(one))[1] != next(iter(other))[1]).any()


def test_the_same_seed_gives_the_same_person_at_every_size():
    large = ArmScene.random("hand wave", 5, size=(240, 180))
    small = ArmScene.random("hand wave", 5, size=(120, 90), fps=60)
    assert replace(small, size=large.size, fps=large.fps) == large
    fine, coarse = (next(replace(s, noise=0).frames([300_000]))[1] for s in (large, small))
    pooled = fine.reshape(90, 2, 120, 2).mean((1, 3))
    # The wall's pattern and the cloth's folds are drawn anew; outlines and tones agree.
    assert np.corrcoef(pooled.ravel(), coarse.ravel())[0, 1] > 0.97


@pytest.mark.slow
@pytest.mark.parametrize("gesture", GESTURES)
@pytest.mark.parametrize("arm", ["left", "right"])
def test_the_moving_arm_is_where_the_frames_change(gesture, arm):
    scene = ArmScene(gesture=gesture, arm=arm, size=SMALL, sway=0, cycle_hz=1)
    frames = np.stack([frame for _, frame in scene.frames(range(0, 1_000_000, 50_000))])
    change = np.abs(np.diff(frames.astype(int), axis=0)).sum(0)
    left, right = change[:, :48].sum(), change[:, 48:].sum()
    if gesture == "hand clap":
        assert 0.5 < left / right < 2
    elif arm == "right":
        assert left > 20 * right
    else:
        assert right > 20 * left


@pytest.mark.parametrize("arm", ["left", "right"])
@pytest.mark.parametrize(("gesture", "turn"), [("arm clockwise", 1), ("arm counter-clockwise", -1)])
def test_clockwise_is_clockwise_in_the_picture_for_both_arms(arm, gesture, turn):
    outward = {"right": -1, "left": 1}[arm]
    wrists = [pose(gesture, n / 40, 1.0, LIMBS, outward).wrist for n in range(41)]
    x, y = np.array(wrists).T * [[outward], [1]]
    angles = np.unwrap(np.arctan2(y - y[:-1].mean(), x - x[:-1].mean()))
    # y points down: a growing angle is a clockwise turn.
    assert (np.diff(angles) * turn > 0).all()
    assert angles[-1] - angles[0] == pytest.approx(2 * pi * turn)


@pytest.mark.slow
@pytest.mark.parametrize("gesture", GESTURES)
@pytest.mark.parametrize("amplitude", [0.0, 0.5, 0.8, 1.0, 1.2])
def test_bones_keep_their_length_and_move_without_jumps(gesture, amplitude):
    steps = 2000
    poses = [pose(gesture, n / steps, amplitude, LIMBS, 1) for n in range(steps + 1)]
    flat = np.array([(*p.elbow, *p.wrist) for p in poses])
    bones = {
        "upper": np.hypot(flat[:, 0], flat[:, 1]),
        "fore": np.hypot(flat[:, 2] - flat[:, 0], flat[:, 3] - flat[:, 1]),
    }
    for name, length in bones.items():
        own = getattr(LIMBS, name)
        assert (length <= own * (1 + 1e-9)).all()
        if gesture != "hand clap":  # where the bones point at the camera
            np.testing.assert_allclose(length, own)
    np.testing.assert_allclose(flat[0], flat[-1], atol=1e-9)
    assert np.abs(np.diff(flat, axis=0)).max() < 0.03


def test_an_arm_at_rest_hangs_down():
    rest = hanging(LIMBS)
    assert rest.wrist[1] > 0.95 * (LIMBS.upper + LIMBS.fore)
    assert hypot(rest.wrist[0], rest.wrist[1]) < LIMBS.upper + LIMBS.fore
    assert atan2(rest.elbow[1], rest.elbow[0]) < pi / 2


def test_a_sprite_moves_by_parts_of_a_pixel():
    canvas = _Canvas((-1, -1, 1, 1), head_px=10)
    canvas.add(canvas.bone((-0.4, 0), (0.4, 0), (0.3, 0.3)), 100.0, 0.1)
    sprite = canvas.sprite()
    shifts = np.arange(0, 1, 0.125)
    centres = []
    for shift in shifts:
        picture = np.zeros((40, 40), np.float32)
        paste(picture, sprite, (20 + shift, 15 - shift), 0.0)
        y, x = (picture[..., None] * np.indices((40, 40)).transpose(1, 2, 0)).sum((0, 1)).T
        centres.append((x / picture.sum(), y / picture.sum()))
    expected = np.stack([20 + shifts, 15 - shifts], 1)
    np.testing.assert_allclose(centres, expected, atol=0.03)


@pytest.mark.parametrize("place", [(-500.0, 5.0), (5.0, 900.0), (0.0, 0.0), (39.0, 39.0)])
def test_what_is_off_the_picture_is_cut(place):
    wide, narrow = np.zeros((140, 140), np.float32), np.zeros((40, 40), np.float32)
    sprite = Sprite(np.ones((50, 70, 2), np.float32), (10.0, 20.0))
    paste(wide, sprite, (place[0] + 50, place[1] + 50), 0.4)
    paste(narrow, sprite, place, 0.4)
    np.testing.assert_allclose(narrow, wide[50:90, 50:90], atol=0.05)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gesture": "hand wav"}, "did you mean 'hand wave'"),
        ({"arm": "both"}, "neither 'left' nor 'right'"),
        ({"skin": 1.2}, "skin = 1.2 is outside 0 to 1"),
        ({"head": float("nan")}, "head = nan"),
        ({"fps": 0}, "fps = 0"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        ArmScene(**fields)


def test_an_unknown_gesture_or_an_impossible_size_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'hand clap'"):
        ArmScene.random("hand claps", 0)
    with pytest.raises(GeometryError):
        ArmScene(size=(0, 10))
