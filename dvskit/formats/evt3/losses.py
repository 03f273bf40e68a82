"""The account of lost words: raised in strict mode, reported in order of the file in salvage."""

from __future__ import annotations

from os import PathLike

from dvskit.errors import DamagedFileError
from dvskit.formats.evt3.careful import LostWords
from dvskit.formats.evt3.chunks import WordChunks
from dvskit.formats.recording import Damage

_MOST_WAITING = 1 << 16


class LossReport:
    """Takes losses as they are found; joins and reports them in the order of their words."""

    def __init__(
        self,
        name: str | PathLike[str],
        start: int,
        chunks: WordChunks,
        *,
        strict: bool,
        damage: Damage,
        offset_us: int,
    ) -> None:
        self._name, self._start, self._chunks = name, start, chunks
        self._strict, self._damage, self._offset_us = strict, damage, offset_us
        self._waiting: list[LostWords] = []

    def add(self, lost: LostWords) -> None:
        """Take a loss. Raises DamagedFileError in strict mode."""
        if self._strict:
            self._report_words(lost)
        joined = self._waiting[-1].joined(lost) if self._waiting else None
        if joined is None:
            self._waiting.append(lost)
        else:
            self._waiting[-1] = joined
        if len(self._waiting) > _MOST_WAITING:
            self.write_all()

    def write(self, word: int) -> None:
        """Report the losses ahead of a word: no more are going to be found there."""
        if self._waiting:
            self._waiting.sort()
            ahead = [lost for lost in self._waiting if lost.word + lost.length < word]
            self._waiting = self._waiting[len(ahead) :]
            self._report_all(ahead)

    def write_all(self) -> None:
        """Report all losses."""
        self._waiting.sort()
        waiting, self._waiting = self._waiting, []
        self._report_all(waiting)

    def _report_all(self, losses: list[LostWords]) -> None:
        latest: LostWords | None = None
        for lost in losses:
            joined = None if latest is None else latest.joined(lost)
            if latest is not None and joined is None:
                self._report_words(latest)
            latest = lost if joined is None else joined
        if latest is not None:
            self._report_words(latest)

    def _report_words(self, lost: LostWords) -> None:
        first, stop = (self._chunks.offset(word) for word in (lost.word, lost.word + lost.length))
        self.report(self._start + first, stop - first, lost.problem(self._offset_us))

    def report(self, offset: int, length: int, problem: str) -> None:
        """Report a loss of bytes. Raises DamagedFileError in strict mode."""
        if self._strict:
            raise DamagedFileError(self._name, offset, problem)
        self._damage.add(offset, length, problem)
