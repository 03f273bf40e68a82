"""Tables of TOML as frozen classes, and back: msgspec reads by types, tomli-w writes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import tomli_w

from dvskit.errors import ConfigError, did_you_mean

_SHOWN = 40  # characters of a value in an error

Kind = TypeVar("Kind")


def to_toml(values: Mapping[str, Any]) -> str:
    """Return the TOML text of plain values, tables, and lists of tables.

    Raises ConfigError for other values, which could not be loaded again.
    """
    try:
        return tomli_w.dumps(values)
    except TypeError as error:
        raise ConfigError(
            f"{error}, and could not be loaded again; give numbers, texts, booleans and lists"
        ) from None


def toml_text(value: Any) -> str:
    """Return one value as TOML, in one line."""
    return json.dumps(value, ensure_ascii=False)  # JSON of a text, a number or a list is TOML


def read_table(kind: type[Kind], values: object, place: str = "") -> Kind:
    """Return the frozen class that has the keys of a table as its fields.

    place  of the table, for errors: "data.videos"; "" for the whole file

    Whole numbers pass as floats, and lists as tuples. A field of a dataclass is a table again; a
    field of a type that TOML cannot hold is left to the class. Raises ConfigError, with the place,
    for unknown and missing keys, for values of another type, and for values that the class refuses.
    """
    if isinstance(values, kind):  # it is read already
        return values
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    types, given = _types_of(kind), {}
    for key, value in table_of(values, place).items():
        where = f"{place}.{key}" if place else key
        if key not in known:
            raise ConfigError(f"unknown key {where}; {did_you_mean(key, known)}")
        given[key] = read_value(types[key], value, where)
    for key, each in known.items():
        if key not in given and each.default is MISSING and each.default_factory is MISSING:
            raise ConfigError(f"{place}{'.' if place else ''}{key} is missing")
    try:
        return kind(**given)
    except ConfigError as error:
        own = str(error).startswith(f"{kind.__name__}: ")  # then the name of a field follows
        words = str(error).removeprefix(f"{kind.__name__}: ")
        between = "" if not place else "." if own else ": "
        raise ConfigError(f"{place}{between}{words}") from error


def table_of(values: object, place: str) -> Mapping[str, Any]:
    """Return a table unchanged. Raises ConfigError for anything else."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{place} = {_shown(values)} is not a table; write [{place}]")
    return values


def read_value(kind: Any, value: object, place: str) -> Any:
    """Return a value of TOML as a type, as `read_table` does for a field."""
    if is_dataclass(kind):
        return read_table(kind, value, place)  # type: ignore[arg-type]
    part = get_args(kind)[:1]
    if get_origin(kind) is tuple and is_dataclass(part[0]):
        if not isinstance(value, list | tuple):
            raise ConfigError(
                f"{place} = {_shown(value)} is not a list of tables; write [[{place}]] above each"
            )
        return tuple(read_value(part[0], each, f"{place}.{at}") for at, each in enumerate(value))
    try:
        return msgspec.convert(value, kind)
    except TypeError:  # the type is of no TOML value
        return value
    except msgspec.ValidationError as error:
        raise ConfigError(_named(error, value, place)) from None


def _types_of(kind: type) -> dict[str, Any]:
    try:
        return get_type_hints(kind)
    except NameError:  # of a class within a function, with types from there
        return {each.name: Any for each in fields(kind)}


_WORDS = {"str": "a text", "int": "a whole number", "float": "a number", "bool": "true or false",
          "array": "a list", "object": "a table"}  # fmt: skip


def _named(error: Exception, value: Any, place: str) -> str:
    """Return msgspec's error about a value in the words of TOML, with its place."""
    words, _, path = str(error).partition(" - at `$")
    for key, number in re.findall(r"\.(\w+)|\[(\d+)\]", path):
        value = value[key] if key else value[int(number)]
    wanted = re.match(r"Expected `(\w+)[^`]*`( of length \d+)?", words)
    kind = f"{_WORDS.get(wanted[1], wanted[1])}{wanted[2] or ''}" if wanted else words
    return f"{place}{path.rstrip('`')} = {_shown(value)} is not {kind}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
