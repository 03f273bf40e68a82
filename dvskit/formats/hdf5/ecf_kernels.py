# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Compiled loops of the HDF5 formats: Prophesee's ECF codec, and the check of a block.

ECF is read from its public source (github.com/prophesee-ai/hdf5_ecf). A chunk of events, numbers
little-endian:

    u32  count << 2 | flags      flag 2: y, x, p packed together; flag 1: x, p packed
    u64  time of the first event, then bytes (dt << 4 | run): `run` events dt after the ones ahead.
         run 15: a u16 follows, the run. dt 15: the low four bits are a digit, the lowest first,
         of a longer step, which ends at a byte of another dt.
    flag 2           4 events in 12 bytes, each 24 bits (y << 12 | x << 1 | p)
    else             y: u16 (y << 5 | run), run 31: a u16 follows, the run
       flag 1        4 events in 6 bytes, each 12 bits (x << 1 | p)
       else          x: u16 (x << 5 | mask): x, then x + 1 .. x + 5 for the bits set, high bit first
                     p: bytes (p << 7 | run), run 127: a u16 follows, the run
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.unaligned import load_i64, load_u16, load_u32

Bytes = NDArray[np.uint8]
Times = NDArray[np.int64]
Places = NDArray[np.int16]
Flags = NDArray[np.bool_]

# What decode returns instead of a length, and what is wrong then (see `ecf.PROBLEMS`).
ENDS_EARLY, LONG_RUN, EMPTY_RUN, LONG_STEP = -1, -2, -3, -4


@njit(cache=True, nogil=True)
def _run(data: Bytes, at: int, run: int, most: int, left: int) -> tuple[int, int]:
    """Return a run and where the next byte is; a run of `most` says that its length follows.

    The run is negative, and says what is wrong, if it is cut, empty, or longer than what is `left`.
    """
    if run == most:
        if at + 2 > len(data):
            return ENDS_EARLY, at
        run = load_u16(data, at)
        at += 2
    if run == 0:
        return EMPTY_RUN, at
    return (LONG_RUN if run > left else run), at


@njit(cache=True, nogil=True)
def _decode_t(data: Bytes, at: int, count: int, t: Times) -> int:
    end = len(data)
    if at + 8 > end:
        return ENDS_EARLY
    now = load_i64(data, at)
    at += 8
    i = 0
    digit = 0
    while i < count:
        if at >= end:
            return ENDS_EARLY
        step = np.int64(data[at] >> 4)
        run = np.int64(data[at] & 15)
        at += 1
        if step == 15:
            if digit == 16:
                return LONG_STEP
            # A step adds up digit by digit: the sum is the same as that of the whole.
            now += run << (4 * digit)
            digit += 1
            continue
        digit = 0
        now += step
        run, at = _run(data, at, run, 15, count - i)
        if run < 0:
            return run
        for k in range(i, i + run):
            t[k] = now
        i += run
    return at


@njit(cache=True, nogil=True)
def _decode_y(data: Bytes, at: int, count: int, y: Places) -> int:
    end = len(data)
    i = 0
    while i < count:
        if at + 2 > end:
            return ENDS_EARLY
        value = load_u16(data, at)
        at += 2
        run = value & 31
        run, at = _run(data, at, run, 31, count - i)
        if run < 0:
            return run
        row = np.int16(value >> 5)
        for k in range(i, i + run):
            y[k] = row
        i += run
    return at


@njit(cache=True, nogil=True)
def _decode_x(data: Bytes, at: int, count: int, x: Places) -> int:
    end = len(data)
    i = 0
    while i < count:
        if at + 2 > end:
            return ENDS_EARLY
        value = load_u16(data, at)
        at += 2
        column = value >> 5
        x[i] = column
        i += 1
        mask = value & 31
        for k in range(5):
            # Prophesee's encoder may set bits for events behind the last: they are none.
            if mask & (16 >> k) and i < count:
                x[i] = column + k + 1
                i += 1
    return at


