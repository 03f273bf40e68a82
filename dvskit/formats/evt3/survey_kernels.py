# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops over EVT 3.0 words that tell what they may hold, and nothing more."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.evt3 import layout as w
from dvskit.formats.order_kernels import bit_count

# What a survey counts in a stretch of words.
N_EVENTS, N_TRIGGERS, N_VECTORS, N_INVALID = range(4)
SURVEY_FIELDS = 4
_SHORT = 4096  # words whose events can be counted in 16 bits

_U16 = np.uint16


@njit(cache=True, nogil=True)
def survey(
    words: NDArray[np.uint16],
    first: int,
    stop: int,
    stretch: int,
    width: int,
    height: int,
    found: NDArray[np.int64],
) -> None:
    """Fill rows first..stop of `found`, one for each `stretch` of words: N_EVENTS and so on.

    Events and triggers are the most that the words may give. A stretch is invalid where a word has
    an unknown type or names a row or column that the sensor does not have. All in 16 bits and
    without a branch, so that a processor takes many words at a time.
    """
    rows_off, columns_off = _U16(0x800 - height), _U16(0x800 - width)
    row, column, base = _U16(height), _U16(0x2000 + width), _U16(0x3000 + width)
    for number in range(first, stop):
        found[number, :] = 0
        end = min(words.size, (number + 1) * stretch)
        for begin in range(number * stretch, end, _SHORT):
            part = words[begin : min(end, begin + _SHORT)]
            events, triggers, vectors, bad = _U16(0), _U16(0), _U16(0), _U16(0)
            for i in range(part.size):
                word = part[i]
                kind = _U16(word >> _U16(12))
                bits = (
                    _U16(0xFFF) if kind == _U16(4) else (_U16(0xFF) if kind == _U16(5) else _U16(0))
                )
                single = _U16(kind == _U16(2))
                events = _U16(events + _U16(bit_count(_U16(word & bits)) + single))  # type: ignore[call-arg]
                triggers = _U16(triggers + _U16(kind == _U16(0xA)))
                vectors = _U16(vectors + _U16(_U16(kind - _U16(3)) < _U16(3)))
                place = _U16(word & _U16(0xF7FF))  # without the polarity
                off = _U16(_U16(place - row) < rows_off)
                off = _U16(off | _U16(_U16(place - column) < columns_off))
                off = _U16(off | _U16(_U16(place - base) < columns_off))
                off = _U16(off | _U16(_U16(place - _U16(0x1000)) < _U16(0x1000)))
                off = _U16(off | _U16(_U16(place - _U16(0x9000)) < _U16(0x1000)))
                off = _U16(off | _U16(_U16(place - _U16(0xB000)) < _U16(0x3000)))
                bad = _U16(bad | off)
            found[number, N_EVENTS] += np.int64(events)
            found[number, N_TRIGGERS] += np.int64(triggers)
            found[number, N_VECTORS] += np.int64(vectors)
            found[number, N_INVALID] |= np.int64(bad)


@njit(cache=True, nogil=True)
def count_others(words: NDArray[np.uint16]) -> int:
    """Return the number of words of type OTHERS."""
    count = 0
    for word in words:
        count += word >> 12 == w.OTHERS
    return count


_WINDOW = 64  # words that show on which byte words begin
_FEW = _WINDOW // 8
REALIGN_BYTES = 2 * _WINDOW + 3  # that realigning looks at


@njit(cache=True, nogil=True)
def impossible(word: int, width: int, height: int) -> bool:
    """Whether no camera sends the word: its type, row or column does not exist."""
    kind, place = word >> 12, word & 0x7FF
    if kind == w.ADDR_Y:
        return bool(place >= height)
    if kind == w.ADDR_X or kind == w.VECT_BASE_X:
        return bool(place >= width)
    return bool(kind == 0x1 or kind == 0x9 or 0xB <= kind <= 0xD)


@njit(cache=True, nogil=True)
def _count_impossible(
    data: NDArray[np.uint8], start: int, count: int, width: int, height: int
) -> int:
    found = 0
    for at in range(start, start + 2 * count, 2):
        word = np.int64(data[at]) | np.int64(data[at + 1]) << 8
        found += impossible(word, width, height)
    return found


@njit(cache=True, nogil=True)
def realign(
    data: NDArray[np.uint8], ended: bool, width: int, height: int, extra: NDArray[np.int64]
) -> tuple[int, int]:
    """Line the words of `data` up anew where bytes came or went, in place.

    Behind an impossible word that is followed by many others, a byte is left out if far fewer
    follow then. `extra` gets the number of each such word. Returns where the words end that are
    certain, and how many bytes were left out; where the data have `ended`, all words are certain.
    """
    stop = data.size
    source, target, count = 0, 0, 0
    while source + 1 < stop:
        word = np.int64(data[source]) | np.int64(data[source + 1]) << 8
        step = 2
        if impossible(word, width, height):
            if not ended and source + REALIGN_BYTES > stop:
                break
            window = min(_WINDOW, (stop - source - 3) // 2)
            if window > _FEW:
                here = _count_impossible(data, source + 2, window, width, height)
                if here > _FEW:
                    beside = _count_impossible(data, source + 3, window, width, height)
                    if beside <= here // 4:
                        extra[count] = target // 2
                        count += 1
                        step = 3
        data[target], data[target + 1] = data[source], data[source + 1]
        target += 2
        source += step
    return target, count
