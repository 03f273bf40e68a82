"""Clouds as pictures: where the words are, files to print, turntables, references."""

from __future__ import annotations

import base64
import re
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from dataclasses import replace
from importlib import import_module
from itertools import combinations
from pathlib import Path

import av
import cv2
import matplotlib as mpl
import numpy as np
import pytest

from dvskit import Events, render, save_events
from dvskit.errors import ConfigError, OutputError, ShapeError
from dvskit.render import CloudView, Turn, _drawing, cloud
from dvskit.render._axes import bounds, draw_box
from dvskit.render._camera import box_halves, corners
from dvskit.render._drawing import Segments, TextLine, ink, paint, text_width
from dvskit.render._numbers import number_text
from dvskit.render._scene import Scene
from dvskit.render._thin import thin
from dvskit.render.colormap import DARK, LIGHT, nearest_rows, rgb
from dvskit.render.frames import frame_kernels
from dvskit.render.frames.writers import yuv_table
from tests.pictures import REFERENCES, difference, matches
from tests.test_cloud import some_events

turntable_module = import_module("dvskit.render.cloud")  # `render.cloud` is the function
VIEWS = [(48, 24), (90, 0), (0, 0), (0, 90), (-130, -60), (200, 10)]
SIZES = [(1280, 960), (390, 520), (640, 300), (300, 900)]


def scene_of(events, view, size_px):
    return Scene(thin(events, view.max_events), view, size_px)


def words_of(drawing):
    return [item for item in drawing if isinstance(item, TextLine)]


# -- where things are


@pytest.mark.slow
@pytest.mark.parametrize("size_px", SIZES)
@pytest.mark.parametrize("sensor", [(34, 34), (1280, 720), (1, 1), (1, 500)])
def test_words_and_box_lie_within_the_picture_and_words_do_not_cross(sensor, size_px):
    for span in (1, 310_470, 36_000_000_000):
        for azimuth, elevation in VIEWS:
            events = Events(t=[0, span], x=[0, 0], y=[0, 0], p=[1, 0], size=sensor)
            view = CloudView(azimuth_deg=azimuth, elevation_deg=elevation, title="A title")
            scene = scene_of(events, view, size_px)
            camera = scene.still()
            box = camera.project(corners(box_halves(events.size)))
            words = words_of(scene.drawing(camera))
            sides = np.array([bounds(item) for item in words])
            for low, high in ((box[:, :2], box[:, :2]), (sides[:, :2], sides[:, 2:])):
                assert (low >= -0.5).all()
                assert (high <= np.array(size_px) + 0.5).all()
            for one, other in combinations(words, 2):
                a, b = bounds(one), bounds(other)
                apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] + 1 or b[3] <= a[1] + 1
                assert apart, (one.text, other.text, azimuth, elevation, span)


@pytest.mark.parametrize(
    ("angles", "across"),
    [((90, 0), 0), ((-90, 0), 0), ((270, 0), 0), ((0, 0), 2), ((180, 0), 2), ((0, 90), 1),
     ((30, -90), 1)],
)  # fmt: skip
def test_a_view_along_an_axis_is_parallel_and_all_others_are_not(angles, across):
    """Corners of the box that differ along the axis alone fall on each other."""
    halves = box_halves(some_events().size)
    corner = corners(halves)

    def gap(azimuth, elevation):
        view = CloudView(azimuth_deg=azimuth, elevation_deg=elevation)
        seen = scene_of(some_events(), view, (640, 480)).still().project(corner)[:, :2]
        near = corner[:, across] > 0
        return float(np.abs(seen[near] - seen[~near]).max())

    assert gap(*angles) < 1e-6
    assert gap(angles[0] + 5, angles[1] + (3 if angles[1] <= 0 else -3)) > 1


def test_a_turning_cloud_keeps_its_perspective_also_where_it_passes_an_axis():
    scene = scene_of(some_events(), CloudView(azimuth_deg=90, elevation_deg=0), (640, 480))
    assert {camera.perspective for camera in scene.cameras([(90, 0), (95, 0)])} == {1.0}
    assert scene.still().perspective == 0


