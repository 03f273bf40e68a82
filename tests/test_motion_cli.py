"""`dvskit motion`, its plots, and `dvskit render --stabilize`."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import time

import cv2
import numpy as np
import pytest

from dvskit.cli._options import Reading
from dvskit.events import Events
from dvskit.formats import InputStream, ReadOptions, open_events, open_stream, save_events
from dvskit.motion import motion_over_time
from dvskit.render import plots
from dvskit.streams import Imu
from tests.arriving import Pieces
from tests.laws import forget_interrupts, refused_command
from tests.moving_points import BARREL, moving_points

CALIBRATION = " ".join(map(str, BARREL)) + "\n"
TURN = (1.0, -2.0, 3.0)


@pytest.fixture(scope="module")
def turning_events():
    return moving_points("rotation", TURN, duration_us=60_000, count=12_000, camera=BARREL)


@pytest.fixture
def turning(tmp_path, turning_events):
    """A recording of a camera that turns."""
    save_events(turning_events, tmp_path / "a.npz")
    (tmp_path / "lens.txt").write_text(CALIBRATION)
    return tmp_path


def test_motion_prints_a_table(run, turning):
    words = ("motion", "a.npz", "--model", "rotation", "--lens", "lens.txt")
    code, out, err = run(*words)
    assert (code, err) == (0, "-: 3 windows\n")
    rows = list(csv.DictReader(io.StringIO(out)))
    names = ["wx_rad_s", "wy_rad_s", "wz_rad_s", "contrast", "contrast_at_rest"]
    assert list(rows[0])[3:8] == names
    found = [[float(row[name]) for name in names[:3]] for row in rows]
    np.testing.assert_allclose(found, [TURN] * 3, atol=0.15)
    assert run(*words, "-o", "-")[1] == out
    facts = json.loads(run(*words, "--json")[1])
    assert facts["windows"] == 3
    assert facts["wx_rad_s"] == pytest.approx([row[0] for row in found], rel=1e-5)


def test_windows_are_durations_counts_or_all(run, turning):
    def lengths(*words: str) -> list[int]:
        return json.loads(run("motion", "a.npz", "--json", *words)[1])["events"]

    total = sum(lengths())
    assert lengths("--whole") == [total]
    assert lengths("--count", "1500")[:2] == [1500, 1500]
    assert lengths("--window", "20ms") == lengths()
    assert len(lengths("--window", "10ms", "--start", "10ms", "--stop", "30ms")) == 2


@pytest.mark.slow
def test_tables_and_plots_are_files(run, turning):
    for words in (["a.csv"], ["b.npz"], ["c.svg"], ["c.png"], ["d.png", "--dark", "--width", 120]):
        code, out, err = run("motion", "a.npz", "-o", *words)
        assert (code, out) == (0, "")
        assert words[0] in err
        assert (turning / words[0]).stat().st_size > 100
    with np.load(turning / "b.npz") as table:
        assert table["model"] == "translation"
        assert table["vx_px_s"].shape == table["t_us"].shape == (3,)
    picture = cv2.imread("d.png")
    assert picture[0, 0].mean() < 40
    assert picture.shape[1] == pytest.approx(120 / 25.4 * 300, abs=2)
    refused_command(run("motion", "a.npz", "-o", "a.csv"), "a.csv", "exists already")
    assert run("motion", "a.npz", "-o", "a.csv", "--force")[0] == 0


def test_the_calibration_beside_a_file_is_used(run, turning):
    words = ("motion", "a.npz", "--model", "rotation", "--whole", "--json")
    given = run(*words, "--lens", "lens.txt")[1]
    (turning / "calib.txt").write_text(CALIBRATION)
    assert run(*words)[1] == given
    (turning / "calib.txt").write_text("P0: 1 0 0\n")
    refused_command(run(*words), "calib.txt")


def test_ctrl_c_completes_the_table_of_live_events(run, turning, monkeypatch):
    """The command is given the pipe: a signal from outside would come at no known byte."""
    save_events(open_events(turning / "a.npz"), turning / "a.raw")
    content, events = (turning / "a.raw").read_bytes(), open_events(turning / "a.raw").load()

    def half_then_ctrl_c():
        yield content[: len(content) // 2]
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)

    forget_interrupts(monkeypatch)
    recording = open_stream(InputStream(Pieces(half_then_ctrl_c()), "pipe"), None, ReadOptions())
    monkeypatch.setattr(Reading, "open", lambda *_: recording)
    code, _, err = run("motion", "-", "--window", "10ms", "-o", "a.csv")
    assert code == 130
    assert "error" not in err
    rows = list(csv.DictReader(io.StringIO((turning / "a.csv").read_text())))
    seen = sum(int(row["events"]) for row in rows)
    assert 0.3 * len(events) < seen < 0.7 * len(events)
    expected = motion_over_time(events[:seen], window_us=10_000)
    assert [float(row["vx_px_s"]) for row in rows] == pytest.approx(expected.parameters[:, 0])


def test_windows_without_motion_are_counted_in_a_line(run, turning):
    still = moving_points("translation", (0.0, 0.0), duration_us=40_000)
    few = Events(t=still.t[:9] + 90_000, x=still.x[:9], y=still.y[:9], p=still.p[:9],
                 size=still.sensor_size)  # fmt: skip
    save_events(Events.concatenate([still, few]), turning / "still.npz")
    _, _, err = run("motion", "still.npz", "-o", "still.csv")
    assert "still.npz: 2 of 3 windows" in err
    assert "still.npz: 1 of 3 windows" in err
    facts = json.loads(run("motion", "still.npz", "--json")[1])
    assert facts["vx_px_s"][2] is None
    assert facts["unknown"] == 1


def test_few_events_and_long_windows_are_named_in_a_line(run, turning):
    assert "a.npz: --window 9s is longer" in run("motion", "a.npz", "--window", "9s")[2]
    save_events(open_events("a.npz").load()[:20], "few.npz")
    code, out, err = run("motion", "few.npz")
    assert (code, len(out.splitlines())) == (0, 2)
    assert err.startswith("dvskit: note: few.npz: has 20 events")
    save_events(open_events("a.npz").load()[:1], "one.npz")
    assert run("motion", "one.npz", "-o", "one.png")[0] == 0  # a plot over 0 us, without a warning


@pytest.mark.slow
@pytest.mark.parametrize("model", ["rotation", "similarity"])
def test_the_plot_shows_the_motion_and_the_gyroscope(turning_events, model):
    imu = Imu.from_si(np.arange(0, 60_000, 1000), np.zeros((60, 3)), np.tile(TURN, (60, 1)))
    motions = motion_over_time(turning_events, model, window_us=20_000, camera=BARREL)
    lines = {
        line.get_label(): line.get_ydata()
        for axes in plots.motion(motions, imu=imu).axes
        for line in axes.lines
    }
    last = lines["_z" if model == "rotation" else "gyroscope z"]
    np.testing.assert_allclose(last, TURN[2], rtol=1e-5)
    for name, column in zip(motions.names, motions.parameters.T, strict=True):
        np.testing.assert_array_equal(lines[name.partition("_")[0]], column)
    motions.parameters[2] = np.nan  # unknown
    motions.still[1], motions.parameters[1] = True, 1e6  # by chance
    alone = [line for axes in plots.motion(motions).axes for line in axes.lines]
    assert len(alone) == len(motions.names)
    assert all(np.isnan(line.get_ydata()).tolist() == [False, True, True] for line in alone)
    plots.motion(motion_over_time(turning_events[:0], window_us=1000), imu=imu)  # no window


@pytest.mark.slow(seconds=4)
def test_render_stabilizes(run, turning):
    for words in (("translation",), ("rotation", "--lens", "lens.txt")):
        code, _, err = run("render", "a.npz", "-o", "a.gif", "--force", "--stabilize", *words)
        assert code == 0
        assert err.count("% of the events left the picture") == (2 if "rotation" in words else 1)
    for words in (("--stabilize", "rotation"), ("--lens", "lens.txt")):
        refused_command(run("render", "a.npz", "-o", "b.gif", *words), "--lens")
