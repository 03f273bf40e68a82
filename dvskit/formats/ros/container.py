"""What the three containers have in common: channels and messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Set
from pathlib import Path
from typing import ClassVar, NamedTuple

from dvskit.errors import DamagedFileError
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.ros.messages import event_kind

MOST_BYTES = 1 << 27  # of a message or a chunk: there are none as large
LEAST_RECORD = 64  # bytes lost ahead of a message, among which may have been another one


class Channel(NamedTuple):
    """A topic as a container declares it.

    type        package/Name, without the "msg" that ROS 2 puts between
    definition  the message definition, empty where the container has none
    ros1        whether messages are serialised as in ROS 1; else as CDR
    """

    number: int
    topic: str
    type: str
    definition: str
    ros1: bool

    @property
    def event_kind(self) -> str | None:
        """What kind of events it carries, as its definition or else its type says; None if none."""
        return event_kind(self.type, self.definition)


class Message(NamedTuple):
    """A message: its channel's number and its bytes.

    offset  the place of the bytes: where they begin in the file; of their chunk, or the number of
            their row, where `exact` is false
    """

    channel: int
    data: bytes | memoryview
    offset: int
    exact: bool

    def place(self, at: int) -> int:
        """Return the place of byte `at` of the message."""
        return self.offset + at if self.exact else self.offset


class Container(ABC):
    """A file of messages. `channels` are known once it is open."""

    NAME: ClassVar[str]  # of the format

    def __init__(self, path: Path) -> None:
        self.path = path
        self.channels: dict[int, Channel] = {}

    @property
    def bytes(self) -> int:
        """The length of the file."""
        return self.path.stat().st_size

    @property
    def state(self) -> str:
        """What differs where the file has changed, beside its own length and time of change."""
        return ""

    def declare(self, channel: Channel) -> None:
        """Take a declaration: the first of its number, or a later one that carries events."""
        channel = channel._replace(type=channel.type.replace("/msg/", "/"))
        known = self.channels.get(channel.number)
        if known is None or (known.event_kind is None and channel.event_kind is not None):
            self.channels[channel.number] = channel

    @abstractmethod
    def messages(self, wanted: Set[int], losses: Losses, start: int = 0) -> Iterator[Message]:
        """Yield the messages of the channels `wanted`, in the order of the file.

        `start` is 0 or one of the `cuts`.
        """

    @abstractmethod
    def cuts(self) -> list[int]:
        """Return the places that reading may begin at, in order of the messages behind them.

        Empty where the file does not say, and where one of them is wrong.
        """

    def locate(self, place: int) -> tuple[Path, int, str]:
        """Return the file of a place, the byte in it (-1 if unknown), and what else tells it."""
        return self.path, place, ""

    def losses(self, *, strict: bool, damage: Damage | None = None) -> Losses:
        """Return what takes the losses of a pass, whose offsets are places."""
        return _Located(self, strict=strict, damage=damage)

    def counts(self) -> dict[int, int]:
        """Return the number of messages of each channel, by reading the whole file if need be."""
        found = dict.fromkeys(self.channels, 0)
        for message in self.messages(self.channels.keys(), Losses(self.path, strict=False)):
            found[message.channel] += 1
        return found


class _Located(Losses):
    """Losses at places of a container, reported with the file and the byte in it."""

    def __init__(self, container: Container, *, strict: bool, damage: Damage | None) -> None:
        super().__init__(container.path, strict=strict, damage=damage)
        self._container = container

    def lose(self, offset: int, length: int, problem: str) -> None:
        if self.strict:
            raise self.error(offset, problem)
        file, at, ahead = self._container.locate(offset)
        named = f"{file.name}: " if file != self.path else ""
        self.damage.add(at, length, f"{named}{ahead}{problem}")

    def error(self, offset: int, problem: str) -> DamagedFileError:
        file, at, ahead = self._container.locate(offset)
        return DamagedFileError(file, at, ahead + problem)
