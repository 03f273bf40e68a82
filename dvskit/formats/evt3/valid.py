"""Decoding of EVT 3.0 words that are valid, on several threads."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts
from dvskit.formats.evt3 import layout as w
from dvskit.formats.evt3 import valid_kernels as k
from dvskit.formats.evt3.chunks import WordChunks
from dvskit.formats.evt3.survey_kernels import N_EVENTS, N_TRIGGERS, N_VECTORS
from dvskit.formats.storage import EventColumns, TriggerColumns

LEAST_WORDS = 1 << 15  # that are worth a thread


def may_start(state: NDArray[np.int64]) -> bool:
    """Whether valid words alone follow from this state: its clock and row are known."""
    return bool(state[w.S_CLOCK] == w.USABLE and state[w.S_ROW] == w.USABLE)


class ValidDecoder:
    """Decodes valid words; `state` is that of the whole decoding, which it moves on."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._records: list[NDArray[np.uint64]] = []

    def decode(
        self,
        chunk: WordChunks,
        start: int,
        stop: int,
        state: NDArray[np.int64],
        columns: EventColumns,
        triggers: TriggerColumns,
    ) -> int:
        """Decode words[start:stop] of a chunk behind what is in the columns.

        Returns the first word that was not decoded: one that takes care to judge, or `stop`.
        """
        cuts = self._bounds(chunk, start, stop)
        lanes = len(cuts) - 1
        states = [state.copy()]
        guesses = [states[0]]
        for at, to in pairwise(cuts[:-1]):
            guess = guesses[-1].copy()
            found = chunk.found[chunk.row(at) : chunk.row(to)].sum(axis=0)
            k.guess_state(chunk.words, at, to, bool(found[N_VECTORS]), guess)
            guess[w.S_LAST] = w.NEVER
            guess[w.S_EVENTS] += found[N_EVENTS]
            guess[w.S_TRIGGERS] += found[N_TRIGGERS]
            guesses.append(guess)
            states.append(guess.copy())
        while len(self._records) < lanes:
            self._records.append(np.empty(k.RECORDS, np.uint64))
        ends, words = [0] * lanes, chunk.as_words()

        def work(lane: int) -> None:
            ends[lane] = k.decode(
                words, cuts[lane], cuts[lane + 1], states[lane], self._records[lane],
                columns, triggers,
            )  # fmt: skip

        run_parts(work, lanes, self._threads)
        end = 0
        last = int(states[0][w.S_LAST])
        while end + 1 < lanes and ends[end] == cuts[end + 1]:
            # The next lane counts where it began in the state that this one ended in.
            if not _follows(states[end], guesses[end + 1], states[end + 1], last, columns[0]):
                break
            end += 1
            last = max(last, int(states[end][w.S_LAST]))
        state[:] = states[end]
        state[w.S_LAST] = last
        return ends[end]

    def _bounds(self, chunk: WordChunks, start: int, stop: int) -> list[int]:
        """Cut start..stop into lanes, at the bounds of stretches."""
        first, last = chunk.row(start), chunk.row(stop)
        lanes = min(self._threads, (stop - start) // LEAST_WORDS, last - first)
        if lanes < 2 or chunk.at(first) != start:
            return [start, stop]
        inner = [chunk.at(first + (last - first) * lane // lanes) for lane in range(1, lanes)]
        return [start, *inner, stop]


def _follows(
    ahead: NDArray[np.int64],
    guess: NDArray[np.int64],
    behind: NDArray[np.int64],
    last: int,
    t: NDArray[np.int64],
) -> bool:
    """Whether a lane that began with `guess` goes on from the state `ahead`, and time with it."""
    event = int(guess[w.S_EVENTS])
    return (
        bool((guess[: w.S_LAST] == ahead[: w.S_LAST]).all())
        and event == ahead[w.S_EVENTS]
        and guess[w.S_TRIGGERS] == ahead[w.S_TRIGGERS]
        and (behind[w.S_EVENTS] == event or int(t[event]) >= last)
    )
