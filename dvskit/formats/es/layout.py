"""The layouts of an Event Stream, by version and type.

Layout: github.com/neuromorphic-paris/event_stream, its text of version 2.0 and, in its history,
those of 1.0 and 0.1. All begin with a byte that holds the microseconds since the event before. If
all of its time bits are set, it is not an event: time alone, or a reset without meaning.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import NamedTuple

from dvskit.errors import FormatError
from dvskit.formats.es import byte_kernels as k

MAGIC = b"Event Stream"
_HEADER_BYTES = 20


class Kind(Enum):
    """The kinds of events of a stream. The value is the name for messages."""

    GENERIC = "generic"
    DVS = "dvs"
    ATIS = "atis"
    DISPLAY = "display"
    COLOUR = "colour"
    LIQUID = "liquid"


class Layout(NamedTuple):
    """The layout of a stream of events.

    kind    of its events
    number  of the layout in the loops over bytes
    start   byte offset of the first event
    size    byte offset of the sensor's size, two u16; None if the file has no size
    """

    kind: Kind
    number: int
    start: int
    size: int | None


_TYPES = {
    2: {
        0: Layout(Kind.GENERIC, k.GENERIC_2, 16, None),
        1: Layout(Kind.DVS, k.DVS_2, 20, 16),
        2: Layout(Kind.ATIS, k.ATIS_2, 20, 16),
        3: Layout(Kind.DISPLAY, -1, 16, None),
        4: Layout(Kind.COLOUR, k.COLOUR_2, 20, 16),
    },
    1: {
        0: Layout(Kind.DVS, k.DVS_1, 15, None),
        1: Layout(Kind.ATIS, k.ATIS_1, 15, None),
        2: Layout(Kind.DISPLAY, -1, 15, None),
        3: Layout(Kind.COLOUR, k.COLOUR_1, 15, None),
        4: Layout(Kind.GENERIC, k.GENERIC_1, 15, None),
        5: Layout(Kind.LIQUID, -1, 15, None),
    },
    0: {
        0: Layout(Kind.ATIS, k.ATIS_1, 15, None),
        1: Layout(Kind.DISPLAY, -1, 15, None),
        2: Layout(Kind.COLOUR, k.COLOUR_1, 15, None),
    },
}


def version_of(head: bytes) -> str:
    """Return the version in a header, such as 2.0.0."""
    return ".".join(str(part) for part in head[12 : 15 if head[12] >= 2 else 14])


def read_head(path: Path) -> bytes:
    """Return the header of a file."""
    with path.open("rb") as file:
        return file.read(_HEADER_BYTES)


def read_layout(path: Path) -> tuple[bytes, Layout]:
    """Return a file's header and its layout. Raises FormatError.

    Byte 12 is the version. The type is byte 15 from version 2 on, byte 14 before.
    """
    head = read_head(path)
    if not head.startswith(MAGIC):
        raise FormatError(f"{path}: starts with {head[:12]!r}, not with {MAGIC!r}")
    if len(head) < 15 or (head[12] >= 2 and len(head) < 16):
        raise FormatError(f"{path}: ends within its header, at byte {len(head)}")
    version = version_of(head)
    if head[12] > 2:
        raise FormatError(
            f"{path}: is an Event Stream of version {version}; versions up to 2 are read, "
            "so convert it with the tool that wrote it"
        )
    kind = head[15 if head[12] >= 2 else 14]
    layout = _TYPES[head[12]].get(kind)
    if layout is None:
        raise FormatError(f"{path}: is an Event Stream {version} of the unknown type {kind}")
    if layout.number < 0:
        raise FormatError(
            f"{path}: is an Event Stream of {layout.kind.value} events, which are not changes of "
            "brightness; only dvs, atis, colour and generic events are read"
        )
    if layout.size is not None and len(head) < layout.start:
        raise FormatError(f"{path}: ends within its header, at byte {len(head)}")
    return head, layout
