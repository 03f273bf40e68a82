"""Masks by shape, by array and by image, with and without inversion."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dvskit.errors import ConfigError, GeometryError, ShapeError
from dvskit.events import Events, Size
from dvskit.filters import Mask, PolygonMask, filter_from
from tests.laws import refused

SIZE = Size(20, 16)
Y, X = np.mgrid[: SIZE.height, : SIZE.width]
EVERYWHERE = Events(t=np.arange(320), x=X.ravel(), y=Y.ravel(), p=X.ravel() % 2 == 0, size=SIZE)


def kept(text_or_filter):
    """Return the pixels whose events a filter keeps."""
    chosen = filter_from(text_or_filter) if isinstance(text_or_filter, str) else text_or_filter
    events = chosen(EVERYWHERE)
    assert events.sensor_size == SIZE
    picture = np.zeros((SIZE.height, SIZE.width), bool)
    picture[events.y, events.x] = True
    return picture


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("circle_mask:9,7,5", (X - 9) ** 2 + (Y - 7) ** 2 <= 25),
        ("circle_mask:0.5,-2,radius=4", (X - 0.5) ** 2 + (Y + 2) ** 2 <= 16),
        ("rectangle_mask:3,2,6,9", (X >= 3) & (X < 9) & (Y >= 2) & (Y < 11)),
        ("polygon_mask:2.5,2.5,12.5,2.5,12.5,9.5,2.5,9.5", (X > 2) & (X < 13) & (Y > 2) & (Y < 10)),
        ("polygon_mask:-1,-1,21,-1,-1,21", X + Y < 20),
    ],
)
def test_a_mask_keeps_its_inside_and_inverted_the_rest(text, inside):
    np.testing.assert_array_equal(kept(text), inside)
    np.testing.assert_array_equal(kept(f"{text},invert=true"), ~inside)
    np.testing.assert_array_equal(kept(f"{text},invert=no"), inside)


def test_where_a_polygon_covers_itself_twice_is_outside():
    picture = kept(PolygonMask(((2.5, 2.5), (14.5, 14.5), (14.5, 2.5), (2.5, 14.5))))
    assert picture[8, 4]
    assert picture[8, 13]
    assert not picture[4, 8]


@pytest.mark.parametrize(
    "text",
    ["circle_mask:40,7,5", "rectangle_mask:2.2,0,0.5,5,invert=true", "polygon_mask:1,1,5,5,9,9"],
)
def test_a_shape_without_a_pixel_of_the_sensor_is_an_error(text):
    with refused(GeometryError, "20x16"):
        filter_from(text)(EVERYWHERE)


def test_a_mask_of_an_array_keeps_its_pixels_and_its_own_copy():
    keep = np.random.default_rng(2).random((16, 20)) < 0.5
    mask, wanted = Mask(keep), EVERYWHERE[keep.ravel()]
    keep[:] = False
    assert mask(EVERYWHERE) == wanted
    for wrong in (np.ones((3, 4)), [True]):
        with refused(ShapeError, "Mask"):
            Mask(wrong)
    with refused(GeometryError, "4x3", "20x16"):
        Mask(np.ones((3, 4), bool))(EVERYWHERE)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_mask_is_read_from_a_picture_where_it_is_neither_black_nor_transparent(
    tmp_path, channels
):
    path, picture = tmp_path / "a,b.png", np.zeros((16, 20, channels), np.uint8)
    picture[2:9, 3:18, 0] = 200
    if channels == 4:
        picture[2:9, 3:10, 3] = 255
    cv2.imwrite(str(path), picture)
    wanted = picture[..., 0] > 0
    if channels == 4:
        wanted &= picture[..., 3] > 0
    assert Mask.read(path) == Mask(wanted)
    assert Mask.read(path, invert=True) == Mask(~wanted)
    np.testing.assert_array_equal(kept(f"mask:{path}"), wanted)
    np.testing.assert_array_equal(kept(f"mask:{path},invert=true"), ~wanted)


@pytest.mark.parametrize(("value", "invert", "fix"), [(0, False, "true"), (255, True, "false")])
def test_an_image_that_keeps_no_pixel_is_an_error(tmp_path, value, invert, fix):
    path = tmp_path / "plain.png"
    assert cv2.imwrite(str(path), np.full((SIZE.height, SIZE.width), value, np.uint8))
    with refused(ConfigError, "plain.png", f"invert={fix}"):
        Mask.read(path, invert=invert)
    assert Mask.read(path, invert=not invert).keep.all()
