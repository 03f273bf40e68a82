"""`dvskit motion`, and `dvskit render --stabilise`."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from dvskit.events import Events
from dvskit.formats import open_events, save_events
from dvskit.motion import motion_over_time
from dvskit.render import plots
from dvskit.streams import Imu
from tests.moving_points import BARREL, moving_points
from tests.plot_words import collisions

CALIBRATION = " ".join(map(str, BARREL)) + "\n"
TURN = (1.0, -2.0, 3.0)


@pytest.fixture
def turning(tmp_path):
    """A recording of a camera that turns."""
    events = moving_points("rotation", TURN, duration_us=60_000, count=12_000, camera=BARREL)
    save_events(events, tmp_path / "a.npz")
    (tmp_path / "lens.txt").write_text(CALIBRATION)
    return tmp_path


def test_motion_prints_a_table(run, turning):
    words = ("motion", "a.npz", "--model", "rotation", "--camera", "lens.txt")
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0])[3:8] == [
        "wx_rad_s", "wy_rad_s", "wz_rad_s", "contrast", "contrast_at_rest"
    ]  # fmt: skip
    assert len(rows) == 3
    found = [[float(row[name]) for name in list(row)[3:6]] for row in rows]
    np.testing.assert_allclose(found, [TURN] * 3, atol=0.15)
    assert run(*words, "-o", "-")[1] == out
    code, text, _ = run(*words, "--json")
    facts = json.loads(text)
    assert facts["windows"] == 3
    assert facts["wx_rad_s"] == pytest.approx([row[0] for row in found], rel=1e-5)


def test_windows_are_durations_counts_or_all(run, turning):
    def lengths(*words: str) -> list[int]:
        return json.loads(run("motion", "a.npz", "--json", *words)[1])["events"]

    total = sum(lengths())
    assert lengths("--whole") == [total]
    assert lengths("--count", "1000")[:2] == [1000, 1000]
    assert lengths("--window", "20ms") == lengths()
    assert len(lengths("--window", "10ms", "--start", "10ms", "--stop", "30ms")) == 2


def test_tables_and_plots_are_files(run, turning):
    for name in ("a.csv", "b.npz", "c.png", "d.svg"):
        code, out, err = run("motion", "a.npz", "-o", name)
        assert (code, out) == (0, "")
        assert name in err
        assert (turning / name).stat().st_size > 100
    with np.load(turning / "b.npz") as table:
        assert table["model"] == "translation"
        assert table["vx_px_s"].shape == table["t_us"].shape == (3,)
    assert "exists already" in run("motion", "a.npz", "-o", "a.csv")[2]
    assert run("motion", "a.npz", "-o", "a.csv", "--force")[0] == 0


def test_the_calibration_beside_a_file_is_used_and_shown(run, turning):
    words = ("motion", "a.npz", "--model", "rotation", "--whole", "--json")
    assert "a rotation needs the calibration of the camera: pass --camera FILE" in run(*words)[2]
    given = run(*words, "--camera", "lens.txt")[1]
    (turning / "calib.txt").write_text(CALIBRATION)
    assert run(*words)[1] == given
    assert "lens      fx 100" in run("info", "a.npz")[1]
    (turning / "calib.txt").write_text("P0: 1 0 0\n")
    code, _, err = run(*words)
    assert code == 1
    assert err.startswith("dvskit: error: calib.txt: does not hold nine numbers")


def test_windows_without_motion_are_counted_in_a_line(run, turning):
    still = moving_points("translation", (0.0, 0.0), duration_us=40_000)
    few = Events(t=still.t[:9] + 90_000, x=still.x[:9], y=still.y[:9], p=still.p[:9],
                 size=still.size)  # fmt: skip
    save_events(Events.concatenate([still, few]), turning / "still.npz")
    _, _, err = run("motion", "still.npz", "-o", "still.csv")
    assert "still.npz: 2 of 3 windows are hardly sharper by a motion: the scene rests" in err
    assert "still.npz: 1 of 3 windows have fewer than 50 events" in err
    assert ",nan,nan," in (turning / "still.csv").read_text()
    facts = json.loads(run("motion", "still.npz", "--json")[1])
    assert facts["vx_px_s"][2] is None
    assert facts["unknown"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--window", "5ms", "--whole"), "--window, --count and --whole exclude each other"),
        (("--window", "5"), "--window '5' is not a time with a unit"),
        (("--camera", "lens.txt"), "--camera lens.txt is for a rotation alone"),
        (("--model", "rotation", "--camera", "no.txt"), "no.txt"),
        (("-o", "a.txt"), "a.txt: a plot is written as .png, .svg or .pdf"),
        (("--model", "affine"), "'affine'"),
    ],
)
def test_wrong_words_are_one_line(run, turning, words, message):
    code, _, err = run("motion", "a.npz", *words)
    assert code
    assert len(err.strip().splitlines()) == 1
    assert message in err


def test_the_plot_shows_the_gyroscope_and_its_words_are_apart(turning):
    recording = open_events(turning / "a.npz")
    t = np.arange(0, 60_000, 1000)
    imu = Imu.from_si(t, np.zeros((60, 3)), np.tile(TURN, (60, 1)))
    for model in ("rotation", "translation", "similarity"):
        motions = motion_over_time(recording, model, window_us=20_000, camera=BARREL)
        figure = plots.motion(motions, imu=imu)
        lines = {line.get_label(): line for axes in figure.axes for line in axes.lines}
        last = lines["_z" if model == "rotation" else "gyroscope z"]
        np.testing.assert_allclose(last.get_ydata(), TURN[2], rtol=1e-5)
        for name, column in zip(motions.names, motions.parameters.T, strict=True):
            np.testing.assert_array_equal(lines[name.partition("_")[0]].get_ydata(), column)
        assert collisions(figure) == []
        alone = [line for axes in plots.motion(motions).axes for line in axes.lines]
        assert len(alone) == len(motions.names)
    motions.still[1], motions.parameters[1] = True, 1e6  # by chance
    lines = [line for axes in plots.motion(motions).axes for line in axes.lines]
    assert all(np.isnan(line.get_ydata()).tolist() == [False, True, False] for line in lines)
    none = motion_over_time(recording.load()[:0], window_us=1000)
    assert collisions(plots.motion(none, imu=imu)) == []


@pytest.mark.slow(seconds=4)
def test_render_stabilises(run, turning):
    for words in (("translation",), ("rotation", "--camera", "lens.txt")):
        code, _, err = run("render", "a.npz", "-o", "a.gif", "--force", "--stabilise", *words)
        assert code == 0
        assert "of the events lie beside the sensor without its motion" in err
    _, _, err = run("render", "a.npz", "-o", "b.gif", "--stabilise", "rotation")
    assert "pass --camera FILE" in err
    _, _, err = run("render", "a.npz", "-o", "b.gif", "--camera", "lens.txt")
    assert "--camera lens.txt is for --stabilise rotation" in err
