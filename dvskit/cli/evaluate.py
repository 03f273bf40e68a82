"""`dvskit eval`: the accuracy of a classifier, or the scores of reconstructed images."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dvskit.cli import _console
from dvskit.cli._batch import NO_OUTPUT, Crew, Prepared
from dvskit.cli._inputs import FileJob
from dvskit.cli._judging import (
    Folder,
    JudgedInputs,
    PartName,
    SplitOption,
    aligned,
    open_folder,
    result_values,
    score_lines,
)
from dvskit.cli._options import (
    REQUIRED,
    DarkOption,
    Force,
    Json,
    Spikes,
    argument,
    model_names,
    option,
    preset_names,
    reconstructor_names,
    refuse_for_images,
)
from dvskit.cli._writer import Kind, OutputWriter
from dvskit.errors import ConfigError, FormatError, VideoError, count_of
from dvskit.formats.found import PathKind, identify_named

if TYPE_CHECKING:
    from dvskit.evaluation import Corrupted, Operations, OverTime, Result
    from dvskit.evaluation.measures import Findings, Measures
    from dvskit.reconstruction import ImageScores, Reconstructor
    from dvskit.render.plots import Measured


def _judged(incomplete: str) -> list[str]:
    """Return the shipped models and the reconstructors that complete a word."""
    return [*model_names(incomplete), *reconstructor_names(incomplete)]


@dataclass(frozen=True, slots=True)
class MeasureOptions:
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

    def _writer(self, out: Path) -> OutputWriter:
        return OutputWriter(out, "plots", Kind.PICTURE, force=self.force)

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


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """Options of reconstructors.

    preset  For a reconstructor that is judged on a video: the sensor that the video is emulated
            with, a name or a preset file.
    """

    preset: str | None = option(metavar="NAME", shown="a clean sensor", autocompletion=preset_names)


def evaluate(
    model: str = argument(default=REQUIRED, autocompletion=_judged),
    data: Path = argument(default=REQUIRED),
    split: SplitOption = PartName.held_out,
    json: Json = False,
    wanted: MeasureOptions = MeasureOptions(),
    inputs: JudgedInputs = JudgedInputs(),
    of_images: ImageOptions = ImageOptions(),
    crew: Crew = Crew(),
) -> None:
    """Score a model on labeled recordings or still images that it was not trained on.

    Images from events are compared with the frames of a recording, or with a video. --jobs and
    --cluster share recordings, 50 at a time, and do not change the figures.

    model  A model folder, a shipped model's name, or for images from events: filter, which may have
           arguments, such as filter:cutoff_hz=2.
    data   A folder of CLASS/RECORDING or CLASS/IMAGE files, or of MNIST's IDX files; for images
           from events, a recording with frames, or a video.
    """
    reconstructor = _reconstructor(model)
    if reconstructor is not None:
        of_classifiers = [
            each.name for group in (Spikes, MeasureOptions, Crew) for each in fields(group)
        ]
        why = f"for classifiers only; {model} makes images, leave it out"
        _console.refuse(("split", *of_classifiers), why)
        evaluate_images(reconstructor, data, inputs, of_images, as_json=json)
        return
    _console.refuse(("preset",), f"{model} is a classifier, which needs no video emulated")
    wanted.check()
    levels = corrupt_levels(wanted.corrupt or ())
    from dvskit.evaluation.measures import Measures

    measures = Measures(wanted.over_time, wanted.operations, levels, wanted.corrupt_seed)
    work = Prepared(
        partial(open_folder, model, data, split, inputs), partial(_measure_part, measures=measures)
    )
    opened: Folder = work.prepared()
    found = _measured(opened, measures) if crew == Crew() else _added(work, data, crew)
    result = opened.noted(found)
    report = Report(score_lines(result), {**result_values(result), "split": split.value})
    if found.over_time is not None:
        report.add_over_time(found.over_time)
    if found.operations is not None:
        report.add_operations(found.operations)
    for each in found.corrupted:
        report.add_corrupted(each)
    if json:
        _console.print_json(report.values)
    else:
        _console.put(*report.lines)
    wanted.draw(result, report.panels)


def _measured(opened: Folder, measures: Measures) -> Findings:
    """Return the measures of all samples of a folder."""
    from dvskit.evaluation.measures import measure

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
    from dvskit.evaluation.measures import measure
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
    from dvskit.reconstruction.reconstructed import find_reconstructor

    return find_reconstructor(model)


# --- measures -------------------------------------------------------------------------------------


_ROWS = 10  # of a table of all steps
_HEADS = ("accuracy", "95 % interval")


@dataclass(slots=True)
class Report:
    """Measured results: lines to print, values for JSON, panels to plot."""

    lines: list[str]
    values: dict[str, Any]
    panels: list[Measured] = field(default_factory=list)

    def add_over_time(self, found: OverTime) -> None:
        """Add the accuracy after each step, and the time until it settles."""
        from dvskit.render.plots import Measured

        steps, unit, label = len(found.results), 1.0, "steps seen"
        if found.bin_us is not None:
            unit, label = found.bin_us / 1000, "time seen (ms)"
        every = -(-steps // _ROWS)
        rows = [("after", *_HEADS)]
        for step in sorted({*range(every, steps + 1, every), found.settled, steps}):
            rows.append((_time(found, step), *_cells(found.results[step - 1])))
        settled = _time(found, found.settled)
        self.lines += ["", *aligned(rows)]
        self.lines.append(
            f"after {settled} the accuracy stays within the interval of the accuracy at the end"
        )
        self.values["over_time"] = {
            "bin_us": found.bin_us,
            "accuracy": found.accuracy.tolist(),
            "interval_95": found.interval_95.tolist(),
            "settled_steps": found.settled,
            "settled_us": found.settled_us,
        }
        at_end = f"{100 * found.accuracy[-1]:.1f} % at the end"
        self.panels.append(
            Measured(
                unit * np.arange(1.0, steps + 1.0), found.accuracy, found.interval_95, label,
                chance=1 / len(found.results[-1].classes), mark=unit * found.settled,
                words=(at_end, f"within its interval after {settled}"),
            )
        )  # fmt: skip

    def add_operations(self, found: Operations) -> None:
        """Add the operations of a network per sample."""
        self.lines += ["", *_operations_lines(found)]
        self.values["operations"] = _operations_values(found)

    def add_corrupted(self, found: Corrupted) -> None:
        """Add the accuracy at each level of a kind of corruption."""
        from dvskit.evaluation import CORRUPTIONS
        from dvskit.render.plots import Measured

        kind, results = CORRUPTIONS[found.kind], found.results
        accuracy = [result.accuracy for result in results]
        interval = [result.interval_95 for result in results]
        rows = [("level", *_HEADS)]
        for level, result in zip(found.levels, results, strict=True):
            rows.append((f"{level:g}", *_cells(result)))
        self.lines += ["", f"{found.kind}: {kind.label}", *aligned(rows)]
        self.values.setdefault("corrupted", {})[found.kind] = {
            "label": kind.label,
            "seed": found.seed,
            "levels": list(found.levels),
            "accuracy": accuracy,
            "interval_95": interval,
        }
        self.panels.append(
            Measured(
                np.array(found.levels), np.array(accuracy), np.array(interval), kind.label,
                chance=1 / len(results[0].classes), factors=kind.factors,
            )
        )  # fmt: skip


def _cells(result: Result) -> tuple[str, str]:
    from dvskit.models.scores import percent_texts

    share, low, high = percent_texts(result.accuracy, *result.interval_95)
    return f"{share} %", f"{low} to {high} %"


def _time(found: OverTime, step: int) -> str:
    if found.bin_us is None:
        return f"{count_of(step, 'step')}"
    return f"{step * found.bin_us / 1000:,g} ms"


def corrupt_levels(texts: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Return the levels of each kind in --corrupt: "noise", "noise=0,1,5", "all".

    "all" is each kind but "threshold", which does not apply to recordings. Raises ConfigError.
    """
    from dvskit.evaluation.measures import CORRUPTIONS, check_levels

    found: dict[str, tuple[float, ...]] = {}
    for text in texts:
        kind, named, words = (part.strip() for part in text.partition("="))
        try:
            levels = [float(word) for word in words.split(",")] if named else None
        except ValueError:
            raise ConfigError(
                f"--corrupt {text!r} is not KIND or KIND=LEVEL,LEVEL,..., such as noise=0,1,5"
            ) from None
        kinds = [name for name in CORRUPTIONS if name != "threshold"] if kind == "all" else [kind]
        if kind == "all" and named:
            raise ConfigError("--corrupt all takes no levels; each kind has its own")
        for each in kinds:
            if each in found and kind != "all":
                raise ConfigError(f"--corrupt {each}: is given twice")
            found.setdefault(each, check_levels(each, levels))
    return found


