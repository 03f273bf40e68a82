"""Kernels of tracking against slow twins, and memory under noise."""

from __future__ import annotations

import numpy as np
import pytest

from dvskit.events import Events, Size
from dvskit.tracking import Tracker
from dvskit.tracking.component_kernels import NEVER, add_events, supported_pixels
from dvskit.tracking.mean_shift_kernels import shift_to_mean


def random_events(seed, count, size, stop_us=10_000):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, size[0], count), rng.integers(0, size[1], count)
    t = np.sort(rng.integers(0, stop_us, count))
    return Events(t=t, x=x, y=y, p=rng.random(count) < 0.5, size=size)


@pytest.mark.parametrize("count", [0, 1, 80, 600])
@pytest.mark.parametrize(
    ("since", "least", "most"), [(0, 1, 1), (0, 4, 1), (4_000, 5, 2), (9_000, 2, 2)]
)
def test_supported_pixels_are_those_with_company(count, since, least, most):
    size = (23, 17)
    events = random_events(count, count, size)
    t, x, y, p = events.t, events.x, events.y, events.p
    surface = np.full(size[::-1], NEVER), np.zeros(size[::-1], np.bool_), np.full(size[1], NEVER)
    slot = np.zeros((2, *size[::-1]), np.uint8)
    add_events(t, x, y, p, *surface, slot)
    mask, found = np.full(size[::-1], 7, np.uint8), np.empty((4, size[0] * size[1]), np.int64)
    number = supported_pixels(surface, slot.astype(np.uint16), since, least, most, mask, found)

    twin = []
    for b in range(size[1]):
        for a in range(size[0]):
            own = np.flatnonzero((x == a) & (y == b))
            if not len(own) or t[own[-1]] < since:
                continue
            near = [
                ((x == c) & (y == d) & (p == p[own[-1]])).sum()
                for c in range(a - 1, a + 2) for d in range(b - 1, b + 2)
            ]  # fmt: skip
            if np.minimum(near, most).sum() >= least:
                twin.append((t[own[-1]], a, b, p[own[-1]]))
    assert found[:, :number].T.tolist() == [[int(v) for v in row] for row in twin]
    assert {(a, b) for b, a in zip(*np.nonzero(mask), strict=True)} == {row[1:3] for row in twin}
    assert mask.max(initial=0) <= 1


def test_a_pixel_counts_at_most_255_events_of_a_window():
    t = np.arange(300)
    x = np.full(300, 1, np.int16)
    surface = np.full((2, 3), NEVER), np.zeros((2, 3), np.bool_), np.full(2, NEVER)
    slot = np.zeros((2, 2, 3), np.uint8)
    add_events(t, x, np.zeros(300, np.int16), np.ones(300, np.bool_), *surface, slot)
    assert slot.sum() == slot[1, 0, 1] == 255
    assert (surface[0][0, 1], surface[2].tolist()) == (299, [299, NEVER])


@pytest.mark.parametrize("most", [1, 3, 100])
@pytest.mark.parametrize("radius", [2.5, 10.0, 200.0])
def test_mean_shift_goes_from_mean_to_mean(radius, most):
    rng = np.random.default_rng(int(radius))
    points = np.concatenate([rng.normal((40, 30), 5, (200, 2)), rng.uniform(0, 80, (100, 2))])
    x, y = np.rint(points).astype(np.int16).T.copy()
    at, count = np.array([46.0, 35.0]), 0
    for _ in range(most):
        inside = np.hypot(x - at[0], y - at[1]) <= radius
        count = inside.sum()
        move = np.array([x[inside].mean(), y[inside].mean()]) - at
        at += move
        if abs(move).sum() < 0.01:
            break
    found = shift_to_mean(x, y, (46.0, 35.0), radius, most)
    assert found == pytest.approx((*at, count))


def test_mean_shift_without_events_near_stays():
    x = np.array([50, 51], np.int16)
    assert shift_to_mean(x, x, (3.0, 4.0), 5.0, 100) == (3.0, 4.0, 0)
    assert shift_to_mean(x[:0], x[:0], (3.0, 4.0), 5.0, 100) == (3.0, 4.0, 0)


def test_flicker_everywhere_is_followed_in_fixed_memory():
    left, top = (each.ravel() for each in np.meshgrid(np.arange(1, 120, 5), np.arange(1, 90, 5)))
    step = Tracker(join_px=1).start(Size(128, 96))  # 432 squares of 3x3 pixels
    held = []
    for window in range(3):
        x, y = np.repeat(left, 18) + np.tile(np.arange(18) % 3, 432), np.repeat(top, 18)
        y = y + np.tile(np.arange(18) // 3 % 3, 432) + window % 2
        t = 10_000 * window + np.arange(len(x))
        step(Events(t=t, x=x, y=y, p=np.full(len(x), True), size=(128, 96)))
        held.append(len(step._scene.objects))
    assert max(held) == 256
