"""Docstrings of dvskit as Markdown: blocks of code, lists of names, and plain sentences."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import griffe

_ROW = re.compile(r"(\S.*?) {2,}(\S.*)")  # a name, or several, and its description
_SECOND = re.compile(r"(?<=\S) {3,}(?=[\w*]+(?:, [\w*]+)* {2,}\S)")  # before a list beside a list
_NAMES = re.compile(r"[\w.,*<> /-]+")
_SPAN = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)
_OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
_MEANT = re.compile(r"[*\[\\]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


class Docstrings(griffe.Extension):
    """Rewrites docstrings as Markdown, and defaults in `checked(...)` as themselves."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Rewrite the docstrings and defaults of a package."""
        for each in _objects(pkg):
            if each.docstring is not None:
                each.docstring.value = as_markdown(each.docstring.value)
            if isinstance(each, griffe.Attribute) and isinstance(each.value, griffe.ExprCall):
                each.value = _default_of(each.value)


def as_markdown(docstring: str) -> str:
    """Return a docstring as Markdown."""
    return "\n\n".join(_parts(docstring.expandtabs().splitlines()))


def escaped(text: str) -> str:
    """Return a text for Markdown: what it would interpret is escaped, and options are code."""
    parts = _SPAN.split(text)
    parts[::2] = map(_plain, parts[::2])
    return "".join(parts)


def _plain(text: str) -> str:
    text = _MEANT.sub(r"\\\g<0>", text).replace("<", "&lt;")
    return _OPTION.sub(r"`\g<0>`", text)


def _objects(parent: griffe.Object) -> Iterator[griffe.Object]:
    yield parent
    for each in parent.members.values():
        if isinstance(each, griffe.Object):
            yield from _objects(each)


def _default_of(call: griffe.ExprCall) -> griffe.Expr | str | None:
    """Return the default of a field that `checked` makes; other calls as they are."""
    if str(call.function) != "checked":
        return call
    for each in call.arguments:
        if isinstance(each, griffe.ExprKeyword) and each.name == "default":
            return each.value
    return None


def _parts(lines: list[str]) -> Iterator[str]:
    """Yield the parts of a docstring: each begins where its first line says so."""
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif line.startswith("    "):
            stop = _end_of_block(lines, at)
            yield _code(textwrap.dedent("\n".join(lines[at:stop])).rstrip())
            at = stop
        elif _ROW.fullmatch(line.rstrip()):
            stop = _end_of_rows(lines, at)
            yield _names(lines[at:stop])
            at = stop
        else:
            stop = _end_of_text(lines, at)
            yield _text(lines[at:stop])
            at = stop


def _end_of_block(lines: list[str], at: int) -> int:
    """Return the line behind a block of code, which may have empty lines inside."""
    while at < len(lines) and (not lines[at].strip() or lines[at].startswith("    ")):
        at += 1
    return at


def _end_of_rows(lines: list[str], at: int) -> int:
    column = _column(lines[at])
    while at < len(lines) and _is_row(lines[at], column):
        at += 1
    return at


def _column(line: str) -> int:
    found = _ROW.fullmatch(line.rstrip())
    assert found is not None
    return found.start(2)


def _is_row(line: str, column: int) -> bool:
    """Return whether a line continues a list of names whose descriptions begin at a column."""
    begins = line[column - 1 : column] == " " and line[column : column + 1].strip() != ""
    return bool(line.strip()) and (
        line.startswith("  ") or begins or _ROW.fullmatch(line.rstrip()) is not None
    )


def _end_of_text(lines: list[str], at: int) -> int:
    stop = at + 1
    while stop < len(lines) and lines[stop].strip():
        if not lines[stop].startswith(" ") and _ROW.fullmatch(lines[stop].rstrip()):
            break
        stop += 1
    return stop


def _code(block: str) -> str:
    """Return an indented block: Python, a list of names, or a text such as an equation."""
    if block.startswith(">>>"):
        language = "pycon"
    else:
        try:
            ast.parse(block)
            language = "python"
        except SyntaxError:
            if _is_list(block):
                return _names(block.splitlines())
            language = "text"
    return f"```{language}\n{block}\n```"


def _is_list(block: str) -> bool:
    lines = block.splitlines()
    if len(lines) < 2 or not _ROW.fullmatch(lines[0]):
        return False
    column = _column(lines[0])
    return all(line and _is_row(line, column) for line in lines) and all(
        _NAMES.fullmatch(line[:column].rstrip()) for line in lines if line[0] != " "
    )


def _names(lines: list[str]) -> str:
    """Return a list of names and descriptions, or two side by side, as a list of definitions."""
    if halves := _halves(lines):
        return "\n".join(map(_names, halves))
    column = _column(lines[0])
    rows: list[tuple[str, list[str]]] = []
    for line in lines:
        name, rest = line[:column].strip(), line[column:].strip()
        row = None if line.startswith(" ") else _ROW.fullmatch(line.rstrip())
        apart = line[column - 2 : column] == "  " and "  " not in line[:column].strip()
        if row is not None and not apart:
            name, rest = row[1], row[2]
        if line.startswith("  "):
            rows[-1][1].append(line.strip())
        else:
            rows.append((name, [rest]))
    terms = (f"{_term(name)}\n:   {escaped(' '.join(words))}\n" for name, words in rows)
    return "\n".join(terms)


def _halves(lines: list[str]) -> tuple[list[str], list[str]] | None:
    """Return the lines of two lists that stand side by side; None for one list."""
    for line in lines:
        found = _SECOND.search(line)
        if found is not None and _ROW.fullmatch(line[: found.start()]):
            left, right = _split(lines, found.end())
            if _ROW.fullmatch(left[0]) and _ROW.fullmatch(right[0]):
                return left, right
    return None


def _split(lines: list[str], column: int) -> tuple[list[str], list[str]]:
    """Return the lines of a list, and those of the list that begins beside it at a column."""
    left, right = [], []
    for line in lines:
        if line[column - 2 : column] == "  " and line[column:].strip():
            right.append(line[column:])
            line = line[:column].rstrip()
        if line.strip():
            left.append(line)
    return left, right


def _term(name: str) -> str:
    """Return the term of a definition: each of several names as code."""
    return name if "`" in name else ", ".join(f"`{each}`" for each in name.split(", "))


def _text(lines: list[str]) -> str:
    """Return sentences; a list in them begins a paragraph, as Markdown wants it."""
    text = escaped("\n".join(lines))
    return re.sub(r"(?m)(?<=\n)(?=(?:- |\d+\. ))", "\n", text, count=1)
