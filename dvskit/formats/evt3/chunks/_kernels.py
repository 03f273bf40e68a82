"""Loops over EVT 3.0 words that tell what they may hold, and nothing more."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.extending import intrinsic
from numpy.typing import NDArray

# What a survey counts in a stretch of words.
N_EVENTS, N_TRIGGERS, N_VECTORS, N_UNSOUND = range(4)
SURVEY_FIELDS = 4
_SHORT = 4096  # words whose events can be counted in 16 bits

_U16 = np.uint16


@intrinsic
def bit_count(typing_context: Any, value: Any) -> Any:
    """Return how many bits of an unsigned integer are set, in its own type."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(value.bitwidth)
        return builder.call(builder.module.declare_intrinsic("llvm.ctpop", [word]), arguments)

    return value(value), generate


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

    Events and triggers are the most that the words may give. A stretch is unsound where a word has
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
            found[number, N_UNSOUND] |= np.int64(bad)
