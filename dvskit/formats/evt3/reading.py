"""EVT 3.0 files as Recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from dvskit.events import Events, Size
from dvskit.formats.evt3 import _kernels as k
from dvskit.formats.evt3.decoding import Decoding, read_chunks
from dvskit.formats.raw_header import (
    RawHeader,
    camera_size,
    header_size,
    read_header,
    time_offset_us,
)
from dvskit.formats.recording import (
    Damage,
    ReadOptions,
    Recording,
    SizeOrigin,
    smallest_size,
)
from dvskit.formats.storage import Storage
from dvskit.streams import Triggers

_ANY_SIZE = Size(2048, 2048)  # all that 11 bits can address


class Evt3Recording(Recording):
    """Events and triggers of a RAW file in EVT 3.0."""

    format = "evt3"

    def __init__(
        self, path: Path, options: ReadOptions, size: Size, origin: SizeOrigin, header: RawHeader
    ) -> None:
        super().__init__(path, options, size, origin)
        self._header = header
        self._offset_us = time_offset_us(path, header.keys)
        if self._offset_us:
            self.assumptions.append(
                f"the header says to add {self._offset_us} us to the times of the file"
            )

    def _pass(self, damage: Damage) -> Decoding:
        return Decoding(
            self.path,
            self._header.end,
            self.size,
            strict=self.strict,
            damage=damage,
            offset_us=self._offset_us,
        )

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        reading = self._pass(damage)
        yield from reading.blocks()
        if reading.early:
            note = (
                f"{reading.early} event words ahead of the first full time and address left out: "
                "the recording starts in the middle of a stream"
            )
            if note not in self.assumptions:
                self.assumptions.append(note)

    def triggers(self) -> Triggers:
        """Return all external triggers in time order. Raises DamagedFileError in strict mode."""
        reading = self._pass(Damage())
        for _ in reading.blocks():
            pass
        return Triggers.in_order(reading.triggers)

    def header(self) -> Mapping[str, str]:
        """Return the header's keys and values."""
        return self._header.keys

    def other_streams(self) -> Mapping[str, int]:
        """Count the words of type OTHERS: camera messages that are no events."""
        count = 0
        for _, words, stop, _ in read_chunks(self.path, self._header.end):
            count += int(np.count_nonzero(words[:stop] >> 12 == k.OTHERS))
        return {"other words": count} if count else {}


def _data_size(path: Path, start: int) -> Size:
    reading = Decoding(path, start, _ANY_SIZE, strict=False, damage=Damage(), offset_us=0)
    return smallest_size(path, reading.blocks())


def open_recording(path: Path, options: ReadOptions) -> Evt3Recording:
    """Open a RAW file in EVT 3.0.

    Its size is the argument, the header's, that of the camera which the header names, or the
    smallest that holds the events. Raises FormatError, GeometryError.
    """
    header = read_header(path)
    if options.size is not None:
        return Evt3Recording(path, options, options.size, "argument", header)
    size = header_size(path, header.keys)
    if size is not None:
        return Evt3Recording(path, options, size, "header", header)
    camera = camera_size(header.keys)
    if camera is not None:
        recording = Evt3Recording(path, options, camera[0], "camera", header)
        recording.assumptions.append(
            f"no sensor size in the file: {camera[0]} is that of the camera ({camera[1]})"
        )
        return recording
    return Evt3Recording(path, options, _data_size(path, header.end), "data", header)
