"""What all containers share: channels and messages, their places, and their compression."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Set
from pathlib import Path
from typing import ClassVar, NamedTuple

import zstandard

from dvskit.formats.decompression import ERRORS, pieces
from dvskit.formats.losses import Damage, Losses, Place
from dvskit.formats.ros.messages import Data, event_kind

MOST_BYTES = 1 << 27  # of a message, and of a compressed chunk once it is decompressed
_ZSTD = zstandard.MAGIC_NUMBER.to_bytes(4, "little")


class Channel(NamedTuple):
    """A topic as a container declares it.

    type        package/Name, without the "msg" that ROS 2 puts between
    definition  the message definition, empty if the container has none
    ros1        whether messages are serialized as in ROS 1; else as CDR
    """

    number: int
    topic: str
    type: str
    definition: str
    ros1: bool

    @property
    def event_kind(self) -> str | None:
        """PACKET or ARRAY, as the definition or else the type says; None without events."""
        return event_kind(self.type, self.definition)


class Message(NamedTuple):
    """The bytes of a message of a channel.

    offset  where the bytes begin in the file; if not `exact`, the offset of their chunk or a row
    """

    channel: int
    data: Data
    offset: int
    exact: bool

    def place(self, at: int) -> int:
        """Return the place of byte `at` of the message."""
        return self.offset + at if self.exact else self.offset


class RosContainer(ABC):
    """A file of messages. `channels` are known once it is open."""

    NAME: ClassVar[str]  # of the format

    def __init__(self, path: Path) -> None:
        self.path = path
        self.channels: dict[int, Channel] = {}
        self._counts: dict[int, int] = {}  # of the messages of each channel, if the index has them

    @property
    def bytes(self) -> int:
        """The length of the file."""
        return self.path.stat().st_size

    @property
    def state(self) -> str:
        """Text that changes with the files, except for the length and time of `path`."""
        return ""

    @property
    def notes(self) -> list[str]:
        """Notes on data that are not read."""
        return []

    def declare(self, channel: Channel) -> None:
        """Add a channel. The first declaration of a number counts."""
        kind = channel.type.replace("/msg/", "/")
        self.channels.setdefault(channel.number, channel._replace(type=kind))

    @abstractmethod
    def messages(self, wanted: Set[int], losses: Losses, start: int = 0) -> Iterator[Message]:
        """Yield the messages of the channels `wanted`, in the order of the file.

        `start` is 0 or one of the `cuts`.
        """

    @abstractmethod
    def cuts(self) -> list[int]:
        """Return the places where reading may begin, in order; empty if the file has no index."""

    def locate(self, place: int) -> Place:
        """Return the file of a place, the byte in it, and a prefix for messages."""
        return Place(self.path, place)

    def losses(self, *, strict: bool, damage: Damage | None = None) -> Losses:
        """Return Losses whose offsets are places."""
        return Losses(self.path, strict=strict, damage=damage, locate=self.locate)

    def counts(self) -> dict[int, int]:
        """Return the number of messages of each channel, from the index if there is one."""
        found = dict.fromkeys(self.channels, 0)
        if self._counts:
            return {number: self._counts.get(number, 0) for number in found}
        for message in self.messages(self.channels.keys(), Losses(self.path, strict=False)):
            found[message.channel] += 1
        return found


def unpacked(data: Data, kind: str, size: int) -> bytes:
    """Return `size` bytes (-1: any number), decompressed from lz4, zstd or bz2.

    Never allocates much more than `size` bytes, or MOST_BYTES. Raises one of ERRORS.
    """
    most = size if size >= 0 else MOST_BYTES
    if kind not in ("lz4", "zstd", "bz2"):
        raise ValueError(f"compression {kind[:16]!r} is unknown")
    if size > MOST_BYTES:
        raise ValueError(f"{size} bytes are more than the {MOST_BYTES} allowed")
    found = bytearray()
    for piece in pieces(bytes(data), kind, most + 1):
        found += piece
        if len(found) > most:
            raise ValueError(f"more than {most} bytes")
    if size >= 0 and len(found) != size:
        raise ValueError(f"{len(found)} bytes, not {size}")
    return bytes(found)


def unpack_messages(messages: Iterator[Message], losses: Losses) -> Iterator[Message]:
    """Decompress the messages that rosbag2 has compressed one by one. No other begins like zstd."""
    for message in messages:
        if message.data[:4] != _ZSTD:
            yield message
            continue
        try:
            size = zstandard.frame_content_size(message.data)
            data = unpacked(message.data, "zstd", size)
        except ERRORS as error:
            problem = f"a message does not decompress ({error})"
            losses.lose(message.offset, len(message.data), problem)
            continue
        yield message._replace(data=data, exact=False)
