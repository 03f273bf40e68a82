"""Filters by name, as on the command line and in TOML: "background_activity:5ms"."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from fractions import Fraction
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, DvskitError, did_you_mean, one_line
from dvskit.events import parse_size
from dvskit.filters import affine, chance, denoising, mask, timing, window
from dvskit.filters.base import CallableFilter
from dvskit.filters.fit import Fit, Undistort
from dvskit.filters.mask import Mask
from dvskit.streams import Intrinsics

_KINDS: tuple[type[CallableFilter], ...] = (
    denoising.BackgroundActivity, denoising.Refractory, denoising.HotPixel, Mask, mask.Crop, Fit,
    affine.Flip, affine.Transpose, affine.QuarterTurn, affine.Rotate, affine.Zoom, affine.Shift,
    affine.Roll, affine.Shear, affine.Affine, Undistort, window.TimeWindow, window.DropTime,
    timing.TimeScale, timing.TimeShift, timing.StartAt, timing.TimeReversal, window.Polarity,
    window.SwapPolarity, window.EventRateLimit, window.EvenRateLimit, chance.DropEvents,
    mask.DropArea, mask.DropPixels, chance.SpatialJitter, chance.TemporalJitter, chance.Noise,
)  # fmt: skip
_UNITS_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000}
_UNIT_OF_NAME = re.compile(r"_(us|px|hz|deg)$")


def filter_names() -> dict[str, type[CallableFilter]]:
    """Return the filters by their names: those of the classes, `hot_pixel` for HotPixel."""
    return {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower(): kind for kind in _KINDS}


def described(name: str) -> str:
    """Return a filter with what it takes, in a line: "noise:hz=0.1,on_share=0.5,seed=0"."""
    kind = filter_names()[name]
    if kind is Mask:
        return "mask:PICTURE"
    if kind is Fit:
        return "fit:WIDTHxHEIGHT"
    words = []
    for each, hint in _parameters(kind).items():
        short = _UNIT_OF_NAME.sub("", each)
        default = next(field.default for field in fields(kind) if field.name == each)  # type: ignore[arg-type]
        known = isinstance(default, (int, float, str))
        words.append(f"{short}={_written(each, default)}" if known else short.upper())
        if get_origin(hint) is Literal:
            words[-1] = f"{short}={'|'.join(map(str, get_args(hint)))}"
    return f"{name}:{','.join(words)}" if words else name


def _written(name: str, value: object) -> str:
    if name.endswith("_us") and isinstance(value, int):
        unit = next(u for u in ("s", "ms", "us") if value % _UNITS_US[u] == 0 or u == "us")
        return f"{value // _UNITS_US[unit]}{unit}"
    return str(value).lower() if isinstance(value, bool) else str(value)


@check_arguments
def filter_from(text: str, *, intrinsics: Intrinsics | None = None) -> CallableFilter:
    """Return the filter that a text says: NAME, or NAME:ARGUMENTS.

    Arguments stand in the order of the class's fields, or are named, key=value, with or without the
    unit: "refractory:1ms", "noise:hz=0.1,seed=3", "fit:64x48". Times have a unit: 200us, 5ms, 1s.
    A mask is the path of a picture; `undistort` takes the path of a text file of its numbers, the
    numbers, or, without any, `intrinsics`. Raises ConfigError, which says what is meant.
    """
    name, _, arguments = text.strip().partition(":")
    name = name.strip().lower().replace("-", "_")
    kinds = filter_names()
    if name not in kinds:
        raise ConfigError(f"there is no filter {name!r}; {did_you_mean(name, kinds)}")
    try:
        return _made(kinds[name], arguments.strip(), intrinsics)
    except (DvskitError, OSError) as error:
        words = one_line(error)
        raise ConfigError(f"filter {text!r}: {words} (it is {described(name)})") from error


def _made(
    kind: type[CallableFilter], arguments: str, intrinsics: Intrinsics | None
) -> CallableFilter:
    if kind is Mask:
        if not arguments:
            raise ConfigError("the path of a picture is missing")
        return Mask.read(arguments)
    if kind is Fit:
        return Fit(parse_size(arguments))
    if kind is Undistort and not re.fullmatch(r"[-+.\deE,=\w]*=.*|[-+.\deE,\s]+", arguments):
        if arguments:
            return Undistort.read(arguments)
        if intrinsics is None:
            raise ConfigError("the recording has no camera matrix; give a file, or the numbers")
        return Undistort(*intrinsics)
    return kind(**_values(kind, arguments))


def _parameters(kind: type) -> dict[str, Any]:
    """Return the names and types of what a filter takes."""
    if not is_dataclass(kind):
        return {}
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _values(kind: type, arguments: str) -> dict[str, Any]:
    parameters = _parameters(kind)
    full = {_UNIT_OF_NAME.sub("", name): name for name in parameters} | {n: n for n in parameters}
    found: dict[str, Any] = {}
    words = [word.strip() for word in arguments.split(",")] if arguments else []
    for place, word in enumerate(words):
        key, named, value = word.partition("=")
        if named and key.strip().lower() not in full:
            raise ConfigError(f"it has no {key.strip()!r}")
        if not named and place >= len(parameters):
            raise ConfigError(f"{word!r} is one argument too many")
        if not named and found and list(found) != list(parameters)[:place]:
            raise ConfigError(f"{word!r} stands behind named arguments; name it, too")
        name = full[key.strip().lower()] if named else list(parameters)[place]
        if name in found:
            raise ConfigError(f"{name} is given twice")
        found[name] = _value(name, (value if named else word).strip(), parameters[name])
    for field in fields(kind):
        if field.name not in found and field.default is MISSING:
            raise ConfigError(f"{_UNIT_OF_NAME.sub('', field.name)} is missing")
    return found


def _value(name: str, text: str, hint: Any) -> Any:
    """Return what a text says of a parameter of a type. Raises ConfigError."""
    choices = {str(each): each for each in get_args(hint)} if get_origin(hint) is Literal else None
    if choices is not None:
        if text.lower() not in choices:
            raise ConfigError(f"{name} {text!r}: {did_you_mean(text, choices)}")
        return choices[text.lower()]
    kinds = set(get_args(hint)) or {hint}
    if name.endswith("_us"):
        return _time_us(name, text, whole=float not in kinds)
    if bool in kinds:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise ConfigError(f"{name} {text!r} is neither true nor false")
        return words[text.lower()]
    kind: Callable[[str], Any] = float if float in kinds else int
    try:
        return kind(text)
    except ValueError:
        words_of = "number" if kind is float else "whole number"
        raise ConfigError(f"{name} {text!r} is no {words_of}") from None


def _time_us(name: str, text: str, *, whole: bool) -> int | float:
    found = re.fullmatch(r"([-+]?\d+(?:\.\d+)?)\s*(us|ms|s|min)", text)
    if not found:
        raise ConfigError(f"{name} {text!r} is no time with its unit, such as 5ms, 200us or 1s")
    exact = Fraction(found[1]) * _UNITS_US[found[2]]
    return round(exact) if whole else float(exact)
