"""Prophesee DAT: 8 bytes an event, a 32-bit time and an address.

Type 0x0C is CD, 0x00 the older "2d" (N-Cars), 0x0E external triggers. Version 2 has x in 14 bits, y
in 14 and the polarity in 4; version 1 has 9, 8 and 1. Time wraps every 71.6 minutes.
Layout: Prophesee, docs.prophesee.ai/stable/data/file_formats/dat.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from dvskit.errors import DamagedFileError, FormatError, GeometryError
from dvskit.events import Events, Size, as_size
from dvskit.formats.raw_header import RawHeader, read_header
from dvskit.formats.recording import Damage, ReadOptions, SizeOrigin
from dvskit.formats.storage import Storage
from dvskit.formats.words.dat import _kernels as loops
from dvskit.formats.words.dat.writing import DatSink
from dvskit.formats.words.decoding import Layout
from dvskit.formats.words.reading import WordRecording, size_of_data
from dvskit.streams import Triggers

__all__ = ["DatRecording", "open_recording", "open_sink"]

CD, OLD_2D, TRIGGERS = 0x0C, 0x00, 0x0E
_EVENT_BYTES = 8
_HALF_US = 1 << 31


def _layout(x_bits: int, y_bits: int, p_bits: int) -> Layout:
    table = np.zeros(loops.LAYOUT_FIELDS, np.int64)
    table[[loops.D_X_BITS, loops.D_Y_BITS, loops.D_P_BITS]] = x_bits, y_bits, p_bits
    return Layout(
        "DAT", 2, table, loops.BITS, _HALF_US,
        loops.safe_start, None, loops.decode_clean, loops.goes_on, loops.decode_careful,
    )  # fmt: skip


_VERSIONS = {1: (_layout(9, 8, 1), Size(512, 256)), 2: (_layout(14, 14, 4), Size(16384, 16384))}


class DatRecording(WordRecording):
    """Events, or triggers, of a DAT file."""

    def __init__(
        self,
        path: Path,
        options: ReadOptions,
        size: Size,
        origin: SizeOrigin,
        header: RawHeader,
        layout: Layout,
        *,
        kind: int,
    ) -> None:
        super().__init__(path, options, size, origin, header, layout)
        self._kind = kind
        if not _version(path, header.keys):
            self.assumptions.append("no version in the header: read as version 2")

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        if self._kind != TRIGGERS:
            yield from super()._blocks(damage, storage)

    def triggers(self) -> Triggers:
        """Return all triggers in time order; none from a file of events.

        Raises DamagedFileError in strict mode for half a trigger and for time that runs back.
        """
        if self._kind != TRIGGERS:
            return Triggers.empty()
        start = self._header.end
        data = self.path.read_bytes()[start:]
        odd = len(data) % _EVENT_BYTES
        if odd and self.strict:
            problem = f"DAT the last trigger has {odd} of {_EVENT_BYTES} bytes"
            raise DamagedFileError(self.path, start + len(data) - odd, problem)
        rows = np.frombuffer(data, "<u4", (len(data) - odd) // 4).reshape(-1, 2)
        t = rows[:, 0].astype(np.int64)
        steps = np.diff(t)
        back = np.flatnonzero((steps < 0) & (steps > -_HALF_US))
        if back.size and self.strict:
            at = int(back[0])
            problem = f"DAT time of triggers runs back from {t[at]} to {t[at + 1]} us"
            raise DamagedFileError(self.path, start + _EVENT_BYTES * (at + 1), problem)
        t[1:] += np.cumsum(steps <= -_HALF_US) * 2 * _HALF_US
        word = rows[:, 1]
        hits = Triggers(
            t + self._offset_us, (word >> 8 & 0x1F).astype(np.int16), (word & 1).astype(np.bool_)
        )
        return Triggers.in_order([hits])

    def other_streams(self) -> Mapping[str, int]:
        """Return nothing: a DAT file holds words of one kind."""
        return {}


def _version(path: Path, keys: Mapping[str, str]) -> int:
    """Return the version that the header states, 0 where it does not. Raises FormatError."""
    text = keys.get("Version", keys.get("version", ""))
    if not text:
        return 0
    try:
        version = int(float(text))
    except (ValueError, OverflowError):
        version = -1
    if version not in _VERSIONS:
        raise FormatError(f"{path}: DAT version {text!r} is not known; 1 and 2 are")
    return version


def _header_size(path: Path, keys: Mapping[str, str]) -> Size | None:
    lower = {key.lower(): value for key, value in keys.items()}
    if "width" not in lower or "height" not in lower:
        return None
    try:
        return as_size((int(lower["width"]), int(lower["height"])))
    except (ValueError, GeometryError) as error:
        raise GeometryError(
            f"{path}: the header's sensor size cannot be used ({error}); pass size=(width, height)"
        ) from None


def open_recording(path: Path, options: ReadOptions) -> DatRecording:
    """Open a DAT file.

    Its size is the argument, the header's, or the smallest that holds the events. Raises
    FormatError, GeometryError.
    """
    header = read_header(path)
    with path.open("rb") as file:
        file.seek(header.end)
        marks = file.read(2)
    if len(marks) < 2:
        raise FormatError(f"{path}: the file ends ahead of the event type, at byte {header.end}")
    kind, length = marks
    if kind not in (CD, OLD_2D, TRIGGERS) or length != _EVENT_BYTES:
        raise FormatError(
            f"{path}: DAT events of type {kind:#04x} and {length} bytes at byte {header.end}; "
            "types 0x00, 0x0c and 0x0e of 8 bytes are known"
        )
    header = RawHeader(header.keys, header.end + 2)
    layout, largest = _VERSIONS[_version(path, header.keys) or 2]
    size, origin = _size(path, options, header, layout, largest, kind)
    recording = DatRecording(path, options, size, origin, header, layout, kind=kind)
    if kind == TRIGGERS and origin == "data":
        recording.assumptions[:1] = ["triggers only, no events: the sensor size means nothing"]
    return recording


def _size(
    path: Path, options: ReadOptions, header: RawHeader, layout: Layout, largest: Size, kind: int
) -> tuple[Size, SizeOrigin]:
    if options.size is not None:
        return options.size, "argument"
    size = _header_size(path, header.keys)
    if size is not None:
        return size, "header"
    if kind == TRIGGERS:
        return Size(1, 1), "data"
    return size_of_data(path, header.end, layout, largest), "data"


def open_sink(path: Path, size: Size, *, overwrite: bool) -> DatSink:
    """Return a Sink that writes a DAT file of CD events, version 2."""
    return DatSink(path, size, overwrite=overwrite)
