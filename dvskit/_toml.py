"""TOML of strangers: parsed with limits, so that no file takes long or nests without an end."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from dvskit.errors import ConfigError, did_you_mean

_LONGEST_LINE = 10_000  # characters; the time of a dotted key grows with the square of its length
_DEEPEST = 20
_MOST_VALUES = 1_000_000


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text. Raises ValueError, also for too long lines and nesting."""
    if any(len(line) > _LONGEST_LINE for line in text.splitlines()):
        raise ValueError(f"a line has more than {_LONGEST_LINE:,} characters")
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    check_nesting(values)
    return values


def check_nesting(values: Any) -> None:
    """Raise ValueError for values that are nested deeper than 20, or more than a million.

    A value that is referred to repeatedly, as aliases in YAML do, counts each time.
    """
    level, count = [values], 0
    for _ in range(_DEEPEST):
        level = [each for parent in level for each in _within(parent)]
        count += len(level)
        if not level:
            return
        if count > _MOST_VALUES:
            raise ValueError(f"it holds more than {_MOST_VALUES:,} values")
    raise ValueError("it is nested too deeply")


def _within(parent: Any) -> Iterable[Any]:
    if isinstance(parent, Mapping):
        return parent.values()
    return parent if isinstance(parent, list) else ()


_PLAIN: dict[str, type[Any]] = {"int": int, "float": float, "str": str, "bool": bool}


def table_of(key: str, value: Any) -> Mapping[str, Any]:
    """Return a table unchanged. Raises ConfigError for anything else."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key} = {value!r} is not a table; write [{key}]")
    return value


def section(prefix: str, kind: type[Any], values: Mapping[str, Any]) -> Any:
    """Return the dataclass of a table called `prefix`. Raises ConfigError as `load_config` does."""
    dot = f"{prefix}." if prefix else ""
    known = {item.name: item for item in fields(kind)}
    checked = {}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"unknown key {dot}{key}; {did_you_mean(key, known)}")
        checked[key] = typed(f"{dot}{key}", str(known[key].type), value)
    return kind(**checked)


def typed(key: str, wanted: str, value: Any) -> Any:
    """Return `value` as the type in the field's annotation; whole numbers pass as float."""
    if wanted.startswith("tuple["):
        inner = wanted.removeprefix("tuple[").split(",")[0]
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{key} = {value!r} is {type(value).__name__}; give a list")
        return tuple(typed(key, inner, each) for each in value)
    if wanted == "float" and type(value) is int:
        return float(value)
    if wanted in _PLAIN and type(value) is not _PLAIN[wanted]:
        raise ConfigError(f"{key} = {value!r} is {type(value).__name__}; give {wanted}")
    return value


def plain_values(part: Any) -> dict[str, Any]:
    return {item.name: _stored(str(item.type), getattr(part, item.name)) for item in fields(part)}


def _stored(annotated: str, value: Any) -> Any:
    """Return a value as it is after reading it back: a whole number in a float field is a float."""
    if annotated.startswith("tuple["):
        inner = annotated.removeprefix("tuple[").split(",")[0]
        return tuple(_stored(inner, each) for each in value)
    return float(value) if annotated == "float" else value


def to_toml(values: Mapping[str, Any]) -> str:
    """Return TOML text of plain values, tables, and lists of tables."""
    return "\n".join(_lines(values, "")).lstrip("\n") + "\n"


def _lines(values: Mapping[str, Any], prefix: str) -> list[str]:
    lines = [f"{_key(key)} = {toml_text(v)}" for key, v in values.items() if not _is_tables(v)]
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{prefix}{key}]", *_lines(value, f"{prefix}{key}.")]
        elif _is_tables(value):
            for each in value:
                lines += ["", f"[[{prefix}{key}]]", *_lines(each, f"{prefix}{key}.")]
    return lines


def _key(name: str) -> str:
    """Return a TOML key, in quotes if necessary."""
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else toml_text(name)


def _is_tables(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(each, Mapping) for each in value)
    return isinstance(value, Mapping)


def toml_text(value: Any) -> str:
    """Return a value as TOML: a text in quotes, a boolean in lower case."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)  # a JSON string is a TOML basic string
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml_text, value))}]"
    return repr(value)
