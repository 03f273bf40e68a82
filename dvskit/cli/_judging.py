"""Shared parts of commands that judge recordings and images: opening and printing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.cells import cell_len, set_cell_size

from dvskit.cli import _console
from dvskit.cli._inputs import note_skipped
from dvskit.cli._options import Reading, Spikes, refuse_for_images
from dvskit.errors import printable

if TYPE_CHECKING:
    from dvskit.datasets import FileSamples
    from dvskit.evaluation import Result
    from dvskit.evaluation.judging import Judging
    from dvskit.evaluation.measures import Findings

_ELSEWHERE = 100  # columns in a file or a pipe
_LONGEST = 32  # cells of a name
_MISTAKES = 10  # listed if there is no room for a table
_NONE = "."  # less visible than 0


class PartName(Enum):
    """The recordings of a folder that judge a model."""

    held_out = "held-out"
    all = "all"
    train = "train"
    validation = "validation"
    test = "test"


DataArgument = Annotated[
    Path,
    typer.Argument(
        help="A folder of CLASS/RECORDING or CLASS/IMAGE files, or of MNIST's IDX files.",
        show_default=False,
    ),
]
SplitOption = Annotated[
    PartName,
    typer.Option(
        metavar="PART",
        help="Recordings to judge: all; train, validation or test of the model's run; or "
        "held-out, those used neither for training nor for choosing the model. For MNIST: "
        "its test images.",
    ),
]


def score_lines(result: Result) -> list[str]:
    """Return the accuracy of a model with its interval, and its confusion matrix, as lines."""
    from dvskit.models.scores import headlines

    return [*headlines(result), *matrix_lines(result)]


def result_values(result: Result) -> dict[str, Any]:
    """Return a result as values for --json.

    The accuracy is None if the model was trained on, or chosen by, all samples.
    """
    own = result.seen >= result.samples
    return {
        "accuracy": None if own else result.accuracy,
        **({"accuracy_on_training_samples": result.accuracy} if own else {}),
        "samples": result.samples,
        "interval_95": result.interval_95,
        "per_class": result.per_class,
        "classes": list(result.classes),
        "confusion": result.confusion.tolist(),
        "trained_on": result.seen,
        "left_out": result.left_out,
        "encoder": result.encoder or None,
        "notes": list(result.notes),
    }


@dataclass(frozen=True, slots=True)
class Folder:
    """A model and its judging samples; `files` are all recordings of the folder."""

    judging: Judging
    files: FileSamples | None = None

    def judge(self) -> Result:
        from dvskit.evaluation.measures import Measures, measure

        return self.noted(measure(self.judging, Measures()))

    def noted(self, found: Findings) -> Result:
        """Return the result of the measured samples, and print its notes."""
        from dvskit.evaluation.judging import described

        result = described(self.judging, found.result)
        if self.files is not None:
            for number, damage in sorted(self.files.damage.items()):
                _console.note(f"{self.files.rows[number].where}: {damage}")
        for text in result.notes:
            _console.note(text)
        return result


@dataclass(frozen=True, slots=True)
class JudgedInputs:
    """How judging samples are opened: recordings, and still images as spikes."""

    reading: Reading = field(default_factory=Reading)
    spikes: Spikes = field(default_factory=Spikes)


def open_folder(model: str, data: Path, split: PartName, inputs: JudgedInputs) -> Folder:
    """Open a folder of recordings or images to judge a model; note files that are left out."""
    reading, spikes = inputs.reading, inputs.spikes
    from dvskit.datasets import holds_images
    from dvskit.evaluation.judging import open_for, open_judging
    from dvskit.models import load_model
    from dvskit.networks.model_folder import find_model
    from dvskit.reconstruction.reconstructed import NAMES

    network = load_model(find_model(model, others=NAMES))
    if holds_images(data):
        refuse_for_images()
    elif spikes == Spikes():
        size = reading.size or network.emulation.size
        samples = open_for(
            network, data, size=size, format=reading.from_, strict=not reading.salvage
        )
        for file, why in samples.left_out:
            _console.note(f"{file}: left out: {why}")
        note_skipped(list(samples.others))
        return Folder(open_judging(network, samples, split=split.value), samples)
    return Folder(
        open_judging(network, data, split=split.value, encoder=spikes.encoder, seed=spikes.seed)
    )


def matrix_lines(result: Result, width: int | None = None) -> list[str]:
    """Return the lines of the confusion matrix of a result.

    A row is a true class, a column an answer; the last column is the share of right answers.
    Classes without samples have no row. Columns are named if there is room, else numbered like the
    rows. If even that is too wide, each class has a line with its share, followed by the most
    frequent mistakes.

    width  of the terminal, in characters; default: that of standard output, 100 for a pipe
    """
    if width is None:
        width = shutil.get_terminal_size((_ELSEWHERE, 24)).columns
    names = [_shown(name) for name in result.classes]
    numbers = [str(k + 1) for k in range(len(names))]
    numbered = [f"{k:>{len(numbers[-1])}} {name}" for k, name in zip(numbers, names, strict=True)]
    for rows, columns in ((names, names), (numbered, numbers)):
        lines = _table(result, rows, columns)
        if max(map(cell_len, lines)) <= width:
            return lines
    return [*_shares(result, names), *_mistakes(result, names)]


def _shown(name: str) -> str:
    """Return a name on one line, cut if it is too long."""
    plain = printable(" ".join(name.split()))
    return plain if cell_len(plain) <= _LONGEST else set_cell_size(plain, _LONGEST - 1) + "…"


def _table(result: Result, rows: Sequence[str], columns: Sequence[str]) -> list[str]:
    counts = [[f"{n:,}" if n else _NONE for n in row] for row in result.confusion.tolist()]
    body = [[name, *counts[k], _share(result, k)] for k, name in enumerate(rows)]
    head, *lines = aligned([["true \\ answer", *columns, "right"], *body])
    return [head, *(line for line, row in zip(lines, result.confusion, strict=True) if row.any())]


def _share(result: Result, k: int) -> str:
    total = int(result.confusion[k].sum())
    return f"{100 * result.confusion[k, k] / total:.1f} %" if total else ""


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows as aligned lines: the first column to the left, the others to the right."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        gaps = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        others = (gap + cell for cell, gap in zip(row[1:], gaps[1:], strict=True))
        yield "  ".join([row[0] + gaps[0], *others]).rstrip()


def _shares(result: Result, names: Sequence[str]) -> Iterator[str]:
    for k, name in enumerate(names):
        if result.confusion[k].any():
            yield f"  {name}: {_share(result, k)}"


def _mistakes(result: Result, names: Sequence[str]) -> Iterator[str]:
    wrong = result.confusion.copy()
    np.fill_diagonal(wrong, 0)
    worst = np.argsort(-wrong, axis=None, kind="stable")[:_MISTAKES]
    found = [divmod(int(place), len(names)) for place in worst if wrong.flat[place]]
    if found:
        yield f"most frequent mistakes, of {int(wrong.sum()):,}:"
    for true, answer in found:
        yield f"  {names[true]} classified as {names[answer]}: {int(wrong[true, answer]):,}"
