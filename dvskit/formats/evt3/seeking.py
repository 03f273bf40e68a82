"""Where to begin in an EVT 3.0 file: checkpoints, since its words build on each other."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DamagedFileError
from dvskit.events import Size
from dvskit.formats.evt3.chunks import FileChunks
from dvskit.formats.evt3.decoding import Decoding
from dvskit.formats.evt3.state import S_LAST, STATE_FIELDS, checkpoint, new_state
from dvskit.formats.index_cache import NEVER, Index, find_index
from dvskit.formats.recording import Damage
from dvskit.formats.storage import ReusedStorage

CHECKPOINT_WORDS = 1 << 18
LEAST_BYTES = 1 << 22  # that are worth an index


class Checkpoint(NamedTuple):
    """A byte that decoding can begin at, with the state to begin in."""

    offset: int
    state: NDArray[np.int64]


def find_checkpoint(path: Path, start: int, size: Size, start_us: int) -> Checkpoint | None:
    """Return the latest checkpoint ahead of all events with t >= start_us, in the file's own time.

    None where reading has to begin at the start: in a short file, and in one that is damaged.
    """
    length = path.stat().st_size
    if length - start < LEAST_BYTES:
        return None
    index = find_index(path, f"evt3 {STATE_FIELDS} {size}", lambda: _build(path, start, size))
    row = index.at(start_us)
    offset = int(index.offset[row])
    if row == 0 or index.state.shape[1] != STATE_FIELDS or not start <= offset <= length:
        return None
    return Checkpoint(offset, checkpoint(index.state[row]))


def _build(path: Path, start: int, size: Size) -> Index:
    """Pass over the file once. A damaged one has its start as only checkpoint."""
    chunks = FileChunks(path, start, size, most_words=CHECKPOINT_WORDS)
    reading = Decoding(chunks, size, name=path, strict=True, damage=Damage(), start=start)
    rows = [(NEVER, start, new_state())]
    try:
        for _ in reading.blocks(ReusedStorage()):
            rows.append((int(reading.state[S_LAST]), reading.offset, checkpoint(reading.state)))
    except DamagedFileError:
        rows = rows[:1]
    before_us, offsets, states = zip(*rows, strict=True)
    return Index(np.array(before_us, np.int64), np.array(offsets, np.int64), np.stack(states))
