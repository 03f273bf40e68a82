"""The command line: its commands, in a module each or several, imported when they are used.

Only this folder prints, prompts or exits.
"""

from __future__ import annotations

import sys
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from dvskit import __version__, _interrupt
from dvskit.cli import _console
from dvskit.cli._binding import bound, unbound
from dvskit.errors import one_line

# The commands, in the order of the help: their modules, and functions if they have other names.
MODULES = {
    "info": "info", "convert": "convert", "merge": "convert", "filters": "info",
    "emulate": "emulate", "calibrate": "emulate", "cloud": "cloud", "render": "render",
    "view": "view", "corners": "motion", "flow": "motion", "motion": "motion", "track": "track",
    "reconstruct": "reconstruct", "train": "train", "teach": "train", "eval": "evaluate",
    "classify": "classify", "cameras": "info", "ros": "convert", "demo": "demo", "sample": "demo",
    "doctor": "doctor", "plot": "plot",
}  # fmt: skip
_FUNCTIONS = {"eval": "evaluate"}
# How to continue after Ctrl-C.
_INTERRUPTED = {
    "teach": "run the same command again to continue; recorded clips are kept",
    "train": "run the same command again to continue",
    "view": "run the same command again to show the recordings",
}
_CLOSE = 0.8  # the least similarity of a suggested command
_CTRL_C = 130  # what Typer returns for Ctrl-C outside a command

# Base class of the parser's errors; typer exports only its children.
_WrongWords: Any = typer.BadParameter.__mro__[2]

# Options of other tools and of earlier releases: the command, "" for all; the typed option; and the
# end of the message.
_MEANT = {
    ("convert", "--scale"): "--fit WIDTHxHEIGHT scales",
    ("convert", "--resize"): "--fit WIDTHxHEIGHT scales",
    ("emulate", "--scale"): "--size WIDTHxHEIGHT scales",
    ("emulate", "--resize"): "--size WIDTHxHEIGHT scales",
    ("render", "--resize"): "--scale N scales",
    ("cloud", "--scale"): "--pixels WIDTHxHEIGHT scales",
    ("", "--out"): "its name is --output now",
    ("cloud", "--colour"): "its name is --color WHAT now",
    ("motion", "--camera"): "its name is --lens FILE now",
    ("render", "--stabilise"): "its name is --stabilize MODEL now",
    ("train", "--from"): "its name is --start MODEL now",
}

# Unknown commands, and the rest of the message: "there is no command 'track' in this version; ...".
_ANSWERS = {
    "corner harris features track-corners": "`dvskit corners FILE -o tracks.csv` tracks corners",
    "optical-flow opticalflow": "`dvskit flow FILE -o OUT` gives the velocity of each event",
    "stabilise stabilize warp contrast cmax imu":
        "`dvskit motion FILE` estimates motion, also beside the IMU's; `dvskit render --stabilize` "
        "removes it",
    "tracking tracker objects cluster clusters":
        "`dvskit track FILE -o objects.csv` follows moving objects",
    "reconstruction e2vid firenet images":
        "`dvskit reconstruct FILE -o OUT` turns events into images",
    "frames": "`dvskit render FILE -o FOLDER` draws events as PNG frames; `dvskit convert --bins` "
        "writes tensors",
    "camera list-cameras usb devices": "`dvskit cameras` lists USB event cameras",
    "record stream": "`dvskit convert --camera evk4 OUT` records a USB event camera; `dvskit "
        "emulate --camera 0 OUT` takes a webcam",
    "topic topics rostopic listen publish subscribe play rosbag":
        "`dvskit ros listen` and `dvskit ros play` connect to topics of ROS 2; `dvskit convert "
        "BAG OUT` reads bags",
    "learn fit": "`dvskit train FOLDER` trains on a folder with a folder for each class",
    "test train-test traintest score accuracy":
        "`dvskit eval MODEL DATA` scores a model; `dvskit train FOLDER` holds clips out and tests",
    "samples example examples quickstart tutorial": "`dvskit demo` shows the whole path; `dvskit "
        "sample` writes files to try the other commands on",
    "evaluate": "`dvskit eval MODEL DATA` scores a model",
    "predict infer inference recognise recognize live":
        "`dvskit classify FILE --model MODEL` classifies; with --live it decides as events arrive",
    "list-filters filter denoise noise-filter":
        "`dvskit filters` lists the filters; `dvskit convert IN OUT --filter NAME` applies them",
    "v2e esim simulate simulator synth video2events vid2e":
        "`dvskit emulate VIDEO OUT` turns a video into events, with `--preset v2e` in v2e's steps",
    "upsample slomo interpolate": "`dvskit emulate VIDEO OUT --upsample` adds frames",
    "crop cut trim slice split window":
        "`dvskit convert IN OUT` cuts, with --start, --stop and --crop",
    "resize scale downsample": "`dvskit convert IN OUT --fit 640x480` scales events",
    "tensor tensors voxel voxelize bin histogram":
        "`dvskit convert IN OUT.npy --bins 20` writes tensors; --as names others",
    "show play visualise visualize viewer display":
        "`dvskit view FILE` shows a recording, `dvskit cloud` and `dvskit render` draw it",
    "animate video gif mp4": "`dvskit render FILE -o OUT.mp4` draws a video of events",
    "raster rate isi noise spectrum flicker confusion curves":
        "`dvskit plot` draws plots: see `dvskit plot --help`",
    "stats stat describe show-info inspect header": "`dvskit info FILE` shows what a file holds",
    "export save write import onnx nir":
        "`dvskit convert IN OUT` writes event files; networks go to NIR, ONNX and snntorch in "
        "Python (dvskit.networks)",
    "help": "`dvskit --help` lists the commands",
}  # fmt: skip
ANSWERS = {word: answer for words, answer in _ANSWERS.items() for word in words.split()}


