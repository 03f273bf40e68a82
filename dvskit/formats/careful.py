"""Pieces of a file to events: by a quick way where all is well, else by one that judges each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Events
from dvskit.formats.in_order import Columns, InOrder
from dvskit.formats.losses import Losses

Piece = TypeVar("Piece")


class Lost(NamedTuple):
    """What in a piece is no event: offsets and lengths in bytes, and what is wrong with each."""

    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    problem: Callable[[int], str]


def push(order: InOrder, losses: Losses, columns: Columns, lost: Lost) -> Iterator[Events]:
    """Yield events, as far as `order` is certain of them; in strict mode those ahead of a loss."""
    if order.strict and len(lost.offsets):
        yield from order.push(columns.part(columns.offsets < lost.offsets[0]))
    losses.lose_all(*lost)
    yield from order.push(columns)


def decoded(
    pieces: Iterable[Piece],
    order: InOrder,
    quick: Callable[[Piece, int], Events | None],
    careful: Callable[[Piece], Iterator[Events]],
) -> Iterator[Events]:
    """Yield the events of pieces of a file.

    quick    takes a piece and the time of the latest event; None where something is wrong in it.
             Salvage mode does without: a later piece may show that events stand ahead of their time
    careful  pushes a piece through `order`; in strict mode what is wrong raises
    """
    for piece in pieces:
        if not order.strict:
            yield from careful(piece)
            continue
        events = quick(piece, order.latest_us())
        if events is None:
            events = Events.concatenate(careful(piece), size=order.size)
        elif len(events):
            order.pass_on(int(events.t[-1]))
        yield events
    yield from order.rest()
