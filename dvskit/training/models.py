"""Models on disk (loading one never runs code), and starting a run with a model's weights.

A folder holds model.toml, weights.safetensors and split.csv; likeness.safetensors too if the
activity of the training samples was measured, and features.safetensors if the input needs fitted
features, so that it is complete. If a run has other classes than the model it starts
with, its last layer is new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from dvskit import _files
from dvskit._arguments import check_arguments
from dvskit.datasets import Emulation, Split
from dvskit.errors import ConfigError, ModelError, OutputError
from dvskit.events import Size
from dvskit.networks import Layered, ModuleNetwork, Network, is_own, network_values
from dvskit.networks.model_folder import DIGEST, check_finite, find_model, packed
from dvskit.networks.network import Maker
from dvskit.tensors import load_features, save_features
from dvskit.training.activity import ActivityLikeness, read_likeness, write_likeness
from dvskit.training.config import Config
from dvskit.training.device import pick_device
from dvskit.training.input_config import FITTED_FILE, InputConfig, fitted_file, with_fitted
from dvskit.training.model_file import check_about, new_module, read_description
from dvskit.training.model_tables import (
    Reject,
    Used,
    emulation_from,
    read_split,
    reject_from,
    split_text,
    used_samples,
)
from dvskit.training.own_checks import check_restorable, check_same_again
from dvskit.training.toml_config import to_toml

_TOML = "model.toml"
_WEIGHTS = "weights.safetensors"
_SPLIT = "split.csv"


@check_arguments
@dataclass(frozen=True, slots=True)
class Model:
    """A network with its weights, its input settings and its classes.

    module   inputs (T, B, C, H, W) -> logits (B, classes)
    input    how events become its input
    classes  the name of each logit
    about    tables about data, scores and more, of plain values
    used     the recordings of its run, with their parts; empty if not recorded
    likeness the measure of how unlike inputs are to those that it learned from, if it has one

        samples = dvskit.datasets.open_samples("digits")
        module = dvskit.networks.ConvLIF(classes=3).build()
        model = dvskit.training.model_of(module, samples)
        model.size, model.classes  # (34, 34), ("0", "1", "2")
        model.module(torch.zeros(20, 8, 2, 34, 34)).shape  # (8, 3)
    """

    name: str
    network: Network
    module: nn.Module
    input: InputConfig
    classes: tuple[str, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    used: tuple[Used, ...] = ()
    likeness: ActivityLikeness | None = None

    def __repr__(self) -> str:
        classes = ", ".join(self.classes)
        return f"<Model {self.name}: {self.network.name}, {self.size}; classes: {classes}>"

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
        """The limits below which a live decision names no class."""
        return reject_from(self.about, self.name)


@check_arguments
def save_model(folder: str | PathLike[str], model: Model, *, overwrite: bool = False) -> Path:
    """Write model.toml, weights.safetensors and split.csv to a folder, and return it.

    overwrite  whether the files of an earlier model in the folder are replaced

    The folder is made if it is missing. split.csv is not written if it would be empty. The
    file of fitted features that the input names is copied to the folder. Raises ConfigError and
    ModelError for a model that could not be loaded again, and OutputError if the folder holds a
    model and `overwrite` is false.

        samples = dvskit.datasets.open_samples("digits")
        model = dvskit.training.model_of(dvskit.networks.ConvLIF(classes=3), samples)
        dvskit.training.save_model("saved", model)
        again = dvskit.training.load_model("saved")
    """
    if (Path(folder) / _TOML).exists() and not overwrite:
        raise OutputError(f"{folder}: holds a model already; pass overwrite=True to replace it")
    if is_own(model.network):
        check_same_again(model.network, model.module, model.input)
    return write_model(folder, model)


def write_model(folder: str | PathLike[str], model: Model) -> Path:
    """Do as `save_model` with overwrite=True, for a network checked before its training."""
    target = Path(folder)
    check_about(model.about, f"{model.name}: about")
    check_restorable(model.network, model.module)
    state = model.module.state_dict()
    check_finite(state, model.name, infinite=state if is_own(model.network) else ())
    make_folder(target)
    _write_fitted(model.input, target / FITTED_FILE)
    weights, digest = packed(model.module)
    values = {
        "name": model.name,
        "classes": list(model.classes),
        DIGEST: digest,
        "network": network_values(model.network),
        "input": with_fitted(model.input, Path(FITTED_FILE)).values,
        **model.about,
    }
    _files.write_whole(target / _WEIGHTS, weights, overwrite=True)
    if model.used:
        _files.write_whole(target / _SPLIT, split_text(model.used), overwrite=True)
    else:
        (target / _SPLIT).unlink(missing_ok=True)
    write_likeness(target, model.likeness)
    _files.write_whole(target / _TOML, to_toml(values), overwrite=True)
    return target


def _write_fitted(given: InputConfig, target: Path) -> None:
    """Copy the fitted features of an input, which are checked, to a model's folder."""
    file = fitted_file(given)
    if file is None:
        target.unlink(missing_ok=True)
    elif file.absolute() != target.absolute():
        save_features(load_features(file), target, overwrite=True)


