"""Events shared out between the two nearest nodes in time: plain arrays in and out.

Planes, borders and indices are as in `counts_kernels`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.tensors.counts_kernels import begin_plane


@njit(cache=True, nogil=True)
def add_shares(
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    borders: NDArray[Any],
    before: int,
    flat: NDArray[Any],
    origin: int,
    step: int,
    length: int,
    held: NDArray[Any],
    clean: bool,
    width: int,
    start_us: int,
    numerator: int,
    denominator: int,
    number: int,
) -> None:
    """Add to node `number` + k what events of the intervals that end and begin there give to it.

    Interval k holds the events borders[k] <= i < borders[k + 1]; those from `before` to borders[0]
    are of the interval that ends at the first node. Each event is looked at for both its nodes, so
    that each node is written by one thread, in the order of time.
    """
    for k in range(len(borders) - 1):
        earlier = before if k == 0 else borders[k - 1]
        start, stop = borders[k], borders[k + 1]
        plane = flat[origin + k * step : origin + k * step + length]
        begin_plane(plane, held[k], stop - earlier, clean)
        held[k] += stop - earlier
        node = number + k
        _add_part(
            t[earlier:start], x[earlier:start], y[earlier:start], p[earlier:start], plane, width,
            start_us, numerator, (node - 1) * denominator, denominator, True,
        )  # fmt: skip
        _add_part(
            t[start:stop], x[start:stop], y[start:stop], p[start:stop], plane, width,
            start_us, numerator, node * denominator, denominator, False,
        )  # fmt: skip


@njit(cache=True, nogil=True)
def _add_part(
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    plane: NDArray[Any],
    width: int,
    start_us: int,
    numerator: int,
    offset: int,
    denominator: int,
    rising: bool,
) -> None:
    """Add the share of each event: how far it is into its interval, or how far from its end."""
    row = np.uintp(width)
    scale = 1.0 / denominator
    for i in range(len(t)):
        into = (t[i] - start_us) * numerator - offset
        share = np.float32((into if rising else denominator - into) * scale)
        at = np.uintp(y[i]) * row + np.uintp(x[i])
        plane[at] += share if p[i] else -share
