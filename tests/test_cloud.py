from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

import dvskit
from dvskit import Events, render
from dvskit.errors import ConfigError, OutputError, ShapeError
from dvskit.events import Size
from dvskit.render import CloudView, _camera, colormap
from dvskit.render._camera import box_halves, corners, fit, rotation
from dvskit.render._numbers import nice_step, tick_text, time_unit
from dvskit.render._scene import Scene
from dvskit.render._thin import thin
from dvskit.render.colormap import DARK, LIGHT, gradient, rgb


def some_events(count=400, seed=0, size=(20, 14)):
    rng = np.random.default_rng(seed)
    return Events(
        t=np.sort(rng.integers(1_000, 9_000, count)),
        x=rng.integers(0, size[0], count),
        y=rng.integers(0, size[1], count),
        p=rng.integers(0, 2, count) > 0,
        size=size,
    )


class Cut:
    """A stream cut into blocks, which can be read once or again and again."""

    def __init__(self, events, block):
        self.size = events.size
        self._blocks = [events[i : i + block] for i in range(0, len(events), block)]

    def __iter__(self):
        return iter(self._blocks)


# -- the splat


def camera_for(size, azimuth=40.0, perspective=1.0):
    return fit(
        box_halves(size), rotation(azimuth, 25.0)[None], (5.0, 5.0, 95.0, 75.0), perspective
    )[0]


def box_points(events, span):
    """Where events lie in the box, from the definition in _camera."""
    width, height = events.size
    longer = max(width, height)
    halves = box_halves(events.size)
    return np.stack(
        [
            (events.t - events.t[0]) / span * 2 * halves[0] - halves[0],
            (height / 2 - (events.y + 0.5)) / longer,
            ((events.x + 0.5) - width / 2) / longer,
        ],
        axis=1,
    )


def splat_by_hand(events, index, camera, size_px, point_px):
    """How near, and of what colour, what is seen in each place of the doubled picture is."""
    points = box_points(events, events.duration_us)
    seen = camera.project(points)
    seen[:, 2] = camera.distance - points @ camera.turn[2]  # parallel too
    radius = float(np.linalg.norm(box_halves(events.size)))
    side = max(1, round(2 * point_px))
    nearest: dict[tuple[int, int], tuple[int, int]] = {}
    for (u, v, depth), colour in zip(seen, index.tolist(), strict=True):
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
                nearest[at] = max(nearest.get(at, (0, 0)), (steps, 255 - colour))
    return nearest


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("perspective", [0.0, 1.0])
@pytest.mark.parametrize("point_px", [0.5, 1.0, 2.5, 30.0])
def test_the_splat_shows_what_a_loop_over_the_definition_shows(point_px, perspective, parts):
    events = some_events()
    index = np.random.default_rng(5).integers(0, 256, len(events)).astype(np.uint8)
    camera = camera_for(events.size, perspective=perspective)
    layers = np.zeros((parts, 160, 200), np.uint32)
    points = _camera.Points(events, index, int(events.t[0]), events.duration_us, point_px)
    _camera.splat_points(points, camera, layers)
    nearest = layers.max(axis=0)
    by_hand = splat_by_hand(events, index, camera, (100, 80), point_px)
    assert {(int(v), int(u)) for v, u in np.argwhere(nearest)} == set(by_hand)
    assert len(by_hand) > 200
    for at, (steps, colour) in by_hand.items():
        assert nearest[at] & 255 == colour
        assert abs(int(nearest[at] >> 8) - steps) <= 1, "to the rounding of the last digit"


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("point_px", [0.5, 1.0, 1.6, 2.5, 30.0])
@pytest.mark.parametrize("size_px", [(100, 80), (40, 80), (100, 25)])
def test_marks_that_are_spread_are_what_the_splat_draws(point_px, threads, size_px, monkeypatch):
    events = some_events()
    index = np.random.default_rng(5).integers(0, 256, len(events)).astype(np.uint8)
    camera = camera_for(events.size)  # of a picture of 100x80: in others points leave it
    points = _camera.Points(events, index, int(events.t[0]), events.duration_us, point_px)
    drawn = _camera.empty_layers(1, size_px)
    _camera.splat_points(points, camera, drawn)
    monkeypatch.setattr(_camera, "_CROWD", 0)
    monkeypatch.setattr(_camera, "_EVENTS_A_PART", 100)
    monkeypatch.setenv("DVSKIT_THREADS", str(threads))
    spread = _camera.layers_of(points, camera, size_px)
    assert drawn.any()
    assert np.array_equal(spread.max(axis=0), drawn[0])


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "2", "3", "8"])
@pytest.mark.parametrize("colour", [render.by_time, render.by_polarity, render.by_count])
def test_the_picture_is_the_same_for_any_number_of_threads(threads, colour, monkeypatch):
    # Every event twice, so that ties in depth are everywhere.
    base = some_events(3000, seed=1, size=(9, 7))
    twice = Events(
        t=base.t.repeat(2), x=base.x.repeat(2), y=base.y.repeat(2),
        p=np.tile([True, False], 3000), size=base.size,
    )  # fmt: skip
    view = CloudView(colour=colour)
    monkeypatch.setenv("DVSKIT_THREADS", "1")
    whole = render.cloud_image(twice, view=view, width_px=200, height_px=150)
    monkeypatch.setattr(_camera, "_EVENTS_A_PART", 100)
    monkeypatch.setattr(colormap, "_EVENTS_A_PART", 100)
    monkeypatch.setenv("DVSKIT_THREADS", threads)
    parted = render.cloud_image(twice, view=view, width_px=200, height_px=150)
    np.testing.assert_array_equal(parted, whole)


