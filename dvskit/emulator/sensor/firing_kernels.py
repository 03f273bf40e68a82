# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""The events of pixels in one interval, in rounds.

In each round every pixel goes on to its next event, or to the next limit: where its signal, plus
leak, turns, where noise strikes, or the end. The loops have no branches, so that several pixels,
side by side in lanes, are moved at a time. Times are in microseconds since the interval's start.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._random_kernels import uniform
from dvskit.emulator.level_kernels import MARK_NOISE, MARK_ON, MARK_PIXEL, Marked
from dvskit.emulator.sensor.pixels import (
    KEPT,
    LEFT,
    LEVEL,
    NEXT,
    TILE,
    Hits,
    Pixels,
    Scratch,
    Sensor,
    SensorModel,
    Step,
    aligned,
    inlined,
    inner,
)
from dvskit.emulator.sensor.signal_kernels import closer, curve, exp, pole_of, turn_of_one, turns

Array = NDArray[Any]
Follower = bool | None  # True with a source follower; None removes its half from the compiled code
When = tuple[int, float, float]
"""Index of the first pixel, the interval's start, and its length."""

R_JITTER = np.int64(5)  # stream of random numbers
_SQRT_12 = math.sqrt(12.0)
WORST_JITTER = math.sqrt(3.0)  # of a uniform random number, in standard deviations
_TICKS_US = 16.0  # resets this near each other (1/16 us) draw the same leak
_STEPS = 80
_BEFORE, _STRUCK = np.bool_(False), np.bool_(True)

LANES = 512  # most pixels followed together
WIDTH = 16  # lanes followed at a time
NO_HIT = 1e300

