"""Models on disk; loading one never runs code, except that of `networks`, which the caller passes.

A folder holds model.toml, weights.safetensors and split.csv; likeness.safetensors too if the
activity of the training samples was measured, and features.safetensors if the input needs fitted
features, so that it is complete. model.toml is checked key by key, and the header of
weights.safetensors against the network's shapes, before memory is allocated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dvskit import _files
from dvskit._tables import read_table, to_toml
from dvskit.datasets import Emulation, ImageSamples, Samples
from dvskit.emulator import EmulatorParams
from dvskit.emulator.params import as_params
from dvskit.errors import (
    ConfigError,
    DvskitError,
    ModelError,
    OutputError,
    one_line,
)
from dvskit.events import Size
from dvskit.models.doubt import Likeness, Reject, read_likeness, write_likeness
from dvskit.models.inputs import FITTED_FILE, InputConfig, check_input, fitted_file, with_fitted
from dvskit.models.learned import Used, data_from, read_split, split_text
from dvskit.models.own_networks import (
    check_answer,
    check_restorable,
    check_same_again,
    check_samples,
    described,
)
from dvskit.models.scores import pick_device
from dvskit.networks import Network, NetworkModule, network_from, network_values
from dvskit.networks.kinds import is_custom
from dvskit.networks.model_folder import (
    DIGEST,
    TASKS,
    check_finite,
    check_header,
    find_model,
    load_weights,
    packed,
    read_toml,
)
from dvskit.networks.network import Maker, default_arguments, outline
from dvskit.tensors import load_features, save_features
from dvskit.video import Light

_TOML = "model.toml"
_WEIGHTS = "weights.safetensors"
_SPLIT = "split.csv"


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
        model = dvskit.models.model_of(module, samples)
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
    likeness: Likeness | None = None

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
        with _named(self.name):
            return read_table(_About, self.about).emulation.for_size(self.size)

    @property
    def reject(self) -> Reject:
        """The limits below which a live decision names no class."""
        return read_about(self.about, self.name).reject


def save_model(folder: str | PathLike[str], model: Model, *, overwrite: bool = False) -> Path:
    """Write model.toml, weights.safetensors and split.csv to a folder, and return it.

    overwrite  whether the files of an earlier model in the folder are replaced

    The folder is made if it is missing. split.csv is not written if it would be empty. The
    file of fitted features that the input names is copied to the folder. Raises ConfigError and
    ModelError for a model that could not be loaded again, and OutputError if the folder holds a
    model and `overwrite` is false.

        samples = dvskit.datasets.open_samples("digits")
        model = dvskit.models.model_of(dvskit.networks.ConvLIF(classes=3), samples)
        dvskit.models.save_model("saved", model)
        again = dvskit.models.load_model("saved")
    """
    if (Path(folder) / _TOML).exists() and not overwrite:
        raise OutputError(f"{folder}: holds a model already; pass overwrite=True to replace it")
    if is_custom(model.network):
        check_same_again(model.network, model.module, model.input)
    return write_model(folder, model)


def write_model(folder: str | PathLike[str], model: Model) -> Path:
    """Do as `save_model` with overwrite=True, for a network checked before its training."""
    target = Path(folder)
    read_about(model.about, model.name)
    check_restorable(model.network, model.module)
    state = model.module.state_dict()
    check_finite(state, model.name, infinite=state if is_custom(model.network) else ())
    _files.make_folder(target)
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

        model = dvskit.models.load_model("dvs128-gestures")  # or a folder, such as "runs/mine"
        model.classes[:2], model.size  # two of 11 gestures, (128, 128)
    """
    folder = find_model(name_or_path)
    table, about = read_model_table(folder / _TOML, networks)
    module = _module_of(table, folder / _WEIGHTS).eval().to(pick_device())
    used, likeness = read_split(folder / _SPLIT), read_likeness(folder)
    return Model(
        table.name, table.network, module, table.input, table.classes, about, used, likeness
    )


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