def shaded_by_hand(nearest, colours, ground, picture):
    """Average 2 x 2 places over a picture; farther colours have up to 30 % of the ground."""
    result = picture.astype(float)
    for v, u in np.ndindex(picture.shape[:2]):
        places = []
        for number in nearest[2 * v : 2 * v + 2, 2 * u : 2 * u + 2].ravel().tolist():
            if not number:
                places.append(picture[v, u].astype(float))
                continue
            fog = 0.3 * (1 - ((number >> 26) + 0.5) / 64)
            colour = colours.palette[255 - (number & 255)]
            places.append(colour * (1 - fog) + np.array(rgb(ground)) * fog)
        result[v, u] = np.mean(places, axis=0)
    return np.floor(result + 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 3])
def test_shading_averages_what_is_seen(parts):
    rng = np.random.default_rng(6)
    layers = rng.integers(0, 2**32, (parts, 24, 40)).astype(np.uint32)
    layers[rng.random(layers.shape) < 0.6] = 0
    colours = render.by_time(some_events(), DARK)
    before = rng.integers(0, 256, (12, 20, 3)).astype(np.uint8)
    picture = before.copy()
    _camera.shade_over(layers, colours, DARK.ground, picture)
    by_hand = shaded_by_hand(layers.max(axis=0), colours, DARK.ground, before)
    assert np.abs(picture - by_hand).max() <= 1
    alone = _camera.shade_alone(layers, colours, DARK.ground).astype(float)
    taken = (layers.max(axis=0) > 0).reshape(12, 2, 20, 2).sum(axis=(1, 3))
    np.testing.assert_allclose(alone[:, :, 3], 255 * taken / 4, atol=0.5)
    share = alone[:, :, 3:] / 255
    assert np.abs(alone[:, :, :3] * share + before * (1 - share) - picture).max() <= 1.5


@pytest.mark.parametrize("chunk", [1, 7, 150, 400])
def test_the_picture_is_the_same_however_the_stream_is_cut(chunk):
    events = some_events()
    view = CloudView(max_events=130)
    np.testing.assert_array_equal(
        render.cloud_image(Cut(events, chunk), view=view, width_px=160, height_px=120),
        render.cloud_image(events, view=view, width_px=160, height_px=120),
    )


# -- what is where


def near(picture, at, colour):
    u, v = int(at[0]), int(at[1])
    patch = picture[v - 2 : v + 3, u - 2 : u + 3].reshape(-1, 3).astype(int)
    return bool((np.abs(patch - rgb(colour)).max(axis=1) < 90).any())


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
    camera = fit(box_halves(corner.size), rotation(90, 0)[None], (0, 0, 100, 80))[0]
    first, last = camera.project(box_points(corner, 1))
    assert first[0] < last[0], "x to the right"
    assert first[1] < last[1], "row 0 above"
    assert first[2] < last[2], "the first event is the nearest"


def test_on_is_orange_and_off_is_blue():
    events = Events(t=[0, 1], x=[0, 1], y=[0, 0], p=[True, False], size=(2, 1))
    colours = render.by_polarity(events, DARK)
    np.testing.assert_array_equal(colours.palette[colours.index], [rgb(DARK.on), rgb(DARK.off)])
    assert dict(colours.key) == {"ON": DARK.on, "OFF": DARK.off}


def test_colours_of_time_span_the_palette_even_for_times_near_the_end_of_int64():
    top = np.iinfo(np.int64).max
    events = Events(t=[top - 2**61, top - 2**60, top], x=[0] * 3, y=[0] * 3, p=[1] * 3, size=(1, 1))
    assert render.by_time(events, DARK).index.tolist() == [0, 127, 255]


