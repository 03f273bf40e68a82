"""Names of parts: one registry each for formats, filters, representations, encoders and more.

`register_filter(name, kind)` and its relatives add a part of your own. An installed package adds
parts with an entry point of the group "dvskit", a module that calls these functions:

    [project.entry-points.dvskit]
    my_package = "my_package.parts"

The module is imported when a name is unknown, when no known format recognizes the content of a
file, and where all names are listed: `--help`, `dvskit filters` and `dvskit doctor`.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import threading
import traceback
from collections.abc import Callable, Container, Iterator, Mapping, ValuesView
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dvskit.errors import ConfigError, DvskitError, did_you_mean, one_line

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Part = TypeVar("Part")
Found = TypeVar("Found")

GROUP = "dvskit"
# Beginnings of the names of files that hold no part of others.
_OTHERS = (
    __file__.removesuffix("registry.py"), importlib.__file__.removesuffix("__init__.py"), "<frozen "
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


class Registry(Mapping[str, Part], Generic[Part]):
    """The parts of one kind by name: those of dvskit, and those that were registered.

    kind   what a part is, for messages: "filter"
    parts  dvskit's own
    error  raised for an unknown name
    hint   the end of its message

        greetings = dvskit.registry.Registry("greeting", {"hello": "Hello!"})
        greetings.register("bye", "Goodbye!")
        greetings.find("bye")        # 'Goodbye!'; an unknown name raises with the nearest one
        greetings.registered()       # ['bye']
    """

    def __init__(
        self,
        kind: str,
        parts: Mapping[str, Part],
        error: type[DvskitError] = ConfigError,
        hint: str = "",
    ) -> None:
        self.kind, self._parts, self._own = kind, dict(parts), frozenset(parts)
        self._error, self._hint = error, hint
        self._places: dict[str, object] = {}
        self._origins: dict[str, str] = {}
        _REGISTRIES.append(self)

    def register(self, name: str, part: Part, place: object = None) -> None:
        """Add a part. Raises ConfigError for a name that is taken, or is not a name.

        A part may replace itself, as when the cell of a notebook runs again: it has the same
        `place`, by default the module and name of a class or function.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(
                f"{self.kind} {name!r}: a name is letters, digits, '_', '-' and '.', and begins "
                "with a letter"
            )
        place = place_of(part) if place is None else place
        again = self._parts.get(name) is part or (place and self._places.get(name) == place)
        if self.is_own(name) or (name in self._parts and not again):
            origin = "dvskit" if self.is_own(name) else self._origins.get(name, "this program")
            article = "an" if self.kind[0] in "aeiou" else "a"
            raise ConfigError(
                f"{article} {self.kind} named {name!r} is registered already, by {origin}; take "
                "another"
            )
        self._parts[name], self._places[name] = part, place
        self._origins[name] = f"package {_importing}" if _importing else "this program"

    def find(self, name: str, offered: Callable[[Part], bool] = lambda part: True) -> Part:
        """Return a part by its name, after importing installed packages if it is unknown.

        offered  whether the message about an unknown name offers a part
        """
        return self.search(lambda: self._known(name, offered))

    def _known(self, name: str, offered: Callable[[Part], bool]) -> Part:
        if name not in self._parts:
            choices = [each for each, part in self._parts.items() if offered(part)]
            near = did_you_mean(str(name), choices)
            raise self._error(f"unknown {self.kind} {name!r}; {near}{self._hint}")
        return self._parts[name]

    def search(self, look: Callable[[], Found]) -> Found:
        """Return look(). If it raises this registry's error, import packages and call it again."""
        try:
            return look()
        except self._error:
            packages = load_packages()
        try:
            return look()
        except self._error as error:
            failed = "".join(f"; {each.failure}" for each in packages if each.problem)
            raise self._error(f"{error}{failed}") from None

    def complete(self) -> Mapping[str, Part]:
        """Return all parts, including those of installed packages, which are imported."""
        load_packages()
        return self

    def is_own(self, name: str) -> bool:
        """Return whether a name is one of dvskit's own."""
        return name in self._own

    def registered(self) -> list[str]:
        """Return the registered names, without dvskit's own."""
        return [name for name in self._parts if not self.is_own(name)]

    def __getitem__(self, name: str) -> Part:
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def values(self) -> ValuesView[Part]:
        """Return the parts: those of a Mapping take five times as long."""
        return self._parts.values()


