"""Photographs that move: frames move as the flow says, hidden content is known, paths are exact."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dvskit.errors import ConfigError, MissingFileError, ShapeError, VideoError
from dvskit.scenes import (
    LayerPath,
    LayerScene,
    PhotoExposure,
    PhotoLayer,
    package_photographs,
    read_photograph,
)
from dvskit.scenes.planes import noise_texture
from tests.laws import refused

SIZE = (64, 48)
REST = LayerPath([0, 1], np.zeros(4), np.zeros((1, 2, 4)))


def photographs(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.uint8(255 * noise_texture(rng, (90, 120), grain_px=6)) for _ in range(2)]


def drawn(seed: int, **given) -> LayerScene:
    return LayerScene.random(photographs(), seed, size=SIZE, duration_us=400_000, **given)


def sampled(image: np.ndarray, scene: LayerScene, moved: np.ndarray) -> np.ndarray:
    """`image` at each pixel's place plus `moved`."""
    y, x = np.mgrid[: scene.size.height, : scene.size.width].astype(np.float32)
    there = np.nan_to_num(np.stack([x, y], -1) + moved).astype(np.float32)
    return cv2.remap(image.astype(np.float32), there, None, cv2.INTER_LINEAR)


@pytest.mark.parametrize("seed", range(3))
def test_frames_move_as_the_displacement_says(seed):
    scene = drawn(seed)
    before, after = scene.frame(100_000) / 65535, scene.frame(130_000) / 65535
    moved = scene.moved(130_000, 100_000)
    known = ~np.isnan(moved[..., 0])
    assert known.mean() > 0.5
    off = np.abs(sampled(before, scene, moved) - after)[known]
    at_rest = np.abs(before - after)[known]
    assert np.median(off) < max(0.005, 0.1 * at_rest.mean())  # edges are sampled twice
    assert off.mean() < 0.7 * at_rest.mean()


@pytest.mark.parametrize("seed", range(3))
def test_the_flow_is_the_rate_of_the_displacement(seed):
    scene = drawn(seed)
    for t_us in (60_000, 210_000):
        step_us = 100
        moved = scene.moved(t_us, t_us + step_us)
        known = ~np.isnan(moved[..., 0])
        rate = scene.truth(t_us)[known] * (step_us * 1e-6)
        np.testing.assert_allclose(moved[known], rate, atol=2e-3)
        assert np.abs(rate).max() > 1e-4 or seed == 0


def test_content_that_a_layer_in_front_hides_has_no_displacement():
    cover = np.zeros((20, 20), np.float32)
    cover[5:15, 5:15] = 1
    slide = LayerPath([0, 1], np.zeros(4), np.broadcast_to([100.0, 0, 0, 0], (1, 2, 4)))
    wall = PhotoLayer(photographs()[0] / 255, REST)
    scene = LayerScene([wall, PhotoLayer(np.ones((20, 20)), slide, cover)], SIZE)
    moved = scene.moved(0, 100_000)  # the square goes on by its own width
    hidden = np.isnan(moved[..., 0])
    assert hidden.sum() == 100
    square = moved[..., 0] == 10
    assert square.sum() == 100
    assert (moved[~hidden & ~square] == 0).all()
    assert hidden[:, np.flatnonzero(square.any(0)) + 10].sum() == 100


def test_a_path_is_continuous_and_its_rate_is_its_slope():
    path = LayerPath.random(np.random.default_rng(3), 1_000_000, px_s=80)
    times = np.linspace(0, 1e6, 4001)
    places, rates = (np.array(each) for each in zip(*map(path.at, times), strict=True))
    steps = np.diff(places, axis=0)
    assert np.abs(steps).max() < 0.5
    slopes, middle = steps / 250e-6, (rates[1:] + rates[:-1]) / 2
    off = np.abs(slopes - middle).max(1) > 0.5
    assert off.sum() < len(path.t_s)  # only where a stretch of the path begins


@pytest.mark.parametrize("seed", range(3))
def test_before_a_camera_at_rest_only_things_in_front_move(seed):
    scene = drawn(seed, camera_rests=True)
    wall, *things = scene.layers
    assert things
    assert not wall.path.rates.any()
    times = np.linspace(0, scene.duration_us, 101)
    for thing in things:
        places = np.array([thing.path.at(t_us)[0][:2] for t_us in times])
        middle = np.hypot(*(places / SIZE).T)
        assert middle.min() < 0.55  # of the frame's sides: it is seen at some time
    assert (scene.truth(200_000) == 0).all(-1).mean() > 0.05


def test_an_exposure_has_its_mean_and_keeps_the_order_of_brightness():
    codes = np.random.default_rng(0).random((40, 50)).astype(np.float32)
    for negative in (False, True):
        lit = PhotoExposure(gamma=2.2, mean=0.3, black=0.02, negative=negative).on(codes)
        assert lit.dtype == np.float32
        assert lit.mean() == pytest.approx(0.32, abs=0.01)
        order = np.argsort(codes, axis=None)
        assert (np.diff(lit.ravel()[order]) * (-1 if negative else 1) >= 0).all()
    bright = PhotoExposure(2.2, 0.3, 0.02).on(codes, like=codes / 4)
    assert bright.max() == 1  # white is cut


def test_a_scene_is_the_same_at_each_pass_and_differs_by_seed():
    first, again, other = (drawn(seed).frame(50_000) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_between_two_frames_nothing_moves_far():
    for seed in range(8):
        scene = drawn(seed, px_s=200)
        assert scene.fastest_px_s() / scene.fps < 1.0
        t_us = scene.times_us()
        assert t_us[0] == 0
        assert len(t_us) == len(scene)


def test_a_layer_that_repeats_in_mirrored_copies_still_moves_exactly():
    slide = LayerPath([0, 1], np.zeros(4), np.broadcast_to([300.0, 0, 0, 0], (1, 2, 4)))
    image = photographs()[0][:30, :40] / 255  # smaller than the frame
    scene = LayerScene([PhotoLayer(image, slide)], SIZE)
    first, later = scene.frame(0), scene.frame(100_000)
    assert np.abs(first[:, :-30].astype(int) - later[:, 30:]).max() <= 1


@pytest.mark.parametrize(
    ("make", "kind", "named"),
    [
        (lambda: LayerScene([]), ConfigError, "first layer"),
        (lambda: LayerPath([0, 0], np.zeros(4), np.zeros((1, 2, 4))), ConfigError, "increasing"),
        (lambda: LayerPath([0, 1], np.zeros(3), np.zeros((1, 2, 4))), ConfigError, "start"),
        (lambda: LayerPath([0, 1], np.full(4, np.nan), np.zeros((1, 2, 4))), ConfigError, "finite"),
        (lambda: PhotoLayer(np.zeros((1, 5)), REST), ShapeError, "2x2"),
        (lambda: PhotoLayer(np.zeros((4, 5)), REST, np.zeros((5, 4))), ShapeError, "(5, 4)"),
    ],
)
def test_impossible_scenes_are_refused(make, kind, named):
    with refused(kind, named):
        make()


def test_the_photographs_of_packages_are_gray_images():
    found = package_photographs()
    assert "grace_hopper" in found
    image = read_photograph(found["grace_hopper"])
    assert image.dtype == np.uint8
    assert image.ndim == 2
    assert min(image.shape) > 100
    assert image.std() > 20


def test_files_that_are_no_images_are_refused(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"no image")
    for name, kind in (("none.png", MissingFileError), ("a.png", VideoError)):
        with refused(kind, name):
            read_photograph(tmp_path / name)
