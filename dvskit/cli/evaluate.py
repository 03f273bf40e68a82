"""`dvskit eval`: the accuracy of a classifier, or the scores of reconstructed images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from dvskit.cli import _console
from dvskit.cli._batch import NO_OUTPUT, Crew, Prepared
from dvskit.cli._image_scores import OfImages, evaluate_images, refuse_classifier_options
from dvskit.cli._inputs import FileJob
from dvskit.cli._judging import (
    Folder,
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
    REQUIRED,
    DarkOption,
    Force,
    Json,
    argument,
    model_names,
    option,
    reconstructor_names,
)
from dvskit.cli._writer import Kind, Writer
from dvskit.errors import ConfigError, FormatError, count_of

if TYPE_CHECKING:
    from dvskit.evaluation import Result
    from dvskit.evaluation.measuring import Findings, Measures
    from dvskit.reconstruction import Reconstructor
    from dvskit.render.plots import Measured


def _judged(incomplete: str) -> list[str]:
    """Return the shipped models and the reconstructors that complete a word."""
    return [*model_names(incomplete), *reconstructor_names(incomplete)]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Measures besides accuracy, and plots.

    matrix        Draw the confusion matrix too: .png, .svg or .pdf.
    over_time     Report the accuracy after each time step, and when it settles.
    operations    Count the operations of the network per sample: synaptic operations, energy,
                  memory.
    corrupt       Judge corrupted recordings too: noise, drop, dead-pixels, hot-pixels, time-scale,
                  time-jitter, place-jitter, all of these (all), or threshold (videos only). Levels
                  follow the name: noise=0,1,5. May be repeated.
    corrupt_seed  The seed of --corrupt.
    plot          Draw the results of --over-time and --corrupt: .png, .svg or .pdf.
    """

    matrix: Path | None = option(metavar="FILE", shown=False)
    over_time: bool = False
    operations: bool = False
    corrupt: list[str] | None = option(metavar="KIND[=LEVELS]", shown="none")
    corrupt_seed: int = option(default=0, min=0)
    plot: Path | None = option(metavar="FILE", shown=False)
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
                self._writer(out).check()
        if self.matrix is not None and self.matrix == self.plot:
            raise ConfigError(f"{self.matrix}: is named by --matrix and by --plot; give two files")

    def _writer(self, out: Path) -> Writer:
        return Writer(out, "plots", Kind.PICTURE, force=self.force)

    def draw(self, result: Result, panels: list[Measured]) -> None:
        """Draw the requested pictures."""
        if self.matrix is None and self.plot is None:
            return
        from dvskit.render import plots

        style = plots.Style(dark=self.dark)
        if self.matrix is not None:
            figure = plots.confusion(result.confusion, result.classes, style=style)
            self._writer(self.matrix).picture(figure)
        if self.plot is not None:
            wide = replace(style, width_mm=88.0 if len(panels) == 1 else 180.0)
            self._writer(self.plot).picture(plots.accuracy(panels, style=wide))


def evaluate(
    model: str = argument(default=REQUIRED, autocompletion=_judged),
    data: Path = argument(default=REQUIRED),
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

    model  A model folder, a shipped model's name, or for images from events: filter, which may have
           arguments, such as filter:cutoff_hz=2.
    data   A folder of CLASS/RECORDING or CLASS/IMAGE files, or of MNIST's IDX files; for images
           from events, a recording with frames, or a video.
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
    from dvskit.evaluation.measuring import Measures

    measures = Measures(wanted.over_time, wanted.operations, levels, wanted.corrupt_seed)
    work = Prepared(
        partial(open_folder, model, data, split, inputs), partial(_measure_part, measures=measures)
    )
    opened: Folder = work.prepared()
    found = _measured(opened, measures) if crew == Crew() else _added(work, data, crew)
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


def _measured(opened: Folder, measures: Measures) -> Findings:
    """Return the measures of all samples of a folder."""
    from dvskit.evaluation.measuring import measure

    total, done = sum(map(len, measures.corrupt.values())), count(1)
    with _console.Bars() as bars:
        return measure(
            opened.judging,
            measures,
            lambda kind: bars.show("corrupting", total, "levels", next(done), kind),
        )


def _added(work: Prepared, data: Path, crew: Crew) -> Findings:
    """Return the measures of all samples of a folder, which a crew takes in parts.

    Raises ConfigError for still images: the draws of one depend on its place in the set.
    """
    from dvskit.models.inputs import JUDGED_AT_ONCE

    opened: Folder = work.prepared()
    if opened.files is None:
        raise ConfigError("--jobs and --cluster are for recordings; leave them out for images")
    samples = len(opened.judging.samples)
    jobs = [
        FileJob(data, NO_OUTPUT, samples, number) for number in range(-(-samples // JUDGED_AT_ONCE))
    ]
    parts: list[Findings] = []
    for result in crew.results(work, jobs):
        if result.reason:
            raise (ConfigError if result.usage else FormatError)(result.reason)
        found, damage = result.value
        parts.append(found)
        opened.files.damage.update(damage)
    return sum(parts[1:], parts[0])


def _measure_part(
    opened: Folder, job: FileJob, *, measures: Measures
) -> tuple[Findings, dict[int, str]]:
    """Return the measures of a batch of recordings, and the damage of files so far."""
    from dvskit.evaluation.measuring import measure
    from dvskit.models.inputs import JUDGED_AT_ONCE

    found, samples = len(opened.judging.samples), job.bytes
    if found != samples:
        raise FormatError(
            f"{job.file}: a worker found {count_of(found, 'sample')} and the command "
            f"{samples:,}; all machines need the same files"
        )
    start = job.number * JUDGED_AT_ONCE  # whole batches, since rounding depends on their size
    part = opened.judging.part(start, start + JUDGED_AT_ONCE)
    return measure(part, measures), {} if opened.files is None else opened.files.damage


def _reconstructor(model: str) -> Reconstructor | None:
    from dvskit.reconstruction.named import find_reconstructor

    return find_reconstructor(model)