@njit(cache=True, nogil=True)
def _decode_p(data: Bytes, at: int, count: int, p: Flags) -> int:
    end = len(data)
    i = 0
    while i < count:
        if at >= end:
            return ENDS_EARLY
        value = np.int64(data[at])
        at += 1
        run = value & 127
        run, at = _run(data, at, run, 127, count - i)
        if run < 0:
            return run
        on = value >= 128
        for k in range(i, i + run):
            p[k] = on
        i += run
    return at


@njit(cache=True, nogil=True)
def _decode_xp(data: Bytes, at: int, count: int, x: Places, p: Flags) -> int:
    groups = (count + 3) // 4
    if at + 6 * groups > len(data):
        return ENDS_EARLY
    for group in range(groups):
        a = load_u16(data, at)
        b = load_u16(data, at + 2)
        c = load_u16(data, at + 4)
        at += 6
        i = 4 * group
        left = min(4, count - i)
        for k in range(left):
            if k == 0:
                value = a >> 4
            elif k == 1:
                value = (a & 0xF) | ((b >> 8) << 4)
            elif k == 2:
                value = (b & 0xFF) | ((c >> 12) << 8)
            else:
                value = c & 0xFFF
            x[i + k] = value >> 1
            p[i + k] = (value & 1) != 0
    return at


@njit(cache=True, nogil=True)
def _decode_yxp(data: Bytes, at: int, count: int, x: Places, y: Places, p: Flags) -> int:
    groups = (count + 3) // 4
    if at + 12 * groups > len(data):
        return ENDS_EARLY
    for group in range(groups):
        a = load_u32(data, at)
        b = load_u32(data, at + 4)
        c = load_u32(data, at + 8)
        at += 12
        i = 4 * group
        left = min(4, count - i)
        for k in range(left):
            if k == 0:
                value = a >> 8
            elif k == 1:
                value = (a & 0xFF) | ((b >> 16) << 8)
            elif k == 2:
                value = (b & 0xFFFF) | ((c >> 24) << 16)
            else:
                value = c & 0xFFFFFF
            y[i + k] = (value >> 12) & 0x7FF
            x[i + k] = (value >> 1) & 0x7FF
            p[i + k] = (value & 1) != 0
    return at


@njit(cache=True, nogil=True)
def ecf_decode(data: Bytes, count: int, t: Times, x: Places, y: Places, p: Flags) -> int:
    """Decode the `count` events that the first word of `data` claims; return the bytes used.

    t, x, y, p hold `count` at least. A negative number says what is wrong.
    """
    flags = data[0] & 3
    at = _decode_t(data, 4, count, t)
    if at < 0:
        return at
    if flags & 2:
        return _decode_yxp(data, at, count, x, y, p)
    at = _decode_y(data, at, count, y)
    if at < 0:
        return at
    if flags & 1:
        return _decode_xp(data, at, count, x, p)
    at = _decode_x(data, at, count, x)
    if at < 0:
        return at
    return _decode_p(data, at, count, p)


@njit(cache=True, nogil=True)
def _same(values: NDArray[Any], start: int) -> int:
    """Return how many of the values from `start` on are the same as the first."""
    stop = start + 1
    while stop < len(values) and values[stop] == values[start]:
        stop += 1
    return stop - start


@njit(cache=True, nogil=True)
def _put(out: Bytes, at: int, value: int, width: int) -> int:
    for k in range(width):
        out[at + k] = np.uint8((value >> (8 * k)) & 0xFF)
    return at + width


@njit(cache=True, nogil=True)
def _encode_t(t: Times, out: Bytes, at: int) -> int:
    count = len(t)
    at = _put(out, at, t[0], 8)
    now = t[0]
    i = 0
    while i < count:
        step = t[i] - now
        if step >= 15:
            while step > 0:
                out[at] = np.uint8(0xF0 | (step & 15))
                at += 1
                step >>= 4
        now = t[i]
        run = _same(t, i)
        if run >= 15:
            out[at] = np.uint8((step << 4) | 15)
            at = _put(out, at + 1, run, 2)
        else:
            out[at] = np.uint8((step << 4) | run)
            at += 1
        i += run
    return at


