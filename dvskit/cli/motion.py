"""`dvskit motion`: the motion of a camera, from the contrast of warped events."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dvskit.cli import _console
from dvskit.cli._options import (
    Duration,
    Force,
    Json,
    LensOption,
    Reading,
    Span,
    lens_for,
    option,
    output,
)
from dvskit.cli._shown import ShownFile, finish, opened
from dvskit.cli._writer import Kind, OutputWriter, PlotLook
from dvskit.errors import ConfigError, count_of

if TYPE_CHECKING:
    from dvskit.motion import MotionTable

ModelName = StrEnum("ModelName", ["translation", "rotation", "similarity"])
_WINDOW_US, _ALL = 20_000, 10**12  # more events than any recording has


@dataclass(frozen=True, slots=True)
class _Estimate:
    """What is estimated, and of which windows.

    model   What moves: translation, all events alike, in px/s; rotation, the camera, in rad/s, from
            its calibration; similarity, also turn and zoom in the picture.
    window  Duration of a window.
    count   Events of a window, in place of a duration.
    whole   Take all events as one window.
    """

    model: ModelName = ModelName.translation
    window: Duration | None = option(shown="20ms")
    count: int | None = option(min=1)
    whole: bool = False
    lens: LensOption = None
    span: Span = field(default_factory=Span)

    def windows(self) -> dict[str, Any]:
        """Return the windows, for `motion_over_time`. Raises ConfigError."""
        given = [self.window is not None, self.count is not None, self.whole]
        if sum(given) > 1:
            raise ConfigError("--window, --count and --whole exclude each other; give one")
        if self.whole or self.count is not None:
            return {"count": self.count or _ALL}
        return {"window_us": self.window or _WINDOW_US}


def motion(
    file: ShownFile,
    out: Path | None = output(shown="CSV to standard output"),
    estimate: _Estimate = _Estimate(),
    look: PlotLook = PlotLook(),
    json: Json = False,
    reading: Reading = Reading(),
    force: Force = False,
) -> None:
    """Estimate the motion of the camera, or of all events, in windows of a recording.

    Ctrl-C ends live events; the windows so far are written.

    out  The output: a table, .csv or .npz, or a plot with the gyroscope, .png, .svg or .pdf.
    """
    kinds, beside_json = Kind.TABLE | Kind.ARRAYS | Kind.PICTURE, json and out is not None
    writer = OutputWriter(out or Path("-"), "motions", kinds, look, force=force, json=beside_json)
    writer.json = json
    style = look.style() if writer.kind is Kind.PICTURE else None
    model: Any = estimate.model.value
    windows = estimate.windows()
    with opened(file, reading, estimate.span, writer, unit="windows") as shown:
        from dvskit.motion import motion_over_time

        lens = lens_for(model, shown.recording, estimate.lens)
        motions = motion_over_time(shown, model, **windows, camera=lens, on_window=shown.progress)
        columns: dict[str, Any] = motions.columns()
        if style is not None:
            from dvskit.render import plots

            writer.picture(plots.motion(motions, imu=shown.part.imu(), style=style))
        elif out is not None or not json:
            fields = [(name, column.dtype) for name, column in columns.items()]
            rows = np.rec.fromarrays(list(columns.values()), dtype=fields)
            writer.table([rows], ".7g", model=motions.model)
    _note(file, motions)
    all_us = int(motions.stop_us[-1] - motions.start_us[0]) if len(motions) else 0
    if estimate.window is not None and windows["window_us"] > all_us > 0:
        _console.note(
            f"{file}: --window {_console.typed_us(estimate.window)} is longer than all events, "
            f"{_console.describe_us(all_us)}; give a shorter one for several windows"
        )
    table = {
        name: [None if value != value else value for value in column.tolist()]  # NaN
        for name, column in columns.items()
    }
    named = {"model": motions.model, "windows": len(motions), "unknown": motions.unknown}
    finish(writer, [shown], count_of(len(motions), "window"), named | table)


def _note(file: Path, motions: MotionTable) -> None:
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
