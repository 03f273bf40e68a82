"""The configuration of a training run: frozen dataclasses, and their TOML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from os import PathLike
from typing import Any

from dvskit import _files
from dvskit._checks import (
    check_choice,
    check_fields,
    check_number,
    check_seed,
    check_whole,
    checked,
)
from dvskit._tables import read_table, to_toml
from dvskit._toml import parse_toml
from dvskit.errors import ConfigError, MissingFileError, did_you_mean
from dvskit.models.inputs import InputConfig, check_input
from dvskit.models.learned import (
    DataConfig,
    FileData,
    RecordingData,
    data_from,
    data_values,
    title_of,
)
from dvskit.networks import ConvLIF, Network, network_from, network_values

LOSSES = ("mean", "each-step", "count", "first-spike")
OPTIMIZERS = ("adamw", "adam")
SCHEDULES = ("cosine", "constant")
PRECISIONS = ("auto", "float32", "bfloat16")
KEPT = ("best", "last")
TRAINED = ("all", "dense")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """Length and settings of training. A step takes one batch of all entries [[data]] together.

    epochs           the most; fewer with `patience`
    steps            of an epoch; 0: until each sample of the entry with the most steps came once
    optimizer        "adamw" or "adam"; they differ in weight_decay
    betas            of the optimizer's two running means
    learning_rate    of the first step
    schedule         "cosine": the rate falls along a cosine to 0 over all steps; "constant"
    weight_decay     "adamw" subtracts it from the weights, "adam" adds it to the gradient
    label_smoothing  the share of each target that is spread evenly over all classes
    loss             "mean", "each-step", "count" or "first-spike": see `dvskit.training.losses`
    clip_norm        the largest norm of the gradient of all weights; 0: no limit
    precision        "bfloat16" or "float32"; "auto": bfloat16 if it is faster on this machine
    keep             the weights of the model: "best", of the epoch with the best validation
                     accuracy; "last", which needs no validation part
    patience         epochs without better validation scores until the run ends; 0: no limit
    stop             epochs until the run ends, with the schedule of all epochs; 0: run all.
                     `dvskit train FOLDER` sets it when time runs out
    trained_layers   "all"; or "dense", for a run with a `start`: the weights and the means of the
                     layers before the first dense one stay those of the start
    drawn_epochs     epochs with random changes of their own, which later epochs repeat in turn; 0:
                     all. With trained_layers = "dense" the outputs of the other layers are kept
    chunk_steps      time steps whose activity is kept for the backward pass; the rest is computed
                     again: less memory, more time; 0: all

        loop = dvskit.training.LoopConfig(epochs=10, learning_rate=1e-3, loss="count", patience=3)
    """

    epochs: int = checked(check_whole, 1, default=20)
    steps: int = checked(check_whole, default=0)
    optimizer: str = checked(check_choice, OPTIMIZERS, default="adamw")
    betas: tuple[float, float] = (0.9, 0.999)
    learning_rate: float = checked(check_number, above=0, default=4e-3)
    schedule: str = checked(check_choice, SCHEDULES, default="cosine")
    weight_decay: float = checked(check_number, 0, default=1e-2)
    label_smoothing: float = checked(check_number, 0, below=1, default=0.05)
    loss: str = checked(check_choice, LOSSES, default="mean")
    clip_norm: float = checked(check_number, 0, default=0.0)
    precision: str = checked(check_choice, PRECISIONS, default="auto")
    keep: str = checked(check_choice, KEPT, default="best")
    patience: int = checked(check_whole, default=0)
    stop: int = checked(check_whole, default=0)
    trained_layers: str = checked(check_choice, TRAINED, default="all")
    drawn_epochs: int = checked(check_whole, default=0)
    chunk_steps: int = checked(check_whole, default=0)

    def __post_init__(self) -> None:
        check_fields(self)
        for beta in self.betas:
            check_number("betas", beta, 0, below=1, owner="LoopConfig")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of a training run. With code and processor they determine its result.

    name     of the model                      seed     of all random draws
    output   the folder that the run writes    network  a description: see `dvskit.networks`
    input    how events become tensors         data     the sets to learn from, one entry each
    loop     length and settings of training
    start    the folder of a model, or a shipped model's name; the run begins with its weights. The
             last layer is new if the classes differ. "": all weights are drawn by the seed

        config = dvskit.training.Config(
            name="digits",
            output="runs/digits",
            network=dvskit.networks.ConvLIF(classes=3),
            data=(dvskit.training.RecordingData(path="digits"),),
            loop=dvskit.training.LoopConfig(epochs=3),
        )
        dvskit.training.write_config(config, "digits.toml")  # dvskit.training.train("digits.toml")
    """

    name: str = "model"
    seed: int = checked(check_seed, default=0)
    output: str = "runs/model"
    start: str = ""
    network: Network = field(default_factory=ConvLIF)
    input: InputConfig = field(default_factory=InputConfig)
    data: tuple[DataConfig, ...] = ()
    loop: LoopConfig = field(default_factory=LoopConfig)

    def __post_init__(self) -> None:
        check_fields(self)
        check_input(self.input, self.network)
        if self.loop.trained_layers == "dense" and not self.start:
            raise ConfigError(
                'loop.trained_layers = "dense": all layers are new without a start; set it to "all"'
            )
        for entry in self.data:
            entry.check_names()
        self._check_titles()

    def _check_titles(self) -> None:
        titles = Counter(entry.title for entry in self.data)
        for title, count in titles.items():
            if count > 1:
                raise ConfigError(
                    f"{count} entries [[data]] called {title!r}; give each its own name"
                )


