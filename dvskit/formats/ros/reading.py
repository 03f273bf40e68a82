"""ROS recordings of all three containers as Recordings."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeVar

import numpy as np

from dvskit.errors import DamagedFileError
from dvskit.events import Events, Size
from dvskit.formats.index_cache import NEVER, Index, count_early, find_index, index_of
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.prophesee import layout as w
from dvskit.formats.prophesee.decoding import WordPass
from dvskit.formats.recording import ReadOptions, Recording, SizeOrigin
from dvskit.formats.ros.container import Channel, RosContainer
from dvskit.formats.ros.decoding import (
    PackedDecoding,
    Payloads,
    evt3_decoding,
    first_us,
    parts_from,
)
from dvskit.formats.ros.messages import (
    PACKET,
    Data,
    ImuSample,
    MessageError,
    imu_of,
    read_frame,
    read_imu,
)
from dvskit.formats.ros.topics import Topic, Topics, find_topics
from dvskit.formats.sensor_size import choose_size, smallest_size
from dvskit.formats.storage import ReusedStorage, Storage
from dvskit.streams import Frame, Imu, Triggers

IMAGE, COMPRESSED, IMU = "sensor_msgs/Image", "sensor_msgs/CompressedImage", "sensor_msgs/Imu"
LEAST_BYTES = 1 << 22  # of a file that is worth a search
_CLOCKS = {
    "": "times are the ROS times of the events",
    "evt3": "times are the camera's clock, counted from its first 24 bits on; not ROS time",
    "mono": "times are the camera's clock (time_base); not ROS time",
    "libcaer": "times are the camera's clock, set to ROS time when the driver started",
    "libcaer_cmp": "times are the camera's clock, set to ROS time when the driver started",
}
_ANY_SIZE = {"evt3": Size(2048, 2048), "libcaer_cmp": Size(2048, 2048)}
_LARGEST = Size(32767, 32767)
_T = TypeVar("_T", Frame, ImuSample)


class RosRecording(Recording):
    """One topic of events of a bag, and the triggers, frames and IMU samples beside it.

    topics     of events: the one that is read, the others
    container  the file's topics and messages
    """

    def __init__(
        self,
        container: RosContainer,
        topics: Topics,
        options: ReadOptions,
        size: Size,
        origin: SizeOrigin,
    ) -> None:
        super().__init__(container.path, options, size, origin)
        self.format = container.NAME
        self.container, self.topics = container, topics
        self.assumptions += container.notes
        self._note(_CLOCKS[topics.events.encoding])
        if topics.others:
            others = ", ".join(topic.channel.topic for topic in topics.others)
            self._note(
                f"events are those of {topics.events.channel.topic}; {others} left out "
                f"(format={self.format}:TOPIC reads another topic)"
            )

    def _note(self, text: str) -> None:
        if text not in self.assumptions:
            self.assumptions.append(text)

    def _losses(self, damage: Damage | None = None) -> Losses:
        return self.container.losses(strict=self.strict, damage=damage)

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        topic, losses = self.topics.events, self._losses(damage)
        return _blocks(self.container, topic, self.size, losses, storage, self._note)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        """Yield the events from a place in the file before `start_us`; from the start in salvage.

        Times of damaged data do not tell where to begin.
        """
        reading: WordPass | PackedDecoding | None = None
        if self.strict:
            find = evt3_from if self.topics.events.encoding == "evt3" else packed_from
            losses = self._losses(damage)
            reading = find(self.container, self.topics.events, self.size, losses, start_us)
        yield from self._blocks(damage, storage) if reading is None else reading.blocks(storage)

    def triggers(self) -> Triggers:
        """Return the triggers among the events (evt3) and on topics of their own, by time."""
        losses = self._losses()
        found = []
        events = self.topics.events
        if events.encoding == "evt3":
            payloads = Payloads(events.parts(self.container, losses), losses)
            reading = evt3_decoding(payloads, self.size)
            for _ in reading.blocks(ReusedStorage()):
                pass
            found += reading.triggers
        for topic in self.topics.triggers:
            for part in topic.parts(self.container, losses):
                words = np.frombuffer(part.data, "<u8")
                low = (words & np.uint64(0xFFFFFFFF)).astype(np.int64)
                number = (words >> np.uint64(48) & np.uint64(0x7FFF)).astype(np.int16)
                edge = words >> np.uint64(63) != 0
                found.append(Triggers((part.head.base_ns + low) // 1000, number, edge))
        return Triggers.in_order(found)

    def imu(self) -> Imu:
        """Return the samples of the IMU topic that is most like the events' by name, in ROS time.

        Raises DamagedFileError in strict mode.
        """
        channel = self._beside(IMU)
        if channel is None:
            return Imu.empty()
        read = partial(read_imu, ros1=channel.ros1)
        return imu_of(list(self._messages(channel, "an IMU sample", read)))

    def frames(self) -> Iterator[Frame]:
        """Yield the frames of the image topic that is most like the events' by name, in ROS time.

        Frames come in the order of the file; one that is earlier than the frame before is lost.
        Raises DamagedFileError in strict mode.
        """
        channel = self._beside(IMAGE) or self._beside(COMPRESSED)
        if channel is None:
            return
        compressed = channel.type == COMPRESSED
        latest: int | None = None

        def read(data: Data) -> Frame:
            nonlocal latest
            frame = read_frame(data, ros1=channel.ros1, compressed=compressed)
            if latest is not None and frame.t_us < latest:
                raise MessageError(f"time runs back from {latest} to {frame.t_us} us")
            latest = frame.t_us
            return frame

        yield from self._messages(channel, f"a frame of {channel.topic}", read)

    def _beside(self, kind: str) -> Channel | None:
        """Return the channel of a type whose name is most like that of the events, if any is."""

        def likeness(channel: Channel) -> tuple[int, str]:
            pairs = zip(channel.topic, self.topics.events.channel.topic, strict=False)
            alike = next((i for i, (a, b) in enumerate(pairs) if a != b), len(channel.topic))
            return -alike, channel.topic

        channels = [each for each in self.container.channels.values() if each.type == kind]
        return min(channels, key=likeness, default=None)

    def _messages(self, channel: Channel, what: str, read: Callable[[Data], _T]) -> Iterator[_T]:
        losses = self._losses()
        for message in self.container.messages({channel.number}, losses):
            try:
                found = read(message.data)
            except MessageError as error:
                problem = f"{what} is damaged: {error}"
                losses.lose(message.place(0), len(message.data), problem)
                continue
            yield found

    def header(self) -> Mapping[str, str]:
        """Return the topic of the events, its type and its encoding."""
        events = self.topics.events
        return {
            "topic": events.channel.topic,
            "type": events.channel.type,
            **({"encoding": events.encoding} if events.kind == PACKET else {}),
        }

    def other_streams(self) -> Mapping[str, int]:
        """Count the messages of each topic except those of the events and triggers."""
        used = {self.topics.events.channel.number}
        used |= {topic.channel.number for topic in self.topics.triggers}
        counts = self.container.counts()
        named: dict[str, int] = {}
        for number, channel in self.container.channels.items():
            if number not in used and counts.get(number):
                name = f"messages of {channel.topic} ({channel.type})"
                named[name] = named.get(name, 0) + counts[number]
        return named


def _blocks(
    container: RosContainer,
    topic: Topic,
    size: Size,
    losses: Losses,
    storage: Storage,
    note: Callable[[str], None],
) -> Iterator[Events]:
    """Yield the events of a topic; `note` gets remarks that are no damage."""
    parts = topic.parts(container, losses)
    if topic.encoding != "evt3":
        packed = PackedDecoding(topic, parts, size, losses)
        yield from packed.blocks(storage)
        if packed.rounded:
            note("times are recorded in nanoseconds, and rounded down to microseconds")
        return
    payloads = Payloads(parts, losses)
    reading = evt3_decoding(payloads, size)
    yield from reading.blocks(storage)
    if reading.early:
        note(
            f"{reading.early} events before the first full time and address left out: "
            "the recording starts in the middle of a stream"
        )
    if payloads.missing:
        note(f"{payloads.missing} packets were never recorded, as their numbers show")


def open_container(container: RosContainer, options: ReadOptions) -> RosRecording:
    """Return the recording of the topic that the variant names.

    Its size is the option's, that of the messages, or the smallest that holds the events. Raises
    FormatError, GeometryError.
    """
    topics = find_topics(container, options.variant, strict=options.strict)
    events = topics.events

    def of_events() -> Size:
        any_size = _ANY_SIZE.get(events.encoding, _LARGEST)
        losses = Losses(container.path, strict=False)
        blocks = _blocks(container, events, any_size, losses, Storage(), lambda _: None)
        return smallest_size(container.path, blocks)

    size, origin = choose_size(options, lambda: events.size, of_events)
    return RosRecording(container, topics, options, size, origin)


def packed_from(
    container: RosContainer, topic: Topic, size: Size, losses: Losses, start_us: int
) -> PackedDecoding:
    """Return a pass over messages that are decoded alone, from the latest cut before `start_us`.

    Only the times of messages count, not those in the file's index.
    """
    cuts = container.cuts() if container.bytes >= LEAST_BYTES else []

    def is_early(cut: int) -> bool:
        try:
            for part in topic.parts(container, Losses(container.path, strict=True), cuts[cut]):
                if len(part.data):
                    return first_us(topic, part) < start_us
        except DamagedFileError:
            pass
        return False

    early = count_early(len(cuts), is_early)
    parts = topic.parts(container, losses, cuts[early - 1] if early > 1 else 0)
    return PackedDecoding(topic, parts_from(topic, parts, start_us), size, losses)


def evt3_from(
    container: RosContainer, topic: Topic, size: Size, losses: Losses, start_us: int
) -> WordPass | None:
    """Return a pass over packets in evt3 from the latest checkpoint before `start_us`.

    A checkpoint is a cut, a number of payload bytes after it, and a state of decoding. Returns None
    for short and damaged files, which are read from the start.
    """
    cuts = container.cuts()
    if container.bytes < LEAST_BYTES or not cuts or cuts != sorted(cuts):
        return None
    kind = f"ros evt3 {w.STATE_FIELDS} {size} {topic.channel.number}{container.state}"
    index = find_index(container.path, kind, lambda: _checkpoints(container, topic, size))
    row = index.at(start_us)
    cut = int(index.offset[row])
    if row == 0 or index.state.shape[1] != w.STATE_FIELDS + 1 or cut not in cuts:
        return None
    skip, state = int(index.state[row, 0]), index.state[row, 1:].copy()
    if skip < 0:
        return None
    payloads = Payloads(topic.parts(container, losses, cut), losses, skip=skip)
    return evt3_decoding(payloads, size, state=state)


def _checkpoints(container: RosContainer, topic: Topic, size: Size) -> Index:
    """Read the file once. The only checkpoint of a damaged file is its start."""
    losses = Losses(container.path, strict=True)
    payloads = Payloads(topic.parts(container, losses), losses)
    reading = evt3_decoding(payloads, size)
    cuts = container.cuts()
    rows = [(NEVER, 0, 0, *w.new_state().tolist())]
    try:
        for _ in reading.blocks(ReusedStorage()):
            before = bisect_right(cuts, payloads.place(reading.at)) - 1
            if before >= 0:
                skip = reading.at - payloads.first_after(cuts[before])
                state = reading.state.tolist()
                rows.append((int(reading.state[w.S_LAST]), cuts[before], skip, *state))
    except DamagedFileError:
        rows = rows[:1]
    return index_of(rows)
