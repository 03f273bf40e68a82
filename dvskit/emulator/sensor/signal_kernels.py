# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""The signal of a pixel between two frames, in closed form; and exp and log for it.

Log intensity is in units of 2^-24 e-fold, time in microseconds since the previous frame, in
float64. The log intensity L of a pixel is linear in time. After the photoreceptor (one pole, tau1,
by the intensity of the later frame) and the source follower (one pole, tau2) its signal is

    f(t) = a + b t + c1 exp(-k1 t) + c2 exp(-k2 t)

with k = 1 / tau: the closed solution of tau1 v' = L - v and tau2 u' = v - u.

exp and log have neither branches nor look-ups: a loop over them works on several numbers at a time.
The range is reduced by powers of 2, the rest is a series: relative errors are below 1e-12.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from dvskit.emulator.level_kernels import light_of, number_of
from dvskit.emulator.sensor.pixels import SensorModel, inlined, inner, kernel

Array = NDArray[Any]

Signal = tuple[float, float, float, float, float, float]
"""a, b, c1, k1, c2 and k2 of f."""
Slope = tuple[float, float, float, float, float]
"""b, c1, k1, c2 and k2: the parameters of the slope of f."""

UNIT = float(1 << 24)
NEAR_US = 1e-3  # accuracy of a crossing time

