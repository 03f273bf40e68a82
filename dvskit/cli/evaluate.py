"""`dvskit eval`: the accuracy of a classifier, or the scores of reconstructed images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dvskit.cli import _console
from dvskit.cli._clips import check_picture, save_picture
from dvskit.cli._crew import Crew
from dvskit.cli._eval_parts import Part, measured
from dvskit.cli._image_scores import OfImages, evaluate_images, refuse_classifier_options
from dvskit.cli._judging import (
    JudgedInputs,
    PartName,
    SplitOption,
    open_folder,
    result_values,
    score_lines,
)
from dvskit.cli._measures import (
    Report,
    add_corrupted,
    add_operations,
    add_over_time,
    corrupt_levels,
)
from dvskit.cli._options import (
    DarkOption,
    Force,
    Json,
    model_names,
    option,
    reconstructor_names,
)
from dvskit.errors import ConfigError

if TYPE_CHECKING:
    from dvskit.evaluation import Result
    from dvskit.reconstruction import Reconstructor
    from dvskit.render.plots import Measured


def _judged(incomplete: str) -> list[str]:
    """Return the shipped models and the reconstructors that complete a word."""
    return [*model_names(incomplete), *reconstructor_names(incomplete)]


JudgedArgument = Annotated[
    str,
    typer.Argument(
        help="A model folder, a shipped model's name, or for images from events: filter, which may "
        "have arguments, such as filter:cutoff_hz=2.",
        show_default=False,
        autocompletion=_judged,
    ),
]
JudgedDataArgument = Annotated[
    Path,
    typer.Argument(
        help="A folder of CLASS/RECORDING or CLASS/IMAGE files, or of MNIST's IDX files; for "
        "images from events, a recording with frames, or a video.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Measures besides accuracy, and plots."""

    matrix: Path | None = option(
        "Draw the confusion matrix too: .png, .svg or .pdf.", metavar="FILE", shown=False
    )
    over_time: bool = option(
        "Report the accuracy after each time step, and when it settles.",
        "--over-time", default=False,
    )  # fmt: skip
    operations: bool = option(
        "Count the operations of the network per sample: synaptic operations, energy, memory.",
        "--operations", default=False,
    )  # fmt: skip
    corrupt: list[str] | None = option(
        "Judge corrupted recordings too: noise, drop, dead-pixels, hot-pixels, time-scale, "
        "time-jitter, place-jitter, all of these (all), or threshold (videos only). Levels "
        "follow the name: noise=0,1,5. May be repeated.",
        metavar="KIND[=LEVELS]", shown="none",
    )  # fmt: skip
    corrupt_seed: int = option("The seed of --corrupt.", default=0, min=0)
    plot: Path | None = option(
        "Draw the results of --over-time and --corrupt: .png, .svg or .pdf.",
        metavar="FILE", shown=False,
    )  # fmt: skip
    dark: DarkOption = False
    force: Force = False

    def check(self) -> None:
        """Check the outputs of pictures before anything is judged."""
        if self.plot is not None and not (self.over_time or self.corrupt):
            raise ConfigError(
                "--plot draws the results of --over-time and --corrupt; add one of them"
            )
        for out in (self.matrix, self.plot):
            if out is not None:
                check_picture(out, self.force)
        if self.matrix is not None and self.matrix == self.plot:
            raise ConfigError(f"{self.matrix}: is named by --matrix and by --plot; give two files")

    def draw(self, result: Result, panels: list[Measured]) -> None:
        """Draw the requested pictures."""
        if self.matrix is None and self.plot is None:
            return
        from dvskit.render import plots

        style = plots.Style(dark=self.dark)
        if self.matrix is not None:
            figure = plots.confusion(result.confusion, result.classes, style=style)
            save_picture(figure, self.matrix, self.force)
        if self.plot is not None:
            wide = replace(style, width_mm=88.0 if len(panels) == 1 else 180.0)
            save_picture(plots.accuracy(panels, style=wide), self.plot, self.force)


def evaluate(
    model: JudgedArgument,
    data: JudgedDataArgument,
    split: SplitOption = PartName.held_out,
    json: Json = False,
    wanted: Wanted = Wanted(),
    inputs: JudgedInputs = JudgedInputs(),
    of_images: OfImages = OfImages(),
    crew: Crew = Crew(),
) -> None:
    """Score a model on labelled recordings or still images that it was not trained on.

    Images from events are compared with the frames of a recording, or with a video. --jobs and
    --cluster share recordings, 50 at a time, and do not change the figures.
    """
    reconstructor = _reconstructor(model)
    if reconstructor is not None:
        if crew != Crew():
            raise ConfigError(f"--jobs and --cluster are for classifiers, and {model} is none")
        refuse_classifier_options(model, split, inputs.spikes, wanted)
        evaluate_images(reconstructor, data, inputs, of_images, as_json=json)
        return
    of_images.refuse_for(model)
    wanted.check()
    levels = corrupt_levels(wanted.corrupt or ())
    inputs.reading.check()
    from dvskit.evaluation.measuring import Measures

    measures = Measures(wanted.over_time, wanted.operations, levels, wanted.corrupt_seed)
    opened = open_folder(model, data, split, inputs)
    found = measured(opened, Part((model, data, split, inputs), measures), crew)
    result = opened.noted(found)
    report = Report(score_lines(result), {**result_values(result), "split": split.value})
    if found.over_time is not None:
        add_over_time(report, found.over_time)
    if found.operations is not None:
        add_operations(report, found.operations)
    if found.corrupted:
        add_corrupted(report, found.corrupted)
    if json:
        _console.print_json(report.values)
    else:
        _console.put(*report.lines)
    wanted.draw(result, report.panels)


def _reconstructor(model: str) -> Reconstructor | None:
    from dvskit.reconstruction.named import find_reconstructor

    return find_reconstructor(model)
