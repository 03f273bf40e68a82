"""`dvskit cloud`: a picture of events in space and time."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvskit.cli import _console
from dvskit.cli._options import (
    REQUIRED,
    Duration,
    Force,
    Reading,
    Span,
    argument,
    as_usage,
    model_names,
    option,
    output,
)
from dvskit.cli._shown import ShownRecording, finish, opened
from dvskit.cli._writer import Kind, OutputWriter, only_for
from dvskit.errors import ConfigError, count_of
from dvskit.events import Events, Size, Source
from dvskit.events.sources import read_all
from dvskit.formats.labels import read_labels
from dvskit.streams import Labels

if TYPE_CHECKING:
    from dvskit.models import Model
    from dvskit.render import CloudReport, CloudView, PageReport, ShownEvents, Turn

_MM_PER_INCH, _PRINT_DPI = 25.4, 300.0
ColorName = StrEnum("ColorName", ["time", "polarity", "count"])
_ANGLES = {"slant": (48.0, 24.0), "front": (90.0, 0.0), "side": (0.0, 0.0), "top": (0.0, 90.0)}
ViewName = StrEnum("ViewName", ["slant", "front", "side", "top"])
_DRAWN = Kind.PICTURE | Kind.VIDEO


@dataclass(frozen=True, slots=True)
class _Looks:
    """The part of a recording to show, and its look; in the order of the help page.

    color      What colors show: time, polarity, or count, the events of a pixel.
    view       The view: slant, in perspective; or without perspective front, as the sensor saw it,
               side, or top.
    azimuth    Turn the view about the upright axis, to an angle in degrees: 0 looks from the side,
               90 from the front.
    elevation  Raise the view to an angle in degrees: -90 looks from below, 0 level, 90 from above.
    title      A title above the picture.
    dark       Light on dark, or dark on light.
    pixels     Of a picture or video: its size in pixels.
    width      Of a picture for print: its width in mm instead of --pixels; 88 is a column, 180 a
               page.
    dpi        Of a picture for print: pixels an inch.
    point_px   Of a picture or video: the side of a point in pixels.
    seconds    Of a video: how long it takes.
    fps        Of a video: frames a second.
    turns      Of a video: whole turns, 0 for none.
    sweep      Of a video: show a moving time window of this length, such as 50ms.
    labels     Of a page: a CSV file of labels, start_us,stop_us,name, shown along the time axis.
    model      Of a page: a model folder, or a shipped model's name. Its decisions are shown along
               the time axis.
    every      Of a page: the time from one decision of --model to the next, such as 200ms.
    images     Of a page: show reconstructed images beside the cloud, by a --model of dvskit
               reconstruct, such as filter. 30 a second; beyond 240 every 2nd, 4th, ... is kept,
               scaled to at most 480 pixels a side, about 10 kB each.
    """

    color: ColorName = option(default=ColorName.time, metavar="WHAT")
    view: ViewName = option(default=ViewName.slant, metavar="VIEW")
    azimuth: float | None = option(shown="that of --view; 48 for slant")
    elevation: float | None = option(shown="that of --view; 24 for slant")
    span: Span = field(default_factory=Span)
    title: str | None = option(shown="none; a page has the file's name")
    dark: bool | None = option("", "--dark/--bright", shown="dark; bright for print")
    pixels: Size | None = only_for(_DRAWN, shown="1280x960, GIF 640x480")
    width: float | None = only_for(_DRAWN)
    dpi: float | None = only_for(_DRAWN, shown="300 with --width")
    point_px: float | None = only_for(_DRAWN, shown="as fits the sensor")
    seconds: float = only_for(Kind.VIDEO, default=6.0)
    fps: float | None = only_for(Kind.VIDEO, shown="30, GIF 25")
    turns: int = only_for(Kind.VIDEO, default=1)
    sweep: Duration | None = only_for(Kind.VIDEO, shown="all at once")
    labels: Path | None = only_for(Kind.PAGE, shown=False)
    model: str | None = only_for(Kind.PAGE, autocompletion=model_names)
    every: Duration | None = only_for(Kind.PAGE, shown="the model's window")
    images: str | None = only_for(Kind.PAGE, metavar="MODEL", shown=False)

    def check(self, writer: OutputWriter, count: int) -> None:
        """Raise ConfigError for options that do not go together, or not with `count` files."""
        if count > 1 and writer.kind is not Kind.PAGE:
            raise ConfigError(f"{writer.path}: shows one recording; .html shows several")
        if count > 1 and self.labels is not None:
            raise ConfigError("--labels apply to one recording; give one")
        if self.every is not None and self.model is None:
            raise ConfigError("--every sets how often --model decides; name a model")

    @property
    def angles(self) -> tuple[float, float]:
        """Azimuth and elevation in degrees."""
        azimuth, elevation = _ANGLES[self.view]
        return (
            azimuth if self.azimuth is None else self.azimuth,
            elevation if self.elevation is None else self.elevation,
        )

    def size_px(self) -> tuple[int, int] | tuple[None, None]:
        """Return the size: as given, or width in mm and 3/4 of it as height. Raises ConfigError."""
        if self.width is None:
            return self.pixels or (None, None)
        if self.pixels is not None:
            raise ConfigError("--width and --pixels both set the size; with --pixels give --dpi")
        width_px = self.width * (self.dpi or _PRINT_DPI) / _MM_PER_INCH
        if not 1 <= width_px <= 1e6:
            raise ConfigError(f"--width {self.width:g} mm is no picture; 88 is a column")
        return round(width_px), round(round(width_px) * 3 / 4)

    def cloud_view(self) -> CloudView:
        """Return the view of a picture's cloud. Raises ConfigError."""
        from dvskit import render

        azimuth, elevation = self.angles
        # Only pictures for print have dots per inch.
        dpi = _PRINT_DPI if self.dpi is None and self.width is not None else self.dpi
        return render.CloudView(
            azimuth_deg=azimuth,
            elevation_deg=elevation,
            color=getattr(render, f"by_{self.color.value}"),
            point_px=self.point_px,
            dark=dpi is None if self.dark is None else self.dark,
            title=self.title or "",
            dpi=dpi,
        )

    def turn(self) -> Turn:
        """Return the turn of a cloud, and the size of a picture. Raises ConfigError."""
        from dvskit import render

        width_px, height_px = self.size_px()
        with as_usage("--pixels" if self.width is None else "--width"):
            return render.Turn(
                seconds=self.seconds, fps=self.fps, turns=self.turns, sweep_us=self.sweep,
                width_px=width_px, height_px=height_px,
            )  # fmt: skip

    def page_state(self) -> str:
        """Return the initial view of a page, in the format of its addresses."""
        parts = []
        if self.azimuth is not None or self.elevation is not None:
            azimuth, elevation = self.angles
            parts.append(f"look={azimuth:g},{elevation:g},1,0,0")
        elif self.view is not ViewName.slant:
            parts.append(f"look={self.view.value}")
        if self.color is not ColorName.time:
            parts.append(f"color={self.color.value}")
        return "&".join(parts)


