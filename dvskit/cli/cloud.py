"""`dvskit cloud`: a picture of events in space and time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dvskit._files import check_output
from dvskit.cli import _console
from dvskit.cli._looks import ColourName, Looks, ViewName, looks_from
from dvskit.cli._options import (
    Force,
    FormatOption,
    Salvage,
    SizeOption,
    StartOption,
    StopOption,
    model_names,
    part_of,
    times_from,
)
from dvskit.cli._shown import WithEvents, check_words, open_shown, shown_from
from dvskit.errors import ConfigError, count_of
from dvskit.events import Events, Source
from dvskit.formats import Recording, RecordingPart

if TYPE_CHECKING:
    from dvskit.render import CloudReport, PageReport, TurnReport

_STILL, _TURNING, _PAGE = (".png", ".svg", ".pdf"), (".mp4", ".mkv", ".mov", ".gif"), (".html",)
_OF_PRINT = ("pixels", "width", "dpi", "point_px")  # of pictures, not of pages


def cloud(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="An event file, - for standard input, or udp://HOST:PORT; a video or a folder of "
            "images is emulated first. A page shows several side by side.", show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", show_default=False,
            help="A page to turn and play (.html), a picture (.png, .svg, .pdf), or a video that "
            "turns (.mp4, .mkv, .mov, .gif).",
        ),
    ],
    colour: Annotated[
        ColourName | None,
        typer.Option(
            metavar="WHAT", show_default="time",
            help="What colours tell: time, polarity, or count, the events of a pixel.",
        ),
    ] = None,
    view: Annotated[
        ViewName | None,
        typer.Option(
            metavar="VIEW", show_default="slant",
            help="Where it is seen from: slant, in perspective; or without it front, as the sensor "
            "saw it, side, or top.",
        ),
    ] = None,
    azimuth: Annotated[
        float | None,
        typer.Option(
            help="Turn the view about the upright axis, to an angle in degrees: 0 looks from the "
            "side, 90 from the front.",
            show_default="that of --view; slant has 48",
        ),
    ] = None,
    elevation: Annotated[
        float | None,
        typer.Option(
            help="Raise the view to an angle in degrees: -90 looks from below, 0 level, 90 from "
            "above.",
            show_default="that of --view; slant has 24",
        ),
    ] = None,
    start: StartOption = None,
    stop: StopOption = None,
    title: Annotated[
        str | None,
        typer.Option(
            help="A title above the picture.", show_default="none; a page has the file's name"
        ),
    ] = None,
    dark: Annotated[
        bool | None,
        typer.Option(
            "--dark/--bright", help="Light on dark, or dark on light.",
            show_default="dark; bright for print",
        ),
    ] = None,
    pixels: Annotated[
        str | None,
        typer.Option(
            help="Of a picture or video: its size in pixels, WIDTHxHEIGHT.",
            show_default="1280x960, GIF 640x480",
        ),
    ] = None,
    width: Annotated[
        float | None,
        typer.Option(
            help="Of a picture for print: its width in mm instead of --pixels; 88 is a column, 180 "
            "a page."
        ),
    ] = None,
    dpi: Annotated[
        float | None,
        typer.Option(
            help="Of a picture for print: pixels an inch.", show_default="300 with --width"
        ),
    ] = None,
    point_px: Annotated[
        float | None,
        typer.Option(
            help="Of a picture or video: the side of a point in pixels.",
            show_default="as fits the sensor",
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Of a video: how long it takes.", show_default="6")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Of a video: frames a second.", show_default="30, GIF 25")
    ] = None,
    turns: Annotated[
        int | None,
        typer.Option(help="Of a video: whole turns, 0 for none.", show_default="1"),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            help="Of a video: show a window of time, such as 50ms, that runs through.",
            show_default="all at once",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Of a page: a CSV file of start_us,stop_us,name, shown along the time.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Of a page: a model folder, or a shipped model's name; along the time the page "
            "says what the model takes the events for.",
            autocompletion=model_names,
        ),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(
            help="Of a page: the time from one decision of --model to the next, such as 200ms.",
            show_default="the model's window",
        ),
    ] = None,
    from_: FormatOption = None,
    size: SizeOption = None,
    salvage: Salvage = False,
    force: Force = False,
) -> None:  # fmt: skip
    """Draw the event cloud: a page to turn and play, a picture, or a video of it turning."""
    suffix = _check_suffix(out)
    given = _given(colour=colour, view=view, azimuth=azimuth, elevation=elevation, dark=dark,
                   pixels=pixels, width=width, dpi=dpi, point_px=point_px)  # fmt: skip
    moves = _given(seconds=seconds, fps=fps, turns=turns, sweep=sweep)
    words = _given(labels=labels, model=model, every=every)
    printed = {name: value for name, value in given.items() if name in _OF_PRINT}
    _refuse(out, (printed if suffix in _PAGE else words) | ({} if suffix in _TURNING else moves))
    if len(files) > 1 and suffix not in _PAGE:
        raise ConfigError(f"{out}: shows one recording; several stand side by side on .html")
    looks = looks_from(given | ({} if suffix in _PAGE else {"title": title or ""}), moves)
    every_us = check_words(len(files), **words)
    times = times_from(start, stop)
    check_output(out, overwrite=force)
    _console.tell_compiling()
    judge = None
    if model is not None:
        from dvskit.training import load_model

        judge = load_model(model)
    opened = [open_shown(file, from_, size, salvage, judge) for file in files]
    parts = [part_of(recording, *times) for recording in opened]
    report: PageReport | CloudReport | TurnReport
    if suffix in _PAGE:
        from dvskit import render

        named = list(zip(files, parts, strict=True))
        shown = shown_from(named, labels=labels, model=judge, every_us=every_us)
        name = _title(files, start, stop) if title is None else title
        report = render.page(shown, out, title=name, overwrite=force, state=looks.state)
        _tell_labels(report, labels or out)
    elif suffix in _STILL:
        report = _still(parts[0], out, looks, force)
        _tell_letters(report.missing, out)
    else:
        report = _turning(parts[0], out, looks, force)
        _tell_letters(report.missing, out)
    for file, recording, part in zip(files, opened, parts, strict=True):
        _tell(file, recording, part)
    if report.kept < report.total:
        _console.note(f"{out}: shows {report.kept:,} of {report.total:,} events, evenly thinned")
    _console.say(f"{out}: {count_of(report.kept, 'event')}")


def _title(files: list[Path], start: str | None, stop: str | None) -> str:
    names = ", ".join(file.name for file in files)
    part = f", {start or 'start'} to {stop or 'end'}" if start or stop else ""
    return names + part


def _tell_labels(report: PageReport, named: Path) -> None:
    left = report.labels_total - report.labels
    if left:
        _console.note(
            f"{named}: {left:,} of {report.labels_total:,} labels are of other times than what is "
            "shown and left out; label times are time stamps, as dvskit info tells them"
        )


def _tell_letters(missing: str, out: Path) -> None:
    if missing:
        _console.note(
            f"{out}: no font here has {' '.join(missing)}: the title has boxes for them; install "
            "a font that has (Noto Sans CJK, say), or write them in other letters"
        )


def _tell(file: Path, recording: Recording, part: Recording | RecordingPart) -> None:
    for text in recording.assumptions:
        _console.note(f"{file}: {text}")
    if part.damage:
        _console.note(f"{file}: {part.damage}")


def _check_suffix(out: Path) -> str:
    suffix, choices = out.suffix.lower(), (*_PAGE, *_STILL, *_TURNING)
    if suffix not in choices:
        raise ConfigError(
            f"{out}: a cloud is written as {', '.join(choices[:-1])} or {choices[-1]}, not "
            f"{suffix or 'nothing'}"
        )
    return suffix


def _given(**options: Any) -> dict[str, Any]:
    """Return the options that are not left to us."""
    return {name: value for name, value in options.items() if value is not None}


def _refuse(out: Path, options: dict[str, Any]) -> None:
    for name in options:
        suffix = out.suffix.lower()
        kind = "a page" if suffix in _PAGE else "a still" if suffix in _STILL else "a video"
        raise ConfigError(f"{out}: --{name.replace('_', '-')} is not for {kind}; leave it out")


def _still(part: Recording | RecordingPart, out: Path, looks: Looks, force: bool) -> CloudReport:
    from dvskit import render

    width_px, height_px = looks.size_px or (1280, 960)
    with _console.progress(out.name, None, "events") as show:
        return render.cloud(
            _Watched(WithEvents(part), show), out, view=looks.view, width_px=width_px,
            height_px=height_px, overwrite=force,
        )  # fmt: skip


def _turning(part: Recording | RecordingPart, out: Path, looks: Looks, force: bool) -> TurnReport:
    from dvskit import render

    with _console.progress(out.name, None, "frames") as show:
        return render.turntable(
            _Watched(WithEvents(part), lambda count, _: show(0, f"{count:,.0f} events read")),
            out,
            view=looks.view, turn=looks.turn, overwrite=force,
            on_frame=lambda done, total: show(done, f"of {total}"),
        )  # fmt: skip


class _Watched:
    """A source that tells how many events it has given."""

    def __init__(self, source: Source, show: Callable[[float, str], None]) -> None:
        self.size = source.size
        self._source, self._show = source, show

    def __iter__(self) -> Iterator[Events]:
        count = 0
        for block in self._source:
            yield block
            count += len(block)
            self._show(count, "")
