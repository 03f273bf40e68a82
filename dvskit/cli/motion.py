"""`dvskit motion`: the motion of a camera, from the contrast of warped events."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dvskit import _files, _interrupt
from dvskit.cli import _console
from dvskit.cli._clips import (
    CountedEvents,
    PlotPage,
    ShownFile,
    UntilStopped,
    check_picture,
    note_assumptions,
    open_shown,
    save_picture,
)
from dvskit.cli._options import (
    CameraOption,
    Force,
    Json,
    Reading,
    Span,
    camera_for,
    option,
    part_of,
)
from dvskit.errors import ConfigError, count_of
from dvskit.events import Source
from dvskit.formats import Recording, RecordingPart, is_standard

if TYPE_CHECKING:
    from dvskit.motion import MotionTable
    from dvskit.render.plots import Style
    from dvskit.streams import Intrinsics

ModelName = StrEnum("ModelName", ["translation", "rotation", "similarity"])
_TABLES, _PLOTS = (".csv", ".npz"), (".png", ".svg", ".pdf")
_MOST_AT_ONCE = 4096  # live events, so that Ctrl-C ends soon


@dataclass(frozen=True, slots=True)
class _Estimate:
    """What is estimated, and of which windows: the options --model to --camera."""

    model: ModelName = option(
        "What moves: translation, all events alike, in px/s; rotation, the camera, in rad/s, from "
        "its calibration; similarity, also turn and zoom in the picture.",
        default=ModelName.translation,
    )  # fmt: skip
    window: str | None = option("Duration of a window.", shown="20ms")
    count: int | None = option("Events of a window, in place of a duration.", min=1)
    whole: bool = option("Take all events as one window.", "--whole", default=False)
    camera: CameraOption = None
    span: Span = field(default_factory=Span)

    def windows(self) -> dict[str, Any]:
        """Return the model and the windows, for `motion_over_time`. Raises ConfigError."""
        given = [self.window is not None, self.count is not None, self.whole]
        if sum(given) > 1:
            raise ConfigError("--window, --count and --whole exclude each other; give one")
        if self.whole:
            return {"model": self.model.value, "count": sys.maxsize}
        if self.count is not None:
            return {"model": self.model.value, "count": self.count}
        window_us = _console.parse_duration_us(self.window or "20ms", "--window")
        return {"model": self.model.value, "window_us": window_us}


def motion(
    file: ShownFile,
    out: Path | None = option(
        "The output: a table, .csv or .npz, or a plot with the gyroscope, .png, .svg or .pdf.",
        "-o", "--out", shown="CSV to standard output",
    ),
    estimate: _Estimate = _Estimate(),
    page: PlotPage = PlotPage(),
    json: Json = False,
    reading: Reading = Reading(),
    force: Force = False,
) -> None:  # fmt: skip
    """Estimate the motion of the camera, or of all events, in windows of a recording.

    Ctrl-C ends live events; the windows so far are written.
    """
    style = _check_output(out, page, force)
    windows, times = estimate.windows(), estimate.span.times()
    recording = open_shown(file, reading)
    part = part_of(recording, *times)
    camera = camera_for(estimate.model.value, recording, estimate.camera)
    _console.announce_compiling()
    if recording.live:
        with _console.stoppable() as stop:
            motions = _estimate(file, UntilStopped(part, stop, _MOST_AT_ONCE), windows, camera)
            stopped = stop.asked
    else:
        motions, stopped = _estimate(file, part, windows, camera), False
    if json:
        _console.print_json(_facts(motions))
    elif out is None or is_standard(out):
        print(_csv(motions), end="")
    _write(motions, part, out, style, force)
    note_assumptions(file, recording, part)
    _report(file, motions)
    if estimate.window is not None and windows["window_us"] > _span_us(motions) > 0:
        _console.note(f"{file}: --window {estimate.window} is longer than all events, "
                      f"{_console.describe_us(_span_us(motions))}; give a shorter one for "
                      "several windows")  # fmt: skip
    if stopped:
        _interrupt.advise("the windows so far are in the output")
        raise KeyboardInterrupt


def _estimate(
    file: Path, source: Source, windows: dict[str, Any], camera: Intrinsics | None
) -> MotionTable:
    from dvskit.motion import motion_over_time

    events = CountedEvents(source, file)
    with _console.progress(file.name, None, "windows") as show:
        return motion_over_time(
            events, **windows, camera=camera,
            on_window=lambda count, t_us: show(count, _console.describe_us(t_us - events.first_us)),
        )  # fmt: skip


def _check_output(out: Path | None, page: PlotPage, force: bool) -> Style | None:
    """Return the style of a plot, None for a table. Raises ConfigError, OutputError."""
    if out is not None and not is_standard(out) and out.suffix.lower() not in _TABLES:
        if out.suffix.lower() not in _PLOTS:
            raise ConfigError(
                f"{out}: a motion is written as {', '.join((*_TABLES, *_PLOTS[:-1]))} or "
                f"{_PLOTS[-1]}, not {out.suffix or 'nothing'}"
            )
        check_picture(out, force)
        return page.style()
    if page != PlotPage():
        raise ConfigError(
            f"{out or 'a table'}: --dark and --width apply to plots only; leave them out, or "
            "write one: -o motion.png"
        )
    if out is not None and not is_standard(out):
        _files.check_output(out, overwrite=force)
    return None


def _write(
    motions: MotionTable, part: Recording | RecordingPart, out: Path | None, style: Style | None,
    force: bool,
) -> None:  # fmt: skip
    if out is None or is_standard(out):
        return
    if style is not None:
        from dvskit.render import plots

        save_picture(plots.motion(motions, imu=part.imu(), style=style), out, force)
        return
    with _files.whole_file(out, overwrite=force) as partial:
        if out.suffix.lower() == ".csv":
            partial.write_text(_csv(motions), encoding="utf-8")
        else:
            columns: dict[str, Any] = motions.columns()
            with partial.open("wb") as file:  # of a path zipfile tries two modes, and a pipe ends
                np.savez(file, model=motions.model, **columns)
    _console.say(f"{out}: {count_of(len(motions), 'window')}")


def _csv(motions: MotionTable) -> str:
    columns = motions.columns()
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return "".join(",".join(map(_text, row)) + "\n" for row in [tuple(columns), *rows])


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _facts(motions: MotionTable) -> dict[str, Any]:
    columns = {name: column.tolist() for name, column in motions.columns().items()}
    table = {
        name: [None if value != value else value for value in column]  # NaN
        for name, column in columns.items()
    }
    return {"model": motions.model, "windows": len(motions), "unknown": motions.unknown, **table}


def _span_us(motions: MotionTable) -> int:
    return int(motions.stop_us[-1] - motions.start_us[0]) if len(motions) else 0


def _report(file: Path, motions: MotionTable) -> None:
    """Print notes on windows with an unknown motion, or none."""
    all_of, known = count_of(len(motions), "window"), len(motions) - motions.unknown
    still = int(motions.still.sum())
    stopped = known - int((motions.converged | motions.still).sum())
    total = int(motions.events.sum())
    if total < 50:
        _console.note(f"{file}: has {count_of(total, 'event')}; a motion needs at least 50")
    elif motions.unknown:
        _console.note(f"{file}: {motions.unknown} of {all_of} have fewer than 50 events, or all "
                      "at one time: their motion is nan; try longer ones (--window)")  # fmt: skip
    if still:
        _console.note(f"{file}: {still} of {all_of} are hardly sharper by a motion: the scene "
                      "rests, or moves by less than a pixel (--window), or is noise")  # fmt: skip
    if stopped:
        _console.note(f"{file}: the search of {stopped} of {all_of} did not end at a maximum")
