"""A topic of a running ROS 2 system, through rclpy: ros://TOPIC.

Messages are decoded as those of recordings are. They come and go with history keep_last 1000 and
best effort, so that neither side waits for the other.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Set
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError, FormatError
from dvskit.events import Events, Size, Source
from dvskit.formats.addresses import DeviceRecording, LiveAddress
from dvskit.formats.forward_time import ForwardTime
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.recording import ReadOptions
from dvskit.formats.ros.container import Channel, Message, RosContainer
from dvskit.formats.ros.decoding import PackedDecoding, Payloads, evt3_decoding
from dvskit.formats.ros.messages import PACKET, PACKET_TYPE, event_kind
from dvskit.formats.ros.packing import EventPackets
from dvskit.formats.ros.topics import EventsPart, Topic, find_topics
from dvskit.formats.sensor_size import choose_size
from dvskit.formats.storage import Storage
from dvskit.streams import Triggers

DEPTH = 1000  # messages that ROS keeps
_WAIT_S = 0.05  # for a message, between looks at whether reading was ended
_AT_ONCE = 256  # messages that form one block, at most
_NUMBER = 0  # of the only channel


def _rclpy() -> Any:
    try:
        return importlib.import_module("rclpy")
    except ImportError as error:
        raise ConfigError(
            f"topics of ROS 2 need rclpy, which cannot be imported ({error}); source the setup "
            "file of ROS 2 first, such as /opt/ros/jazzy/setup.bash, with the Python of that ROS"
        ) from error


class _Node:
    """A node of dvskit, as a context; Ctrl-C stays with dvskit."""

    def __init__(self) -> None:
        self.rclpy = _rclpy()
        signals = importlib.import_module("rclpy.signals").SignalHandlerOptions
        self._context = self.rclpy.Context()
        self.rclpy.init(context=self._context, signal_handler_options=signals.NO)
        self.node = self.rclpy.create_node("dvskit", context=self._context)
        executors = importlib.import_module("rclpy.executors")
        self._executor = executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)

    def quality(self) -> Any:
        """Return the quality of service: the latest messages, best effort."""
        qos = importlib.import_module("rclpy.qos")
        return qos.QoSProfile(
            history=qos.HistoryPolicy.KEEP_LAST, depth=DEPTH,
            reliability=qos.ReliabilityPolicy.BEST_EFFORT,
        )  # fmt: skip

    def spin_once(self, seconds: float) -> None:
        """Take at most one message, and wait for it up to a time."""
        self._executor.spin_once(timeout_sec=seconds)

    def close(self) -> None:
        self.node.destroy_node()
        self.rclpy.shutdown(context=self._context)


def _message_type(name: str) -> Any:
    """Return the class of a type such as dvs_msgs/msg/EventArray. Raises FormatError."""
    package, _, short = name.replace("/", ".").rpartition(".")
    try:
        return getattr(importlib.import_module(package), short)
    except (ImportError, AttributeError) as error:
        raise FormatError(
            f"messages {name} are not known to this ROS 2 ({error}); install the package "
            f"{package.partition('.')[0]}"
        ) from error


class _Messages(RosContainer):
    """The messages of a topic at hand, as a container of one channel."""

    NAME = "ros"

    def __init__(self, path: Path, topic: str, kind: str) -> None:
        super().__init__(path)
        self.declare(Channel(_NUMBER, topic, kind, "", ros1=False))
        self.batch: list[bytes] = []

    def messages(self, wanted: Set[int], losses: Losses, start: int = 0) -> Iterator[Message]:
        for data in self.batch:
            yield Message(_NUMBER, data, -1, exact=False)

    def cuts(self) -> list[int]:
        return []


class RosTopic(DeviceRecording):
    """The events of a topic of ROS 2: a Source that is read once, as messages come.

    Messages that are missing by their numbers, late events and restarts of the publisher's clock
    are counted in `damage`; damaged messages are skipped and counted. Opening waits for the first
    message, up to `patience_s` seconds if that is not None. Reading ends at `close`.
    """

    format = "ros"

    def __init__(
        self, path: Path, options: ReadOptions, topic: str, *, patience_s: float | None = None
    ) -> None:
        self.path = path
        self._coming: list[bytes] = []
        self._ros = _Node()
        self._prepare(str(path), self._ros.close)
        try:
            kind = self._kind_of(topic, patience_s)
            self._ros.node.create_subscription(
                _message_type(kind), topic, self._take, self._ros.quality(), raw=True
            )
            self._container = _Messages(path, topic, kind)
            while not self._fill(_WAIT_S):
                self._check_patience(topic, patience_s)
            self._topic = find_topics(self._container, None, strict=False).events
            if self._topic.encoding == "trigger":
                raise FormatError(f"{path}: carries triggers, no events")
            size, origin = choose_size(options, lambda: self._topic.size, self._no_size)
        except BaseException:
            self._ros.close()
            raise
        super().__init__(path, replace(options, strict=False), size, origin)

    def _take(self, data: bytes) -> None:
        self._coming.append(bytes(data))

    def _fill(self, seconds: float) -> bool:
        """Put the messages that have come into the batch; return whether there are any."""
        self._ros.spin_once(seconds)
        while self._coming and len(self._coming) < _AT_ONCE:
            before = len(self._coming)
            self._ros.spin_once(0.0)
            if len(self._coming) == before:
                break
        self._container.batch, self._coming = self._coming, []
        return bool(self._container.batch)

    def _kind_of(self, topic: str, patience_s: float | None) -> str:
        """Return the type of a topic of events, once it is there."""
        self._since = time.monotonic()
        while True:
            found = dict(self._ros.node.get_topic_names_and_types()).get(topic, [])
            kinds = [each for each in found if event_kind(each.replace("/msg/", "/"), "")]
            if kinds:
                return str(kinds[0])
            if found:
                raise FormatError(f"{self.path}: carries {found[0]}, which holds no events")
            self._check_patience(topic, patience_s)
            self._ros.spin_once(_WAIT_S)

    def _check_patience(self, topic: str, patience_s: float | None) -> None:
        if patience_s is not None and time.monotonic() - self._since > patience_s:
            raise FormatError(
                f"{self.path}: no messages on {topic} within {patience_s:g} s; see ros2 topic list"
            )

    def _no_size(self) -> Size:
        raise FormatError(f"{self.path}: its messages hold no size; pass size=(width, height)")

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        self._begin()
        decoder = _Decoder(self._topic, self._container, self.size, damage)
        started = time.monotonic()
        try:
            while True:  # the first batch came with the opening
                yield from decoder.blocks()
                self._triggers += decoder.triggers()
                if self._closed.is_set():
                    return
                idle, limit_us = not self._fill(_WAIT_S), self.limit_us
                if idle and limit_us is not None and time.monotonic() >= started + limit_us * 1e-6:
                    return
        finally:
            self._ros.close()


class _Decoder:
    """Decodes batches of messages; states go on from batch to batch."""

    def __init__(self, topic: Topic, container: RosContainer, size: Size, damage: Damage) -> None:
        self._topic, self._container, self._size, self._damage = topic, container, size, damage
        self._losses = Losses(container.path, strict=False, damage=damage)
        self._clock = ForwardTime(damage)
        self._sequence: int | None = None
        self._state: NDArray[np.int64] | None = None
        self._early = 0
        self._triggers: list[Triggers] = []

    def blocks(self) -> Iterator[Events]:
        """Yield the events of the batch of the container, in time order."""
        self._triggers = []
        parts = list(self._topic.parts(self._container, self._losses))
        restarts = self._restarts(parts)
        for start, stop in pairwise([*sorted({0, *restarts}), len(parts)]):
            if start in restarts:
                self._state, self._early = None, 0
            decode = self._words if self._topic.encoding == "evt3" else self._packed
            yield from self._onward(decode(iter(parts[start:stop])))

    def _packed(self, parts: Iterator[EventsPart]) -> Iterator[Events]:
        decoding = PackedDecoding(self._topic, parts, self._size, self._losses)
        return decoding.blocks(Storage())

    def _words(self, parts: Iterator[EventsPart]) -> Iterator[Events]:
        decoding = evt3_decoding(Payloads(parts, self._losses), self._size, state=self._state)
        yield from decoding.blocks(Storage())
        self._state = decoding.state.copy()
        self._damage.tally(decoding.early - self._early, "event", "before the first full time")
        self._early = decoding.early
        shift = self._clock.shift_us
        self._triggers += [Triggers(each.t + shift, each.id, each.p) for each in decoding.triggers]

    def triggers(self) -> list[Triggers]:
        """Return the triggers of the latest batch."""
        return self._triggers

    def _restarts(self, parts: list[EventsPart]) -> list[int]:
        """Return where the publisher has started again; count that, and the missing messages.

        Parts after missing ones are marked.
        """
        found = []
        for index, part in enumerate(parts if self._topic.kind == PACKET else ()):
            number, before = part.head.sequence, self._sequence
            self._sequence = number
            if before is None or number == before + 1:
                continue
            parts[index] = part._replace(fresh=True)
            if number <= before:
                self._damage.tally(1, "restart", "of the publisher's numbers")
                found.append(index)
            else:
                self._damage.tally(number - before - 1, "message", "missing or damaged by number")
        return found

    def _onward(self, blocks: Iterator[Events]) -> Iterator[Events]:
        for block in blocks:
            events = self._clock.events(
                (block.t.copy(), block.x, block.y, block.p), block.sensor_size
            )
            if len(events):
                yield events


def topic_of(path: Path | str) -> str:
    """Return the topic of ros://TOPIC, with its first slash. Raises ConfigError."""
    topic = "/" + str(path).removeprefix("ros:").strip("/")
    if topic == "/" or not topic.replace("/", "").replace("_", "").isalnum():
        raise ConfigError(f"{path}: is not ros://TOPIC, such as ros://event_camera/events")
    return topic


def play(source: Source, topic: str, wait: Callable[[int], object]) -> int:
    """Publish events as event_camera_msgs/EventPacket; return the number of messages.

    wait  is called with the time of each message's first event in us, before it is published

    Raises ConfigError without rclpy, FormatError without the messages' package, EventsError for
    times that ROS does not have.
    """
    ros = _Node()
    try:
        publisher = ros.node.create_publisher(_message_type(PACKET_TYPE), topic, ros.quality())
        sent = 0

        def send(number: int, t_us: int, message: bytes) -> None:
            nonlocal sent
            wait(t_us)
            publisher.publish(message)
            sent += 1

        packets = EventPackets(topic, source.size, send, ros1=False, notes=[])
        for block in source:
            packets.write(block)
        return sent
    finally:
        ros.close()


def open_recording(path: Path, options: ReadOptions) -> RosTopic:
    """Listen to a topic at ros://TOPIC, once it has a first message.

    Raises ConfigError without rclpy, FormatError for a topic without events, or of messages that
    this ROS 2 lacks.
    """
    shown = LiveAddress(path)
    return RosTopic(shown, options, topic_of(shown))
