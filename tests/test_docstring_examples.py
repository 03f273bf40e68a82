"""Every public function and class has an example, and the example runs.

An example is the first block of a docstring that is indented by four spaces. It runs in the folder
of `dvskit sample`, after `import dvskit, numpy as np, torch` alone, in a namespace of its own.
"""

from __future__ import annotations

import inspect
import os
import shutil
import traceback
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import dvskit
from tests.examples import example_of
from tests.processes import run_in

LONG = ("reconstruction", "render.plots", "scenes", "training")
SHORT = sorted(
    path.parent.name
    for path in Path(dvskit.__file__).parent.glob("*/__init__.py")
    if path.parent.name not in ("cli", *LONG)
)


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


def check_examples(sample: Path, *names: str) -> None:
    """Run the examples of packages, each in a copy of the folder of `dvskit sample`.

    Raises AssertionError with the objects that have no example and the examples that fail.
    """
    faults = []
    for name in names:
        os.chdir(shutil.copytree(sample, Path("..", name).resolve()))
        for each, documented in public_objects(import_module(name)):
            if fault := fault_of(documented, each):
                faults.append(f"{name}.{each}: {fault}")
    assert not faults, "\n".join(faults)


# A process loads once for all short packages what each of them needs.
SHARED = pytest.param(
    ["dvskit", *(f"dvskit.{name}" for name in SHORT)], marks=pytest.mark.slow(seconds=25)
)
ALONE = [pytest.param([f"dvskit.{name}"], marks=pytest.mark.campaign) for name in LONG]


@pytest.mark.parametrize("names", [SHARED, *ALONE])
def test_each_public_object_has_an_example_that_runs(names, sample_folder, tmp_path):
    (tmp_path / "begin").mkdir()
    code, printed = run_in(tmp_path / "begin", check_examples, sample_folder, *names)
    assert code == 0, printed