_LOG2_E = 1.0 / math.log(2.0)
# ln 2 in two parts, so that an integer of up to 11 bits times the first is exact.
_LN2_HIGH = float.fromhex("0x1.62e42feep-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_WHOLE = 1.5 * 2.0**52  # added to a number, it leaves the nearest integer in the lowest bits
_LEAST = -700.0  # exp of less is practically 0

_ONE = np.int64(0x3FF0000000000000)  # the bits of 1.0
_HALF_ROOT = np.int64(0x3FE6A09E667F3BCD)  # the bits of the root of 1/2
_FRACTION = np.int64(0x000FFFFFFFFFFFFF)
_TWO_52 = np.int64(0x4330000000000000)  # the bits of 2^52


def _cast(given: Any, to: Any, kind: Any) -> Any:
    """Return an intrinsic that reinterprets the bits of a number as another type."""

    def typed(_: Any, number: Any) -> Any:
        return to(given), lambda _, builder, __, own: builder.bitcast(own[0], kind)

    return typed


def _fma(_: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, rounded once: one instruction, the same on every machine."""
    three = types.float64, types.float64, types.float64
    return types.float64(*three), lambda _, builder, __, own: builder.fma(*own)


bits_of: Any = intrinsic(_cast(types.float64, types.int64, ir.IntType(64)))
of_bits: Any = intrinsic(_cast(types.int64, types.float64, ir.DoubleType()))
fma: Any = intrinsic(_fma)


@inlined
def lesser(first: Any, second: Any) -> Any:
    """Return the second of two numbers if it is less, else the first."""
    return second if second < first else first


@inlined
def greater(first: Any, second: Any) -> Any:
    """Return the second of two numbers if it is greater, else the first."""
    return second if second > first else first


@kernel
def exp(x: float) -> float:
    """Return e to the power of x, at least -700 (clipped) and at most 700."""
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
    """Return the natural logarithm of a normal number above 0; undefined for others."""
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


@inner
def relative_light(level: float, model: SensorModel) -> float:
    """Return the light of a pixel, (I + dark) / (255 + dark), from its level in units."""
    number = number_of(level / UNIT, model.log_map)
    return light_of(number, model.dark)


@inner
def apart(tau1: float, tau2: float) -> float:
    """Return tau1, slightly changed if near tau2: the closed solution has no double pole."""
    return tau2 * (1.0 + 1e-6) if abs(tau1 - tau2) < 1e-6 * tau2 else tau1


@kernel
def fill_poles(
    lights: Array, model: SensorModel, interval: float, tau: Array, lag: Array, kept: Array
) -> None:
    """Fill the photoreceptor's tables of one interval, by code.

    tau   microseconds; lag: tau / interval; kept: the share of a difference left after the interval
    """
    for code in range(lights.size):
        t = apart(model.pole / lights[code], model.tau2)
        tau[code] = t
        lag[code] = t / interval
        kept[code] = exp(-interval / t) if t > 0.0 else 0.0


@inner
def pole_of(level: float, model: SensorModel) -> float:
    """Return the photoreceptor's time constant at a level, 0 for none."""
    if model.pole == 0.0:
        return 0.0
    return apart(model.pole / relative_light(level, model), model.tau2)


@kernel
def curve(level: float, slope: float, v: float, u: float, tau1: float, tau2: float) -> Signal:
    """Return the signal that starts at v, u."""
    a = level - slope * tau1
    c1, k1 = 0.0, 0.0
    if tau1 > 0.0:
        c1, k1 = v - a, 1.0 / tau1
    if tau2 <= 0.0:
        return a, slope, c1, k1, 0.0, 0.0
    a2 = a - slope * tau2
    gained = c1 * tau1 / (tau1 - tau2) if tau1 > 0.0 else 0.0
    return a2, slope, gained, k1, u - a2 - gained, 1.0 / tau2


@inner
def value(signal: Signal, t: float) -> float:
    """Return the signal at t."""
    a, b, c1, k1, c2, k2 = signal
    found = a + b * t
    if c1 != 0.0:
        found += c1 * exp(-k1 * t)
    if c2 != 0.0:
        found += c2 * exp(-k2 * t)
    return found


@inner
def slope_at(slope: Slope, t: float) -> float:
    """Return the signal's slope at t."""
    b, c1, k1, c2, k2 = slope
    return b - c1 * k1 * exp(-k1 * t) - c2 * k2 * exp(-k2 * t)


@inner
def _turn(slope: Slope, low: float, high: float) -> float:
    """Return the zero of the slope, which is monotone from low to high; -1 if there is none."""
    at_low = slope_at(slope, low)
    at_high = slope_at(slope, high)
    if at_low == 0.0 or at_high == 0.0 or (at_low > 0.0) == (at_high > 0.0):
        return -1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if (slope_at(slope, middle) > 0.0) == (at_low > 0.0):
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


@inner
def turn_of_one(b: float, c: float, k: float, end: float, kept: float) -> float:
    """Return the time in (0, end) at which a signal of one pole turns; `end` for none.

    kept  exp(-k end)
    """
    steepest = c * k  # the slope is b - steepest exp(-k t)
    turns = ((kept * steepest < b) == (b < steepest)) & (b != steepest) & (c != 0.0)
    t = -log(b / steepest) / k
    return t if turns & (t > 0.0) & (t < end) else end


@kernel
def turns(slope: Slope, end: float, kept1: float, kept2: float) -> tuple[float, float]:
    """Return the times in (0, end) at which the signal turns, in order; `end` for none.

    kept1, kept2  exp(-k1 end), exp(-k2 end)
    """
    b, c1, k1, c2, k2 = slope
    if c1 == 0.0 and c2 == 0.0:
        return end, end
    if c2 == 0.0:
        return turn_of_one(b, c1, k1, end, kept1), end
    if c1 == 0.0:
        return turn_of_one(b, c2, k2, end, kept2), end
    # The slope itself turns at most once, where the second derivative is 0.
    bend = end
    ratio = -(c2 * k2 * k2) / (c1 * k1 * k1)
    if ratio > 0.0:
        t = log(ratio) / (k2 - k1)
        if 0.0 < t < end:
            bend = t
    first = _turn(slope, 0.0, bend)
    second = _turn(slope, bend, end) if bend < end else -1.0
    if first < 0.0:
        return (second, end) if second >= 0.0 else (end, end)
    return first, second if second >= 0.0 else end


@kernel
def closer(
    signal: Signal, two: bool, bracket: tuple[float, float, float], rising: bool, level: float
) -> tuple[float, float, float, bool]:
    """Return t, low, high and whether t is near, one step closer to where the signal is `level`.

    The signal is monotone from low to high of the bracket (t, low, high), and t between; `two` is
    whether c2 may be nonzero. Halley's steps; one that leaves the bracket halves it instead.
    Near is NEAR_US.
    """
    (a, b, c1, k1, c2, k2), (t, low, high) = signal, bracket
    e1 = c1 * exp(-k1 * t)
    off = a + b * t + e1 - level
    steep = b - k1 * e1
    bent = k1 * k1 * e1
    fastest = k1 * k1
    if two:
        e2 = c2 * exp(-k2 * t)
        off += e2
        steep -= k2 * e2
        bent += k2 * k2 * e2
        fastest += k2 * k2
    ahead = (off > 0.0) == rising
    high = t if ahead else high
    low = low if ahead else t
    # Newton's step is off / steep; bent * off / steep^2 is its relative shortfall.
    squared = steep * steep
    share = off * bent
    step = t - off * steep / (squared - 0.5 * share)
    inside = (abs(share) < squared) & (low <= step) & (step <= high)
    following = step if inside else 0.5 * (low + high)
    moved = abs(following - t)
    # The error after a step of Halley's falls with its third power.
    small = (abs(share) < 0.1 * squared) & (
        moved * moved * moved * (fastest * squared + bent * bent) < NEAR_US * squared
    )
    return following, low, high, (moved < NEAR_US) | (inside & small)