def takes(function: Any, *args: Any, **named: Any) -> bool:
    """Return whether a function can be called with such arguments; False for other objects."""
    try:
        inspect.signature(function).bind(*args, **named)
    except (TypeError, ValueError):
        return False
    return True


def place_of(part: object) -> object:
    """Return the module and name of a class or function; None for other objects.

    Two parts with one place are versions of the same code.

        dvskit.registry.place_of(dvskit.filters.Flip)    # ('dvskit.filters.pixel_map', 'Flip')
    """
    name = getattr(part, "__qualname__", None)
    return None if name is None else (getattr(part, "__module__", None), name)


@dataclass(frozen=True, slots=True)
class Package:
    """An installed package with an entry point of the group "dvskit".

    name     of the package, and its version      module  that was imported
    parts    the registered names, each after its kind: ("filter every_other",)
    problem  the error that ended its import; empty if there was none. The parts that were
             registered before it remain

        packages = dvskit.registry.load_packages()
        [package.failure for package in packages if package.problem]    # []: all could be imported
    """

    name: str
    module: str
    parts: tuple[str, ...] = ()
    problem: str = ""

    @property
    def failure(self) -> str:
        """The problem as part of a message."""
        if not self.parts:
            return f"package {self.name} cannot be imported: {self.problem}"
        return f"package {self.name} adds only {', '.join(self.parts)}, then fails: {self.problem}"


_REGISTRIES: list[Registry[Any]] = []
_LOCK = threading.RLock()  # reentrant: a package may look up names while it is imported
_packages: list[Package] | None = None
_importing = ""  # the package that is imported now


def load_packages() -> tuple[Package, ...]:
    """Import the modules of all installed packages that extend dvskit, once, and return them.

    A module that fails is no error: its `Package` holds the problem.

        {package.name: package.parts for package in dvskit.registry.load_packages()}
    """
    global _packages
    from importlib.metadata import entry_points  # takes 10 ms

    with _LOCK:
        if _packages is None:
            _packages = []
            try:
                _packages.extend(map(_load, entry_points(group=GROUP)))
            except BaseException:  # Ctrl-C
                _packages = None
                raise
        return tuple(_packages)


def _load(entry: EntryPoint) -> Package:
    global _importing
    name = entry.name if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
    before, problem = _registered(), ""
    _importing = name
    try:
        with redirect_stdout(sys.stderr):  # stdout may be a file of events
            import_module(entry.module)
    except (Exception, SystemExit) as error:
        problem = f"{type(error).__name__}: {one_line(error)}"
    finally:
        _importing = ""
    parts = [part for part in _registered() if part not in before]
    return Package(name, entry.module, tuple(sorted(parts)), problem)


def _registered() -> list[str]:
    return [f"{each.kind} {name}" for each in _REGISTRIES for name in each.registered()]


@contextmanager
def named_errors(name: str, kind: type[DvskitError] = ConfigError) -> Iterator[None]:
    """Raise one line with the name, the file and the line for errors in the code of a part.

    They become errors of `kind`. Those of dvskit keep their type and get the name if they lack it;
    OSError and MemoryError pass unchanged.

        try:
            with dvskit.registry.named_errors("filter thirds"):
                1 / 0
        except dvskit.errors.ConfigError as error:
            str(error)    # 'filter thirds: ..., line ...: ZeroDivisionError: division by zero'
    """
    try:
        yield
    except (OSError, MemoryError):
        raise
    except DvskitError as error:
        if name.partition(": ")[0] not in str(error):
            error.args = (f"{name}: {error}",)
        raise
    except (Exception, SystemExit) as error:
        raise kind(f"{name}: {with_line(error)}") from error


def with_line(error: BaseException, files: Container[str] = ()) -> str:
    """Return an error as one line: "bad.py, line 3: ZeroDivisionError: division by zero".

    The line is the last one in `files`; without them, in the first file that is not of dvskit.

        try:
            int("five")
        except ValueError as error:
            dvskit.registry.with_line(error)    # "..., line ...: ValueError: invalid literal ..."
    """
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    calls = traceback.extract_tb(error.__traceback__)
    if not files:
        files = [call.filename for call in calls if not call.filename.startswith(_OTHERS)][:1]
    lines = [f"{call.filename}, line {call.lineno}: " for call in calls if call.filename in files]
    return f"{lines[-1] if lines else ''}{type(error).__name__}: {one_line(error)}"
