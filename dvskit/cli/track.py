"""`dvskit track`: the objects in a recording, with identities."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dvskit.cli import _console
from dvskit.cli._options import (
    REQUIRED,
    Force,
    Json,
    Microseconds,
    Reading,
    Span,
    as_usage,
    option,
    output,
)
from dvskit.cli._shown import ShownFile, TalliedMethod, finish, opened
from dvskit.cli._writer import Kind, OutputWriter, VideoLook
from dvskit.errors import ConfigError, count_of
from dvskit.events import Source
from dvskit.events.sources import read_all
from dvskit.formats.file_sink import is_standard

if TYPE_CHECKING:
    from dvskit.tracking import LineCounter, Tracker


@dataclass(frozen=True, slots=True)
class _Following:
    """How objects are found and counted.

    window   Time from one row of an object to the next.
    least    The fewest pixels with events in three windows that are an object.
    join     Pixels with events at most this far apart belong to one object.
    gate     How far an object that was lost may be from its predicted place, in standard
             deviations.
    lost     How long an object without events is kept: one that is hidden or stands still.
    lines    Count the objects that cross a line, X0,Y0,X1,Y1 in pixels, to its left and right as
             seen from X0,Y0 towards X1,Y1. May be repeated.
    filters  Apply a filter, NAME or NAME:ARGUMENTS, such as background_activity:5ms or
             noise:hz=0.1,seed=3; or one of your own, FILE.py:NAME or FILE.py:NAME:ARGUMENTS, whose
             file is run. Several apply in order. `dvskit filters` lists all of them: {filters}.
    """

    window: Microseconds = option(default=Microseconds(10_000), shown="10ms")
    least: int = option(default=8, min=1)
    join: int = option(default=6, min=1)
    gate: float = 4.0
    lost: Microseconds = option(default=Microseconds(2_000_000), shown="2s")
    lines: list[str] | None = option("", "--line", metavar="LINE", shown="none")
    filters: list[str] | None = option("", "--filter", metavar="FILTER", shown="none")
    span: Span = field(default_factory=Span)

    def tracker(self) -> Tracker:
        """Return the tracker. Raises ConfigError."""
        from dvskit.tracking import Tracker

        return Tracker(
            window_us=self.window, least_pixels=self.least, join_px=self.join, gate=self.gate,
            lost_us=self.lost,
        )  # fmt: skip

    def counters(self) -> list[LineCounter]:
        """Return a counter for each line. Raises ConfigError."""
        from dvskit.tracking import LineCounter

        counters = []
        for text in self.lines or []:
            try:
                x0, y0, x1, y1 = map(float, text.split(","))
                counters.append(LineCounter(((x0, y0), (x1, y1))))
            except (ValueError, ConfigError):
                raise ConfigError(
                    f"--line {text!r} is not X0,Y0,X1,Y1, two points in pixels, such as 88,0,88,144"
                ) from None
        return counters


def track(
    file: ShownFile,
    out: Path = output(default=REQUIRED),
    following: _Following = _Following(),
    look: VideoLook = VideoLook(),
    reading: Reading = Reading(),
    json: Json = False,
    force: Force = False,
) -> None:
    """Follow moving objects before a camera at rest: a table of places, a video, or a page.

    out  The objects: .csv (- for standard output), .npz, a video of them over the events (.mp4,
         .mkv, .mov, .gif), or a page (.html).
    """
    kinds = Kind.TABLE | Kind.ARRAYS | Kind.PAGE | Kind.VIDEO
    writer = OutputWriter(out, "objects", kinds, look, force=force, json=json)
    counters = following.counters()
    objects = rows = 0

    def add(found: NDArray[Any]) -> NDArray[Any]:
        nonlocal objects, rows
        rows += len(found)
        objects = max(objects, int(found["id"].max(initial=-1)) + 1)
        for each in counters:
            each(found)
        return found

    tracker = TalliedMethod(following.tracker(), add)
    with opened(file, reading, following.span, writer, stops=True) as shown:
        filtered = None
        if following.filters:
            from dvskit.cli._filtered import FilteredEvents

            with as_usage("--filter"):
                filtered = FilteredEvents(shown, following.filters, shown.recording)
        _write(filtered or shown, tracker, writer, look, counters, file.name)
    for text in () if filtered is None else filtered.notes():
        _console.note(f"{file}: {text}")
    if not objects and not shown.stopped:
        _console.note(f"{file}: no object was found: all are smaller than --least, or shorter than "
                      "5 windows (--window), or the camera moves")  # fmt: skip
    lines: list[dict[str, Any]] = [
        {"line": [*each.line[0], *each.line[1]], "to_left": each.to_left, "to_right": each.to_right}
        for each in counters
    ]
    for each in () if json else lines:
        name = ",".join(f"{value:g}" for value in each["line"])
        words = f"line {name}: {each['to_left']} to the left, {each['to_right']} to the right"
        (_console.say if is_standard(out) else print)(words)
    finish(
        writer, [shown], f"{count_of(objects, 'object')} in {count_of(shown.count, 'event')}",
        {"events": shown.count, "objects": objects, "rows": rows, "lines": lines},
    )  # fmt: skip


def _write(
    events: Source, tracker: TalliedMethod, writer: OutputWriter, look: VideoLook,
    counters: list[LineCounter], title: str,
) -> None:  # fmt: skip
    from dvskit.tracking import object_blocks

    if writer.kind is Kind.VIDEO:
        from dvskit.render import ObjectTracks

        lines = tuple(each.line for each in counters)
        writer.video(events, look, style=ObjectTracks(tracker=tracker, lines=lines))
    elif writer.kind is Kind.PAGE:
        from dvskit.render import ShownEvents

        kept = read_all(events)  # because live events are read once
        rows = np.concatenate(list(object_blocks(kept, tracker)))
        writer.page(ShownEvents(kept, objects=rows), title=title, dark=look.dark)
    else:
        writer.table(object_blocks(events, tracker))
