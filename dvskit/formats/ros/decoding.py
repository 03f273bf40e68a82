"""Decode the events of messages into blocks.

The joined payloads of packets in evt3 are the words of a RAW file. Messages of other encodings are
decoded alone: their events count from the message's time base, or have a whole time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.events import Events, Size
from dvskit.formats.feed import StreamFeed
from dvskit.formats.losses import Losses
from dvskit.formats.prophesee import evt3_kernels as w
from dvskit.formats.prophesee.decoding import WordPass
from dvskit.formats.prophesee.evt import EVT3_LAYOUT
from dvskit.formats.ros import message_kernels as k
from dvskit.formats.ros.topics import EventsPart, Topic
from dvskit.formats.storage import EventColumns, Storage, new_columns
from dvskit.formats.validate import DecodedBlock, Validator

GROUP_EVENTS = 1 << 19
_LANE_EVENTS = 1 << 16  # the least that is worth a thread
_DECODERS: dict[str, Callable[..., tuple[int, bool]]] = {
    "": k.decode_array,
    "mono": k.decode_mono,
    "libcaer": k.decode_libcaer,
    "libcaer_cmp": k.decode_compressed,
}


class Payloads:
    """The joined payloads of packets in evt3 as a stream; `losses` are those at its bytes.

    missing  packets that were never recorded, as the numbers of the others show
    """

    def __init__(self, parts: Iterator[EventsPart], losses: Losses, *, skip: int = 0) -> None:
        self.losses = losses.at(self.place)
        self._parts, self._losses = parts, losses
        self._left = memoryview(b"")
        self._starts: list[int] = []
        self._places: list[tuple[int, bool]] = []  # in the file, and whether bytes follow there
        self._end = 0
        self._skip = skip  # bytes at the start that are not read
        self._sequence = -1
        self.missing = 0

    def readinto(self, buffer: memoryview) -> int:
        """Put the next bytes into `buffer`; return how many: fewer than it holds only at the end.

        Raises DamagedFileError.
        """
        at = 0
        while at < len(buffer):
            if not len(self._left):
                part = next(self._parts, None)
                if part is None:
                    break
                self._take(part)
            count = min(len(buffer) - at, len(self._left))
            buffer[at : at + count] = self._left[:count]
            self._left = self._left[count:]
            at += count
        return at

    def _take(self, part: EventsPart) -> None:
        words = np.frombuffer(part.data, "<u2")
        exact = part.message.exact
        if part.fresh:
            unfounded = _unfounded(words)
            if dropped := int(np.count_nonzero(unfounded)):
                problem = f"{dropped} words of a packet depend on lost ones"
                self._losses.lose(part.place(0), 2 * dropped, problem)
                words, exact = words[~unfounded], False
        elif 0 <= self._sequence < part.head.sequence - 1:
            self.missing += part.head.sequence - 1 - self._sequence
        self._sequence = part.head.sequence
        skipped = min(self._skip // 2, len(words))
        self._skip -= 2 * skipped
        words = words[skipped:]
        self._starts.append(self._end)
        self._places.append((part.place(2 * skipped), exact))
        self._end += 2 * len(words)
        self._left = words.view(np.uint8).data

    def place(self, offset: int) -> int:
        """Return the place in the file of byte `offset` of the joined payloads."""
        if not self._starts:
            return 0
        index = max(0, int(np.searchsorted(self._starts, offset, "right")) - 1)
        place, exact = self._places[index]
        return place + (offset - self._starts[index]) * exact

    def first_after(self, place: int) -> int:
        """Return the offset in the joined payloads of the first packet at a place or after it.

        The place must be in the latest part of the file.
        """
        index = len(self._places)
        while index and self._places[index - 1][0] >= place:
            index -= 1
        return self._starts[index] if index < len(self._starts) else self._end


def _unfounded(words: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Mark the words whose meaning depends on words before the first one.

    Events need a full time and a row, vectors also a base, and triggers a time.
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


def evt3_decoding(
    payloads: Payloads, size: Size, *, state: NDArray[np.int64] | None = None
) -> WordPass:
    """Return one pass over joined payloads, from the `state` of an earlier pass if given."""
    feed = StreamFeed(payloads, 0, EVT3_LAYOUT.kind, live=False)
    reading = WordPass(feed, 0, size, EVT3_LAYOUT, payloads.losses)
    if state is not None:
        reading.state = state
    return reading


class _Group:
    """Parts that are decoded together, with their bytes in one array."""

    def __init__(self, topic: Topic, parts: list[EventsPart]) -> None:
        self.parts, self.encoding, self.ros1 = parts, topic.encoding, topic.channel.ros1
        stops = np.cumsum([len(part.data) for part in parts])
        ends = np.cumsum([part.events for part in parts])
        self.places = np.concatenate([[0], ends[:-1]])
        self.count = int(ends[-1])
        self._messages = k.Messages(
            np.frombuffer(b"".join(part.data for part in parts), np.uint8),
            np.concatenate([[0], stops[:-1]]),
            stops,
            np.array([part.head.base_ns for part in parts], np.int64),
            self.places,
            self.ros1,
            parts[0].head.big_endian,
        )

    def decode(self, size: Size, columns: EventColumns) -> tuple[bool, bool]:
        """Decode all into `columns`; return whether all are valid, and if times were rounded.

        Valid events are on the sensor, and not earlier than the event before them.
        """
        t = columns.t
        lanes = max(1, min(thread_count(), self.count // _LANE_EVENTS))
        wanted = [self.count * lane // lanes for lane in range(lanes)]
        bounds = [*np.searchsorted(self.places, wanted).tolist(), len(self.parts)]
        found: list[tuple[int, bool]] = [(-1, False)] * lanes
        decode, sides = _DECODERS[self.encoding], tuple(size)

        def work(lane: int) -> None:
            found[lane] = decode(self._messages, bounds[lane], bounds[lane + 1], sides, columns)

        run_parts(work, lanes)
        edges = [int(self.places[a]) for a, b in pairwise(bounds[1:]) if a < b]
        ordered = all(t[edge] >= t[edge - 1] for edge in edges if 0 < edge < self.count)
        valid = ordered and all(event < 0 for event, _ in found)
        return valid, any(rounded for _, rounded in found)

    def offsets(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the places of the events in the file, and their lengths."""
        offsets = np.empty(self.count, np.int64)
        width = {"": 13, "libcaer_cmp": 2}.get(self.encoding, 8)
        step = {"": 13 if self.ros1 else 16, "libcaer_cmp": 0}.get(self.encoding, 8)
        for part, first in zip(self.parts, self.places.tolist(), strict=True):
            steps = step * np.arange(part.events) if part.message.exact else 0
            offsets[first : first + part.events] = part.place(0) + steps
        return offsets, np.full(self.count, width, np.int64)


