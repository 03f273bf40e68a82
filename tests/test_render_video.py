"""Videos of events: what stands in the file, beside what was drawn."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from av.video.frame import PictureType
from typer.testing import CliRunner

from dvskit.cli import app
from dvskit.errors import ConfigError, OutputError, ShapeError, VideoError
from dvskit.events import Events, Size
from dvskit.formats import save_events
from dvskit.render import (
    LatestPolarity,
    LinearFade,
    VideoView,
    frame_kernels,
    frames,
    styles,
    video,
)
from dvskit.render.colormap import DARK, LIGHT, rgb
from dvskit.render.videos import (
    Canvas,
    Dithered,
    ImagesBeside,
    lay_out,
    whole_palette,
)
from dvskit.render.writers import packed_table, yuv_table
from dvskit.video import open_frames
from tests.laws import on_threads, refused, scattered
from tests.pictures import matches

PLAIN = VideoView(style=LatestPolarity(), scale=1, footer=False)


def some_events(size=(37, 23), count=4000, seed=0):
    """Return events of 0.2 s, not from t = 0 on."""
    events = scattered(count, size, span_us=200_000, seed=seed)
    return Events(
        t=events.t + 1_000_000, x=events.x, y=events.y, p=events.p, size=events.sensor_size
    )


def decoded(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_the_planes_are_the_table_and_the_mean_chroma_of_four_pixels():
    rng = np.random.default_rng(0)
    index = rng.integers(0, 256, (6, 10)).astype(np.uint8)
    index[:2, :4] = 9
    table = rng.integers(0, 256, (256, 3)).astype(np.uint8)
    table[9] = 255  # the greatest sums
    luma, blue, red = np.zeros((6, 10), np.uint8), np.zeros((3, 5), np.uint8), np.zeros((3, 5), np.uint8)  # fmt: skip  # noqa: E501
    frame_kernels.planes(index, packed_table(table), luma, blue, red)
    assert np.array_equal(luma, table[index, 0])
    for plane, channel in ((blue, 1), (red, 2)):
        sums = table[index, channel].astype(int).reshape(3, 2, 5, 2).sum(axis=(1, 3))
        assert np.array_equal(plane, (sums + 2) // 4)


def test_the_table_holds_the_reference_colors_of_bt709():
    colors = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]])
    assert yuv_table(colors.astype(np.uint8)).tolist() == [
        [16, 128, 128], [235, 128, 128], [63, 102, 240], [173, 42, 26], [32, 240, 118],
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_most_pictures_of_a_video_are_predicted_from_both_sides(tmp_path, suffix):
    report = video(some_events(count=40_000), tmp_path / f"a{suffix}", view=VideoView(fps=200))
    with av.open(str(report.path)) as container:
        shown = [(frame.pts, PictureType(frame.pict_type)) for frame in container.decode(video=0)]
    assert len(shown) == report.frames > 30
    assert shown == sorted(shown)
    assert sum(kind == PictureType.B for _, kind in shown) > 0.6 * report.frames


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_enlarging_repeats_pixels(factor):
    index = np.random.default_rng(0).integers(0, 256, (5, 7)).astype(np.uint8)
    canvas = np.full((5 * factor + 2, 7 * factor + 3), 200, np.uint8)
    frame_kernels.enlarge(index, factor, canvas)
    assert np.array_equal(
        canvas[: 5 * factor, : 7 * factor], index.repeat(factor, axis=0).repeat(factor, axis=1)
    )
    assert (canvas[5 * factor :] == 200).all()
    assert (canvas[:, 7 * factor :] == 200).all()


@pytest.mark.parametrize("dark", [True, False], ids=["dark", "light"])
def test_an_mp4_shows_the_colors_of_the_frames(tmp_path, dark):
    # Pixels enlarged by an even factor have chroma of their own.
    view = VideoView(style=LatestPolarity(), scale=4, footer=False, dark=dark, crf=0)
    events = some_events()
    report = video(events, tmp_path / "a.mp4", view=view)
    seen = decoded(report.path)
    expected = [
        image.repeat(4, axis=0).repeat(4, axis=1)
        for _, image in frames(
            events, style=LatestPolarity(), fps=60, theme=DARK if dark else LIGHT
        )
    ]
    assert report.frames == len(seen) == len(expected) > 5
    assert report.events == len(events)
    middle = slice(1, None, 4)  # away from the borders, where chroma is blended in decoding
    for shown, meant in zip(seen, expected, strict=True):
        off = np.abs(shown[middle, middle].astype(int) - meant[middle, middle])
        assert off.max() <= 12


def test_a_gif_shows_exactly_the_frames(tmp_path):
    view = VideoView(style=LinearFade(), scale=2, footer=False, fps=20)
    events = some_events()
    report = video(events, tmp_path / "a.gif", view=view)
    seen = decoded(report.path)
    expected = [image for _, image in frames(events, style=LinearFade(), fps=20)]
    assert len(seen) == len(expected)
    for shown, meant in zip(seen, expected, strict=True):
        assert np.array_equal(shown, meant.repeat(2, axis=0).repeat(2, axis=1))


def test_a_folder_is_read_back_as_frames_at_their_times(tmp_path):
    events = some_events()
    report = video(events, tmp_path / "out", view=VideoView(scale=1, footer=False))
    times = [t_us for t_us, _ in frames(events, fps=60)]
    again = list(open_frames(tmp_path / "out"))
    assert [t_us for t_us, _ in again] == times
    assert report.frames == len(times)
    assert again[0][1].shape == (24, 38)


def test_slow_motion_shows_real_micro_time(tmp_path):
    events = some_events()
    start = int(events.t[0])
    view = VideoView(scale=1, fps=50, slow=1000, start_us=start, stop_us=start + 1000)
    times = []
    video(events, tmp_path / "a.mp4", view=view, on_frame=lambda n, t: times.append((n, t)))
    # One millisecond takes one second of 50 frames, 20 us apart.
    assert times == [(n + 1, start + 20 * (n + 1)) for n in range(50)]
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 50
        assert stream.duration * stream.time_base == 1
        stamps = [f.pts * f.time_base for f in container.decode(video=0)]
    assert stamps == [Fraction(n, 50) for n in range(50)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".gif"])
def test_a_video_is_the_same_bytes_each_time_and_on_any_threads(tmp_path, suffix):
    for threads in (1, 3):
        with on_threads(threads):
            video(some_events(count=200), tmp_path / f"{threads}{suffix}")
    first, second = (tmp_path / f"{threads}{suffix}" for threads in (1, 3))
    assert first.read_bytes() == second.read_bytes()


def test_the_image_beside_is_the_latest_that_is_not_later():
    images = [(100, np.full((2, 2), 10, np.uint8)), (200, np.full((2, 2), 20, np.uint8)),
              (300, np.full((2, 2), 250, np.uint8))]  # fmt: skip
    beside = ImagesBeside(images)
    assert beside.advance(99, Size(2, 2)) is None
    first = beside.advance(100, Size(2, 2))
    assert beside.advance(199, Size(2, 2)) is None
    last = beside.advance(1000, Size(2, 2))
    assert first is not None
    assert last is not None
    assert first[0, 0] < last[0, 0]
    with pytest.raises(VideoError, match="decrease"):
        ImagesBeside([(5, images[0][1]), (4, images[0][1])]).advance(9, Size(2, 2))


COLORS = np.array([[200, 40, 30], [30, 150, 60], [40, 60, 190], [230, 200, 40]], np.uint8)


def quarters(height=24, width=40):
    """An image of four colors, a quarter each."""
    image = np.zeros((height, width, 3), np.uint8)
    for number, color in enumerate(COLORS):
        row, column = divmod(number, 2)
        image[row * height // 2 :][: height // 2, column * width // 2 :][:, : width // 2] = color
    return image


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype"), [("a.mp4", np.uint16), ("a.gif", np.uint8), ("folder", np.float32)]
)
def test_an_image_in_color_stands_beside_the_events_in_color(tmp_path, name, dtype):
    scale = {np.uint8: 1, np.uint16: 257, np.float32: 1 / 255}[dtype]
    beside = [(900_000, (quarters().astype(np.float64) * scale).astype(dtype))]
    events = some_events((40, 24))
    report = video(events, tmp_path / name, view=PLAIN, beside=beside)
    if name == "folder":
        last = cv2.imread(str(sorted(report.path.glob("*.png"))[-1]))[:, :, ::-1]
    else:
        last = decoded(report.path)[-1]
    shown = last[: last.shape[0] // 2 * 2, -(last.shape[1] // 2) + 8 :]
    height, width = shown.shape[:2]
    near = 4 if name == "folder" else 14
    for number, color in enumerate(COLORS):
        row, column = divmod(number, 2)
        place = shown[(4 * row + 1) * height // 8 : (4 * row + 3) * height // 8,
                      (4 * column + 1) * width // 8 : (4 * column + 3) * width // 8]  # fmt: skip
        np.testing.assert_allclose(place.mean((0, 1)), color, atol=near)
    first = quarters()[..., 0]
    gray = video(events, tmp_path / f"gray-{name}", view=PLAIN, beside=[(900_000, first)])
    assert gray.size == report.size


def test_a_gif_shows_colors_that_come_later_as_the_nearest_it_has():
    first = np.full((8, 8, 3), 40, np.uint8)
    palette = whole_palette(np.zeros((127, 3), np.uint8), DARK, image=first)
    assert palette.shape == (256, 3)
    drawn = palette[Dithered(palette)(np.full((64, 64, 3), (250, 10, 10), np.uint8))]
    assert drawn[..., 0].mean() > 200
    assert drawn[..., 1:].mean() < 60


def test_a_footer_tells_time_speed_and_rates():
    events = some_events((320, 240))
    moments = frames(events, style=LatestPolarity(), frame_us=10_000)
    layout = lay_out(Size(320, 240), None, beside=None, footer=True)
    assert (layout.scale, layout.width, layout.height % 2) == (2, 640, 0)
    canvas = Canvas(layout, 10_000, slow=1, beside=None)
    pictures = [canvas.draw(m).copy() for m in moments.moments()]
    footers = np.stack(pictures)[:, 480:]
    assert len({footer.tobytes() for footer in footers}) == len(footers)
    assert np.array_equal(pictures[3][:480:2, :640:2], pictures[3][1:480:2, 1:640:2])
    assert lay_out(Size(128, 128), 1, beside=None, footer=True).footer_px == 0
    # Bars of ON are above the line, those of OFF below.
    palette = whole_palette(frames(events, style=LatestPolarity()).palette, DARK)
    footer = palette[footers[-1]]
    rows = [np.flatnonzero((footer == rgb(color)).all(2).any(1)) for color in (DARK.on, DARK.off)]
    assert rows[0].max() < rows[1].min()


def test_outputs_are_whole_or_not_there(tmp_path):
    class Broken:
        size = Size(37, 23)

        def __iter__(self):
            yield some_events()
            raise RuntimeError("the cable was pulled")

    for name in ("a.mp4", "a.gif", "out"):
        with pytest.raises(RuntimeError, match="cable"):
            video(Broken(), tmp_path / name, view=PLAIN)
        with pytest.raises(VideoError, match="no events"):
            video(Events.empty((4, 4)), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_replaced_unasked_and_no_folder_of_others_at_all(tmp_path):
    for name in ("a.mp4", "out"):
        video(some_events(), tmp_path / name, view=PLAIN)
        with pytest.raises(OutputError, match="exists already"):
            video(some_events(), tmp_path / name, view=PLAIN)
        video(some_events(seed=1), tmp_path / name, view=PLAIN, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "out"]
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        video(some_events(), tmp_path / "out", view=PLAIN, overwrite=True)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"
    with pytest.raises(OutputError):
        video(some_events(), tmp_path / "none" / "a.mp4", view=PLAIN)


WRONG = [
    (lambda path: video(some_events(), path / "a.avi"), ConfigError, ".avi"),
    (lambda path: video(some_events(), path / "a.gif", view=VideoView(fps=60)), ConfigError, "60"),
    (lambda path: video(some_events(), path / "a.mp4", beside=[]), VideoError, "beside"),
    (lambda path: VideoView(scale=0), ConfigError, "scale"),
    (lambda path: VideoView(preset="lazy"), ConfigError, "lazy"),
    (lambda path: lay_out(Size(300, 300), 64, beside=None, footer=True), ShapeError, "16384"),
]


@pytest.mark.parametrize(("make", "kind", "named"), WRONG)
def test_options_out_of_range_are_refused(make, kind, named, tmp_path):
    with refused(kind, named):
        make(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "a.es"
    save_events(some_events(), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("style", ["count", "linear"])
def test_the_command_writes_each_style(recording, style):
    out = recording.with_name("b.gif")
    words = ["render", str(recording), "-o", str(out), "--style", style, "--window", "20ms"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert len(decoded(out)) > 2
    assert CliRunner().invoke(app, words).exit_code == 1
    assert CliRunner().invoke(app, [*words, "--force", "--bright"]).exit_code == 0


@pytest.mark.slow
def test_the_command_shows_a_video_beside(recording):
    out = recording.with_name("b.mp4")
    first = ["render", str(recording), "-o", str(out), "--slow", "2", "--scale", "2"]
    assert CliRunner().invoke(app, first).exit_code == 0
    wide = recording.with_name("c.mkv")
    words = ["render", str(recording), "-o", str(wide), "--beside", str(out), "--stop", "1.1s"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert decoded(wide)[0].shape[1] > 640


# -- beside stored pictures


ALIKE = 0.05  # nothing moves but what OpenCV's letters may do


def sweep():
    """A bright bar that crosses the sensor, ON in front and OFF behind, ever faster."""
    t = np.repeat(np.arange(0, 400_000, 2_000), 160)
    row = np.tile(np.arange(80).repeat(2), 200)
    behind = np.tile(np.arange(160) % 2, 200)
    x = (t / 400_000) ** 1.3 * 110 + 20 - 12 * behind
    return Events(t=t, x=x.astype(int), y=row + 5, p=behind == 0, size=(160, 90))


def last_frame(folder, **chosen):
    view = VideoView(fps=20, scale=2, **chosen)
    images = [np.full((90, 160), level, np.uint8) for level in (60, 130, 200)]
    video(
        sweep(),
        folder / "out",
        view=view,
        beside=[(150_000 * k, image) for k, image in enumerate(images)],
    )
    file = sorted((folder / "out").glob("*.png"))[-2]
    return cv2.imread(str(file))[:, :, ::-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(styles))
def test_each_style_of_video_looks_as_its_stored_picture(tmp_path, name):
    dark = name != "count"
    assert matches(
        f"frame-{name}", last_frame(tmp_path, style=styles[name](), dark=dark), tolerance=ALIKE
    )
