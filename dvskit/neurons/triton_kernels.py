"""The neurons over time on a GPU, in Triton: forward and backward.

Tensors are (T, N): float32, or bfloat16 or float16 with float32 inside; states are (N,), float32
and int32. A program takes BLOCK neurons through all of time with their state in registers. Bits of
PARTS select the parts of the neurons; the others are None and compiled away. The kernels are
launched with enable_fp_fusion=False: a contracted multiply-add rounds once where torch rounds
twice, and spikes would differ.

A program of the backward pass first repeats the forward pass from the start state and keeps the
values that it needs of each step: h in gx if that is float32, others in its own scratch memory.
Then it goes back. A program that is done with its neurons takes the next ones, so the number of
programs bounds the scratch memory.
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
    PARTS: tl.constexpr, RESET: tl.constexpr, SPIKES: tl.constexpr, MOST: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One step, rounded as in `dynamics.advance`: h, ready, the spikes, and the state after it."""
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
        for k in tl.static_range(2, MOST + 1):
            up += tl.where(h - k * th >= 0.0, 1.0, 0.0)
            if OFF & PARTS:
                down += tl.where(-h - k * off >= 0.0, 1.0, 0.0)
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
    MANY: tl.constexpr, RESET: tl.constexpr, SPIKES: tl.constexpr, MOST: tl.constexpr,
    BLOCK: tl.constexpr,
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
            refractory, PARTS, RESET, SPIKES, MOST, BLOCK,
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


@triton.jit
def _slope(u, p, q, SURROGATE: tl.constexpr):
    """Return the surrogate's derivative at u; p and q are its parameters."""
    if SURROGATE == "ATan":  # p = alpha / 2, q = pi alpha / 2
        z = q * u
        slope = p / (1.0 + z * z)
    elif SURROGATE == "FastSigmoid":  # p = 1, q = slope
        z = 1.0 + q * tl.abs(u)
        slope = p / (z * z)
    elif SURROGATE == "Sigmoid":  # p = q = alpha
        fall = tl.exp(-q * tl.abs(u))
        slope = p * fall / ((1.0 + fall) * (1.0 + fall))
    elif SURROGATE == "Triangle":  # p = height, q = width
        z = 1.0 - tl.abs(u) / q
        slope = p * tl.where(z < 0.0, 0.0, z)  # NaN stays
    elif SURROGATE == "Boxcar":  # p = height, q = half the width
        slope = tl.where(tl.abs(u) <= q, p, 0.0)
    else:  # StraightThrough
        slope = tl.where(u == u, 1.0, 1.0)
    return slope


