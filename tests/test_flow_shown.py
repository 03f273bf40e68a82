"""Flow in files, pictures, videos and pages, and the command that writes them."""

import json

import numpy as np
import pytest
from matplotlib.quiver import Quiver

import dvskit
from dvskit import render
from dvskit.errors import ConfigError
from dvskit.formats import save_events
from dvskit.motion import PooledFlow, plane_flow
from dvskit.render import FlowArrows, FlowColors, frames, plots
from dvskit.render.colormap import DARK, LIGHT, flow_palette, flow_rows, rgb
from dvskit.render.motion_styles import FlowCells
from tests.laws import InBlocks, refused, scattered
from tests.test_corner_filters import squares
from tests.test_page import stored
from tests.test_plane_flow import edges

BARS = edges(300, 0.0, size=(64, 48))
FLOW = plane_flow(BARS)


def color(vx, vy, theme=DARK):
    """The color of a velocity where 100 px/s have full color."""
    return flow_palette(theme).astype(int)[flow_rows(np.array(vx), np.array(vy), 100.0)]


def test_opposite_directions_have_complementary_hues_and_slow_events_none():
    assert color(100.0, 0.0).tolist() == [255, 0, 0]
    left = color(-100.0, 0.0)
    assert left[0] == 0
    assert left[1:].min() > 200
    assert color(0.1, 0.1).tolist() == [255, 255, 255]


@pytest.mark.parametrize("style", [FlowColors, FlowArrows])
def test_frames_of_flow_show_the_events_of_their_time(style):
    some, flow = BARS[:6000], plane_flow(BARS[:6000])
    shown = list(frames(some, style=style(full_px_s=300, window_us=4_000), frame_us=4_000))
    assert len(shown) > 40
    for t_us, picture in shown[30::5]:
        now = (some.t >= t_us - 4_000) & (some.t < t_us)
        now &= flow.known if style is FlowColors else True
        assert (picture != rgb(DARK.ground)).any(-1)[some.y[now], some.x[now]].all()
        red = (picture[..., 0] > 200) & (picture[..., 1:].max(-1) < 90)  # to the right
        assert (red.sum() > 40) == (style is FlowColors)


