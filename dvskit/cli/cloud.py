"""`dvskit cloud`: a picture of events in space and time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dvskit.cli import _console
from dvskit.cli._options import Force, FormatOption, InputFile, Salvage, SizeOption, size_or_none
from dvskit.errors import ConfigError
from dvskit.formats import open_events


def cloud(
    file: InputFile,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The picture: .html or .png.", show_default=False)
    ],
    from_: FormatOption = None,
    size: SizeOption = None,
    salvage: Salvage = False,
    force: Force = False,
) -> None:
    """Draw the event cloud: one offline HTML page to turn and play, or a PNG."""
    suffix = out.suffix.lower()
    if suffix not in (".html", ".png"):
        raise ConfigError(f"{out}: a cloud is written as .html or .png, not {suffix or 'nothing'}")
    recording = open_events(file, format=from_, size=size_or_none(size), strict=not salvage)
    from dvskit import render

    report: render.PageReport | render.CloudReport
    if suffix == ".html":
        report = render.page(recording, out, title=file.name, overwrite=force)
    else:
        report = render.cloud(recording, out, overwrite=force)
    for text in recording.assumptions:
        _console.note(f"{file}: {text}")
    if recording.damage:
        _console.note(f"{file}: {recording.damage}")
    if report.kept < report.total:
        _console.note(f"{out}: shows {report.kept:,} of {report.total:,} events, evenly thinned")
    _console.say(f"{out}: {report.kept:,} events")
