"""Recordings in a browser on this machine, at an adaptive level of detail.

A view changes no file: dropped files go to its own temporary folder.
"""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from dvskit import _files
from dvskit._checks import check_whole
from dvskit.emulator import emulate
from dvskit.errors import ConfigError, DvskitError, count_of, one_line
from dvskit.events import Events, Size, Source
from dvskit.formats import Recording, open_events, open_sink, save_events
from dvskit.formats.table import TABLE
from dvskit.render._thinning import Overview, ThinnedEvents, Thinner
from dvskit.render.pages import (
    Images,
    PageImages,
    PageRecording,
    assemble,
    described,
    described_objects,
)
from dvskit.render.serving import LocalServer, answering, in_thread, save_body
from dvskit.streams import Labels
from dvskit.tracking import OBJECT_ROW

Row = TypeVar("Row")


class FoundRows(Generic[Row]):
    """Rows found in a recording, in order of time; one thread at a time may add to them.

    find  yields them from a source, in a thread of its own; None if they are added by others
    """

    def __init__(
        self, source: Source | None = None, find: Callable[[Source], Iterable[Row]] | None = None
    ) -> None:
        self._rows: list[Row] = []
        self.done = False
        self.problem = ""
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        if source is not None and find is not None:
            self._thread = threading.Thread(target=self._make, args=(find, source), daemon=True)
            self._thread.start()

    def add(self, row: Row) -> None:
        """Add the next one."""
        self._rows.append(row)

    def __len__(self) -> int:
        return len(self._rows)

    def since(self, first: int) -> list[Row]:
        """Return those from an index on."""
        return self._rows[first:]

    def _make(self, find: Callable[[Source], Iterable[Row]], source: Source) -> None:
        try:
            for row in find(source):
                self.add(row)
                if self._closed.is_set():
                    return
        except (DvskitError, OSError, MemoryError) as error:
            self.problem = one_line(error)
        self.done = True

    def close(self) -> None:
        """Stop producing more."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()


class Pictures(FoundRows[tuple[int, NDArray[Any]]]):
    """The images of a source, such as reconstructed ones: `make` yields them, in a thread.

    Its length is the number of images so far; `PageImages` keeps some of them.
    """

    def __init__(self, source: Source, make: Callable[[Source], Images]) -> None:
        self._kept = PageImages()
        super().__init__(source, make)

    def add(self, row: tuple[int, NDArray[Any]]) -> None:
        """Add the next one."""
        self._kept.add(*row)

    def __len__(self) -> int:
        return self._kept.total

    def times(self, start_us: int) -> bytes:
        """Return the times of the images relative to `start_us`, as JSON."""
        return json.dumps(self._kept.times(start_us)).encode()

    def image(self, t_us: int) -> bytes:
        """Return the image at a time, as WebP. Raises ConfigError if it is not kept."""
        for at_us, image in self._kept.rows:
            if at_us == t_us:
                return image
        raise ConfigError(f"there is no image at {t_us} us")


MOST_EVENTS = 2_000_000  # events of a recording in the browser at once, twice
_LIVE_EVENTS, _LIVE_US = 200_000, 5_000_000  # events of a live stream, which are sent repeatedly
_PATIENCE_S = 1.0
_ALL_US = 1 << 60


class ShownDecision(NamedTuple):
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


class Decisions(FoundRows[ShownDecision]):
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


class ViewedRecording:
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
        decide: Callable[[Source], Iterator[ShownDecision]] | None = None,
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
        meta, _ = described(
            PageRecording(ThinnedEvents(Events.empty(self.size), 1, 0, 0, 0), self.name)
        )
        shown = {"decides": self.decisions is not None, "pictured": self.pictures is not None}
        return meta | {"live": self.live} | shown

    def decided(self, first: int) -> bytes:
        """Return the decisions from an index on, as JSON: rows as in `ShownDecision`."""
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
        facts, planes = described(PageRecording(kept, self.name, self.labels))
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
        facts, planes = described(PageRecording(kept, self.name))
        where = {"from_us": start_us, "to_us": stop_us, "region": region}
        return message(facts | where, planes)


class ViewedStream(ViewedRecording):
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

    def __init__(self, show: Callable[[ViewedRecording], None]) -> None:
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

    def _viewed(self, job: _Job, path: Path) -> ViewedRecording:
        try:
            return ViewedRecording(job.name, lambda: open_events(path))
        except DvskitError as not_events:
            try:
                made = self._emulated(job, path)
            except DvskitError as not_video:
                raise type(not_video)(
                    f"{path} is neither an event file ({not_events}) nor a video ({not_video})"
                ) from not_video
        return ViewedRecording(f"{job.name}, emulated", lambda: open_events(made))

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


_FIRST_WAIT_S = 1.0  # so that small recordings load with the page
FORMATS = ("evt3", "aedat4", "hdf5", "es", "csv", "npz")  # formats for downloads
_Query = Mapping[str, str]


class ViewServer(LocalServer):
    """Serves a page of recordings while its context is open.

    Raises OutputError if the port is not available.
    """

    def __init__(self, viewed: Sequence[ViewedRecording], *, title: str, port: int = 0) -> None:
        super().__init__(self._routes(), command="view", port=port)
        self.viewed, self.title = list(viewed), title
        self._inbox = Inbox(self.viewed.append)

    def close(self) -> None:
        """Stop serving, reading and emulating; remove dropped files."""
        super().close()
        self._inbox.close()
        for each in self.viewed:
            each.close()

    def _routes(self) -> list[BaseRoute]:
        data, text, chosen = "application/octet-stream", "application/json", self.chosen
        answers: dict[str, tuple[str, Callable[[_Query], bytes]]] = {
            "": ("text/html", lambda query: self.page()),
            "told": (text, lambda query: self.status()),
            "events": (data, lambda query: chosen(query).sample()),
            "decided": (
                text, lambda query: chosen(query).decided(_whole(query, "first", 0, 1 << 40))
            ),
            "pictures": (text, lambda query: chosen(query).picture_times()),
            "picture": (
                "image/webp", lambda query: chosen(query).picture(_whole(query, "at", 0, 1 << 62))
            ),
            "objects": (text, lambda query: chosen(query).objects()),
            "part": (data, self.part),
        }  # fmt: skip
        return [
            *(Route(f"/{name}", answering(*answer)) for name, answer in answers.items()),
            Route("/file", self._file),
            Route("/drop", self._drop, methods=["POST"]),
        ]

    def page(self) -> bytes:
        """Return the page."""
        until = time.monotonic() + _FIRST_WAIT_S
        for each in list(self.viewed):
            each.overview.wait(max(0.0, until - time.monotonic()))
        meta = {
            "title": self.title,
            "clouds": [each.page_meta() for each in self.viewed],
            "served": True,
            "state": "",
            "most": MOST_EVENTS,
            "formats": list(FORMATS),
        }
        text = assemble(meta, label="Cloud of events in x, y and time", data="",
                        scripts=("served", "images"),
                        connect=" 'self'; connect-src 'self'")  # fmt: skip
        return text.encode()

    def status(self) -> bytes:
        """Return the progress of everything."""
        clouds = [each.status() for each in self.viewed]
        return json.dumps({"clouds": clouds, "jobs": list(map(asdict, self._inbox.jobs))}).encode()

    def chosen(self, query: _Query) -> ViewedRecording:
        """Return the recording named in a query. Raises ConfigError."""
        return self.viewed[_whole(query, "cloud", 0, len(self.viewed) - 1)]

    def part(self, query: _Query) -> bytes:
        """Return the events of a part."""
        start = _whole(query, "start", 0, 1 << 62)
        stop = _whole(query, "stop", start, 1 << 62)
        return self.chosen(query).part(start, stop, _region(query))

    def converted(self, query: _Query) -> Path:
        """Return a file of a recording in the format named in a query."""
        name = query.get("format", "")
        if name not in FORMATS:
            raise ConfigError(f"format {name!r} is none of {', '.join(FORMATS)}")
        return self._inbox.converted(self.chosen(query).source(), name, TABLE[name].suffixes[0])

    async def _file(self, request: Request) -> Response:
        query = request.query_params
        path = await in_thread(self.converted, query)
        name = self.chosen(query).name
        stem = "".join(letter for letter in Path(name).stem if letter.isalnum() or letter in "-_ ")
        plain = stem.encode("ascii", "ignore").decode() or "events"
        return _SentOnce(
            path, filename=f"{plain}{path.suffix}", media_type="application/octet-stream"
        )

    async def _drop(self, request: Request) -> Response:
        job, path = self._inbox.expect(request.query_params.get("name", "")[:200] or "file")
        try:
            await save_body(request, path)
        except OSError as error:
            job.state, job.words = "failed", f"could not be saved: {error}"
        else:
            self._inbox.open(job, path)
        return JSONResponse({})


class _SentOnce(FileResponse):
    """A file that is removed after it was sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            Path(self.path).unlink(missing_ok=True)


def _whole(query: _Query, name: str, least: int, most: int) -> int:
    text = query.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise ConfigError(f"{name}={text[:30]!r} is not a whole number")
    check_whole(name, int(text), least, most)
    return int(text)


def _region(query: _Query) -> tuple[int, int, int, int] | None:
    if "region" not in query:
        return None
    parts = query["region"].split(",")
    if len(parts) != 4 or not all(p.isascii() and p.isdecimal() and len(p) < 7 for p in parts):
        raise ConfigError(f"region={query['region'][:40]!r}; LEFT,TOP,RIGHT,BOTTOM is expected")
    left, top, right, bottom = map(int, parts)
    return left, top, right, bottom
