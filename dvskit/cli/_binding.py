"""A function as a command: its options, its files at addresses, its errors in one line.

    @dataclass(frozen=True, slots=True)
    class Reading:
        \"""How recordings are opened.

        from_    The format of the input.
        salvage  Read damaged files.
        \"""
        from_: str | None = option(shown="by its content")     # --from
        salvage: bool = False                                   # --salvage

    def info(file: Path, json: bool = False, reading: Reading = Reading()) -> None:
        \"""Show what is in an event file.

        file  An event file.
        json  Print JSON.
        \"""

A parameter without a default is an argument. One that is a dataclass stands for the options in its
fields, also of nested dataclasses. The help is in the docstrings; `option` and `argument` say more.
"""

from __future__ import annotations

import errno
import inspect
import os
import re
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer.core import TyperCommand
from typer.models import OptionInfo, ParameterInfo

from dvskit import _files, _interrupt
from dvskit.cli import _console
from dvskit.cli._options import PARSERS, REQUIRED
from dvskit.cli._remote import Staging, with_slashes
from dvskit.errors import ConfigError, DvskitError, explained, one_line
from dvskit.formats import list_formats
from dvskit.formats.addresses import ADDRESSES
from dvskit.formats.network import lost_senders
from dvskit.formats.usb_driver import CAMERAS
from dvskit.registry import load_packages

_INPUTS = {"file", "files", "frames", "recording"}  # parameters that may be addresses
# A parameter in a docstring, and the text about it, whose other lines are indented.
_ENTRY = re.compile(r"^(\w+) {2,}(\S.*(?:\n {2,}\S.*)*)", re.MULTILINE)
_LOST_SENDER = 3  # the exit code if the sender of a stream was lost
_FULL = (  # a disk of none of the outputs
    "; free some space, or name other folders for temporary files (TMPDIR) and for compiled loops "
    "(NUMBA_CACHE_DIR)"
)


@dataclass(frozen=True, slots=True)
class CommandGroup:
    """Commands below a command, such as those of `plot`, and their common help."""

    help: str
    commands: Mapping[str, Callable[..., None]]


def bound(name: str, command: Callable[..., None] | CommandGroup, interrupted: str) -> Any:
    """Return a command for the command line.

    interrupted  how to continue after Ctrl-C
    """
    if isinstance(command, CommandGroup):
        app = typer.Typer(help=command.help, no_args_is_help=True, add_completion=False)
        children = command.commands
    else:
        app, children = typer.Typer(add_completion=False), {name: command}
    for child, function in children.items():
        app.command(child, cls=_Command, help=_help_of(function))(_called(function, interrupted))
    made = typer.main.get_command(app)
    made.name = name
    return made


def unbound(name: str, command: Callable[..., None] | CommandGroup) -> Any:
    """Return a command without its options, for a list of commands with their help."""
    text = command.help if isinstance(command, CommandGroup) else _help_of(command)
    return TyperCommand(name, help=text)


def _called(function: Callable[..., None], interrupted: str) -> Callable[..., None]:
    """Return a function with the parameters that the command line shows."""
    parameters = list(_options_of(function))

    def run(**given: Any) -> None:
        with errors_in_one_line(interrupted), Staging() as staging:
            for name, value in given.items():
                given[name] = staging.inputs(value) if name in _INPUTS else with_slashes(value)
            if isinstance(out := given.get("out"), Path):
                given["out"] = staging.output(out, force=given.get("force", False))
            function(**_gathered(function, given))

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _options_of(group: Any) -> Iterator[inspect.Parameter]:
    """Yield the parameters of a function or dataclass for typer."""
    hints = get_type_hints(group, include_extras=True)
    helps = dict(_ENTRY.findall(inspect.getdoc(group) or ""))
    for name, default in _defaults_of(group):
        hint: Any = hints[name]
        if is_dataclass(hint):
            yield from _options_of(hint)
            continue
        infos = [each for each in get_args(hint) if isinstance(each, ParameterInfo)]
        if isinstance(default, Field):
            infos += [each for each in (default.metadata.get("option"),) if each is not None]
            default = REQUIRED if default.default is MISSING else default.default
        if not infos:
            infos = [typer.Option() if default is not REQUIRED else typer.Argument()]
        (info,) = infos
        hint = hint if info in get_args(hint) else Annotated[hint, info]
        info.help = info.help or " ".join(helps.get(name, "").split())
        _parse(info, hint)
        named = isinstance(info.default, str)  # typer takes the first name for a default
        if isinstance(info, OptionInfo) and not named and (default is False or name[-1] == "_"):
            info.param_decls = (f"--{name.strip('_').replace('_', '-')}",)
        kind = inspect.Parameter.KEYWORD_ONLY
        yield inspect.Parameter(name, kind, default=default, annotation=hint)


def _parse(info: Any, hint: Any) -> None:
    """Let an option read its text by its type, one of `PARSERS`."""
    known = [PARSERS[each] for each in _types_in(hint) if each in PARSERS]
    if not known or info.parser is not None:
        return
    word, parse = known[0]

    def read(text: Any) -> Any:
        try:
            return parse(text) if isinstance(text, str) else text
        except DvskitError as error:
            raise typer.BadParameter(one_line(error)) from error

    info.parser, info.metavar = read, info.metavar or word


def _types_in(hint: Any) -> Iterator[Any]:
    """Yield the types in a hint, such as Size in `Size | None` and `list[Size]`."""
    inside = get_args(hint)
    if inside:
        for each in inside:
            yield from _types_in(each)
    elif isinstance(hint, Hashable):
        yield hint


