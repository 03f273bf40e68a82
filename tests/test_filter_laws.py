"""The laws of all filters: cuts, threads and passes do not matter, and no event is unaccounted."""

from __future__ import annotations

import inspect
from itertools import pairwise

import numpy as np
import pytest

import dvskit.filters
from dvskit import Events
from dvskit.evaluation.measures import AddHotPixels
from dvskit.events import EventsSource
from dvskit.events.sources import read_all
from dvskit.filters import (
    Affine,
    ArcStar,
    BackgroundActivity,
    Chain,
    CircleMask,
    Crop,
    DropArea,
    DropEvents,
    DropPixels,
    DropTime,
    EFast,
    EHarris,
    EvenRateLimit,
    EventRateLimit,
    FilteredSource,
    Fit,
    Flip,
    HotPixel,
    LuvHarris,
    Mask,
    Noise,
    PixelMap,
    Polarity,
    PolygonMask,
    QuarterTurn,
    RectangleMask,
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
    base,
    filter_names,
    finish,
)
from tests.laws import InBlocks, on_threads, random_cuts

SIZE = (24, 18)
_MASK = np.random.default_rng(4).random((18, 24)) < 0.6

TEXTS = {
    "background_activity:300us": BackgroundActivity(300),
    "background-activity:within=2ms,neighbors=4": BackgroundActivity(2_000, neighbors=4),
    "background_activity:200us,itself=yes": BackgroundActivity(200, itself=True),
    "refractory:9ms": Refractory(9_000),
    "refractory:9ms,true": Refractory(9_000, by_polarity=True),
    "refractory:9ms,restart=true": Refractory(9_000, restart=True),
    "hot_pixel": HotPixel(),
    "hot_pixel:times=3,learn=20ms": HotPixel(3.0, learn_us=20_000),
    "crop:3,2,10,5": Crop(3, 2, 10, 5),
    "fit:7x7": Fit((7, 7)),
    "flip": Flip("x"),
    "flip:xy": Flip("xy"),
    "transpose": Transpose(),
    "quarter_turn:-1": QuarterTurn(-1),
    "rotate:20.5": Rotate(20.5),
    "zoom:1.4": Zoom(1.4),
    "shift:3,-2": Shift(3, -2),
    "roll:-5,y=30": Roll(-5, 30),
    "shear:10,5": Shear(10.0, 5.0),
    "affine:0.9,0.2,-0.1,1.2,1.5,y_px=-0.5": Affine(0.9, 0.2, -0.1, 1.2, 1.5, -0.5),
    "undistort:20,20,12,9,-0.3": Undistort(20, 20, 12, 9, -0.3),
    "undistort:fx=20,fy=20,cx=12,cy=9,p1=1e-2": Undistort(20, 20, 12, 9, p1=0.01),
    "time_window:5ms,30ms": TimeWindow(5_000, 30_000),
    "time_window:stop=30ms": TimeWindow(None, 30_000),
    "drop_time:5ms,30ms": DropTime(5_000, 30_000),
    "time_scale:0.37": TimeScale(0.37),
    "time_scale:1.7,10ms": TimeScale(1.7, 10_000),
    "time_shift:-10ms": TimeShift(-10_000),
    "start_at:1s": StartAt(1_000_000),
    "time_reversal": TimeReversal(),
    "time_reversal:no": TimeReversal(False),
    "polarity:on": Polarity("on"),
    "polarity:OFF": Polarity("off"),
    "swap_polarity": SwapPolarity(),
    "event_rate_limit:50000,0.7ms": EventRateLimit(50_000, 700),
    "even_rate_limit:5e4,window=700us": EvenRateLimit(50_000, 700),
    "drop_events:0.3,seed=7": DropEvents(0.3, 7),
    "drop_area:0.3,0.2,0.4,0.5": DropArea(0.3, 0.2, 0.4, 0.5),
    "drop_pixels:.2": DropPixels(0.2),
    "circle_mask:20,15,9": CircleMask(20, 15, 9),
    "rectangle_mask:5,4,20,12,invert=true": RectangleMask(5, 4, 20, 12, invert=True),
    "polygon_mask:2,2,40,5,20,30": PolygonMask(((2, 2), (40, 5), (20, 30))),
    "spatial_jitter": SpatialJitter(),
    "temporal_jitter:150us,3": TemporalJitter(150.0, 3),
    "temporal_jitter:5ms": TemporalJitter(5_000.0),
    " Noise : 20 , 0.3 ": Noise(20.0, 0.3),
    "e_fast": EFast(),
    "arc_star:repeat=5ms": ArcStar(5_000),
    "e-harris:0.5": EHarris(0.5),
    "luv_harris:threshold=0.01": LuvHarris(0.01),
}
FILTERS = [
    *TEXTS.values(),
    Mask(_MASK),
    Fit((50, 26)),
    EventRateLimit(0),
    EvenRateLimit(50_000, 10**9),
    AddHotPixels(0.05, 2_000.0, seed=3),
    Chain(Crop(2, 2, 16, 12), Flip("x"), Rotate(30), Crop(1, 1, 9, 9), Shift(1, 1)),
    Chain(TemporalJitter(300.0), BackgroundActivity(2_000), TimeReversal(), HotPixel(), Flip("y")),
    Chain(EvenRateLimit(50_000, 700), Noise(5.0), TemporalJitter(80.0), DropEvents(0.5)),
    Chain(),
]

every_filter = pytest.mark.parametrize("chosen", FILTERS, ids=repr)


