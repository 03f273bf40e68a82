"""The neurons over time on plain arrays: forward, and backward through time.

Arrays are (T, N), float32, or int16 holding the bits of bfloat16; states are (N,). A call covers
neurons [start, stop), so threads share nothing. Neurons are taken in blocks that stay in the cache
over all of time, and the innermost loop runs over neurons. Parts that a neuron lacks are None and
compiled away. There is no fast mathematics: a contracted multiply-add rounds once where torch
rounds twice, and spikes would differ.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
from numba import njit, types

from dvskit.neurons.parts_kernels import (
    Unaliased,
    add,
    compiled_part,
    either,
    fire,
    fire_down,
    has,
    is_none,
    level_of,
    like,
    load,
    peek,
    plus,
    plus_times,
    ready_at,
    reset_back,
    reset_to,
    slopes,
    slopes_down,
    store,
    times,
    wait,
)

_ONE, _ZERO = np.float32(1), np.float32(0)
# Neurons per block: long rows, since memory is prefetched within a row only.
_FORWARD_BLOCK = 65_536
_BACKWARD_BYTES = 1 << 19  # per block, over all of time: it stays in the second cache
_BACKWARD_BLOCK = (64, 2048)


# The values of the model in order: float32, float32 (N,), or None for a part left out.
Values = namedtuple("Values", "beta threshold threshold_off alpha gain rest kappa rho")
# Arrays (N,): float32 v, i, a and int32 waiting, or None; or their gradients.
States = namedtuple("States", "v i a waiting")
# Compile-time choices: surrogate, reset, `attached` (None if the reset is detached), the number of
# refractory steps, and `more`: (2, 3, ...) up to the most spikes of a step, None for one.
Kind = namedtuple("Kind", "surrogate reset attached refractory more")


@njit(cache=True, nogil=True, error_model="numpy", pipeline_class=Unaliased)
def _advance(xt: Any, st: Any, past: Any, states: Any, values: Any, kind: Any) -> None:
    """One step of a block: updates the states, writes spikes to st and intermediates to past.

    st and the parts of past may be None: they are then not written.
    """
    beta, threshold, off, alpha, gain, rest, kappa, rho = values
    v, i, a, waiting = states
    past_h, past_v, past_i, past_a, past_ready = past
    for n in range(v.size):
        before, adapted = v[n], peek(a, n)
        current = plus_times(alpha, n, peek(i, n), load(xt, n))
        store(past_i, n, current)
        store(i, n, current)
        drive = times(gain, n, current)
        h = level_of(rest, n, before, beta, drive)
        th = plus_times(kappa, n, adapted, peek(threshold, n))
        ready = ready_at(waiting, n)
        up = fire(kind.surrogate, kind.more, h, th, ready)
        down = fire_down(off, kind.more, n, h, ready)
        store(st, n, up - down)
        store(past_h, n, h)
        store(past_v, n, before)
        store(past_a, n, adapted)
        store(past_ready, n, ready)
        levels, spikes = (th, peek(off, n)), (up, down, ready)
        v[n] = reset_to(kind.reset, rest, n, h, levels, spikes)
        store(a, n, plus_times(rho, n, adapted, up + down))
        wait(waiting, n, up + down, kind.refractory)


@njit(cache=True, nogil=True, error_model="numpy", pipeline_class=Unaliased)
def _retreat(past: Any, rows: Any, states: Any, values: Any, sinks: Any, kind: Any) -> None:
    """One step back of a block: turns the gradients at step t in `states` into those at t - 1.

    With u+ = h - th, u- = -h - off, and g+, g- the surrogate's derivatives there, 0 while waiting
    (of several spikes a step, the sums over u+ = h - k th and u- = -h - k off):
    dL/dh = gs (g+ + g-) + ga (g+ - g-) + gv dv/dh and dL/di = gain dL/dh + gi; the rest follows
    from the model line by line. Gradients of values are added to `sinks`. `rows` are the synaptic
    current before the step, gs, and gx, which is written.
    """
    start_i, gst, gxt = rows
    beta, threshold, off, alpha, gain, rest, kappa, rho = values
    to_beta, to_threshold, to_off, to_alpha, to_gain, to_rest, to_kappa, to_rho = sinks
    gv, gi, ga, _ = states
    past_h, past_v, past_i, past_a, past_ready = past
    for n in range(gv.size):
        h, adapted, level, low = past_h[n], peek(past_a, n), peek(off, n), peek(rest, n)
        th = plus_times(kappa, n, adapted, peek(threshold, n))
        ready = like(past_ready, n)
        rise, rise_th = slopes(kind.surrogate, kind.more, h, th)
        fall, fall_off = slopes_down(off, kind.surrogate, kind.more, -h, level)
        rise, rise_th = times(past_ready, n, rise), times(past_ready, n, rise_th)
        fall, fall_off = times(past_ready, n, fall), times(past_ready, n, fall_off)
        up = fire(kind.surrogate, kind.more, h, th, ready)
        spikes = up, fire_down(off, kind.more, n, h, ready), ready
        d, to_up, to_down, share, kept = reset_back(
            kind.reset, kind.attached, h - low, (th - low, level + low), spikes, (rise, fall)
        )
        g, later, adapt = load(gst, n), gv[n], peek(ga, n)
        gh = g * (rise + fall) + later * d
        if has(kappa):
            gh += adapt * (rise - fall)
        gth = -(g + adapt + later * to_up) * rise_th - later * share * spikes[0]
        current = plus(gi, n, times(gain, n, gh))
        store(gxt, n, current)
        add(to_beta, n, gh * (peek(past_v, n) - low))
        add(to_threshold, n, gth)
        add(to_off, n, (g - adapt - later * to_down) * fall_off + later * share * spikes[1])
        add(to_alpha, n, current * peek(start_i, n))
        add(to_gain, n, gh * peek(past_i, n))
        add(to_rest, n, (_ONE - peek(beta, n)) * gh + later * kept)
        add(to_kappa, n, gth * adapted)
        add(to_rho, n, adapt * adapted)
        gv[n] = peek(beta, n) * gh
        store(gi, n, peek(alpha, n) * current)
        store(ga, n, plus_times(kappa, n, gth, peek(rho, n) * adapt))


@compiled_part
def cut(row: Any, first: Any, last: Any) -> Any:
    """Return row[first:last]; numbers and None as they are."""
    if isinstance(row, types.Array):
        return lambda row, first, last: row[first:last]
    return lambda row, first, last: row


row_of = either(
    "row_of",
    lambda rows, t, size: None,
    lambda rows, t, size: rows[t, :size],
)
"""Return rows[t, :size] of the kept rows; None for None."""


scratch = either(
    "scratch",
    lambda part, steps, size: None,
    lambda part, steps, size: np.empty((steps, size), np.float32),
)
"""Return an array (steps, size) for a present part, else None."""


@compiled_part
def scratch_of_either(one: Any, other: Any, steps: Any, size: Any) -> Any:
    """Return an array (steps, size) if either part is present, else None."""
    if is_none(one) and is_none(other):
        return lambda one, other, steps, size: None
    return lambda one, other, steps, size: np.empty((steps, size), np.float32)


@compiled_part
def row_before(start: Any, rows: Any, t: Any, first: Any, last: Any) -> Any:
    """Return the state of neurons [first, last) before step t; None if it is not kept."""
    if is_none(start) or is_none(rows):
        return lambda start, rows, t, first, last: None

    def before(start: Any, rows: Any, t: Any, first: Any, last: Any) -> Any:
        return start[first:last] if t == 0 else rows[t - 1, : last - first]

    return before


@compiled_part
def copied(row: Any, kept: Any, first: Any, last: Any) -> Any:
    """Copy row[first:last] to the beginning of `kept` and return that part; None for None."""
    if is_none(row):
        return lambda row, kept, first, last: None

    def copy(row: Any, kept: Any, first: Any, last: Any) -> Any:
        kept[: last - first] = row[first:last]
        return kept[: last - first]

    return copy


blank = either(
    "blank",
    lambda row, size: None,
    lambda row, size: np.empty(size, row.dtype),
)
"""Return an array of length `size` with the type of `row`; None for None."""


@njit(cache=True, nogil=True)
def cut_values(values: Any, first: int, last: int) -> Values:
    """Return the values of neurons [first, last)."""
    return Values(
        cut(values.beta, first, last),
        cut(values.threshold, first, last),
        cut(values.threshold_off, first, last),
        cut(values.alpha, first, last),
        cut(values.gain, first, last),
        cut(values.rest, first, last),
        cut(values.kappa, first, last),
        cut(values.rho, first, last),
    )


@njit(cache=True, nogil=True)
def cut_states(states: Any, first: int, last: int) -> States:
    """Return the states of neurons [first, last)."""
    return States(
        cut(states.v, first, last),
        cut(states.i, first, last),
        cut(states.a, first, last),
        cut(states.waiting, first, last),
    )


@njit(cache=True, nogil=True)
def copied_states(states: Any, own: Any, first: int, last: int) -> States:
    """Return the states of neurons [first, last), copied to new arrays."""
    return States(
        copied(states.v, own[0], first, last),
        copied(states.i, own[1], first, last),
        copied(states.a, own[2], first, last),
        copied(states.waiting, own[3], first, last),
    )


@njit(cache=True, nogil=True)
def rows_of(past: Any, t: int, count: int) -> Any:
    """Return the kept rows of a block at time t."""
    return (
        row_of(past[0], t, count),
        row_of(past[1], t, count),
        row_of(past[2], t, count),
        row_of(past[3], t, count),
        row_of(past[4], t, count),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def forward(x: Any, s: Any, states: Any, values: Any, kind: Any, some: tuple[int, int]) -> None:
    """Fill s with the spikes of x, and replace `states` by those after them, for `some` neurons."""
    start, stop = some
    nothing = (None, None, None, None, None)
    for first in range(start, stop, _FORWARD_BLOCK):
        last = min(first + _FORWARD_BLOCK, stop)
        block = cut_values(values, first, last)
        state = cut_states(states, first, last)
        for t in range(x.shape[0]):
            _advance(x[t, first:last], s[t, first:last], nothing, state, block, kind)


@njit(cache=True, nogil=True, error_model="numpy")
def backward(
    over_time: Any, starts: Any, gradients: Any, values: Any, kinds: Any, some: tuple[int, int]
) -> None:
    """Fill gx and add to sinks; `gradients` goes from those at the last state to the first.

    over_time  x, gs and gx; a gs of one row holds for all times
    values     the values, and sinks: their gradients
    kinds      of the forward pass, which is run again, and of the backward pass
    some       the range of neurons
    """
    (x, gs, gx), (values, sinks), (start, stop) = over_time, values, some
    ahead, back_kind = kinds
    steps = x.shape[0]
    size = max(_BACKWARD_BLOCK[0], min(_BACKWARD_BLOCK[1], _BACKWARD_BYTES // (4 * steps)))
    past = (
        np.empty((steps, size), np.float32),
        scratch(sinks.beta, steps, size),
        scratch_of_either(sinks.alpha, sinks.gain, steps, size),
        scratch(starts.a, steps, size),
        scratch(starts.waiting, steps, size),
    )
    own = (blank(starts.v, size), blank(starts.i, size), blank(starts.a, size),
           blank(starts.waiting, size))  # fmt: skip
    for first in range(start, stop, size):
        last = min(first + size, stop)
        count = last - first
        block = cut_values(values, first, last)
        to = cut_values(sinks, first, last)
        state = copied_states(starts, own, first, last)
        for t in range(steps):
            _advance(x[t, first:last], None, rows_of(past, t, count), state, block, ahead)
        back = cut_states(gradients, first, last)
        for t in range(steps - 1, -1, -1):
            before = row_before(starts.i, past[2], t, first, last)
            rows = before, gs[min(t, gs.shape[0] - 1), first:last], gx[t, first:last]
            _retreat(rows_of(past, t, count), rows, back, block, to, back_kind)