def _defaults_of(group: Any) -> Iterator[tuple[str, Any]]:
    if is_dataclass(group):
        yield from ((each.name, each) for each in fields(group))
    else:
        parameters = inspect.signature(group).parameters.values()
        yield from ((each.name, each.default) for each in parameters)


def _gathered(group: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a function or dataclass, with those that are dataclasses made."""
    arguments: dict[str, Any] = {}
    for name, hint in get_type_hints(group, include_extras=True).items():
        make: Any = hint
        if is_dataclass(hint):
            arguments[name] = make(**_gathered(hint, given))
        elif name in given:
            arguments[name] = given[name]
    return arguments


class _Command(TyperCommand):
    """A command whose help lists registered names."""

    def format_help(self, *given: Any) -> None:
        """Write the help, with the names of `LISTS`; words in brackets are not markup."""
        from rich.markup import escape  # here because it loads slowly

        for each in (self, *self.params):
            text = getattr(each, "help", None)
            if text:
                plain = with_lists(text.replace("\\[", "["))
                each.help = escape(plain)  # type: ignore[attr-defined]
        super().format_help(*given)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; messages then name its options."""
        options = [each for each in self.params if each.param_type_name == "option"]
        _console.options = {str(each.name): max(each.opts, key=len) for each in options}
        _console.typed = {
            name for name in _console.options
            if getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"
        }  # fmt: skip
        return super().invoke(ctx)


def _help_of(function: Callable[..., Any]) -> str:
    """Return a docstring as help text, without the entries of parameters and line breaks."""
    names = inspect.signature(function).parameters
    text = _ENTRY.sub(
        lambda found: "" if found[1] in names else found[0], inspect.getdoc(function) or ""
    )
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n") if part.strip())


@contextmanager
def errors_in_one_line(interrupted: str = _interrupt.BEGIN_ANEW) -> Iterator[None]:
    """Turn the exceptions of a command into one line on stderr and an exit code.

    interrupted  how to continue after Ctrl-C
    """
    _interrupt.advise(interrupted)
    _files.written = {}
    lost_senders.clear()
    try:
        yield
    except BrokenPipeError:
        # The reader of a pipe has seen enough; python must not complain while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except (KeyboardInterrupt, Exception) as error:
        if _interrupt.caused(error):
            _interrupt.report()
            raise typer.Exit(_interrupt.exit_code()) from None
        known = explained(error)
        if _console.debug or not isinstance(known, DvskitError | OSError | MemoryError):
            raise
        _console.end_notes()
        fix = _FULL if isinstance(known, OSError) and known.errno == errno.ENOSPC else ""
        _console.tell(f"error: {_console.for_shell(one_line(known))}{fix}")
        # ConfigError includes wrong option values, which the parser cannot detect.
        code = 2 if isinstance(known, ConfigError) else 1
        raise typer.Exit(_LOST_SENDER if lost_senders else code) from None
    finally:
        _console.end_notes()
        for target, paths in _files.left_over():
            names = ", ".join(path.name for path in paths)
            _console.note(
                f"{target}: a killed command left {names} beside it; remove this if none writes it"
            )
    if lost_senders:
        _console.tell(f"error: {lost_senders[0]}: the sender was lost; its events so far were used")
        raise typer.Exit(_LOST_SENDER)


# --- names in the help ----------------------------------------------------------------------------

# Names of dvskit, since importing torch for --help takes a second.
REPRESENTATION_WORDS = (
    "counts", "binary", "signed", "voxel_grid", "last_times", "time_surface:tau=50ms",
    "decayed_counts:tau=50ms", "averaged_time_surface:tau=50ms", "tore",
    "event_frames:count=5000", "point_set:points=1024",
    "features:fitted=features.safetensors",
)  # fmt: skip
ENCODER_WORDS = (
    "poisson", "latency", "log_latency", "signed_poisson", "rank_order", "population", "delta",
    "direct",
)  # fmt: skip


def registered(kind: str) -> list[str]:
    """Return the names of one kind of part in installed packages, which are imported."""
    parts = [part for package in load_packages() for part in package.parts]
    return [part.removeprefix(f"{kind} ") for part in parts if part.startswith(f"{kind} ")]


def _added() -> list[str]:
    """Return the networks, neurons and public sets of installed packages, as part of a help."""
    places = {"network": "[network] name", "neuron": "[network] layers",
              "public set": "[[data]] set"}  # fmt: skip
    parts = [f"{kind} {name} ({at})" for kind, at in places.items() for name in registered(kind)]
    return [f" Installed packages add {', '.join(parts)}."] if parts else []


# Names that --help lists, by the words that stand for them in help texts; also those of installed
# packages, which are imported then.
LISTS: dict[str, Callable[[], Iterable[str]]] = {
    "{filters}": lambda: import_module("dvskit.filters").filter_names(),
    "{read}": lambda: [row.name for row in list_formats() if "r" in row.can],
    "{written}": lambda: [row.name for row in list_formats() if "w" in row.can],
    "{representations}": lambda: (*REPRESENTATION_WORDS, *registered("representation")),
    "{encoders}": lambda: (*ENCODER_WORDS, *registered("encoder")),
    "{added}": _added,
    "{addresses}": lambda: [ADDRESSES],
    "{cameras}": lambda: CAMERAS,
}


def with_lists(text: str) -> str:
    """Return a help text with the names of `LISTS`."""
    for word, names in LISTS.items():
        if word in text:
            text = text.replace(word, ", ".join(names()))
    return text
