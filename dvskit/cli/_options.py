"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    if after_us is None and until_us is None:
        return recording.between(None, None)
    origin_us = next((int(block.t[0]) for block in recording), 0)
    return recording.between(*window_from(origin_us, after_us, until_us))
