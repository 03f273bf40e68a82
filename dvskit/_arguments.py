"""Argument checks with one-line errors: the problem, the call, and the fix."""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable
from dataclasses import MISSING, field, fields
from fractions import Fraction
from os import PathLike, fspath
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from dvskit.errors import ArgumentError, ConfigError, did_you_mean

TIME_UNITS_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000}

Called = TypeVar("Called", bound=Callable[..., Any])

_NUMBERS, _PATHS = {"int", "float"}, {"str", "PathLike[str]", "Path"}
_LONGEST = 32  # letters of a value in a message
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_PLAIN = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def check_arguments(called: Called) -> Called:
    """Check the calls of a function or a class against its signature (decorator).

    Unknown names, and too many or too few arguments, raise ArgumentError. So do invalid values for
    annotations of numbers, a text, a path, or a class of dvskit, and a swapped file and events.
    Other annotations are not checked. A class may have `other_names(name)`: the name used here for
    another package's name, or an empty text.
    """
    is_class = isinstance(called, type)
    function: Any = called.__init__ if is_class else called
    check = _Check(called.__qualname__, function, getattr(called, "other_names", None))

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check(args, kwargs)
        return function(*args, **kwargs)

    if not is_class:
        return checked  # type: ignore[return-value]
    called.__init__ = checked  # type: ignore[method-assign]
    return called


