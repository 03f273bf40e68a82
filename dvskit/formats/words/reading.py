"""Files and streams of fixed-size words as Recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from dvskit.events import Events, Size
from dvskit.formats.feed import FileFeed, StreamFeed
from dvskit.formats.file_bytes import InputStream
from dvskit.formats.index_cache import Index, find_index
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.raw_recording import ArrivingTriggers, RawFile, RawRecording
from dvskit.formats.sensor_size import smallest_size
from dvskit.formats.storage import ReusedStorage, Storage
from dvskit.formats.words import decoding
from dvskit.formats.words import layout as k
from dvskit.formats.words.decoding import LayoutPass, word_kind
from dvskit.formats.words.layout import UNIT, Layout
from dvskit.streams import Triggers


class WordRecording(RawRecording):
    """Events and triggers of a file of fixed-size words."""

    _early_words = "events ahead of the first full time"

    def __init__(self, file: RawFile, layout: Layout) -> None:
        super().__init__(file)
        self.format = layout.name.lower().replace(".", "")
        self._layout = layout

    def _pass(self, losses: Losses, *, keep_triggers: bool = False) -> LayoutPass:
        """Return a pass over all words; triggers are always kept."""
        return file_pass(
            self.path, self._header.end, self.size, self._layout, losses, self._offset_us
        )

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        words = (self.path.stat().st_size - self._header.end) // (UNIT * self._layout.units)
        if words <= 2 * decoding.CHUNK_WORDS:
            return self._blocks(damage, storage)
        index = find_index(
            self.path, f"{self.format} {k.STATE_FIELDS} {self.size}", self._build_index
        )
        at = index.at(start_us)
        reading = self._pass(self._losses(damage))
        reading.at, reading.state[:] = int(index.offset[at]), index.state[at]
        return self._noting_early(reading, storage)

    def _build_index(self) -> Index:
        """Return the state of a pass at the beginning of each chunk.

        It is the same in both modes up to the first damage, and goes on behind it.
        """
        reading = self._pass(Losses(self.path, strict=False))
        places, states = [reading.at], [reading.state.copy()]
        for _ in reading.blocks(ReusedStorage()):
            places.append(reading.at)
            states.append(reading.state.copy())
        state = np.stack(states)
        last = state[:, k.S_LAST]
        before_us = np.where(last == k.NEVER, k.NEVER, last + self._offset_us)
        return Index(before_us, np.array(places, np.int64), state)

    def other_streams(self) -> Mapping[str, int]:
        """Count the words of type OTHERS: camera messages that are no events."""
        reading = self._pass(Losses(self.path, strict=False))
        for _ in reading.blocks(ReusedStorage()):
            pass
        return _others(reading)


class ArrivingRecording(WordRecording):
    """Events of words that arrive on a stream: read once, each as soon as it is there.

    A second iteration goes on where the first one was left. What is beside the events is known as
    far as they have been read. Damage is judged by what has arrived with it.
    """

    live = True

    def __init__(self, stream: InputStream, file: RawFile, layout: Layout) -> None:
        super().__init__(file, layout)
        start = file.header.end
        feed = StreamFeed(stream, start, word_kind(layout))
        self._reading = LayoutPass(feed, start, file.size, layout, self._losses(), self._offset_us)
        self._arriving = ArrivingTriggers(self._reading.triggers)

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        self._reading.losses = self._losses(damage)
        return self._noting_early(self._reading, storage)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        return self._blocks(damage, storage)

    def triggers(self) -> Triggers:
        """Return the external triggers that were met up to now."""
        return self._arriving.all()

    def new_triggers(self) -> Triggers:
        """Return the external triggers that were met since the last call."""
        return self._arriving.new()

    def other_streams(self) -> Mapping[str, int]:
        """Count the words of type OTHERS that were met up to now."""
        return _others(self._reading)


def file_pass(
    path: Path, start: int, size: Size, layout: Layout, losses: Losses, offset_us: int = 0
) -> LayoutPass:
    """Return a pass over the words of a file from byte `start` on."""
    # Two windows: one is scanned while the one ahead of it is decoded.
    feed = FileFeed(path, word_kind(layout), keep=2)
    return LayoutPass(feed, start, size, layout, losses, offset_us)


def _others(reading: LayoutPass) -> Mapping[str, int]:
    return {"other words": reading.others} if reading.others else {}


def size_of_data(path: Path, start: int, layout: Layout, largest: Size) -> Size:
    """Return the smallest size that holds the events. Raises GeometryError if there are none."""
    reading = file_pass(path, start, largest, layout, Losses(path, strict=False))
    return smallest_size(path, reading.blocks(ReusedStorage()))
