"""Small files of events, read one by one and decoded together: one call for a batch of samples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dvskit.errors import DvskitError
from dvskit.events import Events
from dvskit.formats.file_bytes import SMALL_BYTES, read_small
from dvskit.formats.table import HEAD_BYTES, TABLE, known_by_head


def load_small(paths: Sequence[Path]) -> list[Events | None]:
    """Return the events of files that are small and valid, as `load_events` does.

    None for the others: larger or damaged ones, and formats without `decode_small`.
    """
    found: list[Events | None] = [None] * len(paths)
    data = np.empty(len(paths) * SMALL_BYTES, np.uint8)  # pages that are not written take no memory
    room, start = data.data, 0
    spans: dict[str, dict[int, tuple[int, int]]] = defaultdict(dict)
    for number, path in enumerate(paths):
        try:
            stop = start + read_small(path, room[start : start + SMALL_BYTES])
            if stop == start:
                continue
            row = known_by_head(path, bytes(room[start : min(stop, start + HEAD_BYTES)]))
        except (OSError, DvskitError):  # raised when it is opened alone
            continue
        spans[row.name][number] = start, stop
        start = stop
    for name, files in spans.items():
        decode = getattr(TABLE[name].openers(), "decode_small", None)
        if decode is not None:
            for number, events in zip(files, decode(data, list(files.values())), strict=True):
                found[number] = events
    return found
