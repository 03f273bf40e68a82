"""In which order samples are drawn: by a generator, each once before any comes again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def drawn(total: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return `count` numbers below `total`: each once before any comes again."""
    passes = [rng.permutation(total) for _ in range(-(-count // total))]
    return np.concatenate([np.empty(0, np.int64), *passes])[:count]


def drawn_by_class(
    labels: Sequence[int] | NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return `count` places of `labels`: of each class that occurs as many, give or take one.

    Of a class each sample comes once before any comes again; classes take turns, in an order that
    is drawn anew for each turn.
    """
    given = np.asarray(labels, np.int64)
    classes = np.unique(given)
    turns = np.concatenate(
        [np.empty(0, np.int64)]
        + [rng.permutation(classes) for _ in range(-(-count // len(classes)))]
    )[:count]
    order = np.empty(count, np.int64)
    for kind in classes:
        places = np.flatnonzero(turns == kind)
        members = np.flatnonzero(given == kind)
        order[places] = members[drawn(len(members), len(places), rng)]
    return order


def in_turn(total: int, count: int) -> NDArray[np.int64]:
    """Return `count` numbers below `total`, from 0 on and again."""
    return np.arange(count, dtype=np.int64) % total
