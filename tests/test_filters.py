"""Time windows, crops, fits and plain functions as filters; runs without torch."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from dvskit import Events
from dvskit.errors import ConfigError, EventsError, GeometryError
from dvskit.events import EventsSource, Size
from dvskit.events.sources import read_all
from dvskit.filters import Chain, Crop, FilteredSource, Placement, TimeWindow, as_filter
from tests.laws import random_cuts, refused, scattered

EVENTS = scattered(500, (20, 10), span_us=1000)


def test_a_time_window_is_half_open():
    events = Events(t=[1, 2, 5, 6], x=[0] * 4, y=[0] * 4, p=[1] * 4, size=(1, 1))
    assert TimeWindow(2, 6)(events).t.tolist() == [2, 5]
    assert TimeWindow(start_us=5)(events).t.tolist() == [5, 6]
    assert TimeWindow(stop_us=2)(events).t.tolist() == [1]


@pytest.mark.parametrize(
    "given", [(-1, 0, 5, 5), (0, -1, 5, 5), (16, 0, 5, 5), (0, 6, 5, 5), (3, 3, 0, 5), (3, 3, 5, 0)]
)
def test_a_crop_off_the_sensor_is_refused(given):
    with refused(GeometryError, "20x10"):
        FilteredSource(EventsSource(EVENTS), Crop(*given))
    assert Crop(0, 0, 20, 10)(EVENTS) == EVENTS


def placed(x: int, y: int, placement: Placement) -> tuple[int, int]:
    """The rule of a fit, in floating point: middle upon middle, then the pixel it falls in."""
    scale = float(placement.scale)
    return tuple(
        int(np.floor((at + 0.5 - count / 2) * scale + room / 2 + 1e-9))
        for at, count, room in zip((x, y), placement.size, placement.target, strict=True)
    )


@pytest.mark.parametrize(
    ("size", "target", "scale"),
    [
        ((128, 128), (34, 34), 1 / 4),
        ((100, 60), (33, 33), 1 / 3),
        ((346, 260), (240, 180), 9 / 13),
        ((32, 32), (34, 34), 1),
        ((34, 34), (128, 128), 64 / 17),
        ((1280, 720), (5, 5), 1 / 256),
    ],
)
def test_a_fit_is_whole_where_that_is_near_and_lays_middle_on_middle(size, target, scale):
    placement = Placement.of(Size(*size), Size(*target))
    assert float(placement.scale) == pytest.approx(scale)
    assert placement.weight == pytest.approx(scale**2)
    columns, rows = placement.places(axis=0), placement.places(axis=1)
    for x in range(0, size[0], 3):
        wanted = placed(x, 0, placement)[0]
        assert columns[x] == (wanted if 0 <= wanted < target[0] else -1)
    assert rows.max() < target[1]


def only_on(events):
    return events[events.p]


def test_a_plain_function_filters_events_and_sources_however_they_are_cut():
    expected = only_on(EVENTS)
    assert Chain(TimeWindow(100), only_on)(EVENTS) == expected[expected.t >= 100]
    step = as_filter(only_on).start(EVENTS.sensor_size)
    parts = [step(EVENTS[start:stop]) for start, stop in pairwise(random_cuts(500, 1))]
    assert Events.concatenate(parts) == expected
    assert step.dropped == len(EVENTS) - len(expected)
    source = FilteredSource(EventsSource(EVENTS), only_on)
    assert read_all(source) == expected
    assert source.dropped == step.dropped


def test_a_function_is_not_called_without_events():
    def last(events):
        return events[events.t == events.t[-1]]

    assert len(Chain(last)(EVENTS[:0])) == 0


@pytest.mark.parametrize(
    ("chosen", "kind", "named"),
    [
        (lambda events: None, EventsError, ["NoneType", "20x10"]),
        (lambda events: Crop(0, 0, 5, 5)(events), EventsError, ["5x5", "20x10"]),
        (Crop, ConfigError, ["Crop(...)"]),
        (3, ConfigError, [3]),
    ],
)
def test_what_is_no_filter_of_events_is_refused(chosen, kind, named):
    with refused(kind, *named):
        Chain(chosen)(EVENTS)
