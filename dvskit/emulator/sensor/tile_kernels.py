# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops of the sensor model over tiles of pixels, and over blocks of pixels that move together.

Idle blocks of pixels cost one comparison. A block without change is skipped until the earliest time
at which one of its pixels may fire. Noise in an otherwise calm block only touches the time of the
pixel's reset.

Bounds on the signals of a block select the pixels that may fire (loops without branches); only
these pixels are followed event by event. If no event is due, the reference of a pixel is not
touched: it follows from the time of the pixel's last reset.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.level_kernels import MARK_NOISE, MARK_ON, MARK_PIXEL, Marked
from dvskit.emulator.sensor.firing_kernels import (
    LANES,
    WORST_JITTER,
    Follower,
    Lanes,
    fire,
    hand_out,
    jittered,
    take,
)
from dvskit.emulator.sensor.noise_kernels import (
    draw_hot,
    draw_shots,
    first_above,
    index_hits,
    order_hits,
)
from dvskit.emulator.sensor.pixels import (
    BLOCK,
    CALM,
    CALM_STALE,
    HIGH,
    KEPT,
    LAG,
    LATER,
    LEFT,
    LEVEL,
    LOW,
    NEVER,
    NEXT,
    PARTS,
    RUN,
    SWING,
    TILE,
    TOGETHER,
    Codes,
    Hits,
    Noise,
    Pixels,
    Run,
    Scratch,
    Sensor,
    Step,
    Tables,
    inlined,
    inner,
    kernel,
    merged,
    prefetch,
)
from dvskit.emulator.sensor.signal_kernels import curve, exp, greater, lesser, pole_of, value

Array = NDArray[Any]

SETTLED = 4.0  # units, 2e-7 e-folds: this near, a signal counts as settled
_SLOWEST = 1e-30  # a leak, so that zero needs no special case


