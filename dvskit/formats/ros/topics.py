"""Topics of events: the choice of one, and the events of its messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from dvskit.errors import FormatError, did_you_mean
from dvskit.events import Size
from dvskit.formats.losses import Losses
from dvskit.formats.ros.container import Channel, Message, RosContainer
from dvskit.formats.ros.messages import (
    ARRAY,
    PACKET,
    Data,
    EventsHead,
    MessageError,
    read_array,
    read_packet,
)

ENCODINGS = {"evt3": 2, "mono": 8, "libcaer": 8, "libcaer_cmp": 2, "trigger": 8}  # bytes of a word
_LOOKS = 9  # messages that vote on size and encoding, in salvage
_MOST_SIDE = 32767


class EventsPart(NamedTuple):
    """The events of one message.

    data    their bytes, from byte `head.start` of the message on
    events  their number; -1 if only decoding tells
    fresh   whether data was lost just before the message
    """

    head: EventsHead
    data: Data
    events: int
    message: Message
    fresh: bool

    def place(self, at: int) -> int:
        """Return the place of byte `at` of the data."""
        return self.message.place(self.head.start + at)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of events, as most of its first messages describe it.

    kind           PACKET or ARRAY
    encoding       of packets; empty for arrays
    width, height  of the sensor; 0 if unknown
    """

    channel: Channel
    kind: str
    encoding: str
    width: int
    height: int

    @property
    def size(self) -> Size | None:
        """The sensor's size; None if it is unknown or impossible."""
        sides = range(1, _MOST_SIDE + 1)
        known = self.width in sides and self.height in sides
        return Size(self.width, self.height) if known else None

    def parts(
        self, container: RosContainer, losses: Losses, start: int = 0
    ) -> Iterator[EventsPart]:
        """Yield the events of the topic's messages. Invalid messages are lost as a whole.

        `start` is one of the container's cuts; messages are counted from there.
        """
        lost, word = losses.damage.count, ENCODINGS.get(self.encoding, 1)
        for number, message in enumerate(container.messages({self.channel.number}, losses, start)):
            try:
                head = self._head(message.data)
                if (head.stop - head.start) % word:
                    raise MessageError("it ends inside an event")
            except MessageError as error:
                problem = f"message {number} of {self.channel.topic} is damaged: {error}"
                losses.lose(message.place(0), len(message.data), problem)
                continue
            data = memoryview(message.data)[head.start : head.stop]
            events = len(data) // 8 if word == 8 else head.events
            yield EventsPart(head, data, events, message, losses.damage.count > lost)
            lost = losses.damage.count

    def _head(self, data: Data) -> EventsHead:
        """Return the head of a message. Raises MessageError if it contradicts the topic."""
        head = read_head(data, self.kind, ros1=self.channel.ros1)
        if (head.width, head.height) != (self.width, self.height):
            said, others = f"{head.width}x{head.height}", f"{self.width}x{self.height}"
            raise MessageError(f"it says a size of {said}, the others {others}")
        if head.encoding != self.encoding:
            raise MessageError(f"it is encoded as {head.encoding!r}, the others {self.encoding}")
        return head


def read_head(data: Data, kind: str, *, ros1: bool) -> EventsHead:
    """Read the head of an EventPacket or an EventArray. Raises MessageError."""
    return (read_packet if kind == PACKET else read_array)(data, ros1=ros1)


@dataclass(frozen=True, slots=True)
class Topics:
    """The chosen topic of events, the other ones, and those of triggers."""

    events: Topic
    others: tuple[Topic, ...]
    triggers: tuple[Topic, ...]


def find_topics(container: RosContainer, name: str | None, *, strict: bool) -> Topics:
    """Choose the topic of events: `name`, or the first by name that has messages.

    Raises FormatError if there is none, or none with that name.
    """
    found = _event_topics(container, strict=strict)
    events = [topic for topic in found if topic.encoding != "trigger"]
    triggers = tuple(topic for topic in found if topic.encoding == "trigger")
    if not events:
        raise FormatError(f"{container.path}: {_no_events(container)}")
    if name is not None:
        names = [topic.channel.topic for topic in events]
        if name not in names:
            raise FormatError(
                f"{container.path}: no events on a topic {name!r}; {did_you_mean(name, names)}"
            )
        chosen = events[names.index(name)]
    else:
        chosen = next((topic for topic in events if topic.width), events[0])
    if chosen.kind == PACKET and chosen.encoding not in ENCODINGS:
        raise FormatError(
            f"{container.path}: events of {chosen.channel.topic} are encoded as "
            f"{chosen.encoding!r}; {', '.join(sorted(ENCODINGS))} are read"
        )
    others = tuple(topic for topic in events if topic is not chosen)
    return Topics(chosen, others, triggers)


def _no_events(container: RosContainer) -> str:
    channels = sorted(container.channels.values(), key=lambda each: each.topic)
    for channel in channels:
        if channel.type.rpartition("/")[2] in (PACKET, ARRAY):
            return f"the messages of {channel.topic} are not defined as an {PACKET} or {ARRAY} is"
    shown = ", ".join(f"{each.topic[:80]} ({each.type[:80]})" for each in channels[:8])
    shown += " and more" if len(channels) > 8 else ""
    return f"no topic of events ({PACKET}, {ARRAY}) but {shown or 'no topics at all'}"


def _event_topics(container: RosContainer, *, strict: bool) -> list[Topic]:
    """Return the topics of events, sorted by name, from their first messages."""
    kinds = {
        number: channel.event_kind
        for number, channel in container.channels.items()
        if channel.event_kind is not None
    }
    seen: dict[int, Counter[tuple[str, int, int]]] = {number: Counter() for number in kinds}
    waiting = set(kinds)
    messages = container.messages(kinds.keys(), Losses(container.path, strict=False))
    while waiting and (message := next(messages, None)) is not None:
        number = message.channel
        ros1 = container.channels[number].ros1
        with suppress(MessageError):
            head = read_head(message.data, kinds[number], ros1=ros1)
            seen[number][head.encoding, head.width, head.height] += 1
            if strict or seen[number].total() >= _LOOKS:
                waiting.discard(number)
    topics = []
    for number, kind in kinds.items():
        default = ("evt3" if kind == PACKET else "", 0, 0)
        encoding, width, height = max(seen[number], key=seen[number].__getitem__, default=default)
        topics.append(Topic(container.channels[number], kind, encoding, width, height))
    return sorted(topics, key=lambda topic: topic.channel.topic)
