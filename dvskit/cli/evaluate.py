"""`dvskit eval`: how often a model is right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dvskit.cli import _console
from dvskit.cli._options import Json


def evaluate(
    model: Annotated[
        str, typer.Argument(help="A model folder, or a shipped model's name.", show_default=False)
    ],
    data: Annotated[
        Path, typer.Argument(help="A folder of CLASS/RECORDING files.", show_default=False)
    ],
    json: Json = False,
) -> None:
    """Judge a model on a folder of labelled recordings."""
    from dvskit.training import evaluate as judge
    from dvskit.training import load_model

    result = judge(load_model(model), data)
    if json:
        _console.print_json(
            {
                "accuracy": result.accuracy,
                "samples": result.samples,
                "standard_error": result.standard_error,
                "per_class": result.per_class,
            }
        )
        return
    print(f"accuracy {result}")
    for name, share in result.per_class.items():
        print(f"  {name}: {100 * share:.1f} %")
