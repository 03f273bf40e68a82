"""Prophesee RAW, EVT 2.1: 64-bit words, up to 32 events of one row, time and polarity each.

The two 32-bit halves of a word stand in either order. The header's `endianness` tells: little has
the half with the mask first; legacy, and no such key, the half with the type.
"""

from __future__ import annotations

from dvskit.formats.raw_recording import RawHeader
from dvskit.formats.words import layout as w
from dvskit.formats.words.evt import layout, openers

_MEANINGS = {
    0x0: w.MANY_OFF,
    0x1: w.MANY_ON,
    0x8: w.HIGH,
    0xA: w.TRIGGER,
    0xE: w.OTHER,
    0xF: w.SKIPPED,
}
LEGACY = layout("EVT2.1", _MEANINGS, units=2, head=0)
LITTLE = layout("EVT2.1", _MEANINGS, units=2, head=1)


def _layout_of(header: RawHeader) -> w.Layout:
    keys = header.keys
    options = dict(part.partition("=")[::2] for part in keys.get("format", "").split(";")[1:])
    order = options.get("endianness", keys.get("endianness", "legacy"))
    return LITTLE if order.lower() == "little" else LEGACY


open_recording, open_stream, open_sink = openers("2.1", LEGACY, _layout_of)
