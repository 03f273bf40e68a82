"""Salvage: as few events as possible are given up for time to run forward."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.evt3.careful import LostWords
from dvskit.formats.evt3.careful_kernels import OUT_OF_ORDER
from dvskit.formats.evt3.state import NEVER
from dvskit.formats.order_kernels import longest_in_order

GROUP = 1 << 12  # events that are judged together, by themselves and as many that follow


class TimeOrder:
    """Chooses the events to keep, group by group; so it does not matter how a stream is cut."""

    def __init__(self) -> None:
        self._floor = NEVER

    def choose(
        self, t: NDArray[np.int64], unsure: int, *, ended: bool
    ) -> tuple[int, NDArray[np.bool_] | None]:
        """Return how many events are certain, and which of them to keep: all, where None.

        Times from place `unsure` on are known to be in order. Where no more follow (`ended`), all
        are certain; else the others have to come again, with what follows.
        """
        certain = len(t) if ended else max(0, len(t) // GROUP - 1) * GROUP
        if not certain:
            return 0, None
        if self._goes_on(t[: unsure + 1]):
            self._floor = int(t[certain - 1])
            return certain, None
        keep = np.ones(certain, np.bool_)
        for first in range(0, certain, GROUP):
            window = t[first : first + 2 * GROUP]
            part = keep[first : first + GROUP]
            if not self._goes_on(window):
                part[:] = longest_in_order(window, self._floor)[: len(part)]
            kept = window[: len(part)][part]
            if len(kept):
                self._floor = int(kept[-1])
        return certain, keep

    def _goes_on(self, t: NDArray[np.int64]) -> bool:
        return not len(t) or bool(t[0] >= self._floor and not (t[1:] < t[:-1]).any())


def lost_events(t: NDArray[np.int64], words: NDArray[np.int64]) -> Iterator[LostWords]:
    """Tell events that are given up, by the numbers of their words, as stretches of words."""
    if len(words):
        edges = np.flatnonzero(np.diff(words) > 1) + 1
        for first, stop in zip([0, *edges], [*edges, len(words)], strict=True):
            length = int(words[stop - 1] - words[first]) + 1
            yield LostWords(
                int(words[first]), length, OUT_OF_ORDER, int(t[first]), int(t[stop - 1])
            )
