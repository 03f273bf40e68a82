"""From the words of a RAW file to blocks of events: in chunks, on several threads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.errors import DamagedFileError
from dvskit.events import Events, Size
from dvskit.formats.evt3 import _kernels as k
from dvskit.formats.recording import BLOCK_EVENTS, Damage
from dvskit.streams import Triggers

_Columns = tuple[NDArray[np.int64], NDArray[np.int16], NDArray[np.int16], NDArray[np.bool_]]

CHUNK_WORDS = 1 << 19
LANE_WORDS = 1 << 16  # the least that is worth a thread
_WRONG_GUESSES = 16  # after so many, a file is read on one thread
_LOSSES = 4096
_TRIGGERS = 1 << 16
_NEVER = -(1 << 62)
_PROBLEMS = {
    k.UNKNOWN: "EVT3 word {a:#06x} is of the unknown type {b:#x}",
    k.ROW_OFF: "EVT3 word {a:#06x} names row {b}, which the sensor does not have",
    k.COLUMN_OFF: "EVT3 word {a:#06x} names column {b}, which the sensor does not have",
    k.TIME_BACK: "time runs back from {a} to {b} us",
    k.TIME_AHEAD: "events at {a} us stand ahead of events at {b} us",
    k.HIGH_JUMP: "the high part of time jumps from {a} to {b} and back",
    k.CLOCK_RESET: "the high part of time runs back from {a} to {b} (read as a wrap of 16.8 s)",
    k.NO_ROW: "event in a row that is unknown since a damaged word",
    k.NO_BASE: "events in columns that are unknown since a damaged word",
    k.NO_CLOCK: "event at a time that is unknown since a damaged word",
}


def read_chunks(path: Path, start: int) -> Iterator[tuple[int, NDArray[np.uint16], int, int]]:
    """Yield (number of the first word, words, how many to decode, odd bytes left at the end).

    The words behind those to decode are the beginning of the next chunk.
    """
    number = 0
    rest = b""
    with path.open("rb") as file:
        file.seek(start)
        while True:
            data = file.read(CHUNK_WORDS * 2)
            ended = len(data) < CHUNK_WORDS * 2
            data = rest + data
            words = np.frombuffer(data, "<u2", len(data) // 2)
            stop = len(words) if ended else max(0, len(words) - k.LOOK_AHEAD)
            yield number, words, stop, len(data) % 2 if ended else 0
            if ended:
                return
            number += stop
            rest = data[stop * 2 :]


def _new_columns(count: int) -> _Columns:
    return (
        np.empty(count, np.int64),
        np.empty(count, np.int16),
        np.empty(count, np.int16),
        np.empty(count, np.bool_),
    )


class _Lane:
    """A decoder's state and the columns that it fills."""

    def __init__(self, room: int, state: NDArray[np.int64]) -> None:
        self.state = state
        self.columns = _new_columns(room + k.MOST_BITS)
        self.losses = np.empty((_LOSSES, 5), np.int64)
        self.hits = Triggers(
            np.empty(_TRIGGERS, np.int64),
            np.empty(_TRIGGERS, np.int16),
            np.empty(_TRIGGERS, np.bool_),
        )

    @property
    def full(self) -> bool:
        """Whether the next word may not fit."""
        return int(self.state[k.S_EVENTS]) > len(self.columns[0]) - k.MOST_BITS

    def decode(
        self, words: NDArray[np.uint16], at: int, stop: int, number: int, size: Size, strict: bool
    ) -> int:
        """Decode words[at:stop]; return where it stopped."""
        t, x, y, p = self.columns
        end: int = k.decode(
            words, at, stop, number, *size, strict, self.state,
            t, x, y, p, self.hits.t, self.hits.id, self.hits.p, self.losses,
        )  # fmt: skip
        return end

    def follows(self, ahead: _Lane, guessed: NDArray[np.int64]) -> bool:
        """Whether this lane has decoded what a single one would have behind `ahead`.

        It began in the state that `ahead` ended in, nothing is lost, and time runs on from lane to
        lane, with more than one time in this one: what is still uncertain lies in it alone.
        """
        return (
            bool((guessed[: k.S_LAST] == ahead.state[: k.S_LAST]).all())
            and not self.state[k.S_LOSSES]
            and self.state[k.S_EARLY] == ahead.state[k.S_EARLY]
            and self.state[k.S_BEFORE] != _NEVER
            and bool(self.columns[0][0] >= ahead.state[k.S_LAST])
        )


