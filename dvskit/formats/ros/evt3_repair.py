"""Stretches of EVT 3.0 words that cannot be: taken out of a packet before it is decoded.

Packets of a damaged file can hold bytes that are no words at all. What is wrong in single words,
and in their clock, is mended where they are decoded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Size

_Words = NDArray[np.uint16]
_ADDR_Y, _ADDR_X, _BASE, _VECT_12, _VECT_8 = 0x0, 0x2, 0x3, 0x4, 0x5
_TIME_LOW, _TIME_HIGH, _TRIGGER = 0x6, 0x8, 0xA
_KNOWN = (0x0, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, 0xA, 0xE, 0xF)
_UNKNOWN = np.array([kind not in _KNOWN for kind in range(16)])

_NEAR_WORDS, _LEAST_WRONG = 24, 4  # so many impossible words, so near each other, are no accident
_EDGE_WORDS = 2  # beside them are likely to be wrong as well


class Stretch(NamedTuple):
    """Words start..stop - 1 of a packet that are taken out, and why."""

    start: int
    stop: int
    problem: str


def unfounded(words: _Words) -> NDArray[np.bool_]:
    """Mark the words that build on what was ahead of the first one.

    Events count from the first full time on, behind the first row, and vectors behind the first
    base; triggers need the time alone.
    """
    kinds = words >> 12
    far = len(words)
    high = np.flatnonzero(kinds == _TIME_HIGH)
    after = np.flatnonzero(kinds[high[0] :] == _TIME_LOW) + high[0] if len(high) else high
    clock = int(after[0]) if len(after) else far
    rows, bases = np.flatnonzero(kinds == _ADDR_Y), np.flatnonzero(kinds == _BASE)
    row = max(clock, int(rows[0]) if len(rows) else far)
    base = max(row, int(bases[0]) if len(bases) else far)
    place = np.arange(len(words))
    marks: NDArray[np.bool_] = (kinds == _ADDR_X) & (place < row)
    marks |= ((kinds == _VECT_12) | (kinds == _VECT_8)) & (place < base)
    marks |= (kinds == _TRIGGER) & (place < clock)
    return marks


def impossible_stretches(words: _Words, size: Size) -> list[Stretch]:
    """Return the stretches where many words are of no known type or off the sensor."""
    kinds, values = words >> 12, words & 0x7FF
    wrong: NDArray[np.bool_] = _UNKNOWN[kinds]
    wrong |= (kinds == _ADDR_Y) & (values >= size.height)
    wrong |= ((kinds == _ADDR_X) | (kinds == _BASE)) & (values >= size.width)
    places = np.flatnonzero(wrong)
    if len(places) < _LEAST_WRONG:
        return []
    found = []
    edges = np.flatnonzero(np.diff(places) > _NEAR_WORDS) + 1
    for group in np.split(places, edges):
        if len(group) >= _LEAST_WRONG:
            start = max(0, int(group[0]) - _EDGE_WORDS)
            stop = min(len(words), int(group[-1]) + 1 + _EDGE_WORDS)
            problem = f"{len(group)} of {stop - start} words cannot be EVT3"
            found.append(Stretch(start, stop, problem))
    return found


def cut(words: _Words, stretches: list[Stretch]) -> tuple[_Words, int]:
    """Return the words without the stretches and without what builds on them, and how many the
    latter are.
    """
    kept: list[_Words] = []
    dropped = at = 0
    for stretch in [*sorted(stretches), Stretch(len(words), len(words), "")]:
        piece = words[at : max(at, stretch.start)]
        if at:
            marks = unfounded(piece)
            dropped += int(np.count_nonzero(marks))
            piece = piece[~marks]
        kept.append(piece)
        at = max(at, stretch.stop)
    return np.concatenate(kept), dropped
