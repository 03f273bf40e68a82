"""Live events: events off the sensor, late events, jumps of time, and clocks that start again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Events, Size
from dvskit.formats.losses import Damage

Columns = tuple[NDArray[Any], ...]
"""t, x, y and p of events."""

_RESET_US = 10_000  # a clock that goes back further has started again; less are late events
JUMP_US = 1 << 32  # a longer step is in doubt, as in `order_kernels.out_of_step`
_CONFIRMING = 3  # datagrams in a row that make a jump sure
_NEVER = -(1 << 62)


def on_sensor(columns: Columns, size: Size, damage: Damage) -> Columns:
    """Return the events on the sensor; `damage` counts the others."""
    _, x, y, _ = columns
    if not len(x) or (
        x.max() < size.width and y.max() < size.height and min(x.min(), y.min()) >= 0
    ):
        return columns
    on = (x >= 0) & (x < size.width) & (y >= 0) & (y < size.height)
    damage.tally(int(np.count_nonzero(~on)), "event", "off the sensor left out")
    return tuple(column[on] for column in columns)


class ForwardTime:
    """Times that never run back: late events are marked, and a clock that starts again goes on.

    longest_us  a longer step on is that of a clock that has started again, too
    shift_us    is added to the sender's times
    """

    def __init__(self, damage: Damage, longest_us: int = -_NEVER) -> None:
        self._damage, self._longest_us, self._last = damage, longest_us, _NEVER
        self.shift_us = 0

    def events(self, columns: Columns, size: Size) -> Events:
        """Return events on the sensor at shifted times, without late ones. Changes the times."""
        t, x, y, p = columns
        if len(t):
            t, late = self._onward(t)
            if late is not None:
                t, x, y, p = t[~late], x[~late], y[~late], p[~late]
        return Events.from_checked(
            t, x.astype(np.int16, copy=False), y.astype(np.int16, copy=False), p, size
        )

    def _onward(self, t: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """Return shifted times, and which of them are late; None if none is. Changes `t`."""
        t += self.shift_us
        self._last = int(t[0]) if self._last == _NEVER else self._last
        in_order = t[0] >= self._last and not (t[1:] < t[:-1]).any()
        if in_order and t[-1] - self._last <= self._longest_us:
            self._last = int(t[-1])
            return t, None
        newest = self._newest(t)
        while (jumps := (newest - t > _RESET_US) | (t - newest > self._longest_us)).any():
            at = int(jumps.argmax())
            step = int(newest[at] - t[at])
            t[at:] += step
            self.shift_us += step
            self._damage.tally(1, "restart", "of the clock; times go on from the last one")
            newest = self._newest(t)
        late = t < newest
        self._damage.tally(int(np.count_nonzero(late)), "event", "that came late left out")
        self._last = max(self._last, int(t.max()))
        return t, late

    def _newest(self, t: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the latest time before each event."""
        return np.maximum.accumulate(np.concatenate([[self._last], t]))[:-1]


def _steady(t: NDArray[np.int64], clock_us: int) -> NDArray[np.bool_]:
    """Return which times go on from the clock, and from those before them."""
    far = t - clock_us > JUMP_US
    newest = np.maximum.accumulate(np.concatenate([[clock_us], np.where(far, clock_us, t)]))[:-1]
    steady: NDArray[np.bool_] = ~far & (newest - t <= _RESET_US)
    return steady


class SureTime:
    """Holds datagrams back whose time jumps over an hour on, or back, until others confirm it.

    A jump is sure once three datagrams in a row follow it. One at the time before the jump, or at a
    third time, drops those that are held, which `damage` counts.
    """

    def __init__(self, damage: Damage) -> None:
        self._damage, self._clock_us, self._held_us = damage, _NEVER, _NEVER
        self._held: list[Columns] = []

    def push(self, datagrams: list[Columns]) -> list[Columns]:
        """Take datagrams of at least one event; return the sure ones."""
        if not self._held and self._clock_us != _NEVER and datagrams:  # most of the time
            t = np.concatenate([columns[0] for columns in datagrams])
            if _steady(t, self._clock_us).all():
                self._clock_us = max(self._clock_us, int(t.max()))
                return datagrams
        sure: list[Columns] = []
        for columns in datagrams:
            t = columns[0]
            self._clock_us = int(t[0]) if self._clock_us == _NEVER else self._clock_us
            steady = _steady(t, self._clock_us)
            if goes_on := bool(steady.any()):
                self.drop()
            elif not (steady := _steady(t, self._held_us)).any():
                self.drop()
                steady = _steady(t, int(t[0]))
            self._leave_out(int(np.count_nonzero(~steady)))
            columns = tuple(column[steady] for column in columns)
            latest_us = int(columns[0].max())
            if goes_on:
                self._clock_us = max(self._clock_us, latest_us)
                sure.append(columns)
            else:
                self._held_us = max(self._held_us, latest_us)
                self._held.append(columns)
                if len(self._held) == _CONFIRMING:
                    sure += self._held
                    self._clock_us, self._held_us, self._held = self._held_us, _NEVER, []
        return sure

    def drop(self) -> None:
        """Leave out the datagrams that are held."""
        self._leave_out(sum(len(columns[0]) for columns in self._held))
        self._held_us, self._held = _NEVER, []

    def _leave_out(self, count: int) -> None:
        why = "at jumps of time that no later datagrams confirmed left out"
        self._damage.tally(count, "event", why)
