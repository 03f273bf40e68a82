"""Prophesee RAW in EVT 2.0, EVT 2.1 and EVT 4.0: what a file of each is read with.

Layouts: Prophesee, docs.prophesee.ai/stable/data/encoding_formats, and, for EVT 4.0 and the word
order of EVT 2.1, the decoders of OpenEB 5 (github.com/prophesee-ai/openeb).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dvskit.events import Size
from dvskit.formats.raw_header import RawHeader, camera_size, header_size
from dvskit.formats.recording import ReadOptions
from dvskit.formats.words.decoding import Layout
from dvskit.formats.words.evt import _kernels as k
from dvskit.formats.words.evt.clean import _kernels as clean
from dvskit.formats.words.reading import WordRecording, size_of_data

LARGEST = Size(2048, 2048)  # all that 11 bits can address


def layout(name: str, meanings: dict[int, int], *, units: int = 1, head: int = 0) -> Layout:
    """Return the layout of words of `units` 32-bit units; `head` is the unit with the type."""
    table = np.full(k.LAYOUT_FIELDS, k.UNKNOWN, np.int64)
    for kind, meaning in meanings.items():
        table[kind] = meaning
    table[k.L_STRIDE], table[k.L_HEAD] = units, head
    return Layout(
        name, units, table, k.HIGH_BITS, k.HIGH_STEP,
        k.safe_start, clean.scan, clean.decode_clean, k.goes_on, k.decode_careful,
    )  # fmt: skip


def open_with(path: Path, options: ReadOptions, header: RawHeader, words: Layout) -> WordRecording:
    """Open a RAW file whose header is read already.

    Its size is the argument, the header's, that of the camera which the header names, or the
    smallest that holds the events. Raises FormatError, GeometryError.
    """
    if options.size is not None:
        return WordRecording(path, options, options.size, "argument", header, words)
    size = header_size(path, header.keys)
    if size is not None:
        return WordRecording(path, options, size, "header", header, words)
    camera = camera_size(header.keys)
    if camera is not None:
        recording = WordRecording(path, options, camera[0], "camera", header, words)
        recording.assumptions.append(
            f"no sensor size in the file: {camera[0]} is that of the camera ({camera[1]})"
        )
        return recording
    size = size_of_data(path, header.end, words, LARGEST)
    return WordRecording(path, options, size, "data", header, words)
