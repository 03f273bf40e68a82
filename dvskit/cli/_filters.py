"""The option --filter: filters by name, one behind the other, and what they left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from dvskit.events import Source
from dvskit.filters import (
    FilteredSource,
    StartAt,
    TimeReversal,
    TimeScale,
    TimeShift,
    chain,
    filter_from,
    filter_names,
)
from dvskit.formats import Recording, RecordingPart

FilterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="FILTER",
        help="Apply a filter, NAME or NAME:ARGUMENTS, such as background_activity:5ms or "
        "noise:hz=0.1,seed=3. Several apply in order. Names: " + ", ".join(filter_names()) + ".",
        show_default="none",
    ),
]


def filtered(source: Source, texts: Sequence[str], recording: Recording) -> FilteredSource:
    """Return a source seen through the filters that --filter says. Raises ConfigError."""
    needed = any(text.strip().lower() == "undistort" for text in texts)
    lens = recording.intrinsics() if needed else None
    return FilteredSource(source, chain(*(filter_from(text, intrinsics=lens) for text in texts)))


def filter_notes(source: FilteredSource, texts: Sequence[str]) -> Iterator[str]:
    """Yield a line for each filter, in order, of what it left out and added."""
    for text, each in zip(texts, source.tally(), strict=True):
        counts = f"{each.dropped:,} events left out"
        if each.added or text.strip().lower().startswith("noise"):
            counts = f"{each.added:,} events added"
        yield f"{text}: {counts}"


def stays_in_time(chosen: FilteredSource | None) -> bool:
    """Return whether events keep their times, so that what stands beside them still fits."""
    moving = TimeScale | TimeShift | StartAt | TimeReversal
    return chosen is None or not any(isinstance(each.filter, moving) for each in chosen.tally())


def left_beside(part: RecordingPart) -> list[str]:
    """Return a line where something stands beside events whose times are moved."""
    beside = len(part.triggers()) or len(part.imu()) or next(iter(part.frames()), None)
    if beside is None or beside == 0:
        return []
    return ["triggers, IMU samples and frames are left out: the filters move the times of events"]
