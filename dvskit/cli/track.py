"""`dvskit track`: the objects in a recording, with identities."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dvskit import _interrupt
from dvskit.cli import _console
from dvskit.cli._clips import CountedEvents, ShownFile, UntilStopped, note_assumptions, open_shown
from dvskit.cli._filtered import FilteredEvents, FiltersOption
from dvskit.cli._options import (
    REQUIRED,
    Force,
    Json,
    Reading,
    Span,
    as_usage,
    option,
    part_of,
)
from dvskit.cli._tables import VIDEOS, FilmOptions, check_table, open_table, save_columns
from dvskit.errors import ConfigError, count_of
from dvskit.events import Events, EventsSource, Size, Source, read_all
from dvskit.formats import is_standard

if TYPE_CHECKING:
    from dvskit.tracking import LineCounter, Tracker, TrackerStep
    from dvskit.tracking.crossings import Line
    from dvskit.tracking.tracker import ObjectMethod

_SUFFIXES = (".csv", ".npz", ".html", *VIDEOS)
_WINDOWS_US, _GATES = (100, 10**9), (0.1, 100)  # as of a Tracker
_NAMES = {"t": "t_us", "vx": "vx_px_s", "vy": "vy_px_s"}  # others are those of the rows


@dataclass(frozen=True, slots=True)
class _Following:
    """How objects are found and counted: the options --window to --stop."""

    window: str = option("Time from one row of an object to the next.", default="10ms")
    least: int = option(
        "The fewest pixels with events in three windows that are an object.", default=8, min=1
    )
    join: int = option(
        "Pixels with events at most this far apart belong to one object.", default=6, min=1
    )
    gate: float = option(
        "How far an object that was lost may be from its predicted place, in standard deviations.",
        default=4.0,
    )
    lost: str = option(
        "How long an object without events is kept: one that is hidden or stands still.",
        default="2s",
    )
    lines: list[str] | None = option(
        "Count the objects that cross a line, X0,Y0,X1,Y1 in pixels, to its left and right as seen "
        "from X0,Y0 towards X1,Y1. May be repeated.",
        "--line", metavar="LINE", shown="none",
    )  # fmt: skip
    filters: FiltersOption = None
    span: Span = field(default_factory=Span)

    def tracker(self) -> Tracker:
        """Return the tracker. Raises ConfigError."""
        from dvskit.tracking import Tracker

        window_us = _console.parse_time_us(self.window, "--window")
        lost_us = _console.parse_time_us(self.lost, "--lost")
        if not _WINDOWS_US[0] <= window_us <= _WINDOWS_US[1]:
            raise ConfigError(f"--window {self.window} is outside 100us to 1000s; give one such as "
                              "10ms")  # fmt: skip
        if not _GATES[0] <= self.gate <= _GATES[1]:
            raise ConfigError(f"--gate {self.gate:g} is outside 0.1 to 100; give one such as 4")
        if lost_us < 0:
            raise ConfigError(f"--lost {self.lost} is below 0s; give a time such as 2s")
        return Tracker(
            window_us=window_us, least_pixels=self.least, join_px=self.join, gate=self.gate,
            lost_us=lost_us,
        )  # fmt: skip

    def counters(self) -> list[LineCounter]:
        """Return a counter for each line. Raises ConfigError."""
        from dvskit.tracking import LineCounter

        return [LineCounter(_line(text)) for text in self.lines or []]


def track(
    file: ShownFile,
    out: Path = option(
        "The objects: .csv (- for standard output), .npz, a video of them over the events (.mp4, "
        ".mkv, .mov, .gif), or a page (.html).",
        "-o", "--out", default=REQUIRED, shown=False,
    ),
    following: _Following = _Following(),
    film: FilmOptions = FilmOptions(),
    reading: Reading = Reading(),
    json: Json = False,
    force: Force = False,
) -> None:  # fmt: skip
    """Follow moving objects before a camera at rest: a table of places, a video, or a page."""
    check_table(out, "objects", _SUFFIXES, json, force)
    film.check(out)
    times = following.span.times()
    tally = _Tally(following.tracker(), following.counters())
    recording = open_shown(file, reading)
    part = part_of(recording, *times)
    _console.announce_compiling()
    with _console.progress(out.name, None, "events") as show, _console.stoppable() as stop:
        counted = CountedEvents(part, file, show)
        events = UntilStopped(counted, stop)
        seen: Source = events
        if following.filters:
            with as_usage("--filter"):
                seen = FilteredEvents(events, following.filters, recording)
        _write(seen, tally, out, film, force, file.name)
    note_assumptions(file, recording, part)
    for text in seen.notes() if isinstance(seen, FilteredEvents) else ():
        _console.note(f"{file}: {text}")
    if not tally.objects and not events.stopped:
        _console.note(f"{file}: no object was found: all are smaller than --least, or shorter than "
                      "5 windows (--window), or the camera moves")  # fmt: skip
    _report(file, out, counted, tally, json)
    if events.stopped:
        more = "" if recording.live else "; --force follows them to the end"
        _interrupt.advise(f"the objects so far are written{more}")
        raise KeyboardInterrupt


class _Tally:
    """A tracker that counts its objects and their crossings."""

    def __init__(self, tracker: Tracker, counters: list[LineCounter]) -> None:
        self._tracker, self.counters = tracker, counters
        self.window_us = tracker.window_us
        self.objects = self.rows = 0

    def start(self, size: Size) -> _TallyStep:
        return _TallyStep(self, self._tracker.start(size))

    def add(self, rows: NDArray[Any]) -> NDArray[Any]:
        self.rows += len(rows)
        self.objects = max(self.objects, int(rows["id"].max(initial=-1)) + 1)
        for each in self.counters:
            each(rows)
        return rows


class _TallyStep:
    def __init__(self, tally: _Tally, step: TrackerStep) -> None:
        self._tally, self._step = tally, step

    def __call__(self, events: Events) -> NDArray[Any]:
        return self._tally.add(self._step(events))

    def finish(self) -> NDArray[Any]:
        return self._tally.add(self._step.finish())


def object_blocks(source: Source, tracker: ObjectMethod) -> Iterator[NDArray[Any]]:
    """Yield the rows of objects as the events come."""
    step = tracker.start(source.size)
    for block in source:
        yield step(block)
    yield step.finish()


def _write(
    events: Source, tally: _Tally, out: Path, film: FilmOptions, force: bool, title: str
) -> None:
    suffix = out.suffix.lower()
    if suffix in VIDEOS:
        from dvskit.render import ObjectTracks, video

        style = ObjectTracks(tracker=tally, lines=tuple(each.line for each in tally.counters))
        video(events, out, view=film.view(style), overwrite=force)
    elif suffix == ".html":
        from dvskit.render import ShownEvents, page

        kept = read_all(events)  # because live events are read once
        rows = np.concatenate(list(object_blocks(EventsSource(kept), tally)))
        state = "" if film.dark else "theme=light"
        page(ShownEvents(kept, objects=rows), out, title=title, overwrite=force, state=state)
    elif suffix == ".npz":
        save_columns(object_blocks(events, tally), _columns(), out, force)
    else:
        _write_table(object_blocks(events, tally), out, force)


def _columns() -> dict[str, str]:
    """Return the name of each column, and its field of the rows."""
    from dvskit.tracking import OBJECT_ROW

    return {_NAMES.get(each, each): each for each in OBJECT_ROW.names or ()}


def _write_table(blocks: Iterator[NDArray[Any]], out: Path, force: bool) -> None:
    """Write rows as CSV, each block when it is there."""
    with open_table(out, ",".join(_columns()), force) as file:
        for block in blocks:
            for number, t_us, *places, events, seen in block.tolist():
                decimals = ",".join(f"{value:.2f}" for value in places)
                file.write(f"{number},{t_us},{decimals},{events},{seen:d}\n")
            file.flush()


def _report(file: Path, out: Path, events: Any, tally: _Tally, json: bool) -> None:
    lines: list[dict[str, Any]] = [
        {"line": [*each.line[0], *each.line[1]], "to_left": each.to_left, "to_right": each.to_right}
        for each in tally.counters
    ]
    if json:
        _console.print_json({
            "file": str(file), "out": str(out), "events": events.count, "objects": tally.objects,
            "rows": tally.rows, "lines": lines,
        })  # fmt: skip
        return
    for each in lines:
        name = ",".join(f"{value:g}" for value in each["line"])
        words = f"line {name}: {each['to_left']} to the left, {each['to_right']} to the right"
        (_console.say if is_standard(out) else print)(words)
    objects = count_of(tally.objects, "object")
    _console.say(f"{out}: {objects} in {count_of(events.count, 'event')}")


def _line(text: str) -> Line:
    try:
        x0, y0, x1, y1 = map(float, text.split(","))
        if not all(map(math.isfinite, (x0, y0, x1, y1))):
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"--line {text!r} is not X0,Y0,X1,Y1 in pixels, such as 88,0,88,144"
        ) from None
    if (x0, y0) == (x1, y1):
        raise ConfigError(f"--line {text!r} is a point; give two different ends X0,Y0,X1,Y1")
    return (x0, y0), (x1, y1)
