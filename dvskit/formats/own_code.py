"""The blocks and writes of formats of one's own: errors name the file, the format and the line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from dvskit.errors import FormatError
from dvskit.events import Events
from dvskit.registry import named_errors


def is_own(part: object) -> bool:
    """Return whether a Recording or FileSink is one of dvskit's."""
    return type(part).__module__.startswith("dvskit.")


def named(part: Any) -> AbstractContextManager[None]:
    """Name the path and the format in errors of the code of a Recording or FileSink."""
    if is_own(part):
        return nullcontext()
    name = getattr(part, "format", type(part).__name__)
    return named_errors(f"{part.path}: format {name}", FormatError)


def named_blocks(part: Any, read: Callable[[], Iterator[Events]]) -> Iterator[Events]:
    """Return the blocks of a Recording. Those that are not dvskit's own are checked."""
    return read() if is_own(part) else _checked(part, read)


def _checked(part: Any, read: Callable[[], Iterator[Events]]) -> Iterator[Events]:
    with named(part):
        for block in read():
            if not isinstance(block, Events):
                raise FormatError(f"_blocks yields {type(block).__name__}; yield Events")
            yield block
