"""`dvskit classify`: what a model sees in a recording."""

from __future__ import annotations

from typing import Annotated

import typer

from dvskit.cli import _console
from dvskit.cli._options import (
    FormatOption,
    InputFile,
    Json,
    Salvage,
    SizeOption,
    open_file,
)
from dvskit.cli._shown import check_model
from dvskit.events import read_all


def classify(
    file: InputFile,
    model: Annotated[
        str, typer.Option(help="A model folder, or a shipped model's name.", show_default=False)
    ],
    json: Json = False,
    from_: FormatOption = None,
    size: SizeOption = None,
    salvage: Salvage = False,
) -> None:
    """Say which class a recording is, and how sure the model is."""
    recording = open_file(file, from_, size, salvage)
    from dvskit.training import classify as judge
    from dvskit.training import load_model

    network = load_model(model)
    check_model(network, recording.size, file)
    shares = judge(network, read_all(recording))
    best = max(shares, key=lambda name: shares[name])
    if recording.damage:
        _console.note(f"{file}: {recording.damage}")
    if json:
        _console.print_json({"class": best, "probabilities": shares})
        return
    print(f"{best} ({100 * shares[best]:.1f} %)")
    for name in sorted(shares, key=lambda name: -shares[name])[1:4]:
        print(f"  or {name} ({100 * shares[name]:.1f} %)")
