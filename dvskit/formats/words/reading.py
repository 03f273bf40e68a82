"""Files and streams of fixed-size words as Recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from dvskit.events import Events, Size
from dvskit.formats.feed import StreamFeed
from dvskit.formats.index_cache import Index, find_index
from dvskit.formats.input_stream import InputStream
from dvskit.formats.losses import Damage
from dvskit.formats.raw_header import RawHeader, time_offset_us
from dvskit.formats.recording import (
    ReadOptions,
    Recording,
    SizeOrigin,
)
from dvskit.formats.sensor_size import smallest_size
from dvskit.formats.storage import ReusedStorage, Storage
from dvskit.formats.words import decoding
from dvskit.formats.words import layout as k
from dvskit.formats.words.decoding import WordPass, word_kind
from dvskit.formats.words.layout import UNIT, Layout
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

    def _pass(self, damage: Damage, *, strict: bool | None = None) -> WordPass:
        return WordPass(
            self.path,
            self.size,
            self._layout,
            self._header.end,
            strict=self.strict if strict is None else strict,
            damage=damage,
            offset_us=self._offset_us,
        )

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        reading = self._pass(damage)
        yield from reading.file_blocks(storage)
        self._note_early(reading)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        words = (self.path.stat().st_size - self._header.end) // (UNIT * self._layout.units)
        if words <= 2 * decoding.CHUNK_WORDS:
            yield from self._blocks(damage, storage)
            return
        index = find_index(self.path, f"{self.format} {self.size}", self._build_index)
        at = index.at(start_us)
        reading = self._pass(damage)
        reading.at, reading.state[:] = int(index.offset[at]), index.state[at]
        yield from reading.file_blocks(storage)
        self._note_early(reading)

    def _build_index(self) -> Index:
        """Return the state of a pass at the beginning of each chunk.

        It is the same in both modes up to the first damage, and goes on behind it.
        """
        reading, storage = self._pass(Damage(), strict=False), ReusedStorage()
        places, states = [reading.at], [reading.state.copy()]
        for _ in reading.file_blocks(storage):
            places.append(reading.at)
            states.append(reading.state.copy())
        state = np.stack(states)
        last = state[:, k.S_LAST]
        before_us = np.where(last == k.NEVER, k.NEVER, last + self._offset_us)
        return Index(before_us, np.array(places, np.int64), state)

    def _note_early(self, reading: WordPass) -> None:
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
        for _ in reading.file_blocks(ReusedStorage()):
            pass
        return Triggers.in_order(reading.triggers)

    def header(self) -> Mapping[str, str]:
        """Return the header's keys and values."""
        return self._header.keys

    def other_streams(self) -> Mapping[str, int]:
        """Count the words of type OTHERS: camera messages that are no events."""
        reading = self._pass(Damage(), strict=False)
        for _ in reading.file_blocks(ReusedStorage()):
            pass
        return _others(reading)


class ArrivingRecording(WordRecording):
    """Events of words that arrive on a stream: read once, each as soon as it is there.

    A second iteration goes on where the first one was left. What is beside the events is known as
    far as they have been read. Damage is judged by what has arrived with it.
    """

    live = True

    def __init__(
        self,
        stream: InputStream,
        options: ReadOptions,
        size: Size,
        origin: SizeOrigin,
        header: RawHeader,
        layout: Layout,
    ) -> None:
        super().__init__(Path(stream.name), options, size, origin, header, layout)
        self._feed = StreamFeed(stream, header.end, word_kind(layout))
        self._reading = self._pass(self.damage)

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        self._reading.damage = damage
        yield from self._reading.blocks(self._feed, storage)
        self._note_early(self._reading)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        return self._blocks(damage, storage)

    def triggers(self) -> Triggers:
        """Return the external triggers that were met up to now."""
        return Triggers.in_order(self._reading.triggers)

    def other_streams(self) -> Mapping[str, int]:
        """Count the words of type OTHERS that were met up to now."""
        return _others(self._reading)


def _others(reading: WordPass) -> Mapping[str, int]:
    return {"other words": reading.others} if reading.others else {}


def size_of_data(path: Path, start: int, layout: Layout, largest: Size) -> Size:
    """Return the smallest size that holds the events. Raises GeometryError if there are none."""
    reading = WordPass(path, largest, layout, start, strict=False, damage=Damage())
    return smallest_size(path, reading.file_blocks(ReusedStorage()))
