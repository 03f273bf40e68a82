"""Prophesee RAW, EVT 2.1: 64-bit words, up to 32 events of one row, time and polarity each.

The two 32-bit halves of a word stand in either order. The header's `endianness` tells: little has
the half with the mask first; legacy, and no such key, the half with the type.
"""

from __future__ import annotations

from pathlib import Path

from dvskit.events import Size
from dvskit.formats.input_stream import InputStream
from dvskit.formats.raw_header import RawHeader, read_header, take_header
from dvskit.formats.recording import ReadOptions
from dvskit.formats.words import evt_kernels as k
from dvskit.formats.words.evt import layout, open_arriving, open_with
from dvskit.formats.words.evt_writing import EvtSink, Types
from dvskit.formats.words.layout import Layout
from dvskit.formats.words.reading import ArrivingRecording, WordRecording

_MEANINGS = {
    0x0: k.MANY_OFF,
    0x1: k.MANY_ON,
    0x8: k.HIGH,
    0xA: k.TRIGGER,
    0xE: k.OTHER,
    0xF: k.SKIPPED,
}
LEGACY = layout("EVT2.1", _MEANINGS, units=2, head=0)
LITTLE = layout("EVT2.1", _MEANINGS, units=2, head=1)
TYPES = Types(one=0x0, many=0x0, high=0x8, trigger=0xA)


def _layout_of(header: RawHeader) -> Layout:
    keys = header.keys
    options = dict(part.partition("=")[::2] for part in keys.get("format", "").split(";")[1:])
    order = options.get("endianness", keys.get("endianness", "legacy"))
    return LITTLE if order.lower() == "little" else LEGACY


def open_recording(path: Path, options: ReadOptions) -> WordRecording:
    """Open a RAW file in EVT 2.1. Raises FormatError, GeometryError."""
    header = read_header(path)
    return open_with(path, options, header, _layout_of(header))


def open_stream(stream: InputStream, options: ReadOptions) -> ArrivingRecording:
    """Open a stream in EVT 2.1. Raises FormatError, GeometryError."""
    header = take_header(stream)
    return open_arriving(stream, options, header, _layout_of(header))


def open_sink(path: Path, size: Size, *, overwrite: bool) -> EvtSink:
    """Return a Sink that writes a RAW file in EVT 2.1, in the legacy order of halves."""
    return EvtSink(path, size, LEGACY, TYPES, "2.1", overwrite=overwrite)
