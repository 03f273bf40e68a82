"""Checks of the parameters of filters: fields of a dataclass, by name."""

from __future__ import annotations

import math
from numbers import Integral, Real

from dvskit.errors import ConfigError

LONGEST_US = 10**15  # 31 years


def check_whole(owner: object, name: str, least: int, most: int = LONGEST_US) -> None:
    """Raise ConfigError unless a field is a whole number from `least` to `most`."""
    value = getattr(owner, name)
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or not least <= int(value) <= most:
        _refuse(owner, name, value, "a whole number", least, most)


def check_number(owner: object, name: str, least: float, most: float) -> None:
    """Raise ConfigError unless a field is a finite number from `least` to `most`."""
    value = getattr(owner, name)
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or not least <= value <= most:
        _refuse(owner, name, value, "a number", least, most)


def _refuse(owner: object, name: str, value: object, kind: str, least: float, most: float) -> None:
    kind += " of microseconds" * name.endswith("_us")
    raise ConfigError(f"{type(owner).__name__}: {name}={value!r} is not {kind}, {least} to {most}")


def check_flag(owner: object, name: str) -> None:
    """Raise ConfigError unless a field is True or False."""
    value = getattr(owner, name)
    if not isinstance(value, bool):
        raise ConfigError(f"{type(owner).__name__}: {name}={value!r} is neither True nor False")


def check_choice(owner: object, name: str, choices: tuple[object, ...]) -> None:
    """Raise ConfigError unless a field is one of `choices`."""
    value = getattr(owner, name)
    if not any(value is each or value == each for each in choices):
        known = ", ".join(map(repr, choices))
        raise ConfigError(f"{type(owner).__name__}: {name}={value!r} is not one of {known}")


def check_seed(owner: object, name: str = "seed") -> None:
    """Raise ConfigError unless a field is a whole number of 64 bits."""
    check_whole(owner, name, 0, 2**63 - 1)
