"""The command line, one module per command, imported when it is used.

Only this folder prints, prompts or exits.
"""

from __future__ import annotations

import sys
from typing import Any

import typer

from dvskit import __version__, _interrupt
from dvskit.cli import _console
from dvskit.cli._commands import Commands
from dvskit.errors import one_line

app = typer.Typer(
    name="dvskit",
    cls=Commands,
    help="Event cameras: read event files, emulate events from video, train spiking networks, "
    "draw event clouds and videos.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    """Run the command line; ends the process with an exit code.

    0: done; 1: data; 2: usage; 3: the sender of a stream was lost, and the events before that were
    used; 130: Ctrl-C.
    """
    arguments = sys.argv[1:]
    # The common switches are accepted anywhere on the command line.
    common = [word for word in arguments if word in ("-q", "--quiet", "--debug")]
    rest = [word for word in arguments if word not in ("-q", "--quiet", "--debug")]
    try:
        with _console.warnings_as_notes():
            ended_with = app(common + rest, prog_name="dvskit", standalone_mode=False)
    except _WrongWords as error:
        sys.exit(_tell_usage(error))
    except typer.Abort:  # Ctrl-C outside a command, in older releases of Typer
        ended_with = _CTRL_C
    if ended_with == _CTRL_C:
        _interrupt.report()
        ended_with = _interrupt.exit_code()
    sys.exit(ended_with if isinstance(ended_with, int) else 0)


_CTRL_C = 130  # what Typer returns for Ctrl-C outside a command

# Base class of the parser's errors; typer exports only its children.
_WrongWords: Any = typer.BadParameter.__mro__[2]


# Options of other tools: the command, the typed option, and the end of the message.
_MEANT = {
    ("convert", "--scale"): "--fit WIDTHxHEIGHT scales",
    ("convert", "--resize"): "--fit WIDTHxHEIGHT scales",
    ("emulate", "--scale"): "--size WIDTHxHEIGHT scales",
    ("emulate", "--resize"): "--size WIDTHxHEIGHT scales",
    ("render", "--resize"): "--scale N scales",
    ("cloud", "--scale"): "--pixels WIDTHxHEIGHT scales",
}
# Options of earlier releases: the command, "" for all, and the new name.
_RENAMED = {
    ("", "--out"): "--output",
    ("motion", "--camera"): "--lens FILE",
    ("train", "--from"): "--start MODEL",
}


def _tell_usage(error: Any) -> int:
    """Print one line about a wrong command line; return the exit code."""
    message = one_line(error.format_message()).replace(": Value error, ", ": ", 1)
    context = getattr(error, "ctx", None)
    where = "dvskit" if context is None else context.command_path
    asked = getattr(error, "option_name", None)
    command = where.rpartition(" ")[2]
    renamed = _RENAMED.get((command, str(asked))) or _RENAMED.get(("", str(asked)))
    meant = _MEANT.get((command, str(asked))) or (renamed and f"its name is {renamed} now")
    if meant is not None:
        message = f"No such option: {asked}; {meant}"
    elif asked and where.endswith("emulate"):
        from dvskit.emulator.params import V2E_NAMES, answer_for

        ours = V2E_NAMES.get(asked.lstrip("-").replace("-", "_"), "")
        if ours:
            by_set = f" (--set {ours.split(',')[0]}=...)" if "_" in ours.split(" ")[0] else ""
            message = f"No such option: {asked}; {answer_for(asked)}{by_set}"
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
    else:
        print(f"dvskit: error: {message.rstrip('.')} ({where} --help)", file=sys.stderr)
    return int(error.exit_code)
