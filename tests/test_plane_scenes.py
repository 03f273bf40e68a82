"""Planes and boxes in front of a moving camera: their flow, depth and pictures agree."""

import cv2
import numpy as np
import pytest

from dvskit.errors import ConfigError, ShapeError
from dvskit.scenes import KeyframePath, Patch, PlaneScene, SteadyPath, box
from dvskit.scenes.plane_kernels import cast
from dvskit.scenes.planes import noise_texture
from dvskit.streams import Intrinsics
from tests.laws import refused

SIZE = (64, 48)
LENS = Intrinsics(60.0, 58.0, 31.0, 23.0, -0.3, 0.1, 0.001, -0.002, 0.0)
NOISE = noise_texture(np.random.default_rng(1), (300, 400), grain_px=12)
WALL = Patch((0, 0, 2), (4, 0, 0), (0, 3, 0), NOISE)


def scene(path, camera=LENS, patches=(WALL,), **fields):
    return PlaneScene(patches, path, camera, SIZE, **fields)


@pytest.mark.parametrize("motion", ["rotation", "translation", "free"])
@pytest.mark.parametrize("seed", range(2))
def test_the_flow_is_the_limit_of_the_displacement(motion, seed):
    drawn = PlaneScene.random(seed, motion, size=SIZE)
    flow = drawn.truth(200_000).flow
    moved = drawn.moved(200_000 - 50, 200_000 + 50) / 1e-4
    assert np.nanquantile(np.abs(flow - moved), 0.98) < 1e-3 * np.nanmax(np.abs(flow))


@pytest.mark.parametrize("camera", [None, LENS])
def test_the_displacement_moves_one_picture_onto_the_other(camera):
    drawn = scene(SteadyPath((0.5, -1.0, 2.0), (0.2, 0.1, -0.5)), camera)
    here, there = (drawn.frame(t).astype(np.float32) for t in (0, 40_000))
    moved = drawn.moved(0, 40_000)
    y, x = np.mgrid[:48, :64].astype(np.float32)
    back = cv2.remap(there, x + moved[..., 0], y + moved[..., 1], cv2.INTER_LINEAR)
    inside = np.s_[6:-6, 6:-6]
    assert np.hypot(*moved[inside].reshape(-1, 2).T).mean() > 1.5
    assert np.abs(back - here)[inside].mean() < 0.1 * np.abs(there - here)[inside].mean()


def test_a_steady_translation_along_a_plane_gives_focal_length_times_speed_over_depth():
    drawn = scene(SteadyPath((0, 0, 0), (0.5, 0, 0)), None)
    truth = drawn.truth(0)
    assert np.allclose(truth.flow[..., 0], -drawn.lens.fx * 0.5 / 2, atol=1e-4)
    assert np.allclose(truth.flow[..., 1], 0, atol=1e-4)
    assert np.allclose(truth.depth, 2)


@pytest.mark.slow
def test_a_steady_path_is_the_integral_of_its_velocity():
    path = SteadyPath((0.3, -0.9, 0.5), (1.0, 0.2, -0.4))
    rotation, position = np.eye(3), np.zeros(3)
    for _ in range(20_000):
        pose = path.pose(0)
        position = position + rotation @ pose.linear_m_s * 5e-5
        w = pose.angular_rad_s * 5e-5
        rotation = rotation @ (
            np.eye(3) + np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])
        )
    there = path.pose(1_000_000)
    assert np.allclose(there.position, position, atol=1e-4)
    assert np.allclose(there.rotation, rotation, atol=1e-3)


def test_a_path_through_keyframes_passes_them_and_its_velocity_is_its_derivative():
    rng = np.random.default_rng(2)
    times = [0, 70_000, 150_000, 300_000]
    path = KeyframePath(times, rng.normal(0, 0.3, (4, 3)), rng.normal(0, 0.3, (4, 3)))
    for t_us, place in zip(times, path.positions, strict=True):
        assert np.allclose(path.pose(t_us).position, place)
    here, ahead, behind = (path.pose(100_000 + dt) for dt in (0, 50, -50))
    turn = behind.rotation.T @ ahead.rotation
    found = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    assert np.allclose(found / 2e-4, here.angular_rad_s, rtol=1e-3, atol=1e-4)
    speed = here.rotation.T @ (ahead.position - behind.position) / 1e-4
    assert np.allclose(speed, here.linear_m_s, atol=1e-4)
    assert np.array_equal(path.pose(-9).angular_rad_s, np.zeros(3))


