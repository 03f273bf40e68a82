"""The sensor's size: from an argument, a header or the events."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import PathLike

from dvskit.errors import GeometryError
from dvskit.events import Events, Size, as_size
from dvskit.formats.recording import ReadOptions, SizeOrigin

_PASS = "pass size=(width, height)"


def choose_size(
    options: ReadOptions, stated: Callable[[], Size | None], of_events: Callable[[], Size]
) -> tuple[Size, SizeOrigin]:
    """Return the size and its origin: the argument, else the header, else the events."""
    if options.size is not None:
        return options.size, "argument"
    size = stated()
    return (of_events(), "data") if size is None else (size, "header")


def stated_size(name: str | PathLike[str], read: Callable[[], Size]) -> Size:
    """Return the size that `read` finds in a header. Raises GeometryError for an invalid one."""
    try:
        return read()
    except (ValueError, GeometryError) as error:
        raise GeometryError(
            f"{name}: the header's sensor size cannot be used ({error}); {_PASS}"
        ) from None


def smallest_size(path: str | PathLike[str], blocks: Iterable[Events]) -> Size:
    """Return the smallest size that holds the events. Raises GeometryError if there are none."""
    width = height = 0
    for block in blocks:
        if len(block):
            width = max(width, int(block.x.max()) + 1)
            height = max(height, int(block.y.max()) + 1)
    if not width:
        raise GeometryError(f"{path}: no sensor size in the header and no events; {_PASS}")
    return as_size((width, height))


def no_size(name: str) -> GeometryError:
    """Return the error for a stream without a sensor size."""
    return GeometryError(
        f"{name}: no sensor size in the header, and a stream cannot be read ahead for it; {_PASS}"
    )
