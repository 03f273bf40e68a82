"""Prophesee RAW, EVT 2.0: 32-bit words, one an event (Gen3 and later cameras)."""

from __future__ import annotations

from dvskit.formats.words import layout as w
from dvskit.formats.words.evt import layout, openers

LAYOUT = layout(
    "EVT2",
    {
        0x0: w.ONE_OFF,
        0x1: w.ONE_ON,
        0x8: w.HIGH,
        0xA: w.TRIGGER,
        0xE: w.OTHER,
        0xF: w.SKIPPED,
    },
)
open_recording, open_stream, open_sink = openers("2.0", LAYOUT)
