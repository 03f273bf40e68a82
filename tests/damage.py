"""Damage for tests of formats: bytes cut and overwritten by chance, and how they may be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import dvskit
from dvskit import Events
from dvskit.errors import DamagedFileError, DvskitError
from dvskit.events.sources import read_all


def damaged(content: bytes, seed: int, most: int, extra: Sequence[int] = ()) -> bytes:
    """Return content with 1 to `most` wrong bytes (often of `extra`), a third without its end.

    In a fifth they are among the first 128, where headers stand.
    """
    rng = np.random.default_rng(seed)
    made = bytearray(content)
    if seed % 3 == 0:
        del made[int(rng.integers(1, len(made))) :]
    within = min(len(made), 128) if seed % 5 == 4 else len(made)
    for place in rng.integers(0, within, 1 + seed % most).tolist():
        made[place] = int(rng.choice([int(rng.integers(256)), *extra]))
    return bytes(made)


def flipped(content: bytes, seed: int, count: int, first: int = 200) -> bytes:
    """Return content with `count` flipped bits behind its first bytes."""
    rng = np.random.default_rng(seed)
    made = bytearray(content)
    for place in rng.integers(first, len(made), count).tolist():
        made[place] ^= 1 << int(rng.integers(0, 8))
    return bytes(made)


def kept_share(whole: Events, part: Events) -> float:
    """Return the share of the events of `whole` that are in `part` too."""
    names = [("t", "i8"), ("x", "i2"), ("y", "i2"), ("p", "?")]
    rows = [np.empty(len(events), names) for events in (whole, part)]
    for row, events in zip(rows, (whole, part), strict=True):
        for name, _ in names:
            row[name] = getattr(events, name)
    return float(np.isin(rows[0].view("V13"), rows[1].view("V13")).mean())


def assert_only_our_errors(
    path: Path,
    content: bytes,
    seed: int,
    most: int,
    extra: Sequence[int] = (),
    format: str | None = None,
) -> None:
    """Read content that is `damaged`.

    What is not refused is valid, and no damage passes in strict mode: what it reads, salvage reads
    alike and without a loss; and salvage loses something where strict mode refuses an event.
    """
    path.write_bytes(damaged(content, seed, most, extra))
    read: Events | None = None
    refused = False
    for strict in (True, False):
        events: Events | None = None
        try:
            recording = dvskit.open_events(path, format=format, strict=strict)
            events = read_all(recording)
            recording.load(), recording.triggers(), recording.labels(), recording.other_streams()
            imu, frames = recording.imu(), list(recording.frames())
        except DvskitError as error:
            refused = strict and events is None and isinstance(error, DamagedFileError)
            continue
        Events(t=events.t, x=events.x, y=events.y, p=events.p, size=events.sensor_size)
        assert (np.diff(imu.t) >= 0).all()
        assert all(frame.image.size for frame in frames)
        if strict:
            assert not recording.damage
            read = events
        else:
            assert read is None or (events == read and not recording.damage)
            assert recording.damage or not refused
