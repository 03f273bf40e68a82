"""Filters: what they keep, and that cuts do not matter."""

from __future__ import annotations

import numpy as np
import pytest

from dvskit import Events
from dvskit.errors import ConfigError, EventsError, GeometryError
from dvskit.events import EventsSource, Size, read_all
from dvskit.filters import Crop, FilteredSource, Fit, Placement, TimeWindow, as_filter, chain
from tests.test_events import make

FILTERS = [
    TimeWindow(100, 600),
    TimeWindow(start_us=500),
    TimeWindow(stop_us=1),
    Crop(3, 2, 10, 5),
    Crop(0, 0, 20, 10),
    Fit((10, 5)),
    Fit((7, 7)),
    Fit((50, 26)),
    Fit((20, 10)),
]


@pytest.mark.parametrize("chosen", FILTERS)
@pytest.mark.parametrize("cut", [1, 7, 64])
def test_a_filter_gives_the_same_events_however_the_stream_is_cut(chosen, cut):
    events = make(500)
    whole = chosen.start(events.size)(events)
    step = chosen.start(events.size)
    parts = [step(events[start : start + cut]) for start in range(0, len(events), cut)]
    assert Events.concatenate(parts) == whole


def test_a_time_window_is_half_open():
    events = Events(t=[1, 2, 5, 6], x=[0] * 4, y=[0] * 4, p=[1] * 4, size=(1, 1))
    assert TimeWindow(2, 6).start(events.size)(events).t.tolist() == [2, 5]
    with pytest.raises(ConfigError, match="empty"):
        TimeWindow(5, 5)


def test_a_crop_moves_its_corner_to_the_origin_and_keeps_what_is_inside():
    events = make(500)
    inside = (events.x >= 3) & (events.x < 13) & (events.y >= 2) & (events.y < 7)
    source = FilteredSource(EventsSource(events), Crop(3, 2, 10, 5))
    cropped = read_all(source)
    assert source.size == cropped.size == (10, 5)
    assert cropped.x.tolist() == (events.x[inside] - 3).tolist()
    assert cropped.y.tolist() == (events.y[inside] - 2).tolist()
    assert cropped.t.tolist() == events.t[inside].tolist()


def test_a_filtered_source_starts_anew_at_each_pass():
    source = FilteredSource(EventsSource(make(300)), TimeWindow(100, 600))
    assert read_all(source) == read_all(source) == make(300).between(100, 600)


@pytest.mark.parametrize("crop", [Crop(-1, 0, 5, 5), Crop(0, 0, 21, 5), Crop(3, 3, 0, 5)])
def test_a_crop_off_the_sensor_is_refused(crop):
    with pytest.raises(GeometryError, match="not on the 20x10"):
        FilteredSource(EventsSource(make()), crop)


def placed(x: int, y: int, placement: Placement) -> tuple[int, int]:
    """The rule of a fit, in floating point: middle upon middle, then the pixel it falls in."""
    scale = float(placement.scale)
    return tuple(
        int(np.floor((at + 0.5 - count / 2) * scale + room / 2 + 1e-9))
        for at, count, room in zip((x, y), placement.size, placement.target, strict=True)
    )


@pytest.mark.parametrize(
    ("size", "target", "scale", "words"),
    [
        ((128, 128), (34, 34), 1 / 4, "4x4 pixels to one, in the middle"),
        ((136, 136), (34, 34), 1 / 4, "4x4 pixels to one"),
        ((240, 180), (34, 34), 1 / 7, "7x7 pixels to one, without 2 columns at the edges"),
        ((346, 260), (240, 180), 9 / 13, "scaled by 0.692, in the middle"),
        ((32, 32), (34, 34), 1, "at its own scale, in the middle"),
        ((320, 240), (34, 34), 1 / 10, "10x10 pixels to one, in the middle"),
        ((34, 34), (128, 128), 64 / 17, "scaled by 3.76"),
        ((60, 45), (240, 180), 4, "scaled by 4"),
        ((1280, 720), (5, 5), 1 / 256, "256x256 pixels to one, in the middle"),
    ],
)
def test_a_fit_is_whole_where_that_is_near_and_lays_middle_on_middle(size, target, scale, words):
    placement = Placement.of(Size(*size), Size(*target))
    assert float(placement.scale) == pytest.approx(scale)
    assert placement.weight == pytest.approx(scale**2)
    assert f"({words})" in str(placement)
    columns, rows = placement.places(axis=0), placement.places(axis=1)
    for x in range(0, size[0], 3):
        wanted = placed(x, 0, placement)[0]
        assert columns[x] == (wanted if 0 <= wanted < target[0] else -1)
    if placement.scale.numerator == 1:  # each pixel of the picture has a block of the same size
        inner = np.unique(columns[columns >= 0], return_counts=True)[1][1:-1]
        assert set(inner) <= {placement.scale.denominator}
    assert rows.max() < target[1]


