"""Filters against slow twins written from their definitions, and against other libraries."""

from __future__ import annotations

import math
from inspect import isfunction
from itertools import pairwise

import cv2
import numpy as np
import pytest

from dvskit import Events
from dvskit.errors import ConfigError, EventsError
from dvskit.events import Size
from dvskit.filters import (
    Affine,
    ArcStar,
    BackgroundActivity,
    CircleMask,
    Crop,
    DropArea,
    DropEvents,
    DropPixels,
    DropTime,
    EHarris,
    EvenRateLimit,
    EventRateLimit,
    Fit,
    Flip,
    HotPixel,
    LuvHarris,
    Noise,
    Polarity,
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
    hot_pixels,
)
from dvskit.filters.denoising import add_per_pixel
from dvskit.streams import Intrinsics
from tests.benchmarks import filters as peers
from tests.laws import refused, rows_of, same_on_threads
from tests.test_filter_laws import EVENTS, recording

BIG = recording(40_000, seed=3, size=(60, 40))


def kept(events: Events, flags: list[bool]) -> Events:
    return events[np.array(flags, bool)]


@pytest.mark.parametrize("around", [8, 4])
@pytest.mark.parametrize("itself", [False, True])
def test_background_activity_is_that_of_the_definition(around, itself):
    last: dict[tuple[int, int], int] = {}
    flags = []
    for t, x, y in zip(EVENTS.t, EVENTS.x, EVENTS.y, strict=True):
        near = [
            (x + dx, y + dy)
            for dx in (-1, 0, 1)
            for dy in (-1, 0, 1)
            if (dx or dy or itself) and (around == 8 or not (dx and dy))
        ]
        flags.append(any(at in last and t - last[at] <= 300 for at in near))
        last[x, y] = t
    chosen = BackgroundActivity(300, neighbors=around, itself=itself)
    assert chosen(EVENTS) == kept(EVENTS, flags)
    assert 0.1 < np.mean(flags) < 0.95


@pytest.mark.parametrize("by_polarity", [False, True])
@pytest.mark.parametrize("restart", [False, True])
def test_refractory_is_that_of_the_definition(by_polarity, restart):
    last: dict[tuple[int, ...], int] = {}
    flags = []
    for t, x, y, p in zip(EVENTS.t, EVENTS.x, EVENTS.y, EVENTS.p, strict=True):
        at = (x, y, p) if by_polarity else (x, y)
        flags.append(at not in last or t - last[at] >= 3_000)
        if flags[-1] or restart:
            last[at] = t
    assert Refractory(3_000, by_polarity, restart)(EVENTS) == kept(EVENTS, flags)
    assert 0.1 < np.mean(flags) < 0.95


@pytest.mark.parametrize(
    ("start_us", "memory_us"),
    [(0, 2**31), (-(10**9), 300), (2**31 - 30_000, 2**30 - 1), (10**15, 300)],
)
def test_what_pixels_remember_does_not_depend_on_when_it_was(start_us, memory_us):
    late = 2**32 + 17  # behind a gap that four bytes do not hold
    t = np.concatenate([EVENTS.t[:1500], EVENTS.t[1500:] + late])
    apart = Events(t=t, x=EVENTS.x, y=EVENTS.y, p=EVENTS.p, size=EVENTS.sensor_size)
    moved = Events(t=t + start_us, x=EVENTS.x, y=EVENTS.y, p=EVENTS.p, size=EVENTS.sensor_size)
    for chosen in (BackgroundActivity(memory_us), Refractory(memory_us)):
        first, second = chosen(apart[:1500]), chosen(apart[1500:])
        found = chosen(moved)
        assert found.t.tolist() == [*(first.t + start_us), *(second.t + start_us)]


