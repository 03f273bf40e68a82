# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""The events of pixels in one interval, in rounds.

In each round every pixel goes on to its next event, or to where its signal, which is compared with
a level after its leak is added, turns, is struck by noise, or ends. The loops have no branches, so
that several pixels are moved at a time: they lie side by side, in lanes. Times are in microseconds
since the interval's start.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._random_kernels import uniform
from dvskit.emulator.crossing_kernels import MARK_NOISE, MARK_ON, MARK_PIXEL, Marked
from dvskit.emulator.sensor.compiled import inlined, inner
from dvskit.emulator.sensor.pixels import (
    KEPT,
    LEFT,
    LEVEL,
    NEXT,
    TILE,
    Hits,
    Model,
    Pixels,
    Scratch,
    Sensor,
    Step,
    aligned,
)
from dvskit.emulator.sensor.signal_kernels import closer, curve, exp, pole_of, turn_of_one, turns

Array = NDArray[Any]
Follower = bool | None  # True with a source follower: None leaves its half out of what is compiled
When = tuple[int, float, float]
"""Number of pixel 0, the interval's start, and how long it is."""

R_JITTER = np.int64(5)  # stream of random numbers
_SQRT_12 = math.sqrt(12.0)
WORST_JITTER = math.sqrt(3.0)  # of a uniform random number, in standard deviations
_TICKS_US = 16.0  # resets that are so near each other (1/16 us) draw the same leak
_STEPS = 80
_BEFORE, _STRUCK = np.bool_(False), np.bool_(True)

LANES = 512  # pixels that are followed together at most
WIDTH = 16  # they are followed so many at a time
NO_HIT = 1e300

# Places in `columns`, a row for each lane. They lie a cache line more than a power of 2 apart: else
# the same lane of all of them would share one set of the cache.
#   A .. K2        the signal: see the signal's kernels; b with the leak that is compared with it
#   KEPT1, KEPT2   exp(-k1 t), exp(-k2 t) at the interval's end
#   ARRIVES        the signal there, without leak
#   RISE, FALL     thresholds; RATE: the leak, OWN: what it is without jitter
#   BEGUN          when the pixel was last reset, AGAINST: what the signal is compared with
#   AT, HERE       how far the pixel is, and its signal there; HIT: the next noise event
#   LIVE           0 of a pixel that has come to the end; PIXEL: its place among the pixels
# and, of one round only,
#   TURN1, TURN2   where the signal turns
#   LIMIT, STOP    the next of turns, noise and the end, and the signal there
#   SIGN, TARGET   what happens ahead of LIMIT: 1 ON, -1 OFF, 0 nothing, and at which signal
#   LOW .. OPEN    where that is: T, between LOW and HIGH; OPEN is 0 where it is found
# Ahead of the first round they hold what is known of the pixel: A and B the levels that it sees at
# both ends, K1 its time constant, HERE and C2 the signals behind photoreceptor and source follower,
# AGAINST the reference.
PITCH = LANES + 8
COLUMNS = 30
(
    A, B, C1, K1, KEPT1, ARRIVES, RISE, FALL, RATE, OWN, BEGUN, AGAINST, AT, HERE, HIT, LIVE,
    PIXEL, C2, K2, KEPT2,
    TURN1, TURN2, LIMIT, STOP, SIGN, TARGET, T, LOW, HIGH, OPEN,
) = range(0, COLUMNS * PITCH, PITCH)  # fmt: skip


class Lanes(NamedTuple):
    """Arrays of the lanes.

    columns float64 (COLUMNS * PITCH,)
    hit, last  int64: the next noise event of each among the hits, and where its own end
    """

    columns: Array
    hit: Array
    last: Array

    @classmethod
    def of(cls) -> Lanes:
        """Return the arrays."""
        return cls(aligned(COLUMNS * PITCH), *np.zeros((2, LANES), np.int64))


@inner
def jittered(rate: float, model: Model, k: int, begun: float) -> float:
    """Return the leak of pixel k from the reset at `begun` on: uniform, jittered."""
    tick = np.int64(math.floor(begun * _TICKS_US))
    drawn = uniform(model.seed, R_JITTER, k, tick) - 0.5
    return rate * (1.0 + model.jitter * _SQRT_12 * drawn)


