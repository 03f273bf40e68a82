"""Samples whose events stay in memory once they were read, as far as there is room."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dvskit.datasets.samples import Samples
from dvskit.errors import ConfigError
from dvskit.events import Events


@dataclass(slots=True)
class Room:
    """How many bytes may still be held, by all sets that share it; about 13 are an event's.

    Raises ConfigError below 0.
    """

    free: int = 1 << 30

    def __post_init__(self) -> None:
        if self.free < 0:
            raise ConfigError(f"room of {self.free} bytes; at least 0 is meant")


class HeldSamples(Samples):
    """Other samples, each read once: those read first stay in memory, as far as there is room.

    What there is no room for is read each time, and so is what is drawn anew at each reading.
    """

    def __init__(self, samples: Samples, room: Room) -> None:
        super().__init__(samples.rows, samples.classes)
        self.samples, self.room = samples, room
        self.draws = samples.draws
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

    def fingerprint(self, number: int) -> str:
        """Return what tells the content of a sample from that of all others."""
        return self.samples.fingerprint(number)
