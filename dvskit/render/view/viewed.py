"""The content of a view: opened or dropped recordings, and a model's decisions on them."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dvskit import _files
from dvskit.emulator import emulate
from dvskit.errors import ConfigError, DvskitError, count_of, one_line
from dvskit.events import Events, Size, Source
from dvskit.formats import Recording, open_events, open_sink, save_events
from dvskit.render._page_images import Images
from dvskit.render._page_objects import described_objects
from dvskit.render._thin import Overview, Thinned, Thinner
from dvskit.render.page import Held, described
from dvskit.render.view.found import FoundRows
from dvskit.render.view.pictures import Pictures
from dvskit.streams import Labels
from dvskit.tracking import OBJECT_ROW

MOST_EVENTS = 2_000_000  # events of a recording in the browser at once, twice
_LIVE_EVENTS, _LIVE_US = 200_000, 5_000_000  # events of a live stream, which are sent repeatedly
_PATIENCE_S = 1.0
_ALL_US = 1 << 60


class Decided(NamedTuple):
    """A decision on a time span.

    start_us, stop_us  half-open, in the recording's own time
    name               the class; "" for no activity
    best, share        the likeliest class, and its probability, 0..1
    rate               events per second
    """

    start_us: int
    stop_us: int
    name: str
    best: str
    share: float
    rate: float


class Decisions(FoundRows[Decided]):
    """Decisions on a recording, sorted by time."""


class _Objects(FoundRows[NDArray[Any]]):
    """Tracked objects of a recording: arrays of `tracking.OBJECT_ROW`."""


class Arriving(Protocol):
    """Events that are read once, as they arrive."""

    size: Size

    def __iter__(self) -> Iterator[Events]:
        """Yield them, and empty blocks while none arrive."""

    def close(self) -> None:
        """End it."""


class Viewed:
    """A recording in a view: `open_source` opens it again for each reading.

    decide  yields decisions on it, if they are to be shown
    picture  yields images of it, if they are to be shown beside it
    track   yields rows of its tracked objects, if they are to be shown
    """

    live = False
    pictures: Pictures | None = None
    _objects: _Objects | None = None

    def __init__(
        self,
        name: str,
        open_source: Callable[[], Recording],
        decide: Callable[[Source], Iterator[Decided]] | None = None,
        *,
        picture: Callable[[Source], Images] | None = None,
        track: Callable[[Source], Iterator[NDArray[Any]]] | None = None,
    ) -> None:
        self.name, self.source = name, open_source
        self._parts = threading.Lock()
        source = open_source()
        self.size, self.labels = source.size, source.labels()
        self._recording: Recording | None = source
        self.overview = Overview(source, max_events=MOST_EVENTS)
        self.decisions = None if decide is None else Decisions(open_source(), decide)
        if picture is not None:
            self.pictures = Pictures(open_source(), picture)
        self._objects = None if track is None else _Objects(open_source(), track)

    def close(self) -> None:
        """End reading and deciding."""
        self.overview.close()
        for each in (self.pictures, self.decisions, self._objects):
            if each is not None:
                each.close()

    def status(self) -> dict[str, Any]:
        """Return the state that the page needs before it has events."""
        progress, made = self.overview.progress, self.decisions
        parts = (made, self.pictures, self._objects)
        found = [each for each in parts if each is not None]
        damage = None if self._recording is None else self._recording.damage
        return {
            "name": self.name,
            "done": progress.done and all(each.done for each in found),
            "total": progress.total,
            "problem": next(
                filter(None, (progress.problem, *(each.problem for each in found))), ""
            ),
            "damage": str(damage) if damage else "",
            "decided": 0 if made is None else len(made),
            "pictures": 0 if self.pictures is None else len(self.pictures),
            "objects": 0 if self._objects is None else len(self._objects),
        }

    def page_meta(self) -> dict[str, Any]:
        """Return the description of the recording in a page, without events."""
        meta, _ = described(Held(Thinned(Events.empty(self.size), 1, 0, 0, 0), self.name))
        shown = {"decides": self.decisions is not None, "pictured": self.pictures is not None}
        return meta | {"live": self.live} | shown

    def decided(self, first: int) -> bytes:
        """Return the decisions from an index on, as JSON: rows as in `Decided`."""
        return json.dumps([] if self.decisions is None else self.decisions.since(first)).encode()

    def picture_times(self) -> bytes:
        """Return the times of its images from the first event on, as JSON."""
        return b"[]" if self.pictures is None else self.pictures.times(self.overview.start_us)

    def picture(self, at_us: int) -> bytes:
        """Return the image at a time from the first event on. Raises ConfigError without one."""
        if self.pictures is None:
            raise ConfigError(f"{self.name}: has no images")
        return self.pictures.image(self.overview.start_us + at_us)

    def objects(self) -> bytes:
        """Return the tracked objects so far, as JSON: see `described_objects`."""
        found = [] if self._objects is None else self._objects.since(0)
        rows = np.concatenate([np.empty(0, OBJECT_ROW), *found])
        return json.dumps(described_objects(rows, self.overview.start_us, _ALL_US)).encode()

    def sample(self) -> bytes:
        """Return the sample so far: the result of `described`, and planes of events."""
        kept = self.overview.kept()
        facts, planes = described(Held(kept, self.name, self.labels))
        return message(facts | {"start_us": kept.start_us}, planes)

    def part(self, start_us: int, stop_us: int, region: tuple[int, int, int, int] | None) -> bytes:
        """Return as many events as can be shown of a time span, relative to the first event."""
        origin_us = self.overview.start_us
        with self._parts:
            source = self.source().between(origin_us + start_us, origin_us + stop_us)
            thinner = Thinner(self.size, MOST_EVENTS)
            for block in source:
                thinner.add(block if region is None else _inside(block, region))
        kept = replace(thinner.kept(), start_us=origin_us + start_us, stop_us=origin_us + stop_us)
        facts, planes = described(Held(kept, self.name))
        where = {"from_us": start_us, "to_us": stop_us, "region": region}
        return message(facts | where, planes)


class ViewedLive(Viewed):
    """Live events: their latest seconds, and the decisions on them. Parts raise ConfigError."""

    live = True

    def __init__(self, name: str, source: Arriving, decisions: Decisions | None) -> None:
        self.name, self.size, self.labels = name, source.size, Labels.empty()
        self._arriving, self._parts = source, threading.Lock()
        self._recording, self.source = None, self._refuse
        self.decisions = decisions
        self.overview = Overview(source, max_events=_LIVE_EVENTS, keep_us=_LIVE_US)

    def _refuse(self) -> Recording:
        raise ConfigError(f"{self.name}: is read once, as it comes; write it to a file first")

    def close(self) -> None:
        """End it. A reader waiting for a pipe, which nothing ends, is left waiting."""
        self._arriving.close()
        self.overview.close(_PATIENCE_S)


def _inside(events: Events, region: tuple[int, int, int, int]) -> Events:
    left, top, right, bottom = region
    x, y = events.x, events.y
    return events[(x >= left) & (x < right) & (y >= top) & (y < bottom)]


def message(facts: dict[str, Any], planes: bytes) -> bytes:
    """Return the length of `facts` as JSON (uint32, little-endian), the JSON, and the planes."""
    text = json.dumps(facts).encode()
    return struct.pack("<I", len(text)) + text + planes


@dataclass(slots=True)
class _Job:
    """A file being prepared for display; `words` describe its progress, or the error."""

    name: str
    state: Literal["running", "done", "failed"] = "running"
    words: str = "being opened"


class Inbox:
    """Takes files, and calls `show` with each resulting recording."""

    def __init__(self, show: Callable[[Viewed], None]) -> None:
        self.jobs: list[_Job] = []
        self._show = show
        self._made = _files.temporary_folder()
        self._folder = Path(self._made.name)
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []

    def expect(self, name: str) -> tuple[_Job, Path]:
        """Return the job for a file of this name, and the path to save it at."""
        # Only the suffix of the name reaches the file system.
        ending = Path(name).suffix[:12] if Path(name).suffix[1:].isalnum() else ""
        path = self._folder / f"{len(self.jobs)}{ending}"
        self.jobs.append(_Job(name))
        return self.jobs[-1], path

    def open(self, job: _Job, path: Path) -> None:
        """Start to open a saved file."""
        thread = threading.Thread(target=self._open, args=(job, path), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _open(self, job: _Job, path: Path) -> None:
        try:
            self._show(self._viewed(job, path))
            job.state, job.words = "done", "shown"
        except (DvskitError, OSError, MemoryError) as error:
            job.state, job.words = "failed", one_line(error).replace(str(path), job.name)

    def _viewed(self, job: _Job, path: Path) -> Viewed:
        try:
            return Viewed(job.name, lambda: open_events(path))
        except DvskitError as not_events:
            try:
                made = self._emulated(job, path)
            except DvskitError as not_video:
                raise type(not_video)(
                    f"{path} is neither an event file ({not_events}) nor a video ({not_video})"
                ) from not_video
        return Viewed(f"{job.name}, emulated", lambda: open_events(made))

    def _emulated(self, job: _Job, path: Path) -> Path:
        source = emulate(path)
        made = path.with_name(f"{path.stem}-events.npz")
        with open_sink(made, source.size) as sink:
            for block in source:
                sink.write(block)
                job.words = f"emulated {count_of(source.frames_done, 'frame')}"
                if self._closed.is_set():
                    raise DvskitError("the view was closed")
        return made

    def converted(self, source: Any, format: str, suffix: str) -> Path:
        """Write a recording in another format into the folder; return where."""
        target = self._folder / f"converted-{threading.get_ident()}{suffix}"
        save_events(source, target, format=format, overwrite=True)
        return target

    def close(self) -> None:
        """Stop pending work and remove the folder."""
        self._closed.set()
        for thread in self._threads:
            thread.join()
        self._made.cleanup()
