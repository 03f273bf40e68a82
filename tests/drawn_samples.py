"""Samples of the tests that stand in no file."""

from __future__ import annotations

import numpy as np

from dvskit.datasets import Sample, Samples
from dvskit.events import Events


def events_of(seed, count: int, size: tuple[int, int] = (8, 6)) -> Events:
    rng = np.random.default_rng(seed)
    return Events(
        t=1000 + np.cumsum(rng.integers(0, 20, count)),
        x=rng.integers(0, size[0], count),
        y=rng.integers(0, size[1], count),
        p=rng.integers(0, 2, count).astype(bool),
        size=size,
    )


class DrawnSamples(Samples):
    """Samples by their number; with `draws`, a generator changes them. `reads` counts."""

    def __init__(self, total, *, draws=True, classes=3, size=(8, 6), broken=(), events=200):
        rows = [Sample(f"s{k}", "abc"[min(k % 7, classes - 1)]) for k in range(total)]
        super().__init__(rows)
        self.draws, self.size, self.broken, self.count = draws, size, broken, events
        self.reads = [0] * total

    def events(self, number, rng=None):
        self.reads[number] += 1
        if number in self.broken:
            raise ValueError("a sample that cannot be read")
        seed = number if rng is None or not self.draws else int(rng.integers(1 << 40))
        return events_of(seed, self.count, self.size)

    def fingerprint(self, number):
        return f"drawn {number} {self.size} {self.count}"
