"""The drawn person: a frame is a function of its time, and gestures are what their names say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dvskit.errors import ConfigError, GeometryError, ShapeError
from dvskit.scenes import PERSON_GESTURES, PersonScene
from dvskit.scenes.depth_clip import KINECT_JOINTS
from dvskit.scenes.person import (
    Build,
    GestureMotion,
    Look,
    SkeletonMotion,
    View,
    from_msr_action3d,
    mend,
    mirrored,
)
from dvskit.scenes.person.body import LEFT, RIGHT, joints, reach
from dvskit.scenes.person.figure import PersonCamera
from dvskit.scenes.person.person_kernels import COLUMNS, PartColumn, PartKind, paint
from tests.laws import refused

SMALL = (48, 48)
SEEDS = range(2)
SECOND = np.arange(0, 2.0, 0.01)
CIRCLES = [gesture for gesture in PERSON_GESTURES if gesture.endswith("clockwise")]


def body(gesture: str, seed: int, t_s=SECOND):
    build = Build()
    return joints(GestureMotion(gesture, seed).moves(t_s, build), build)


def travel(places: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(places, axis=0), axis=-1).sum())


@pytest.mark.parametrize(("gesture", "close"), [("arm_roll", False), ("other", True)])
def test_a_frame_depends_on_its_time_alone(gesture, close):
    scene = PersonScene.random(gesture, 3, size=SMALL, duration_us=400_000, close=close)
    whole = list(scene)
    assert len(whole) == 80  # more than are laid out at once
    some = [70, 2, 2, 33]
    for n, (t_us, frame) in zip(some, scene.frames([whole[n][0] for n in some]), strict=True):
        assert t_us == whole[n][0]
        np.testing.assert_array_equal(frame, whole[n][1])


def test_frames_are_16_bit_of_the_asked_size_at_exact_times():
    scene = PersonScene(size=(60, 40), fps=120, duration_us=50_000)
    frames = list(scene)
    assert [t_us for t_us, _ in frames] == [0, 8333, 16666, 25000, 33333, 41666]
    assert all(type(t_us) is int for t_us, _ in frames)
    assert all(frame.shape == (40, 60) and frame.dtype == np.uint16 for _, frame in frames)
    assert list(replace(scene, duration_us=0)) == []


def test_clips_of_one_seed_are_equal_and_of_two_seeds_are_not():
    one, same, other = (PersonScene.random("air_drums", seed, size=SMALL) for seed in (1, 1, 2))
    assert one == same
    np.testing.assert_array_equal(*(next(iter(scene))[1] for scene in (one, same)))
    assert one != other
    assert (next(iter(one))[1] != next(iter(other))[1]).any()


@pytest.mark.parametrize(("gesture", "close"), [("hand_clap", False), ("other", True)])
def test_the_same_seed_gives_the_same_scene_at_every_size(gesture, close):
    coarse, fine = (
        replace(scene, view=replace(scene.view, blur=0.02))
        for scene in (
            PersonScene.random(gesture, 5, size=s, close=close) for s in (SMALL, (192,) * 2)
        )
    )
    assert replace(coarse, size=fine.size) == fine
    large, small = (next(scene.frames([300_000]))[1] / 65535 for scene in (fine, coarse))
    pooled = large.reshape(48, 4, 48, 4).mean((1, 3))
    assert np.abs(pooled - small).mean() < 0.012
    assert np.corrcoef(pooled.ravel(), small.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("gesture", PERSON_GESTURES)
def test_a_mirror_shows_the_other_hand_and_the_other_turn(gesture):
    scene = PersonScene.random(gesture, 1, size=SMALL)
    mirror = scene.flipped()
    assert mirror.gesture == mirrored(gesture)
    assert mirror.flipped() == scene
    for (_, seen), (_, frame) in zip(mirror.frames([0, 1]), scene.frames([0, 1]), strict=True):
        np.testing.assert_array_equal(seen, frame[:, ::-1])
    for one, other in (("left", "right"), ("counter_clockwise", "clockwise")):
        assert (one in gesture) == (other in mirror.gesture and one not in mirror.gesture)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("gesture", CIRCLES)
def test_clockwise_is_as_the_person_sees_it(gesture, seed):
    arm = LEFT if gesture.startswith("left") else RIGHT
    x, y, _ = body(gesture, seed).wrist[:, arm].T
    # The person looks at us: what is right for her is left in the picture.
    angle = np.unwrap(np.arctan2(y - y.mean(), -(x - x.mean())))
    turns = (angle[-1] - angle[0]) / (2 * np.pi)
    assert (turns > 1) if "counter" in gesture else (turns < -1)  # y is up: clockwise falls


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("gesture", [g for g in PERSON_GESTURES if g.startswith(("left", "right"))])
def test_the_named_arm_moves_and_the_other_rests(gesture, seed):
    moving = LEFT if gesture.startswith("left") else RIGHT
    tips = body(gesture, seed).tips[:, :, 1]
    assert travel(tips[:, moving]) > 4 * travel(tips[:, 1 - moving])


@pytest.mark.parametrize("gesture", ["right_hand_wave", "left_hand_wave"])
def test_a_picture_changes_on_the_side_of_the_waving_hand(gesture):
    left = right = 0.0
    for seed in range(6):
        scene = PersonScene.random(gesture, seed, size=SMALL)
        scene = replace(scene, view=View(), motion=None, look=replace(scene.look, wall_shadow=0))
        frames = np.stack([frame for _, frame in scene.frames(range(0, 1_000_000, 50_000))])
        change = np.abs(np.diff(frames.astype(int), axis=0)).sum(0)
        left, right = left + change[:, :24].sum(), right + change[:, 24:].sum()
    assert (left > 2.5 * right) if gesture == "right_hand_wave" else (right > 2.5 * left)


@pytest.mark.parametrize("seed", SEEDS)
def test_clapping_hands_meet_and_part(seed):
    palms = body("hand_clap", seed).knuckles.mean(2)
    apart = np.linalg.norm(palms[:, LEFT] - palms[:, RIGHT], axis=-1)
    assert apart.min() < 0.1
    assert apart.max() > apart.min() + 0.06


@pytest.mark.parametrize("seed", SEEDS)
def test_rolling_forearms_run_around_one_another(seed):
    wrist = body("arm_roll", seed).wrist
    _, up, back = (wrist[:, LEFT] - wrist[:, RIGHT]).T
    angle = np.unwrap(np.arctan2(up, back))
    assert abs(angle[-1] - angle[0]) > 2 * np.pi


@pytest.mark.parametrize("gesture", PERSON_GESTURES)
@pytest.mark.parametrize("seed", SEEDS)
def test_bones_keep_their_length_and_nothing_jumps(gesture, seed):
    at = body(gesture, seed, np.arange(0, 1.5, 0.002))
    own = Build()
    for one, other, length in (
        (at.shoulder, at.elbow, own.upper_arm),
        (at.elbow, at.wrist, own.forearm),
    ):
        np.testing.assert_allclose(np.linalg.norm(other - one, axis=-1), length, rtol=0.05)
    for places in (at.wrist, at.tips, at.head, at.ankle):
        steps = np.linalg.norm(np.diff(places, axis=0), axis=-1)
        assert steps.max() < 0.035  # 17 m/s
        # Steps grow and shrink by little: no joint snaps into place.
        assert np.abs(np.diff(steps, axis=0)).max() < 0.008


def test_hands_stay_outside_the_trunk():
    build = Build()
    grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 21)] * 3), -1).reshape(-1, 3)
    upper, fore = reach(grid, np.array([0.5, -1.0]), build)
    wrist = build.upper_arm * upper + build.forearm * fore
    inside = (wrist[:, 0] < -0.06) & (wrist[:, 0] > -0.3) & (abs(wrist[:, 1] + 0.25) < 0.2)
    assert inside.sum() > 50
    assert wrist[inside, 2].min() > 0.5 * build.front


def painted(side, shade, rows, blur=1.0, face=(1, 0.5, 0, 0, 0.5)) -> np.ndarray:
    """Return a picture (side, side) of parts over a wall of one shade, in flat light."""
    parts = np.zeros((len(rows), COLUMNS), np.float32)
    for part, row in zip(parts, rows, strict=True):
        for name, value in row.items():
            part[PartColumn[name.upper()]] = value
    wall, out = np.full((side, side), shade, np.float32), np.empty((side, side), np.uint16)
    light, cloth = np.array([0, 0, 1, 1, 0], np.float32), np.zeros((1, 2, 2), np.float32)
    look = (cloth, wall[0], light, np.array(face, np.float32))
    paint(wall, parts, look, blur, (wall.copy(), wall.copy()), out)
    return out / 65535


def bars(*rows: dict[str, float], blur: float = 1.0) -> np.ndarray:
    """Return a picture (32, 32) of bars from left to right over a gray wall."""
    ends = {"a_x": -9, "b_x": 41, "a_y": 16, "b_y": 16, "cloth": -1, "scale": 1e6}
    usual = ends | {"radius_a": 6, "radius_b": 6}
    return painted(32, 0.5, [usual | row for row in rows], blur)


def head(**turned: float) -> np.ndarray:
    """Return how dark the features of a white head are before a black wall, (64, 64)."""
    usual = {"kind": PartKind.HEAD, "a_x": 32, "a_y": 32, "radius_a": 20, "radius_b": 28, "tone": 1}
    return painted(64, 0.0, [usual | {"scale": 100} | turned])


def test_what_is_nearer_hides_what_is_farther_in_any_order():
    near, far = (
        {"tone": 0.9, "a_z": 1, "b_z": 1},
        {"tone": 0.1, "a_z": 2, "b_z": 2, "radius_a": 9, "radius_b": 9},
    )
    one, other = bars(near, far), bars(far, near)
    np.testing.assert_allclose(one[16], 0.9, atol=1e-4)
    np.testing.assert_allclose(one[[8, 23]], 0.1, atol=1e-4)
    # At the very edge of the nearer bar only what was painted before it shows through.
    np.testing.assert_allclose(
        np.delete(one, [9, 10, 21, 22], 0), np.delete(other, [9, 10, 21, 22], 0)
    )


def test_bars_that_pass_through_one_another_blend_halfway():
    crossing = bars({"tone": 0.9, "a_z": 1, "b_z": 2}, {"tone": 0.1, "a_z": 2, "b_z": 1})[16]
    # In 50 px each goes 1 m deeper or nearer: they blend over less than a pixel.
    assert crossing[0] > 0.85
    assert crossing[31] < 0.15
    assert (np.diff(crossing) <= 1e-4).all()


def middle(weight: np.ndarray) -> np.ndarray:
    """Return the center of a picture's weight: x, y."""
    y, x = np.indices(weight.shape)
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


