"""The parts of a neuron in compiled code: chosen by type; None is compiled away.

`row`, `value` and `sink` are an array (N,), a float32, or None for a part that a neuron lacks.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.compiler import Compiler
from numba.extending import intrinsic, overload

_ZERO, _HALF, _ONE, _TWO = (np.float32(value) for value in (0, 0.5, 1, 2))
_LOG2_E = np.float32(1.44269504)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_LEAST_EXPONENT = np.float32(-87)  # e^-87 is still a normal number


class Unaliased(Compiler):
    """Compiles a function whose arrays do not overlap, so its loop is vectorized."""

    def define_pipelines(self) -> Any:
        """Return numba's own passes, with the arrays marked as not overlapping."""
        self.state.flags.noalias = True
        return super().define_pipelines()  # type: ignore[no-untyped-call]


# The surrogates by their parameters; Identity does not spike: the potential itself.
Arctan = namedtuple("Arctan", "height curve")  # ATan: height / (1 + curve u^2)
Fast = namedtuple("Fast", "slope")  # FastSigmoid
Logistic = namedtuple("Logistic", "alpha")  # Sigmoid
Tent = namedtuple("Tent", "width height")  # Triangle
Box = namedtuple("Box", "half height")  # Boxcar, by its half width
Through = namedtuple("Through", "height")  # StraightThrough
Identity = namedtuple("Identity", "height")

# The resets, distinguished by type.
Soft = namedtuple("Soft", "kind")
Hard = namedtuple("Hard", "kind")
NoReset = namedtuple("NoReset", "kind")


def _bitcast(to: Any, given: Any, to_ir: Any) -> Any:
    """Return a compiled function that reinterprets the bits of a `given` as a `to`."""

    def typed(context: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.bitcast(values[0], to_ir)

        return to(given), generate

    return intrinsic(typed)


_float_of_bits = _bitcast(types.float32, types.uint32, ir.FloatType())
_bits_of_float = _bitcast(types.uint32, types.float32, ir.IntType(32))


def is_none(kind: Any) -> bool:
    """Return whether an argument's type is that of None."""
    return isinstance(kind, types.NoneType) or kind is None


def _class(kind: Any) -> Any:
    return getattr(kind, "instance_class", None)


def compiled_part(choose: Callable[..., Any]) -> Any:
    """Make a compiled function from one that returns the code to compile for given types."""

    def compiled_only(*args: Any) -> Any:
        raise NotImplementedError(f"{choose.__name__} is for compiled code")

    compiled_only.__name__ = choose.__name__
    compiled_only.__doc__ = choose.__doc__
    overload(compiled_only, strict=False)(choose)
    return compiled_only


def either(name: str, absent: Callable[..., Any], present: Callable[..., Any]) -> Any:
    """Make a compiled function with one variant for a first argument None and one for others."""

    def choose(*args: Any) -> Any:
        return absent if is_none(args[0]) else present

    choose.__name__ = name
    return compiled_part(choose)


@compiled_part
def load(row: Any, n: Any) -> Any:
    """Return row[n] as float32."""
    if row.dtype == types.int16:
        return lambda row, n: _float_of_bits(np.uint32(np.uint16(row[n])) << np.uint32(16))
    return lambda row, n: row[n]


@compiled_part
def store(row: Any, n: Any, value: Any) -> Any:
    """Store a float32 at row[n], rounded to nearest even if row holds bfloat16."""
    if is_none(row):
        return lambda row, n, value: None
    if row.dtype != types.int16:

        def plain(row: Any, n: Any, value: Any) -> None:
            row[n] = value

        return plain

    def rounded(row: Any, n: Any, value: Any) -> None:
        bits = _bits_of_float(value)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        nearest = np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)
        quiet = (bits >> np.uint32(16)) | np.uint32(0x40)  # rounding could carry a NaN to inf
        row[n] = np.int16(np.uint16(nearest if value == value else quiet))

    return rounded


@compiled_part
def add(sink: Any, n: Any, value: Any) -> Any:
    """Add to sink[n]."""
    if is_none(sink):
        return lambda sink, n, value: None

    def added(sink: Any, n: Any, value: Any) -> None:
        sink[n] += value

    return added


@compiled_part
def peek(value: Any, n: Any) -> Any:
    """Return the value of neuron n; 0 for None."""
    if is_none(value):
        return lambda value, n: _ZERO
    if isinstance(value, types.Array):
        return lambda value, n: value[n]
    return lambda value, n: value


@compiled_part
def has(value: Any) -> Any:
    """Return whether the value is present; known at compile time."""
    given = not is_none(value)
    return lambda value: given


times = either(
    "times",
    lambda value, n, term: term,
    lambda value, n, term: peek(value, n) * term,
)
"""Return value * term; for None the term itself."""


