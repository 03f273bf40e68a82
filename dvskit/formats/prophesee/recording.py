"""Prophesee files and streams as Recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dvskit.events import Events, Size
from dvskit.formats.feed import FileFeed, StreamFeed
from dvskit.formats.file_bytes import InputStream
from dvskit.formats.index_cache import Index, find_index
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.prophesee import decoding
from dvskit.formats.prophesee import layout as w
from dvskit.formats.prophesee.decoding import WordPass
from dvskit.formats.prophesee.header import (
    RawHeader,
    camera_size,
    header_size,
    read_header,
    take_header,
    time_offset_us,
)
from dvskit.formats.prophesee.layout import WordLayout
from dvskit.formats.recording import ReadOptions, Recording, SizeOrigin
from dvskit.formats.sensor_size import choose_size, no_size, smallest_size
from dvskit.formats.storage import ReusedStorage, Storage
from dvskit.streams import Triggers


class RawFile(NamedTuple):
    """A file of words, or a stream of that name, as far as its header describes it.

    notes  assumptions, for people
    """

    path: Path
    options: ReadOptions
    header: RawHeader
    size: Size
    size_origin: SizeOrigin
    notes: list[str]


class WordRecording(Recording):
    """Events and triggers in words after a header of `% key value` lines."""

    along = True

    def __init__(self, file: RawFile, layout: WordLayout) -> None:
        self._latest: WordPass | None = None
        self._handed = 0  # of the latest pass's parts of triggers
        super().__init__(file.path, file.options, file.size, file.size_origin)
        self.format = layout.name.lower().replace(".", "")
        self._header, self._layout = file.header, layout
        self._offset_us = time_offset_us(file.path, file.header.keys)
        if self._offset_us:
            self.assumptions.append(
                f"the header says to add {self._offset_us} us to the times of the file"
            )
        self.assumptions += file.notes

    def _pass(self, losses: Losses) -> WordPass:
        """Return a pass over all words."""
        return file_pass(
            self.path, self._header.end, self.size, self._layout, losses, offset_us=self._offset_us
        )

    def _counting_pass(self) -> WordPass:
        """Return a pass over all words in salvage mode, whose losses are not reported."""
        return self._pass(Losses(self.path, strict=False))

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        self._latest, self._handed = self._pass(self._losses(damage)), 0
        return self._noting_early(self._latest, storage)

    def _noting_early(self, reading: WordPass, storage: Storage) -> Iterator[Events]:
        yield from reading.blocks(storage)
        if reading.early:
            note = (
                f"{reading.early} events before the first full time and address left out: "
                "the recording starts in the middle of a stream"
            )
            if note not in self.assumptions:
                self.assumptions.append(note)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        layout = self._layout
        words = (self.path.stat().st_size - self._header.end) // (layout.unit * layout.kind.width)
        if words <= 2 * decoding.CHUNK_WORDS:
            return self._blocks(damage, storage)
        kind = f"{self.format} {w.STATE_FIELDS} {self.size}"
        index = find_index(self.path, kind, self._build_index)
        if index.state.shape[1] != w.STATE_FIELDS:
            return self._blocks(damage, storage)
        at = index.at(start_us)
        reading = self._pass(self._losses(damage))
        reading.at, reading.state = int(index.offset[at]), index.state[at].copy()
        return self._noting_early(reading, storage)

    def _build_index(self) -> Index:
        """Return the state of a pass at the beginning of each chunk.

        It is the same in both modes up to the first damage, and goes on behind it.
        """
        reading = self._counting_pass()
        places, states = [reading.at], [reading.state.copy()]
        for _ in reading.blocks(ReusedStorage()):
            places.append(reading.at)
            states.append(reading.state.copy())
        state = np.stack(states)
        last = state[:, w.S_LAST]
        before_us = np.where(last == w.NEVER, w.NEVER, last + self._offset_us)
        return Index(before_us, np.array(places, np.int64), state)

    def triggers(self) -> Triggers:
        """Return all external triggers in time order. Raises DamagedFileError in strict mode."""
        reading = self._pass(self._losses())
        for _ in reading.blocks(ReusedStorage()):
            pass
        return Triggers.in_order(reading.triggers)

    def new_triggers(self) -> Triggers:
        """Return the triggers that the latest pass has met since the last call, in time order."""
        parts = [] if self._latest is None else self._latest.triggers
        first, self._handed = self._handed, len(parts)
        return Triggers.in_order(parts[first:])

    def passed_streams(self) -> Mapping[str, int]:
        """Count the words of type OTHERS that the latest pass has met."""
        return {} if self._latest is None else _others(self._latest)

    def other_streams(self) -> Mapping[str, int]:
        """Count the words of type OTHERS: camera messages that are no events."""
        reading = self._counting_pass()
        for _ in reading.blocks(ReusedStorage()):
            pass
        return _others(reading)

    def header(self) -> Mapping[str, str]:
        """Return the header's keys and values."""
        return self._header.keys


