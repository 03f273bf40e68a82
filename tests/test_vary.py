"""Filters drawn for samples, and samples mixed."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from dvskit import Events
from dvskit.errors import ConfigError, GeometryError
from dvskit.filters import (
    NDA,
    Affine,
    DropArea,
    DropEvents,
    DropTime,
    Flip,
    Rotate,
    Shear,
    StartAt,
    TimeReversal,
    TimeScale,
    TimeShift,
    Vary,
    cut_mix,
    event_mix,
)
from tests.laws import random_cuts, refused, rows_of
from tests.test_filter_laws import EVENTS, in_blocks

ALL = Vary(
    shift_px=3, rotate_deg=8, zoom=0.1, shear_deg=5, roll_px=3, flip_x=0.5, flip_y=0.5,
    swap_polarity=0.5, reverse_time=0.5, time_scale=0.1, later_us=1000, drop=0.2, drop_pixels=0.1,
    drop_area=0.2, drop_time=0.2, jitter_px=1, jitter_us=100, noise_hz=1, duration_us=60_000,
)  # fmt: skip


def draws(vary, count: int = 300):
    rng = np.random.default_rng(5)
    return [vary.draw(rng) for _ in range(count)]


def of_kind(drawn, kind):
    return [each for varied in drawn for each in varied.filters if isinstance(each, kind)]


@pytest.mark.parametrize("vary", [ALL, Vary.nda(), Vary()], ids=lambda vary: type(vary).__name__)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_generator_gives_the_same_filter_which_obeys_the_law_of_cuts(vary, seed):
    first, second = (vary.draw(np.random.default_rng(seed)) for _ in range(2))
    assert first == second
    assert in_blocks(first, EVENTS, random_cuts(len(EVENTS), seed))[1] == second(EVENTS)
    if vary != Vary():
        assert vary.draw(np.random.default_rng(seed + 9)) != first


def test_without_bounds_events_only_begin_at_0():
    assert Vary().draw(np.random.default_rng(0))(EVENTS) == StartAt(0)(EVENTS)


def test_numbers_are_uniform_up_to_their_bounds():
    drawn = draws(Vary(rotate_deg=10, time_scale=0.2, later_us=500, drop=0.4, drop_area=0.25))
    angles = [math.degrees(math.atan2(a.yx, a.xx)) for a in of_kind(drawn, Affine)]
    assert np.std(angles) == pytest.approx(10 / math.sqrt(3), rel=0.15)
    factors = [each.factor for each in of_kind(drawn, TimeScale)]
    shifts = [each.shift_us for each in of_kind(drawn, TimeShift)]
    shares = [each.share for each in of_kind(drawn, DropEvents)]
    bounds = (-10, 10), (0.8, 1.2), (-500, 500), (0, 0.4)
    for found, (least, most) in zip((angles, factors, shifts, shares), bounds, strict=True):
        slack = 0.05 * (most - least)
        assert least <= min(found) < least + slack
        assert most - slack < max(found) <= most
    areas = np.array([each.width * each.height for each in of_kind(drawn, DropArea)])
    assert 0.23 < areas.max() <= 0.25
    for each in of_kind(drawn, DropArea):
        assert 0 <= each.left <= 1 - each.width
        assert 0 <= each.top <= 1 - each.height


def test_chances_are_those_given_and_what_changes_a_name_is_told():
    drawn = draws(Vary(flip_x=0.3, flip_y=0.6, reverse_time=0.2), 1000)
    for name, chance in (("flipped_x", 0.3), ("flipped_y", 0.6), ("reversed", 0.2)):
        told = [getattr(each, name) for each in drawn]
        assert abs(sum(told) - 1000 * chance) < 5 * math.sqrt(1000 * chance * (1 - chance))
    one = next(each for each in drawn if each.flipped_x and not each.flipped_y)
    assert Flip("x") in one.filters
    back = next(each for each in drawn if each.reversed)
    assert of_kind([back], TimeReversal)


def test_a_span_left_out_lies_within_the_sample():
    dropped = of_kind(draws(Vary(drop_time=0.5, duration_us=60_000)), DropTime)
    assert all(0 <= each.start_us <= each.stop_us <= 60_000 for each in dropped)
    longest = max(each.stop_us - each.start_us for each in dropped)
    assert 29_000 < longest <= 30_000


def test_wrong_values_are_refused():
    rng, other = np.random.default_rng(0), Events.empty((3, 3))
    with refused(ConfigError, "duration_us"):
        Vary(drop_time=0.1)
    for mix in (event_mix, cut_mix):
        with refused(GeometryError, "24x18", "3x3"):
            mix(EVENTS, other, rng)
    with refused(ConfigError, "blobs"):
        event_mix(EVENTS, EVENTS, rng, blobs=0)


def test_the_policy_draws_one_of_four_changes_as_often_as_the_others():
    drawn = draws(Vary.nda(flip_x=0.0), 800)
    rolls = [
        each for varied in drawn for each in varied.filters if type(each).__name__ == "RollShare"
    ]
    kinds = [rolls, *(of_kind(drawn, kind) for kind in (Rotate, Shear, DropArea))]
    assert sum(map(len, kinds)) == 800
    for found in kinds:
        assert abs(len(found) - 200) < 5 * math.sqrt(150)
    assert max(abs(each.degrees) for each in kinds[1]) <= 30
    assert max(abs(each.degrees) for each in of_kind(draws(NDA(0.5)), Rotate)) <= 15


OTHER = Flip("xy")(StartAt(0)(EVENTS))
FIRST = StartAt(0)(EVENTS)


@pytest.mark.parametrize("mix", [event_mix, cut_mix])
@pytest.mark.parametrize("seed", range(3))
def test_a_mix_holds_events_of_both_and_the_share_of_the_first(mix, seed):
    mixed, share = mix(FIRST, OTHER, np.random.default_rng(seed))
    again, _ = mix(FIRST, OTHER, np.random.default_rng(seed))
    assert mixed == again
    Events(t=mixed.t, x=mixed.x, y=mixed.y, p=mixed.p, size=mixed.sensor_size)
    assert 0 <= share <= 1
    both = Counter(rows_of(FIRST) + rows_of(OTHER))
    assert Counter(rows_of(mixed)) <= both  # each event is one of theirs, and none comes twice


def test_a_share_is_that_of_events_or_of_area():
    dark, light = (
        Events(t=FIRST.t, x=FIRST.x, y=FIRST.y, p=np.full(len(FIRST), on), size=FIRST.sensor_size)
        for on in (False, True)
    )
    shares = []
    for seed in range(40):
        mixed, share = event_mix(dark, light, np.random.default_rng(seed))
        assert share == pytest.approx(1 - mixed.p.mean())
        assert len(mixed) == len(FIRST)  # each place and time is of one of them
        shares.append(share)
        mixed, area = cut_mix(dark, light, np.random.default_rng(seed))
        inside = mixed[mixed.p]
        if len(inside):
            box = (np.ptp(inside.x) + 1) * (np.ptp(inside.y) + 1)
            assert box <= round((1 - area) * 24 * 18)
    assert 0.05 < np.mean(np.array(shares) < 0.5) < 0.95


def test_nothing_mixes_with_nothing():
    nothing, rng = Events.empty(EVENTS.sensor_size), np.random.default_rng(0)
    assert len(cut_mix(nothing, nothing, rng)[0]) == 0
    assert len(event_mix(nothing, nothing, rng)[0]) == 0
    assert event_mix(nothing, nothing, rng)[1] == 1.0
