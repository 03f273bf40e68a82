"""Prophesee RAW, EVT 4.0: 32-bit words, an event each, or two for up to 32 events of one row."""

from __future__ import annotations

from dvskit.formats.words import layout as w
from dvskit.formats.words.evt import layout, openers

LAYOUT = layout(
    "EVT4",
    {
        0x6: w.OTHER,
        0x7: w.SKIPPED,
        0x9: w.TRIGGER,
        0xA: w.ONE_OFF,
        0xB: w.ONE_ON,
        0xC: w.MANY_OFF,
        0xD: w.MANY_ON,
        0xE: w.HIGH,
        0xF: w.SKIPPED,
    },
)
open_recording, open_stream, open_sink = openers("4.0", LAYOUT)
