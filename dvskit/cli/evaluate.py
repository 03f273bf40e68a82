"""`dvskit eval`: how often a model is right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dvskit._files import check_output
from dvskit.cli import _console
from dvskit.cli._judging import PartName, Reader, Spikes, SplitOption, open_folder, score_lines
from dvskit.cli._measures import (
    operations_lines,
    operations_values,
    over_time_lines,
    over_time_panel,
    over_time_values,
)
from dvskit.cli._options import (
    DarkOption,
    EncoderOption,
    Force,
    FormatOption,
    Json,
    ModelArgument,
    Salvage,
    SizeOption,
    SpikeSeedOption,
)
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
PlotOption = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw what --over-time measures: .png, .svg or .pdf.",
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
    plot: PlotOption = None,
    dark: DarkOption = False,
    force: Force = False,
    from_: FormatOption = None,
    size: SizeOption = None,
    salvage: Salvage = False,
    encoder: EncoderOption = None,
    seed: SpikeSeedOption = None,
) -> None:
    """Score a model on labelled recordings or still images: on those it was not trained on."""
    _check_pictures(matrix, plot, force, measured=over_time)
    reader, spikes = Reader(from_, size, salvage), Spikes(encoder, seed)
    opened = open_folder(model, data, split, reader, spikes)
    result = opened.judge()
    lines, values, panels = score_lines(result), _values(result, split), []
    if over_time:
        from dvskit.training.over_time import judge_over_time

        found = judge_over_time(opened.judging)
        lines += ["", *over_time_lines(found)]
        values["over_time"] = over_time_values(found)
        panels.append(over_time_panel(found))
    if operations:
        from dvskit.training.operations import operations_of

        computed = operations_of(opened.judging)
        lines += ["", *operations_lines(computed)]
        values["operations"] = operations_values(computed)
    if json:
        _console.print_json(values)
    else:
        print("\n".join(lines))
    if matrix is not None or plot is not None:
        from dvskit.render import plots

        style = plots.Style(dark=dark)
        if matrix is not None:
            figure = plots.confusion(result.confusion, result.classes, style=style)
            _save(figure, matrix, force)
        if plot is not None:
            _save(plots.accuracy(panels, style=style), plot, force)


def _check_pictures(matrix: Path | None, plot: Path | None, force: bool, *, measured: bool) -> None:
    """Look at what can be wrong with the pictures before anything is judged."""
    if plot is not None and not measured:
        raise ConfigError("--plot draws what --over-time measures; ask for it too")
    if matrix is None and plot is None:
        return
    from dvskit.render.plots.style import check_suffix

    for out in (matrix, plot):
        if out is not None:
            check_output(check_suffix(out), overwrite=force)
    if matrix is not None and matrix == plot:
        raise ConfigError(f"{matrix}: named by --matrix and by --plot; give each a file of its own")


def _save(figure: Any, out: Path, force: bool) -> None:
    from dvskit.render import plots

    plots.save(figure, out, overwrite=force)
    _console.say(f"{out}: written")


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
