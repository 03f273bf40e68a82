# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Compiled loops of Prophesee's ECF codec.

ECF follows its public source (github.com/prophesee-ai/hdf5_ecf). A chunk of events, with
little-endian numbers:

    u32  count << 2 | flags      flag 2: y, x, p packed together; flag 1: x, p packed
    u64  time of the first event, then bytes (dt << 4 | run): `run` events dt after the ones before.
         run 15: the run follows as a u16. dt 15: the low four bits are a digit, the lowest first,
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

from dvskit.formats.order_kernels import load_i64, load_u16, load_u32

Bytes = NDArray[np.uint8]
Times = NDArray[np.int64]
Places = NDArray[np.int16]
Flags = NDArray[np.bool_]

# Results of decode other than a length, and their meaning (see `table`).
ENDS_EARLY, LONG_RUN, EMPTY_RUN, LONG_STEP = -1, -2, -3, -4


@njit(cache=True, nogil=True)
def _run(data: Bytes, at: int, run: int, most: int, left: int) -> tuple[int, int]:
    """Return a run and the offset of the next byte; for a run of `most` its length follows.

    The run is a negative error code if it is cut, empty, or longer than the `left` values.
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
            # A step is added digit by digit: the sum is that of the whole.
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


def _run_decoder(octets: int, bits: int) -> Any:
    """Return a decoder of values in words of `octets`, each above the `bits` of its run."""
    most = (1 << bits) - 1

    @njit(cache=True, nogil=True)
    def decode(data: Bytes, at: int, count: int, out: NDArray[Any]) -> int:
        i = 0
        while i < count:
            if at + octets > len(data):
                return ENDS_EARLY
            word = load_u16(data, at) if octets == 2 else np.int64(data[at])
            at += octets
            run, at = _run(data, at, word & most, most, count - i)
            if run < 0:
                return run
            value = word >> bits
            for k in range(i, i + run):
                out[k] = value
            i += run
        return at

    return decode


_decode_y, _decode_p = _run_decoder(2, 5), _run_decoder(1, 7)


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
            # Prophesee's encoder may set bits after the last event: they are ignored.
            if mask & (16 >> k) and i < count:
                x[i] = column + k + 1
                i += 1
    return at


def _packed_decoder(octets: int) -> Any:
    """Return a decoder of groups of 4 events in 3 words of 2 octets (x, p) or 4 (y, x, p)."""
    third = 2 * octets  # of the bits of an event

    @njit(cache=True, nogil=True)
    def decode(data: Bytes, at: int, count: int, x: Places, y: Places, p: Flags) -> int:
        groups = (count + 3) // 4
        if at + 3 * octets * groups > len(data):
            return ENDS_EARLY
        for group in range(groups):
            if octets == 4:
                a, b, c = load_u32(data, at), load_u32(data, at + 4), load_u32(data, at + 8)
            else:
                a, b, c = load_u16(data, at), load_u16(data, at + 2), load_u16(data, at + 4)
            at += 3 * octets
            i = 4 * group
            left = min(4, count - i)
            for k in range(left):
                if k == 0:
                    value = a >> third
                elif k == 1:
                    value = a & (1 << third) - 1 | b >> 2 * third << third
                elif k == 2:
                    value = b & (1 << 2 * third) - 1 | c >> 3 * third << 2 * third
                else:
                    value = c & (1 << 3 * third) - 1
                if octets == 4:
                    y[i + k] = value >> 12
                x[i + k] = value >> 1 & 0x7FF
                p[i + k] = (value & 1) != 0
        return at

    return decode


_decode_xp, _decode_yxp = _packed_decoder(2), _packed_decoder(4)


@njit(cache=True, nogil=True)
def ecf_decode(data: Bytes, count: int, t: Times, x: Places, y: Places, p: Flags) -> int:
    """Decode the `count` events that the first word of `data` claims; return the bytes used.

    t, x, y, p hold at least `count`. A negative result is an error code.
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
        return _decode_xp(data, at, count, x, y, p)
    at = _decode_x(data, at, count, x)
    if at < 0:
        return at
    return _decode_p(data, at, count, p)


@njit(cache=True, nogil=True)
def _same(values: NDArray[Any], start: int) -> int:
    """Return how many values from `start` on equal the first."""
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
def _encode_runs(values: NDArray[Any], bits: int, octets: int, out: Bytes, at: int) -> int:
    most = (1 << bits) - 1
    i = 0
    while i < len(values):
        run = _same(values, i)
        at = _put(out, at, np.int64(values[i]) << bits | min(run, most), octets)
        if run >= most:
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
def _encode_packed(x: Places, y: Places, p: Flags, octets: int, out: Bytes, at: int) -> int:
    count, third = len(x), 2 * octets
    values = np.zeros(4, np.int64)
    for start in range(0, count, 4):
        for k in range(4):
            i = start + k
            values[k] = 0
            if i < count:
                values[k] = np.int64(x[i]) << 1 | np.int64(p[i])
                if octets == 4:
                    values[k] |= np.int64(y[i]) << 12
        a, b, c, d = values[0], values[1], values[2], values[3]
        at = _put(out, at, a << third | b & (1 << third) - 1, octets)
        at = _put(out, at, b >> third << 2 * third | c & (1 << 2 * third) - 1, octets)
        at = _put(out, at, c >> 2 * third << 3 * third | d, octets)
    return at


@njit(cache=True, nogil=True)
def ecf_encode(t: Times, x: Places, y: Places, p: Flags, out: Bytes) -> int:
    """Encode 1 to 65535 events in order of time, in the smallest of the three forms.

    x and y are below 2048. Returns the bytes written to `out`, which holds 32 + 24 bytes per event.
    """
    begin = _encode_t(t, out, 4)
    behind_y = _encode_runs(y, 5, 2, out, begin)
    at = _encode_runs(p, 7, 1, out, _encode_x(x, out, behind_y))
    groups = (len(t) + 3) // 4
    flags, with_xp = 0, min(at - behind_y, 6 * groups)
    if 12 * groups <= behind_y - begin + with_xp:
        flags, at = 2, _encode_packed(x, y, p, 4, out, begin)
    elif 6 * groups <= at - behind_y:
        flags, at = 1, _encode_packed(x, y, p, 2, out, behind_y)
    _put(out, 0, len(t) << 2 | flags, 4)
    return at