def test_what_pixels_remember_is_kept_where_four_bytes_of_time_are_over():
    first = Events(t=[-1], x=[0], y=[0], p=[True], size=EVENTS.sensor_size)
    t = EVENTS.t + 2**31 - 30_000  # the middle lies there
    moved = Events(t=t, x=EVENTS.x, y=EVENTS.y, p=EVENTS.p, size=EVENTS.sensor_size)
    for chosen in (BackgroundActivity(3_000), Refractory(3_000), Refractory(3_000, restart=True)):
        found = chosen(Events.concatenate([first, moved]))
        assert found == Events.concatenate([chosen(first), chosen(moved)])


def test_a_pixel_fires_again_just_when_its_rest_is_over_and_is_near_up_to_then():
    for gap, again in ((99, 0), (100, 1), (101, 1)):
        events = Events(t=[7, 7 + gap], x=[5, 5], y=[5, 5], p=[1, 0], size=(20, 10))
        assert len(Refractory(100)(events)) == 1 + again
        assert len(Refractory(100, by_polarity=True)(events)) == 2
    for gap, near in ((99, 1), (100, 1), (101, 0)):
        events = Events(t=[7, 7 + gap], x=[5, 6], y=[5, 5], p=[1, 0], size=(20, 10))
        assert len(BackgroundActivity(100)(events)) == near


def test_a_window_comes_as_soon_as_the_next_has_begun():
    step = EvenRateLimit(2_000_000, 10).start(EVENTS.sensor_size)
    events = Events(t=[1, 3, 3, 12], x=[0] * 4, y=[0] * 4, p=[0] * 4, size=EVENTS.sensor_size)
    assert [len(step(events[k : k + 1])) for k in range(4)] == [0, 0, 0, 3]
    assert len(step.finish()) == 1


@pytest.mark.parametrize("window_us", [1, 700, 60_000])
def test_rate_limits_are_those_of_the_definition(window_us):
    most = 5
    first, even = [], []
    for _, start, stop in windows(EVENTS.t, window_us):
        count = stop - start
        first += [k < most for k in range(count)]
        share = min(most, count)
        even += [(k + 1) * share // count > k * share // count for k in range(count)]
    rate_hz = most / window_us * 1e6
    assert EventRateLimit(rate_hz, window_us)(EVENTS) == kept(EVENTS, first)
    assert EvenRateLimit(rate_hz, window_us)(EVENTS) == kept(EVENTS, even)
    assert sum(first) == sum(even)
    assert not all(first) or window_us == 1


def windows(t, window_us):
    number = np.asarray(t) // window_us
    ends = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(t)]
    return [(number[start], start, stop) for start, stop in pairwise(ends)]


def moved(events: Events, size: tuple[int, int], where) -> Events:
    """Return the events where a function of a pixel says, without those that leave the sensor."""
    found = [where(int(x), int(y)) for x, y in zip(events.x, events.y, strict=True)]
    on = [at is not None and 0 <= at[0] < size[0] and 0 <= at[1] < size[1] for at in found]
    part = kept(events, on)
    at = np.array([each for each, is_on in zip(found, on, strict=True) if is_on]).reshape(-1, 2)
    return Events(t=part.t, x=at[:, 0], y=at[:, 1], p=part.p, size=size)


def about_the_middle(matrix, x, y):
    (xx, xy), (yx, yy), (dx, dy) = matrix
    a, b = x - 23 / 2, y - 17 / 2
    new = xx * a + xy * b + dx + 23 / 2, yx * a + yy * b + dy + 17 / 2
    return tuple(math.floor(each + 0.5) for each in new)


