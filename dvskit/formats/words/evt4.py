"""Prophesee RAW, EVT 4.0: 32-bit words, an event each, or two for up to 32 events of one row."""

from __future__ import annotations

from pathlib import Path

from dvskit.events import Size
from dvskit.formats.input_stream import InputStream
from dvskit.formats.raw_header import read_header, take_header
from dvskit.formats.recording import ReadOptions
from dvskit.formats.words import evt_kernels as k
from dvskit.formats.words.evt import layout, open_arriving, open_with
from dvskit.formats.words.evt_writing import EvtSink, Types
from dvskit.formats.words.reading import ArrivingRecording, WordRecording

LAYOUT = layout(
    "EVT4",
    {
        0x6: k.OTHER,
        0x7: k.SKIPPED,
        0x9: k.TRIGGER,
        0xA: k.ONE_OFF,
        0xB: k.ONE_ON,
        0xC: k.MANY_OFF,
        0xD: k.MANY_ON,
        0xE: k.HIGH,
        0xF: k.SKIPPED,
    },
)
TYPES = Types(one=0xA, many=0xC, high=0xE, trigger=0x9)


def open_recording(path: Path, options: ReadOptions) -> WordRecording:
    """Open a RAW file in EVT 4.0. Raises FormatError, GeometryError."""
    return open_with(path, options, read_header(path), LAYOUT)


def open_stream(stream: InputStream, options: ReadOptions) -> ArrivingRecording:
    """Open a stream in EVT 4.0. Raises FormatError, GeometryError."""
    return open_arriving(stream, options, take_header(stream), LAYOUT)


def open_sink(path: Path, size: Size, *, overwrite: bool) -> EvtSink:
    """Return a Sink that writes a RAW file in EVT 4.0."""
    return EvtSink(path, size, LAYOUT, TYPES, "4.0", overwrite=overwrite)
