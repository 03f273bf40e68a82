"""Loops of the sensor model. Blocks of pixels that have nothing to do cost a comparison.

Log intensity is in units of 2^-24 e-fold, time in microseconds since the run began, in float64.
Arrays are flat and of a frame's length unless said otherwise.

Between frames the log intensity L of a pixel is linear in time. Behind the photoreceptor (one pole,
tau1, by the intensity of the later frame) and the source follower (one pole, tau2) its signal is,
from the start of an interval on,

    f(t) = a + b t + c1 exp(-k1 t) + c2 exp(-k2 t)

with k = 1 / tau: the closed solution of tau1 v' = L - v and tau2 u' = v - u. The pixel compares
f(t) + leak t with its reference. All crossings are roots of that curve. A block whose pixels see no
change is left as it is until the earliest time at which one of them may fire.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.emulator._kernels import light_of, number_of
from dvskit.emulator.random._kernels import bits, mix, normal, uniform

Array = NDArray[Any]

TILE = 4096  # pixels whose noise is drawn together, whatever the number of threads
BLOCK = 16  # pixels that are left alone together
BLOCKS = TILE // BLOCK  # of a tile

# Places in the model's numbers.
(M_POLE, M_TAU2, M_REFRACTORY, M_JITTER, M_SHOT, M_ON, M_OFF, M_LEAK, M_KNEE, M_SLOPE, M_OFFSET) = (
    range(11)
)
MODEL_FIELDS = 11

# Streams of random numbers.
(R_ON, R_OFF, R_LEAK, R_PHASE, R_JITTER, R_GAP, R_HOT) = range(1, 8)

_DIMMEST = 20.0 / 275.0  # v2e's intensity of black, of 1.0 for white
SHOT_DARK, SHOT_SLOPE = 1.0, 0.75  # shot noise falls by so much from black to white (v2e)
_MOST_SHOT = SHOT_DARK - SHOT_SLOPE * _DIMMEST
UNIT = float(1 << 24)
NEVER = 1e300
SETTLED = 4.0  # units, 2e-7 e-folds: so near, a signal is taken to have arrived
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_S11, _S32 = np.uint64(11), np.uint64(32)
_TO_UNIT, _TO_UNIT_32 = 2.0**-53, np.float32(2.0**-32)
_LOW_32 = np.uint64(0xFFFFFFFF)
_SLOWEST = np.float32(1e-30)  # a leak, so that none needs no case of its own
_SQRT_12 = math.sqrt(12.0)


@njit(cache=True, nogil=True)
def relative_light(level: float, model: Array) -> float:
    """Return v2e's intensity of a pixel, (I + 20) / 275, from its level in units."""
    number = number_of(level / UNIT, model[M_OFFSET], model[M_KNEE], model[M_SLOPE])
    return light_of(number)


@njit(cache=True, nogil=True)
def _curve(
    level: float, slope: float, v: float, u: float, tau1: float, tau2: float
) -> tuple[float, float, float, float, float, float]:
    """Return a, b, c1, k1, c2, k2 of the signal that begins at v, u."""
    a = level - slope * tau1
    c1, k1 = 0.0, 0.0
    if tau1 > 0.0:
        c1, k1 = v - a, 1.0 / tau1
    if tau2 <= 0.0:
        return a, slope, c1, k1, 0.0, 0.0
    a2 = a - slope * tau2
    gained = c1 * tau1 / (tau1 - tau2) if tau1 > 0.0 else 0.0
    return a2, slope, gained, k1, u - a2 - gained, 1.0 / tau2


@njit(cache=True, nogil=True)
def _value(a: float, b: float, c1: float, k1: float, c2: float, k2: float, t: float) -> float:
    value = a + b * t
    if c1 != 0.0:
        value += c1 * math.exp(-k1 * t)
    if c2 != 0.0:
        value += c2 * math.exp(-k2 * t)
    return value


@njit(cache=True, nogil=True)
def _slope(b: float, c1: float, k1: float, c2: float, k2: float, t: float) -> float:
    return b - c1 * k1 * math.exp(-k1 * t) - c2 * k2 * math.exp(-k2 * t)


