"""Checks of values by name: what passes, and that a message names the place and the range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from dvskit._checks import (
    check_choice,
    check_fields,
    check_flag,
    check_known,
    check_number,
    check_seed,
    check_whole,
    checked,
)
from dvskit.errors import ConfigError


@dataclass(frozen=True)
class Blur:
    sigma_px: float = checked(check_number, 0, 100, default=1.0)
    steps: int = checked(check_whole, 1, 64, default=3)
    share: float = checked(check_number, above=0, below=1, default=0.5)
    shape: str = checked(check_choice, ("disc", "box"), default="disc")
    wrap: bool = checked(check_flag, default=False)
    seed: int | None = checked(check_seed, default=None)

    def __post_init__(self) -> None:
        check_fields(self)


@pytest.mark.parametrize(
    "given",
    [
        {}, {"sigma_px": 0}, {"sigma_px": 100}, {"sigma_px": np.float32(2)},
        {"sigma_px": Fraction(1, 3)}, {"steps": np.int16(64)}, {"share": 1e-300},
        {"shape": "box"}, {"wrap": True}, {"seed": 2**63 - 1}, {"seed": None},
    ],
)  # fmt: skip
def test_fields_within_their_limits_pass(given):
    Blur(**given)


@pytest.mark.parametrize(
    ("name", "value", "limits"),
    [
        ("sigma_px", -0.1, "from 0 to 100"), ("sigma_px", math.nan, "from 0 to 100"),
        ("sigma_px", "2", "from 0 to 100"), ("sigma_px", True, "from 0 to 100"),
        ("sigma_px", None, "from 0 to 100"), ("sigma_px", math.inf, "from 0 to 100"),
        ("sigma_px", 10**400, "from 0 to 100"), ("steps", 2.0, "whole number from 1 to 64"),
        ("steps", 0, "from 1 to 64"), ("share", 0, "above 0 and below 1"),
        ("share", 1, "above 0 and below 1"), ("shape", "ring", "'disc', 'box'"),
        ("wrap", 1, "neither True nor False"), ("seed", -1, "from 0 to"),
        ("seed", 2**63, "from 0 to"),
    ],
)  # fmt: skip
def test_other_fields_raise_with_class_name_value_and_range(name, value, limits):
    with pytest.raises(ConfigError) as caught:
        Blur(**{name: value})
    assert str(caught.value).startswith(f"Blur: {name} = {value!r} is n")
    assert limits in str(caught.value)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"least": 3}, "fps = 2 is not a number of at least 3"),
        ({"most": 1}, "fps = 2 is not a number of at most 1"),
        ({"above": 2}, "fps = 2 is not a number above 2"),
        ({"above": 0, "most": 1}, "fps = 2 is not a number above 0 and of at most 1"),
    ],
)
def test_an_argument_names_its_limits(limits, words):
    with pytest.raises(ConfigError) as caught:
        check_number("fps", 2, **limits)
    assert str(caught.value) == words


def test_infinity_passes_only_where_it_is_a_limit():
    check_number("threshold", math.inf, most=math.inf)
    check_number("value", 1e308)
    for limits in ({}, {"least": 0}, {"above": 0, "most": 9}):
        with pytest.raises(ConfigError):
            check_number("threshold", math.inf, **limits)


def test_a_time_is_a_number_of_microseconds():
    with pytest.raises(ConfigError, match="whole number of microseconds from 1 to"):
        check_whole("window_us", 0.5, 1)


def test_an_unknown_name_gets_the_nearest_choice():
    check_known("filter", "crop", ["crop", "mask"])
    with pytest.raises(ConfigError, match="unknown filter 'corp'; did you mean 'crop'"):
        check_known("filter", "corp", ["crop", "mask"])
