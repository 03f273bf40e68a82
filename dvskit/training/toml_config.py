"""Configurations in TOML: read, changed by overrides, checked, and written with defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from os import PathLike
from typing import Any

from dvskit import _files
from dvskit._arguments import check_arguments
from dvskit._toml import parse_toml
from dvskit.errors import ConfigError, MissingFileError, did_you_mean
from dvskit.networks import network_from, network_values
from dvskit.training.config import TAKEN, Config, DataConfig, LoopConfig, changes_of
from dvskit.training.input_config import InputConfig

_SECTIONS: dict[str, type[Any]] = {"input": InputConfig, "loop": LoopConfig}
_PLAIN: dict[str, type[Any]] = {"int": int, "float": float, "str": str, "bool": bool}


@check_arguments
def load_config(path: str | PathLike[str], overrides: Mapping[str, str] | None = None) -> Config:
    """Return the configuration in a TOML file, changed by `overrides` such as {"loop.epochs": "3"}.

    An entry [[data]] is identified by its name, by its kind if no other entry has it, or by its
    number from 0: {"data.recordings.path": "nmnist"}, {"data.0.path": "nmnist"}. Values of
    overrides are read as TOML, other texts as strings. Raises MissingFileError, and ConfigError for
    a broken file, unknown keys and values of the wrong type.

        config = dvskit.training.Config(network=dvskit.networks.ConvLIF(classes=3))
        dvskit.training.write_config(config, "mine.toml")
        overrides = {"loop.epochs": "3", "network.beta": "0.9"}
        changed = dvskit.training.load_config("mine.toml", overrides)
        changed.loop.epochs, changed.network.beta  # 3, 0.9
    """
    values = toml_values(path, overrides)
    if "task" in values:
        raise ConfigError(
            f"{path}: task = {values['task']!r} is no classification; take "
            "dvskit.training.reconstruction, or dvskit train, which trains both"
        )
    return config_from(values)


def toml_values(
    path: str | PathLike[str], overrides: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the tables of a configuration's file, changed as in `load_config`, unchecked.

    Raises MissingFileError, and ConfigError for a broken file.
    """
    try:
        values = parse_toml(_files.read_regular(path, _files.MOST_TOML).decode("utf-8"))
    except FileNotFoundError:
        raise MissingFileError(path) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    for key, text in (overrides or {}).items():
        _override(values, key, text)
    return values


def changed_config(config: Config, overrides: Mapping[str, str]) -> Config:
    """Return a configuration changed by overrides, as in `load_config`."""
    values = config_values(config)
    for key, text in overrides.items():
        _override(values, key, text)
    return config_from(values)


def _override(values: dict[str, Any], key: str, text: str) -> None:
    try:
        value = parse_toml(f"value = {text}")["value"]
    except ValueError:
        value = text
    *tables, name = key.split(".")
    place: Any = values
    if len(tables) > 1 and tables[0] == "data":
        values.setdefault("data", [])
    for table in tables:
        place = (
            _entry(place, table, key) if isinstance(place, list) else place.setdefault(table, {})
        )
        if not isinstance(place, dict | list):
            raise ConfigError(f"{key}: {table!r} is a value, not a table")
    if isinstance(place, list):
        raise ConfigError(f"{key}: is an entry [[data]]; name one of its keys, such as {key}.path")
    place[name] = value


def _entry(entries: list[dict[str, Any]], word: str, key: str) -> dict[str, Any]:
    """Return the entry with a name, a kind or a number; one after the last is added."""
    if word.isdecimal() and int(word) <= len(entries):
        if int(word) == len(entries):
            entries.append({})
        return entries[int(word)]
    for told in (_title, _kind):
        found = [entry for entry in entries if told(entry) == word]
        if len(found) == 1:
            return found[0]
    hint = did_you_mean(word, list(map(_title, entries))) if entries else "there is none"
    raise ConfigError(f"{key}: no entry [[data]] called {word!r}; {hint}")


def _kind(entry: Mapping[str, Any]) -> str:
    return str(entry.get("kind", DataConfig().kind))


def _title(entry: Mapping[str, Any]) -> str:
    if entry.get("name"):
        return str(entry["name"])
    encoder = entry.get("encoder", DataConfig().encoder)
    return str(encoder) if _kind(entry) == "images" else _kind(entry)


