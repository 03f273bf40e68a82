"""The words of an EVT 3.0 stream, a chunk at a time, with a survey of what they may hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.events import Size
from dvskit.formats.evt3 import survey_kernels as k
from dvskit.formats.evt3.layout import Words
from dvskit.formats.feed import Feed, Window, WordKind

BYTES = WordKind(np.dtype("u1"))  # where bytes are missing, a word may begin at any
CHUNK_WORDS = 1 << 20
FIRST_WORDS = 1 << 16  # chunks grow from here on: the first events come soon
STRETCH_WORDS = 1 << 15  # words that are surveyed together
_NO_WORDS = np.empty(0, np.uint16)


class WordChunks:
    """Words in chunks, each beginning with those of the one before that were not consumed.

    words   uint16 (n,)     the chunk
    number  the number of words[0], as counted from byte `start` of the feed
    ended   whether the stream ends with the chunk, where half a word may be left: `trailing_bytes`
    found   int64 (rows, k.SURVEY_FIELDS)  what each stretch of STRETCH_WORDS words may hold

    A chunk grows to `most_words` new words, CHUNK_WORDS by default. `realign` is for salvage: words
    are lined up anew where bytes came or went.
    """

    def __init__(
        self,
        feed: Feed,
        size: Size,
        *,
        start: int = 0,
        realign: bool = False,
        most_words: int | None = None,
    ) -> None:
        self.words = _NO_WORDS
        self.found = np.empty((0, k.SURVEY_FIELDS), np.int64)
        self.number = 0
        self.ended = False
        self.threads = thread_count()
        self._feed, self._size, self._start = feed, size, start
        self._realign = realign
        self._extra = np.empty(0, np.int64)  # words behind which a byte was left out
        self._filled = 0  # bytes of the chunk, half a word and those that are left out too
        self._most = CHUNK_WORDS if most_words is None else most_words
        self._chunk = min(FIRST_WORDS, self._most)

    def advance(self, consumed: int) -> bool:
        """Go on by words of this chunk, and read further. False if that was the last."""
        if self.ended:
            return False
        begin = self.offset(self.number)
        self.number += consumed
        at = self.offset(self.number)
        most = self._filled - (at - begin) + 2 * self._chunk
        window = self._feed.window(at, most, longer=True)
        self.ended = window is None or window.ended
        self._filled = 0 if window is None else window.stop
        self.words = _NO_WORDS if window is None else self._surveyed(window)
        if self._realign and window is not None and self._any_invalid():
            self._line_up(window)
        if self._filled == most:
            self._chunk = min(2 * self._chunk, self._most)
        return True

    def offset(self, word: int) -> int:
        """Return the byte of a word, by its number."""
        place = self._start + 2 * word
        return place + int(np.searchsorted(self._extra, word)) if len(self._extra) else place

    def _surveyed(self, window: Window) -> NDArray[np.uint16]:
        """Read and survey words, in parts for threads, cut at the bounds of stretches."""
        words: NDArray[np.uint16] = window.items()[: window.stop // 2 * 2].view("<u2")
        rows = self.row(len(words))
        if len(self.found) < rows:
            self.found = np.empty((rows, k.SURVEY_FIELDS), np.int64)
        parts = max(1, min(self.threads, rows))
        cuts = [rows * part // parts for part in range(parts + 1)]

        def work(part: int) -> None:
            begin, end = (2 * STRETCH_WORDS * row for row in cuts[part : part + 2])
            window.fill(begin, window.stop if part == parts - 1 else end)
            self._survey(words, cuts[part], cuts[part + 1])

        run_parts(work, parts, self.threads)
        return words

    def _survey(self, words: NDArray[np.uint16], first: int, stop: int) -> None:
        k.survey(words, first, stop, STRETCH_WORDS, *self._size, self.found)

    def _any_invalid(self) -> bool:
        return bool(self.found[: self.row(len(self.words)), k.N_INVALID].any())

    def _line_up(self, window: Window) -> None:
        """Line up the words of the chunk anew; keep those that are certain."""
        content = window.items()[: window.stop].copy()
        extra = np.empty(len(content) // 3 + 1, np.int64)
        end, count = k.realign(content, self.ended, *self._size, extra)
        sure = self._extra[self._extra < self.number]  # those of this chunk are found again
        self._extra = np.concatenate([sure, self.number + extra[:count]])
        self.words = content[:end].view("<u2")
        self._survey(self.words, 0, self.row(len(self.words)))

    @property
    def trailing_bytes(self) -> int:
        """How many bytes stand behind the last word."""
        return self._feed.left(self.offset(self.number + len(self.words)))

    def as_words(self) -> Words:
        """Return the chunk as loops take it."""
        return Words(self.words, self.number, self.ended, *self._size)

    def row(self, at: int) -> int:
        """Return the row of `found` for the stretch that begins at word `at` or next behind it."""
        return -(-at // STRETCH_WORDS)

    def at(self, row: int) -> int:
        """Return the word that a stretch begins with."""
        return min(row * STRETCH_WORDS, len(self.words))

    def close(self) -> None:
        """Let go of what is read."""
        self._feed.close()
