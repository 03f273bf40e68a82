"""Clouds as files: vectors to print, letters, turntables, stored pictures, the command."""

from __future__ import annotations

import base64
import re
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from pathlib import Path

import av
import cv2
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.font_manager import get_font

from dvskit import Events, render, save_events
from dvskit.errors import ConfigError, OutputError, ShapeError
from dvskit.render import CloudView, Turn, cloud_kernels, frame_kernels
from dvskit.render.colormap import DARK, LIGHT, nearest_rows, rgb
from dvskit.render.writers import yuv_table
from tests.laws import on_threads, refused, refused_command
from tests.pictures import matches
from tests.test_cloud import some_events

# -- kernels, by loops over the definition


def test_a_line_covers_pixels_by_how_far_they_are_inside():
    ends, half = np.array([[3.2, 4.1, 17.7, 9.3], [5, 2, 5, 12], [-9, 12.5, 40, 12.5]]), 1.5
    picture, by_hand = np.zeros((14, 20, 3), np.uint8), np.zeros((14, 20))
    cloud_kernels.stroke(ends, half, np.array([255.0, 128.0, 0.0]), picture)
    for u0, v0, u1, v1 in ends:
        along = np.array([u1 - u0, v1 - v0])
        for v, u in np.ndindex(14, 20):
            to = np.array([u + 0.5 - u0, v + 0.5 - v0])
            place = np.clip(to @ along / (along @ along), 0, 1)
            cover = np.clip(half + 0.5 - np.hypot(*(to - place * along)), 0, 1)
            by_hand[v, u] += (255 - by_hand[v, u]) * cover
    assert np.abs(picture[:, :, 0] - by_hand).max() <= 1.5
    assert np.abs(picture[:, :, 1] - by_hand * 128 / 255).max() <= 1.5
    assert by_hand.max() == 255
    thin_line = np.zeros((11, 20, 3), np.uint8)
    cloud_kernels.stroke(np.array([[-9.0, 5.5, 40, 5.5]]), 0.25, np.full(3, 255.0), thin_line)
    assert np.abs(thin_line[5].astype(int) - 96).max() <= 1  # 255 * 3/4 * 1/2
    assert not thin_line[:4].any()


@pytest.mark.parametrize(("top", "left"), [(3, 4), (-2, -3), (8, 15)])
def test_a_mask_is_blended_over_the_picture_and_cut_at_its_borders(top, left):
    rng = np.random.default_rng(0)
    mask, before = (rng.integers(0, 256, shape).astype(np.uint8) for shape in ((5, 7), (11, 19, 3)))
    picture, color = before.copy(), np.array([255.0, 7.0, 100.0])
    cloud_kernels.tint(mask, top, left, color, picture)
    for v, u in np.ndindex(11, 19):
        inside = 0 <= v - top < 5 and 0 <= u - left < 7
        share = mask[v - top, u - left] / 255 if inside else 0
        assert np.abs(before[v, u] + (color - before[v, u]) * share - picture[v, u]).max() <= 0.51


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


def test_a_gif_has_the_nearest_color_of_its_palette():
    rng = np.random.default_rng(8)
    palette = rng.integers(0, 256, (256, 3)).astype(np.uint8)
    picture = rng.integers(0, 256, (9, 7, 3)).astype(np.uint8)
    index = np.zeros((9, 7), np.uint8)
    cloud_kernels.look_up(picture, nearest_rows(palette), index)
    for v, u in np.ndindex(9, 7):
        cell = picture[v, u].astype(int) // 8 * 8 + 4
        away = ((palette.astype(int) - cell) ** 2).sum(axis=1)
        assert away[index[v, u]] == away.min()


# -- files


@pytest.mark.parametrize("dpi", [None, 300.0])
def test_png_holds_the_picture_and_its_resolution_where_one_is_given(dpi, tmp_path):
    view, size = CloudView(dpi=dpi), {"width_px": 400, "height_px": 300}
    render.cloud(some_events(), tmp_path / "a.png", view=view, **size)
    stored = cv2.imread(str(tmp_path / "a.png"))[:, :, ::-1]
    np.testing.assert_array_equal(stored, render.cloud_image(some_events(), view=view, **size))
    png = (tmp_path / "a.png").read_bytes()
    at = png.find(b"pHYs")
    assert (at > 0) == (dpi is not None)
    if dpi is not None:
        assert png[at + 4 : at + 13] == struct.pack(">IIB", 11811, 11811, 1)
        assert png[at + 13 : at + 17] == struct.pack(">I", zlib.crc32(png[at : at + 13]))


