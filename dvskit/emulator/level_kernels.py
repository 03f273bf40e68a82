# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops of the emulator: levels, crossings of thresholds, their sorting or counting, the readout.

Quiet pixels cost one byte comparison each. Arrays are flat and of a frame's length unless stated
otherwise.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

# A mark, int64: the pixel from bit MARK_PIXEL on, the noise flag, the ON flag.
MARK_PIXEL, MARK_NOISE, MARK_ON = 2, 2, 1

_PIXEL, _NOISE, _ON = np.uint32(MARK_PIXEL), np.uint32(MARK_NOISE), np.uint32(MARK_ON)
_TIME = np.uint64(32)  # shift of the time above the mark
_OF_PIXEL = np.uint64((1 << MARK_PIXEL) - 1)

NEAR_SHIFT = 15  # of levels, to look up codes: 2 entries lie between the brightest codes

# Plain tuples: a named tuple takes 2 us more per call.
Marked = tuple[Array, Array]
"""times (int32, microseconds since the previous frame) and marks (int64) of events."""
Columns = tuple[Array, Array, Array, Array, Array]
"""t, x, y, p of events, and their noise flags: of length 0 if not requested."""


@njit(cache=True, nogil=True)
def places(histograms: Array) -> None:
    """Turn counts (parts, times) into the index of the first event, in order of time, then part."""
    place = 0
    for t in range(histograms.shape[1]):
        for part in range(histograms.shape[0]):
            count = histograms[part, t]
            histograms[part, t] = place
            place += count


@njit(cache=True, nogil=True)
def count_times(times: Array, histogram: Array) -> None:
    """Add the number of `times` at each microsecond to `histogram`."""
    for i in range(times.size):
        histogram[times[i]] += 1


@njit(cache=True, nogil=True)
def scatter(times: Array, marks: Array, place: Array, packed: Array) -> None:
    """Put the events of a part in their places; `place` (one per microsecond) is advanced.

    packed  uint64, the time above 32 bits of mark
    """
    for o in range(times.size):
        time = np.uint64(times[o])
        d = np.uint64(place[time])  # unsigned indices need no bounds test
        place[time] += 1
        packed[d] = (time << _TIME) | np.uint64(marks[o])


@njit(cache=True, nogil=True)
def order_pixels(packed: Array) -> None:
    """Sort events of the same time by pixel; events of one pixel keep their order.

    packed  uint64, see `scatter`, in order of time
    """
    for d in range(1, packed.size):
        own = packed[d]
        if packed[d - 1] <= own | _OF_PIXEL:
            continue
        at = d
        while at > 0 and packed[at - 1] > own | _OF_PIXEL:
            packed[at] = packed[at - 1]
            at -= 1
        packed[at] = own


@njit(cache=True, nogil=True)
def unpack(packed: Array, start_us: int, width: int, events: Columns) -> None:
    """Fill in the events of an interval that begins at `start_us`.

    packed  uint64, see `scatter`
    """
    t, x, y, p, noise = events
    for d in range(packed.size):
        t[d] = start_us + np.int64(packed[d] >> _TIME)
    # A row is an integer and a fraction of at least half a column: rounding of the inverse cannot
    # reach the next integer.
    inverse = 1.0 / width
    across = np.int32(width)
    for d in range(packed.size):
        pixel = np.int32(np.uint32(packed[d]) >> _PIXEL)
        row = np.int32((pixel + 0.5) * inverse)
        y[d] = np.int16(row)
        x[d] = np.int16(pixel - np.int32(row * across))
    for d in range(packed.size):
        p[d] = (np.uint32(packed[d]) & _ON) != 0
    for d in range(noise.size):
        noise[d] = (np.uint32(packed[d]) & _NOISE) != 0


@njit(cache=True, nogil=True)
def add_crossings(times: Array, marks: Array, offset: int, bin_us: int, counts: Array) -> int:
    """Add events to counts (bins, 2, pixels), `offset` their zero in bins; return the outside."""
    missed = 0
    for o in range(times.size):
        t = offset + times[o]
        k = t // bin_us
        if k < 0 or k >= counts.shape[0]:
            missed += 1
        else:
            counts[k, marks[o] & MARK_ON, marks[o] >> MARK_PIXEL] += 1
    return missed


class FiringRule(NamedTuple):
    """The rule by which pixels fire: levels and thresholds in the same units.

    table    the level of each code; of length 0 if the codes are levels already
    nearest  see `index_codes`; used for 8-bit codes only
    """

    table: Array
    nearest: Array
    on: int
    off: int


class References(NamedTuple):
    """The reference level of each pixel, and the codes at which it fires.

    up, down  uint8, see `start_codes`; of length 0 if the codes do not have 8 bits
    """

    ref: Array
    up: Array
    down: Array

    def part(self, at: slice) -> References:
        """Return a slice of the pixels, as views."""
        return References(*(each[at] for each in self))


