"""Words of AEDAT 1 and 2 to blocks of events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.events import Events, Size
from dvskit.formats.aedat2 import word_kernels as k
from dvskit.formats.aedat2.chips import EVENT, Chip, layout_row
from dvskit.formats.aedat2.words import Block, Clock, Head, widen
from dvskit.formats.file_bytes import FileMap
from dvskit.formats.in_order import Columns, InOrder
from dvskit.formats.losses import Lose
from dvskit.formats.storage import Storage

_PART_WORDS = 1 << 15  # fewer are not worth a thread
_NEVER = np.iinfo(np.int64).min


class Scan(NamedTuple):
    """What a block of words holds: events by part, and their times as stored, if they run on."""

    bounds: NDArray[np.int64]
    counts: NDArray[np.int64]
    first: int
    last: int
    ordered: bool

    @property
    def events(self) -> int:
        """How many events there are."""
        return int(self.counts.sum())


def scan_words(raw: NDArray[np.uint32], other: int) -> Scan:
    """Look at words: count the events, find their first and last time and whether they run on."""
    parts = max(1, min(thread_count(), len(raw) // _PART_WORDS))
    bounds = np.linspace(0, len(raw), parts + 1).astype(np.int64)
    rows = np.empty((parts, k.SCAN_FIELDS), np.int64)
    run_parts(lambda i: k.scan(raw[bounds[i] : bounds[i + 1]], other, rows[i]), parts)
    held = rows[rows[:, k.S_EVENTS] > 0]
    ordered = bool(held[:, k.S_ORDERED].all())
    ordered &= bool((held[1:, k.S_FIRST] >= held[:-1, k.S_LAST]).all())
    first, last = (int(held[0, k.S_FIRST]), int(held[-1, k.S_LAST])) if len(held) else (0, 0)
    return Scan(bounds, rows[:, k.S_EVENTS], first, last, ordered)


class Decoder:
    """One pass over words: what is clean goes through the kernel, the rest is judged word by word.

    `clock` is moved on; `lose` is given what is damaged, and raises in strict mode.
    """

    def __init__(self, chip: Chip, size: Size, clock: Clock, last_us: int = _NEVER) -> None:
        self._chip, self._size, self._clock = chip, size, clock
        self._last_us = last_us
        self._layout = layout_row(chip, size)

    def clean(self, block: Block, storage: Storage) -> Events | None:
        """Return the events of a block; None, and nothing done, where one is not clean."""
        raw = block.raw
        scanned = scan_words(raw, self._chip.layout.other)
        count = scanned.events
        if not count:
            return Events.empty(self._size) if self._no_spare(block) else None
        if not scanned.ordered:
            return None
        before = self._clock.last
        base_us = self._clock.goes_on(scanned.first, scanned.last)
        if base_us is None:
            return None
        columns = storage.columns(count)
        bounds = scanned.bounds
        stops = np.cumsum(scanned.counts)
        good = np.zeros(len(scanned.counts), np.bool_)

        def work(i: int) -> None:
            room = columns.part(slice(stops[i] - scanned.counts[i], stops[i]))
            good[i] = k.decode(raw[bounds[i] : bounds[i + 1]], self._layout, base_us, room)

        run_parts(work, len(good))
        events = columns.events(count, self._size)
        if not good.all() or events.t[0] < self._last_us:
            self._clock.last = before
            return None
        self._last_us = int(events.t[-1])
        return events

    def judge(self, block: Block, order: InOrder, lose: Lose) -> Iterator[Events]:
        """Yield the events of a block that may be damaged, as far as `order` is certain of them."""
        decoded = self._chip.layout.decode(block.address)
        offsets = block.offsets()
        is_event = (decoded.kind == EVENT) & ~decoded.impossible
        count_on = self._clock.count_on if order.strict else self._clock.count_on_sure
        columns = Columns(
            t=count_on(block.t[is_event]),
            x=self._chip.size.width - 1 - decoded.x[is_event],
            y=self._chip.size.height - 1 - decoded.y[is_event],
            p=decoded.p[is_event],
            offsets=offsets[is_event],
            widths=np.full(np.count_nonzero(is_event), block.width),
        )
        bad = np.flatnonzero(decoded.impossible)
        if order.strict and bad.size:
            yield from order.push(columns.part(columns.offsets < offsets[bad[0]]))
        for place in bad.tolist():
            lose(
                int(offsets[place]),
                block.width,
                f"address {int(block.address[place]):#010x} is none that a {self._chip.name} sends",
            )
        yield from order.push(columns)

    def strictly(self, block: Block, order_from: Callable[[int], InOrder], lose: Lose) -> Events:
        """Return the events of a block that is not clean, if it is not damaged either."""
        order = order_from(self._last_us)
        events = Events.concatenate(self.judge(block, order, lose), size=self._size)
        if len(events):
            self._last_us = int(events.t[-1])
        return events

    def _no_spare(self, block: Block) -> bool:
        spare = self._chip.layout.spare
        return not spare or not bool((block.address & spare).any())


_WINDOW = 1 << 15  # words to line up at once


def aligned_words(
    file: FileMap, head: Head, chip: Chip, lose: Callable[[int, int, str], None]
) -> Iterator[Block]:
    """Yield the words behind a file's header, all of them lined up.

    Where an address is none that the chip sends, or time jumps, the next words that follow each
    other are sought at all bytes. Bytes that are left out, and a cut word at the end, are given to
    `lose`.
    """
    data = file.data
    width = head.words.itemsize
    row = layout_row(chip, chip.size)
    at = head.end
    while len(data) - at >= width:
        count, following, *_ = k.next_break(data, head.end, at, width, _WINDOW, row)
        stop = at + count * width
        if count:
            yield Block(widen(np.array(data[at:stop]), head), at, width)
        if following > stop:
            lose(stop, following - stop, "the words do not line up: bytes are missing ahead")
        at = following
        file.forget(at - k.LONGEST_CHAIN * width)
    if at < len(data):
        lose(at, len(data) - at, f"the last word has {len(data) - at} of {width} bytes")


class Fit(NamedTuple):
    """How many words a chip can have sent, and how many of them another follows soon."""

    possible: int
    links: int


def count_fitting(data: NDArray[np.uint8], head: Head, chip: Chip, most: int) -> Fit:
    """Judge by about the first `most` words, lined up anew, whether a chip can have sent them."""
    width = head.words.itemsize
    row = layout_row(chip, chip.size)
    at, possible, links, seen = head.end, 0, 0, 0
    while len(data) - at >= width and seen < most:
        count, at, fitting, linked = k.next_break(data, head.end, at, width, _WINDOW, row)
        possible += fitting
        links += linked
        seen += count
    return Fit(possible, links)
