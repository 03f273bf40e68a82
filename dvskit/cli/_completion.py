"""Words that a shell may complete to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class _Word(str):
    """A word to complete to: typer leaves out those that do not start as what was typed."""

    __slots__ = ()

    def startswith(self, *typed: Any) -> bool:
        """Tell whether it starts so, in any case."""
        return self.casefold().startswith(str(typed[0]).casefold())


def _completed(incomplete: str, names: Iterable[str]) -> list[str]:
    words = [_Word(name) for name in names]
    return [word for word in words if word.startswith(incomplete)]


def model_names(incomplete: str) -> list[str]:
    """Return the shipped models that a shell may complete a word to, in any case."""
    from dvskit.training import shipped_models

    return _completed(incomplete, shipped_models())


def preset_names(incomplete: str) -> list[str]:
    """Return the named sensors that a shell may complete a word to, in any case."""
    from dvskit.emulator.params import preset_table

    return _completed(incomplete, preset_table())
