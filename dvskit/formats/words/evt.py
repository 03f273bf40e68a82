"""Prophesee RAW in EVT 2.0, EVT 2.1 and EVT 4.0: what a file of each is read and written with.

Layouts: Prophesee, docs.prophesee.ai/stable/data/encoding_formats, and, for EVT 4.0 and the word
order of EVT 2.1, the decoders of OpenEB 5 (github.com/prophesee-ai/openeb).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dvskit.events import Size
from dvskit.formats.file_bytes import InputStream
from dvskit.formats.raw_recording import OpenRecording, OpenStream, RawFile, RawHeader, raw_openers
from dvskit.formats.raw_sink import Encoding, RawSink
from dvskit.formats.recording import FileSink
from dvskit.formats.words import evt_clean_kernels as clean
from dvskit.formats.words import evt_encode_kernels as encoding
from dvskit.formats.words import evt_kernels as k
from dvskit.formats.words import layout as w
from dvskit.formats.words.reading import ArrivingRecording, WordRecording, size_of_data

LARGEST = Size(2048, 2048)  # all that 11 bits can address
_UNITS = 1 << 17
_WRAP_US = 1 << 34
# What the types of words mean.
_EVT2 = {
    0x0: w.ONE_OFF,
    0x1: w.ONE_ON,
    0x8: w.HIGH,
    0xA: w.TRIGGER,
    0xE: w.OTHER,
    0xF: w.SKIPPED,
}
_EVT21 = _EVT2 | {0x0: w.MANY_OFF, 0x1: w.MANY_ON}
_EVT4 = {
    0x6: w.OTHER,
    0x7: w.SKIPPED,
    0x9: w.TRIGGER,
    0xA: w.ONE_OFF,
    0xB: w.ONE_ON,
    0xC: w.MANY_OFF,
    0xD: w.MANY_ON,
    0xE: w.HIGH,
    0xF: w.SKIPPED,
}


class Openers(NamedTuple):
    """What opens files of a version of EVT."""

    open_recording: OpenRecording
    open_stream: OpenStream
    open_sink: Callable[..., FileSink]


def layout(name: str, meanings: dict[int, int], *, units: int = 1, head: int = 0) -> w.Layout:
    """Return the layout of words of `units` 32-bit units; `head` is the unit with the type."""
    table = np.full(w.EVT_FIELDS, w.UNKNOWN, np.int64)
    table[list(meanings)] = list(meanings.values())
    table[w.L_STRIDE], table[w.L_HEAD] = units, head
    many = [kind for kind in meanings if meanings[kind] in (w.MANY_OFF, w.MANY_ON)]
    heads = sum(1 << kind for kind in many) if units == 1 else 0
    return w.Layout(
        name, units, heads, table, k.HIGH_BITS, k.HIGH_STEP,
        k.safe_start, clean.scan, clean.decode_clean, k.goes_on, k.read_rows,
    )  # fmt: skip


class EvtSink(RawSink):
    """Writes a RAW file of EVT words: all events in their order.

    Times below 0 and from 2^34 us on are stored less a multiple of 2^34 us, which the header names
    and `notes` says. Raises GeometryError for a sensor of more than 2048 pixels a side, EventsError
    for a gap of more than two years.
    """

    def __init__(
        self, path: Path, size: Size, layout: w.Layout, version: str, *, overwrite: bool = False
    ) -> None:
        super().__init__(
            path, size, layout.name, version, _encoding(layout), most_id=31, wrap_us=_WRAP_US,
            overwrite=overwrite,
        )  # fmt: skip
        self.format = layout.name.lower().replace(".", "")


def _encoding(layout: w.Layout) -> Encoding:
    kinds = {int(layout.table[kind]): kind for kind in range(16)}
    wanted = (w.ONE_OFF, w.MANY_OFF, w.HIGH, w.TRIGGER)
    types = np.array([*(kinds.get(meaning, -1) for meaning in wanted), 0, 0], np.int64)
    types[[encoding.T_STRIDE, encoding.T_HEAD]] = layout.table[[w.L_STRIDE, w.L_HEAD]]
    state = np.full(1, -1, np.int64)
    return Encoding(encoding.encode, types, state, np.empty(_UNITS, np.uint32))


def openers(
    version: str, written: w.Layout, choose: Callable[[RawHeader], w.Layout] | None = None
) -> Openers:
    """Return what opens files of a version of EVT.

    Its layout is `written`, or what `choose` reads from a file's header.
    """

    def layout_of(header: RawHeader) -> w.Layout:
        return written if choose is None else choose(header)

    def recording(file: RawFile) -> WordRecording:
        return WordRecording(file, layout_of(file.header))

    def streamed(stream: InputStream, file: RawFile) -> ArrivingRecording:
        return ArrivingRecording(stream, file, layout_of(file.header))

    def data_size(path: Path, header: RawHeader) -> Size:
        return size_of_data(path, header.end, layout_of(header), LARGEST)

    open_recording, open_stream = raw_openers(recording, streamed, data_size)

    def open_sink(path: Path, size: Size, *, overwrite: bool) -> EvtSink:
        """Return a Sink that writes a RAW file."""
        return EvtSink(path, size, written, version, overwrite=overwrite)

    return Openers(open_recording, open_stream, open_sink)


# The two 32-bit halves of a word of EVT 2.1 stand in either order. The header's `endianness` tells:
# little has the half with the mask first; legacy, and no such key, the half with the type.
_LEGACY = layout("EVT2.1", _EVT21, units=2, head=0)
_LITTLE = layout("EVT2.1", _EVT21, units=2, head=1)


def _order_of(header: RawHeader) -> w.Layout:
    keys = header.keys
    options = dict(part.partition("=")[::2] for part in keys.get("format", "").split(";")[1:])
    order = options.get("endianness", keys.get("endianness", "legacy"))
    return _LITTLE if order.lower() == "little" else _LEGACY


# Words of 32 bits, one an event (Gen3 and later cameras); of 64 bits, up to 32 events of one row,
# time and polarity; of 32 bits, one an event, or two for up to 32 events of one row.
EVT2 = openers("2.0", layout("EVT2", _EVT2))
EVT21 = openers("2.1", _LEGACY, _order_of)
EVT4 = openers("4.0", layout("EVT4", _EVT4))
