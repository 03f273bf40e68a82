"""Recordings of the tests as Samples, and a representation that counts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from dvskit import open_events
from dvskit.datasets import Sample, Samples
from dvskit.events import Events
from dvskit.tensors import bin_events


class FileSamples(Samples):
    """Recordings in files; `reads` says how often each was read, in this process."""

    draws = False

    def __init__(self, rows: Iterable[Sample]) -> None:
        super().__init__(rows)
        self.reads = [0] * len(self.rows)

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        self.reads[number] += 1
        return open_events(self.rows[number].file).load()

    def fingerprint(self, number: int) -> str:
        return hashlib.sha256(self.rows[number].file.read_bytes()).hexdigest()


@dataclass(frozen=True)
class CountWindow:
    """Counts (bins, 2, H, W) from the first event on; what is outside is left out."""

    bins: int
    bin_us: int
    dtype: torch.dtype = torch.uint8

    def shape(self, size):
        return self.bins, 2, size[1], size[0]

    def __call__(self, events, *, start_us=None, out=None):
        counts = bin_events(
            events, bins=self.bins, bin_us=self.bin_us, start_us=start_us, outside="ignore"
        )
        assert self.dtype != torch.uint8 or counts.max() <= 255
        if out is None:
            return counts.to(self.dtype)
        np.copyto(out.numpy(), counts.numpy(), casting="unsafe")
        return out
