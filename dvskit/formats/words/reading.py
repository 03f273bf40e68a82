"""Files of fixed-size words as Recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from dvskit.events import Events, Size
from dvskit.formats.raw_header import RawHeader, time_offset_us
from dvskit.formats.recording import (
    Damage,
    ReadOptions,
    Recording,
    SizeOrigin,
    smallest_size,
)
from dvskit.formats.storage import ReusedStorage, Storage
from dvskit.formats.words.decoding import Layout, WordPass
from dvskit.streams import Triggers


class WordRecording(Recording):
    """Events and triggers of a file of fixed-size words."""

    def __init__(
        self,
        path: Path,
        options: ReadOptions,
        size: Size,
        origin: SizeOrigin,
        header: RawHeader,
        layout: Layout,
    ) -> None:
        super().__init__(path, options, size, origin)
        self.format = layout.name.lower().replace(".", "")
        self._header, self._layout = header, layout
        self._offset_us = time_offset_us(path, header.keys)
        if self._offset_us:
            self.assumptions.append(
                f"the header says to add {self._offset_us} us to the times of the file"
            )

    def _pass(self, damage: Damage) -> WordPass:
        return WordPass(
            self.path,
            self.size,
            self._layout,
            strict=self.strict,
            damage=damage,
            offset_us=self._offset_us,
        )

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        reading = self._pass(damage)
        yield from reading.file_blocks(self.path, self._header.end, storage)
        if reading.early:
            note = (
                f"{reading.early} events ahead of the first full time left out: "
                "the recording starts in the middle of a stream"
            )
            if note not in self.assumptions:
                self.assumptions.append(note)

    def triggers(self) -> Triggers:
        """Return all external triggers in time order. Raises DamagedFileError in strict mode."""
        reading = self._pass(Damage())
        for _ in reading.file_blocks(self.path, self._header.end, ReusedStorage()):
            pass
        return Triggers.in_order(reading.triggers)

    def header(self) -> Mapping[str, str]:
        """Return the header's keys and values."""
        return self._header.keys

    def other_streams(self) -> Mapping[str, int]:
        """Count the words of type OTHERS: camera messages that are no events."""
        reading = WordPass(self.path, self.size, self._layout, strict=False, damage=Damage())
        for _ in reading.file_blocks(self.path, self._header.end, ReusedStorage()):
            pass
        return {"other words": reading.others} if reading.others else {}


def size_of_data(path: Path, start: int, layout: Layout, largest: Size) -> Size:
    """Return the smallest size that holds the events. Raises GeometryError if there are none."""
    reading = WordPass(path, largest, layout, strict=False, damage=Damage())
    return smallest_size(path, reading.file_blocks(path, start, ReusedStorage()))