plus_times = either(
    "plus_times",
    lambda value, n, factor, term: term,
    lambda value, n, factor, term: peek(value, n) * factor + term,
)
"""Return value * factor + term; for None the term itself."""


plus = either(
    "plus",
    lambda row, n, term: term,
    lambda row, n, term: term + row[n],
)
"""Return term + row[n]; for None the term itself."""


@compiled_part
def level_of(rest: Any, n: Any, before: Any, beta: Any, drive: Any) -> Any:
    """Return the potential before the reset, h."""
    if is_none(rest):
        return lambda rest, n, before, beta, drive: peek(beta, n) * before + drive

    def above_rest(rest: Any, n: Any, before: Any, beta: Any, drive: Any) -> Any:
        low = peek(rest, n)
        return low + peek(beta, n) * (before - low) + drive

    return above_rest


ready_at = either(
    "ready_at",
    lambda waiting, n: _ONE,
    lambda waiting, n: _ONE if waiting[n] <= 0 else _ZERO,
)
"""Return 1 if the neuron may spike, else 0."""


like = either(
    "like",
    lambda past_ready, n: _ONE,
    lambda past_ready, n: past_ready[n],
)
"""Return the kept result of `ready_at`."""


@compiled_part
def wait(waiting: Any, n: Any, fired: Any, refractory: Any) -> Any:
    """Count down, or start the refractory steps after a spike."""
    if is_none(waiting):
        return lambda waiting, n, fired, refractory: None

    def count(waiting: Any, n: Any, fired: Any, refractory: Any) -> None:
        left = np.int32(waiting[n] - np.int32(1)) if waiting[n] > 0 else np.int32(0)
        waiting[n] = refractory if fired > _ZERO else left

    return count


@compiled_part
def fire(surrogate: Any, more: Any, h: Any, th: Any, ready: Any) -> Any:
    """Return the upward spikes; for neurons that do not spike, h.

    `more` holds 2, 3, ... up to the most spikes of a step; None is one spike.
    """
    if _class(surrogate) is Identity:
        return lambda surrogate, more, h, th, ready: h

    def spikes(surrogate: Any, more: Any, h: Any, th: Any, ready: Any) -> Any:
        return (ready if h >= th else _ZERO) + _further(more, h, th)

    return spikes


@compiled_part
def _further(more: Any, h: Any, th: Any) -> Any:
    """Return the spikes of a step after the first; a recursion over types, so it is unrolled."""
    if is_none(more) or not len(more):
        return lambda more, h, th: _ZERO

    def spikes(more: Any, h: Any, th: Any) -> Any:
        return (_ONE if h >= more[0] * th else _ZERO) + _further(more[1:], h, th)

    return spikes


fire_down = either(
    "fire_down",
    lambda off, more, n, h, ready: _ZERO,
    lambda off, more, n, h, ready: (
        (ready if -h >= peek(off, n) else _ZERO) + _further(more, -h, peek(off, n))
    ),
)
"""Return the number of downward spikes."""


@compiled_part
def reset_to(reset: Any, rest: Any, n: Any, h: Any, levels: Any, spikes: Any) -> Any:
    """Return the potential after the reset; levels: th, off, spikes: up, down, ready."""
    kind, rests = _class(reset), not is_none(rest)

    def none(reset, rest, n, h, levels, spikes):  # type: ignore[no-untyped-def]
        return h

    def soft(reset, rest, n, h, levels, spikes):  # type: ignore[no-untyped-def]
        low = peek(rest, n)
        drop = (levels[0] - low) * spikes[0] if spikes[0] > _ZERO else _ZERO
        lift = (levels[1] + low) * spikes[1] if spikes[1] > _ZERO else _ZERO
        return h - drop + lift

    def hard(reset, rest, n, h, levels, spikes):  # type: ignore[no-untyped-def]
        return h * (_ONE - spikes[0] - spikes[1]) if spikes[2] > _ZERO else _ZERO

    def hard_to_rest(reset, rest, n, h, levels, spikes):  # type: ignore[no-untyped-def]
        low = peek(rest, n)
        kept = _ONE - spikes[0] - spikes[1]
        return low + (h - low) * kept if spikes[2] > _ZERO else low

    return none if kind is NoReset else soft if kind is Soft else hard_to_rest if rests else hard