_SECTIONS: dict[str, type[Any]] = {"input": InputConfig, "loop": LoopConfig}


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
    return with_new_names(values)


def with_new_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables of a configuration with the keys of this version: optimizer."""
    loop = values.get("loop")
    if not isinstance(loop, Mapping) or "optimiser" not in loop:
        return dict(values)
    new = {("optimizer" if key == "optimiser" else key): loop[key] for key in loop}
    return {**values, "loop": new}


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
    for name in (title_of, _kind):
        found = [entry for entry in entries if name(entry) == word]
        if len(found) == 1:
            return found[0]
    hint = did_you_mean(word, list(map(title_of, entries))) if entries else "there is none"
    raise ConfigError(f"{key}: no entry [[data]] called {word!r}; {hint}")


def _kind(entry: Mapping[str, Any]) -> str:
    return str(entry.get("kind", RecordingData.kind))


def config_from(values: Mapping[str, Any]) -> Config:
    """Return the configuration in nested tables. Raises ConfigError as `load_config` does."""
    given = dict(values)
    if "network" in given:
        given["network"] = network_from(given["network"])
    if isinstance(given.get("data"), list):
        given["data"] = tuple(map(data_from, given["data"]))
    return read_table(Config, given)


def files_of(config: Config) -> FileData:
    """Return the first entry [[data]] of a configuration of files, as that of `train_folder`.

    Raises ConfigError for another configuration.
    """
    if config.data and isinstance(config.data[0], FileData):
        return config.data[0]
    raise ConfigError(f"{config.output}: its configuration has no files to learn from")


def config_values(config: Config) -> dict[str, Any]:
    """Return a configuration as nested tables, the inverse of `config_from`."""
    values = {each.name: getattr(config, each.name) for each in fields(config)}
    values["network"] = network_values(config.network)
    values["input"] = config.input.values
    values["data"] = list(map(data_values, config.data))
    values["loop"] = asdict(config.loop)
    if not config.start:  # runs of versions without start can continue
        del values["start"]
    return values


def write_config(config: Config, path: str | PathLike[str]) -> None:
    """Write the resolved configuration: all values, also defaults.

    Comments are not kept. Raises OutputError if the file cannot be written.

        config = dvskit.training.Config(network=dvskit.networks.ConvLIF(classes=3))
        dvskit.training.write_config(config, "resolved.toml")
        dvskit.training.load_config("resolved.toml") == config  # True
    """
    _files.write_whole(path, to_toml(config_values(config)), overwrite=True)
