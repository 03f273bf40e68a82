"""Find where words go on behind bytes that are missing: salvage of AEDAT 1 and 2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.formats import _kernels as k
from dvskit.formats.aedat2.words import Block, Head, widen

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


class _Reading:
    """Words of a file at any byte, and which of them make sense."""

    def __init__(
        self,
        data: NDArray[np.uint8],
        head: Head,
        possible: Callable[[NDArray[Any]], NDArray[np.bool_]],
    ) -> None:
        self.data, self.head, self.possible = data, head, possible
        self.width = head.words.itemsize

    def words_at(self, place: int, most: int) -> Block:
        """Return the words from byte `place` on, at most `most` of them."""
        count = max(0, min(most, (len(self.data) - place) // self.width))
        part = np.array(self.data[place : place + count * self.width])
        return Block(widen(part, self.head), place, self.width)

    def fits(self, words: Block, last: int | None) -> NDArray[np.bool_]:
        """Judge words by address and by time, which goes on from `last`."""
        steps = k.steps_fit(words.t, last is not None, last or 0, _LONGEST_STEP_US)
        return self.possible(words.address) & steps

    def find_shift(self, first: int, last: int | None) -> int | None:
        """Return by how many bytes from `first` words go on, in time nearest to `last`."""
        found = []
        for shift in range(self.width):
            there = self.words_at(first + shift, 4 * _RUN)
            if len(there.raw) >= _RUN and self.fits(there, None).mean() >= _SHARE:
                far = abs(int(there.t[0]) - (last or 0))
                if shift == 0 or (last is not None and far <= _FARTHEST_US):
                    found.append((far, shift))
        return min(found)[1] if found else None


def aligned_words(
    data: NDArray[np.uint8],
    head: Head,
    possible: Callable[[NDArray[Any]], NDArray[np.bool_]],
    lose: Callable[[int, int, str], None],
) -> Iterator[Block]:
    """Yield the words behind a file's header, all of them lined up.

    Where many addresses in a row are not `possible`, or time jumps, words are sought at the next
    bytes. Bytes that are left out between, and a cut word at the end, are told to `lose`.
    """
    reading = _Reading(data, head, possible)
    width = reading.width
    at, last = head.end, None
    while len(data) - at >= width:
        words = reading.words_at(at, _WINDOW)
        good = reading.fits(words, last)
        run = _first_run(~good)
        before = slice(0, len(good) if run is None else run[0])
        if good[before].any():
            last = int(words.t[before][good[before]][-1])
        if run is None:
            yield words
            at += len(good) * width
            continue
        first = at + run[0] * width
        shift = reading.find_shift(first, last)
        if shift:
            yield words._replace(raw=words.raw[: run[0]])
            lose(first, shift, "the words do not line up: bytes are missing ahead")
            at = first + shift
            continue
        yield words._replace(raw=words.raw[: run[1]])
        at += run[1] * width
        if shift == 0:
            last = int(words.t[run[1] - 1])  # a long pause, or time set anew
    if at < len(data):
        lose(at, len(data) - at, f"the last word has {len(data) - at} of {width} bytes")
