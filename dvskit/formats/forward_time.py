"""The times of live events: late ones are marked, and a clock that starts again goes on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.losses import Damage

_RESET_US = 10_000  # a clock that goes back further has started again; less are late events
_NEVER = -(1 << 62)


class ForwardTime:
    """Times that never run back: late events are marked, and a clock that starts again goes on.

    shift_us  is added to the sender's times
    """

    def __init__(self, damage: Damage) -> None:
        self._damage, self._last = damage, _NEVER
        self.shift_us = 0

    def onward(self, t: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """Return shifted times, and which of them are late; None if none is. Changes `t`."""
        t += self.shift_us
        if t[0] >= self._last and not (t[1:] < t[:-1]).any():
            self._last = int(t[-1])
            return t, None
        newest = self._newest(t)
        while (back := newest - t > _RESET_US).any():
            at = int(back.argmax())
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
