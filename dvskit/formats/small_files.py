"""Small files of events, read one by one and decoded together: one call for a batch of samples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from dvskit.errors import DvskitError
from dvskit.events import Events
from dvskit.formats.file_bytes import read_first
from dvskit.formats.table import HEAD_BYTES, TABLE, known_by_head


def load_small(paths: Sequence[Path]) -> list[Events | None]:
    """Return the events of files that are small and valid, as `load_events` does.

    None for the others: larger or damaged ones, and formats without `decode_small`.
    """
    found: list[Events | None] = [None] * len(paths)
    contents: dict[str, dict[int, bytes]] = defaultdict(dict)
    for number, path in enumerate(paths):
        try:
            first = read_first(path, HEAD_BYTES)
            if first.state is not None:
                row = known_by_head(path, first.data[:HEAD_BYTES])
                contents[row.name][number] = first.data
        except (OSError, DvskitError):  # raised when it is opened alone
            continue
    for name, files in contents.items():
        decode = getattr(TABLE[name].openers(), "decode_small", None)
        if decode is not None:
            for number, events in zip(files, decode(list(files.values())), strict=True):
                found[number] = events
    return found
