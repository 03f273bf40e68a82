# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops that draw the differences between pixels, and noise.

The cost of noise is proportional to the events, not the pixels. Shot noise is a Poisson process
over choices (pixel, polarity) and time. Candidates are drawn along the choices of a tile, at a rate
that few choices exceed, and thinned (Lewis and Shedler 1979): a candidate is kept with the ratio of
the rate of its choice to the common rate. The times are uniform. The excess of the few choices is a
second such process.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._random_kernels import GOLDEN, S11, TO_UNIT, bits, mix, normal, uniform
from dvskit.emulator.sensor.firing_kernels import WORST_JITTER, jittered
from dvskit.emulator.sensor.pixels import (
    BATCH,
    BLOCK,
    NEVER,
    TILE,
    Hits,
    Pixels,
    Scratch,
    SensorModel,
    inner,
    kernel,
    merged,
    prefetch,
)
from dvskit.emulator.sensor.signal_kernels import UNIT, exp, greater, lesser, log, relative_light

Array = NDArray[Any]

_HEAVY = 64  # one in this many choices is above the cap
_FEW = 16  # distance up to which a hit is moved by insertion

# Streams of random numbers; stream 5 is for the jitter of the leak.
R_ON, R_OFF, R_LEAK, R_PHASE = (np.int64(k) for k in range(1, 5))
R_GAP, R_HOT, R_HEAVY = np.int64(6), np.int64(7), np.int64(8)
_TIME, _CHOICE, _LUCK = np.int64(0), np.int64(1), np.int64(2)  # of a candidate
_FIRST = _ONCE = np.int64(0)
_LEAST = 0.01 * UNIT  # threshold

_S24, _LOW_24 = np.uint64(24), np.uint64((1 << 24) - 1)
_TO_UNIT_40, _TO_UNIT_24 = 2.0**-40, 2.0**-24
_FINE = 2.0**32  # steps in a share, as a whole number


def weigh_noise(
    on: Array, off: Array, model: SensorModel, chances: Array, excess: Array, caps: Array
) -> None:
    """Prepare to draw choices by the inverse of their thresholds.

    caps     of each tile: the drawing rate per choice, relative to the nominal one; few exceed it
    chances  uint8, of each choice: its rate in 1/254 of the cap, rounded down; 255 above the cap
    excess   of each choice of a tile: cumulative sum of the excess over the cap
    """
    # NumPy does it once per pass; compiled, it would be a quarter of the initial compile time.
    for tile in range(caps.size):
        own = slice(tile * TILE, (tile + 1) * TILE)
        weights = np.empty((on[own].size, 2))
        weights[:, 0] = model.off / off[own].astype(np.float64)
        weights[:, 1] = model.on / on[own].astype(np.float64)
        weights = weights.reshape(-1)  # (pixels, 2) -> (choices,)
        rank = weights.size - 1 - weights.size // _HEAVY
        caps[tile] = np.partition(weights, rank)[rank]
        share = weights / caps[tile]
        choices = slice(2 * own.start, 2 * own.stop)
        chances[choices] = np.where(share > 1.0, 255.0, np.floor(share * 254.0))
        excess[choices] = np.cumsum(np.maximum(0.0, weights - caps[tile]))


@inner
def _weight(choice: int, on: Array, off: Array, model: SensorModel) -> float:
    """Return the rate of a choice relative to the nominal one."""
    if choice & 1 != 0:
        return model.on / on[choice >> 1]
    return model.off / off[choice >> 1]


@inner
def shot_share(light: float, model: SensorModel) -> float:
    """Return the rate of shot noise as a part of the most, see `run.shot_law`."""
    rise, fall, scale = model.law
    if rise < 0.0:
        return scale * (1.0 - fall * light)
    return scale * light / (light + rise) * exp(-fall * light)


@inner
def _share(choice: int, codes: Array, lights: Array, model: SensorModel) -> float:
    """Return the factor of a choice's rate relative to the most."""
    code = codes[choice >> 1]
    light = lights[code] if lights.size > 0 else relative_light(float(code), model)
    return shot_share(light, model)


@inner
def shot_rate(light: float, on: float, off: float, model: SensorModel) -> float:
    """Return the shot events per microsecond of a pixel of these thresholds."""
    nominal = 0.5 * model.shot * shot_share(light, model)
    return nominal * (model.on / on + model.off / off)


