"""From the words of a RAW stream to blocks of events: sound words fast, all others with care."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DamagedFileError
from dvskit.events import Events, Size
from dvskit.formats.evt3 import sound
from dvskit.formats.evt3.careful import LostWords
from dvskit.formats.evt3.careful import _kernels as careful
from dvskit.formats.evt3.chunks import STRETCH_WORDS, WordChunks
from dvskit.formats.evt3.chunks._kernels import N_EVENTS, N_TRIGGERS, N_UNSOUND
from dvskit.formats.evt3.state import (
    NO_SEGMENT,
    S_EARLY,
    S_EVENTS,
    S_LOSSES,
    S_SEGMENT,
    S_TRIGGERS,
    new_state,
)
from dvskit.formats.recording import Damage
from dvskit.formats.storage import EventColumns, Storage, new_columns
from dvskit.streams import Triggers

BLOCK_EVENTS = 1 << 20  # about: a block holds whole stretches of words
CAREFUL_WORDS = 1 << 10  # decoded with care around what is unusual
_LOSSES = 4096


class Decoding:
    """One pass over words: decodes them into blocks, and collects triggers and losses.

    state     where it is: a row that `state.checkpoint` makes a beginning of
    triggers  the external triggers so far, where they are kept

    `name` and `start` (bytes) are for messages: whose words, and where word 0 stands.
    """

    def __init__(
        self,
        chunks: WordChunks,
        size: Size,
        *,
        name: str | PathLike[str],
        strict: bool,
        damage: Damage,
        start: int = 0,
        offset_us: int = 0,
        keep_triggers: bool = False,
        state: NDArray[np.int64] | None = None,
    ) -> None:
        self.size, self.name, self.start = size, name, start
        self.strict, self.damage, self.offset_us = strict, damage, offset_us
        self.state = new_state() if state is None else state.copy()
        self.triggers: list[Triggers] = []
        self._chunks = chunks
        self._keep_triggers = keep_triggers
        self._sound = sound.SoundDecoder(size.width, chunks.threads)
        self._losses = np.empty((_LOSSES, 5), np.int64)
        self._lost: LostWords | None = None  # it may go on
        self._held = new_columns(0)
        self._used = 0  # words of the latest chunk

    @property
    def early(self) -> int:
        """How many event words stand ahead of the first time, row or column that they build on."""
        return int(self.state[S_EARLY])

    @property
    def offset(self) -> int:
        """The byte of the first word that is not decoded yet."""
        return self.start + 2 * (self._chunks.number + self._used)

    def blocks(self, storage: Storage) -> Iterator[Events]:
        """Yield the events; raise DamagedFileError at the first loss in strict mode."""
        chunks = self._chunks
        try:
            while chunks.more(self._used):
                self._used = 0
                while self._used < len(chunks.words):
                    stop = self._piece(self._used)
                    columns, self._used = self._decode_piece(self._used, stop, storage)
                    block = self._cut(columns)
                    if block is not None:
                        yield block
                    if self._used < stop:  # what is left takes further words to judge
                        break
            self._lose(None)
            if chunks.odd_bytes:
                self._report(self.offset, 1, "half a word stands at the end of the file")
        finally:
            chunks.close()
        held = len(self._held[0])
        if held:
            columns = storage.columns(held)
            self._put_held(columns)
            yield self._events(columns, held)

    def _piece(self, start: int) -> int:
        """Return where stretches of about a block's events end."""
        chunks = self._chunks
        first, last = start // STRETCH_WORDS, chunks.row(len(chunks.words))
        events = np.cumsum(chunks.found[first:last, N_EVENTS])
        rows = max(1, int(np.searchsorted(events, BLOCK_EVENTS, "right")))
        return chunks.at(first + rows)

    def _decode_piece(self, start: int, stop: int, storage: Storage) -> tuple[EventColumns, int]:
        """Decode words[start:stop] behind the events that are held; return where it stopped."""
        rows = slice(start // STRETCH_WORDS, self._chunks.row(stop))
        found = self._chunks.found[rows].sum(axis=0)
        held = len(self._held[0])
        columns = storage.columns(held + int(found[N_EVENTS]))
        self._put_held(columns)
        self.state[S_EVENTS] = held
        hits = _room_for_triggers(int(found[N_TRIGGERS]))
        end = self._decode(start, stop, columns, hits)
        count = int(self.state[S_TRIGGERS])
        if count and self._keep_triggers:
            self.triggers.append(
                Triggers(hits.t[:count] + self.offset_us, hits.id[:count], hits.p[:count])
            )
        self.state[S_TRIGGERS] = 0
        return columns, end

    def _decode(self, start: int, stop: int, columns: EventColumns, hits: Triggers) -> int:
        chunks, at = self._chunks, start
        t, x, y, p = columns
        while at < stop:
            until = self._sound_until(at, stop) if sound.may_start(self.state) else at
            if until > at:
                at = self._sound.decode(chunks, at, until, self.state, columns, hits)
                if at == until:
                    continue
                until = min(stop, at + CAREFUL_WORDS)
            else:
                until = min(stop, chunks.at(at // STRETCH_WORDS + 1))
            end = careful.decode(
                chunks.words, at, until, chunks.ended, chunks.number, *self.size, self.strict,
                self.state, t, x, y, p, hits.t, hits.id, hits.p, self._losses,
            )  # fmt: skip
            if end == at and not self.state[S_LOSSES]:
                return at
            at = end
            self._take_losses()
        return at

    def _sound_until(self, start: int, stop: int) -> int:
        """Return where the sound stretches from `start` on end."""
        first, last = start // STRETCH_WORDS, self._chunks.row(stop)
        unsound = self._chunks.found[first:last, N_UNSOUND]
        if not unsound.any():
            return stop
        return max(start, self._chunks.at(first + int(np.argmax(unsound != 0))))

    def _cut(self, columns: EventColumns) -> Events | None:
        """Return the events that are certain; hold the others back.

        In salvage the latest time's events are not: the next event may show that they were ahead.
        """
        state = self.state
        certain = count = int(state[S_EVENTS])
        if state[S_SEGMENT] != NO_SEGMENT:
            if not self.strict:
                certain = int(state[S_SEGMENT])
                if count - certain > BLOCK_EVENTS:  # of one single time: what has been read stays
                    certain = count
            state[S_SEGMENT] = NO_SEGMENT if certain == count and not self.strict else 0
        t, x, y, p = columns
        held = slice(certain, count)
        self._held = (t[held].copy(), x[held].copy(), y[held].copy(), p[held].copy())
        return self._events(columns, certain) if certain else None

    def _put_held(self, columns: EventColumns) -> None:
        own: tuple[NDArray[Any], ...] = columns
        held: tuple[NDArray[Any], ...] = self._held
        for column, part in zip(own, held, strict=True):
            column[: len(part)] = part

    def _events(self, columns: EventColumns, count: int) -> Events:
        t, x, y, p = columns
        if self.offset_us:
            t[:count] += self.offset_us
        return Events.from_checked(t[:count], x[:count], y[:count], p[:count], self.size)

    def _take_losses(self) -> None:
        for row in self._losses[: self.state[S_LOSSES]].tolist():
            self._lose(LostWords(*row))
        self.state[S_LOSSES] = 0

    def _lose(self, lost: LostWords | None) -> None:
        """Report losses when it is known how far they go."""
        ahead = self._lost
        if ahead is not None and lost is not None and ahead.goes_on_with(lost):
            self._lost = ahead._replace(length=ahead.length + lost.length)
        else:
            if ahead is not None:
                self._report_words(ahead)
            self._lost = lost
        if self.strict and self._lost is not None:
            self._report_words(self._lost)

    def _report_words(self, lost: LostWords) -> None:
        self._report(self.start + 2 * lost.word, 2 * lost.length, lost.problem(self.offset_us))

    def _report(self, offset: int, length: int, problem: str) -> None:
        if self.strict:
            raise DamagedFileError(self.name, offset, problem)
        self.damage.add(offset, length, problem)


def _room_for_triggers(count: int) -> Triggers:
    return Triggers(np.empty(count, np.int64), np.empty(count, np.int16), np.empty(count, np.bool_))
