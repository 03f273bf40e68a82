"""Randomness as the caller names it: a generator, or a seed."""

from __future__ import annotations

import operator

import torch

from dvskit.errors import ArgumentError, ConfigError

_SMALLEST, _LARGEST = -(2**63), 2**64 - 1  # what torch takes


def generator_from(
    given: torch.Generator | int, name: str, what: str, device: torch.device | None = None
) -> torch.Generator:
    """Return a generator as it is given, or a new one on `device` of a seed.

    Raises ArgumentError for what is neither, in the words of the function `name` and its argument
    `what`; ConfigError for a seed that torch does not take.
    """
    if isinstance(given, torch.Generator):
        return given
    if isinstance(given, bool) or not hasattr(type(given), "__index__"):
        raise ArgumentError(
            f"{name}: {what} is {given!r}; a torch.Generator or a seed, a whole number, is meant"
        )
    seed = operator.index(given)
    if not _SMALLEST <= seed <= _LARGEST:
        raise ConfigError(f"{name}: {what} = {seed} is outside [-2**63, 2**64), as seeds are")
    return torch.Generator(device or "cpu").manual_seed(seed)
