"""`dvskit filters`: the filters of `dvskit convert --filter`."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any, get_args

from dvskit.cli import _console
from dvskit.cli._options import argument
from dvskit.filters import Fit, Mask, PolygonMask
from dvskit.filters.names import (
    FILTERS,
    Parameter,
    described,
    filter_names,
    kind_in_file,
    parameters_of,
)
from dvskit.filters.own_files import names_a_file
from dvskit.registry import load_packages

_UNITS = {"_us": "a time with its unit, such as 5ms", "_px": "pixels", "_hz": "events a second",
          "_deg": "degrees"}  # fmt: skip


def filters(name: str | None = argument()) -> None:
    """List the filters of `dvskit convert --filter`, with their parameters and defaults.

    name  Show this filter in detail, with its parameters.
    """
    if name is None:
        kinds = filter_names()
        for each in kinds:
            print(f"{described(each, kinds[each])}\n    {_docs(kinds[each])[0]}")
        for package in load_packages():
            if package.problem:
                _console.note(package.failure)
        return
    if names_a_file(name):
        name, kind = kind_in_file(name)
    else:
        name = name.strip().lower().replace("-", "_")
        kind = FILTERS.find(name)
    print("\n".join([described(name, kind), "", *_docs(kind)]))
    rows = [] if kind in (Fit, Mask, PolygonMask) else _rows(kind)
    wide = [max((len(row[k]) for row in rows), default=0) for k in (0, 1)]
    if rows:
        print("\nParameters:")
    for row in rows:
        print(f"  {row[0]:{wide[0]}}  {row[1]:{wide[1]}}  {row[2]}")


def _rows(kind: Any) -> list[tuple[str, str, str]]:
    """Return the name of each parameter, its values, and its default."""
    known = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    limits = {each.name: each.metadata.get("limits", ()) for each in known}
    return [
        (
            each.short,
            _values(each) + _range(limits.get(each.name, ())),
            "required" if each.required else f"default {each.written() or 'none'}",
        )
        for each in parameters_of(kind)
    ]


def _range(limits: tuple[Any, ...]) -> str:
    """Return the range of a number, if its limits are not too large."""
    known = [each for each in limits if isinstance(each, int | float) and abs(each) <= 1000]
    return f", {known[0]} to {known[1]}" if len(known) == 2 else ""


def _docs(kind: Any) -> list[str]:
    """Return the lines of a docstring, not of an inherited one, without examples in Python."""
    paragraphs = inspect.cleandoc(kind.__doc__ or "").replace("`", "").split("\n\n")
    prose = [each for each in paragraphs if not each.startswith("    ")]
    return "\n\n".join(prose).splitlines() or ["No description."]


def _values(parameter: Parameter) -> str:
    """Return the possible values of a parameter, with their unit."""
    if parameter.choices:
        return " or ".join(map(str, parameter.choices))
    for ending, unit in _UNITS.items():
        if parameter.name.endswith(ending):
            return unit
    if isinstance(parameter.default, bool):
        return "true or false"
    kinds = {int: "a whole number", float: "a number", str: "a text", Path: "the path of a file"}
    given = set(get_args(parameter.hint)) or {parameter.hint}
    return next((text for kind, text in kinds.items() if kind in given), "a number or a text")
