"""A recording whose events are sorted by time: all of them are held in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from dvskit.events import Events
from dvskit.formats.losses import Damage
from dvskit.formats.recording import BLOCK_EVENTS, ReadOptions, Recording
from dvskit.formats.storage import Storage, WholeStorage
from dvskit.streams import Frame, Imu, Intrinsics, Triggers


class SortedRecording(Recording):
    """A recording opened with `any_order`, its events sorted by time; equal times keep their order.

    Each pass reads all events and holds them: under 50 bytes an event.

    late  how many events of the latest pass stood behind later ones
    """

    def __init__(self, recording: Recording) -> None:
        options = ReadOptions(strict=recording.strict)
        super().__init__(recording.path, options, recording.size, recording.size_origin)
        self.format = recording.format
        self.assumptions = recording.assumptions
        self.recording = recording
        self.late = 0

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        whole = WholeStorage(self._room())
        for block in self.recording._blocks(damage, whole):
            whole.keep(block)
        events = whole.events(self.size)
        self.late = int(np.count_nonzero(events.t < np.maximum.accumulate(events.t)))
        if self.late:
            order = np.argsort(events.t, kind="stable")
            columns = (events.t[order], events.x[order], events.y[order], events.p[order])
            events = Events.from_checked(*columns, self.size)
            note = f"{self.late:,} of its events stood behind later ones; all were sorted by time"
            if note not in self.assumptions:
                self.assumptions.append(note)
        for first in range(0, len(events), BLOCK_EVENTS):
            yield events[first : first + BLOCK_EVENTS]

    def _room(self) -> int:
        return self.recording._room()

    def triggers(self) -> Triggers:
        """Return all external triggers."""
        return self.recording.triggers()

    def imu(self) -> Imu:
        """Return all samples of the inertial measurement unit."""
        return self.recording.imu()

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in time order."""
        return self.recording.frames()

    def intrinsics(self) -> Intrinsics | None:
        """Return the camera's calibration; None where there is none."""
        return self.recording.intrinsics()

    def header(self) -> Mapping[str, str]:
        """Return what the file says about itself."""
        return self.recording.header()

    def other_streams(self) -> Mapping[str, int]:
        """Return what else the file holds: a name and a count each."""
        return self.recording.other_streams()