def test_rays_meet_the_nearest_rectangle_as_a_slow_caster_finds_it():
    rng = np.random.default_rng(3)
    patches = [WALL, *box((0.1, 0, 1.2), (0.4, 0.3, 0.2), [NOISE], (0.3, 0.5, 0.1))]
    laid = scene(SteadyPath(), patches=patches)._laid_out
    rays = np.column_stack([rng.uniform(-0.6, 0.6, (200, 2)), np.ones(200)])
    brightness, depth = cast(np.zeros(3), rays, *laid, 0.5)
    for ray, shade, far in zip(rays, brightness, depth, strict=True):
        hits = []
        for patch in patches:
            normal = np.cross(patch.right, patch.down)
            at = normal @ patch.center / (normal @ ray)
            off = at * ray - patch.center
            a = off @ patch.right / (patch.right @ patch.right)
            b = off @ patch.down / (patch.down @ patch.down)
            if at > 0 and abs(a) <= 1 and abs(b) <= 1:
                hits.append((at, patch, a, b))
        at, patch, a, b = min(hits, key=lambda hit: hit[0])
        assert far == pytest.approx(at)
        x, y = (a + 1) / 2 * 400 - 0.5, (b + 1) / 2 * 300 - 0.5
        expected = cv2.remap(
            patch.texture, np.float32([[x]]), np.float32([[y]]), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        assert shade == pytest.approx(float(expected[0, 0]), abs=0.02)


def test_where_nothing_stands_there_is_background_and_no_flow():
    small = Patch((0, 0, 1), (0.1, 0, 0), (0, 0.1, 0), np.ones((4, 4)))
    drawn = scene(SteadyPath((0, 0, 1)), None, [small], background=0.25)
    truth, frame = drawn.truth(0), drawn.frame(0)
    outside = np.isinf(truth.depth)
    assert 0 < outside.sum() < outside.size
    assert np.isnan(truth.flow[outside]).all()
    assert np.isfinite(truth.flow[~outside]).all()
    assert np.isnan(drawn.moved(0, 1000)[outside]).all()
    assert frame[0, 0] == round(0.25 * 65535)
    assert frame[24, 31] == 65535


def test_a_seed_gives_the_same_scene_at_every_rate():
    slow, fast = (PlaneScene.random(5, size=SIZE, fps=fps) for fps in (100, 1000))
    assert np.array_equal(slow.frame(50_000), fast.frame(50_000))
    assert not np.array_equal(slow.frame(0), PlaneScene.random(6, size=SIZE).frame(0))


@pytest.mark.parametrize(
    ("make", "kind", "named"),
    [
        (lambda: PlaneScene([]), ConfigError, "no patches"),
        (lambda: PlaneScene.random(0, "spin"), ConfigError, "'spin'"),
        (lambda: Patch((0, 0), (1, 0, 0), (0, 1, 0), NOISE), ConfigError, "center"),
        (lambda: Patch((0, 0, 1), (1, 0, 0), (1, 1, 0), NOISE), ConfigError, "right angle"),
        (lambda: Patch((0, 0, 1), (0, 0, 0), (0, 1, 0), NOISE), ConfigError, "longer than 0"),
        (lambda: Patch((0, 0, 1), (1, 0, 0), (0, 1, 0), [1.0]), ShapeError, "at least 2x2"),
        (lambda: KeyframePath([0], [[0, 0, 0]]), ConfigError, "two or more increasing times"),
        (lambda: KeyframePath([0, 1], [[0, 0, 0]]), ConfigError, "a row for each time"),
    ],
)
def test_impossible_scenes_are_refused(make, kind, named):
    with refused(kind, named):
        make()
