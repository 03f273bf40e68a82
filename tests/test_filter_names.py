"""Filters by name: in texts, on the command line, and the errors of wrong texts."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

import dvskit
from dvskit.errors import ConfigError
from dvskit.filters import (
    Chain,
    Crop,
    DropEvents,
    Flip,
    Mask,
    Noise,
    Undistort,
    filter_from,
    filter_names,
)
from dvskit.filters.names import described
from dvskit.formats import open_sink
from dvskit.streams import Intrinsics, Triggers
from tests.laws import refused, refused_command
from tests.test_filter_laws import EVENTS, TEXTS

MISTAKES = {
    "nois": "'noise'",
    "background_activity:5": "within '5'",
    "background_activity:5ms,6": "choices: 4, 8",
    "noise:hz=much": "'much'",
    "noise:rate=3": "it has no 'rate'",
    "noise:1,hz=2": "hz is given twice",
    "noise:seed=1,2": "'2' follows",
    "noise:1,0.5,1.5": "seed '1.5'",
    "crop:1,2": "width",
    "fit:12": "'12'",
    "flip:z": "choices: x, xy, y",
    "mask": "path",
    "mask:nowhere.png": "nowhere.png: no such file",
    "undistort": "camera matrix",
    "undistort:nowhere.txt": "nowhere.txt",
    "time_reversal:maybe": "'maybe'",
    "polygon_mask:1,2,3": "'1,2,3'",
    "polygon_mask:1,2,x,4": "'1,2,x,4'",
    "polygon_mask:1,2,3,4": "((1.0, 2.0), (3.0, 4.0))",
    "polygon_mask:1,2,3,4,nan,6": "nan",
    "polygon_mask:1,2,3,4,1e300,6": "1e+300",
}


def test_every_filter_has_a_name_and_a_line_that_says_what_it_takes():
    assert {text.strip().lower().partition(":")[0].strip().replace("-", "_") for text in TEXTS} | {
        "mask"
    } == set(filter_names())
    for name in filter_names():
        assert re.fullmatch(rf"{name}(:[\w=.|,\[\]-]+)?", described(name, filter_names()[name]))


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_gives_the_filter_that_it_says(text):
    assert filter_from(text) == TEXTS[text]


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_in_a_text_is_named(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused(ConfigError, MISTAKES[text]):
        filter_from(text)


def test_a_camera_is_taken_from_a_file_or_from_the_recording(tmp_path):
    lens, file = Intrinsics(20, 21, 12, 9, -0.3, 0.1, 0.01, 0.02, 0.0), tmp_path / "calib.txt"
    file.write_text("20 21 12 9\n-0.3 0.1 0.01 0.02 0\n")
    assert filter_from(f"undistort:{file}") == Undistort(*lens)
    assert filter_from("undistort", intrinsics=lens) == Undistort(*lens)
    file.write_text("20 21 twelve 9")
    with refused(ConfigError, "calib.txt"):
        filter_from(f"undistort:{file}")


@pytest.fixture
def recorded(tmp_path):
    dvskit.save_events(EVENTS, tmp_path / "in.npz")
    return tmp_path / "in.npz"


def test_convert_applies_filters_in_order_and_counts_the_events_of_each(run, recorded):
    picture = np.zeros((12, 16), np.uint8)
    picture[:, 4:] = 255
    cv2.imwrite("keep.png", picture)
    words = ["crop:4,3,16,12", "mask:keep.png", "noise:hz=20", "flip", "drop_events:0.5"]
    options = [word for text in words for word in ("--filter", text)]
    code, _, err = run("convert", recorded, "out.npz", *options)
    assert code == 0
    chosen = Chain(Crop(4, 3, 16, 12), Mask(picture > 0), Noise(20.0), Flip("x"), DropEvents(0.5))
    assert dvskit.load_events("out.npz") == chosen(EVENTS)
    step = chosen.start(EVENTS.sensor_size)
    step(EVENTS)
    for text, each in zip(words, step.tally(), strict=True):
        way = f"{each.added:,} events added" if each.added else f"{each.dropped:,} events left out"
        assert f"{text}: {way}" in err


@pytest.mark.parametrize("text", ["nois", "crop:0,0,99,5"])
def test_a_wrong_filter_is_a_mistake_of_usage_and_leaves_nothing(run, recorded, text):
    result = run("convert", recorded, "out.npz", "--filter", text)
    refused_command(result, text.partition(":")[0])
    assert result[0] == 2
    assert [each.name for each in recorded.parent.iterdir()] == ["in.npz"]


def test_what_stands_beside_events_is_not_kept_where_their_times_move(run, tmp_path):
    with open_sink(tmp_path / "in.raw", EVENTS.sensor_size, format="evt3") as sink:
        sink.write_triggers(Triggers(EVENTS.t[:2].copy(), np.zeros(2, np.int16), np.ones(2, bool)))
        sink.write(EVENTS)
    for text, count in (("flip", 2), ("time_scale:2", 0)):
        _, _, err = run("convert", "in.raw", "out.raw", "--force", "--filter", text)
        assert len(dvskit.open_events("out.raw").triggers()) == count
        assert ("triggers" in err) == (count == 0)


def test_filters_lists_all_and_shows_the_parameters_of_one(run):
    code, out, _ = run("filters")
    assert code == 0
    for name, kind in filter_names().items():
        assert described(name, kind) in out.splitlines()
    code, out, _ = run("filters", "background-activity")
    assert code == 0
    assert re.search(r"^  within +a time\b.*  default 5ms$", out, re.MULTILINE)
    refused_command(run("filters", "nois"), "'noise'")
