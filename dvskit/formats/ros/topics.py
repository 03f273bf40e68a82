"""Topics of events: which of a container's are read, and the events of their messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from dvskit.errors import FormatError, did_you_mean
from dvskit.formats.losses import Losses
from dvskit.formats.ros.container import LEAST_RECORD, Channel, Container, Message
from dvskit.formats.ros.messages import ARRAY, PACKET, event_kind
from dvskit.formats.ros.wire import (
    MOST_PADDING,
    Data,
    EventsHead,
    MessageError,
    PacketHeads,
    read_array,
    read_packet,
)

ENCODINGS = {"evt3": 2, "mono": 8, "libcaer": 8, "libcaer_cmp": 2, "trigger": 8}  # bytes of a word
_LATEST_NS = 1 << 62
_LOOKS = 9  # messages whose majority is believed, in salvage mode
_MOST_SIDE = 32767


class Part(NamedTuple):
    """The events of one message.

    data      their bytes, from byte `start` of the message on
    events    how many there are; -1 where the bytes have to be looked at
    base_ns   what their times count from
    sequence  the number of an EventPacket; -1 in an EventArray
    big       whether numbers stand with their high byte first
    fresh     whether a message may have been lost ahead of it
    """

    data: Data
    events: int
    base_ns: int
    sequence: int
    big: bool
    fresh: bool
    message: Message
    start: int

    def place(self, at: int) -> int:
        """Return where byte `at` of the data stands in the file."""
        return self.message.place(self.start + at)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of events: its channel, PACKET or ARRAY, and what most of its messages say.

    encoding       of packets; empty in arrays
    width, height  0 where no message was read, or where they say so
    doubt          what is wrong with the definition of its messages; empty if nothing is
    """

    channel: Channel
    kind: str
    encoding: str
    width: int
    height: int
    doubt: str = ""

    def parts(self, container: Container, losses: Losses, start: int = 0) -> Iterator[Part]:
        """Yield the events of the topic's messages; what cannot be is given to `losses`.

        `start` is one of the container's cuts; messages are counted from there.
        """
        lost = 0
        if self.doubt:
            losses.lose(0, 0, self.doubt)
        heads = PacketHeads(ros1=self.channel.ros1)
        for number, message in enumerate(container.messages({self.channel.number}, losses, start)):
            part = self._like(message, heads)
            if part is None:
                lose = partial(self._lose, losses, message, number)
                try:
                    before = losses.damage.count
                    head = _read(message.data, self.kind, ros1=self.channel.ros1)
                    part = self._part(message, head, lose)
                    if self.kind == PACKET and before == losses.damage.count:
                        heads.learn(message.data, head)
                except MessageError as error:
                    lose(f"is damaged: {error}", length=len(message.data))
                    continue
            fresh = losses.damage.lost_bytes - lost >= LEAST_RECORD
            yield part._replace(fresh=True) if fresh else part
            lost = losses.damage.lost_bytes

    def _like(self, message: Message, heads: PacketHeads) -> Part | None:
        """Return the events of a packet whose head is like a valid one; None if that is not all."""
        found = heads.read(message.data)
        if found is None:
            return None
        start, data, word = heads.start, message.data, ENCODINGS[self.encoding]
        sequence, base, length = found
        if not 0 <= len(data) - start - length <= MOST_PADDING or length % word:
            return None
        if base > _LATEST_NS and self.encoding != "evt3":
            return None
        events = length // 8 if word == 8 else -1
        return Part(data[start : start + length], events, base, sequence, False, False, message,
                    start)  # fmt: skip

    def _part(self, message: Message, head: EventsHead, lose: Callable[..., None]) -> Part:
        """Return the events of a message; `lose` is told what contradicts the other messages."""
        said, others = f"{head.width}x{head.height}", f"{self.width}x{self.height}"
        if said != others:
            lose(f"says a size of {said}, the others {others}")
        if head.held != head.said:
            what = "events" if self.kind == ARRAY else "bytes of events"
            says = f"says to hold {head.said} {what} where {head.held} are"
            lose(says, at=len(message.data))
        events, stop = head.held, head.stop
        if self.kind == PACKET:
            if head.encoding != self.encoding:
                lose(f"is encoded as {head.encoding!r}, the others {self.encoding}")
            word = ENCODINGS[self.encoding]
            extra = head.held % word if self.encoding != "evt3" else 0
            if extra:
                stop -= extra
                lose("ends inside an event", at=stop, length=extra)
            if head.base_ns > _LATEST_NS and self.encoding != "evt3":
                raise MessageError(f"its time base is {head.base_ns} ns, in the far future")
            events = events // 8 if word == 8 else -1
        data = message.data[head.start : stop]
        return Part(data, events, head.base_ns, head.sequence, head.big_endian, False, message,
                    head.start)  # fmt: skip

    def _lose(
        self, losses: Losses, message: Message, number: int, says: str, at: int = 0, length: int = 0
    ) -> None:
        problem = f"message {number} of {self.channel.topic} {says}"
        losses.lose(message.place(at), length, problem)