class ArrivingRecording(WordRecording):
    """Events of words that arrive on a stream: read once, each as soon as it is there.

    A second iteration goes on where the first one stopped. What stands beside the events is known
    as far as they have been read. Damage is judged by what has arrived with it.
    """

    live = True

    def __init__(self, stream: InputStream, file: RawFile, layout: WordLayout) -> None:
        super().__init__(file, layout)
        start = file.header.end
        feed = StreamFeed(stream, start, layout.kind)
        self._reading = self._latest = WordPass(
            feed, start, file.size, layout, self._losses(), offset_us=self._offset_us
        )

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        self._reading.losses = self._losses(damage)
        return self._noting_early(self._reading, storage)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        return self._blocks(damage, storage)

    def triggers(self) -> Triggers:
        """Return the external triggers that have arrived, in time order."""
        return Triggers.in_order(self._reading.triggers)

    def other_streams(self) -> Mapping[str, int]:
        """Count the words of type OTHERS that have arrived."""
        return _others(self._reading)


def _others(reading: WordPass) -> Mapping[str, int]:
    return {"other words": reading.others} if reading.others else {}


def file_pass(
    path: Path,
    start: int,
    size: Size,
    layout: WordLayout,
    losses: Losses,
    *,
    offset_us: int = 0,
    until_loss: bool = False,
) -> WordPass:
    """Return a pass over the words of a file from byte `start` on."""
    # Two windows: one is scanned while the one ahead of it is decoded.
    feed = FileFeed(path, layout.kind, keep=2)
    return WordPass(feed, start, size, layout, losses, offset_us=offset_us, until_loss=until_loss)


def size_of_data(path: Path, start: int, layout: WordLayout, largest: Size) -> Size:
    """Return the smallest size that holds the events ahead of the first damage.

    Raises GeometryError if there are none.
    """
    losses = Losses(path, strict=False)
    reading = file_pass(path, start, largest, layout, losses, until_loss=True)
    return smallest_size(path, reading.blocks(ReusedStorage()))


def open_raw(
    path: Path, options: ReadOptions, layout_of: Callable[[RawHeader], WordLayout], largest: Size
) -> WordRecording:
    """Open a RAW file. Raises FormatError, GeometryError.

    Its size is the argument, the header's, that of the camera named in the header, or the smallest
    that holds the events.
    """
    header = read_header(path)
    layout = layout_of(header)
    file = _raw_file(path, options, header, lambda: size_of_data(path, header.end, layout, largest))
    return WordRecording(file, layout)


def open_raw_stream(
    stream: InputStream, options: ReadOptions, layout_of: Callable[[RawHeader], WordLayout]
) -> ArrivingRecording:
    """Open a RAW stream, header first. Raises FormatError, GeometryError.

    Its size is the argument, the header's, or that of the camera named in the header.
    """

    def of_events() -> Size:
        raise no_size(stream.name)

    header = take_header(stream)
    file = _raw_file(Path(stream.name), options, header, of_events)
    return ArrivingRecording(stream, file, layout_of(header))


def _raw_file(
    path: Path, options: ReadOptions, header: RawHeader, of_events: Callable[[], Size]
) -> RawFile:
    camera, notes = camera_size(header.keys), []
    size, origin = choose_size(
        options,
        lambda: header_size(path, header.keys),
        of_events if camera is None else lambda: camera[0],
    )
    if origin == "data" and camera is not None:
        origin = "camera"
        notes.append(f"no sensor size in the file: {size} is that of the camera ({camera[1]})")
    return RawFile(path, options, header, size, origin, notes)
