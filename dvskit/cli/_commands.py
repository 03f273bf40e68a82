"""The commands for typer: their help, and hints for commands that do not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from dvskit import _interrupt
from dvskit.cli import _console
from dvskit.cli._listed_names import with_lists
from dvskit.cli._options import spread
from dvskit.cli._remote import fetched

# The commands, in the order of the help, and their modules.
MODULES = {
    name: name for name in (
        "info", "convert", "merge", "filters", "emulate", "calibrate", "cloud", "render", "view",
        "corners", "flow", "motion", "track", "reconstruct", "train", "teach", "eval", "classify",
        "cameras", "ros", "demo", "sample", "doctor", "plot",
    )
} | {"eval": "evaluate"}  # fmt: skip
# How to continue after Ctrl-C.
_INTERRUPTED = {
    "teach": "run the same command again to continue; recorded clips are kept",
    "train": "run the same command again to continue",
    "view": "run the same command again to show the recordings",
}
_OF_MANY = ("classify", "convert", "emulate", "reconstruct", "render")  # each job fetches its file
_CLOSE = 0.8  # the least similarity of a suggested command

# Unknown commands, and the rest of the message: "there is no command 'track' in this version; ...".
_ANSWERS = {
    "corner harris features track-corners": "`dvskit corners FILE -o tracks.csv` tracks corners",
    "optical-flow opticalflow": "`dvskit flow FILE -o OUT` gives the velocity of each event",
    "stabilise stabilize warp contrast cmax imu":
        "`dvskit motion FILE` estimates motion, also beside the IMU's; `dvskit render --stabilise` "
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
    "resize scale downsample": "`dvskit convert IN OUT --fit WIDTHxHEIGHT` scales events",
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


class Commands(TyperGroup):
    """The commands, loaded when used; an unknown one gets a hint at another command or package."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return list(MODULES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; None if there is none of that name."""
        if cmd_name in MODULES and cmd_name not in self.commands:
            self.commands[cmd_name] = _load(cmd_name)
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command in the arguments. Raises a usage error for an unknown one."""
        name = args[0] if args else ""
        known = self.get_command(ctx, name) is not None
        if name and not known and not name.startswith("-"):
            ctx.fail(unknown_command(name, MODULES))
        return super().resolve_command(ctx, args)


class ListingCommand(TyperCommand):
    """A command with registered names in its help."""

    def format_help(self, *given: Any) -> None:
        """Write the help, with the names of `LISTS`."""
        for each in self.params:
            text = getattr(each, "help", None)
            if text:
                each.help = with_lists(text)  # type: ignore[attr-defined]
        super().format_help(*given)


def unknown_command(name: str, commands: Iterable[str]) -> str:
    """Return the message about a command that does not exist."""
    word, known = name.strip().lower().replace("_", "-"), sorted(commands)
    if word in ANSWERS:
        return f"there is no command {name!r} in this version; {ANSWERS[word]}"
    near = [each for each in known if len(word) > 2 and each.startswith(word)]
    near = near or get_close_matches(word, known, n=1, cutoff=_CLOSE)
    hint = f"did you mean {near[0]!r}?" if near else f"commands: {', '.join(known)}"
    return f"there is no command {name!r}; {hint}"


def _load(name: str) -> Any:
    module_name = MODULES[name]
    module = import_module(f"dvskit.cli.{module_name}")
    app = getattr(module, "app", None)  # of a module with commands of its own
    if app is None:
        function = getattr(module, module_name)
        called = spread(function) if name in _OF_MANY else fetched(spread(function))
        guarded = _console.command(called, _INTERRUPTED.get(name, _interrupt.BEGIN_ANEW))
        app = typer.Typer(add_completion=False)
        app.command(name, cls=ListingCommand, help=_console.help_of(function))(guarded)
    made = typer.main.get_command(app)
    made.name = name
    _escape(made)
    return made


def _escape(command: Any) -> None:
    """Keep words in brackets in the help: they are markup for rich."""
    for each in (command, *command.params):
        text = getattr(each, "help", None)  # some arguments have none
        if text and "[" in text:
            from rich.markup import escape  # here because it loads slowly

            each.help = escape(text)
    for child in getattr(command, "commands", {}).values():
        _escape(child)
