"""The LIF layer over time on plain arrays: forward, and backward through time.

Arrays are (T, N), float32, or int16 holding the bits of bfloat16; membranes and their gradients are
(N,) float32. A call covers neurons [start, stop), so threads share nothing. Neurons are taken in
blocks that stay in the cache over all of time, and the innermost loop runs over neurons. No fast
mathematics: a contracted multiply-add would round once where torch rounds twice, and spikes differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

_ZERO, _ONE = np.float32(0), np.float32(1)
_FORWARD_BLOCK = 4096
_BACKWARD_BYTES = 1 << 18  # the potentials of a block over all of time: half of a small L2 cache
_BACKWARD_BLOCK = (64, 2048)


def _bitcast(to: Any, given: Any, to_ir: Any) -> Any:
    """Return a compiled function that takes the bits of a `given` for those of a `to`."""

    def typed(context: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.bitcast(values[0], to_ir)

        return to(given), generate

    return intrinsic(typed)


_float_of_bits = _bitcast(types.float32, types.uint32, ir.FloatType())
_bits_of_float = _bitcast(types.uint32, types.float32, ir.IntType(32))


def _get(row: Any, i: Any) -> Any:
    """Return row[i] as float32."""
    raise NotImplementedError  # compiled code only: see the overload


def _put(row: Any, i: Any, value: Any) -> None:
    """Store a float32 at row[i], rounded to nearest even if row holds bfloat16."""
    raise NotImplementedError


@overload(_get)
def _compile_get(row: Any, i: Any) -> Any:
    if row.dtype == types.int16:

        def get_bfloat16(row: Any, i: Any) -> Any:
            return _float_of_bits(np.uint32(np.uint16(row[i])) << np.uint32(16))

        return get_bfloat16

    def get_float32(row: Any, i: Any) -> Any:
        return row[i]

    return get_float32


@overload(_put)
def _compile_put(row: Any, i: Any, value: Any) -> Any:
    if row.dtype == types.int16:

        def put_bfloat16(row: Any, i: Any, value: Any) -> None:
            bits = _bits_of_float(value)
            odd = (bits >> np.uint32(16)) & np.uint32(1)
            rounded = np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)
            quiet = (bits >> np.uint32(16)) | np.uint32(0x40)  # rounding could carry a NaN to inf
            row[i] = np.int16(np.uint16(rounded if value == value else quiet))

        return put_bfloat16

    def put_float32(row: Any, i: Any, value: Any) -> None:
        row[i] = value

    return put_float32


@njit(cache=True, nogil=True, error_model="numpy")
def _advance(xt: Any, st: Any, ht: Any, v: Any, beta: Any, on: Any, off: Any, flags: Any) -> None:
    """One step of a block: v in place; the spikes to st and the potentials before reset to ht.

    st or ht may be empty: then it is not written.
    """
    soft, signed, _ = flags
    for i in range(v.size):
        h = beta * v[i] + _get(xt, i)
        up = _ONE if h >= on else _ZERO
        down = _ONE if signed and -h >= off else _ZERO
        if st.size:
            _put(st, i, up - down)
        if ht.size:
            ht[i] = h
        if soft:
            drop = on if h >= on else _ZERO
            lift = off if signed and -h >= off else _ZERO
            v[i] = h - drop + lift
        else:
            v[i] = h * (_ONE - up - down)


@njit(cache=True, nogil=True, error_model="numpy")
def _retreat(
    ht: Any, gst: Any, gxt: Any, gv: Any, beta: Any, on: Any, off: Any, alpha: Any, flags: Any
) -> None:
    """One step back of a block: gv from the gradient at v_t to that at v_{t-1}, and gx_t.

    G_t = gs_t ds/dh + gv d;  gx_t = G_t;  gv = beta G_t;  ds/dh = g(h - on) + g(-h - off), and
    d = dv/dh: 1 (soft) or 1 - |s| (hard), less the slope through the reset unless it is detached.
    """
    soft, signed, detach = flags
    height = np.float32(0.5) * alpha
    curve = np.float32(0.25 * np.pi * np.pi) * alpha * alpha
    for i in range(gv.size):
        h = ht[i]
        above, below = h - on, -h - off
        rise = height / (_ONE + curve * above * above)
        fall = height / (_ONE + curve * below * below) if signed else _ZERO
        if soft:
            d = _ONE
            if not detach:
                d = _ONE - on * rise - (off * fall if signed else _ZERO)
        else:
            d = _ONE if above < _ZERO and not (signed and below >= _ZERO) else _ZERO
            if not detach:
                d -= h * (rise - fall)
        g = _get(gst, i) * (rise + fall) + gv[i] * d
        _put(gxt, i, g)
        gv[i] = beta * g


@njit(cache=True, nogil=True, error_model="numpy")
def lif_forward(
    x: Any, s: Any, v_all: Any, start: int, stop: int, beta: Any, on: Any, off: Any, flags: Any
) -> None:
    """Fill s with the spikes of x; v_all holds the potentials before, and after it returns.

    `flags` is (soft, signed, detach).
    """
    nothing = np.empty(0, np.float32)
    for first in range(start, stop, _FORWARD_BLOCK):
        last = min(first + _FORWARD_BLOCK, stop)
        v = v_all[first:last]
        for t in range(x.shape[0]):
            _advance(x[t, first:last], s[t, first:last], nothing, v, beta, on, off, flags)


@njit(cache=True, nogil=True, error_model="numpy")
def lif_backward(
    x: Any,
    gs: Any,
    v_start: Any,
    gx: Any,
    gv_all: Any,
    start: int,
    stop: int,
    beta: Any,
    on: Any,
    off: Any,
    alpha: Any,
    flags: Any,
) -> None:
    """Fill gx; gv_all holds the gradient at the last potentials, and at the first on return."""
    steps = x.shape[0]
    block = max(_BACKWARD_BLOCK[0], min(_BACKWARD_BLOCK[1], _BACKWARD_BYTES // (4 * steps)))
    potentials = np.empty((steps, block), np.float32)
    membrane = np.empty(block, np.float32)
    no_spikes = x[0, :0]
    for first in range(start, stop, block):
        last = min(first + block, stop)
        v, gv = membrane[: last - first], gv_all[first:last]
        v[:] = v_start[first:last]
        for t in range(steps):
            h = potentials[t, : last - first]
            _advance(x[t, first:last], no_spikes, h, v, beta, on, off, flags)
        for t in range(steps - 1, -1, -1):
            h, gst, gxt = potentials[t, : last - first], gs[t, first:last], gx[t, first:last]
            _retreat(h, gst, gxt, gv, beta, on, off, alpha, flags)
