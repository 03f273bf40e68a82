"""Loops that look back from the end of valid EVT 3.0 words: what is known there."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.evt3.state import (
    S_BASE,
    S_BEFORE,
    S_EVENTS,
    S_HIGH,
    S_LOOPS,
    S_LOW,
    S_ON,
    S_ROW,
    S_SEGMENT,
    S_SEGMENT_WORD,
    S_VECTOR,
    S_Y,
    USABLE,
)
from dvskit.formats.evt3.survey_kernels import bit_count
from dvskit.formats.evt3.words import (
    ADDR_X,
    ADDR_Y,
    TIME_HIGH,
    TIME_LOW,
    VECT_8,
    VECT_12,
    VECT_BASE_X,
    WRAP,
)


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
    count = state[S_EVENTS]
    if count == start_event:
        return
    newest = t[count - 1]
    segment = count - 1
    while segment > start_event and t[segment - 1] == newest:
        segment -= 1
    if segment == start_event and last == newest:
        return  # the segment has begun ahead of these words
    state[S_BEFORE] = last if segment == start_event else t[segment - 1]
    state[S_SEGMENT] = segment
    left = count - segment
    i = stop
    while left > 0:
        i -= 1
        kind, value = words[i] >> 12, np.uint32(words[i])
        if kind == ADDR_X:
            left -= 1
        elif kind == VECT_12:
            left -= np.int64(bit_count(value & np.uint32(0xFFF)))  # type: ignore[call-arg]
        elif kind == VECT_8:
            left -= np.int64(bit_count(value & np.uint32(0xFF)))  # type: ignore[call-arg]
    state[S_SEGMENT_WORD] = first_word + i


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
        if kind == TIME_LOW and low < 0:
            low = value
        elif kind == TIME_HIGH:
            if high >= 0 and value != high:
                lowered = True
                break
            high = value
        if low >= 0 and high >= 0:
            break
    if high < 0:
        high = state[S_HIGH]
    if low < 0:
        low = np.int64(0) if lowered or high != state[S_HIGH] else state[S_LOW]
    if state[S_HIGH] >= high + WRAP:
        state[S_LOOPS] += 1
    state[S_HIGH], state[S_LOW] = high, low
    for i in range(stop - 1, start - 1, -1):
        if words[i] >> 12 == ADDR_Y:
            state[S_Y], state[S_ROW] = np.int64(words[i]) & 0x7FF, USABLE
            break
    if not vectors:
        return
    moved = 0
    for i in range(stop - 1, start - 1, -1):
        kind = words[i] >> 12
        if kind == VECT_12:
            moved += 12
        elif kind == VECT_8:
            moved += 8
        elif kind == VECT_BASE_X:
            state[S_BASE], state[S_ON] = np.int64(words[i]) & 0x7FF, (words[i] >> 11) & 1
            state[S_VECTOR] = USABLE
            break
    state[S_BASE] += moved


@njit(cache=True, nogil=True)
def note_places(
    words: NDArray[np.uint16], stop: int, first_word: int, places: NDArray[np.int64]
) -> None:
    """Fill `places` with the numbers of the words of the latest events ahead of words[stop]."""
    left, i = places.size, stop
    while left > 0:
        i -= 1
        kind, value = words[i] >> 12, np.uint32(words[i])
        count = np.int64(kind == ADDR_X)
        if kind == VECT_12:
            count = np.int64(bit_count(value & np.uint32(0xFFF)))  # type: ignore[call-arg]
        elif kind == VECT_8:
            count = np.int64(bit_count(value & np.uint32(0xFF)))  # type: ignore[call-arg]
        while count > 0 and left > 0:
            count -= np.int64(1)
            left -= 1
            places[left] = first_word + i