@inlined
def take(
    places: tuple[int, int, int], start: float, after: Array, sensor: Sensor, scratch: Scratch,
    lanes: Lanes,
) -> None:  # fmt: skip
    """Put the pixels in `who` into lanes.

    places  the run's first pixel, how many of it there are in `who`, and the first lane
    """
    (low, listed, lane), (tables, model, pixels) = places, sensor
    c, who, seen = lanes.columns, scratch.who, scratch.seen
    taus, tabled, two = tables.tau, tables.level.size > 0, pixels.u.size > 0
    for k in range(listed):
        j, m = who[k], lane + k
        i = low + j
        c[A + m], c[B + m] = seen[LEVEL + j], seen[NEXT + j]
        c[K1 + m] = taus[after[i]] if tabled else pole_of(seen[NEXT + j], model)
        c[KEPT1 + m], c[ARRIVES + m] = seen[KEPT + j], seen[NEXT + j] + seen[LEFT + j]
        c[HERE + m] = seen[LEVEL + j] + pixels.v[i]
        c[C2 + m] = seen[LEVEL + j] + pixels.u[i] if two else 0.0
        c[RISE + m], c[FALL + m] = pixels.on[i], pixels.off[i]
        c[RATE + m], c[OWN + m] = pixels.leak[i], pixels.factor[i]
        c[AGAINST + m], c[BEGUN + m] = pixels.ref[i], pixels.begun[i] - start
        c[LIVE + m], c[HIT + m], c[PIXEL + m] = 1.0, NO_HIT, i


@inlined
def hand_out(
    lane: int, some: tuple[int, int], tile: int, held: int, hit_choice: Array, lanes: Lanes
) -> None:
    """Give lanes their noise events: hits from one to another of a tile whose first is `held`."""
    m, (from_hit, to_hit) = lane, some
    for hit in range(from_hit, to_hit):
        i = tile * TILE + (hit_choice[hit] >> 1)
        while lanes.columns[PIXEL + m] < i:
            m += 1
        if lanes.columns[HIT + m] == NO_HIT:
            lanes.columns[HIT + m], lanes.hit[m] = 0.0, held + hit
        lanes.last[m] = held + hit + 1


