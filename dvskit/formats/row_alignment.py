"""Find where rows of equal length go on behind bytes that are missing or too many."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.losses import Lose

# Of (n, width) bytes: the times, and which rows may be events.
Judge = Callable[[NDArray[np.uint8]], tuple[NDArray[np.int64], NDArray[np.bool_]]]

WINDOW = 1 << 14  # rows to look at at once
_WHOLE_RUN = 64
_RUN = 8  # rows in a row that may be events, in order of time, show that they line up
_NEAR = 16  # rows behind a bad one within which such a run begins where nothing is out of line
_MANY, _AMONG = 3, 128  # so many bad rows among so many look out of line too
_FOLLOWING = 1024  # rows behind a jump of time, one of which is bad where they are out of line
_BEHIND = 4  # rows that may pass for events although they are out of line
_LONGEST_STEP_US = 1 << 20
_INVALID = 1 << 60
_LEAST_SEARCH, _MOST_SEARCH = 64, 4096  # rows
_PATIENCE = 1000  # searches that find rows in line: a file that is only out of order has no end


class RowAlignment:
    """The rows of a file from byte `start` on, lined up anew where they do not make sense."""

    def __init__(self, data: NDArray[np.uint8], start: int, width: int, judge: Judge) -> None:
        self._data, self._start, self._width, self._judge = data, start, width, judge
        self._patience = _PATIENCE
        self._sought, self._found = 0, -1

    def parts(self, lose: Lose) -> Iterator[tuple[int, int]]:
        """Yield (byte offset, rows) in order, at most WINDOW rows each.

        Bytes left out between, and a cut row at the end, are told to `lose`: offset, length, why.
        """
        at, width = self._start, self._width
        last: int | None = None
        while len(self._data) - at >= width:
            rows = min(WINDOW, (len(self._data) - at) // width)
            bad, newest = self._out_of_line(at, rows, last)
            if bad is None:
                found, bad = self._from_the_end(at, rows), rows
            else:
                found = self._next_valid(at + max(0, bad - _BEHIND) * width, at)
            if found is None:
                yield at, rows
                at, last = at + rows * width, newest
            elif self._in_line(found, at):
                self._patience -= 1
                yield from _pieces(at, (found - at) // width, width)
                at, last = found, None
            else:
                found = self._back_to(found, at)
                kept = min(bad, (found - at) // width)
                yield from _pieces(at, kept, width)
                at += kept * width
                lose(at, found - at, "rows do not line up: bytes are missing or too many")
                at, last = found, None
        if at < len(self._data):
            left = len(self._data) - at
            lose(at, left, f"the last event has {left} of {width} bytes")

    def _rows(self, at: int, most: int) -> NDArray[np.uint8]:
        count = max(0, min(most, (len(self._data) - at) // self._width))
        return np.asarray(self._data[at : at + count * self._width]).reshape(count, self._width)

    def _valid(
        self, t: NDArray[np.int64], possible: NDArray[np.bool_], *, short: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows where a run begins, and how much time each run takes.

        Where fewer rows are left, all of them make a run if `short`.
        """
        steps = t[1:] - t[:-1]
        good = possible[1:] & possible[:-1] & (steps >= 0) & (steps <= _LONGEST_STEP_US)
        passed = np.concatenate([[0], np.cumsum(good)])
        need = min(_RUN - 1, len(good)) if short else _RUN - 1
        if need < 1 or len(good) < need:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        first = np.flatnonzero(passed[need:] - passed[:-need] == need)
        return first, t[first + need] - t[first]

    def _out_of_line(self, at: int, rows: int, last: int | None) -> tuple[int | None, int | None]:
        """Return the first bad row with no valid run near behind, and the last row's time."""
        t, possible = self._judge(self._rows(at, rows + _NEAR + _RUN))
        before = np.concatenate([t[:1] if last is None else np.array([last]), t[:-1]])
        bad = np.flatnonzero((~possible | (t < before))[:rows])
        if bad.size and self._patience > 0:
            valid = np.append(self._valid(t, possible, short=True)[0], np.iinfo(np.int64).max)
            far = valid[np.searchsorted(valid, bad)] - bad > _NEAR
            far[: -_MANY + 1] |= bad[_MANY - 1 :] - bad[: -_MANY + 1] < _AMONG
            jumps = np.flatnonzero((t - before > _LONGEST_STEP_US)[:rows])
            jumps = jumps[valid[np.searchsorted(valid, jumps)] - jumps > _NEAR]
            following = np.append(bad, np.iinfo(np.int64).max)[np.searchsorted(bad, jumps)]
            lost = [*bad[far][:1].tolist(), *jumps[following - jumps < _FOLLOWING][:1].tolist()]
            if lost:
                return min(lost), None
        return None, int(t[rows - 1])

    def _next_valid(self, start: int, line: int) -> int:
        """Return where rows go on from byte `start` on, at any byte.

        Of runs that begin close to each other, that which takes the least time is right: bytes of
        the time that are read out of line make it run many times as fast. Where there is none, the
        place behind the last row in line with `line`.
        """
        if self._sought <= start <= self._found and self._in_line(self._found, line):
            return self._found
        at, span, width = start, _LEAST_SEARCH, self._width
        self._sought = start
        self._found = line + (len(self._data) - line) // width * width
        while at < len(self._data):
            runs = {}
            for shift in range(width):
                t, possible = self._judge(self._rows(at + shift, span + _RUN))
                first, _ = self._valid(t, possible, short=self._in_line(at + shift, line))
                if first.size:
                    runs[shift] = at + shift + int(first[0]) * width
            if runs:
                near = min(runs.values()) + _BEHIND * width
                self._found = min(
                    (self._unrest(place), not self._in_line(place, line), place)
                    for place in runs.values()
                    if place <= near
                )[2]
                break
            at += span * width
            span = min(4 * span, _MOST_SEARCH)
        return self._found

    def _from_the_end(self, at: int, rows: int) -> int | None:
        """Return a place in line with the end of the file, if rows go on from there and not here.

        None where the file does not end within this window, or in line with it.
        """
        end = len(self._data)
        if end - at >= (rows + 1) * self._width or self._in_line(end, at) or rows <= _RUN:
            return None
        place = end - _RUN * self._width
        here = place - (place - at) % self._width
        spans = []
        for start in (place, here):
            first, taken = self._valid(*self._judge(self._rows(start, _RUN)), short=False)
            spans.append(int(taken[0]) if first.size else _INVALID)
        return place if spans[0] < _INVALID and 4 * spans[0] < spans[1] else None

    def _unrest(self, place: int) -> int:
        """Return how much the time moves on the rows from a place on, either way."""
        t, possible = self._judge(self._rows(place, _WHOLE_RUN))
        steps = np.where(possible[1:], np.abs(t[1:] - t[:-1]), _LONGEST_STEP_US)
        return int(np.minimum(steps, _LONGEST_STEP_US).sum())

    def _back_to(self, found: int, line: int) -> int:
        """Return the first place, in line with `found`, from which on its rows are the right ones.

        Rows in line with `line` may have passed for events: where time runs faster on them, or
        back, they are not.
        """
        width = self._width
        start = line + (found - line) % width
        rows = (found - start) // width
        spans = []
        for place in (start, line):
            t, possible = self._judge(self._rows(place, rows + _RUN))
            first, taken = self._valid(t, possible, short=False)
            span = np.full(rows, _INVALID)
            span[first[first < rows]] = taken[first < rows]
            spans.append(span)
        right = (spans[0] < _INVALID) & (4 * spans[0] < spans[1])
        wrong = np.flatnonzero(~right)
        return start + (int(wrong[-1]) + 1 if wrong.size else 0) * width

    def _in_line(self, place: int, line: int) -> bool:
        return (place - line) % self._width == 0


def _pieces(at: int, rows: int, width: int) -> Iterator[tuple[int, int]]:
    for first in range(0, rows, WINDOW):
        yield at + first * width, min(WINDOW, rows - first)
