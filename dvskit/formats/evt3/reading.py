"""EVT 3.0 files as Recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DamagedFileError, FormatError
from dvskit.events import Events, Size
from dvskit.formats.evt3 import layout as w
from dvskit.formats.evt3.chunks import BYTES, WordChunks
from dvskit.formats.evt3.decoding import Decoding
from dvskit.formats.feed import FileFeed, StreamFeed
from dvskit.formats.file_bytes import InputStream
from dvskit.formats.index_cache import NEVER, Index, find_index, index_of
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.raw_recording import (
    ArrivingTriggers,
    RawFile,
    RawHeader,
    RawRecording,
    raw_openers,
)
from dvskit.formats.sensor_size import smallest_size
from dvskit.formats.storage import ReusedStorage, Storage
from dvskit.streams import Triggers

# Words build on each other: reading from a time on begins at checkpoints.
CHECKPOINT_WORDS = 1 << 18
LEAST_BYTES = 1 << 22  # that are worth an index
_ANY_SIZE = Size(2048, 2048)  # all that 11 bits can address


class Evt3Recording(RawRecording):
    """Events and triggers of a RAW file in EVT 3.0."""

    format = "evt3"
    _early_words = "event words ahead of the first full time and address"

    def _pass(
        self,
        losses: Losses,
        *,
        keep_triggers: bool = False,
        start: int | None = None,
        state: NDArray[np.int64] | None = None,
    ) -> Decoding:
        return Decoding(
            self._chunks(start),
            self.size,
            losses,
            offset_us=self._offset_us,
            keep_triggers=keep_triggers,
            state=state,
        )

    def _chunks(self, start: int | None = None) -> WordChunks:
        start = self._header.end if start is None else start
        feed = FileFeed(self.path, BYTES)
        return WordChunks(feed, self.size, start=start, realign=not self.strict)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        found = self._checkpoint(start_us - self._offset_us)
        if found is None:
            return self._blocks(damage, storage)
        start, state = found
        return self._pass(self._losses(damage), start=start, state=state).blocks(storage)

    def _checkpoint(self, start_us: int) -> tuple[int, NDArray[np.int64]] | None:
        """Return the latest byte to begin at for t >= start_us, in the file's own time, its state.

        None where reading has to begin at the start: in a short file, and in one that is damaged.
        """
        start, length = self._header.end, self.path.stat().st_size
        if length - start < LEAST_BYTES:
            return None
        index = find_index(self.path, f"evt3 {w.STATE_FIELDS} {self.size}", self._build_index)
        row = index.at(start_us)
        offset = int(index.offset[row])
        if row == 0 or index.state.shape[1] != w.STATE_FIELDS or not start <= offset <= length:
            return None
        return offset, w.checkpoint(index.state[row])

    def _build_index(self) -> Index:
        """Pass over the file once. A damaged one has its start as only checkpoint."""
        start = self._header.end
        feed = FileFeed(self.path, BYTES)
        chunks = WordChunks(feed, self.size, start=start, most_words=CHECKPOINT_WORDS)
        reading = Decoding(chunks, self.size, Losses(self.path, strict=True))
        rows = [(NEVER, start, *w.new_state().tolist())]
        try:
            for _ in reading.blocks(ReusedStorage()):
                state = w.checkpoint(reading.state).tolist()
                rows.append((state[w.S_LAST], reading.offset, *state))
        except DamagedFileError:
            rows = rows[:1]
        return index_of(rows)

    def other_streams(self) -> Mapping[str, int]:
        """Count the words of type OTHERS: camera messages that are no events."""
        count = used = 0
        with closing(self._chunks()) as chunks:
            while chunks.advance(used):
                used = len(chunks.words)
                count += int(np.count_nonzero(chunks.words >> 12 == w.OTHERS))
        return {"other words": count} if count else {}


class Evt3Stream(Evt3Recording):
    """Events and triggers in EVT 3.0 that arrive on a stream: they are read once.

    Each block holds what has come. An event waits only behind a jump of the high part of time,
    which the next one judges. So in salvage events that stand ahead of their time are found among
    those of their block alone.
    """

    live = True

    def __init__(self, stream: InputStream, file: RawFile) -> None:
        super().__init__(file)
        self._stream: InputStream | None = stream
        self._arriving = ArrivingTriggers([])

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        if self._stream is None:
            raise FormatError(f"{self.path}: is read once; save it to a file to read it again")
        start = self._header.end
        feed = StreamFeed(self._stream, start, BYTES)
        chunks = WordChunks(feed, self.size, start=start, realign=not self.strict)
        self._stream = None
        reading = Decoding(
            chunks,
            self.size,
            self._losses(damage),
            offset_us=self._offset_us,
            low_latency=True,
            keep_triggers=True,
        )
        self._arriving = ArrivingTriggers(reading.triggers)
        yield from self._noting_early(reading, storage)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        return self._blocks(damage, storage)

    def triggers(self) -> Triggers:
        """Return the external triggers that have come, in time order."""
        return self._arriving.all()

    def new_triggers(self) -> Triggers:
        """Return the external triggers that have come since the last call, in time order."""
        return self._arriving.new()

    def other_streams(self) -> Mapping[str, int]:
        """Return nothing: other words are not counted as they pass."""
        return {}


def _size_of_data(path: Path, header: RawHeader) -> Size:
    chunks = WordChunks(FileFeed(path, BYTES), _ANY_SIZE, start=header.end, realign=True)
    reading = Decoding(chunks, _ANY_SIZE, Losses(path, strict=False))
    return smallest_size(path, reading.blocks(ReusedStorage()))


open_recording, open_stream = raw_openers(Evt3Recording, Evt3Stream, _size_of_data)
