"""The loop over a pixel's events in one interval.

Times are in microseconds since the interval's start. The pixel compares f(t) + leak t, f being its
signal (see the signal's kernels), with a level; all crossings are roots of that curve.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.random._kernels import uniform
from dvskit.emulator.sensor.compiled import kernel
from dvskit.emulator.sensor.pixels import BLOCK, END, KEPT, LEVEL, NEXT, TAU, Hits, Pixels
from dvskit.emulator.sensor.signal._kernels import (
    M_JITTER,
    M_REFRACTORY,
    M_TAU2,
    curve,
    root,
    turns,
    value,
)

Array = NDArray[Any]

R_JITTER = 5  # stream of random numbers
_SQRT_12 = math.sqrt(12.0)
_TICKS_US = 16.0  # resets that are so near each other (1/16 us) draw the same leak


@kernel
def jittered(rate: float, jitter: float, seed: int, k: int, begun: float) -> float:
    """Return the leak of pixel k from the reset at `begun` on: uniform, jittered."""
    if jitter == 0.0 or rate == 0.0:
        return rate
    tick = np.int64(math.floor(begun * _TICKS_US))
    return rate * (1.0 + jitter * _SQRT_12 * (uniform(seed, R_JITTER, k, tick) - 0.5))


@kernel
def fire(
    low: int, length: int, first: int, tile: int, listed: int, who: Array, seen: Array,
    start: float, stop: float, model: Array, seed: int, pixels: Pixels, hits: Hits, times: Array,
    marks: Array, n: int,
) -> int:  # fmt: skip
    """Move `listed` pixels, low + who[m], of a run from `low` on to `stop`, but for v and u.

    first  number of pixel 0; tile: the first pixel of their tile, to which the hits belong
    seen   (SEEN * RUN,): see `SEEN`
    Their events go behind the `n` ones that are there; returns how many there are then.
    """
    end = stop - start
    per_end = 1.0 / end
    tau2, refractory, jitter = model[M_TAU2], model[M_REFRACTORY], model[M_JITTER]
    v, u, ref, begun_at = pixels.v, pixels.u, pixels.ref, pixels.begun
    on, off, leak, factor = pixels.on, pixels.off, pixels.leak, pixels.factor
    hit_t, hit_choice = hits.t, hits.choice
    hit = hits.start[(low - tile) // BLOCK]
    last_hit = hits.start[(low - tile + length + BLOCK - 1) // BLOCK]
    for m in range(listed):
        j = who[m]
        i = low + j
        under = u[i] if u.size > 0 else 0.0
        level0, kept1 = seen[LEVEL + j], seen[KEPT + j]
        slope = (seen[NEXT + j] - level0) * per_end
        tau1 = seen[TAU + j]
        a, b, c1, k1, c2, k2 = curve(level0, slope, v[i], under, tau1, tau2)
        kept2 = math.exp(-k2 * end) if c2 != 0.0 else 0.0
        here, signal_end = v[i], seen[END + j]
        if u.size > 0:
            here, signal_end = under, a + b * end + c1 * kept1 + c2 * kept2
        rate = np.float64(leak[i])
        rise, fall = np.float64(on[i]), np.float64(off[i])
        begun = begun_at[i] - start
        held = begun > 0.0
        level = ref[i] + rate * begun  # what the signal with its leak is compared with
        b += rate
        turn1, turn2 = turns(b, c1, k1, c2, k2, end, kept1, kept2)
        while hit < last_hit and hit_choice[hit] >> 1 < i - tile:
            hit += 1
        own_end = hit
        while own_end < last_hit and hit_choice[own_end] >> 1 == i - tile:
            own_end += 1
        at, stop_at, stop_value = 0.0, -1.0, 0.0
        while True:
            if held:
                # It begins anew with what it sees then.
                if begun >= end:
                    break
                held = False
                at = begun
                level = here = value(a, b, c1, k1, c2, k2, at)
            while hit < own_end and hit_t[hit] < at:
                hit += 1
            # The signal is monotone from here to where it turns, ends, or noise comes.
            limit = turn1 if at < turn1 else (turn2 if at < turn2 else end)
            strikes = hit < own_end and hit_t[hit] <= limit
            if strikes:
                limit = hit_t[hit]
            if limit != stop_at:
                stop_at = limit
                if limit == end:
                    stop_value = signal_end + rate * end
                else:
                    stop_value = value(a, b, c1, k1, c2, k2, limit)
            t, sign, noise = limit, 0, 0
            if stop_value >= level + rise:
                sign = 1
                level += rise
            elif stop_value <= level - fall:
                sign = -1
                level -= fall
            if sign != 0:
                # Rounding may put the level a hair behind where the signal is already.
                t = at
                if (here < level) == (sign > 0) and here != level:
                    t = root(a, b, c1, k1, c2, k2, at, here, limit, stop_value, level)
                here = level
                noise = 2 if sign > 0 and rate * (t - begun) > 0.5 * rise else 0
            elif strikes:
                sign, noise = 1 if hit_choice[hit] & 1 != 0 else -1, 2
                level = here = stop_value
                hit += 1
            else:
                at, here = limit, stop_value
                if at >= end:
                    break
                continue
            times[n] = np.int32(math.floor(t + 0.5))
            marks[n] = ((first + i) << 2) | noise | (1 if sign > 0 else 0)
            n += 1
            at = t
            begun = t + refractory
            held = refractory > 0.0
            if jitter > 0.0 and rate > 0.0:
                drawn = jittered(factor[i], jitter, seed, first + i, start + begun)
                new = np.float64(np.float32(drawn))
                level += (new - rate) * t
                here = level
                b += new - rate
                rate = new
                turn1, turn2 = turns(b, c1, k1, c2, k2, end, kept1, kept2)
                stop_at = -1.0
        ref[i] = level - rate * begun
        leak[i] = np.float32(rate)
        begun_at[i] = start + begun
    return n
