# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops that look back from the end of valid EVT 3.0 words: what is known there."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.evt3 import layout as w
from dvskit.formats.order_kernels import count_bits


@njit(cache=True, nogil=True)
def _count_events(word: int) -> int:
    kind = word >> 12
    if kind == w.VECT_12:
        return count_bits(word & 0xFFF)
    if kind == w.VECT_8:
        return count_bits(word & 0xFF)
    return np.int64(kind == w.ADDR_X)


@njit(cache=True, nogil=True)
def note_segment(
    words: NDArray[np.uint16],
    stop: int,
    first_word: int,
    start_event: int,
    last: int,
    t: NDArray[np.int64],
    state: NDArray[np.int64],
) -> None:
    """Set S_BEFORE and S_SEGMENT of the state behind valid words that end ahead of words[stop].

    Their events begin at place `start_event` of t, and `last` is the time of the event ahead of
    them.
    """
    count = state[w.S_EVENTS]
    if count == start_event:
        return
    newest = t[count - 1]
    segment = count - 1
    while segment > start_event and t[segment - 1] == newest:
        segment -= 1
    if segment == start_event and last == newest:
        return  # the segment has begun ahead of these words
    state[w.S_BEFORE] = last if segment == start_event else t[segment - 1]
    state[w.S_SEGMENT] = segment
    left = count - segment
    i = stop
    while left > 0:
        i -= 1
        left -= _count_events(words[i])
    state[w.S_SEGMENT_WORD] = first_word + i


@njit(cache=True, nogil=True)
def guess_state(
    words: NDArray[np.uint16], start: int, stop: int, vectors: bool, state: NDArray[np.int64]
) -> None:
    """Turn the `state` ahead of words[start] into the likely one ahead of words[stop].

    Looks back from `stop` for the latest word of each kind; right for valid words with at most one
    wrap of time. `vectors` says whether there are vector words among them. The caller compares it
    with the state that decoding ends in.
    """
    high, low, lowered = np.int64(-1), np.int64(-1), False
    for i in range(stop - 1, start - 1, -1):
        kind, value = words[i] >> 12, np.int64(words[i]) & 0xFFF
        if kind == w.TIME_LOW and low < 0:
            low = value
        elif kind == w.TIME_HIGH:
            if high >= 0 and value != high:
                lowered = True
                break
            high = value
        if low >= 0 and high >= 0:
            break
    if high < 0:
        high = state[w.S_HIGH]
    if low < 0:
        low = np.int64(0) if lowered or high != state[w.S_HIGH] else state[w.S_LOW]
    if state[w.S_HIGH] >= high + w.WRAP:
        state[w.S_LOOPS] += 1
    state[w.S_HIGH], state[w.S_LOW] = high, low
    for i in range(stop - 1, start - 1, -1):
        if words[i] >> 12 == w.ADDR_Y:
            state[w.S_Y], state[w.S_ROW] = np.int64(words[i]) & 0x7FF, w.USABLE
            break
    if not vectors:
        return
    moved = 0
    for i in range(stop - 1, start - 1, -1):
        kind = words[i] >> 12
        if kind == w.VECT_12:
            moved += 12
        elif kind == w.VECT_8:
            moved += 8
        elif kind == w.VECT_BASE_X:
            state[w.S_BASE], state[w.S_ON] = np.int64(words[i]) & 0x7FF, (words[i] >> 11) & 1
            state[w.S_VECTOR] = w.USABLE
            break
    state[w.S_BASE] += moved


@njit(cache=True, nogil=True)
def note_places(
    words: NDArray[np.uint16], stop: int, first_word: int, places: NDArray[np.int64]
) -> None:
    """Fill `places` with the numbers of the words of the latest events ahead of words[stop]."""
    left, i = places.size, stop
    while left > 0:
        i -= 1
        count = _count_events(words[i])
        while count > 0 and left > 0:
            count -= np.int64(1)
            left -= 1
            places[left] = first_word + i
