"""Hot pixels added to a recording: some pixels that fire all the time, whatever they see."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dvskit.events import Events, Size
from dvskit.filters import Noise
from dvskit.filters.base import CallableFilter, Step
from dvskit.filters.parameters import check_number, check_seed

_STREAM = 2  # of the words that pixels are chosen by: 1 is that of dead pixels


@dataclass(frozen=True, slots=True)
class AddHotPixels(CallableFilter):
    """Let a share of the pixels, each chosen with that chance, fire at `hz` a second too, all ON.

    A Poisson process each, from the first event to the last. The step counts what it adds.
    """

    share: float
    hz: float
    seed: int = 0

    def __post_init__(self) -> None:
        check_number(self, "share", 0, 1)
        check_number(self, "hz", 0, 1e6)
        check_seed(self)

    def start(self, size: Size) -> Callable[[Events], Events]:
        """Return the step of one pass."""
        return _HotPixelsStep(self, size)


class _HotPixelsStep(Step):
    def __init__(self, chosen: AddHotPixels, size: Size) -> None:
        from dvskit.filters.chance_kernels import kept_by_chance

        super().__init__(size)
        cold = np.empty(size.width * size.height, np.bool_)
        kept_by_chance(chosen.seed, _STREAM, 0, chosen.share, cold)
        self._hot = np.flatnonzero(~cold)
        # Noise of a sensor that has as many pixels: as square as can be, for x and y are short.
        side = max(1, math.isqrt(len(self._hot)))
        self._sensor = Size(side, max(1, -(-len(self._hot) // side)))
        self._noise = Noise(chosen.hz, on_share=1.0, seed=chosen.seed).start(self._sensor)

    def __call__(self, events: Events) -> Events:
        """Return the events with those of the hot pixels up to the last of them."""
        if not len(self._hot) or not len(events):
            return events
        nowhere = np.zeros(len(events), np.int16)
        clock = Events(
            t=events.t, x=nowhere, y=nowhere, p=np.zeros(len(events), np.bool_), size=self._sensor
        )
        found = self._noise(clock)
        number = found.y.astype(np.int64) * self._sensor.width + found.x
        added = found.p & (number < len(self._hot))
        y, x = np.divmod(self._hot[number[added]], self.size.width)
        self.added += len(x)
        t = np.concatenate([found.t[added], events.t])
        order = np.argsort(t, kind="stable")
        return Events(
            t=t[order],
            x=np.concatenate([x, events.x])[order],
            y=np.concatenate([y, events.y])[order],
            p=np.concatenate([np.ones(len(x), np.bool_), events.p])[order],
            size=self.size,
        )