def recording(count: int = 3_000, seed: int = 0, size: tuple[int, int] = SIZE) -> Events:
    """Events of a moving edge, of noise and of a hot pixel, some at the same time."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 60_000, count)) // 3 * 3
    kind = rng.random(count)
    x = np.where(kind < 0.5, t * size[0] // 60_001, rng.integers(0, size[0], count))
    y = rng.integers(0, size[1], count)
    hot = kind > 0.93
    return Events(t=t, x=np.where(hot, 5, x), y=np.where(hot, 6, y), p=rng.random(count) < 0.6,
                  size=size)  # fmt: skip


EVENTS = recording()


def in_blocks(chosen, events: Events, bounds: list[int]):
    """Return the step, and what it gives of the blocks, whose arrays are overwritten behind it."""
    step = chosen.start(events.sensor_size)
    size = step(Events.empty(events.sensor_size)).sensor_size
    given = []
    for start, stop in pairwise(bounds):
        columns = [getattr(events, name)[start:stop].copy() for name in "txyp"]
        given.append(step(Events.from_checked(*columns, events.sensor_size)).copy())
        for column in columns:
            column[...] = 0
    given.append(finish(step, size))
    return step, Events.concatenate(given, size=size)


def test_every_filter_is_among_those_tested():
    tested = {type(each) for each in FILTERS}
    assert set(filter_names().values()) <= tested
    named = {
        value
        for value in vars(dvskit.filters).values()
        if inspect.isclass(value) and not inspect.isabstract(value) and hasattr(value, "start")
    }
    assert named - {Chain, dvskit.filters.Varied} <= tested


@every_filter
@pytest.mark.parametrize("count", [len(EVENTS), 500])
def test_a_filter_gives_the_same_events_however_the_stream_is_cut(chosen, count):
    events = EVENTS[:count]
    bounds = range(count + 1) if count == 500 else random_cuts(count, 1)
    step, given = in_blocks(chosen, events, bounds)
    assert given == chosen(events)
    whole = chosen.start(events.sensor_size)
    whole(events)
    finish(whole, given.sensor_size)
    assert (step.dropped, step.added) == (whole.dropped, whole.added)


@every_filter
def test_no_event_is_unaccounted_and_what_comes_out_is_a_stream_of_events(chosen):
    step, given = in_blocks(chosen, EVENTS, random_cuts(len(EVENTS), 2))
    assert len(given) == len(EVENTS) - step.dropped + step.added
    Events(
        t=given.t, x=given.x, y=given.y, p=given.p, size=given.sensor_size
    )  # in order, on the sensor
    source = FilteredSource(EventsSource(EVENTS), chosen)
    assert len(read_all(source)) == len(given)
    assert (source.dropped, source.added) == (step.dropped, step.added)
    tally = source.tally()
    assert sum(each.dropped for each in tally) == step.dropped
    assert sum(each.added for each in tally) == step.added
    assert len(tally) == (len(chosen.filters) if isinstance(chosen, Chain) else 1)


@every_filter
def test_a_second_pass_gives_the_same_and_changes_no_input(chosen):
    before = EVENTS.copy()
    source = FilteredSource(EventsSource(EVENTS), chosen)
    assert read_all(source) == read_all(source) == chosen(EVENTS)
    assert source.size == chosen(EVENTS).sensor_size
    assert before == EVENTS


@every_filter
def test_threads_do_not_matter(chosen, monkeypatch):
    with on_threads(1):
        alone = chosen(EVENTS)
    monkeypatch.setattr(base, "PART", 100)  # of the work: a thread would take all of these
    with on_threads(3):
        assert chosen(EVENTS) == alone


@every_filter
def test_no_events_stay_no_events(chosen):
    nothing, size = Events.empty(SIZE), chosen(EVENTS).sensor_size
    assert chosen(nothing) == Events.empty(size)
    step = chosen.start(nothing.sensor_size)
    assert step(nothing) == Events.empty(size)
    assert len(finish(step, size)) == 0


@every_filter
def test_columns_that_are_parts_of_others_are_taken_as_they_are(chosen):
    array = EVENTS.to_array("tonic")
    apart = Events.from_checked(*(array[name] for name in "txyp"), EVENTS.sensor_size)
    assert not apart.t.flags.c_contiguous
    assert chosen(apart) == chosen(EVENTS)


def test_maps_in_a_chain_are_one_and_do_what_they_do_one_behind_the_other():
    maps = [Crop(2, 2, 18, 14), Flip("x"), Rotate(30), QuarterTurn(1), Shift(2, -1), Zoom(1.3),
            Mask(np.random.default_rng(1).random((18, 14)) < 0.8), Transpose()]  # fmt: skip
    events, dropped = EVENTS, []
    for each in maps:
        assert isinstance(each, PixelMap)
        before = len(events)
        events = each(events)
        dropped.append(before - len(events))
    together = Chain(*maps)
    assert len(together.joined()) == 1
    assert together(EVENTS) == events
    source = together(EventsSource(EVENTS))
    assert read_all(source) == events
    assert [each.dropped for each in source.tally()] == dropped
    assert [each.filter for each in source.tally()] == maps
    assert min(dropped[2], dropped[4], dropped[5], dropped[6]) > 0


@pytest.mark.parametrize("chosen", [HotPixel(), HotPixel(learn_us=9_000),
                                    Chain(Flip("x"), HotPixel(), Flip("y"))], ids=repr)  # fmt: skip
def test_a_file_is_read_once_more_to_learn_from_it_and_a_camera_is_not(chosen):
    live, file = InBlocks(EVENTS, 100, live=True), InBlocks(EVENTS, 100)
    assert read_all(chosen(live)) == read_all(chosen(file)) == chosen(EVENTS)
    assert len(chosen(EVENTS)) < len(EVENTS)
    assert (live.passes, file.passes) == (1, 2)
