"""Events: what they refuse, what they keep, how they are cut and joined."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dvskit import Events, Size
from dvskit.errors import ConfigError, EventsError, GeometryError, UnitWarning
from dvskit.events import EventsSource, as_source, parse_size
from dvskit.events.columns import polarity_column
from dvskit.events.sources import read_all
from tests.laws import refused

LAYOUTS = ["tonic", "faery", "expelliarmus", "metavision", "dv"]


def make(n=100, seed=0, size=(20, 10)):
    random = np.random.default_rng(seed)
    return Events(
        t=np.sort(random.integers(0, 1000, n)),
        x=random.integers(0, size[0], n),
        y=random.integers(0, size[1], n),
        p=random.integers(0, 2, n).astype(bool),
        size=size,
    )


def test_columns_have_the_types_of_the_currency_and_are_read_only():
    events = make()
    types = [getattr(events, name).dtype for name in "txyp"]
    assert types == [np.int64, np.int16, np.int16, np.bool_]
    assert events.sensor_size == Size(20, 10)
    for part in (events, events[1:], events[events.p]):
        with pytest.raises(ValueError, match="read-only"):
            part.t[0] = 5
    with pytest.raises(AttributeError):
        events.t = events.t


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"t": [1, 2]}, EventsError, "t 2"),
        ({"t": [3, 2, 1]}, EventsError, "event 1"),
        ({"t": [0.5, 1, 2]}, EventsError, "float64"),
        ({"t": [[1, 2, 3]]}, EventsError, "one dimension"),
        ({"x": [0, 1, 70_000]}, EventsError, "x"),
        ({"x": [0, 1, 4]}, GeometryError, "event 2"),
        ({"y": [0, -1, 1]}, GeometryError, "event 1"),
        ({"size": (0, 5)}, GeometryError, 0),
        ({"size": (5,)}, GeometryError, "size"),
    ],
)
def test_wrong_columns_are_refused_with_the_place(change, error, named):
    columns = {"t": [1, 2, 3], "x": [0, 1, 2], "y": [0, 1, 2], "p": [0, 1, 1], "size": (4, 4)}
    assert len(Events(**columns)) == 3
    with refused(error, named):
        Events(**(columns | change))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_goes_out_and_back(layout):
    events = make()
    array = events.to_array(layout)
    assert Events.from_array(array, size=events.sensor_size) == events


def test_layouts_have_the_fields_that_the_peers_take():
    dtypes = {layout: make().to_array(layout).dtype for layout in LAYOUTS}
    assert dtypes["tonic"] == [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")]
    assert dtypes["faery"] == [("t", "<u8"), ("x", "<u2"), ("y", "<u2"), (("p", "on"), "?")]
    assert dtypes["expelliarmus"] == [("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1")]
    assert dtypes["metavision"] == [("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")]
    assert dtypes["dv"] == [("timestamp", "<i8"), ("x", "<i2"), ("y", "<i2"), ("polarity", "i1")]


def test_an_unknown_layout_and_unsigned_negative_times_are_refused():
    with refused(ConfigError, "'tonic'"):
        make().to_array("tonics")
    early = Events(t=[-5], x=[0], y=[0], p=[True], size=(2, 2))
    with refused(EventsError, "unsigned"):
        early.to_array("faery")


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 1], [False, True]), ([-1, 1], [False, True]), ([1, 1], [True, True])],
)
def test_polarities_of_0_and_1_or_minus_1_and_1_alone_are_taken(values, expected):
    assert polarity_column(np.array(values)).tolist() == expected
    for wrong in ([0, 2], [-1, 0, 1], [-2], [0.5, 1.0]):
        with refused(EventsError, "polarity"):
            polarity_column(np.array(wrong))


def test_between_is_half_open():
    events = Events(t=[1, 2, 2, 5], x=[0] * 4, y=[0] * 4, p=[1] * 4, size=(1, 1))
    assert events.between(2, 5).t.tolist() == [2, 2]
    assert events.between(5, 5).t.tolist() == []
    assert events.between(-9, 99) == events


def test_joining_refuses_time_that_runs_back_and_other_sizes():
    events = make(10)
    with refused(EventsError, "block 1"):
        Events.concatenate([events, events])
    with refused(GeometryError, "block 1"):
        Events.concatenate([events, Events.empty((3, 3))])
    with refused(GeometryError, "size"):
        Events.concatenate([])


def test_events_are_a_source_of_one_block():
    events = make(10)
    source = as_source(events)
    assert isinstance(source, EventsSource)
    assert read_all(source) == events
    assert as_source(source) is source


def test_masks_and_rising_numbers_select_as_in_numpy():
    events = make(200)
    columns = {name: getattr(events, name) for name in "txyp"}
    for part in (
        events.p,
        ~events.p & (events.x > 3),
        np.zeros(200, bool),
        np.array([0, 5, 199]),
        np.array([], int),
        np.arange(3, 9, dtype=np.uint8),
        slice(10, None, 3),
    ):
        expected = Events(**{k: v[part] for k, v in columns.items()}, size=events.sensor_size)
        assert events[part] == expected
        if not isinstance(part, slice):
            assert events[part.tolist()] == expected


@pytest.mark.parametrize(
    ("part", "fix"),
    [
        (slice(None, None, -1), "order"),
        (3, "events[3:4]"),
        (True, "10 booleans"),
        ([3, 2], "increase"),
        ([2, 2], "increase"),
        ([-1], "0..9"),
        ([10], "0..9"),
        ([True] * 9, "10 booleans"),
        (np.ones((10, 20), bool), "mask[events.y, events.x]"),
        ([0.5], "float64"),
        (np.zeros((2, 2), int), "shape"),
        ("t", "events.t"),
    ],
)
def test_other_selections_are_refused_with_the_fix(part, fix):
    with refused(EventsError, fix):
        make(10)[part]


def test_a_loop_over_events_says_what_to_loop_over():
    with refused(EventsError, "blocks"):
        next(iter(make(10)))


@pytest.mark.parametrize("given", [{"count": 7}, {"duration_us": 90}, {}])
def test_events_are_cut_into_blocks_as_a_source_is(given):
    events = make(300)
    blocks = list(events.blocks(**given))
    assert Events.concatenate(blocks) == events
    assert [*map(len, blocks)] == [*map(len, EventsSource(events).blocks(**given))]


def test_floats_that_look_like_seconds_are_warned_of_and_whole_ones_are_not():
    events = make(300)
    with pytest.warns(UnitWarning, match="1_500_000"):
        assert len(events.between(0.0, 0.5)) == len(events.between(0, 1))
    with pytest.warns(UnitWarning):
        events.between(np.float32(1.5), None)
    assert events.between(1e3, 2e6) == events.between(1000, 2_000_000)
    assert events.between(np.int32(100), np.uint64(200)) == events.between(100, 200)
    for wrong in ("1s", math.nan, math.inf, [1]):
        with refused((ConfigError, EventsError), "stop_us"):
            events.between(0, wrong)


def test_a_window_in_the_first_millisecond_of_a_long_recording_is_warned_of():
    long = Events(t=[0, 5, 2_000_000], x=[0] * 3, y=[0] * 3, p=[1] * 3, size=(1, 1))
    with pytest.warns(UnitWarning, match="2,000,000") as given:
        assert len(long.between(0, 10)) == 2
    assert given[0].filename == __file__
    assert len(long.between(None, 1000)) == 2
    assert len(long.between(-5, 0)) == 0
    assert len(long[:2].between(0, 10)) == 2


def test_equality_needs_all_columns_and_the_size():
    events = make(10)
    assert events == make(10)
    assert events != make(10, seed=1)
    assert events != Events(t=events.t, x=events.x, y=events.y, p=events.p, size=(99, 99))
    assert (events == 5) is False


@pytest.mark.parametrize("text", ["640", "x480", "640x", "axb", "0x5", "-3x5"])
def test_a_text_that_is_no_size_is_refused(text):
    assert parse_size("640x480") == (640, 480)
    with pytest.raises(GeometryError):
        parse_size(text)
