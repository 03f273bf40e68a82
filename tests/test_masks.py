"""Masks by shape and by image, with and without inversion."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dvskit.errors import ConfigError, GeometryError
from dvskit.events import Events, Size
from dvskit.filters import CircleMask, Mask, PolygonMask, RectangleMask, filter_from

SIZE = Size(20, 16)


def everywhere():
    y, x = (each.ravel() for each in np.mgrid[: SIZE.height, : SIZE.width])
    return Events(t=np.arange(len(x)), x=x, y=y, p=x % 2 == 0, size=SIZE)


def kept(text_or_filter):
    chosen = filter_from(text_or_filter) if isinstance(text_or_filter, str) else text_or_filter
    events = chosen(everywhere())
    assert events.size == SIZE
    picture = np.zeros((SIZE.height, SIZE.width), bool)
    picture[events.y, events.x] = True
    return picture


Y, X = np.mgrid[: SIZE.height, : SIZE.width]


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("circle_mask:9,7,5", (X - 9) ** 2 + (Y - 7) ** 2 <= 25),
        ("circle_mask:0.5,-2,radius=4", (X - 0.5) ** 2 + (Y + 2) ** 2 <= 16),
        ("rectangle_mask:3,2,6,9", (X >= 3) & (X < 9) & (Y >= 2) & (Y < 11)),
        ("rectangle_mask:-5,-5,8,8", (X < 3) & (Y < 3)),
        ("polygon_mask:2.5,2.5,12.5,2.5,12.5,9.5,2.5,9.5", (X > 2) & (X < 13) & (Y > 2) & (Y < 10)),
        ("polygon_mask:-1,-1,21,-1,-1,21", X + Y < 20),
    ],
)
def test_a_mask_keeps_its_inside_and_inverted_the_rest(text, inside):
    np.testing.assert_array_equal(kept(text), inside)
    np.testing.assert_array_equal(kept(f"{text},invert=true"), ~inside)
    np.testing.assert_array_equal(kept(f"{text},invert=no"), inside)


def test_where_a_polygon_covers_itself_twice_is_outside():
    bow = PolygonMask(((2.5, 2.5), (14.5, 14.5), (14.5, 2.5), (2.5, 14.5)))
    picture = kept(bow)
    assert picture[8, 4]
    assert picture[8, 13]
    assert not picture[4, 8]


def test_an_image_is_inverted_in_the_text_of_a_filter(tmp_path):
    path = tmp_path / "a,b.png"
    image = np.zeros((SIZE.height, SIZE.width), np.uint8)
    image[3:6, 4:9] = 200
    assert cv2.imwrite(str(path), image)
    np.testing.assert_array_equal(kept(f"mask:{path}"), image > 0)
    np.testing.assert_array_equal(kept(f"mask:{path},invert=true"), image == 0)
    assert Mask.read(path, invert=True) == Mask(image == 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("polygon_mask:1,2,3,4", "three corners"),
        ("polygon_mask:1,2,3", "without its y"),
        ("polygon_mask:1,2,x,4", "not numbers"),
        ("circle_mask:1,2,-3", "radius"),
        ("circle_mask:1,2,0", "radius_px=0"),
        ("circle_mask:1,2,nan", "radius_px=nan"),
        ("rectangle_mask:1,2,0,4", "width=0"),
        ("rectangle_mask:1,2,3,-4", "height=-4"),
        ("rectangle_mask:nan,2,3,4", "x=nan"),
        ("rectangle_mask:1,2,inf,4", "width=inf"),
        ("polygon_mask:1,2,3,4,nan,6", "three corners"),
        ("polygon_mask:1,2,3,4,1e300,6", "three corners"),
        ("circle_mask:1,2", "radius is missing"),
        ("mask:x.png,invert=maybe", "neither true nor false"),
        ("mask:x.png", "x.png: no such file"),
        ("rectangle_mask:1,2,3,4,maybe", "neither true nor false"),
    ],
)
def test_a_wrong_mask_is_one_line(text, words):
    with pytest.raises(ConfigError, match=words) as caught:
        filter_from(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "circle_mask:40,7,5",
        "circle_mask:3.5,3.5,0.4",
        "rectangle_mask:20,0,5,5",
        "rectangle_mask:2.2,0,0.5,5,invert=true",
        "polygon_mask:1,1,5,5,9,9",
        "polygon_mask:-9,-9,-1,-9,-9,-1",
    ],
)
def test_a_shape_without_a_pixel_of_the_sensor_is_an_error(text):
    with pytest.raises(GeometryError, match="no pixel of the 20x16 sensor is inside") as caught:
        filter_from(text)(everywhere())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("value", "invert", "fix"), [(0, False, "true"), (255, True, "false")])
def test_an_image_that_keeps_no_pixel_is_an_error(tmp_path, value, invert, fix):
    path = tmp_path / "plain.png"
    assert cv2.imwrite(str(path), np.full((SIZE.height, SIZE.width), value, np.uint8))
    words = rf"plain.png: as a mask it keeps no pixel: .* invert={fix}"
    with pytest.raises(ConfigError, match=words):
        Mask.read(path, invert=invert)
    assert Mask.read(path, invert=not invert).keep.all()


@pytest.mark.parametrize(
    ("kind", "fields"),
    [(CircleMask, (1, 2, 3)), (RectangleMask, (1, 2, 3, 4)),
     (PolygonMask, (((0, 0), (9, 0), (0, 9)),))],
)  # fmt: skip
def test_a_text_does_not_invert_a_mask(kind, fields):
    with pytest.raises(ConfigError, match="invert='no' is neither True nor False"):
        kind(*fields, invert="no")


def test_masks_with_equal_fields_are_equal():
    assert CircleMask(1, 2, 3) == CircleMask(1, 2, 3)
    assert RectangleMask(1, 2, 3, 4) != RectangleMask(1, 2, 3, 4, invert=True)
