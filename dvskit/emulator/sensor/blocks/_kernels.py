"""Loops over blocks of pixels that are moved together, to the next frame.

What their signals reach at most says which pixels may fire (loops without branches); only those
are followed event by event. Where no event is due, a pixel's reference is not touched: it is known
from when it was last set.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.sensor.compiled import inlined, kernel
from dvskit.emulator.sensor.firing._kernels import fire, jittered
from dvskit.emulator.sensor.pixels import (
    BLOCK,
    CALM,
    CALM_STALE,
    END,
    HIGH,
    KEPT,
    LAG,
    LEVEL,
    LOW,
    NEVER,
    NEXT,
    PARTS,
    SWING,
    TAU,
    TILE,
    Hits,
    Pixels,
    Scratch,
    Tables,
)
from dvskit.emulator.sensor.signal._kernels import (
    M_JITTER,
    M_REFRACTORY,
    M_TAU2,
    curve,
    pole_of,
    value,
)

Array = NDArray[Any]

SETTLED = 4.0  # units, 2e-7 e-folds: so near, a signal is taken to have arrived
_SLOWEST = 1e-30  # a leak, so that none needs no case of its own
_WORST_JITTER = math.sqrt(3.0)  # of a uniform random number, in standard deviations


@kernel
def _refresh(
    block: int, low: int, high: int, first: int, codes: Array, tables: Tables, model: Array,
    seed: int, pixels: Pixels,
) -> None:  # fmt: skip
    """Set reference and leak of a calm block's pixels that noise has reset."""
    since = pixels.calmed[block] + model[M_REFRACTORY]
    ref, begun, leak, factor = pixels.ref, pixels.begun, pixels.leak, pixels.factor
    levels, tabled = tables.level, tables.level.size > 0
    for i in range(low, high):
        if begun[i] > since:
            ref[i] = levels[codes[i]] if tabled else np.float64(codes[i])
            leak[i] = jittered(factor[i], model[M_JITTER], seed, first + i, begun[i])


@kernel
def _settle(
    low: int, high: int, codes: Array, tables: Tables, model: Array, gone: float, pixels: Pixels
) -> None:
    """Move the signals of a block that saw no change by `gone` microseconds."""
    v, u = pixels.v, pixels.u
    levels, taus, tabled = tables.level, tables.tau, tables.level.size > 0
    for i in range(low, high):
        level = levels[codes[i]] if tabled else np.float64(codes[i])
        if v[i] == level and (u.size == 0 or u[i] == level):
            continue
        tau1 = taus[codes[i]] if tabled else pole_of(level, model)
        if u.size > 0:
            a, b, c1, k1, c2, k2 = curve(level, 0.0, v[i], u[i], tau1, model[M_TAU2])
            u[i] = value(a, b, c1, k1, c2, k2, gone)
            if abs(u[i] - level) < SETTLED and abs(v[i] - level) < SETTLED:
                u[i] = level
        v[i] = level + (v[i] - level) * math.exp(-gone / tau1) if tau1 > 0.0 else level
        if abs(v[i] - level) < SETTLED:
            v[i] = level


@kernel
def _quieten(
    block: int, low: int, high: int, codes: Array, tables: Tables, now: float, pixels: Pixels
) -> None:
    """Note of a block that saw no change a time ahead of which no pixel can fire.

    The signal stays between where it is and where it is going.
    """
    v, u, ref, begun = pixels.v, pixels.u, pixels.ref, pixels.begun
    on, off, leaks = pixels.on, pixels.off, pixels.leak
    levels, tabled = tables.level, tables.level.size > 0
    least, calm = NEVER, True
    for i in range(low, high):
        level = levels[codes[i]] if tabled else np.float64(codes[i])
        highest, lowest = max(level, v[i]), min(level, v[i])
        if u.size > 0:
            highest, lowest = max(highest, u[i]), min(lowest, u[i])
        still = highest == lowest
        calm = calm and still
        if begun[i] > now:
            if still:
                ref[i] = level
            else:
                least = now
        leak = max(np.float64(leaks[i]), _SLOWEST)
        least = min(least, begun[i] + (on[i] + ref[i] - highest) / leak)
        if ref[i] + leak * (begun[i] - now) - lowest >= off[i]:
            least = now
    pixels.quiet[block] = least
    pixels.since[block], pixels.calmed[block] = CALM if calm else now, now


