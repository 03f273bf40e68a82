"""Pages of the commands, from the parser: synopsis, help, arguments, options and examples."""

from __future__ import annotations

import enum
import pathlib
import re
import shlex
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from site_docstrings import escaped

_FENCED = re.compile(r"```bash\n(.*?)```", re.DOTALL)
_MOST_EXAMPLES = 12
_VALUES = {pathlib.Path: "PATH", str: "TEXT", int: "INTEGER", float: "NUMBER", bool: ""}


class Command(NamedTuple):
    """A command and the words that call it, such as "plot rate"; its parts if it is a group."""

    words: str
    parser: Any
    parts: tuple[Command, ...]

    def __str__(self) -> str:
        return f"dvskit {self.words}"


class Example(NamedTuple):
    """A line of a shell that calls a command, and the page that holds it."""

    line: str
    page: str
    title: str


def commands() -> list[Command]:
    """Return the commands of dvskit in the order of its help."""
    import typer

    from dvskit.cli import app

    return list(_children(typer.main.get_command(app), ""))


def _children(group: Any, words: str) -> Iterator[Command]:
    for name in group.list_commands(None):
        child = group.get_command(None, name)
        inside = f"{words} {name}".lstrip()
        is_group = hasattr(child, "list_commands")
        yield Command(inside, child, tuple(_children(child, inside)) if is_group else ())


