"""`dvskit convert`: an event file in another format, or a part of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dvskit.cli import _console
from dvskit.cli._options import Force, FormatOption, InputFile, Salvage, SizeOption, size_or_none
from dvskit.errors import ConfigError
from dvskit.events import Source
from dvskit.filters import Crop, FilteredSource, TimeWindow
from dvskit.formats import FileSink, Recording, hand_over, open_events, open_sink


def convert(
    file: InputFile,
    out: Annotated[Path, typer.Argument(help="The file to write.", show_default=False)],
    from_: FormatOption = None,
    to: Annotated[str | None, typer.Option(help="The output's format; else its suffix.")] = None,
    size: SizeOption = None,
    start: Annotated[
        str | None, typer.Option(help="Begin so long after the first event: 1.5s, 200ms, 30us.")
    ] = None,
    stop: Annotated[str | None, typer.Option(help="End so long after the first event.")] = None,
    crop: Annotated[str | None, typer.Option(help="Keep a rectangle: X,Y,WIDTH,HEIGHT.")] = None,
    salvage: Salvage = False,
    force: Force = False,
) -> None:
    """Write an event file in another format, or a part of it."""
    recording = open_events(file, format=from_, size=size_or_none(size), strict=not salvage)
    window = _window(recording, start, stop)
    source: Source = recording
    if window is not None:
        source = FilteredSource(source, window)
    if crop is not None:
        source = FilteredSource(source, _parse_crop(crop))
    with open_sink(out, source.size, format=to, overwrite=force) as sink:
        left = hand_over(
            recording,
            sink,
            start_us=None if window is None else window.start_us,
            stop_us=None if window is None else window.stop_us,
        )
        with _console.progress(f"{file.name} -> {out.name}", None, "events") as show:
            for block in source:
                sink.write(block)
                show(sink.count, "")
    _report(recording, sink, left)


def _window(recording: Recording, start: str | None, stop: str | None) -> TimeWindow | None:
    if start is None and stop is None:
        return None
    origin = next((int(block.t[0]) for block in recording), 0)
    return TimeWindow(
        None if start is None else origin + _console.parse_time_us(start),
        None if stop is None else origin + _console.parse_time_us(stop),
    )


def _parse_crop(text: str) -> Crop:
    try:
        x, y, width, height = (int(word) for word in text.split(","))
    except ValueError:
        raise ConfigError(f"--crop {text!r} is not X,Y,WIDTH,HEIGHT in pixels") from None
    return Crop(x, y, width, height)


def _report(recording: Recording, sink: FileSink, left: list[str]) -> None:
    for text in (*left, *recording.assumptions, *sink.notes):
        _console.note(f"{sink.path}: {text}")
    if recording.damage:
        _console.note(f"{recording.path}: {recording.damage}")
    _console.say(f"{sink.path}: {sink.count:,} events on {sink.size}, {sink.format}")