@njit(cache=True, nogil=True)
def _turn(b: float, c1: float, k1: float, c2: float, k2: float, low: float, high: float) -> float:
    """Return where the slope, which is monotone from low to high, is 0; -1 where it is not."""
    at_low = _slope(b, c1, k1, c2, k2, low)
    at_high = _slope(b, c1, k1, c2, k2, high)
    if at_low == 0.0 or at_high == 0.0 or (at_low > 0.0) == (at_high > 0.0):
        return -1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if (_slope(b, c1, k1, c2, k2, middle) > 0.0) == (at_low > 0.0):
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


@njit(cache=True, nogil=True)
def _turns(
    b: float, c1: float, k1: float, c2: float, k2: float, end: float, kept1: float, kept2: float
) -> tuple[float, float]:
    """Return the times in (0, end) at which the signal turns, in order; `end` for none.

    kept1, kept2  exp(-k1 end), exp(-k2 end)
    """
    if c1 == 0.0 and c2 == 0.0:
        return end, end
    if c1 == 0.0 or c2 == 0.0:
        c, k, kept = (c1, k1, kept1) if c2 == 0.0 else (c2, k2, kept2)
        share = b / (c * k)
        if kept < share < 1.0:
            t = -math.log(share) / k
            if 0.0 < t < end:
                return t, end
        return end, end
    # The slope itself turns at most once, where the second derivative is 0.
    bend = end
    ratio = -(c2 * k2 * k2) / (c1 * k1 * k1)
    if ratio > 0.0:
        t = math.log(ratio) / (k2 - k1)
        if 0.0 < t < end:
            bend = t
    first = _turn(b, c1, k1, c2, k2, 0.0, bend)
    second = _turn(b, c1, k1, c2, k2, bend, end) if bend < end else -1.0
    if first < 0.0:
        return (second, end) if second >= 0.0 else (end, end)
    return first, second if second >= 0.0 else end


@njit(cache=True, nogil=True)
def _root(
    a: float, b: float, c1: float, k1: float, c2: float, k2: float,
    low: float, at_low: float, high: float, at_high: float, level: float,
) -> float:  # fmt: skip
    """Return where the signal, monotone from low to high, reaches `level`, to 1e-3 us."""
    if c1 == 0.0 and c2 == 0.0:
        return min(high, max(low, (level - a) / b))
    if c2 == 0.0 and b == 0.0:
        return min(high, max(low, -math.log((level - a) / c1) / k1))
    rising = at_high > at_low
    t = low + (high - low) * (level - at_low) / (at_high - at_low)
    for _ in range(80):
        e1 = c1 * math.exp(-k1 * t)
        e2 = c2 * math.exp(-k2 * t) if c2 != 0.0 else 0.0
        value = a + b * t + e1 + e2 - level
        if (value > 0.0) == rising:
            high = t
        else:
            low = t
        steep = b - k1 * e1 - k2 * e2
        following = t - value / steep if steep != 0.0 else low
        if not low < following < high:
            following = 0.5 * (low + high)
        if abs(following - t) < 1e-3:
            return following
        t = following
    return t


@njit(cache=True, nogil=True)
def start_pixels(
    levels: Array, first: int, model: Array, sigma: float, spread: float, seed: int,
    v: Array, u: Array, ref: Array, on: Array, off: Array, leak: Array, factor: Array,
    reset_at: Array,
) -> None:  # fmt: skip
    """Set up a slice of pixels, of which `first` is the first, that see `levels` for all time.

    Thresholds and leaks are drawn; a pixel that leaks begins anywhere on its way to a leak event.
    """
    for i in range(levels.size):
        k = first + i
        level = np.float64(levels[i])
        on_i, off_i = model[M_ON], model[M_OFF]
        if sigma > 0.0:
            least = 0.01 * UNIT
            on_i = max(least, math.floor(on_i + sigma * normal(seed, R_ON, k, 0) + 0.5))
            off_i = max(least, math.floor(off_i + sigma * normal(seed, R_OFF, k, 0) + 0.5))
        rate = model[M_LEAK] * on_i
        if spread > 0.0:
            rate *= 10.0 ** (spread * normal(seed, R_LEAK, k, 0))
        on[i], off[i], factor[i] = on_i, off_i, rate
        leak[i] = _jittered(rate, model[M_JITTER], seed, k, 0)
        v[i] = ref[i] = level
        if u.size > 0:
            u[i] = level
        if rate > 0.0:
            gone = uniform(seed, R_PHASE, k, 0) * on[i]
            ref[i] -= gone
            reset_at[i] = -gone / leak[i]


