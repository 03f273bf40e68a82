# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""The likeliest way through bytes: words one behind another, and gaps of any length between them.

Each word is weighed by how much likelier its bytes are at this place than by chance, in bits, given
the words ahead of it; a gap costs GAP bits. The best of all ways is found in one go (Viterbi 1967,
Error bounds for convolutional codes).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.order_kernels import count_bits
from dvskit.formats.unaligned import load_u32
from dvskit.formats.words import layout as w

GAP = 48
_BAD, _FAR = -14, -6
_FAR_BITS = 24  # of a step of time that says nothing for a word
_NEXT, _SOON, _LATER = 16, 8, -4  # for a TIME_HIGH, by its step
_SECOND, _LONG = 1 << 14, 1 << 24  # of 64 us
_RING = 16  # bytes that a word may reach ahead, and more
_NONE = -(1 << 60)


@njit(cache=True, nogil=True)
def bit_length(value: int) -> int:
    """Return how many bits it takes to write a number."""
    bits = 0
    while value > 0:
        bits += 1
        value >>= 1
    return bits


@njit(cache=True, nogil=True)
def fields(address: int, look: NDArray[np.int64]) -> tuple[int, int, int]:
    """Return the column, row and polarity that an address of DAT holds."""
    x = address >> look[w.W_X_AT] & ((1 << look[w.W_X_BITS]) - 1)
    y = address >> look[w.W_Y_AT] & ((1 << look[w.W_Y_BITS]) - 1)
    return x, y, address >> look[w.W_P_AT] & ((1 << look[w.W_P_BITS]) - 1)


@njit(cache=True, nogil=True)
def _weigh_address(
    time: int,
    address: int,
    look: NDArray[np.int64],
    width: int,
    height: int,
    high: int,
    before: int,
) -> tuple[int, int, int, int, int]:
    column, row, on = fields(address, look)
    step = (time - high) & 0xFFFFFFFF
    if column >= width or row >= height or on > 1 or address & look[w.W_ZEROS] != 0:
        return _BAD, 8, high, -1, address
    if high < 0 or (step == 0 and address == before):
        return 0, 8, time, -1, address
    if step >= 1 << _FAR_BITS:
        return _FAR if step < 1 << 31 else _BAD, 8, time, -1, address
    return _FAR_BITS - bit_length(step), 8, time, -1, address


@njit(cache=True, nogil=True)
def _weigh(
    content: NDArray[np.uint8],
    at: int,
    look: NDArray[np.int64],
    width: int,
    height: int,
    good: int,
    high: int,
    low: int,
    before: int,
) -> tuple[int, int, int, int, int]:
    """Return what speaks for a word at a byte, how long it is, and what is known behind it.

    That is the clock, the low part of time and the latest event ahead; -1 where it is not known.
    """
    if look[w.W_X_BITS] > 0:
        time, address = load_u32(content, at), load_u32(content, at + 4)
        return _weigh_address(time, address, look, width, height, high, before)
    size = 4 * look[w.W_UNITS]
    word = load_u32(content, at + 4 * look[w.W_HEAD])
    kind = word >> 28
    mask = np.int64(1)
    if look[w.W_MANY] >> kind & 1:
        if size == 4:
            size = 8 if at + 8 <= content.size else 4  # the last one may lack its mask
            mask = load_u32(content, at + 4) if size == 8 else 0
        else:
            mask = load_u32(content, at + 4 - 4 * look[w.W_HEAD])
    if mask == 0 or look[w.W_OTHERS] >> kind & 1:
        return 0, size, high, low, before
    if (look[w.W_ONES] | look[w.W_MANY]) >> kind & 1:
        now = word >> 22 & 0x3F
        if (word >> 11 & 0x7FF) >= width or (word & 0x7FF) >= height:
            return _BAD, size, high, low, word
        if now < low:
            return _BAD, size, high, now, word
        if word == before:  # the same pixel at the same time
            return 0, size, high, now, word
        return max(1, good - count_bits(mask) // 2), size, high, now, word
    if look[w.W_HIGH] >> kind & 1:
        value = word & 0xFFFFFFF
        step = (value - high) & 0xFFFFFFF
        if high < 0:
            return 0, size, value, -1, before
        if step <= 1:  # bytes that are always the same, read out of step, are a clock that stands
            return _NEXT * step, size, value, low if step == 0 else -1, before
        bits = _SOON if step < _SECOND else _LATER if step < _LONG else _BAD
        return bits, size, value, -1, before
    return _BAD, size, high, low, before


@njit(cache=True, nogil=True)
def line_up(
    content: NDArray[np.uint8],
    look: NDArray[np.int64],
    width: int,
    height: int,
    high: int,
    gaps: NDArray[np.int64],
) -> tuple[int, int]:
    """Find the bytes that are in no word; rows of `gaps` are (start, stop), from the end on.

    Returns how many there are, no more than there is room for, and where the last word ends, or the
    last gap. `high` is the clock ahead of the first byte, -1 for none.
    """
    wide, n = 4 * look[w.W_UNITS], content.size
    good = 2 + bit_length((1 << 22) // max(1, width * height))
    score = np.full(_RING, _NONE, np.int64)
    known = np.full((_RING, 3), -1, np.int64)
    sizes = np.zeros(n + 1, np.uint8)  # of the word that ends at a byte
    opened = np.full(n + 1, -1, np.int32)  # where the gap begins behind which a word starts
    score[0], known[0, 0] = 0, high
    gap, gap_at = _NONE, 0
    best, end = _NONE, n
    for at in range(n + 1):
        place = at % _RING
        here = score[place]
        if here - GAP > gap:
            gap, gap_at = here - GAP, at
        if at > n - wide:
            if here > best:
                best, end = here, at
            score[place] = _NONE
            if at == n and gap > best:
                opened[n], end, best = gap_at, n, gap
            continue
        clock, low, before = known[place, 0], known[place, 1], known[place, 2]
        begins = gap > here
        if begins:
            # With the clock ahead of the gap, a word behind a step of it could never get ahead;
            # without any, none of an event's time could, where words out of step do well too.
            here, low, before = gap, np.int64(-1), np.int64(-1)
            clock = load_u32(content, at - 8) if look[w.W_X_BITS] > 0 and at >= 8 else np.int64(-1)
            opened[at] = gap_at
        score[place] = _NONE
        bits, size, after, low, before = _weigh(
            content, at, look, width, height, good, clock, low, before
        )
        if begins and bits < 0:
            bits, size, after, low, before = _weigh(
                content, at, look, width, height, good, -1, -1, -1
            )
        to = (at + size) % _RING
        if at + size <= n and here + bits > score[to]:
            score[to] = here + bits
            known[to, 0], known[to, 1], known[to, 2] = after, low, before
            sizes[at + size] = size
    count, at = 0, end
    while at > 0:
        if opened[at] >= 0:
            if count == gaps.shape[0]:
                break
            gaps[count, 0], gaps[count, 1] = opened[at], at
            count += 1
            at = opened[at]
            if at == 0:
                break
        at -= np.int64(sizes[at])
    return count, end
