"""Times stretched and moved: plain arrays in and out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def stretch(
    t: NDArray[Any], origin_us: int, factor: float, shift_us: int, new: NDArray[Any]
) -> None:
    """Fill `new` with origin + factor (t - origin) + shift, rounded; a half goes up."""
    if factor == 1.0:
        for i in range(len(t)):
            new[i] = t[i] + shift_us
        return
    for i in range(len(t)):
        new[i] = origin_us + shift_us + np.int64(np.floor((t[i] - origin_us) * factor + 0.5))