@njit(cache=True, nogil=True)
def _jittered(rate: float, jitter: float, seed: int, k: int, count: int) -> float:
    """Return the leak of a pixel behind its `count`-th event: uniform, jittered."""
    if jitter == 0.0 or rate == 0.0:
        return rate
    return rate * (1.0 + jitter * _SQRT_12 * (uniform(seed, R_JITTER, k, count) - 0.5))


@njit(cache=True, nogil=True)
def fill_poles(
    lights: Array, model: Array, interval: float, tau: Array, lag: Array, kept: Array
) -> None:
    """Fill the photoreceptor's tables of one interval, by code.

    tau   microseconds; lag: tau / interval; kept: what is left of a difference behind the interval
    """
    for code in range(lights.size):
        t = model[M_POLE] / lights[code]
        tau[code] = t
        lag[code] = t / interval
        kept[code] = math.exp(-interval / t) if t > 0.0 else 0.0


@njit(cache=True, nogil=True)
def _draw_noise(
    tile: int, pixels: int, frame: int, start: float, stop: float, model: Array, seed: int,
    weight: float, share: Array, alias: Array, hot: Array, hot_rate: float, codes: Array,
    lights: Array, link: Array, noise_t: Array, noise_on: Array,
) -> int:  # fmt: skip
    """Draw the shot and hot-pixel events of a tile from start to stop, in order of time.

    Their pixels go to `link`. Returns how many there are, -2 where there is no room for them.
    """
    count = 0
    rate = weight * 0.5 * model[M_SHOT] * _MOST_SHOT
    if rate > 0.0:
        # Random places of `share` are far: they are looked up together, which hides the way.
        chosen, kept = np.empty(noise_t.size, np.int64), np.empty(noise_t.size, np.float32)
        luck = np.empty(noise_t.size, np.float64)
        key = bits(seed, R_GAP, tile, frame)
        between = 1.0 / rate
        choices = np.uint64(2 * pixels)
        t = start
        drawn = 0
        while True:
            key += _GOLDEN
            t -= math.log((np.float64(mix(key) >> _S11) + 0.5) * _TO_UNIT) * between
            if t >= stop:
                break
            if drawn == noise_t.size:
                return -2
            key += _GOLDEN
            word = mix(key)
            chosen[drawn] = np.int64(((word >> _S32) * choices) >> _S32)
            kept[drawn] = np.float32(word & _LOW_32) * _TO_UNIT_32
            key += _GOLDEN
            luck[drawn] = np.float64(mix(key) >> _S11) * (_TO_UNIT * _MOST_SHOT)
            noise_t[drawn] = t
            drawn += 1
        for i in range(drawn):
            own, other = chosen[i], np.int64(alias[chosen[i]])
            chosen[i] = own if kept[i] < share[own] else other
        for i in range(drawn):
            pixel = chosen[i] >> 1
            code = codes[pixel]
            light = lights[code] if lights.size > 0 else relative_light(float(code), model)
            # Thinning: Lewis and Shedler 1979
            if luck[i] < SHOT_DARK - SHOT_SLOPE * light:
                noise_t[count], noise_on[count] = noise_t[i], chosen[i] & 1 != 0
                link[count] = pixel
                count += 1
    for j in range(hot.size):
        t, number = start, 0
        key = bits(seed, R_HOT, tile * TILE + hot[j], frame)
        while hot_rate > 0.0:
            t -= math.log(uniform(key, R_HOT, number, 0)) / hot_rate
            if t >= stop:
                break
            if count == noise_t.size:
                return -2
            noise_t[count], noise_on[count], link[count] = t, True, hot[j]
            count += 1
            number += 1
    if hot.size > 0:
        order = np.argsort(noise_t[:count], kind="mergesort")
        noise_t[:count], noise_on[:count] = noise_t[:count][order], noise_on[:count][order]
        link[:count] = link[:count][order]
    return count


