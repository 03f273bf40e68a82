"""Samples as they are judged: in order, without chance, and counting what is not looked at."""

from __future__ import annotations

import numpy as np

from dvskit.datasets import Batches, Cache, Encode, Samples, Share, StillBatches, Stills
from dvskit.events import Events
from dvskit.training.config import InputConfig
from dvskit.training.inputs import is_weighed, representation_of

AnyBatches = Batches | StillBatches
JUDGED_AT_ONCE = 50
"""How many samples are judged at a time."""


def judged_batches(
    samples: Samples, given: InputConfig, size: tuple[int, int], cache: Cache | None = None
) -> Batches:
    """Return batches of samples in their order, each once and without chance: epoch 0 of them.

    They give no FittedWarning; `dvskit.training.fitting.say_fitted` does, of all at once.
    """
    return Batches(
        Watched(samples.settled(), given.bins * given.bin_us),
        representation_of(given),
        size=size,
        batch_size=JUDGED_AT_ONCE,
        shuffle=False,
        weigh=is_weighed(given),
        cache=cache,
        say_fitted=False,
    )


def judged_stills(stills: Stills, encode: Encode, seed: int) -> StillBatches:
    """Return batches of still images in their order, each once: epoch 0 of them.

    What the encoder draws follows from the seed and from which images there are, in which order.
    """
    share = Share(samples=stills, count=JUDGED_AT_ONCE, encode=encode)
    return StillBatches([share], seed=seed, shuffle=False)


class Watched(Samples):
    """Samples, and how many of their events lie behind the window that is looked at."""

    def __init__(self, whole: Samples, window_us: int) -> None:
        super().__init__(whole.rows, whole.classes)
        self._whole, self._window_us = whole, window_us
        self.draws = False
        self._counts: dict[int, tuple[int, int]] = {}

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample, its own draw."""
        events = self._whole.events(number)
        if len(events):
            behind = events.between(int(events.t[0]) + self._window_us, None)
            self._counts[number] = len(events), len(behind)
        return events

    def fingerprint(self, number: int) -> str:
        """Return what tells the content of a sample from that of all others."""
        return self._whole.fingerprint(number)

    def unlooked(self) -> str:
        """Return a line on the events behind the windows of those read; "" if there are none."""
        behind = [behind for _, behind in self._counts.values()]
        if not any(behind):
            return ""
        total = sum(total for total, _ in self._counts.values())
        return (
            f"{sum(count > 0 for count in behind):,} recordings are longer than the model's window "
            f"of {self._window_us / 1000:g} ms: their first is judged, and {sum(behind):,} of "
            f"{total:,} events are not looked at"
        )
