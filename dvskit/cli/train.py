"""`dvskit train`: a configuration becomes a model folder."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dvskit._progress import Bar
from dvskit.cli import _console
from dvskit.cli._judging import fits_noted
from dvskit.cli._sweep import SeedsOption, SweepOption, run_sweep
from dvskit.errors import ConfigError

if TYPE_CHECKING:
    from dvskit.training import Progress


def train(
    config: Annotated[
        Path, typer.Argument(help="A configuration (.toml); samples/ has some.", show_default=False)
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a key of the configuration, such as loop.epochs=3, or of a set that it "
            "learns from, data.NAME.path=FOLDER; as often as you like.",
        ),
    ] = None,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Write the loss of each step and the scores of each epoch for TensorBoard too, to "
            'the folder tensorboard in the output; needs pip install "dvskit[tensorboard]".',
        ),
    ] = False,
    sweep: SweepOption = None,
    seeds: SeedsOption = None,
) -> None:
    """Train a spiking network. A run that was interrupted goes on where it was.

    On several processors, GPUs or machines: torchrun --nproc-per-node 2 -m dvskit train CONFIG
    """
    overrides = dict(_split(text) for text in set_ or ())
    from dvskit.training import leads, load_config
    from dvskit.training import train as run

    resolved = load_config(config, overrides)
    if sweep or seeds is not None:
        run_sweep(resolved, sweep or (), 1 if seeds is None else seeds, tensorboard=tensorboard)
        return
    with fits_noted(), ExitStack() as stack:
        bars: list[Bar] = []

        def follow(now: Progress) -> None:
            if not bars:
                bar = _console.progress(f"training {resolved.name}", now.steps, "steps")
                bars.append(stack.enter_context(bar))
            bars[0](now.step, now.remark)
            if now.scores and not (_console.quiet or _console.on_terminal()):
                print(now.remark, file=sys.stderr, flush=True)  # for logs: a line an epoch

        trained = run(resolved, progress=follow, note=_console.note, tensorboard=tensorboard)
    if not leads():  # of the processes that torchrun started one prints
        return
    for name, result in trained.results.items():
        print(f"{name}: {result}")
        for text in result.notes:
            _console.note(text)
    if not bars:
        _console.note(
            f"{trained.folder}: was finished before ({len(trained.history)} epochs); another "
            "output trains anew (--set output=FOLDER)"
        )
    _console.say(f"{trained.folder}: try it: dvskit classify FILE --model {trained.folder}")


def _split(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {text!r} is not key=value, such as loop.epochs=3")
    return key, value