@njit(cache=True, nogil=True)
def _fire(
    loud: int, first: int, base: int, who: Array, seen: Array, start: float, stop: float,
    model: Array, seed: int, v: Array, u: Array, ref: Array, on: Array, off: Array, leak: Array,
    factor: Array, reset_at: Array, free: Array, counts: Array, head: Array, link: Array,
    noise_t: Array, noise_on: Array, times: Array, marks: Array, n: int,
) -> int:  # fmt: skip
    """Move `loud` pixels of a tile, listed in `who`, to `stop`, and write their events.

    base  the tile's first pixel
    seen  (4, loud) of each: its level at both ends, its pole and where its photoreceptor ends
    They go behind the `n` ones that are there; returns how many there are then.
    """
    end = stop - start
    tau2, refractory, jitter = model[M_TAU2], model[M_REFRACTORY], model[M_JITTER]
    for m in range(loud):
        i = np.int64(who[m])
        k = first + i
        slope = (seen[1, m] - seen[0, m]) / end
        under = u[i] if u.size > 0 else 0.0
        a, b, c1, k1, c2, k2 = _curve(seen[0, m], slope, v[i], under, seen[2, m], tau2)
        kept1 = math.exp(-k1 * end) if c1 != 0.0 else 0.0
        kept2 = math.exp(-k2 * end) if c2 != 0.0 else 0.0
        if u.size > 0:
            u[i] = a + b * end + c1 * kept1 + c2 * kept2
        v[i] = seen[3, m]
        rate = np.float64(leak[i])
        rise, fall = np.float64(on[i]), np.float64(off[i])
        level = ref[i]  # what the signal with its leak is compared with
        begun = reset_at[i] - start  # of the leak
        until_free = free[i] - start if refractory > 0.0 else -1.0
        noise = head[i - base]
        b += rate
        turn1, turn2 = _turns(b, c1, k1, c2, k2, end, kept1, kept2)
        at, value = 0.0, a + c1 + c2
        stop_at, stop_value = -1.0, 0.0
        while True:
            if until_free > at:
                # Held in reset: it begins anew with what it sees then.
                at = min(until_free, end)
                level = value = _value(a, b, c1, k1, c2, k2, at)
                begun = at
                if until_free >= end:
                    break
            while noise >= 0 and noise_t[noise] - start < at:
                noise = link[noise]
            # The signal is monotone from here to where it turns, ends, or noise comes.
            limit = turn1 if at < turn1 else (turn2 if at < turn2 else end)
            strikes = noise >= 0 and noise_t[noise] - start <= limit
            if strikes:
                limit = noise_t[noise] - start
            if limit != stop_at:
                stop_at = limit
                if limit == end:
                    stop_value = a + b * end + c1 * kept1 + c2 * kept2
                else:
                    stop_value = _value(a, b, c1, k1, c2, k2, limit)
            t, sign, label = limit, 0, 0
            if stop_value >= level + rise:
                sign = 1
                level += rise
            elif stop_value <= level - fall:
                sign = -1
                level -= fall
            if sign != 0:
                # Rounding may put the level a hair behind where the signal is already.
                if (value < level) == (sign > 0) and value != level:
                    t = _root(a, b, c1, k1, c2, k2, at, value, limit, stop_value, level)
                else:
                    t = at
                value = level
                label = 1 if sign > 0 and rate * (t - begun) > 0.5 * rise else 0
            elif strikes:
                sign, label = 1 if noise_on[noise] else -1, 1
                level = value = stop_value
                noise = link[noise]
            else:
                at, value = limit, stop_value
                if at >= end:
                    break
                continue
            times[n] = np.int32(math.floor(t + 0.5))
            marks[n] = (k << 2) | (label << 1) | (1 if sign > 0 else 0)
            n += 1
            begun = at = t
            if jitter > 0.0 and rate > 0.0:
                counts[i] += np.uint32(1)
                drawn = _jittered(factor[i], jitter, seed, k, np.int64(counts[i]))
                new = np.float64(np.float32(drawn))
                level += (new - rate) * t
                value = level
                b += new - rate
                rate = new
                turn1, turn2 = _turns(b, c1, k1, c2, k2, end, kept1, kept2)
                stop_at = -1.0
            if refractory > 0.0:
                until_free = t + refractory
        ref[i] = level - rate * end
        leak[i] = rate
        reset_at[i] = start + begun
        if refractory > 0.0:
            free[i] = start + until_free
    return n


