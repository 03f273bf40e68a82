"""Filters in files, "my.py:EveryOther:2": the file is run once, and its errors name their line."""

from __future__ import annotations

import inspect
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from dvskit._files import read_regular
from dvskit.errors import (
    ConfigError,
    DvskitError,
    EventsError,
    MissingFileError,
    did_you_mean,
    one_line,
)
from dvskit.registry import with_line

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
