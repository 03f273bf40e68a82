"""Where to begin reading for a time: at one of the places that a container can be read from."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DamagedFileError
from dvskit.events import Size
from dvskit.formats.evt3 import layout as w
from dvskit.formats.evt3.chunks import BYTES, WordChunks
from dvskit.formats.evt3.decoding import Decoding
from dvskit.formats.feed import StreamFeed
from dvskit.formats.index_cache import NEVER, Index, count_early, find_index, index_of
from dvskit.formats.losses import Losses
from dvskit.formats.ros.container import Container
from dvskit.formats.ros.evt3 import Payloads
from dvskit.formats.ros.packed import first_us
from dvskit.formats.ros.parts import Topic
from dvskit.formats.storage import ReusedStorage

LEAST_BYTES = 1 << 22  # of a file that is worth a search
CHECKPOINT_WORDS = 1 << 18


def find_cut(container: Container, topic: Topic, start_us: int) -> int:
    """Return the latest place to read from with all events of t >= start_us behind it; 0 if none.

    For topics whose messages stand alone. The index of the file says only where something may
    begin: the times are those of the messages there.
    """
    if container.path.stat().st_size < LEAST_BYTES:
        return 0
    cuts = container.cuts()

    def is_early(cut: int) -> bool:
        first = _first_us(container, topic, cuts[cut])
        return first is not None and first < start_us

    early = count_early(len(cuts), is_early)
    return cuts[early - 1] if early > 1 else 0


def _first_us(container: Container, topic: Topic, cut: int) -> int | None:
    """Return the time of the first event behind a cut; None where none is, or all is unclear."""
    losses = Losses(container.path, strict=True)
    try:
        for part in topic.parts(container, losses, start=cut):
            if len(part.data):
                return first_us(part, topic.encoding, ros1=topic.channel.ros1)
    except DamagedFileError:
        pass
    return None


class Checkpoint(NamedTuple):
    """Where decoding of packets in evt3 can begin: payload bytes behind a cut, a state."""

    cut: int
    skip: int
    state: NDArray[np.int64]


def find_checkpoint(
    container: Container, topic: Topic, size: Size, start_us: int
) -> Checkpoint | None:
    """Return the latest checkpoint ahead of all events with t >= start_us.

    None where reading has to begin at the start: in a short file, and in one that is damaged.
    """
    cuts = container.cuts()
    if container.path.stat().st_size < LEAST_BYTES or not cuts or cuts != sorted(cuts):
        return None
    kind = f"ros evt3 {w.STATE_FIELDS} {size} {topic.channel.number}"
    index = find_index(container.path, kind, lambda: _build(container, topic, size))
    row = index.at(start_us)
    cut = int(index.offset[row])
    if row == 0 or index.state.shape[1] != w.STATE_FIELDS + 1 or cut not in cuts:
        return None
    skip, state = int(index.state[row, 0]), index.state[row, 1:]
    return Checkpoint(cut, skip, w.checkpoint(state)) if skip >= 0 else None


def _build(container: Container, topic: Topic, size: Size) -> Index:
    """Pass over the file once. A damaged one has its start as only checkpoint."""
    losses = Losses(container.path, strict=True)
    payloads = Payloads(topic.parts(container, losses), size, losses)
    chunks = WordChunks(StreamFeed(payloads, 0, BYTES), size, most_words=CHECKPOINT_WORDS)
    reading = Decoding(chunks, size, losses)
    cuts = container.cuts()
    rows = [(NEVER, 0, 0, *w.new_state().tolist())]
    try:
        for _ in reading.blocks(ReusedStorage()):
            before = bisect_right(cuts, payloads.place(reading.offset)) - 1
            if before >= 0:
                skip = reading.offset - payloads.first_behind(cuts[before])
                state = w.checkpoint(reading.state).tolist()
                rows.append((int(reading.state[w.S_LAST]), cuts[before], skip, *state))
    except DamagedFileError:
        rows = rows[:1]
    return index_of(rows)
