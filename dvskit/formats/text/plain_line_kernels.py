"""Plain lines: digits and a single separator, nothing else. Several bytes are read at once.

Bytes are given by their addresses: an array passed between functions would be reference-counted
each time, and its indices checked for negative values. The caller keeps the bytes alive and checks
their length.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import types
from numba.extending import intrinsic

WINDOW = 32  # bytes that `marks` reads


def _untyped(function: Any) -> Any:
    """Hide an intrinsic's type from type checkers: its first parameter is numba's."""
    return intrinsic(function)


def _load(builder: Any, address: Any, kind: Any) -> Any:
    return builder.load(builder.inttoptr(address, ir.PointerType(kind)), align=1, typ=kind)


def _loader(bits: int, given: Any) -> Any:
    @intrinsic
    def load(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = _load(builder, arguments[0], ir.IntType(bits))
            return value if bits == given.bitwidth else builder.zext(value, ir.IntType(64))

        return given(types.int64), generate

    return load


# The 8 or 4 bytes at an address as one number, the first byte lowest; and one byte as an int64.
load64, load32 = _loader(64, types.uint64), _loader(32, types.uint32)
byte_at = _loader(8, types.int64)


@_untyped
def first_bit(typing_context: Any, value: Any) -> Any:
    """Return the index of the lowest set bit of a uint64 other than 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        function = builder.module.declare_intrinsic(
            "llvm.cttz", [word], ir.FunctionType(word, [word, ir.IntType(1)])
        )
        return builder.call(function, [arguments[0], ir.Constant(ir.IntType(1), 1)])

    return types.int64(types.uint64), generate


