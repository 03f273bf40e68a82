"""Find where words go on behind bytes that are missing: salvage of AEDAT 1 and 2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.formats import _kernels as k

_WINDOW = 1 << 12  # words to look at at once
_RUN = 16  # words in a row that fit nothing show that they do not line up
_SHARE = 0.9  # of the words behind them fit where they do
_LONGEST_STEP_US = 1 << 18
_FARTHEST_US = 1 << 24  # from the latest time to that where words line up anew


def _first_run(bad: NDArray[np.bool_]) -> tuple[int, int] | None:
    """Return the first run of at least _RUN bad words: where it starts and stops."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], bad, [False]]).astype(np.int8)))
    for start, stop in edges.reshape(-1, 2).tolist():
        if stop - start >= _RUN:
            return start, stop
    return None


def aligned_words(
    data: NDArray[np.uint8],
    start: int,
    words_type: np.dtype[Any],
    possible: Callable[[NDArray[Any]], NDArray[np.bool_]],
    lose: Callable[[int, int, str], None],
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (byte offset, words) from byte `start` on, lined up anew where they are not
    `possible` or time jumps.

    Bytes that are left out between, and a cut word at the end, are told to `lose`.
    """
    width = words_type.itemsize

    def words_at(place: int, most: int) -> NDArray[Any]:
        count = max(0, min(most, (len(data) - place) // width))
        return np.frombuffer(data[place : place + count * width].tobytes(), words_type)

    def fits(words: NDArray[Any], last: int | None) -> NDArray[np.bool_]:
        t = words["t"].astype(np.int64)
        return possible(words) & k.steps_fit(t, last is not None, last or 0, _LONGEST_STEP_US)

    at, last = start, None
    while len(data) - at >= width:
        words = words_at(at, _WINDOW)
        good = fits(words, last)
        run = _first_run(~good)
        if run is None or run[0] > 0:
            stop = len(words) if run is None else run[0]
            last = int(words["t"][:stop][good[:stop]][-1]) if good[:stop].any() else last
        if run is None:
            yield at, words
            at += len(words) * width
            continue
        first = at + run[0] * width
        found = []  # how far time is from where it was, for each shift that makes sense
        for shift in range(width):
            there = words_at(first + shift, 4 * _RUN)
            if len(there) >= _RUN and fits(there, None).mean() >= _SHARE:
                far = abs(int(there["t"][0]) - (last or 0))
                if shift == 0 or (last is not None and far <= _FARTHEST_US):
                    found.append((far, shift))
        shift = min(found, default=(0, 0))[1]
        if shift:
            yield at, words[: run[0]]
            lose(first, shift, "the words do not line up: bytes are missing ahead")
            at = first + shift
            continue
        yield at, words[: run[1]]
        at += run[1] * width
        if found:
            last = int(words["t"][run[1] - 1])  # a long pause, or time set anew
    if at < len(data):
        lose(at, len(data) - at, f"the last word has {len(data) - at} of {width} bytes")