COS, SIN = math.cos(math.radians(20)), math.sin(math.radians(20))
MOVES = [
    (Crop(3, 2, 10, 5), (10, 5), lambda x, y: (x - 3, y - 2)),
    (Flip("x"), (24, 18), lambda x, y: (23 - x, y)),
    (Flip("y"), (24, 18), lambda x, y: (x, 17 - y)),
    (Transpose(), (18, 24), lambda x, y: (y, x)),
    (QuarterTurn(1), (18, 24), lambda x, y: (17 - y, x)),
    (QuarterTurn(2), (24, 18), lambda x, y: (23 - x, 17 - y)),
    (QuarterTurn(-1), (18, 24), lambda x, y: (y, 23 - x)),
    (Shift(3, -2), (24, 18), lambda x, y: (x + 3, y - 2)),
    (Roll(-5, 30), (24, 18), lambda x, y: ((x - 5) % 24, (y + 30) % 18)),
    (Rotate(20), (24, 18),
     lambda x, y: about_the_middle(((COS, -SIN), (SIN, COS), (0, 0)), x, y)),
    (Rotate(90), (24, 18), lambda x, y: (12 - (y - 8), x - 3) if 0 <= x - 3 < 18 else None),
    (Zoom(1.3), (24, 18), lambda x, y: about_the_middle(((1.3, 0), (0, 1.3), (0, 0)), x, y)),
    (Shear(30, 0), (24, 18),
     lambda x, y: about_the_middle(((1, math.tan(math.pi / 6)), (0, 1), (0, 0)), x, y)),
    (Affine(0.9, 0.2, -0.1, 1.2, 1.7, -0.6), (24, 18),
     lambda x, y: about_the_middle(((0.9, 0.2), (-0.1, 1.2), (1.7, -0.6)), x, y)),
    (DropArea(0.25, 0.5, 0.5, 0.25), (24, 18),
     lambda x, y: None if 6 <= x < 18 and 9 <= y < 13 else (x, y)),
    (Fit((12, 9)), (12, 9), lambda x, y: (x // 2, y // 2)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("chosen", "size", "where"), MOVES, ids=lambda value: None if isfunction(value) else repr(value)
)
def test_pixels_go_where_the_definition_says(chosen, size, where):
    assert chosen(EVENTS) == moved(EVENTS, size, where)


LENSES = [
    Intrinsics(199.09, 198.83, 132.19, 110.71, -0.368, 0.151, -0.0003, -0.002, 0.0),
    Intrinsics(300, 300, 118, 95, 0.2, 0.05, 0.0, 0.0, 0.0),
    Intrinsics(200, 200, 120, 90, 0.0, 0.0, 0.0, 0.0, 0.0),
]


@pytest.mark.parametrize("lens", LENSES)
def test_undistorted_pixels_are_those_that_the_lens_distorts_back(lens):
    size = Size(240, 180)
    places = Undistort(*lens).places(size)
    y, x = np.mgrid[:180, :240]
    points = np.stack([x, y], -1).reshape(-1, 1, 2).astype(float)
    until = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 300, 1e-12)
    undo = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)
    found = undo(points, lens.matrix, lens.distortion, R=None, P=lens.matrix, criteria=until)
    new = found.reshape(180, 240, 2)
    clear = np.abs(new + 0.5 - np.round(new + 0.5)).min(-1) > 1e-4  # not between two pixels
    pixel = np.floor(new + 0.5)
    on = (pixel >= 0).all(-1) & (pixel < size).all(-1)
    assert np.array_equal(places[clear] >= 0, on[clear])
    both = clear & on
    assert np.array_equal(places[both], (pixel[..., 1] * 65536 + pixel[..., 0])[both])
    if not any(lens[4:]):
        assert np.array_equal(places, y * 65536 + x)


def test_directions_behind_the_fold_of_a_lens_are_left_out():
    lens = Undistort(20, 20, 12, 9, -0.5)  # turns back at a radius of 0.82: 10.9 pixels as seen
    places = lens.places(Size(24, 18))
    y, x = np.mgrid[:18, :24]
    seen = np.hypot(x - 12, y - 9) / 20
    most = math.sqrt(2 / 3) * (1 - 0.5 * 2 / 3)
    assert (places[seen > most] < 0).all()
    assert lens.places(Size(24, 18))[9, 12] == 9 * 65536 + 12


