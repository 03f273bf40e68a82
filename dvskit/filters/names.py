"""Filters by name, "background_activity:5ms", and from a file, "my.py:EveryOther:2".

Loading a file runs it, once, so `filter_from` accepts named filters only, and `filter_from_file`
accepts files only. Errors of a file name its line.
"""

from __future__ import annotations

import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dvskit._files import read_regular
from dvskit.errors import (
    REGISTER_FIRST,
    ConfigError,
    DvskitError,
    EventsError,
    MissingFileError,
    did_you_mean,
    one_line,
)
from dvskit.events import Filter, parse_size
from dvskit.events.window import TIME_UNITS_US, parse_us
from dvskit.filters import chance, corners, denoising, mask, pixel_map, timing
from dvskit.filters.base import CallableFilter, Chain, Function, FunctionFilter, as_filter
from dvskit.filters.fit import Fit, Undistort
from dvskit.filters.mask import Mask
from dvskit.registry import Registry, with_line
from dvskit.streams import Intrinsics

_IN_FILE = re.compile(r"\s*(.+?\.py)\s*(?::([^:]*)(?::(.*))?)?\s*", re.DOTALL)
_PREFIX = "dvskit_own_"  # prefix of module names that no installed package has
_FILES: set[str] = set()  # files that were run, by path


def names_a_file(text: str) -> bool:
    """Return whether the text of a filter names a Python file."""
    return _IN_FILE.fullmatch(text) is not None


def watch_file_of(value: Any) -> None:
    """Count the file of a registered class or function as one that was run."""
    with suppress(TypeError, OSError):  # of a notebook, or of a compiled module
        _FILES.add(inspect.getfile(value))


@contextmanager
def named_text(text: str) -> Iterator[None]:
    """Name the text of a filter in a file in errors."""
    try:
        with errors_in_files():
            yield
    except MissingFileError:
        raise
    except DvskitError as error:
        raise ConfigError(f"filter {text!r}: {one_line(error)}") from error


def value_in_file(text: str) -> tuple[Any, str, str]:
    """Return the value of a text in a file, its name and its arguments."""
    found = _IN_FILE.fullmatch(text)
    if found is None:
        raise ConfigError("is not PATH.py:NAME or PATH.py:NAME:ARGUMENTS")
    module, name = _loaded(Path(found[1])), (found[2] or "").strip()
    if name.startswith("__") or not hasattr(module, name):
        known = _filters_in(module)
        choice = did_you_mean(name, known) if known else "the file defines no filter"
        raise ConfigError(f"there is no {name!r} in the file; {choice}" if name else choice)
    return getattr(module, name), name, (found[3] or "").strip()


def _filters_in(module: ModuleType) -> list[str]:
    """Return the names of the filters and functions that a module defines."""

    def own(value: Any) -> bool:
        defined = getattr(value, "__module__", "") == module.__name__
        if isinstance(value, type):
            return defined and hasattr(value, "start")
        return hasattr(value, "start") or (defined and callable(value))

    return [name for name, value in vars(module).items() if name[0] != "_" and own(value)]


