"""Clouds: points where the camera puts them, their colors, and the box that fits."""

from __future__ import annotations

import functools
import math
from collections import Counter

import cv2
import numpy as np
import pytest

from dvskit import Events, render
from dvskit.errors import ConfigError, OutputError, ShapeError
from dvskit.events import Size
from dvskit.render import CloudView, _camera, cloud_kernels
from dvskit.render._camera import box_halves, corners, fit, rotation
from dvskit.render._scene import Scene
from dvskit.render._thinning import thin
from dvskit.render.colormap import DARK, LIGHT, rgb
from tests.laws import InBlocks, refused, same_on_threads, scattered


def some_events(count=400, seed=0, size=(20, 14)):
    """Return events of 8 ms, not from t = 0 on."""
    events = scattered(count, size, span_us=8_000, seed=seed)
    return Events(t=events.t + 1_000, x=events.x, y=events.y, p=events.p, size=size)


# -- the splat


def camera_for(size, azimuth=40.0, perspective=1.0):
    return fit(
        box_halves(size), rotation(azimuth, 25.0)[None], (5.0, 5.0, 95.0, 75.0), perspective
    )[0]


def box_points(events, span):
    """Where events lie in the box, from the definition in _camera."""
    width, height = events.sensor_size
    longer = max(width, height)
    halves = box_halves(events.sensor_size)
    return np.stack(
        [
            (events.t - events.t[0]) / span * 2 * halves[0] - halves[0],
            (height / 2 - (events.y + 0.5)) / longer,
            ((events.x + 0.5) - width / 2) / longer,
        ],
        axis=1,
    )


def splat_by_hand(events, index, camera, size_px, point_px):
    """How near, and of what color, what is seen in each place of the doubled picture is."""
    points = box_points(events, events.duration_us)
    seen = camera.project(points)
    seen[:, 2] = camera.distance - points @ camera.turn[2]  # parallel too
    radius = float(np.linalg.norm(box_halves(events.sensor_size)))
    side = max(1, round(2 * point_px))
    nearest: dict[tuple[int, int], tuple[int, int]] = {}
    for (u, v, depth), color in zip(seen, index.tolist(), strict=True):
        steps = int(1 + (camera.distance + radius - depth) / (2 * radius) * (2**24 - 3))
        for dv in range(side):
            for du in range(side):
                a, b = dv - (side - 1) / 2, du - (side - 1) / 2
                if a * a + b * b > (side / 2) ** 2 * 1.05:
                    continue
                at = (
                    math.floor(2 * v) + dv - side // 2,
                    math.floor(2 * u) + du - side // 2,
                )
                if not (0 <= at[0] < 2 * size_px[1] and 0 <= at[1] < 2 * size_px[0]):
                    continue
                nearest[at] = max(nearest.get(at, (0, 0)), (steps, 255 - color))
    return nearest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point_px", "perspective", "parts"),
    [(0.5, 0.0, 1), (1.0, 1.0, 3), (2.5, 1.0, 1), (30.0, 1.0, 3)],
)
def test_the_splat_shows_what_a_loop_over_the_definition_shows(point_px, perspective, parts):
    events = some_events()
    index = np.random.default_rng(5).integers(0, 256, len(events)).astype(np.uint8)
    camera = camera_for(events.sensor_size, perspective=perspective)
    layers = np.zeros((parts, 160, 200), np.uint32)
    points = _camera.Points(events, index, int(events.t[0]), events.duration_us, point_px)
    _camera.splat_points(points, camera, layers)
    nearest = layers.max(axis=0)
    by_hand = splat_by_hand(events, index, camera, (100, 80), point_px)
    assert {(int(v), int(u)) for v, u in np.argwhere(nearest)} == set(by_hand)
    assert len(by_hand) > 200
    for at, (steps, color) in by_hand.items():
        assert nearest[at] & 255 == color
        assert abs(int(nearest[at] >> 8) - steps) <= 1, "to the rounding of the last digit"


@pytest.mark.parametrize("reach", [1, 3])
def test_marks_that_are_spread_are_what_the_splat_draws(reach):
    """Points of one pixel in two layers, and then a brush, are points of that brush."""
    rng = np.random.default_rng(5)
    brush = rng.integers(-reach, reach + 1, (5, 2))
    marked = rng.integers(0, 1 << 32, (2, 20 + 2 * reach, 30 + 2 * reach)).astype(np.uint32)
    marked[rng.random(marked.shape) < 0.7] = 0
    nearest, by_hand = np.zeros((2, 20, 30), np.uint32)
    for first in (0, 13):  # in two parts
        rows = nearest[first : first + 13]
        cloud_kernels.spread(marked, reach, brush, first, rows)
    for part, v, u in np.argwhere(marked):
        for dv, du in brush:
            at = v - reach + dv, u - reach + du
            if 0 <= at[0] < 20 and 0 <= at[1] < 30:
                by_hand[at] = max(by_hand[at], marked[part, v, u])
    np.testing.assert_array_equal(nearest, by_hand)


