"""Models on disk (loading one never runs code), and beginning with the weights of one.

A folder holds model.toml, weights.safetensors and split.csv. Where a run that begins with a model
has other classes, its last layer is new.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

import dvskit
from dvskit import _files
from dvskit._arguments import check_arguments
from dvskit.datasets import Emulation, Split
from dvskit.errors import ConfigError, ModelError, OutputError, did_you_mean
from dvskit.events import Size
from dvskit.layers import Conv2d, Linear
from dvskit.networks import Layered, Network, network_from, network_values
from dvskit.training.config import Config, InputConfig
from dvskit.training.model_tables import (
    Reject,
    Used,
    emulation_from,
    read_split,
    reject_from,
    split_text,
    used_samples,
)
from dvskit.training.toml_config import to_toml
from dvskit.training.world import pick_device

_TOML = "model.toml"
_WEIGHTS = "weights.safetensors"
_SPLIT = "split.csv"


@check_arguments
@dataclass(frozen=True, slots=True)
class Model:
    """A network with its weights, and what is needed to feed it and to read its answer.

    module   inputs (T, B, C, H, W) -> logits (B, classes)
    input    how events become what it takes
    classes  the name of each logit
    about    what the model says about its data and scores: tables of plain values
    used     the recordings of its run, and for what; empty where that is not recorded
    """

    name: str
    network: Network
    module: nn.Module
    input: InputConfig
    classes: tuple[str, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    used: tuple[Used, ...] = ()

    @property
    def size(self) -> Size:
        """The sensor's size that the network takes."""
        return Size(self.network.width, self.network.height)

    @property
    def emulation(self) -> Emulation:
        """How videos become events for it: as its training clips did, else by an ideal sensor."""
        return emulation_from(self.about, self.size, self.name)

    @property
    def reject(self) -> Reject:
        """Below what a live decision names no class; the default where the model does not say."""
        return reject_from(self.about, self.name)


@check_arguments
def save_model(folder: str | PathLike[str], model: Model) -> Path:
    """Write model.toml, weights.safetensors and split.csv to `folder`, made if need be; return it.

    There is no split.csv where it would be empty. Files of an earlier model there are replaced.
    Raises OutputError.
    """
    target = Path(folder)
    make_folder(target)
    values = {
        "name": model.name,
        "classes": list(model.classes),
        "network": network_values(model.network),
        "input": asdict(model.input),
        **model.about,
    }
    weights = {
        key: value.detach().cpu().contiguous() for key, value in model.module.state_dict().items()
    }
    _files.write_whole(target / _WEIGHTS, save(weights), overwrite=True)
    if model.used:
        _files.write_whole(target / _SPLIT, split_text(model.used), overwrite=True)
    else:
        (target / _SPLIT).unlink(missing_ok=True)
    _files.write_whole(target / _TOML, to_toml(values), overwrite=True)
    return target


def make_folder(folder: Path) -> None:
    """Make a folder, if need be. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}") from error


@check_arguments
def load_model(name_or_path: str | PathLike[str]) -> Model:
    """Return a shipped model by name, or the model in a folder, ready to evaluate.

    Raises ModelError if there is none, if its files are missing or damaged, or do not fit together.
    """
    folder = find_model(name_or_path)
    values = _read_toml(folder / _TOML)
    try:
        network = network_from(values.pop("network"))
        given = InputConfig(**values.pop("input"))
        classes = tuple(str(name) for name in values.pop("classes"))
        name = str(values.pop("name"))
    except (KeyError, TypeError, ConfigError) as error:
        raise ModelError(f"{folder / _TOML}: {error} is missing or wrong") from error
    if len(classes) != network.classes:
        raise ModelError(
            f"{folder / _TOML}: {len(classes)} class names for {network.classes} logits"
        )
    module = network.build()
    try:
        module.load_state_dict(load_file(folder / _WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise ModelError(f"{folder / _WEIGHTS}: does not fit {_TOML}: {why}") from error
    reject_from(values, str(folder / _TOML))
    emulation_from(values, Size(network.width, network.height), str(folder / _TOML))
    used = read_split(folder / _SPLIT)
    return Model(name, network, module.eval().to(pick_device()), given, classes, values, used)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(f"{path}: is not TOML: {error}") from error


@check_arguments
def find_model(name_or_path: str | PathLike[str]) -> Path:
    """Return the folder of a model: a path, else a shipped model's name. Raises ModelError."""
    path = Path(name_or_path)
    if (path / _TOML).is_file():
        return path
    if path.is_dir():
        raise ModelError(f"{path}: holds no {_TOML}; a folder that training wrote is meant")
    shipped = shipped_models()
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    hint = did_you_mean(str(name_or_path), shipped) if shipped else "no model is shipped here"
    raise ModelError(f"{name_or_path}: neither a model folder nor a shipped model; {hint}")


