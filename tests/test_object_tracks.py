"""Frames of tracked objects: boxes, identities, trails, and lines with counts."""

from __future__ import annotations

import numpy as np
import pytest

from dvskit import Events
from dvskit.errors import ConfigError
from dvskit.render import Decay, ObjectTracks, frames
from dvskit.render.motion_styles import row_of
from dvskit.tracking import OBJECT_ROW
from tests.laws import refused

STEP_US = 10_000


def moving_squares(duration_us: int = 400_000) -> Events:
    """Two squares of 12 pixels on 120 x 90, one to the right and one to the left, at 160 px/s."""
    rng = np.random.default_rng(4)
    t, x, y = [], [], []
    for now in range(0, duration_us, 1000):
        for left, top, speed in ((5.0, 15, 160), (100.0, 55, -160)):
            at = left + speed * now * 1e-6
            x += np.clip(at + rng.integers(0, 12, 8), 0, 119).astype(int).tolist()
            y += (top + rng.integers(0, 12, 8)).tolist()
            t += [now] * 8
    p = rng.random(len(t)) < 0.5
    return Events(t=np.array(t) + 1_000_000, x=x, y=y, p=p, size=(120, 90))


SQUARES = moving_squares()


class Given:
    """A tracker that finds given rows."""

    window_us = STEP_US

    def __init__(self, *rows: tuple) -> None:
        self.rows = np.array(list(rows), OBJECT_ROW)

    def start(self, size):
        self._next = 0
        return self

    def __call__(self, events):
        first, self._next = self._next, int(np.searchsorted(self.rows["t"], events.t[-1], "right"))
        return self.rows[first : self._next]

    def finish(self):
        return self.rows[self._next :]


def row(number, step, x, y, width=9, height=7, seen=True):
    return (number, 1_000_000 + step * STEP_US, x, y, width, height, 0, 0, 9, seen)


def pictures(tracker, fps=100, **style):
    """Return the frames of the squares with a tracker's objects: rows of the palette."""
    shown = frames(SQUARES, style=ObjectTracks(tracker, **style), fps=fps)
    made = []
    for moment in shown.moments():
        moment.draw_over(moment.index, 1)
        made.append(moment.index.copy())
    return made


def test_boxes_are_around_objects_over_faint_events():
    made = pictures(Given(row(0, 1, 60, 45), row(2, 1, 20, 75), row(0, 2, 62, 45)))
    plain = [each.index.copy() for each in frames(SQUARES, style=Decay(), fps=100).moments()]
    first, second = made[1], made[2]  # at 20 and 30 ms
    assert (first[42, 57:65] == row_of(0)).all()  # 60 - 9 / 2, 45 - 7 / 2, rounded
    assert (first[48, 57:65] == row_of(0)).all()
    assert (first[72:79, 16] == row_of(2)).all()
    assert (second[42, 59:67] == row_of(0)).all()
    assert not (second == row_of(2)).any()  # it has no row at this step
    assert not (made[0] >= 64).any()
    assert np.array_equal(made[0], plain[0] >> 1)
    events = made[1] < 64
    assert np.array_equal(made[1][events] != 31, (plain[1] >> 1)[events] != 31)


def test_an_object_that_is_not_seen_is_dim_and_goes_when_it_has_no_row():
    made = pictures(Given(row(1, 1, 60, 45), row(1, 2, 60, 45, seen=False)), trail_us=15_000)
    assert (made[1][42, 57:65] == row_of(1)).all()
    assert (made[2][42, 57:65] == row_of(1, dim=True)).all()
    assert not (made[3][42, 57:65] >= 64).any()
    assert not (made[4] >= 64).any()  # the trail has ended


@pytest.mark.parametrize(
    "wrong", [{"lines": (((1, 1), (1, 1)),)}, {"lines": (((0, 0), (9, 9), 3),)}]
)
def test_wrong_values_are_refused(wrong):
    with refused(ConfigError):
        ObjectTracks(**wrong)