def first_us(topic: Topic, part: EventsPart) -> int:
    """Return the time of a part's first event, or an earlier one."""
    if topic.encoding == "libcaer_cmp":
        return part.head.base_ns // 1000
    single = part._replace(data=part.data[: 8 if topic.encoding else 13], events=1)
    columns = new_columns(1)
    _Group(topic, [single]).decode(Size(1, 1), columns)
    return int(columns.t[0])


def parts_from(topic: Topic, parts: Iterator[EventsPart], start_us: int) -> Iterator[EventsPart]:
    """Yield the parts from the last one that begins before `start_us`."""
    waiting: EventsPart | None = None
    for part in parts:
        if not len(part.data):
            continue
        if waiting is not None and first_us(topic, part) >= start_us:
            yield waiting
            yield part
            yield from parts
            return
        waiting = part
    if waiting is not None:
        yield waiting


class PackedDecoding:
    """One pass over the parts of a topic in another encoding than evt3.

    rounded  whether a time was rounded down to whole microseconds
    """

    def __init__(
        self, topic: Topic, parts: Iterator[EventsPart], size: Size, losses: Losses
    ) -> None:
        self._topic, self._parts, self._size, self._losses = topic, parts, size, losses
        self.rounded = False

    def blocks(self, storage: Storage) -> Iterator[Events]:
        """Yield the events; those off the sensor or out of time order are lost."""
        blocks = (self._block(group, storage) for group in self._groups())
        return Validator(self._losses, self._size).blocks(blocks)

    def _block(self, group: _Group, storage: Storage) -> DecodedBlock:
        columns = storage.columns(group.count)
        valid, rounded = group.decode(self._size, columns)
        self.rounded |= rounded
        return DecodedBlock(columns, group.offsets, (), valid)

    def _groups(self) -> Iterator[_Group]:
        parts: list[EventsPart] = []
        count = 0
        for part in map(self._counted, self._parts):
            if part.events:
                parts.append(part)
                count += part.events
            if count >= GROUP_EVENTS:
                yield _Group(self._topic, parts)
                parts, count = [], 0
        if parts:
            yield _Group(self._topic, parts)

    def _counted(self, part: EventsPart) -> EventsPart:
        if part.events >= 0:
            return part
        data = np.frombuffer(part.data, np.uint8)
        count, unknown = k.count_compressed(data, 0, len(data))
        if unknown:
            problem = f"{unknown} words of a packet are of unknown types"
            self._losses.lose(part.place(0), len(data), problem)
            count = 0
        return part._replace(events=count)
