"""What the bytes of an Event Stream are, by its version and type.

Layout: github.com/neuromorphic-paris/event_stream, its text of version 2.0 and, in its history,
those of 1.0 and 0.1. All begin with a byte that holds the microseconds since the event ahead; where
all of its time bits are set, it is no event: time alone, or a reset, which means nothing.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """What the events of a stream are. The value is the name for people."""

    GENERIC = "generic"
    DVS = "dvs"
    ATIS = "atis"
    DISPLAY = "display"
    COLOUR = "colour"
    LIQUID = "liquid"


class Layout(NamedTuple):
    """How a stream of events is laid out.

    kind    what its events are
    number  the layout's number in the loops over bytes
    start   byte offset of the first event
    size    byte offset of the sensor's size, two u16; None where the file does not say it
    """

    kind: Kind
    number: int
    start: int
    size: int | None


# Numbers of the layouts.
DVS_2, ATIS_2, COLOUR_2, DVS_1, ATIS_1, COLOUR_1, GENERIC_2, GENERIC_1 = range(8)

_TYPES = {
    2: {
        0: Layout(Kind.GENERIC, GENERIC_2, 16, None),
        1: Layout(Kind.DVS, DVS_2, 20, 16),
        2: Layout(Kind.ATIS, ATIS_2, 20, 16),
        3: Layout(Kind.DISPLAY, -1, 16, None),
        4: Layout(Kind.COLOUR, COLOUR_2, 20, 16),
    },
    1: {
        0: Layout(Kind.DVS, DVS_1, 15, None),
        1: Layout(Kind.ATIS, ATIS_1, 15, None),
        2: Layout(Kind.DISPLAY, -1, 15, None),
        3: Layout(Kind.COLOUR, COLOUR_1, 15, None),
        4: Layout(Kind.GENERIC, GENERIC_1, 15, None),
        5: Layout(Kind.LIQUID, -1, 15, None),
    },
    0: {
        0: Layout(Kind.ATIS, ATIS_1, 15, None),
        1: Layout(Kind.DISPLAY, -1, 15, None),
        2: Layout(Kind.COLOUR, COLOUR_1, 15, None),
    },
}


def version_of(head: bytes) -> str:
    """Return the version that a header tells, such as 2.0.0."""
    return ".".join(str(part) for part in head[12 : 15 if head[12] >= 2 else 14])


def layout_of(head: bytes) -> Layout | None:
    """Return the layout that a header of at least 16 bytes tells, None for an unknown one.

    Byte 12 is the version; the type is byte 15 from version 2 on, and was byte 14 before.
    """
    return _TYPES.get(head[12], {}).get(head[15 if head[12] >= 2 else 14])
