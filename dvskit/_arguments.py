"""Argument checks with one-line errors: the problem, the call, and the fix."""

from __future__ import annotations

import ast
import functools
import inspect
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, field, fields
from fractions import Fraction
from os import PathLike, fspath
from types import CodeType, NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from dvskit.errors import ArgumentError, ConfigError, did_you_mean

TIME_UNITS_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000}

Called = TypeVar("Called", bound=Callable[..., Any])

_LONGEST = 32  # letters of a value in a message
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_PLAIN = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def check_arguments(called: Called) -> Called:
    """Check the calls of a function or a class against its signature (decorator).

    Unknown names, and too many or too few arguments, raise ArgumentError. So do invalid values for
    annotations of numbers, a text, a path, or classes, and a swapped file and events. Other
    annotations are not checked. A class may have `other_names(name)`: the name used here for
    another package's name, or an empty text.
    """
    is_class = isinstance(called, type)
    function: Any = called.__init__ if is_class else called
    check = _Check(called, function)

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check(args, kwargs)
        return function(*args, **kwargs)

    if not is_class:
        return checked  # type: ignore[return-value]
    called.__init__ = checked  # type: ignore[method-assign]
    return called


class _Check:
    """The argument check of one function or class."""

    def __init__(self, called: Any, function: Any) -> None:
        self._name = called.__qualname__
        self._other_names: Callable[[str], str] | None = getattr(called, "other_names", None)
        self._signature = inspect.signature(function)
        every = self._signature.parameters.values()
        self._parameters = {
            each.name: _Parameter(called, function, each)
            for each in every if each.name not in ("self", "cls")
        }  # fmt: skip
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
        known = self._parameters
        wrong = [
            known[name] for name, value in given.items()
            if name in known and not known[name].may_be(value)
        ]  # fmt: skip
        for each in wrong:
            for other in wrong:
                if each.may_be(given[other.name]) and other.may_be(given[each.name]):
                    raise ArgumentError(
                        f"{self._name}: {each.name} and {other.name} are swapped; "
                        f"pass {self._call()}"
                    )
        for each in wrong:
            if not each.is_of_events:  # as_source raises it
                raise ArgumentError(
                    f"{self._name}: {each.name} is {each.problem(given[each.name])}"
                )

    def _misfit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return why the arguments do not fit the function."""
        names = list(self._parameters)
        any_name = any(each.is_any_name for each in self._parameters.values())
        for name in kwargs:
            if name not in names and not any_name:
                known = "" if self._other_names is None else self._other_names(name)
                return f"there is no {name!r}; {known or did_you_mean(name, names)}"
        first = [name for name in self._first if name in names]
        if len(args) > len(first):
            return self._unnamed(args[len(first)], kwargs)
        for name in names[len(args) :]:
            if name in self._needed and name not in kwargs:
                return f"{name} is missing; pass {self._call()}"
        return f"{names[0]} is given twice; pass {self._call()}"

    def _unnamed(self, value: Any, kwargs: dict[str, Any]) -> str:
        """Return the message for a surplus positional argument."""
        for name, each in self._parameters.items():
            if each.is_keyword_only and name not in kwargs and each.may_be(value):
                if fix := each.fix(value):
                    return f"{_said(value)} needs a name: {name}={fix}"
                short = _said(value) if _said(value) == repr(value) else "..."
                return f"{_said(value)} needs a name, such as {name}={short}"
        return f"{_said(value)} is one argument too many; pass {self._call()}"

    def _call(self) -> str:
        """Return an example call without optional arguments."""
        needed = [name for name in self._parameters if name in self._needed]
        words = [name if name in self._first else f"{name}=" for name in needed]
        optional = ", ..." if len(needed) < len(self._parameters) else ""
        return f"{self._name.rpartition('.')[2]}({', '.join(words)}{optional})"


class _Parameter:
    """The values that one parameter accepts, by its annotation, read at the first value."""

    def __init__(self, called: Any, function: Any, parameter: inspect.Parameter) -> None:
        self.name, self._parameter = parameter.name, parameter
        self._called, self._function = called, function
        self.is_keyword_only = parameter.kind is parameter.KEYWORD_ONLY
        self.is_any_name = parameter.kind is parameter.VAR_KEYWORD

    @functools.cached_property
    def _members(self) -> frozenset[Any]:
        """The members of the annotation; none if any value may be valid."""
        if self._parameter.kind not in _PLAIN + _BY_POSITION:
            return frozenset()  # `*args` and `**kwargs`
        try:
            names = _names_of(self._called, self._function, self._parameter)
            return frozenset(_members(self._parameter.annotation, names))
        except Exception:  # only a type checker understands it
            return frozenset()

    @functools.cached_property
    def is_of_events(self) -> bool:
        """Whether it takes events and sources, but no paths."""
        names = {getattr(each, "__name__", "") for each in self._members}
        return {"Events", "Source"} <= names and not any(map(_is_path, self._members))

    @functools.cached_property
    def _accepted(self) -> tuple[Callable[[Any], bool], str]:
        """The test of a value, and the valid values in words."""
        members = self._members - {NoneType}
        if members == {str}:
            return lambda value: isinstance(value, str), "a text"
        if self.is_of_events:
            return lambda value: not isinstance(value, str | PathLike), ""
        if members and all(map(_is_path, members)):
            name = "a name or " if "name" in self.name else ""
            words = f"{name}the path of a file or a folder"
            return lambda value: isinstance(value, str | PathLike), words
        if members and members <= {int, float}:
            # The function itself checks fractions of a microsecond: they may be seconds.
            is_time = self.name.endswith("_us")
            whole = members == {int} and not is_time
            kind = "a time in microseconds" if is_time else "a number"
            words = "a whole number" if whole else kind
            return lambda value: _is_number(value, whole=whole), words
        if members and all(map(_is_class, members)):
            classes = tuple(members)
            words = " or ".join(sorted(each.__name__ for each in classes))
            return lambda value: isinstance(value, classes), words
        return lambda value: True, ""

    def may_be(self, value: Any) -> bool:
        """Return whether a value may be valid; True for annotations that are not checked."""
        if self._accepted[0](value):
            return True
        return value is None and (self._parameter.default is None or NoneType in self._members)

    def problem(self, value: Any) -> str:
        """Return the problem of a value, and the fix."""
        fix = self.fix(value)
        problem = f"{_said(value)}; {self._accepted[1]} is expected"
        return f"{problem}: {self.name}={fix}" if fix else problem

    def fix(self, value: Any) -> str:
        """Return how to write a value of the right type; "" if that is not clear."""
        if {int, float} & self._members and isinstance(value, str) and _is_number_text(value):
            return value
        if self._accepted[1] == "Tensor" and type(value).__name__ == "ndarray":
            return "torch.from_numpy(...)"
        own = [each for each in self._members if each.__module__.startswith("dvskit.")]
        return f"{own[0].__name__}(...)" if len(own) == 1 else ""


def _names_of(called: Any, function: Any, parameter: inspect.Parameter) -> dict[str, Any]:
    """Return the names known where an annotation was written: a field may be of another module."""
    for base in getattr(called, "__mro__", ()):
        if inspect.get_annotations(base).get(parameter.name) == parameter.annotation:
            return dict(vars(sys.modules[base.__module__]))
    return dict(inspect.unwrap(function).__globals__)


def _members(hint: Any, names: dict[str, Any]) -> Iterator[Any]:
    """Yield the members of an annotation; names of types, and of `Annotated`, are resolved."""
    hint = getattr(hint, "__forward_arg__", hint)
    if isinstance(hint, str):
        yield from _members(_evaluated(hint, names), names)
    elif get_origin(hint) in (Union, UnionType):
        for each in get_args(hint):
            yield from _members(each, names)
    elif get_origin(hint) is Annotated:
        yield from _members(hint.__origin__, names)
    elif hasattr(hint, "__value__"):  # `type Name = ...` of Python 3.12
        yield from _members(hint.__value__, names)
    else:
        yield NoneType if hint is None else hint


def _evaluated(code: str | CodeType, names: dict[str, Any]) -> Any:
    """Evaluate an annotation. A missing name is imported as under `if TYPE_CHECKING:`."""
    try:
        return eval(code, names)
    except NameError as error:
        for statement in _for_type_checkers(names["__name__"]):
            if error.name in statement.co_names:
                _evaluated(statement, names)
        if error.name not in names:
            raise
        return _evaluated(code, names)


def _for_type_checkers(module: str) -> list[CodeType]:
    """Return the statements of a module under `if TYPE_CHECKING:`, compiled."""
    return [
        compile(ast.Module([statement], []), module, "exec")
        for node in ast.walk(ast.parse(inspect.getsource(sys.modules[module])))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
    ]


def _is_path(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, str | PathLike)


def _is_class(kind: Any) -> bool:
    """Whether instances are recognised by isinstance: no builtin, protocol or container."""
    if not isinstance(kind, type) or getattr(kind, "_is_protocol", False):
        return False
    return kind.__module__ not in ("builtins", "collections.abc", "inspect", "typing")


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
    # A whole number may be too large for a float.
    if isinstance(value, str) or not (low <= value <= high and math.isfinite(value)):
        raise ConfigError(f"{name} = {value} is outside {low:g} to {high:g}")


def parse_us(text: str) -> Fraction | None:
    """Return the microseconds of a time with its unit, such as 1.5s or 200ms; None for no time."""
    found = re.fullmatch(r"\s*([-+]?\d+(?:\.\d+)?)\s*(us|ms|s|min)\s*", text)
    return Fraction(found[1]) * TIME_UNITS_US[found[2]] if found else None
