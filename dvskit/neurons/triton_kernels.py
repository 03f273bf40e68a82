"""The neurons over time on a GPU, in Triton: forward, and code shared with the backward pass.

Tensors are (T, N): float32, or bfloat16 or float16 with float32 inside; states are (N,), float32
and int32. A program takes BLOCK neurons through all of time with their state in registers. Bits of
PARTS select the parts of the neurons; the others are None and compiled away. The kernels are
launched with enable_fp_fusion=False: a contracted multiply-add rounds once where torch rounds
twice, and spikes would differ.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Bits of PARTS, LEARNED, TENSORS and MANY: parts present, values learned, values that are tensors,
# and tensors with one element per neuron. In the order of `dynamics.VALUES`.
BETA = tl.constexpr(1)
THRESHOLD = tl.constexpr(2)
OFF = tl.constexpr(4)
ALPHA = tl.constexpr(8)
GAIN = tl.constexpr(16)
REST = tl.constexpr(32)
KAPPA = tl.constexpr(64)
RHO = tl.constexpr(128)
WAITS = tl.constexpr(256)  # of PARTS only


@triton.jit
def _value(given, n, inside, tensor: tl.constexpr, many: tl.constexpr, BLOCK: tl.constexpr):
    if given is None:
        value = tl.full((BLOCK,), 0.0, tl.float32)
    elif many:
        value = tl.load(given + n, mask=inside, other=0.0)
    elif tensor:
        value = tl.load(given + n * 0, mask=inside, other=0.0)
    else:
        value = tl.full((BLOCK,), given, tl.float32)
    return value


@triton.jit
def values_of(
    beta, threshold, off, alpha, gain, rest, kappa, rho, n, inside, TENSORS: tl.constexpr,
    MANY: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Return the values of each neuron; 0 for None."""
    return (
        _value(beta, n, inside, BETA & TENSORS, BETA & MANY, BLOCK),
        _value(threshold, n, inside, THRESHOLD & TENSORS, THRESHOLD & MANY, BLOCK),
        _value(off, n, inside, OFF & TENSORS, OFF & MANY, BLOCK),
        _value(alpha, n, inside, ALPHA & TENSORS, ALPHA & MANY, BLOCK),
        _value(gain, n, inside, GAIN & TENSORS, GAIN & MANY, BLOCK),
        _value(rest, n, inside, REST & TENSORS, REST & MANY, BLOCK),
        _value(kappa, n, inside, KAPPA & TENSORS, KAPPA & MANY, BLOCK),
        _value(rho, n, inside, RHO & TENSORS, RHO & MANY, BLOCK),
    )


@triton.jit
def row_of(row, n, inside, BLOCK: tl.constexpr):
    """Return row[n] as float32; 0 for None."""
    if row is None:
        value = tl.full((BLOCK,), 0.0, tl.float32)
    else:
        value = tl.load(row + n, mask=inside, other=0.0).to(tl.float32)
    return value


@triton.jit
def store(row, n, inside, value):
    """Store row[n] in the dtype of row; None is not written."""
    if row is not None:
        tl.store(row + n, value.to(row.dtype.element_ty), mask=inside)


@triton.jit
def advance(
    x, v, i, a, waiting, beta, threshold, off, alpha, gain, rest, kappa, rho, refractory,
    PARTS: tl.constexpr, RESET: tl.constexpr, SPIKES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One step: h, ready, the spikes, and the state (v, i, a, waiting) after it.

    Each operation and its rounding are those of `dvskit.neurons.dynamics.advance`.
    """
    none = tl.full((BLOCK,), 0.0, tl.float32)
    if ALPHA & PARTS:
        i = alpha * i + x
        x = i
    if GAIN & PARTS:
        x = gain * x
    if REST & PARTS:
        h = rest + beta * (v - rest) + x
    else:
        h = beta * v + x
    ready = none + 1.0
    up = none
    down = none
    v = h
    if SPIKES:
        th = threshold
        if KAPPA & PARTS:
            th = threshold + kappa * a
        if WAITS & PARTS:
            ready = tl.where(waiting <= 0.0, 1.0, 0.0)
        up = tl.where(h - th >= 0.0, ready, 0.0)
        if OFF & PARTS:
            down = tl.where(-h - off >= 0.0, ready, 0.0)
        fired = up + down
        if RESET == "soft":
            drop = (th - rest) * up
            if OFF & PARTS:
                drop += (-off - rest) * down
            v = h - drop
        if RESET == "hard":
            if REST & PARTS:
                v = rest + (h - rest) * (1.0 - fired)
            else:
                v = h * (1.0 - fired)
            v = tl.where(ready > 0.0, v, rest)
        if KAPPA & PARTS:
            a = rho * a + fired
        if WAITS & PARTS:
            left = tl.where(waiting > 0.0, waiting - 1.0, 0.0)
            waiting = tl.where(fired > 0.0, refractory + none, left)
    return h, ready, up, down, v, i, a, waiting


@triton.jit
def neurons_forward(
    x, s, v, i, a, waiting, v_end, i_end, a_end, waiting_end, beta, threshold, off, alpha, gain,
    rest, kappa, rho, steps, neurons, refractory, PARTS: tl.constexpr, TENSORS: tl.constexpr,
    MANY: tl.constexpr, RESET: tl.constexpr, SPIKES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Fill s with the spikes of x, or the potentials unless SPIKES, and *_end with the state."""
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = n < neurons
    beta, threshold, off, alpha, gain, rest, kappa, rho = values_of(
        beta, threshold, off, alpha, gain, rest, kappa, rho, n, inside, TENSORS, MANY, BLOCK
    )
    v = row_of(v, n, inside, BLOCK)
    i = row_of(i, n, inside, BLOCK)
    a = row_of(a, n, inside, BLOCK)
    waiting = row_of(waiting, n, inside, BLOCK)
    for _ in range(steps):
        current = row_of(x, n, inside, BLOCK)
        h, _ready, up, down, v, i, a, waiting = advance(
            current, v, i, a, waiting, beta, threshold, off, alpha, gain, rest, kappa, rho,
            refractory, PARTS, RESET, SPIKES, BLOCK,
        )  # fmt: skip
        if SPIKES:
            store(s, n, inside, up - down)
        else:
            store(s, n, inside, h)
        x += neurons
        s += neurons
    store(v_end, n, inside, v)
    store(i_end, n, inside, i)
    store(a_end, n, inside, a)
    store(waiting_end, n, inside, waiting)