def command_pages(found: list[Command], pages: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Return the pages of the commands in Markdown by their paths.

    pages  title and text of the pages that examples are taken from, by their paths
    """
    examples = list(_examples(pages))
    rows = (f"| [`{each}`]({each.words}.md) | {_cell(_first(each))} |" for each in found)
    common = (
        "All commands take `--help`; `--quiet` or `-q` (no progress, no summaries); and `--debug` "
        "(tracebacks). `dvskit --version` prints the version. `dvskit --install-completion` adds "
        "completion to the shell."
    )
    index = "\n".join(("# Commands\n", *_table(rows), common, ""))
    return {"commands/index.md": index} | {
        f"commands/{each.words}.md": "\n".join(_page(each, examples)) for each in found
    }


def _page(command: Command, examples: list[Example]) -> Iterator[str]:
    yield f"# {command}\n"
    yield from _about(command)
    if command.parts:
        anchors = ((part, str(part).replace(" ", "-")) for part in command.parts)
        yield from _table(f"| [`{part}`](#{at}) | {_cell(_first(part))} |" for part, at in anchors)
    yield from _shown_examples(command, examples)
    for part in command.parts:
        yield f"## {part}\n"
        yield from _about(part)


def _table(rows: Iterable[str]) -> Iterator[str]:
    """Yield a table of commands."""
    yield '<div class="dvskit-summary" markdown>\n'
    yield "| Command | |\n|---|---|"
    yield from rows
    yield "\n</div>\n"


def _about(command: Command) -> Iterator[str]:
    """Yield the synopsis, the help, and the tables of a command."""
    parser = command.parser
    arguments = [each for each in parser.params if each.param_type_name == "argument"]
    shown = [each for each in parser.params if each.param_type_name == "option" and not each.hidden]
    words = [str(command), *(["COMMAND"] if command.parts else [])]
    needed = [f"{each.opts[-1]} {_value(each)}" for each in shown if each.required]
    if len(shown) > len(needed):
        words.append("[OPTIONS]")
    words += [*needed, *map(_placed, arguments)]
    yield f"```text\n{' '.join(words)}\n```\n"
    yield "\n\n".join(map(escaped, _plain(parser.help).split("\n\n"))) + "\n"
    if arguments:
        yield "| Argument | |\n|---|---|"
        yield from (f"| `{_placed(each)}` | {_cell(_help(each))} |" for each in arguments)
        yield ""
    if shown:
        yield '<div class="dvskit-options" markdown>\n'
        yield "| Option | Default | |\n|---|---|---|"
        for each in shown:
            about = _cell(_help(each))
            choices = _choices(each)
            if choices:
                about += f" Choices: {', '.join(f'`{name}`' for name in choices)}."
            yield f"| {_typed(each)} | {_cell(_default(each))} | {about} |"
        yield "\n</div>\n"


def _shown_examples(command: Command, examples: list[Example]) -> Iterator[str]:
    words = shlex.split(str(command))
    mine = [
        each for each in examples if shlex.split(each.line, comments=True)[: len(words)] == words
    ]
    lines = list(dict.fromkeys(each.line for each in mine))[:_MOST_EXAMPLES]
    if lines:
        kept = [each for each in mine if each.line in lines]
        links = dict.fromkeys(f"[{each.title}](../{each.page})" for each in kept)
        yield "## Examples\n" if not command.parts else "**Examples**\n"
        yield "```bash\n" + "\n".join(lines) + "\n```\n"
        yield f"From {', '.join(links)}.\n"


def _examples(pages: Mapping[str, tuple[str, str]]) -> Iterator[Example]:
    for page, (title, text) in pages.items():
        for block in _FENCED.findall(text.replace("\\\n", " ")):
            for line in block.splitlines():
                if line.startswith("dvskit "):
                    yield Example(" ".join(line.split()) if "'" not in line else line, page, title)


def _first(command: Command) -> str:
    return _plain(command.parser.help).split("\n\n")[0]


def _plain(text: str | None) -> str:
    """Return a help text without the escapes of rich, and with the names that it lists."""
    from dvskit.cli._binding import with_lists

    return with_lists(text or "").replace("\\[", "[")


def _help(parameter: Any) -> str:
    return _plain(getattr(parameter, "help", None))


def _cell(text: str) -> str:
    return escaped(" ".join(text.split())).replace("|", "\\|")


def _placed(argument: Any) -> str:
    """Return an argument as a synopsis shows it."""
    name = argument.metavar or argument.name.upper()
    name = name if argument.required else f"[{name}]"
    return f"{name}..." if argument.nargs != 1 else name


def _typed(option: Any) -> str:
    """Return an option as it is typed, with its value."""
    names = sorted(option.opts, key=len)
    value = _value(option)
    last = f"{names[-1]} {value}" if value else names[-1]
    words = [*names[:-1], last, *option.secondary_opts]
    return "<br>".join(f"`{each}`" for each in words)


def _value(option: Any) -> str:
    if getattr(option, "is_flag", False):
        return ""
    if option.metavar:
        return str(option.metavar)
    return "NAME" if _choices(option) else _VALUES.get(_annotation(option), "TEXT")


def _annotation(parameter: Any) -> Any:
    """Return the type of a parameter's value, without None and list."""
    made = getattr(parameter, "type_descriptor", None)  # Typer with a parser of its own
    if made is None:  # Typer on click
        kind = parameter.type
        known = {"text": str, "integer": int, "float": float, "boolean": bool}
        return known.get(kind.name.split(" ")[0], pathlib.Path)
    hint = made.annotation
    while typing.get_origin(hint) is not None and typing.get_origin(hint) is not typing.Literal:
        union = typing.get_origin(hint) in (typing.Union, types.UnionType)
        inner = [each for each in typing.get_args(hint) if each is not type(None)]
        if not inner or (union and len(inner) > 1):
            break
        hint = inner[0]
    return hint


def _choices(parameter: Any) -> list[str]:
    if hasattr(parameter, "type_descriptor"):
        hint = _annotation(parameter)
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            return [str(each.value) for each in hint]
        return [*map(str, typing.get_args(hint))] if typing.get_origin(hint) else []
    return [str(each) for each in getattr(parameter.type, "choices", ())]


def _default(option: Any) -> str:
    """Return the default as text; "" if there is none."""
    if option.required:
        return "required"
    if isinstance(option.show_default, str):
        return option.show_default
    value = option.default
    if option.show_default is False or value is None or value == () or value is False:
        return ""
    if value is True:
        return option.opts[-1]
    return str(value.value if isinstance(value, enum.Enum) else value)
