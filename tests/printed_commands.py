"""Commands of `dvskit` in pages and messages, and the parser that reads them."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from dvskit.cli import app

_FENCED = re.compile(r"```(?:bash|console|sh)\n(.*?)```", re.DOTALL)
_INDENTED = re.compile(r"(?:^ {4,}.*\n)+", re.MULTILINE)
_SPAN = re.compile(r"`(dvskit [^`]+)`")
# An argument in the middle of a sentence: an option, a file, a value, a word in capitals.
_ARGUMENT = re.compile(r"-|-?-[\w-]+|[A-Z_]+(?:x[A-Z]+)?|\S*[./=\d:]\S*")
_OTHERS = re.compile(r"(?:\bpip install|h5repack|torchrun).*")
_OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")


@cache
def tree() -> Any:
    """Return the command line, whose commands do nothing."""
    top = typer.main.get_command(app)
    for _, command in leaves(top):
        command.callback = lambda **_: None
    return top


def children(command: Any) -> dict[str, Any]:
    """Return the commands of a group by their names; none of a command."""
    names = command.list_commands(None) if hasattr(command, "list_commands") else []
    return {name: command.get_command(None, name) for name in names}


def leaves(command: Any, words: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all commands of a group with their words, such as "plot rate"."""
    if not hasattr(command, "list_commands"):
        yield words, command
    for name, child in children(command).items():
        yield from leaves(child, f"{words} {name}".strip())


def options_of(command: Any) -> set[str]:
    """Return the options of a command and of all its children."""
    found = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    return found.union({"--help"}, *map(options_of, children(command).values()))


def check(words: list[str]) -> None:
    """Parse the words of a command as the command line does; fail where it refuses them."""
    try:
        tree()(words[1:], prog_name="dvskit", standalone_mode=False)
    except Exception as error:  # what typer raises has no public root
        pytest.fail(f"{shlex.join(words)}: {error}")


def check_mention(words: list[str]) -> None:
    """Parse a command in a sentence; of one without arguments, find its name and its options."""
    if any(not word.startswith("--") for word in words[2:]):
        check(words)
        return
    named = not words[1].startswith("--")  # else an option of dvskit itself
    command = tree().get_command(None, words[1]) if named else tree()
    assert command is not None, words
    assert set(words[1 + named :]) <= options_of(command), words


def commands_of(page: str) -> Iterator[list[str]]:
    """Yield the words of each command in the blocks of a Markdown page."""
    text = page.replace("\\\n", " ")
    for block in (*_FENCED.findall(text), *_INDENTED.findall(_without_fences(text))):
        for line in block.splitlines():
            yield from words_of(line)


def spans_of(page: str) -> Iterator[list[str]]:
    """Yield the words of each command in the code spans of a Markdown page."""
    for span in span_texts(page):
        yield from words_of(span)


def span_texts(page: str) -> Iterator[str]:
    """Yield each code span of a Markdown page that begins with dvskit, on one line."""
    for span in _SPAN.findall(_INDENTED.sub("", _without_fences(page))):
        yield " ".join(span.split())


def _without_fences(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def words_of(line: str) -> Iterator[list[str]]:
    """Yield the words of each command of a line of a shell that is one of dvskit."""
    for part in re.split(r"\s\|\s|&&", line):
        words = shlex.split(part, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            del words[0]
        if words[:1] == ["dvskit"]:
            yield words


def said_in(text: str) -> Iterator[list[str]]:
    """Yield the words of each command in a sentence, as far as arguments follow it."""
    for found in re.finditer(r"(?<![\w/.-])dvskit ((?:plot )?[a-z]+)\b(?!\.\w)([^`\n]*)", text):
        words = ["dvskit", *found[1].split()]
        for token in found[2].split():
            plain = token.strip("()").rstrip(".,;:")
            if not plain or not _ARGUMENT.fullmatch(plain):
                break
            words.append(plain)
            if plain != token:
                break
        yield words


def texts_of(module: Path) -> Iterator[str]:
    """Yield the texts of a module, with 1 in the place of what is formatted."""
    whole = ast.parse(module.read_text(encoding="utf-8"))
    parts = {id(part) for node in ast.walk(whole) if isinstance(node, ast.JoinedStr)
             for part in node.values}  # fmt: skip
    for node in ast.walk(whole):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "1" for part in node.values
            )
        elif isinstance(node, ast.Constant) and id(node) not in parts:
            yield node.value if isinstance(node.value, str) else ""


def options_in(text: str) -> set[str]:
    """Return the options that a text names, but for those of other programs."""
    return set(_OPTION.findall(_OTHERS.sub("", text)))
