"""Filters by name: on the command line, in texts, and what is said of mistakes."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

import dvskit
from dvskit import filters
from dvskit.errors import ConfigError
from dvskit.filters import (
    Affine,
    ArcStar,
    BackgroundActivity,
    Crop,
    DropArea,
    DropEvents,
    DropPixels,
    DropTime,
    EFast,
    EHarris,
    EvenRateLimit,
    EventRateLimit,
    Fit,
    Flip,
    HotPixel,
    LuvHarris,
    Mask,
    Noise,
    Polarity,
    QuarterTurn,
    Refractory,
    Roll,
    Rotate,
    Shear,
    Shift,
    SpatialJitter,
    StartAt,
    SwapPolarity,
    TemporalJitter,
    TimeReversal,
    TimeScale,
    TimeShift,
    TimeWindow,
    Transpose,
    Undistort,
    Zoom,
    chain,
    filter_from,
    filter_names,
)
from dvskit.filters.names import described, parameters_of
from dvskit.streams import Intrinsics
from tests.test_cli import usage_error
from tests.test_filter_laws import EVENTS

TEXTS = {
    "circle_mask:20,15,9": filters.CircleMask(20, 15, 9),
    "rectangle_mask:5,4,20,12,invert=true": filters.RectangleMask(5, 4, 20, 12, invert=True),
    "polygon_mask:2,2,40,5,20,30": filters.PolygonMask(((2, 2), (40, 5), (20, 30))),
    "background_activity": BackgroundActivity(),
    "background_activity:2ms": BackgroundActivity(2_000),
    "background-activity:within=300us,neighbours=4,itself=yes": BackgroundActivity(300, 4, True),
    "refractory:9ms": Refractory(9_000),
    "refractory:0.5ms,true,restart=true": Refractory(500, True, True),
    "hot_pixel": HotPixel(),
    "hot_pixel:times=3,learn=20ms": HotPixel(3.0, learn_us=20_000),
    "crop:3,2,10,5": Crop(3, 2, 10, 5),
    "fit:12x9": Fit((12, 9)),
    "flip": Flip("x"),
    "flip:xy": Flip("xy"),
    "transpose": Transpose(),
    "quarter_turn:-1": QuarterTurn(-1),
    "rotate:8.5": Rotate(8.5),
    "zoom:1.1": Zoom(1.1),
    "shift:3,-2": Shift(3, -2),
    "roll:y=4": Roll(0, 4),
    "shear:10": Shear(10.0),
    "affine:xx=0.9,y_px=3": Affine(xx=0.9, y_px=3.0),
    "undistort:20,20,12,9,-0.3": Undistort(20, 20, 12, 9, -0.3),
    "undistort:fx=20,fy=20,cx=12,cy=9,p1=1e-2": Undistort(20, 20, 12, 9, p1=0.01),
    "time_window:5ms,30ms": TimeWindow(5_000, 30_000),
    "time_window:stop=30ms": TimeWindow(None, 30_000),
    "drop_time:5ms,30ms": DropTime(5_000, 30_000),
    "time_scale:1.5": TimeScale(1.5),
    "time_scale:1.5,0us": TimeScale(1.5, 0),
    "time_shift:-1ms": TimeShift(-1_000),
    "start_at:1s": StartAt(1_000_000),
    "time_reversal": TimeReversal(),
    "time_reversal:no": TimeReversal(False),
    "polarity:on": Polarity("on"),
    "polarity:OFF": Polarity("off"),
    "swap_polarity": SwapPolarity(),
    "event_rate_limit:50000,0.7ms": EventRateLimit(50_000, 700),
    "even_rate_limit:5e4,window=700us": EvenRateLimit(50_000, 700),
    "drop_events:0.3,seed=7": DropEvents(0.3, 7),
    "drop_area:0.1,0.1,0.5,0.5": DropArea(0.1, 0.1, 0.5, 0.5),
    "drop_pixels:.2": DropPixels(0.2),
    "spatial_jitter": SpatialJitter(),
    "temporal_jitter:150us,3": TemporalJitter(150.0, 3),
    "noise:hz=20,seed=3": Noise(20.0, seed=3),
    " Noise : 20 , 0.3 ": Noise(20.0, 0.3),
    "e_fast": EFast(),
    "arc_star:repeat=20ms": ArcStar(20_000),
    "e-harris:6": EHarris(6.0),
    "luv_harris:threshold=0.03": LuvHarris(0.03),
}
MISTAKES = {
    "nois": "did you mean 'noise'",
    "": "choices: affine, arc_star, background_activity",
    "background_activity:5": ": within '5' is not a time with a unit, such as 5ms",
    "background_activity:5 days": "not a time with a unit",
    "background_activity:5ms,6": "choices: 4, 8",
    "background_activity:-5ms": "within_us=-5000 is not a whole number of microseconds, 0 to",
    "noise:hz=nan": "hz=nan is not a number, 0 to",
    "noise:hz=much": "hz 'much' is not a number",
    "noise:rate=3": "it has no 'rate' (usage: noise:hz=0.1,on_share=0.5,seed=0)",
    "refractory:1ms,period=2ms": ": period is given twice",
    "noise:1,hz=2": "hz is given twice",
    "noise:hz=1,2,3": "on_share=2.0 is not a number, 0 to 1",
    "noise:seed=1,2": "follows named arguments",
    "noise:1,0.5,1,9": "'9' is one argument too many",
    "noise:1,0.5,1.5": "seed '1.5' is not a whole number",
    "crop:1,2": "width is missing (usage: crop:X,Y,WIDTH,HEIGHT)",
    "fit:12": "not WIDTHxHEIGHT",
    "fit": "not WIDTHxHEIGHT",
    "flip:z": "choices: x, xy, y",
    "polarity": "keep is missing",
    "mask": "the path of an image is missing",
    "mask:nowhere.png": "nowhere.png",
    "undistort": "the recording has no camera matrix",
    "undistort:nowhere.txt": "nowhere.txt",
    "undistort:1,2": "cx is missing",
    "transpose:1": "one argument too many",
    "time_reversal:maybe": "neither true nor false",
    "time_window:5ms,1ms": "ends before its start",
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
def test_a_mistake_is_one_line_that_says_what_is_meant(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refused:
        filter_from(text)
    assert MISTAKES[text] in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_camera_is_taken_from_a_file_or_from_the_recording(tmp_path):
    lens = Intrinsics(20, 21, 12, 9, -0.3, 0.1, 0.01, 0.02, 0.0)
    (tmp_path / "calib.txt").write_text("20 21 12 9\n-0.3 0.1 0.01 0.02 0\n")
    assert filter_from(f"undistort:{tmp_path / 'calib.txt'}") == Undistort(*lens)
    assert filter_from("undistort", intrinsics=lens) == Undistort(*lens)
    (tmp_path / "calib.txt").write_text("20 21 twelve 9")
    with pytest.raises(ConfigError, match="does not hold nine numbers"):
        filter_from(f"undistort:{tmp_path / 'calib.txt'}")


@pytest.fixture
def recorded(tmp_path):
    dvskit.save_events(EVENTS, tmp_path / "in.npz")
    return tmp_path / "in.npz"


@pytest.mark.slow
@pytest.mark.parametrize("text", [text for text in TEXTS if text.strip() == text])
def test_convert_applies_each_filter_and_says_what_it_left_out(run, recorded, text):
    code, _, err = run("convert", recorded, "out.npz", "--filter", text)
    assert code == 0
    events = dvskit.load_events("out.npz")
    assert events == TEXTS[text](EVENTS)
    if text.startswith("noise"):
        assert f"{text}: {len(events) - len(EVENTS):,} events added" in err
    else:
        assert f"{text}: {len(EVENTS) - len(events):,} events left out" in err


def test_convert_applies_several_in_order_behind_the_crop(run, recorded):
    picture = np.zeros((12, 16), np.uint8)
    picture[:, 4:] = 255
    cv2.imwrite("keep.png", picture)
    words = ["crop:4,3,16,12", "mask:keep.png", "noise:hz=20", "flip", "drop_events:0.5"]
    options = [word for text in words for word in ("--filter", text)]
    code, _, err = run("convert", recorded, "out.npz", *options)
    assert code == 0
    wanted = chain(Crop(4, 3, 16, 12), Mask(picture > 0), Noise(20.0), Flip("x"), DropEvents(0.5))(
        EVENTS
    )
    assert dvskit.load_events("out.npz") == wanted
    notes = [line for line in err.splitlines() if "note: " in line]
    assert [line.split("out.npz: ")[1].rpartition(": ")[0] for line in notes] == words


@pytest.mark.parametrize("text", ["nois", "crop:0,0,99,5", "refractory:fast", "mask:no.png"])
def test_a_wrong_filter_is_a_mistake_of_usage_and_leaves_nothing(run, recorded, text, tmp_path):
    err = usage_error(run("convert", recorded, "out.npz", "--filter", text))
    assert text.partition(":")[0] in err
    assert not (tmp_path / "out.npz").exists()


def test_what_stands_beside_events_is_not_kept_where_their_times_move(run, tmp_path):
    from dvskit.formats import open_sink
    from dvskit.streams import Triggers

    with open_sink(tmp_path / "in.raw", EVENTS.size, format="evt3") as sink:
        sink.write_triggers(Triggers(EVENTS.t[:2].copy(), np.zeros(2, np.int16), np.ones(2, bool)))
        sink.write(EVENTS)
    _, _, err = run("convert", "in.raw", "out.raw", "--filter", "flip")
    assert len(dvskit.open_events("out.raw").triggers()) == 2
    assert "triggers" not in err
    _, _, err = run("convert", "in.raw", "out.raw", "--force", "--filter", "time_scale:2")
    assert len(dvskit.open_events("out.raw").triggers()) == 0
    assert "triggers, IMU samples and frames are left out" in err


def test_filters_lists_each_with_its_parameters_and_a_plain_line(run):
    code, out, _ = run("filters")
    assert code == 0
    lines = out.splitlines()
    assert lines[::2] == [described(name, kind) for name, kind in filter_names().items()]
    for line in lines[1::2]:
        assert re.fullmatch(r"    [A-Z][^`]{15,90}\.", line)
        assert not re.search("leave out|comes? to lie|as one sees|just then|the other way", line)
    assert "background_activity:within=5ms,neighbours=8|4,itself=false" in lines
    assert "hot_pixel:times=5.0,deviations=8.0,[LEARN]" in lines
    assert "filters" in run("convert", "--help")[1]


@pytest.mark.parametrize("name", filter_names())
def test_filters_shows_one_with_the_unit_and_default_of_each_parameter(run, name):
    code, out, _ = run("filters", name.replace("_", "-"))
    assert code == 0
    assert out.startswith(described(name, filter_names()[name]))
    taken = [] if name in ("fit", "mask", "polygon_mask") else parameters_of(filter_names()[name])
    for each in taken:
        assert re.search(rf"^  {each.short} +\S.*  (required|default \S+)$", out, re.MULTILINE)
        if each.name.endswith("_us") and name != "temporal_jitter":
            assert re.search(rf"^  {each.short} +a time with its unit", out, re.MULTILINE)
    assert ("Parameters:" in out) == bool(taken)


def test_filters_names_the_nearest_of_a_wrong_name(run):
    assert "did you mean 'noise'" in usage_error(run("filters", "nois"))


def test_the_help_of_convert_names_every_filter(run):
    _, out, _ = run("convert", "--help")
    words = re.sub(r"[^\w,]", "", out)
    assert all(name in words for name in filter_names())