@compiled_part
def reset_back(reset: Any, attached: Any, above: Any, steps: Any, spikes: Any, slopes: Any) -> Any:
    """Return dv/dh, dv/d(up), dv/d(down), whether levels are subtracted (1 or 0), and dv/d(rest).

    `above` is h - rest; `steps` (fall, lift) are the amounts that a spike subtracts and adds;
    `spikes` is (up, down, ready) and `slopes` (rise, fall) their derivatives. With a detached
    reset, spikes are constants here.
    """
    kind, through = _class(reset), not is_none(attached)

    def none(reset, attached, above, steps, spikes, slopes):  # type: ignore[no-untyped-def]
        return _ONE, _ZERO, _ZERO, _ZERO, _ZERO

    def soft(reset, attached, above, steps, spikes, slopes):  # type: ignore[no-untyped-def]
        return _ONE, _ZERO, _ZERO, _ONE, spikes[0] + spikes[1]

    def soft_through(reset, attached, above, steps, spikes, slopes):  # type: ignore[no-untyped-def]
        fall, lift = steps
        d = _ONE - fall * slopes[0] - lift * slopes[1]
        return d, -fall, lift, _ONE, spikes[0] + spikes[1]

    def hard(reset, attached, above, steps, spikes, slopes):  # type: ignore[no-untyped-def]
        d = _ONE - spikes[0] - spikes[1] if spikes[2] > _ZERO else _ZERO
        return d, _ZERO, _ZERO, _ZERO, _ONE - d

    def hard_through(reset, attached, above, steps, spikes, slopes):  # type: ignore[no-untyped-def]
        d = _ONE - spikes[0] - spikes[1] if spikes[2] > _ZERO else _ZERO
        through = d - above * (slopes[0] - slopes[1])
        return through, -above, -above, _ZERO, _ONE - d

    if kind is NoReset:
        return none
    if kind is Soft:
        return soft_through if through else soft
    return hard_through if through else hard


@compiled_part
def slope(surrogate: Any, u: Any) -> Any:
    """Return the surrogate's derivative at u."""
    return {
        Arctan: lambda surrogate, u: surrogate.height / (_ONE + surrogate.curve * u * u),
        Fast: lambda surrogate, u: _inverse_square(_ONE + surrogate.slope * abs(u)),
        Logistic: _logistic,
        Tent: lambda surrogate, u: surrogate.height * _above_0(_ONE - abs(u) / surrogate.width),
        Box: lambda surrogate, u: surrogate.height if abs(u) <= surrogate.half else _ZERO,
        Through: lambda surrogate, u: surrogate.height,
        Identity: lambda surrogate, u: surrogate.height,
    }[_class(surrogate)]


@compiled_part
def slopes(surrogate: Any, more: Any, h: Any, th: Any) -> Any:
    """Return the derivatives of the spikes by h, and by -th."""
    if is_none(more) or not len(more):

        def one(surrogate: Any, more: Any, h: Any, th: Any) -> Any:
            rise = slope(surrogate, h - th)
            return rise, rise

        return one

    def several(surrogate: Any, more: Any, h: Any, th: Any) -> Any:
        last = more[-1]
        rise = slope(surrogate, h - last * th)
        others = slopes(surrogate, more[:-1], h, th)
        return others[0] + rise, others[1] + last * rise

    return several


slopes_down = either(
    "slopes_down",
    lambda off, surrogate, more, h, level: (_ZERO, _ZERO),
    lambda off, surrogate, more, h, level: slopes(surrogate, more, h, level),
)
"""Return `slopes`, 0 for neurons without downward spikes."""


@compiled_part
def _inverse_square(value: Any) -> Any:
    return lambda value: _ONE / (value * value)


@compiled_part
def _above_0(value: Any) -> Any:
    return lambda value: _ZERO if value < _ZERO else value  # NaN stays


def _logistic(surrogate: Any, u: Any) -> Any:
    fall = _exp_of_negative(-surrogate.alpha * abs(u))
    return surrogate.alpha * fall / ((_ONE + fall) * (_ONE + fall))


@compiled_part
def _exp_of_negative(x: Any) -> Any:
    """Return e^x for x <= 0, to one or two float32 roundings, in a form that is vectorized.

    x = k ln 2 + r with |r| <= ln 2 / 2, e^x = 2^k e^r, and e^r is its series up to r^7.
    """

    def exp(x: Any) -> Any:
        z = _LEAST_EXPONENT if x < _LEAST_EXPONENT else x
        k = np.int32(z * _LOG2_E - _HALF)
        whole = np.float32(k)
        r = (z - whole * _LN2_HIGH) - whole * _LN2_LOW
        p = np.float32(1 / 5040)
        p = p * r + np.float32(1 / 720)
        p = p * r + np.float32(1 / 120)
        p = p * r + np.float32(1 / 24)
        p = p * r + np.float32(1 / 6)
        p = p * r + _HALF
        p = p * r + _ONE
        p = p * r + _ONE
        return p * _float_of_bits(np.uint32(k + np.int32(127)) << np.uint32(23))

    return exp
