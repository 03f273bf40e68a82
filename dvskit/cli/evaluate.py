"""`dvskit eval`: how often a model is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dvskit.cli import _console
from dvskit.cli._judging import PartName, SplitOption, open_folder, score_lines
from dvskit.cli._measures import (
    Report,
    add_corrupted,
    add_operations,
    add_over_time,
    corrupt_levels,
)
from dvskit.cli._options import DarkOption, Force, Json, ModelArgument, Reading, Spikes
from dvskit.cli._shown import check_picture, save_picture
from dvskit.errors import ConfigError

if TYPE_CHECKING:
    from dvskit.training import Result

MatrixOption = Annotated[
    Path | None,
    typer.Option(
        "--matrix",
        metavar="FILE",
        help="Draw the confusion matrix too: .png, .svg or .pdf.",
        show_default=False,
    ),
]
OverTimeOption = Annotated[
    bool,
    typer.Option(
        "--over-time", help="Say how often it is right after each step of time, and when it knows."
    ),
]
OperationsOption = Annotated[
    bool,
    typer.Option(
        "--operations",
        help="Count what the network computes for a sample: synaptic operations, energy, memory.",
    ),
]
CorruptOption = Annotated[
    list[str] | None,
    typer.Option(
        "--corrupt",
        metavar="KIND[=LEVELS]",
        help="Judge it by corrupted recordings too: noise, drop, dead-pixels, hot-pixels, "
        "time-scale, time-jitter, place-jitter, all of these, or threshold (of videos). Levels of "
        "your own follow its name: noise=0,1,5. Several are judged one by one.",
        show_default="none",
    ),
]
CorruptSeedOption = Annotated[
    int, typer.Option("--corrupt-seed", min=0, help="The seed of what --corrupt draws.")
]
PlotOption = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw what --over-time and --corrupt measure: .png, .svg or .pdf.",
        show_default=False,
    ),
]


def evaluate(
    model: ModelArgument,
    data: Annotated[
        Path,
        typer.Argument(
            help="A folder of CLASS/RECORDING or CLASS/IMAGE files, or of MNIST's IDX files.",
            show_default=False,
        ),
    ],
    split: SplitOption = PartName.held_out,
    json: Json = False,
    matrix: MatrixOption = None,
    over_time: OverTimeOption = False,
    operations: OperationsOption = False,
    corrupt: CorruptOption = None,
    corrupt_seed: CorruptSeedOption = 0,
    plot: PlotOption = None,
    dark: DarkOption = False,
    force: Force = False,
    reading: Reading = Reading(),
    spikes: Spikes = Spikes(),
) -> None:
    """Score a model on labelled recordings or still images: on those it was not trained on."""
    _check_pictures(matrix, plot, force, measured=over_time or bool(corrupt))
    levels = corrupt_levels(corrupt or ())
    reading.check()
    opened = open_folder(model, data, split, reading, spikes)
    result = opened.judge()
    report = Report(score_lines(result), _values(result, split))
    if over_time:
        add_over_time(report, opened.judging)
    if operations:
        add_operations(report, opened.judging)
    if levels:
        add_corrupted(report, opened.judging, levels, corrupt_seed)
    if json:
        _console.print_json(report.values)
    else:
        print("\n".join(report.lines))
    if matrix is not None or plot is not None:
        from dvskit.render import plots

        style = plots.Style(dark=dark)
        if matrix is not None:
            figure = plots.confusion(result.confusion, result.classes, style=style)
            save_picture(figure, matrix, force)
        if plot is not None:
            wide = replace(style, width_mm=88.0 if len(report.panels) == 1 else 180.0)
            save_picture(plots.accuracy(report.panels, style=wide), plot, force)


def _check_pictures(matrix: Path | None, plot: Path | None, force: bool, *, measured: bool) -> None:
    """Look at what can be wrong with the pictures before anything is judged."""
    if plot is not None and not measured:
        raise ConfigError("--plot draws what --over-time and --corrupt measure; ask for one too")
    for out in (matrix, plot):
        if out is not None:
            check_picture(out, force)
    if matrix is not None and matrix == plot:
        raise ConfigError(f"{matrix}: named by --matrix and by --plot; give each a file of its own")


def _values(result: Result, split: PartName) -> dict[str, Any]:
    return {
        "accuracy": result.accuracy,
        "samples": result.samples,
        "standard_error": result.standard_error,
        "per_class": result.per_class,
        "classes": list(result.classes),
        "confusion": result.confusion.tolist(),
        "split": split.value,
        "trained_on": result.seen,
        "left_out": result.left_out,
        "encoder": result.encoder or None,
        "notes": list(result.notes),
    }
