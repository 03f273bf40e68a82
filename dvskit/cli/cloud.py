"""`dvskit cloud`: a picture of events in space and time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvskit._files import check_output
from dvskit.cli import _console
from dvskit.cli._clips import CountedEvents, note_assumptions, open_shown
from dvskit.cli._console import parse_time_us
from dvskit.cli._options import (
    REQUIRED,
    Force,
    Reading,
    Span,
    argument,
    as_usage,
    model_names,
    option,
    part_of,
    size_from,
)
from dvskit.errors import ConfigError, count_of
from dvskit.events import Events, Source, read_all
from dvskit.formats import Recording, RecordingPart
from dvskit.formats.addresses import ADDRESSES
from dvskit.formats.labels import read_labels
from dvskit.streams import Labels

if TYPE_CHECKING:
    from dvskit.models import Model
    from dvskit.render import CloudReport, CloudView, PageReport, ShownEvents, Turn, TurnReport

Part = Recording | RecordingPart
_STILL, _TURNING, _PAGE = (".png", ".svg", ".pdf"), (".mp4", ".mkv", ".mov", ".gif"), (".html",)
_MM_PER_INCH, _PRINT_DPI = 25.4, 300.0
ColourName = StrEnum("ColourName", ["time", "polarity", "count"])
ViewName = StrEnum("ViewName", ["slant", "front", "side", "top"])
_ANGLES = {
    ViewName.slant: (48.0, 24.0), ViewName.front: (90.0, 0.0), ViewName.side: (0.0, 0.0),
    ViewName.top: (0.0, 90.0),
}  # fmt: skip
# Options of only one kind of file.
_OF_PICTURES = ("pixels", "width", "dpi", "point_px")
_OF_VIDEOS = ("seconds", "fps", "turns", "sweep")
_OF_PAGES = ("labels", "model", "every", "images")
_REFUSED = {
    "a page": (*_OF_PICTURES, *_OF_VIDEOS), "a still": (*_OF_PAGES, *_OF_VIDEOS),
    "a video": _OF_PAGES,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Looks:
    """The part of a recording to show, and its look; in the order of the help page."""

    colour: ColourName | None = option(
        "What colours show: time, polarity, or count, the events of a pixel.",
        metavar="WHAT", shown="time",
    )  # fmt: skip
    view: ViewName | None = option(
        "The view: slant, in perspective; or without perspective front, as the sensor saw it, "
        "side, or top.",
        metavar="VIEW", shown="slant",
    )  # fmt: skip
    azimuth: float | None = option(
        "Turn the view about the upright axis, to an angle in degrees: 0 looks from the side, 90 "
        "from the front.",
        shown="that of --view; 48 for slant",
    )
    elevation: float | None = option(
        "Raise the view to an angle in degrees: -90 looks from below, 0 level, 90 from above.",
        shown="that of --view; 24 for slant",
    )
    span: Span = field(default_factory=Span)
    title: str | None = option(
        "A title above the picture.", shown="none; a page has the file's name"
    )
    dark: bool | None = option(
        "Light on dark, or dark on light.", "--dark/--bright", shown="dark; bright for print"
    )
    pixels: str | None = option(
        "Of a picture or video: its size in pixels, WIDTHxHEIGHT.", shown="1280x960, GIF 640x480"
    )
    width: float | None = option(
        "Of a picture for print: its width in mm instead of --pixels; 88 is a column, 180 a page."
    )
    dpi: float | None = option("Of a picture for print: pixels an inch.", shown="300 with --width")
    point_px: float | None = option(
        "Of a picture or video: the side of a point in pixels.", shown="as fits the sensor"
    )
    seconds: float | None = option("Of a video: how long it takes.", shown="6")
    fps: float | None = option("Of a video: frames a second.", shown="30, GIF 25")
    turns: int | None = option("Of a video: whole turns, 0 for none.", shown="1")
    sweep: str | None = option(
        "Of a video: show a moving time window of this length, such as 50ms.", shown="all at once"
    )
    labels: Path | None = option(
        "Of a page: a CSV file of labels, start_us,stop_us,name, shown along the time axis.",
        shown=False,
    )
    model: str | None = option(
        "Of a page: a model folder, or a shipped model's name. Its decisions are shown along the "
        "time axis.",
        autocompletion=model_names,
    )
    every: str | None = option(
        "Of a page: the time from one decision of --model to the next, such as 200ms.",
        shown="the model's window",
    )
    images: str | None = option(
        "Of a page: show reconstructed images beside the cloud, by a --model of dvskit "
        "reconstruct, such as filter. 30 a second; beyond 240 every 2nd, 4th, ... is kept, scaled "
        "to at most 480 pixels a side, about 10 kB each.",
        metavar="MODEL", shown=False,
    )  # fmt: skip

    def check(self, out: Path, kind: str) -> None:
        """Raise ConfigError for an option that does not apply to a kind of file."""
        for name in _REFUSED[kind]:
            if getattr(self, name) is not None:
                raise ConfigError(
                    f"{out}: --{name.replace('_', '-')} does not apply to {kind}; leave it out"
                )

    @property
    def angles(self) -> tuple[float, float]:
        """Azimuth and elevation in degrees."""
        azimuth, elevation = _ANGLES[self.view or ViewName.slant]
        return (
            azimuth if self.azimuth is None else self.azimuth,
            elevation if self.elevation is None else self.elevation,
        )

    def size_px(self) -> tuple[int, int] | None:
        """Return the size: as given, or width in mm and 3/4 of it as height. Raises ConfigError."""
        from dvskit.render._scene import check_size_px

        size_px: tuple[int, int] | None = None
        if self.width is None:
            if self.pixels is not None:
                size_px = size_from(self.pixels, "--pixels")
        elif self.pixels is not None:
            raise ConfigError("--width and --pixels both set the size; with --pixels give --dpi")
        else:
            dpi = _PRINT_DPI if self.dpi is None else self.dpi
            if not 1 <= self.width * dpi / _MM_PER_INCH <= 1e6:
                raise ConfigError(
                    f"--width {self.width:g} mm at {dpi:g} dpi is no picture; 88 is a column"
                )
            width_px = round(self.width * dpi / _MM_PER_INCH)
            size_px = width_px, round(width_px * 3 / 4)
        if size_px is not None:
            with as_usage("--pixels" if self.width is None else "--width"):
                check_size_px(size_px)
        return size_px

    def cloud_view(self, title: str) -> CloudView:
        """Return the view of a picture's cloud. Raises ConfigError."""
        from dvskit import render

        azimuth, elevation = self.angles
        # Only pictures for print have dots per inch.
        dpi = _PRINT_DPI if self.dpi is None and self.width is not None else self.dpi
        return render.CloudView(
            azimuth_deg=azimuth,
            elevation_deg=elevation,
            colour=getattr(render, f"by_{(self.colour or ColourName.time).value}"),
            point_px=self.point_px,
            dark=dpi is None if self.dark is None else self.dark,
            title=title,
            dpi=dpi,
        )

    def turn(self, size_px: tuple[int, int] | None) -> Turn:
        """Return the turn of the cloud in a picture of a size; None for the default size."""
        from dvskit import render

        sweep_us = None if self.sweep is None else parse_time_us(self.sweep, "--sweep")
        width_px, height_px = size_px or (None, None)
        named = {"seconds": self.seconds, "turns": self.turns}
        rest: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        return render.Turn(
            fps=self.fps, sweep_us=sweep_us, width_px=width_px, height_px=height_px, **rest
        )

    def every_us(self, count: int) -> int | None:
        """Return the microseconds of --every, for labels of `count` recordings.

        Raises ConfigError for labels of several recordings, and for --every without a model.
        """
        if self.labels is not None and count > 1:
            raise ConfigError("--labels apply to one recording; give one")
        if self.every is not None and self.model is None:
            raise ConfigError("--every sets how often --model decides; name a model")
        return None if self.every is None else parse_time_us(self.every, "--every")

    def page_state(self) -> str:
        """Return the initial view of a page, in the format of its addresses."""
        parts = []
        if self.azimuth is not None or self.elevation is not None:
            azimuth, elevation = self.angles
            parts.append(f"look={azimuth:g},{elevation:g},1,0,0")
        elif self.view not in (None, ViewName.slant):
            parts.append(f"look={self.view.value}")
        if self.colour is not None:
            parts.append(f"colour={self.colour.value}")
        if self.dark is False:
            parts.append("theme=light")
        return "&".join(parts)