@pytest.mark.slow
def test_pixels_seen_from_the_front_are_filled():
    """A sensor of which each pixel has an event shows no gaps: not the grid of its pixels."""
    y, x = np.mgrid[:60, :80]
    for width in (200, 300):  # where pixels are about 2 and 3 wide; much larger ones are dots
        events = Events(t=np.arange(4800), x=x.ravel(), y=y.ravel(), p=x.ravel() > 0, size=(80, 60))
        view = CloudView(azimuth_deg=90, elevation_deg=0)
        scene = scene_of(events, view, (width, width * 3 // 4))
        camera = scene.still()
        box = camera.project(corners(box_halves(events.size)))[:, :2]
        (left, top), (right, bottom) = np.ceil(box.min(0)).astype(int), box.max(0).astype(int)
        alpha = scene.alone(camera)[top + 1 : bottom - 1, left + 1 : right - 1, 3]
        assert alpha.mean() > 240, width


AROUND = [*VIEWS, (80, 0), (70, 10), (20, 0), (5, 85), (0, -90), (0, 60), (135, 40), (90, 35)]


@pytest.mark.slow
@pytest.mark.parametrize("sensor", [(640, 480), (34, 34), (1, 500)])
@pytest.mark.parametrize("size_px", [(1280, 960), (640, 480), (360, 300)])
def test_no_word_about_an_axis_lies_over_the_cloud(sensor, size_px):
    events = Events(t=[0, 95_870], x=[0, 0], y=[0, 0], p=[1, 0], size=sensor)
    for azimuth, elevation in AROUND:
        scene = scene_of(events, CloudView(azimuth_deg=azimuth, elevation_deg=elevation), size_px)
        camera = scene.still()
        box = camera.project(corners(box_halves(events.size)))[:, :2].astype(np.float32)
        hull = cv2.convexHull(box)
        words = words_of(draw_box(camera, events.size, 95_870, scene.style))
        assert words
        for item in words:
            left, top, right, bottom = bounds(item)
            sides = [(u, v) for u in np.linspace(left, right, 9) for v in (top, bottom)]
            inside = max(cv2.pointPolygonTest(hull, side, True) for side in sides)
            assert inside < 0.5, (item.text, azimuth, elevation)


@pytest.mark.slow
def test_words_about_an_axis_fade_where_it_turns_to_be_seen_end_on():
    events = Events(t=[0, 95_870], x=[0, 0], y=[0, 0], p=[1, 0], size=(640, 480))
    seen = []
    for azimuth in range(40, 91, 2):
        scene = scene_of(events, CloudView(azimuth_deg=azimuth, elevation_deg=0), (1280, 960))
        words = words_of(scene.drawing(scene.still()))
        seen.append([rgb(item.colour)[0] for item in words if item.text == "time (ms)"])
    whole, ground = rgb(DARK.text)[0], rgb(DARK.ground)[0]
    assert seen[0] == [whole]
    assert seen[-1] == []
    shown = [colours[0] if colours else ground for colours in seen]
    assert shown == sorted(shown, reverse=True)
    assert any(ground < colour < whole for colour in shown)


@pytest.mark.slow
@pytest.mark.parametrize(
    "view", [CloudView(dpi=300), CloudView(text_scale=2), CloudView(colour=render.by_count)]
)
def test_an_axis_is_named_once_and_its_ticks_begin_with_0(view):
    scene = scene_of(some_events(), view, (1039, 780))
    texts = [item.text for item in words_of(scene.drawing(scene.still()))]
    for title in ("time (ms)", "x (px)", "y (px)"):
        assert texts.count(title) == 1
    assert texts.count("0") >= 3
    assert {"5", "10"} <= set(texts)


def test_words_for_print_have_7_and_8_points_and_those_for_screens_11_pixels():
    for dpi in (150, 300, 600):
        style = CloudView(dpi=dpi).style((2000, 1500))
        assert 12.5 * style.unit_px / dpi * 72 == pytest.approx(7)
    for size in SIZES:
        assert 12.5 * CloudView().style(size).unit_px >= 11
    for width in (800, 1280, 2560):  # of 5 points and more in a column of 90 mm
        pixel_pt = 90 / 25.4 * 72 / width
        assert 12.5 * CloudView().style((width, 3 * width // 4)).unit_px * pixel_pt > 4.9
    assert CloudView(dpi=300, dark=False).theme.ground == "#ffffff"


@pytest.mark.parametrize("dpi", [150.0, 300.0, 600.0])
def test_on_a_narrow_page_words_are_smaller_and_the_box_takes_most_of_the_width(dpi):
    for width_mm, label_pt, share in ((50, 5.5, 0.4), (60, 5.5, 0.5), (70, 6.125, 0.55),
                                      (88, 7, 0.6), (180, 7, 0.65)):  # fmt: skip
        size = (round(width_mm / 25.4 * dpi), round(0.75 * width_mm / 25.4 * dpi))
        scene = scene_of(some_events(), CloudView(dpi=dpi, dark=False), size)
        assert 12.5 * scene.style.unit_px / dpi * 72 == pytest.approx(label_pt, rel=0.01)
        halves = box_halves(scene.events.size)
        across = scene.still().project(corners(halves))[:, 0]
        assert np.ptp(across) > share * size[0]


def test_a_picture_without_room_for_words_has_none():
    scene = scene_of(some_events(), CloudView(title="A title"), (120, 90))
    drawing = scene.drawing(scene.still())
    assert not words_of(drawing)
    assert [item for item in drawing if isinstance(item, Segments)]


@pytest.fixture
def no_other_fonts(monkeypatch):
    """As on a machine with no font but matplotlib's DejaVu Sans."""
    for remembered in (_drawing._file_with, _drawing.runs, _drawing.text_width, _drawing.ink):
        remembered.cache_clear()
    monkeypatch.setattr(_drawing, "other_fonts", lambda: ())
    yield
    for remembered in (_drawing._file_with, _drawing.runs, _drawing.text_width, _drawing.ink):
        remembered.cache_clear()


@pytest.mark.slow
@pytest.mark.usefixtures("no_other_fonts")
def test_letters_that_no_font_has_are_boxes_and_named_in_the_report(run, tmp_path):
    view = CloudView(title="a 漢 Größe, Ω\n漢字")
    scene = scene_of(some_events(), view, (400, 300))
    words = [item.text for item in words_of(scene.drawing(scene.still()))]
    assert "a □ Größe, Ω □□" in words
    for name in ("a.png", "a.svg", "a.pdf"):
        report = cloud(some_events(), tmp_path / name, view=view, width_px=400, height_px=300)
        assert report.missing == "漢字"
    save_events(some_events(), tmp_path / "e.npz")
    code, _, err = run("cloud", "e.npz", "-o", "b.png", "--title", "走る")
    assert code == 0
    assert "no installed font has 走 る, so the title shows boxes" in err


@pytest.mark.slow
def test_letters_of_another_font_stand_in_line_with_the_rest(tmp_path):
    """A letter that DejaVu Sans lacks is drawn with the font that has it, and no box."""
    stix = Path(mpl.get_data_path(), "fonts", "ttf", "STIXGeneral.ttf")
    own = _drawing._letters(_drawing.font_file())
    letter = next(chr(code) for code in sorted(_drawing._letters(str(stix)) - own) if code > 0x2100)
    assert _drawing.drawable(f"a{letter}b") == f"a{letter}b"
    assert not _drawing.missing_letters(letter)
    parts = _drawing.runs(f"ab{letter}c")
    assert [part for part, _ in parts] == ["ab", letter, "c"]
    assert parts[0][1] == parts[2][1] == _drawing.font_file() != parts[1][1]
    assert _drawing.text_width(f"ab{letter}c", 20) == pytest.approx(
        sum(_drawing.text_width(part, 20) for part in ("ab", letter, "c"))
    )
    whole, left, top = _drawing.ink(f"ab{letter}c", 40.0)
    first, at, over = _drawing.ink("ab", 40.0)
    assert at == left
    place = whole[over - top :][: first.shape[0], : first.shape[1]]
    np.testing.assert_array_equal(place, first)
    assert whole.shape[1] > first.shape[1] + 20
    report = cloud(some_events(), tmp_path / "a.pdf", view=CloudView(title=f"a{letter}"))
    assert report.missing == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(36_000, "36,000"), (0.0125, "0.0125"), (1234.56, "1,235"), (2_000_000, "2,000,000"),
     (9.99996, "10"), (0, "0"), (100, "100"), (-12.5, "-12.5")],
)  # fmt: skip
def test_numbers_are_written_as_people_do(value, text):
    assert number_text(value) == text


def test_a_long_recording_is_told_in_the_same_way_everywhere():
    events = Events(t=[0, 36_000_000_000], x=[0, 1], y=[0, 1], p=[True, False], size=(4, 4))
    scene = scene_of(events, CloudView(), (800, 600))
    words = " ".join(item.text for item in words_of(scene.drawing(scene.still())))
    assert "36,000 s" in words
    assert "e+" not in words


# -- drawing, by loops over the definition


def test_a_line_covers_pixels_by_how_far_they_are_inside():
    ends, width, half = np.array([[3.2, 4.1, 17.7, 9.3], [5, 2, 5, 12]]), 3.0, 1.5
    picture = paint([Segments(ends, "#ffffff", width)], (20, 14), "#000000")
    by_hand = np.zeros((14, 20))
    for u0, v0, u1, v1 in ends:
        along = np.array([u1 - u0, v1 - v0])
        for v, u in np.ndindex(14, 20):
            to = np.array([u + 0.5 - u0, v + 0.5 - v0])
            place = np.clip(to @ along / (along @ along), 0, 1)
            cover = np.clip(half + 0.5 - np.hypot(*(to - place * along)), 0, 1)
            by_hand[v, u] += (255 - by_hand[v, u]) * cover
    assert np.abs(picture[:, :, 0] - by_hand).max() <= 1.5
    assert by_hand.max() == 255


def test_thin_lines_are_fainter_and_lines_beyond_the_border_are_cut():
    ends = np.array([[-9.0, 5.5, 40, 5.5]])
    picture = paint([Segments(ends, "#ffffff", 0.5)], (20, 11), "#000000")
    assert picture[5, :, 0].tolist() == [pytest.approx(96, abs=1)] * 20  # 255 * 3/4 * 1/2
    assert not picture[:4].any()


def test_words_are_laid_over_the_picture_where_their_line_begins():
    mask, left, top = ink("Hxg", 20.0)
    picture = paint([TextLine("Hxg", 10.0, 30.0, 20.0, "#ffffff")], (80, 50), "#000000")
    shape = mask.shape
    np.testing.assert_array_equal(
        picture[30 + top : 30 + top + shape[0], 10 + left : 10 + left + shape[1], 0], mask
    )
    assert abs(text_width("Hxg", 20.0) - shape[1]) < 5
    cut = paint([TextLine("Hxg", -5.0, 5.0, 20.0, "#ffffff")], (12, 9), "#000000")
    assert cut.any()


# -- files


def chunks_of(png):
    at, found = 8, {}
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0] == zlib.crc32(
            kind + body
        )
        found[kind] = body
        at += 12 + length
    return found


def test_png_tells_its_resolution_where_one_is_given(tmp_path):
    for dpi in (None, 300.0):
        path = tmp_path / f"{dpi}.png"
        view = CloudView(dpi=dpi)
        render.cloud(some_events(), path, view=view, width_px=400, height_px=300)
        chunks = chunks_of(path.read_bytes())
        expected = None if dpi is None else struct.pack(">IIB", 11811, 11811, 1)
        assert chunks.get(b"pHYs") == expected
        stored = cv2.imread(str(path))[:, :, ::-1]
        drawn = render.cloud_image(some_events(), view=view, width_px=400, height_px=300)
        np.testing.assert_array_equal(stored, drawn)


def svg_pictures(path):
    data = re.findall(r'"data:image/png;base64,\s*([^"]+)"', path.read_text())
    return [
        cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_UNCHANGED)
        for text in data
    ]


