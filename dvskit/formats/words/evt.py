"""Prophesee RAW in EVT 2.0, EVT 2.1 and EVT 4.0: what a file of each is read with.

Layouts: Prophesee, docs.prophesee.ai/stable/data/encoding_formats, and, for EVT 4.0 and the word
order of EVT 2.1, the decoders of OpenEB 5 (github.com/prophesee-ai/openeb).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dvskit.events import Size
from dvskit.formats.input_stream import InputStream
from dvskit.formats.raw_header import RawHeader, told_size
from dvskit.formats.recording import ReadOptions
from dvskit.formats.sensor_size import no_size
from dvskit.formats.words import clock_kernels as shared
from dvskit.formats.words import evt_clean_kernels as clean
from dvskit.formats.words import evt_kernels as k
from dvskit.formats.words import evt_salvage_kernels as salvage
from dvskit.formats.words.layout import Layout
from dvskit.formats.words.reading import (
    ArrivingRecording,
    WordRecording,
    size_of_data,
)

LARGEST = Size(2048, 2048)  # all that 11 bits can address


def layout(name: str, meanings: dict[int, int], *, units: int = 1, head: int = 0) -> Layout:
    """Return the layout of words of `units` 32-bit units; `head` is the unit with the type."""
    table = np.full(k.LAYOUT_FIELDS, k.UNKNOWN, np.int64)
    for kind, meaning in meanings.items():
        table[kind] = meaning
    table[k.L_STRIDE], table[k.L_HEAD] = units, head
    many = [kind for kind in meanings if meanings[kind] in (k.MANY_OFF, k.MANY_ON)]
    heads = sum(1 << kind for kind in many) if units == 1 else 0
    look = np.zeros(shared.LOOK_FIELDS, np.int64)
    look[[shared.W_UNITS, shared.W_HEAD]] = units, head
    places = {
        **dict.fromkeys((k.ONE_OFF, k.ONE_ON), shared.W_ONES),
        **dict.fromkeys((k.MANY_OFF, k.MANY_ON), shared.W_MANY),
        k.HIGH: shared.W_HIGH,
        **dict.fromkeys((k.TRIGGER, k.OTHER, k.SKIPPED), shared.W_OTHERS),
    }
    for kind, meaning in meanings.items():
        look[places[meaning]] |= 1 << kind
    return Layout(
        name, units, heads, look, table, k.HIGH_BITS, k.HIGH_STEP,
        k.safe_start, clean.scan, clean.decode_clean, k.goes_on, k.decode_careful,
        salvage.read_rows, salvage.count_events, salvage.put_events,
    )  # fmt: skip


def open_with(path: Path, options: ReadOptions, header: RawHeader, words: Layout) -> WordRecording:
    """Open a RAW file whose header is read already.

    Its size is the argument, the header's, that of the camera which the header names, or the
    smallest that holds the events. Raises FormatError, GeometryError.
    """
    size, origin, note = told_size(str(path), options, header)
    if size is None:
        size, origin = size_of_data(path, header.end, words, LARGEST), "data"
    recording = WordRecording(path, options, size, origin, header, words)
    recording.assumptions += note
    return recording


def open_arriving(
    stream: InputStream, options: ReadOptions, header: RawHeader, words: Layout
) -> ArrivingRecording:
    """Open a RAW stream whose header is taken already.

    Its size is the argument, the header's, or that of the camera which the header names. Raises
    FormatError, GeometryError.
    """
    size, origin, note = told_size(stream.name, options, header)
    if size is None:
        raise no_size(stream.name)
    recording = ArrivingRecording(stream, options, size, origin, header, words)
    recording.assumptions += note
    return recording
