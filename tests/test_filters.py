"""Filters: what they keep, and that cuts do not matter."""

from __future__ import annotations

import pytest

from dvskit import Events
from dvskit.errors import ConfigError, GeometryError
from dvskit.events import EventsSource, read_all
from dvskit.filters import Crop, FilteredSource, TimeWindow
from tests.test_events import make

FILTERS = [
    TimeWindow(100, 600),
    TimeWindow(start_us=500),
    TimeWindow(stop_us=1),
    Crop(3, 2, 10, 5),
    Crop(0, 0, 20, 10),
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