class Decoding:
    """One pass over a file: decodes chunks into blocks, and collects triggers and losses."""

    def __init__(
        self, path: Path, start: int, size: Size, *, strict: bool, damage: Damage, offset_us: int
    ) -> None:
        self.path, self.start, self.size = path, start, size
        self.strict, self.damage, self.offset_us = strict, damage, offset_us
        self.triggers: list[Triggers] = []
        self.early = 0  # event words ahead of the first time, row or column that they build on
        self._room = min(BLOCK_EVENTS, k.MOST_BITS * (path.stat().st_size // 2 + 1))
        self._lanes = thread_count()
        self._lanes_left = _WRONG_GUESSES

    def blocks(self) -> Iterator[Events]:
        """Yield the events; raise DamagedFileError at the first loss in strict mode."""
        state = np.zeros(k.STATE_FIELDS, np.int64)
        state[[k.S_LAST, k.S_BEFORE]] = _NEVER
        state[k.S_SEGMENT] = k.NO_SEGMENT
        lane = _Lane(self._room, state)
        for number, words, stop, odd in read_chunks(self.path, self.start):
            at = 0
            if self._lanes > 1 and stop >= LANE_WORDS * self._lanes and self._lanes_left:
                lanes = self._decode_lanes(lane, words, stop, number)
                for done in lanes[:-1]:
                    self._take_triggers(done)
                    yield self._events(done.columns, int(done.state[k.S_EVENTS]))
                if lanes:
                    lane, at = lanes[-1], stop
                    self._take_triggers(lane)
                    yield self._cut(lane)
            while at < stop:
                at = lane.decode(words, at, stop, number, self.size, self.strict)
                self._take_losses(lane)
                self._take_triggers(lane)
                if lane.full:
                    yield self._cut(lane)
            self.early = int(lane.state[k.S_EARLY])
            if odd:
                self._lose(
                    self.start + 2 * (number + stop), 1, "half a word stands at the end of the file"
                )
        yield self._events(lane.columns, int(lane.state[k.S_EVENTS]))

    def _decode_lanes(
        self, first: _Lane, words: NDArray[np.uint16], stop: int, number: int
    ) -> list[_Lane]:
        """Decode words[:stop] on several threads, each from the state it is likely to begin in.

        Returns the lanes in order; none, with `first` as it was, where a guess was wrong or
        anything was lost: then one thread has to do it.
        """
        bounds = [stop * part // self._lanes for part in range(self._lanes + 1)]
        kept = first.state.copy()
        lanes, guesses = [first], [kept]
        for bound in bounds[1:-1]:
            state = kept.copy()
            k.guess_state(words, bound, state)
            guesses.append(state.copy())
            state[[k.S_LAST, k.S_BEFORE]] = _NEVER
            state[k.S_SEGMENT] = k.NO_SEGMENT
            state[k.S_EVENTS] = 0
            lanes.append(_Lane(min(self._room, 3 * (stop // self._lanes + 1)), state))
        ends = [0] * len(lanes)

        def work(part: int) -> None:
            ends[part] = lanes[part].decode(
                words, bounds[part], bounds[part + 1], number, self.size, self.strict
            )

        run_parts(work, len(lanes), self._lanes)
        if (
            kept[k.S_CLOCK] == k.USABLE
            and ends == bounds[1:]
            and not first.state[k.S_LOSSES]
            and first.state[k.S_EARLY] == kept[k.S_EARLY]
            and all(lanes[i].follows(lanes[i - 1], guesses[i]) for i in range(1, len(lanes)))
        ):
            return lanes
        first.state[:] = kept
        self._lanes_left -= 1
        return []

    def _cut(self, lane: _Lane) -> Events:
        """Return the events of a lane that are certain; it keeps the others, in new columns.

        The latest time's events are not certain: the next event may show that they were ahead.
        """
        state, columns = lane.state, lane.columns
        count, certain = int(state[k.S_EVENTS]), int(state[k.S_SEGMENT])
        if certain <= 0:  # a block of one single time: what has been read of it stays
            certain, state[k.S_SEGMENT] = count, k.NO_SEGMENT
        else:
            state[k.S_SEGMENT] = 0
        lane.columns = _new_columns(self._room + k.MOST_BITS)
        for place in range(len(columns)):
            lane.columns[place][: count - certain] = columns[place][certain:count]
        state[k.S_EVENTS] = count - certain
        return self._events(columns, certain)

    def _events(self, columns: _Columns, count: int) -> Events:
        t, x, y, p = columns
        if self.offset_us:
            t[:count] += self.offset_us
        return Events.from_checked(t[:count], x[:count], y[:count], p[:count], self.size)

    def _take_losses(self, lane: _Lane) -> None:
        for word, length, why, a, b in lane.losses[: lane.state[k.S_LOSSES]].tolist():
            if why in (k.TIME_BACK, k.TIME_AHEAD):
                a, b = a + self.offset_us, b + self.offset_us
            self._lose(self.start + 2 * word, 2 * length, _PROBLEMS[why].format(a=a, b=b))
        lane.state[k.S_LOSSES] = 0

    def _lose(self, offset: int, length: int, problem: str) -> None:
        if self.strict:
            raise DamagedFileError(self.path, offset, problem)
        self.damage.add(offset, length, problem)

    def _take_triggers(self, lane: _Lane) -> None:
        count = int(lane.state[k.S_TRIGGERS])
        if count:
            hits = lane.hits
            self.triggers.append(
                Triggers(
                    hits.t[:count] + self.offset_us, hits.id[:count].copy(), hits.p[:count].copy()
                )
            )
            lane.state[k.S_TRIGGERS] = 0