@njit(cache=True, nogil=True)
def _encode_y(y: Places, out: Bytes, at: int) -> int:
    count = len(y)
    i = 0
    while i < count:
        row, run = np.int64(y[i]), _same(y, i)
        at = _put(out, at, (row << 5) | min(run, 31), 2)
        if run >= 31:
            at = _put(out, at, run, 2)
        i += run
    return at


@njit(cache=True, nogil=True)
def _encode_x(x: Places, out: Bytes, at: int) -> int:
    count = len(x)
    i = 0
    while i < count:
        column = np.int64(x[i])
        i += 1
        mask = 0
        for k in range(5):
            if i < count and x[i] == column + k + 1:
                mask |= 16 >> k
                i += 1
        at = _put(out, at, (column << 5) | mask, 2)
    return at


@njit(cache=True, nogil=True)
def _encode_p(p: Flags, out: Bytes, at: int) -> int:
    count = len(p)
    i = 0
    while i < count:
        run = _same(p, i)
        out[at] = np.uint8((128 if p[i] else 0) | min(run, 127))
        at += 1
        if run >= 127:
            at = _put(out, at, run, 2)
        i += run
    return at


@njit(cache=True, nogil=True)
def _encode_packed(x: Places, y: Places, p: Flags, with_y: bool, out: Bytes, at: int) -> int:
    count = len(x)
    values = np.zeros(4, np.int64)
    for start in range(0, count, 4):
        for k in range(4):
            i = start + k
            values[k] = 0
            if i < count:
                values[k] = (np.int64(x[i]) << 1) | np.int64(p[i])
                if with_y:
                    values[k] |= np.int64(y[i]) << 12
        a, b, c, d = values[0], values[1], values[2], values[3]
        if with_y:
            at = _put(out, at, (a << 8) | (b & 0xFF), 4)
            at = _put(out, at, ((b >> 8) << 16) | (c & 0xFFFF), 4)
            at = _put(out, at, ((c >> 16) << 24) | d, 4)
        else:
            at = _put(out, at, (a << 4) | (b & 0xF), 2)
            at = _put(out, at, ((b >> 4) << 8) | (c & 0xFF), 2)
            at = _put(out, at, ((c >> 8) << 12) | d, 2)
    return at


@njit(cache=True, nogil=True)
def ecf_size(x: Places, y: Places, p: Flags) -> tuple[int, int, int]:
    """Return the bytes of y as runs, of x as masks, and of p as runs: what packing has to beat."""
    count = len(x)
    y_bytes = x_bytes = p_bytes = 0
    i = 0
    while i < count:
        run = _same(y, i)
        y_bytes += 4 if run >= 31 else 2
        i += run
    i = 0
    while i < count:
        column = np.int64(x[i])
        i += 1
        for k in range(5):
            if i < count and x[i] == column + k + 1:
                i += 1
        x_bytes += 2
    i = 0
    while i < count:
        run = _same(p, i)
        p_bytes += 3 if run >= 127 else 1
        i += run
    return y_bytes, x_bytes, p_bytes


@njit(cache=True, nogil=True)
def ecf_encode(t: Times, x: Places, y: Places, p: Flags, flags: int, out: Bytes) -> int:
    """Encode 1 to 65535 events in order of time; return the bytes written to `out`.

    `out` holds 32 + 24 bytes an event at least.
    """
    at = _put(out, 0, (len(t) << 2) | flags, 4)
    at = _encode_t(t, out, at)
    if flags & 2:
        return _encode_packed(x, y, p, True, out, at)
    at = _encode_y(y, out, at)
    if flags & 1:
        return _encode_packed(x, y, p, False, out, at)
    at = _encode_x(x, out, at)
    return _encode_p(p, out, at)


