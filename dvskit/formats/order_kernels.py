# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Numbers at any byte, bits, losses and order of time, for the compiled loops of several formats.

Numbers at any byte need no alignment, and are not checked: the caller has made sure that the bytes
are inside the array. Loads give int64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray


def _loader(bits: int) -> Any:
    @intrinsic
    def load(typing_context: Any, array: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            octets = builder.bitcast(data, ir.IntType(8).as_pointer())
            place = builder.gep(octets, [arguments[1]])
            value = builder.load(builder.bitcast(place, ir.IntType(bits).as_pointer()))
            value.align = 1
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return types.int64(array, types.int64), generate

    return load


load_u8, load_u16, load_u32, load_i64 = _loader(8), _loader(16), _loader(32), _loader(64)


@intrinsic
def lowest_bit(typing_context: Any, value: Any) -> Any:
    """Return the number of the lowest set bit of a uint32, 32 where none is set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.cttz", [word], ir.FunctionType(word, [word, ir.IntType(1)])
        )
        return builder.call(function, [arguments[0], ir.Constant(ir.IntType(1), 0)])

    return types.uint32(types.uint32), generate


@intrinsic
def bit_count(typing_context: Any, value: Any) -> Any:
    """Return how many bits of an unsigned integer are set, in its own type."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(value.bitwidth)
        return builder.call(builder.module.declare_intrinsic("llvm.ctpop", [word]), arguments)

    return value(value), generate


@njit(cache=True, nogil=True)
def count_bits(value: int) -> int:
    """Return how many of the lowest 32 bits of a number are set."""
    return np.int64(bit_count(np.uint32(value)))  # type: ignore[call-arg]


@njit(cache=True, nogil=True)
def lose(
    losses: NDArray[np.int64], count: int, place: int, length: int, why: int, a: int, b: int
) -> int:
    """Add a loss of `length` words, or lengthen the latest one; return the number of losses.

    A loss is a row of where it is, its length, why, and two values for the message.
    """
    if count > 0:
        latest = losses[count - 1]
        if latest[2] == why and latest[0] + latest[1] == place:
            latest[1] += length
            return count
    losses[count, 0], losses[count, 1], losses[count, 2] = place, length, why
    losses[count, 3], losses[count, 4] = a, b
    return count + 1


@njit(cache=True, nogil=True)
def longest_in_order(t: NDArray[np.int64], floor: int) -> NDArray[np.bool_]:
    """Mark a longest non-decreasing part of `t`, of values from `floor` on.

    The fewest values stay unmarked. Patience sorting with links back (Fredman 1975, On computing
    the length of longest increasing subsequences).
    """
    ends = np.empty(t.size, np.int64)  # ends[k]: where the best run of k + 1 values ends
    link = np.empty(t.size, np.int64)
    count = 0
    for i in range(t.size):
        if t[i] < floor:
            continue
        if count == 0 or t[i] >= t[ends[count - 1]]:
            low = count
        else:
            low, high = 0, count - 1
            while low < high:
                middle = (low + high) // 2
                if t[ends[middle]] > t[i]:
                    high = middle
                else:
                    low = middle + 1
        link[i] = ends[low - 1] if low > 0 else -1
        ends[low] = i
        if low == count:
            count += 1
    marks = np.zeros(t.size, np.bool_)
    i = ends[count - 1] if count > 0 else -1
    while i >= 0:
        marks[i] = True
        i = link[i]
    return marks


@njit(cache=True, nogil=True)
def is_valid(
    t: NDArray[np.int64], x: NDArray[Any], y: NDArray[Any], width: int, height: int
) -> bool:
    """Return whether all events are on the sensor and none is back in time."""
    bad = 0
    before = t[0] if len(t) else np.int64(0)
    for i in range(len(t)):
        bad |= (t[i] < before) | (x[i] < 0) | (x[i] >= width) | (y[i] < 0) | (y[i] >= height)
        before = t[i]
    return bad == 0


NEVER = -(1 << 62)
_FAULT, _MOST_DOUBT = 4, 32
_SHORT_US, _LONG_US, _FOLLOWING = 1 << 20, 1 << 32, 1 << 10
# Places in the state of `out_of_step`: doubt, how many rows a long step of time is still judged by,
# whether rows are lost, the latest time, the time ahead of the long step.
DOUBT, JUDGES, LOST, LATEST, BEFORE, STEP_FIELDS = range(6)


@njit(cache=True, nogil=True)
def out_of_step(
    t: NDArray[np.int64], bad: NDArray[np.bool_], any_order: bool, state: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Mark rows that are out of step with the bytes of a file, by how many of them are wrong.

    Doubt rises by 4 with each wrong row, and falls by 1 with each other one. Where it comes to 32,
    rows are out of step from where it rose from 0, and until it falls back to 0. A row is wrong if
    it is `bad`, if its time runs back or, in doubt, over a second on. One wrong row is enough in
    the 1024 rows behind a step of over an hour, unless time returns. `state` goes on from call to
    call.
    """
    marks = np.zeros(bad.size, np.bool_)
    doubt, judges, lost, latest = state[DOUBT], state[JUDGES], state[LOST] != 0, state[LATEST]
    before, sure = state[BEFORE], 0
    for i in range(bad.size):
        step = t[i] - latest if latest != NEVER and not any_order else np.int64(0)
        wrong = bad[i] or step < 0 or (doubt > 0 and step > _SHORT_US)
        if step > _LONG_US:
            judges, before = np.int64(_FOLLOWING), latest
        elif step < 0 and before <= t[i] <= before + _SHORT_US:
            judges = np.int64(0)
        latest = t[i]
        if wrong:
            doubt = np.int64(_MOST_DOUBT) if judges > 0 else min(doubt + _FAULT, _MOST_DOUBT)
        else:
            doubt = max(doubt - 1, 0)
        judges = max(judges - 1, 0)
        if doubt == _MOST_DOUBT and not lost:
            lost = True
            marks[sure:i] = True
        marks[i] = lost
        if doubt == 0:
            lost = False
            if judges == 0:
                sure = i + 1
    state[DOUBT], state[JUDGES], state[LOST] = doubt, judges, lost
    state[LATEST], state[BEFORE] = latest, before
    return marks