def model_of(
    module: nn.Module | Network, samples: Samples | ImageSamples, input: InputConfig | None = None
) -> Model:
    """Return a module as a model for some samples: to save, classify and evaluate.

    module   maps (T, B, ...) to logits (B, classes), in the order of the samples' classes; or a
             description, such as a `dvskit.networks.ModuleNetwork` with its arguments
    samples  set the classes; the first sets the size of the input
    input    how events become the module's input; default InputConfig()

    Raises ConfigError if the module does not fit the samples.

        module = torch.nn.Sequential(torch.nn.Flatten(2), torch.nn.Linear(2 * 34 * 34, 3))

        class Mean(torch.nn.Module):
            def forward(self, x):
                return module(x).mean(0)  # (T, B, 3) -> (B, 3)

        samples = dvskit.datasets.open_samples("digits")
        model = dvskit.models.model_of(Mean(), samples)
        dvskit.evaluation.classify(model, "digits/0/00001.bin")  # {"0": 0.33, ...}
    """
    check_samples("model_of", samples)
    given = input or InputConfig()
    network: Network
    weighted: nn.Module
    if isinstance(module, NetworkModule):
        network, weighted = module.network, module
    else:
        network = described(module, samples, given)
        weighted = network.build()
    check_answer(network, weighted, given)
    return Model(network.name, network, weighted, given, samples.classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _EmulationTable:
    """The table [emulation]; of the sensor only values that differ from the ideal one."""

    size: tuple[int, ...] = ()
    whole: bool = False
    upsample: bool = False
    seed: int = 0
    light: Light | None = None
    fps: float = 0.0
    sensor: EmulatorParams = field(default_factory=EmulatorParams)

    def __post_init__(self) -> None:
        if len(self.size) not in (0, 2):
            raise ConfigError(f"size is {list(self.size)}; write size = [width, height]")

    def for_size(self, size: Size) -> Emulation:
        """Return the emulation, by default at a model's size."""
        width, height = self.size or size
        return Emulation(
            params=self.sensor,
            size=(width, height),
            whole=self.whole,
            upsample=self.upsample,
            seed=self.seed,
            light=self.light,
            fps=self.fps or None,
        )


def emulation_values(how: Emulation) -> dict[str, Any]:
    """Return an emulation as the table [emulation]."""
    params = as_params(how.params)
    values = {each.name: getattr(params, each.name) for each in fields(params)}
    sensor = {each.name: values[each.name] for each in fields(params)
              if values[each.name] != each.default}  # fmt: skip
    plain = {name: getattr(how, name) for name in ("whole", "upsample", "seed", "light")}
    return {"size": how.size or (), **plain, "fps": how.fps or 0.0, "sensor": sensor}


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """The tables of model.toml beside the network and its input."""

    start: str = ""
    seed: int = 0
    steps: int = 0
    reject: Reject = field(default_factory=Reject)
    emulation: _EmulationTable = field(default_factory=_EmulationTable)
    data: tuple[Mapping[str, Any], ...] = ()
    scores: Mapping[str, Any] = field(default_factory=dict)
    likeness: Mapping[str, Any] = field(default_factory=dict)  # of versions before, not used

    def __post_init__(self) -> None:
        for each in self.data:
            data_from(each)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTable(_About):
    """The whole of model.toml."""

    name: str
    classes: tuple[str, ...]
    network: Network
    input: InputConfig
    weights_sha256: str | None = None

    def __post_init__(self) -> None:
        _About.__post_init__(self)
        twice = [name for name, count in Counter(self.classes).items() if count > 1]
        if twice:
            raise ConfigError(f"classes: {twice[0]!r} occurs twice")
        if len(self.classes) != self.network.classes:
            raise ConfigError(f"{len(self.classes)} class names for {self.network.classes} logits")
        self.emulation.for_size(Size(self.network.width, self.network.height))

    def with_features(self, folder: Path) -> ModelTable:
        """Return the table with the fitted features in a model's folder, if its input needs them.

        A model reads no other files. Raises ConfigError if the input does not fit the network.
        """
        if fitted_file(self.input) not in (None, Path(FITTED_FILE)):
            raise ConfigError(
                f"input.parameters.fitted must be {FITTED_FILE!r}, beside it; save the model again"
            )
        given = with_fitted(self.input, folder / FITTED_FILE)
        check_input(given, self.network)
        return replace(self, input=given)


def read_model_table(
    path: Path, networks: Mapping[str, Maker] | None = None
) -> tuple[ModelTable, dict[str, Any]]:
    """Return a model.toml, and its tables beside the network and its input as plain values.

    Raises ModelError, with the path, if it is invalid.
    """
    values = read_toml(path)
    task = values.pop("task", None)
    if task is not None:
        raise ModelError(
            f"{path}: is no classifier: its task is {str(task)[:40]!r}"
            + (f"; use it with {TASKS[task]}" if task in TASKS else "")
        )
    with _named(path):
        if "network" in values:
            values["network"] = network_from(values["network"], networks)
        table = read_table(ModelTable, values).with_features(path.parent)
    known = {each.name for each in fields(_About)}
    return table, {key: value for key, value in values.items() if key in known}


def read_about(about: Mapping[str, Any], where: object) -> _About:
    """Return tables of a model beside the network and its input. Raises ModelError."""
    with _named(where):
        return read_table(_About, about)


@contextmanager
def _named(where: object) -> Iterator[None]:
    """Turn errors of a description into a ModelError with its place."""
    try:
        yield
    except DvskitError as error:
        raise ModelError(f"{where}: {one_line(error)}") from error


def _module_of(table: ModelTable, weights: Path) -> nn.Module:
    """Return the described module with its weights. Raises ModelError.

    The shapes are compared with the header of the weights before the module is made; a network of
    the caller's own is made first.
    """
    network = table.network
    try:
        outlined = network.build() if is_custom(network) else outline(network)
    except (TypeError, ValueError, RuntimeError, MemoryError) as error:
        raise ModelError(f"{weights.parent}: cannot be built: {one_line(error)[:500]}") from error
    odd = [key for key, value in outlined.state_dict().items() if not isinstance(value, Tensor)]
    if odd:
        raise ModelError(f"{weights}: does not fit model.toml: {odd[0]} is no tensor")
    try:
        check_header(weights, outlined.state_dict())
    except ModelError as error:
        if fix := default_arguments(network):
            raise ModelError(f"{error}; {fix}") from error
        raise
    module = outlined if is_custom(network) else network.build()
    load_weights(weights, module, table.weights_sha256)
    return module
