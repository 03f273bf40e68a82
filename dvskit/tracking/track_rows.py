"""Rows of followed objects: counts of those that cross a line, and scores against the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields, check_number, checked
from dvskit.errors import ConfigError, ShapeError

Line = tuple[tuple[float, float], tuple[float, float]]
CROSSING_ROW = np.dtype(
    [("id", "<i8"), ("t", "<i8"), ("x", "<f8"), ("y", "<f8"), ("to_right", "?")]
)


@dataclass(slots=True)
class LineCounter:
    """Counts objects that cross a line while rows arrive.

    line       ((x0, y0), (x1, y1)) in pixels; left and right are as seen in the picture from
               (x0, y0) towards (x1, y1)
    margin_px  an object has crossed once it is this far beyond the line, so that jitter on it does
               not count
    to_left, to_right  the numbers of crossings so far

    An object may cross back, and is then counted in the other direction. Raises ConfigError for a
    line that is not two points apart and a margin below 0.

        events = dvskit.load_events("discs.raw").between(500_000, 1_000_000)
        step = dvskit.tracking.Tracker().start(events.sensor_size)
        counter = dvskit.tracking.LineCounter(((64, 0), (64, 127)))  # downwards: left is x > 64
        for block in events.blocks(duration_us=100_000):
            crossings = counter(step(block))  # id, t, x, y, to_right of each
        counter.to_left, counter.to_right  # (1, 1)
    """

    line: Line
    margin_px: float = checked(check_number, 0, default=3.0)
    to_left: int = 0
    to_right: int = 0
    _last: dict[int, tuple[float, float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ends = np.array(self.line, dtype=object)
        try:
            ends = ends.astype(float)
        except (TypeError, ValueError):
            ends = np.empty(0)
        if ends.shape != (2, 2) or not np.isfinite(ends).all() or (ends[0] == ends[1]).all():
            raise ConfigError(
                f"the line {self.line!r} is not ((x0, y0), (x1, y1)), two points apart"
            )
        check_fields(self)

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the crossings of these rows, (n,) of `CROSSING_ROW`: when, where, which way."""
        (x0, y0), (x1, y1) = self.line
        length = math.hypot(x1 - x0, y1 - y0)
        found = []
        for number, t, x, y in zip(*(rows[name].tolist() for name in ("id", "t", "x", "y")),
                                   strict=True):  # fmt: skip
            side = ((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) / length  # right is above 0
            if abs(side) <= self.margin_px:
                continue
            before = self._last.get(number)
            self._last[number] = (side, x, y)
            if before is None or (before[0] > 0) == (side > 0):
                continue
            share = before[0] / (before[0] - side)
            at_x, at_y = before[1] + share * (x - before[1]), before[2] + share * (y - before[2])
            along = ((x1 - x0) * (at_x - x0) + (y1 - y0) * (at_y - y0)) / length
            if 0 <= along <= length:
                found.append((number, t, at_x, at_y, side > 0))
        crossings = np.array(found, CROSSING_ROW)
        right = int(np.count_nonzero(crossings["to_right"]))
        self.to_right += right
        self.to_left += len(crossings) - right
        return crossings


def check_rows(rows: Any) -> None:
    """Raise ShapeError unless an array has the fields id, t, x and y, as those of `track`."""
    fields = getattr(getattr(rows, "dtype", None), "names", None) or ()
    if not {"id", "t", "x", "y"} <= set(fields):
        raise ShapeError(
            f"{type(rows).__name__} without the fields id, t, x and y; pass the rows of `track`"
        )


def count_crossings(rows: NDArray[Any], line: Line, *, margin_px: float = 3.0) -> LineCounter:
    """Return a LineCounter with the crossings of objects, such as `track` returns.

    rows       with the fields id, t, x and y, in order of time
    line       ((x0, y0), (x1, y1)) in pixels
    margin_px  as in `LineCounter`

    Raises ConfigError for a line that is not two points apart, ShapeError for other rows.

        events = dvskit.load_events("discs.raw").between(500_000, 1_000_000)
        rows = dvskit.tracking.track(events)
        counter = dvskit.tracking.count_crossings(rows, ((64, 0), (64, 127)))
        counter.to_left, counter.to_right  # (1, 1)
    """
    check_rows(rows)
    counter = LineCounter(line, margin_px)
    counter(rows)
    return counter


@dataclass(frozen=True, slots=True)
class TrackScores:
    """The agreement of objects with the truth, from `score_tracks`.

    rmse_px       root of the mean squared distance of matched places, in pixels
    idf1          2 IDTP / (2 IDTP + IDFP + IDFN) (Ristani et al. 2016)
    swaps         times at which a true object was matched to another id than before
    misses        true places that no object was matched to
    false_places  places of objects that were matched to no true one
    false_ids     ids that were never matched
    matched, true_places  numbers of places

        rows = dvskit.tracking.track(dvskit.load_events("discs.raw").between(0, 500_000))
        truth = rows[rows["id"] < 2].copy()  # in place of measured places
        truth["id"] += 10  # ids need not be the same
        scores = dvskit.tracking.score_tracks(rows, truth)
        scores.rmse_px, scores.swaps, scores.misses  # (0.0, 0, 0)
        scores.false_ids  # 1: the third object
    """

    rmse_px: float
    idf1: float
    swaps: int
    misses: int
    false_places: int
    false_ids: int
    matched: int
    true_places: int


def score_tracks(
    rows: NDArray[Any],
    truth: NDArray[Any],
    *,
    hidden: NDArray[Any] | None = None,
    within_px: float = 10.0,
) -> TrackScores:
    """Compare objects with the truth: both have the fields id, t, x and y, at the same times.

    rows       (n,), such as those of `track`: t in us, x and y in pixels
    truth      (m,) true places
    hidden     true places that need not be found, such as behind another object: rows near them
               that no other truth is matched to are not false
    within_px  places farther apart are not matched

    At each time, a true object stays with the id that it was matched to before, if that is still
    near enough; the others are matched by the least sum of distances (CLEAR MOT, Bernardin and
    Stiefelhagen 2008). For IDF1 each true object has one id over the whole time, such that the most
    places agree. Times without truth are not scored. Raises ConfigError unless within_px > 0,
    ShapeError for arrays without these fields.

        events = dvskit.load_events("discs.raw").between(0, 500_000)
        disc = dvskit.tracking.MeanShift(start_px=(104, 26), bandwidth_px=15)
        rows = dvskit.tracking.track(events, disc)
        truth = np.zeros(50, dvskit.tracking.OBJECT_ROW)  # the disc moves in a straight line
        truth["t"] = np.arange(10_000, 510_000, 10_000)
        truth["x"], truth["y"] = 104 - truth["t"] * 53.3e-6, 26 + truth["t"] * 33.3e-6
        dvskit.tracking.score_tracks(rows, truth).rmse_px  # 0.49
    """
    from scipy.optimize import linear_sum_assignment

    check_number("within_px", within_px, above=0)
    check_rows(rows)
    check_rows(truth)
    rows = rows[np.isin(rows["t"], truth["t"])]
    hidden = truth[:0] if hidden is None else hidden
    last: dict[int, int] = {}
    squares, swaps, found, excused = [], 0, set(), 0
    true_ids, of_true = np.unique(truth["id"], return_inverse=True)
    own_ids, of_own = np.unique(rows["id"], return_inverse=True)
    together = np.zeros((len(true_ids), len(own_ids)), np.int64)
    for t in np.unique(truth["t"]):
        one, two = np.flatnonzero(truth["t"] == t), np.flatnonzero(rows["t"] == t)
        far = _distances(truth[one], rows[two])
        near = far <= within_px
        together[np.ix_(of_true[one], of_own[two])] += near
        same = np.array([[last.get(i) == k for k in rows["id"][two]] for i in truth["id"][one]])
        cost = np.where(near, far - 1e3 * same.reshape(far.shape), 1e6)
        left = np.ones(len(two), np.bool_)
        for n, k in zip(*linear_sum_assignment(cost), strict=True):
            if not near[n, k]:
                continue
            number, own = int(truth["id"][one[n]]), int(rows["id"][two[k]])
            swaps += last.get(number, own) != own
            last[number] = own
            found.add(own)
            left[k] = False
            squares.append(far[n, k] ** 2)
        unseen = _distances(hidden[hidden["t"] == t], rows[two][left]) <= within_px
        excused += int(unseen.any(0).sum())
    pairs = linear_sum_assignment(together, maximize=True)
    agree = int(together[pairs].sum())
    matched = len(squares)
    return TrackScores(
        float(np.sqrt(np.mean(squares))) if squares else np.nan,
        2 * agree / max(len(rows) - excused + len(truth), 1),
        swaps, len(truth) - matched, len(rows) - matched - excused,
        len(set(own_ids.tolist()) - found),
        matched, len(truth),
    )  # fmt: skip


def _distances(one: NDArray[Any], two: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(np.hypot(one["x"][:, None] - two["x"], one["y"][:, None] - two["y"]))
