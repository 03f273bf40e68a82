"""The words of an EVT 3.0 stream, a chunk at a time, with a survey of what they may hold."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from dvskit._threads import run_parts, thread_count
from dvskit.events import Size
from dvskit.formats.evt3 import survey_kernels as k
from dvskit.formats.evt3.clock_kernels import LOOK_AHEAD
from dvskit.formats.input_stream import Readable

CHUNK_WORDS = 1 << 20
FIRST_WORDS = 1 << 16  # chunks grow from here on: the first events come soon
STRETCH_WORDS = 1 << 15  # words that are surveyed together


class WordChunks(ABC):
    """Words in chunks, each beginning with those of the one before that were not used.

    words   uint16 (n,)     the chunk
    number  the number of words[0] in the stream
    ended   whether the stream ends with the chunk, where half a word may be left: `trailing_bytes`
    found   int64 (rows, k.SURVEY_FIELDS)  what each stretch of STRETCH_WORDS words may hold

    A chunk grows to `most_words` new words, CHUNK_WORDS by default. `realign` is for salvage: words
    are lined up anew where bytes came or went.
    """

    def __init__(self, size: Size, *, realign: bool = False, most_words: int | None = None) -> None:
        self.words = np.empty(0, np.uint16)
        self.found = np.empty((0, k.SURVEY_FIELDS), np.int64)
        self.number = 0
        self.ended = False
        self.threads = thread_count()
        self._size = size
        self._realign = realign
        self._aligned = 0  # bytes at the start of the buffer that need not be looked at again
        self._extra = np.empty(0, np.int64)  # words behind which a byte was left out
        self._bytes = np.empty(0, np.uint8)
        self._filled = 0
        self._most = CHUNK_WORDS if most_words is None else most_words
        self._chunk = min(FIRST_WORDS, self._most)

    def more(self, used: int) -> bool:
        """Go on by `used` words of this chunk, and read further. False if that was the last."""
        if self.ended:
            return False
        rest = self._bytes[2 * used : self._filled]
        room = len(rest) + 2 * self._chunk
        if len(self._bytes) < room:
            larger = np.empty(room + 2 * LOOK_AHEAD, np.uint8)
            larger[: len(rest)] = rest
            self._bytes = larger
        elif used:
            self._bytes[: len(rest)] = rest
        self.number += used
        self._filled = len(rest)
        self._aligned = max(0, self._aligned - 2 * used)
        rows = self._row(room // 2)
        if len(self.found) < rows:
            self.found = np.empty((rows, k.SURVEY_FIELDS), np.int64)
        got = self._read(len(rest), room)
        self._filled += got
        whole = self._filled // 2 * 2
        if self._realign and self.found[: self._row(whole // 2), k.N_INVALID].any():
            whole = self._line_up()
        elif self._realign:
            self._aligned = whole
        self.words = self._bytes[:whole].view("<u2")
        if got == 2 * self._chunk:
            self._chunk = min(2 * self._chunk, self._most)
        return True

    def offset(self, word: int) -> int:
        """Return how many bytes stand ahead of a word, by its number in the stream."""
        return 2 * word + int(np.searchsorted(self._extra, word))

    def _line_up(self) -> int:
        """Mend the words; return where those end that are certain."""
        extra = np.empty(self._filled // 3 + 1, np.int64)
        end, rest, count = k.realign(
            self._bytes, self._aligned, self._filled, self.ended, *self._size, extra
        )
        left = self._bytes[rest : self._filled]
        self._bytes[end : end + len(left)] = left
        self._filled = end + len(left)
        self._extra = np.concatenate([self._extra, self.number + extra[:count]])
        self._survey(self._aligned // 2 // STRETCH_WORDS * STRETCH_WORDS, end // 2)
        self._aligned = end
        return end

    @property
    def trailing_bytes(self) -> int:
        """How many bytes stand behind the last word."""
        return self._filled - 2 * len(self.words)

    def row(self, at: int) -> int:
        """Return the row of `found` for the stretch that begins at word `at` or next behind it."""
        return self._row(at)

    def at(self, row: int) -> int:
        """Return the word that a stretch begins with."""
        return min(row * STRETCH_WORDS, len(self.words))

    def _row(self, words: int) -> int:
        return -(-words // STRETCH_WORDS)

    def _survey(self, begin: int, end: int) -> None:
        """Survey the stretches from word `begin`, the first of one, to `end`."""
        if end > begin:
            words = self._bytes[: 2 * end].view("<u2")
            k.survey(
                words, begin // STRETCH_WORDS, self._row(end), STRETCH_WORDS, *self._size,
                self.found,
            )  # fmt: skip

    def _parts(self, end: int) -> list[int]:
        """Cut words 0..end into parts for threads, at the bounds of stretches."""
        rows = self._row(end)
        parts = max(1, min(self.threads, rows))
        inner = [rows * part // parts * STRETCH_WORDS for part in range(parts)]
        return [*inner, end]

    @abstractmethod
    def _read(self, begin: int, end: int) -> int:
        """Read bytes to begin..end of the buffer, and survey all words from 0 on.

        Returns how many were read; sets `ended`.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of what is read."""


class StreamChunks(WordChunks):
    """Words of a stream that is read once: chunks are as large as what is there."""

    def __init__(
        self, stream: Readable, size: Size, *, realign: bool = False, most_words: int | None = None
    ) -> None:
        super().__init__(size, realign=realign, most_words=most_words)
        self._stream = stream

    def _read(self, begin: int, end: int) -> int:
        got = self._stream.readinto(self._bytes.data[begin:end]) or 0
        self.ended = got == 0
        bounds = self._parts((begin + got) // 2)
        run_parts(
            lambda part: self._survey(bounds[part], bounds[part + 1]), len(bounds) - 1, self.threads
        )
        return got

    def close(self) -> None:
        """Leave the stream to whom it belongs."""


class FileChunks(WordChunks):
    """Words of a file from a byte on, read on several threads."""

    def __init__(
        self,
        path: Path,
        start: int,
        size: Size,
        *,
        realign: bool = False,
        most_words: int | None = None,
    ) -> None:
        super().__init__(size, realign=realign, most_words=most_words)
        self._files = [path.open("rb", buffering=0)]
        self._at = start
        self._left = max(0, os.fstat(self._files[0].fileno()).st_size - start)
        if self._left > 2 * FIRST_WORDS:
            self._files += [path.open("rb", buffering=0) for _ in range(self.threads - 1)]

    def _read(self, begin: int, end: int) -> int:
        wanted = min(end - begin, self._left)
        bounds = self._parts((begin + wanted) // 2)
        if len(bounds) - 1 > len(self._files):
            bounds = [0, bounds[-1]]
        read = [0] * (len(bounds) - 1)

        def work(part: int) -> None:
            first = max(begin, 2 * bounds[part])
            last = 2 * bounds[part + 1] if part + 1 < len(read) else begin + wanted
            read[part] = self._read_part(part, first, last, self._at + first - begin)
            self._survey(bounds[part], bounds[part + 1])

        run_parts(work, len(read), self.threads)
        got = 0
        for part, count in enumerate(read):  # a file that has become shorter ends early
            got += count
            if begin + got < 2 * bounds[part + 1]:
                break
        self._at += got
        self._left -= got
        self.ended = got < wanted or not self._left
        return got

    def _read_part(self, part: int, begin: int, end: int, offset: int) -> int:
        file, at = self._files[part], begin
        file.seek(offset)
        while at < end:
            count = file.readinto(self._bytes.data[at:end]) or 0
            if not count:
                break
            at += count
        return at - begin

    def close(self) -> None:
        """Close the file."""
        for file in self._files:
            file.close()
