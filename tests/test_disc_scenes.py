"""Scenes of discs: pictures against their own truth."""

from __future__ import annotations

import numpy as np
import pytest

from dvskit.errors import ConfigError
from dvskit.scenes import DiscScene, MovingShape
from tests.laws import refused

SIZE = (64, 48)


def one(**more):
    fields = {"t_us": (0, 100_000), "places": ((10.3, 20), (40, 25.6)), "width": 12, "height": 8}
    return MovingShape(**{**fields, "shade": 1.0, **more})


def drawn(*shapes, **more):
    return DiscScene(shapes, size=SIZE, background=0, duration_us=100_000, **more)


@pytest.mark.parametrize("is_round", [True, False])
def test_a_picture_has_its_middle_and_area_where_the_truth_says(is_round):
    scene = drawn(one(round=is_round))
    for t_us in (0, 33_000, 100_000):
        picture = scene.frame(t_us) / 65535
        y, x = np.mgrid[: SIZE[1], : SIZE[0]]
        middle = (picture * x).sum() / picture.sum(), (picture * y).sum() / picture.sum()
        np.testing.assert_allclose(middle, scene.truth(t_us).place[0], atol=0.05)
        assert picture.sum() == pytest.approx(12 * 8 * (np.pi / 4 if is_round else 1), rel=0.02)


def test_the_velocity_is_the_slope_of_the_places():
    shape = one(t_us=(0, 40_000, 100_000), places=((5, 5), (20, 9), (50, 30)))
    for t_us in (10_000, 40_000, 77_000):
        slope = (shape.place(t_us + 10) - shape.place(t_us - 10)) / 20e-6
        np.testing.assert_allclose(shape.velocity(t_us), slope, rtol=1e-3)
    assert not shape.velocity(100_001).any()


def test_a_pause_is_exactly_still():
    shape = one(t_us=(0, 10_000, 60_000, 100_000), places=((5, 5), (20, 9), (20, 9), (50, 30)))
    for t_us in (10_000, 30_000, 59_999):
        assert shape.place(t_us).tolist() == [20, 9]


def test_what_hides_a_shape_is_in_its_truth():
    back, front = one(places=((20, 20), (20, 20))), one(places=((20, 20), (40, 20)))
    scene = drawn(back, front)
    np.testing.assert_allclose(scene.truth(0).shown, (0, 1), atol=0.1)  # shares of border pixels
    np.testing.assert_allclose(scene.truth(100_000).shown, (1, 1), atol=0.02)
    half = drawn(back, bars=[(20.5, 0, 30, 48)])
    np.testing.assert_allclose(half.truth(0).shown, 0.5, atol=0.02)
    assert drawn(one(places=((-50, 9), (0, 9)))).truth(0).shown[0] == 0


@pytest.mark.slow
def test_a_scene_of_a_seed_is_always_the_same_and_starts_with_shapes_apart():
    for seed in range(8):
        scene, again = DiscScene.random(seed), DiscScene.random(seed)
        np.testing.assert_array_equal(scene.frame(1_234_567), again.frame(1_234_567))
        places = scene.truth(0).place
        first, second = places[:2]
        assert np.hypot(*(first - second)) > 12
    assert not np.array_equal(DiscScene.random(0).frame(0), DiscScene.random(1).frame(0))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"t_us": (5, 5)}, "increasing"),
        ({"places": ((1, 2), (3, 4), (5, 6))}, "(3, 2)"),
    ],
)
def test_wrong_shapes_are_errors(given, named):
    with refused(ConfigError, named):
        one(**given)
