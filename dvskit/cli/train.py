"""`dvskit train`: a configuration becomes a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dvskit.cli import _console
from dvskit.errors import ConfigError


def train(
    config: Annotated[Path, typer.Argument(help="A TOML configuration.", show_default=False)],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a key: --set loop.epochs=3 (as often as you like)."),
    ] = None,
) -> None:
    """Train a spiking network; goes on from its checkpoint if it was interrupted."""
    overrides = dict(_split(text) for text in set_ or ())
    from dvskit.training import load_config
    from dvskit.training import train as run

    resolved = load_config(config, overrides)
    total = resolved.loop.epochs * resolved.loop.steps
    with _console.progress(f"training {resolved.name}", total, "steps") as show:
        trained = run(resolved, progress=lambda now: show(now.step, now.remark))
    for name, result in trained.results.items():
        print(f"{name}: {result}")
    _console.say(f"{trained.folder}: try it: dvskit classify FILE --model {trained.folder}")


def _split(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {text!r} is not key=value, such as loop.epochs=3")
    return key, value
