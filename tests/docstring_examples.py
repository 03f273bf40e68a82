"""Run the examples of the public objects of a package.

    python -m tests.docstring_examples PACKAGE   (in the folder of `dvskit sample`)

An example is the first block of a docstring that is indented by four spaces. It runs after
`import dvskit, numpy as np, torch` alone, in a namespace of its own.
"""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch

import dvskit
from tests.examples import example_of


def public_objects(package: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield the functions and classes that a package lists as public, but no exceptions.

    Those of `dvskit` that one of its packages lists, too, are left to that one.
    """
    for name in package.__all__:
        found = getattr(package, name)
        is_error = inspect.isclass(found) and issubclass(found, Exception)
        if is_error or not (inspect.isclass(found) or inspect.isroutine(found)):
            continue
        home = import_module(".".join(found.__module__.split(".")[:2]))
        if home is package or name not in getattr(home, "__all__", ()):
            yield name, found


def fault_of(documented: Any, name: str) -> str:
    """Run the example of an object; return the fault, or ""."""
    try:
        text = example_of(documented)
    except AssertionError:
        return "has no example"
    try:
        exec(compile(text, name, "exec"), {"dvskit": dvskit, "np": np, "torch": torch})
    except Exception:
        return f"\n{text}{traceback.format_exc(limit=-2)}"
    return ""


def check_examples(name: str) -> None:
    """Run the examples of a package, "dvskit.tensors", in the folder of `dvskit sample`.

    Raises AssertionError with the objects that have no example and the examples that fail.
    """
    faults = [
        f"{name}.{each}: {fault}"
        for each, documented in public_objects(import_module(name))
        if (fault := fault_of(documented, each))
    ]
    assert not faults, "\n".join(faults)


if __name__ == "__main__":
    check_examples(sys.argv[1])