@inner
def _fill(count: int, c: Array) -> int:
    """Put dead lanes behind the last, up to a multiple of WIDTH; return how many there are then.

    What they hold comes to nothing, so that loops may be over them.
    """
    padded = -(-count // WIDTH) * WIDTH
    for m in range(count, padded):
        c[LIVE + m], c[HIT + m] = 0.0, NO_HIT
    return padded


@inner
def _begin(padded: int, end: float, tau2: float, c: Array) -> None:
    """Turn what is known of the pixels into their signals."""
    per_end = 1.0 / end
    kept2 = math.exp(-end / tau2) if tau2 > 0.0 else 0.0
    for m in range(padded):
        first = c[HERE + m]
        a, b, c1, k1, c2, k2 = curve(
            c[A + m], (c[B + m] - c[A + m]) * per_end, first, c[C2 + m], c[K1 + m], tau2
        )
        c[A + m], c[B + m], c[C1 + m], c[K1 + m], c[K2 + m] = a, b + c[RATE + m], c1, k1, k2
        if tau2 > 0.0:
            c[HERE + m] = c[C2 + m]
            c[ARRIVES + m] = a + b * end + c1 * c[KEPT1 + m] + c2 * kept2
        c[C2 + m], c[KEPT2 + m] = c2, kept2
        c[AGAINST + m] += c[RATE + m] * c[BEGUN + m]


@inlined
def _signal(m: int, b: float, t: float, follower: Follower, c: Array) -> float:
    """Return the signal at t."""
    signal = c[A + m] + b * t + c[C1 + m] * exp(-c[K1 + m] * t)
    if follower is not None:
        signal += c[C2 + m] * exp(-c[K2 + m] * t)
    return signal


@inlined
def _wait(m: int, end: float, follower: Follower, c: Array) -> None:
    """Let a pixel that an earlier event holds in reset begin anew, with what it sees then."""
    at = c[BEGUN + m]
    sees = _signal(m, c[B + m], at, follower, c)
    again = (at > 0.0) & (at < end)
    c[AT + m] = at if again else 0.0
    c[AGAINST + m] = sees if again else c[AGAINST + m]
    c[HERE + m] = sees if again else c[HERE + m]
    c[LIVE + m] = 0.0 if at >= end else c[LIVE + m]


@inner
def _release(padded: int, end: float, c: Array, follower: Follower) -> None:
    """Go on to where pixels that are held in reset begin anew."""
    for m in range(padded):
        _wait(m, end, follower, c)


@inner
def _find_turns(padded: int, end: float, c: Array, follower: Follower) -> None:
    """Fill TURN1 and TURN2."""
    if follower is None:
        for m in range(padded):
            c[TURN1 + m] = turn_of_one(c[B + m], c[C1 + m], c[K1 + m], end, c[KEPT1 + m])
            c[TURN2 + m] = end
        return
    for m in range(padded):
        c[TURN1 + m], c[TURN2 + m] = turns(
            (c[B + m], c[C1 + m], c[K1 + m], c[C2 + m], c[K2 + m]), end, c[KEPT1 + m], c[KEPT2 + m]
        )


@inlined
def _ahead(m: int, end: float, follower: Follower, c: Array) -> None:
    """Fill LIMIT, STOP, SIGN and TARGET: the signal is monotone up to LIMIT."""
    at, hit = c[AT + m], c[HIT + m]
    turn1, turn2 = c[TURN1 + m], c[TURN2 + m]
    limit = turn1 if at < turn1 else (turn2 if at < turn2 else end)
    limit = hit if hit < limit else limit
    stop = _signal(m, c[B + m], limit, follower, c)
    stop = c[ARRIVES + m] + c[RATE + m] * end if limit == end else stop
    level = c[AGAINST + m]
    up, down = level + c[RISE + m], level - c[FALL + m]
    live = c[LIVE + m] != 0.0
    rises = live & (stop >= up)
    falls = live & (stop <= down) & (not rises)
    c[LIMIT + m], c[STOP + m] = limit, stop
    c[SIGN + m] = 1.0 if rises else (-1.0 if falls else 0.0)
    target = up if rises else down
    c[TARGET + m] = target
    # Rounding may put the level a hair behind where the signal is already.
    here = c[HERE + m]
    under = (rises & (here < target)) | (falls & (here > target))
    c[T + m] = at + (limit - at) * (target - here) / (stop - here) if under else at
    c[OPEN + m] = 1.0 if under else 0.0
    c[LOW + m], c[HIGH + m] = at, limit


@inner
def _look(padded: int, end: float, c: Array, follower: Follower) -> int:
    """Look ahead to the next limit; return how many pixels cross a threshold before."""
    for m in range(padded):
        _ahead(m, end, follower, c)
    crossing = 0
    for m in range(padded):
        crossing += c[OPEN + m] != 0.0
    return crossing


@inlined
def _closer(m: int, follower: Follower, c: Array) -> None:
    """Take T a step closer to where TARGET is reached, where it is still open."""
    before, still = c[T + m], c[OPEN + m]
    t, low, high, near = closer(
        (c[A + m], c[B + m], c[C1 + m], c[K1 + m], c[C2 + m], c[K2 + m]), follower is not None,
        (before, c[LOW + m], c[HIGH + m]), c[SIGN + m] > 0.0, c[TARGET + m],
    )  # fmt: skip
    c[T + m] = t if still != 0.0 else before
    c[LOW + m], c[HIGH + m] = low, high
    c[OPEN + m] = 0.0 if near else still


@inner
def _cross(padded: int, c: Array, follower: Follower) -> None:
    """Find where the targets are reached, WIDTH lanes at a time."""
    for group in range(0, padded, WIDTH):
        own = c[group:]
        for _ in range(_STEPS):
            missing = 0
            for m in range(WIDTH):
                missing += own[OPEN + m] != 0.0
            if missing == 0:
                break
            for m in range(WIDTH):
                _closer(m, follower, own)


@inner
def _emit(count: int, first: int, lanes: Lanes, hit_choice: Array, events: Marked, n: int) -> int:
    """Write the events of a round; return how many there are then."""
    c, (times, marks) = lanes.columns, events
    for m in range(count):
        sign, t = c[SIGN + m], c[T + m]
        mark = (first + np.int64(c[PIXEL + m])) << MARK_PIXEL
        if sign != 0.0:
            leaked = c[RATE + m] * (t - c[BEGUN + m]) > 0.5 * c[RISE + m]
            mark |= MARK_NOISE if leaked & (sign > 0.0) else 0
            mark |= MARK_ON if sign > 0.0 else 0
        elif c[HIT + m] <= c[LIMIT + m]:
            t = c[LIMIT + m]
            mark |= MARK_NOISE | (hit_choice[lanes.hit[m]] & MARK_ON)
        else:
            continue
        times[n], marks[n] = np.int32(math.floor(t + 0.5)), mark
        n += 1
    return n


@inlined
def _reset(m: int, when: When, follower: Follower, model: Model, c: Array) -> None:
    """Go on to the event, if there is one, and let the pixel begin anew; or to the limit."""
    first, start, end = when
    # What is chosen from is read first: a choice of places to read from is no loop for many lanes.
    stop, rate, limit, target = c[STOP + m], c[RATE + m], c[LIMIT + m], c[TARGET + m]
    crossed, against, before = c[T + m], c[AGAINST + m], c[BEGUN + m]
    fired = c[SIGN + m] != 0.0
    struck = (not fired) & (c[HIT + m] <= limit)
    event = fired | struck
    t = crossed if fired else limit
    level = target if fired else (stop if struck else against)
    begun = t + model.refractory
    drawn = jittered(c[OWN + m], model, first + np.int64(c[PIXEL + m]), start + begun)
    new = np.float64(np.float32(drawn)) if event else rate
    level += (new - rate) * t
    b = c[B + m] + (new - rate)
    # Held in reset, it begins anew with what it sees then.
    held = event & (model.refractory > 0.0)
    again = held & (begun < end)
    sees = _signal(m, b, begun, follower, c)
    over = (t >= end) if not event else held & (begun >= end)
    c[RATE + m], c[B + m] = new, b
    c[AGAINST + m] = sees if again else level
    c[HERE + m] = sees if again else (level if event else stop)
    c[AT + m] = begun if again else t
    c[BEGUN + m] = begun if event else before
    c[LIVE + m] = 0.0 if over else c[LIVE + m]


@inner
def _go_on(padded: int, when: When, model: Model, c: Array, follower: Follower) -> int:
    """Let pixels begin anew behind their events; return how many have not come to the end."""
    for m in range(padded):
        _reset(m, when, follower, model, c)
    live = 0
    for m in range(padded):
        live += c[LIVE + m] != 0.0
    return live


@inner
def _next_hits(count: int, struck: bool, lanes: Lanes, hit_t: Array) -> None:
    """Fill HIT; if `struck`, those that are used up are passed over."""
    c, hits, last = lanes.columns, lanes.hit, lanes.last
    for m in range(count):
        if c[HIT + m] == NO_HIT:
            continue
        if struck and c[SIGN + m] == 0.0 and c[HIT + m] <= c[LIMIT + m]:
            hits[m] += 1
        while hits[m] < last[m] and hit_t[hits[m]] < c[AT + m]:
            hits[m] += 1
        there = c[LIVE + m] != 0.0 and hits[m] < last[m]
        c[HIT + m] = hit_t[hits[m]] if there else NO_HIT


@inner
def _drop(count: int, start: float, pixels: Pixels, lanes: Lanes) -> int:
    """Take leave of pixels that have come to the end; return how many are left."""
    c = lanes.columns
    lasting = C2 if c[K2] == 0.0 else TURN1
    left = 0
    for m in range(count):
        if c[LIVE + m] == 0.0:
            i = np.int64(c[PIXEL + m])
            reference = c[AGAINST + m] - c[RATE + m] * c[BEGUN + m]
            pixels.ref[i] = np.int32(math.floor(reference + 0.5))
            pixels.leak[i] = np.float32(c[RATE + m])
            pixels.begun[i] = start + c[BEGUN + m]
            continue
        if left < m:
            for column in range(0, lasting, PITCH):
                c[column + left] = c[column + m]
            lanes.hit[left], lanes.last[left] = lanes.hit[m], lanes.last[m]
        left += 1
    return left


@inner
def fire(
    counts: tuple[int, int], step: Step, known: tuple[Model, Pixels], work: tuple[Hits, Lanes],
    events: Marked, follower: Follower,
) -> int:  # fmt: skip
    """Move the pixels of some lanes on to the end of a step, but for v and u.

    counts    how many lanes, and events that there are; the hits are those of the lanes' tiles
    follower  True with a source follower, None without
    Their events go behind those that are there; returns how many there are then. There is to be
    room for one more.
    """
    (count, n), (model, pixels), (hits, lanes) = counts, known, work
    first, _, start, stop = step
    end = stop - start
    when = first, start, end
    c = lanes.columns
    padded = _fill(count, c)
    _begin(padded, end, model.tau2, c)
    _release(padded, end, c, follower)
    _find_turns(padded, end, c, follower)
    _next_hits(count, _BEFORE, lanes, hits.t)
    while count > 0:
        if _look(padded, end, c, follower) > 0:
            _cross(padded, c, follower)
        n = _emit(count, first, lanes, hits.choice, events, n)
        live = _go_on(padded, when, model, c, follower)
        _next_hits(count, _STRUCK, lanes, hits.t)
        if 2 * live < count:
            count = _drop(count, start, pixels, lanes)
            padded = _fill(count, c)
        if model.jitter > 0.0:
            _find_turns(padded, end, c, follower)
    return n