def _loaded(path: Path) -> ModuleType:
    """Return a Python file as a module. Each path is run once."""
    full = path.resolve()
    name = _PREFIX + str(full)
    if name in sys.modules:
        return sys.modules[name]
    try:
        source = read_regular(full)
    except FileNotFoundError:
        raise MissingFileError(path) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    module = ModuleType(name)
    module.__file__ = str(full)
    _FILES.add(str(path))
    sys.modules[name] = module  # dataclasses look up the module of a class here
    sys.path.insert(
        0, str(full.parent)
    )  # files in the same folder can be imported, as with `python my.py`
    try:
        # Python's loaders would write __pycache__ into the folder.
        exec(compile(source, str(path), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(full.parent))
    return module


@contextmanager
def errors_in_files() -> Iterator[None]:
    """Raise ConfigError, with the file's line, for errors that a loaded file raises.

    Errors of dvskit other than EventsError, and errors without a loaded file in their traceback,
    pass unchanged.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        known = isinstance(error, DvskitError) and not isinstance(error, EventsError)
        calls = traceback.extract_tb(error.__traceback__)
        ours = isinstance(error, SyntaxError) or any(call.filename in _FILES for call in calls)
        if known or not ours:
            raise
        raise ConfigError(with_line(error, _FILES)) from error


_UNIT_OF_NAME = re.compile(r"_(us|px|hz|deg)$")


def _snake(name: str) -> str:
    """Return the name of a class as that of a filter: `hot_pixel` for HotPixel."""
    between = r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|\W+"  # e_fast for EFast
    return re.sub(between, "_", name).lower()


_OWN: tuple[type[CallableFilter], ...] = (
    denoising.BackgroundActivity, denoising.Refractory, denoising.HotPixel, Mask, mask.Crop, Fit,
    pixel_map.Flip, pixel_map.Transpose, pixel_map.QuarterTurn, pixel_map.Rotate, pixel_map.Zoom,
    pixel_map.Shift, pixel_map.Roll, pixel_map.Shear, pixel_map.Affine, Undistort,
    timing.TimeWindow, timing.DropTime, timing.TimeScale, timing.TimeShift, timing.StartAt,
    timing.TimeReversal, timing.Polarity, timing.SwapPolarity, timing.EventRateLimit,
    timing.EvenRateLimit, chance.DropEvents, mask.CircleMask, mask.RectangleMask, mask.PolygonMask,
    mask.DropArea, mask.DropPixels, chance.SpatialJitter, chance.TemporalJitter, chance.Noise,
    corners.EFast, corners.ArcStar, corners.LuvHarris, corners.EHarris,
)  # fmt: skip
Kind = type[Filter] | Filter | Function
FILTERS: Registry[Kind] = Registry(
    "filter",
    {_snake(kind.__name__): kind for kind in _OWN},
    hint=f"; for one of your own, {REGISTER_FIRST}; filter_from_file and the command line also "
    "take FILE.py:NAME",
)


def register_filter(name: str, kind: Kind) -> None:
    """Add a filter: `filter_from` and `dvskit convert --filter` then take its name.

        from dvskit.filters import filter_from, register_filter

        def left_half(events):
            return events[events.x < events.sensor_size.width // 2]

        register_filter("left_half", left_half)
        left = filter_from("left_half")(dvskit.load_events("events.raw"))

    kind  a function from Events to Events of the same sensor size, called with each block that
          has events; an object with `start(size)`, see `Step`; or a class of such objects,
          called with the arguments of the text: "every_other:3"

    The text after the colon holds the arguments of the class, separated by commas, in order or as
    name=value: "name:5ms,of=3". A parameter such as within_us takes a time with a unit, 5ms, and
    its name in the text is `within`. __post_init__ of the class may raise ConfigError for wrong
    values. A training configuration takes no filters. An installed package registers its filters
    for the command line: see `dvskit.registry`.

    Raises ConfigError for a name that is taken or not in lower case, and for other kinds.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", str(name)):
        near = _snake(str(name)).strip("_0123456789") or "every_other"
        raise ConfigError(
            f"filter {name!r}: a name is lower-case letters, digits and '_', such as {near!r}"
        )
    _check_kind(name, kind)
    is_object = not hasattr(kind, "__qualname__")
    FILTERS.register(name, kind, f"{type(kind)} {kind!r}" if is_object else None)
    watch_file_of(type(kind) if is_object else kind)


def filter_names() -> Mapping[str, Any]:
    """Return all filters by name, with those of installed packages.

    A value is a class, or what was registered: a Filter, or a function of Events.

        names = dvskit.filters.filter_names()
        names["refractory"]    # <class 'dvskit.filters.denoising.Refractory'>
    """
    return FILTERS.complete()


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


def parameters_of(kind: Any) -> list[Parameter]:
    """Return the parameters of a filter's class, in order; none of a Filter or a function."""
    if not isinstance(kind, type):
        return []
    try:
        hints = get_type_hints(kind if is_dataclass(kind) else kind.__init__)  # type: ignore[misc]
    except NameError:  # a name that only type checkers see
        hints = {}
    return [
        Parameter(each.name, _UNIT_OF_NAME.sub("", each.name), hints.get(each.name), each.default)
        for each in inspect.signature(kind).parameters.values()
        if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]


def described(name: str, kind: Any) -> str:
    """Return the syntax of a filter with its defaults: "noise:hz=0.1,on_share=0.5,seed=0".

    Capitals are placeholders for required values, or in brackets for optional ones.
    """
    if kind is Mask:
        return "mask:PICTURE,invert=false"
    if kind is mask.PolygonMask:
        return "polygon_mask:X,Y,X,Y,X,Y,...,invert=false"
    if kind is Fit:
        return "fit:WIDTHxHEIGHT"
    words = []
    for each in parameters_of(kind):
        value = "|".join(map(str, each.choices)) or each.written()
        bare = each.short.upper() if each.required else f"[{each.short.upper()}]"
        words.append(f"{each.short}={value}" if value else bare)
    return f"{name}:{','.join(words)}" if words else name


def filter_from(text: str, *, intrinsics: Intrinsics | None = None) -> CallableFilter:
    """Return the filter described by a text: NAME, or NAME:ARGUMENTS.

    NAME is one of `filter_names()`. Arguments are in the order of the class's parameters, or named,
    key=value, with or without the unit: "refractory:1ms", "noise:hz=0.1,seed=3", "fit:64x48". Times
    have a unit: 200us, 5ms, 1s. A mask is the path of an image; `undistort` takes the path of a
    text file with its numbers, the numbers, or, without arguments, `intrinsics`. Raises ConfigError
    with the fix.

        events = dvskit.load_events("noisy.raw")
        clean = dvskit.filters.filter_from("background_activity:5ms,neighbors=4")(events)
        small = dvskit.filters.filter_from("fit:64x64")(clean)
    """
    name, _, arguments = text.strip().partition(":")
    name = name.strip().lower().replace("-", "_")
    kind = FILTERS.find(name)
    try:
        made = _made(name, kind, arguments.strip(), intrinsics)
    except DvskitError as error:
        raise ConfigError(f"filter {text!r}: {one_line(error)}") from error
    return made if isinstance(made, CallableFilter) else Chain(made)


def _check_kind(name: str, kind: Any) -> None:
    if not isinstance(kind, type):
        if isinstance(as_filter(kind), FunctionFilter) and not _takes(kind, 1):
            raise ConfigError(f"{name} is not a function of one argument, the events; make it one")
    elif not callable(getattr(kind, "start", None)):
        raise ConfigError(f"{name} is a class without start(size); see help(dvskit.filters.Step)")
    start = getattr(kind, "start", None)
    if start is not None and not _takes(start, 2 if isinstance(kind, type) else 1):
        raise ConfigError(f"{name}: its start does not take the size; write start(self, size)")


def _takes(function: Any, count: int) -> bool:
    """Return whether a function can be called with this number of arguments."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # a compiled function without a signature
        return True
    return True


def _made(name: str, kind: Any, arguments: str, intrinsics: Intrinsics | None = None) -> Filter:
    """Return the filter of a registered kind, or of a value in a file."""
    _check_kind(name, kind)
    if not isinstance(kind, type):
        if arguments:
            raise ConfigError(f"{name} takes no arguments; only a class does")
        return as_filter(kind)
    try:
        return as_filter(_called(kind, arguments, intrinsics))
    except (DvskitError, OSError) as error:
        raise ConfigError(f"{one_line(error)} (usage: {described(name, kind)})") from error


def _called(kind: type, arguments: str, intrinsics: Intrinsics | None) -> Any:
    if kind is Mask:
        if not arguments:
            raise ConfigError("the path of an image is missing")
        path, _, invert = arguments.partition(",invert=")
        return Mask.read(path, invert=bool(invert) and _truth("invert", invert))
    if kind is mask.PolygonMask:
        return _polygon(arguments)
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
    """Return the arguments for a filter class in a text such as "5ms,neighbors=4".

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
            raise ConfigError(f"{parameters[name].short} is given twice")
        found[name] = _value(parameters[name], (value if named else word).strip())
    for each in parameters.values():
        if each.required and each.name not in found:
            raise ConfigError(f"{each.short} is missing")
    return found


def _value(parameter: Parameter, text: str) -> Any:
    """Return the value of a parameter in a text. Raises ConfigError."""
    name, hint = parameter.short, parameter.hint
    choices = {str(each): each for each in parameter.choices}
    if choices:
        if text.lower() not in choices:
            raise ConfigError(f"{name} {text!r}: {did_you_mean(text, choices)}")
        return choices[text.lower()]
    kinds = set(get_args(hint)) or {hint}
    if parameter.name.endswith("_us"):
        return _time_us(name, text, whole=float not in kinds)
    if bool in kinds:
        return _truth(name, text)
    if not kinds & {int, float}:
        return _literal(text) if hint is None else Path(text) if Path in kinds else text
    kind: Callable[[str], Any] = float if float in kinds else int
    try:
        return kind(text)
    except ValueError:
        words_of = "number" if kind is float else "whole number"
        raise ConfigError(f"{name} {text!r} is not a {words_of}") from None


def _truth(name: str, text: str) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.strip().lower() not in words:
        raise ConfigError(f"{name} {text!r} is neither true nor false")
    return words[text.strip().lower()]


def _polygon(arguments: str) -> mask.PolygonMask:
    """Return the polygon of a text "x,y,x,y,x,y" with or without ",invert=true"."""
    numbers, _, invert = arguments.partition(",invert=")
    try:
        values = [float(word) for word in numbers.split(",")]
    except ValueError:
        raise ConfigError(f"{numbers!r} are not numbers x,y,x,y,x,y") from None
    if len(values) % 2:
        raise ConfigError(f"{numbers!r} has an x without its y")
    points = tuple(zip(values[::2], values[1::2], strict=True))
    return mask.PolygonMask(points, bool(invert) and _truth("invert", invert))


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


def filter_from_file(text: str) -> Filter:
    """Run the Python file of PATH.py:NAME[:ARGUMENTS], and return its filter NAME.

    NAME is a class with `start`, which is called with the arguments; an instance of one; or a
    function of Events that returns Events. Arguments have the syntax of named filters.
    Raises ConfigError for a wrong name, wrong arguments and a file that fails, MissingFileError for
    a missing file.
    """
    with named_text(text):
        kind, name, arguments = value_in_file(text)
        return _made(name, kind, arguments)


def kind_in_file(text: str) -> tuple[str, Kind]:
    """Run the file of PATH.py:NAME; return NAME and the filter's class, Filter or function.

    Raises as `filter_from_file` does.
    """
    with named_text(text):
        kind, name, _ = value_in_file(text)
        _check_kind(name, kind)
        return name, kind
