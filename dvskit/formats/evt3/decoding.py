"""From the words of a RAW stream to blocks of events: valid words fast, all others with care."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Events, Size
from dvskit.formats.evt3 import careful_kernels as careful
from dvskit.formats.evt3 import layout as w
from dvskit.formats.evt3 import valid
from dvskit.formats.evt3.chunks import STRETCH_WORDS, WordChunks
from dvskit.formats.evt3.losses import (
    GROUP,
    LossReport,
    LostWords,
    StrictOrder,
    TimeOrder,
    lost_events,
)
from dvskit.formats.evt3.survey_kernels import N_EVENTS, N_INVALID, N_TRIGGERS, count_others
from dvskit.formats.evt3.valid_kernels import note_places
from dvskit.formats.losses import Losses
from dvskit.formats.raw_recording import WordPass
from dvskit.formats.storage import EventColumns, Storage, TriggerColumns, new_columns, new_triggers

BLOCK_EVENTS = 1 << 20  # about: a block holds whole stretches of words
CAREFUL_WORDS = 1 << 10  # decoded with care at the beginning, so that others need not be
_LOSSES = 4096


class Decoding(WordPass):
    """One pass over words: decodes them into blocks, and collects triggers and losses.

    state     where it is: a row that `state.checkpoint` makes a beginning of
    triggers  the external triggers so far, where they are kept

    In salvage, the latest events wait for those that show which of them stand out of order, but not
    if `low_latency`.
    """

    def __init__(
        self,
        chunks: WordChunks,
        size: Size,
        losses: Losses,
        *,
        offset_us: int = 0,
        low_latency: bool = False,
        keep_triggers: bool = False,
        state: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__(size, losses, offset_us)
        self.state = w.new_state() if state is None else state.copy()
        self._chunks = chunks
        self._used = 0  # words of the latest chunk
        self._low_latency, self._keep_triggers = low_latency, keep_triggers
        self._valid = valid.ValidDecoder(chunks.threads)
        self._losses = np.empty((_LOSSES, 5), np.int64)
        self._loss_report = LossReport(losses, chunks, offset_us)
        self._order = TimeOrder()
        self._strict_order = StrictOrder(int(self.state[w.S_LAST]))
        self._held = new_columns(0)
        self._held_words = np.empty(0, np.int64)  # the numbers of their words

    @property
    def early(self) -> int:
        """How many event words stand ahead of the first time, row or column that they build on."""
        return int(self.state[w.S_EARLY])

    @property
    def offset(self) -> int:
        """The byte of the first word that is not decoded yet."""
        return self._chunks.offset(self._chunks.number + self._used)

    def blocks(self, storage: Storage) -> Iterator[Events]:
        """Yield the events; raise DamagedFileError at the first loss in strict mode."""
        chunks = self._chunks
        try:
            while chunks.advance(self._used):
                self._used = 0
                while self._used < len(chunks.words):
                    stop = self._piece(self._used)
                    block = self._decode_piece(self._used, stop, storage)
                    if block is not None:
                        yield block
                    if self._used < stop:  # what is left takes further words to judge
                        break
                self.others += count_others(chunks.words[: self._used])
        finally:
            chunks.close()
        held = len(self._held[0])
        if held:
            columns = storage.columns(held)
            self._put_held(columns)
            block = self._cut(columns, held, self._held_words, held, ended=True)
            if block is not None:
                yield block
        self._loss_report.write_all()
        if chunks.trailing_bytes:
            self.losses.lose(self.offset, chunks.trailing_bytes, "half a word stands at the end")

    def _piece(self, start: int) -> int:
        """Return where stretches of about a block's events end."""
        chunks = self._chunks
        first, last = start // STRETCH_WORDS, chunks.row(len(chunks.words))
        events = np.cumsum(chunks.found[first:last, N_EVENTS])
        rows = max(1, int(np.searchsorted(events, BLOCK_EVENTS, "right")))
        return chunks.at(first + rows)

    def _decode_piece(self, start: int, stop: int, storage: Storage) -> Events | None:
        """Decode words[start:stop] behind the events that are held; return what is certain."""
        rows = slice(start // STRETCH_WORDS, self._chunks.row(stop))
        found = self._chunks.found[rows].sum(axis=0)
        held = len(self._held[0])
        columns = storage.columns(held + int(found[N_EVENTS]))
        self._put_held(columns)
        state = self.state
        state[w.S_EVENTS] = held
        triggers = new_triggers(int(found[N_TRIGGERS]))
        self._used, words, unsure = self._decode(start, stop, columns, triggers)
        seen, count = int(state[w.S_TRIGGERS]), int(state[w.S_EVENTS])
        if self._keep_triggers:
            self._keep(triggers.part(slice(0, seen)))
        state[w.S_TRIGGERS] = 0
        if not self.losses.strict:
            return self._cut(columns, count, words, unsure, ended=self._low_latency)
        self._strict_order.go_on(columns.t[:count], words)
        return self._events(columns.part(slice(0, count))) if count else None

    def _decode(
        self, start: int, stop: int, columns: EventColumns, triggers: TriggerColumns
    ) -> tuple[int, NDArray[np.int64], int]:
        """Decode all words fast, or all with care. Raises DamagedFileError in strict mode.

        Returns where it stopped, the numbers of the words of the events (of the latest ones, where
        all are valid), and how many events there are whose order is not known.
        """
        chunks, state = self._chunks, self.state
        held = int(state[w.S_EVENTS])
        words = np.empty(len(columns.t), np.int64)
        words[:held] = self._held_words
        at = start
        if self.losses.strict and not valid.may_start(state):
            until = min(start + CAREFUL_WORDS, stop)
            at = self._decode_with_care(start, until, columns, triggers, words)
        first, kept = int(state[w.S_EVENTS]), state.copy()
        if self._is_valid(at, stop):
            end = self._valid.decode(chunks, at, stop, state, columns, triggers)
            if end == stop:
                t = columns.t[first : state[w.S_EVENTS]]
                late = np.empty(self._late(t), np.int64)
                note_places(chunks.as_words(), end, late)
                return end, np.concatenate([words[:first], late]), held
            state[:] = kept
        at = self._decode_with_care(at, stop, columns, triggers, words)
        count = int(state[w.S_EVENTS])
        return at, words[:count], count

    def _decode_with_care(
        self,
        start: int,
        stop: int,
        columns: EventColumns,
        triggers: TriggerColumns,
        words: NDArray[np.int64],
    ) -> int:
        """Decode up to `stop`; return where it takes further words to judge, if ahead of it."""
        at = start
        while at < stop:
            end: int = careful.decode(
                self._chunks.as_words(), at, stop, self.state, columns, triggers, self._losses,
                words,
            )  # fmt: skip
            count = int(self.state[w.S_EVENTS])
            self._take_losses(columns.t[:count], words[:count])
            if end == at:
                break
            at = end
        return at

    def _late(self, t: NDArray[np.int64]) -> int:
        """Return of how many of the latest events the words may be asked for."""
        if self.losses.strict:
            return len(t) - int(np.searchsorted(t, t[-1])) if len(t) else 0
        return min(2 * GROUP, len(t))

    def _take_losses(self, t: NDArray[np.int64], words: NDArray[np.int64]) -> None:
        """Report what was lost, of events too. Raises DamagedFileError in strict mode."""
        losses = [LostWords(*row) for row in self._losses[: self.state[w.S_LOSSES]].tolist()]
        self.state[w.S_LOSSES] = 0
        if self.losses.strict:
            if losses:
                ahead = int(np.searchsorted(words, losses[0].word, "right"))
                t, words = t[:ahead], words[:ahead]
            back = self._strict_order.find_back(t, words)
            losses = losses if back is None else [back]
        for lost in losses:
            self._loss_report.add(lost)

    def _is_valid(self, start: int, stop: int) -> bool:
        """Tell whether stretches hold valid words alone, and what is ahead lets them be decoded."""
        rows = slice(start // STRETCH_WORDS, self._chunks.row(stop))
        return valid.may_start(self.state) and not self._chunks.found[rows, N_INVALID].any()

    def _cut(
        self,
        columns: EventColumns,
        count: int,
        words: NDArray[np.int64],
        unsure: int,
        *,
        ended: bool,
    ) -> Events | None:
        """Return the events to keep among those that are certain; hold back those that are not.

        `words` are the numbers of the words of the latest events: of all, where any is given up.
        """
        t = columns.t
        certain, keep = self._order.choose(t[:count], unsure, ended=ended)
        if keep is None:
            kept = certain
        else:
            if len(words) < count:
                words = self._words_of_all(count)
            for lost in lost_events(t[:certain][~keep], words[:certain][~keep]):
                self._loss_report.add(lost)
        self._held = columns.part(slice(certain, count)).copy()
        self._held_words = words[len(words) - (count - certain) :].copy()
        if keep is not None:
            kept = int(np.count_nonzero(keep))
            columns.part(slice(0, kept)).fill(columns.part(slice(0, certain)).part(keep))
        if count > certain:
            self._loss_report.write(int(self._held_words[0]))
        else:
            self._loss_report.write(self._chunks.number)
        return self._events(columns.part(slice(0, kept))) if kept else None

    def _words_of_all(self, count: int) -> NDArray[np.int64]:
        """Return the numbers of the words of all events, those behind the held ones being valid."""
        rest = np.empty(count - len(self._held_words), np.int64)
        note_places(self._chunks.as_words(), self._used, rest)
        return np.concatenate([self._held_words, rest])

    def _put_held(self, columns: EventColumns) -> None:
        columns.part(slice(0, len(self._held.t))).fill(self._held)