def _operations_lines(found: Operations) -> Iterator[str]:
    """Yield the operations of a network per sample, by layer and in total, with the rule."""
    from dvskit.evaluation.operations import COUNTING_RULE, ENERGY_SOURCE

    steps = count_of(found.steps, "step")
    yield f"operations per sample (mean of {found.samples:,}), over {steps}"
    rows = [("layer", "inputs", "not 0", "synaptic", "dense", "")]
    for layer in found.layers:
        shares = [layer.inputs, layer.synaptic, layer.dense]
        inputs, synaptic, dense = (f"{n / found.samples:,.0f}" for n in shares)
        active = f"{100 * layer.active / layer.inputs:.2f} %"
        rows.append(
            (layer.name, inputs, active, synaptic, dense, "AC" if layer.of_spikes else "MAC")
        )
    rows.append(("all", "", "", f"{found.synaptic:,.0f}", f"{found.dense:,.0f}", ""))
    yield from aligned(rows)
    share = f", {100 * found.synaptic / found.dense:.2f} % of dense" if found.dense else ""
    yield (
        f"{found.acs:,.0f} additions (AC) and {found.macs:,.0f} multiply-accumulates (MAC){share}"
    )
    quiet = "" if math.isnan(found.sparsity) else f"; {100 * found.sparsity:.2f} % of outputs are 0"
    yield f"{found.updates:,.0f} neuron updates{quiet}"
    yield (
        f"energy: {_joules(found.energy_j)} (dense {_joules(found.dense_energy_j)}); neuron "
        f"updates, counted as MACs, {_joules(found.update_energy_j)} more"
    )
    yield f"{found.weights:,} weights; {count_of(found.bytes, 'byte')} with all other stored values"
    if found.uncounted:
        yield f"not counted (unknown layers): {', '.join(found.uncounted)}"
    yield from textwrap.wrap(f"Counting: {COUNTING_RULE}", 96)
    yield from textwrap.wrap(f"Energy: {ENERGY_SOURCE}.", 96)


