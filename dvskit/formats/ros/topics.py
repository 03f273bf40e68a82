"""Which topics of a container carry what, and which of them are read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from dvskit.errors import FormatError, did_you_mean
from dvskit.formats.losses import Losses
from dvskit.formats.ros.container import Channel, Container
from dvskit.formats.ros.messages import PACKET, event_kind, names_events
from dvskit.formats.ros.parts import ENCODINGS, Topic
from dvskit.formats.ros.wire import ArrayHead, MessageError, PacketHead, read_array, read_packet

IMAGE, COMPRESSED, IMU = "sensor_msgs/Image", "sensor_msgs/CompressedImage", "sensor_msgs/Imu"
_LOOKS = 9  # messages whose majority is believed, in salvage mode
_GUESSES = 1000  # messages that are looked at where no declaration helps
_MOST_SIDE = 32767


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
        else:  # no messages, if a topic at all: they may be of one that nothing declares
            found = _guess(container) or found or declared
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
    unlike = [each.topic for each in container.channels.values() if names_events(each.type)]
    if unlike:
        return f"the messages of {unlike[0]} are not defined as an EventPacket or EventArray is"
    shown = ", ".join(named[:8]) + (" and more" if len(named) > 8 else "")
    return f"no topic of events (EventPacket, EventArray) but {shown or 'no topics at all'}"


def _kind(channel: Channel, *, strict: bool) -> tuple[str | None, str]:
    """Return what kind of events a channel carries, and what is wrong with its definition.

    In salvage mode the name alone may say it.
    """
    kind = event_kind(channel.type, channel.definition)
    if kind is not None or strict:
        return kind, ""
    doubt = f"the messages of {channel.topic} are not defined as an {PACKET} or EventArray is"
    return event_kind(channel.type, ""), doubt


def _look(container: Container, *, strict: bool) -> list[Topic]:
    """Return the topics of events by name, after a look at their first messages."""
    kinds, doubts = {}, {}
    for channel in container.channels.values():
        kind, doubt = _kind(channel, strict=strict)
        if kind is not None:
            kinds[channel.number], doubts[channel.number] = kind, doubt
    heads: dict[int, list[tuple[str, int, int]]] = {number: [] for number in kinds}
    wanted = 1 if strict else _LOOKS
    waiting = set(kinds)
    losses = Losses(container.path, strict=False)
    for message in container.messages(kinds.keys(), losses) if kinds else ():
        number = message.channel
        if number in waiting:
            ros1 = container.channels[number].ros1
            head: PacketHead | ArrayHead
            try:
                if kinds[number] == PACKET:
                    head = read_packet(message.data, ros1=ros1)
                    encoding = head.encoding
                else:
                    head, encoding = read_array(message.data, ros1=ros1), ""
            except MessageError:
                continue
            heads[number].append((encoding, head.width, head.height))
            if len(heads[number]) >= wanted:
                waiting.discard(number)
        if not waiting:
            break
    topics = []
    for number, seen in heads.items():
        (encoding, width, height), _ = Counter(seen).most_common(1)[0] if seen else (("", 0, 0), 0)
        if not (1 <= width <= _MOST_SIDE and 1 <= height <= _MOST_SIDE):
            width = height = 0
        if kinds[number] == PACKET:
            encoding = encoding or "evt3"
        channel, doubt = container.channels[number], doubts[number]
        topics.append(Topic(channel, kinds[number], encoding, width, height, doubt))
    return sorted(topics, key=lambda topic: topic.channel.topic)


def _guess(container: Container) -> list[Topic]:
    """Return the topics whose first messages are packets by all that they say."""
    unnamed = container.undeclared - container.channels.keys()
    for number in unnamed:
        name = f"unnamed topic {number}"
        container.channels[number] = Channel(number, name, "", "", container.ros1)
    heads: dict[int, Counter[tuple[str, int, int]]] = {}
    losses = Losses(container.path, strict=False)
    for count, message in enumerate(container.messages(container.channels.keys(), losses)):
        if count > _GUESSES:
            break
        try:
            head = read_packet(message.data, ros1=container.channels[message.channel].ros1)
        except MessageError:
            continue
        if head.encoding in ENCODINGS and 0 < head.width <= _MOST_SIDE >= head.height > 0:
            seen = heads.setdefault(message.channel, Counter())
            seen[(head.encoding, head.width, head.height)] += 1
    for number in unnamed - heads.keys():
        del container.channels[number]
    doubt = "the declaration of a topic is lost: it is one of packets by its messages"
    return [
        Topic(container.channels[number], PACKET, *seen.most_common(1)[0][0], doubt)
        for number, seen in heads.items()
    ]


def beside(container: Container, events: Topic, *types: str) -> list[Channel]:
    """Return the channels of some types, the one that is most like the events' by name first."""

    def likeness(channel: Channel) -> tuple[int, str]:
        pairs = zip(channel.topic, events.channel.topic, strict=False)
        alike = next((i for i, (a, b) in enumerate(pairs) if a != b), len(channel.topic))
        return -alike, channel.topic

    return sorted(
        (channel for channel in container.channels.values() if channel.type in types),
        key=likeness,
    )