def test_arrows_are_the_mean_of_cells_with_enough_events():
    cells = FlowCells.on(BARS.sensor_size, 20)
    assert cells.shape == (3, 4)
    arrows = cells.arrows(cells.sums(FLOW), 10)
    for x, y, vx, vy in arrows:
        inside = (BARS.x // 20 == x // 20) & (BARS.y // 20 == y // 20) & FLOW.known
        assert inside.sum() >= 10
        assert vx == pytest.approx(FLOW.vx[inside].mean(), abs=0.01)
        assert vy == pytest.approx(FLOW.vy[inside].mean(), abs=0.01)
    assert len(arrows) == 12
    assert len(cells.arrows(cells.sums(FLOW), 10**6)) == 0


def test_plots_have_arrows_of_their_velocities_and_the_color_of_each_pixel():
    arrows, colors = plots.flow_arrows(FLOW, full_px_s=300), plots.flow(FLOW, full_px_s=300)
    (drawn,) = [each for each in arrows.axes[0].collections if isinstance(each, Quiver)]
    assert np.median(drawn.U) == pytest.approx(300, rel=0.05)
    assert np.array_equal(colors.axes[0].images[0].get_array()[24, 30], [184, 0, 0])


@pytest.fixture
def recorded(tmp_path):
    save_events(BARS, tmp_path / "bars.npz")
    return "bars.npz"


@pytest.mark.slow
def test_a_page_shows_each_event_in_the_color_of_its_velocity(browser, run, recorded, tmp_path):
    words = (recorded, "-o", "flow.html", "--stop", "150ms", "--full", "300", "--method", "plane")
    assert run("flow", *words)[0] == 0
    browser.open(tmp_path / "flow.html", state="color=flow&flat=1&look=front")
    assert browser.js("return document.getElementById('by-flow').ariaPressed") == "true"
    flow = plane_flow(BARS.between(None, int(BARS.t[0]) + 150_000))
    rows = np.zeros(len(flow), int)
    rows[flow.known] = flow_rows(flow.vx[flow.known], flow.vy[flow.known], 300)
    held = browser.js("return Array.from(CLOUDS[0].whole.table).filter((_, i) => i % 4 === 3)")
    kept = np.array(held)
    assert np.array_equal(kept >> 1, rows)
    assert np.array_equal(kept & 1, flow.events.p)
    for theme, state in ((DARK, "dark"), (LIGHT, "light")):
        browser.js(f"setTheme('{state}')")
        picture = browser.screen()
        assert (np.abs(picture - color(100.0, 0.0, theme)).sum(-1) < 6).sum() > 300
    assert browser.complaints() == []


def test_a_page_of_flow_needs_the_speed_of_full_color(tmp_path):
    with refused(ConfigError, "full_px_s"):
        two = [render.ShownEvents(BARS, flow=FlowColors()), BARS]
        render.page(two, tmp_path / "two.html")


def test_velocities_on_a_page_are_thinned_with_their_events(tmp_path):
    events = squares(count=3000)
    shown = render.ShownEvents(InBlocks(events, 33), flow=FlowColors(full_px_s=300))
    report = render.page(shown, tmp_path / "a.html", max_events=800)
    flow = plane_flow(events)
    rows = np.zeros(len(flow), int)
    rows[flow.known] = flow_rows(flow.vx[flow.known], flow.vy[flow.known], 300)
    assert report.kept == 750
    kept = np.frombuffer(stored((tmp_path / "a.html").read_text())[1][-750:], np.uint8)
    assert np.array_equal(kept, rows[::4])
    assert len(set(kept.tolist())) > 10


def test_the_command_writes_arrays_equal_to_the_library_and_reports_as_json(
    run, recorded, tmp_path
):
    code, out, _ = run("flow", recorded, "-o", "a.npz", "--json", "--method", "plane")
    assert code == 0
    facts = {"method": "plane", "events": len(BARS), "known": np.count_nonzero(FLOW.known)}
    assert json.loads(out) | facts == json.loads(out)
    assert json.loads(out)["median_px_s"] == pytest.approx(300, rel=0.03)
    kept = np.load(tmp_path / "a.npz")
    assert np.array_equal(kept["vx"], FLOW.vx, equal_nan=True)
    assert np.array_equal(kept["vy"], FLOW.vy, equal_nan=True)
    assert kept["vy"].dtype == np.float32
    assert dvskit.load_events(tmp_path / "a.npz") == BARS
    assert run("flow", recorded, "-o", "b.npz", "--method", "pooled")[0] == 0
    assert np.array_equal(np.load("b.npz")["vx"], plane_flow(BARS, PooledFlow()).vx, equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("words", [["a.png"], ["a.mp4"], ["a.png", "--arrows"]])
def test_the_command_draws_a_part(run, recorded, tmp_path, words):
    part = ("--start", "20ms", "--stop", "120ms", "--method", "pooled")
    code, _, err = run("flow", recorded, "-o", *words, *part)
    assert code == 0
    assert "have a velocity" in err
    assert (tmp_path / words[0]).stat().st_size > 500


@pytest.mark.parametrize("count", [40, 4000])
def test_a_recording_without_motion_is_named(run, tmp_path, count):
    save_events(scattered(count, (64, 48), span_us=4_000_000), tmp_path / "still.npz")
    code, _, err = run("flow", "still.npz", "-o", "flow.npz")
    assert code == 0
    assert "still.npz: nothing moves" in err


@pytest.mark.parametrize("words", [[], ["--method", "plane"]])
@pytest.mark.parametrize("name", ["boxes", "poster"])
def test_the_flow_of_real_rotations_is_within_15_percent(run, data, name, words):
    folder = data / "motion" / f"{name}_rotation"
    assert run("flow", str(folder), "-o", "flow.npz", *words)[0] == 0
    with np.load("flow.npz") as file:
        found = dict(file)
    duration_s = (found["t"][-1] - found["t"][0]) * 1e-6
    known = np.load(folder / "flow.npy")[0][:, found["y"], found["x"]] / duration_s
    along = (found["vx"] * known[0] + found["vy"] * known[1]) / (known**2).sum(0)
    assert np.nanmedian(along) == pytest.approx(1, abs=0.15)
