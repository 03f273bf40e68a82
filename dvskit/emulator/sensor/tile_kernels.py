# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops of the sensor model. Blocks of pixels that have nothing to do cost a comparison.

A block whose pixels see no change is left as it is until the earliest time at which one of them may
fire. Noise in a block that is calm otherwise touches nothing but the time of the pixel's reset.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.crossing_kernels import MARK_NOISE, MARK_ON, MARK_PIXEL
from dvskit.emulator.sensor.block_kernels import foresee, move, settle_idle
from dvskit.emulator.sensor.compiled import inlined, inner, kernel, lesser, prefetch, spans
from dvskit.emulator.sensor.firing_kernels import Follower, fire
from dvskit.emulator.sensor.lanes import LANES, Lanes
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
    Hits,
    Model,
    Pixels,
    Scratch,
    Tables,
    Weights,
)

Array = NDArray[Any]


@inlined
def _apply_noise(
    tile: int, part: int, end: int, first: int, start: float, model: Model, begun: Array,
    since: Array, quiet: Array, soonest: Array, hit_t: Array, hit_choice: Array,
    hits_from: Array, free: Array, times: Array, marks: Array, n: int,
) -> int:  # fmt: skip
    """Write the noise events of calm blocks part .. end, in which nothing else happens."""
    base = tile * TILE
    # The pixels are far from each other in memory: a loop that only reads hides the way.
    for hit in range(hits_from[part], hits_from[end]):
        free[hit] = begun[base + (hit_choice[hit] >> 1)] - start
    before = -1
    for hit in range(hits_from[part], hits_from[end]):
        choice = np.int64(hit_choice[hit])
        i, t = base + (choice >> 1), hit_t[hit]
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


@inner
def _draw(
    tile: int, pixels_in: int, first: int, frame: int, interval: float, model: Model,
    after: Array, tables: Tables, hot: Array, pixels: Pixels, weights: Weights,
    hit_t: Array, hit_choice: Array, hits_from: Array, scratch: Scratch,
) -> int:  # fmt: skip
    """Draw a tile's noise; return how much there is, -1 where there is no room for it."""
    base = tile * TILE
    number = first + base
    here = slice(base, base + pixels_in)
    count = 0
    if model.shot > 0.0:
        choices = slice(2 * base, 2 * (base + pixels_in))
        count = draw_shots(
            number // TILE, frame, interval, model, weights.caps[tile],
            weights.chances[choices], weights.excess[choices], pixels.on[here], pixels.off[here],
            pixels.begun[here], after[here], tables.light, scratch.luck, scratch.bits, hit_t,
            hit_choice,
        )  # fmt: skip
    own = hot[first_above(hot, number - 1) : first_above(hot, number + pixels_in - 1)]
    if count >= 0 and own.size > 0 and model.hot > 0.0:
        count = draw_hot(count, number, frame, interval, model, own, hit_t, hit_choice)
    if count < 0:
        for part in range(hits_from.size):
            hits_from[part] = 0
        return count
    order_hits(count, hit_t, hit_choice)
    index_hits(count, hit_choice, hits_from)
    return count


@inner
def _changes(before: Array, after: Array, changed: Array) -> None:
    """Mark in `changed` (uint8, of a tile's length) which codes differ."""
    for j in range(after.size):
        changed[j] = before[j] != after[j]
    for j in range(after.size, changed.size):
        changed[j] = 0


@inner
def _wake(
    first_block: int, parts: int, stop: float, words: Array, pixels: Pixels, hit_choice: Array,
    count: int, wakes: Array,
) -> None:  # fmt: skip
    """Mark in `wakes` (uint8) which blocks of a tile are to be moved, and ask for their pixels."""
    own = slice(first_block, first_block + parts)
    quiet, since, soonest = pixels.quiet[own], pixels.since[own], pixels.soonest[own]
    for part in range(parts):
        wakes[part] = quiet[part] <= stop
    for part in range(parts):
        wakes[part] |= (words[2 * part] | words[2 * part + 1]) != 0
    for hit in range(count):
        part = hit_choice[hit] // (2 * BLOCK)
        wakes[part] |= since[part] < CALM
    for part in range(0, parts, 8):
        prefetch(soonest, part)
    # They are scattered over more memory than is near: each line would be waited for.
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
    lane: int, later: int, first: int, start: float, stop: float, after: Array, tables: Tables,
    model: Model, pixels: Pixels, hits: Hits, scratch: Scratch, lanes: Lanes,
    times: Array, marks: Array, n: int, follower: Follower,
) -> int:  # fmt: skip
    """Follow the pixels in lanes, then look at the blocks that saw no change."""
    if lane > 0:
        n = fire(lane, first, start, stop, model, pixels, hits, lanes, times, marks, n, follower)
    settle_idle(later, scratch.later, after, tables, stop, pixels)
    return n