@njit(cache=True, nogil=True)
def _settle(
    low: int, high: int, codes: Array, table: Array, lights: Array, model: Array, since: float,
    now: float, v: Array, u: Array, ref: Array, leak: Array,
) -> None:  # fmt: skip
    """Bring a block that saw no change and did not fire from `since` to `now`."""
    gone = now - since
    for k in range(low, high):
        ref[k] -= leak[k] * gone
        level = np.float64(table[codes[k]]) if table.size > 0 else np.float64(codes[k])
        if v[k] == level and (u.size == 0 or u[k] == level):
            continue
        tau1 = 0.0
        if model[M_POLE] > 0.0:
            light = lights[codes[k]] if table.size > 0 else relative_light(level, model)
            tau1 = model[M_POLE] / light
        under = u[k] if u.size > 0 else 0.0
        if u.size > 0:
            a, b, c1, k1, c2, k2 = _curve(level, 0.0, v[k], under, tau1, model[M_TAU2])
            u[k] = _value(a, b, c1, k1, c2, k2, gone)
        v[k] = level + (v[k] - level) * math.exp(-gone / tau1) if tau1 > 0.0 else level
        if abs(v[k] - level) < SETTLED:
            v[k] = level


@njit(cache=True, nogil=True)
def _quieten(
    blocks: Array, moved: int, size: int, after: Array, table: Array, now: float, held: bool,
    v: Array, u: Array, ref: Array, on: Array, off: Array, leak: Array, free: Array, since: Array,
    quiet: Array,
) -> None:  # fmt: skip
    """Note of each of `moved` blocks a time ahead of which no pixel can fire if nothing changes.

    The signal stays between where it is and where it is going.
    """
    tabled = table.size > 0
    followed = u.size > 0
    for m in range(moved):
        block = int(blocks[m])
        least = NEVER
        low = block * BLOCK
        for k in range(low, min(size, low + BLOCK)):
            level = np.float64(table[after[k]]) if tabled else np.float64(after[k])
            highest, lowest = max(level, v[k]), min(level, v[k])
            if followed:
                highest, lowest = max(highest, u[k]), min(lowest, u[k])
            least = min(least, (on[k] + ref[k] - highest) / max(leak[k], _SLOWEST))
            least = min(least, 0.0 if ref[k] - lowest >= off[k] else least)
            if held and free[k] > now:
                least = 0.0
        quiet[block] = now + max(0.0, least)
        since[block] = now


@njit(cache=True, nogil=True)
def _changes(before: Array, after: Array, changed: Array) -> None:
    """Mark in `changed` (uint8, of a tile's length) which codes differ."""
    for j in range(after.size):
        changed[j] = before[j] != after[j]
    changed[after.size :] = 0


