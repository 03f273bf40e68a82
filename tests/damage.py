"""Damage for tests of formats: bytes cut and overwritten by chance, and how they may be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import dvskit
from dvskit import Events
from dvskit.errors import DvskitError
from dvskit.events import read_all


def assert_only_our_errors(path: Path, content: bytes, seed: int, most: int, extra=()) -> None:
    """Read content with 1 to `most` wrong bytes (often of `extra`), and in a third a missing end.

    What is not refused is valid, and no damage passes in strict mode.
    """
    rng = np.random.default_rng(seed)
    damaged = bytearray(content)
    if seed % 3 == 0:
        del damaged[int(rng.integers(1, len(damaged))) :]
    for place in rng.integers(0, len(damaged), 1 + seed % most).tolist():
        damaged[place] = int(rng.choice([int(rng.integers(256)), *extra]))
    path.write_bytes(damaged)
    for strict in (True, False):
        try:
            recording = dvskit.open_events(path, strict=strict)
            events = read_all(recording)
            recording.load(), recording.triggers(), recording.labels(), recording.other_streams()
        except DvskitError:
            continue
        Events(t=events.t, x=events.x, y=events.y, p=events.p, size=events.size)
        assert not (strict and recording.damage)
