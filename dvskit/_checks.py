"""Checks of values by name, with errors of one line: fields of a dataclass, and arguments.

    @checked_dataclass(frozen=True)
    class Blur:
        sigma_px: float = checked(check_number, 0, 100, default=1.0)
        steps: int = checked(check_whole, 1, 64, default=3)

        def __post_init__(self) -> None:
            check_fields(self)      # Blur: steps = 2.5 is not a whole number from 1 to 64

    check_number("fps", fps, above=0)     # fps = 0 is not a number above 0

Wrong names and numbers of arguments are Python's TypeError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import MISSING, dataclass, field, fields
from functools import cache, partial
from numbers import Integral, Real
from typing import Any, TypeVar, dataclass_transform

from dvskit.errors import ConfigError, did_you_mean

LONGEST_US = 10**15  # 31 years
LATEST_US = 2**62  # of time stamps, which may count from 1970
_T = TypeVar("_T")
_MOST_SEED = 2**63 - 1


def check_number(
    name: str,
    value: object,
    least: float | None = None,
    most: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    owner: str = "",
) -> None:
    """Raise ConfigError unless a value is a number within limits; infinite only if a limit is.

    least, most   limits that belong to the range
    above, below  limits that do not
    owner         the class or function at the beginning of the message
    """
    real = type(value) in (float, int) or _is_of(Real, value)
    if not real or not _is_within(value, least, most, above, below):
        kind = f"a number{_unit(name)}{_limits(least, most, above, below)}"
        raise ConfigError(f"{_called(owner, name)} = {value!r} is not {kind}")


def check_whole(
    name: str, value: object, least: int = 0, most: int = LONGEST_US, *, owner: str = ""
) -> None:
    """Raise ConfigError unless a value is a whole number from `least` to `most`."""
    whole = type(value) is int or _is_of(Integral, value)
    if not whole or not least <= value <= most:  # type: ignore[operator]
        kind = f"a whole number{_unit(name)}{_limits(least, most, None, None)}"
        raise ConfigError(f"{_called(owner, name)} = {value!r} is not {kind}")


def check_seed(name: str, value: object, *, owner: str = "") -> None:
    """Raise ConfigError unless a value is a whole number of 63 bits."""
    check_whole(name, value, 0, _MOST_SEED, owner=owner)


def check_flag(name: str, value: object, *, owner: str = "") -> None:
    """Raise ConfigError unless a value is True or False."""
    if not isinstance(value, bool):
        raise ConfigError(f"{_called(owner, name)} = {value!r} is neither True nor False")


def check_choice(name: str, value: object, choices: Collection[object], *, owner: str = "") -> None:
    """Raise ConfigError unless a value is one of `choices`."""
    if value not in tuple(choices):
        known = ", ".join(map(repr, choices))
        raise ConfigError(f"{_called(owner, name)} = {value!r} is not one of {known}")


def check_known(what: str, name: str, choices: Iterable[str]) -> None:
    """Raise ConfigError, with the nearest choice, unless a name is one of the choices."""
    known = tuple(choices)
    if name not in known:
        raise ConfigError(f"unknown {what} {name!r}; {did_you_mean(str(name), known)}")


def checked(check: Callable[..., None], *limits: Any, default: Any = MISSING, **named: Any) -> Any:
    """Return a dataclass field for `check_fields`: check(name, value, *limits, **named)."""
    return field(default=default, metadata={"check": check, "limits": limits, "named": named})


@dataclass_transform(field_specifiers=(checked, field))
def checked_dataclass(**options: bool) -> Callable[[type[_T]], type[_T]]:
    """Return `dataclass(**options)`; type checkers see which `checked` fields have no default."""
    return dataclass(**options)


def check_fields(owner: Any) -> None:
    """Check the `checked` fields of a dataclass; a field with the default None may be None.

    Raises the errors of the checks, with the name of the class.
    """
    for name, limits, check, optional in _checks_of(owner.__class__):
        value = getattr(owner, name)
        if value is not None or not optional:
            check(name, value, *limits)


@cache
def _checks_of(kind: type) -> list[tuple[str, tuple[Any, ...], Callable[..., None], bool]]:
    """Return the `checked` fields of a class: name, limits, check, and whether None passes."""
    return [
        (
            each.name,
            each.metadata["limits"],
            partial(each.metadata["check"], owner=kind.__name__, **each.metadata["named"]),
            each.default is None,
        )
        for each in fields(kind)
        if "check" in each.metadata
    ]


def _is_of(numbers: type, value: object) -> bool:
    return isinstance(value, numbers) and not isinstance(value, bool)


def _is_within(
    value: Any, least: float | None, most: float | None, above: float | None, below: float | None
) -> bool:
    return (
        (least is None or value >= least) and (most is None or value <= most)
        and (above is None or value > above) and (below is None or value < below)
        and (-math.inf < value < math.inf or value in (least, most))
    )  # fmt: skip


def _limits(
    least: float | None, most: float | None, above: float | None, below: float | None
) -> str:
    if least is not None and most is not None:
        return f" from {least} to {most}"
    words = {"of at least": least, "above": above, "of at most": most, "below": below}
    given = [f" {word} {limit}" for word, limit in words.items() if limit is not None]
    return " and".join(given)


def _unit(name: str) -> str:
    return " of microseconds" if name.endswith("_us") else ""


def _called(owner: str, name: str) -> str:
    return f"{owner}: {name}" if owner else name