@njit(cache=True, nogil=True)
def _look_ahead(
    tile: int, resume: Array, words: Array, before: Array, after: Array, table: Array,
    lights: Array, tau: Array, lag: Array, kept: Array, model: Array, start: float, stop: float,
    v: Array, u: Array, ref: Array, on: Array, off: Array, leak: Array, free: Array, since: Array,
    quiet: Array, noisy: Array, head: Array, room: int, blocks: Array, who: Array, seen: Array,
    progress: Array,
) -> None:  # fmt: skip
    """Move the pixels of a tile that cannot fire to `stop`; list in `who` those that may.

    Blocks that stay quiet are left out; `blocks` lists the others. progress: how many blocks, how
    many pixels. resume[1] is the block to go on with: it is short of the tile's blocks where the
    events of the next one might not fit into `room`.
    """
    base = tile * TILE
    size = after.size
    interval = stop - start
    tabled, followed = table.size > 0, u.size > 0
    pole, held = model[M_POLE] > 0.0, model[M_REFRACTORY] > 0.0
    tau2 = model[M_TAU2]
    level, following = np.empty(BLOCK, np.float64), np.empty(BLOCK, np.float64)
    end_v = np.empty(BLOCK, np.float64)
    loud = np.zeros(BLOCK, np.uint8)
    parts = (min(TILE, size - base) + BLOCK - 1) // BLOCK
    moved, listed = 0, 0
    for part in range(resume[1], parts):
        low = base + part * BLOCK
        block = low // BLOCK
        if words[2 * part] | words[2 * part + 1] == 0:
            if quiet[block] > stop and noisy[part] == 0:
                continue
        length = min(BLOCK, size - low)
        if since[block] < start:
            _settle(low, low + length, before, table, lights, model, since[block], start, v, u,
                    ref, leak)  # fmt: skip
            since[block] = start
        needed = 0
        for j in range(length):
            k = low + j
            behind, left = 0.0, 0.0
            if tabled:
                level[j], following[j] = table[before[k]], table[after[k]]
                if pole:
                    behind, left = lag[after[k]], kept[after[k]]
            else:
                level[j], following[j] = before[k], after[k]
                if pole:
                    t = model[M_POLE] / relative_light(following[j], model)
                    behind, left = t / interval, math.exp(-interval / t)
            delay = behind * (following[j] - level[j])
            new_v = following[j] - delay + (v[k] - level[j] + delay) * left
            if level[j] == following[j] and abs(new_v - following[j]) < SETTLED:
                new_v = following[j]
            end_v[j] = new_v
            highest = max(max(level[j], following[j]), v[k])
            lowest = min(min(level[j], following[j]), v[k])
            if followed:
                highest, lowest = max(highest, u[k]), min(lowest, u[k])
            leaks = leak[k] * interval
            loud[j] = (highest + leaks - ref[k] >= on[k]) | (ref[k] - lowest >= off[k])
            if held:
                loud[j] |= free[k] > start
            if noisy[part] != 0:
                loud[j] |= head[k - base] >= 0
            if loud[j] != 0:
                # How far the signal, between where it is and what it sees, and the leak may go.
                swing = highest - lowest + leaks
                needed += 4 + int(2.0 * swing / min(on[k], off[k]))
        room -= needed
        if room < 0:
            resume[1] = part
            break
        for j in range(length):
            k = low + j
            tau1 = 0.0
            if loud[j] != 0 or followed:
                tau1 = _pole_of(after[k], following[j], tau, model)
            if loud[j] != 0:
                who[listed] = k
                seen[0, listed], seen[1, listed] = level[j], following[j]
                seen[2, listed], seen[3, listed] = tau1, end_v[j]
                listed += 1
                continue
            ref[k] -= leak[k] * interval
            if followed:
                slope = (following[j] - level[j]) / interval
                a, b, c1, k1, c2, k2 = _curve(level[j], slope, v[k], u[k], tau1, tau2)
                u[k] = _value(a, b, c1, k1, c2, k2, interval)
            v[k] = end_v[j]
        blocks[moved] = block
        moved += 1
    else:
        resume[1] = parts
    progress[0], progress[1] = moved, listed


@njit(cache=True, nogil=True)
def _pole_of(code: int, level: float, tau: Array, model: Array) -> float:
    if model[M_POLE] == 0.0:
        return 0.0
    tau1 = tau[code] if tau.size > 0 else model[M_POLE] / relative_light(level, model)
    if abs(tau1 - model[M_TAU2]) < 1e-6 * model[M_TAU2]:
        tau1 = model[M_TAU2] * (1.0 + 1e-6)  # the closed solution has no double pole
    return tau1