def test_a_face_turns_with_the_head():
    inside = np.hypot(*(np.indices((64, 64)) - 31.5) / [[[26]], [[18]]]) < 1
    ahead, left, down = (
        middle(inside * (1 - head(**turned))) for turned in ({}, {"spin": 0.4}, {"bulge": 0.3})
    )
    assert left[0] > ahead[0] + 2  # her left is on the right of the picture
    assert down[1] > ahead[1] + 2
    y, x = np.indices((64, 64)) - 31.5
    assert (x * y * head(flat=0.4)).sum() < -1000  # the crown to the right, the chin to the left


def test_a_camera_above_sees_what_is_far_higher_in_the_picture():
    far, above = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])
    camera = PersonCamera(View(rise=20.0), 100, 100)
    (_, middle_y, depth, _), (_, far_y, _, _), (_, _, high_depth, _) = (
        camera.see(place) for place in (np.zeros(3), far, above)
    )
    assert far_y < middle_y
    assert high_depth < depth
    x, *_ = PersonCamera(View(turn=20.0), 100, 100).see(np.array([0.0, 0.0, -0.3]))
    assert x < 50  # her front, turned to her right, is on the left of the picture


@pytest.mark.parametrize("blur", [1.0, 4.0, 7.0])
def test_an_edge_is_as_wide_as_the_blur_and_keeps_its_place(blur):
    column = bars({"tone": 1.0}, blur=blur)[:, 16]
    between = (column[:16] > 0.501) & (column[:16] < 0.999)
    assert abs(between.sum() - blur) <= 1
    assert 2 * (column - 0.5).sum() == pytest.approx(12, abs=0.05)


