"""Filters from a Python file that the user names on the command line: "my.py:EveryOther:2".

Loading a file runs it. Therefore configurations and model files may not name one: `filter_from`
accepts named filters only.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from dvskit.errors import ConfigError, DvskitError, MissingFileError, did_you_mean, one_line
from dvskit.events import Filter
from dvskit.filters.base import as_filter
from dvskit.filters.names import described, values_of

_IN_FILE = re.compile(r"\s*(.+?\.py)\s*(?::([^:]*)(?::(.*))?)?\s*", re.DOTALL)
_PREFIX = "dvskit_own_"  # prefix of module names that no installed package has
_FILES: set[str] = set()  # files that were run, by path


def names_a_file(text: str) -> bool:
    """Return whether the text of a filter names a Python file."""
    return _IN_FILE.fullmatch(text) is not None


def filter_from_file(text: str) -> Filter:
    """Run the Python file of PATH.py:NAME[:ARGUMENTS], and return its filter NAME.

    NAME is a class with `start`, which is called with the arguments; an instance of one; or a
    function of Events that returns Events. Arguments have the syntax of named filters.
    Raises ConfigError for a wrong name, wrong arguments and a file that fails, MissingFileError for
    a missing file.
    """
    found = _IN_FILE.fullmatch(text)
    if found is None:
        raise ConfigError(f"filter {text!r}: is not PATH.py:NAME or PATH.py:NAME:ARGUMENTS")
    path, name, arguments = Path(found[1]), (found[2] or "").strip(), (found[3] or "").strip()
    try:
        with errors_in_files():
            return _made(_loaded(path), name, arguments)
    except MissingFileError:
        raise
    except DvskitError as error:
        raise ConfigError(f"filter {text!r}: {one_line(error)}") from error


def _made(module: ModuleType, name: str, arguments: str) -> Filter:
    if name.startswith("__") or not hasattr(module, name):
        known = _filters_in(module)
        choice = did_you_mean(name, known) if known else "the file defines no filter"
        raise ConfigError(f"there is no {name!r} in the file; {choice}" if name else choice)
    value = getattr(module, name)
    if not isinstance(value, type):
        if arguments:
            raise ConfigError(f"{name} takes no arguments; only a class does")
        return as_filter(value)
    if not hasattr(value, "start"):
        raise ConfigError(f"{name} is a class without start(size); see dvskit/filters/README.md")
    try:
        return as_filter(value(**values_of(value, arguments)))
    except DvskitError as error:
        raise ConfigError(f"{one_line(error)} (usage: {described(name, value)})") from error


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
        source = full.read_bytes()
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

    Errors of dvskit, and errors without a loaded file in their traceback, pass unchanged.
    """
    try:
        yield
    except DvskitError:
        raise
    except SyntaxError as error:
        raise ConfigError(f"{error.filename}, line {error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        calls = traceback.extract_tb(error.__traceback__)
        lines = [call for call in calls if call.filename in _FILES]
        if not lines:
            raise
        where = f"{lines[-1].filename}, line {lines[-1].lineno}"
        raise ConfigError(f"{where}: {type(error).__name__}: {one_line(error)}") from error
