# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""The events of pixels in one interval, in rounds.

In each round every pixel goes on to its next event, or to where its signal, which is compared with
a level after its leak is added, turns, is struck by noise, or ends. The loops have no branches, so
that several pixels are moved at a time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.crossing_kernels import MARK_NOISE, MARK_ON, MARK_PIXEL, Marked
from dvskit.emulator.random_kernels import uniform
from dvskit.emulator.sensor.compiled import inlined, inner
from dvskit.emulator.sensor.elementary_kernels import exp
from dvskit.emulator.sensor.lanes import (
    AGAINST,
    ARRIVES,
    AT,
    BEGUN,
    C1,
    C2,
    FALL,
    HERE,
    HIGH,
    HIT,
    K1,
    K2,
    KEPT1,
    KEPT2,
    LIMIT,
    LIVE,
    LOW,
    NO_HIT,
    OPEN,
    OWN,
    PITCH,
    PIXEL,
    RATE,
    RISE,
    SIGN,
    STOP,
    TARGET,
    TURN1,
    TURN2,
    WIDTH,
    A,
    B,
    Lanes,
    T,
)
from dvskit.emulator.sensor.pixels import Hits, Model, Pixels, Step
from dvskit.emulator.sensor.signal_kernels import (
    closer,
    curve,
    turn_of_one,
    turns,
)

Array = NDArray[Any]
Follower = bool | None  # True with a source follower: None leaves its half out of what is compiled
When = tuple[int, float, float]
"""Number of pixel 0, the interval's start, and how long it is."""

R_JITTER = np.int64(5)  # stream of random numbers
_SQRT_12 = math.sqrt(12.0)
_TICKS_US = 16.0  # resets that are so near each other (1/16 us) draw the same leak
_STEPS = 80
_BEFORE, _STRUCK = np.bool_(False), np.bool_(True)


@inner
def jittered(rate: float, model: Model, k: int, begun: float) -> float:
    """Return the leak of pixel k from the reset at `begun` on: uniform, jittered."""
    tick = np.int64(math.floor(begun * _TICKS_US))
    drawn = uniform(model.seed, R_JITTER, k, tick) - 0.5
    return rate * (1.0 + model.jitter * _SQRT_12 * drawn)


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
def _signal(m: int, b: float, t: float, two: bool, c: Array) -> float:
    """Return the signal at t; `two` says whether there is a source follower."""
    signal = c[A + m] + b * t + c[C1 + m] * exp(-c[K1 + m] * t)
    if two:
        signal += c[C2 + m] * exp(-c[K2 + m] * t)
    return signal


@inlined
def _wait(m: int, end: float, two: bool, c: Array) -> None:
    """Let a pixel that an earlier event holds in reset begin anew, with what it sees then."""
    at = c[BEGUN + m]
    sees = _signal(m, c[B + m], at, two, c)
    again = (at > 0.0) & (at < end)
    c[AT + m] = at if again else 0.0
    c[AGAINST + m] = sees if again else c[AGAINST + m]
    c[HERE + m] = sees if again else c[HERE + m]
    c[LIVE + m] = 0.0 if at >= end else c[LIVE + m]


@inner
def _release(padded: int, end: float, c: Array, follower: Follower) -> None:
    """Go on to where pixels that are held in reset begin anew."""
    if follower is None:
        for m in range(padded):
            _wait(m, end, False, c)
    else:
        for m in range(padded):
            _wait(m, end, True, c)


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
def _ahead(m: int, end: float, two: bool, c: Array) -> None:
    """Fill LIMIT, STOP, SIGN and TARGET: the signal is monotone up to LIMIT."""
    at, hit = c[AT + m], c[HIT + m]
    turn1, turn2 = c[TURN1 + m], c[TURN2 + m]
    limit = turn1 if at < turn1 else (turn2 if at < turn2 else end)
    limit = hit if hit < limit else limit
    stop = _signal(m, c[B + m], limit, two, c)
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
    if follower is None:
        for m in range(padded):
            _ahead(m, end, False, c)
    else:
        for m in range(padded):
            _ahead(m, end, True, c)
    crossing = 0
    for m in range(padded):
        crossing += c[OPEN + m] != 0.0
    return crossing


@inlined
def _closer(m: int, two: bool, c: Array) -> None:
    """Take T a step closer to where TARGET is reached, where it is still open."""
    before, still = c[T + m], c[OPEN + m]
    t, low, high, near = closer(
        (c[A + m], c[B + m], c[C1 + m], c[K1 + m], c[C2 + m], c[K2 + m]), two,
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
            if follower is None:
                for m in range(WIDTH):
                    _closer(m, False, own)
            else:
                for m in range(WIDTH):
                    _closer(m, True, own)


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
def _reset(m: int, when: When, two: bool, model: Model, c: Array) -> None:
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
    sees = _signal(m, b, begun, two, c)
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
    if follower is None:
        for m in range(padded):
            _reset(m, when, False, model, c)
    else:
        for m in range(padded):
            _reset(m, when, True, model, c)
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
