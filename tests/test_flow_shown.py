"""Flow in files, pictures and videos, and the command that writes them."""

import json

import av
import numpy as np
import pytest
from typer.testing import CliRunner

import dvskit
from dvskit.cli import app
from dvskit.events import Events
from dvskit.formats import save_events
from dvskit.motion import PooledFlow, plane_flow, pooled_flow
from dvskit.motion.flow_file import FlowSink
from dvskit.render import FlowColours, VideoView, plots, video
from dvskit.render.colormap import DARK, LIGHT, rgb
from dvskit.render.flow_colours import flow_palette, flow_rows, wheel_rows
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
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    scene = frames[len(frames) // 2][: 4 * 48].astype(int)
    red = (scene[..., 0] > 200) & (scene[..., 1:].max(-1) < 90)
    assert red[:, :180].sum() > 1000
    cyan = (scene[..., 0] < 60) & (scene[..., 1:].min(-1) > 200)
    assert cyan[:, 180:].sum() > 20  # of the wheel: nothing moves left
    assert cyan[:, :180].sum() == 0


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


@pytest.mark.parametrize("name", ["a.png", "a.mp4"])
def test_the_command_draws_a_part(folder, name):
    done = run("bars.npz", "-o", name, "--start", "20ms", "--stop", "120ms", "--method", "pooled")
    assert done.exit_code == 0, done.stderr
    assert "have a velocity" in done.stderr
    assert (folder / name).stat().st_size > 500


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bars.npz", "-o", "a.txt"), "a.txt: flow is written as .npz, .png"),
        (("bars.npz", "-o", "a.npz", "--fps", "30"), "--fps applies to videos only"),
        (("bars.npz", "-o", "a.npz", "--full", "30"), "--full sets the colours"),
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
