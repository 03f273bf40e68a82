"""Samples whose events are kept once they were read: on disk, or in memory where there is room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.datasets.cache import Cache
from dvskit.datasets.cache_entries import key_of
from dvskit.datasets.samples import Samples, WrappedSamples
from dvskit.errors import ConfigError
from dvskit.events import Events, Size

_UNSIGNED = (np.uint8, np.uint16, np.uint32, np.uint64)


class CachedSamples(WrappedSamples):
    """Other samples, whose events are read from a cache where it holds them.

    It pays where events are emulated or slowly decoded (text, HDF5, bags); the fastest formats are
    read as fast from their own files. What is drawn anew at each reading is not kept. Which bytes
    a sample's file holds is looked at once by each process: begin anew where files change.
    """

    def __init__(self, samples: Samples, cache: Cache) -> None:
        super().__init__(samples)
        self.cache = cache
        self._keys: dict[int, str] = {}

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample: as `Samples.events`, which is asked for what is missing.

        Raises what the samples raise, never anything of the cache.
        """
        if rng is not None and self.draws:
            return self.samples.events(number, rng)
        key = self._keys.get(number)
        if key is None:
            key = self._keys[number] = key_of("events", self.samples.fingerprint(number))
        arrays = self.cache.get(key)
        if arrays is not None:
            return from_arrays(arrays)
        events = self.samples.events(number)
        self.cache.put(key, to_arrays(events))
        return events


def to_arrays(events: Events) -> dict[str, NDArray[Any]]:
    """Return events as arrays that compress well: steps of time, each type as small as it can be.

    start  int64 (1,), the first time; none where there are no events
    steps  from each time to the next, unsigned; x, y unsigned; p eight to a byte
    """
    steps = np.diff(events.t).view(np.uint64)  # exact, as a step of any length fits
    return {
        "size": np.array(events.size, np.int32),
        "start": events.t[:1],
        "steps": steps.astype(smallest(int(steps.max(initial=0)))),
        "x": events.x.astype(smallest(events.size.width - 1)),
        "y": events.y.astype(smallest(events.size.height - 1)),
        "p": np.packbits(events.p),
    }


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Events:
    """Return the events that `to_arrays` was given."""
    x, y = arrays["x"], arrays["y"]
    t = np.empty(len(x), np.int64)
    t[:1] = arrays["start"]
    np.cumsum(arrays["steps"], out=t[1:].view(np.uint64))
    if len(t) > 1 and t[0]:
        t[1:] += t[0]
    width, height = arrays["size"].tolist()
    return Events.from_checked(
        t,
        x.astype(np.int16),
        y.astype(np.int16),
        np.unpackbits(arrays["p"], count=len(x)).view(np.bool_),
        Size(width, height),
    )


def smallest(most: int) -> type[np.unsignedinteger[Any]]:
    """Return the smallest unsigned type that holds 0..most."""
    return next(kind for kind in _UNSIGNED if most <= np.iinfo(kind).max)


@dataclass(slots=True)
class Room:
    """How many bytes may still be held, by all sets that share it; about 13 are an event's.

    Raises ConfigError below 0.
    """

    free: int = 1 << 30

    def __post_init__(self) -> None:
        if self.free < 0:
            raise ConfigError(f"room of {self.free} bytes; at least 0 is meant")


class HeldSamples(WrappedSamples):
    """Other samples, each read once: those read first stay in memory, as far as there is room.

    What there is no room for is read each time, and so is what is drawn anew at each reading.
    """

    def __init__(self, samples: Samples, room: Room) -> None:
        super().__init__(samples)
        self.room = room
        self._held: dict[int, Events] = {}

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample: as `Samples.events`."""
        if self.draws:
            return self.samples.events(number, rng)
        events = self._held.get(number)
        if events is None:
            events = self.samples.events(number)
            size = sum(column.nbytes for column in (events.t, events.x, events.y, events.p))
            if size <= self.room.free:
                self.room.free -= size
                # A copy: the columns may be views of much more, such as all of a recording.
                self._held[number] = Events.from_checked(
                    events.t.copy(), events.x.copy(), events.y.copy(), events.p.copy(), events.size
                )
        return events
