"""`dvskit filters`: the filters of `dvskit convert --filter`."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from dvskit.cli._options import argument
from dvskit.errors import ConfigError, did_you_mean
from dvskit.filters import Fit, Mask
from dvskit.filters.names import Parameter, described, filter_names, parameters_of

_UNITS = {"_us": "a time with its unit, such as 5ms", "_px": "pixels", "_hz": "events a second",
          "_deg": "degrees"}  # fmt: skip


def filters(
    name: str | None = argument("Show this filter in detail, with its parameters."),
) -> None:
    """List the filters of `dvskit convert --filter`, with their parameters and defaults."""
    kinds = filter_names()
    if name is None:
        for each in kinds:
            print(f"{described(each, kinds[each])}\n    {_docs(kinds[each])[0]}")
        return
    name = name.strip().lower().replace("-", "_")
    if name not in kinds:
        raise ConfigError(f"there is no filter {name!r}; {did_you_mean(name, kinds)}")
    kind = kinds[name]
    print("\n".join([described(name, kind), "", *_docs(kind)]))
    rows = [] if kind in (Fit, Mask) else _rows(kind)
    wide = [max((len(row[k]) for row in rows), default=0) for k in (0, 1)]
    if rows:
        print("\nParameters:")
    for row in rows:
        print(f"  {row[0]:{wide[0]}}  {row[1]:{wide[1]}}  {row[2]}")


def _rows(kind: type) -> list[tuple[str, str, str]]:
    """Return the name of each parameter, its values, and its default."""
    limits = {each.name: each.metadata.get("limits", ()) for each in dataclasses.fields(kind)}
    return [
        (
            each.short,
            _values(each) + _range(limits[each.name]),
            "required" if each.required else f"default {each.written() or 'none'}",
        )
        for each in parameters_of(kind)
    ]


def _range(limits: tuple[Any, ...]) -> str:
    """Return the range of a number, if its limits are not too large."""
    known = [each for each in limits if isinstance(each, int | float) and abs(each) <= 1000]
    return f", {known[0]} to {known[1]}" if len(known) == 2 else ""


def _docs(kind: type) -> list[str]:
    return (inspect.getdoc(kind) or "").replace("`", "").splitlines()


def _values(parameter: Parameter) -> str:
    """Return the possible values of a parameter, with their unit."""
    if parameter.choices:
        return " or ".join(map(str, parameter.choices))
    for ending, unit in _UNITS.items():
        if parameter.name.endswith(ending):
            return unit
    if isinstance(parameter.default, bool):
        return "true or false"
    return "a whole number" if parameter.hint is int else "a number"