@njit(cache=True, nogil=True)
def _place_noise(
    count: int, first: int, base: int, codes: Array, table: Array, start: float, stop: float,
    model: Array, seed: int, words: Array, v: Array, u: Array, ref: Array, on: Array, leak: Array,
    factor: Array, reset_at: Array, free: Array, counts: Array, since: Array, quiet: Array,
    head: Array, link: Array, noise_t: Array, noise_on: Array, noisy: Array, times: Array,
    marks: Array, n: int,
) -> int:  # fmt: skip
    """Write the noise events of pixels that see no change and show what they see; list the others.

    Nothing else happens to the former in this interval: their state stays that of their block's
    `since`.
    """
    refractory = model[M_REFRACTORY]
    for i in range(count):
        own = np.int64(link[i])
        k = base + own
        part = own // BLOCK
        block = k // BLOCK
        level = np.float64(table[codes[k]]) if table.size > 0 else np.float64(codes[k])
        if (
            words[2 * part] | words[2 * part + 1] != 0
            or quiet[block] <= stop
            or v[k] != level
            or u.size > 0
        ):
            # Into the pixel's list, which stays in order of time.
            at = np.int64(head[own])
            ahead = np.int64(-1)
            while at >= 0 and noise_t[at] <= noise_t[i]:
                ahead, at = at, np.int64(link[at])
            link[i] = at
            if ahead < 0:
                head[own] = i
            else:
                link[ahead] = i
            noisy[part] = 1
            continue
        t = noise_t[i]
        if refractory > 0.0:
            if t < free[k]:
                continue
            free[k] = t + refractory
        times[n] = np.int32(math.floor(t - start + 0.5))
        marks[n] = (np.int64(first + k) << 2) | 2 | np.int64(noise_on[i])
        n += 1
        reset_at[k] = t + refractory
        if leak[k] > 0.0:
            if model[M_JITTER] > 0.0:
                counts[k] += np.uint32(1)
                leak[k] = _jittered(
                    factor[k], model[M_JITTER], seed, first + k, np.int64(counts[k])
                )
            ref[k] = level + leak[k] * (t + refractory - since[block])
            quiet[block] = min(quiet[block], t + refractory + on[k] / leak[k])
        else:
            ref[k] = level
    return n