@pytest.mark.parametrize("dpi", [None, 300.0])
def test_svg_holds_the_points_of_the_picture_and_words_as_outlines(dpi, tmp_path):
    events, path = some_events(3000), tmp_path / "c.svg"
    view = CloudView(dpi=dpi, title="A <title> & $x$")
    render.cloud(events, path, view=view, width_px=500, height_px=400)
    scene = scene_of(events, view, (500, 400))
    points = scene.alone(scene.still())
    held = max(svg_pictures(path), key=lambda picture: picture.size)
    np.testing.assert_array_equal(cv2.cvtColor(held, cv2.COLOR_BGRA2RGBA), points)
    root = ElementTree.parse(path).getroot()
    assert not list(root.iter("{http://www.w3.org/2000/svg}text"))
    scale = 72 / (96 if dpi is None else dpi)
    assert float(root.attrib["width"].removesuffix("pt")) == pytest.approx(500 * scale, abs=1e-3)
    # The first line of the grid lies where it lies in the picture.
    grid = next(item for item in scene.drawing(scene.still()) if isinstance(item, Segments))
    first = np.array(
        [float(n) for n in re.findall(r'd="M ([-\d.]+) ([-\d.]+) \nL ([-\d.]+) ([-\d.]+)',
         path.read_text())[1]]
    )  # fmt: skip
    assert np.abs(grid.ends * scale - first).max(axis=1).min() < 1e-3
    # Over the ground, the points are the picture.
    picture, ground = scene.picture(scene.still()), scene.ground(scene.still())
    share = points[:, :, 3:] / 255
    assert np.abs(points[:, :, :3] * share + ground * (1 - share) - picture).max() <= 1.5