def test_hot_pixels_are_left_out_and_edges_are_not():
    found = HotPixel()(EVENTS)
    at_hot = (EVENTS.x == 5) & (EVENTS.y == 6)
    assert found == EVENTS[~at_hot]
    counts = np.zeros((18, 24), np.int64)
    np.add.at(counts, (EVENTS.y, EVENTS.x), 1)
    assert np.argwhere(hot_pixels(counts)).tolist() == [[6, 5]]
    assert not hot_pixels(counts, times=1000).any()


def test_events_of_a_pixel_are_counted_beyond_a_byte_on_any_number_of_threads():
    events = peers.make(3_000, Size(3, 2))
    twin = np.full((2, 3), 7)
    np.add.at(twin, (events.y, events.x), 1)
    assert twin.min() > 263

    def counted():
        found = np.full((2, 3), 7, np.int64)
        add_per_pixel(events, found)
        return found

    assert np.array_equal(same_on_threads(counted, 2, 3), twin)


def test_hot_pixels_are_known_from_the_first_while_and_not_from_what_comes_later():
    late = Events(t=np.arange(5000) + 10**6, x=[20] * 5000, y=[3] * 5000, p=[True] * 5000,
                  size=EVENTS.sensor_size)  # fmt: skip
    events = Events.concatenate([EVENTS, late])
    assert HotPixel(learn_us=10**5)(events) == Events.concatenate([HotPixel()(EVENTS), late])
    assert HotPixel()(events).x[-1] != 20


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (3, 200)])
def test_filters_that_look_around_take_the_smallest_sensors(size):
    events = Events(t=np.arange(500), x=[0] * 500, y=[0] * 500, p=[True] * 500, size=size)
    lens = Undistort(5, 5, 0, 0)
    for chosen in (HotPixel(), BackgroundActivity(), Rotate(10), Fit((2, 2)), lens):
        assert len(chosen(events)) <= 500


def test_times_are_stretched_and_moved_about_their_origin():
    t = np.array([-30, -1, 0, 5, 11, 11, 1_000_001])
    events = Events(t=t, x=t * 0, y=t * 0, p=t > 0, size=(1, 1))
    assert TimeScale(1.5, 0)(events).t.tolist() == [-45, -1, 0, 8, 17, 17, 1_500_002]
    assert TimeScale(0.5)(events).t.tolist() == [-30, -15, 499_986]  # four come to before 0
    assert TimeShift(-6)(events).t.tolist() == [-36, -7, 5, 5, 999_995]
    assert StartAt(7)(events).t.tolist() == (t + 37).tolist()
    with refused(EventsError):
        TimeScale(1e6, 0)(Events(t=[2**60], x=[0], y=[0], p=[0], size=(1, 1)))


def test_backwards_the_last_comes_first_with_its_polarity_swapped():
    back = TimeReversal()(EVENTS)
    assert back.t.tolist() == (EVENTS.t[0] + EVENTS.t[-1] - EVENTS.t[::-1]).tolist()
    assert back.x.tolist() == EVENTS.x[::-1].tolist()
    assert back.p.tolist() == (~EVENTS.p[::-1]).tolist()
    assert TimeReversal(False)(EVENTS).p.tolist() == EVENTS.p[::-1].tolist()


def test_windows_and_spans_left_out_are_the_rest_of_each_other():
    inside, outside = TimeWindow(5_000, 30_000)(EVENTS), DropTime(5_000, 30_000)(EVENTS)
    assert inside == EVENTS.between(5_000, 30_000)
    assert outside == Events.concatenate([EVENTS.between(0, 5_000), EVENTS.between(30_000)])
    assert Polarity("on")(EVENTS) == EVENTS[EVENTS.p]
    assert Polarity("off")(EVENTS) == EVENTS[~EVENTS.p]
    assert SwapPolarity()(EVENTS).p.tolist() == (~EVENTS.p).tolist()


def within(count: float, expected: float, deviation: float) -> bool:
    return abs(count - expected) < 5 * deviation