@njit(cache=True, nogil=True)
def advance_tiles(
    before: Array, after: Array, first: int, frame: int, start: float, stop: float, table: Array,
    lights: Array, tau: Array, lag: Array, kept: Array, model: Array, seed: int, weights: Array,
    share: Array, alias: Array, hot: Array, hot_rate: float, v: Array, u: Array, ref: Array,
    on: Array, off: Array, leak: Array, factor: Array, reset_at: Array, free: Array,
    counts: Array, since: Array, quiet: Array, head: Array, link: Array, noise_t: Array,
    noise_on: Array, noisy: Array, resume: Array, times: Array, marks: Array,
) -> int:  # fmt: skip
    """Move a slice of pixels, of which `first` is the first, to the next frame.

    before, after   codes of the two frames; `table` and `lights` turn codes into levels and
                    intensities, of length 0 where codes are levels
    tau, lag, kept  see `fill_poles`
    weights, share, alias  see `weigh_noise`
    hot             pixels, in order, that fire at `hot_rate` a microsecond
    v, u, ref       signals and reference at the time `since` of each block; u is of length 0
                    without a source follower
    quiet           of each block: a time ahead of which it does not fire if it sees no change
    head            scratch of a tile's length, -1 throughout; noisy: of its blocks' number, 0
    resume          (tile, block, whether its noise is drawn, how much) to go on with, and in the
                    end where it stopped

    Returns the number of events, written to times (int32, microseconds since `start`) and marks
    (int64: pixel * 4 + noise * 2 + polarity). Stops early, with resume[0] short of the number of
    tiles, where there is no room: in the noise lists if resume[2] is -1, else in times and marks.
    Make it, set resume[2] back to 0 if it was -1, and call again.
    """
    n = 0
    size = after.size
    noise = model[M_SHOT] > 0.0 or hot.size > 0
    changed = np.zeros(TILE, np.uint8)
    words = changed.view(np.uint64)
    blocks, who = np.empty(BLOCKS, np.int64), np.empty(TILE, np.int64)
    seen = np.empty((4, TILE), np.float64)
    progress = np.zeros(2, np.int64)
    for tile in range(resume[0], (size + TILE - 1) // TILE):
        base = tile * TILE
        pixels = min(TILE, size - base)
        here = slice(base, base + pixels)
        _changes(before[here], after[here], changed)
        if resume[2] == 0 and noise:
            hot_from = np.searchsorted(hot, first + base)
            hot_to = np.searchsorted(hot, first + base + pixels)
            count = _draw_noise(
                (first + base) // TILE, pixels, frame, start, stop, model, seed, weights[tile],
                share[2 * base : 2 * (base + pixels)], alias[2 * base : 2 * (base + pixels)],
                hot[hot_from:hot_to] - (first + base), hot_rate, after[here], lights, link, noise_t,
                noise_on,
            )  # fmt: skip
            if count < 0 or n + count > times.size:
                resume[0] = tile
                resume[2] = -1 if count < 0 else 0
                return n
            n = _place_noise(
                count, first, base, after, table, start, stop, model, seed, words, v, u, ref, on,
                leak, factor, reset_at, free, counts, since, quiet, head, link, noise_t, noise_on,
                noisy, times, marks, n,
            )  # fmt: skip
            resume[2], resume[3] = 1, count
        count = resume[3]
        _look_ahead(
            tile, resume, words, before, after, table, lights, tau, lag, kept, model, start, stop,
            v, u, ref, on, off, leak, free, since, quiet, noisy, head, times.size - n - count,
            blocks, who, seen, progress,
        )  # fmt: skip
        n = _fire(
            progress[1], first, base, who, seen, start, stop, model, seed, v, u, ref, on, off,
            leak, factor, reset_at, free, counts, head, link, noise_t, noise_on, times, marks, n,
        )  # fmt: skip
        _quieten(
            blocks, progress[0], size, after, table, stop, model[M_REFRACTORY] > 0.0, v, u, ref,
            on, off, leak, free, since, quiet,
        )  # fmt: skip
        if resume[1] * BLOCK < pixels:
            resume[0] = tile
            return n
        if count > 0:
            head[:pixels] = -1
            noisy[:] = 0
        resume[0], resume[1], resume[2], resume[3] = tile + 1, 0, 0, 0
    return n


@njit(cache=True, nogil=True)
def weigh_noise(
    on: Array, off: Array, model: Array, weights: Array, share: Array, alias: Array
) -> None:
    """Prepare to draw pixels and polarities by the inverse of their thresholds.

    weights  the sum of nominal over own thresholds, for each tile
    share, alias  of choice 2 * pixel + polarity of a tile: how likely it is kept, which is taken
                  instead (Walker 1977, by the method of Vose 1991)
    """
    for tile in range(weights.size):
        low, high = tile * TILE, min((tile + 1) * TILE, on.size)
        count = 2 * (high - low)
        scaled = np.empty(count, np.float64)
        for k in range(low, high):
            scaled[2 * (k - low)] = model[M_OFF] / off[k]
            scaled[2 * (k - low) + 1] = model[M_ON] / on[k]
        weights[tile] = scaled.sum()
        scaled *= count / weights[tile]
        pile = np.empty(count, np.int64)  # the small from below, the large from above
        small, large = 0, count
        for i in range(count):
            if scaled[i] < 1.0:
                pile[small] = i
                small += 1
            else:
                large -= 1
                pile[large] = i
        share[2 * low : 2 * high] = 1.0
        while small > 0 and large < count:
            i, j = pile[small - 1], pile[large]
            small -= 1
            share[2 * low + i], alias[2 * low + i] = scaled[i], j
            scaled[j] -= 1.0 - scaled[i]
            if scaled[j] < 1.0:
                large += 1
                pile[small] = j
                small += 1
