"""Runs of valid messages, which are read without a look at each record from all sides."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple

from dvskit.formats.ros.container import Message
from dvskit.formats.ros.region import Region

WINDOW = 1 << 18  # bytes of a file that are looked at together


class Found(NamedTuple):
    """A message of a channel in a window: its time, where its data are, and if it is wanted."""

    channel: int
    log_ns: int
    start: int
    stop: int
    wanted: bool


def read_run(
    region: Region, at: int, find: Callable[[memoryview], Iterator[Found]]
) -> Generator[Message, None, int]:
    """Yield messages from the record at `at` on as long as all is valid; return where not.

    `find` finds in a window the messages that stand one behind the other from its start on, and
    are followed by another one in it.
    """
    while True:
        # Of a file, windows of one size: messages larger than that are not worth it.
        window = memoryview(region.read(at, WINDOW if region.whole else region.size))
        first = at
        for number, log_ns, start, stop, wanted in find(window):
            at = first + stop
            if wanted:
                place = region.place(first + start)
                yield Message(number, log_ns, window[start:stop], place, region.exact)
        if not region.whole or at - first < WINDOW // 2:
            return at
