"""From messages to parts: the bytes of events of one message each, checked against the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from dvskit.formats.losses import Losses
from dvskit.formats.ros.container import LEAST_RECORD, Channel, Container, Message
from dvskit.formats.ros.messages import PACKET
from dvskit.formats.ros.wire import (
    MOST_PADDING,
    ArrayHead,
    Data,
    MessageError,
    PacketHead,
    PacketHeads,
    array_place,
    read_array,
    read_packet,
)

ENCODINGS = {"evt3": 2, "mono": 8, "libcaer": 8, "libcaer_cmp": 2, "trigger": 8}  # bytes of a word
_LATEST_NS = 1 << 62


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
        number = -1
        lost = 0
        if self.doubt:
            losses.lose(0, 0, self.doubt)
        heads = PacketHeads(ros1=self.channel.ros1)
        for message in container.messages({self.channel.number}, losses, start):
            number += 1
            found = heads.read(message.data)
            part = self._like(message, heads.start, found) if found is not None else None
            if part is None:
                try:
                    before = losses.damage.count
                    part = self._part(message, number, losses)
                    if self.kind == PACKET and before == losses.damage.count:
                        heads.learn(message.data)
                except MessageError as error:
                    problem = f"message {number} of {self.channel.topic} is damaged: {error}"
                    losses.lose(message.place(0), len(message.data), problem)
                    continue
            fresh = losses.damage.lost_bytes - lost >= LEAST_RECORD
            yield part._replace(fresh=True) if fresh else part
            lost = losses.damage.lost_bytes

    def _like(self, message: Message, start: int, head: tuple[int, int, int]) -> Part | None:
        """Return the events of a packet whose head is like a valid one; None if that is not all."""
        sequence, base, length = head
        word, data = ENCODINGS[self.encoding], message.data
        if not 0 <= len(data) - start - length <= MOST_PADDING or length % word:
            return None
        if base > _LATEST_NS and self.encoding != "evt3":
            return None
        events = length // 8 if word == 8 else -1
        return Part(data[start : start + length], events, base, sequence, False, False, message,
                    start)  # fmt: skip

    def _part(self, message: Message, number: int, losses: Losses) -> Part:
        if self.kind == PACKET:
            return self._packet_part(message, number, losses)
        head = read_array(message.data, ros1=self.channel.ros1)
        self._check(head, message, number, losses)
        if head.held != head.events:
            self._missing(head.events, "events", head.held, message, number, losses)
        stop = head.start
        if head.held:
            stop += array_place(head.held - 1, ros1=self.channel.ros1)
            stop += 13 if self.channel.ros1 or head.held == 1 else 15  # 2 of padding
        data = message.data[head.start : stop]
        return Part(data, head.held, 0, -1, head.big_endian, False, message, head.start)

    def _packet_part(self, message: Message, number: int, losses: Losses) -> Part:
        head = read_packet(message.data, ros1=self.channel.ros1)
        self._check(head, message, number, losses)
        if head.held != head.length:
            self._missing(head.length, "bytes of events", head.held, message, number, losses)
        length = head.held
        if head.encoding != self.encoding:
            self._doubt(f"is encoded as {head.encoding!r}", self.encoding, message, number, losses)
        word = ENCODINGS[self.encoding]
        if self.encoding != "evt3" and length % word:
            length -= length % word
            problem = f"message {number} of {self.channel.topic} ends inside an event"
            losses.lose(message.place(head.start + length), head.held - length, problem)
        base = head.time_base_ns
        if base > _LATEST_NS and self.encoding != "evt3":
            raise MessageError(f"its time base is {base} ns, in the far future")
        data = message.data[head.start : head.start + length]
        count = length // 8 if word == 8 else -1
        return Part(data, count, base, head.sequence, head.big_endian, False, message, head.start)

    def _check(
        self, head: PacketHead | ArrayHead, message: Message, number: int, losses: Losses
    ) -> None:
        if (head.width, head.height) != (self.width, self.height):
            size = f"{self.width}x{self.height}"
            says = f"says a size of {head.width}x{head.height}"
            self._doubt(says, size, message, number, losses)

    def _doubt(self, says: str, others: str, message: Message, number: int, losses: Losses) -> None:
        """Tell that a message contradicts the others; its events are read as theirs."""
        problem = f"message {number} of {self.channel.topic} {says}, the others {others}"
        losses.lose(message.place(0), 0, problem)

    def _missing(
        self, named: int, what: str, held: int, message: Message, number: int, losses: Losses
    ) -> None:
        problem = (
            f"message {number} of {self.channel.topic} says to hold {named} {what} where {held} are"
        )
        losses.lose(message.place(len(message.data)), 0, problem)
