"""Help pages that show brackets as they are written."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from typer.core import TyperGroup


class PlainHelp(TyperGroup):
    """A group of commands whose help keeps words in brackets, which are markup for rich."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        _escape(self)


def _escape(command: Any) -> None:
    for each in (command, *command.params):
        text = getattr(each, "help", None)  # some arguments have none
        if text:
            each.help = escape(text)
    for child in getattr(command, "commands", {}).values():
        _escape(child)