# Rows of `columns`, with an entry per lane. They lie a cache line more than a power of 2 apart:
# otherwise the same lane of all of them would share one set of the cache.
# A .. K2        the signal: see the signal's kernels; b includes the leak
# KEPT1, KEPT2   exp(-k1 t), exp(-k2 t) at the interval's end
# ARRIVES        the signal there, without leak
# RISE, FALL     thresholds; RATE: the leak, OWN: the leak without jitter
# BEGUN          the last reset of the pixel, AGAINST: the reference of the signal
# AT, HERE       the current time of the pixel, and its signal there; HIT: the next noise event
# LIVE           0 for a pixel at the end; PIXEL: its index among the pixels
# and, of one round only,
# TURN1, TURN2   the turns of the signal
# LIMIT, STOP    the next of turns, noise and the end, and the signal there
# SIGN, TARGET   the event before LIMIT: 1 ON, -1 OFF, 0 none, and its signal
# LOW .. OPEN    the time of it: T, between LOW and HIGH; OPEN is 0 once found
# Before the first round they hold the state of the pixel: A and B the levels at both ends, K1 its
# time constant, HERE and C2 the signals of both low-passes, AGAINST the reference.
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
    hit, last  int64: the next noise event of each lane among the hits, and the end of the lane's
               noise events
    """

    columns: Array
    hit: Array
    last: Array

    @classmethod
    def of(cls) -> Lanes:
        """Return the arrays."""
        return cls(aligned(COLUMNS * PITCH), *np.zeros((2, LANES), np.int64))


@inner
def jittered(rate: float, model: SensorModel, k: int, begun: float) -> float:
    """Return the leak of pixel k from the reset at `begun` on, with uniform jitter."""
    tick = np.int64(math.floor(begun * _TICKS_US))
    drawn = uniform(model.seed, R_JITTER, k, tick) - 0.5
    return rate * (1.0 + model.jitter * _SQRT_12 * drawn)


@inlined
def take(
    places: tuple[int, int, int], start: float, after: Array, sensor: Sensor, scratch: Scratch,
    lanes: Lanes,
) -> None:  # fmt: skip
    """Put the pixels in `who` into lanes.

    places  the run's first pixel, the number of its pixels in `who`, and the first lane
    """
    (low, listed, lane), (tables, model, pixels) = places, sensor
    c, who, seen = lanes.columns[lane:], scratch.who, scratch.seen
    taus, tabled, two = tables.tau, tables.level.size > 0, pixels.u.size > 0
    for k in range(listed):
        j = who[k]
        i = np.uint32(low + j)
        c[A + k], c[B + k] = seen[LEVEL + j], seen[NEXT + j]
        c[K1 + k] = taus[after[i]] if tabled else pole_of(seen[NEXT + j], model)
        c[KEPT1 + k], c[ARRIVES + k] = seen[KEPT + j], seen[NEXT + j] + seen[LEFT + j]
        c[HERE + k] = seen[LEVEL + j] + pixels.v[i]
        c[C2 + k] = seen[LEVEL + j] + pixels.u[i] if two else 0.0
        c[RISE + k], c[FALL + k] = pixels.on[i], pixels.off[i]
        c[RATE + k], c[OWN + k] = pixels.leak[i], pixels.factor[i]
        c[AGAINST + k], c[BEGUN + k] = pixels.ref[i], pixels.begun[i] - start
        c[LIVE + k], c[HIT + k], c[PIXEL + k] = 1.0, NO_HIT, i


@inlined
def hand_out(
    lane: int, some: tuple[int, int], tile: int, held: int, hit_choice: Array, lanes: Lanes
) -> None:
    """Assign noise events to lanes: a range of hits of a tile whose first pixel is `held`."""
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
    """Put idle lanes after the last, up to a multiple of WIDTH; return the number of lanes.

    Their values have no effect, so that loops may include them.
    """
    padded = -(-count // WIDTH) * WIDTH
    for m in range(count, padded):
        c[LIVE + m], c[HIT + m] = 0.0, NO_HIT
    return padded


@inner
def _begin(padded: int, end: float, tau2: float, c: Array) -> None:
    """Convert the state of the pixels to their signals."""
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
    """Restart a pixel that an earlier event holds in reset, with the level at that time."""
    at = c[BEGUN + m]
    sees = _signal(m, c[B + m], at, follower, c)
    again = (at > 0.0) & (at < end)
    c[AT + m] = at if again else 0.0
    c[AGAINST + m] = sees if again else c[AGAINST + m]
    c[HERE + m] = sees if again else c[HERE + m]
    c[LIVE + m] = 0.0 if at >= end else c[LIVE + m]


@inner
def _release(padded: int, end: float, c: Array, follower: Follower) -> None:
    """Go on to the restart of pixels that are held in reset."""
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
    # Rounding may put the level slightly behind the current signal.
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
    """Refine T by one step towards TARGET, where it is still open."""
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
    """Solve for the crossing times, WIDTH lanes at a time."""
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
    """Write the events of a round; return the number of events so far."""
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
def _reset(m: int, when: When, follower: Follower, model: SensorModel, c: Array) -> None:
    """Go on to the event, if there is one, and restart the pixel; otherwise go on to the limit."""
    first, start, end = when
    # Operands of a selection are read first: selecting an address does not vectorize.
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
    # Held in reset, it restarts with the level at that time.
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
def _go_on(padded: int, when: When, model: SensorModel, c: Array, follower: Follower) -> int:
    """Restart pixels after their events; return how many are not at the end."""
    for m in range(padded):
        _reset(m, when, follower, model, c)
    live = 0
    for m in range(padded):
        live += c[LIVE + m] != 0.0
    return live


@inner
def _next_hits(count: int, struck: bool, lanes: Lanes, hit_t: Array) -> None:
    """Fill HIT; if `struck`, used ones are skipped."""
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
    """Remove pixels that are at the end; return the number left."""
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
    counts: tuple[int, int], step: Step, known: tuple[SensorModel, Pixels],
    work: tuple[Hits, Lanes], events: Marked, follower: Follower,
) -> int:  # fmt: skip
    """Move the pixels of some lanes to the end of a step, except v and u.

    counts    the numbers of lanes and of events so far
    work      the hits of the tiles of all lanes, and the lanes
    follower  True with a source follower, None without

    Appends the events of these pixels; returns the number of events. There must be room for one
    more event.
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
