"""Packets in encoding evt3: joined, they are the words of a RAW file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Events, Size
from dvskit.formats.evt3 import _kernels as k
from dvskit.formats.evt3.decoding import _PROBLEMS, _Lane
from dvskit.formats.recording import BLOCK_EVENTS
from dvskit.formats.ros.container import Losses
from dvskit.formats.ros.evt3_repair import Clock, cut, impossible_stretches, unfounded
from dvskit.formats.ros.parts import Part
from dvskit.streams import Triggers

_CHUNK = 1 << 20


class Payloads:
    """The joined payloads of packets as a raw stream, and where they stand in the file."""

    def __init__(self, parts: Iterator[Part], size: Size, losses: Losses) -> None:
        self._parts, self._size, self._losses = parts, size, losses
        self._clock = Clock()
        self._left: memoryview = memoryview(b"")
        self._starts: list[int] = []
        self._places: list[Callable[[int], int]] = []
        self._end = 0
        self.missing = 0
        self._sequence = -1

    def readinto(self, buffer: memoryview) -> int:
        """Put the next bytes into `buffer`; return how many, 0 at the end."""
        while not len(self._left):
            part = next(self._parts, None)
            if part is None:
                return 0
            self._take(part)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def _take(self, part: Part) -> None:
        if len(part.data) % 2:
            place = part.place(len(part.data) - 1)
            self._losses.lose(place, 1, "half a word stands at the end of a packet")
        words = np.frombuffer(part.data, "<u2", len(part.data) // 2)
        if not self._losses.strict:
            words = self._sound(part, words)
        if 0 <= self._sequence < part.sequence - 1 and not part.fresh:
            self.missing += part.sequence - 1 - self._sequence
        self._sequence = part.sequence
        self._starts.append(self._end)
        self._places.append(part.place)
        self._end += 2 * len(words)
        self._left = memoryview(words.tobytes())

    def _sound(self, part: Part, words: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Return the words less those that cannot be, and those that build on lost ones."""
        stretches = impossible_stretches(words, self._size)
        stretches = stretches or self._clock.stretches(words)
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
        return self._places[index](offset - self._starts[index])


class Evt3Decoding:
    """One pass over joined payloads."""

    def __init__(self, payloads: Payloads, size: Size, losses: Losses) -> None:
        self._payloads, self._size, self._losses = payloads, size, losses
        self.triggers: list[Triggers] = []
        self.early = 0

    def blocks(self) -> Iterator[Events]:
        """Yield the events."""
        state = np.zeros(k.STATE_FIELDS, np.int64)
        state[[k.S_LAST, k.S_BEFORE]] = -(1 << 62)
        state[k.S_SEGMENT] = k.NO_SEGMENT
        lane = _Lane(BLOCK_EVENTS, state)
        number, rest = 0, b""
        while True:
            data = bytearray(_CHUNK)
            got = 0
            while got < _CHUNK and (count := self._payloads.readinto(memoryview(data)[got:])):
                got += count
            ended = got < _CHUNK
            whole = rest + bytes(data[:got])
            words: NDArray[np.uint16] = np.frombuffer(whole, "<u2")
            stop = len(words) if ended else max(0, len(words) - k.LOOK_AHEAD)
            at = 0
            while at < stop:
                at = lane.decode(words, at, stop, number, self._size, self._losses.strict)
                for word, length, why, a, b in lane.losses[: state[k.S_LOSSES]].tolist():
                    self._losses.lose(
                        self._payloads.place(2 * word), 2 * length, _PROBLEMS[why].format(a=a, b=b)
                    )
                state[k.S_LOSSES] = 0
                hits, count = lane.hits, int(state[k.S_TRIGGERS])
                if count:
                    self.triggers.append(
                        Triggers(
                            hits.t[:count].copy(), hits.id[:count].copy(), hits.p[:count].copy()
                        )
                    )
                    state[k.S_TRIGGERS] = 0
                if lane.full:
                    yield self._cut(lane)
            number += stop
            rest = whole[stop * 2 :]
            if ended:
                break
        self.early = int(state[k.S_EARLY])
        count = int(state[k.S_EVENTS])
        t, x, y, p = lane.columns
        yield Events.from_checked(t[:count], x[:count], y[:count], p[:count], self._size)

    def _cut(self, lane: _Lane) -> Events:
        state, columns = lane.state, lane.columns
        count, certain = int(state[k.S_EVENTS]), int(state[k.S_SEGMENT])
        if certain <= 0:
            certain, state[k.S_SEGMENT] = count, k.NO_SEGMENT
        else:
            state[k.S_SEGMENT] = 0
        fresh = _Lane(BLOCK_EVENTS, state)
        for place in range(4):
            fresh.columns[place][: count - certain] = columns[place][certain:count]
        lane.columns = fresh.columns
        state[k.S_EVENTS] = count - certain
        t, x, y, p = columns
        return Events.from_checked(t[:certain], x[:certain], y[:certain], p[:certain], self._size)