@inner
def _refresh(low: int, high: int, first: int, codes: Array, sensor: Sensor) -> None:
    """Set reference and leak of a calm block's pixels that noise has reset."""
    tables, model, pixels = sensor
    since = pixels.calmed[low // BLOCK] + model.refractory
    ref, begun, leak, factor = pixels.ref, pixels.begun, pixels.leak, pixels.factor
    levels, tabled = tables.level, tables.level.size > 0
    for i in range(low, high):
        if begun[i] > since:
            ref[i] = levels[codes[i]] if tabled else np.float64(codes[i])
            leak[i] = jittered(np.float64(factor[i]), model, first + i, begun[i])


@inner
def _settle(low: int, high: int, codes: Array, gone: float, sensor: Sensor) -> None:
    """Move the signals of a block without change by `gone` microseconds."""
    tables, model, pixels = sensor
    v, u = pixels.v, pixels.u
    taus, tabled = tables.tau, tables.level.size > 0
    for i in range(low, high):
        if v[i] == 0.0 and (u.size == 0 or u[i] == 0.0):
            continue
        tau1 = taus[codes[i]] if tabled else pole_of(np.float64(codes[i]), model)
        if u.size > 0:
            signal = curve(0.0, 0.0, np.float64(v[i]), np.float64(u[i]), tau1, model.tau2)
            u[i] = value(signal, gone)
            if abs(u[i]) < SETTLED and abs(v[i]) < SETTLED:
                u[i] = 0.0
        v[i] = v[i] * exp(-gone / tau1) if tau1 > 0.0 else 0.0
        if abs(v[i]) < SETTLED:
            v[i] = 0.0


@inner
def settle_idle(
    count: int, blocks: Array, codes: Array, tables: Tables, now: float, pixels: Pixels
) -> None:
    """Store, for `count` blocks without change, a time before which no pixel can fire.

    The signal stays between its value and its target.
    """
    v, u, ref, begun = pixels.v, pixels.u, pixels.ref, pixels.begun
    on, off, leaks = pixels.on, pixels.off, pixels.leak
    levels, tabled = tables.level, tables.level.size > 0
    for k in range(count):
        block = blocks[k]
        least, calm = NEVER, True
        for i in range(block * BLOCK, lesser(codes.size, (block + 1) * BLOCK)):
            level = levels[codes[i]] if tabled else np.float64(codes[i])
            over, under = greater(0.0, v[i]), lesser(0.0, v[i])
            if u.size > 0:
                over, under = greater(over, u[i]), lesser(under, u[i])
            highest, lowest = level + over, level + under
            still = over == under
            calm = calm and still
            if begun[i] > now:
                if still:
                    ref[i] = level
                else:
                    least = now
            leak = greater(leaks[i], _SLOWEST)
            least = lesser(least, begun[i] + (on[i] + ref[i] - highest) / leak)
            if ref[i] + leak * (begun[i] - now) - lowest >= off[i]:
                least = now
        pixels.quiet[block] = least
        pixels.since[block], pixels.calmed[block] = CALM if calm else now, now


@inlined
def _see(low: int, length: int, codes: Codes, sensor: Sensor, interval: float, seen: Array) -> None:
    """Look up the levels at both ends, and the response of the photoreceptors."""
    (before, after), (tables, model, _) = codes, sensor
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
            seen[KEPT + j] = exp(-interval / tau) if tau > 0.0 else 0.0


@inlined
def _foresee(low: int, length: int, step: Step, pixels: Pixels, scratch: Scratch) -> None:
    """Mark in `loud` the pixels that may fire; fill LEFT, HIGH, LOW and SWING."""
    seen = scratch.seen
    v, u = pixels.v[low : low + length], pixels.u
    for j in range(length):
        now, following = seen[LEVEL + j], seen[NEXT + j]
        delay = seen[LAG + j] * (following - now)
        past = np.float64(v[j])
        left = (past + delay) * seen[KEPT + j] - delay
        settled = (now == following) & (abs(left) < SETTLED)
        left = 0.0 if settled else left
        # A signal without a turn stays between its ends; otherwise it turns where it meets L.
        turns = past * left < 0.0
        here, end = now + past, following + left
        high, low_end = greater(here, end), lesser(here, end)
        most, least = greater(now, following), lesser(now, following)
        seen[LEFT + j] = left
        seen[HIGH + j] = greater(high, most) if turns else high
        seen[LOW + j] = lesser(low_end, least) if turns else low_end
    if u.size > 0:
        for j in range(length):
            now, following = seen[LEVEL + j], seen[NEXT + j]
            here, under = now + np.float64(v[j]), now + np.float64(u[low + j])
            seen[HIGH + j] = greater(greater(now, following), greater(here, under))
            seen[LOW + j] = lesser(lesser(now, following), lesser(here, under))
    _exceed(low, length, step, pixels, scratch)


@inlined
def _exceed(low: int, length: int, step: Step, pixels: Pixels, scratch: Scratch) -> None:
    """Mark the pixels whose highest or lowest signal reaches a threshold, and those held."""
    (_, _, start, stop), seen, loud = step, scratch.seen, scratch.loud
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
def _room(low: int, listed: int, interval: float, sensor: Sensor, scratch: Scratch) -> int:
    """Return an upper bound of the events of the pixels in `who`, besides noise."""
    (_, model, pixels), who, seen = sensor, scratch.who, scratch.seen
    needed = 4 * listed
    on, off, factor = pixels.on, pixels.off, pixels.factor
    worst = (1.0 + WORST_JITTER * model.jitter) * interval
    for m in range(listed):
        i = np.uint32(low + who[m])
        # A signal turns at most twice.
        way = 3.0 * seen[SWING + who[m]] + factor[i] * worst
        needed += np.int64(way / lesser(on[i], off[i]))
    return needed


@inlined
def _follow(
    low: int, length: int, after: Array, interval: float, sensor: Sensor, seen: Array
) -> None:
    """Move the source followers of a run."""
    tables, model, pixels = sensor
    v, u, taus, tabled = pixels.v, pixels.u, tables.tau, tables.level.size > 0
    for j in range(length):
        i = low + j
        now, following = seen[LEVEL + j], seen[NEXT + j]
        tau = taus[after[i]] if tabled else pole_of(following, model)
        slope = (following - now) / interval
        signal = curve(now, slope, now + v[i], now + u[i], tau, model.tau2)
        left = value(signal, interval) - following
        settled = now == following and seen[LEFT + j] == 0.0 and abs(left) < SETTLED
        u[i] = 0.0 if settled else left


@merged
def foresee(
    run: Run, step: Step, codes: Codes, sensor: Sensor, hits: Hits, scratch: Scratch
) -> tuple[int, int]:
    """Look ahead to the end of a step for some blocks of a tile, with its noise hits.

    Fills `who`, and returns the number of pixels that may fire and an upper bound of their events.
    """
    (tile, part, parts), (first, _, start, stop) = run, step
    (before, after), pixels = codes, sensor[2]
    low = tile * TILE + part * BLOCK
    length = lesser(after.size, low + parts * BLOCK) - low
    since = pixels.since
    loud, who = scratch.loud, scratch.who
    for block in range(low // BLOCK, low // BLOCK + parts):
        if since[block] == CALM_STALE:
            high = lesser(low + length, (block + 1) * BLOCK)
            _refresh(block * BLOCK, high, first, before, sensor)
            since[block] = CALM
            pixels.calmed[block] = start
        if since[block] < start:
            high = lesser(low + length, (block + 1) * BLOCK)
            _settle(block * BLOCK, high, before, start - since[block], sensor)
            since[block] = start
    _see(low, length, codes, sensor, stop - start, scratch.seen)
    _foresee(low, length, step, pixels, scratch)
    from_hit, to_hit = hits.start[part], hits.start[part + parts]
    for hit in range(from_hit, to_hit):
        loud[(hits.choice[hit] >> 1) - part * BLOCK] = 1
    listed = 0
    for j in range(length):
        who[listed] = j
        listed += loud[j]
    needed = _room(low, listed, stop - start, sensor, scratch)
    return listed, needed + to_hit - from_hit


@merged
def move(
    run: Run, step: Step, after: Array, sensor: Sensor, work: tuple[Hits, Scratch, Lanes],
    places: tuple[int, int, int, int],
) -> int:  # fmt: skip
    """Put pixels of `who` into lanes, and move the signals of some blocks of a tile, with its hits.

    places  the number of pixels in `who`, the start of the tile's hits, the first lane, and the
            number of blocks in scratch.later

    Blocks without change go to scratch.later, to be checked after their events; returns the number
    of blocks there.
    """
    (tile, part, parts), (_, _, start, stop) = run, step
    (hits, scratch, lanes), (listed, held, lane, later) = work, places
    pixels, seen, words = sensor[2], scratch.seen, scratch.words
    low = tile * TILE + part * BLOCK
    length = lesser(after.size, low + parts * BLOCK) - low
    take((low, listed, lane), start, after, sensor, scratch, lanes)
    some = hits.start[part], hits.start[part + parts]
    hand_out(lane, some, tile, held, hits.choice, lanes)
    if pixels.u.size > 0:
        _follow(low, length, after, stop - start, sensor, seen)
    v = pixels.v[low : low + length]
    for j in range(length):
        v[j] = np.float32(seen[LEFT + j])
    for own in range(part, part + parts):
        block = tile * PARTS + own
        pixels.since[block], pixels.quiet[block] = stop, 0.0
        scratch.later[later] = block
        later += (words[2 * own] | words[2 * own + 1]) == 0
    return later


Work = tuple[Hits, Scratch, Lanes, Array, Marked]
"""Scratch memory, resume, and room for events."""


@inlined
def _apply_noise(run: Run, step: Step, sensor: Sensor, hits: Hits, events: Marked, n: int) -> int:
    """Write the noise events of calm blocks of a tile, in which nothing else happens."""
    (tile, part, parts), (first, _, start, _), (_, model, pixels) = run, step, sensor
    begun, since, quiet, soonest = pixels.begun, pixels.since, pixels.quiet, pixels.soonest
    hit_t, hit_choice, hits_from, free = hits
    times, marks = events
    base, end = tile * TILE, part + parts
    # The pixels are far apart in memory: a loop that only reads hides the latency.
    for hit in range(hits_from[part], hits_from[end]):
        free[hit] = begun[np.uint32(base + (hit_choice[hit] >> 1))] - start
    before = -1
    for hit in range(hits_from[part], hits_from[end]):
        choice = np.int64(hit_choice[hit])
        i, t = np.int64(np.uint32(base + (choice >> 1))), hit_t[hit]
        if t >= (begun[i] - start if i == before else free[hit]):
            before = i
            times[n] = np.int32(math.floor(t + 0.5))
            marks[n] = ((first + i) << MARK_PIXEL) | MARK_NOISE | (choice & MARK_ON)
            n += 1
            begun[i] = start + (t + model.refractory)
            block = i // BLOCK
            since[block] = CALM_STALE
            quiet[block] = lesser(quiet[block], begun[i] + soonest[block])
    return n


@merged
def _draw(
    tile: int, step: Step, after: Array, sensor: Sensor, noise: Noise, work: tuple[Hits, Scratch]
) -> int:
    """Draw a tile's noise; return its number, -1 if there is no room."""
    (first, frame, start, stop), (tables, model, pixels) = step, sensor
    (hot, weights), (hits, scratch) = noise, work
    base, interval = tile * TILE, stop - start
    pixels_in = lesser(TILE, after.size - base)
    number = first + base
    here = slice(base, base + pixels_in)
    count = 0
    if model.shot > 0.0:
        choices = slice(2 * base, 2 * (base + pixels_in))
        own_weights = weights.caps[tile], weights.chances[choices], weights.excess[choices]
        known = (
            pixels.on[here], pixels.off[here], pixels.begun[here], after[here], tables.light
        )  # fmt: skip
        when = number // TILE, frame, interval
        count = draw_shots(when, model, own_weights, known, scratch, hits)
    own = hot[first_above(hot, number - 1) : first_above(hot, number + pixels_in - 1)]
    if count >= 0 and own.size > 0 and model.hot > 0.0:
        count = draw_hot(count, number, (frame, interval), model, own, hits)
    if count < 0:
        for part in range(hits.start.size):
            hits.start[part] = 0
        return count
    order_hits(count, hits.t, hits.choice)
    index_hits(count, hits.choice, hits.start)
    return count


@inner
def _changes(before: Array, after: Array, changed: Array) -> None:
    """Mark in `changed` (uint8, of a tile's length) which codes differ."""
    for j in range(after.size):
        changed[j] = before[j] != after[j]
    for j in range(after.size, changed.size):
        changed[j] = 0


@merged
def _wake(
    first_block: int, parts: int, stop: float, pixels: Pixels, hits: Hits, scratch: Scratch
) -> None:
    """Mark in `wakes` the blocks of a tile to be moved, and prefetch their pixels."""
    words, wakes, hit_choice = scratch.words, scratch.wakes, hits.choice
    own = slice(first_block, first_block + parts)
    quiet, since, soonest = pixels.quiet[own], pixels.since[own], pixels.soonest[own]
    for part in range(parts):
        wakes[part] = quiet[part] <= stop
    for part in range(parts):
        wakes[part] |= (words[2 * part] | words[2 * part + 1]) != 0
    for hit in range(hits.start[parts]):
        part = hit_choice[hit] // (2 * BLOCK)
        wakes[part] |= since[part] < CALM
    for part in range(0, parts, 8):
        prefetch(soonest, part)
    # They are scattered over more memory than the cache holds: each line would stall.
    for part in range(parts):
        if wakes[part] != 0:
            i = (first_block + part) * BLOCK
            prefetch(pixels.v, i)
            prefetch(pixels.ref, i)
            prefetch(pixels.begun, i)
            prefetch(pixels.begun, i + BLOCK // 2)
            prefetch(pixels.leak, i)
            prefetch(pixels.factor, i)
            prefetch(pixels.on, i)
            prefetch(pixels.off, i)
            prefetch(pixels.calmed, first_block + part)


@inlined
def _finish(
    counts: tuple[int, int, int], step: Step, after: Array, sensor: Sensor,
    work: tuple[Hits, Scratch, Lanes, Marked], follower: Follower,
) -> int:  # fmt: skip
    """Follow the pixels in lanes, then check the blocks without change.

    counts  the numbers of lanes taken, of blocks to be checked, and of events
    """
    (lane, later, n), (tables, model, pixels) = counts, sensor
    hits, scratch, lanes, events = work
    if lane > 0:
        n = fire((lane, n), step, (model, pixels), (hits, lanes), events, follower)
    settle_idle(later, scratch.later, after, tables, step[3], pixels)
    return n


@kernel
def advance_tiles(
    step: Step, codes: Codes, sensor: Sensor, noise: Noise, work: Work, follower: Follower
) -> int:
    """Move a slice of pixels to the next frame.

    work      with resume (RESUME,), initially zeros: the position, see there
    follower  True with a source follower, None without

    Returns the number of events, written to times (int32, microseconds since `start`) and marks
    (int64: pixel * 4 + noise * 2 + polarity). Their order depends on the pixels alone. Stops early,
    with resume[0] below the number of tiles, if there is no room: in the hits if resume[1] is
    -1, else in times and marks. The caller makes room, keeping the content of the hits, and calls
    again.
    """
    hits, scratch, lanes, resume, events = work
    (before, after), (_, model, pixels) = codes, sensor
    (first, _, _, stop), times = step, events[0]
    n = np.int64(0)
    size = after.size
    noisy = model.shot > 0.0 or noise[0].size > 0
    changed, wakes, hits_from = scratch.changed, scratch.wakes, hits.start
    finishing = hits, scratch, lanes, events
    drawn, part, held = resume[1], resume[2], resume[3]
    lane, kept, later = resume[4], resume[5], resume[6]
    for tile in range(resume[0], (size + TILE - 1) // TILE):
        base = tile * TILE
        count = lesser(TILE, size - base)
        parts = (count + BLOCK - 1) // BLOCK
        _changes(before[base : base + count], after[base : base + count], changed)
        # After the hits of earlier tiles, which pixels in lanes may still need.
        own = Hits(hits.t[held:], hits.choice[held:], hits_from, hits.free)
        if drawn <= 0 and noisy:
            found = _draw(tile, step, after, sensor, noise, (own, scratch))
            drawn = 1 if found >= 0 else -1
        _wake(tile * PARTS, parts, stop, pixels, own, scratch)
        while part < parts and drawn >= 0:
            end = part
            while end < parts and wakes[np.uint32(end)] == 0:
                end += 1
            if n + kept + hits_from[end] - hits_from[part] > times.size:
                break
            n = _apply_noise((tile, part, end - part), step, sensor, own, events, n)
            part = end
            while end < lesser(parts, part + RUN // BLOCK) and wakes[np.uint32(end)] != 0:
                end += 1
            if part < end:
                run = tile, part, end - part
                listed, needed = foresee(run, step, codes, sensor, own, scratch)
                if n + kept + needed > times.size:
                    break
                places = listed, held, lane, later
                later = move(run, step, after, sensor, (own, scratch, lanes), places)
                part = end
                lane, kept = lane + listed, kept + needed
            if lane > LANES - RUN or later > LATER - RUN // BLOCK:
                n = _finish((lane, later, n), step, after, sensor, finishing, follower)
                lane, kept, later = 0, 0, 0
        if part < parts:
            resume[0], resume[1], resume[2], resume[3] = tile, drawn, part, held
            resume[4], resume[5], resume[6] = lane, kept, later
            return n
        drawn, part, held = 0, 0, held + hits_from[parts]
        # Together with other tiles, but always the same tiles.
        if (first // TILE + tile) % TOGETHER == TOGETHER - 1 or base + count == size:
            n = _finish((lane, later, n), step, after, sensor, finishing, follower)
            held, lane, kept, later = 0, 0, 0, 0
    resume[0] = (size + TILE - 1) // TILE
    return n