class _Check:
    """The argument check of one function."""

    def __init__(
        self, name: str, function: Any, other_names: Callable[[str], str] | None = None
    ) -> None:
        self._name, self._globals = name, function.__globals__
        self._other_names = other_names
        self._signature = inspect.signature(function)
        self._parameters = [
            each.replace(annotation=_written(each.annotation))
            for each in self._signature.parameters.values()
            if each.name not in ("self", "cls")
        ]
        self._kinds = {each.name: _kinds(each) for each in self._parameters}
        every = self._signature.parameters.values()
        self._plain = all(each.kind in _PLAIN for each in every)
        self._first = [each.name for each in every if each.kind in _BY_POSITION]
        self._needed = {
            each.name for each in every
            if each.default is each.empty and each.kind in _PLAIN + _BY_POSITION
        }  # fmt: skip

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments by name. Raises TypeError if they do not fit the function."""
        # The common cases of inspect's binding, in a third of the time; inspect handles the rest.
        if self._plain and len(args) <= len(self._first):
            given = {**dict(zip(self._first, args, strict=False)), **kwargs}
            apart = len(given) == len(args) + len(kwargs)
            if apart and self._needed <= given.keys() <= self._signature.parameters.keys():
                return given
        return self._signature.bind(*args, **kwargs).arguments

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise ArgumentError for arguments that do not fit the function."""
        try:
            given = self._bind(args, kwargs)
        except TypeError:
            own = args[len(self._signature.parameters) - len(self._parameters) :]
            raise ArgumentError(f"{self._name}: {self._misfit(own, kwargs)}") from None
        wrong = [
            each for each in self._parameters
            if each.name in given and not self._may_be(each, given[each.name])
        ]  # fmt: skip
        for each in wrong:
            for other in wrong:
                if self._may_be(each, given[other.name]) and self._may_be(other, given[each.name]):
                    raise ArgumentError(
                        f"{self._name}: {each.name} and {other.name} are swapped; "
                        f"pass {self._call()}"
                    )
        for each in wrong:
            if not _is_of_events(each.annotation):  # as_source raises it
                problem = self._problem(each, given[each.name])
                raise ArgumentError(f"{self._name}: {each.name} is {problem}")

    def _misfit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return why the arguments do not fit the function."""
        names = [each.name for each in self._parameters]
        any_name = any(each.kind is each.VAR_KEYWORD for each in self._parameters)
        for name in kwargs:
            if name not in names and not any_name:
                known = "" if self._other_names is None else self._other_names(name)
                return f"there is no {name!r}; {known or did_you_mean(name, names)}"
        first = [each.name for each in self._parameters if each.kind in _BY_POSITION]
        if len(args) > len(first):
            return self._unnamed(args[len(first)], kwargs)
        for each in self._parameters[len(args) :]:
            if each.default is each.empty and each.name not in kwargs:
                return f"{each.name} is missing; pass {self._call()}"
        return f"{names[0]} is given twice; pass {self._call()}"

    def _unnamed(self, value: Any, kwargs: dict[str, Any]) -> str:
        """Return the message for a surplus positional argument."""
        for each in self._parameters:
            free = each.kind is each.KEYWORD_ONLY and each.name not in kwargs
            if free and self._may_be(each, value):
                short = _said(value) if _said(value) == repr(value) else "..."
                return f"{_said(value)} needs a name, such as {each.name}={short}"
        return f"{_said(value)} is one argument too many; pass {self._call()}"

    def _call(self) -> str:
        """Return an example call without optional arguments."""
        needed = [each for each in self._parameters if each.name in self._needed]
        words = [each.name if each.kind in _BY_POSITION else f"{each.name}=" for each in needed]
        optional = ", ..." if len(needed) < len(self._parameters) else ""
        return f"{self._name.rpartition('.')[2]}({', '.join(words)}{optional})"

    def _may_be(self, parameter: inspect.Parameter, value: Any) -> bool:
        """Return whether a value may be valid; True for unknown annotations."""
        kinds = self._kinds[parameter.name]
        if value is None and ("None" in kinds or parameter.default is None):
            return True
        kinds = kinds - {"None"}
        if not kinds:
            return True
        if kinds <= _NUMBERS:
            # The function itself checks fractions of a microsecond: they may be seconds.
            whole = kinds == {"int"} and not parameter.name.endswith("_us")
            return _is_number(value, whole=whole)
        if kinds == {"str"}:
            return isinstance(value, str)
        if kinds <= _PATHS:
            return isinstance(value, str | PathLike)
        if _is_of_events(parameter.annotation):
            return not isinstance(value, str | PathLike)
        classes = [self._class(kind) for kind in kinds]
        if not all(classes):
            return True
        return isinstance(value, tuple(each for each in classes if each))

    def _class(self, kind: str) -> type | None:
        """Return the class of that name in the module of the function; None for protocols."""
        found = self._globals.get(kind)
        if not isinstance(found, type) or found is Any or getattr(found, "_is_protocol", False):
            return None
        return found

    def _problem(self, parameter: inspect.Parameter, value: Any) -> str:
        """Return the problem of a value, and the fix."""
        kinds, name = self._kinds[parameter.name] - {"None"}, parameter.name
        if kinds <= _NUMBERS:
            kind = "a whole number" if kinds == {"int"} else "a number"
            kind = "a time in microseconds" if name.endswith("_us") else kind
            text = isinstance(value, str) and _is_number_text(value)
            return f"{_said(value)}; {kind} is expected" + (f": {name}={value}" if text else "")
        if kinds == {"str"}:
            return f"{_said(value)}; a text is expected"
        if kinds <= _PATHS:
            kind = "a name or " if "name" in name else ""
            return f"{_said(value)}; {kind}the path of a file or a folder is expected"
        kind = " or ".join(sorted(kinds))
        if kinds == {"Tensor"} and type(value).__name__ == "ndarray":
            return f"{_said(value)}; Tensor is expected: {name}=torch.from_numpy(...)"
        own = [each for each in kinds if self._globals[each].__module__.startswith("dvskit.")]
        fix = f": {name}={own[0]}(...)" if len(own) == 1 else ""
        return f"{_said(value)}; {kind} is expected{fix}"


def _written(annotation: Any) -> str:
    """Return an annotation as text, even in a module that evaluates its annotations."""
    if isinstance(annotation, str):
        return annotation
    if annotation is inspect.Parameter.empty:
        return ""
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(map(_written, get_args(annotation)))
    if annotation is NoneType:
        return "None"
    if get_origin(annotation) is PathLike:
        return "PathLike[str]"
    return annotation.__name__ if isinstance(annotation, type) else repr(annotation)


def _kinds(parameter: inspect.Parameter) -> set[str]:
    """Return the parts of an annotation; none for `*args`, `**kwargs` and without an annotation."""
    collects = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    if collects or not parameter.annotation:
        return set()
    return {part.strip() for part in parameter.annotation.split("|")}


def _is_of_events(annotation: str) -> bool:
    return annotation.startswith("Events | Source") and "PathLike" not in annotation


def _is_number(value: Any, *, whole: bool) -> bool:
    kind = type(value)
    if isinstance(value, str) or getattr(value, "shape", ()) != ():
        return False
    if hasattr(kind, "__index__"):
        return True
    return hasattr(kind, "__float__") and (not whole or float(value).is_integer())


def _is_number_text(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _said(value: Any) -> str:
    """Return a value's repr, or its type if that is long."""
    if isinstance(value, PathLike):
        value = fspath(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    said = repr(value)
    return said if len(said) <= _LONGEST and "\n" not in said else type(value).__name__


def checked(check: Callable[..., None], *limits: Any, default: Any = MISSING) -> Any:
    """Return a dataclass field checked by `check_fields`: check(owner, name, *limits)."""
    return field(default=default, metadata={"check": check, "limits": limits})


def check_fields(owner: Any) -> None:
    """Check the `checked` fields of a dataclass; a field with the default None may be None.

    Raises the errors of the checks.
    """
    for each in fields(owner):
        given = each.default is not None or getattr(owner, each.name) is not None
        if "check" in each.metadata and given:
            each.metadata["check"](owner, each.name, *each.metadata["limits"])


def in_range(owner: object, name: str, low: float, high: float) -> None:
    """Raise ConfigError if a field is outside low..high, or no number; for `checked`."""
    check_range(name, getattr(owner, name), low, high)


def check_range(name: str, value: Any, low: float, high: float) -> None:
    """Raise ConfigError if a value is outside low..high, or no number."""
    if isinstance(value, str) or not (math.isfinite(value) and low <= value <= high):
        raise ConfigError(f"{name} = {value} is outside {low:g} to {high:g}")


def parse_us(text: str) -> Fraction | None:
    """Return the microseconds of a time with its unit, such as 1.5s or 200ms; None for no time."""
    found = re.fullmatch(r"\s*([-+]?\d+(?:\.\d+)?)\s*(us|ms|s|min)\s*", text)
    return Fraction(found[1]) * TIME_UNITS_US[found[2]] if found else None
