"""Checks of decoded blocks: as wholes while all are valid, then event by event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Events
from dvskit.formats.in_order import Columns, InOrder
from dvskit.formats.losses import Losses

NEVER = int(np.iinfo(np.int64).min)


class LostRows(NamedTuple):
    """Rows first..stop of a block that cannot be read, their bytes in the file, and the reason."""

    first: int
    stop: int
    offset: int
    size: int
    problem: str


class DecodedBlock(NamedTuple):
    """Decoded events, which may be invalid.

    is_valid  whether all are on the sensor and in time order among themselves
    places    returns the positions of the events in the file and about how many bytes each has
    lost      the rows without events, in order
    """

    events: Events
    is_valid: bool
    places: Callable[[], tuple[NDArray[np.int64], NDArray[np.int64]]]
    lost: Sequence[LostRows] = ()

    def push(self, order: InOrder, losses: Losses) -> Iterator[Events]:
        """Pass each event to `order`; yield the certain ones."""
        events, good = self.events, np.ones(len(self.events), np.bool_)
        columns = Columns(events.t, events.x, events.y, events.p, *self.places())
        for each in self.lost:
            if losses.strict:
                yield from order.push(columns.part(slice(0, each.first)))
            losses.lose(each.offset, each.size, each.problem)
            good[each.first : each.stop] = False
        yield from order.push(columns if good.all() else columns.part(good))


def checked(blocks: Iterable[DecodedBlock], losses: Losses, order: InOrder) -> Iterator[Events]:
    """Yield the valid events of blocks in time order.

    In strict mode the first invalid event raises DamagedFileError. Salvage holds each block back,
    as the next one may show that its events are ahead of their time; from the first invalid block
    on `order` judges each event.
    """
    held: DecodedBlock | None = None
    one_by_one = losses.any_order
    last = NEVER
    for block in blocks:
        t = block.events.t
        if not one_by_one and block.is_valid and not block.lost and (not len(t) or t[0] >= last):
            if losses.strict:
                yield block.events
            elif len(t):
                if held is not None:
                    order.pass_on(last)
                    yield held.events
                held = block
            last = int(t[-1]) if len(t) else last
            continue
        if losses.strict and not one_by_one:
            order.pass_on(last)
        one_by_one = True
        if held is not None:
            yield from held.push(order, losses)
            held = None
        yield from block.push(order, losses)
    if held is not None:
        yield held.events
    yield from order.rest()