@pytest.mark.slow
def test_pdf_holds_the_points_of_the_picture_and_the_font(tmp_path):
    events, path = some_events(3000), tmp_path / "c.pdf"
    view = CloudView(dpi=200, dark=False)
    render.cloud(events, path, view=view, width_px=500, height_px=400)
    data = path.read_bytes()
    assert b"/FontFile2" in data, "the font is embedded"
    assert b"DejaVuSans" in data
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", data)
    assert box is not None
    assert float(box[1]) == pytest.approx(500 * 72 / 200, abs=1e-3)
    assert float(box[2]) == pytest.approx(400 * 72 / 200, abs=1e-3)
    scene = scene_of(events, view, (500, 400))
    points = scene.alone(scene.still())
    colours, alpha = pdf_picture(data, 500, 400, 3), pdf_picture(data, 500, 400, 1)
    # PDF has the lowest row first.
    np.testing.assert_array_equal(colours[::-1], points[:, :, :3])
    np.testing.assert_array_equal(alpha[::-1, :, 0], points[:, :, 3])


def pdf_picture(data, width, height, channels):
    """Return the picture of so many channels in a PDF, whose rows are coded as those of PNG."""
    space = b"DeviceRGB" if channels == 3 else b"DeviceGray"
    for found in re.finditer(rb"<<((?:[^<>]|<<[^<>]*>>)*)>>\s*stream\r?\n", data):
        head = found[1]
        if b"/Width %d" % width in head and b"/ColorSpace /" + space in head:
            body = zlib.decompressobj().decompress(data[found.end() :])
            if b"/Predictor" not in head:
                return np.frombuffer(body, np.uint8).reshape(height, width, channels)
            kind = 2 if channels == 3 else 0
            parts = [
                (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)),
                (b"IDAT", zlib.compress(body)), (b"IEND", b""),
            ]  # fmt: skip
            png = b"\x89PNG\r\n\x1a\n" + b"".join(
                struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b))
                for k, b in parts
            )
            picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
            return picture.reshape(height, width, channels)[:, :, ::-1]
    raise AssertionError("no such picture")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png"])