@_untyped
def marks(typing_context: Any, address: Any) -> Any:
    """Return bits for the WINDOW bytes at an address that are not digits.

    Bits 0 to 31: not 0 to 9, nor one of - . /. Bits 32 to 63: one of - . / (45 to 47, just below
    0).
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.VectorType(ir.IntType(8), WINDOW)

        def every(byte: int) -> Any:
            return ir.Constant(kind, [byte] * WINDOW)

        def bits(test: str, byte: int) -> Any:
            mask = builder.icmp_unsigned(test, from_minus, every(byte))
            return builder.zext(builder.bitcast(mask, ir.IntType(WINDOW)), ir.IntType(64))

        loaded = _load(builder, arguments[0], kind)
        from_minus = builder.sub(loaded, every(45))
        high = builder.shl(bits("<", 3), ir.Constant(ir.IntType(64), 32))
        return builder.or_(bits(">", 12), high)

    return types.uint64(types.int64), generate


@njit(cache=True, nogil=True)
def _eight(digits: Any) -> Any:
    """Return the value of eight digits, one byte each, the first one lowest.

    Neighbors are joined three times: ones to tens, those to thousands, those to all (the trick is
    Johnny Lee's; described by D. Lemire, Quickly parsing eight digits, 2018).
    """
    pairs = digits * np.uint64(10) + (digits >> np.uint64(8))
    low = np.uint64(0x000000FF000000FF)
    first = (pairs & low) * np.uint64(0x000F424000000064)
    second = ((pairs >> np.uint64(16)) & low) * np.uint64(0x0000271000000001)
    return np.int64((first + second) >> np.uint64(32)) & 0xFFFFFFFF


@njit(cache=True, nogil=True)
def number8(address: Any, length: Any) -> Any:
    """Return the number in the 1 to 8 digits at an address."""
    digits = load64(address) ^ np.uint64(0x3030303030303030)
    return _eight(digits << np.uint64(64 - 8 * length))


@njit(cache=True, nogil=True)
def number16(address: Any, length: Any) -> Any:
    """Return the number in the 1 to 16 digits at an address."""
    if length <= 8:
        return number8(address, length)
    last = number8(address + length - 8, 8)
    return number8(address, length - 8) * 100_000_000 + last


@njit(cache=True, nogil=True)
def number4(address: Any, length: Any) -> Any:
    """Return the number in the 1 to 4 digits at an address."""
    digits = np.uint32(load32(address) ^ np.uint32(0x30303030)) << np.uint32(32 - 8 * length)
    pairs = np.uint32(np.uint32(digits) * np.uint32(10) + (np.uint32(digits) >> np.uint32(8)))
    return np.int64(pairs & np.uint32(0xFF)) * 100 + np.int64((pairs >> np.uint32(16)) & 0xFF)


@njit(cache=True, nogil=True)
def fraction_us(address: Any, length: Any) -> Any:
    """Return the decimals of a second at an address in microseconds, rounded."""
    digits = load64(address) ^ np.uint64(0x3030303030303030)
    if length < 8:
        digits &= (np.uint64(1) << np.uint64(8 * length)) - np.uint64(1)
    return (_eight(digits) + 50) // 100  # the seventh decimal decides


@njit(cache=True, nogil=True, inline="always")
def _time_us(at: Any, end: Any, point: Any) -> Any:
    """Return the time between two addresses in microseconds, or -1 if it is not plain.

    `point` is the place of its decimal point if it is in seconds, else -1.
    """
    if point < 0:
        return number16(at, end - at) if 1 <= end - at <= 16 else -1
    if point <= at or point - at > 12 or point >= end:
        return -1
    return number16(at, point - at) * 1_000_000 + fraction_us(point + 1, min(8, end - point - 1))


@njit(cache=True, nogil=True, inline="always")
def plain_line(
    at: Any,
    end: Any,
    shifts: int,
    separator: Any,
    returns: int,
    seconds: bool,
) -> tuple[bool, Any, Any, Any, Any, Any]:
    """Parse the line at an address if it is plain: digits and a single separator, nothing else.

    `shifts` are the positions of time, column, row and polarity in a line: 8 times the index, a
    byte each; `returns` is the number of carriage returns at the end, 0 or 1. Returns whether the
    line is plain; the start of the next one; and time, column, row and polarity.
    """
    one, byte = np.uint64(1), np.uint64(0xFF)
    seen = marks(at)
    stops = seen & np.uint64(0xFFFFFFFF)
    end0 = first_bit(stops)
    stops &= stops - one
    end1 = first_bit(stops)
    stops &= stops - one
    end2 = first_bit(stops)
    stops &= stops - one
    end3 = first_bit(stops)
    stop = at + end3 + returns
    following = stop + 1
    if stops == 0:
        return False, 0, 0, 0, 0, 0  # fewer than four fields, or a long line
    # Only the place of the line's end may reach `following`: the next line waits for it.
    wrong = (
        (byte_at(at + end0) ^ separator)
        | (byte_at(at + end1) ^ separator)
        | (byte_at(at + end2) ^ separator)
        | (byte_at(stop) ^ 10)
        | (byte_at(at + end3) ^ (13 if returns else 10))
    )
    # The ends of the fields, and the bytes at which they begin, a byte each.
    ends = np.uint64(end0 | end1 << 8 | end2 << 16 | end3 << 24)
    starts = (ends << np.uint64(8)) + np.uint64(0x01010100)
    time_at = np.uint64(shifts) & byte
    column_at = np.uint64(shifts) >> np.uint64(8) & byte
    row_at = np.uint64(shifts) >> np.uint64(16) & byte
    polarity_at = np.uint64(shifts) >> np.uint64(24)

    sign = np.int64(starts >> polarity_at & byte)
    negative = np.int64(byte_at(at + sign) == 45)
    odd = (seen >> np.uint64(32)) & ((one << np.uint64(end3)) - one)
    odd ^= np.uint64(negative) << np.uint64(sign)
    point = np.int64(-1)
    if seconds:
        if odd == 0 or odd & (odd - one) != 0:
            return False, 0, 0, 0, 0, 0
        point = at + first_bit(odd)
        wrong |= byte_at(point) ^ 46
    elif odd != 0:
        return False, 0, 0, 0, 0, 0
    column, row = np.int64(starts >> column_at & byte), np.int64(starts >> row_at & byte)
    wide = np.int64(ends >> column_at & byte) - column
    high = np.int64(ends >> row_at & byte) - row
    on = np.int64(byte_at(at + sign + negative)) - 48
    single = np.int64(ends >> polarity_at & byte) - sign - negative == 1
    fine = (wrong == 0) & (following <= end) & single & (on <= 1) & (on >= negative)
    if not (fine and 1 <= wide <= 4 and 1 <= high <= 4):
        return False, 0, 0, 0, 0, 0
    first, last = np.int64(starts >> time_at & byte), np.int64(ends >> time_at & byte)
    time = _time_us(at + first, at + last, point)
    return (
        time >= 0,
        following,
        time,
        number4(at + column, wide),
        number4(at + row, high),
        on - 2 * negative,
    )
