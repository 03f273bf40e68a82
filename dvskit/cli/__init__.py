"""The command line: one module a verb. The only place that prints, prompts or exits."""

from __future__ import annotations

import sys

import typer

from dvskit import __version__
from dvskit.cli import _console
from dvskit.cli.calibrate import calibrate
from dvskit.cli.classify import classify
from dvskit.cli.cloud import cloud
from dvskit.cli.convert import convert
from dvskit.cli.demo import demo
from dvskit.cli.doctor import doctor
from dvskit.cli.emulate import emulate
from dvskit.cli.evaluate import evaluate
from dvskit.cli.info import info
from dvskit.cli.plot import app as plot
from dvskit.cli.render import render
from dvskit.cli.train import train
from dvskit.cli.view import view

app = typer.Typer(
    name="dvskit",
    help="Event cameras: read event files, emulate events from video, train spiking networks, "
    "draw event clouds and videos.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _function in (
    ("info", info),
    ("convert", convert),
    ("emulate", emulate),
    ("calibrate", calibrate),
    ("cloud", cloud),
    ("render", render),
    ("view", view),
    ("train", train),
    ("eval", evaluate),
    ("classify", classify),
    ("demo", demo),
    ("doctor", doctor),
):
    app.command(_name)(_console.verb(_function))
app.add_typer(plot, name="plot")


def _print_version(asked: bool) -> None:
    if asked:
        print(f"dvskit {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress, no summaries."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Show the version."
    ),
) -> None:
    _console.quiet = quiet
    _console.debug = debug


def main() -> None:
    """Run the command line; ends the process with 0 (done), 1 (data), 2 (usage) or 130 (Ctrl-C)."""
    arguments = sys.argv[1:]
    # The switches that stand for all verbs are taken wherever they are written.
    common = [word for word in arguments if word in ("-q", "--quiet", "--debug")]
    rest = [word for word in arguments if word not in ("-q", "--quiet", "--debug")]
    app(common + rest, prog_name="dvskit")