@kernel
def start_pixels(
    levels: Array, first: int, model: SensorModel, sigma: float, spread: float, pixels: Pixels
) -> None:
    """Initialize a slice of pixels, from pixel `first` on, that have seen `levels` forever.

    Thresholds and leaks are drawn. A leaking pixel begins anywhere on its way to a leak event;
    shot noise has reset many of the pixels that would be far on this way.
    """
    seed = model.seed
    for i in range(levels.size):
        k = first + i
        on, off = model.on, model.off
        if sigma > 0.0:
            on = greater(_LEAST, math.floor(on + sigma * normal(seed, R_ON, k, _ONCE) + 0.5))
            off = greater(_LEAST, math.floor(off + sigma * normal(seed, R_OFF, k, _ONCE) + 0.5))
        rate = model.leak * on
        if spread > 0.0:
            rate *= 10.0 ** (spread * normal(seed, R_LEAK, k, _ONCE))
        pixels.on[i], pixels.off[i], pixels.factor[i] = on, off, rate
        pixels.leak[i] = jittered(rate, model, k, 0.0)
        pixels.ref[i] = levels[i]
        if rate > 0.0:
            period = pixels.on[i] / pixels.leak[i]
            struck = period * shot_rate(relative_light(levels[i], model), on, off, model)
            pixels.begun[i] = -period * _age(uniform(seed, R_PHASE, k, _ONCE), struck)


@inner
def _age(luck: float, struck: float) -> float:
    """Return the age, in periods, of a pixel that is reset once a period and by noise.

    The density of an age is the probability of no noise since: the age of a renewal process that
    is stopped at 1.

    struck  resets by noise per period
    """
    if struck < 1e-9:
        return luck
    return -math.log1p(luck * math.expm1(-struck)) / struck


def fill_soonest(jitter: float, pixels: Pixels) -> None:
    """Fill the shortest time of a leak event, per block."""
    # NumPy does it once per pass, as in `weigh_noise`.
    most = pixels.factor * np.float64(1.0 + WORST_JITTER * jitter)
    takes = np.divide(pixels.on, most, out=np.full(most.size, NEVER), where=most > 0.0)
    pixels.soonest[:] = np.minimum.reduceat(takes, np.arange(0, takes.size, BLOCK))


@inner
def first_above(values: Array, limit: float) -> int:
    """Return the index of the first of sorted values that is above a limit."""
    low, high = 0, values.size
    while low < high:
        middle = (low + high) // 2
        if values[middle] > limit:
            high = middle
        else:
            low = middle + 1
    return low


@merged
def draw_shots(
    when: tuple[int, int, float], model: SensorModel, weights: tuple[float, Array, Array],
    known: tuple[Array, Array, Array, Array, Array], scratch: Scratch, hits: Hits,
) -> int:  # fmt: skip
    """Draw the shot noise of a tile in one interval; return its number, -1 if there is no room.

    when     the tile, the frame, and the length of the interval
    weights  cap, chances and excess, see `weigh_noise`
    known    on and off, thresholds of its pixels; begun, see `Pixels`: prefetched for later use;
             codes of the pixels, and lights, intensity by code
    hits     filled, unsorted
    """
    (tile, frame, interval), (cap, chances, excess) = when, weights
    on, off, begun, codes, lights = known
    gaps, words, hit_t, hit_choice = scratch.luck, scratch.bits, hits.t, hits.choice
    key = bits(model.seed, R_GAP, tile, frame)
    choices, place, count = 2 * codes.size, 0.0, 0
    nominal = 0.5 * model.shot * interval
    step = -1.0 / (nominal * cap)  # between candidates, along the choices
    while place < choices:
        if count + BATCH > hit_t.size:
            return -1
        for m in range(BATCH):
            words[m] = mix(key + np.uint64(2 * m + 1) * GOLDEN)
            gaps[m] = (np.float64(words[m] >> S11) + 0.5) * TO_UNIT
            words[m] = mix(key + np.uint64(2 * m + 2) * GOLDEN)
        key += np.uint64(2 * BATCH) * GOLDEN
        for m in range(BATCH):
            gaps[m] = log(gaps[m]) * step
        drawn = 0
        for m in range(BATCH):
            place += gaps[m]
            gaps[m] = place
            drawn += place < choices
        first = count
        for m in range(drawn):
            choice = np.int64(np.uint32(gaps[m]))
            luck = (np.float64(words[m] & _LOW_24) + 0.5) * _TO_UNIT_24
            own = _share(choice, codes, lights, model)
            least = own * lesser(254.0, np.float64(chances[choice]))
            short = luck * 254.0 - least
            kept = short < 0.0
            # Chances are rounded down, so the few near ones are checked exactly. One test for both
            # ends: most fail it, so it is predictable.
            if np.uint64(np.int64(short * _FINE)) <= np.uint64(own * _FINE):
                kept = luck < own * lesser(1.0, _weight(choice, on, off, model) / cap)
            at = np.uint32(count)
            hit_t[at] = np.float64(words[m] >> _S24) * _TO_UNIT_40 * interval
            hit_choice[at] = choice
            count += kept
        for hit in range(first, count):
            prefetch(begun, hit_choice[hit] >> 1)
    # The excess of the choices above the cap.
    own_seed = np.int64(
        bits(model.seed, R_HEAVY, tile, frame)
    )  # the type of `seed`; another would be compiled separately
    place, number = 0.0, _FIRST
    while True:
        place -= log(uniform(own_seed, R_HEAVY, number, _TIME)) / nominal
        if place >= excess[excess.size - 1]:
            return count
        if count == hit_t.size:
            return -1
        choice = first_above(excess, place)
        hit_t[count] = uniform(own_seed, R_HEAVY, number, _CHOICE) * interval
        hit_choice[count] = choice
        luck = uniform(own_seed, R_HEAVY, number, _LUCK)
        count += luck < _share(choice, codes, lights, model)
        number += 1