Interval = tuple[Array, Array, int, int]
"""Codes of a slice of pixels at both ends, index of its first pixel, and microseconds."""
Firing = tuple[Array, Array]
"""Pixels of a slice that fire in an interval, and the number of events of each, < 0 for OFF."""
LogMap = tuple[float, float, float, float]
"""The map from digital numbers to levels: offset, knee, slope and shift, see `level_of`."""


@njit(cache=True, nogil=True)
def level_of(number: float, log_map: LogMap) -> float:
    """Return L of a digital number: slope I up to the knee, then ln I + shift.

    With an offset >= 0 it is ln(I + offset) everywhere.
    """
    offset, knee, slope, shift = log_map
    if offset >= 0.0:
        return math.log(number + offset)
    return number * slope if number <= knee else math.log(number) + shift


@njit(cache=True, nogil=True)
def number_of(level: float, log_map: LogMap) -> float:
    """Return the digital number whose L is `level`: the inverse of `level_of`."""
    offset, knee, slope, shift = log_map
    if offset >= 0.0:
        return math.exp(level) - offset
    return level / slope if level <= knee * slope else math.exp(level - shift)


@njit(cache=True, nogil=True)
def light_of(number: float, dark: float = 20.0) -> float:
    """Return (I + dark) / (255 + dark) of a digital number: 1 for white, never 0; v2e's is 20."""
    return (number + dark) / (255.0 + dark)


@njit(cache=True, nogil=True)
def lights_of(levels: Array, log_map: LogMap, dark: float, lights: Array) -> None:
    """Fill `lights` with the light of each level, in e-folds, see `light_of`."""
    for k in range(levels.size):
        lights[k] = light_of(number_of(levels[k], log_map), dark)


@njit(cache=True, nogil=True)
def float_levels(
    frame: Array, log_map: LogMap, white: float, unit: float, brightest: float, levels: Array
) -> int:
    """Fill `levels`; return the index of the first invalid pixel, or -1."""
    for k in range(frame.size):
        value = frame[k]
        if not (value >= 0.0 and value <= brightest):
            return k
        level = level_of(value * white, log_map)
        levels[k] = np.int32(math.floor(level * unit + 0.5))
    return -1


@njit(cache=True, nogil=True)
def index_codes(table: Array, nearest: Array) -> None:
    """Fill `nearest`: the least code whose level is at least i << NEAR_SHIFT, 256 for none."""
    code = 0
    for i in range(nearest.size):
        while code < 256 and table[code] < i << NEAR_SHIFT:
            code += 1
        nearest[i] = code


@njit(cache=True, nogil=True)
def _least_code(level: int, table: Array, nearest: Array) -> int:
    """Return the least of 256 codes that is at least as bright as `level`, 256 for none."""
    at = level >> NEAR_SHIFT
    if at < 0:
        return 0
    if at >= nearest.size:
        return 256
    code = np.int64(nearest[at])
    while code < 256 and table[code] < level:
        code += 1
    return code


@njit(cache=True, nogil=True)
def _quotient(number: int, divisor: int) -> int:
    """Return number // divisor, both positive and below 2^62, by a faster float division."""
    quotient = np.int64(np.float64(number) / np.float64(divisor))
    rest = number - quotient * divisor
    if rest < 0:
        return quotient - 1
    return quotient + 1 if rest >= divisor else quotient


@njit(cache=True, nogil=True)
def start_codes(codes: Array, rule: FiringRule, up: Array, down: Array) -> None:
    """Fill `up` and `down` (uint8) for pixels whose reference is their first code.

    `up` is the least code bright enough for ON, `down` the greatest dark enough for OFF; 255 and 0
    stand for none: such a pixel is checked again, and gives no event.
    """
    table, nearest, on, off = rule
    ups = np.empty(256, np.uint8)
    downs = np.empty(256, np.uint8)
    for code in range(256):
        level = np.int64(table[code])
        ups[code] = min(255, _least_code(level + on, table, nearest))
        downs[code] = max(0, _least_code(level - off + 1, table, nearest) - 1)
    for k in range(codes.size):
        up[k] = ups[codes[k]]
        down[k] = downs[codes[k]]


@njit(cache=True, nogil=True)
def _crossings(level: int, ref: int, on: int, off: int) -> int:
    """Return how many thresholds lie between `ref` and `level`; negative for OFF."""
    change = np.int64(level) - np.int64(ref)
    if change >= 0:
        return _quotient(change, on)
    return -_quotient(-change, off)