def test_the_same_cloud_gives_the_same_bytes(suffix, tmp_path):
    for name in "ab":
        render.cloud(some_events(), tmp_path / (name + suffix), width_px=400, height_px=300)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("name", ["c.svg", "c.pdf", "c.png", "c.mp4", "c.gif"])
@pytest.mark.parametrize("colour", [render.by_time, render.by_polarity, render.by_count])
def test_none_and_one_event_make_every_kind_of_file(count, name, colour, tmp_path):
    events = some_events(count, size=(1, 1)) if count else Events.empty((1, 1))
    view, path = CloudView(colour=colour), tmp_path / name
    if path.suffix in (".mp4", ".gif"):
        turn = Turn(seconds=0.1, width_px=64, height_px=64, sweep_us=5)
        assert render.turntable(events, path, view=view, turn=turn).total == count
    else:
        assert render.cloud(events, path, view=view, width_px=250, height_px=250).total == count
    assert path.stat().st_size > 200


# -- turntables


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "2", "8"])
@pytest.mark.parametrize("sweep_us", [None, 2_000])
def test_pictures_of_a_turn_are_those_of_its_cameras(threads, sweep_us, monkeypatch):
    monkeypatch.setenv("DVSKIT_THREADS", threads)
    events, view = some_events(900), CloudView()
    scene = scene_of(events, view, (240, 200))
    turn = Turn(sweep_us=sweep_us)
    found = list(turntable_module.pictures(scene, view, turn, 8))
    assert len(found) == 8
    cameras = scene.cameras([(48 + 45.0 * k, 24.0) for k in range(8)])
    for number, (picture, camera) in enumerate(zip(found, cameras, strict=True)):
        expected = scene.picture(camera)
        if sweep_us is not None:
            first, span = int(events.t[0]), events.duration_us + 1
            seen = (events.t - first - span * number // 8) % span < sweep_us
            part = Events(t=events.t[seen], x=events.x[seen], y=events.y[seen],
                          p=events.p[seen], size=events.size)  # fmt: skip
            expected = part_by_hand(scene, part, camera, seen)
        np.testing.assert_array_equal(picture, expected)


def part_by_hand(scene, part, camera, seen):
    splat = turntable_module._camera
    share = 2_000 / (scene.kept.span_us + 1)
    layers = splat.empty_layers(1, scene.size_px)
    points = replace(
        scene.points(camera, share=share), events=part, index=scene.colours.index[seen]
    )
    splat.splat_points(points, camera, layers)
    picture = scene.ground(camera)
    splat.shade_over(layers, scene.colours, DARK.ground, picture)
    return picture


@pytest.mark.slow
@pytest.mark.parametrize("size_px", [(320, 240), (240, 400), (1280, 960)])
@pytest.mark.parametrize("sensor", [(34, 34), (1280, 720), (2, 90)])
def test_a_turning_box_and_its_words_stay_within_the_picture_at_one_distance(sensor, size_px):
    events = Events(t=[0, 310_470], x=[0, 0], y=[0, 0], p=[1, 0], size=sensor)
    scene = scene_of(events, CloudView(), size_px)
    cameras = scene.cameras([(48 + 3.0 * k, 24.0) for k in range(120)])
    assert len({(c.distance, c.scale, c.centre_u, c.centre_v) for c in cameras}) == 1
    every = np.concatenate([c.project(corners(box_halves(events.size))) for c in cameras])
    assert (every[:, :2] > 0).all()
    assert (every[:, :2] < size_px).all()
    extent = np.ptp(every[:, :2], axis=0) / size_px
    assert extent.max() > 0.3, "and it is not lost in it"
    for camera in cameras:
        sides = np.array([bounds(item) for item in words_of(scene.drawing(camera))]).reshape(-1, 4)
        assert (sides[:, :2] >= -0.5).all()
        assert (sides[:, 2:] <= np.array(size_px) + 0.5).all()


def decoded(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tolerance"), [("c.mp4", 4.0), ("c.mkv", 4.0), ("c.gif", 5.0)])
@pytest.mark.parametrize("dark", [True, False])
def test_a_video_holds_the_pictures(name, tolerance, dark, tmp_path):
    events, view = some_events(900), CloudView(dark=dark, title="Turning")
    turn = Turn(seconds=0.5, fps=10, width_px=320, height_px=240, crf=12)
    told: list[tuple[int, int]] = []
    report = render.turntable(
        events, tmp_path / name, view=view, turn=turn, on_frame=lambda *at: told.append(at)
    )
    assert (report.frames, report.kept, report.total) == (5, 900, 900)
    assert told == [(k, 5) for k in range(1, 6)]
    scene = scene_of(events, view, (320, 240))
    expected = list(turntable_module.pictures(scene, view, turn, 5))
    stored = decoded(tmp_path / name)
    assert len(stored) == 5
    for one, other in zip(stored, expected, strict=True):
        # Colour is stored at half the resolution: compare what is left of it.
        smooth = [cv2.blur(p.astype(np.float32), (4, 4)) for p in (one, other)]
        assert np.abs(smooth[0] - smooth[1]).mean() < tolerance
    ground = rgb((DARK if dark else LIGHT).ground)
    assert np.abs(stored[0][-3, -3].astype(int) - ground).max() <= 3


def test_the_planes_of_a_video_are_those_of_bt_709():
    picture = np.random.default_rng(7).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    luma, blue, red = (np.zeros(s, np.uint8) for s in ((6, 8), (3, 4), (3, 4)))
    frame_kernels.rgb_planes(picture, luma, blue, red)
    np.testing.assert_allclose(luma.ravel(), yuv_table(picture.reshape(-1, 3))[:, 0], atol=1)
    for v, u in np.ndindex(3, 4):
        r, g, b = picture[2 * v : 2 * v + 2, 2 * u : 2 * u + 2].reshape(4, 3).mean(axis=0) / 255
        y = 0.2126 * r + 0.7152 * g + 0.0722 * b
        assert abs(blue[v, u] - (128 + 224 * (b - y) / 1.8556)) <= 1
        assert abs(red[v, u] - (128 + 224 * (r - y) / 1.5748)) <= 1


def test_a_gif_has_the_nearest_colour_of_its_palette():
    rng = np.random.default_rng(8)
    palette = rng.integers(0, 256, (256, 3)).astype(np.uint8)
    picture = rng.integers(0, 256, (9, 7, 3)).astype(np.uint8)
    index = turntable_module._indexed(picture, nearest_rows(palette))
    for v, u in np.ndindex(9, 7):
        cell = picture[v, u].astype(int) // 8 * 8 + 4
        away = ((palette.astype(int) - cell) ** 2).sum(axis=1)
        assert away[index[v, u]] == away.min()


def test_a_gif_without_turns_that_sweeps_shows_every_event_once(tmp_path):
    events = some_events(500)
    scene = scene_of(events, CloudView(), (64, 64))
    span = events.duration_us + 1
    windows = [turntable_module._window(scene, span * k // 7, -(-span // 7)) for k in range(7)]
    shown = np.zeros(500, int)
    for window in windows:
        for part in window:
            shown[part] += 1
    assert shown.min() == 1
    assert shown.sum() <= 500 + 7
    turn = Turn(seconds=0.4, turns=0, sweep_us=500, width_px=240, height_px=240)
    assert render.turntable(events, tmp_path / "c.gif", turn=turn).frames == 10


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("c.png", {}, "written as .mp4"),
        ("c.mp4", {"width_px": 641}, "even sides"),
        ("c.gif", {"fps": 60.0}, "50 frames"),
    ],
)
def test_a_turntable_that_cannot_be_is_refused(name, change, text, tmp_path):
    with pytest.raises(ConfigError, match=text):
        render.turntable(some_events(), tmp_path / name, turn=Turn(**change))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [{"seconds": 0.0}, {"fps": 0.0}, {"turns": 101}, {"sweep_us": 0}, {"crf": 99}, {"preset": "x"}],
)
def test_a_turn_out_of_range_is_refused(change):
    with pytest.raises(ConfigError):
        Turn(**change)  # type: ignore[arg-type]


def test_a_turntable_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "c.mp4"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists already"):
        render.turntable(some_events(), path)
    with pytest.raises(ShapeError):
        render.turntable(some_events(), path, turn=Turn(width_px=20, height_px=20), overwrite=True)

    def stop(*at):
        raise KeyboardInterrupt

    turn = Turn(seconds=1, width_px=64, height_px=64)
    with pytest.raises(KeyboardInterrupt):
        render.turntable(some_events(), path, turn=turn, overwrite=True, on_frame=stop)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["c.mp4"]


# -- references


def spiral(count=1500):
    """A dot that runs in circles, and a corner with many events."""
    turn = np.linspace(0, 6 * np.pi, count)
    x, y = 24 + 18 * np.cos(turn), 18 + 13 * np.sin(turn)
    hot = np.arange(count) % 4 == 0
    return Events(
        t=np.arange(count) * 60,
        x=np.where(hot, 3, x).astype(int),
        y=np.where(hot, 3, y).astype(int),
        p=np.arange(count) % 3 > 0,
        size=(48, 36),
    )


# Name: the view, width and height.
CASES = {
    "slant": (CloudView(title="Spiral"), 300, 240),
    "front": (CloudView(azimuth_deg=90, elevation_deg=0, colour=render.by_count), 300, 240),
    "light": (CloudView(dark=False, azimuth_deg=-150, colour=render.by_polarity), 264, 204),
    "print": (CloudView(dark=False, dpi=80, title="A column"), 277, 208),
    "small": (CloudView(), 120, 90),
}


def draw(name):
    """Return a picture, RGB."""
    view, width, height = CASES[name]
    return render.cloud_image(spiral(), view=view, width_px=width, height_px=height)


@pytest.mark.parametrize("name", CASES)
def test_clouds_look_as_those_that_were_kept(name):
    assert matches(f"cloud_{name}", draw(name))


def beside_kept(name):
    """Return how far a picture is from the one that was kept."""
    kept = cv2.imread(str(REFERENCES / f"cloud_{name}.png"))[:, :, ::-1]
    return difference(kept, draw(name))[0]


def lose(items, kind):
    """Return a drawing without its last word, its first word, or the borders of its box."""
    lines = [item for item in items if isinstance(item, Segments)]
    words = words_of(items)
    gone = {"last word": words[-1], "first word": words[0], "borders": lines[1]}[kind]
    return [item for item in items if item is not gone]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["last word", "first word", "borders"])