def test_a_body_moves_as_its_skeleton_does():
    for gesture in ("right_hand_wave", "left_arm_clockwise"):
        build, t_s = Build(), np.arange(0, 2, 1 / 30)
        drawn = joints(GestureMotion(gesture, 4).moves(t_s, build), build)
        motion = SkeletonMotion.of(kinect(drawn), t_s * 1e6)
        again = joints(motion.moves(t_s, build), build)
        away = np.linalg.norm(again.wrist - drawn.wrist, axis=-1)[5:-5]
        assert np.median(away) < 0.05
        assert motion.mended.missing == motion.mended.jumps == 0


def kinect(at) -> np.ndarray:
    """Return the joints of a body as Kinect gives them."""
    places = {"head": at.head, "neck": at.chest, "spine": at.hips, "hips": at.hips}
    for arm, side in ((RIGHT, "right"), (LEFT, "left")):
        for name in ("shoulder", "elbow", "wrist", "knee", "ankle"):
            places[f"{side}_{name}"] = getattr(at, name)[:, arm]
        places[f"{side}_hip"] = at.leg[:, arm]
        places[f"{side}_hand"] = at.knuckles[:, arm, 1]
        places[f"{side}_foot"] = at.ankle[:, arm]
    return np.stack([places[name] for name in KINECT_JOINTS], 1)


