"""Errors and warnings of dvskit.

    DvskitError
    +-- EventsError         columns that do not form a stream of events
    +-- FormatError         a file with invalid content
    |   +-- UnknownFormatError   no format, or more than one, fits the file
    |   +-- DamagedFileError     an invalid byte, with its offset
    |   +-- MissingFileError     an input that does not exist; a VideoError, FileNotFoundError too
    +-- GeometryError       the sensor size is missing or contradicts the events
    +-- VideoError          frames that cannot be decoded, or whose times decrease
    +-- ShapeError          an array or a window of the wrong shape
    +-- ConfigError         a parameter out of range, an unknown name
    |   +-- ArgumentError        a call with wrong arguments; Python's TypeError too
    |   +-- PackageError         a package of the full install is missing; an ImportError too
    +-- ModelError          a model folder that cannot be used
    +-- OutputError         an output that already exists or cannot be written
    +-- ProcessError        another of the cooperating processes has ended

A message is one line: the problem, its place, and the fix.

Warnings, children of UserWarning, report operations that may be unintended:

    LeftOutWarning      an output cannot hold all parts of its input
    LastFrameWarning    a clip is used without its last frame, which is missing
    FittedWarning       recordings of another sensor size were fitted to a model's
    ScaleWarning        frames whose values do not match the white of their dtype
    UnitWarning         times that look like seconds instead of microseconds
    CacheWarning        cached data was damaged, or the cache cannot be written
"""

from __future__ import annotations

import errno
import re
import sys
import warnings
from collections.abc import Iterable
from difflib import get_close_matches
from os import PathLike, fspath


class DvskitError(Exception):
    """The base class of all errors of dvskit.

    The message is one line, also if it quotes a name from a file that has several.
    """

    def __str__(self) -> str:
        return printable(" ".join(super().__str__().splitlines()))


class EventsError(DvskitError, ValueError):
    """Columns of unequal length, a lossy dtype, decreasing times."""


class FormatError(DvskitError):
    """A file with invalid content."""


class UnknownFormatError(FormatError):
    """No format fits the file, or more than one does."""


class DamagedFileError(FormatError):
    """An invalid value at a byte `offset` of the file `path` (-1 if unknown): `problem`."""

    def __init__(self, path: str | PathLike[str], offset: int, problem: str) -> None:
        self.path = fspath(path)
        self.offset = offset
        self.problem = problem
        super().__init__(
            f"{self.path}: {problem}{f' at byte {offset}' * (offset >= 0)}; "
            "pass strict=False to keep undamaged data and count the loss"
        )


class GeometryError(DvskitError, ValueError):
    """The sensor size is missing or contradicts the events."""


class VideoError(DvskitError):
    """Frames that cannot be decoded, or whose time stamps are missing or decrease."""


class MissingFileError(FormatError, VideoError, FileNotFoundError):
    """An input file that does not exist, for any reader; Python's FileNotFoundError too."""

    def __init__(self, path: str | PathLike[str], mend: str = "") -> None:
        super().__init__(errno.ENOENT, "no such file", fspath(path))
        self.mend = mend

    def __str__(self) -> str:
        return printable(f"{self.filename}: no such file{'; ' * bool(self.mend)}{self.mend}")

    def __reduce__(self) -> tuple[type[MissingFileError], tuple[str, str]]:
        return type(self), (self.filename, self.mend)


class ShapeError(DvskitError, ValueError):
    """An array or a window of the wrong shape."""


class ConfigError(DvskitError, ValueError):
    """A parameter out of its range, or an unknown name."""


class ArgumentError(ConfigError, TypeError):
    """A call with invalid arguments: unknown names, or a text for a number."""


class PackageError(ConfigError, ModuleNotFoundError):
    """A package that a light install lacks, `name`; Python's ModuleNotFoundError too."""

    def __init__(self, name: str) -> None:
        super().__init__(f"this needs {name}, which is not installed; pip install torch tonic")
        self.name = name

    def __reduce__(self) -> tuple[type[PackageError], tuple[str]]:
        return type(self), (str(self.name),)


class ModelError(DvskitError):
    """A model folder that is incomplete or does not match its weights."""


class OutputError(DvskitError):
    """An output that already exists or cannot be written."""


class ProcessError(DvskitError):
    """Another of the cooperating processes has ended, or cannot be reached."""


class LeftOutWarning(UserWarning):
    """An output cannot hold some data of its input, such as triggers.

    All events are kept, but of live events those from an error on.
    """


class LastFrameWarning(UserWarning):
    """A clip lacks its last frame, and is used without it."""


class FittedWarning(UserWarning):
    """Events of another sensor size were fitted to a model's; `dropped` of `total` at the edges."""

    def __init__(self, what: str, how: str, dropped: int, total: int) -> None:
        self.what, self.how, self.dropped, self.total = what, how, dropped, total
        super().__init__(f"{what} of {how}; {dropped:,} of {count_of(total, 'event')} left out")

    def __reduce__(self) -> tuple[type[FittedWarning], tuple[str, str, int, int]]:
        return type(self), (self.what, self.how, self.dropped, self.total)


class ScaleWarning(UserWarning):
    """Frames whose values do not match the white of their dtype, such as floats to 255."""


class UnitWarning(UserWarning):
    """Times that look like seconds instead of microseconds."""


class CacheWarning(UserWarning):
    """Cached data was damaged, or the cache cannot be written; results are only slower."""


def warn(text: str, category: type[Warning]) -> None:
    """Give a warning attributed to the line that called dvskit, from any depth."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("dvskit."):
        level, frame = level + 1, frame.f_back
    warnings.warn(printable(text), category, stacklevel=level)


LEFT_OUT = ("torch", "tonic")
"""Packages that a light install, of `samples/light.txt`, lacks."""


def explained(error: BaseException) -> BaseException:
    """Return an error; for the import of a package that a light install lacks, the fix."""
    name = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    package = name.partition(".")[0]
    return PackageError(package) if package in LEFT_OUT else error


REGISTER_FIRST = "register it first, or install the package that does"
"""The fix for a name of one's own that is unknown."""


def one_line(error: BaseException | str) -> str:
    """Return the message of an error as one line; its type if the message is empty."""
    return printable(" ".join(str(error).split())) or type(error).__name__


# Control characters and line ends, invisible marks, marks of direction, lone surrogates, tags. The
# joiners U+200C and U+200D are left: scripts and emoji need them.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff"
    "\ufeff\ufff9-\uffff\U000e0000-\U000e0fff]"
)


def printable(text: str) -> str:
    """Return a text of a stranger as it may stand on a terminal, a page or in a log.

    Headers, topics, file names, names of classes and messages of libraries may hold escape
    sequences, line ends and marks of direction. Such characters become escapes as in JSON:
    "\\u001b". In text that is JSON already, the escapes stand for the same characters.
    """
    return _UNPRINTABLE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return re.sub("(....)", r"\\u\1", found[0].encode("utf-16-be", "surrogatepass").hex())


def count_of(count: int, name: str, plural: str = "") -> str:
    """Return a count with its noun: "1 event", "2,000 events"; `plural` for irregular ones."""
    return f"{count:,} {name}" if count == 1 else f"{count:,} {plural or name + 's'}"


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest choice and all of them."""
    known = sorted(choices)
    written = {choice.casefold(): choice for choice in known}
    near = get_close_matches(name.casefold(), written, n=1)
    hint = f"did you mean {written[near[0]]!r}? " if near else ""
    return f"{hint}choices: {', '.join(known)}"
