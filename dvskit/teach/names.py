"""Names of classes and people: a folder's or a file's name that every system takes."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from dvskit._files import is_hidden
from dvskit.errors import ConfigError

_LONGEST = 60  # characters; systems take 255 bytes, and _t1.mkv follows
_FORBIDDEN = '/\\:*?"<>|'
_JOINERS = "\u200c\u200d"  # parts of words in some scripts, and of emoji
_DIGITS = "0123456789\u00b9\u00b2\u00b3"  # superscripts count too
_RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{word}{n}" for word in ("com", "lpt") for n in _DIGITS),
}
_TAKE = re.compile(r"(?P<person>.+)_t(?P<take>\d{1,9})", re.DOTALL)


def checked_name(name: str, what: str) -> str:
    """Return a name in composed form, without outer spaces.

    what  "class" or "person", for errors. Raises ConfigError, in one line, for a name that is not a
    folder's name on all systems.
    """
    if not isinstance(name, str):
        raise ConfigError(f"{what} {name!r}: must be text")
    plain = unicodedata.normalize("NFC", name).strip()
    wrong = _problem(plain)
    if wrong:
        raise ConfigError(f"{what} “{plain[:_LONGEST]}”: {wrong}; choose another name")
    return plain


def _problem(name: str) -> str:
    """Return what is wrong with a name; "" for nothing."""
    if not name:
        return "the name is empty"
    if len(name) > _LONGEST or len(name.encode("utf-8", "replace")) > 3 * _LONGEST:
        return f"the name is longer than {_LONGEST} letters"
    if is_hidden(name):
        return "the name begins with a dot or is one that systems use"
    if name.endswith("."):
        return "the name ends with a dot"
    for letter in name:
        if letter in _FORBIDDEN:
            return f"the name has a {letter}"
        if (
            not letter.isprintable() and letter not in _JOINERS
        ):  # control characters, lone surrogates, marks of direction
            return "the name has a character that cannot be shown"
    if name.split(".")[0].rstrip().casefold() in _RESERVED:
        return "the name is reserved on Windows"
    return ""


class PersonTake(NamedTuple):
    """The parts of a clip's name: person_t1."""

    person: str
    take: int


def person_take(stem: str) -> PersonTake:
    """Return the person and the take in a clip's name without suffix; "" and 0 in others."""
    found = _TAKE.fullmatch(stem)
    return PersonTake(found["person"], int(found["take"])) if found else PersonTake("", 0)


def is_utf8(name: str) -> bool:
    """Return whether a file's name is text; names of other bytes cannot be shown or sent."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def same_name(first: str, second: str) -> bool:
    """Return whether two names are one on a system that ignores case."""
    plain = (unicodedata.normalize("NFC", name).casefold() for name in (first, second))
    return next(plain) == next(plain)
