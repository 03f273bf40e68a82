"""EVT 3.0 files as Recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from dvskit.events import Events, Size
from dvskit.formats.evt3.chunks import FileChunks
from dvskit.formats.evt3.decoding import Decoding
from dvskit.formats.evt3.words import OTHERS
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
from dvskit.formats.storage import ReusedStorage, Storage
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

    def _pass(self, damage: Damage, *, keep_triggers: bool = False) -> Decoding:
        start = self._header.end
        return Decoding(
            FileChunks(self.path, start, self.size),
            self.size,
            name=self.path,
            strict=self.strict,
            damage=damage,
            start=start,
            offset_us=self._offset_us,
            keep_triggers=keep_triggers,
        )

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        reading = self._pass(damage)
        yield from reading.blocks(storage)
        if reading.early:
            note = (
                f"{reading.early} event words ahead of the first full time and address left out: "
                "the recording starts in the middle of a stream"
            )
            if note not in self.assumptions:
                self.assumptions.append(note)

    def triggers(self) -> Triggers:
        """Return all external triggers in time order. Raises DamagedFileError in strict mode."""
        reading = self._pass(Damage(), keep_triggers=True)
        for _ in reading.blocks(ReusedStorage()):
            pass
        return Triggers.in_order(reading.triggers)

    def header(self) -> Mapping[str, str]:
        """Return the header's keys and values."""
        return self._header.keys

    def other_streams(self) -> Mapping[str, int]:
        """Count the words of type OTHERS: camera messages that are no events."""
        count = 0
        chunks, used = FileChunks(self.path, self._header.end, self.size), 0
        while chunks.more(used):
            used = len(chunks.words)
            count += int(np.count_nonzero(chunks.words >> 12 == OTHERS))
        chunks.close()
        return {"other words": count} if count else {}


def _data_size(path: Path, start: int) -> Size:
    reading = Decoding(
        FileChunks(path, start, _ANY_SIZE),
        _ANY_SIZE,
        name=path,
        strict=False,
        damage=Damage(),
        start=start,
    )
    return smallest_size(path, reading.blocks(ReusedStorage()))


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
