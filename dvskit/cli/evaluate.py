"""`dvskit eval`: how often a model is right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dvskit.cli import _console
from dvskit.cli._judging import PartName, Reader, Spikes, SplitOption, judge_folder, score_lines
from dvskit.cli._options import (
    EncoderOption,
    FormatOption,
    Json,
    ModelArgument,
    Salvage,
    SizeOption,
    SpikeSeedOption,
)


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
    from_: FormatOption = None,
    size: SizeOption = None,
    salvage: Salvage = False,
    encoder: EncoderOption = None,
    seed: SpikeSeedOption = None,
) -> None:
    """Score a model on labelled recordings or still images: on those it was not trained on."""
    reader, spikes = Reader(from_, size, salvage), Spikes(encoder, seed)
    result = judge_folder(model, data, split, reader, spikes)
    if json:
        _console.print_json(
            {
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
        )
        return
    for line in score_lines(result):
        print(line)