def points_of(data):
    """Return the events of an SVG, (height, width, 4) RGB and alpha."""
    found = re.findall(rb'"data:image/png;base64,\s*([^"]+)"', data)
    pictures = [np.frombuffer(base64.b64decode(text), np.uint8) for text in found]
    decoded = [cv2.imdecode(each, cv2.IMREAD_UNCHANGED) for each in pictures]
    return cv2.cvtColor(max(decoded, key=np.size), cv2.COLOR_BGRA2RGBA)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dpi"), [("a.svg", None), ("a.svg", 300.0), ("a.pdf", None), ("a.pdf", 200.0)]
)
def test_vector_files_hold_the_points_of_the_picture_and_words_as_vectors(name, dpi, tmp_path):
    view = CloudView(dpi=dpi, title="A <title> & $x$")
    size = {"width_px": 500, "height_px": 400}
    for path in (tmp_path / name, tmp_path / f"again-{name}"):
        render.cloud(some_events(3000), path, view=view, **size)
    data, path = (tmp_path / name).read_bytes(), tmp_path / name
    assert data == (tmp_path / f"again-{name}").read_bytes()
    side_pt = 500 * 72 / (dpi or 96)
    if name == "a.pdf":
        assert b"/FontFile2" in data, "the font is embedded"
        box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", data)
        assert (float(box[1]), float(box[2])) == pytest.approx((side_pt, 0.8 * side_pt), abs=1e-3)
    else:
        points, picture = points_of(data), render.cloud_image(some_events(3000), view=view, **size)
        full = points[:, :, 3] == 255
        assert full.sum() > 1000
        np.testing.assert_allclose(points[full][:, :3], picture[full], atol=1)
        root = ElementTree.parse(path).getroot()
        assert not list(root.iter("{http://www.w3.org/2000/svg}text"))  # but outlines
        assert float(root.attrib["width"].removesuffix("pt")) == pytest.approx(side_pt, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("name", ["c.svg", "c.pdf", "c.png", "c.mp4", "c.gif"])
def test_none_and_one_event_make_every_kind_of_file(count, name, tmp_path):
    events = some_events(count, size=(1, 1)) if count else Events.empty((1, 1))
    colors = (render.by_time, render.by_polarity, render.by_count)
    view, path = CloudView(color=colors[len(name + "x" * count) % 3]), tmp_path / name
    if path.suffix in (".mp4", ".gif"):
        turn = Turn(seconds=0.1, width_px=64, height_px=64, sweep_us=5)
        assert render.turntable(events, path, view=view, turn=turn).total == count
    else:
        assert render.cloud(events, path, view=view, width_px=250, height_px=250).total == count
    assert path.stat().st_size > 200


@pytest.mark.slow
def test_letters_that_no_font_has_are_named_and_those_of_other_fonts_are_drawn(run, tmp_path):
    folder = Path(mpl.get_data_path(), "fonts", "ttf")
    stix, own = (set(get_font(folder / f"{name}.ttf").get_charmap())
                 for name in ("STIXGeneral", "DejaVuSans"))  # fmt: skip
    other, lost = chr(min(code for code in stix - own if code > 0x2100)), "\U000f1234"
    pictures = []
    for title in (f"ab{other}c", f"ab{lost}c", "ab□c"):
        view = CloudView(title=title)
        for name in ("a.png", "a.pdf"):
            report = render.cloud(some_events(), tmp_path / name, view=view, overwrite=True)
            assert report.missing == (lost if lost in title else "")
        pictures.append((tmp_path / "a.png").read_bytes())
    assert pictures[1] == pictures[2] != pictures[0]
    save_events(some_events(), tmp_path / "e.npz")
    code, _, err = run("cloud", "e.npz", "-o", "b.png", "--title", lost)
    assert code == 0
    assert lost in err


# -- turntables


def decoded(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def turned(path, *, azimuth=48.0, **turn):
    """Return the frames of a turntable of 200 x 160 pixels."""
    view = CloudView(azimuth_deg=azimuth)
    given = Turn(seconds=0.4, fps=10, width_px=200, height_px=160, **turn)
    render.turntable(some_events(900), path, view=view, turn=given, overwrite=True)
    return decoded(path)


@pytest.mark.slow
def test_a_turn_begins_with_the_view_and_goes_around_in_even_steps(tmp_path):
    path = tmp_path / "a.gif"
    frames = turned(path)
    assert len(frames) == 4
    quarter = turned(path, azimuth=138.0)
    back = turned(path, turns=-1)
    for k in range(4):
        np.testing.assert_array_equal(quarter[k], frames[(k + 1) % 4])
        np.testing.assert_array_equal(back[k], frames[-k % 4])
        assert (frames[k] != frames[k - 1]).any()
    still = render.cloud_image(some_events(900), width_px=200, height_px=160)
    for frame in turned(path, turns=0):
        assert np.abs(frame.astype(int) - still).mean() < 5
        np.testing.assert_array_equal(frame, turned(path, turns=0)[0])
    alone = path.read_bytes()
    for threads in (1, 3):
        with on_threads(threads):
            turned(path, turns=0)
        assert path.read_bytes() == alone


def test_a_sweep_shows_the_events_of_a_window_that_goes_around(tmp_path):
    """Seen from the side, time runs over the picture."""
    t = np.arange(0, 8000, 10)
    events = Events(t=t, x=t % 20, y=t % 14, p=t >= 0, size=(20, 14))
    view = CloudView(azimuth_deg=0, elevation_deg=0, color=render.by_polarity)

    def columns(sweep_us, name):
        turn = Turn(seconds=0.4, fps=10, turns=0, sweep_us=sweep_us, width_px=200, height_px=160)
        report = render.turntable(events, tmp_path / name, view=view, turn=turn)
        assert report.frames == 4
        near = [np.abs(frame.astype(int) - rgb(DARK.on)).max(axis=2) < 90
                for frame in decoded(tmp_path / name)]  # fmt: skip
        return [each[60:].any(axis=0) for each in near]  # below the header

    whole = columns(None, "a.gif")[0]
    first, last = np.flatnonzero(whole)[[0, -1]]
    for k, shown in enumerate(columns(4000, "b.gif")):
        at = (np.arange(first, last + 1) - first) / (last - first)
        inside = (at - k / 4) % 1 < 0.5
        wrong = shown[first : last + 1] != inside
        assert np.flatnonzero(wrong).size <= 12, "but at the borders of the window"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tolerance"), [("c.mp4", 4.0), ("c.mkv", 4.0), ("c.gif", 5.0)])
def test_a_video_holds_the_pictures(name, tolerance, tmp_path):
    events, dark = some_events(900), name == "c.mkv"
    view = CloudView(dark=dark, title="Turning")
    turn = Turn(seconds=0.5, fps=10, turns=0, width_px=320, height_px=240, crf=12)
    told = []
    report = render.turntable(
        events, tmp_path / name, view=view, turn=turn, on_frame=lambda *at: told.append(at)
    )
    assert (report.frames, report.kept, report.total) == (5, 900, 900)
    assert told == [(k, 5) for k in range(1, 6)]
    expected = render.cloud_image(events, view=view, width_px=320, height_px=240)
    stored = decoded(tmp_path / name)
    assert len(stored) == 5
    for frame in stored:
        # Color is stored at half the resolution: compare what is left of it.
        smooth = [cv2.blur(each.astype(np.float32), (4, 4)) for each in (frame, expected)]
        assert np.abs(smooth[0] - smooth[1]).mean() < tolerance
    ground = rgb((DARK if dark else LIGHT).ground)
    assert np.abs(stored[0][-3, -3].astype(int) - ground).max() <= 3


WRONG_TURNS = [
    ({"fps": 0.0}, ConfigError, "fps"), ({"turns": 101}, ConfigError, "turns"),
    ({"crf": 99}, ConfigError, "crf"), ({"preset": "x"}, ConfigError, "preset"),
    ({"width_px": 641}, ConfigError, "641x960"), ({"width_px": 20}, ShapeError, "20x960"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "kind", "named"), WRONG_TURNS)
def test_turns_out_of_range_are_refused(wrong, kind, named, tmp_path):
    with refused(kind, named):
        render.turntable(some_events(), tmp_path / "c.mp4", turn=Turn(**wrong))
    assert not list(tmp_path.iterdir())


def test_a_turntable_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "c.mp4"
    path.write_bytes(b"old")
    with refused(OutputError, "c.mp4"):
        render.turntable(some_events(), path)
    for name, turn, named in (("c.png", Turn(), ".mp4"), ("c.gif", Turn(fps=60.0), "fps=60")):
        with refused(ConfigError, named):
            render.turntable(some_events(), tmp_path / name, turn=turn)

    def stop(*at):
        raise KeyboardInterrupt

    turn = Turn(seconds=1, width_px=64, height_px=64)
    with pytest.raises(KeyboardInterrupt):
        render.turntable(some_events(), path, turn=turn, overwrite=True, on_frame=stop)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["c.mp4"]


# -- stored pictures


def spiral(count=1500):
    """A dot that runs in circles, and a corner with many events."""
    turn, number = np.linspace(0, 6 * np.pi, count), np.arange(count)
    x = np.where(number % 4, 24 + 18 * np.cos(turn), 3).astype(int)
    y = np.where(number % 4, 18 + 13 * np.sin(turn), 3).astype(int)
    return Events(t=number * 60, x=x, y=y, p=number % 3 > 0, size=(48, 36))


# Name: the view, width and height.
CASES = {
    "slant": (CloudView(title="Spiral"), 300, 240),
    "front": (CloudView(azimuth_deg=90, elevation_deg=0, color=render.by_count), 300, 240),
    "light": (CloudView(dark=False, azimuth_deg=-150, color=render.by_polarity), 264, 204),
    "print": (CloudView(dark=False, dpi=80, title="A column"), 277, 208),
    "small": (CloudView(), 120, 90),
}


def draw(name, events):
    view, width, height = CASES[name]
    return render.cloud_image(events, view=view, width_px=width, height_px=height)


@pytest.mark.parametrize("name", CASES)
def test_clouds_look_as_their_stored_pictures(name):
    assert matches(f"cloud_{name}", draw(name, spiral()))


def test_a_cloud_that_lacks_a_tenth_of_its_points_does_not_look_so():
    assert not matches("cloud_slant", draw("slant", spiral()[150:]))


# -- the command


def test_the_command_writes_a_picture_of_a_part_for_print(run, tmp_path):
    events = some_events()
    save_events(events, tmp_path / "a.npz")
    options = ["--start", "2ms", "--stop", "6ms", "--color", "count", "--view", "side"]
    assert run("cloud", "a.npz", "-o", "a.png", "--width", 88, *options)[0] == 0
    first = int(events.t[0])
    view = CloudView(azimuth_deg=0, elevation_deg=0, dark=False, dpi=300, color=render.by_count)
    expected = render.cloud_image(
        events.between(first + 2000, first + 6000), view=view, width_px=1039, height_px=779
    )
    np.testing.assert_array_equal(cv2.imread("a.png")[:, :, ::-1], expected)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".svg", ".gif"])
