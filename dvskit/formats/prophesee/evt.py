"""Prophesee RAW files in EVT 2.0, EVT 2.1, EVT 3.0 and EVT 4.0: their layouts, and what opens them.

Layouts: Prophesee, docs.prophesee.ai/stable/data/encoding_formats, and, for EVT 4.0 and the word
order of EVT 2.1, the decoders of OpenEB 5 (github.com/prophesee-ai/openeb).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dvskit.events import Size
from dvskit.formats.feed import WordKind
from dvskit.formats.file_bytes import InputStream
from dvskit.formats.file_sink import FileSink
from dvskit.formats.prophesee import evt3_kernels
from dvskit.formats.prophesee import evt_kernels as e
from dvskit.formats.prophesee import layout as w
from dvskit.formats.prophesee.header import RawHeader
from dvskit.formats.prophesee.recording import WordRecording, open_raw, open_raw_stream
from dvskit.formats.prophesee.sink import Evt3Sink, EvtSink
from dvskit.formats.recording import ReadOptions, Recording

_LARGEST = Size(2048, 2048)  # all that 11 bits can address
# The meanings of the types of words.
_EVT2 = {
    0x0: e.ONE_OFF,
    0x1: e.ONE_ON,
    0x8: e.HIGH,
    0xA: e.TRIGGER,
    0xE: e.OTHER,
    0xF: e.SKIPPED,
}
_EVT21 = _EVT2 | {0x0: e.MANY_OFF, 0x1: e.MANY_ON}
_EVT4 = {
    0x6: e.OTHER,
    0x7: e.SKIPPED,
    0x9: e.TRIGGER,
    0xA: e.ONE_OFF,
    0xB: e.ONE_ON,
    0xC: e.MANY_OFF,
    0xD: e.MANY_ON,
    0xE: e.HIGH,
    0xF: e.SKIPPED,
}


def _layout(name: str, meanings: dict[int, int], *, units: int = 1, head: int = 0) -> w.WordLayout:
    """Return the layout of words of `units` 32-bit units; `head` is the unit with the type."""
    table = np.full(e.TABLE_FIELDS, e.UNKNOWN, np.int64)
    table[list(meanings)] = list(meanings.values())
    table[e.T_STRIDE], table[e.T_HEAD] = units, head
    many = [kind for kind in meanings if meanings[kind] in (e.MANY_OFF, e.MANY_ON)]
    heads = sum(1 << kind for kind in many) if units == 1 else 0
    kind = WordKind(np.dtype("<u4"), units, ahead=e.LOOK_AHEAD)
    return w.WordLayout(name, kind, table, heads, e.scan, e.move_on, e.decode)


# Words of 16 bits that build on each other (Gen4, IMX636, GenX320 cameras).
EVT3_LAYOUT = w.WordLayout(
    "EVT3",
    WordKind(np.dtype("<u2"), ahead=evt3_kernels.LOOK_AHEAD),
    np.empty(0, np.int64),
    0,
    evt3_kernels.scan,
    evt3_kernels.move_on,
    evt3_kernels.decode,
)
# The two 32-bit halves of a word of EVT 2.1 stand in either order. The header's `endianness` is
# little if the half with the mask is first; legacy, or missing, if the half with the type is.
_LEGACY = _layout("EVT2.1", _EVT21, units=2, head=0)
_LITTLE = _layout("EVT2.1", _EVT21, units=2, head=1)


def _order_of(header: RawHeader) -> w.WordLayout:
    keys = header.keys
    options = dict(part.partition("=")[::2] for part in keys.get("format", "").split(";")[1:])
    order = options.get("endianness", keys.get("endianness", "legacy"))
    return _LITTLE if order.lower() == "little" else _LEGACY


class RawFormat(NamedTuple):
    """The functions that open files of a version of EVT."""

    open_recording: Callable[[Path, ReadOptions], WordRecording]
    open_stream: Callable[[InputStream, ReadOptions], Recording]
    open_sink: Callable[..., FileSink]


def _raw_format(
    layout_of: Callable[[RawHeader], w.WordLayout], open_sink: Callable[..., FileSink]
) -> RawFormat:
    return RawFormat(
        partial(open_raw, layout_of=layout_of, largest=_LARGEST),
        partial(open_raw_stream, layout_of=layout_of),
        open_sink,
    )


def _plain(version: str, layout: w.WordLayout) -> RawFormat:
    return _raw_format(lambda _: layout, partial(EvtSink, layout=layout, version=version))


# Words of 32 bits, one an event (Gen3 and later cameras); of 64 bits, up to 32 events of one row,
# time and polarity; of 32 bits, one an event, or two for up to 32 events of one row.
EVT2 = _plain("2.0", _layout("EVT2", _EVT2))
EVT21 = _raw_format(_order_of, partial(EvtSink, layout=_LEGACY, version="2.1"))
EVT3 = _raw_format(lambda _: EVT3_LAYOUT, Evt3Sink)
EVT4 = _plain("4.0", _layout("EVT4", _EVT4))
