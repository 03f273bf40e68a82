"""Notebook output of events and sources: the package that draws pictures sets its writer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_writers: list[Callable[[Any], str]] = []


def set_html_writer(write: Callable[[Any], str]) -> None:
    """Set the function that returns the HTML of events or a source for a notebook."""
    _writers[:] = [write]


class NotebookOutput:
    """Mixin with the HTML that a notebook shows; without a writer it shows the repr."""

    __slots__ = ()

    def _repr_html_(self) -> str | None:
        return _writers[0](self) if _writers else None