def _joules(energy: float) -> str:
    for unit, size in (("J", 1.0), ("mJ", 1e-3), ("uJ", 1e-6), ("nJ", 1e-9)):
        if energy >= size:
            return f"{energy / size:.3g} {unit}"
    return f"{energy / 1e-12:.3g} pJ"


def _operations_values(found: Operations) -> dict[str, Any]:
    from dvskit.evaluation.operations import AC_J, COUNTING_RULE, ENERGY_SOURCE, MAC_J

    counts = ("inputs", "active", "synaptic", "dense")
    layers = [
        {"name": layer.name, "kind": layer.kind}
        | {name: getattr(layer, name) / found.samples for name in counts}
        | {"of_spikes": layer.of_spikes}
        for layer in found.layers
    ]
    energies = ("energy_j", "dense_energy_j", "update_energy_j")
    return {
        "samples": found.samples,
        "steps": found.steps,
        "layers": layers,
        **{name: getattr(found, name) for name in ("acs", "macs", "dense")},
        "neuron_updates": found.updates,
        "activation_sparsity": None if math.isnan(found.sparsity) else found.sparsity,
        **{name: getattr(found, name) for name in energies},
        "ac_j": AC_J,
        "mac_j": MAC_J,
        "weights": found.weights,
        "bytes": found.bytes,
        "uncounted": list(found.uncounted),
        "counting_rule": COUNTING_RULE,
        "energy_source": ENERGY_SOURCE,
    }


# --- scores of images -----------------------------------------------------------------------------


_SCORES = {
    "mse": "MSE",
    "ssim": "SSIM",
    "mse_fitted": "MSE after the best gain and offset",
    "ssim_fitted": "SSIM after the best gain and offset",
    "temporal": "temporal error",
}


def evaluate_images(
    reconstructor: Reconstructor, data: Path, inputs: JudgedInputs, of_images: ImageOptions, *,
    as_json: bool,
) -> None:  # fmt: skip
    """Print the scores of a reconstructor on a recording with frames, or on a video."""
    from dvskit.reconstruction import judge
    from dvskit.video import open_frames

    reading = inputs.reading
    kind = identify_named(data)
    if kind is PathKind.RECORDING:
        if of_images.preset is not None:
            raise ConfigError(f"{data}: --preset is for videos; a recording has its own events")
        scores = judge(reconstructor, reading.open(data))
    elif kind in (PathKind.VIDEO, PathKind.IMAGE_FOLDER):
        refuse_for_images()
        scores = judge(reconstructor, open_frames(data), of_images.preset)
    else:
        raise VideoError(
            f"{data}: holds no frames to compare with; give a recording with frames or a video"
        )
    if as_json:
        _console.print_json(_values(scores))
    else:
        _console.put(*_lines(scores))


def _lines(scores: ImageScores) -> list[str]:
    rows = [
        [_SCORES[name], f"{mean:.5f}", f"{error:.5f}"]
        for name, (mean, error) in scores.summary().items()
    ]
    head = [count_of(len(scores), "image"), "mean", "standard error"]
    return list(aligned([head, *rows]))


def _values(scores: ImageScores) -> dict[str, Any]:
    summary = scores.summary()
    return {
        "images": len(scores),
        "mean": {name: mean for name, (mean, _) in summary.items()},
        "standard_error": {name: error for name, (_, error) in summary.items()},
        "t_us": scores.t_us.tolist(),
        "per_image": {name: values.tolist() for name, values in scores.columns().items()},
    }
