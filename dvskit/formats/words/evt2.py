"""Prophesee RAW, EVT 2.0: 32-bit words, one an event (Gen3 and later cameras)."""

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
    "EVT2",
    {
        0x0: k.ONE_OFF,
        0x1: k.ONE_ON,
        0x8: k.HIGH,
        0xA: k.TRIGGER,
        0xE: k.OTHER,
        0xF: k.SKIPPED,
    },
)
TYPES = Types(one=0x0, many=None, high=0x8, trigger=0xA)


def open_recording(path: Path, options: ReadOptions) -> WordRecording:
    """Open a RAW file in EVT 2.0. Raises FormatError, GeometryError."""
    return open_with(path, options, read_header(path), LAYOUT)


def open_stream(stream: InputStream, options: ReadOptions) -> ArrivingRecording:
    """Open a stream in EVT 2.0. Raises FormatError, GeometryError."""
    return open_arriving(stream, options, take_header(stream), LAYOUT)


def open_sink(path: Path, size: Size, *, overwrite: bool) -> EvtSink:
    """Return a Sink that writes a RAW file in EVT 2.0."""
    return EvtSink(path, size, LAYOUT, TYPES, "2.0", overwrite=overwrite)
