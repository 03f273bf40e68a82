"""Databases in which bytes are missing or too many: where their pages stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.ros.sqlite import INTERIOR, LEAF, Database

_BORDERS = 8  # that are tried


def find_moved(database: Database, file: BinaryIO, root: int) -> str | None:
    """Find out from which page on all stand elsewhere, as bytes are missing or too many.

    The header says how many pages there are: that tells by how much. Where the pages do not
    tell from which on, the table at page `root` does. Returns what is wrong.
    """
    said = database.said_pages
    moved = database.bytes - said * database.page_bytes
    if not moved or not 1 < said <= 2 * database.pages:
        return None
    here = _likeness(database, file, 0, said)
    there = _likeness(database, file, moved, said)
    # The best border: pages in their places ahead of it, in the moved ones from it on.
    scores = np.concatenate([[0], np.cumsum(here)]) + np.concatenate(
        [np.cumsum(there[::-1])[::-1], [0]]
    )
    best = int(scores[1:].max())
    borders = (np.flatnonzero(scores[1:] == best) + 1).tolist()  # page 1 is where it is
    what = f"{abs(moved)} bytes are {'missing' if moved < 0 else 'too many'}"
    if best <= scores[said]:
        database.move(said, moved)
        return f"{what} in page {said} or behind it"
    border = min(borders[:: -(-len(borders) // _BORDERS)], key=_breaks(database, file, root, moved))
    database.move(border, moved)
    return f"{what} ahead of page {border + 1}"


def _breaks(database: Database, file: BinaryIO, root: int, moved: int) -> Callable[[int], int]:
    """Return what counts the faults of the table at `root`, were pages moved from a border."""

    def count(border: int) -> int:
        database.move(border, moved)
        faults: list[int] = []
        for leaf in database.leaves(file, root, lambda number, _: faults.append(number)):
            for _ in database.rows(
                file, database.start(leaf), lambda offset, _: faults.append(offset)
            ):
                pass
        return len(faults)

    return count


def _likeness(database: Database, file: BinaryIO, moved: int, count: int) -> NDArray[np.int64]:
    """Return for pages 1..count, were they moved, how much each is like a page: 0, 1 or 3."""
    found = np.zeros(count, np.int64)
    step = max(1, (1 << 20) // database.page_bytes)
    for first in range(0, count, step):
        start = first * database.page_bytes + moved
        skip = -(min(0, start) // database.page_bytes)  # pages ahead of the file
        if start + skip * database.page_bytes < 0:
            skip += 1
        file.seek(start + skip * database.page_bytes)
        data = file.read((min(step, count - first) - skip) * database.page_bytes)
        heads = np.frombuffer(data, np.uint8)[
            : len(data) // database.page_bytes * database.page_bytes
        ]
        heads = heads.reshape(-1, database.page_bytes)[:, :8].astype(np.int64)
        kind, cells, content = heads[:, 0], heads[:, 3] << 8 | heads[:, 4], heads[:, 5] << 8
        content |= heads[:, 6]
        tree = np.isin(kind, (0x02, INTERIOR, 0x0A, LEAF)) & (cells > 0) & (heads[:, 7] < 64)
        tree &= (content >= 8 + 2 * cells) & (content < database.page_bytes)
        following = heads[:, 0] << 24 | heads[:, 1] << 16 | heads[:, 2] << 8 | heads[:, 3]
        own = np.arange(first + skip + 1, first + skip + 1 + len(heads))
        chain = following == own + 1
        found[first + skip : first + skip + len(heads)] = np.where(tree | chain, 3, 0)
    return found
