"""Find where words go on behind bytes that are missing: salvage of AEDAT 1 and 2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.aedat2 import word_kernels as k
from dvskit.formats.aedat2.chips import Chip, layout_row
from dvskit.formats.aedat2.words import Block, Head, widen
from dvskit.formats.file_map import FileMap

_WINDOW = 1 << 15  # words to line up at once


def aligned_words(
    file: FileMap, head: Head, chip: Chip, lose: Callable[[int, int, str], None]
) -> Iterator[Block]:
    """Yield the words behind a file's header, all of them lined up.

    Where an address is none that the chip sends, or time jumps, the next words that follow each
    other are sought at all bytes. Bytes that are left out, and a cut word at the end, are told to
    `lose`.
    """
    data = file.data
    width = head.words.itemsize
    row = layout_row(chip, chip.size)
    at = head.end
    while len(data) - at >= width:
        count, following, *_ = k.next_break(data, head.end, at, width, _WINDOW, row)
        stop = at + count * width
        if count:
            yield Block(widen(np.array(data[at:stop]), head), at, width)
        if following > stop:
            lose(stop, following - stop, "the words do not line up: bytes are missing ahead")
        at = following
        file.forget(at - k.LONGEST_CHAIN * width)
    if at < len(data):
        lose(at, len(data) - at, f"the last word has {len(data) - at} of {width} bytes")


class Fit(NamedTuple):
    """How many words a chip can have sent, and how many of them another follows soon."""

    possible: int
    links: int


def count_fitting(data: NDArray[np.uint8], head: Head, chip: Chip, most: int) -> Fit:
    """Judge by about the first `most` words, lined up anew, whether a chip can have sent them."""
    width = head.words.itemsize
    row = layout_row(chip, chip.size)
    at, possible, links, seen = head.end, 0, 0, 0
    while len(data) - at >= width and seen < most:
        count, at, fitting, linked = k.next_break(data, head.end, at, width, _WINDOW, row)
        possible += fitting
        links += linked
        seen += count
    return Fit(possible, links)