@kernel
def advance_tiles(
    first: int, frame: int, start: float, stop: float, before: Array, after: Array,
    tables: Tables, model: Model, hot: Array, pixels: Pixels,
    weights: Weights, hits: Hits, scratch: Scratch, lanes: Lanes, resume: Array,
    times: Array, marks: Array, follower: Follower,
) -> int:  # fmt: skip
    """Move a slice of pixels, of which `first` is the first, to the next frame.

    before, after  codes of the two frames
    follower       True with a source follower, None without
    hot            pixels, in order, that fire at random
    resume         (RESUME,), zeros to begin with: how far it is, see there

    Returns the number of events, written to times (int32, microseconds since `start`) and marks
    (int64: pixel * 4 + noise * 2 + polarity). Their order depends on the pixels alone. Stops early,
    with resume[0] short of the number of tiles, where there is no room: in the hits if resume[1] is
    -1, else in times and marks. Make it, keep what the hits hold, and call again.
    """
    before, after, tables = spans(before), spans(after), spans(tables)
    hot, pixels, weights, hits = spans(hot), spans(pixels), spans(weights), spans(hits)
    scratch, lanes, resume = spans(scratch), spans(lanes), spans(resume)
    times, marks = spans(times), spans(marks)
    n = np.int64(0)
    size = after.size
    noise = model.shot > 0.0 or hot.size > 0
    changed, words, wakes = scratch.changed, scratch.words, scratch.wakes
    begun, since, quiet, soonest = pixels.begun, pixels.since, pixels.quiet, pixels.soonest
    hits_from = hits.start
    drawn, part, held = resume[1], resume[2], resume[3]
    lane, kept, later = resume[4], resume[5], resume[6]
    for tile in range(resume[0], (size + TILE - 1) // TILE):
        base = tile * TILE
        count = lesser(TILE, size - base)
        parts = (count + BLOCK - 1) // BLOCK
        _changes(before[base : base + count], after[base : base + count], changed)
        if drawn <= 0 and noise:
            # Behind those of earlier tiles, which pixels in lanes may still wait for.
            found = _draw(
                tile, count, first, frame, stop - start, model, after, tables, hot,
                pixels, weights, hits.t[held:], hits.choice[held:], hits_from, scratch,
            )  # fmt: skip
            drawn = 1 if found >= 0 else -1
        hit_t, hit_choice = hits.t[held:], hits.choice[held:]
        _wake(tile * PARTS, parts, stop, words, pixels, hit_choice, hits_from[parts], wakes)
        while part < parts and drawn >= 0:
            end = part
            while end < parts and wakes[end] == 0:
                end += 1
            if n + kept + hits_from[end] - hits_from[part] > times.size:
                break
            n = _apply_noise(tile, part, end, first, start, model, begun, since, quiet, soonest,
                             hit_t, hit_choice, hits_from, hits.free, times, marks, n)  # fmt: skip
            part = end
            while end < lesser(parts, part + RUN // BLOCK) and wakes[end] != 0:
                end += 1
            if part < end:
                listed, needed = foresee(
                    tile, part, end - part, first, start, stop, before, after, tables, model,
                    pixels, hit_choice, hits_from, scratch,
                )  # fmt: skip
                if n + kept + needed > times.size:
                    break
                later = move(tile, part, end - part, listed, start, stop, after, words, tables,
                             model, pixels, held, hit_choice, hits_from, scratch, lanes, lane,
                             later)  # fmt: skip
                part = end
                lane, kept = lane + listed, kept + needed
            if lane > LANES - RUN or later > LATER - RUN // BLOCK:
                n = _finish(lane, later, first, start, stop, after, tables, model, pixels,
                            hits, scratch, lanes, times, marks, n, follower)  # fmt: skip
                lane, kept, later = 0, 0, 0
        if part < parts:
            resume[0], resume[1], resume[2], resume[3] = tile, drawn, part, held
            resume[4], resume[5], resume[6] = lane, kept, later
            return n
        drawn, part, held = 0, 0, held + hits_from[parts]
        # Together with others, but always the same ones.
        if (first // TILE + tile) % TOGETHER == TOGETHER - 1 or base + count == size:
            n = _finish(lane, later, first, start, stop, after, tables, model, pixels, hits,
                        scratch, lanes, times, marks, n, follower)  # fmt: skip
            held, lane, kept, later = 0, 0, 0, 0
    resume[0] = (size + TILE - 1) // TILE
    return n
