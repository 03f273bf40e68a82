"""Events left out at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dvskit._threads import run_parts
from dvskit.events import Events, Size
from dvskit.filters.base import CallableFilter, Step
from dvskit.filters.parameters import check_number, check_seed
from dvskit.filters.selecting import parts_of, select


@dataclass(frozen=True, slots=True)
class DropEvents(CallableFilter):
    """Leave out each event with the chance `share`, drawn for its number in the stream."""

    share: float
    seed: int = 0

    def __post_init__(self) -> None:
        check_number(self, "share", 0, 1)
        check_seed(self)

    def start(self, size: Size) -> DropEventsStep:
        """Return the step of one pass."""
        return DropEventsStep(self, size)


class DropEventsStep(Step):
    """A pass of a `DropEvents`."""

    def __init__(self, chosen: DropEvents, size: Size) -> None:
        super().__init__(size)
        self._chosen = chosen
        self._seen = 0

    def __call__(self, events: Events) -> Events:
        """Return the events that are left."""
        from dvskit.filters.chance_kernels import kept_by_chance

        keep = np.empty(len(events), np.bool_)
        parts = parts_of(len(events))
        seed, share = self._chosen.seed, float(self._chosen.share)

        def work(part: int) -> None:
            start, stop = parts[part]
            kept_by_chance(seed, 0, self._seen + start, share, keep[start:stop])

        run_parts(work, len(parts))
        self._seen += len(events)
        kept = select(events, keep)
        self.dropped += len(events) - len(kept)
        return kept
