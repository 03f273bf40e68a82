"""Packets in encoding evt3: joined, they are the words of a RAW file.

Packets of a damaged file can hold bytes that are no words at all: stretches of them are taken out
ahead. What is wrong in single words, and in their clock, is repaired where they are decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DamagedFileError
from dvskit.events import Events, Size
from dvskit.formats.feed import StreamFeed
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.prophesee import evt3_kernels as w
from dvskit.formats.prophesee.decoding import WordPass
from dvskit.formats.prophesee.evt import EVT3_LAYOUT
from dvskit.formats.ros.topics import Part
from dvskit.formats.storage import Storage
from dvskit.streams import Triggers

_MOST_LOSSES = 1 << 20  # of one block
_Words = NDArray[np.uint16]
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
    high = np.flatnonzero(kinds == w.TIME_HIGH)
    after = np.flatnonzero(kinds[high[0] :] == w.TIME_LOW) + high[0] if len(high) else high
    clock = int(after[0]) if len(after) else far
    rows, bases = np.flatnonzero(kinds == w.ADDR_Y), np.flatnonzero(kinds == w.VECT_BASE_X)
    row = max(clock, int(rows[0]) if len(rows) else far)
    base = max(row, int(bases[0]) if len(bases) else far)
    place = np.arange(len(words))
    marks: NDArray[np.bool_] = (kinds == w.ADDR_X) & (place < row)
    marks |= ((kinds == w.VECT_12) | (kinds == w.VECT_8)) & (place < base)
    marks |= (kinds == w.TRIGGER) & (place < clock)
    return marks


def impossible_stretches(words: _Words, size: Size) -> list[Stretch]:
    """Return the stretches where many words are of no known type or off the sensor."""
    kinds, values = words >> 12, words & 0x7FF
    wrong: NDArray[np.bool_] = _UNKNOWN[kinds]
    wrong |= (kinds == w.ADDR_Y) & (values >= size.height)
    wrong |= ((kinds == w.ADDR_X) | (kinds == w.VECT_BASE_X)) & (values >= size.width)
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


class Payloads:
    """The joined payloads of packets as a raw stream, and where they stand in the file."""

    def __init__(self, parts: Iterator[Part], size: Size, losses: Losses, *, skip: int = 0) -> None:
        self._parts, self._size, self._losses = parts, size, losses
        self._left: memoryview = memoryview(b"")
        self._starts: list[int] = []
        self._places: list[tuple[int, bool]] = []  # in the file, and whether bytes follow there
        self._end = 0
        self.missing = 0
        self._skip = skip  # bytes that are left out at the start
        self.raised: DamagedFileError | None = None
        self._sequence = -1

    def readinto(self, buffer: memoryview) -> int:
        """Put the next bytes into `buffer`; return how many: fewer than it holds only at the end.

        `raised` is the error that reading the packets has ended with, if it has.
        """
        at = 0
        while at < len(buffer):
            if not len(self._left):
                try:
                    part = next(self._parts, None)
                    if part is None:
                        break
                    self._take(part)
                except DamagedFileError as error:
                    self.raised = error
                    raise
            count = min(len(buffer) - at, len(self._left))
            buffer[at : at + count] = self._left[:count]
            self._left = self._left[count:]
            at += count
        return at

    def _take(self, part: Part) -> None:
        if len(part.data) % 2:
            place = part.place(len(part.data) - 1)
            self._losses.lose(place, 1, "half a word stands at the end of a packet")
        words = np.frombuffer(part.data, "<u2", len(part.data) // 2)
        if not self._losses.strict:
            words = self._valid(part, words)
        if 0 <= self._sequence < part.sequence - 1 and not part.fresh:
            self.missing += part.sequence - 1 - self._sequence
        self._sequence = part.sequence
        skipped = min(self._skip // 2, len(words))
        self._skip -= 2 * skipped
        words = words[skipped:]
        self._starts.append(self._end)
        self._places.append((part.place(2 * skipped), part.message.exact))
        self._end += 2 * len(words)
        self._left = memoryview(words.tobytes())

    def _valid(self, part: Part, words: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Return the words less those that cannot be, and those that build on lost ones."""
        stretches = impossible_stretches(words, self._size)
        for stretch in stretches:
            length = 2 * (stretch.stop - stretch.start)
            self._losses.lose(part.place(2 * stretch.start), length, stretch.problem)
        dropped = 0
        if part.fresh:
            marks = unfounded(words)
            marks[min((each.start for each in stretches), default=len(words)) :] = False
            dropped = int(np.count_nonzero(marks))
            words, stretches = (
                words[~marks],
                [
                    each._replace(start=each.start - dropped, stop=each.stop - dropped)
                    for each in stretches
                ],
            )
        if stretches:
            words, more = cut(words, stretches)
            dropped += more
        if dropped:
            problem = f"{dropped} words of a packet build on lost ones"
            self._losses.lose(part.place(0), 2 * dropped, problem)
        return words

    def place(self, offset: int) -> int:
        """Return where byte `offset` of the joined payloads stands in the file."""
        if not self._starts:
            return 0
        index = max(0, int(np.searchsorted(self._starts, offset, "right")) - 1)
        place, exact = self._places[index]
        return place + (offset - self._starts[index]) * exact

    def first_behind(self, place: int) -> int:
        """Return the offset in the joined payloads of the first packet behind a place in the file
        that lies in the latest part of it.
        """
        index = len(self._places)
        while index and self._places[index - 1][0] >= place:
            index -= 1
        return self._starts[index] if index < len(self._starts) else self._end


class Evt3Decoding:
    """One pass over joined payloads: losses are told with their places in the file."""

    def __init__(
        self,
        payloads: Payloads,
        size: Size,
        losses: Losses,
        *,
        state: NDArray[np.int64] | None = None,
    ) -> None:
        self._payloads, self._losses = payloads, losses
        self._found = Damage(kept=_MOST_LOSSES)
        found = Losses(losses.path, strict=losses.strict, damage=self._found)
        feed = StreamFeed(payloads, 0, EVT3_LAYOUT.kind, live=False)
        self._reading = WordPass(feed, 0, size, EVT3_LAYOUT, found)
        if state is not None:
            self._reading.state = state

    @property
    def triggers(self) -> list[Triggers]:
        """The external triggers so far."""
        return self._reading.triggers

    @property
    def early(self) -> int:
        """Number of events ahead of the first time, row or column that they build on."""
        return self._reading.early

    def blocks(self, storage: Storage) -> Iterator[Events]:
        """Yield the events. Raises DamagedFileError at the first loss in strict mode."""
        blocks = self._reading.blocks(storage)
        while True:
            try:
                block = next(blocks, None)
            except DamagedFileError as error:
                if error is self._payloads.raised:
                    raise
                place = self._payloads.place(error.offset)
                raise self._losses.error(place, error.problem) from None
            self._tell()
            if block is None:
                return
            yield block

    def _tell(self) -> None:
        for loss in self._found.losses:
            place = self._payloads.place(loss.offset)
            self._losses.lose(place, loss.length, loss.problem)
        self._found.losses.clear()