def shipped_models() -> dict[str, Path]:
    """Return the models that came with dvskit, name to folder: of a checkout or of a package."""
    package = Path(dvskit.__file__).parent
    found: dict[str, Path] = {}
    for place in (package / "shipped_models", package.parent / "models"):
        for toml in sorted(place.glob(f"*/{_TOML}")):
            found.setdefault(toml.parent.name, toml.parent)
    return found


def as_model(model: Model | str | PathLike[str]) -> Model:
    """Return a model: as given, or loaded by its name or its folder. Raises ModelError."""
    if isinstance(model, str | PathLike):
        return load_model(model)
    if isinstance(model, Model):
        return model
    raise ModelError(
        f"{type(model).__name__} is no model; pass load_model(...), a shipped model's name or a "
        "folder first, and the events second"
    )


def start_of(config: Config, split: Split) -> Model | None:
    """Return the model that a run begins with, if any; `split` are the run's samples in files.

    Raises ModelError where there is none of that name, ConfigError where it learned from
    recordings, or was chosen by some, that this run is chosen or judged by.
    """
    if not config.start:
        return None
    start = load_model(config.start)
    leaked = _leaked(start.used, used_samples(split))
    if leaked:
        raise ConfigError(
            f"start = {config.start!r} learned from {len(leaked):,} of the recordings that this "
            f"run is chosen or judged by, such as {leaked[0].name}; split them as its run did (the "
            "same seed and shares), or leave out start"
        )
    return start


def begin_with(module: nn.Module, start: Model, classes: Sequence[str]) -> None:
    """Give a fresh module the weights of a model, of other classes all but those of the last layer.

    Raises ConfigError where it is another network.
    """
    same = tuple(classes) == start.classes
    kept = set() if same else set(dict(parameters_of_last(module)))
    given, own = start.module.state_dict(), module.state_dict()
    wrong = [
        key
        for key in {**own, **given}
        if key not in kept
        and (key not in own or key not in given or own[key].shape != given[key].shape)
    ]
    if wrong:
        raise ConfigError(
            f"start = {start.name!r}: its network is another one ({wrong[0]} differs); take the "
            "[network] and [input] of its model.toml, with classes of your own"
        )
    module.load_state_dict(given | {key: own[key] for key in kept})


def parameters_of_last(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the name and the weights of the last layer that has any: the one that names classes."""
    last = [name for name, part in module.named_modules() if isinstance(part, Conv2d | Linear)][-1:]
    for name, parameter in module.named_parameters():
        if name.rpartition(".")[0] in last:
            yield name, parameter


def let_learn(module: nn.Module, *, all_layers: bool) -> None:
    """Let all weights of a module be learned, or those of its last layer alone."""
    last = {id(parameter) for _, parameter in parameters_of_last(module)}
    for parameter in module.parameters():
        parameter.requires_grad_(all_layers or id(parameter) in last)


def with_classes(network: Network, classes: int) -> Network:
    """Return a network whose last layer has as many outputs as there are classes.

    Raises ConfigError for a list of layers that ends with none that could have them.
    """
    if not isinstance(network, Layered):
        return replace(network, classes=classes)  # type: ignore[type-var]
    words, votes = list(network.layers), 1
    for at in range(len(words) - 1, -1, -1):
        word = words[at]
        if isinstance(word, str) and word.startswith("V") and word[1:].isdecimal():
            votes = int(word[1:])
        elif isinstance(word, str) and word.removeprefix("F").isdecimal():
            words[at] = str(classes * votes)
            return replace(network, layers=tuple(words), classes=classes)
    raise ConfigError("layers: no dense layer at the end that could have other classes")


def used_before(start: Model | None, used: Sequence[Used]) -> tuple[Used, ...]:
    """Return the recordings of a run, and behind them those that its start alone was trained on.

    What the start was chosen by counts as trained on: its weights follow from it.
    """
    known = {_what(row) for row in used}
    before = [] if start is None else [row for row in start.used if row.part != "test"]
    return (*used, *(row._replace(part="train") for row in before if _what(row) not in known))


def _leaked(before: Sequence[Used], now: Sequence[Used]) -> list[Used]:
    """Return what is judged now and was learned from before, or chosen by now and trained on."""
    part = {_what(row): row.part for row in before if row.part != "test"}
    bad = {("train", "validation"), ("train", "test"), ("validation", "test")}
    return [row for row in now if (part.get(_what(row)), row.part) in bad]


def _what(row: Used) -> tuple[str, tuple[int, int] | None]:
    return row.fingerprint, row.span