@njit(cache=True, nogil=True)
def _list(loud: Array, who: Array) -> int:
    """List the indices marked in `loud` in `who`; return their number.

    `loud` is padded to whole words of 8, which are skipped if unmarked; `who` has the same length.
    """
    words = loud.view(np.uint64)
    listed = 0
    for w in range(words.size):
        if words[w] != 0:
            # Without branches: the marks are unpredictable.
            for k in range(w * 8, w * 8 + 8):
                who[listed] = k
                listed += loud[k]
    return listed


@njit(cache=True, nogil=True)
def _count(
    listed: int, who: Array, codes: Array, ref: Array, rule: FiringRule, counts: Array
) -> tuple[int, int]:
    """Count the events of the pixels in `who`, drop pixels without events; return both numbers."""
    table, _, on, off = rule
    tabled = table.size > 0
    total, firing = np.int64(0), 0
    for m in range(listed):
        k = who[m]
        level = np.int64(table[codes[k]] if tabled else codes[k])
        c = _crossings(level, ref[k], on, off)
        who[firing], counts[firing] = k, c
        firing += c != 0
        total += abs(c)
    return firing, total


@njit(cache=True, nogil=True)
def count_codes(
    codes: Array, references: References, rule: FiringRule, loud: Array, who: Array, counts: Array
) -> tuple[int, int]:
    """List the pixels that fire in `who`, with their events in `counts`, negative for OFF.

    loud  uint8, scratch, initially zeros; it and `who` are padded to whole words of 8

    Returns the number of pixels that fire and the number of their events.
    """
    ref, up, down = references
    for k in range(codes.size):
        loud[k] = (codes[k] >= up[k]) | (codes[k] <= down[k])
    return _count(_list(loud, who), who, codes, ref, rule, counts)


@njit(cache=True, nogil=True)
def count_levels(
    codes: Array, references: References, rule: FiringRule, loud: Array, who: Array, counts: Array
) -> tuple[int, int]:
    """Same as `count_codes`, for codes of more than 8 bits and for levels."""
    ref, table, on, off = references.ref, rule.table, rule.on, rule.off
    tabled = table.size > 0
    for k in range(codes.size):
        level = table[codes[k]] if tabled else codes[k]
        change = np.int64(level) - np.int64(ref[k])
        loud[k] = (change >= on) | (-change >= off)
    return _count(_list(loud, who), who, codes, ref, rule, counts)


@njit(cache=True, nogil=True)
def emit(
    seen: Interval, references: References, rule: FiringRule, firing: Firing, events: Marked
) -> None:
    """Write the events of a slice of pixels, in order of pixels, and move their references.

    Times are rounded to the nearest microsecond.
    """
    (table, nearest, on, off), (ref, up, down) = rule, references
    (before, after, first, interval), (who, counts), (times, marks) = seen, firing, events
    tabled = table.size > 0
    coded = up.size > 0
    o = 0
    for m in range(who.size):
        k, c = who[m], np.int64(counts[m])
        start = np.int64(table[before[k]] if tabled else before[k])
        stop = np.int64(table[after[k]] if tabled else after[k])
        rise = c > 0
        sign = np.int64(1) if rise else np.int64(-1)
        threshold = on if rise else off
        span = (stop - start) * sign
        way = (np.int64(ref[k]) - start) * sign
        mark = ((first + k) << MARK_PIXEL) | np.int64(rise)
        for _ in range(c * sign):
            way += threshold
            times[o] = _quotient(2 * way * interval + span, 2 * span)
            marks[o] = mark
            o += 1
        moved = np.int64(ref[k]) + c * threshold
        ref[k] = moved
        if coded:
            up[k] = min(255, _least_code(moved + on, table, nearest))
            down[k] = max(0, _least_code(moved - off + 1, table, nearest) - 1)


@njit(cache=True, nogil=True)
def read_out(
    t: Array, pixel: Array, ready: Array, rule: tuple[float, float, float], out: Array
) -> tuple[float, float]:
    """Fill `out` with the times of requests that are read in order, -1 for those lost.

    A pixel that waits for its readout makes no other event.

    t, pixel  int64, of the requests, in order of time (microseconds); out: int64
    ready     float64, per pixel: when its latest event is read
    rule      when the readout is free, and the microseconds that it takes for an event and for a
              scan of the whole sensor, 0 for none

    Returns when the readout is free again, and the longest wait.
    """
    free, each, scan = rule
    longest = 0.0
    for i in range(t.size):
        at, k = float(t[i]), pixel[i]
        if ready[k] > at:
            out[i] = -1
            continue
        when = (math.floor(at / scan) + 1.0) * scan if scan > 0.0 else at
        when = max(when, free)
        free = when + each
        ready[k] = when
        longest = max(longest, when - at)
        out[i] = math.floor(when + 0.5)
    return free, longest
