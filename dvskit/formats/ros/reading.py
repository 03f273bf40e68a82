"""ROS recordings of all three containers as Recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from dvskit.events import Events, Size
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.recording import ReadOptions, Recording, SizeOrigin
from dvskit.formats.ros.container import Channel, Container
from dvskit.formats.ros.evt3 import Evt3Decoding, Payloads
from dvskit.formats.ros.messages import PACKET
from dvskit.formats.ros.packed import PackedDecoding, from_time
from dvskit.formats.ros.parts import Topic
from dvskit.formats.ros.pictures import ImuSample, imu_of, read_frame, read_imu
from dvskit.formats.ros.seeking import find_checkpoint, find_cut
from dvskit.formats.ros.topics import COMPRESSED, IMAGE, IMU, Topics, beside, find_topics
from dvskit.formats.ros.wire import MessageError
from dvskit.formats.sensor_size import choose_size, smallest_size
from dvskit.formats.storage import ReusedStorage, Storage
from dvskit.streams import Frame, Imu, Triggers

_CLOCKS = {
    "": "times are the ROS times of the events",
    "evt3": "times are the camera's clock, counted from its first 24 bits on; not ROS time",
    "mono": "times are the camera's clock (time_base); not ROS time",
    "libcaer": "times are the camera's clock, set to ROS time when the driver started",
    "libcaer_cmp": "times are the camera's clock, set to ROS time when the driver started",
}
_ANY_SIZE = {"evt3": Size(2048, 2048), "libcaer_cmp": Size(2048, 2048)}
_LARGEST = Size(32767, 32767)


class RosRecording(Recording):
    """One topic of events of a bag, and the triggers, frames and IMU samples beside it.

    topics     of events: the one that is read, the others
    container  the file's topics and messages
    """

    def __init__(
        self,
        path: Path,
        options: ReadOptions,
        size: Size,
        origin: SizeOrigin,
        container: Container,
        topics: Topics,
        name: str,
    ) -> None:
        super().__init__(path, options, size, origin)
        self.format = name
        self.container, self.topics = container, topics
        self._note(_CLOCKS[topics.events.encoding])
        if topics.others:
            others = ", ".join(topic.channel.topic for topic in topics.others)
            self._note(
                f"events are those of {topics.events.channel.topic}; {others} left out "
                f"(format={name}:TOPIC reads another topic)"
            )

    def _note(self, text: str) -> None:
        if text not in self.assumptions:
            self.assumptions.append(text)

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        yield from _blocks(self.container, self.topics.events, self.size, self._losses(damage),
                           storage, self)  # fmt: skip

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        """Yield the events from a place in the file where `start_us` is not yet.

        Where there may be damage, no time is believed: then from the start.
        """
        events, losses = self.topics.events, self._losses(damage)
        if self.strict and events.encoding == "evt3":
            found = find_checkpoint(self.container, events, self.size, start_us)
            if found is not None:
                parts = events.parts(self.container, losses, found.cut)
                payloads = Payloads(parts, self.size, losses, skip=found.skip)
                reading = Evt3Decoding(payloads, self.size, losses, state=found.state)
                yield from reading.blocks(storage)
                return
        if not self.strict or events.encoding == "evt3":
            yield from self._blocks(damage, storage)
            return
        cut = find_cut(self.container, events, start_us)
        ros1 = events.channel.ros1
        parts = from_time(
            events.parts(self.container, losses, cut), start_us, events.encoding, ros1=ros1
        )
        packed = PackedDecoding(parts, events.encoding, self.size, losses, ros1=ros1)
        yield from packed.blocks(storage)

    def note_findings(self, reading: Evt3Decoding | PackedDecoding, missing: int) -> None:
        """Note what a pass has found that is no damage."""
        if isinstance(reading, PackedDecoding) and reading.rounded:
            self._note("times are recorded in nanoseconds, and rounded down to microseconds")
        if isinstance(reading, Evt3Decoding) and reading.early:
            self._note(
                f"{reading.early} event words ahead of the first full time and address left out: "
                "the recording starts in the middle of a stream"
            )
        if missing:
            self._note(f"{missing} packets were never recorded, as their numbers say")

    def triggers(self) -> Triggers:
        """Return the triggers among the events (evt3) and on topics of their own, by time."""
        losses = self._losses()
        found = []
        events = self.topics.events
        if events.encoding == "evt3":
            payloads = Payloads(events.parts(self.container, losses), self.size, losses)
            reading = Evt3Decoding(payloads, self.size, losses, keep_triggers=True)
            for _ in reading.blocks(ReusedStorage()):
                pass
            found += reading.triggers
        for topic in self.topics.triggers:
            for part in topic.parts(self.container, losses):
                words = np.frombuffer(part.data, "<u8")
                low = (words & np.uint64(0xFFFFFFFF)).astype(np.int64)
                number = (words >> np.uint64(48) & np.uint64(0x7FFF)).astype(np.int16)
                edge = words >> np.uint64(63) != 0
                found.append(Triggers((part.base_ns + low) // 1000, number, edge))
        return Triggers.in_order(found)

    def imu(self) -> Imu:
        """Return the samples of the IMU topic that is most like the events' by name, in ROS time.

        Raises DamagedFileError in strict mode.
        """
        channels = beside(self.container, self.topics.events, IMU)
        samples: list[ImuSample] = []
        if channels:
            losses = self._losses()
            for message in self.container.messages({channels[0].number}, losses):
                try:
                    samples.append(read_imu(message.data, ros1=channels[0].ros1))
                except MessageError as error:
                    problem = f"an IMU sample is damaged: {error}"
                    losses.lose(message.place(0), len(message.data), problem)
        return imu_of(samples)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames of the image topic that is most like the events' by name, in ROS time.

        In the order of the file; one that is ahead of the one before it is lost. Raises
        DamagedFileError in strict mode.
        """
        channel = self._image_channel()
        if channel is None:
            return
        losses = self._losses()
        latest = None
        for message in self.container.messages({channel.number}, losses):
            try:
                frame = read_frame(
                    message.data, ros1=channel.ros1, compressed=channel.type == COMPRESSED
                )
                if latest is not None and frame.t_us < latest:
                    raise MessageError(f"time runs back from {latest} to {frame.t_us} us")
            except MessageError as error:
                problem = f"a frame of {channel.topic} is damaged: {error}"
                losses.lose(message.place(0), len(message.data), problem)
                continue
            latest = frame.t_us
            yield frame

    def _image_channel(self) -> Channel | None:
        events = self.topics.events
        plain = beside(self.container, events, IMAGE)
        packed = beside(self.container, events, COMPRESSED)
        return next(iter(plain + packed), None)

    def header(self) -> Mapping[str, str]:
        """Return the topic of the events, its type and its encoding."""
        events = self.topics.events
        return {
            "topic": events.channel.topic,
            "type": events.channel.type,
            **({"encoding": events.encoding} if events.kind == PACKET else {}),
        }

    def other_streams(self) -> Mapping[str, int]:
        """Count the messages of each topic that events, triggers, frames, IMU do not come from."""
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
    container: Container,
    topic: Topic,
    size: Size,
    losses: Losses,
    storage: Storage,
    listener: RosRecording | None,
) -> Iterator[Events]:
    parts = topic.parts(container, losses)
    if topic.encoding == "evt3":
        payloads = Payloads(parts, size, losses)
        reading = Evt3Decoding(payloads, size, losses)
        yield from reading.blocks(storage)
        if listener is not None:
            listener.note_findings(reading, payloads.missing)
        return
    packed = PackedDecoding(parts, topic.encoding, size, losses, ros1=topic.channel.ros1)
    yield from packed.blocks(storage)
    if listener is not None:
        listener.note_findings(packed, 0)


def open_container(container: Container, options: ReadOptions, name: str) -> RosRecording:
    """Return the recording of a container's events: of the topic that the variant names.

    Its size is the argument, that of the messages, or the smallest that holds the events. Raises
    FormatError, GeometryError.
    """
    topics = find_topics(container, options.variant, strict=options.strict)
    events = topics.events

    def of_events() -> Size:
        any_size = _ANY_SIZE.get(events.encoding, _LARGEST)
        losses = Losses(container.path, strict=False)
        blocks = _blocks(container, events, any_size, losses, Storage(), None)
        return smallest_size(container.path, blocks)

    stated = Size(events.width, events.height) if events.width else None
    size, origin = choose_size(options, lambda: stated, of_events)
    return RosRecording(container.path, options, size, origin, container, topics, name)