class _Commands(TyperGroup):
    """The commands, loaded when used; an unknown one gets a hint at another command or package."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return list(MODULES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; None if there is none of that name."""
        if cmd_name in MODULES and cmd_name not in self.commands:
            interrupted = _INTERRUPTED.get(cmd_name, _interrupt.BEGIN_ANEW)
            self.commands[cmd_name] = bound(cmd_name, _function(cmd_name), interrupted)
        return self.commands.get(cmd_name)

    def format_help(self, *given: Any) -> None:
        """Write the help, which needs no options of commands."""
        self.commands = {name: unbound(name, _function(name)) for name in MODULES}
        super().format_help(*given)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command in the arguments. Raises a usage error for an unknown one."""
        name = args[0] if args else ""
        if name and name not in MODULES and not name.startswith("-"):
            ctx.fail(_unknown_command(name))
        return super().resolve_command(ctx, args)


def _function(name: str) -> Any:
    """Return the function of a command, or the group of commands."""
    return getattr(import_module(f"dvskit.cli.{MODULES[name]}"), _FUNCTIONS.get(name, name))


def _unknown_command(name: str) -> str:
    """Return the message about a command that does not exist."""
    word, known = name.strip().lower().replace("_", "-"), sorted(MODULES)
    if word in ANSWERS:
        return f"there is no command {name!r} in this version; {ANSWERS[word]}"
    near = [each for each in known if len(word) > 2 and each.startswith(word)]
    near = near or get_close_matches(word, known, n=1, cutoff=_CLOSE)
    hint = f"did you mean {near[0]!r}?" if near else f"commands: {', '.join(known)}"
    return f"there is no command {name!r}; {hint}"


app = typer.Typer(
    name="dvskit",
    cls=_Commands,
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


def _tell_usage(error: Any) -> int:
    """Print one line about a wrong command line; return the exit code."""
    message = one_line(error.format_message()).replace(": Value error, ", ": ", 1)
    context = getattr(error, "ctx", None)
    where = "dvskit" if context is None else context.command_path
    asked = getattr(error, "option_name", None)
    meant = _meant(where.rpartition(" ")[2], asked) if asked else ""
    if meant:
        message = f"No such option: {asked}; {meant}"
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
    else:
        print(f"dvskit: error: {message.rstrip('.')} ({where} --help)", file=sys.stderr)
    return int(error.exit_code)


def _meant(command: str, asked: str) -> str:
    """Return the end of the message about an unknown option; empty if no other one is meant."""
    meant = _MEANT.get((command, asked)) or _MEANT.get(("", asked), "")
    if meant or command != "emulate":
        return meant
    from dvskit.emulator.params import V2E_NAMES, answer_for

    ours = V2E_NAMES.get(asked.lstrip("-").replace("-", "_"), "")
    by_set = f" (--set {ours.split(',')[0]}=...)" if "_" in ours.split(" ")[0] else ""
    return f"{answer_for(asked)}{by_set}" if ours else ""