def test_the_command_writes_stills_and_turns_and_keeps_existing_files(run, tmp_path, suffix):
    save_events(some_events(), tmp_path / "a.npz")
    moves = ["--seconds", "0.2", "--turns", "-1", "--sweep", "2ms"] if suffix == ".gif" else []
    words = ("cloud", "a.npz", "-o", f"a{suffix}", "--pixels", "320x240", "--bright", *moves)
    assert run(*words)[0] == 0
    refused_command(run(*words), f"a{suffix}")
    assert run(*words, "--force")[0] == 0
    if suffix == ".gif":
        turn = Turn(seconds=0.2, turns=-1, sweep_us=2000, width_px=320, height_px=240)
        view = CloudView(dark=False)
        render.turntable(some_events(), tmp_path / "b.gif", view=view, turn=turn)
        assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["a.tiff"], ".tiff"), (["a.png", "--width", "1"], "12x9"),
        (["a.png", "--width", "88", "--dpi", "1"], "dpi"),
        (["a.png", "--width", "nan"], "--width"),
        (["a.png", "--width", "88", "--pixels", "9x9"], "--pixels"),
        (["a.png", "--elevation", "100"], "elevation_deg"),
        (["a.png", "--fps", "30"], "--fps"), (["a.html", "--point-px", "3"], "--point-px"),
        (["a.gif", "--labels", "l.csv"], "--labels"), (["a.gif", "--sweep", "0us"], "sweep"),
        (["a.png", "--start", "5ms", "--stop", "4ms"], "--stop"),
    ],
)  # fmt: skip
def test_wrong_commands_are_refused(run, tmp_path, words, named):
    save_events(some_events(), tmp_path / "a.npz")
    refused_command(run("cloud", "a.npz", "-o", *words), named)
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]