def make_folder(folder: Path) -> None:
    """Make a folder unless it exists. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}") from error


@check_arguments
def load_model(
    name_or_path: str | PathLike[str], *, networks: Mapping[str, Maker] | None = None
) -> Model:
    """Return a shipped model by name, or the model in a folder, ready to evaluate.

    networks  your own networks, by the name in model.toml: {"MyNet": MyNet}. The class of a
              description is called with the values in [network]; a class or function that makes a
              torch.nn.Module with those in [network.arguments]

    Other names are those of `dvskit.networks.register_network`, also in installed packages. A
    model's file names a network; it imports and runs no code.
    Raises ModelError if there is no such model, or if its files are missing, damaged or do not fit
    together.

        model = dvskit.training.load_model("dvs128-gestures")  # or a folder, such as "runs/mine"
        model.classes[:2], model.size  # two of 11 gestures, (128, 128)
    """
    folder = find_model(name_or_path)
    described = read_description(folder / _TOML, networks)
    name, network, given, classes, about, _ = described
    used, likeness = read_split(folder / _SPLIT), read_likeness(folder)
    module = new_module(described, folder / _WEIGHTS).eval().to(pick_device())
    return Model(name, network, module, given, classes, about, used, likeness)


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
    """Return the model that a run starts with, if any; `split` holds the run's samples in files.

    Raises ModelError if there is no such model, ConfigError if it was trained on or chosen by
    recordings that now choose or judge.
    """
    if not config.start:
        return None
    start = load_model(config.start, networks=maker_of(config.network))
    leaked = _leaked(start.used, used_samples(split))
    if leaked:
        raise ConfigError(
            f"start = {config.start!r} learned from {len(leaked):,} of the recordings that this "
            f"run is chosen or judged by, such as {leaked[0].name}; split them as its run did (the "
            "same seed and shares), or leave out start"
        )
    return start


def maker_of(network: Network) -> dict[str, Maker]:
    """Return `networks` for `load_model` with the caller's own network; {} for others."""
    if isinstance(network, ModuleNetwork):
        module: Any = network.module
        made = isinstance(module, nn.Module)
        return {network.name: (lambda **arguments: deepcopy(module)) if made else module}
    return {network.name: type(network)} if is_own(network) else {}


def load_start(module: nn.Module, start: Model, classes: Sequence[str]) -> None:
    """Load a model's weights into a fresh module, without the last layer if the classes differ.

    Raises ConfigError if the networks differ.
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
            f"start = {start.name!r}: its network is another one ({wrong[0]} differs); copy the "
            "[network] and [input] of its model.toml, with your own classes"
        )
    module.load_state_dict(given | {key: own[key] for key in kept})


def parameters_of_last(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the names and weights of the last layer with weights, which gives the logits."""
    last = [
        name for name, part in module.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)
    ][-1:]
    for name, parameter in module.named_parameters():
        if name.rpartition(".")[0] in last:
            yield name, parameter


def with_classes(network: Network, classes: int) -> Network:
    """Return a network whose last layer has as many outputs as there are classes.

    Raises ConfigError for a list of layers without a dense layer at the end.
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
    raise ConfigError("layers: no dense layer at the end for other classes; add one")


def with_earlier_samples(start: Model | None, used: Sequence[Used]) -> tuple[Used, ...]:
    """Return the recordings of a run, followed by further recordings of its start model.

    The start's validation recordings count as trained on, since its weights depend on them.
    """
    known = {_what(row) for row in used}
    before = [] if start is None else [row for row in start.used if row.part != "test"]
    return (*used, *(row._replace(part="train") for row in before if _what(row) not in known))


def common_samples(start: Model, used: Sequence[Used]) -> list[Used]:
    """Return the samples that a model learned from or was chosen by."""
    before = {_what(row) for row in start.used if row.part != "test"}
    return [row for row in used if _what(row) in before]


def _leaked(before: Sequence[Used], now: Sequence[Used]) -> list[Used]:
    """Return the samples that judge now and were used before, or choose now and were trained on."""
    part = {_what(row): row.part for row in before if row.part != "test"}
    bad = {("train", "validation"), ("train", "test"), ("validation", "test")}
    return [row for row in now if (part.get(_what(row)), row.part) in bad]


def _what(row: Used) -> tuple[str, tuple[int, int] | None]:
    return row.fingerprint, row.span