def _read(data: Data, kind: str, *, ros1: bool) -> EventsHead:
    return (read_packet if kind == PACKET else read_array)(data, ros1=ros1)


@dataclass(frozen=True, slots=True)
class Topics:
    """The topic of events that is read, the others that could be, and those of triggers."""

    events: Topic
    others: tuple[Topic, ...]
    triggers: tuple[Topic, ...]


def find_topics(container: Container, name: str | None, *, strict: bool) -> Topics:
    """Choose the topic of events: `name`, or the first by name that has messages.

    Raises FormatError where there is none, or none named so.
    """
    found = _look(container, strict=strict)
    if not strict and not any(topic.width for topic in found):
        # Declarations that an index has not, or not undamaged, are found by reading all.
        for _ in container.messages(frozenset(), Losses(container.path, strict=False)):
            pass
        doubt = "the declaration of the topic of events is damaged"
        declared = [replace(each, doubt=doubt) for each in _look(container, strict=strict)]
        if any(topic.width for topic in declared):
            found = declared
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


def _no_events(container: Container) -> str:
    named = [
        f"{each.topic} ({each.type})"
        for each in sorted(container.channels.values(), key=lambda each: each.topic)
    ]
    unlike = [
        each.topic
        for each in container.channels.values()
        if each.type.rpartition("/")[2] in (PACKET, ARRAY)
    ]
    if unlike:
        return f"the messages of {unlike[0]} are not defined as an EventPacket or EventArray is"
    shown = ", ".join(named[:8]) + (" and more" if len(named) > 8 else "")
    return f"no topic of events (EventPacket, EventArray) but {shown or 'no topics at all'}"


_Head = tuple[str, int, int]  # encoding, width and height


def _heads(
    container: Container, messages: Iterable[Message], kinds: Mapping[int, str]
) -> Iterator[tuple[int, _Head]]:
    """Yield what messages say that can be read as those of `kinds`, and of which channel."""
    for message in messages:
        if message.channel in kinds:
            ros1 = container.channels[message.channel].ros1
            try:
                head = _read(message.data, kinds[message.channel], ros1=ros1)
            except MessageError:
                continue
            yield message.channel, (head.encoding, head.width, head.height)


def _look(container: Container, *, strict: bool) -> list[Topic]:
    """Return the topics of events by name, after a look at their first messages.

    In salvage mode the name of a type is enough, whatever its definition says.
    """
    kinds, doubts = {}, {}
    for number, channel in container.channels.items():
        kind, doubt = channel.event_kind, ""
        if kind is None and not strict:
            kind = event_kind(channel.type, "")
            doubt = (
                f"the messages of {channel.topic} are not defined as an {PACKET} or EventArray is"
            )
        if kind is not None:
            kinds[number], doubts[number] = kind, doubt
    seen: dict[int, Counter[_Head]] = {number: Counter() for number in kinds}
    waiting = dict(kinds)
    if kinds:
        messages = container.messages(kinds.keys(), Losses(container.path, strict=False))
        for number, head in _heads(container, messages, waiting):
            seen[number][head] += 1
            if seen[number].total() >= (1 if strict else _LOOKS):
                del waiting[number]
                if not waiting:
                    break
    topics = []
    for number, kind in kinds.items():
        encoding, width, height = _most_common(seen[number])
        if not (1 <= width <= _MOST_SIDE and 1 <= height <= _MOST_SIDE):
            width = height = 0
        if kind == PACKET:
            encoding = encoding or "evt3"
        channel = container.channels[number]
        topics.append(Topic(channel, kind, encoding, width, height, doubts[number]))
    return sorted(topics, key=lambda topic: topic.channel.topic)


def _most_common(seen: Counter[_Head]) -> _Head:
    return seen.most_common(1)[0][0] if seen else ("", 0, 0)