def test_dropped_shares_are_those_asked_for():
    count = len(BIG)
    for share in (0.0, 0.1, 0.5, 1.0):
        left = len(DropEvents(share, seed=9)(BIG))
        assert within(left, count * (1 - share), math.sqrt(count * share * (1 - share)) + 0.1)
    left = DropPixels(0.25, seed=9)(BIG)
    pixels = len(np.unique(left.x * 1000 + left.y))
    assert within(pixels, 2400 * 0.75, math.sqrt(2400 * 0.75 * 0.25))
    assert DropEvents(0.5, seed=1)(BIG) != DropEvents(0.5, seed=2)(BIG)


@pytest.mark.parametrize("std_px", [0.0, 0.4, 1.0, 3.0])
def test_pixels_are_jittered_by_rounded_normal_numbers(std_px):
    count = 200_000
    middle = Events(t=np.arange(count), x=[50] * count, y=[40] * count, p=[True] * count,
                    size=(101, 81))  # fmt: skip
    found = SpatialJitter(std_px, seed=11)(middle)
    assert len(found) == count
    for off in (found.x - 50.0, found.y - 40.0):
        variance = std_px**2 + (1 / 12 if std_px >= 1 else 0)
        if std_px >= 1:
            assert within(off.mean(), 0, math.sqrt(variance / count))
            assert within(off.var(), variance, variance * math.sqrt(2 / count))
        share = math.erf(0.5 / (std_px * math.sqrt(2))) if std_px else 1.0
        zeros = np.count_nonzero(off == 0)
        assert within(zeros, share * count, math.sqrt(share * (1 - share) * count) + 0.1)
    if std_px:
        assert abs(np.corrcoef(found.x, found.y)[0, 1]) < 5 / math.sqrt(count)


@pytest.mark.parametrize("std_us", [0.0, 30.0, 2_000.0])
def test_jittered_times_are_normal_and_in_order_and_every_event_keeps_its_pixel(std_us):
    count = 30_000
    each = np.arange(count)
    events = Events(t=each * 7 + 10**6, x=each % 300, y=each // 300, p=each % 3 == 0,
                    size=(300, 100))  # fmt: skip
    found = TemporalJitter(std_us, seed=5)(events)
    assert len(found) == count
    assert np.all(np.diff(found.t) >= 0)
    number = found.y.astype(np.int64) * 300 + found.x
    off = found.t - events.t[number]
    assert np.array_equal(found.p, events.p[number])
    assert abs(off).max() <= math.ceil(5 * std_us)
    if std_us:
        assert within(off.mean(), 0, std_us / math.sqrt(count))
        assert within(off.std(), std_us, std_us / math.sqrt(2 * count))
    ties = np.flatnonzero(np.diff(found.t) == 0)
    assert np.all(number[ties] < number[ties + 1])  # of the same time, in their order


@pytest.mark.parametrize("gap", [1, 40, 10**7])
def test_jittered_times_are_put_in_order_however_sparse_they_are(gap):
    rng = np.random.default_rng(1)
    t = np.cumsum(rng.integers(0, 2, 20_000) * gap) + (np.arange(20_000) > 10_000) * 10**14 + 10**6
    events = Events(t=t, x=t * 0, y=t * 0, p=t > 0, size=(1, 1))
    found = TemporalJitter(50.0)(events)
    assert len(found) == len(events)
    assert np.all(np.diff(found.t) >= 0)