@pytest.mark.parametrize("name", ["slant", "front", "light", "print"])
def test_a_picture_that_lacks_a_word_or_its_box_is_told_from_the_kept_one(name, kind, monkeypatch):
    drawing = Scene.drawing
    monkeypatch.setattr(Scene, "drawing", lambda self, camera: lose(drawing(self, camera), kind))
    assert beside_kept(name) > 0.02


@pytest.mark.parametrize("name", [name for name in CASES if name != "front"])  # the last lie behind
def test_a_picture_that_lacks_a_twentieth_of_its_points_is_told_from_the_kept_one(
    name, monkeypatch
):
    splat = turntable_module._camera.splat_points

    def fewer(points, *rest):
        most = len(points.events) * 19 // 20  # type: ignore[attr-defined]
        part = replace(points, events=points.events[:most], index=points.index[:most])  # type: ignore
        splat(part, *rest)

    monkeypatch.setattr(turntable_module._camera, "splat_points", fewer)
    assert beside_kept(name) > 0.02


# -- the command


def test_the_command_writes_a_picture_of_a_part_for_print(run, tmp_path):
    events = some_events()
    save_events(events, tmp_path / "a.npz")
    options = ["--start", "2ms", "--stop", "6ms", "--colour", "count", "--view", "side"]
    assert run("cloud", "a.npz", "-o", "a.png", "--width", 88, *options)[0] == 0
    first = int(events.t[0])
    view = CloudView(azimuth_deg=0, elevation_deg=0, dark=False, dpi=300, colour=render.by_count)
    expected = render.cloud_image(
        events.between(first + 2000, first + 6000), view=view, width_px=1039, height_px=779
    )
    np.testing.assert_array_equal(cv2.imread("a.png")[:, :, ::-1], expected)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".gif", ".mp4"])
