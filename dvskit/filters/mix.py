"""Two samples mixed to one, which belongs to the classes of both in parts.

Both count their times from their first events, as what `Vary` gives does. What is taken of each
stays where and when it was; the share is for the labels: share of the first, the rest of the other.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError, GeometryError
from dvskit.events import Events
from dvskit.filters.selecting import select

_PROBES = 4096


def event_mix(
    first: Events, second: Events, rng: np.random.Generator, *, blobs: int = 3, beta: float = 1.0
) -> tuple[Events, float]:
    """Mix by a random mask in x, y and time: Shen, Zhao, Zeng 2023, EventMix.

    A mixture of `blobs` random 3-D normal densities lies over the sensor and the time of both.
    Where it is high the second's events are taken, elsewhere the first's, in a share of that space
    that is drawn from Beta(beta, beta). Returns the events and the share of them that are the
    first's (1.0 of none at all). Raises GeometryError for unlike sensors, ConfigError.
    """
    _check(first, second, beta)
    if blobs < 1:
        raise ConfigError(f"event_mix: blobs={blobs!r} is less than 1")
    share = rng.beta(beta, beta)
    means = rng.uniform(0, 1, (blobs, 3))
    deviations = rng.uniform(0.1, 0.5, (blobs, 3))
    turned = np.linalg.qr(rng.normal(size=(blobs, 3, 3)))[0]
    probes = rng.uniform(0, 1, (_PROBES, 3))

    def density(points: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros(len(points))
        for mean, deviation, turn in zip(means, deviations, turned, strict=True):
            away = (points - mean) @ turn / deviation
            total += np.exp(-0.5 * (away * away).sum(1)) / deviation.prod()
        return total

    least = np.quantile(density(probes), share)
    start_us, stop_us = _span(first, second)
    length = max(stop_us - start_us, 1)

    def place(events: Events) -> NDArray[np.float64]:
        width, height = events.size
        return np.stack(
            [(events.x + 0.5) / width, (events.y + 0.5) / height, (events.t - start_us) / length], 1
        )

    return _mixed(first, density(place(first)) < least, second, density(place(second)) >= least)


def cut_mix(
    first: Events, second: Events, rng: np.random.Generator, *, beta: float = 1.0
) -> tuple[Events, float]:
    """Put a rectangle of the second into the first: Yun et al. 2019, CutMix, as NDA has it.

    The rectangle has the sensor's proportions, a random middle, and an area of 1 - Beta(beta, beta)
    of it, less what lies beyond the edges. Returns the events and the share of the sensor's area
    that is the first's. Raises GeometryError for unlike sensors, ConfigError.
    """
    _check(first, second, beta)
    across = math.sqrt(1 - rng.beta(beta, beta))
    sides = []
    for count, at in zip(first.size, rng.uniform(0, 1, 2), strict=True):
        low, high = (round(count * (at + end * across / 2)) for end in (-1, 1))
        sides.append((max(low, 0), min(high, count)))
    (left, right), (top, bottom) = sides

    def inside(events: Events) -> NDArray[np.bool_]:
        x, y = events.x, events.y
        return np.asarray((x >= left) & (x < right) & (y >= top) & (y < bottom))

    area = (right - left) * (bottom - top) / (first.size.width * first.size.height)
    return _mixed(first, ~inside(first), second, inside(second))[0], 1 - area


def _check(first: Events, second: Events, beta: float) -> None:
    if first.size != second.size:
        raise GeometryError(
            f"a sample of {first.size} and one of {second.size} do not mix; fit them to one size"
        )
    if not 0 < beta < math.inf:
        raise ConfigError(f"beta={beta!r} is not above 0")


def _span(first: Events, second: Events) -> tuple[int, int]:
    ends = [(int(each.t[0]), int(each.t[-1])) for each in (first, second) if len(each)]
    return (min(a for a, _ in ends), max(b for _, b in ends)) if ends else (0, 0)


def _mixed(
    first: Events, of_first: NDArray[np.bool_], second: Events, of_second: NDArray[np.bool_]
) -> tuple[Events, float]:
    one, two = select(first, of_first), select(second, of_second)
    order = np.argsort(np.concatenate([one.t, two.t]), kind="stable")
    t, x, y, p = (
        np.concatenate([getattr(one, name), getattr(two, name)])[order] for name in "txyp"
    )
    mixed = Events.from_checked(t, x, y, p, first.size)
    return mixed, len(one) / len(mixed) if len(mixed) else 1.0