def test_noise_is_poisson_everywhere_and_goes_between_the_events():
    events = Events(t=[0, 3_000_000], x=[1, 2], y=[3, 4], p=[0, 1], size=(40, 30))
    noise = Noise(20.0, on_share=0.25, seed=8)
    found = noise(events)
    expected = 20 * 40 * 30 * 3.0
    count = len(found) - 2
    assert within(count, expected, math.sqrt(expected))
    assert within(np.count_nonzero(found.p), 0.25 * count, math.sqrt(0.19 * count))
    per_pixel = np.bincount(found.y * 40 + found.x, minlength=1200)
    assert within(per_pixel.var(), 60, 60 * math.sqrt(2 / 1200))
    gaps = np.diff(found.t)
    mean = 3_000_000 / count
    assert within(np.count_nonzero(gaps > 2 * mean), math.exp(-2) * count, math.sqrt(0.12 * count))
    assert noise.start(events.sensor_size)(events[:1]) == events[:1]
    assert Noise(0.0)(BIG) is BIG or Noise(0.0)(BIG) == BIG
    more = Noise(2.0)(BIG)
    assert set(rows_of(BIG)) <= set(rows_of(more))
    with refused(EventsError, "Noise"):
        Noise(1e6)(Events(t=[0, 10**12], x=[0, 0], y=[0, 0], p=[0, 0], size=(640, 480)))


BAD = [
    (BackgroundActivity, {"within_us": -1}), (BackgroundActivity, {"within_us": 1.5}),
    (BackgroundActivity, {"neighbors": 5}), (BackgroundActivity, {"itself": 1}),
    (Refractory, {"period_us": math.nan}), (Refractory, {"period_us": "5ms"}),
    (HotPixel, {"times": math.nan}), (HotPixel, {"learn_us": 0}), (HotPixel, {"deviations": -1}),
    (Flip, {"axis": "z"}), (QuarterTurn, {"turns": 4}), (Rotate, {"degrees": math.inf}),
    (Rotate, {"degrees": None}), (Zoom, {"factor": 0}), (Shear, {"x_deg": 90}),
    (Shift, {"x_px": 0.5}), (Roll, {"y_px": True}), (Affine, {"xx": math.nan}),
    (Undistort, {"fy": 1, "cx": 0, "cy": 0, "fx": 0}),
    (Undistort, {"fx": 1, "fy": 1, "cx": 0, "cy": math.nan}),
    (TimeWindow, {"start_us": 5, "stop_us": 5}), (DropTime, {"start_us": 5, "stop_us": 4}),
    (TimeScale, {"factor": 0}), (TimeShift, {"shift_us": 0.5}), (StartAt, {"start_us": None}),
    (TimeReversal, {"swap_polarity": 2}), (Polarity, {"keep": "ON"}),
    (EventRateLimit, {"rate_hz": -1}), (EventRateLimit, {"rate_hz": 10}),
    (EvenRateLimit, {"rate_hz": math.inf}), (EvenRateLimit, {"rate_hz": 1e6, "window_us": 0}),
    (DropEvents, {"share": 1.1}), (DropEvents, {"share": 0.1, "seed": -1}),
    (DropArea, {"top": 0, "width": 1, "height": 1, "left": 2}), (DropPixels, {"share": math.nan}),
    (SpatialJitter, {"std_px": -1}), (TemporalJitter, {"std_us": 1e6}),
    (Noise, {"hz": math.nan}), (Noise, {"on_share": 2}), (Noise, {"seed": 2**63}),
    (ArcStar, {"repeat_us": -1}), (ArcStar, {"repeat_us": 2**30}),
    (EHarris, {"threshold": math.nan}), (LuvHarris, {"threshold": 2}),
    (CircleMask, {"x": 1, "y": 2, "radius_px": 0}),
    (CircleMask, {"x": 1, "y": 2, "radius_px": 3, "invert": "no"}),
    (RectangleMask, {"x": 1, "y": 2, "height": 4, "width": 0}),
    (RectangleMask, {"x": 1, "y": 2, "width": 3, "height": -4}),
    (RectangleMask, {"y": 2, "width": 3, "height": 4, "x": math.nan}),
    (RectangleMask, {"x": 1, "width": 3, "height": 4, "y": math.inf}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "parameters"), BAD, ids=lambda value: str(value))
def test_parameters_out_of_range_are_refused_in_one_line_that_names_them(kind, parameters):
    wrong = list(parameters.values())[-1]
    with refused(ConfigError, wrong):
        kind(**parameters)
