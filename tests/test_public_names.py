"""Every public name can be found, and its help is complete: its real signature, its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import dvskit
from dvskit.render.plots import Plot

PUBLIC = [getattr(dvskit, name) for name in dvskit.__all__]
PACKAGES = [
    dvskit, dvskit.events, dvskit.render.plots,
    *(part for part in PUBLIC if isinstance(part, ModuleType)),
]  # fmt: skip


def callables(package: ModuleType) -> Iterator[Any]:
    """The functions and classes of a package, without protocols, and the methods of classes."""
    for name in package.__all__:
        value = getattr(package, name)
        if inspect.isfunction(value):
            yield value
        elif inspect.isclass(value) and not getattr(value, "_is_protocol", False):
            yield value
            for method, kind in vars(value).items():
                if not method.startswith("_") and inspect.isroutine(kind):
                    yield getattr(value, method)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_public_name_is_listed_and_has_its_real_signature_and_a_docstring(package):
    assert set(package.__all__) <= set(dir(package))
    for value in callables(package):
        where = f"{value.__module__}.{value.__qualname__}"
        assert inspect.getdoc(value), where
        if inspect.isclass(value) and issubclass(value, BaseException):
            continue
        names = list(inspect.signature(value).parameters)
        assert not {"args", "kwargs"} & set(names) or value is Plot, f"{where}: {names}"
