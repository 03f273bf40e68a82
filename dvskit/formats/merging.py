"""Events of several sources as one stream in order of time."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from dvskit.errors import EventsError, GeometryError
from dvskit.events import Events, ReadableSource, Source, as_source, file_name
from dvskit.formats.recording import Recording, RecordingPart
from dvskit.streams import Frame, Imu, Triggers


def merge(*events_or_sources: Events | Source) -> MergedSource:
    """Return a Source of the events of all arguments, in order of time.

    Events at equal times keep the order of the arguments. A pass holds one block of each source; it
    can be repeated if all sources can be. Triggers, IMU samples and frames of recordings are merged
    likewise. Raises GeometryError for sources of different sizes, EventsError without arguments.

        events = dvskit.load_events("events.raw")
        mirrored = dvskit.filters.Flip("x")(events)
        both = dvskit.merge(events, mirrored)
        dvskit.save_events(both, "both.raw")
        len(both.load()) == 2 * len(events)    # True
    """
    return MergedSource([as_source(each) for each in events_or_sources])


class MergedSource(ReadableSource):
    """The events of several sources in order of time; `merge` makes it.

    sources  events at equal times keep their order

        recording = dvskit.open_events("events.raw")
        later = dvskit.filters.TimeShift(1_000_000)(recording)
        merged = dvskit.formats.MergedSource([recording, later])
        merged.load().duration_us / 1e6    # seconds: one more than that of the recording
    """

    along = False

    def __init__(self, sources: list[Source]) -> None:
        if not sources:
            raise EventsError("merge needs events or sources of events, but got none")
        self.sources = sources
        self.size = sources[0].size
        other = next((each for each in sources if each.size != self.size), None)
        if other is not None:
            raise GeometryError(
                f"sizes differ: {_name(sources[0])} is {self.size}, {_name(other)} {other.size}; "
                f"fit one to {self.size} first (filters.Fit), or open all with one size="
            )

    def __iter__(self) -> Iterator[Events]:
        waiting = [_Waiting(source) for source in self.sources]
        while found := [(int(w.block.t[-1]), i) for i, w in enumerate(waiting) if len(w.block)]:
            # Events that are not read yet come after the smallest (time, number of source).
            border_us, last = min(found)
            parts = [
                w.take(int(np.searchsorted(w.block.t, border_us, "right" if i <= last else "left")))
                for i, w in enumerate(waiting)
            ]
            yield _sorted([part for part in parts if len(part)])

    @property
    def live(self) -> bool:
        """Whether any of the sources is live."""
        return any(each.live for each in self.recordings)

    @property
    def recordings(self) -> list[Recording | RecordingPart]:
        """The sources that may hold other data than events."""
        return [each for each in self.sources if isinstance(each, Recording | RecordingPart)]

    def triggers(self) -> Triggers:
        """Return the external triggers of all recordings, in time order."""
        return Triggers.in_order(each.triggers() for each in self.recordings)

    def new_triggers(self) -> Triggers:
        """Return the triggers of live recordings since the last call."""
        return Triggers.in_order(each.new_triggers() for each in self.recordings if each.live)

    def imu(self) -> Imu:
        """Return the IMU samples of all recordings, in time order."""
        return Imu.in_order(each.imu() for each in self.recordings)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames of all recordings, in time order."""
        frames = (each.frames() for each in self.recordings)
        return heapq.merge(*frames, key=lambda frame: frame.t_us)

    def other_streams(self) -> Mapping[str, int]:
        """Return other data of the recordings: names and counts."""
        counts: Counter[str] = Counter()
        for each in self.recordings:
            counts.update(each.other_streams())
        return counts

    def about(self) -> list[tuple[str, str]]:
        """Return the merged sources."""
        return [("merged", ", ".join(_name(each) for each in self.sources))]


class _Waiting:
    """Events read from a source but not yet yielded: `block`, empty at its end."""

    def __init__(self, source: Source) -> None:
        self._name, self._blocks = _name(source), iter(source)
        self.block = Events.empty(source.size)
        self._last_us: int | None = None
        self._read()

    def take(self, count: int) -> Events:
        """Take the first events; read on if these are all."""
        taken, self.block = self.block[:count], self.block[count:]
        if count and not len(self.block):
            self._read()
        return taken

    def _read(self) -> None:
        self.block = next((each for each in self._blocks if len(each)), self.block)
        if not len(self.block):
            return
        if self._last_us is not None and self.block.t[0] < self._last_us:
            raise EventsError(
                f"{self._name}: time runs back from {self._last_us} to {self.block.t[0]} us "
                "between blocks"
            )
        self._last_us = int(self.block.t[-1])


def _sorted(parts: list[Events]) -> Events:
    if len(parts) == 1:
        return parts[0]
    t = np.concatenate([part.t for part in parts])
    order = np.argsort(t, kind="stable")
    x, y, p = (np.concatenate([getattr(part, name) for part in parts])[order] for name in "xyp")
    return Events.from_checked(t[order], x, y, p, parts[0].sensor_size)


def _name(source: Source) -> str:
    return file_name(source) or type(source).__name__