def test_the_command_writes_every_kind_and_keeps_what_is_there(run, tmp_path, suffix):
    save_events(some_events(), tmp_path / "a.npz")
    moves = ["--seconds", "0.2", "--turns", "-1"] if suffix in (".gif", ".mp4") else []
    words = ("cloud", "a.npz", "-o", f"a{suffix}", "--pixels", "320x240", "--bright", *moves)
    assert run(*words)[0] == 0
    assert "exists already" in run(*words)[2]
    assert run(*words, "--force")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["a.tiff"], "written as .html, .png, .svg, .pdf, .mp4, .mkv, .mov or .gif"),
        (["a.png", "--width", "1"], "12x9 pixels"),
        (["a.png", "--width", "88", "--dpi", "1"], "dpi=1.0 is outside"),
        (["a.png", "--width", "nan"], "88 is a column"),
        (["a.png", "--width", "88", "--pixels", "9x9"], "both set the size"),
        (["a.png", "--elevation", "100"], "elevation_deg=100.0"),
        (["a.png", "--fps", "30"], "--fps does not apply to a still"),
        (["a.html", "--point-px", "3"], "--point-px does not apply to a page"),
        (["a.gif", "--sweep", "0us"], "sweep_us=0"),
        (["a.png", "--start", "5ms", "--stop", "4ms"], "not after"),
    ],
)
def test_the_command_refuses_in_one_line(run, tmp_path, words, text):
    save_events(some_events(), tmp_path / "a.npz")
    code, _, err = run("cloud", "a.npz", "-o", *words)
    assert code == 2
    assert text in err
    assert err.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]