@njit(cache=True, nogil=True)
def fletcher32(data: Bytes) -> int:
    """Return HDF5's Fletcher-32 of `data`: big-endian 16-bit words, folded as the library does."""
    one = np.uint64(0)
    two = np.uint64(0)
    words = len(data) // 2
    at = 0
    while words:
        part = min(words, 360)
        words -= part
        for _ in range(part):
            one += (np.uint64(data[at]) << np.uint64(8)) | np.uint64(data[at + 1])
            at += 2
            two += one
        one = (one & np.uint64(0xFFFF)) + (one >> np.uint64(16))
        two = (two & np.uint64(0xFFFF)) + (two >> np.uint64(16))
    if len(data) % 2:
        one += np.uint64(data[at]) << np.uint64(8)
        two += one
        one = (one & np.uint64(0xFFFF)) + (one >> np.uint64(16))
        two = (two & np.uint64(0xFFFF)) + (two >> np.uint64(16))
    one = (one & np.uint64(0xFFFF)) + (one >> np.uint64(16))
    two = (two & np.uint64(0xFFFF)) + (two >> np.uint64(16))
    return np.int64((two << np.uint64(16)) | one)


@njit(cache=True, nogil=True)
def first_bad(t: Times, x: Places, y: Places, width: int, height: int, last: int) -> int:
    """Return the first event off the sensor or back in time (from `last` on); -1 if there is none.

    The common case is told apart without a branch an event.
    """
    count = len(t)
    bad = 0
    before = np.int64(last)
    for i in range(count):
        bad |= (t[i] < before) | (x[i] < 0) | (x[i] >= width) | (y[i] < 0) | (y[i] >= height)
        before = t[i]
    if not bad:
        return -1
    before = np.int64(last)
    for i in range(count):
        if t[i] < before or x[i] < 0 or x[i] >= width or y[i] < 0 or y[i] >= height:
            return i
        before = t[i]
    return -1


@njit(cache=True, nogil=True)
def unpack_lzf(data: Bytes, out: Bytes) -> int:
    """Undo LibLZF's compression (h5py's "lzf"); return the bytes made, -1 for impossible codes.

    A byte below 32 is ahead of one more plain bytes than it says. Any other is (length - 2) << 5
    and the upper 5 bits of a distance, 7 << 5 with a byte more of length; then the lower 8 bits.
    """
    at = made = 0
    while at < len(data):
        code = np.int64(data[at])
        at += 1
        if code < 32:
            run = code + 1
            if at + run > len(data) or made + run > len(out):
                return -1
            for k in range(run):
                out[made + k] = data[at + k]
            at += run
        else:
            run = code >> 5
            if run == 7:
                if at >= len(data):
                    return -1
                run += np.int64(data[at])
                at += 1
            run += 2
            if at >= len(data):
                return -1
            source = made - ((code & 31) << 8 | np.int64(data[at])) - 1
            at += 1
            if source < 0 or made + run > len(out):
                return -1
            for k in range(run):  # it may reach into itself
                out[made + k] = out[source + k]
        made += run
    return made


@njit(cache=True, nogil=True)
def unshuffle2(data: Bytes, out: NDArray[np.uint16]) -> None:
    """Undo the byte shuffle of items of 2 bytes: byte k of all of them stands together."""
    items = len(out)
    for i in range(items):
        out[i] = np.uint16(data[i]) | np.uint16(np.uint16(data[items + i]) << np.uint16(8))


@njit(cache=True, nogil=True)
def unshuffle4(data: Bytes, out: NDArray[np.uint32]) -> None:
    """Undo the byte shuffle of items of 4 bytes."""
    items = len(out)
    for i in range(items):
        low = np.uint32(data[i]) | np.uint32(data[items + i]) << np.uint32(8)
        high = np.uint32(data[2 * items + i]) | np.uint32(data[3 * items + i]) << np.uint32(8)
        out[i] = low | high << np.uint32(16)


@njit(cache=True, nogil=True)
def unshuffle8(data: Bytes, out: NDArray[np.uint64]) -> None:
    """Undo the byte shuffle of items of 8 bytes."""
    items = len(out)
    for i in range(items):
        value = np.uint64(data[i])
        value |= np.uint64(data[items + i]) << np.uint64(8)
        value |= np.uint64(data[2 * items + i]) << np.uint64(16)
        value |= np.uint64(data[3 * items + i]) << np.uint64(24)
        value |= np.uint64(data[4 * items + i]) << np.uint64(32)
        value |= np.uint64(data[5 * items + i]) << np.uint64(40)
        value |= np.uint64(data[6 * items + i]) << np.uint64(48)
        value |= np.uint64(data[7 * items + i]) << np.uint64(56)
        out[i] = value
