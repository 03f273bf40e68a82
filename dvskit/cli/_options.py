"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dvskit.cli._console import parse_time_us
from dvskit.errors import ConfigError
from dvskit.events import Size, parse_size
from dvskit.formats import Recording, RecordingPart

InputFile = Annotated[
    Path,
    typer.Argument(
        help="An event file, - for standard input, or udp://HOST:PORT.", show_default=False
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option("--from", help="The input's format; else its content, then its suffix decides."),
]
SizeOption = Annotated[
    str | None,
    typer.Option(
        help="The sensor's size, WIDTHxHEIGHT, where the file does not say (or is wrong)."
    ),
]
Salvage = Annotated[
    bool, typer.Option("--salvage", help="Read damaged files: keep what is whole, report the rest.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def size_or_none(text: str | None) -> Size | None:
    """Return the Size that an option says."""
    return None if text is None else parse_size(text)


def window_from(
    origin_us: int, after_us: int | None, until_us: int | None
) -> tuple[int | None, int | None]:
    """Return the times that lie so long behind `origin_us`; None stays None."""
    return (
        None if after_us is None else origin_us + after_us,
        None if until_us is None else origin_us + until_us,
    )


def part_from_first(
    recording: Recording, after_us: int | None, until_us: int | None
) -> RecordingPart:
    """Return the part of a recording between times that count from its first event."""
    return recording.between(*stamps_of(recording, after_us, until_us))


def times_from(start: str | None, stop: str | None) -> tuple[int | None, int | None]:
    """Return the times in microseconds that --start and --stop say. Raises ConfigError."""
    after, until = (None if text is None else parse_time_us(text) for text in (start, stop))
    if until is not None and until <= (after or 0):
        raise ConfigError(f"--stop {stop} is not behind --start {start or '0s'}")
    return after, until


def stamps_of(
    recording: Recording, after_us: int | None, until_us: int | None
) -> tuple[int | None, int | None]:
    """Return the time stamps that lie so long behind the first event; None stays None.

    Raises ConfigError for live events.
    """
    if after_us is None and until_us is None:
        return None, None
    if recording.live:
        raise ConfigError(f"{recording.path}: --start and --stop need a file; write one first")
    origin_us = next((int(block.t[0]) for block in recording), 0)
    return window_from(origin_us, after_us, until_us)


def part_of(
    recording: Recording, after_us: int | None, until_us: int | None
) -> Recording | RecordingPart:
    """Return the part as `part_from_first` does, the recording itself where there are no times.

    Raises ConfigError for a part of live events.
    """
    if after_us is None and until_us is None:
        return recording
    return part_from_first(recording, after_us, until_us)