def config_from(values: Mapping[str, Any]) -> Config:
    """Return the configuration in nested tables. Raises ConfigError as `load_config` does."""
    given: dict[str, Any] = {}
    for key, value in values.items():
        if key == "data":
            given[key] = tuple(map(data_from, _entries(value)))
        elif key == "network":
            given[key] = network_from(table_of(key, value))
        elif key in _SECTIONS:
            given[key] = section(key, _SECTIONS[key], table_of(key, value))
        else:
            given[key] = value
    top: Config = section("", Config, given)
    return top


def table_of(key: str, value: Any) -> Mapping[str, Any]:
    """Return a table unchanged. Raises ConfigError for anything else."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key} = {value!r} is not a table; write [{key}]")
    return value


def _entries(value: Any) -> Sequence[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise ConfigError(f"data = {value!r} is not a list of tables; write [[data]] above each")
    return value


def data_from(values: Mapping[str, Any]) -> DataConfig:
    """Return an entry [[data]]. Raises ConfigError for unknown keys and wrong values."""
    given = dict(values)
    dot = f"data.{_title(values)}"
    if "augment" in given:
        table = table_of(f"{dot}.augment", given["augment"])
        given["augment"] = section(f"{dot}.augment", changes_of(_kind(values)), table)
    if "classes" in given:
        for name, called in table_of(f"{dot}.classes", given["classes"]).items():
            _typed(f"{dot}.classes.{name}", "str", called)
    entry: DataConfig = section(dot, DataConfig, given)
    return entry


def section(prefix: str, kind: type[Any], values: Mapping[str, Any]) -> Any:
    """Return the dataclass of a table called `prefix`. Raises ConfigError as `load_config` does."""
    dot = f"{prefix}." if prefix else ""
    known = {item.name: item for item in fields(kind)}
    checked = {}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"unknown key {dot}{key}; {did_you_mean(key, known)}")
        checked[key] = _typed(f"{dot}{key}", str(known[key].type), value)
    return kind(**checked)


def _typed(key: str, wanted: str, value: Any) -> Any:
    """Return `value` as the type in the field's annotation; whole numbers pass as float."""
    if wanted.startswith("tuple["):
        inner = wanted.removeprefix("tuple[").split(",")[0]
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{key} = {value!r} is {type(value).__name__}; give a list")
        return tuple(_typed(key, inner, each) for each in value)
    if wanted == "float" and type(value) is int:
        return float(value)
    if wanted in _PLAIN and type(value) is not _PLAIN[wanted]:
        raise ConfigError(f"{key} = {value!r} is {type(value).__name__}; give {wanted}")
    return value


def config_values(config: Config) -> dict[str, Any]:
    """Return a configuration as nested tables, the inverse of `config_from`."""
    values: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if item.name == "network":
            value = network_values(value)
        elif item.name == "input":
            value = value.values
        elif item.name == "loop":
            value = _values(value)
        elif item.name == "data":
            value = [data_values(entry) for entry in value]
        values[item.name] = value
    if not config.start:  # runs of versions without start can continue
        del values["start"]
    return values


def data_values(entry: DataConfig) -> dict[str, Any]:
    """Return an entry [[data]] as plain values: only the keys of its kind."""
    values = {key: value for key, value in _values(entry).items() if key in TAKEN[entry.kind]}
    if "augment" in values:
        values["augment"] = _values(entry.augment)
    values["classes"] = dict(entry.classes)
    return values


def _values(part: Any) -> dict[str, Any]:
    return {item.name: _stored(str(item.type), getattr(part, item.name)) for item in fields(part)}


def _stored(annotated: str, value: Any) -> Any:
    """Return a value as it is after reading it back: a whole number in a float field is a float."""
    if annotated.startswith("tuple["):
        inner = annotated.removeprefix("tuple[").split(",")[0]
        return tuple(_stored(inner, each) for each in value)
    return float(value) if annotated == "float" else value


@check_arguments
def write_config(config: Config, path: str | PathLike[str]) -> None:
    """Write the resolved configuration: all values, also defaults.

    Comments are not kept. Raises OutputError if the file cannot be written.

        config = dvskit.training.Config(network=dvskit.networks.ConvLIF(classes=3))
        dvskit.training.write_config(config, "resolved.toml")
        dvskit.training.load_config("resolved.toml") == config  # True
    """
    _files.write_whole(path, to_toml(config_values(config)), overwrite=True)


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