@triton.jit
def _back(
    h, th, off, rest, up, down, ready, slopes, RESET: tl.constexpr, ATTACHED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Return the derivatives of v after the reset: dv/dh, dv/d(th), dv/d(off) and dv/d(rest).

    `slopes` are the derivatives of the spikes by h, -h, -th and -off.
    """
    rise, fall, rise_th, fall_off = slopes
    none = tl.full((BLOCK,), 0.0, tl.float32)
    d = none + 1.0
    to_th = none
    to_off = none
    to_rest = none
    if RESET == "soft":
        to_th = -up
        to_off = down
        to_rest = up + down
        if ATTACHED:
            d = 1.0 - (th - rest) * rise - (off + rest) * fall
            to_th = (th - rest) * rise_th - up
            to_off = down - (off + rest) * fall_off
    if RESET == "hard":
        d = ready - up - down  # 0 while waiting, too
        to_rest = 1.0 - d
        if ATTACHED:
            d = d - (h - rest) * (rise - fall)
            to_th = (h - rest) * rise_th
            to_off = (h - rest) * fall_off
    return d, to_th, to_off, to_rest


@triton.jit
def _retreat(
    h, g, gv, ga, adapted, ready, threshold, off, rest, kappa, p, q, PARTS: tl.constexpr,
    RESET: tl.constexpr, ATTACHED: tl.constexpr, SURROGATE: tl.constexpr, MOST: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One step back: gradients of h and th, and those of off and rest from spikes and reset.

    g, gv and ga are the gradients of the spikes, of v and of a after the step.
    """
    none = tl.full((BLOCK,), 0.0, tl.float32)
    th = threshold
    if KAPPA & PARTS:
        th = threshold + kappa * adapted
    rise = _slope(h - th, p, q, SURROGATE) * ready
    up = tl.where(h - th >= 0.0, ready, 0.0)
    fall = none
    down = none
    if OFF & PARTS:
        fall = _slope(-h - off, p, q, SURROGATE) * ready
        down = tl.where(-h - off >= 0.0, ready, 0.0)
    rise_th = rise
    fall_off = fall
    for k in tl.static_range(2, MOST + 1):
        slope = _slope(h - k * th, p, q, SURROGATE)
        rise += slope
        rise_th += k * slope
        up += tl.where(h - k * th >= 0.0, 1.0, 0.0)
        if OFF & PARTS:
            slope = _slope(-h - k * off, p, q, SURROGATE)
            fall += slope
            fall_off += k * slope
            down += tl.where(-h - k * off >= 0.0, 1.0, 0.0)
    slopes = (rise, fall, rise_th, fall_off)
    d, to_th, to_off, to_rest = _back(
        h, th, off, rest, up, down, ready, slopes, RESET, ATTACHED, BLOCK
    )
    gh = g * (rise + fall) + gv * d
    gth = gv * to_th - g * rise_th
    goff = gv * to_off + g * fall_off
    if KAPPA & PARTS:
        gh += ga * (rise - fall)
        gth -= ga * rise_th
        goff -= ga * fall_off
    return gh, gth, goff, gv * to_rest


@triton.jit
def neurons_backward(
    x, gs, gx, v, i, a, waiting, gv_end, gi_end, ga_end, gv_start, gi_start, ga_start, beta,
    threshold, off, alpha, gain, rest, kappa, rho, to_beta, to_threshold, to_off, to_alpha,
    to_gain, to_rest, to_kappa, to_rho, kept_h, kept_v, kept_i, kept_a, kept_ready, steps,
    neurons, turns, gs_row, refractory, p, q, PARTS: tl.constexpr, TENSORS: tl.constexpr,
    MANY: tl.constexpr, LEARNED: tl.constexpr, RESET: tl.constexpr, SPIKES: tl.constexpr,
    MOST: tl.constexpr, ATTACHED: tl.constexpr, SURROGATE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Fill gx, g*_start and to_*, a gradient per neuron, from gs and g*_end; None stands for 0.

    The gradient of the spikes at step t starts at gs + t gs_row. With kept_h None, h is kept in gx.
    """
    lane = tl.arange(0, BLOCK).to(tl.int64)
    program = tl.program_id(0).to(tl.int64)
    for turn in range(turns):
        n = (program + turn * tl.num_programs(0)) * BLOCK + lane
        inside = n < neurons
        beta_n, threshold_n, off_n, alpha_n, gain_n, rest_n, kappa_n, rho_n = values_of(
            beta, threshold, off, alpha, gain, rest, kappa, rho, n, inside, TENSORS, MANY, BLOCK
        )

        # The forward pass again: each row is kept before or in the step named at it.
        v_n = row_of(v, n, inside, BLOCK)
        i_n = row_of(i, n, inside, BLOCK)
        a_n = row_of(a, n, inside, BLOCK)
        waiting_n = row_of(waiting, n, inside, BLOCK)
        own = program * steps * BLOCK  # start of the program's first step
        at_x = program * 0
        at_gs = program * 0
        for _ in range(steps):
            store(kept_v, own + lane, inside, v_n)
            store(kept_i, own + lane, inside, i_n)
            store(kept_a, own + lane, inside, a_n)
            h, ready, _up, _down, v_n, i_n, a_n, waiting_n = advance(
                row_of(x, at_x + n, inside, BLOCK), v_n, i_n, a_n, waiting_n, beta_n, threshold_n,
                off_n, alpha_n, gain_n, rest_n, kappa_n, rho_n, refractory, PARTS, RESET, SPIKES,
                MOST, BLOCK,
            )  # fmt: skip
            if kept_h is None:
                store(gx, at_x + n, inside, h)
            else:
                store(kept_h, own + lane, inside, h)
            store(kept_ready, own + lane, inside, ready)
            at_x += neurons
            at_gs += gs_row
            own += BLOCK
        tl.debug_barrier()  # other threads of the program may read the kept rows

        gv = row_of(gv_end, n, inside, BLOCK)
        gi = row_of(gi_end, n, inside, BLOCK)
        ga = row_of(ga_end, n, inside, BLOCK)
        none = tl.full((BLOCK,), 0.0, tl.float32)
        sum_beta = none
        sum_threshold = none
        sum_off = none
        sum_alpha = none
        sum_gain = none
        sum_rest = none
        sum_kappa = none
        sum_rho = none
        for _ in range(steps):
            at_x -= neurons
            at_gs -= gs_row
            own -= BLOCK
            if kept_h is None:
                h = row_of(gx, at_x + n, inside, BLOCK)
            else:
                h = row_of(kept_h, own + lane, inside, BLOCK)
            g = row_of(gs, at_gs + n, inside, BLOCK)
            adapted = row_of(kept_a, own + lane, inside, BLOCK)
            gh = g + gv
            if SPIKES:
                ready = none + 1.0
                if WAITS & PARTS:
                    ready = row_of(kept_ready, own + lane, inside, BLOCK)
                gh, gth, goff, grest = _retreat(
                    h, g, gv, ga, adapted, ready, threshold_n, off_n, rest_n, kappa_n, p, q,
                    PARTS, RESET, ATTACHED, SURROGATE, MOST, BLOCK,
                )  # fmt: skip
                sum_threshold += gth
                sum_off += goff
                sum_rest += grest
                if KAPPA & PARTS:
                    sum_kappa += gth * adapted
                    sum_rho += ga * adapted
                    ga = rho_n * ga + kappa_n * gth
            current = gh
            if GAIN & PARTS:
                current = gain_n * gh
            if (ALPHA | GAIN) & LEARNED:
                i_n = row_of(x, at_x + n, inside, BLOCK)
                if ALPHA & PARTS:
                    before = row_of(kept_i, own + lane, inside, BLOCK)
                    i_n = alpha_n * before + i_n
                    sum_alpha += (current + gi) * before
                sum_gain += gh * i_n
            if ALPHA & PARTS:
                current += gi
                gi = alpha_n * current
            store(gx, at_x + n, inside, current)
            if BETA & LEARNED:
                sum_beta += gh * (row_of(kept_v, own + lane, inside, BLOCK) - rest_n)
            if REST & LEARNED:
                sum_rest += gh * (1.0 - beta_n)
            gv = beta_n * gh
        store(gv_start, n, inside, gv)
        store(gi_start, n, inside, gi)
        store(ga_start, n, inside, ga)
        store(to_beta, n, inside, sum_beta)
        store(to_threshold, n, inside, sum_threshold)
        store(to_off, n, inside, sum_off)
        store(to_alpha, n, inside, sum_alpha)
        store(to_gain, n, inside, sum_gain)
        store(to_rest, n, inside, sum_rest)
        store(to_kappa, n, inside, sum_kappa)
        store(to_rho, n, inside, sum_rho)
        tl.debug_barrier()  # the next neurons overwrite the kept rows
