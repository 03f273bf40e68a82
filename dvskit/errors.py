"""Everything that dvskit raises on purpose.

    DvskitError
    +-- EventsError         columns that do not form a stream of events
    +-- FormatError         a file is not what it should be
    |   +-- UnknownFormatError   no format, or more than one, fits the file
    |   +-- DamagedFileError     an impossible byte, with its offset
    |   +-- MissingFileError     an input that does not exist; a VideoError, FileNotFoundError too
    +-- GeometryError       the sensor size is missing or contradicts the events
    +-- VideoError          frames that cannot be decoded, or whose times run back
    +-- ShapeError          an array or a window of the wrong shape
    +-- ConfigError         a parameter out of range, an unknown name
    |   +-- ArgumentError        a call with wrong arguments; Python's TypeError too
    +-- ModelError          a model folder that cannot be used
    +-- OutputError         an output that exists already or cannot be written
    +-- ProcessError        another of the processes that work together has ended

A message is one line: what was wrong, where, and the fix.

Warnings, children of UserWarning, are given where something is done that may not be meant:

    LeftOutWarning      an output cannot hold all that its input holds
    FittedWarning       recordings of another sensor size were fitted to a model's
    ScaleWarning        frames whose numbers fit another white than that of their type
    UnitWarning         times that look like seconds where microseconds are meant
    CacheWarning        something kept on disk was damaged, or nothing can be kept there
"""

from __future__ import annotations

import errno
import sys
import warnings
from collections.abc import Iterable
from difflib import get_close_matches
from os import PathLike, fspath


class DvskitError(Exception):
    """The root: catch this to catch all that dvskit raises on purpose."""


class EventsError(DvskitError, ValueError):
    """Columns of unequal length, a lossy type, time that runs back."""


class FormatError(DvskitError):
    """A file is not what it should be."""


class UnknownFormatError(FormatError):
    """No format fits the file, or more than one does."""


class DamagedFileError(FormatError):
    """An impossible value at a byte offset of a file.

    `path`, `offset` (bytes from the start of the file, -1 if unknown) and `problem` are kept for
    programs.
    """

    def __init__(self, path: str | PathLike[str], offset: int, problem: str) -> None:
        self.path = fspath(path)
        self.offset = offset
        self.problem = problem
        super().__init__(
            f"{self.path}: {problem}{f' at byte {offset}' * (offset >= 0)}; "
            "pass strict=False (--salvage) to keep what is undamaged and count the loss"
        )


class GeometryError(DvskitError, ValueError):
    """The sensor size is missing or contradicts the events."""


class VideoError(DvskitError):
    """Frames that cannot be decoded, or whose time stamps are missing or run back."""


class MissingFileError(FormatError, VideoError, FileNotFoundError):
    """An input file that does not exist, whatever was to be read from it.

    It is caught as what the reader raises of files and as Python's FileNotFoundError, whose `errno`
    and `filename` it has.
    """

    def __init__(self, path: str | PathLike[str], mend: str = "") -> None:
        super().__init__(errno.ENOENT, "no such file", fspath(path))
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.filename}: no such file" + (f"; {self.mend}" if self.mend else "")

    def __reduce__(self) -> tuple[type[MissingFileError], tuple[str, str]]:
        return type(self), (self.filename, self.mend)


class ShapeError(DvskitError, ValueError):
    """An array or a window of the wrong shape."""


class ConfigError(DvskitError, ValueError):
    """A parameter out of its range, or an unknown name."""


class ArgumentError(ConfigError, TypeError):
    """A call with arguments that cannot be meant: names that there are not, a text for a number."""


class ModelError(DvskitError):
    """A model folder that is incomplete or does not fit its weights."""


class OutputError(DvskitError):
    """An output that exists already or cannot be written."""


class ProcessError(DvskitError):
    """Another of the processes that work together has ended, or cannot be reached."""


class LeftOutWarning(UserWarning):
    """An output cannot hold something of its input, such as triggers; the events are all there."""


class FittedWarning(UserWarning):
    """Events of another sensor size were put on the one that a model takes.

    `what` was fitted, `how`, and `dropped` of `total` events left out at the edges.
    """

    def __init__(self, what: str, how: str, dropped: int, total: int) -> None:
        self.what, self.how, self.dropped, self.total = what, how, dropped, total
        super().__init__(f"{what} of {how}; {dropped:,} of {count_of(total, 'event')} left out")


class ScaleWarning(UserWarning):
    """Frames whose numbers fit another white than that of their type, such as floats to 255."""


class UnitWarning(UserWarning):
    """Times that look like seconds where microseconds are meant."""


class CacheWarning(UserWarning):
    """Something kept on disk was damaged, or nothing can be kept there; it is only slower."""


def warn(text: str, category: type[Warning]) -> None:
    """Give a warning that names the line that called dvskit, however deep inside it is found."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("dvskit."):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)


def one_line(error: BaseException | str) -> str:
    """Return what an error says, as one line; its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def count_of(count: int, name: str, plural: str = "") -> str:
    """Return a number of things: "1 event", "2,000 events"; `plural` where it is not `name`s."""
    return f"{count:,} {name}" if count == 1 else f"{count:,} {plural or name + 's'}"


def check_known(what: str, name: str, choices: Iterable[str]) -> None:
    """Raise ConfigError unless the name of something is one of the choices."""
    known = tuple(choices)
    if name not in known:
        raise ConfigError(f"unknown {what} {name!r}; {did_you_mean(str(name), known)}")


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return the tail of a message about an unknown name: the nearest choice and all of them."""
    known = sorted(choices)
    written = {choice.casefold(): choice for choice in known}
    near = get_close_matches(name.casefold(), written, n=1)
    hint = f"did you mean {written[near[0]]!r}? " if near else ""
    return f"{hint}choices: {', '.join(known)}"
