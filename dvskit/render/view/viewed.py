"""What a view shows: recordings that are open, and files on their way to be."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable
from typing import Any

from dvskit.events import Events
from dvskit.formats import Recording
from dvskit.render._thin import Thinned, Thinner
from dvskit.render.page import Held
from dvskit.render.page.document import tell
from dvskit.render.view.overview import Overview
from dvskit.streams import Labels

MOST_EVENTS = 2_000_000  # of a recording in the browser at once, twice


class Viewed:
    """A recording that is looked at: `open_source` opens it anew for each reading."""

    def __init__(self, name: str, open_source: Callable[[], Recording]) -> None:
        self.name = name
        self._open = open_source
        self._parts = threading.Lock()
        source = open_source()
        self.size, self.labels = source.size, source.labels()
        self._source = source
        self.overview = Overview(source, max_events=MOST_EVENTS)

    def source(self) -> Recording:
        """Open the recording anew."""
        return self._open()

    def told(self) -> dict[str, Any]:
        """Return what the page needs to know before it has events."""
        progress, damage = self.overview.progress, self._source.damage
        return {"name": self.name, "done": progress.done, "total": progress.total,
                "problem": progress.problem, "damage": str(damage) if damage else ""}  # fmt: skip

    def page_meta(self) -> dict[str, Any]:
        """Return the recording as the page's own description tells it, without events."""
        meta, _ = tell(Held(Thinned(Events.empty(self.size), 1, 0, 0, 0), self.name,
                            Labels.empty(), Labels.empty()))  # fmt: skip
        return meta

    def sample(self) -> bytes:
        """Return the sample so far: what `tell` tells, and planes of events."""
        kept, rate = self.overview.kept()
        told, planes = tell(Held(kept, self.name, self.labels, Labels.empty()))
        return message(told | {"rate": rate.tolist()}, planes)

    def part(self, start_us: int, stop_us: int, region: tuple[int, int, int, int] | None) -> bytes:
        """Return as many events as can be shown of a time, which counts from the first event."""
        origin_us = self.overview.start_us
        with self._parts:
            source = self.source().between(origin_us + start_us, origin_us + stop_us)
            thinner = Thinner(self.size, MOST_EVENTS)
            for block in source:
                thinner.add(block if region is None else _inside(block, region))
        found = thinner.kept()
        kept = Thinned(found.events, found.every, found.total, origin_us + start_us,
                       origin_us + stop_us)  # fmt: skip
        told, planes = tell(Held(kept, self.name, Labels.empty(), Labels.empty()))
        where = {"from_us": start_us, "to_us": stop_us, "region": region}
        return message(told | where, planes)


def _inside(events: Events, region: tuple[int, int, int, int]) -> Events:
    left, top, right, bottom = region
    x, y = events.x, events.y
    return events[(x >= left) & (x < right) & (y >= top) & (y < bottom)]


def message(told: dict[str, Any], planes: bytes) -> bytes:
    """Return the length of `told` as JSON (uint32, little-endian), the JSON, and the planes."""
    text = json.dumps(told).encode()
    return struct.pack("<I", len(text)) + text + planes
