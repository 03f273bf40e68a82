"""Flow in files, pictures and videos, and the command that writes them."""

import json

import av
import numpy as np
import pytest
from matplotlib.quiver import Quiver
from typer.testing import CliRunner

import dvskit
from dvskit import render
from dvskit.cli import app
from dvskit.errors import ConfigError
from dvskit.events import Events
from dvskit.formats import save_events
from dvskit.motion import PooledFlow, plane_flow, pooled_flow
from dvskit.motion.flow_file import FlowSink
from dvskit.render import FlowArrows, FlowColours, VideoView, frames, plots, video
from dvskit.render._thin import Thinner
from dvskit.render.colormap import DARK, LIGHT, rgb
from dvskit.render.flow_cells import FlowCells
from dvskit.render.flow_colours import flow_palette, flow_rows, wheel_rows
from dvskit.render.frames.flow_style import draw_arrow
from tests.test_plane_flow import edges


@pytest.fixture(scope="module")
def bars():
    return edges(300, 0.0, size=(64, 48))


@pytest.fixture
def folder(tmp_path, monkeypatch, bars):
    monkeypatch.chdir(tmp_path)
    save_events(bars, "bars.npz")
    return tmp_path


def run(*words):
    return CliRunner().invoke(app, ["flow", *words])


def test_opposite_directions_have_complementary_hues_and_slow_events_none():
    palette = flow_palette(DARK).astype(int)
    right, left = (palette[flow_rows(np.array(v), np.array(0.0), 100.0)] for v in (100.0, -100.0))
    assert right.tolist() == [255, 0, 0]
    assert left[0] == 0
    assert left[1:].min() > 200
    slow = palette[flow_rows(np.array(0.1), np.array(0.1), 100.0)]
    assert slow.tolist() == [255, 255, 255]


@pytest.mark.parametrize("theme", [DARK, LIGHT])
def test_all_colours_of_the_wheel_differ_from_the_ground(theme):
    palette = flow_palette(theme)
    assert palette.shape == (127, 3)
    away = np.abs(palette[1:].astype(int) - rgb(theme.ground)).sum(1)
    assert away.min() > 150


def test_the_wheel_shows_each_direction_where_it_points():
    wheel = wheel_rows(41)
    assert wheel[0, 0] == 0
    for (row, column), (vx, vy) in {(20, 40): (1, 0), (40, 20): (0, 1), (20, 0): (-1, 0)}.items():
        assert wheel[row, column] == flow_rows(np.array(vx), np.array(vy), 1.0)


def test_a_file_of_flow_holds_the_columns_and_the_events(tmp_path, bars):
    flow = plane_flow(bars)
    with FlowSink(tmp_path / "flow.npz", bars.size) as sink:
        sink.add(flow)
    kept = np.load(tmp_path / "flow.npz")
    assert np.array_equal(kept["vx"], flow.vx, equal_nan=True)
    assert kept["vy"].dtype == np.float32
    assert np.array_equal(dvskit.load_events(tmp_path / "flow.npz").t, bars.t)