@inlined
def _see(
    low: int, length: int, before: Array, after: Array, tables: Tables, model: Array,
    interval: float, seen: Array,
) -> None:  # fmt: skip
    """Look up what pixels see at both ends, and what their photoreceptors make of it."""
    levels, lags, kepts = tables.level, tables.lag, tables.kept
    if levels.size > 0:
        for j in range(length):
            now, following = before[low + j], after[low + j]
            seen[LEVEL + j], seen[NEXT + j] = levels[now], levels[following]
            seen[LAG + j], seen[KEPT + j] = lags[following], kepts[following]
    else:
        for j in range(length):
            seen[LEVEL + j], seen[NEXT + j] = before[low + j], after[low + j]
            tau = pole_of(seen[NEXT + j], model)
            seen[LAG + j] = tau / interval
            seen[KEPT + j] = math.exp(-interval / tau) if tau > 0.0 else 0.0


@inlined
def _foresee(
    low: int, length: int, start: float, stop: float, pixels: Pixels, seen: Array, loud: Array
) -> None:
    """Mark in `loud` the pixels that may fire; fill END, HIGH, LOW and SWING."""
    v, u = pixels.v[low : low + length], pixels.u
    for j in range(length):
        now, following = seen[LEVEL + j], seen[NEXT + j]
        delay = seen[LAG + j] * (following - now)
        end = following - delay + (v[j] - now + delay) * seen[KEPT + j]
        settled = (now == following) & (abs(end - following) < SETTLED)
        end = following if settled else end
        # A signal that does not turn stays between its ends, else it turns where it meets L.
        turns = (now - v[j]) * (following - end) < 0.0
        high, low_end = max(v[j], end), min(v[j], end)
        most, least = max(now, following), min(now, following)
        seen[END + j] = end
        seen[HIGH + j] = max(high, most) if turns else high
        seen[LOW + j] = min(low_end, least) if turns else low_end
    if u.size > 0:
        for j in range(length):
            now, following, under = seen[LEVEL + j], seen[NEXT + j], u[low + j]
            seen[HIGH + j] = max(max(now, following), max(v[j], under))
            seen[LOW + j] = min(min(now, following), min(v[j], under))
    _exceed(low, length, start, stop, pixels, seen, loud)


@inlined
def _exceed(
    low: int, length: int, start: float, stop: float, pixels: Pixels, seen: Array, loud: Array
) -> None:
    """Mark the pixels whose highest or lowest signal reaches a threshold, and those held."""
    begun, ref = pixels.begun[low : low + length], pixels.ref[low : low + length]
    leak = pixels.leak[low : low + length]
    on, off = pixels.on[low : low + length], pixels.off[low : low + length]
    for j in range(length):
        up = seen[HIGH + j] + leak[j] * (stop - begun[j]) - ref[j]
        down = ref[j] + leak[j] * (begun[j] - start) - seen[LOW + j]
        seen[SWING + j] = seen[HIGH + j] - seen[LOW + j]
        seen[HIGH + j] = NEVER if begun[j] > start else up
        seen[LOW + j] = down
    for j in range(length):
        loud[j] = (seen[HIGH + j] >= on[j]) | (seen[LOW + j] >= off[j])


