# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops of the sensor model. Idle blocks of pixels cost one comparison.

A block without change is skipped until the earliest time at which one of its pixels may fire. Noise
in an otherwise calm block only touches the time of the pixel's reset.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.level_kernels import MARK_NOISE, MARK_ON, MARK_PIXEL, Marked
from dvskit.emulator.sensor.block_kernels import foresee, move, settle_idle
from dvskit.emulator.sensor.firing_kernels import LANES, Follower, Lanes, fire
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
    LATER,
    PARTS,
    RUN,
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
    inlined,
    inner,
    kernel,
    merged,
    prefetch,
)
from dvskit.emulator.sensor.signal_kernels import lesser

Array = NDArray[Any]
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
        # After those of earlier tiles, which pixels in lanes may still need.
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
        # Together with others, but always the same ones.
        if (first // TILE + tile) % TOGETHER == TOGETHER - 1 or base + count == size:
            n = _finish((lane, later, n), step, after, sensor, finishing, follower)
            held, lane, kept, later = 0, 0, 0, 0
    resume[0] = (size + TILE - 1) // TILE
    return n
