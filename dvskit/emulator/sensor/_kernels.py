"""Loops of the sensor model. Blocks of pixels that have nothing to do cost a comparison.

A block whose pixels see no change is left as it is until the earliest time at which one of them may
fire. Noise in a block that is calm otherwise touches nothing but the time of the pixel's reset.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.sensor.blocks._kernels import move
from dvskit.emulator.sensor.compiled import inlined, kernel
from dvskit.emulator.sensor.noise._kernels import draw_hot, draw_shots, index_hits, order_hits
from dvskit.emulator.sensor.pixels import (
    BLOCK,
    CALM,
    CALM_STALE,
    PARTS,
    RUN,
    TILE,
    Hits,
    Pixels,
    Scratch,
    Tables,
    Weights,
)
from dvskit.emulator.sensor.signal._kernels import M_REFRACTORY, M_SHOT

Array = NDArray[Any]


@inlined
def _strike(
    tile: int, part: int, end: int, first: int, start: float, model: Array, begun: Array,
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
            marks[n] = ((first + i) << 2) | 2 | (choice & 1)
            n += 1
            begun[i] = start + (t + model[M_REFRACTORY])
            block = i // BLOCK
            since[block] = CALM_STALE
            quiet[block] = min(quiet[block], begun[i] + soonest[block])
    return n


@kernel
def _draw(
    tile: int, pixels_in: int, first: int, frame: int, interval: float, model: Array, seed: int,
    after: Array, tables: Tables, hot: Array, hot_rate: float, pixels: Pixels, weights: Weights,
    hits: Hits, scratch: Scratch,
) -> int:  # fmt: skip
    """Draw a tile's noise; return how much there is, -1 where there is no room for it."""
    base = tile * TILE
    number = first + base
    here = slice(base, base + pixels_in)
    count = 0
    if model[M_SHOT] > 0.0:
        choices = slice(2 * base, 2 * (base + pixels_in))
        count = draw_shots(
            number // TILE, frame, interval, model, seed, weights.caps[tile],
            weights.chances[choices], weights.excess[choices], pixels.on[here], pixels.off[here],
            after[here], tables.light, scratch.luck, scratch.bits, hits.t, hits.choice,
        )  # fmt: skip
    own = hot[np.searchsorted(hot, number) : np.searchsorted(hot, number + pixels_in)]
    if count >= 0 and own.size > 0 and hot_rate > 0.0:
        count = draw_hot(count, number, frame, interval, seed, own, hot_rate, hits.t, hits.choice)
    if count >= 0:
        order_hits(count, hits.t, hits.choice)
        index_hits(count, hits.choice, hits.start)
    return count


@kernel
def _changes(before: Array, after: Array, changed: Array) -> None:
    """Mark in `changed` (uint8, of a tile's length) which codes differ."""
    for j in range(after.size):
        changed[j] = before[j] != after[j]
    changed[after.size :] = 0


@inlined
def _wake(
    first_block: int, parts: int, stop: float, words: Array, quiet: Array, since: Array,
    hit_choice: Array, count: int, wakes: Array,
) -> None:  # fmt: skip
    """Mark in `wakes` (uint8) which blocks of a tile are to be moved."""
    for part in range(parts):
        wakes[part] = quiet[first_block + part] <= stop
    for part in range(parts):
        wakes[part] |= (words[2 * part] | words[2 * part + 1]) != 0
    for hit in range(count):
        part = hit_choice[hit] // (2 * BLOCK)
        wakes[part] |= since[first_block + part] < CALM


@kernel
def advance_tiles(
    first: int, frame: int, start: float, stop: float, before: Array, after: Array,
    tables: Tables, model: Array, seed: int, hot: Array, hot_rate: float, pixels: Pixels,
    weights: Weights, hits: Hits, scratch: Scratch, resume: Array, times: Array, marks: Array,
) -> int:  # fmt: skip
    """Move a slice of pixels, of which `first` is the first, to the next frame.

    before, after  codes of the two frames
    hot            pixels, in order, that fire at `hot_rate` a microsecond
    resume         (tile, block, whether its noise is drawn) to go on with, and in the end where it
                   stopped

    Returns the number of events, written to times (int32, microseconds since `start`) and marks
    (int64: pixel * 4 + noise * 2 + polarity), in order of pixels. Stops early, with resume[0] short
    of the number of tiles, where there is no room: in the hits if resume[2] is -1, else in times
    and marks. Make it, set resume[2] back to 0 if it was -1, and call again.
    """
    n = 0
    size = after.size
    noise = model[M_SHOT] > 0.0 or hot.size > 0
    changed, words, wakes = scratch.changed, scratch.words, scratch.wakes
    begun, since, quiet, soonest = pixels.begun, pixels.since, pixels.quiet, pixels.soonest
    hit_t, hit_choice, hits_from = hits.t, hits.choice, hits.start
    for tile in range(resume[0], (size + TILE - 1) // TILE):
        base = tile * TILE
        count = min(TILE, size - base)
        parts = (count + BLOCK - 1) // BLOCK
        _changes(before[base : base + count], after[base : base + count], changed)
        if resume[2] == 0 and noise:
            drawn = _draw(
                tile, count, first, frame, stop - start, model, seed, after, tables, hot,
                hot_rate, pixels, weights, hits, scratch,
            )  # fmt: skip
            resume[2] = 1 if drawn >= 0 else -1
        _wake(tile * PARTS, parts, stop, words, quiet, since, hit_choice, hits_from[parts], wakes)
        part = resume[1]
        while part < parts and resume[2] >= 0:
            end = part
            while end < parts and wakes[end] == 0:
                end += 1
            if n + hits_from[end] - hits_from[part] > times.size:
                break
            n = _strike(tile, part, end, first, start, model, begun, since, quiet, soonest, hit_t,
                        hit_choice, hits_from, hits.free, times, marks, n)  # fmt: skip
            part = end
            while end < min(parts, part + RUN // BLOCK) and wakes[end] != 0:
                end += 1
            if part < end:
                got = move(
                    tile, part, end - part, first, start, stop, before, after, words, tables,
                    model, seed, pixels, hits, scratch, times, marks, n,
                )  # fmt: skip
                if got < 0:
                    break
                n, part = got, end
        if part < parts:
            resume[0], resume[1] = tile, part
            return n
        resume[0], resume[1], resume[2] = tile + 1, 0, 0
    return n