def cloud(
    files: list[Path] = argument(default=REQUIRED),
    out: Path = output(default=REQUIRED),
    looks: _Looks = _Looks(),
    reading: Reading = Reading(),
    force: Force = False,
) -> None:
    """Draw the event cloud: a page to turn and play, a picture, or a video of it turning.

    files  An event file, - for standard input, or an address ({addresses}); a video or a folder of
           images is emulated first. A page shows several side by side.
    out    A page to turn and play (.html), a picture (.png, .svg, .pdf), or a video that turns
           (.mp4, .mkv, .mov, .gif).
    """
    writer = OutputWriter(out, "clouds", Kind.PAGE | Kind.PICTURE | Kind.VIDEO, looks, force=force)
    looks.check(writer, len(files))
    view, turn = looks.cloud_view(), looks.turn()
    model = None
    if looks.model is not None:
        from dvskit.models import load_model

        model = load_model(looks.model)
    with ExitStack() as stack:
        shown = [
            stack.enter_context(
                opened(file, reading, looks.span, writer, model=model,
                       stops=None if len(files) == 1 else False)
            )
            for file in files
        ]  # fmt: skip
        report: CloudReport | PageReport
        if writer.kind is Kind.PAGE:
            report = _write_page(shown, looks, model, writer)
        else:
            report = _draw(shown[0], view, turn, writer)
    finish(writer, shown, count_of(report.kept, "event"))


def _draw(shown: ShownRecording, view: CloudView, turn: Turn, writer: OutputWriter) -> CloudReport:
    from dvskit import render

    report: CloudReport
    if writer.kind is Kind.PICTURE:
        report = render.cloud(
            shown, writer.path, view=view, width_px=turn.width_px or 1280,
            height_px=turn.height_px or 960, overwrite=writer.force,
        )  # fmt: skip
    else:
        report = render.turntable(
            shown, writer.path, view=view, turn=turn, overwrite=writer.force,
            on_frame=lambda done, total: writer.progress(done, "frames", total=total),
        )  # fmt: skip
    writer.note_thinned(report.kept, report.total)
    if report.missing:
        _console.note(
            f"{writer.path}: no installed font has {' '.join(report.missing)}, so the title shows "
            "boxes; install a font with these, such as Noto Sans CJK, or use other letters"
        )
    return report


def _write_page(
    shown: list[ShownRecording], looks: _Looks, model: Model | None, writer: OutputWriter
) -> PageReport:
    labels, images = None if looks.labels is None else read_labels(looks.labels), None
    if looks.images is not None:
        from dvskit.reconstruction import load_reconstructor

        images = load_reconstructor(looks.images)
    names = ", ".join(each.file.name for each in shown)
    report = writer.page(
        [_on_page(each, looks, labels, model, images) for each in shown],
        title=looks.span.titled(names) if looks.title is None else looks.title,
        state=looks.page_state(), dark=looks.dark is not False,
    )  # fmt: skip
    left = report.labels_total - report.labels
    if left:
        _console.note(
            f"{looks.labels or writer.path}: {left:,} of {count_of(report.labels_total, 'label')} "
            "lie outside the time shown and are left out; label times are time stamps, as dvskit "
            "info shows them"
        )
    writer.note_thinned(report.images, report.images_total, "image")
    return report


def _on_page(
    shown: ShownRecording, looks: _Looks, labels: Labels | None, model: Model | None, images: Any
) -> ShownEvents:
    """Return a recording with its labels, a model's decisions on spans of it, and images.

    A recording of another sensor size is fitted for the model, with a note.
    """
    from dvskit.render import ShownEvents

    events: Events | Source = shown
    decisions, pictures = Labels.empty(), None
    if model is not None:
        from dvskit.datasets import likely_size, on_sensor
        from dvskit.evaluation import classify_spans

        events = read_all(shown)
        taken = on_sensor(events, likely_size(shown.part, model.size))
        decisions = classify_spans(model, taken, every_us=looks.every)
    if images is not None:
        from dvskit.reconstruction import SteadyTimes, reconstruct

        if shown.live:
            raise ConfigError(f"{shown.file}: --images needs a file; write the events to one first")
        pictures = reconstruct(shown.part, images, SteadyTimes())
    labels = shown.part.labels() if labels is None else labels
    return ShownEvents(events, shown.file.name, labels, decisions, images=pictures)
