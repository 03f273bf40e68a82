"""`dvskit train --sweep KEY=A,B --seeds 5`: a table of runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from dvskit._progress import Bar
from dvskit.cli import _console
from dvskit.cli._judging import fits_noted
from dvskit.errors import ConfigError

if TYPE_CHECKING:
    from dvskit.training import Config, Progress, SweepRun

SweepOption = Annotated[
    list[str] | None,
    typer.Option(
        "--sweep",
        metavar="KEY=A,B,...",
        help="Train with each of these values of a key, and of several keys with each combination; "
        "each run in a folder of its own. The same command goes on where it was interrupted.",
    ),
]
SeedsOption = Annotated[
    int | None,
    typer.Option(
        "--seeds",
        metavar="N",
        help="Train N times, with seeds from the configuration's on, for means and their errors.",
        show_default=False,
    ),
]


def run_sweep(config: Config, sweeps: Sequence[str], seeds: int, *, tensorboard: bool) -> None:
    """Train all runs with a bar each, and print a table. Raises ConfigError before any begins."""
    from dvskit.training import sweep

    with fits_noted(), ExitStack() as stack:
        bars: dict[int, Bar] = {}

        def follow(run: SweepRun, now: Progress) -> None:
            if run.number not in bars:
                stack.close()  # the bar of the run before
                title = f"run {run.number + 1} of {run.count}: {run.title}"
                bars[run.number] = stack.enter_context(_console.progress(title, now.steps, "steps"))
            bars[run.number](now.step, now.remark)
            if now.scores:
                _console.log(f"run {run.number + 1} of {run.count}: {run.title}: {now.remark}")

        def note(run: SweepRun, text: str) -> None:
            if run.number == 0:  # alike for all
                _console.note(text)

        keys = _keys(sweeps)
        found = sweep(
            config, keys, seeds=seeds, progress=follow, note=note, tensorboard=tensorboard
        )
    print(found)
    _console.say(f"{found.folder}: a model each, and sweep.csv, this table")


def _keys(sweeps: Sequence[str]) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for text in sweeps:
        key, equals, values = text.partition("=")
        if not equals or not key or not values:
            raise ConfigError(
                f"--sweep {text!r} is not key=value,value, such as loop.learning_rate=1e-3,4e-3"
            )
        if key in keys:
            raise ConfigError(f"--sweep {key}: twice; name all its values at once")
        keys[key] = list(_split(values))
    return keys


def _split(text: str) -> Iterator[str]:
    """Yield the values between commas, but not those within brackets or quotes."""
    begun, depth, quoted = 0, 0, False
    for at, letter in enumerate(text):
        quoted ^= letter == '"'
        depth += 0 if quoted else (letter == "[") - (letter == "]")
        if letter == "," and not depth and not quoted:
            yield text[begun:at].strip()
            begun = at + 1
    yield text[begun:].strip()