def test_a_video_of_flow_shows_direction_and_wheel(tmp_path, bars):
    style = FlowColours(full_px_s=300, window_us=20_000)
    view = VideoView(style=style, scale=4, slow=10, crf=0)
    report = video(bars, tmp_path / "flow.mp4", view=view)
    with av.open(str(report.path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    scene = pictures[len(pictures) // 2][: 4 * 48].astype(int)
    red = (scene[..., 0] > 200) & (scene[..., 1:].max(-1) < 90)
    assert red[:, :180].sum() > 1000
    cyan = (scene[..., 0] < 60) & (scene[..., 1:].min(-1) > 200)
    assert cyan[:, 180:].sum() > 20  # of the wheel: nothing moves left
    assert cyan[:, :180].sum() == 0


@pytest.mark.parametrize("style", [FlowColours, FlowArrows])
@pytest.mark.parametrize("length", [7, 300])
def test_frames_of_flow_do_not_depend_on_the_blocks_and_show_events_in_time(bars, style, length):
    some = bars[:6000]

    class Cut:
        size = some.size

        def __iter__(self):
            return (some[at : at + length] for at in range(0, len(some), length))

    style = style(full_px_s=300, window_us=4_000)
    whole, cut = (
        [(t_us, picture.copy()) for t_us, picture in frames(each, style=style, frame_us=4_000)]
        for each in (some, Cut())
    )
    assert len(whole) == len(cut) > 10
    for (t_us, picture), (other_us, other) in zip(whole, cut, strict=True):
        assert t_us == other_us
        assert np.array_equal(picture, other)
    flow = plane_flow(some)
    for t_us, picture in whole[::5]:
        now = (some.t >= t_us - 4_000) & (some.t < t_us)
        now &= flow.known if isinstance(style, FlowColours) else True
        shown = (picture != rgb(DARK.ground)).any(-1)
        assert shown[some.y[now], some.x[now]].all()


def test_arrows_are_the_mean_of_cells_with_enough_events(bars):
    cells = FlowCells.on(bars.size, 20)
    assert cells.shape == (3, 4)
    flow = plane_flow(bars)
    arrows = cells.arrows(cells.sums(flow), 10)
    for x, y, vx, vy in arrows:
        inside = (bars.x // 20 == x // 20) & (bars.y // 20 == y // 20) & flow.known
        assert inside.sum() >= 10
        assert vx == pytest.approx(flow.vx[inside].mean(), abs=0.01)
        assert vy == pytest.approx(flow.vy[inside].mean(), abs=0.01)
    assert len(arrows) == 12
    assert len(cells.arrows(cells.sums(flow), 10**6)) == 0


@pytest.mark.parametrize("theme", [DARK, LIGHT])
def test_an_arrow_points_along_the_motion_and_a_cell_is_full_speed(theme):
    palette = FlowArrows().palette(theme)
    assert palette.shape == (127, 3)
    assert palette[63].tolist() == list(rgb(theme.ground))
    assert palette[0].tolist() == list(rgb(theme.text))
    index = np.full((60, 60), 63, np.uint8)
    draw_arrow(index, np.array([30.0, 30.0, 0.0, 250.0]), 20, 500.0)
    rows, columns = np.nonzero(index == 0)
    assert (rows.min(), rows.max()) == (25, 35)
    assert np.ptp(columns[rows > 31]) > np.ptp(columns[rows < 28]) == 0
    draw_arrow(index, np.array([30.0, 30.0, 1e6, 0.0]), 20, 500.0)
    assert np.ptp(np.nonzero(index == 0)[1]) == 40


def test_a_video_of_arrows_shows_the_arrow_of_full_speed(tmp_path, bars):
    view = VideoView(style=FlowArrows(full_px_s=300, cell_px=16), scale=4, slow=10, crf=0)
    report = video(bars, tmp_path / "arrows.mp4", view=view)
    with av.open(str(report.path)) as container:
        shown = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    bright = shown[len(shown) // 2] > 200
    assert bright[:40, 160:].sum() > 300
    assert bright[60:192].sum() > 500


def test_a_plot_of_arrows_has_their_velocities_and_an_arrow_to_compare(bars):
    figure = plots.flow_arrows(plane_flow(bars), full_px_s=300)
    (drawn,) = [each for each in figure.axes[0].collections if isinstance(each, Quiver)]
    assert np.median(drawn.U) == pytest.approx(300, rel=0.05)
    none = plots.flow_arrows(plane_flow(Events.empty((8, 8))))
    assert "no flow" in [text.get_text() for text in none.axes[0].texts]


def test_a_page_shows_each_event_in_the_colour_of_its_velocity(browser, folder, bars):
    done = run("bars.npz", "-o", "flow.html", "--stop", "150ms", "--full", "300")
    assert done.exit_code == 0, done.stderr
    browser.open(folder / "flow.html", state="colour=flow&flat=1&look=front")
    assert browser.js("return document.getElementById('by-flow').ariaPressed") == "true"
    assert "300 px/s" in browser.js("return document.getElementById('key').textContent")
    flow = plane_flow(bars.between(None, int(bars.t[0]) + 150_000))
    rows = np.zeros(len(flow), int)
    rows[flow.known] = flow_rows(flow.vx[flow.known], flow.vy[flow.known], 300)
    held = browser.js("return Array.from(CLOUDS[0].whole.table).filter((_, i) => i % 4 === 3)")
    kept = np.array(held)
    assert np.array_equal(kept >> 1, rows)
    assert np.array_equal(kept & 1, flow.events.p)
    for theme, state in ((DARK, "dark"), (LIGHT, "light")):
        browser.js(f"setTheme('{state}')")
        picture = browser.screen()
        right = flow_palette(theme)[flow_rows(np.array(300.0), np.array(0.0), 300.0)]
        assert (np.abs(picture - right).sum(-1) < 6).sum() > 300
    browser.js("setColour('polarity')")
    picture = browser.screen()
    for colour in (LIGHT.on, LIGHT.off):
        assert (np.abs(picture - rgb(colour)).sum(-1) < 6).sum() > 300
    assert browser.js("return COLOURINGS") == ["time", "polarity", "count", "flow"]
    assert browser.complaints() == []


def test_a_page_without_flow_offers_none(browser, folder, bars):
    render.page(bars[:500], folder / "plain.html")
    browser.open(folder / "plain.html", state="colour=flow")
    assert browser.js("return S.colour") == "time"
    assert browser.js("return document.getElementById('by-flow').hidden")
    with pytest.raises(ConfigError, match="one full_px_s"):
        render.page([render.ShownEvents(bars, flow=FlowColours()), bars], folder / "two.html")


@pytest.mark.parametrize("length", [1, 33, 5000])
def test_velocities_are_thinned_with_their_events(bars, length):
    some = bars[:700]
    rows, thinner = np.arange(700).astype(np.uint8), Thinner(bars.size, 200)
    for at in range(0, 700, length):
        thinner.add(some[at : at + length], rows[at : at + length])
    kept = thinner.kept()
    assert kept.every == 4
    assert np.array_equal(kept.rows, rows[::4])


def test_a_map_of_flow_has_the_velocity_of_each_pixel_and_a_wheel(bars):
    figure = plots.flow(plane_flow(bars), full_px_s=300)
    axes = figure.axes[0]
    shown = axes.images[0].get_array()
    assert np.array_equal(shown[24, 30], [184, 0, 0])
    assert [text.get_text() for text in axes.child_axes[0].texts] == ["300 px/s"]
    none = plots.flow(plane_flow(Events.empty((8, 8))))
    assert "no flow" in [text.get_text() for text in none.axes[0].texts]


def test_the_command_writes_arrays_equal_to_the_library(folder, bars):
    assert run("bars.npz", "-o", "flow.npz").exit_code == 0
    assert np.array_equal(np.load("flow.npz")["vx"], plane_flow(bars).vx, equal_nan=True)
    assert run("bars.npz", "-o", "flow.npz", "--method", "pooled", "--force").exit_code == 0
    assert np.array_equal(np.load("flow.npz")["vx"], pooled_flow(bars).vx, equal_nan=True)


def test_the_command_reports_speeds_as_json(folder, bars):
    found = json.loads(run("bars.npz", "-o", "flow.npz", "--json").stdout)
    assert found["events"] == len(bars)
    assert found["known"] == np.count_nonzero(plane_flow(bars).known)
    assert found["median_px_s"] == pytest.approx(300, rel=0.03)
    assert found["method"] == "plane"


@pytest.mark.parametrize("name", ["a.png", "a.mp4", "a.png --arrows", "a.mp4 --arrows"])
def test_the_command_draws_a_part(folder, name):
    name, *arrows = name.split()
    part = ("--start", "20ms", "--stop", "120ms")
    done = run("bars.npz", "-o", name, *part, "--method", "pooled", *arrows)
    assert done.exit_code == 0, done.stderr
    assert "have a velocity" in done.stderr
    assert (folder / name).stat().st_size > 500


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bars.npz", "-o", "a.txt"), "a.txt: flow is written as .npz, .png"),
        (("bars.npz", "-o", "a.npz", "--fps", "30"), "--fps applies to videos only"),
        (("bars.npz", "-o", "a.npz", "--full", "30"), "--full sets the colours"),
        (("bars.npz", "-o", "a.mp4", "--window", "-5ms"), "--window -5ms is no duration"),
        (("bars.npz", "-o", "a.npz", "--arrows"), "--arrows applies to pictures and videos only"),
        (("bars.npz", "-o", "a.html", "--arrows"), "--arrows applies to pictures and videos only"),
        (("bars.npz", "-o", "a.html", "--fps", "30"), "--fps applies to videos only"),
        (("bars.npz", "-o", "a.png", "--full", "0"), "give 1 to 1000000 px/s"),
        (("bars.npz", "-o", "bars.npz"), "exists already"),
        (("none.npz", "-o", "a.npz"), "none.npz"),
        (("bars.npz", "-o", "a.npz", "--start", "9s"), "no events to show from --start"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_file(folder, words, said):
    done = run(*words)
    assert done.exit_code in (1, 2)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("dvskit: error")]
    assert said in line
    assert sorted(path.name for path in folder.iterdir()) == ["bars.npz"]


def test_a_recording_without_motion_is_told(folder):
    rng = np.random.default_rng(0)
    still = Events(
        t=np.arange(40) * 90_000, x=rng.integers(0, 64, 40), y=rng.integers(0, 48, 40),
        p=rng.random(40) < 0.5, size=(64, 48),
    )  # fmt: skip
    save_events(still, "still.npz")
    done = run("still.npz", "-o", "flow.npz")
    assert done.exit_code == 0
    assert "no event has a velocity" in done.stderr


def test_a_video_shows_all_events_that_have_flow(folder):
    kept, shown = (
        json.loads(run("bars.npz", "-o", name, "--json", "--stop", "150ms").stdout)
        for name in ("flow.npz", "flow.gif")
    )
    assert shown["known"] == kept["known"] > 1000


def test_a_style_takes_any_method(bars):
    style = FlowColours(method=PooledFlow())
    assert len(list(dvskit.render.frames(bars, style=style, frame_us=20_000))) > 5
