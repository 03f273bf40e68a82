"""What commands that show recordings share: clips, which are emulated first; words; plots."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dvskit._files import check_output
from dvskit.cli import _console
from dvskit.errors import FormatError
from dvskit.events import Events, ReadableSource
from dvskit.formats import Recording, RecordingPart

if TYPE_CHECKING:
    from dvskit.render.plots import Plot

ShownFile = Annotated[
    Path,
    typer.Argument(
        help="An event file or its folder, - for standard input, or udp://HOST:PORT; a video or a "
        "folder of images is emulated first.",
        show_default=False,
    ),
]


class WithEvents(ReadableSource):
    """A recording, or a part of it, to be shown: it raises FormatError where it has no events."""

    def __init__(self, part: Recording | RecordingPart) -> None:
        self.source, self.size = part, part.size

    def __iter__(self) -> Iterator[Events]:
        some = False
        for block in self.source:
            some = some or len(block) > 0
            yield block
        if not some:
            part = self.source
            path, where = (
                (part.recording.path, " from --start to --stop")
                if isinstance(part, RecordingPart)
                else (part.path, "")
            )
            raise FormatError(f"{path}: there are no events to show{where}")


def say_of(file: Path, recording: Recording, part: Recording | RecordingPart) -> None:
    """Say what was taken for granted of a recording, and what was lost of a part of it."""
    for text in recording.assumptions:
        _console.note(f"{file}: {text}")
    if part.damage:
        _console.note(f"{file}: {part.damage}")


def check_picture(out: Path, force: bool) -> None:
    """Raise what is wrong with a picture's file, before anything is read."""
    from dvskit.render.plots.style import check_suffix

    check_output(check_suffix(out), overwrite=force)


def save_picture(figure: Plot, out: Path, force: bool) -> None:
    """Write a plot, and say so."""
    from dvskit.render import plots

    plots.save(figure, out, overwrite=force)
    _console.say(f"{out}: written")
