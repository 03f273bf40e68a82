"""Corner filters against slow twins written from the papers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.signal import correlate2d

from dvskit import Events
from dvskit.filters import ArcStar, EFast, EHarris, LuvHarris, corners
from dvskit.filters.corner_kernels import CIRCLE_3, CIRCLE_4


def squares(seed: int = 0, size: tuple[int, int] = (40, 30), count: int = 6_000) -> Events:
    """The edges of squares that move, twice each, and noise; some events at the same time."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 300_000, count)) // 400 * 400 + 77
    left, top = 4 + t // 12_000, 3 + t // 30_000
    along, side = rng.integers(0, 12, count), rng.integers(0, 4, count)
    x = left + np.choose(side, [along, along, 0 * along, 0 * along + 11])
    y = top + np.choose(side, [0 * along, 0 * along + 11, along, along])
    noise = rng.random(count) < 0.15
    x = np.where(noise, rng.integers(0, size[0], count), x)
    y = np.where(noise, rng.integers(0, size[1], count), y)
    return Events(t=t, x=x, y=y, p=(side % 2 > 0) ^ (rng.random(count) < 0.1), size=size)


EVENTS = squares()


def far_in(x: int, y: int, events: Events) -> bool:
    width, height = events.sensor_size
    return 4 <= x < width - 4 and 4 <= y < height - 4


def each_event(events: Events):
    return zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True)


def has_arc(times: list[int], lengths: range) -> bool:
    """Whether so many pixels side by side are newer than all others: Mueggler et al. 2017."""
    count = len(times)
    for length in lengths:
        for start in range(count):
            turned = times[start:] + times[:start]
            if min(turned[:length]) > max(turned[length:]):
                return True
    return False


def e_fast_twin(events: Events) -> list[bool]:
    last = np.zeros((2, events.sensor_size.height, events.sensor_size.width), np.int64)
    found = []
    for t, x, y, p in each_event(events):
        last[int(p), y, x] = t
        found.append(far_in(x, y, events) and all(
            has_arc([int(last[int(p), y + b, x + a]) for a, b in circle], lengths)
            for circle, lengths in ((CIRCLE_3, range(3, 7)), (CIRCLE_4, range(4, 9)))
        ))  # fmt: skip
    return found


def grown_arc(times: list[int], least: int) -> int:
    """The length of the newest arc: Alzugaray and Chli 2018, algorithm 1.

    Elements are visited from the newest on, on the side where the next one is newer. One that is
    not older than the arc's oldest, or needed for the least length, brings all visited into it.
    """
    count = len(times)
    newest = times.index(max(times))
    visited = [times[newest]]
    clockwise, counter = newest + 1, newest - 1
    length, oldest = 1, times[newest]
    while len(visited) < count:
        a, b = times[clockwise % count], times[counter % count]
        visited.append(max(a, b))
        if a > b:
            clockwise += 1
        else:
            counter -= 1
        if len(visited) <= least or visited[-1] >= oldest:
            length, oldest = len(visited), min(visited)
    return length


def arc_star_twin(events: Events, repeat_us: int) -> list[bool]:
    last = np.zeros((2, events.sensor_size.height, events.sensor_size.width), np.int64)
    latest = np.full_like(last, -(10**15))
    found = []
    for t, x, y, p in each_event(events):
        here, other = int(p), int(not p)
        before = latest[here, y, x]
        latest[here, y, x] = t
        if not (t > before + repeat_us or latest[other, y, x] > before):
            found.append(False)
            continue
        last[here, y, x] = t
        found.append(far_in(x, y, events))
        for circle, least, most in ((CIRCLE_3, 3, 6), (CIRCLE_4, 4, 8)):
            if found[-1]:
                length = grown_arc([int(last[here, y + b, x + a]) for a, b in circle], least)
                rest = len(circle) - length
                found[-1] = least <= length <= most or least <= rest <= most
    return found


