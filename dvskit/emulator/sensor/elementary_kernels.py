# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""exp and log without branches or look-ups: a loop over them works on several numbers at a time.

The range is cut down by powers of 2, the rest is a series: errors are below 1e-12, relative.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from dvskit.emulator.sensor.compiled import greater, kernel

_LOG2_E = 1.0 / math.log(2.0)
# ln 2 in two parts, so that a whole number of up to 11 bits times the first is exact.
_LN2_HIGH = float.fromhex("0x1.62e42feep-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_WHOLE = 1.5 * 2.0**52  # added to a number, it leaves the nearest whole one in the lowest bits
_LEAST = -700.0  # exp of less is as good as 0

_ONE = np.int64(0x3FF0000000000000)  # the bits of 1.0
_HALF_ROOT = np.int64(0x3FE6A09E667F3BCD)  # the bits of the root of 1/2
_FRACTION = np.int64(0x000FFFFFFFFFFFFF)
_TWO_52 = np.int64(0x4330000000000000)  # the bits of 2^52


def _bits_of(_: Any, number: Any) -> Any:
    """Return the bits of a float64, as int64."""

    def cast(_: Any, builder: Any, __: Any, given: Any) -> Any:
        return builder.bitcast(given[0], ir.IntType(64))

    return types.int64(types.float64), cast


def _of_bits(_: Any, number: Any) -> Any:
    """Return the float64 of these bits, an int64."""

    def cast(_: Any, builder: Any, __: Any, given: Any) -> Any:
        return builder.bitcast(given[0], ir.DoubleType())

    return types.float64(types.int64), cast


def _fma(_: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, rounded once: one instruction, and the same on every machine."""

    def multiply_add(_: Any, builder: Any, __: Any, given: Any) -> Any:
        return builder.fma(*given)

    return types.float64(types.float64, types.float64, types.float64), multiply_add


bits_of: Any = intrinsic(_bits_of)
of_bits: Any = intrinsic(_of_bits)
fma: Any = intrinsic(_fma)


@kernel
def exp(x: float) -> float:
    """Return e to the power of x, of -700 for less; x is at most 700."""
    x = greater(x, _LEAST)
    shifted = fma(x, _LOG2_E, _WHOLE)
    whole = shifted - _WHOLE
    r = fma(whole, -_LN2_LOW, fma(whole, -_LN2_HIGH, x))
    # The series up to r^11 / 11!; r is at most ln(2) / 2.
    s = fma(r, 1.0 / 39916800.0, 1.0 / 3628800.0)
    s = fma(r, s, 1.0 / 362880.0)
    s = fma(r, s, 1.0 / 40320.0)
    s = fma(r, s, 1.0 / 5040.0)
    s = fma(r, s, 1.0 / 720.0)
    s = fma(r, s, 1.0 / 120.0)
    s = fma(r, s, 1.0 / 24.0)
    s = fma(r, s, 1.0 / 6.0)
    s = fma(r, s, 0.5)
    s = fma(r, s, 1.0)
    s = fma(r, s, 1.0)
    return s * of_bits((bits_of(shifted) + np.int64(1023)) << np.int64(52))


@kernel
def log(x: float) -> float:
    """Return the natural logarithm of a normal number above 0; what it is of others is not said."""
    own = bits_of(x) + (_ONE - _HALF_ROOT)
    power = of_bits((own >> np.int64(52)) | _TWO_52) - (2.0**52 + 1023.0)
    # x is 2^power times a number from the root of 1/2 to that of 2.
    m = of_bits((own & _FRACTION) + _HALF_ROOT) - 1.0
    s = m / (2.0 + m)
    z = s * s
    # The series of 2 artanh(s); z is below 0.0295.
    t = fma(z, 2.0 / 17.0, 2.0 / 15.0)
    t = fma(z, t, 2.0 / 13.0)
    t = fma(z, t, 2.0 / 11.0)
    t = fma(z, t, 2.0 / 9.0)
    t = fma(z, t, 2.0 / 7.0)
    t = fma(z, t, 2.0 / 5.0)
    t = fma(z, t, 2.0 / 3.0)
    t = fma(z, t, 2.0)
    return fma(power, _LN2_HIGH + _LN2_LOW, s * t)
