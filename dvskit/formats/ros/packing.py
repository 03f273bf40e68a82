"""Events and triggers as the bytes of packets."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from dvskit.events import Events, Size
from dvskit.formats.evt3 import encode_kernels as evt3
from dvskit.formats.evt3 import layout as w
from dvskit.formats.storage import EventColumns
from dvskit.streams import Triggers

_WORDS = 1 << 16


class Packing(Protocol):
    """A way to pack events; what it keeps between packets is its own."""

    encoding: str

    def pack(self, events: Events, triggers: Triggers, *, last: bool) -> bytes:
        """Return events, and the triggers that stand among them, as the bytes of a packet.

        Triggers are all that are not behind the events, or all that are left if it is the last.
        """


class Evt3Packing:
    """Words of EVT 3.0, with the triggers among them; the first time is below 2^24 us."""

    encoding = "evt3"

    def __init__(self, size: Size) -> None:
        self._width = size.width
        self._state = np.full(evt3.ENCODER_FIELDS, -1, np.int64)
        self._words = np.empty(_WORDS, np.uint16)

    def pack(self, events: Events, triggers: Triggers, *, last: bool) -> bytes:
        """Return the words of events and triggers, merged by time."""
        parts: list[bytes] = []
        if self._state[evt3.E_HIGH] >= 0:
            # Each packet says the full time and the row anew: it can be read without those before.
            word = w.TIME_HIGH << 12 | int(self._state[evt3.E_HIGH]) & 0xFFF
            parts.append(word.to_bytes(2, "little"))
            self._state[[evt3.E_LOW, evt3.E_ROW, evt3.E_BASE]] = -1
        at = trigger_at = 0
        while True:
            at, trigger_at, count = evt3.encode(
                EventColumns(events.t, events.x, events.y, events.p), at,
                (triggers.t, triggers.id, triggers.p), trigger_at,
                last, self._width, self._state, self._words,
            )  # fmt: skip
            if not count:
                return b"".join(parts)
            parts.append(self._words[:count].astype("<u2").tobytes())


class LibcaerPacking:
    """8 bytes an event: microseconds since the packet's first event, whatever the time is."""

    encoding = "libcaer"

    def pack(self, events: Events, triggers: Triggers, *, last: bool) -> bytes:
        """Return the events; triggers stand in packets of their own (`pack_triggers`)."""
        words = np.empty((len(events), 2), "<u4")
        words[:, 0] = (
            np.uint32(1)
            | events.p.astype(np.uint32) << 1
            | events.y.astype(np.uint32) << 2
            | events.x.astype(np.uint32) << 17
        )
        words[:, 1] = events.t - events.t[0] if len(events) else 0
        return words.tobytes()


def pack_triggers(triggers: Triggers) -> bytes:
    """Return triggers in encoding trigger: nanoseconds since the first (32 bits), id, edge."""
    words = (triggers.t - triggers.t[0]).astype(np.uint64) * np.uint64(1000)
    words |= triggers.id.astype(np.uint64) << np.uint64(48)
    words |= triggers.p.astype(np.uint64) << np.uint64(63)
    packed: bytes = words.astype("<u8").tobytes()
    return packed