def e_harris_twin(events: Events) -> np.ndarray:
    """Harris responses of the latest 25 distinct pixels: Vasco et al. 2016."""
    smooth, slope = np.array([1, 4, 6, 4, 1]), np.array([1, 2, 0, -2, -1])
    sobel = np.outer(smooth, slope) / 12
    y, x = np.mgrid[-2:3, -2:3]
    gauss = np.exp(-(x**2 + y**2) / 2)
    gauss /= gauss.sum()
    rows, scores = list(each_event(events)), []
    for number, (_, x, y, p) in enumerate(rows):
        patch, score = np.zeros((9, 9)), -np.inf
        for _, a, b, q in rows[number::-1]:
            if q == p and abs(a - x) <= 4 and abs(b - y) <= 4 and patch.sum() < 25:
                patch[b - y + 4, a - x + 4] = 1
        if far_in(x, y, events) and patch.sum() == 25:
            dx = correlate2d(patch, sobel, "valid")
            dy = correlate2d(patch, sobel.T, "valid")
            xx, xy, yy = ((gauss * each).sum() for each in (dx * dx, dx * dy, dy * dy))
            score = xx * yy - xy * xy - 0.04 * (xx + yy) ** 2
        scores.append(score)
    return np.array(scores)


def luv_harris_twin(events: Events) -> np.ndarray:
    """Responses of OpenCV, of a surface of latest events: Glover et al. 2021."""
    surface = np.zeros((events.sensor_size.height, events.sensor_size.width), np.uint8)
    scores = []
    for _, x, y, _ in each_event(events):
        patch = surface[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4]
        patch[patch > 0] -= 1
        patch[patch < 255 - 2 * 7] = 0
        surface[y, x] = 255
        inside = far_in(x, y, events)
        scores.append(cv2.cornerHarris(surface, 7, 3, 0.04)[y, x] if inside else -np.inf)
    return np.array(scores)


def scores_of(chosen, events: Events) -> np.ndarray:
    return chosen.start(events.sensor_size).scores(events)


@pytest.mark.slow
def test_e_fast_decides_as_the_definition():
    events = squares(1, (44, 29))
    wanted = e_fast_twin(events)
    assert EFast()(events) == events[np.array(wanted)]
    assert 0.005 < np.mean(wanted) < 0.5


@pytest.mark.parametrize("repeat_us", [0, 6_000, 50_000])
def test_arc_star_decides_as_the_algorithm_of_the_paper(repeat_us):
    wanted = arc_star_twin(EVENTS, repeat_us)
    assert ArcStar(repeat_us)(EVENTS) == EVENTS[np.array(wanted)]
    assert 0.005 < np.mean(wanted) < 0.5
    assert set(np.unique(scores_of(ArcStar(), EVENTS))) == {-np.inf, 0, 1}


def test_e_harris_scores_as_the_definition():
    events = EVENTS[:1500]
    wanted, found = e_harris_twin(events), scores_of(EHarris(), events)
    assert np.allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert np.isfinite(wanted).sum() > 300
    assert EHarris(1.0)(events) == events[wanted > 1.0]
    assert 0 < np.mean(wanted > 1.0) < 0.5


def test_luv_harris_scores_as_the_response_of_opencv():
    wanted, found = luv_harris_twin(EVENTS), scores_of(LuvHarris(), EVENTS)
    assert np.allclose(found, wanted, rtol=1e-4, atol=1e-7)
    assert 0 < np.mean(wanted > 0.03) < 0.5
    assert len(LuvHarris()(EVENTS)) == np.count_nonzero(found > np.float32(0.03))


@pytest.mark.parametrize(
    ("chosen", "most", "exact"),
    [(EFast(), 8_000, 3_200), (ArcStar(3_000), 8_000, 3_200), (EHarris(), 3_500, 500)],
)
def test_scores_stay_the_same_when_times_and_numbers_outgrow_four_bytes(
    chosen, most, exact, monkeypatch
):
    before = scores_of(chosen, EVENTS)
    monkeypatch.setattr(corners, "_MOST", most)  # of four bytes: half an hour of events
    monkeypatch.setattr(corners, "_EXACT", exact)
    assert np.array_equal(scores_of(chosen, EVENTS), before)


def test_a_gap_of_years_changes_nothing():
    late = Events(t=EVENTS.t + 10**14, x=EVENTS.x, y=EVENTS.y, p=EVENTS.p, size=EVENTS.sensor_size)
    both = Events.concatenate([EVENTS[:3000], late[3000:]])
    assert np.array_equal(EFast()(both).x, EFast()(EVENTS).x)


@pytest.mark.parametrize("size", [(8, 30), (40, 8), (1, 1)])
def test_sensors_too_small_for_the_circles_have_no_corners(size):
    events = Events(t=np.arange(50), x=[0] * 50, y=[0] * 50, p=[True] * 50, size=size)
    for chosen in (EFast(), ArcStar(), EHarris(), LuvHarris()):
        assert len(chosen(events)) == 0