def test_missing_frames_and_jumping_joints_are_filled_in_and_counted():
    whole = kinect(body("right_hand_wave", 1, np.arange(0, 2, 1 / 30)))
    broken = whole.copy()
    broken[10:13] = 0
    broken[20, 3, 1] = np.nan
    broken[30, KINECT_JOINTS.index("right_wrist")] += [0.0, 0.9, 0.0]
    mended = mend(broken)
    assert (mended.missing, mended.jumps) == (4, 1)
    assert np.abs(mended.joints - whole).max() < 0.2
    again = mend(mended.joints)
    assert (again.missing, again.jumps) == (0, 0)
    np.testing.assert_array_equal(again.joints, mended.joints)
    scene = PersonScene.from_joints(broken, np.arange(60) * 33_333, 1, size=SMALL)
    assert scene.motion.mended.missing == 4
    assert scene.duration_us == 59 * 33_333


def test_msr_action3d_is_turned_to_the_picture_and_its_right_hand_to_the_left():
    given = np.zeros((5, 20, 4))
    given[..., 0] = np.arange(20)
    turned = from_msr_action3d(given)
    assert turned.shape == (5, 20, 3)
    assert turned[0, KINECT_JOINTS.index("head"), 0] == -19
    assert turned[0, KINECT_JOINTS.index("right_hand"), 0] == -12
    assert turned[0, KINECT_JOINTS.index("left_shoulder"), 0] == 0


@pytest.mark.parametrize(
    ("joints_m", "t_us", "named"),
    [
        (np.ones((9, 20, 4)), np.arange(9), "(9, 20, 4)"),
        (np.zeros((9, 20, 3)), np.arange(9), "0 of 9"),
        (np.ones((9, 20, 3)), np.arange(8), "(8,)"),
        (np.ones((9, 20, 3)), np.array([0, 1, 2, 2, 3, 4, 5, 6, 7]), "frame 3"),
        (np.ones((9, 20, 3)), np.full(9, np.nan), "t_us"),
    ],
)
def test_what_is_no_skeleton_is_refused(joints_m, t_us, named):
    with refused(ShapeError, named):
        PersonScene.from_joints(joints_m, t_us, 0)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: PersonScene(size=(0, 10)), "10"),
        (lambda: PersonScene.random("hand_claps", 0), "'hand_clap'"),
        (lambda: GestureMotion("arm_roll", 0, speed=float("nan")), "speed = nan"),
        (lambda: PersonScene.random("other", -1), "seed = -1"),
        (lambda: Look(skin=1.2), "skin = 1.2"),
        (lambda: Look(pattern="stripe"), "'stripes'"),
        (lambda: Look(walls="brick"), "'bricks'"),
        (lambda: View(distance_m=float("nan")), "distance_m = nan"),
        (lambda: Build(forearm=0.0), "forearm = 0.0"),
    ],
)
def test_fields_out_of_range_are_refused(make, named):
    with refused((ConfigError, GeometryError), named):
        make()


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (300, 5)])
def test_the_smallest_pictures_are_drawn(size):
    for gesture in PERSON_GESTURES:
        ((_, frame),) = PersonScene.random(gesture, 0, size=size).frames([0])
        assert frame.shape == size[::-1]


@pytest.mark.parametrize("gesture", ["right_arm_clockwise", "air_drums"])
def test_a_gesture_may_begin_from_rest_and_is_then_as_it_is_without(gesture: str) -> None:
    times = np.arange(0, 1.5, 0.02)
    at_once = GestureMotion(gesture, 5).moves(times, Build())
    begins = GestureMotion(gesture, 5, rest_s=0.4, rise_s=0.3).moves(times, Build())
    np.testing.assert_allclose(begins.upper[times > 0.71], at_once.upper[times > 0.71], atol=1e-12)
    rest = begins.upper[times < 0.39]
    assert np.abs(np.diff(rest, axis=0)).max() < 0.01
    assert (rest[:, 0, 1] < -0.5).all()
    assert np.abs(np.diff(begins.upper, axis=0)).max() < 0.35  # smooth, in 20 ms
