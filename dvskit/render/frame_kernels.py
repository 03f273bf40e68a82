# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over events and pixels for accumulated frames: plain arrays in and out.

Every style keeps one state plane (height, width), valued at the time of the next frame: `add_*`
adds events, `draw_*` writes the palette index of each pixel and advances the state.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.filters.base import Columns


@njit(cache=True, nogil=True)
def add_remaining(events: Columns, frame_us: int, window_us: int, state: NDArray[np.int32]) -> None:
    """Set state to the rest of the window of an event in microseconds; negative for OFF.

    The latest event of a pixel counts, inside the window or not.
    """
    t, x, y, p = events
    for i in range(len(t)):
        left = max(window_us - (frame_us - t[i]), 0)
        state[y[i], x[i]] = left if p[i] else -left


@njit(cache=True, nogil=True)
def draw_polarity(
    state: NDArray[np.int32], passed_us: int, levels: int, index: NDArray[np.uint8]
) -> None:
    """Write 0 (OFF), levels (none), 2 * levels (ON); the next frame is `passed_us` later."""
    gone = np.int32(min(passed_us, 0x7FFFFFFF))
    for row in range(state.shape[0]):
        for column in range(state.shape[1]):
            v = state[row, column]
            index[row, column] = levels + ((v > 0) - (v < 0)) * levels
            state[row, column] = v - min(v, gone) if v > 0 else v + min(-v, gone)


@njit(cache=True, nogil=True)
def draw_linear(
    state: NDArray[np.int32],
    passed_us: int,
    per_us: np.float32,  # levels / window_us
    levels: int,
    index: NDArray[np.uint8],
) -> None:
    """Write levels +- levels * (remaining share of the window), rounded."""
    gone = np.int32(min(passed_us, 0x7FFFFFFF))
    half = np.float32(0.5)
    for row in range(state.shape[0]):
        for column in range(state.shape[1]):
            v = state[row, column]
            shown = np.float32(v) * per_us
            index[row, column] = levels + np.int32(shown + (half if v > 0 else -half))
            state[row, column] = v - min(v, gone) if v > 0 else v + min(-v, gone)


@njit(cache=True, nogil=True)
def add_decaying(events: Columns, frame_us: int, tau_us: float, state: NDArray[np.float32]) -> None:
    """Add +-exp(-(frame_us - t) / tau_us) to state."""
    t, x, y, p = events
    for i in range(len(t)):
        weight = np.float32(math.exp((t[i] - frame_us) / tau_us))
        state[y[i], x[i]] += weight if p[i] else -weight


@njit(cache=True, nogil=True)
def set_decaying(events: Columns, frame_us: int, tau_us: float, state: NDArray[np.float32]) -> None:
    """Set state to exp(-(frame_us - t) / tau_us)."""
    t, x, y, _ = events
    for i in range(len(t)):
        state[y[i], x[i]] = np.float32(math.exp((t[i] - frame_us) / tau_us))


@njit(cache=True, nogil=True)
def draw_decaying(
    state: NDArray[np.float32],
    fade: np.float32,
    gain: np.float32,  # levels / the value of full color
    levels: int,
    middle: int,
    index: NDArray[np.uint8],
) -> None:
    """Write middle + levels * state, rounded, at most `levels` away; then multiply state by fade.

    Values below 1e-7 become 0: they are invisible, and subnormal numbers are slow.
    """
    tiny = np.float32(1e-7)
    most = np.float32(levels)
    half = np.float32(0.5)
    for row in range(state.shape[0]):
        for column in range(state.shape[1]):
            v = state[row, column]
            shown = min(max(v * gain, -most), most)
            index[row, column] = middle + np.int32(shown + (half if v > 0 else -half))
            v = v * fade
            state[row, column] = v if abs(v) > tiny else np.float32(0)


@njit(cache=True, nogil=True)
def add_counts(
    x: NDArray[np.int16], y: NDArray[np.int16], by: int, state: NDArray[np.int32]
) -> None:
    """Add `by` to state for each event."""
    for i in range(len(x)):
        state[y[i], x[i]] += by


@njit(cache=True, nogil=True)
def draw_counts(
    state: NDArray[np.int32], table: NDArray[np.uint8], index: NDArray[np.uint8]
) -> None:
    """Write table[state], its last entry for larger values."""
    last = np.int32(len(table) - 1)
    for row in range(state.shape[0]):
        for column in range(state.shape[1]):
            index[row, column] = table[min(state[row, column], last)]


@njit(cache=True, nogil=True)
def enlarge(index: NDArray[np.uint8], factor: int, canvas: NDArray[np.uint8]) -> None:
    """Write each pixel as factor x factor pixels of `canvas`."""
    for row in range(index.shape[0]):
        top = canvas[row * factor]
        for column in range(index.shape[1]):
            value = index[row, column]
            for k in range(column * factor, column * factor + factor):
                top[k] = value
        for k in range(1, factor):
            canvas[row * factor + k, : index.shape[1] * factor] = top[: index.shape[1] * factor]


@njit(cache=True, nogil=True)
def planes(
    index: NDArray[np.uint8],  # (height, width), both even
    table: NDArray[np.uint32],  # (256,): Y << 20 | V << 10 | U of each palette entry
    luma: NDArray[np.uint8],
    blue: NDArray[np.uint8],
    red: NDArray[np.uint8],
) -> None:
    """Write the planes of yuv420p; the chroma of 2 x 2 pixels is their mean, rounded.

    Four entries are added at once: U and V have 10 bits each for their sums.
    """
    for half_row in range(index.shape[0] >> 1):
        above, below = index[2 * half_row], index[2 * half_row + 1]
        upper, lower = luma[2 * half_row], luma[2 * half_row + 1]
        blues, reds = blue[half_row], red[half_row]
        for half in range(index.shape[1] >> 1):
            a, b = table[above[2 * half]], table[above[2 * half + 1]]
            c, d = table[below[2 * half]], table[below[2 * half + 1]]
            upper[2 * half], upper[2 * half + 1] = a >> 20, b >> 20
            lower[2 * half], lower[2 * half + 1] = c >> 20, d >> 20
            total = a + b + c + d
            blues[half] = ((total & 1023) + 2) >> 2
            reds[half] = (((total >> 10) & 1023) + 2) >> 2


@njit(cache=True, nogil=True)
def rgb_planes(
    picture: NDArray[np.uint8],  # (height, width, 3), both even
    luma: NDArray[np.uint8],
    blue: NDArray[np.uint8],
    red: NDArray[np.uint8],
) -> None:
    """Write the planes of yuv420p of RGB: ITU-R BT.709, limited range.

    The chroma of 2 x 2 pixels is that of their mean color. In 1/65536 steps, rounded.
    """
    for row in range(0, picture.shape[0], 2):
        for column in range(0, picture.shape[1], 2):
            r, g, b = 0, 0, 0
            for v in range(row, row + 2):
                for u in range(column, column + 2):
                    one, two, three = picture[v, u, 0], picture[v, u, 1], picture[v, u, 2]
                    y = 11966 * np.int32(one) + 40254 * np.int32(two) + 4064 * np.int32(three)
                    luma[v, u] = (y + 1081344) >> 16  # 16.5
                    r += np.int32(one)
                    g += np.int32(two)
                    b += np.int32(three)
            cb = -6596 * r - 22189 * g + 28785 * b
            cr = 28784 * r - 26145 * g - 2639 * b
            blue[row >> 1, column >> 1] = (cb + 33685504) >> 18  # 128.5
            red[row >> 1, column >> 1] = (cr + 33685504) >> 18
