"""A function as a command: its options, its files at addresses, its errors in one line.

    def info(file: Path = argument("A file.", default=REQUIRED), reading: Reading = Reading()): ...

Parameters are options or arguments by their annotation or default (`option`, `argument`); a
parameter that is a dataclass stands for the options in its fields, also of nested dataclasses.
"""

from __future__ import annotations

import errno
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand

from dvskit import _files, _interrupt
from dvskit.cli import _console
from dvskit.cli._listed_names import with_lists
from dvskit.cli._remote import Staging, with_slashes
from dvskit.errors import ConfigError, DvskitError, explained, one_line
from dvskit.formats.network import lost_senders

_INPUTS = {"file", "files", "frames", "recording"}  # parameters that may be addresses
_LOST_SENDER = 3  # the exit code if the sender of a stream was lost
_FULL = (  # a disk of none of the outputs
    "; free some space, or name other folders for temporary files (TMPDIR) and for compiled loops "
    "(NUMBA_CACHE_DIR)"
)


@dataclass(frozen=True, slots=True)
class Group:
    """Commands below a command, such as those of `plot`, and their common help."""

    help: str
    commands: Mapping[str, Callable[..., None]]


def bound(name: str, command: Callable[..., None] | Group, interrupted: str) -> Any:
    """Return a command for the command line.

    interrupted  how to continue after Ctrl-C
    """
    if isinstance(command, Group):
        app = typer.Typer(help=command.help, no_args_is_help=True, add_completion=False)
        children = command.commands
    else:
        app, children = typer.Typer(add_completion=False), {name: command}
    for child, function in children.items():
        app.command(child, cls=_Command, help=_help_of(function))(_called(function, interrupted))
    made = typer.main.get_command(app)
    made.name = name
    return made


def _called(function: Callable[..., None], interrupted: str) -> Callable[..., None]:
    """Return a function with the parameters that the command line shows."""
    parameters = [
        option
        for each in inspect.signature(function, eval_str=True).parameters.values()
        for option in _options_of(each.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    ]

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


def _options_of(parameter: inspect.Parameter) -> Iterator[inspect.Parameter]:
    """Yield a parameter for typer; for a dataclass, the options in it."""
    hint, default = parameter.annotation, parameter.default
    if is_dataclass(hint):
        inner = get_type_hints(hint, include_extras=True)
        for each in fields(hint):
            yield from _options_of(
                parameter.replace(name=each.name, annotation=inner[each.name], default=each)
            )
        return
    if isinstance(default, Field):
        made = default.metadata.get("option")
        hint = hint if made is None else Annotated[hint, made]
        parameter = parameter.replace(default=default.default, annotation=hint)
    yield parameter


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
    """A command whose help lists registered names, and keeps words in brackets."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        for each in self._with_help():
            if "[" in each.help:  # markup for rich
                from rich.markup import escape  # here because it loads slowly

                each.help = escape(each.help)

    def format_help(self, *given: Any) -> None:
        """Write the help, with the names of `LISTS`."""
        for each in self._with_help():
            each.help = with_lists(each.help)
        super().format_help(*given)

    def _with_help(self) -> list[Any]:
        return [each for each in (self, *self.params) if getattr(each, "help", None)]

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
    """Return a docstring as help text, without line breaks inside paragraphs."""
    return "\n\n".join(" ".join(part.split()) for part in (function.__doc__ or "").split("\n\n"))


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
