"""`dvskit motion`, and `dvskit render --stabilise`."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import time
from importlib import import_module

import cv2
import numpy as np
import pytest

from dvskit import _interrupt
from dvskit.cli._clips import UntilStopped
from dvskit.cli._console import Stop
from dvskit.events import Events, EventsSource
from dvskit.formats import InputStream, ReadOptions, open_events, open_stream, save_events
from dvskit.motion import motion_over_time
from dvskit.render import plots
from dvskit.streams import Imu
from tests.arriving import Pieces
from tests.moving_points import BARREL, moving_points
from tests.plot_words import collisions

cli_motion = import_module("dvskit.cli.motion")  # dvskit.cli may name the command so
CALIBRATION = " ".join(map(str, BARREL)) + "\n"
TURN = (1.0, -2.0, 3.0)


@pytest.fixture
def turning(tmp_path):
    """A recording of a camera that turns."""
    events = moving_points("rotation", TURN, duration_us=60_000, count=12_000, camera=BARREL)
    save_events(events, tmp_path / "a.npz")
    (tmp_path / "lens.txt").write_text(CALIBRATION)
    (tmp_path / "big.txt").write_text("500 500 320 240\n")
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


@pytest.fixture
def interrupted(monkeypatch, turning):
    """Let standard input be events that are followed by Ctrl-C, after a number of bytes."""

    def interrupted(share: float) -> Events:
        save_events(open_events(turning / "a.npz"), turning / "a.raw")
        content = (turning / "a.raw").read_bytes()

        def pieces():
            yield content[: int(share * len(content)) or len(content.partition(b"% end\n")[0]) + 6]
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(30)

        monkeypatch.setattr(_interrupt, "_state", _interrupt._State())
        stream = InputStream(Pieces(pieces()), "pipe")
        recording = open_stream(stream, None, ReadOptions())
        monkeypatch.setattr(cli_motion, "open_shown", lambda *_: recording)
        return open_events(turning / "a.raw").load()

    return interrupted


@pytest.mark.parametrize("out", ["-", "a.csv"])
def test_ctrl_c_completes_the_table_of_live_events(run, turning, interrupted, out):
    events = interrupted(0.5)
    code, printed, err = run("motion", "-", "--window", "10ms", "-o", out)
    assert code == 130
    assert "error" not in err
    assert _interrupt._state.advice == "the windows so far are in the output"
    text = printed if out == "-" else (turning / out).read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    seen = sum(int(row["events"]) for row in rows)
    assert 0.3 * len(events) < seen < 0.7 * len(events)
    expected = motion_over_time(events[:seen], window_us=10_000)
    assert [float(row["vx_px_s"]) for row in rows] == pytest.approx(expected.parameters[:, 0])


def test_ctrl_c_before_the_first_event_writes_nothing(run, turning, interrupted):
    interrupted(0)
    assert run("motion", "-", "-o", "a.csv") == (130, "", "")
    assert _interrupt._state.advice == _interrupt.BEGIN_ANEW
    assert not (turning / "a.csv").exists()


def test_a_signal_during_the_work_ends_after_a_short_block(turning):
    events, stop, seen = open_events(turning / "a.npz").load(), Stop(), 0
    for block in UntilStopped(EventsSource(events), stop, 900):
        seen += len(block)
        stop.asked = True
    assert seen == 900


def test_plots_are_dark_or_bright_and_of_a_width(run, turning):
    for words in ((), ("--dark", "--width", "120")):
        assert run("motion", "a.npz", "-o", "a.png", "--force", *words)[0] == 0
        picture = cv2.imread("a.png")
        assert (picture[0, 0].mean() < 40) == bool(words)
        assert picture.shape[1] == pytest.approx((120 if words else 88) / 25.4 * 300, abs=2)


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


def test_few_events_and_long_windows_are_told_in_a_line(run, turning):
    _, _, err = run("motion", "a.npz", "--window", "9s")
    assert "a.npz: --window 9s is longer than all events, 59.985 ms; give a shorter" in err
    save_events(open_events("a.npz").load()[:20], "few.npz")
    code, out, err = run("motion", "few.npz")
    assert (code, len(out.splitlines())) == (0, 2)
    assert err == "dvskit: note: few.npz: has 20 events; a motion needs at least 50\n"
    save_events(open_events("a.npz").load()[:1], "one.npz")
    assert run("motion", "one.npz", "-o", "one.png")[0] == 0  # a plot over 0 us, without a warning


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--window", "5ms", "--whole"), "--window, --count and --whole exclude each other"),
        (("--window", "-5ms"), "--window -5ms is no duration; give one such as 20ms"),
        (("--window", "0s"), "--window 0s is no duration; give one such as 20ms"),
        (("--window", "5"), "--window '5' is not a time with a unit"),
        (("--camera", "lens.txt"), "--camera lens.txt is for a rotation alone"),
        (("--model", "rotation", "--camera", "no.txt"), "no.txt"),
        (
            ("--model", "rotation", "--camera", "big.txt"),
            "cx 320 and cy 240, is not on a sensor of 120x90; pass the calibration of this camera",
        ),
        (("-o", "a.csv", "--dark"), "a.csv: --dark and --width apply to plots only"),
        (("--width", "120"), "a table: --dark and --width apply to plots only"),
        (("-o", "a.png", "--width", "9"), "width"),
        (("-o", "a.txt"), "a.txt: a motion is written as .csv, .npz, .png, .svg or .pdf"),
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
    motions.parameters[2] = np.nan  # unknown
    motions.still[1], motions.parameters[1] = True, 1e6  # by chance
    lines = [line for axes in plots.motion(motions).axes for line in axes.lines]
    assert all(np.isnan(line.get_ydata()).tolist() == [False, True, True] for line in lines)
    none = motion_over_time(recording.load()[:0], window_us=1000)
    assert collisions(plots.motion(none, imu=imu)) == []


def test_a_stabilised_video_names_the_share_of_lost_events_from_half_a_percent_on():
    lost = import_module("dvskit.cli.render")._left_the_picture
    assert lost(20, 80).startswith("20% of the events left the picture when the motion was removed")
    assert lost(1, 99).startswith("1% ")
    assert lost(0, 100) == lost(0, 0) == lost(5, 995) == ""


@pytest.mark.slow(seconds=4)
def test_render_stabilises(run, turning):
    for words in (("translation",), ("rotation", "--camera", "lens.txt")):
        code, _, err = run("render", "a.npz", "-o", "a.gif", "--force", "--stabilise", *words)
        assert code == 0
        assert "of the events left the picture when the motion was removed" in err
    _, _, err = run("render", "a.npz", "-o", "b.gif", "--stabilise", "rotation")
    assert "pass --camera FILE" in err
    _, _, err = run("render", "a.npz", "-o", "b.gif", "--camera", "lens.txt")
    assert "--camera lens.txt is for --stabilise rotation" in err
