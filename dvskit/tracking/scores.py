"""Scores of followed objects against their true places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_number
from dvskit.tracking.crossings import check_rows


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
