"""`dvskit track`, and objects in `dvskit render` and `dvskit view`."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys

import av
import numpy as np
import pytest

from dvskit import save_events
from dvskit.filters import Crop
from dvskit.tracking import OBJECT_ROW, Tracker, count_crossings, track
from tests.test_object_tracks import SQUARES
from tests.test_page import stored

HEADER = "id,t_us,x,y,width,height,vx_px_s,vy_px_s,events,seen"
ROWS = track(SQUARES)
OBJECTS = int(ROWS["id"].max()) + 1
MIDDLE = "60,0,60,89"


@pytest.fixture
def recorded(tmp_path):
    save_events(SQUARES, tmp_path / "in.npz")
    return "in.npz"


def same_rows(text: str, rows: np.ndarray) -> bool:
    read = list(csv.reader(io.StringIO(text)))
    assert ",".join(read[0]) == HEADER
    assert len(read) - 1 == len(rows)
    found = np.array(read[1:], float)
    expected = np.array([[float(value) for value in each] for each in rows.tolist()])
    return bool(np.allclose(found, expected, atol=0.0051))


def test_the_objects_are_written_as_csv_npz_and_to_standard_output(run, recorded, tmp_path):
    counted = "line 60,0,60,89: 1 to the left, 1 to the right\n"
    counts = count_crossings(ROWS, ((60, 0), (60, 89)))
    assert (counts.to_left, counts.to_right) == (1, 1)
    code, out, err = run("track", recorded, "-o", "o.csv", "--line", MIDDLE)
    assert (code, out) == (0, counted)
    assert err == f"o.csv: {OBJECTS} objects in {len(SQUARES):,} events\n"
    assert same_rows((tmp_path / "o.csv").read_text(), ROWS)
    code, out, err = run("track", recorded, "-o", "-", "--line", MIDDLE)
    assert same_rows(out, ROWS)
    assert counted in err
    assert run("track", recorded, "-o", "o.npz")[0] == 0
    with np.load(tmp_path / "o.npz") as found:
        assert ",".join(found) == HEADER
        names = dict(zip(found, OBJECT_ROW.names, strict=True))
        assert all(np.array_equal(found[name], ROWS[own]) for name, own in names.items())


def test_options_set_the_tracker_the_part_and_the_filters(run, recorded, tmp_path):
    code, out, _ = run(
        *(
            f"track {recorded} -o o.csv --json --window 20ms --least 3 --join 2 --gate 3 "
            "--lost 50ms --start 50ms --stop 350ms --line 60,0,60,44 --line 60,45,60,89 "
            "--filter crop:0,0,120,45"
        ).split()
    )
    tracker = Tracker(window_us=20_000, least_pixels=3, join_px=2, gate=3.0, lost_us=50_000)
    part = SQUARES.between(1_050_000, 1_350_000)
    rows = track(Crop(0, 0, 120, 45)(part), tracker)
    assert code == 0
    assert same_rows((tmp_path / "o.csv").read_text(), rows)
    facts = json.loads(out)
    expected = {"events": len(part), "rows": len(rows), "objects": int(rows["id"].max()) + 1}
    assert facts | expected == facts
    ends = ((60, 0), (60, 44)), ((60, 45), (60, 89))
    counts = [count_crossings(rows, each) for each in ends]
    assert counts[0].to_left > 0
    assert [(each["to_left"], each["to_right"]) for each in facts["lines"]] == [
        (each.to_left, each.to_right) for each in counts
    ]


def test_a_video_shows_the_objects_and_lines(run, recorded, tmp_path):
    words = f"--slow 2 --fps 30 --bright --line {MIDDLE} --json".split()
    code, out, _ = run("track", recorded, "-o", "o.mp4", *words)
    assert code == 0
    assert json.loads(out)["rows"] == len(ROWS)
    assert json.loads(out)["lines"][0]["to_left"] == 1
    with av.open(str(tmp_path / "o.mp4")) as film:
        pictures = [each.to_ndarray(format="rgb24") for each in film.decode(video=0)]
    assert len(pictures) == 24  # 0.4 s, twice as slow
    assert pictures[-1][:20].mean() > 200
    assert run("render", recorded, "-o", "r.gif", "--style", "objects", "--window", "9ms")[0] == 0


def test_a_note_names_the_reasons_for_no_object(run, recorded):
    code, out, err = run("track", recorded, "-o", "o.csv", "--least", 4000)
    assert (code, out) == (0, "")
    assert "no object was found" in err
    assert "no object was found" not in run("track", recorded, "-o", "o.csv", "--force")[2]


def test_a_page_holds_the_objects(run, recorded, tmp_path):
    assert run("track", recorded, "-o", "o.html", "--bright")[0] == 0
    text = (tmp_path / "o.html").read_text()
    assert len(stored(text)[0]["objects"]["tracks"]) == OBJECTS
    assert '"state": "theme=light"' in text


@pytest.mark.slow(seconds=6)
def test_rows_are_printed_as_events_come_and_ctrl_c_completes_them(tmp_path):
    save_events(SQUARES, tmp_path / "a.raw")
    process = subprocess.Popen(
        [sys.executable, "-m", "dvskit", "track", "-", "--size", "120x90", "-o", "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
        env=os.environ | {"PYTHONUNBUFFERED": ""},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        process.stdin.write((tmp_path / "a.raw").read_bytes())
        process.stdin.flush()
        early = [process.stdout.readline() for _ in range(20)]  # while the pipe is open
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert same_rows(b"".join([*early, out]).decode(), ROWS)
        assert b"interrupted" in err
    finally:
        process.kill()
        process.communicate()