def cloud(
    files: list[Path] = argument(
        f"An event file, - for standard input, or an address ({ADDRESSES}); a video or a folder of "
        "images is emulated first. A page shows several side by side.",
        default=REQUIRED,
    ),
    out: Path = option(
        "A page to turn and play (.html), a picture (.png, .svg, .pdf), or a video that turns "
        "(.mp4, .mkv, .mov, .gif).",
        "-o", "--out", default=REQUIRED, shown=False,
    ),
    looks: _Looks = _Looks(),
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
        from dvskit.models import load_model

        judge = load_model(looks.model)
    opened = [open_shown(file, reading, judge) for file in files]
    parts = [part_of(recording, *times) for recording in opened]
    report: PageReport | CloudReport | TurnReport
    from dvskit import render

    if suffix in _PAGE:
        named = list(zip(files, parts, strict=True))
        shown = _shown(named, looks.labels, judge, every_us)
        if looks.images is not None:
            shown = _with_images(shown, named, looks.images)
        names = ", ".join(file.name for file in files)
        title = looks.span.titled(names) if looks.title is None else looks.title
        state = looks.page_state()
        report = render.page(shown, out, title=title, overwrite=force, state=state)
        _note_labels(report, looks.labels or out)
        if report.images < report.images_total:
            _console.note(
                f"{out}: shows {report.images} of {count_of(report.images_total, 'image')}, evenly "
                "thinned"
            )
    elif suffix in _STILL:
        width_px, height_px = size_px or (1280, 960)
        with _console.progress(out.name, None, "events") as show:
            report = render.cloud(
                CountedEvents(parts[0], files[0], show), out, view=view, width_px=width_px,
                height_px=height_px, overwrite=force,
            )  # fmt: skip
        _note_letters(report.missing, out)
    else:
        with _console.progress(out.name, None, "frames") as show:
            report = render.turntable(
                CountedEvents(
                    parts[0], files[0], lambda n: show(0, f"{count_of(n, 'event')} read")
                ),
                out, view=view, turn=turn, overwrite=force,
                on_frame=lambda done, total: show(done, f"of {total}"),
            )  # fmt: skip
        _note_letters(report.missing, out)
    for file, recording, part in zip(files, opened, parts, strict=True):
        note_assumptions(file, recording, part)
    if report.kept < report.total:
        total = count_of(report.total, "event")
        _console.note(f"{out}: shows {report.kept:,} of {total}, evenly thinned")
    _console.say(f"{out}: {count_of(report.kept, 'event')}")


def _shown(
    parts: list[tuple[Path, Part]], labels: Path | None, model: Model | None, every_us: int | None
) -> list[ShownEvents]:
    """Return recordings with the labels of a file, and a model's decisions on their spans.

    Recordings of another sensor size are fitted for the model, with a note.
    """
    from dvskit import render

    own = None if labels is None else read_labels(labels)
    shown = []
    for file, part in parts:
        source, decided = CountedEvents(part, file), Labels.empty()
        events: Events | Source = source
        if model is not None:
            events = read_all(source)
            decided = _decisions(events, part, model, every_us)
        named = part.labels() if own is None else own
        shown.append(render.ShownEvents(events, file.name, named, decided))
    return shown


def _with_images(
    shown: list[ShownEvents], parts: list[tuple[Path, Part]], model: str
) -> list[ShownEvents]:
    """Return recordings with reconstructed images, which are made in a second pass."""
    from dvskit.reconstruction import SteadyTimes, load_reconstructor, reconstruct

    made = load_reconstructor(model)
    for file, part in parts:
        if part.live:
            raise ConfigError(f"{file}: --images needs a file; write the events to one first")
    return [
        replace(each, images=reconstruct(part, made, SteadyTimes()))
        for each, (_, part) in zip(shown, parts, strict=True)
    ]


def _decisions(events: Events, part: Part, model: Model, every_us: int | None) -> Labels:
    from dvskit.datasets import likely_size, on_sensor
    from dvskit.evaluation import classify_spans

    taken = on_sensor(events, likely_size(part, model.size))
    return classify_spans(model, taken, every_us=every_us)


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
