"""The configuration of a training run: dataclasses, read from TOML, written back resolved."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any

from dvskit import _files
from dvskit._arguments import check_arguments
from dvskit.datasets import stills
from dvskit.errors import ConfigError, MissingFileError, did_you_mean
from dvskit.filters import Vary
from dvskit.networks import ConvLIF, Network, network_from, network_values


@dataclass(frozen=True, slots=True, kw_only=True)
class InputConfig:
    """How events become tensors: `bins` of `bin_us` microseconds from the first event on."""

    bins: int = 20
    bin_us: int = 15_500


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """What to learn from.

    recordings          folder of <class>/<recording>, or of recordings with labels beside; "" for
                        none
    validation, test    shares of the recordings held out, stratified by class; a data set's own
                        test part counts instead of `test`
    images              folder of MNIST-style IDX files, also learned as encoded spikes; "" for none
    encoders            how images become spikes, in equal shares: names, as
                        `dvskit.datasets.Encode` lists them
    images_skipped      leading training images never used (recordings may have been made of them)
    validation_images   training images held out
    test_images         images of the test part that the final score is made of
    emulated            recordings emulated from training images moved along saccades; without
                        `recordings`, those of the images held out choose the best epoch
    """

    recordings: str = ""
    validation: float = 0.1
    test: float = 0.2
    images: str = ""
    encoders: tuple[str, ...] = ("poisson", "latency")
    images_skipped: int = 0
    validation_images: int = 500
    test_images: int = 10_000
    emulated: int = 0

    def __post_init__(self) -> None:
        if not self.encoders or len(set(self.encoders)) < len(self.encoders):
            raise ConfigError(f"data.encoders = {list(self.encoders)}; names, each once, are meant")
        for name in self.encoders:
            stills.check_encoder(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """How long and how hard to learn. A step takes a batch of each source, with shared weights.

    The learning rate falls along a cosine from `learning_rate` to 0 over all steps.
    """

    epochs: int = 20
    steps: int = 100  # of an epoch
    recordings: int = 16  # of each kind, in a batch
    emulated: int = 0
    images: int = 0
    learning_rate: float = 4e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that a training run depends on, with the code and the processor.

    augment  how far recordings are changed at random: see `dvskit.filters.Vary`
    """

    name: str = "model"
    seed: int = 0
    output: str = "runs/model"
    network: Network = field(default_factory=ConvLIF)
    input: InputConfig = field(default_factory=InputConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    augment: Vary = field(default_factory=Vary)

    def __post_init__(self) -> None:
        positive = {
            "input.bins": self.input.bins,
            "input.bin_us": self.input.bin_us,
            "loop.epochs": self.loop.epochs,
            "loop.steps": self.loop.steps,
            "loop.learning_rate": self.loop.learning_rate,
        }
        for key, value in positive.items():
            if value <= 0:
                raise ConfigError(f"{key} = {value} is not above 0")
        batch = (self.loop.recordings, self.loop.emulated, self.loop.images)
        if min(batch) < 0 or not sum(batch):
            raise ConfigError(
                f"a batch of {batch[0]} recordings, {batch[1]} emulated and {batch[2]} images; "
                "none below 0 and one above are meant"
            )
        if self.loop.emulated and not self.data.emulated:
            raise ConfigError(
                f"loop.emulated = {self.loop.emulated} but data.emulated = 0; set data.emulated"
            )


_SECTIONS: dict[str, type[Any]] = {
    "input": InputConfig,
    "data": DataConfig,
    "loop": LoopConfig,
    "augment": Vary,
}


@check_arguments
def load_config(path: str | PathLike[str], overrides: Mapping[str, str] | None = None) -> Config:
    """Return the configuration in a TOML file, changed by `overrides` such as {"loop.epochs": "3"}.

    Values of overrides are written as in TOML; what is no TOML value is a string. Raises
    MissingFileError, and ConfigError for a broken file, unknown keys and values of the wrong type.
    """
    try:
        values = tomllib.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        raise MissingFileError(path) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    for key, text in (overrides or {}).items():
        _override(values, key, text)
    return config_from(values)


def _override(values: dict[str, Any], key: str, text: str) -> None:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        value = text
    *tables, name = key.split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{key}: {table!r} is a value, not a table")
    values[name] = value


def config_from(values: Mapping[str, Any]) -> Config:
    """Return the configuration that nested tables say. Raises ConfigError as `load_config` does."""
    given: dict[str, Any] = {}
    for key, value in values.items():
        if key == "network" or key in _SECTIONS:
            if not isinstance(value, Mapping):
                raise ConfigError(f"{key} = {value!r} is not a table; write [{key}]")
            is_network = key == "network"
            given[key] = network_from(value) if is_network else _section(key, _SECTIONS[key], value)
        else:
            given[key] = value
    top: Config = _section("", Config, given)
    return top


def _section(prefix: str, kind: type[Any], values: Mapping[str, Any]) -> Any:
    dot = f"{prefix}." if prefix else ""
    known = {item.name: item for item in fields(kind)}
    checked = {}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"unknown key {dot}{key}; {did_you_mean(key, known)}")
        checked[key] = _typed(f"{dot}{key}", str(known[key].type), value)
    return kind(**checked)


def _typed(key: str, wanted: str, value: Any) -> Any:
    """Return `value` as the type that the field is annotated with; whole numbers pass as float."""
    if wanted == "float" and type(value) is int:
        return float(value)
    simple = {"int": int, "float": float, "str": str}
    if wanted.startswith("tuple[str"):
        if type(value) not in (list, tuple) or not all(type(each) is str for each in value):
            raise ConfigError(f'{key} = {value!r}; a list of texts is meant: {key} = ["..."]')
        return tuple(value)
    if wanted in simple and type(value) is not simple[wanted]:
        raise ConfigError(f"{key} = {value!r} is {type(value).__name__}; {wanted} is meant")
    return value


def config_values(config: Config) -> dict[str, Any]:
    """Return the nested tables that `config_from` makes the same configuration of."""
    values: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if item.name == "network":
            value = network_values(value)
        elif item.name in _SECTIONS:
            value = {part.name: getattr(value, part.name) for part in fields(value)}
        values[item.name] = value
    return values


def write_config(config: Config, path: str | PathLike[str]) -> None:
    """Write the resolved configuration: every value that counts, defaults too."""
    _files.write_whole(path, to_toml(config_values(config)), overwrite=True)


def to_toml(values: Mapping[str, Any]) -> str:
    """Return TOML text of plain values and of tables one level down."""
    lines = [f"{key} = {_value(v)}" for key, v in values.items() if not isinstance(v, Mapping)]
    for key, table in values.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{key}]"]
            lines += [f"{name} = {_value(value)}" for name, value in table.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)  # a JSON string is a TOML basic string
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)
