"""Filters by name, as on the command line and in TOML: "background_activity:5ms"."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dvskit._arguments import TIME_UNITS_US, check_arguments, parse_us
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
_UNIT_OF_NAME = re.compile(r"_(us|px|hz|deg)$")


def filter_names() -> dict[str, type[CallableFilter]]:
    """Return the filters by name, derived from the class: `hot_pixel` for HotPixel."""
    return {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower(): kind for kind in _KINDS}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a filter: its name, its name without the unit, its type and its default."""

    name: str
    short: str
    hint: Any
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values of a Literal; empty for other types."""
        return get_args(self.hint) if get_origin(self.hint) is Literal else ()

    def written(self) -> str:
        """Return the default in command-line form: "5ms"; an empty text without one.

        Only numbers, texts and choices have one.
        """
        value = self.default
        if self.required or not isinstance(value, int | float | str):
            return ""
        if self.name.endswith("_us") and isinstance(value, int):
            unit = next(u for u in ("s", "ms", "us") if value % TIME_UNITS_US[u] == 0 or u == "us")
            return f"{value // TIME_UNITS_US[unit]}{unit}"
        return str(value).lower() if isinstance(value, bool) else str(value)


def parameters_of(kind: type) -> list[Parameter]:
    """Return the parameters of a filter's class, in order."""
    try:
        hints = get_type_hints(kind if is_dataclass(kind) else kind.__init__)  # type: ignore[misc]
    except NameError:  # a name that only type checkers see
        hints = {}
    return [
        Parameter(each.name, _UNIT_OF_NAME.sub("", each.name), hints.get(each.name), each.default)
        for each in inspect.signature(kind).parameters.values()
    ]


def described(name: str, kind: type) -> str:
    """Return the syntax of a filter with its defaults: "noise:hz=0.1,on_share=0.5,seed=0".

    Capitals are placeholders for required values, or in brackets for optional ones.
    """
    if kind is Mask:
        return "mask:PICTURE"
    if kind is Fit:
        return "fit:WIDTHxHEIGHT"
    words = []
    for each in parameters_of(kind):
        value = "|".join(map(str, each.choices)) or each.written()
        bare = each.short.upper() if each.required else f"[{each.short.upper()}]"
        words.append(f"{each.short}={value}" if value else bare)
    return f"{name}:{','.join(words)}" if words else name


@check_arguments
def filter_from(text: str, *, intrinsics: Intrinsics | None = None) -> CallableFilter:
    """Return the filter described by a text: NAME, or NAME:ARGUMENTS.

    Arguments are in the order of the class's fields, or named, key=value, with or without the
    unit: "refractory:1ms", "noise:hz=0.1,seed=3", "fit:64x48". Times have a unit: 200us, 5ms, 1s.
    A mask is the path of an image; `undistort` takes the path of a text file with its numbers, the
    numbers, or, without arguments, `intrinsics`. Raises ConfigError with the fix.
    """
    name, _, arguments = text.strip().partition(":")
    name = name.strip().lower().replace("-", "_")
    kinds = filter_names()
    if name not in kinds:
        raise ConfigError(f"there is no filter {name!r}; {did_you_mean(name, kinds)}")
    try:
        return _made(kinds[name], arguments.strip(), intrinsics)
    except (DvskitError, OSError) as error:
        usage = described(name, kinds[name])
        raise ConfigError(f"filter {text!r}: {one_line(error)} (usage: {usage})") from error


def _made(
    kind: type[CallableFilter], arguments: str, intrinsics: Intrinsics | None
) -> CallableFilter:
    if kind is Mask:
        if not arguments:
            raise ConfigError("the path of an image is missing")
        return Mask.read(arguments)
    if kind is Fit:
        return Fit(parse_size(arguments))
    if kind is Undistort and not re.fullmatch(r"[-+.\deE,=\w]*=.*|[-+.\deE,\s]+", arguments):
        if arguments:
            return Undistort.read(arguments)
        if intrinsics is None:
            raise ConfigError("the recording has no camera matrix; pass a file, or the numbers")
        return Undistort(*intrinsics)
    return kind(**values_of(kind, arguments))


def values_of(kind: type, arguments: str) -> dict[str, Any]:
    """Return the arguments for a filter class in a text such as "5ms,neighbours=4".

    Raises ConfigError for arguments that the class does not take, and for missing ones.
    """
    parameters = {each.name: each for each in parameters_of(kind)}
    full = {each.short: each.name for each in parameters.values()} | {n: n for n in parameters}
    found: dict[str, Any] = {}
    words = [word.strip() for word in arguments.split(",")] if arguments else []
    for place, word in enumerate(words):
        key, named, value = word.partition("=")
        if named and key.strip().lower() not in full:
            raise ConfigError(f"it has no {key.strip()!r}")
        if not named and place >= len(parameters):
            raise ConfigError(f"{word!r} is one argument too many")
        if not named and found and list(found) != list(parameters)[:place]:
            raise ConfigError(f"{word!r} follows named arguments; name it, too")
        name = full[key.strip().lower()] if named else list(parameters)[place]
        if name in found:
            raise ConfigError(f"{name} is given twice")
        found[name] = _value(parameters[name], (value if named else word).strip())
    for each in parameters.values():
        if each.required and each.name not in found:
            raise ConfigError(f"{each.short} is missing")
    return found


def _value(parameter: Parameter, text: str) -> Any:
    """Return the value of a parameter in a text. Raises ConfigError."""
    name, hint = parameter.name, parameter.hint
    choices = {str(each): each for each in parameter.choices}
    if choices:
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
    if not kinds & {int, float}:
        return _literal(text) if hint is None else Path(text) if Path in kinds else text
    kind: Callable[[str], Any] = float if float in kinds else int
    try:
        return kind(text)
    except ValueError:
        words_of = "number" if kind is float else "whole number"
        raise ConfigError(f"{name} {text!r} is not a {words_of}") from None


def _literal(text: str) -> int | float | str:
    """Return the number in a text, else the text."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _time_us(name: str, text: str, *, whole: bool) -> int | float:
    exact = parse_us(text)
    if exact is None:
        raise ConfigError(f"{name} {text!r} is not a time with a unit, such as 5ms, 200us or 1s")
    return round(exact) if whole else float(exact)