@inlined
def _room(
    low: int, listed: int, who: Array, interval: float, model: Array, after: Array,
    tables: Tables, pixels: Pixels, seen: Array,
) -> int:  # fmt: skip
    """Return how many events the pixels in `who` may give beside noise; look up their poles."""
    needed = 4 * listed
    on, off, factor = pixels.on, pixels.off, pixels.factor
    taus, tabled = tables.tau, tables.level.size > 0
    worst = (1.0 + _WORST_JITTER * model[M_JITTER]) * interval
    for m in range(listed):
        j = who[m]
        i = low + j
        # A signal turns twice at most.
        way = 3.0 * seen[SWING + j] + factor[i] * worst
        needed += np.int64(way / min(on[i], off[i]))
        seen[TAU + j] = taus[after[i]] if tabled else pole_of(seen[NEXT + j], model)
    return needed


@inlined
def _follow(
    low: int, length: int, after: Array, tables: Tables, model: Array, interval: float,
    pixels: Pixels, seen: Array,
) -> None:  # fmt: skip
    """Move the source followers of a run."""
    v, u, taus, tabled = pixels.v, pixels.u, tables.tau, tables.level.size > 0
    for j in range(length):
        i = low + j
        now, following = seen[LEVEL + j], seen[NEXT + j]
        tau = taus[after[i]] if tabled else pole_of(following, model)
        a, b, c1, k1, c2, k2 = curve(
            now, (following - now) / interval, v[i], u[i], tau, model[M_TAU2]
        )
        end = value(a, b, c1, k1, c2, k2, interval)
        settled = now == following == seen[END + j] and abs(end - now) < SETTLED
        u[i] = now if settled else end


@inlined
def move(
    tile: int, part: int, parts: int, first: int, start: float, stop: float, before: Array,
    after: Array, words: Array, tables: Tables, model: Array, seed: int, pixels: Pixels,
    hits: Hits, scratch: Scratch, times: Array, marks: Array, n: int,
) -> int:  # fmt: skip
    """Move blocks part .. part + parts of a tile to `stop`; return how many events there are then.

    Returns -1 where there might be no room for them, having done nothing.
    """
    low = tile * TILE + part * BLOCK
    length = min(after.size, low + parts * BLOCK) - low
    interval = stop - start
    since, quiet = pixels.since, pixels.quiet
    loud, who, seen = scratch.loud, scratch.who, scratch.seen
    for block in range(low // BLOCK, low // BLOCK + parts):
        if since[block] == CALM_STALE:
            _refresh(block, block * BLOCK, min(low + length, (block + 1) * BLOCK), first, before,
                     tables, model, seed, pixels)  # fmt: skip
            since[block] = CALM
            pixels.calmed[block] = start
        if since[block] < start:
            _settle(block * BLOCK, min(low + length, (block + 1) * BLOCK), before, tables, model,
                    start - since[block], pixels)  # fmt: skip
            since[block] = start
    _see(low, length, before, after, tables, model, interval, seen)
    _foresee(low, length, start, stop, pixels, seen, loud)
    from_hit, to_hit = hits.start[part], hits.start[part + parts]
    hit_choice = hits.choice
    for hit in range(from_hit, to_hit):
        loud[(hit_choice[hit] >> 1) - part * BLOCK] = 1
    listed = 0
    for j in range(length):
        who[listed] = j
        listed += loud[j]
    if listed > 0:
        needed = _room(low, listed, who, interval, model, after, tables, pixels, seen)
        if n + needed + to_hit - from_hit > times.size:
            return -1
        n = fire(low, length, first, tile * TILE, listed, who, seen, start, stop, model,
                 seed, pixels, hits, times, marks, n)  # fmt: skip
    if pixels.u.size > 0:
        _follow(low, length, after, tables, model, interval, pixels, seen)
    v = pixels.v[low : low + length]
    for j in range(length):
        v[j] = seen[END + j]
    for own in range(part, part + parts):
        block = tile * PARTS + own
        since[block], quiet[block] = stop, 0.0
        if words[2 * own] | words[2 * own + 1] == 0:
            _quieten(block, block * BLOCK, min(low + length, (block + 1) * BLOCK), after, tables,
                     stop, pixels)  # fmt: skip
    return n
