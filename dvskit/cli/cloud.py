"""`dvskit cloud`: a picture of events in space and time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dvskit._files import check_output
from dvskit.cli import _console
from dvskit.cli._clips import Watched, WithEvents, open_shown, say_of
from dvskit.cli._judging import fits_noted
from dvskit.cli._looks import Looks
from dvskit.cli._options import REQUIRED, Force, Reading, Span, argument, option, part_of
from dvskit.errors import ConfigError, count_of
from dvskit.events import Events, Source, read_all
from dvskit.formats import Recording, RecordingPart
from dvskit.formats.labels import read_labels
from dvskit.streams import Labels

if TYPE_CHECKING:
    from dvskit.render import CloudReport, CloudView, PageReport, Shown, Turn, TurnReport
    from dvskit.training import Model

Part = Recording | RecordingPart
_STILL, _TURNING, _PAGE = (".png", ".svg", ".pdf"), (".mp4", ".mkv", ".mov", ".gif"), (".html",)


def cloud(
    files: list[Path] = argument(
        "An event file, - for standard input, or udp://HOST:PORT; a video or a folder of images is "
        "emulated first. A page shows several side by side.",
        default=REQUIRED,
    ),
    out: Path = option(
        "A page to turn and play (.html), a picture (.png, .svg, .pdf), or a video that turns "
        "(.mp4, .mkv, .mov, .gif).",
        "-o", "--out", default=REQUIRED, shown=False,
    ),
    looks: Looks = Looks(),
    reading: Reading = Reading(),
    force: Force = False,
) -> None:  # fmt: skip
    """Draw the event cloud: a page to turn and play, a picture, or a video of it turning."""
    suffix = _check_suffix(out)
    kind = "a page" if suffix in _PAGE else "a still" if suffix in _STILL else "a video"
    looks.check(out, kind)
    if len(files) > 1 and suffix not in _PAGE:
        raise ConfigError(
            f"{out}: a picture or a video shows one recording; .html shows several side by side"
        )
    view = looks.cloud_view("" if suffix in _PAGE else looks.title or "")
    size_px = looks.size_px()
    turn = looks.turn(size_px)
    every_us = looks.every_us(len(files))
    times = looks.span.times()
    check_output(out, overwrite=force)
    _console.announce_compiling()
    judge = None
    if looks.model is not None:
        from dvskit.training import load_model

        judge = load_model(looks.model)
    opened = [open_shown(file, reading, judge) for file in files]
    parts = [part_of(recording, *times) for recording in opened]
    report: PageReport | CloudReport | TurnReport
    if suffix in _PAGE:
        from dvskit import render

        named = list(zip(files, parts, strict=True))
        shown = _shown(named, looks.labels, judge, every_us)
        title = _title(files, looks.span) if looks.title is None else looks.title
        state = looks.page_state()
        report = render.page(shown, out, title=title, overwrite=force, state=state)
        _note_labels(report, looks.labels or out)
    elif suffix in _STILL:
        report = _still(WithEvents(parts[0], files[0]), out, view, size_px or (1280, 960), force)
        _note_letters(report.missing, out)
    else:
        report = _turning(WithEvents(parts[0], files[0]), out, view, turn, force)
        _note_letters(report.missing, out)
    for file, recording, part in zip(files, opened, parts, strict=True):
        say_of(file, recording, part)
    if report.kept < report.total:
        total = count_of(report.total, "event")
        _console.note(f"{out}: shows {report.kept:,} of {total}, evenly thinned")
    _console.say(f"{out}: {count_of(report.kept, 'event')}")


def _shown(
    parts: list[tuple[Path, Part]], labels: Path | None, model: Model | None, every_us: int | None
) -> list[Shown]:
    """Return recordings with the labels of a file, and a model's decisions on their spans.

    Recordings of another sensor size are fitted for the model, with a note.
    """
    from dvskit import render

    own = None if labels is None else read_labels(labels)
    shown = []
    for file, part in parts:
        source, decided = WithEvents(part, file), Labels.empty()
        events: Events | Source = source
        if model is not None:
            events = read_all(source)
            decided = _decisions(events, part, model, every_us)
        named = part.labels() if own is None else own
        shown.append(render.Shown(events, file.name, named, decided))
    return shown


def _decisions(events: Events, part: Part, model: Model, every_us: int | None) -> Labels:
    from dvskit.datasets import likely_size, on_sensor
    from dvskit.evaluation import classify_spans

    with fits_noted():
        taken = on_sensor(events, likely_size(part, model.size))
        return classify_spans(model, taken, every_us=every_us)


def _title(files: list[Path], span: Span) -> str:
    names = ", ".join(file.name for file in files)
    part = f", {span.start or 'start'} to {span.stop or 'end'}" if span.start or span.stop else ""
    return names + part


def _note_labels(report: PageReport, named: Path) -> None:
    left = report.labels_total - report.labels
    if left:
        _console.note(
            f"{named}: {left:,} of {count_of(report.labels_total, 'label')} lie outside the time "
            "shown and are left out; label times are time stamps, as dvskit info shows them"
        )


def _note_letters(missing: str, out: Path) -> None:
    if missing:
        _console.note(
            f"{out}: no installed font has {' '.join(missing)}, so the title shows boxes; install "
            "a font with these, such as Noto Sans CJK, or use other letters"
        )


def _check_suffix(out: Path) -> str:
    suffix, choices = out.suffix.lower(), (*_PAGE, *_STILL, *_TURNING)
    if suffix not in choices:
        raise ConfigError(
            f"{out}: a cloud is written as {', '.join(choices[:-1])} or {choices[-1]}, not "
            f"{suffix or 'nothing'}"
        )
    return suffix


def _still(
    source: WithEvents, out: Path, view: CloudView, size_px: tuple[int, int], force: bool
) -> CloudReport:
    from dvskit import render

    with _console.progress(out.name, None, "events") as show:
        return render.cloud(
            Watched(source, show), out, view=view, width_px=size_px[0],
            height_px=size_px[1], overwrite=force,
        )  # fmt: skip


def _turning(source: WithEvents, out: Path, view: CloudView, turn: Turn, force: bool) -> TurnReport:
    from dvskit import render

    with _console.progress(out.name, None, "frames") as show:
        return render.turntable(
            Watched(source, lambda count, _: show(0, f"{count_of(int(count), 'event')} read")),
            out,
            view=view, turn=turn, overwrite=force,
            on_frame=lambda done, total: show(done, f"of {total}"),
        )  # fmt: skip