@pytest.mark.slow
@pytest.mark.parametrize("width_px", [900, 300])  # few events a pixel, and many
@pytest.mark.parametrize("color", [render.by_time, render.by_count])
def test_the_picture_is_the_same_on_any_threads_and_however_the_stream_is_cut(color, width_px):
    # More than one part of 262,144 events, each of them twice: ties in depth are everywhere.
    base = some_events(150_000, seed=1, size=(90, 70))
    twice = Events(
        t=base.t.repeat(2), x=base.x.repeat(2), y=base.y.repeat(2),
        p=np.tile([True, False], 150_000), size=base.sensor_size,
    )  # fmt: skip
    view, size = CloudView(color=color), {"width_px": width_px, "height_px": width_px // 2}
    draw = functools.partial(render.cloud_image, view=view, **size)
    whole = same_on_threads(lambda: draw(twice), 2, 3)
    np.testing.assert_array_equal(draw(InBlocks(twice, 70_001)), whole)


def test_colors_of_counts_are_those_of_a_loop_over_the_definition():
    even = some_events(2000, size=(9, 7))
    hot = np.arange(2000) % 3 == 0
    x, y = np.where(hot, 4, even.x), np.where(hot, 2, even.y)
    events = Events(t=even.t, x=x, y=y, p=even.p, size=even.sensor_size)
    counts = Counter(zip(x.tolist(), y.tolist(), strict=True))
    most = max(counts.values())
    colors = render.by_count(events, DARK)
    assert colors.index.tolist() == [
        math.floor(255 * math.log(counts[at]) / math.log(most) + 0.5)
        for at in zip(x.tolist(), y.tolist(), strict=True)
    ]
    assert [text for _, text in colors.key.ticks] == ["1", "10", "100", str(most)]
    for place, text in colors.key.ticks:
        assert most**place == pytest.approx(int(text))
    assert len(render.by_count(Events.empty((3, 2)), DARK).index) == 0


@pytest.mark.parametrize(
    ("span_us", "text"),
    [(1_999, "1,999 µs"), (2_500, "2.5 ms"), (1_999_000, "1,999 ms"), (36 * 10**9, "36,000 s"),
     (12_345_678, "12.35 s"), (0, "0 µs")],
)  # fmt: skip
def test_the_bar_of_time_ends_with_the_span_in_the_unit_that_fits(span_us, text):
    events = Events(t=[5, 5 + span_us], x=[0, 0], y=[0, 0], p=[1, 1], size=(1, 1))
    assert render.by_time(events, DARK).key.ticks == ((0.0, "0"), (1.0, text))


def shaded_by_hand(nearest, colors, ground, picture):
    """Average 2 x 2 places over a picture; farther colors have up to 30 % of the ground."""
    result = picture.astype(float)
    for v, u in np.ndindex(picture.shape[:2]):
        places = []
        for number in nearest[2 * v : 2 * v + 2, 2 * u : 2 * u + 2].ravel().tolist():
            if not number:
                places.append(picture[v, u].astype(float))
                continue
            fog = 0.3 * (1 - ((number >> 26) + 0.5) / 64)
            color = colors.palette[255 - (number & 255)]
            places.append(color * (1 - fog) + np.array(rgb(ground)) * fog)
        result[v, u] = np.mean(places, axis=0)
    return np.floor(result + 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 3])
def test_shading_averages_what_is_seen(parts):
    rng = np.random.default_rng(6)
    layers = rng.integers(0, 2**32, (parts, 24, 40)).astype(np.uint32)
    layers[rng.random(layers.shape) < 0.6] = 0
    colors = render.by_time(some_events(), DARK)
    before = rng.integers(0, 256, (12, 20, 3)).astype(np.uint8)
    picture = before.copy()
    _camera.shade_over(layers, colors, DARK.ground, picture)
    by_hand = shaded_by_hand(layers.max(axis=0), colors, DARK.ground, before)
    assert np.abs(picture - by_hand).max() <= 1
    alone = _camera.shade_alone(layers, colors, DARK.ground).astype(float)
    taken = (layers.max(axis=0) > 0).reshape(12, 2, 20, 2).sum(axis=(1, 3))
    np.testing.assert_allclose(alone[:, :, 3], 255 * taken / 4, atol=0.5)
    share = alone[:, :, 3:] / 255
    assert np.abs(alone[:, :, :3] * share + before * (1 - share) - picture).max() <= 1.5


# -- what is where


def near(picture, at, color):
    u, v = int(at[0]), int(at[1])
    patch = picture[v - 2 : v + 3, u - 2 : u + 3].reshape(-1, 3).astype(int)
    return bool((np.abs(patch - rgb(color)).max(axis=1) < 90).any())


