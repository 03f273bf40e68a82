"""Events that count from the time base of their message, or name their time: parts to blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.events import Events, Size
from dvskit.formats.in_order import Columns, InOrder
from dvskit.formats.losses import Losses
from dvskit.formats.ros import message_kernels as k
from dvskit.formats.ros.topics import Part, Topic
from dvskit.formats.storage import EventColumns, Storage, new_columns

GROUP_EVENTS = 1 << 19
HELD_PARTS, HELD_EVENTS = 3, 1 << 12  # that judge the ones ahead of them, in salvage mode
_LANE_EVENTS = 1 << 16  # the least that is worth a thread
_NEVER = int(np.iinfo(np.int64).min)
_DECODERS: dict[str, Callable[..., tuple[int, bool]]] = {
    "": k.decode_array,
    "mono": k.decode_mono,
    "libcaer": k.decode_libcaer,
    "libcaer_cmp": k.decode_compressed,
}


class _Group:
    """Parts that are decoded together: their bytes in one array, and where each stands in it."""

    def __init__(self, topic: Topic, parts: list[Part]) -> None:
        self.parts, self.encoding, self.ros1 = parts, topic.encoding, topic.channel.ros1
        stops = np.cumsum([len(part.data) for part in parts])
        self.ends = np.cumsum([part.events for part in parts])
        self.places = np.concatenate([[0], self.ends[:-1]])
        self.count = int(self.ends[-1])
        self._messages = k.Messages(
            np.frombuffer(b"".join(part.data for part in parts), np.uint8),
            np.concatenate([[0], stops[:-1]]),
            stops,
            np.array([part.base_ns for part in parts], np.int64),
            self.places,
            self.ros1,
            parts[0].big,
        )

    def decode(self, size: Size, columns: EventColumns) -> tuple[int, bool]:
        """Decode all into `columns`; return the first bad event or -1, and if times were rounded.

        Bad are events off the sensor, and ahead of the event before them.
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
        bad = [event for event, _ in found if event >= 0]
        for before, after in pairwise(bounds[1:]):
            edge = int(self.places[before]) if before < after else 0
            if 0 < edge < self.count and t[edge] < t[edge - 1]:
                bad.append(edge)
        return min(bad, default=-1), any(rounded for _, rounded in found)

    def offsets(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where each event stands in the file (its message, if packed), and its length."""
        offsets = np.empty(self.count, np.int64)
        width = {"": 13, "libcaer_cmp": 2}.get(self.encoding, 8)
        step = {"": 13 if self.ros1 else 16, "libcaer_cmp": 0}.get(self.encoding, 8)
        for part, first, stop in zip(
            self.parts, self.places.tolist(), self.ends.tolist(), strict=True
        ):
            steps = step * np.arange(stop - first) if part.message.exact else 0
            offsets[first:stop] = part.place(0) + steps
        return offsets, np.full(self.count, width, np.int64)


def first_us(topic: Topic, part: Part) -> int:
    """Return the time of a part's first event, or one ahead of it."""
    if topic.encoding == "libcaer_cmp":
        return part.base_ns // 1000
    single = part._replace(data=part.data[: 8 if topic.encoding else 13], events=1)
    columns = new_columns(1)
    _Group(topic, [single]).decode(Size(1, 1), columns)
    return int(columns.t[0])


def from_time(topic: Topic, parts: Iterator[Part], start_us: int) -> Iterator[Part]:
    """Yield the parts less those that end ahead of `start_us`, as the one behind them says."""
    waiting: Part | None = None
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
    """One pass over the parts of a topic, not of evt3, in blocks of whole parts.

    rounded  whether a time was rounded down to whole microseconds
    """

    def __init__(self, topic: Topic, parts: Iterator[Part], size: Size, losses: Losses) -> None:
        self._topic, self._parts, self._size, self._losses = topic, parts, size, losses
        self._last = _NEVER
        self.rounded = False

    def blocks(self, storage: Storage) -> Iterator[Events]:
        """Yield the events; what is off the sensor or out of time order is lost."""
        group: list[Part] = []
        count = 0
        for part in self._parts:
            part = self._counted(part)
            if not part.events:
                continue
            group.append(part)
            count += part.events
            if count >= GROUP_EVENTS and (self._losses.strict or len(group) > 2 * HELD_PARTS):
                kept = self._held(group)
                yield from self._decode(group, len(group) - kept, storage)
                group = group[len(group) - kept :]
                count = sum(each.events for each in group)
        yield from self._decode(group, len(group), storage)

    def _counted(self, part: Part) -> Part:
        if part.events >= 0:
            return part
        data = np.frombuffer(part.data, np.uint8)
        count, unknown = k.count_compressed(data, 0, len(data))
        if unknown:
            problem = f"{unknown} words of a packet are of unknown types"
            self._losses.lose(part.place(0), 2 * unknown, problem)
        return part._replace(events=count)

    def _held(self, group: list[Part]) -> int:
        """Return how many parts at the end of a group wait for those that follow."""
        if self._losses.strict:
            return 0
        kept, events = 0, 0
        for part in reversed(group):
            if kept >= HELD_PARTS and events >= HELD_EVENTS:
                break
            kept += 1
            events += part.events
        return min(kept, len(group) - 1)

    def _decode(self, parts: list[Part], certain: int, storage: Storage) -> Iterator[Events]:
        """Yield the events of the first `certain` parts, judged by all."""
        if not certain:
            return
        group = _Group(self._topic, parts)
        columns = storage.columns(group.count)
        bad, rounded = group.decode(self._size, columns)
        self.rounded |= rounded
        count = int(group.ends[certain - 1])
        if bad < 0 and columns.t[0] >= self._last:
            self._last = int(columns.t[count - 1])
            yield columns.events(count, self._size)
            return
        yield from self._valid(group, count)

    def _valid(self, group: _Group, count: int) -> Iterator[Events]:
        """Yield the events on the sensor and in order among the first `count` of a group."""
        places: NDArray[Any] = np.empty((2, group.count), np.int32)
        columns = new_columns(group.count)._replace(x=places[0], y=places[1])
        group.decode(self._size, columns)
        order = InOrder(self._losses, self._size, earliest_us=self._last)
        found = Columns(*columns, *group.offsets())
        for block in order.push(found) if order.strict else order.first(found, count):
            self._last = int(block.t[-1])
            yield block
