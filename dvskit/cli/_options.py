"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dvskit.events import Size, parse_size

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