def test_a_fit_keeps_times_polarities_and_all_events_or_counts_those_it_leaves_out():
    events = make(500)
    for target in ((10, 5), (7, 7), (3, 9), (50, 26), (41, 20)):
        step = Fit(target).start(events.size)
        fitted = step(events)
        assert fitted.size == target
        assert len(fitted) + step.dropped == len(events)
        Events(t=fitted.t, x=fitted.x, y=fitted.y, p=fitted.p, size=target)  # nothing is off it
        if not step.dropped:
            assert np.array_equal(fitted.t, events.t)
            assert np.array_equal(fitted.p, events.p)
    assert Fit(events.size).start(events.size)(events) is events


def test_what_a_fit_leaves_out_at_the_edges_is_counted_in_each_pass():
    x = np.arange(103)[::-1]  # 103 columns on 51: blocks of 2, and a column too many
    events = Events(t=x[::-1], x=x, y=x * 0, p=x % 2 == 0, size=(103, 3))
    source = FilteredSource(EventsSource(events), Fit((51, 40)))
    for _ in range(2):
        assert len(read_all(source)) == 102
        assert source.dropped == 1
    step = Fit((51, 40)).start(events.size)
    fitted = [step(events[start : start + 7]) for start in range(0, 103, 7)]
    assert sum(map(len, fitted)) == 102
    assert step.dropped == 1


def only_on(events):
    return events[events.p]


@pytest.mark.parametrize("cut", [1, 7, 64])
def test_a_plain_function_filters_events_and_sources_however_they_are_cut(cut):
    events = make(500)
    expected = only_on(events[events.t >= 100])
    assert chain(TimeWindow(100), only_on)(events) == expected
    step = as_filter(only_on).start(events.size)
    parts = [step(events[start : start + cut]) for start in range(0, len(events), cut)]
    assert Events.concatenate(parts) == only_on(events)
    assert step.dropped == len(events) - len(only_on(events))
    source = FilteredSource(EventsSource(events), only_on)
    assert read_all(source) == only_on(events)
    assert source.dropped == step.dropped


def test_a_filter_made_of_a_function_is_the_same_filter():
    assert as_filter(only_on) == as_filter(only_on)
    assert as_filter(Crop(0, 0, 5, 5)) == Crop(0, 0, 5, 5)
    assert "only_on" in repr(chain(only_on))


def test_a_function_is_not_called_without_events():
    def last(events):
        return events[events.t == events.t[-1]]

    assert len(chain(last)(make(500)[:0])) == 0


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda events: None, "returned NoneType; return Events of 20x10"),
        (lambda events: Crop(0, 0, 5, 5)(events), "returned Events of 5x5; return"),
    ],
)
def test_a_function_that_returns_anything_but_events_of_its_size_is_refused(function, words):
    with pytest.raises(EventsError, match=words):
        chain(function)(make(500))


def test_a_class_is_no_filter():
    with pytest.raises(ConfigError, match=r"Crop is a class, not a filter; pass Crop\(\.\.\.\)"):
        chain(Crop)


def test_a_placement_counts_one_column_as_one():
    assert str(Placement.of(Size(100, 60), Size(33, 33))).endswith("without 1 column at the edges)")