@pytest.mark.parametrize("theme", [DARK, LIGHT])
def test_the_colours_of_time_go_from_light_to_dark_without_turning_back(
    theme,
):
    table = gradient(theme.time_stops).astype(float) / 255
    luminance = (table**2.2) @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(luminance) < 2e-3)
    assert luminance[0] > 3 * luminance[-1]


MACHADO = {  # Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
               [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


@pytest.mark.parametrize("theme", [DARK, LIGHT])
@pytest.mark.parametrize("eye", MACHADO)
def test_the_colours_of_counts_go_away_from_the_ground_evenly_for_every_eye(eye, theme):
    table = np.concatenate([[rgb(theme.ground)], gradient(theme.count_stops)]) / 255
    linear = np.where(table <= 0.04045, table / 12.92, ((table + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(MACHADO[eye]), 0, 1)
    luminance = seen @ [0.2126, 0.7152, 0.0722]
    lightness = 116 * np.cbrt(np.maximum(luminance, 0.008856)) - 16  # CIE L*
    steps = np.diff(lightness) * (1 if theme is DARK else -1)
    assert steps[0] > 20, "one event stands out from the ground"
    assert steps[1:].min() > -0.01
    assert steps[1:].max() < 1.2
    assert steps[1:].sum() > 55


def counted_by_hand(events):
    counts: dict[tuple[int, int], int] = {}
    for x, y in zip(events.x.tolist(), events.y.tolist(), strict=True):
        counts[x, y] = counts.get((x, y), 0) + 1
    most = max(counts.values())
    return [
        math.floor(255 * math.log(counts[x, y]) / math.log(max(most, 2)) + 0.5)
        for x, y in zip(events.x.tolist(), events.y.tolist(), strict=True)
    ]


@pytest.mark.parametrize("threads", ["1", "3", "8"])
def test_the_colours_of_counts_are_those_of_a_loop_over_the_definition(threads, monkeypatch):
    monkeypatch.setattr(colormap, "_EVENTS_A_PART", 100)
    monkeypatch.setenv("DVSKIT_THREADS", threads)
    even = some_events(2000, size=(9, 7))
    hot = np.arange(2000) % 3 == 0
    events = Events(
        t=even.t, x=np.where(hot, 4, even.x), y=np.where(hot, 2, even.y), p=even.p, size=even.size
    )
    index = render.by_count(events, DARK).index
    assert index.tolist() == counted_by_hand(events)
    assert index.max() == 255


@pytest.mark.parametrize(
    ("most", "texts"),
    [(1, ["1"]), (2, ["1", "2"]), (10, ["1", "10"]), (12, ["1", "10", "12"]),
     (1000, ["1", "10", "100", "1,000"]),
     (120_000, ["1", "10", "100", "1,000", "10,000", "100,000", "120,000"])],
)  # fmt: skip
def test_the_bar_of_counts_tells_1_the_powers_of_ten_and_the_most(most, texts):
    events = Events(
        t=np.arange(most + 1), x=[0] * most + [1], y=[0] * (most + 1), p=[1] * (most + 1),
        size=(2, 1),
    )  # fmt: skip
    colours = render.by_count(events, LIGHT)
    assert isinstance(colours.key, render.ColourBar)
    assert [text for _, text in colours.key.ticks] == texts
    for place, text in colours.key.ticks:
        assert most**place == pytest.approx(int(text.replace(",", "")))
    assert colours.index[-1] == 0


def test_counts_of_no_events_have_no_colours():
    colours = render.by_count(Events.empty((3, 2)), DARK)
    assert len(colours.index) == 0


def test_the_bar_of_time_ends_with_the_span():
    events = Events(t=[5, 2_505], x=[0, 0], y=[0, 0], p=[1, 1], size=(1, 1))
    key = render.by_time(events, DARK).key
    assert isinstance(key, render.ColourBar)
    assert key.ticks == ((0.0, "0"), (1.0, "2.5 ms"))


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


# -- ticks


def test_ticks_are_1_2_or_5_times_a_power_of_ten_and_whole_for_pixels():
    steps = [nice_step(span, 8) for span in (0.003, 7, 34, 310.5, 1280)]
    for step in steps:
        mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
        assert min(abs(mantissa - m) for m in (1, 2, 5)) < 1e-6
    assert nice_step(3, 8, whole=True) == 1
    assert tick_text(0.15, 0.05) == "0.15"
    assert tick_text(1200, 200) == "1,200"


@pytest.mark.parametrize(
    ("span", "unit"), [(0, "µs"), (1_999, "µs"), (2_000, "ms"), (1_999_999, "ms"), (2_000_000, "s")]
)
def test_time_is_told_in_the_unit_that_fits(span, unit):
    assert time_unit(span)[0] == unit


# -- thinning


@pytest.mark.parametrize("block", [1, 3, 64, 5000])
@pytest.mark.parametrize(("limit", "every"), [(1000, 1), (999, 2), (250, 4), (1, 1024)])
def test_thinning_keeps_every_2_to_the_kth_event_however_the_stream_is_cut(block, limit, every):
    events = some_events(1000, seed=2)
    kept = thin(Cut(events, block), limit)
    assert kept.every == every
    assert kept.total == 1000
    assert kept.events == events[::every]
    assert (kept.start_us, kept.stop_us) == (events.t[0], events.t[-1])
    assert bool(kept.notice) == (every > 1)


def test_thinning_serves_a_stream_that_can_be_read_once():
    events = some_events(1000, seed=3)

    class Once(Cut):
        def __iter__(self):
            while self._blocks:
                yield self._blocks.pop(0)

    assert thin(Once(events, 50), 300).events == events[::4]


def test_thinning_to_nothing_is_refused():
    with pytest.raises(ConfigError, match="max_events=0 must be at least 1"):
        thin(some_events(), 0)


# -- files


def test_the_file_holds_the_picture_and_the_report_counts(tmp_path):
    events = some_events()
    report = render.cloud(events, tmp_path / "c.png", width_px=320, height_px=240)
    assert (report.kept, report.total, report.every) == (400, 400, 1)
    stored = cv2.imread(str(tmp_path / "c.png"))[:, :, ::-1]
    expected = render.cloud_image(events, width_px=320, height_px=240)
    np.testing.assert_array_equal(stored, expected)


def test_a_thinned_picture_says_so(tmp_path):
    view = CloudView(max_events=100)
    report = render.cloud(some_events(), tmp_path / "c.png", view=view, width_px=320, height_px=240)
    assert (report.kept, report.total, report.every) == (100, 400, 4)
    picture = cv2.imread(str(tmp_path / "c.png"))[:, :, ::-1].astype(int)
    notice = picture[: 240 // 4, : 320 // 2]
    assert (np.abs(notice - rgb(DARK.on)).max(axis=2) < 80).any(), "the notice in its colour"


@pytest.mark.parametrize("name", ["c.jpg", "c.html", "c.mp4", "c"])
def test_another_suffix_is_refused_with_the_choices(name, tmp_path):
    with pytest.raises(ConfigError, match=r"\.png.*\.svg.*\.mp4.*\.html"):
        render.cloud(some_events(), tmp_path / name)


def test_a_picture_that_exists_is_kept_unless_told_otherwise(tmp_path):
    path = tmp_path / "c.png"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists already"):
        render.cloud(some_events(), path, width_px=100, height_px=100)
    assert path.read_bytes() == b"old"
    render.cloud(some_events(), path, width_px=100, height_px=100, overwrite=True)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("size", [(63, 480), (480, 20_000)])
def test_a_picture_of_an_absurd_size_is_refused(size):
    with pytest.raises(ShapeError, match="pixels is outside"):
        render.cloud_image(some_events(), width_px=size[0], height_px=size[1])


@pytest.mark.parametrize(
    "change",
    [{"elevation_deg": 91.0}, {"point_px": 0.0}, {"dpi": 1.0}, {"azimuth_deg": math.nan}],
)
def test_a_view_from_nowhere_is_refused(change):
    with pytest.raises(ConfigError, match="is outside"):
        replace(CloudView(), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one_event_give_a_box(count):
    events = some_events(count) if count else Events.empty((20, 14))
    picture = render.cloud_image(events, width_px=400, height_px=300)
    ground = np.array(rgb(DARK.ground))
    assert (np.abs(picture.astype(int) - ground).max(axis=2) > 40).sum() > 500
    assert picture.shape == (300, 400, 3)


def test_a_title_is_drawn_as_it_stands():
    plain = render.cloud_image(some_events(), width_px=400, height_px=300)
    view = CloudView(title=r"$5 & $\frac{1}{2}$ _a_")
    titled = render.cloud_image(some_events(), view=view, width_px=400, height_px=300)
    assert (plain != titled).any()


@pytest.mark.slow
def test_a_real_recording_makes_a_cloud(data):
    source = dvskit.open_events(data / "recordings" / "nmnist_34x34.bin")
    picture = render.cloud_image(source, width_px=640, height_px=480)
    coloured = np.ptp(picture.astype(int), axis=2) > 80
    assert coloured.sum() > 8_000
