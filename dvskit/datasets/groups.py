"""Groups of samples, such as the person that each shows: by a rule, or read off their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from dvskit.datasets.samples import Sample
from dvskit.errors import ConfigError, FormatError

_WORDS = ("participant", "subject", "person", "signer", "actor", "user", "subj", "sub")
_LETTERS = ("s", "p")
# Each stands between the ends of a name, or marks such as _ and -; 01 is 1.
_WORD = re.compile(rf"(?:^|[^a-z0-9])({'|'.join(_WORDS)})[ _-]?0*(\d+)(?![0-9a-z])", re.IGNORECASE)
_LETTER = re.compile(rf"(?:^|[^a-z0-9])({'|'.join(_LETTERS)})0*(\d+)(?![0-9a-z])", re.IGNORECASE)


def is_person(folder: str) -> bool:
    """Return whether a folder's name is that of a person by number: p1, s03, user_7, Subject-2."""
    return any(match.fullmatch(folder) is not None for match in (_WORD, _LETTER))


def grouped(rows: Sequence[Sample], rule: str | None) -> tuple[list[Sample], list[str]]:
    """Return samples with their groups, and what was taken for granted, a line each.

    rule  a regular expression, sought in each file's name (in the whole name of the sample where it
          holds a "/"): its first bracket is the group, or all that it matches; "auto": what names
          say, as `group_names` finds it; None: samples keep the groups that they have

    Raises ConfigError for a rule that is no regular expression, FormatError for a sample that it
    does not match.
    """
    if rule is None:
        return list(rows), []
    if rule != "auto":
        return _by_rule(rows, rule), []
    if any(row.group is not None for row in rows):
        return list(rows), []
    names, note = group_names([row.name.rpartition("/")[2] for row in rows],
                              [row.label for row in rows])  # fmt: skip
    return [row._replace(group=name) for row, name in zip(rows, names, strict=True)], note


def _by_rule(rows: Sequence[Sample], rule: str) -> list[Sample]:
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise ConfigError(
            f"group = {rule!r} is no regular expression ({error}); such as r'_s(\\d+)'"
        ) from None
    made = []
    for row in rows:
        sought = row.name if "/" in rule else row.name.rpartition("/")[2]
        found = pattern.search(sought)
        name = None if found is None else found.group(1 if pattern.groups else 0)
        if not name:
            raise FormatError(
                f"{row.where}: its name has no group: {rule!r} matches nothing in {sought!r}; "
                "change the rule (group=) or the name"
            )
        made.append(row._replace(group=name))
    return made


def group_names(
    names: Sequence[str], labels: Sequence[str]
) -> tuple[list[str] | list[None], list[str]]:
    """Return the group that each file's name says, such as "p1" of p1_t2.avi, and a line on it.

    There are groups only where all names hold a number behind the same word (user, person, subject,
    ...), or the same single letter, s or p, with more behind it: then several files of a class have
    the same. Else each is None: a wrong group is worse than none.
    """
    by_word = _numbers(names, _WORD)
    found = by_word if by_word is not None else _trials(names, labels)
    if found is None or len(set(found)) == len(found):
        return [None] * len(names), []
    groups = sorted(set(found), key=lambda name: (len(name), name))
    shown = ", ".join(groups[:3]) + (f", ... {groups[-1]}" if len(groups) > 3 else "")
    return found, [
        f"{len(groups):,} group{'s' * (len(groups) > 1)} by the files' names ({shown}), taken for "
        "people; group=None takes none, group=r'...' others"
    ]


def _numbers(names: Sequence[str], pattern: re.Pattern[str]) -> list[str] | None:
    """Return word and number in each name; None unless each holds one, all by the same word."""
    found = [pattern.findall(name) for name in names]
    if not names or any(len(each) != 1 for each in found):
        return None
    if len({word.casefold() for ((word, _),) in found}) != 1:
        return None
    return [f"{word.casefold()}{number}" for ((word, number),) in found]


def _trials(names: Sequence[str], labels: Sequence[str]) -> list[str] | None:
    """Return a letter and a number in each name, where some are in several names of a class."""
    found = _numbers(names, _LETTER)
    if found is None:
        return None
    several = max(Counter(zip(labels, found, strict=True)).values()) > 1
    return found if several else None
