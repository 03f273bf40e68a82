"""Windows added up to images, on plain arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from dvskit.neurons.parts_kernels import Unaliased


@njit(cache=True, nogil=True, pipeline_class=Unaliased)
def _add(sums: Any, to: Any, terms: Any, at: Any, size: Any) -> None:
    # Offsets are unsigned: signed ones would be checked for negative values.
    for n in range(size):
        sums[to + n] += terms[at + n]


@njit(cache=True, nogil=True, error_model="numpy")
def fold(windows: Any, images: Any, rows: Any, columns: Any) -> None:
    """Fill the images (N, H, W, C) with the sums of their windows (N, P, Q, K, L, C).

    rows, columns  stride and padding of the windows; what lies on padding is left out
    """
    count, lines, places, kernel, breadth, channels = windows.shape
    height, width = images.shape[1], images.shape[2] * channels
    run, across, margin = breadth * channels, columns[0] * channels, columns[1] * channels
    terms, sums = windows.reshape(-1), images.reshape(-1)
    images[:] = 0
    for n in range(count):
        for line in range(lines):
            for place in range(places):
                left = place * across - margin
                skip, end = max(0, -left), min(run, width - left)
                window = ((n * lines + line) * places + place) * kernel
                for k in range(kernel):
                    y = line * rows[0] + k - rows[1]
                    if 0 <= y < height and skip < end:
                        to = np.uint64((n * height + y) * width + left + skip)
                        at = np.uint64((window + k) * run + skip)
                        _add(sums, to, terms, at, np.uint64(end - skip))
