"""TOML of strangers: parsed with limits, so that no file takes long or nests without an end."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

_LONGEST_LINE = 10_000  # characters; the time of a dotted key grows with the square of its length
_DEEPEST = 20
_MOST_VALUES = 1_000_000


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text. Raises ValueError, also for too long lines and nesting."""
    if any(len(line) > _LONGEST_LINE for line in text.splitlines()):
        raise ValueError(f"a line has more than {_LONGEST_LINE:,} characters")
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    check_nesting(values)
    return values


def check_nesting(values: Any) -> None:
    """Raise ValueError for values that are nested deeper than 20, or more than a million.

    A value that is referred to repeatedly, as aliases in YAML do, counts each time.
    """
    level, count = [values], 0
    for _ in range(_DEEPEST):
        level = [each for parent in level for each in _within(parent)]
        count += len(level)
        if not level:
            return
        if count > _MOST_VALUES:
            raise ValueError(f"it holds more than {_MOST_VALUES:,} values")
    raise ValueError("it is nested too deeply")


def _within(parent: Any) -> Iterable[Any]:
    if isinstance(parent, Mapping):
        return parent.values()
    return parent if isinstance(parent, list) else ()