@inner
def draw_hot(
    count: int, first: int, when: tuple[int, float], model: SensorModel, hot: Array, hits: Hits
) -> int:
    """Add the events of a tile's hot pixels to its hits; return the number of hits, or -1.

    first  the tile's first pixel; when: the frame, and the length of the interval
    hot    the hot pixels of the tile
    """
    (frame, interval), hit_t, hit_choice = when, hits.t, hits.choice
    for j in range(hot.size):
        t, number = 0.0, _FIRST
        own_seed = np.int64(bits(model.seed, R_HOT, hot[j], frame))
        while True:
            t -= log(uniform(own_seed, R_HOT, number, _TIME)) / model.hot
            if t >= interval:
                break
            if count == hit_t.size:
                return -1
            hit_t[count], hit_choice[count] = t, 2 * (hot[j] - first) + 1
            count += 1
            number += 1
    return count


@inner
def _ahead(i: int, j: int, hit_t: Array, hit_choice: Array) -> bool:
    """Return whether hit i sorts before hit j: smaller pixel, or same pixel and earlier."""
    own, other = hit_choice[i] >> 1, hit_choice[j] >> 1
    return own < other or (own == other and hit_t[i] < hit_t[j])


@inner
def _swap(i: int, j: int, hit_t: Array, hit_choice: Array) -> None:
    hit_t[i], hit_t[j] = hit_t[j], hit_t[i]
    hit_choice[i], hit_choice[j] = hit_choice[j], hit_choice[i]


@inner
def _sink(root: int, count: int, hit_t: Array, hit_choice: Array) -> None:
    """Sift a hit down the heap."""
    while 2 * root + 1 < count:
        child = 2 * root + 1
        if child + 1 < count and _ahead(child, child + 1, hit_t, hit_choice):
            child += 1
        if not _ahead(root, child, hit_t, hit_choice):
            return
        _swap(root, child, hit_t, hit_choice)
        root = child


@inner
def _heap_sort(count: int, hit_t: Array, hit_choice: Array) -> None:
    """Sort hits in place (Williams 1964)."""
    for root in range(count // 2 - 1, -1, -1):
        _sink(root, count, hit_t, hit_choice)
    for last in range(count - 1, 0, -1):
        _swap(_FIRST, last, hit_t, hit_choice)
        _sink(_FIRST, last, hit_t, hit_choice)


@inner
def order_hits(count: int, hit_t: Array, hit_choice: Array) -> None:
    """Sort a tile's hits by pixel, then time; they are mostly sorted."""
    moves = 0
    for m in range(1, count):
        pixel, last = hit_choice[m] >> 1, hit_choice[m - 1] >> 1
        if last < pixel or (last == pixel and hit_t[m - 1] <= hit_t[m]):
            continue
        t, choice, at = hit_t[m], hit_choice[m], m
        while at > 0:
            last = hit_choice[at - 1] >> 1
            if last < pixel or (last == pixel and hit_t[at - 1] <= t):
                break
            hit_t[at], hit_choice[at] = hit_t[at - 1], hit_choice[at - 1]
            at -= 1
        hit_t[at], hit_choice[at] = t, choice
        moves += m - at
        if moves > _FEW * count:
            _heap_sort(count, hit_t, hit_choice)
            return


@inner
def index_hits(count: int, hit_choice: Array, starts: Array) -> None:
    """Fill `starts`: the start of the hits of each block of a tile."""
    for part in range(starts.size):
        starts[part] = 0
    for m in range(count):
        starts[hit_choice[m] // (2 * BLOCK) + 1] += 1
    for part in range(1, starts.size):
        starts[part] += starts[part - 1]