@pytest.mark.parametrize("theme", [DARK, LIGHT])
def test_early_events_are_yellow_and_late_ones_purple_where_the_camera_puts_them(
    theme,
):
    events = Events(t=[0, 100, 200], x=[2, 10, 18], y=[1, 5, 9], p=[1, 0, 1], size=(20, 12))
    view = CloudView(dark=theme is DARK, point_px=6)
    picture = render.cloud_image(events, view=view, width_px=800, height_px=600)
    camera = Scene(thin(events, 9), view, (800, 600)).still()
    seen = camera.project(box_points(events, 200))
    assert near(picture, seen[0], theme.time_stops[0])
    assert near(picture, seen[2], theme.time_stops[-1])
    assert not near(picture, seen[0], theme.time_stops[-1])


def test_row_0_is_at_the_top_and_x_runs_to_the_right_from_the_early_side():
    corner = Events(t=[0, 1], x=[0, 19], y=[0, 11], p=[1, 1], size=(20, 12))
    camera = fit(box_halves(corner.sensor_size), rotation(90, 0)[None], (0, 0, 100, 80))[0]
    first, last = camera.project(box_points(corner, 1))
    assert first[0] < last[0], "x to the right"
    assert first[1] < last[1], "row 0 above"
    assert first[2] < last[2], "the first event is the nearest"


def test_on_is_orange_and_off_is_blue():
    events = Events(t=[0, 1], x=[0, 1], y=[0, 0], p=[True, False], size=(2, 1))
    colors = render.by_polarity(events, DARK)
    np.testing.assert_array_equal(colors.palette[colors.index], [rgb(DARK.on), rgb(DARK.off)])
    assert dict(colors.key) == {"ON": DARK.on, "OFF": DARK.off}


def test_colors_of_time_span_the_palette_even_for_times_near_the_end_of_int64():
    top = np.iinfo(np.int64).max
    events = Events(t=[top - 2**61, top - 2**60, top], x=[0] * 3, y=[0] * 3, p=[1] * 3, size=(1, 1))
    assert render.by_time(events, DARK).index.tolist() == [0, 127, 255]


@pytest.mark.parametrize(("azimuth", "elevation"), [(48, 24), (90, 0), (0, 90), (-130, -60)])
@pytest.mark.parametrize("size", [(34, 34), (1280, 720), (1, 500)])
@pytest.mark.parametrize("perspective", [0.0, 1.0])
def test_the_box_fits_its_place_from_any_side_and_touches_two_borders(
    azimuth, elevation, size, perspective
):
    halves = box_halves(Size(*size))
    camera = fit(halves, rotation(azimuth, elevation)[None], (30, 20, 430, 320), perspective)[0]
    seen = camera.project(corners(halves))
    low, high = seen.min(axis=0), seen.max(axis=0)
    assert low[0] >= 30 - 1e-6
    assert high[0] <= 430 + 1e-6
    assert low[1] >= 20 - 1e-6
    assert high[1] <= 320 + 1e-6
    assert math.isclose(high[0] - low[0], 400, rel_tol=1e-3) or math.isclose(
        high[1] - low[1], 300, rel_tol=1e-3
    )


# -- files and arguments


def test_a_picture_is_thinned_and_replaces_nothing_unasked(tmp_path):
    path = tmp_path / "c.png"
    path.write_bytes(b"old")
    size = {"width_px": 320, "height_px": 240}
    with refused(OutputError, "c.png"):
        render.cloud(some_events(), path, **size)
    assert path.read_bytes() == b"old"
    for name in ("c.jpg", "c.html", "c.mp4", "c"):
        with refused(ConfigError, ".png", ".html"):
            render.cloud(some_events(), tmp_path / name)
    view = CloudView(max_events=100)
    report = render.cloud(some_events(), path, view=view, overwrite=True, **size)
    assert (report.kept, report.total, report.every) == (100, 400, 4)
    picture = cv2.imread(str(path))[:, :, ::-1]
    np.testing.assert_array_equal(picture, render.cloud_image(some_events(), view=view, **size))
    notice = picture[: 240 // 4, : 320 // 2].astype(int)
    assert (np.abs(notice - rgb(DARK.on)).max(axis=2) < 80).any(), "the notice in its color"
    assert [file.name for file in tmp_path.iterdir()] == ["c.png"]


@pytest.mark.parametrize(
    ("wrong", "kind", "named"),
    [
        ({"elevation_deg": 91.0}, ConfigError, "elevation_deg"),
        ({"width_px": 63}, ShapeError, "63x960"), ({"height_px": 20_000}, ShapeError, "1280x20000"),
    ],
)  # fmt: skip
def test_views_and_sizes_out_of_range_are_refused(wrong, kind, named):
    size = {name: wrong[name] for name in ("width_px", "height_px") if name in wrong}
    with refused(kind, named):
        view = CloudView(**{name: value for name, value in wrong.items() if name not in size})
        render.cloud_image(some_events(), view=view, **size)
