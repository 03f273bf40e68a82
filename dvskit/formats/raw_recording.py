"""What the Recordings of Prophesee files share: header, offset of time, triggers, ways to open."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from dvskit.events import Events, Size
from dvskit.formats.file_bytes import InputStream
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.raw_header import (
    RawHeader,
    read_header,
    take_header,
    time_offset_us,
    told_size,
)
from dvskit.formats.recording import ReadOptions, Recording, SizeOrigin
from dvskit.formats.sensor_size import no_size
from dvskit.formats.storage import EventColumns, ReusedStorage, Storage, TriggerColumns
from dvskit.streams import Triggers


class WordPass(ABC):
    """One pass over words; `triggers` are those that were met up to now."""

    def __init__(self, size: Size, losses: Losses, offset_us: int) -> None:
        self.size, self.losses, self.offset_us = size, losses, offset_us
        self.triggers: list[Triggers] = []

    @property
    @abstractmethod
    def early(self) -> int:
        """How many events stand ahead of the first time or address that they build on."""

    @abstractmethod
    def blocks(self, storage: Storage) -> Iterator[Events]:
        """Yield the events; raise DamagedFileError at the first loss in strict mode."""

    def _events(self, columns: EventColumns, count: int) -> Events:
        """Return decoded events, at the times that the header means."""
        if self.offset_us:
            columns.t[:count] += self.offset_us
        return columns.events(count, self.size)

    def _keep(self, triggers: TriggerColumns) -> None:
        """Take decoded triggers."""
        if len(triggers.t):
            self.triggers.append(Triggers(triggers.t + self.offset_us, triggers.id, triggers.p))


class RawRecording(Recording):
    """Events and triggers in words behind a header of `% key value` lines."""

    _early_words: str  # what `early` of a pass counts

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

    @abstractmethod
    def _pass(self, losses: Losses, *, keep_triggers: bool = False) -> WordPass:
        """Return a pass over all words."""

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        return self._noting_early(self._pass(self._losses(damage)), storage)

    def _noting_early(self, reading: WordPass, storage: Storage) -> Iterator[Events]:
        yield from reading.blocks(storage)
        if reading.early:
            note = (
                f"{reading.early} {self._early_words} left out: "
                "the recording starts in the middle of a stream"
            )
            if note not in self.assumptions:
                self.assumptions.append(note)

    def triggers(self) -> Triggers:
        """Return all external triggers in time order. Raises DamagedFileError in strict mode."""
        reading = self._pass(self._losses(), keep_triggers=True)
        for _ in reading.blocks(ReusedStorage()):
            pass
        return Triggers.in_order(reading.triggers)

    def header(self) -> Mapping[str, str]:
        """Return the header's keys and values."""
        return self._header.keys


OpenRecording = Callable[[Path, ReadOptions], Recording]
OpenStream = Callable[[InputStream, ReadOptions], Recording]


def raw_openers(
    recording: Callable[[Path, ReadOptions, Size, SizeOrigin, RawHeader], Recording],
    streamed: Callable[[InputStream, ReadOptions, Size, SizeOrigin, RawHeader], Recording],
    size_of_data: Callable[[Path, RawHeader], Size],
) -> tuple[OpenRecording, OpenStream]:
    """Return open_recording and open_stream of RAW files whose words a recording is made of."""

    def open_recording(path: Path, options: ReadOptions) -> Recording:
        """Open a RAW file. Raises FormatError, GeometryError.

        Its size is the argument, the header's, that of the camera which the header names, or the
        smallest that holds the events.
        """
        header = read_header(path)
        size, origin, notes = told_size(str(path), options, header)
        if size is None:
            size = size_of_data(path, header)
        opened = recording(path, options, size, origin, header)
        opened.assumptions += notes
        return opened

    def open_stream(stream: InputStream, options: ReadOptions) -> Recording:
        """Open a RAW stream, header first. Raises FormatError, GeometryError.

        Its size is the argument, the header's, or that of the camera which the header names.
        """
        header = take_header(stream)
        size, origin, notes = told_size(stream.name, options, header)
        if size is None:
            raise no_size(stream.name)
        opened = streamed(stream, options, size, origin, header)
        opened.assumptions += notes
        return opened

    return open_recording, open_stream
